"""`filament trace` says what the kernel does: generated policies and packets, both asked.

Packets are sent raw, byte for byte those that a trace walks. What arrives at workloads is seen by
raw sockets; the destination's own kernel answers echo requests and TCP, a socket here answers UDP.
Every packet has a source port, echo identifier or protocol of its own: no flow knows another.
"""

import contextlib
import itertools
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from filament.base.net import format_ipv4, parse_ipv4
from filament.cli.main import run
from filament.cli.session import Session
from filament.cli.trace import gather
from filament.doctor.packet import Flow, encode_frame
from filament.doctor.trace import End, facts_of, trace
from filament.doctor.walk import Outcome
from filament.forward.layout import DropReason
from filament.testing.lab import namespaces
from filament.testing.lab.lab import agent_of
from filament.wire.packet.ethernet import HEADER_BYTES
from filament.wire.packet.icmp import decode_icmp
from filament.wire.packet.ipv4 import ICMP, TCP, UDP, decode_ipv4

pytestmark = pytest.mark.lab

PORTLESS = range(146, 253)  # protocol numbers that IANA has not assigned
PORTS = (53, 443, 1000, 2000)
ELSEWHERE = ("10.1.1.1", "10.1.2.1", "10.1.1.99", "10.1.2.99", "192.0.2.1")
ARRIVAL_TIMEOUT_S = 0.8  # below TCP's first retransmission
GRACE_S = 0.1
# What the packets of a test may die of; anything else that a lab drops is not theirs.
REASONS = (
    DropReason.SOURCE_SPOOFED,
    DropReason.NO_ROUTE,
    DropReason.UNASSIGNED,
    DropReason.POLICY_FROM_PORT,
    DropReason.POLICY_TO_PORT,
    DropReason.NOT_SERVED,
)
SEED = 20_261_120


class Case(NamedTuple):
    """A packet: the workload that sends it, its flow, and whether anybody would answer it."""

    source: str
    flow: Flow

    @property
    def is_answered(self):
        return self.flow.protocol not in PORTLESS


class Observatory:
    """Sockets in every workload: they send cases, see what arrives, and answer UDP."""

    def __init__(self, lab, stack):
        self._lab = lab
        self._senders, self._raw, self._echoes = {}, {}, []
        for protocol in (ICMP, TCP, UDP):
            self._raw.update(self._listen(stack, protocol))
        for workload in lab.plan.workloads:
            with namespaces.inside(lab.place(workload.name)):
                self._senders[workload.name] = stack.enter_context(
                    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
                )
                for port in PORTS:
                    echo = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    echo.bind(("0.0.0.0", port))
                    self._echoes.append(echo)

    def _listen(self, stack, protocol):
        """Open a raw socket for a protocol in every workload: nobody answers "unreachable"."""
        opened = {}
        for workload in self._lab.plan.workloads:
            with namespaces.inside(self._lab.place(workload.name)):
                raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
                opened[stack.enter_context(raw)] = workload.name
        return opened

    def observe(self, cases, wanted):
        """Send the packets of cases, and return what arrived where.

        Ends when all of `wanted` have arrived, or time is over, and a little later.
        """
        with contextlib.ExitStack() as stack:
            raw = dict(self._raw)
            for protocol in {case.flow.protocol for case in cases if not case.is_answered}:
                raw.update(self._listen(stack, protocol))
            for case in cases:
                frame = encode_frame(case.flow, 0, 0, answers=False)
                target = (format_ipv4(case.flow.destination), 0)
                self._senders[case.source].sendto(frame[HEADER_BYTES:], target)
            return self._collect(raw, wanted)

    def _collect(self, raw, wanted):
        seen, is_complete = set(), False
        deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([*raw, *self._echoes], [], [], left)
            for one in ready:
                if one in raw:
                    seen.add((raw[one], flow_of_packet(one.recv(2048))))
                else:
                    content, sender = one.recvfrom(2048)
                    one.sendto(content, sender)
            if not is_complete and wanted <= seen:
                is_complete = True
                deadline = min(deadline, time.monotonic() + GRACE_S)
        return seen


