"""Many connections in one row of the flow table, and what a row must still tell apart."""

from __future__ import annotations

import msgspec
import pytest

from filament.base.net import ROUTER_MAC, Prefix, format_address, parse_ipv4, parse_ipv6
from filament.base.origin import NOWHERE
from filament.forward.flows import FarEnd, Flow, FlowKey
from filament.forward.ids import SPACES, Ids
from filament.forward.inputs import (
    FatFlow,
    Filter,
    FilterMatch,
    FilterRule,
    Grouping,
    Host,
    Inputs,
    Port,
    Route,
    SecurityGroup,
)
from filament.forward.layout import FAR_END_BITS, FAT_LOCAL, FAT_PORTS, FAT_REMOTE, DropReason
from filament.forward.lists import Memo
from filament.forward.model import Model, UnderlayPath
from filament.forward.plan import plan
from filament.forward.rows import FatSubnetValues, InterfaceValues
from filament.wire.packet.frames import (
    icmp_packet,
    ipv4_frame,
    ipv6_frame,
    ipv6_packet,
    tcp_packet,
    udp_packet,
)
from filament.wire.packet.icmp import Icmp
from filament.wire.packet.ipv4 import UDP
from filament.wire.packet.ipv6 import Ipv6
from filament.wire.packet.tcp import FIN, SYN, Tcp
from filament.wire.packet.udp import Udp, encode_udp

ME, FAR = parse_ipv4("172.30.0.1"), parse_ipv4("172.30.0.2")
OWN = parse_ipv4("10.1.1.3")
RED = [parse_ipv4(f"10.1.1.{last}") for last in (10, 11, 12)]
BLUE = parse_ipv4("10.1.2.10")
OWN6 = parse_ipv6("2001:db8:1::3")
RED6 = [parse_ipv6(f"2001:db8:1:{subnet}::{last}") for subnet in (0, 1) for last in (1, 2)]
ANY = FilterMatch()
ALL = FilterRule(ANY, ANY, None, passes=True, both_ways=True)


class Box:
    """One port with fat flows, in red, which has routes to red and blue."""

    def __init__(
        self,
        *fat: FatFlow,
        rules: tuple[FilterRule, ...] = (ALL,),
        groups: tuple[SecurityGroup, ...] = (),
        more: tuple[int, ...] = (),
    ) -> None:
        self.model = Model(None, lambda: 1.0, {FAR: UnderlayPath(2, 1, 3)})
        port = Port(
            uuid="uuid-1",
            name="port-1",
            device="tap1",
            ifindex=11,
            is_veth=True,
            mac=0x020000000001,
            addresses=(OWN, *more),
            addresses6=(OWN6,),
            security_groups=tuple(one.name for one in groups),
            vrf="red",
            network="red",
            acl="acl",
            fat_flows=fat,
        )
        routes = tuple(
            Route("red", Prefix.host(address), FAR, 16, network, NOWHERE)
            for network, address in (*(("red", one) for one in RED), ("blue", BLUE))
        )
        routes += tuple(Route("red", Prefix.host(one, 6), FAR, 16, "red", NOWHERE) for one in RED6)
        self.inputs = Inputs(
            Host("host1", ME),
            1,
            (port,),
            (),
            routes,
            (Filter("acl", rules),),
            security_groups=groups,
        )
        self.tables = plan(self.inputs, Ids())
        self.model.replace(self.tables)

    def with_rules(self, prefix: Prefix) -> Inputs:
        """The same with a rule about a prefix before the others."""
        one = FilterRule(ANY, FilterMatch(prefix=prefix), None, passes=False, both_ways=True)
        (acl,) = self.inputs.filters
        return msgspec.structs.replace(self.inputs, filters=(Filter(acl.name, (one, *acl.rules)),))

    def send(self, packet: bytes) -> DropReason:
        frame = ipv4_frame if packet[0] >> 4 == 4 else ipv6_frame
        return self.model.from_port(11, frame(0x020000000001, ROUTER_MAC, packet)).reason

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


# --- by prefix ---

RED_24, TEN, RED6_48 = map(Prefix.parse, ("10.1.1.0/24", "10.0.0.0/8", "2001:db8:1::/48"))


def ask6(port: int, to: int) -> bytes:
    return ipv6_packet(Ipv6(OWN6, to, UDP, 0), encode_udp(Udp(port, 53, 8)))


