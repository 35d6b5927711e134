"""UDP headers: RFC 768."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 8
_HEADER = struct.Struct("!HHHH")


class Udp(msgspec.Struct, frozen=True):
    """A UDP header; `length` includes it, checksum 0 is none."""

    source_port: int
    destination_port: int
    length: int
    checksum: int = 0


def decode_udp(segment: bytes) -> Udp:
    """Decode the header that begins here; the payload need not be all there."""
    if len(segment) < HEADER_BYTES:
        raise ProtocolError("truncated", f"a UDP header has 8 bytes, not {len(segment)}")
    header = Udp(*_HEADER.unpack_from(segment))
    if header.length < HEADER_BYTES:
        raise ProtocolError("bad-udp", f"a UDP length of {header.length} is less than the header's")
    return header


def encode_udp(header: Udp) -> bytes:
    """Encode a header."""
    return _HEADER.pack(header.source_port, header.destination_port, header.length, header.checksum)
