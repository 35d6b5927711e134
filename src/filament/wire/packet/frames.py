"""Whole frames and packets with right lengths and checksums, as a well-behaved host sends them."""

from __future__ import annotations

import msgspec

from filament.wire.packet.arp import REQUEST, Arp, encode_arp
from filament.wire.packet.checksum import checksum, pseudo_header_sum
from filament.wire.packet.ethernet import (
    BROADCAST_MAC,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    Ethernet,
    encode_ethernet,
)
from filament.wire.packet.icmp import Icmp, encode_icmp
from filament.wire.packet.ipv4 import ICMP, TCP, UDP, Ipv4, encode_ipv4
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


def arp_request_frame(mac: int, address: int, target: int) -> bytes:
    """Return the frame in which a host asks who has `target`."""
    arp = Arp(REQUEST, mac, address, 0, target)
    return encode_ethernet(Ethernet(BROADCAST_MAC, mac, ETHERTYPE_ARP)) + encode_arp(arp)
