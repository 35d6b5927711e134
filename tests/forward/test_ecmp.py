"""Of several ways to a destination a flow takes one, and keeps it while it is one."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from filament.base.limits import MAX_ECMP_MEMBERS
from filament.base.net import ROUTER_MAC, Prefix, parse_ipv4
from filament.base.origin import Origin
from filament.forward.holders import shared_label
from filament.forward.ids import Ids
from filament.forward.inputs import AddressPair, Hop, Host, Inputs, Port, Route, Subnet, Vrf
from filament.forward.layout import DropReason, NextHopType
from filament.forward.model import Model, UnderlayPath
from filament.forward.plan import plan
from filament.forward.rows import NextHopValues
from filament.wire.packet.ethernet import Ethernet, encode_ethernet
from filament.wire.packet.frames import ipv4_frame, ipv4_packet, udp_packet
from filament.wire.packet.ipv4 import UDP, Ipv4
from filament.wire.packet.mpls import LabelEntry, encode_label
from filament.wire.packet.udp import Udp, encode_udp
from filament.wire.packet.vxlan import Vxlan, encode_vxlan

ME = parse_ipv4("172.30.0.1")
FAR = [parse_ipv4(f"172.30.0.{last}") for last in (2, 3, 4)]
OWN, SHARED = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.1.50")
SUBNET = Subnet("red", "red", Prefix.parse("10.1.1.0/24"), parse_ipv4("10.1.1.1"))
PAIR = AddressPair(Prefix.host(SHARED))


def port(number: int = 1, address: int = OWN, **changes: object) -> Port:
    return Port(
        uuid=f"uuid-{number}",
        name=f"port-{number}",
        device=f"tap{number}",
        ifindex=10 + number,
        is_veth=True,
        mac=0x020000000000 + number,
        addresses=(address,),
        vrf="red",
        network="red",
        acl=None,
        **changes,  # type: ignore[arg-type]
    )


def to_shared(*hops: Hop, load_balance: tuple[str, ...] | None = None) -> Route:
    first, *others = hops
    return Route(
        "red",
        PAIR.prefix,
        first.address,
        first.label,
        "red",
        Origin("r", "received", 8),
        first.encapsulation,
        tuple(others),
        load_balance=load_balance,
    )


class Box:
    """One host's data plane, whose rows change."""

    def __init__(self) -> None:
        self.ids = Ids()
        underlay = {far: UnderlayPath(2, 1, 3) for far in FAR}
        self.model = Model(None, lambda: 1.0, underlay)

    def apply(self, *ports: Port, routes: tuple[Route, ...] = ()) -> None:
        found = Inputs(Host("host1", ME), 1, ports, (SUBNET,), routes)
        self.tables = plan(found, self.ids)
        self.model.replace(self.tables)

    def label(self, name: str) -> int:
        return self.ids.numbers("label")[name]

    def send(self, source_port: int, *, number: int = 1, source: int = OWN) -> object:
        """Where a packet to the shared address goes: a host, or the device of a port."""
        packet = udp_packet(source, SHARED, (source_port, 53))
        frame = ipv4_frame(0x020000000000 + number, ROUTER_MAC, packet)
        output = self.model.from_port(10 + number, frame).output
        assert output is not None
        return output.remote or output.ifindex

    def receive(self, label: int, packet: bytes, remote: int = FAR[0]) -> object:
        """Which device a packet from another host comes out of."""
        inner = encode_label(LabelEntry(label)) + packet
        segment = encode_udp(Udp(50000, 6635, 8 + len(inner))) + inner
        outer = ipv4_packet(Ipv4(remote, ME, UDP, 0), segment)
        result = self.model.from_fabric(ipv4_frame(3, 1, outer))
        return result.output.ifindex if result.output is not None else result.reason


HOPS = [Hop(far, 16 + index) for index, far in enumerate(FAR)]
SOURCE_PORTS = range(40000, 40300)


@pytest.mark.parametrize("count", [2, 3])
def test_all_ways_are_used_and_flows_stay_where_they_are(count: int) -> None:
    """Also by flows that differ in one bit."""
    box = Box()
    box.apply(port(), routes=(to_shared(*HOPS[:count]),))
    went = {number: box.send(number) for number in SOURCE_PORTS}
    shares = Counter(went.values())
    assert set(shares) == set(FAR[:count])
    assert min(shares.values()) > 0.6 * len(went) / count
    assert {number: box.send(number) for number in SOURCE_PORTS} == went
    box.apply(port(), routes=(to_shared(*HOPS[:count]),))
    assert {number: box.send(number) for number in SOURCE_PORTS} == went


def test_a_member_more_moves_no_flow_and_gets_new_ones() -> None:
    box = Box()
    box.apply(port(), routes=(to_shared(*HOPS[:2]),))
    went = {number: box.send(number) for number in SOURCE_PORTS}
    box.apply(port(), routes=(to_shared(*HOPS),))
    assert {number: box.send(number) for number in SOURCE_PORTS} == went
    assert {box.send(number) for number in range(1000, 1050)} == set(FAR)


def test_a_member_less_moves_its_flows_only() -> None:
    box = Box()
    box.apply(port(), routes=(to_shared(*HOPS),))
    went = {number: box.send(number) for number in SOURCE_PORTS}
    box.apply(port(), routes=(to_shared(*HOPS[1:]),))
    now = {number: box.send(number) for number in SOURCE_PORTS}
    assert FAR[0] not in now.values()
    moved = {number for number in SOURCE_PORTS if now[number] != went[number]}
    assert moved == {number for number in SOURCE_PORTS if went[number] == FAR[0]}
    # And they stay there when it comes back.
    box.apply(port(), routes=(to_shared(*HOPS),))
    assert {number: box.send(number) for number in SOURCE_PORTS} == now


