"""VXLAN headers: RFC 7348 section 5."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 8
_VALID_VNI = 0x08
_HEADER = struct.Struct("!B3xI")


class Vxlan(msgspec.Struct, frozen=True):
    """A VXLAN header; without `is_valid` (the I flag) its VNI means nothing."""

    vni: int
    is_valid: bool = True


def decode_vxlan(header: bytes) -> Vxlan:
    """Decode the header that begins here."""
    if len(header) < HEADER_BYTES:
        raise ProtocolError("truncated", f"a VXLAN header has 8 bytes, not {len(header)}")
    flags, word = _HEADER.unpack_from(header)
    return Vxlan(word >> 8, bool(flags & _VALID_VNI))


def encode_vxlan(header: Vxlan) -> bytes:
    """Encode a header."""
    return _HEADER.pack(_VALID_VNI if header.is_valid else 0, header.vni << 8)
