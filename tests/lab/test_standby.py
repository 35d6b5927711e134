"""An address that one of two ports holds at a time, as keepalived uses it: who claims it has it."""

import contextlib
import select
import socket
import time

import pytest
from tests.lab.frames import card
from tests.lab.kit import lab_of
from tests.lab.test_ports import change_port

from filament.base.net import Prefix, parse_ipv4, parse_ipv6
from filament.testing.lab.dual import add_ipv6
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
    pairs = [
        {"ip": {"ip_prefix": SHARED, "ip_prefix_len": 32}, "mac": "", "address_mode": mode},
        {"ip": {"ip_prefix": SHARED6, "ip_prefix_len": 128}, "mac": "", "address_mode": mode},
    ]
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
