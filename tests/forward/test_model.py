"""What the model says beside the verdict: the trail, and being a data plane for a simulator."""

from __future__ import annotations

import pytest

from filament.base.net import ROUTER_MAC, Prefix, format_ipv4, parse_ipv4
from filament.base.origin import Origin
from filament.forward.ids import Ids
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    Route,
    Subnet,
)
from filament.forward.layout import FLOW_IDLE_S, FLOW_IDLE_TCP_S, TABLES, DropReason, Verdict
from filament.forward.model import Counter, Model, UnderlayPath
from filament.forward.plan import plan
from filament.forward.policy import MAX_FLOWS
from filament.forward.tables import Change
from filament.wire.packet.arp import decode_arp
from filament.wire.packet.frames import (
    arp_request_frame,
    ipv4_frame,
    tcp_packet,
    udp_packet,
)
from filament.wire.packet.tcp import ACK, Tcp

HOSTS = [parse_ipv4("172.30.0.1"), parse_ipv4("172.30.0.2")]
RED = [parse_ipv4("10.1.1.3"), parse_ipv4("10.1.1.4")]
MACS = [0x020000000000, 0x020000000001]
GATEWAY = parse_ipv4("10.1.1.1")
POLICY = Origin("network-policy demo:p", "rule 1", 12)
TO_FIRST = FilterRule(
    FilterMatch(), FilterMatch(prefix=Prefix(RED[0], 32)), None, True, False, POLICY
)
FROM_FIRST = FilterRule(
    FilterMatch(prefix=Prefix(RED[0], 32)), FilterMatch(), None, True, False, POLICY
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Net:
    """Two hosts with a port of red each, tunnels between them, and one clock."""

    def __init__(self, *rules: FilterRule, most_flows: int = MAX_FLOWS) -> None:
        self.clock = Clock()
        self.ids = [Ids(), Ids()]
        self.models = []
        for index in (0, 1):
            underlay = {HOSTS[1 - index]: UnderlayPath(2, 0x0A, 0x0B)}
            tables = self.tables(index, rules)
            self.models.append(Model(tables, self.clock, underlay, most_flows=most_flows))

    def tables(self, index: int, rules: tuple[FilterRule, ...]):
        port = Port(
            uuid=f"port-{index}",
            name=f"red-{index}",
            device="tap",
            ifindex=7,
            is_veth=True,
            mac=MACS[index],
            addresses=(RED[index],),
            vrf="red",
            network="red",
            acl="acl",
            origin=Origin(f"virtual-machine-interface red-{index}", "port", 4),
        )
        other = Prefix(RED[1 - index], 32)
        found = Inputs(
            host=Host(f"host{index}", HOSTS[index]),
            ports=(port,),
            subnets=(Subnet("red", "red", Prefix.parse("10.1.1.0/24"), GATEWAY),),
            routes=(Route("red", other, HOSTS[1 - index], 16, "red", Origin("bgp", "r", 5)),),
            filters=(Filter("acl", rules, Origin("access-control-list red", "filter", 9)),),
        )
        return plan(found, self.ids[index])

    def send(self, index: int, packet: bytes):
        """Send from a port; returns the last host's result."""
        result = self.models[index].from_port(7, ipv4_frame(MACS[index], ROUTER_MAC, packet))
        if result.output is None or not result.output.is_to_fabric:
            return result
        assert result.output.remote == HOSTS[1 - index]
        return self.models[1 - index].from_fabric(result.output.frame)


def stages(result) -> list[tuple[str, str]]:
    return [(step.stage, step.table) for step in result.trail]


def test_a_trail_names_every_row_with_its_origin() -> None:
    net = Net(FROM_FIRST)
    frame = ipv4_frame(MACS[0], ROUTER_MAC, udp_packet(*RED, (1, 2)))
    sent = net.models[0].from_port(7, frame)
    assert stages(sent) == [
        ("port", "interfaces"),
        ("route", "routes"),
        ("next-hop", "next_hops"),
        ("flow", "flows"),
        ("rule", "rules"),
        ("tunnel", ""),
    ]
    by_stage = {step.stage: step for step in sent.trail}
    assert by_stage["rule"].origin == POLICY
    assert by_stage["route"].origin == Origin("bgp", "r", 5)
    assert by_stage["port"].origin.object == "virtual-machine-interface red-0"
    assert [step.text for step in sent.trail] == [
        "device 7 is port 1 in VRF 1, network 1, ACL 1",
        "VRF 1: 10.1.1.4/32 to next hop 4 with label 16",
        "next hop 4: MPLS over UDP to 172.30.0.2",
        "flow may pass, packet 1 of it, generation 1",
        "list 1 rule 1 passes",
        "MPLS over UDP to 172.30.0.2, label 16",
    ]
    assert sent.output is not None
    received = net.models[1].from_fabric(sent.output.frame)
    assert stages(received)[:3] == [
        ("label", "labels"),
        ("next-hop", "next_hops"),
        ("port", "interfaces"),
    ]
    assert received.output is not None
    assert (received.output.ifindex, received.output.is_peer) == (7, True)
    assert received.output.frame[14:] == udp_packet(*RED, (1, 2), ttl=63)


def test_a_trail_says_what_is_not_there() -> None:
    net = Net()
    stranger = parse_ipv4("192.0.2.1")
    result = net.send(0, udp_packet(RED[0], stranger, (1, 2)))
    assert result.reason is DropReason.NO_ROUTE
    assert [step.text for step in result.trail][1:] == [
        "no row in routes for prefix_length 64, vrf 1, address 192.0.2.1",
        "the VRF has no route to the destination",
    ]
    denied = net.send(0, udp_packet(*RED, (1, 2)))
    assert denied.reason is DropReason.POLICY_FROM_PORT
    assert [(step.text, step.origin.object) for step in denied.trail][-2:] == [
        ("list 1: no rule of it matches, so denied", "access-control-list red"),
        ("the source network's policy denies it", ""),
    ]


def test_every_table_has_words() -> None:
    from filament.forward.steps import Step  # noqa: PLC0415

    model = Net(FROM_FIRST).models[0]
    for table in TABLES:
        for key, row in model.rows.by_table.get(table.name, {}).items():
            assert Step("stage", table.name, key, row).text


def test_policy_is_judged_at_both_ends() -> None:
    net = Net(FROM_FIRST)
    assert net.send(0, udp_packet(*RED, (1, 2))).verdict is Verdict.REDIRECT
    assert net.send(1, udp_packet(*reversed(RED), (2, 1))).verdict is Verdict.REDIRECT
    assert net.send(1, udp_packet(*reversed(RED), (2, 9))).reason is DropReason.POLICY_FROM_PORT
    assert [sorted(model.drops.values()) for model in net.models] == [[], [1]]


@pytest.mark.parametrize(
    ("make", "idle_s"),
    [
        (lambda addresses, ports: udp_packet(*addresses, ports), FLOW_IDLE_S),
        (lambda addresses, ports: tcp_packet(*addresses, Tcp(*ports, flags=ACK)), FLOW_IDLE_TCP_S),
    ],
    ids=["udp", "tcp"],
)
def test_answers_are_expected_for_a_while(make, idle_s: int) -> None:
    net = Net(FROM_FIRST)
    answer = make(RED[::-1], (2, 1))
    net.send(0, make(RED, (1, 2)))
    net.clock.now += idle_s
    assert net.send(1, answer).verdict is Verdict.REDIRECT
    net.clock.now += idle_s + 1
    assert net.send(1, answer).reason is DropReason.POLICY_FROM_PORT


def test_rows_change_under_running_flows() -> None:
    net = Net(FROM_FIRST)
    net.send(0, udp_packet(*RED, (1, 2)))
    for index, model in enumerate(net.models):
        model.replace(net.tables(index, (TO_FIRST,)))
    assert net.send(0, udp_packet(*RED, (1, 2))).reason is DropReason.POLICY_FROM_PORT
    assert net.send(1, udp_packet(*reversed(RED), (2, 1))).verdict is Verdict.REDIRECT
    assert net.models[0].counters[1] == Counter(2, 2 * 42, 1, 42)


def test_a_model_is_written_like_maps() -> None:
    net = Net(FROM_FIRST)
    source = net.models[0]
    copy = Model(None, net.clock, source.underlay)
    copy.write(
        Change(name, key, values)
        for name, rows in source.read_planned().items()
        for key, values in rows.items()
    )
    assert copy.read_planned() == source.read_planned()
    frame = ipv4_frame(MACS[0], ROUTER_MAC, udp_packet(*RED, (1, 2)))
    assert copy.from_port(7, frame)[:3] == source.from_port(7, frame)[:3]
    copy.write([Change("routes", (64, 1, RED[1]), None)])
    assert copy.from_port(7, frame).reason is DropReason.UNASSIGNED


def test_a_port_that_left_leaves_nothing() -> None:
    net = Net(FROM_FIRST)
    model = net.models[0]
    net.send(0, udp_packet(*RED, (1, 2)))
    net.send(0, udp_packet(RED[1], RED[0], (1, 2)))
    assert model.flows()
    assert model.drops
    model.forget_port(1)
    assert (model.flows(), model.drops, set(model.counters)) == ({}, {}, {0})


def test_the_gateway_and_neighbours_are_behind_one_mac() -> None:
    model = Net().models[0]
    for target in (GATEWAY, RED[1], parse_ipv4("10.1.1.200")):
        result = model.from_port(7, arp_request_frame(MACS[0], RED[0], target))
        assert result.output is not None, format_ipv4(target)
        reply = decode_arp(result.output.frame[14:])
        assert (reply.operation, reply.sender_mac, reply.sender) == (2, ROUTER_MAC, target)
    for target in (RED[0], parse_ipv4("10.1.2.1")):
        result = model.from_port(7, arp_request_frame(MACS[0], RED[0], target))
        assert result.reason is DropReason.ARP_UNANSWERED


def test_frames_too_short_for_any_header() -> None:
    model = Net().models[0]
    assert model.from_port(7, b"\0" * 13).reason is DropReason.MALFORMED
    assert model.from_port(8, b"").reason is DropReason.UNKNOWN_INTERFACE
    assert model.from_fabric(b"").verdict is Verdict.OK


def test_the_flow_table_is_bounded() -> None:
    net = Net(FROM_FIRST, most_flows=4)
    for port in range(10):
        net.send(0, udp_packet(*RED, (port, 2)))
    assert len(net.models[0].flows()) == 4
