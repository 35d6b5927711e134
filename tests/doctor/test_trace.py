import pytest

from filament.base.errors import InputError, NotFoundError
from filament.base.net import format_ipv4, parse_ipv4
from filament.doctor.packet import Flow, encode_frame, format_protocol, parse_protocol
from filament.doctor.trace import (
    Evidence,
    facts_of,
    flow_of,
    notes_of,
    sender_of,
    tables_of,
)
from filament.wire.packet import ethernet
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REQUEST, decode_icmp
from filament.wire.packet.ipv4 import decode_ipv4
from filament.wire.packet.tcp import ACK, SYN, decode_tcp
from filament.wire.packet.udp import decode_udp

from .two_hosts import HOSTS, agent_json, end, ids_of, plan_hosts, rule

ICMP, TCP, UDP = 1, 6, 17


def evidence_of(facts):
    answered = agent_json(facts, ids_of(facts))
    return Evidence(
        facts.name,
        answered["status"],
        answered["interfaces"]["interfaces"],
        answered["tables"],
    )


def test_facts_are_what_agents_answered():
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    assert facts_of([evidence_of(facts) for facts in hosts.values()], {}) == hosts


def test_silent_agents_have_no_facts_but_their_address_has_a_name():
    hosts = plan_hosts()
    away = Evidence("host2", {}, (), {}, "nobody listens there")
    found = facts_of([evidence_of(hosts["host1"]), away], {HOSTS["host2"]: "host2"})
    assert list(found) == ["host1"]
    assert found["host1"].names.hosts == {HOSTS["host1"]: "host1", HOSTS["host2"]: "host2"}
    assert notes_of([evidence_of(hosts["host1"]), away]) == [
        "the agent of host2 does not answer: nobody listens there"
    ]


def test_a_port_that_is_not_described_yet_is_left_out():
    evidence = evidence_of(plan_hosts()["host1"])
    waiting = {
        "uuid": "x",
        "name": "",
        "display_name": "red-9",
        "device": "tap9",
        "ifindex": 0,
        "mac": "",
        "addresses": [],
    }
    found = facts_of([evidence._replace(interfaces=[*evidence.interfaces, waiting])], {})
    assert [port.uuid for port in found["host1"].ports] == ["uuid-red-1", "uuid-blue-1"]


def test_a_kernel_that_has_other_rows_is_noted():
    evidence = evidence_of(plan_hosts(revision=9)["host1"])
    behind = evidence._replace(status={**evidence.status, "applied": 7, "problem": "map full"})
    assert notes_of([behind]) == [
        "host1: map full",
        "host1: the rows below are of revision 9, those in the kernel of 7",
    ]


def test_tables_keep_keys_values_and_origins():
    facts = plan_hosts([rule("red", "blue")], leaks=True)["host1"]
    assert tables_of(agent_json(facts, {})["tables"]) == facts.tables


def test_a_source_that_is_plugged_nowhere_says_who_is_away():
    with pytest.raises(NotFoundError) as raised:
        sender_of(end("red-1"), {}, ["host1 is away"])
    assert str(raised.value) == (
        "red-1 (10.1.1.3) is not plugged into any host that answers (host1 is away)"
    )


@pytest.mark.parametrize(
    ("protocol", "port", "code", "text"),
    [
        (TCP, None, "no-port", "to which port?; write SRC DST tcp|udp PORT, for example tcp 443"),
        (UDP, None, "no-port", "to which port?; write SRC DST tcp|udp PORT, for example tcp 443"),
        (ICMP, 80, "bad-port", "only tcp and udp have ports; leave the port out"),
        (47, 80, "bad-port", "only tcp and udp have ports; leave the port out"),
    ],
)
def test_ports_belong_to_tcp_and_udp(protocol, port, code, text):
    with pytest.raises(InputError) as raised:
        flow_of(1, 2, protocol, port)
    assert (raised.value.code, str(raised.value)) == (code, text)


@pytest.mark.parametrize(
    ("text", "number"), [("icmp", 1), ("TCP", 6), ("udp", 17), ("47", 47), ("0", 0), ("255", 255)]
)
def test_protocols_by_name_and_number(text, number):
    assert parse_protocol(text) == number


@pytest.mark.parametrize("text", ["", "256", "-1", "ping", "²"])
def test_what_is_no_protocol_says_what_is(text):
    with pytest.raises(InputError, match="is no IP protocol; write icmp, tcp, udp or a number"):
        parse_protocol(text)


def test_protocols_are_named():
    assert [format_protocol(number) for number in (1, 6, 17, 47)] == [
        "icmp",
        "tcp",
        "udp",
        "protocol 47",
    ]


SOURCE, DESTINATION = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.1.4")


@pytest.mark.parametrize("protocol", [ICMP, TCP, UDP, 47])
@pytest.mark.parametrize("answers", [False, True])
def test_packets_are_what_their_flow_says(protocol, answers):
    flow = flow_of(SOURCE, DESTINATION, protocol, 80 if protocol in (TCP, UDP) else None)
    flow = flow.reversed() if answers else flow
    frame = encode_frame(flow, 2, 1, answers=answers)
    header = decode_ipv4(frame[ethernet.HEADER_BYTES :])
    segment = frame[ethernet.HEADER_BYTES + header.header_bytes :]
    assert (header.source, header.destination) == (flow.source, flow.destination)
    assert (header.protocol, header.length) == (protocol, len(frame) - ethernet.HEADER_BYTES)
    if protocol == ICMP:
        message = decode_icmp(segment)
        assert (message.type, message.identifier) == (ECHO_REPLY if answers else ECHO_REQUEST, 1)
    elif protocol == TCP:
        sent = decode_tcp(segment)
        assert sent.flags == (SYN | ACK if answers else SYN)
        assert (sent.source_port, sent.destination_port) == flow[3:5]
    elif protocol == UDP:
        datagram = decode_udp(segment)
        assert (datagram.source_port, datagram.destination_port) == flow[3:5]


def test_answers_swap_ports_but_not_icmps_identifier():
    assert Flow(1, 2, TCP, 5, 80).reversed() == Flow(2, 1, TCP, 80, 5)
    assert Flow(1, 2, ICMP, 7, 0).reversed() == Flow(2, 1, ICMP, 7, 0)
    assert format_ipv4(SOURCE) == "10.1.1.3"
