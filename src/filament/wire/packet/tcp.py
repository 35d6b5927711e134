"""TCP headers: RFC 9293 section 3.1."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 20  # without options
FIN = 1
SYN = 2
RST = 4
ACK = 16
_HEADER = struct.Struct("!HHIIBBHHH")


class Tcp(msgspec.Struct, frozen=True):
    """A TCP header; `flags` are the control bits, `options` a multiple of 4 bytes, at most 40."""

    source_port: int
    destination_port: int
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = SYN
    window: int = 65535
    checksum: int = 0
    urgent: int = 0
    options: bytes = b""

    @property
    def header_bytes(self) -> int:
        """The header's size with its options."""
        return HEADER_BYTES + len(self.options)


def decode_tcp(segment: bytes) -> Tcp:
    """Decode the header that begins here."""
    if len(segment) < HEADER_BYTES:
        raise ProtocolError("truncated", f"a TCP header has 20 bytes, not {len(segment)}")
    source, destination, sequence, acknowledgement, offset, flags, window, found, urgent = (
        _HEADER.unpack_from(segment)
    )
    header_bytes = (offset >> 4) * 4
    if header_bytes < HEADER_BYTES or len(segment) < header_bytes:
        raise ProtocolError(
            "bad-tcp", f"a TCP header of {header_bytes} bytes in a segment of {len(segment)}"
        )
    options = segment[HEADER_BYTES:header_bytes]
    return Tcp(
        source, destination, sequence, acknowledgement, flags, window, found, urgent, options
    )


def encode_tcp(header: Tcp) -> bytes:
    """Encode a header."""
    return (
        _HEADER.pack(
            header.source_port,
            header.destination_port,
            header.sequence,
            header.acknowledgement,
            header.header_bytes // 4 << 4,
            header.flags,
            header.window,
            header.checksum,
            header.urgent,
        )
        + header.options
    )
