"""What the distributed gateway answers ports: ARP, neighbour discovery, echo; frames in and out.

`c/lib/arp.h`, `neighbour.h` and `gateway.h` say the same in C. Everything on a port's link is
behind the gateway's MAC.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from filament.base.errors import ProtocolError
from filament.forward.layout import TUNNEL_TTL
from filament.forward.parse import HEADERS_END, Packet
from filament.forward.tunnel import replace_word
from filament.wire.packet.arp import ARP_BYTES, REPLY, Arp, decode_arp, encode_arp
from filament.wire.packet.checksum import checksum, pseudo_header_sum6
from filament.wire.packet.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    Ethernet,
    decode_ethernet,
    encode_ethernet,
)
from filament.wire.packet.ethernet import HEADER_BYTES as ETHERNET_BYTES
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REPLY6, ECHO_REQUEST, ECHO_REQUEST6
from filament.wire.packet.ipv6 import ICMPV6, Ipv6, encode_ipv6
from filament.wire.packet.neighbour import (
    ADVERTISEMENT,
    ADVERTISEMENT_BYTES,
    ALL_NODES,
    HOP_LIMIT,
    IS_OVERRIDE,
    IS_ROUTER,
    IS_SOLICITED,
    SOLICITATION,
    SOLICITATION_BYTES,
    Advertisement,
    encode_advertisement,
)

# Requests and replies.
_ECHO_BY_VERSION = {4: (ECHO_REQUEST, ECHO_REPLY), 6: (ECHO_REQUEST6, ECHO_REPLY6)}


class Asked(NamedTuple):
    """Which address somebody asks the MAC of, and whether it may be told that it is a router's."""

    target: int
    is_router: bool = False


def read_arp(frame: bytes) -> Arp | None:
    """Read the ARP message of a frame; None when it is none of Ethernet and IPv4."""
    try:
        return decode_arp(frame[ETHERNET_BYTES:])
    except ProtocolError:
        return None


def arp_reply(frame: bytes, asked: Arp, mac: int) -> bytes:
    """Answer a request with a MAC; what is behind the request stays behind the reply."""
    header = Ethernet(decode_ethernet(frame).source, mac, ETHERTYPE_ARP)
    reply = Arp(REPLY, mac, asked.target, asked.sender_mac, asked.sender)
    return encode_ethernet(header) + encode_arp(reply) + frame[ETHERNET_BYTES + ARP_BYTES :]


def is_solicitation(packet: Packet) -> bool:
    """Say whether a packet asks for a neighbour's MAC."""
    return packet.protocol == ICMPV6 and packet.icmp_type == SOLICITATION and not packet.is_fragment


def is_advertisement(packet: Packet) -> bool:
    """Say whether a packet tells a neighbour's MAC."""
    return (
        packet.protocol == ICMPV6 and packet.icmp_type == ADVERTISEMENT and not packet.is_fragment
    )


def read_target(frame: bytes, packet: Packet) -> int | None:
    """Return the address that a solicitation asks for, or an advertisement is about; None when it
    is malformed (RFC 4861 section 7.1).

    As for other packets its checksum is left to the receiver.
    """
    at = packet.offset + packet.header_bytes
    if (
        packet.ttl != HOP_LIMIT
        or packet.icmp_code
        or packet.length < packet.header_bytes + SOLICITATION_BYTES
        or at + SOLICITATION_BYTES > HEADERS_END
    ):
        return None
    return int.from_bytes(frame[at + 8 : at + SOLICITATION_BYTES], "big")


def advertisement(frame: bytes, packet: Packet, asked: Asked, mac: int) -> bytes:
    """Answer a solicitation with a MAC. One without a source address is answered to all nodes:
    somebody asks before taking the address (RFC 4862).
    """
    flags = IS_OVERRIDE | (IS_ROUTER if asked.is_router else 0)
    flags |= IS_SOLICITED if packet.source else 0
    to = packet.source or ALL_NODES
    said = Advertisement(asked.target, mac, flags)
    start = pseudo_header_sum6(asked.target, to, ICMPV6, ADVERTISEMENT_BYTES)
    found = checksum(encode_advertisement(said), start)
    message = encode_advertisement(msgspec.structs.replace(said, checksum=found))
    header = Ipv6(asked.target, to, ICMPV6, ADVERTISEMENT_BYTES, HOP_LIMIT)
    ethernet = Ethernet(decode_ethernet(frame).source, mac, ETHERTYPE_IPV6)
    return encode_ethernet(ethernet) + encode_ipv6(header) + message


def echo_reply(frame: bytes, packet: Packet) -> bytes | None:
    """Turn an echo request around; None of anything else. Fragments are not served."""
    request, reply = _ECHO_BY_VERSION[packet.version]
    if not packet.is_icmp or packet.is_fragment or packet.icmp_type != request:
        return None
    turned = bytearray(frame)
    turned[0:6], turned[6:12] = turned[6:12], turned[0:6]
    size, at = (4, 12) if packet.version == 4 else (16, 8)
    source, destination = ETHERNET_BYTES + at, ETHERNET_BYTES + at + size
    end = destination + size
    turned[source:end] = turned[destination:end] + turned[source:destination]
    if packet.version == 4:
        word = TUNNEL_TTL << 8 | turned[ETHERNET_BYTES + 9]
        replace_word(turned, ETHERNET_BYTES + 8, word, ETHERNET_BYTES + 10)
    else:
        turned[ETHERNET_BYTES + 7] = TUNNEL_TTL
    transport = ETHERNET_BYTES + packet.header_bytes
    replace_word(turned, transport, reply << 8 | turned[transport + 1], transport + 2)
    return bytes(turned)
