"""The Internet checksum: RFC 1071, and its update when a part changes: RFC 1624."""

from __future__ import annotations

import struct


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def checksum(content: bytes, start: int = 0) -> int:
    """Compute the checksum of `content` (padded to even length); `start` is added to the sum."""
    if len(content) % 2:
        content += b"\0"
    return _fold(start + sum(struct.unpack(f"!{len(content) // 2}H", content)))


def replace_in_checksum(former: int, before: int, after: int) -> int:
    """Return the checksum after one 16-bit word changed from `before` to `after`.

    RFC 1624 equation 3. A checksum that was wrong stays wrong.
    """
    return _fold((~former & 0xFFFF) + (~before & 0xFFFF) + after)


def pseudo_header_sum(source: int, destination: int, protocol: int, length: int) -> int:
    """Sum the IPv4 pseudo header that TCP and UDP checksums begin with (RFC 9293, RFC 768)."""
    addresses = (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF)
    return addresses + protocol + length


def pseudo_header_sum6(source: int, destination: int, protocol: int, length: int) -> int:
    """Sum the IPv6 pseudo header (RFC 8200 section 8.1)."""
    words: tuple[int, ...] = struct.unpack(
        "!16H", source.to_bytes(16, "big") + destination.to_bytes(16, "big")
    )
    return sum(words) + protocol + (length >> 16) + (length & 0xFFFF)