def flow_of_packet(packet):
    header = decode_ipv4(packet)
    segment = packet[header.header_bytes :]
    ports = (0, 0)
    if header.protocol in (TCP, UDP):
        ports = int.from_bytes(segment[0:2], "big"), int.from_bytes(segment[2:4], "big")
    elif header.protocol == ICMP:
        ports = decode_icmp(segment).identifier, 0
    return Flow(header.source, header.destination, header.protocol, *ports)


@pytest.fixture(scope="module")
def observatory(lab):
    with contextlib.ExitStack() as stack:
        yield Observatory(lab, stack)


class Numbers(NamedTuple):
    """What tells flows apart, each once: ports and echo identifiers, and portless protocols."""

    ports: Iterator[int]
    protocols: Iterator[int]


@pytest.fixture(scope="module")
def numbers():
    return Numbers(itertools.count(20_000), iter(PORTLESS))


def generate_cases(chooser, lab, numbers, count):
    """Choose packets from workloads to workloads, gateways and nowhere; one in ten is spoofed."""
    addresses = [format_ipv4(workload.address) for workload in lab.plan.workloads]
    cases = []
    while len(cases) < count:
        workload = chooser.choice(lab.plan.workloads)
        target = parse_ipv4(chooser.choice([*addresses * 4, *ELSEWHERE]))
        source = parse_ipv4("10.1.1.77") if chooser.random() < 0.1 else workload.address
        if target in (workload.address, source):
            continue
        kind = chooser.choice(["icmp"] * 4 + ["tcp"] * 5 + ["udp"] * 5 + ["portless"])
        if kind == "icmp":
            flow = Flow(source, target, ICMP, next(numbers.ports))
        elif kind == "portless":
            flow = Flow(source, target, next(numbers.protocols))
        else:
            ports = next(numbers.ports), chooser.choice(PORTS)
            flow = Flow(source, target, TCP if kind == "tcp" else UDP, *ports)
        cases.append(Case(workload.name, flow))
    return cases


def generate_rules(chooser):
    """Choose the rules of a policy, in TF's words: mostly about red and blue and some ports."""

    def addresses(name):
        return [{"virtual_network": name if name == "any" else f"default-domain:demo:{name}"}]

    rules = []
    for _ in range(chooser.randint(1, 4)):
        pairs = [("red", "blue"), ("red", "blue"), ("blue", "red"), ("any", "red"), ("red", "any")]
        source, destination = chooser.choice(pairs)
        protocol = chooser.choice(["any", "tcp", "tcp", "udp", "udp", "icmp"])
        low, high = -1, -1
        if protocol in ("tcp", "udp") and chooser.random() < 0.7:
            low, high = sorted((chooser.choice(PORTS), chooser.choice(PORTS)))
        rules.append(
            {
                "direction": chooser.choice(["<>", "<>", ">"]),
                "protocol": protocol,
                "src_addresses": addresses(source),
                "src_ports": [{"start_port": -1, "end_port": -1}],
                "dst_addresses": addresses(destination),
                "dst_ports": [{"start_port": low, "end_port": high}],
                "action_list": {"simple_action": chooser.choice(["pass", "pass", "pass", "deny"])},
            }
        )
    return rules


def explain(lab, hosts, case):
    uuid = lab.plan.workload(case.source).interface_uuid
    ends = End(case.source, case.flow.source, uuid), End("", case.flow.destination)
    return trace(*ends, case.flow, hosts, walks_answer=case.is_answered)


def predict(lab, cases):
    """Return what a trace of each case says: arrivals (workload, flow), and drops by reason."""
    evidence = gather(Session(str(lab.directories.run), lab.api_address))
    assert [each.problem for each in evidence] == ["", ""]
    hosts = facts_of(evidence, {})
    by_port = {workload.interface_uuid: workload.name for workload in lab.plan.workloads}
    arrivals, drops, explained = set(), Counter(), {}
    for case in cases:
        explanation = explain(lab, hosts, case)
        explained[case] = explanation
        for journey in (explanation.question, explanation.answer):
            if journey is None:
                continue
            if journey.outcome is Outcome.DELIVERED:
                port = hosts[journey.host].port_at(journey.ifindex)
                arrivals.add((by_port[port.uuid], journey.flow))
            elif journey.outcome is Outcome.ANSWERED:
                arrivals.add((case.source, journey.flow.reversed()))
            else:
                assert journey.outcome is Outcome.DROPPED, explanation
                assert journey.reason in REASONS
                drops[journey.reason.name] += 1
    return arrivals, drops, explained


