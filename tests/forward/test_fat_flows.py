"""Many connections in one row of the flow table, and what a row must still tell apart."""

from __future__ import annotations

from filament.base.net import ROUTER_MAC, Prefix, parse_ipv4
from filament.base.origin import NOWHERE
from filament.forward.flows import FarEnd, Flow, FlowKey
from filament.forward.ids import Ids
from filament.forward.inputs import (
    FatFlow,
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    Route,
)
from filament.forward.layout import FAT_PORTS, FAT_REMOTE, DropReason
from filament.forward.model import Model, UnderlayPath
from filament.forward.plan import plan
from filament.forward.rows import InterfaceValues
from filament.wire.packet.frames import icmp_packet, ipv4_frame, tcp_packet, udp_packet
from filament.wire.packet.icmp import Icmp
from filament.wire.packet.ipv4 import UDP
from filament.wire.packet.tcp import FIN, SYN, Tcp

ME, FAR = parse_ipv4("172.30.0.1"), parse_ipv4("172.30.0.2")
OWN = parse_ipv4("10.1.1.3")
RED = [parse_ipv4(f"10.1.1.{last}") for last in (10, 11, 12)]
BLUE = parse_ipv4("10.1.2.10")
ANY = FilterMatch()
ALL = FilterRule(ANY, ANY, None, passes=True, both_ways=True)


class Box:
    """One port with fat flows, in red, which has routes to red and blue."""

    def __init__(self, *fat: FatFlow, rules: tuple[FilterRule, ...] = (ALL,)) -> None:
        self.model = Model(None, lambda: 1.0, {FAR: UnderlayPath(2, 1, 3)})
        port = Port(
            uuid="uuid-1",
            name="port-1",
            device="tap1",
            ifindex=11,
            is_veth=True,
            mac=0x020000000001,
            addresses=(OWN,),
            vrf="red",
            network="red",
            acl="acl",
            fat_flows=fat,
        )
        routes = tuple(
            Route("red", Prefix.host(address), FAR, 16, network, NOWHERE)
            for network, address in (*(("red", one) for one in RED), ("blue", BLUE))
        )
        found = Inputs(Host("host1", ME), 1, (port,), (), routes, (Filter("acl", rules),))
        self.tables = plan(found, Ids())
        self.model.replace(self.tables)

    def send(self, packet: bytes) -> DropReason:
        return self.model.from_port(11, ipv4_frame(0x020000000001, ROUTER_MAC, packet)).reason

    @property
    def flows(self) -> dict[FlowKey, Flow]:
        return {key: Flow(*values) for key, values in self.model.flows().items()}


def ask(port: int, to: int = RED[0], at: int = 53) -> bytes:
    return udp_packet(OWN, to, (port, at))


def test_connections_to_a_port_are_one_row() -> None:
    box = Box(FatFlow(UDP, 53))
    for port in range(40000, 40020):
        assert box.send(ask(port)) is DropReason.NONE
    ((key, flow),) = box.flows.items()
    assert (key.local_port, key.remote_port, key.fat) == (0, 53, FAT_PORTS)
    assert flow.out_packets == 20
    box.send(ask(40000, at=54))
    assert len(box.flows) == 2


def test_so_are_those_from_it() -> None:
    box = Box(FatFlow(UDP, 53))
    for port in range(40000, 40020):
        assert box.send(ask(53, at=port)) is DropReason.NONE
    ((key, _),) = box.flows.items()
    assert (key.local_port, key.remote_port) == (53, 0)


def test_port_0_is_all_of_a_protocol_but_what_has_a_row_of_its_own() -> None:
    box = Box(FatFlow(UDP, 0), FatFlow(UDP, 53))
    for port in range(40000, 40010):
        box.send(ask(port))
        box.send(ask(port, at=port))
    assert {(key.local_port, key.remote_port) for key in box.flows} == {(0, 53), (0, 0)}


def test_without_the_far_address_networks_stay_apart() -> None:
    """A verdict on red is none on blue."""
    to_red = FilterRule(ANY, FilterMatch(network="red"), None, passes=True, both_ways=False)
    box = Box(FatFlow(UDP, 53, ignores_remote=True), rules=(to_red,))
    assert {box.send(ask(40000, to)) for to in RED} == {DropReason.NONE}
    assert box.send(ask(40000, BLUE)) is DropReason.POLICY_FROM_PORT
    assert box.send(ask(40000, RED[0])) is DropReason.NONE
    assert len(box.flows) == 2
    for key in box.flows:
        assert key.fat == FAT_PORTS | FAT_REMOTE
        assert key.version == 4
        assert key.far_end is not None
    red, blue = (key.far_end for key in sorted(box.flows, key=lambda key: key.remote))
    assert isinstance(red, FarEnd)
    assert red != blue


def test_a_rule_about_addresses_that_are_left_out_does_not_match() -> None:
    to_one = FilterMatch(prefix=Prefix.host(RED[0]))
    rule = FilterRule(ANY, to_one, None, passes=True, both_ways=False)
    assert Box(rules=(rule,)).send(ask(1)) is DropReason.NONE
    box = Box(FatFlow(UDP, 53, ignores_remote=True), rules=(rule,))
    assert box.send(ask(1)) is DropReason.POLICY_FROM_PORT


def test_the_end_of_one_connection_is_not_that_of_the_row() -> None:
    box = Box(FatFlow(6, 80))
    for port in range(40000, 40003):
        for flags in (SYN, FIN):
            box.send(tcp_packet(OWN, RED[0], Tcp(port, 80, flags=flags), b""))
    ((_, flow),) = box.flows.items()
    assert (flow.out_packets, flow.tcp_out) == (6, 0)


def test_icmp_is_told_apart_by_its_type() -> None:
    box = Box(FatFlow(1, 0))
    for identifier in range(5):
        box.send(icmp_packet(OWN, RED[0], Icmp(8, 0, 0, identifier, 1), b""))
    box.send(icmp_packet(OWN, RED[0], Icmp(13, 0, 0, 7, 1), b""))
    assert {key.remote_port for key in box.flows} == {0, 13}


def test_rules_of_a_fat_flow_can_be_judged_again() -> None:
    """As `filament verify` does, which knows the row only."""
    box = Box(FatFlow(UDP, 53, ignores_remote=True))
    box.send(ask(40000))
    ((key, flow),) = box.flows.items()
    port = next(iter(box.tables.rows["interfaces"].values())).values
    policy = box.model._policy
    assert policy.judge_again(key, flow, InterfaceValues(*port)) == flow.action
