"""IPv6 headers and the extension headers that say where the payload begins: RFC 8200."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 40
EXTENSION_BYTES = 8  # the least of an extension header
HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
ICMPV6 = 58
DESTINATION_OPTIONS = 60
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS})

_HEADER = struct.Struct("!IHBB16s16s")
_EXTENSION = struct.Struct("!BBHI")


class Ipv6(msgspec.Struct, frozen=True):
    """An IPv6 header. `next` is the protocol of what follows, `payload_bytes` all after it."""

    source: int
    destination: int
    next: int
    payload_bytes: int = 0
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0


class Extension(msgspec.Struct, frozen=True):
    """The start of an extension header: what follows it, its length, and in a fragment header the
    offset (in units of 8 bytes), whether more fragments come, and the packet's number.
    """

    next: int
    length_bytes: int
    offset: int = 0
    more_fragments: bool = False
    number: int = 0


def decode_ipv6(packet: bytes) -> Ipv6:
    """Decode the header that begins here; the payload need not be all there."""
    if len(packet) < HEADER_BYTES:
        raise ProtocolError("truncated", f"an IPv6 header has 40 bytes, not {len(packet)}")
    first, payload_bytes, following, hop_limit, source, destination = _HEADER.unpack_from(packet)
    if first >> 28 != 6:
        raise ProtocolError("bad-ipv6", f"0x{first >> 24:02x} does not begin an IPv6 header")
    return Ipv6(
        int.from_bytes(source, "big"),
        int.from_bytes(destination, "big"),
        following,
        payload_bytes,
        hop_limit,
        first >> 20 & 0xFF,
        first & 0xFFFFF,
    )


def encode_ipv6(header: Ipv6) -> bytes:
    """Encode a header."""
    return _HEADER.pack(
        6 << 28 | header.traffic_class << 20 | header.flow_label,
        header.payload_bytes,
        header.next,
        header.hop_limit,
        header.source.to_bytes(16, "big"),
        header.destination.to_bytes(16, "big"),
    )


def decode_extension(kind: int, header: bytes) -> Extension:
    """Decode the start of an extension header of a kind of `EXTENSIONS`."""
    if len(header) < EXTENSION_BYTES:
        raise ProtocolError("truncated", f"an extension header has 8 bytes, not {len(header)}")
    following, length, word, number = _EXTENSION.unpack_from(header)
    if kind == FRAGMENT:
        return Extension(following, EXTENSION_BYTES, word >> 3, bool(word & 1), number)
    return Extension(following, EXTENSION_BYTES + length * 8)


def encode_fragment(following: int, offset: int, *, more_fragments: bool, number: int = 1) -> bytes:
    """Encode a fragment header; `offset` counts 8-byte units, `number` identifies the packet."""
    word = offset << 3 | more_fragments
    return struct.pack("!BBHI", following, 0, word, number)