def counted_drops(lab):
    counted = Counter()
    for host in lab.plan.hosts:
        for row in lab.ask(agent_of(host.name), "/filament/drops")["drops"]:
            if row["reason"] in [reason.name for reason in REASONS]:
                counted[row["reason"]] += row["packets"]
    return counted


def require_agreement(lab, observatory, cases):
    predicted, drops, explained = predict(lab, cases)
    before = counted_drops(lab)
    seen = observatory.observe(cases, predicted)
    flows = {case.flow for case in cases} | {case.flow.reversed() for case in cases}
    arrived = {(name, flow) for name, flow in seen if flow in flows}
    wrong = [
        (case, explained[case])
        for case in cases
        if {each for each in predicted if each[1] in (case.flow, case.flow.reversed())}
        != {each for each in arrived if each[1] in (case.flow, case.flow.reversed())}
    ]
    assert not wrong, wrong[0]
    assert arrived == predicted
    assert counted_drops(lab) - before == drops
    questions = [explanation.question for explanation in explained.values()]
    return Counter((question.outcome, question.reason) for question in questions)


def test_without_policies(lab, observatory, numbers):
    cases = generate_cases(random.Random(SEED), lab, numbers, 80)
    outcomes = {outcome for outcome, _ in require_agreement(lab, observatory, cases)}
    assert outcomes == {Outcome.DELIVERED, Outcome.ANSWERED, Outcome.DROPPED}


@contextlib.contextmanager
def policies(lab, chooser, number):
    """Attach generated policies to both networks: one and the same, or one each."""
    names = {}
    uuids = []
    for network in ("red", "blue"):
        if names and chooser.random() < 0.3:
            names[network] = names["red"]
            continue
        names[network] = f"generated-{number}-{network}"
        uuids.append(
            lab.intent.client.create(
                "network-policy",
                ["default-domain", "demo", names[network]],
                parent_type="project",
                network_policy_entries={"policy_rule": generate_rules(chooser)},
            )
        )
    try:
        for network, name in names.items():
            lab.intent.set_policies(network, [name], wait="agents")
        yield
    finally:
        for network in names:
            lab.intent.set_policies(network, [], wait="agents")
        for uuid in uuids:
            lab.intent.client.delete("network-policy", uuid)


@pytest.fixture(scope="module")
def found_reasons():
    """Reasons that generated policies have shown so far."""
    return set()


@pytest.mark.parametrize("number", range(8))
def test_with_generated_policies(lab, observatory, numbers, number, found_reasons):
    chooser = random.Random(SEED + number)
    with policies(lab, chooser, number):
        cases = generate_cases(chooser, lab, numbers, 80)
        found_reasons |= {reason for _, reason in require_agreement(lab, observatory, cases)}
    # Detached: nothing of it remains.
    require_agreement(lab, observatory, generate_cases(chooser, lab, numbers, 20))


def test_the_generated_policies_have_shown_every_reason(found_reasons):
    assert found_reasons >= {*REASONS, DropReason.NONE}


@pytest.mark.parametrize(
    ("target", "code"), [("red-2", 0), ("10.1.1.1", 0), ("blue-2", 3), ("10.1.1.99", 3)]
)
def test_the_command_says_what_ping_finds(lab, capsys, target, code):
    names = {workload.name: format_ipv4(workload.address) for workload in lab.plan.workloads}
    argv = ["ping", "-nq", "-c1", "-W0.5", names.get(target, target)]
    assert run(["--run-dir", str(lab.directories.run), "trace", "red-1", target]) == code
    assert (lab.run("red-1", argv).returncode == 0) == (code == 0), capsys.readouterr().out
