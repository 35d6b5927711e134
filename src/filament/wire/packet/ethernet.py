"""Ethernet II headers."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

HEADER_BYTES = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
BROADCAST_MAC = (1 << 48) - 1

_HEADER = struct.Struct("!HIHIH")


class Ethernet(msgspec.Struct, frozen=True):
    """An Ethernet header; `ethertype` as it stands, also when it is a VLAN tag's."""

    destination: int
    source: int
    ethertype: int

    @property
    def is_group(self) -> bool:
        """Whether the frame is for more than one station: multicast or broadcast."""
        return bool(self.destination >> 40 & 1)


def decode_ethernet(frame: bytes) -> Ethernet:
    """Decode the first 14 bytes of a frame."""
    if len(frame) < HEADER_BYTES:
        raise ProtocolError("truncated", f"an Ethernet header has 14 bytes, not {len(frame)}")
    high_to, low_to, high_from, low_from, ethertype = _HEADER.unpack_from(frame)
    return Ethernet(high_to << 32 | low_to, high_from << 32 | low_from, ethertype)


def encode_ethernet(header: Ethernet) -> bytes:
    """Encode a header."""
    return (
        header.destination.to_bytes(6, "big")
        + header.source.to_bytes(6, "big")
        + header.ethertype.to_bytes(2, "big")
    )
