"""Tunnel headers, MPLS over UDP (RFC 7510) and VXLAN (RFC 7348): as bytes, and what congestion
marks do at their ends.

`c/lib/encap.h` says the same in C.
"""

from __future__ import annotations

from filament.base.net import MPLS_OVER_UDP_PORT, VXLAN_PORT
from filament.forward.layout import (
    MPLS_OVERHEAD,
    NEXT_HOP_VXLAN,
    TUNNEL_SOURCE_PORT,
    TUNNEL_TTL,
    VXLAN_OVERHEAD,
)
from filament.forward.parse import Packet
from filament.forward.rows import NextHopValues
from filament.wire.packet.checksum import replace_in_checksum
from filament.wire.packet.ethernet import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Ethernet,
    encode_ethernet,
)
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
from filament.wire.packet.vxlan import Vxlan, encode_vxlan

MPLS_END = ETHERNET_BYTES + MPLS_OVERHEAD
VXLAN_END = ETHERNET_BYTES + VXLAN_OVERHEAD
ETHERTYPE_BY_VERSION = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}
_WORD = 0xFFFFFFFF
_ECN = 3


def rotate(word: int, by: int) -> int:
    """Rotate a 32-bit word to the left."""
    return (word << by | word >> (32 - by)) & _WORD


def fold(address: int, version: int) -> int:
    """Return one word for all of an address: an IPv4 address itself."""
    if version == 4:
        return address
    return (address ^ address >> 32 ^ address >> 64 ^ address >> 96 ^ 0xFFFF) & _WORD


def entropy(packet: Packet) -> int:
    """Fourteen bits that all packets of a flow, and all fragments of a packet, share."""
    mixed = fold(packet.source, packet.version) * 0x9E3779B1 & _WORD
    folded = fold(packet.destination, packet.version)
    mixed = (rotate(mixed, 15) ^ folded) * 0x85EBCA6B & _WORD
    if not packet.is_fragment:
        mixed ^= packet.source_port << 16 | packet.destination_port
    mixed = rotate(mixed, 13) ^ packet.protocol
    # Every bit of the fields must reach all of these: neighbouring ports differ in few.
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & _WORD
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & _WORD
    return (mixed ^ mixed >> 16) & 0x3FFF


def overhead_of(next_hop: NextHopValues) -> int:
    """Return how many bytes the tunnel of a next hop adds."""
    return VXLAN_OVERHEAD if next_hop.flags & NEXT_HOP_VXLAN else MPLS_OVERHEAD


def tunnelled_length(frame: bytes, packet: Packet, gso_size: int, overhead: int) -> int:
    """How long the packet, or each segment it will be cut into, gets with the tunnel header."""
    if not gso_size:
        return packet.length + overhead
    transport = frame[packet.offset + packet.header_bytes :]
    header_bytes = UDP_HEADER_BYTES
    if packet.protocol == TCP and len(transport) >= 20:
        header_bytes = (transport[12] >> 4) * 4
    return packet.header_bytes + header_bytes + gso_size + overhead


def encode_outer(packet: Packet, source: int, next_hop: NextHopValues, label: int) -> bytes:
    """Encode the headers that go before the packet: IPv4, UDP, and MPLS or VXLAN and Ethernet."""
    length = min(packet.length + overhead_of(next_hop), 0xFFFF)
    outer = Ipv4(
        source,
        next_hop.remote,
        UDP,
        length,
        ttl=TUNNEL_TTL,
        tos=packet.tos & _ECN,
        dont_fragment=True,
    )
    is_vxlan = next_hop.flags & NEXT_HOP_VXLAN
    port = VXLAN_PORT if is_vxlan else MPLS_OVER_UDP_PORT
    udp = Udp(TUNNEL_SOURCE_PORT | entropy(packet), port, length - outer.header_bytes)
    if is_vxlan:
        inner = (next_hop.destination_mac, next_hop.source_mac)
        shim = encode_vxlan(Vxlan(label & 0xFFFFFF))
        shim += encode_ethernet(Ethernet(*inner, ETHERTYPE_BY_VERSION[packet.version]))
    else:
        shim = encode_label(LabelEntry(label & 0xFFFFF, ttl=packet.ttl))
    return encode_ipv4(outer) + encode_udp(udp) + shim


def merge_congestion(inner: int, outer: int) -> int | None:
    """Return the inner congestion bits after the tunnel, None to drop the packet. RFC 6040 4.2."""
    if outer == ECN_CE:
        return ECN_CE if inner != ECN_NONE else None
    if outer == ECN_ECT1 and inner == ECN_ECT0:
        return ECN_ECT1
    return inner


def mark_congestion(frame: bytearray, packet: Packet, mark: int) -> None:
    """Give the packet of a frame without tunnel headers other congestion bits."""
    tos = packet.tos & ~_ECN | mark
    if packet.version == 4:
        word = frame[ETHERNET_BYTES] << 8 | tos
        replace_word(frame, ETHERNET_BYTES, word, ETHERNET_BYTES + 10)
    else:
        first = int.from_bytes(frame[ETHERNET_BYTES : ETHERNET_BYTES + 4], "big")
        first = first & ~(0xFF << 20) | tos << 20
        frame[ETHERNET_BYTES : ETHERNET_BYTES + 4] = first.to_bytes(4, "big")


def decode_source(frame: bytes) -> int:
    """Return the host that a tunnelled frame comes from."""
    return int.from_bytes(frame[ETHERNET_BYTES + 12 : ETHERNET_BYTES + 16], "big")


def replace_word(frame: bytearray, at: int, word: int, checksum_at: int) -> None:
    """Change a 16-bit word of a header and keep its checksum as right, or wrong, as it was."""
    before = int.from_bytes(frame[at : at + 2], "big")
    former = int.from_bytes(frame[checksum_at : checksum_at + 2], "big")
    frame[at : at + 2] = word.to_bytes(2, "big")
    found = replace_in_checksum(former, before, word)
    frame[checksum_at : checksum_at + 2] = found.to_bytes(2, "big")