def ends(box: Box) -> set[tuple[str, str]]:
    """Both addresses of every row, with what is kept of them."""
    return {
        (
            f"{format_address(key.local & 0xFFFFFFFF)}/{key.local_length or 32}",
            f"{format_address(key.remote_address & 0xFFFFFFFF)}/{key.remote_length or 32}",
        )
        for key in box.flows
    }


def test_far_addresses_of_a_prefix_are_told_apart_as_far_as_is_asked() -> None:
    box = Box(FatFlow(UDP, 53, remote=Grouping(RED_24, 31)))
    assert {box.send(ask(port, to)) for port in (1, 2) for to in RED} == {DropReason.NONE}
    assert ends(box) == {("10.1.1.3/32", "10.1.1.10/31"), ("10.1.1.3/32", "10.1.1.12/31")}
    assert {key.fat for key in box.flows} == {FAT_PORTS | FAT_REMOTE}
    box.send(ask(1, BLUE))
    box.send(ask(2, BLUE))
    assert sum(not key.fat for key in box.flows) == 2


def test_own_addresses_too() -> None:
    others = [parse_ipv4("10.1.1.4"), parse_ipv4("10.1.1.5")]
    box = Box(FatFlow(UDP, 53, local=Grouping(RED_24, 30)), more=tuple(others))
    for own in (OWN, *others):
        assert box.send(udp_packet(own, RED[0], (1, 53))) is DropReason.NONE
    assert ends(box) == {("10.1.1.0/30", "10.1.1.10/32"), ("10.1.1.4/30", "10.1.1.10/32")}
    assert {key.fat for key in box.flows} == {FAT_PORTS | FAT_LOCAL}


def test_a_prefix_beside_an_address_that_is_ignored() -> None:
    box = Box(FatFlow(UDP, 53, ignores_local=True, remote=Grouping(RED_24, 24)))
    for port in (1, 2):
        for to in RED:
            box.send(ask(port, to))
    ((key, flow),) = box.flows.items()
    assert (key.fat, key.local_length, key.remote_length) == (
        FAT_PORTS | FAT_LOCAL | FAT_REMOTE,
        0,
        24,
    )
    assert flow.out_packets == 6


def test_two_prefixes_are_about_who_is_in_both() -> None:
    box = Box(FatFlow(UDP, 53, local=Grouping(RED_24, 24), remote=Grouping(RED_24, 30)))
    for to in (*RED, BLUE):
        box.send(ask(1, to))
    assert ends(box) == {
        ("10.1.1.0/24", "10.1.1.8/30"),
        ("10.1.1.0/24", "10.1.1.12/30"),
        ("10.1.1.3/32", "10.1.2.10/32"),
    }


def test_who_is_in_no_pair_of_the_longer_prefix_may_be_in_one_of_the_shorter() -> None:
    blue = Prefix.parse("10.1.2.0/24")
    box = Box(
        FatFlow(UDP, 53, local=Grouping(TEN, 8), remote=Grouping(RED_24, 24)),
        FatFlow(UDP, 53, local=Grouping(RED_24, 24), remote=Grouping(blue, 24)),
    )
    for to in (RED[0], BLUE):
        box.send(ask(1, to))
    assert ends(box) == {("10.0.0.0/8", "10.1.1.0/24"), ("10.1.1.0/24", "10.1.2.0/24")}


def test_fat_flows_without_a_prefix_come_first_then_those_by_the_ports_own_address() -> None:
    """TF's order."""
    by_own, by_far = Grouping(RED_24, 24), Grouping(RED_24, 25)
    both = FatFlow(UDP, 53, local=Grouping(RED_24, 26), remote=by_far)
    flows = [
        both,
        FatFlow(UDP, 53, remote=by_far),
        FatFlow(UDP, 53, local=by_own),
        FatFlow(UDP, 53),
    ]
    kept = []
    for count in range(4):
        box = Box(*flows[: count + 1])
        box.send(ask(1))
        (key,) = box.flows
        kept.append((key.local_length, key.remote_length))
    assert kept == [(26, 25), (0, 25), (24, 0), (0, 0)]


