"""An address that one of two ports holds at a time, as keepalived uses it: who claims it has it."""

import contextlib
import json
import select
import socket
import time
from collections import Counter

import pytest
from tests.lab.frames import card
from tests.lab.kit import lab_of
from tests.lab.test_ports import change_port

from filament.base.net import Prefix, parse_ipv4, parse_ipv6
from filament.cli.main import run
from filament.testing.lab.dual import add_ipv6
from filament.testing.lab.lab import agent_of
from filament.testing.lab.namespaces import inside
from filament.wire.packet.arp import REPLY
from filament.wire.packet.frames import gratuitous_arp_frame, unsolicited_advertisement_frame

pytestmark = pytest.mark.lab

PAIRS = "virtual_machine_interface_allowed_address_pairs"
SHARED, SHARED6 = "10.1.1.50", "2001:db8:1::50"
ADDRESSES6 = {f"red-{n}": f"2001:db8:1::{n + 2}" for n in (1, 2, 3)}
HOLDERS = {"red-2": "host2", "red-3": "host3"}
SENDER = "red-1"
PORT = 5353
MOVES_WITHIN_S = 0.5


@pytest.fixture(scope="module")
def lab():
    """Three hosts, with a workload of red on each; two of them share addresses."""
    with lab_of(host_count=3) as built:
        add_ipv6(built, "red", Prefix.parse("2001:db8:1::/64"), ADDRESSES6)
        for holder in HOLDERS:
            share(built, holder, "active-standby")
            use(built, holder)
        yield built


def share(lab, workload, mode):
    """Let a workload have both addresses in a mode, or (None) not at all."""
    pairs = (
        []
        if mode is None
        else [
            {"ip": {"ip_prefix": SHARED, "ip_prefix_len": 32}, "mac": "", "address_mode": mode},
            {"ip": {"ip_prefix": SHARED6, "ip_prefix_len": 128}, "mac": "", "address_mode": mode},
        ]
    )
    change_port(lab, workload, **{PAIRS: {"allowed_address_pair": pairs}})


def use(lab, workload):
    """Give a workload both addresses, silently."""
    lab.run(workload, ["ip", "addr", "add", f"{SHARED}/32", "dev", "eth0"])
    lab.run(workload, ["ip", "-6", "addr", "add", f"{SHARED6}/128", "dev", "eth0", "nodad"])


def announce(lab, workload, *, operation=1):
    """What keepalived does when it becomes master."""
    mac = lab.plan.workload(workload).mac
    with card(lab, workload) as network:
        network.send(gratuitous_arp_frame(mac, parse_ipv4(SHARED), operation=operation))
        own = parse_ipv6(SHARED6)
        network.send(unsolicited_advertisement_frame(mac, own, own))


