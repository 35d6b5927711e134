"""Neighbour discovery's solicitation and advertisement: RFC 4861 sections 4.3 and 4.4."""

from __future__ import annotations

import struct

import msgspec

from filament.base.errors import ProtocolError

SOLICITATION = 135
ADVERTISEMENT = 136
HOP_LIMIT = 255  # a message that was forwarded has less
SOLICITATION_BYTES = 24  # without options
ADVERTISEMENT_BYTES = 32  # with the target's MAC
ALL_NODES = 0xFF02 << 112 | 1
IS_ROUTER = 0x80000000
IS_SOLICITED = 0x40000000
IS_OVERRIDE = 0x20000000

_SOURCE_MAC, _TARGET_MAC = 1, 2
_MESSAGE = struct.Struct("!BBHI16s")


class Advertisement(msgspec.Struct, frozen=True):
    """Who has an address: `mac` is the target's; `flags` are IS_*."""

    target: int
    mac: int
    flags: int = 0
    checksum: int = 0


def solicitation(target: int, mac: int | None) -> bytes:
    """Encode the message that asks who has `target`, without its checksum.

    `mac` is the asker's; None while it does not have its address yet.
    """
    message = _MESSAGE.pack(SOLICITATION, 0, 0, 0, target.to_bytes(16, "big"))
    if mac is not None:
        message += bytes([_SOURCE_MAC, 1]) + mac.to_bytes(6, "big")
    return message


def solicited_node(target: int) -> int:
    """Return the multicast address that who has `target` listens to (RFC 4291 section 2.7.1)."""
    return 0xFF02 << 112 | 0x1_FF000000 | target & 0xFFFFFF


def multicast_mac(address: int) -> int:
    """Return the MAC of an IPv6 multicast address (RFC 2464 section 7)."""
    return 0x3333 << 32 | address & 0xFFFFFFFF


def decode_advertisement(message: bytes) -> Advertisement:
    """Decode an advertisement with the target's MAC in its first option."""
    if len(message) < ADVERTISEMENT_BYTES or message[0] != ADVERTISEMENT:
        raise ProtocolError("bad-nd", "the message is not an advertisement that has a MAC")
    if message[SOLICITATION_BYTES] != _TARGET_MAC:
        raise ProtocolError("bad-nd", "the advertisement does not begin with the target's MAC")
    _, _, found, flags, target = _MESSAGE.unpack_from(message)
    mac = message[SOLICITATION_BYTES + 2 : ADVERTISEMENT_BYTES]
    return Advertisement(int.from_bytes(target, "big"), int.from_bytes(mac, "big"), flags, found)


def encode_advertisement(said: Advertisement) -> bytes:
    """Encode an advertisement."""
    head = (ADVERTISEMENT, 0, said.checksum, said.flags, said.target.to_bytes(16, "big"))
    return _MESSAGE.pack(*head) + bytes([_TARGET_MAC, 1]) + said.mac.to_bytes(6, "big")