def test_the_longest_prefix_counts() -> None:
    box = Box(
        FatFlow(UDP, 53, remote=Grouping(TEN, 16)),
        FatFlow(UDP, 53, remote=Grouping(RED_24, 24)),
    )
    for to in (*RED, BLUE):
        box.send(ask(1, to))
    assert {remote for _, remote in ends(box)} == {"10.1.1.0/24", "10.1.0.0/16"}


def test_the_network_half_of_ipv6_addresses_can_be_kept_in_part() -> None:
    box = Box(FatFlow(UDP, 53, remote=Grouping(RED6_48, 64)))
    assert {box.send(ask6(port, to)) for port in (1, 2) for to in RED6} == {DropReason.NONE}
    assert {key.remote_address for key in box.flows} == {
        parse_ipv6("2001:db8:1::"),
        parse_ipv6("2001:db8:1:1::"),
    }
    for key in box.flows:
        assert (key.version, key.remote_length) == (6, 64)
        assert key.far_end is not None


def test_networks_stay_apart_within_a_prefix() -> None:
    to_red = FilterRule(ANY, FilterMatch(network="red"), None, passes=True, both_ways=False)
    box = Box(FatFlow(UDP, 53, remote=Grouping(TEN, 8)), rules=(to_red,))
    assert {box.send(ask(40000, to)) for to in RED} == {DropReason.NONE}
    assert box.send(ask(40000, BLUE)) is DropReason.POLICY_FROM_PORT
    assert box.send(ask(40000, RED[0])) is DropReason.NONE
    assert len(box.flows) == 2


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("of_group", [True, False])
def test_addresses_that_rules_tell_apart_have_rows_of_their_own(
    *, passes: bool, of_group: bool
) -> None:
    """Whoever comes first: no packet passes, and none is dropped, by what is said of others."""
    about_one = FilterMatch(prefix=Prefix.host(RED[1]))
    if of_group:
        one = FilterRule(ANY, about_one, None, passes=True, both_ways=False)
        rules, groups, passes = (ALL,), (SecurityGroup("one", 7, (one,), ()),), True
    else:
        one = FilterRule(ANY, about_one, None, passes=passes, both_ways=False)
        others = FilterRule(ANY, ANY, None, passes=not passes, both_ways=False)
        rules, groups = (one, others), ()
    for order in (RED, RED[::-1]):
        box = Box(FatFlow(UDP, 53, remote=Grouping(RED_24, 24)), rules=rules, groups=groups)
        plain = Box(rules=rules, groups=groups)
        for to in (*order, *order):
            assert box.send(ask(1, to)) is plain.send(ask(1, to))
        assert len(box.flows) == 3


def test_rules_about_addresses_elsewhere_cost_a_prefix_nothing() -> None:
    elsewhere = FilterMatch(prefix=Prefix.host(BLUE))
    rules = (FilterRule(ANY, elsewhere, None, passes=False, both_ways=True), ALL)
    box = Box(FatFlow(UDP, 53, remote=Grouping(RED_24, 24)), rules=rules)
    for to in RED:
        box.send(ask(1, to))
    assert len(box.flows) == 1


def test_a_rule_that_is_new_tells_apart_at_once() -> None:
    """What is remembered of a list is of what it was."""
    grouping = FatFlow(UDP, 53, remote=Grouping(RED_24, 24))
    box = Box(grouping)
    ids, memo = Ids(), Memo()
    planned = [
        plan(one, ids, memo=memo).rows["fat_subnets"]
        for one in (box.inputs, box.with_rules(Prefix.host(RED[1])), box.inputs)
    ]
    lengths = [FatSubnetValues(*row.values).remote_length for (row,) in map(dict.values, planned)]
    assert lengths == [24, 0, 24]


def test_what_a_key_has_of_a_far_end_fits() -> None:
    for space in ("network", "groups", "tags"):
        first, count = SPACES[space]
        assert first + count <= 1 << FAR_END_BITS


def test_rules_of_a_flow_by_prefix_can_be_judged_again() -> None:
    box = Box(FatFlow(UDP, 53, remote=Grouping(TEN, 8)))
    box.send(ask(40000))
    ((key, flow),) = box.flows.items()
    port = next(iter(box.tables.rows["interfaces"].values())).values
    policy = box.model._policy
    assert policy.judge_again(key, flow, InterfaceValues(*port)) == flow.action
