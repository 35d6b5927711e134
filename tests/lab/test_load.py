"""Floods, scans and frames that nobody should send: hosts go on, and count every frame.

Hosts have a flow table for few flows, so that a flood of seconds fills it. Seeds are printed; to
run one again give it in FILAMENT_SEED.
"""

import json
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.lab.frames import card, count, send, syns
from tests.lab.kit import lab_of
from tests.lab.test_groups_and_ipv6 import ANYBODY, LOCAL, create_group, put_into, rule
from tests.lab.test_observe import show

from filament.base.net import ROUTER_MAC, format_ipv4
from filament.cli.main import run
from filament.testing.lab.intent import require_followed
from filament.testing.lab.lab import agent_of
from filament.testing.lab.namespaces import inside
from filament.testing.lab.probes import Probe
from filament.wire.packet.frames import (
    arp_request_frame,
    icmp6_packet,
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    ipv6_frame,
    tcp_packet,
    udp_packet,
)
from filament.wire.packet.icmp import Icmp
from filament.wire.packet.ipv4 import UDP, Ipv4
from filament.wire.packet.tcp import Tcp

pytestmark = pytest.mark.lab

FLOW_TABLE = 8192
HOSTS = ("host1", "host2")
BLUE_2 = "10.1.2.4"


@pytest.fixture(scope="module")
def lab():
    """Who is connected while others flood may only ask, and only be asked: what answers passes by
    its flow alone.
    """
    with lab_of(agent_options=("--flow-table", str(FLOW_TABLE))) as built:
        create_group(built, "asks", rule(LOCAL, ANYBODY))
        create_group(built, "answers", rule(ANYBODY, LOCAL))
        put_into(built, "blue-1", "asks")
        put_into(built, "blue-2", "answers")
        yield built


