"""Two BGP peers in one process: one announces routes, the other counts what is reflected to it.

    python -m bench.bgp.load --family vpnv4 --routes 100000 --targets 500 --per-update 50
        --address 10.255.0.1 --port 1790 --pid 4711 [--constrained] [--no-withdraw]

Writes one JSON object: seconds from the first octet sent to the last route counted, announcing and
withdrawing, the processor time of process `--pid` meanwhile, and its memory in between. With
`--constrained` the counting peer asks for all targets but the last by route target membership;
nothing else may arrive.

Knows just enough BGP to be fast, and shares no code with what it measures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ASN = 64512
SENDER, RECEIVER = "10.255.0.2", "10.255.0.3"
FAMILIES = {"vpnv4": (1, 128), "evpn": (25, 70)}
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
HOLD_S = 600  # no keepalives are sent: longer than any run
CONNECT_FOR_S = 20.0
IDLE_S = 30.0  # without a route: it has stopped
_ATTRIBUTES = b"\x40\x01\x01\x00" + b"\x40\x02\x00" + b"\x40\x05\x04\x00\x00\x00\x64"


def message(kind: int, body: bytes = b"") -> bytes:
    """Return a message."""
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body


def update(attributes: bytes) -> bytes:
    """Return an UPDATE whose routes are in its attributes."""
    return message(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes)


class Peer:
    """One session, blocking."""

    def __init__(self, local: str, remote: tuple[str, int], capabilities: bytes) -> None:
        self.socket = _connect(local, remote)
        self._pending = b""
        parameters = b"\x02" + bytes([len(capabilities)]) + capabilities
        self.socket.sendall(
            message(
                OPEN,
                struct.pack("!BHH4sB", 4, ASN, HOLD_S, socket.inet_aton(local), len(parameters))
                + parameters,
            )
        )
        while True:
            kind, body = self.read()
            if kind == OPEN:
                self.socket.sendall(message(KEEPALIVE))
            elif kind == KEEPALIVE:
                return
            elif kind == NOTIFICATION:
                raise SystemExit(f"refused: NOTIFICATION {body[:2].hex()}")

    def read(self) -> tuple[int, bytes]:
        """Return the next message."""
        while True:
            if len(self._pending) >= 19:
                size = struct.unpack_from("!H", self._pending, 16)[0]
                if len(self._pending) >= size:
                    found = self._pending[18], self._pending[19:size]
                    self._pending = self._pending[size:]
                    return found
            self._receive()

    def bodies(self) -> Iterator[bytes]:
        """Yield the bodies of UPDATEs as they come, in bulk."""
        while True:
            at, pending = 0, self._pending
            while at + 19 <= len(pending):
                size = pending[at + 16] << 8 | pending[at + 17]
                if at + size > len(pending):
                    break
                if pending[at + 18] == UPDATE:
                    yield pending[at + 19 : at + size]
                elif pending[at + 18] == NOTIFICATION:
                    raise SystemExit(f"closed: NOTIFICATION {pending[at + 19 : at + 21].hex()}")
                at += size
            self._pending = pending[at:]
            self._receive()

    def _receive(self) -> None:
        octets = self.socket.recv(1 << 20)
        if not octets:
            raise SystemExit("the speaker closed the connection")
        self._pending += octets


def _connect(local: str, remote: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + CONNECT_FOR_S
    while True:
        attempt = socket.socket()
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        attempt.bind((local, 0))
        try:
            attempt.connect(remote)
            # A speaker that is not quite up yet accepts and closes: it is asked again.
            attempt.settimeout(IDLE_S)
            return attempt
        except OSError:
            attempt.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def capabilities(family: str, *, constrained: bool) -> bytes:
    """Return what an OPEN offers: the family, four-octet ASes, membership."""
    afi, safi = FAMILIES[family]
    offered = struct.pack("!BBHBB", 1, 4, afi, 0, safi) + struct.pack("!BBI", 65, 4, ASN)
    offered += struct.pack("!BB2s", 64, 2, b"\0\0")  # we send End-of-RIB
    return offered + (struct.pack("!BBHBB", 1, 4, 1, 0, 132) if constrained else b"")


def nlri(family: str, number: int) -> bytes:
    """Return one route; they differ in prefix, label and, less, in distinguisher."""
    distinguisher = struct.pack("!H4sH", 1, socket.inet_aton(SENDER), 1 + number % 4000)
    prefix = struct.pack("!I", 0x0A000000 + number)
    if family == "vpnv4":
        label = (((16 + number) % (1 << 20)) << 4 | 1).to_bytes(3, "big")
        return b"\x78" + label + distinguisher + prefix
    route = (
        distinguisher + bytes(14) + b"\x30\x02\x00" + struct.pack("!I", number) + b"\x20" + prefix
    ) + (7).to_bytes(3, "big")
    return b"\x02" + bytes([len(route)]) + route


def target(number: int) -> bytes:
    """Return a route target."""
    return struct.pack("!BBHI", 0, 2, ASN, 8_000_000 + number)


def announcements(family: str, routes: int, per_update: int, targets: int) -> bytes:
    """Return the UPDATEs that announce everything."""
    afi, safi = FAMILIES[family]
    hop = socket.inet_aton(SENDER)
    hop = bytes(8) + hop if family == "vpnv4" else hop
    messages = []
    for start in range(0, routes, per_update):
        extended = target(start // per_update % targets) + bytes.fromhex("030c00000000000d")
        field = b"".join(nlri(family, n) for n in range(start, min(start + per_update, routes)))
        reach = struct.pack("!HBB", afi, safi, len(hop)) + hop + b"\0" + field
        messages.append(
            update(
                _ATTRIBUTES
                + b"\xc0\x10\x10"
                + extended
                + b"\x90\x0e"
                + struct.pack("!H", len(reach))
                + reach
            )
        )
    return b"".join(messages)


def withdrawals(family: str, routes: int, per_update: int) -> bytes:
    """Return the UPDATEs that withdraw everything."""
    afi, safi = FAMILIES[family]
    messages = []
    for start in range(0, routes, per_update):
        field = b"".join(nlri(family, n) for n in range(start, min(start + per_update, routes)))
        value = struct.pack("!HB", afi, safi) + field
        messages.append(update(b"\x90\x0f" + struct.pack("!H", len(value)) + value))
    return b"".join(messages)


def end_of_rib(afi: int, safi: int) -> bytes:
    """Return the End-of-RIB marker of a family."""
    return update(b"\x80\x0f\x03" + struct.pack("!HB", afi, safi))


def memberships(count: int) -> bytes:
    """Return the UPDATEs that ask for the first `count` targets, and their End-of-RIB."""
    messages = []
    for start in range(0, count, 200):
        field = b"".join(
            b"\x60" + struct.pack("!I", ASN) + target(number)
            for number in range(start, min(start + 200, count))
        )
        reach = struct.pack("!HBB", 1, 132, 4) + socket.inet_aton(RECEIVER) + b"\0" + field
        value = b"\x90\x0e" + struct.pack("!H", len(reach)) + reach
        messages.append(update(_ATTRIBUTES + value))
    return b"".join(messages) + end_of_rib(1, 132)


def count_routes(family: str, body: bytes) -> tuple[int, int]:
    """Count the routes of our family that an UPDATE announces and withdraws."""
    wanted = struct.pack("!HB", *FAMILIES[family])
    # All routes are of one length, so octets tell how many there are.
    size = len(nlri(family, 0))
    announced = withdrawn = 0
    at = 4
    while at < len(body):
        flags, code, length = body[at], body[at + 1], body[at + 2]
        at += 3
        if flags & 0x10:
            length = length << 8 | body[at]
            at += 1
        if code in (14, 15) and body[at : at + 3] == wanted:
            routes = length - 3 - (2 + body[at + 3] if code == 14 else 0)
            if code == 14:
                announced += routes // size
            else:
                withdrawn += routes // size
        at += length
    return announced, withdrawn


class Silence(Exception):  # noqa: N818
    """No more routes come."""


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Do it once."""
    family, total = arguments.family, arguments.routes
    remote = arguments.address, arguments.port
    offered = capabilities(family, constrained=arguments.constrained)
    receiver = Peer(RECEIVER, remote, offered)
    sender = Peer(SENDER, remote, capabilities(family, constrained=False))
    expected = total
    if arguments.constrained:
        receiver.socket.sendall(memberships(arguments.targets - 1))
        last = arguments.targets - 1
        expected -= sum(
            min(arguments.per_update, total - start)
            for start in range(0, total, arguments.per_update)
            if start // arguments.per_update % arguments.targets == last
        )
    threading.Thread(target=_drain, args=(sender.socket,), daemon=True).start()
    blobs = [
        announcements(family, total, arguments.per_update, arguments.targets),
        withdrawals(family, total, arguments.per_update),
    ]
    time.sleep(arguments.settle)
    bodies = receiver.bodies()
    result: dict[str, object] = {"expected": expected}
    for name, blob in zip(("announce", "withdraw"), blobs, strict=True):
        cpu_began = _cpu_s(arguments.pid)
        began = time.monotonic()
        sending = threading.Thread(target=sender.socket.sendall, args=(blob,), daemon=True)
        sending.start()
        got = 0
        with contextlib.suppress(TimeoutError):
            while got < expected:
                got += count_routes(family, next(bodies))[name == "withdraw"]
        result[f"{name}_s"] = time.monotonic() - began
        result[f"{name}_count"] = got
        result[f"{name}_cpu_s"] = _cpu_s(arguments.pid) - cpu_began
        if name == "announce":
            sending.join()
            result["rss_mib"] = _rss_mib(arguments.pid) if arguments.pid else None
            if arguments.constrained:
                result["unasked"] = _unasked(receiver, family, bodies)
                bodies = receiver.bodies()  # a generator ends with its first exception
        if arguments.no_withdraw:
            break
    return result


def _unasked(receiver: Peer, family: str, bodies: Iterator[bytes]) -> int:
    """Count what still comes within a moment: it was not asked for."""
    receiver.socket.settimeout(1.0)
    count = 0
    with contextlib.suppress(TimeoutError):
        while True:
            count += count_routes(family, next(bodies))[0]
    receiver.socket.settimeout(IDLE_S)
    return count


def _drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 20):
            pass


def _cpu_s(pid: int | None) -> float:
    """Return the processor time a process has used, all of its threads together."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has no memory")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.bgp.load")
    parser.add_argument("--family", choices=sorted(FAMILIES), default="vpnv4")
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--per-update", type=int, default=50)
    parser.add_argument("--address", default="10.255.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--settle", type=float, default=1.5, help="seconds after the sessions")
    parser.add_argument("--constrained", action="store_true")
    parser.add_argument("--no-withdraw", action="store_true")
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
