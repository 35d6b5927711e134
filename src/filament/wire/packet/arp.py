"""ARP for IPv4 over Ethernet: RFC 826."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

ARP_BYTES = 28
REQUEST = 1
REPLY = 2

_KIND = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_BODY = struct.Struct("!H6sI6sI")


class Arp(msgspec.Struct, frozen=True):
    """An ARP packet; addresses and MACs are ints."""

    operation: int
    sender_mac: int
    sender: int
    target_mac: int
    target: int


def decode_arp(packet: bytes) -> Arp:
    """Decode the ARP packet that begins here."""
    if len(packet) < ARP_BYTES:
        raise ProtocolError("truncated", f"an ARP packet has 28 bytes, not {len(packet)}")
    if packet[:6] != _KIND:
        raise ProtocolError(
            "bad-arp", f"ARP of kind {packet[:6].hex()}; IPv4 over Ethernet is {_KIND.hex()}"
        )
    operation, sender_mac, sender, target_mac, target = _BODY.unpack_from(packet, 6)
    return Arp(
        operation,
        int.from_bytes(sender_mac, "big"),
        sender,
        int.from_bytes(target_mac, "big"),
        target,
    )


def encode_arp(arp: Arp) -> bytes:
    """Encode an ARP packet."""
    return _KIND + _BODY.pack(
        arp.operation,
        arp.sender_mac.to_bytes(6, "big"),
        arp.sender,
        arp.target_mac.to_bytes(6, "big"),
        arp.target,
    )
