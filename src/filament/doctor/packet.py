"""The packets a trace sends, as a workload would, and what a person wants to know of one."""

from __future__ import annotations

from typing import NamedTuple

from filament.base.errors import InputError, ProtocolError
from filament.base.net import MPLS_OVER_UDP_PORT
from filament.wire.packet import ethernet, mpls, tcp, udp
from filament.wire.packet.arp import REPLY, decode_arp
from filament.wire.packet.ethernet import ETHERTYPE_ARP, decode_ethernet
from filament.wire.packet.frames import (
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    tcp_packet,
    udp_packet,
)
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REQUEST, Icmp
from filament.wire.packet.ipv4 import ICMP, TCP, UDP, Ipv4, decode_ipv4

PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}
_PAYLOAD = b"filament trace!!"


class Flow(NamedTuple):
    """What a packet is about: addresses (host-order ints), protocol number, ports.

    ICMP echo has its identifier for a source port, in both directions, and no destination port;
    other protocols than TCP and UDP have no ports (0).
    """

    source: int
    destination: int
    protocol: int
    source_port: int = 0
    destination_port: int = 0

    def reversed(self) -> Flow:
        """The flow of the answer."""
        ports = (self.source_port, self.destination_port)
        if self.protocol != ICMP:
            ports = ports[::-1]
        return Flow(self.destination, self.source, self.protocol, *ports)


class Tunnelled(NamedTuple):
    """What carries a packet between hosts: MPLS over UDP (RFC 7510)."""

    source: int
    destination: int
    source_port: int
    label: int


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


def encode_frame(flow: Flow, source_mac: int, destination_mac: int, *, answers: bool) -> bytes:
    """Encode the first packet of a flow, or (`answers`) the one that answers it."""
    ends = (flow.source, flow.destination)
    ports = (flow.source_port, flow.destination_port)
    if flow.protocol == ICMP:
        kind = ECHO_REPLY if answers else ECHO_REQUEST
        header = Icmp(kind, identifier=flow.source_port, sequence=1)
        packet = icmp_packet(*ends, header, _PAYLOAD)
    elif flow.protocol == TCP:
        flags = tcp.SYN | tcp.ACK if answers else tcp.SYN
        packet = tcp_packet(*ends, tcp.Tcp(*ports, flags=flags))
    elif flow.protocol == UDP:
        packet = udp_packet(*ends, ports, _PAYLOAD)
    else:
        packet = ipv4_packet(Ipv4(*ends, flow.protocol, 0), _PAYLOAD)
    return ipv4_frame(source_mac, destination_mac, packet)


def arp_sender(frame: bytes) -> int | None:
    """Return the MAC an ARP reply tells, or None when the frame is none."""
    if decode_ethernet(frame).ethertype != ETHERTYPE_ARP:
        return None
    arp = decode_arp(frame[ethernet.HEADER_BYTES :])
    return arp.sender_mac if arp.operation == REPLY else None


def frame_ends(frame: bytes) -> tuple[int, int]:
    """Return the IPv4 source and destination of a frame that holds IPv4."""
    header = decode_ipv4(frame[ethernet.HEADER_BYTES :])
    return header.source, header.destination


def decode_tunnelled(frame: bytes) -> Tunnelled:
    """Decode the outer headers of an MPLS over UDP frame. Raises ProtocolError on others."""
    packet = frame[ethernet.HEADER_BYTES :]
    outer = decode_ipv4(packet)
    carrier = udp.decode_udp(packet[outer.header_bytes :]) if outer.protocol == UDP else None
    if carrier is None or carrier.destination_port != MPLS_OVER_UDP_PORT:
        raise ProtocolError("bad-tunnel", "the frame is no MPLS over UDP")
    entry = mpls.decode_label(packet[outer.header_bytes + udp.HEADER_BYTES :])
    return Tunnelled(outer.source, outer.destination, carrier.source_port, entry.label)
