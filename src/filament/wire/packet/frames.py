"""Whole frames and packets with right lengths and checksums, as a well-behaved host sends them."""

from __future__ import annotations

import msgspec

from filament.wire.packet.arp import REQUEST, Arp, encode_arp
from filament.wire.packet.checksum import checksum, pseudo_header_sum, pseudo_header_sum6
from filament.wire.packet.ethernet import (
    BROADCAST_MAC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Ethernet,
    encode_ethernet,
)
from filament.wire.packet.icmp import Icmp, encode_icmp
from filament.wire.packet.ipv4 import ICMP, TCP, UDP, Ipv4, encode_ipv4
from filament.wire.packet.ipv6 import ICMPV6, Ipv6, encode_ipv6
from filament.wire.packet.neighbour import (
    ALL_NODES,
    HOP_LIMIT,
    IS_OVERRIDE,
    Advertisement,
    encode_advertisement,
    multicast_mac,
    solicitation,
    solicited_node,
)
from filament.wire.packet.tcp import Tcp, encode_tcp
from filament.wire.packet.udp import HEADER_BYTES as UDP_HEADER_BYTES
from filament.wire.packet.udp import Udp, encode_udp


def ipv4_packet(header: Ipv4, payload: bytes) -> bytes:
    """Return the packet, with the header's length and checksum set to what is right."""
    length = header.header_bytes + len(payload)
    return encode_ipv4(msgspec.structs.replace(header, length=length, checksum=None)) + payload


def udp_packet(
    source: int, destination: int, ports: tuple[int, int], payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return a UDP packet; `ports` are source and destination port."""
    length = UDP_HEADER_BYTES + len(payload)
    segment = encode_udp(Udp(*ports, length)) + payload
    found = checksum(segment, pseudo_header_sum(source, destination, UDP, length))
    # A sum of 0 is sent as all ones: 0 says that there is none (RFC 768).
    segment = encode_udp(Udp(*ports, length, found or 0xFFFF)) + payload
    return ipv4_packet(Ipv4(source, destination, UDP, 0, ttl), segment)


def tcp_packet(
    source: int, destination: int, header: Tcp, payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return a TCP packet; the header's checksum is set to what is right."""
    segment = encode_tcp(msgspec.structs.replace(header, checksum=0)) + payload
    found = checksum(segment, pseudo_header_sum(source, destination, TCP, len(segment)))
    segment = encode_tcp(msgspec.structs.replace(header, checksum=found)) + payload
    return ipv4_packet(Ipv4(source, destination, TCP, 0, ttl, dont_fragment=True), segment)


def icmp_packet(
    source: int, destination: int, header: Icmp, payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return an ICMP packet; the header's checksum is set to what is right."""
    message = encode_icmp(msgspec.structs.replace(header, checksum=0)) + payload
    header = msgspec.structs.replace(header, checksum=checksum(message))
    return ipv4_packet(Ipv4(source, destination, ICMP, 0, ttl), encode_icmp(header) + payload)


def ipv4_frame(source_mac: int, destination_mac: int, packet: bytes) -> bytes:
    """Put an Ethernet header before an IPv4 packet."""
    return encode_ethernet(Ethernet(destination_mac, source_mac, ETHERTYPE_IPV4)) + packet


def ipv6_packet(header: Ipv6, payload: bytes) -> bytes:
    """Return the packet, with the header's payload length set to what is right."""
    return encode_ipv6(msgspec.structs.replace(header, payload_bytes=len(payload))) + payload


def _summed6(source: int, destination: int, protocol: int, segment: bytes, at: int) -> bytes:
    """Return the segment, whose checksum at `at` is 0, with the right one."""
    start = pseudo_header_sum6(source, destination, protocol, len(segment))
    # Like UDP over IPv4; for the others 0 and all ones are the same sum.
    found = checksum(segment, start) or 0xFFFF
    return segment[:at] + found.to_bytes(2, "big") + segment[at + 2 :]


def udp6_packet(
    source: int, destination: int, ports: tuple[int, int], payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return a UDP packet over IPv6; `ports` are source and destination port."""
    segment = encode_udp(Udp(*ports, UDP_HEADER_BYTES + len(payload))) + payload
    segment = _summed6(source, destination, UDP, segment, 6)
    return ipv6_packet(Ipv6(source, destination, UDP, hop_limit=ttl), segment)


def tcp6_packet(
    source: int, destination: int, header: Tcp, payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return a TCP packet over IPv6; the header's checksum is set to what is right."""
    segment = encode_tcp(msgspec.structs.replace(header, checksum=0)) + payload
    segment = _summed6(source, destination, TCP, segment, 16)
    return ipv6_packet(Ipv6(source, destination, TCP, hop_limit=ttl), segment)


def icmp6_packet(
    source: int, destination: int, header: Icmp, payload: bytes = b"", *, ttl: int = 64
) -> bytes:
    """Return an ICMPv6 packet; the header's checksum is set to what is right."""
    message = encode_icmp(msgspec.structs.replace(header, checksum=0)) + payload
    message = _summed6(source, destination, ICMPV6, message, 2)
    return ipv6_packet(Ipv6(source, destination, ICMPV6, hop_limit=ttl), message)


def ipv6_frame(source_mac: int, destination_mac: int, packet: bytes) -> bytes:
    """Put an Ethernet header before an IPv6 packet."""
    return encode_ethernet(Ethernet(destination_mac, source_mac, ETHERTYPE_IPV6)) + packet


def solicitation_frame(mac: int, address: int, target: int) -> bytes:
    """Return the frame in which a host asks who has `target`; `address` 0: before it has one."""
    group = solicited_node(target)
    message = solicitation(target, mac if address else None)
    message = _summed6(address, group, ICMPV6, message, 2)
    packet = ipv6_packet(Ipv6(address, group, ICMPV6, hop_limit=HOP_LIMIT), message)
    return ipv6_frame(mac, multicast_mac(group), packet)


def arp_request_frame(mac: int, address: int, target: int) -> bytes:
    """Return the frame in which a host asks who has `target`."""
    arp = Arp(REQUEST, mac, address, 0, target)
    return encode_ethernet(Ethernet(BROADCAST_MAC, mac, ETHERTYPE_ARP)) + encode_arp(arp)


def gratuitous_arp_frame(mac: int, address: int, *, operation: int = REQUEST) -> bytes:
    """Return the frame in which a host tells everybody that it has an address (RFC 5227 section 3);
    as a reply, which some do instead.
    """
    arp = Arp(operation, mac, address, 0, address)
    return encode_ethernet(Ethernet(BROADCAST_MAC, mac, ETHERTYPE_ARP)) + encode_arp(arp)


def unsolicited_advertisement_frame(mac: int, address: int, target: int) -> bytes:
    """Return the frame in which a host at `address` tells everybody that it has `target`
    (RFC 4861 section 7.2.6).
    """
    said = encode_advertisement(Advertisement(target, mac, IS_OVERRIDE))
    message = _summed6(address, ALL_NODES, ICMPV6, said, 2)
    packet = ipv6_packet(Ipv6(address, ALL_NODES, ICMPV6, hop_limit=HOP_LIMIT), message)
    return ipv6_frame(mac, multicast_mac(ALL_NODES), packet)
