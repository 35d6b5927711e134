"""Real packets of many connections at once, between workloads of a lab.

All sockets belong to the test's process: a socket stays in the namespace it was made in. Everybody
listens first, then every probe is sent, then one loop waits for all: a refused probe costs nothing
but the wait that all share.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import NamedTuple, Self

from tests.policy.worlds import Place, Probe

from filament.testing.intended import ICMP, ICMPV6, TCP, UDP
from filament.testing.lab.lab import Lab
from filament.testing.lab.namespaces import inside
from filament.wire.packet.checksum import checksum

_ECHO_REPLY = {ICMP: 0, ICMPV6: 129}
_QUESTION, _ANSWER = b"?filament", b"!filament"
_AGAIN_S = 0.4
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, at once
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class _Key(NamedTuple):
    """One shared socket: whose, and for what."""

    machine: str
    address: str
    protocol: int
    port: int


class Sockets:
    """The sockets of one round of probes; a context manager."""

    def __init__(self, lab: Lab, probes: Iterable[Probe]) -> None:
        self._lab = lab
        self._probes = list(probes)
        self._stack = contextlib.ExitStack()
        self._shared: dict[_Key, socket.socket] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._tcp: dict[int, tuple[socket.socket, int]] = {}
        self._poll = select.poll()
        self.answered: set[int] = set()

    def __enter__(self) -> Self:
        for probe in self._probes:
            self._listen(probe.destination, probe)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def exchange(self, expected: set[int], *, timeout_s: float, quiet_s: float) -> set[int]:
        """Send all probes and return which were answered, by their places in the list.

        Waits until those `expected` have answers, and `quiet_s` more for others, but no longer
        than `timeout_s`. What was expected and may have been lost on a busy machine is sent again.
        """
        began = time.monotonic()
        for number in range(len(self._probes)):
            self._send(number)
        again_at = began + _AGAIN_S
        quiet_at = began + quiet_s
        while time.monotonic() < began + timeout_s:
            missing = expected - self.answered
            now = time.monotonic()
            if not missing and now >= quiet_at:
                break
            if missing:
                quiet_at = now + quiet_s
            if missing and now >= again_at:
                again_at = now + _AGAIN_S
                for number in missing:
                    self._send(number)
            for descriptor, _ in self._poll.poll(20):
                self._readers[descriptor]()
        return self.answered

    # sockets -----------------------------------------------------------------------------

    def _made(self, place: Place, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with inside(self._lab.place(place.machine)):
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        return self._stack.enter_context(made)

    def _read_with(self, one: socket.socket, reader: Callable[[], None], events: int) -> None:
        self._readers[one.fileno()] = reader
        self._poll.register(one, events)

    def _listen(self, place: Place, probe: Probe) -> None:
        flow = probe.flow
        if flow.protocol == UDP:
            self._udp(place, flow.destination, flow.destination_port)
        elif flow.protocol == TCP:
            key = _Key(place.machine, flow.destination, TCP, flow.destination_port)
            if key not in self._shared:
                one = self._made(place, _FAMILIES[flow.version], socket.SOCK_STREAM)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((flow.destination, flow.destination_port))
                one.listen(256)
                self._shared[key] = one
        elif flow.protocol not in _ECHO_REPLY:
            self._raw(place, flow.destination, flow.protocol)

    def _udp(self, place: Place, address: str, port: int) -> socket.socket:
        key = _Key(place.machine, address, UDP, port)
        if key not in self._shared:
            one = self._made(place, _FAMILIES[ip_address(address).version], socket.SOCK_DGRAM)
            one.bind((address, port))
            self._shared[key] = one
            self._read_with(one, lambda: self._hear(one), select.POLLIN)
        return self._shared[key]

    def _raw(self, place: Place, address: str, protocol: int) -> socket.socket:
        """A raw socket, for ICMP and protocols without ports."""
        key = _Key(place.machine, address, protocol, 0)
        if key not in self._shared:
            version = ip_address(address).version
            one = self._made(place, _FAMILIES[version], socket.SOCK_RAW, protocol)
            one.bind((address, 0))
            self._shared[key] = one
            self._read_with(one, lambda: self._hear(one, version, protocol), select.POLLIN)
        return self._shared[key]

    # packets -----------------------------------------------------------------------------

    def _send(self, number: int) -> None:
        probe = self._probes[number]
        flow = probe.flow
        if flow.protocol == TCP:
            self._connect(number, probe)
            return
        text = struct.pack("!H", number)
        if flow.protocol == UDP:
            one = self._udp(probe.source, flow.source, flow.source_port)
            _send_to(one, _QUESTION + text, flow.destination, flow.destination_port)
            return
        one = self._raw(probe.source, flow.source, flow.protocol)
        if flow.protocol in _ECHO_REPLY:
            # The kernel sums ICMPv6 itself.
            head = (flow.icmp_type, flow.icmp_code)
            unsummed = struct.pack("!BBHHH", *head, 0, number + 1, 1) + text
            _send_to(one, struct.pack("!BBHHH", *head, checksum(unsummed), number + 1, 1) + text,
                     flow.destination, 0)  # fmt: skip
        else:
            _send_to(one, _QUESTION + text, flow.destination, 0)

    def _connect(self, number: int, probe: Probe) -> None:
        if number in {known for _, known in self._tcp.values()}:
            return  # the kernel sends it again
        flow = probe.flow
        one = self._made(probe.source, _FAMILIES[flow.version], socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.bind((flow.source, flow.source_port))
        code = one.connect_ex((flow.destination, flow.destination_port))
        assert code in (0, errno.EINPROGRESS), (probe, errno.errorcode[code])
        self._tcp[one.fileno()] = one, number
        self._read_with(one, lambda: self._connected(one), select.POLLOUT)

    def _connected(self, one: socket.socket) -> None:
        _, number = self._tcp[one.fileno()]
        self._poll.unregister(one)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            self.answered.add(number)

    def _hear(self, one: socket.socket, version: int = 6, protocol: int = UDP) -> None:
        """Answer questions, and count answers."""
        while True:
            try:
                payload, sender = one.recvfrom(2048)
            except OSError:
                return  # nothing more; or an ICMP error about something that was sent
            if version == 4:  # raw sockets of IPv4 show the header
                payload = payload[(payload[0] & 15) * 4 :]
            if protocol in _ECHO_REPLY:
                if payload[0] == _ECHO_REPLY[protocol]:
                    self.answered.add(int.from_bytes(payload[8:10], "big"))
            elif payload.startswith(_QUESTION):
                _send_to(one, _ANSWER + payload[len(_QUESTION) :], sender[0], sender[1])
            elif payload.startswith(_ANSWER):
                self.answered.add(int.from_bytes(payload[len(_ANSWER) :][:2], "big"))


def _send_to(one: socket.socket, payload: bytes, address: str, port: int) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        one.sendto(payload, (address, port))
