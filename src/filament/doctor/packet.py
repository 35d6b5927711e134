"""Packets as a workload would send them, and what a person wants to know of one.

Only what explanations need: ARP requests, and IPv4 with ICMP echo, TCP or UDP.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from filament.base.errors import InputError
from filament.base.net import MPLS_OVER_UDP_PORT

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
BROADCAST_MAC = (1 << 48) - 1
ICMP = 1
TCP = 6
UDP = 17
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}
ECHO_REQUEST = 8
ECHO_REPLY = 0
_TTL = 64
_PAYLOAD = b"filament trace!!"
_SYN = 0x02
_SYN_ACK = 0x12
_FIRST_EPHEMERAL_PORT = 49152


class Flow(NamedTuple):
    """What a packet is about: addresses (host-order ints), protocol number, ports.

    For ICMP the ports are the echo identifier and 0, as in the data plane's flow table; other
    protocols have no ports (0).
    """

    source: int
    destination: int
    protocol: int
    source_port: int = 0
    destination_port: int = 0

    def reversed(self) -> Flow:
        """The flow of the answer."""
        return Flow(
            self.destination,
            self.source,
            self.protocol,
            self.destination_port,
            self.source_port,
        )


class Ethernet(NamedTuple):
    """A frame's addresses, type and payload."""

    destination: int
    source: int
    ethertype: int
    payload: bytes


class Tunnelled(NamedTuple):
    """An MPLS over UDP packet: outer addresses and ports, label, inner packet. RFC 7510."""

    source: int
    destination: int
    source_port: int
    label: int
    inner: bytes


def parse_protocol(text: str) -> int:
    """Parse `icmp`, `tcp`, `udp` or a protocol number 0-255."""
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    if text.isascii() and text.isdigit() and int(text) < 256:
        return int(text)
    raise InputError(
        "bad-protocol",
        f"{text!r} is no IP protocol",
        hint="write icmp, tcp, udp or a number 0-255",
    )


def format_protocol(number: int) -> str:
    """Return a protocol's name, or `protocol N`."""
    return next(
        (name for name, value in PROTOCOLS.items() if value == number), f"protocol {number}"
    )


def checksum(content: bytes) -> int:
    """Compute the Internet checksum (RFC 1071)."""
    if len(content) % 2:
        content += b"\0"
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _mac(mac: int) -> bytes:
    return mac.to_bytes(6, "big")


def encode_arp_request(mac: int, address: int, wanted: int) -> bytes:
    """Encode the frame in which a workload asks for the MAC of `wanted` (RFC 826)."""
    return (
        _mac(BROADCAST_MAC)
        + _mac(mac)
        + struct.pack("!HHHBBH", ETHERTYPE_ARP, 1, ETHERTYPE_IPV4, 6, 4, 1)
        + _mac(mac)
        + address.to_bytes(4, "big")
        + bytes(6)
        + wanted.to_bytes(4, "big")
    )


def decode_arp_sender(frame: bytes) -> int | None:
    """Return the MAC an ARP reply tells, or None when the frame is none."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x06" or frame[20:22] != b"\0\x02":
        return None
    return int.from_bytes(frame[22:28], "big")


def encode_frame(flow: Flow, source_mac: int, destination_mac: int, *, answers: bool) -> bytes:
    """Encode the first packet of a flow, or (`answers`) the one that answers it."""
    addresses = flow.source.to_bytes(4, "big") + flow.destination.to_bytes(4, "big")
    segment = _segment(flow, addresses, answers=answers)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, _TTL, flow.protocol, 0)
    header = header[:10] + checksum(header + addresses).to_bytes(2, "big") + addresses
    ethernet = _mac(destination_mac) + _mac(source_mac) + ETHERTYPE_IPV4.to_bytes(2, "big")
    return ethernet + header + segment


def _segment(flow: Flow, addresses: bytes, *, answers: bool) -> bytes:
    if flow.protocol == ICMP:
        echo = ECHO_REPLY if answers else ECHO_REQUEST
        identifier = flow.destination_port if answers else flow.source_port
        content = struct.pack("!BBHHH", echo, 0, 0, identifier, 1) + _PAYLOAD
        return content[:2] + checksum(content).to_bytes(2, "big") + content[4:]
    ports = (flow.source_port, flow.destination_port)
    if flow.protocol == TCP:
        flags = _SYN_ACK if answers else _SYN
        content = struct.pack("!HHIIBBHHH", *ports, 1, 0, 0x50, flags, 64240, 0, 0)
        at = 16
    elif flow.protocol == UDP:
        content = struct.pack("!HHHH", *ports, 8 + len(_PAYLOAD), 0) + _PAYLOAD
        at = 6
    else:
        return _PAYLOAD
    pseudo = addresses + struct.pack("!HH", flow.protocol, len(content))
    found = checksum(pseudo + content).to_bytes(2, "big")
    return content[:at] + found + content[at + 2 :]


def decode_ethernet(frame: bytes) -> Ethernet:
    """Split a frame of at least 14 bytes."""
    return Ethernet(
        int.from_bytes(frame[0:6], "big"),
        int.from_bytes(frame[6:12], "big"),
        int.from_bytes(frame[12:14], "big"),
        frame[14:],
    )


def decode_tunnelled(packet: bytes) -> Tunnelled | None:
    """Decode an IPv4 packet that carries MPLS over UDP; None when it does not."""
    if len(packet) < 32 or packet[0] != 0x45 or packet[9] != UDP:
        return None
    source_port, destination_port = struct.unpack_from("!HH", packet, 20)
    if destination_port != MPLS_OVER_UDP_PORT:
        return None
    (entry,) = struct.unpack_from("!I", packet, 28)
    return Tunnelled(
        int.from_bytes(packet[12:16], "big"),
        int.from_bytes(packet[16:20], "big"),
        source_port,
        entry >> 12,
        packet[32:],
    )
