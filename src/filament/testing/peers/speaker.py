"""A BGP speaker that says exactly the bytes it is told to, and shows exactly those it hears.

For what no daemon can be talked into: malformed messages, floods, attributes and routes of kinds
unknown, a million routes. It answers nothing by itself but an OPEN when asked to `establish`.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from filament.base.errors import TransientError
from filament.testing.lab import namespaces
from filament.testing.peers.daemon import PATIENCE_S

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
MARKER = b"\xff" * 16
BGP_PORT = 179
_TCP_MD5SIG = 14
_AS_TRANS = 23456
INET, INET_VPN, EVPN, ROUTE_TARGET = (1, 1), (1, 128), (25, 70), (1, 132)


class Message(NamedTuple):
    """A message as it came: its type and what follows the header."""

    kind: int
    body: bytes


class Attribute(NamedTuple):
    """A path attribute as it came."""

    flags: int
    code: int
    value: bytes


def message(kind: int, body: bytes = b"") -> bytes:
    """Put a header before a body."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(flags: int, code: int, value: bytes) -> bytes:
    """Encode an attribute with the flags given; more than 255 bytes set the extended length."""
    if len(value) > 255 or flags & 0x10:
        return struct.pack("!BBH", flags | 0x10, code, len(value)) + value
    return struct.pack("!BBB", flags, code, len(value)) + value


def update(attributes: bytes, nlri: bytes = b"", withdrawn: bytes = b"") -> bytes:
    """Encode an UPDATE."""
    parts = struct.pack("!H", len(withdrawn)) + withdrawn
    return message(UPDATE, parts + struct.pack("!H", len(attributes)) + attributes + nlri)


def reach(family: tuple[int, int], next_hop: bytes, nlri: bytes) -> bytes:
    """Encode MP_REACH_NLRI; a VPN's next hop comes with its RD."""
    head = struct.pack("!HBB", *family, len(next_hop)) + next_hop + b"\0"
    return attribute(0x80, 14, head + nlri)


def unreach(family: tuple[int, int], nlri: bytes) -> bytes:
    """Encode MP_UNREACH_NLRI."""
    return attribute(0x80, 15, struct.pack("!HB", *family) + nlri)


def base_attributes(*extended: bytes, local_pref: int = 100) -> bytes:
    """ORIGIN igp, an empty AS_PATH, LOCAL_PREF and extended communities: an iBGP route's least."""
    found = attribute(0x40, 1, b"\0") + attribute(0x40, 2, b"")
    found += attribute(0x40, 5, struct.pack("!I", local_pref))
    return found + (attribute(0xC0, 16, b"".join(extended)) if extended else b"")


def target(asn: int, number: int) -> bytes:
    """A route target, 8 bytes."""
    return struct.pack("!BBHI", 0, 2, asn, number)


def encapsulation(number: int) -> bytes:
    """A tunnel encapsulation community, 8 bytes."""
    return struct.pack("!BBIH", 3, 12, 0, number)


def vpn_next_hop(address: str) -> bytes:
    """The next hop of a VPN-IPv4 route."""
    return bytes(8) + ipaddress.IPv4Address(address).packed


def rd(address: str, number: int) -> bytes:
    """A route distinguisher of type 1."""
    return struct.pack("!H4sH", 1, ipaddress.IPv4Address(address).packed, number)