@pytest.fixture
def chance():
    seed = int(os.environ.get("FILAMENT_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FILAMENT_SEED={seed}")
    return random.Random(seed)


def flow_table(lab, host="host1"):
    return lab.ask(agent_of(host), "/filament/status")["flows"]


def until(wanted, timeout_s=25):
    deadline = time.monotonic() + timeout_s
    while not (found := wanted()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def until_there_is_room(lab):
    """Wait until what a flood left is swept out of both tables: seconds, a minute at most for what
    was not answered at all.
    """
    until(lambda: all(flow_table(lab, host)["held"] < FLOW_TABLE // 4 for host in HOSTS), 80)


def limit_flows(lab, workload, limit):
    uuid = lab.plan.workload(workload).interface_uuid
    properties = {"max_flows": limit}
    require_followed(
        lab.intent.client.update(
            "virtual-machine-interface",
            uuid,
            wait="agents",
            virtual_machine_interface_properties=properties,
        )
    )


class Talk:
    """A TCP connection between two workloads that says something both ways when told to. Who was
    connected to speaks first: that passes as an answer only.
    """

    def __init__(self, lab, source, target, port=7002, address=None):
        address = address or format_ipv4(lab.plan.workload(target).address)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            inside(lab.place(target)),
            socket.create_server((address, port), family=family) as server,
        ):
            with inside(lab.place(source)):
                self.near = socket.create_connection((address, port), timeout=10)
            self.far, _ = server.accept()
        self.far.settimeout(10)

    def say(self):
        for one, other in ((self.far, self.near), (self.near, self.far)):
            one.sendall(b"something")
            assert other.recv(64) == b"something"

    def close(self):
        self.near.close()
        self.far.close()


class Flood:
    """SYNs from and to ever other ports, as fast as one thread sends them."""

    def __init__(self, lab, source, target, chance, addresses6=None):
        ports = chance.sample(range(1 << 30), 60_000)
        pairs = [(1024 + (port >> 15) % 64_000, 1 + port % 65_535) for port in ports]
        self._frames = syns(lab, source, target, pairs, addresses6)
        self._lab, self._source = lab, source
        self._stop = threading.Event()
        self.sent = 0

    def __enter__(self):
        # A socket stays in the namespace it was made in; the thread needs no other.
        self._card = card(self._lab, self._source)
        made = self._card.__enter__()
        self._thread = threading.Thread(target=self._run, args=(made,))
        self._thread.start()
        return self

    def _run(self, made):
        while not self._stop.is_set():
            for start in range(0, len(self._frames), 500):
                self.sent += send(made, self._frames[start : start + 500])
                if self._stop.is_set():
                    return

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._card.__exit__(None, None, None)


def test_a_syn_flood_raises_an_alarm_and_takes_nothing_from_who_is_connected(lab, chance, capsys):
    talk = Talk(lab, "blue-1", "blue-2")
    talk.say()
    with Probe(lab, "blue-1", "blue-2") as probe:
        until(lambda: any(flow["protocol"] == 17 for flow in flows_of(lab, "blue-1-port")))
        before = count(lab, "host1")
        with Flood(lab, "red-1", "red-2", chance) as flood:
            # A sweep may find room, until the next one finds it taken.
            until(lambda: flow_table(lab)["pressed"])
            until(lambda: "the flow table is nearly full: " in status(lab, capsys))
            until(lambda: "nearly full" in show(lab, capsys, "agent", "--host", "host1"))
            talk.say()
            until(lambda: "FLOW_TABLE_FULL" in count(lab, "host1").since(before).by_reason)
            talk.say()
        assert flood.sent > FLOW_TABLE
        until(lambda: not any(flow_table(lab, host)["pressed"] for host in HOSTS))
        # Who comes after it finds room, and who was there before is still there.
        after = Talk(lab, "blue-1", "blue-2", 7003)
        after.say()
        talk.say()
        until_there_is_room(lab)
    for each in (talk, after):
        each.say()
        each.close()
    assert (probe.outcome.lost, probe.outcome.duplicates) == (0, 0)
    log = (lab.directories.logs / "agent-host1.log").read_text()
    assert "flow-table-pressed" in log
    assert "flow-table-relieved" in log


def status(lab, capsys):
    capsys.readouterr()
    assert run(["--run-dir", str(lab.directories.run), "status"]) == 0
    return capsys.readouterr().out


def flows_of(lab, interface):
    found = lab.ask(agent_of("host1"), "/filament/flows?limit=100000")["flows"]
    return [flow for flow in found if flow["interface"].endswith(interface)]


@pytest.fixture
def limited(lab):
    """Those who flood and are flooded may have 500 flows each."""
    until_there_is_room(lab)
    for workload in ("red-1", "red-2"):
        limit_flows(lab, workload, 500)
    yield lab
    for workload in ("red-1", "red-2"):
        limit_flows(lab, workload, 0)
    until_there_is_room(lab)


def test_a_port_with_a_limit_floods_itself_only(limited, chance):
    before = [count(limited, host) for host in HOSTS]
    with Flood(limited, "red-1", "red-2", chance):
        until(lambda: "FLOW_LIMIT" in count(limited, "host1").since(before[0]).by_reason)
        for port in range(7010, 7020):  # others begin, go on and end meanwhile
            talk = Talk(limited, "blue-1", "blue-2", port)
            talk.say()
            talk.close()
        assert not flow_table(limited)["pressed"]
    for host, then in zip(HOSTS, before, strict=True):
        assert "FLOW_TABLE_FULL" not in count(limited, host).since(then).by_reason


def settled(lab, host):
    """A host's counters once nothing moves any more."""
    seen = [count(lab, host)]

    def stands_still():
        time.sleep(0.1)
        seen.append(count(lab, host))
        return seen[-1] == seen[-2]

    until(stands_still)
    return seen[-1]


def test_a_scan_of_every_port_and_address_is_accounted_for(lab, capsys):
    """All ports of one workload, then all addresses of its network, from one port."""
    before = {host: settled(lab, host) for host in HOSTS}
    here, there = lab.plan.workload("red-1"), lab.plan.workload("red-2")
    frames = syns(lab, "red-1", "red-2", ((40_000, port) for port in range(1, 3001)))
    network = there.address & ~0xFF
    frames += [
        ipv4_frame(here.mac, ROUTER_MAC, tcp_packet(here.address, network + last, Tcp(40_000, 22)))
        for last in range(256)
    ]
    with card(lab, "red-1") as wire:
        assert send(wire, frames) == len(frames)
    found = {host: settled(lab, host).since(before[host]) for host in HOSTS}
    for counts in found.values():
        assert counts.taken == counts.sent + counts.dropped, counts
    # Nobody has the address (the network's own and its broadcast address among them) but the
    # workloads, the gateway and the service address; these two serve no TCP.
    assert found["host1"].by_reason == {"UNASSIGNED": 252, "NOT_SERVED": 2}
    assert found["host2"].by_reason == {}
    assert found["host1"].taken == 2 * 3000 + 256 + 1  # and the answers: RST of closed ports
    rows = json.loads(show(lab, capsys, "drops", "--by", "reason", "--host", "host1", "--json"))
    assert {row["reason"] for row in rows} >= {"UNASSIGNED", "NOT_SERVED"}


def frames_of_every_kind(lab):
    """Frames that are right, as the workload red-1 may send them, to begin with."""
    here, there = lab.plan.workload("red-1"), lab.plan.workload("red-2")
    ends = here.address, there.address
    packets = [
        udp_packet(*ends, (5000, 5001), b"x" * 64),
        tcp_packet(*ends, Tcp(5000, 5002), b"x" * 9),
        icmp_packet(*ends, Icmp(8, 0, 7, 1), b"x" * 56),
        icmp_packet(*ends, Icmp(3, 1), udp_packet(*ends[::-1], (5001, 5000))[:28]),
        icmp_packet(here.address, here.gateway, Icmp(8, 0, 7, 1), b"x" * 56),
        ipv4_packet(Ipv4(*ends, UDP, 0, more_fragments=True, identification=9), b"\0" * 64),
        ipv4_packet(Ipv4(*ends, UDP, 0, offset=8, identification=9), b"\0" * 64),
        ipv4_packet(Ipv4(*ends, UDP, 0, options=b"\x07\x07\x04\0\0\0\0\0"), b"\0" * 16),
    ]
    found = [ipv4_frame(here.mac, ROUTER_MAC, packet) for packet in packets]
    found.append(arp_request_frame(here.mac, here.address, here.gateway))
    link_local = 0xFE80 << 112 | 5
    echo = icmp6_packet(link_local, link_local + 1, Icmp(128, 0, 7, 1), b"x" * 20)
    found.append(ipv6_frame(here.mac, ROUTER_MAC, echo))
    return found


def spoiled(chance, kinds):
    """One frame: cut short, with bits turned over, with a header of another, or noise."""
    frame = bytearray(chance.choice(kinds))
    match chance.randrange(5):
        case 0:
            frame = frame[: chance.randrange(14, len(frame))]
        case 1:
            for _ in range(chance.randrange(1, 6)):
                frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
        case 2:
            at = chance.randrange(14, len(frame))
            frame[at:] = chance.choice(kinds)[at:]
        case 3:
            frame += chance.randbytes(chance.randrange(200))
        case 4:
            frame[14:] = chance.randbytes(chance.randrange(200))
    return bytes(frame)


def require_all_counted(lab, chance, kinds, ping):
    """Send frames, cut at every byte and spoiled, and find each counted as what became of it."""
    before = {host: settled(lab, host) for host in HOSTS}
    frames = [frame[:length] for frame in kinds for length in range(14, len(frame) + 1)]
    frames += [spoiled(chance, kinds) for _ in range(20_000)]
    with card(lab, "red-1") as wire:
        sent = send(wire, frames)
    assert sent > 20_000
    found = {host: settled(lab, host).since(before[host]) for host in HOSTS}
    for counts in found.values():
        assert counts.taken == counts.sent + counts.dropped, counts
    assert found["host1"].taken >= sent
    reasons = found["host1"].by_reason
    assert {"MALFORMED", "UNSUPPORTED_PROTOCOL", "SOURCE_SPOOFED", "NO_ROUTE"} <= {*reasons}
    # What is whole still passes, by programs and processes that are all there.
    done = lab.run("red-1", ping)
    assert done.returncode == 0, done.stdout
    assert all(alive for _, alive in lab.status())


def test_frames_that_make_no_sense_are_counted_one_by_one(lab, chance):
    ping = ["ping", "-nq", "-c3", "-i0.02", "10.1.1.4"]
    require_all_counted(lab, chance, frames_of_every_kind(lab), ping)


def test_fragments_pass_and_a_flood_of_them_pushes_nobody_out(lab):
    """First fragments that nothing follows fill a table that forgets; whole packets still pass."""
    here, there = lab.plan.workload("red-1"), lab.plan.workload("red-2")
    before = {host: settled(lab, host) for host in HOSTS}
    firsts = [
        ipv4_frame(
            here.mac,
            ROUTER_MAC,
            ipv4_packet(
                Ipv4(
                    *(here.address, there.address, UDP, 0),
                    more_fragments=True,
                    identification=number & 0xFFFF,
                ),
                udp_packet(here.address, there.address, (5000, 5001), bytes(64))[20:],
            ),
        )
        for number in range(20_000)
    ]
    # The workload's own stack must not give up waiting for the rest of so many.
    with inside(lab.place("red-2")):
        Path("/proc/sys/net/ipv4/ipfrag_high_thresh").write_text(str(1 << 28))
    ping = ["ping", "-nq", "-c5", "-i0.02", "-s4000", "10.1.1.4"]
    with card(lab, "red-1") as wire:
        assert send(wire, firsts[:10_000]) == 10_000
        done = lab.run("red-1", ping)
        assert send(wire, firsts[10_000:]) == 10_000
    assert done.returncode == 0, done.stdout
    assert lab.run("red-1", ping).returncode == 0
    for host in HOSTS:
        counts = settled(lab, host).since(before[host])
        assert counts.taken == counts.sent + counts.dropped, counts
        assert counts.by_reason == {}
    assert lab.run("blue-1", ["ping", "-nq", "-c1", BLUE_2]).returncode == 0
