"""The tunnel header, MPLS over UDP (RFC 7510): as bytes, and what congestion marks do at its ends.

`c/lib/encap.h` says the same in C.
"""

from __future__ import annotations

from filament.base.net import MPLS_OVER_UDP_PORT
from filament.forward.layout import TUNNEL_OVERHEAD, TUNNEL_SOURCE_PORT, TUNNEL_TTL
from filament.forward.parse import Packet
from filament.wire.packet.checksum import replace_in_checksum
from filament.wire.packet.ethernet import HEADER_BYTES as ETHERNET_BYTES
from filament.wire.packet.ipv4 import (
    ECN_CE,
    ECN_ECT0,
    ECN_ECT1,
    ECN_NONE,
    TCP,
    UDP,
    Ipv4,
    encode_ipv4,
)
from filament.wire.packet.mpls import LabelEntry, encode_label
from filament.wire.packet.udp import HEADER_BYTES as UDP_HEADER_BYTES
from filament.wire.packet.udp import Udp, encode_udp

OUTER_BYTES = ETHERNET_BYTES + TUNNEL_OVERHEAD
_WORD = 0xFFFFFFFF
_ECN = 3


def _rotate(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _WORD


def entropy(packet: Packet) -> int:
    """Fourteen bits that all packets of a flow, and all fragments of a packet, share."""
    mixed = packet.source * 0x9E3779B1 & _WORD
    mixed = (_rotate(mixed, 15) ^ packet.destination) * 0x85EBCA6B & _WORD
    if not packet.is_fragment:
        mixed ^= packet.source_port << 16 | packet.destination_port
    mixed = (_rotate(mixed, 13) ^ packet.protocol) * 0xC2B2AE35 & _WORD
    return (mixed ^ mixed >> 16) & 0x3FFF


def tunnelled_length(frame: bytes, packet: Packet, gso_size: int) -> int:
    """How long the packet, or each segment it will be cut into, gets with the tunnel header."""
    if not gso_size:
        return packet.length + TUNNEL_OVERHEAD
    transport = frame[packet.offset + packet.header_bytes :]
    header_bytes = UDP_HEADER_BYTES
    if packet.protocol == TCP and len(transport) >= 20:
        header_bytes = (transport[12] >> 4) * 4
    return packet.header_bytes + header_bytes + gso_size + TUNNEL_OVERHEAD


def encode_outer(packet: Packet, source: int, destination: int, label: int) -> bytes:
    """Encode the IPv4, UDP and MPLS headers that go before the packet."""
    length = min(packet.length + TUNNEL_OVERHEAD, 0xFFFF)
    outer = Ipv4(
        source,
        destination,
        UDP,
        length,
        ttl=TUNNEL_TTL,
        tos=packet.tos & _ECN,
        dont_fragment=True,
    )
    ports = TUNNEL_SOURCE_PORT | entropy(packet), MPLS_OVER_UDP_PORT
    udp = Udp(*ports, length - outer.header_bytes)
    return encode_ipv4(outer) + encode_udp(udp) + encode_label(LabelEntry(label, ttl=packet.ttl))


def merge_congestion(inner: int, outer: int) -> int | None:
    """Return the inner congestion bits after the tunnel, None to drop the packet. RFC 6040 4.2."""
    if outer == ECN_CE:
        return ECN_CE if inner != ECN_NONE else None
    if outer == ECN_ECT1 and inner == ECN_ECT0:
        return ECN_ECT1
    return inner


def replace_word(frame: bytearray, at: int, word: int, checksum_at: int) -> None:
    """Change a 16-bit word of a header and keep its checksum as right, or wrong, as it was."""
    before = int.from_bytes(frame[at : at + 2], "big")
    former = int.from_bytes(frame[checksum_at : checksum_at + 2], "big")
    frame[at : at + 2] = word.to_bytes(2, "big")
    found = replace_in_checksum(former, before, word)
    frame[checksum_at : checksum_at + 2] = found.to_bytes(2, "big")
