"""The packets a trace sends, as a workload would, and what a person wants to know of one."""

from __future__ import annotations

from typing import NamedTuple

from filament.base.errors import InputError, ProtocolError
from filament.base.net import MPLS_OVER_UDP_PORT, VXLAN_PORT
from filament.wire.packet import ethernet, ipv6, mpls, tcp, udp, vxlan
from filament.wire.packet.arp import REPLY, decode_arp
from filament.wire.packet.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV6, decode_ethernet
from filament.wire.packet.frames import (
    icmp6_packet,
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    ipv6_frame,
    ipv6_packet,
    tcp6_packet,
    tcp_packet,
    udp6_packet,
    udp_packet,
)
from filament.wire.packet.icmp import (
    ECHO_REPLY,
    ECHO_REPLY6,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    Icmp,
)
from filament.wire.packet.ipv4 import ICMP, TCP, UDP, Ipv4, decode_ipv4
from filament.wire.packet.ipv6 import ICMPV6, Ipv6
from filament.wire.packet.neighbour import decode_advertisement

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
    version: int = 4

    @property
    def is_echo(self) -> bool:
        """Whether it is ICMP, of either version: asked and answered by echo."""
        return self.protocol in (ICMP, ICMPV6)

    def reversed(self) -> Flow:
        """The flow of the answer."""
        ports = (self.source_port, self.destination_port)
        if not self.is_echo:
            ports = ports[::-1]
        return Flow(self.destination, self.source, self.protocol, *ports, self.version)


class Tunnelled(NamedTuple):
    """What carries a packet between hosts: MPLS over UDP (RFC 7510), or VXLAN (RFC 7348), whose
    label is a VNI.
    """

    source: int
    destination: int
    source_port: int
    label: int
    is_vxlan: bool = False


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
    if flow.version == 6:
        return _encode_frame6(flow, source_mac, destination_mac, answers=answers)
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


def _encode_frame6(flow: Flow, source_mac: int, destination_mac: int, *, answers: bool) -> bytes:
    ends = (flow.source, flow.destination)
    ports = (flow.source_port, flow.destination_port)
    if flow.protocol == ICMPV6:
        kind = ECHO_REPLY6 if answers else ECHO_REQUEST6
        header = Icmp(kind, identifier=flow.source_port, sequence=1)
        packet = icmp6_packet(*ends, header, _PAYLOAD)
    elif flow.protocol == TCP:
        flags = tcp.SYN | tcp.ACK if answers else tcp.SYN
        packet = tcp6_packet(*ends, tcp.Tcp(*ports, flags=flags))
    elif flow.protocol == UDP:
        packet = udp6_packet(*ends, ports, _PAYLOAD)
    else:
        packet = ipv6_packet(Ipv6(*ends, flow.protocol), _PAYLOAD)
    return ipv6_frame(source_mac, destination_mac, packet)


def neighbour_mac(frame: bytes) -> int | None:
    """Return the MAC that an ARP reply or a neighbour advertisement tells, or None for others."""
    ethertype, packet = decode_ethernet(frame).ethertype, frame[ethernet.HEADER_BYTES :]
    if ethertype == ETHERTYPE_ARP:
        arp = decode_arp(packet)
        return arp.sender_mac if arp.operation == REPLY else None
    if ethertype == ETHERTYPE_IPV6:
        return decode_advertisement(packet[ipv6.HEADER_BYTES :]).mac
    return None


def frame_ends(frame: bytes) -> tuple[int, int]:
    """Return the source and destination of a frame that holds IPv4 or IPv6."""
    packet = frame[ethernet.HEADER_BYTES :]
    if decode_ethernet(frame).ethertype == ETHERTYPE_IPV6:
        header6 = ipv6.decode_ipv6(packet)
        return header6.source, header6.destination
    header = decode_ipv4(packet)
    return header.source, header.destination


def decode_tunnelled(frame: bytes) -> Tunnelled:
    """Decode the outer headers of a tunnelled frame. Raises ProtocolError on others."""
    packet = frame[ethernet.HEADER_BYTES :]
    outer = decode_ipv4(packet)
    carrier = udp.decode_udp(packet[outer.header_bytes :]) if outer.protocol == UDP else None
    port = carrier.destination_port if carrier is not None else 0
    if carrier is None or port not in (MPLS_OVER_UDP_PORT, VXLAN_PORT):
        raise ProtocolError("bad-tunnel", "the frame is neither MPLS over UDP nor VXLAN")
    shim = packet[outer.header_bytes + udp.HEADER_BYTES :]
    is_vxlan = port == VXLAN_PORT
    label = vxlan.decode_vxlan(shim).vni if is_vxlan else mpls.decode_label(shim).label
    return Tunnelled(outer.source, outer.destination, carrier.source_port, label, is_vxlan)
