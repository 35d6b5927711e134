"""From bytes to what the model needs of an IP packet; `c/lib/parse.h` says the same in C."""

from __future__ import annotations

import msgspec

from filament.base.errors import ProtocolError
from filament.base.net import format_address
from filament.wire.packet.icmp import (
    ECHO_REPLY,
    ECHO_REPLY6,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ERRORS,
    ERRORS6,
)
from filament.wire.packet.ipv4 import ICMP, SCTP, TCP, UDP, decode_ipv4
from filament.wire.packet.ipv6 import (
    EXTENSION_BYTES,
    EXTENSIONS,
    FRAGMENT,
    ICMPV6,
    decode_extension,
    decode_ipv6,
)
from filament.wire.packet.ipv6 import HEADER_BYTES as IPV6_BYTES

WITH_PORTS = frozenset({TCP, UDP, SCTP})
ICMP_BY_VERSION = {4: ICMP, 6: ICMPV6}
_TRANSPORT_BYTES = 8
_TCP_FLAGS_AT = 13
_MAX_EXTENSIONS = 4
HEADERS_END = 256  # all headers that are looked at end before this byte of the frame


class Packet(msgspec.Struct):
    """An IP packet that begins at byte `offset` of a frame; addresses are ints of its version.

    `header_bytes` goes to the transport header, whose `protocol` it is, with options or extension
    headers. `tos` and `ttl` are IPv6's traffic class and hop limit too. Ports are 0 in protocols
    without, and in fragments after the first until it is known what that one said; ICMP echo has
    its identifier and 0, in both directions, other ICMP has 0 and its type. `is_error` is an ICMP
    error, which quotes the packet that it is about. `outer_source` is the host that it came from,
    `sender_hop` the next hop of the port here that it came from; one of them is 0.
    """

    version: int
    offset: int
    header_bytes: int
    length: int
    source: int
    destination: int
    protocol: int
    tos: int
    ttl: int
    is_fragment: bool
    is_first: bool
    fragment_id: int = 0
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    tcp_flags: int = 0
    is_error: bool = False
    outer_source: int = 0
    sender_hop: int = 0

    @property
    def is_icmp(self) -> bool:
        """Whether it is the ICMP of its version."""
        return self.protocol == ICMP_BY_VERSION[self.version]

    def address_text(self, address: int) -> str:
        """Write one of its addresses."""
        return format_address(address, self.version)


def parse_ip(frame: bytes, offset: int, version: int = 0, *, quoted: bool = False) -> Packet | None:
    """Parse the IP packet at `offset`, of a version (0: of either); None when it is malformed.

    A `quoted` packet may be cut off after 8 bytes of its payload.
    """
    found = frame[offset] >> 4 if offset < len(frame) else 0
    if version and found != version:
        return None
    try:
        packet = (_read_ipv6 if found == 6 else _read_ipv4)(frame, offset, quoted=quoted)
    except ProtocolError:
        return None
    if packet is None or not _read_transport(frame, packet):
        return None
    return packet


def _read_ipv4(frame: bytes, offset: int, *, quoted: bool) -> Packet | None:
    header = decode_ipv4(frame[offset : offset + 60])
    if not quoted and offset + header.length > len(frame):
        return None
    return Packet(
        4,
        offset,
        header.header_bytes,
        header.length,
        header.source,
        header.destination,
        header.protocol,
        header.tos,
        header.ttl,
        header.is_fragment,
        not header.offset,
        header.identification,
    )


def _read_ipv6(frame: bytes, offset: int, *, quoted: bool) -> Packet | None:
    header = decode_ipv6(frame[offset : offset + IPV6_BYTES])
    packet = Packet(
        6,
        offset,
        IPV6_BYTES,
        IPV6_BYTES + header.payload_bytes,
        header.source,
        header.destination,
        header.next,
        header.traffic_class,
        header.hop_limit,
        is_fragment=False,
        is_first=True,
    )
    if not quoted and offset + packet.length > len(frame):
        return None
    for _ in range(_MAX_EXTENSIONS):
        if packet.protocol not in EXTENSIONS or not packet.is_first:
            break
        at = offset + packet.header_bytes
        if packet.length < packet.header_bytes + EXTENSION_BYTES or (
            at + EXTENSION_BYTES > HEADERS_END
        ):
            return None
        extension = decode_extension(packet.protocol, frame[at : at + EXTENSION_BYTES])
        if packet.protocol == FRAGMENT:
            packet.is_fragment |= bool(extension.offset) or extension.more_fragments
            packet.is_first = not extension.offset
            packet.fragment_id = extension.number
        packet.protocol = extension.next
        packet.header_bytes += extension.length_bytes
        if packet.length < packet.header_bytes:
            return None
    return packet


def _read_transport(frame: bytes, packet: Packet) -> bool:
    """Read ports or what stands for them, where the packet has any; False when it is too short."""
    if not packet.is_first or (packet.protocol not in WITH_PORTS and not packet.is_icmp):
        return True
    at = packet.offset + packet.header_bytes
    transport = frame[at : at + _TRANSPORT_BYTES]
    if (
        packet.length < packet.header_bytes + _TRANSPORT_BYTES
        or at + _TRANSPORT_BYTES > HEADERS_END
        or len(transport) < _TRANSPORT_BYTES
    ):
        return False
    if packet.protocol not in WITH_PORTS:
        _read_icmp(packet, transport)
        return True
    packet.source_port = int.from_bytes(transport[0:2], "big")
    packet.destination_port = int.from_bytes(transport[2:4], "big")
    flags_at = at + _TCP_FLAGS_AT
    if (
        packet.protocol == TCP
        and packet.length > packet.header_bytes + _TCP_FLAGS_AT
        and flags_at < min(HEADERS_END, len(frame))
    ):
        packet.tcp_flags = frame[flags_at]
    return True


def _read_icmp(packet: Packet, message: bytes) -> None:
    packet.icmp_type, packet.icmp_code = message[0], message[1]
    if packet.version == 4:
        is_echo = packet.icmp_type in (ECHO_REQUEST, ECHO_REPLY)
        packet.is_error = packet.icmp_type in ERRORS
    else:
        is_echo = packet.icmp_type in (ECHO_REQUEST6, ECHO_REPLY6)
        packet.is_error = packet.icmp_type in ERRORS6
    if is_echo:
        packet.source_port = int.from_bytes(message[4:6], "big")
    else:
        packet.destination_port = packet.icmp_type


def parse_quoted(frame: bytes, packet: Packet) -> Packet | None:
    """Parse the packet that an ICMP error is about."""
    if packet.length < packet.header_bytes + _TRANSPORT_BYTES + 20:
        return None
    offset = packet.offset + packet.header_bytes + _TRANSPORT_BYTES
    if offset >= HEADERS_END:
        return None
    return parse_ip(frame, offset, packet.version, quoted=True)


def is_unicast(address: int, version: int) -> bool:
    """Neither multicast nor the limited broadcast address nor unspecified."""
    if version == 4:
        return address not in (0, 0xFFFFFFFF) and address >> 28 != 0xE
    return bool(address) and address >> 120 != 0xFF


def is_link_local(address: int, version: int) -> bool:
    """In fe80::/10, which is never routed."""
    return version == 6 and address >> 118 == 0xFE80 >> 6
