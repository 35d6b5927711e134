"""Inputs to rows: what is there, why, and what a change changes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.net import ROUTER_MAC, Prefix, parse_ipv4, parse_ipv6, widen_address
from filament.base.origin import Origin
from filament.forward.ids import Ids
from filament.forward.inputs import (
    AddressPair,
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    Route,
    Subnet,
)
from filament.forward.layout import PLANNED, PROTOCOL_ANY, RULE_NONE, DropReason, NextHopType
from filament.forward.model import Model
from filament.forward.plan import network_borders, plan
from filament.forward.rows import (
    HostValues,
    InterfaceValues,
    NextHopValues,
    RouteValues,
    Rows,
    RuleValues,
)

ME, OTHER = parse_ipv4("172.30.0.1"), parse_ipv4("172.30.0.2")
GATEWAY, SERVICE = parse_ipv4("10.1.1.1"), parse_ipv4("10.1.1.2")
RED_1, RED_2, RED_9 = (parse_ipv4(f"10.1.1.{last}") for last in (3, 4, 9))
BLUE_1 = parse_ipv4("10.1.2.3")
RED, BLUE = "demo:red", "demo:blue"
VMI = Origin("virtual-machine-interface demo:red-1", "port", 7)
SUBNET = Subnet(
    RED, RED, Prefix.parse("10.1.1.0/24"), GATEWAY, SERVICE, Origin("virtual-network red", "s", 3)
)


def port(number: int = 1, address: int | None = RED_1, network: str = RED, **changes) -> Port:
    made = Port(
        uuid=f"uuid-{number}",
        name=f"port-{number}",
        device=f"tap{number}",
        ifindex=10 + number,
        is_veth=True,
        mac=0x020000000000 + number,
        addresses=(address,) if address is not None else (),
        vrf=network,
        network=network,
        acl=None,
        origin=VMI,
    )
    return msgspec.structs.replace(made, **changes)


def rule(source: str = "", destination: str = "", **changes) -> FilterRule:
    made = FilterRule(
        FilterMatch(source), FilterMatch(destination), None, passes=True, both_ways=False
    )
    return msgspec.structs.replace(made, **changes)


def inputs(*ports: Port, **parts) -> Inputs:
    return Inputs(host=Host("host1", ME), revision=9, ports=ports, **parts)


def route(prefix: str, next_hop: int, label: int, *, vrf: str = RED, network: str = RED) -> Route:
    return Route(vrf, Prefix.parse(prefix), next_hop, label, network, Origin("r", "received", 8))


def found_route(tables, vrf: int, address: int) -> RouteValues:
    found = Rows(tables).find_route(vrf, address)
    assert found is not None
    return RouteValues(*found.row.values)


def next_hop(tables, number: int) -> NextHopValues:
    return NextHopValues(*tables.rows["next_hops"][number,].values)


def test_nothing_but_a_host() -> None:
    tables = plan(inputs(), Ids())
    assert tables.revision == 9
    assert set(tables.rows) == set(PLANNED)
    (row,) = tables.rows["host"].values()
    assert HostValues(*row.values) == HostValues(ME, 1, 9)
    assert sum(len(rows) for rows in tables.rows.values()) == 1


def test_a_port_has_an_interface_a_next_hop_a_label_and_a_route() -> None:
    tables = plan(inputs(port(), subnets=(SUBNET,)), Ids())
    (row,) = tables.rows["interfaces"].values()
    interface = InterfaceValues(*row.values)
    assert interface == InterfaceValues(
        1, 1, 1, 0, 0, 0, 0, 0, interface.next_hop, 7, RED_1, 0, 0, 0x020000000001
    )
    assert row.origin == VMI
    hop = next_hop(tables, interface.next_hop)
    assert hop == NextHopValues(NextHopType.INTERFACE, 1, 11, 0, 0x020000000001, ROUTER_MAC)
    assert tables.rows["labels"][16,].values == (interface.next_hop,)
    own = tables.rows["routes"][64, 1, RED_1]
    assert RouteValues(*own.values) == RouteValues(interface.next_hop, 0, 1, 0, 0, 2)
    assert own.origin == Origin(VMI.object, "local-address", 7)


def test_a_port_without_addresses_waits_without_routes() -> None:
    tables = plan(inputs(port(address=None)), Ids())
    assert InterfaceValues(*tables.rows["interfaces"][11,].values).address == 0
    assert tables.rows["routes"] == {}


def test_a_subnet_is_discarded_but_for_the_gateway_and_the_service_address() -> None:
    tables = plan(inputs(port(), subnets=(SUBNET,)), Ids())
    kinds = {
        address: NextHopType(next_hop(tables, found_route(tables, 1, address).next_hop).type)
        for address in (GATEWAY, SERVICE, RED_1, RED_9)
    }
    assert kinds == {
        GATEWAY: NextHopType.RECEIVE,
        SERVICE: NextHopType.RECEIVE,
        RED_1: NextHopType.INTERFACE,
        RED_9: NextHopType.DISCARD,
    }
    assert tables.rows["routes"][64, 1, GATEWAY].origin == Origin(
        "virtual-network red", "gateway", 3
    )
    # ARP is answered for everything that a workload believes to be on its link.
    assert {RouteValues(*row.values).flags for row in tables.rows["routes"].values()} == {2}


def test_received_routes_share_a_tunnel() -> None:
    tables = plan(
        inputs(
            port(),
            subnets=(SUBNET,),
            routes=(
                route("10.1.1.4/32", OTHER, 40),
                route("10.1.2.3/32", OTHER, 41, network=BLUE),
            ),
        ),
        Ids(),
    )
    red, blue = found_route(tables, 1, RED_2), found_route(tables, 1, BLUE_1)
    assert red.next_hop == blue.next_hop
    assert next_hop(tables, red.next_hop).remote == OTHER
    assert (red.label, red.flags, blue.label, blue.flags) == (40, 2, 41, 0)
    assert red.network != blue.network


def test_local_addresses_win_over_received_ones_and_those_over_the_gateway() -> None:
    tables = plan(
        inputs(
            port(),
            subnets=(SUBNET,),
            routes=(route("10.1.1.3/32", OTHER, 40), route("10.1.1.1/32", OTHER, 41)),
        ),
        Ids(),
    )
    assert next_hop(tables, found_route(tables, 1, RED_1).next_hop).type == NextHopType.INTERFACE
    assert next_hop(tables, found_route(tables, 1, GATEWAY).next_hop).type == NextHopType.TUNNEL


def test_an_echoed_route_is_the_local_port_also_in_another_vrf() -> None:
    ids = Ids()
    ports = port(), port(2, BLUE_1, BLUE)
    plan(inputs(*ports), ids)
    label = ids.numbers("label")["uuid-2"]
    tables = plan(inputs(*ports, routes=(route("10.1.2.3/32", ME, label, network=BLUE),)), ids)
    red = ids.numbers("vrf")[RED]
    assert next_hop(tables, found_route(tables, red, BLUE_1).next_hop).ifindex == 12


def test_an_echo_of_a_port_that_left_is_no_route() -> None:
    tables = plan(inputs(port(), routes=(route("10.1.1.9/32", ME, 99),)), Ids())
    assert (64, 1, RED_9) not in tables.rows["routes"]


def test_an_echo_of_a_port_that_left_gives_way_to_where_it_went() -> None:
    routes = route("10.1.1.9/32", ME, 99), route("10.1.1.9/32", OTHER, 40)
    tables = plan(inputs(port(), routes=routes), Ids())
    assert found_route(tables, 1, RED_9).label == 40


def test_two_ports_with_an_address_share_it() -> None:
    tables = plan(inputs(port(), port(2, RED_1)), Ids())
    shared = next_hop(tables, found_route(tables, 1, RED_1).next_hop)
    assert (shared.type, shared.members, shared.local_members) == (NextHopType.COMPOSITE, 2, 2)


def test_arp_is_not_answered_for_what_only_begins_like_the_subnet() -> None:
    subnet = msgspec.structs.replace(SUBNET, prefix=Prefix.parse("10.1.0.0/24"))
    routes = (route("10.1.0.0/16", OTHER, 40), route("10.1.0.0/25", OTHER, 41))
    tables = plan(inputs(subnets=(subnet,), routes=routes), Ids())
    found = {key[0]: RouteValues(*row.values) for key, row in tables.rows["routes"].items()}
    flags = {length: one.flags for length, one in found.items() if length < 64}
    assert flags == {48: 0, 56: 2, 57: 2}


def test_filters_become_rows_and_both_ways_two() -> None:
    origin = Origin("network-policy p", "rule 1", 5)
    one = rule(RED, BLUE, protocol=6, both_ways=True, origin=origin)
    same = rule(both_ways=True, passes=False)
    tables = plan(inputs(port(acl="a"), filters=(Filter("a", (one, same)),)), Ids())
    values = [RuleValues(*row.values) for row in tables.rows["rules"].values()]
    assert [(v.source_network, v.destination_network) for v in values] == [(1, 2), (2, 1), (0, 0)]
    assert [(v.protocol, v.action) for v in values] == [(6, 1), (6, 1), (PROTOCOL_ANY, 0)]
    assert tables.rows["lists"] == {(1,): tables.rows["lists"][1,]}
    # The two directions look at the same, the last rule at nothing.
    assert tables.rows["lists"][1,].values == (2, 0)
    origins = [row.origin for row in tables.rows["rules"].values()]
    assert origins[:2] == [origin, Origin(origin.object, "rule 1 reversed", 5)]


def test_a_filter_that_did_not_arrive_denies() -> None:
    tables = plan(inputs(port(acl="a")), Ids())
    acl = InterfaceValues(*tables.rows["interfaces"][11,].values).acl
    assert acl
    assert tables.rows["lists"][acl,].values == (0, 0)


def test_a_changed_filter_is_another_acl() -> None:
    ids = Ids()
    before = plan(inputs(port(acl="a"), filters=(Filter("a", (rule(RED, BLUE),)),)), ids)
    after = plan(inputs(port(acl="a"), filters=(Filter("a", (rule(BLUE, RED),)),)), ids)
    assert before.rows["rules"].keys().isdisjoint(after.rows["rules"])
    again = plan(
        inputs(
            port(acl="a"),
            filters=(Filter("a", (rule(BLUE, RED, origin=Origin("other", "", 99)),)),),
        ),
        ids,
    )
    assert again.rows["rules"].keys() == after.rows["rules"].keys()


def generation(tables) -> int:
    return HostValues(*tables.rows["host"][0,].values).generation


@pytest.mark.parametrize(
    ("after", "judges_again"),
    [
        ({}, False),
        ({"revision": 10}, False),
        ({"routes": (route("10.1.1.4/32", OTHER, 40),)}, False),  # red's subnet says so already
        ({"routes": (route("10.1.2.3/32", OTHER, 40, network=BLUE),)}, True),
        ({"filters": (Filter("a", (rule(RED, BLUE),)),)}, True),
        ({"ports": (port(acl="a"), port(2, RED_2))}, True),
        ({"ports": (port(acl=None),)}, True),
        ({"ports": (port(acl="a", has_policy=False),)}, True),
        ({"ports": (port(uuid="successor", acl="a"),)}, True),
    ],
)
def test_flows_are_judged_again_when_a_verdict_may_differ(after, judges_again) -> None:
    ids = Ids()
    first = inputs(port(acl="a"), subnets=(SUBNET,), filters=(Filter("a", (rule(),)),))
    before = generation(plan(first, ids))
    found = generation(plan(msgspec.structs.replace(first, **after), ids))
    assert (found != before) == judges_again


def test_generations_go_on_after_a_restart() -> None:
    ids = Ids()
    first, second = inputs(port()), inputs(port(), port(2, RED_2))
    plan(first, ids)
    before = generation(plan(second, ids))
    restarted = Ids(ids.export())
    assert generation(plan(second, restarted)) == before
    assert generation(plan(first, restarted)) == before + 1


def test_numbers_are_kept_until_everything_has_been_heard() -> None:
    ids = Ids()
    plan(inputs(port(), port(2, RED_2)), ids)
    plan(inputs(port()), ids, whole=False)
    assert set(ids.numbers("label")) == {"uuid-1", "uuid-2"}
    plan(inputs(port()), ids)
    assert set(ids.numbers("label")) == {"uuid-1"}


def test_planning_twice_gives_the_same_rows() -> None:
    ids = Ids()
    given_ = inputs(
        port(acl="a"),
        port(2, RED_2),
        subnets=(SUBNET,),
        routes=(route("0.0.0.0/0", OTHER, 77, network=BLUE),),
        filters=(Filter("a", (rule(RED, BLUE, both_ways=True),)),),
    )
    assert plan(given_, ids) == plan(given_, ids)


prefixes = st.builds(
    lambda length, address: Prefix(address & (0xFFFFFFFF << 32 - length) & 0xFFFFFFFF, length),
    st.sampled_from([0, 8, 16, 24, 30, 31, 32]),
    st.sampled_from([0, 0x0A000000, 0x0A010100, 0x0A010103, 0x0A010102, 0x0B000000]),
)


@given(
    st.dictionaries(st.tuples(st.integers(1, 2), prefixes), st.integers(0, 2)),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1, 0x0A000001, 0x0A010101, 0x0A010102, 0x0A010103, 0x0B000000]),
)
def test_borders_tell_the_network_of_every_address(networks, vrf, address) -> None:
    def network_of(by_key):
        best = max(
            (
                (key, network)
                for key, network in by_key
                if key[1] == vrf and Prefix(key[2], key[0] - 32).contains(address)
            ),
            default=((0, 0, 0), 0),
        )
        return best[1]

    routes = {(32 + p.length, one, p.address): network for (one, p), network in networks.items()}
    borders = network_borders(routes)
    assert network_of(borders) == network_of(routes.items())
    assert len(borders) <= len(routes)


def test_a_plan_forwards() -> None:
    """The rows mean what they should: red to red passes, the rest of the subnet is nobody's."""
    from filament.wire.packet.frames import ipv4_frame, udp_packet  # noqa: PLC0415

    tables = plan(inputs(port(), port(2, RED_2), subnets=(SUBNET,)), Ids())
    model = Model(tables, lambda: 0.0)
    mac = 0x020000000001
    result = model.from_port(11, ipv4_frame(mac, ROUTER_MAC, udp_packet(RED_1, RED_2, (1, 2))))
    assert result.output is not None
    assert result.output.ifindex == 12
    result = model.from_port(11, ipv4_frame(mac, ROUTER_MAC, udp_packet(RED_1, RED_9, (1, 2))))
    assert result.reason is DropReason.UNASSIGNED
    assert {values[8] for values in model.flows().values()} == {RULE_NONE}


