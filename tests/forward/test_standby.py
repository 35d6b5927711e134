"""Addresses that one of several ports holds at a time: rows lead to the holder, nowhere else."""

from __future__ import annotations

import msgspec
import pytest

from filament.agent.announce import published_routes
from filament.base.net import Prefix, parse_ipv4
from filament.forward.holders import claim_name, shared_label
from filament.forward.inputs import AddressPair, Hop, Port, Route, Standby, Vrf
from filament.forward.layout import INTERFACE_STANDBY
from filament.forward.rows import InterfaceValues, SourceValues
from filament.wire.packet.frames import udp_packet

from .test_ecmp import FAR, HOPS, ME, PAIR, SHARED, Box, port, to_shared

STANDBY_PAIR = AddressPair(PAIR.prefix, is_standby=True)
SENDER = port(9, parse_ipv4("10.1.1.9"))
WAITING = Standby(PAIR.prefix, 100, 1)


def holder(number: int, *, sequence: int = 0, **changes: object) -> Port:
    """A port that shares the address; with a sequence it has claimed it."""
    standing = Standby(PAIR.prefix, 200, sequence) if sequence else WAITING
    return port(
        number,
        parse_ipv4(f"10.1.1.{number}"),
        pairs=(STANDBY_PAIR,),
        standbys=(standing,),
        **changes,
    )


def told(hop: Hop, preference: int = 200, sequence: int = 5) -> Route:
    return msgspec.structs.replace(to_shared(hop), preference=preference, sequence=sequence)


def send(box: Box) -> set[object]:
    """Where packets of many flows go."""
    return {box.send(number, number=9, source=SENDER.addresses[0]) for number in range(1000, 1040)}


@pytest.mark.parametrize(("one", "two", "device"), [(2, 3, 12), (3, 2, 11), (0, 2, 12), (0, 0, 11)])
def test_of_ports_here_the_newest_claim_gets_all_flows(one: int, two: int, device: int) -> None:
    box = Box()
    box.apply(holder(1, sequence=one), holder(2, sequence=two), SENDER)
    assert send(box) == {device}
    label = box.label(shared_label("red", PAIR.prefix))
    packet = udp_packet(parse_ipv4("10.1.1.77"), SHARED, (1, 53))
    assert box.receive(label, packet) == device


@pytest.mark.parametrize(
    ("own", "preference", "sequence", "is_far"),
    [
        (0, 200, 5, True),  # somebody else holds it
        (0, 100, 1, True),  # nobody does, and control nodes have chosen
        (4, 200, 5, True),
        (5, 200, 5, True),
        (6, 200, 5, False),  # our claim is newer than what control nodes know of
        (6, 100, 9, False),
    ],
)
def test_a_port_elsewhere_holds_it_when_its_claim_is_newer(
    own: int, preference: int, sequence: int, *, is_far: bool
) -> None:
    box = Box()
    routes = (told(HOPS[0], preference, sequence),)
    box.apply(holder(1, sequence=own), SENDER, routes=routes)
    assert send(box) == ({FAR[0]} if is_far else {11})
    # Whoever sends here all the same believes that ours holds it.
    packet = udp_packet(parse_ipv4("10.1.1.77"), SHARED, (1, 53))
    assert box.receive(box.label("uuid-1"), packet) == 11


def test_packets_for_standbys_here_find_one_while_the_holder_is_elsewhere() -> None:
    box = Box()
    box.apply(holder(1), holder(2), SENDER, routes=(told(HOPS[0]),))
    assert send(box) == {FAR[0]}
    label = box.label(shared_label("red", PAIR.prefix))
    packet = udp_packet(parse_ipv4("10.1.1.77"), SHARED, (1, 53))
    assert box.receive(label, packet) == 11


def test_an_echo_of_our_own_route_leads_to_our_port() -> None:
    box = Box()
    box.apply(holder(1, sequence=5), SENDER)
    box.apply(holder(1, sequence=5), SENDER, routes=(told(Hop(ME, box.label("uuid-1"))),))
    assert send(box) == {11}


def test_what_a_standby_sends_to_the_address_goes_to_the_holder() -> None:
    box = Box()
    box.apply(holder(1), routes=(told(HOPS[0]),))
    assert box.send(4000, number=1, source=parse_ipv4("10.1.1.1")) == FAR[0]


def test_a_claim_has_a_number_of_its_own_in_every_row_of_its_prefix() -> None:
    shared6 = Prefix.parse("2001:db8::50/128")
    pairs = (
        STANDBY_PAIR,
        AddressPair(PAIR.prefix, 0x00005E000107, is_standby=True),
        AddressPair(shared6, is_standby=True),
        AddressPair(Prefix.parse("10.1.1.60/32")),
    )
    own = parse_ipv4("10.1.1.3")
    standbys = (WAITING, Standby(shared6, 100, 1), Standby(Prefix.host(own), 100, 1))
    box = Box()
    box.apply(port(pairs=pairs, standbys=standbys))
    numbers = box.ids.numbers("claim")
    claim, claim6, claim_own = (
        numbers[claim_name("uuid-1", one)] for one in (PAIR.prefix, shared6, Prefix.host(own))
    )
    rows = [SourceValues(*row.values) for row in box.tables.rows["sources"].values()]
    assert sorted(rows) == sorted(
        [(0, claim_own), (1, claim), (2, claim), (2, 0), (3, claim6), (4, 0)]
    )
    (interface,) = box.tables.rows["interfaces"].values()
    assert InterfaceValues(*interface.values).flags & INTERFACE_STANDBY
    box.apply(port(pairs=pairs[3:]))
    (interface,) = box.tables.rows["interfaces"].values()
    assert not InterfaceValues(*interface.values).flags & INTERFACE_STANDBY


def test_a_move_is_no_reason_to_judge_flows_again() -> None:
    box = Box()

    def generation(*ports: Port, routes: tuple[Route, ...] = ()) -> int:
        box.apply(*ports, routes=routes)
        return box.tables.rows["host"][0,].values[1]

    first = generation(holder(1, sequence=2), SENDER)
    assert generation(holder(1), SENDER, routes=(told(HOPS[0]),)) == first


@pytest.mark.parametrize(("one", "two", "said"), [(0, 0, (100, 1)), (2, 3, (200, 3))])
def test_a_host_publishes_how_its_best_port_stands(
    one: int, two: int, said: tuple[int, int]
) -> None:
    ports = (holder(1, sequence=one), holder(2, sequence=two))
    labels = {"uuid-1": 21, "uuid-2": 22, shared_label("red", PAIR.prefix): 23}
    vrfs = (Vrf("red", "red", is_layer2=False),)
    routes = published_routes(ME, vrfs, ports, labels, ("udp",))
    found = {route.destination: route for route in routes}
    shared = found[PAIR.prefix]
    assert (shared.local_preference, shared.sequence, shared.next_hop.label) == (*said, 23)
    assert shared.next_hop.mac == ports[1 if two else 0].mac
    own = found[Prefix.host(parse_ipv4("10.1.1.1"))]
    assert (own.local_preference, own.sequence, own.next_hop.label) == (200, 0, 21)