def vpn_nlri(label: int, distinguisher: bytes, prefix: str) -> bytes:
    """A VPN-IPv4 NLRI (RFC 4364 section 4.3.4)."""
    network = ipaddress.IPv4Network(prefix)
    used = network.network_address.packed[: (network.prefixlen + 7) // 8]
    field = (label << 4 | 1).to_bytes(3)
    return bytes([88 + network.prefixlen]) + field + distinguisher + used


def split_attributes(body: bytes) -> list[Attribute]:
    """The attributes of an UPDATE's body."""
    (withdrawn,) = struct.unpack_from("!H", body)
    at = 2 + withdrawn
    (size,) = struct.unpack_from("!H", body, at)
    at += 2
    end, found = at + size, []
    while at < end:
        flags, code = body[at], body[at + 1]
        length = int.from_bytes(body[at + 2 : at + 4]) if flags & 0x10 else body[at + 2]
        at += 4 if flags & 0x10 else 3
        found.append(Attribute(flags, code, body[at : at + length]))
        at += length
    return found


class RawSpeaker:
    """One TCP connection from a namespace; a context manager, which connects unless it has."""

    def __init__(
        self,
        place: Path,
        local: str,
        remote: str,
        *,
        asn: int,
        families: Iterable[tuple[int, int]] = (INET_VPN, EVPN),
        hold_time_s: int = 90,
        password: str = "",
        patience_s: float = 5.0,
        capabilities: bytes = b"",
    ) -> None:
        self._place, self._local, self._remote = place, local, remote
        self.asn, self.hold_time_s = asn, hold_time_s
        self._families, self._password = tuple(families), password
        self._patience_s = patience_s  # with a connection that is not answered
        self._capabilities = capabilities
        self._buffer = bytearray()
        self._is_connected = False
        self.heard: list[Message] = []

    def __enter__(self) -> Self:
        if not self._is_connected:
            self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self, timeout_s: float | None = None) -> None:
        """Connect, again and again: a peer may still be closing the last session."""
        deadline = time.monotonic() + (2 * self._patience_s if timeout_s is None else timeout_s)
        while True:
            self._socket = self._make_socket()
            try:
                self._socket.connect((self._remote, BGP_PORT))
                self._is_connected = True
                return
            except OSError:
                self._socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _make_socket(self) -> socket.socket:
        with namespaces.inside(self._place):
            made = socket.socket()
        made.settimeout(self._patience_s)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self._local, 0))
        if self._password:
            key = self._password.encode()
            address = struct.pack("!HH4s120x", 0, 0, ipaddress.IPv4Address(self._remote).packed)
            address = struct.pack("=H", socket.AF_INET) + address[2:]
            option = address + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)
            made.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, option)
        return made

    def settle(self, timeout_s: float) -> None:
        """Let a send wait so long for a peer that is slow to read."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        """Close the connection without a word."""
        self._socket.close()

    # speaking ----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def open_message(
        self, *, version: int = 4, asn: int | None = None, hold_time_s: int | None = None
    ) -> bytes:
        """The OPEN this speaker would send, with a lie or two."""
        number = self.asn if asn is None else asn
        hold = self.hold_time_s if hold_time_s is None else hold_time_s
        found = b"".join(struct.pack("!BBHBB", 1, 4, afi, 0, safi) for afi, safi in self._families)
        found += struct.pack("!BBI", 65, 4, number) + struct.pack("!BB", 2, 0) + self._capabilities
        options = struct.pack("!BB", 2, len(found)) + found
        short = number if number < 65536 else _AS_TRANS
        identifier = ipaddress.IPv4Address(self._local).packed
        body = struct.pack("!BHH4sB", version, short, hold, identifier, len(options)) + options
        return message(OPEN, body)

    def establish(self) -> Self:
        """Exchange OPENs and KEEPALIVEs."""
        self.send(self.open_message())
        self.wait(OPEN)
        self.send(message(KEEPALIVE))
        self.wait(KEEPALIVE)
        return self

    # hearing -----------------------------------------------------------------------------

    def read(self, timeout_s: float = PATIENCE_S) -> Message:
        """Return the next message; EOFError when the peer has closed, TimeoutError when silent."""
        deadline = time.monotonic() + timeout_s
        while True:
            if len(self._buffer) >= 19:
                size = int.from_bytes(self._buffer[16:18])
                if len(self._buffer) >= size:
                    found = Message(self._buffer[18], bytes(self._buffer[19:size]))
                    del self._buffer[:size]
                    self.heard.append(found)
                    return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing more")
            self._socket.settimeout(left)
            more = self._socket.recv(1 << 20)
            if not more:
                raise EOFError("the peer has closed the connection")
            self._buffer += more

    def wait(self, kind: int, timeout_s: float = PATIENCE_S) -> bytes:
        """Read on to the next message of a kind and return its body."""
        while True:
            try:
                found = self.read(timeout_s)
            except (TimeoutError, EOFError) as error:
                kinds = [heard.kind for heard in self.heard]
                raise TransientError(
                    f"waited for a BGP message of type {kind}: {error}; heard {kinds}"
                ) from None
            if found.kind == kind:
                return found.body

    def notification(self, timeout_s: float = PATIENCE_S) -> tuple[int, int]:
        """Read on to a NOTIFICATION; returns its code and subcode."""
        body = self.wait(NOTIFICATION, timeout_s)
        return body[0], body[1]

    def updates_until_quiet(self, quiet_s: float = 0.5) -> list[bytes]:
        """Bodies of the UPDATEs that come until there are none for a while."""
        found: list[bytes] = []
        while True:
            try:
                heard = self.read(quiet_s)
            except TimeoutError:
                return found
            if heard.kind == UPDATE:
                found.append(heard.body)
