"""Cases that generated packets meet too rarely, on both the programs and the model."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from filament.base.net import (
    ROUTER_MAC,
    Prefix,
    format_ipv4,
    format_mac,
    narrow_address,
    parse_address,
)
from filament.dataplane import bpf
from filament.dataplane.sweep import Sweeper, Watch
from filament.forward.flows import Flow, FlowKey
from filament.forward.ids import Ids
from filament.forward.inputs import (
    FatFlow,
    Filter,
    FilterMatch,
    FilterRule,
    Grouping,
    Host,
    Inputs,
    Port,
    SecurityGroup,
    Subnet,
    Vrf,
)
from filament.forward.layout import (
    FLOW_BOTH_DENIED,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_PRESSED_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_TCP_S,
    FLOW_INBOUND,
    FLOW_PASSED,
    GATEWAY_LINK_LOCAL,
    TABLE_BY_NAME,
    DropReason,
    Verdict,
)
from filament.forward.plan import plan
from filament.forward.tables import Change
from filament.wire.packet.checksum import checksum, pseudo_header_sum6
from filament.wire.packet.ethernet import Ethernet, encode_ethernet
from filament.wire.packet.frames import (
    icmp6_packet,
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    ipv6_frame,
    ipv6_packet,
    solicitation_frame,
    tcp_packet,
    udp6_packet,
    udp_packet,
)
from filament.wire.packet.icmp import (
    ECHO_REPLY,
    ECHO_REPLY6,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    Icmp,
)
from filament.wire.packet.ipv4 import UDP, Ipv4
from filament.wire.packet.ipv6 import FRAGMENT, ICMPV6, Ipv6, decode_ipv6, encode_fragment
from filament.wire.packet.mpls import LabelEntry, encode_label
from filament.wire.packet.neighbour import (
    ALL_NODES,
    IS_OVERRIDE,
    IS_ROUTER,
    IS_SOLICITED,
    decode_advertisement,
)
from filament.wire.packet.tcp import ACK, FIN, RST, SYN, Tcp
from filament.wire.packet.vxlan import Vxlan, decode_vxlan, encode_vxlan

from .kernel import run
from .twin import HOST, NEAR, NEAR_MAC, UNDERLAY_MAC, UNDERLAY_MTU, Seen, Twin
from .universe import ADDRESSES, ADDRESSES6, MACS, RED, RED_VNI, UUIDS, route

pytestmark = pytest.mark.bpf

GATEWAY, RED_0, RED_1, RED_NEAR, RED_BY_VXLAN = (ADDRESSES[index] for index in (0, 2, 3, 5, 7))
GATEWAY6, RED6_0, RED6_NEAR = (ADDRESSES6[index] for index in (0, 2, 5))
RED6_48 = Prefix.parse("2001:db8:1::/48")
ANY = FilterMatch()
OUT = FilterRule(FilterMatch(prefix=Prefix(RED_0, 32)), ANY, None, passes=True, both_ways=False)
IN = FilterRule(ANY, FilterMatch(prefix=Prefix(RED_0, 32)), None, passes=True, both_ways=False)


class Room:
    """Port 0 of red under one ACL, and a neighbour on another host."""

    def __init__(self, pair: Twin) -> None:
        pair.reset()
        self.pair = pair
        self.ids = Ids()
        self.limit = 0
        self.fat_flows: tuple[FatFlow, ...] = ()
        self.groups: tuple[SecurityGroup, ...] = ()
        self.remote_groups: tuple[int, ...] = ()

    def apply(self, *rules: FilterRule, revision: int = 1) -> None:
        """Write the rows of these rules."""
        port = Port(
            uuid=UUIDS[0],
            name="red 0",
            device="p0",
            ifindex=self.pair.ports[0],
            is_veth=True,
            mac=MACS[0],
            addresses=(RED_0,),
            vrf=RED,
            network=RED,
            acl="acl",
            flow_limit=self.limit,
            fat_flows=self.fat_flows,
            security_groups=tuple(one.name for one in self.groups),
            addresses6=(RED6_0,),
        )
        found = Inputs(
            host=Host("host1", HOST),
            revision=revision,
            ports=(port,),
            subnets=(
                Subnet(RED, RED, Prefix.parse("10.1.1.0/24"), GATEWAY),
                Subnet(RED, RED, Prefix.parse("2001:db8:1::/64"), GATEWAY6),
            ),
            routes=(
                msgspec.structs.replace(
                    route(RED, "10.1.1.10/32", NEAR, 30, RED), security_groups=self.remote_groups
                ),
                route(RED, "10.1.1.11/32", NEAR, 31, RED),
                route(RED, "10.1.1.12/32", NEAR, RED_VNI, RED, "vxlan"),
                route(RED, "2001:db8:1::10/128", NEAR, 30, RED),
            ),
            vrfs=(Vrf(RED, RED, RED_VNI),),
            filters=(Filter("acl", rules),),
            security_groups=self.groups,
        )
        self.pair.write(plan(found, self.ids))

    def send(self, packet: bytes) -> Seen:
        """Send a packet from the port."""
        return self.pair.from_port(self.pair.ports[0], ipv4_frame(MACS[0], ROUTER_MAC, packet))

    def receive(self, packet: bytes, *, tos: int = 0) -> Seen:
        """Let a packet arrive for the port."""
        label = self.ids.numbers("label")[UUIDS[0]]
        inner = encode_label(LabelEntry(label)) + packet
        segment = bytes.fromhex("c00019eb") + (8 + len(inner)).to_bytes(2, "big") + bytes(2) + inner
        outer = ipv4_packet(Ipv4(NEAR, HOST, UDP, 0, tos=tos), segment)
        return self.pair.from_fabric(ipv4_frame(NEAR_MAC, UNDERLAY_MAC, outer))

    def age(self, seconds: float, *keys: FlowKey) -> None:
        """Make entries of the flow table (all, or some) older than they are."""
        then = time.monotonic_ns() - int(seconds * 1e9)
        flows = self.pair.model._policy.flows
        for key in keys or list(flows):
            flow = flows[key]
            flows[key] = Flow(flow.started_ns, then, *flow.values()[2:])
            # Before the machine was started: the program counts in 64 bits, round and round.
            values = flows[key].values()
            aged = (values[0], then % (1 << 64), *values[2:])
            self.pair.maps.write([Change("flows", key, aged)])

    @property
    def flow(self) -> Flow:
        """The only entry of the flow table."""
        (flow,) = self.pair.model._policy.flows.values()
        return flow


@pytest.fixture
def room(pair: Twin) -> Room:
    return Room(pair)


def out(protocol_ports: tuple[int, int] = (40000, 53), payload: bytes = b"") -> bytes:
    return udp_packet(RED_0, RED_NEAR, protocol_ports, payload)


def back(ports: tuple[int, int] = (53, 40000)) -> bytes:
    return udp_packet(RED_NEAR, RED_0, ports)


def echo(kind: int, source: int, destination: int, identifier: int = 7) -> bytes:
    return icmp_packet(source, destination, Icmp(kind, 0, 0, identifier, 1), b"x" * 32)


def test_answers_pass_and_strangers_do_not(room: Room) -> None:
    room.apply(OUT)
    assert room.receive(back()).reason is DropReason.POLICY_TO_PORT
    assert room.send(out()).verdict is Verdict.REDIRECT
    assert room.receive(back()).verdict is Verdict.REDIRECT
    assert room.receive(back((53, 40001))).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_echo_is_one_flow_by_its_identifier(room: Room) -> None:
    room.apply(OUT)
    assert room.send(echo(ECHO_REQUEST, RED_0, RED_NEAR)).verdict is Verdict.REDIRECT
    assert room.receive(echo(ECHO_REPLY, RED_NEAR, RED_0)).verdict is Verdict.REDIRECT
    other = echo(ECHO_REPLY, RED_NEAR, RED_0, identifier=8)
    assert room.receive(other).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_a_changed_policy_stops_running_flows_and_lets_them_go_on(room: Room) -> None:
    room.apply(OUT)
    room.send(out())
    assert room.receive(back()).verdict is Verdict.REDIRECT
    room.apply()
    assert room.receive(back()).reason is DropReason.POLICY_TO_PORT
    assert room.send(out()).reason is DropReason.POLICY_FROM_PORT
    room.apply(OUT)
    # The answerer speaks first, and is still known as one.
    assert room.receive(back()).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_who_answered_becomes_who_started_when_only_that_is_allowed(room: Room) -> None:
    room.apply(OUT)
    room.send(out())
    room.apply(IN)
    assert room.send(out()).reason is DropReason.POLICY_FROM_PORT
    assert room.receive(back()).verdict is Verdict.REDIRECT
    assert room.send(out()).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_a_connection_that_may_not_be_opened_any_more_ends_whoever_speaks(room: Room) -> None:
    """Its server may send to anybody; yet only a new connection of its own makes it who started."""
    room.apply(IN)
    assert room.receive(ask_web(80)).verdict is Verdict.REDIRECT
    web = Tcp(80, 50000, flags=SYN | ACK)
    assert room.send(tcp_packet(RED_0, RED_NEAR, web)).verdict is Verdict.REDIRECT
    room.apply(OUT)
    for flags in (ACK, SYN | ACK, ACK | FIN):
        late = tcp_packet(RED_0, RED_NEAR, Tcp(80, 50000, flags=flags))
        assert room.send(late).reason is DropReason.POLICY_FROM_PORT
        asked = tcp_packet(RED_NEAR, RED_0, Tcp(50000, 80, flags=ACK))
        assert room.receive(asked).reason is DropReason.POLICY_TO_PORT
    assert room.send(tcp_packet(RED_0, RED_NEAR, Tcp(80, 50000))).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_a_revision_alone_judges_nothing_again(room: Room) -> None:
    room.apply(OUT)
    room.send(out())
    before = room.pair.maps.read_all("flows")
    room.apply(OUT, revision=2)
    room.send(out())
    after = room.pair.maps.read_all("flows")
    generation = [field.name for field in TABLE_BY_NAME["flows"].value].index("generation")
    assert {values[generation] for values in after.values()} == {1}
    assert before.keys() == after.keys()
    room.pair.compare_state()


@pytest.mark.parametrize(
    ("idle_s", "expected"),
    [
        (FLOW_IDLE_S - 5, DropReason.NONE),
        (FLOW_IDLE_S + 5, DropReason.POLICY_TO_PORT),
    ],
)
def test_an_idle_flow_is_forgotten(room: Room, idle_s: float, expected: DropReason) -> None:
    room.apply(OUT)
    room.send(out())
    room.age(idle_s)
    assert room.receive(back()).reason is expected
    room.pair.compare_state()


def segment(flags: int, *, is_back: bool = False, port: int = 40000) -> bytes:
    if is_back:
        return tcp_packet(RED_NEAR, RED_0, Tcp(80, port, flags=flags))
    return tcp_packet(RED_0, RED_NEAR, Tcp(port, 80, flags=flags))


def connect(room: Room) -> None:
    room.send(segment(SYN))
    room.receive(segment(SYN | ACK, is_back=True))
    room.send(segment(ACK))


def test_established_tcp_stays_longer(room: Room) -> None:
    room.apply(OUT)
    connect(room)
    answer = segment(ACK, is_back=True)
    room.age(FLOW_IDLE_TCP_S - 5)
    assert room.receive(answer).verdict is Verdict.REDIRECT
    room.age(FLOW_IDLE_TCP_S + 5)
    assert room.receive(answer).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_nobodys_answer_to_a_syn_is_not_waited_for_long(room: Room) -> None:
    room.apply(OUT)
    room.send(segment(SYN))
    room.age(FLOW_IDLE_TCP_OPENING_S - 5)
    assert room.receive(segment(SYN | ACK, is_back=True)).verdict is Verdict.REDIRECT
    room.age(FLOW_IDLE_TCP_OPENING_S + 5)
    assert room.receive(segment(SYN | ACK, is_back=True)).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


@pytest.mark.parametrize("is_reset", [False, True])
def test_closed_tcp_is_soon_forgotten(room: Room, is_reset: bool) -> None:
    room.apply(OUT)
    connect(room)
    if is_reset:
        room.receive(segment(RST, is_back=True))
    else:
        room.send(segment(FIN | ACK))
        room.age(FLOW_IDLE_TCP_CLOSED_S + 5)  # half closed is open
        assert room.receive(segment(FIN | ACK, is_back=True)).verdict is Verdict.REDIRECT
    assert room.receive(segment(ACK, is_back=True)).verdict is Verdict.REDIRECT
    room.age(FLOW_IDLE_TCP_CLOSED_S + 5)
    assert room.receive(segment(ACK, is_back=True)).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_the_ports_of_a_closed_connection_serve_a_new_one(room: Room) -> None:
    room.apply(OUT)
    connect(room)
    room.send(segment(RST))
    # The far end may not take them over, the port may: with fresh counters.
    assert room.receive(segment(SYN, is_back=True)).reason is DropReason.POLICY_TO_PORT
    assert room.send(segment(SYN)).verdict is Verdict.REDIRECT
    assert (room.flow.out_packets, room.flow.tcp_out, room.flow.tcp_in) == (1, SYN, SYN)
    room.pair.compare_state()


def test_both_directions_are_one_entry(room: Room) -> None:
    room.apply(OUT)
    room.send(out(payload=b"four"))
    room.receive(back())
    room.receive(back())
    flow = room.flow
    assert (flow.out_packets, flow.out_bytes, flow.in_packets, flow.in_bytes) == (1, 32, 2, 56)
    assert flow.flags == FLOW_PASSED
    room.pair.compare_state()


def test_who_starts_is_remembered(room: Room) -> None:
    room.apply(IN)
    room.receive(back())
    assert room.flow.flags == FLOW_PASSED | FLOW_INBOUND
    assert room.send(out()).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_one_direction_keeps_the_other_alive(room: Room) -> None:
    room.apply(OUT)
    room.send(out())
    room.age(FLOW_IDLE_S - 5)
    room.send(out())
    assert room.receive(back()).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_who_is_denied_is_not_answered(room: Room) -> None:
    """A denied packet makes no answers of what comes the other way; both verdicts are kept."""
    room.apply()
    assert room.send(out()).reason is DropReason.POLICY_FROM_PORT
    assert room.receive(back()).reason is DropReason.POLICY_TO_PORT
    assert room.flow.flags == FLOW_BOTH_DENIED
    assert room.receive(back()).reason is DropReason.POLICY_TO_PORT
    room.age(FLOW_IDLE_DENIED_S + 5)
    room.apply(IN)
    assert room.send(out()).reason is DropReason.POLICY_FROM_PORT
    assert room.receive(back()).verdict is Verdict.REDIRECT
    assert room.send(out()).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_idle_flows_are_swept_out_and_counted(room: Room) -> None:
    room.apply(OUT)
    for port in (40001, 40002):
        room.send(segment(SYN, port=port))
    room.send(out((40003, 53)))
    room.age(FLOW_IDLE_TCP_OPENING_S + 5)
    assert Sweeper(room.pair.maps).sweep(time.monotonic_ns()) == 2
    assert [key[6] for key in room.pair.maps.read_all("flows")] == [UDP]
    vif = room.ids.numbers("vif")[UUIDS[0]]
    assert room.pair.maps.read("flows_entered", (vif,)) == (3,)
    assert room.pair.maps.read("flows_swept", (vif,)) == (2,)
    assert Sweeper(room.pair.maps).sweep(time.monotonic_ns()) == 0
    assert room.pair.maps.read("flows_swept", (vif,)) == (2,)


def test_how_many_flows_there_are_is_not_said_while_they_are_counted(room: Room) -> None:
    room.apply(OUT)
    for port in (40001, 40002):
        room.send(segment(SYN, port=port))
    sweeper, said = Sweeper(room.pair.maps), []
    sweeper.sweep(time.monotonic_ns())
    room.age(FLOW_IDLE_TCP_OPENING_S + 5)
    watch = Watch(lambda _: said.append(sweeper.held), lambda _: None)
    assert sweeper.sweep(time.monotonic_ns(), watch) == 2
    assert (said, sweeper.held) == ([2, 2], 0)


def test_of_a_table_that_is_nearly_full_only_established_flows_stay(room: Room) -> None:
    """What a flood or a scan leaves goes after seconds; who speaks and is answered stays."""
    room.apply(OUT)
    for port in (40000, 40001, 40002):
        room.send(tcp_packet(RED_0, RED_NEAR, Tcp(port, 80, flags=SYN)))
        room.receive(tcp_packet(RED_NEAR, RED_0, Tcp(80, port, flags=SYN | ACK)))
    room.send(tcp_packet(RED_0, RED_NEAR, Tcp(40000, 80, flags=ACK)))
    # Of the two others one is reset at once, as floods are, and one is left half open.
    room.send(tcp_packet(RED_0, RED_NEAR, Tcp(40001, 80, flags=RST)))
    for port in range(6):
        room.send(tcp_packet(RED_0, RED_NEAR, Tcp(50000 + port, 80, flags=SYN)))
    for port in range(4):
        assert room.receive(ask_web(1 + port)).reason is DropReason.POLICY_TO_PORT
    room.age(FLOW_IDLE_PRESSED_S + 1)
    room.send(tcp_packet(RED_0, RED_NEAR, Tcp(60000, 80, flags=SYN)))  # a moment ago
    roomy = Sweeper(room.pair.maps, limit=100)
    assert (roomy.sweep(time.monotonic_ns()), roomy.held, roomy.is_pressed) == (0, 14, False)
    tight = Sweeper(room.pair.maps, limit=15)
    assert (tight.sweep(time.monotonic_ns()), tight.held, tight.is_pressed) == (12, 2, False)
    assert {key[4] for key in room.pair.maps.read_all("flows")} == {40000, 60000}
    assert room.receive(tcp_packet(RED_NEAR, RED_0, Tcp(80, 40000, flags=ACK))).verdict is (
        Verdict.REDIRECT
    )


WEB, ADMIN = 7, 8  # security groups
TO_WEB = FilterRule(ANY, FilterMatch(ports=(80, 80)), 6, passes=True, both_ways=False)
FROM_ADMIN = FilterRule(FilterMatch(security_group=ADMIN), ANY, None, True, False)
PINGS = FilterRule(ANY, ANY, 1, True, False, version=4, icmp=(8, None))


def ask_web(port: int, flags: int = SYN) -> bytes:
    return tcp_packet(RED_NEAR, RED_0, Tcp(50000, port, flags=flags))


def test_rules_are_asked_of_what_a_fat_flow_keeps_of_an_address(room: Room) -> None:
    """Of either IP version: of the far address a part and what policy knows of it."""
    groupings = (Grouping(Prefix.parse("10.1.0.0/16"), 28), Grouping(RED6_48, 64))
    room.fat_flows = tuple(FatFlow(UDP, 53, remote=one) for one in groupings)
    there = (FilterMatch(prefix=Prefix.parse("10.1.1.0/24")), FilterMatch(prefix=RED6_48))
    room.apply(*(FilterRule(ANY, one, None, passes=True, both_ways=False) for one in there))
    for port in (40000, 40001):
        for to in (RED_NEAR, ADDRESSES[6]):
            packet = udp_packet(RED_0, to, (port, 53))
            assert room.send(packet).verdict is Verdict.REDIRECT
        question = udp6_packet(RED6_0, RED6_NEAR, (port, 53))
        assert send6(room, question).verdict is Verdict.REDIRECT
    kept = {
        (narrow_address(key.remote_address), key.remote_length, flow.out_packets)
        for key, flow in room.pair.model._policy.flows.items()
    }
    assert kept == {
        (parse_address("10.1.1.0"), 28, 4),
        (parse_address("2001:db8:1::"), 64, 2),
    }
    room.pair.compare_state()


def test_security_groups_let_in_what_their_rules_say_and_its_answers_out(room: Room) -> None:
    room.groups = (SecurityGroup("web", WEB, egress=(), ingress=(TO_WEB,)),)
    room.apply(OUT, IN)
    assert room.receive(ask_web(80)).verdict is Verdict.REDIRECT
    answer = tcp_packet(RED_0, RED_NEAR, Tcp(80, 50000, flags=SYN | ACK))
    assert room.send(answer).verdict is Verdict.REDIRECT
    assert room.receive(ask_web(22)).reason is DropReason.SECURITY_TO_PORT
    assert room.send(out()).reason is DropReason.SECURITY_FROM_PORT
    # What the network's policy denies is denied whatever groups say.
    room.apply(OUT)
    assert room.receive(ask_web(80)).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_a_remote_group_is_whoever_has_a_route_that_says_so(room: Room) -> None:
    room.groups = (SecurityGroup("web", WEB, egress=(), ingress=(FROM_ADMIN,)),)
    room.apply(IN)
    assert room.receive(ask_web(22)).reason is DropReason.SECURITY_TO_PORT
    room.remote_groups = (ADMIN, 99)
    room.apply(IN)
    assert room.receive(ask_web(22)).verdict is Verdict.REDIRECT
    room.remote_groups = (99,)
    room.apply(IN)
    assert room.receive(ask_web(22)).reason is DropReason.SECURITY_TO_PORT
    room.pair.compare_state()


def test_icmp_rules_are_about_what_a_flow_begins_with(room: Room) -> None:
    room.groups = (SecurityGroup("web", WEB, egress=(PINGS,), ingress=()),)
    room.apply(OUT, IN)
    assert room.receive(echo(ECHO_REPLY, RED_NEAR, RED_0)).reason is DropReason.SECURITY_TO_PORT
    room.age(FLOW_IDLE_DENIED_S + 5)
    assert room.send(echo(ECHO_REQUEST, RED_0, RED_NEAR)).verdict is Verdict.REDIRECT
    assert room.receive(echo(ECHO_REPLY, RED_NEAR, RED_0)).verdict is Verdict.REDIRECT
    # Judged again in the midst of it: the reply is still an answer to the request.
    room.apply(OUT, IN, IN)
    assert room.receive(echo(ECHO_REPLY, RED_NEAR, RED_0)).verdict is Verdict.REDIRECT
    request = echo(ECHO_REQUEST, RED_NEAR, RED_0, identifier=9)
    assert room.receive(request).reason is DropReason.SECURITY_TO_PORT
    room.pair.compare_state()


def fragment(offset: int, payload: bytes, *, number: int = 7, more: bool = True) -> bytes:
    head = Ipv4(RED_0, RED_NEAR, UDP, 0, identification=number, offset=offset, more_fragments=more)
    return ipv4_packet(head, payload)


def test_fragments_go_with_their_first(room: Room) -> None:
    to_dns = FilterRule(ANY, FilterMatch(ports=(53, 53)), UDP, passes=True, both_ways=False)
    room.apply(to_dns)
    first = bytes.fromhex("9c40003500200000") + bytes(16)
    rest = fragment(3, bytes(8), more=False)
    assert room.send(rest).reason is DropReason.POLICY_FROM_PORT
    assert room.send(fragment(0, first)).verdict is Verdict.REDIRECT
    assert room.send(rest).verdict is Verdict.REDIRECT
    assert room.send(fragment(3, bytes(8), number=8)).reason is DropReason.POLICY_FROM_PORT
    assert [key.remote_port for key in room.pair.model.flows()].count(53) == 1
    room.pair.compare_state()


def test_ipv6_fragments_too(room: Room) -> None:
    to_dns = FilterRule(ANY, FilterMatch(ports=(53, 53)), UDP, passes=True, both_ways=False)
    room.apply(to_dns)
    packets = [
        ipv6_packet(
            Ipv6(RED6_0, RED6_NEAR, FRAGMENT),
            encode_fragment(UDP, offset, more_fragments=not offset, number=77) + payload,
        )
        for offset, payload in ((0, bytes.fromhex("9c40003500200000") + bytes(16)), (3, bytes(8)))
    ]
    assert send6(room, packets[1]).reason is DropReason.POLICY_FROM_PORT
    assert send6(room, packets[0]).verdict is Verdict.REDIRECT
    assert send6(room, packets[1]).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_a_port_has_no_more_flows_than_it_may(room: Room) -> None:
    room.limit = 2
    room.apply(OUT)
    assert room.send(out((40001, 53))).verdict is Verdict.REDIRECT
    assert room.send(out((40002, 53))).verdict is Verdict.REDIRECT
    assert room.send(out((40003, 53))).reason is DropReason.FLOW_LIMIT
    assert room.receive(back((53, 40003))).reason is DropReason.POLICY_TO_PORT
    # Running flows go on, and one that was swept out makes room.
    assert room.receive(back((53, 40002))).verdict is Verdict.REDIRECT
    vif = room.ids.numbers("vif")[UUIDS[0]]
    room.pair.maps.write([Change("flows_swept", (vif,), (1,))])
    room.pair.model._policy.swept[vif] = 1
    assert room.send(out((40003, 53))).verdict is Verdict.REDIRECT
    room.pair.compare_state()


def test_errors_pass_with_the_flow_they_are_about(room: Room) -> None:
    room.apply(OUT)
    question = out()
    error = icmp_packet(RED_NEAR, RED_0, Icmp(3, 3), question[:28])
    assert room.receive(error).reason is DropReason.POLICY_TO_PORT
    room.send(question)
    assert room.receive(error).verdict is Verdict.REDIRECT
    # Not to somebody else, and not about a flow that nobody has.
    about_other = icmp_packet(RED_NEAR, RED_0, Icmp(3, 3), out((40001, 53))[:28])
    assert room.receive(about_other).reason is DropReason.POLICY_TO_PORT
    room.pair.compare_state()


def test_errors_go_only_to_the_sender_of_what_they_are_about(room: Room) -> None:
    room.apply(IN)
    question = udp_packet(RED_NEAR, RED_0, (53, 40000))
    room.receive(question)
    right = icmp_packet(RED_0, RED_NEAR, Icmp(3, 3), question[:28])
    wrong = icmp_packet(RED_0, RED_NEAR + 1, Icmp(3, 3), question[:28])
    assert room.send(right).verdict is Verdict.REDIRECT
    assert room.send(wrong).reason is DropReason.POLICY_FROM_PORT
    room.pair.compare_state()


def test_half_an_acl_denies(room: Room) -> None:
    room.apply(FilterRule(ANY, ANY, 99, passes=True, both_ways=False), OUT)
    number = next(iter(room.ids.numbers("list").values()))
    room.pair.write_rows([Change("shapes", (number, 0), None)])
    assert room.send(out()).reason is DropReason.POLICY_FROM_PORT
    room.pair.compare_state()


def test_a_row_of_zeros_in_an_array_is_none(room: Room) -> None:
    room.apply(OUT)
    label = room.ids.numbers("label")[UUIDS[0]]
    room.pair.write_rows([Change("labels", (label,), (0,))])
    assert room.receive(back()).reason is DropReason.INVALID_LABEL
    tunnel = room.ids.numbers("next_hop")["tunnel 172.30.0.2"]
    room.pair.write_rows([Change("next_hops", (tunnel,), (0, 1, 7, NEAR, 0, 0, 0, 0, 0))])
    assert room.send(out()).reason is DropReason.INVALID_NEXT_HOP
    room.pair.compare_state()


@pytest.mark.parametrize(
    ("ttl", "reason"),
    [(0, DropReason.TTL_EXCEEDED), (1, DropReason.TTL_EXCEEDED), (2, DropReason.NONE)],
)
def test_the_last_ttl_is_for_the_receiver(room: Room, ttl: int, reason: DropReason) -> None:
    room.apply(OUT)
    assert room.send(udp_packet(RED_0, RED_NEAR, (1, 2), ttl=ttl)).reason is reason


def test_segments_to_be_cut_must_fit_with_their_tunnel_header(room: Room) -> None:
    """The kernel pushes no header before a test packet with a GSO size, but checks come first."""
    room.apply(OUT)
    tcp = tcp_packet(RED_0, RED_NEAR, Tcp(1, 80, options=bytes(12)), bytes(2000))
    frame = ipv4_frame(MACS[0], ROUTER_MAC, tcp)
    fits = UNDERLAY_MTU - 32 - 20 - 32
    for gso_size, reason in (
        (fits, DropReason.PUSH_FAILED),
        (fits + 1, DropReason.MTU_EXCEEDED),
        (0, DropReason.MTU_EXCEEDED),
    ):
        ifindex = room.pair.ports[0]
        seen = room.pair.in_kernel("from_port", frame, ifindex=ifindex, gso_size=gso_size)
        assert seen.reason is reason
        result = room.pair.model.from_port(ifindex, frame, gso_size=gso_size)
        assert (result.verdict is Verdict.REDIRECT) == (reason is DropReason.PUSH_FAILED)


def test_the_biggest_packet_that_fits_passes(room: Room) -> None:
    room.apply(OUT)
    payload = bytes(UNDERLAY_MTU - 32 - 28)
    seen = room.send(out(payload=payload))
    assert seen.frame is not None
    assert len(seen.frame) == 14 + UNDERLAY_MTU
    assert room.send(out(payload=payload + b"x")).reason is DropReason.MTU_EXCEEDED


def sent_until(room: Room, frame: bytes, is_right: Callable[[Seen], bool]) -> Seen:
    """Send a frame until what becomes of it is right, for at most a second."""
    deadline = time.monotonic() + 1
    while not is_right(seen := room.pair.in_kernel("from_port", frame, ifindex=room.pair.ports[0])):
        assert time.monotonic() < deadline, seen
    return seen


def test_tunnels_follow_the_underlay(room: Room) -> None:
    """The way to another host is remembered, but only for a moment."""
    room.apply(OUT)
    frame = ipv4_frame(MACS[0], ROUTER_MAC, out(payload=bytes(1400)))
    entry = ("ip", "neigh", "replace", format_ipv4(NEAR), "dev", "u0", "nud", "permanent", "lladdr")
    try:
        for mac in (0x021700000077, NEAR_MAC):
            run(*entry, format_mac(mac))
            to_it = mac.to_bytes(6, "big")
            sent_until(room, frame, lambda seen, to_it=to_it: (seen.frame or b"")[:6] == to_it)
        run("ip", "link", "set", "u0", "mtu", "1400")
        sent_until(room, frame, lambda seen: seen.reason is DropReason.MTU_EXCEEDED)
    finally:
        run("ip", "link", "set", "u0", "mtu", str(UNDERLAY_MTU))
        run(*entry, format_mac(NEAR_MAC))
    sent_until(room, frame, lambda seen: seen.verdict is Verdict.REDIRECT)
    run("ip", "route", "add", "blackhole", f"{format_ipv4(NEAR)}/32")
    try:
        sent_until(room, frame, lambda seen: seen.reason is DropReason.NO_UNDERLAY_ROUTE)
    finally:
        run("ip", "route", "del", "blackhole", f"{format_ipv4(NEAR)}/32")
    sent_until(room, frame, lambda seen: seen.verdict is Verdict.REDIRECT)


def test_congestion_in_the_underlay_reaches_the_workload(room: Room) -> None:
    room.apply(IN)
    capable = ipv4_packet(Ipv4(RED_NEAR, RED_0, UDP, 0, tos=2), bytes.fromhex("0035004000080000"))
    seen = room.receive(capable, tos=3)
    assert seen.frame is not None
    assert seen.frame[15] & 3 == 3
    assert room.receive(back(), tos=3).reason is DropReason.CONGESTION_LOST


OUT6 = FilterRule(FilterMatch(prefix=Prefix(RED6_0, 128, 6)), ANY, None, True, False)


def send6(room: Room, packet: bytes) -> Seen:
    return room.pair.from_port(room.pair.ports[0], ipv6_frame(MACS[0], ROUTER_MAC, packet))


def test_ipv6_goes_through_mpls_and_its_answers_come_back(room: Room) -> None:
    room.apply(OUT6)
    question = udp6_packet(RED6_0, RED6_NEAR, (40000, 53), b"what?")
    answer = udp6_packet(RED6_NEAR, RED6_0, (53, 40000), b"that")
    assert room.receive(answer).reason is DropReason.POLICY_TO_PORT
    sent = send6(room, question)
    assert sent.frame is not None
    # As it was but for one hop, behind Ethernet, IPv4, UDP and one label.
    hop_less = question[:7] + bytes([question[7] - 1]) + question[8:]
    assert sent.frame[12:14] == b"\x08\x00"
    assert sent.frame[14 + 32 :] == hop_less
    received = room.receive(answer)
    assert received.frame is not None
    assert received.frame[12:] == b"\x86\xdd" + answer
    room.pair.compare_state()


def test_neighbours_are_the_gateway_and_the_gateway_is_a_router(room: Room) -> None:
    room.apply(OUT6)

    def ask(target: int, source: int = RED6_0) -> Seen:
        frame = solicitation_frame(MACS[0], source, target)
        return room.pair.from_port(room.pair.ports[0], frame)

    for target, flags in (
        (GATEWAY6, IS_ROUTER | IS_SOLICITED | IS_OVERRIDE),
        (GATEWAY_LINK_LOCAL, IS_ROUTER | IS_SOLICITED | IS_OVERRIDE),
        (RED6_NEAR, IS_SOLICITED | IS_OVERRIDE),
    ):
        frame = ask(target).frame
        assert frame is not None
        header, said = decode_ipv6(frame[14:]), decode_advertisement(frame[54:])
        assert (header.source, header.destination, header.hop_limit) == (target, RED6_0, 255)
        assert (said.target, said.mac, said.flags) == (target, ROUTER_MAC, flags)
        assert frame[:12] == MACS[0].to_bytes(6, "big") + ROUTER_MAC.to_bytes(6, "big")
        start = pseudo_header_sum6(target, RED6_0, ICMPV6, 32)
        assert checksum(frame[54:], start) == 0
    # Before it has its address a host is answered where all hear it; its own is nobody else's.
    frame = ask(RED6_NEAR, source=0).frame
    assert frame is not None
    assert decode_ipv6(frame[14:]).destination == ALL_NODES
    assert ask(RED6_0).reason is DropReason.ARP_UNANSWERED
    assert ask(RED6_0, source=0).reason is DropReason.ARP_UNANSWERED
    room.pair.compare_state()


@pytest.mark.parametrize("gateway", [GATEWAY6, GATEWAY_LINK_LOCAL])
def test_the_gateway_answers_echo6(room: Room, gateway: int) -> None:
    room.apply(OUT6)
    source = RED6_0 if gateway == GATEWAY6 else 0xFE80 << 112 | 3
    asked = icmp6_packet(source, gateway, Icmp(ECHO_REQUEST6, 0, 0, 1, 1), b"ping", ttl=1)
    seen = send6(room, asked)
    assert seen.frame is not None
    answer = icmp6_packet(gateway, source, Icmp(ECHO_REPLY6, 0, 0, 1, 1), b"ping")
    assert seen.frame[14:] == answer


def test_link_local_addresses_stay_on_the_link(room: Room) -> None:
    room.apply(OUT6)
    local = 0xFE80 << 112 | 3
    assert send6(room, udp6_packet(local, RED6_NEAR, (1, 2))).reason is DropReason.SOURCE_SPOOFED
    assert send6(room, udp6_packet(local, local + 1, (1, 2))).reason is DropReason.NO_ROUTE
    assert send6(room, udp6_packet(RED6_NEAR, RED6_0, (1, 2))).reason is DropReason.SOURCE_SPOOFED


def test_vxlan_carries_what_its_routes_say(room: Room) -> None:
    room.apply(OUT)
    question = udp_packet(RED_0, RED_BY_VXLAN, (40000, 53), b"what?")
    sent = room.send(question)
    assert sent.frame is not None
    assert sent.frame[36:38] == (4789).to_bytes(2, "big")
    assert decode_vxlan(sent.frame[42:]) == Vxlan(RED_VNI)
    inner = sent.frame[50:]
    assert inner[:14] == encode_ethernet(Ethernet(ROUTER_MAC, ROUTER_MAC, 0x0800))
    assert inner[14:] == udp_packet(RED_0, RED_BY_VXLAN, (40000, 53), b"what?", ttl=63)
    answer = udp_packet(RED_BY_VXLAN, RED_0, (53, 40000), b"that")
    frame = encode_vxlan(Vxlan(RED_VNI)) + inner[:14] + answer
    head = bytes.fromhex("c00012b5") + (8 + len(frame)).to_bytes(2, "big") + bytes(2)
    outer = ipv4_packet(Ipv4(NEAR, HOST, UDP, 0), head + frame)
    received = room.pair.from_fabric(ipv4_frame(NEAR_MAC, UNDERLAY_MAC, outer))
    assert received.frame is not None
    assert received.frame[12:] == b"\x08\x00" + answer
    room.pair.compare_state()


def test_the_gateway_answers_echo_for_every_ttl(room: Room) -> None:
    room.apply(OUT)
    asked = icmp_packet(RED_0, GATEWAY, Icmp(ECHO_REQUEST, 0, 0, 1, 1), b"ping", ttl=1)
    seen = room.send(asked)
    assert seen.frame is not None
    assert seen.frame[:12] == MACS[0].to_bytes(6, "big") + ROUTER_MAC.to_bytes(6, "big") or (
        seen.frame[6:12] == ROUTER_MAC.to_bytes(6, "big")
    )
    # Right to the last checksum: what a host would have sent.
    answer = icmp_packet(GATEWAY, RED_0, Icmp(ECHO_REPLY, 0, 0, 1, 1), b"ping")
    assert seen.frame[14:] == answer


def test_tagged_frames_are_not_served(room: Room) -> None:
    room.apply(OUT)
    frame = encode_ethernet(Ethernet(ROUTER_MAC, MACS[0], 0x8100)) + b"\0\x05\x08\0" + out()
    assert room.pair.from_port(room.pair.ports[0], frame).reason is DropReason.UNSUPPORTED_PROTOCOL


def test_an_unprogrammed_host_leaves_the_fabric_alone(pair: Twin) -> None:
    pair.reset()
    frame = ipv4_frame(NEAR_MAC, UNDERLAY_MAC, udp_packet(NEAR, 0, (50000, 6635), bytes(40)))
    assert pair.from_fabric(frame).verdict is Verdict.OK


def test_programs_are_small(pair: Twin) -> None:
    """Room for the verifiers of older kernels, which allow a million steps."""
    for name in ("from_port", "from_fabric"):
        assert bpf.program(pair.programs[name]).verified_instructions < 100_000
