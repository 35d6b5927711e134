"""MPLS label stack entries: RFC 3032."""

from __future__ import annotations

import msgspec

from filament.base.errors import ProtocolError

ENTRY_BYTES = 4
FIRST_FREE_LABEL = 16  # lower ones are reserved (RFC 3032 section 2.1)
MAX_LABEL = (1 << 20) - 1


class LabelEntry(msgspec.Struct, frozen=True):
    """One entry of the stack; `is_bottom` marks the last."""

    label: int
    traffic_class: int = 0
    is_bottom: bool = True
    ttl: int = 64


def decode_label(entry: bytes) -> LabelEntry:
    """Decode the entry that begins here."""
    if len(entry) < ENTRY_BYTES:
        raise ProtocolError("truncated", f"a label stack entry has 4 bytes, not {len(entry)}")
    word = int.from_bytes(entry[:ENTRY_BYTES], "big")
    return LabelEntry(word >> 12, word >> 9 & 7, bool(word & 0x100), word & 0xFF)


def encode_label(entry: LabelEntry) -> bytes:
    """Encode an entry."""
    word = entry.label << 12 | entry.traffic_class << 9 | entry.is_bottom << 8 | entry.ttl
    return word.to_bytes(4, "big")