def sources_of(tables) -> dict[tuple[int, ...], str]:
    return {key: row.origin.rule for key, row in tables.rows["sources"].items()}


def test_address_pairs_are_sources_with_their_mac_and_routes() -> None:
    mac, virtual = 0x020000000001, 0x00005E000107
    shared = AddressPair(Prefix.parse("10.1.1.9/32"), virtual)
    subnet = AddressPair(Prefix.parse("10.9.0.0/16"))
    anything = AddressPair(Prefix.parse("0.0.0.0/0"))
    holder = port(addresses=(RED_1, RED_2), pairs=(shared, subnet, anything))
    tables = plan(inputs(holder, subnets=(SUBNET,)), Ids())
    assert sources_of(tables) == {
        (224, 1, mac, widen_address(RED_2, 4)): "address",
        (224, 1, virtual, widen_address(RED_9, 4)): "allowed-address-pair 1",
        (224, 1, virtual, 0): "allowed-address-pair 1",
        (208, 1, mac, widen_address(parse_ipv4("10.9.0.0"), 4)): "allowed-address-pair 2",
        (192, 1, mac, widen_address(0, 4)): "allowed-address-pair 3",
    }
    own = found_route(tables, 1, RED_1).next_hop
    assert found_route(tables, 1, RED_9).next_hop == own
    assert found_route(tables, 1, parse_ipv4("10.9.7.7")).next_hop == own
    # Any address: whom the port may be, not where everybody is.
    assert Rows(tables).find_route(1, parse_ipv4("192.0.2.1")) is None


def test_any_ipv6_address_is_no_ipv4_address() -> None:
    anything = AddressPair(Prefix.parse("::/0"))
    rows = Rows(plan(inputs(port(pairs=(anything,))), Ids()))
    assert rows.find_source(1, 0x020000000001, parse_ipv6("2001:db8::1")) is not None
    assert rows.find_source(1, 0x020000000001, parse_ipv6("::1")) is not None
    assert rows.find_source(1, 0x020000000001, widen_address(RED_9, 4)) is None


@pytest.mark.parametrize(
    ("checks", "flags"), [((True, True), 7), ((True, False), 3), ((False, False), 1)]
)
def test_what_of_a_source_is_checked(checks, flags) -> None:
    checks_mac, checks_source = checks
    checked = port(checks_mac=checks_mac, checks_source=checks_source)
    tables = plan(inputs(checked), Ids())
    assert InterfaceValues(*tables.rows["interfaces"][11,].values).flags == flags


def test_source_checks_are_no_reason_to_judge_flows_again() -> None:
    ids = Ids()
    before = plan(inputs(port()), ids).rows["host"][0,]
    assert plan(inputs(port(checks_source=False)), ids).rows["host"][0,] == before
