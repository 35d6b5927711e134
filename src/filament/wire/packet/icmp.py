"""ICMP headers: RFC 792, and RFC 4443 for IPv6. The last four bytes mean what the type says."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 8
ECHO_REPLY = 0
UNREACHABLE = 3
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
# These quote the header and 8 bytes of the packet they are about.
ERRORS = frozenset({UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM})
ECHO_REQUEST6 = 128
ECHO_REPLY6 = 129
ERRORS6 = range(1, 128)
_HEADER = struct.Struct("!BBHHH")


class Icmp(msgspec.Struct, frozen=True):
    """An ICMP header; `identifier` and `sequence` are echo's names for the last four bytes."""

    type: int
    code: int = 0
    checksum: int = 0
    identifier: int = 0
    sequence: int = 0


def decode_icmp(message: bytes) -> Icmp:
    """Decode the header that begins here."""
    if len(message) < HEADER_BYTES:
        raise ProtocolError("truncated", f"an ICMP header has 8 bytes, not {len(message)}")
    return Icmp(*_HEADER.unpack_from(message))


def encode_icmp(header: Icmp) -> bytes:
    """Encode a header."""
    return _HEADER.pack(
        header.type, header.code, header.checksum, header.identifier, header.sequence
    )
