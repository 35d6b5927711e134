"""IPv4 headers: RFC 791, with the congestion bits of RFC 3168."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError
from filament.wire.packet.checksum import checksum

HEADER_BYTES = 20  # without options
ICMP = 1
TCP = 6
UDP = 17
SCTP = 132

ECN_NONE = 0
ECN_ECT1 = 1
ECN_ECT0 = 2
ECN_CE = 3

_HEADER = struct.Struct("!BBHHHBBHII")
_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF


class Ipv4(msgspec.Struct, frozen=True):
    """An IPv4 header. `length` is the whole packet's; `offset` counts 8-byte units.

    `checksum` None is computed when encoding; decoding keeps it as it stands, right or wrong.
    """

    source: int
    destination: int
    protocol: int
    length: int
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    offset: int = 0
    options: bytes = b""
    checksum: int | None = None

    @property
    def header_bytes(self) -> int:
        """The header's size with its options."""
        return HEADER_BYTES + len(self.options)

    @property
    def ecn(self) -> int:
        """The congestion bits."""
        return self.tos & 3

    @property
    def is_fragment(self) -> bool:
        """Whether it is any fragment, also the first."""
        return self.more_fragments or bool(self.offset)


def decode_ipv4(packet: bytes) -> Ipv4:
    """Decode the header that begins here; the payload need not be all there."""
    if len(packet) < HEADER_BYTES:
        raise ProtocolError("truncated", f"an IPv4 header has 20 bytes, not {len(packet)}")
    first, tos, length, identification, fragment, ttl, protocol, found, source, destination = (
        _HEADER.unpack_from(packet)
    )
    header_bytes = (first & 15) * 4
    if first >> 4 != 4 or header_bytes < HEADER_BYTES:
        raise ProtocolError("bad-ipv4", f"0x{first:02x} does not begin an IPv4 header; 0x45 does")
    if len(packet) < header_bytes:
        raise ProtocolError(
            "truncated", f"the IPv4 options end at {header_bytes}, not {len(packet)}"
        )
    if length < header_bytes:
        raise ProtocolError("bad-ipv4", f"an IPv4 packet of {length} bytes ends in its header")
    return Ipv4(
        source,
        destination,
        protocol,
        length,
        ttl,
        tos,
        identification,
        bool(fragment & _DONT_FRAGMENT),
        bool(fragment & _MORE_FRAGMENTS),
        fragment & _OFFSET,
        packet[HEADER_BYTES:header_bytes],
        found,
    )


def encode_ipv4(header: Ipv4) -> bytes:
    """Encode a header; its options must have a length divisible by 4, at most 40."""
    fragment = header.offset
    fragment |= _DONT_FRAGMENT if header.dont_fragment else 0
    fragment |= _MORE_FRAGMENTS if header.more_fragments else 0
    raw = _HEADER.pack(
        0x40 | header.header_bytes // 4,
        header.tos,
        header.length,
        header.identification,
        fragment,
        header.ttl,
        header.protocol,
        header.checksum or 0,
        header.source,
        header.destination,
    )
    raw += header.options
    if header.checksum is None:
        raw = raw[:10] + checksum(raw).to_bytes(2, "big") + raw[12:]
    return raw