class Stream:
    """Numbered packets from the sender to a shared address, and which holder gets them."""

    def __init__(self, lab, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._to = (address, PORT)
        self._stack = contextlib.ExitStack()
        self._sender = self._socket(lab, SENDER, family)
        self._by_holder = {}
        for holder in HOLDERS:
            self._by_holder[holder] = self._socket(lab, holder, family)
            self._by_holder[holder].bind(self._to)

    def _socket(self, lab, workload, family):
        with inside(lab.place(workload)):
            made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        return self._stack.enter_context(made)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def holder(self):
        """Send a packet, and say who gets it; None: nobody, soon."""
        for one in self._by_holder.values():
            with contextlib.suppress(BlockingIOError):
                while one.recv(64):
                    pass
        self._sender.sendto(b"packet", self._to)
        ready, _, _ = select.select(list(self._by_holder.values()), [], [], 0.05)
        found = [name for name, one in self._by_holder.items() if one in ready]
        assert len(found) <= 1
        return found[0] if found else None

    def wait_for(self, holder, timeout_s=MOVES_WITHIN_S):
        """Send until a holder has it; returns how many seconds that took."""
        began = time.monotonic()
        while time.monotonic() < began + timeout_s:
            if self.holder() == holder:
                return time.monotonic() - began
        raise AssertionError(f"{holder} did not get it within {timeout_s} s")


@pytest.mark.parametrize("address", [SHARED, SHARED6])
def test_the_one_who_announces_itself_gets_the_packets(lab, address):
    with Stream(lab, address) as stream:
        took = []
        for holder in ("red-2", "red-3", "red-2", "red-3"):
            announce(lab, holder, operation=REPLY if len(took) % 2 else 1)
            took.append(stream.wait_for(holder))
            assert [stream.holder() for _ in range(20)] == [holder] * 20
            time.sleep(1.1)  # so that it does not count as flapping
        print(f"moved to another host after {', '.join(f'{one * 1000:.0f}' for one in took)} ms")


def standings(lab, host):
    """How a host's port stands with the address: its route's preference and sequence."""
    (found,) = [
        (one["preference"], one["sequence"])
        for port in lab.ask(agent_of(host), "/filament/interfaces")["interfaces"]
        for one in port["standbys"]
        if one["prefix"] == f"{SHARED}/32"
    ]
    return found


@pytest.fixture
def held(lab):
    """Red-2 holds the address, everybody knows, and no flapping is remembered."""
    time.sleep(4.1)
    announce(lab, "red-2")
    with Stream(lab, SHARED) as stream:
        stream.wait_for("red-2")
        until = time.monotonic() + 5.0
        while standings(lab, "host3")[0] != 100 and time.monotonic() < until:
            time.sleep(0.01)
        yield stream


def test_the_first_packet_from_the_address_claims_it_too(lab, held):
    with inside(lab.place("red-3")):
        speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with speaker:
        speaker.bind((SHARED, 6000))
        speaker.sendto(b"hello", ("10.1.1.3", PORT))
        held.wait_for("red-3")


def test_a_standby_reaches_the_holder_and_others_cannot_claim(lab, held):
    ping = ["ping", "-nqc1", "-W0.5", "-I", "10.1.1.5", SHARED]
    lab.run("red-3", ["ip", "addr", "del", f"{SHARED}/32", "dev", "eth0"])
    try:
        assert lab.run("red-3", ping).returncode == 0
    finally:
        lab.run("red-3", ["ip", "addr", "add", f"{SHARED}/32", "dev", "eth0"])
    before = [sum(standings(lab, host)) for host in HOLDERS.values()]
    mac = lab.plan.workload(SENDER).mac
    with card(lab, SENDER) as network:
        for _ in range(100):
            network.send(gratuitous_arp_frame(mac, parse_ipv4(SHARED)))
    assert [held.holder() for _ in range(20)] == ["red-2"] * 20
    assert [sum(standings(lab, host)) for host in HOLDERS.values()] == before


def asked(lab, capsys, *argv):
    """What the command line prints."""
    capsys.readouterr()
    code = run(["--run-dir", str(lab.directories.run), *argv])
    assert code == 0
    return capsys.readouterr().out


def test_everybody_holds_the_same_and_people_are_told_who(lab, held, capsys):
    assert held.holder() == "red-2"
    assert json.loads(asked(lab, capsys, "verify", "--json"))["differences"] == []
    shown = asked(lab, capsys, "show", "interface")
    assert f"{SHARED}/32 held" in shown
    assert f"{SHARED}/32 standby of 172.30.0.2" in shown
    why = asked(lab, capsys, "show", "route", SHARED, "--why")
    assert "local preference: 100, best has 200" in why
    traced = asked(lab, capsys, "trace", "red-3", SHARED, "icmp")
    assert "host2" in traced


def test_agents_that_are_killed_move_nothing(lab, held):
    before = {host: standings(lab, host) for host in HOLDERS.values()}
    for host in HOLDERS.values():
        lab.kill(agent_of(host))
        lab.restart(agent_of(host))
    for host in HOLDERS.values():
        lab.wait_for(agent_of(host))
    lab.wait_plugged()
    assert [held.holder() for _ in range(20)] == ["red-2"] * 20
    assert {host: standings(lab, host) for host in HOLDERS.values()} == before


def test_what_was_claimed_while_the_agent_was_away_counts(lab, held):
    lab.kill("agent-host3")
    announce(lab, "red-3")
    assert held.holder() == "red-2"
    lab.restart("agent-host3")
    lab.wait_for("agent-host3")
    lab.wait_plugged()
    held.wait_for("red-3", timeout_s=5.0)


def test_the_standby_is_found_when_the_holder_leaves(lab, held):
    workload = lab.plan.workload("red-2")
    lab.run("host2", ["ip", "link", "set", workload.device, "down"])
    share(lab, "red-2", None)
    held.wait_for("red-3", timeout_s=5.0)
    lab.run("host2", ["ip", "link", "set", workload.device, "up"])
    share(lab, "red-2", "active-standby")
    assert [held.holder() for _ in range(20)].count("red-2") in (0, 20), "no load is shared"


def test_who_flaps_is_made_to_wait_and_agents_are_not_flooded(lab, held):
    """Two workloads that both believe to be master: moves are few, packets go to one of them."""
    before = standings(lab, "host2")[1]
    until = time.monotonic() + 3.0
    claims = 0
    while time.monotonic() < until:
        for holder in HOLDERS:
            announce(lab, holder)
            claims += 1
        assert held.holder() in {*HOLDERS, None}
    moved = max(standings(lab, host)[1] for host in HOLDERS.values()) - before
    assert 2 < moved <= 16 < claims
    time.sleep(0.3)
    last = held.holder()
    assert [held.holder() for _ in range(20)] == [last] * 20


def test_active_active_shares_the_load(lab):
    for holder in HOLDERS:
        share(lab, holder, "active-active")
    try:
        shares = Counter()
        for _ in range(40):
            with Stream(lab, SHARED) as stream:  # a flow of its own
                shares[stream.holder()] += 1
        assert set(shares) == set(HOLDERS), shares
    finally:
        for holder in HOLDERS:
            share(lab, holder, "active-standby")
