"""Messages: framing, OPEN, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH. UPDATE is in `update`."""

from __future__ import annotations

import enum

import msgspec

from filament.base.net import format_ipv4
from filament.wire.bgp.attributes import AS_TRANS
from filament.wire.bgp.capability import (
    Capabilities,
    decode_capabilities,
    encode_capabilities,
)
from filament.wire.bgp.errors import (
    ADMIN_RESET,
    ADMIN_SHUTDOWN,
    BAD_HOLD_TIME,
    BAD_IDENTIFIER,
    BAD_LENGTH,
    BAD_PARAMETER,
    BAD_PEER_AS,
    BAD_REFRESH_LENGTH,
    BAD_TYPE,
    BAD_VERSION,
    NOT_SYNCHRONISED,
    BgpError,
    Code,
    name_of,
)
from filament.wire.bgp.family import BY_CODE, AddressFamily
from filament.wire.bgp.update import MAX_MESSAGE, encode_message

HEADER_SIZE = 19
VERSION = 4
_MARKER = b"\xff" * 16
_CAPABILITIES_PARAMETER = 2
_EXTENDED_LENGTHS = 255  # RFC 9072


class Kind(enum.IntEnum):
    """Message types, RFC 4271 section 4.1 and RFC 2918."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


_LEAST = {
    Kind.OPEN: 29,
    Kind.UPDATE: 23,
    Kind.NOTIFICATION: 21,
    Kind.KEEPALIVE: 19,
    Kind.ROUTE_REFRESH: 19,  # its own code says what is wrong with its length (RFC 7313)
}


class Framer:
    """Cuts a stream into messages; holds at most one incomplete message."""

    def __init__(self) -> None:
        self.max_size = MAX_MESSAGE
        self._pending = b""

    @property
    def pending_size(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._pending)

    def feed(self, octets: bytes) -> list[tuple[Kind, bytes]]:
        """Return the complete messages as (kind, body).

        Raises `BgpError` for a broken header; the messages before it are in its `complete`.
        """
        stream = self._pending + octets if self._pending else octets
        found: list[tuple[Kind, bytes]] = []
        at, end = 0, len(stream)
        while at + HEADER_SIZE <= end:
            size = stream[at + 16] << 8 | stream[at + 17]
            try:
                kind = self._check(stream, at, size)
            except BgpError as error:
                raise BrokenStreamError(error, found) from None
            if at + size > end:
                break
            found.append((kind, stream[at + HEADER_SIZE : at + size]))
            at += size
        self._pending = stream[at:] if at else stream
        return found

    def _check(self, stream: bytes, at: int, size: int) -> Kind:
        if stream[at : at + 16] != _MARKER:
            raise BgpError(Code.HEADER, NOT_SYNCHRONISED, "the marker is not all ones")
        kind = _KINDS.get(stream[at + 18])
        if kind is None:
            raise BgpError(
                Code.HEADER,
                BAD_TYPE,
                f"there is no message type {stream[at + 18]}",
                stream[at + 18 : at + 19],
            )
        most = HEADER_SIZE if kind is Kind.KEEPALIVE else self.max_size
        if kind is Kind.OPEN:
            most = MAX_MESSAGE  # RFC 8654 section 4
        if not _LEAST[kind] <= size <= most:
            raise BgpError(
                Code.HEADER,
                BAD_LENGTH,
                f"{kind.name} of {size} octets; expected {_LEAST[kind]} to {most}",
                size.to_bytes(2, "big"),
            )
        return kind


_KINDS = {kind.value: kind for kind in Kind}


class BrokenStreamError(BgpError):
    """The stream cannot be followed any further; `complete` came before the break."""

    def __init__(self, error: BgpError, complete: list[tuple[Kind, bytes]]) -> None:
        super().__init__(error.code, error.subcode, error.message, error.octets)
        self.complete = complete


class Open(msgspec.Struct, frozen=True):
    """OPEN, RFC 4271 section 4.2. `asn` is the real one, of four octets where they have them."""

    asn: int
    hold_time_s: int
    identifier: int
    capabilities: Capabilities = Capabilities()


def encode_open(message: Open) -> bytes:
    """Return an OPEN with all capabilities in one parameter."""
    capabilities = encode_capabilities(message.capabilities)
    parameters = b""
    if len(capabilities) > 253:  # RFC 9072 section 2
        parameters = (
            bytes((_EXTENDED_LENGTHS,))
            + (3 + len(capabilities)).to_bytes(2, "big")
            + bytes((_CAPABILITIES_PARAMETER,))
            + len(capabilities).to_bytes(2, "big")
            + capabilities
        )
        length = b"\xff"
    else:
        if capabilities:
            parameters = bytes((_CAPABILITIES_PARAMETER, len(capabilities))) + capabilities
        length = bytes((len(parameters),))
    short = message.asn if message.asn < 1 << 16 else AS_TRANS
    return encode_message(
        Kind.OPEN,
        bytes((VERSION,))
        + short.to_bytes(2, "big")
        + message.hold_time_s.to_bytes(2, "big")
        + message.identifier.to_bytes(4, "big")
        + length
        + parameters,
    )


def decode_open(body: bytes) -> Open:
    """Decode the body of an OPEN. Raises `BgpError`."""
    if body[0] != VERSION:
        raise BgpError(
            Code.OPEN,
            BAD_VERSION,
            f"version {body[0]}; we speak {VERSION}",
            VERSION.to_bytes(2, "big"),
        )
    short = int.from_bytes(body[1:3], "big")
    hold_time_s = int.from_bytes(body[3:5], "big")
    identifier = int.from_bytes(body[5:9], "big")
    capabilities = decode_capabilities(b"".join(_parameters(body)))
    asn = short if capabilities.asn is None else capabilities.asn
    if asn == 0 or (capabilities.asn is not None and short not in (AS_TRANS, asn)):
        shown = f"{short}, and {asn} in the capability" if asn else "0"
        raise BgpError(Code.OPEN, BAD_PEER_AS, f"the AS number is {shown}")
    if 0 < hold_time_s < 3:
        raise BgpError(
            Code.OPEN, BAD_HOLD_TIME, f"a hold time of {hold_time_s} s; 0, or at least 3, is right"
        )
    if identifier == 0:
        raise BgpError(Code.OPEN, BAD_IDENTIFIER, f"the identifier is {format_ipv4(identifier)}")
    return Open(asn, hold_time_s, identifier, capabilities)


def _parameters(body: bytes) -> list[bytes]:
    """Return the values of the capabilities parameters."""
    at, length, width = 10, body[9], 1
    if length == _EXTENDED_LENGTHS and len(body) > 10 and body[10] == _EXTENDED_LENGTHS:
        at, length, width = 13, int.from_bytes(body[11:13], "big"), 2
    end = len(body)
    if at + length != end:
        raise _bad_parameter(f"parameters of {length} octets in {max(end - at, 0)}")
    values: list[bytes] = []
    while at < end:
        start = at + 1 + width
        stop = start + int.from_bytes(body[at + 1 : start], "big")
        if start > end or stop > end:
            raise _bad_parameter("a parameter is cut off")
        if body[at] != _CAPABILITIES_PARAMETER:
            raise BgpError(
                Code.OPEN, BAD_PARAMETER, f"parameter {body[at]}; only 2, capabilities, is left"
            )
        values.append(body[start:stop])
        at = stop
    return values


def _bad_parameter(text: str) -> BgpError:
    return BgpError(Code.OPEN, 0, text)


class Notification(msgspec.Struct, frozen=True):
    """NOTIFICATION, RFC 4271 section 4.5."""

    code: int
    subcode: int
    octets: bytes = b""

    def __str__(self) -> str:
        said = self.communication
        return name_of(self.code, self.subcode) + (f" ({said})" if said else "")

    @property
    def communication(self) -> str:
        """What an operator said about a shutdown or reset (RFC 9003), fit for printing."""
        if self.code != Code.CEASE or self.subcode not in (ADMIN_SHUTDOWN, ADMIN_RESET):
            return ""
        if not self.octets or self.octets[0] > len(self.octets) - 1:
            return ""
        text = self.octets[1 : 1 + self.octets[0]].decode(errors="replace")
        return "".join(each if each.isprintable() else "?" for each in text)


def encode_notification(message: Notification) -> bytes:
    """Return a NOTIFICATION."""
    return encode_message(
        Kind.NOTIFICATION, bytes((message.code, message.subcode)) + message.octets
    )


def decode_notification(body: bytes) -> Notification:
    """Decode the body of a NOTIFICATION: the framer made sure of its two octets."""
    return Notification(body[0], body[1], body[2:])


def encode_communication(text: str) -> bytes:
    """Return the octets that tell a person why we shut down (RFC 9003): at most 255 of UTF-8."""
    octets = text.encode()[:255].decode(errors="ignore").encode()
    return bytes((len(octets),)) + octets


KEEPALIVE = encode_message(Kind.KEEPALIVE, b"")

# Subtypes of a ROUTE-REFRESH, RFC 7313 section 3.2.
REFRESH_REQUEST, REFRESH_BEGINS, REFRESH_ENDS = 0, 1, 2


class RouteRefresh(msgspec.Struct, frozen=True):
    """ROUTE-REFRESH; `family` None is one that we do not know, and ignore."""

    family: AddressFamily | None
    subtype: int = REFRESH_REQUEST


def encode_route_refresh(family: AddressFamily, subtype: int = REFRESH_REQUEST) -> bytes:
    """Return a ROUTE-REFRESH."""
    return encode_message(
        Kind.ROUTE_REFRESH, family.afi.to_bytes(2, "big") + bytes((subtype, family.safi))
    )


def decode_route_refresh(body: bytes) -> RouteRefresh:
    """Decode the body of a ROUTE-REFRESH; one with filters (RFC 5291) is a plain request."""
    if len(body) < 4 or (body[2] != REFRESH_REQUEST and len(body) != 4):
        raise BgpError(
            Code.ROUTE_REFRESH,
            BAD_REFRESH_LENGTH,
            f"{len(body)} octets; it has 4",
            encode_message(Kind.ROUTE_REFRESH, body),
        )
    return RouteRefresh(BY_CODE.get((int.from_bytes(body[:2], "big"), body[3])), body[2])
