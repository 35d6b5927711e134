"""From bytes to what the model needs of an IPv4 packet; `c/lib/parse.h` says the same in C."""

from __future__ import annotations

import msgspec

from filament.base.errors import ProtocolError
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REQUEST, ERRORS, decode_icmp
from filament.wire.packet.ipv4 import ICMP, SCTP, TCP, UDP, decode_ipv4

WITH_PORTS = frozenset({TCP, UDP, SCTP})
_TRANSPORT_BYTES = 8


class Packet(msgspec.Struct):
    """An IPv4 packet that begins at byte `offset` of a frame.

    Ports are 0 in fragments after the first and in protocols without; ICMP echo has its identifier
    and 0, in both directions, other ICMP has 0 and its type. `is_error` is an ICMP error, which
    quotes the packet that it is about.
    """

    offset: int
    header_bytes: int
    length: int
    source: int
    destination: int
    protocol: int
    tos: int
    ttl: int
    is_fragment: bool
    source_port: int = 0
    destination_port: int = 0
    is_error: bool = False


def parse_ipv4(frame: bytes, offset: int, *, quoted: bool = False) -> Packet | None:
    """Parse the IPv4 packet at `offset`; None when it is malformed.

    A `quoted` packet may be cut off after 8 bytes of its payload.
    """
    try:
        header = decode_ipv4(frame[offset : offset + 60])
    except ProtocolError:
        return None
    if not quoted and offset + header.length > len(frame):
        return None
    packet = Packet(
        offset,
        header.header_bytes,
        header.length,
        header.source,
        header.destination,
        header.protocol,
        header.tos,
        header.ttl,
        header.is_fragment,
    )
    if header.offset or (packet.protocol not in WITH_PORTS and packet.protocol != ICMP):
        return packet
    transport = frame[offset + packet.header_bytes :][:_TRANSPORT_BYTES]
    if packet.length < packet.header_bytes + _TRANSPORT_BYTES or len(transport) < _TRANSPORT_BYTES:
        return None
    if packet.protocol in WITH_PORTS:
        packet.source_port = int.from_bytes(transport[0:2], "big")
        packet.destination_port = int.from_bytes(transport[2:4], "big")
        return packet
    message = decode_icmp(transport)
    if message.type in (ECHO_REQUEST, ECHO_REPLY):
        packet.source_port = message.identifier
    else:
        packet.destination_port = message.type
        packet.is_error = message.type in ERRORS
    return packet


def parse_quoted(frame: bytes, packet: Packet) -> Packet | None:
    """Parse the packet that an ICMP error is about."""
    if packet.length < packet.header_bytes + _TRANSPORT_BYTES + 20:
        return None
    offset = packet.offset + packet.header_bytes + _TRANSPORT_BYTES
    return parse_ipv4(frame, offset, quoted=True)


def is_unicast(address: int) -> bool:
    """Neither multicast nor the limited broadcast address nor 0.0.0.0."""
    return address not in (0, 0xFFFFFFFF) and address >> 28 != 0xE