def test_answers_go_back_where_the_question_came_from() -> None:
    box = Box()
    box.apply(port(), routes=(to_shared(*HOPS),))
    label = box.label("uuid-1")
    for number in range(1000, 1060):
        asks = FAR[number % 3]
        question = udp_packet(SHARED, OWN, (53, number))
        assert box.receive(label, question, asks) == 11
        assert box.send(number) == asks


def test_only_the_fields_that_the_route_names_choose() -> None:
    box = Box()
    box.apply(port(), routes=(to_shared(*HOPS, load_balance=("l3-source-address",)),))
    assert len({box.send(number) for number in SOURCE_PORTS}) == 1


@pytest.mark.parametrize("has_policy", [True, False])
def test_ports_here_share_an_address_and_a_label(has_policy: bool) -> None:
    box = Box()
    holders = [
        port(number, parse_ipv4(f"10.1.1.{number}"), pairs=(PAIR,), has_policy=has_policy)
        for number in (2, 3)
    ]
    box.apply(*holders, port())
    label = box.label(shared_label("red", PAIR.prefix))
    came = {
        number: box.receive(label, udp_packet(OWN + 50, SHARED, (number, 53)))
        for number in SOURCE_PORTS
    }
    assert set(came.values()) == {12, 13}
    assert {box.send(number) for number in SOURCE_PORTS} == {12, 13}
    # A third one takes no flow away that is known here.
    box.apply(*holders, port(4, parse_ipv4("10.1.1.4"), pairs=(PAIR,)), port())
    if has_policy:
        again = {
            number: box.receive(label, udp_packet(OWN + 50, SHARED, (number, 53)))
            for number in SOURCE_PORTS
        }
        assert again == came


def test_what_comes_from_the_fabric_never_goes_back_to_it() -> None:
    """Ways through other hosts are for packets of ports here."""
    box = Box()
    holders = [port(number, parse_ipv4(f"10.1.1.{number}"), pairs=(PAIR,)) for number in (2, 3)]
    shared = shared_label("red", PAIR.prefix)
    box.apply(*holders)
    ours = Hop(ME, box.label(shared))
    box.apply(*holders, port(), routes=(to_shared(ours, *HOPS),))
    assert {box.send(number) for number in SOURCE_PORTS} == {12, 13, *FAR}
    packets = [udp_packet(OWN + 50, SHARED, (number, 53)) for number in SOURCE_PORTS]
    assert {box.receive(box.label(shared), packet) for packet in packets} == {12, 13}


def test_ways_that_end_here_count_only_where_control_nodes_prefer_them() -> None:
    box = Box()
    holder = port(2, parse_ipv4("10.1.1.2"), pairs=(PAIR,))
    box.apply(holder, port(), routes=(to_shared(*HOPS),))
    assert {box.send(number) for number in SOURCE_PORTS} == {12}
    ours = Hop(ME, box.label("uuid-2"))
    box.apply(holder, port(), routes=(to_shared(ours, *HOPS[:1]),))
    assert {box.send(number) for number in SOURCE_PORTS} == {12, FAR[0]}


def test_a_shared_address_is_the_ports_own_source_and_not_answered_for() -> None:
    box = Box()
    first = port(1, pairs=(PAIR,))
    box.apply(first, port(2, parse_ipv4("10.1.1.2"), pairs=(PAIR,)))
    packet = udp_packet(SHARED, parse_ipv4("10.1.1.2"), (1, 2))
    assert box.model.from_port(11, ipv4_frame(first.mac, ROUTER_MAC, packet)).output is not None


def test_routes_with_the_same_ways_share_a_next_hop_and_no_more_than_128_count() -> None:
    box = Box()
    many = [Hop(FAR[0] + index, 16) for index in range(MAX_ECMP_MEMBERS + 10)]
    other = msgspec.structs.replace(to_shared(*many), prefix=Prefix.parse("10.9.0.0/16"))
    box.apply(port(), routes=(to_shared(*many), other))
    hops = [NextHopValues(*row.values) for row in box.tables.rows["next_hops"].values()]
    (composite,) = [hop for hop in hops if hop.type == NextHopType.COMPOSITE]
    assert composite.members == MAX_ECMP_MEMBERS == len(box.tables.rows["members"])


def test_a_composite_without_members_here_drops_what_comes_by_vxlan() -> None:
    box = Box()
    vrfs = (Vrf("red", "red", 7),)
    found = Inputs(Host("host1", ME), 1, (port(),), (SUBNET,), (to_shared(*HOPS),), vrfs=vrfs)
    box.model.replace(plan(found, box.ids))
    frame = encode_ethernet(Ethernet(ROUTER_MAC, ROUTER_MAC, 0x0800))
    inner = encode_vxlan(Vxlan(7)) + frame + udp_packet(OWN + 50, SHARED, (1, 2))
    segment = encode_udp(Udp(50000, 4789, 8 + len(inner))) + inner
    outer = ipv4_packet(Ipv4(FAR[0], ME, UDP, 0), segment)
    result = box.model.from_fabric(ipv4_frame(3, 1, outer))
    assert result.reason is DropReason.INVALID_NEXT_HOP
