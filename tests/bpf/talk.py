"""What the ends of a flow send each other, also in pieces and out of order, and errors about it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from filament.base.net import Address
from filament.wire.packet.frames import ipv4_packet, ipv6_packet
from filament.wire.packet.icmp import Icmp, encode_icmp
from filament.wire.packet.ipv4 import ICMP, TCP, Ipv4
from filament.wire.packet.ipv6 import ICMPV6, Ipv6, encode_fragment
from filament.wire.packet.tcp import ACK, FIN, RST, SYN, Tcp, encode_tcp
from filament.wire.packet.udp import Udp, encode_udp

# Beginnings and ends more often than they are, what only hostile ends send besides.
TCP_FLAGS = [
    SYN,
    SYN,
    SYN,
    SYN | ACK,
    SYN | ACK,
    ACK,
    ACK,
    FIN | ACK,
    FIN | ACK,
    FIN,
    RST,
    RST | ACK,
]
TCP_FLAGS += [0, SYN | FIN, SYN | RST, ACK | 0xC0, SYN | 0xC0]
_PAYLOAD_BYTES = [*[0] * 12, *[9] * 4, 1500, 1520, 1540, 1560]  # what fits the underlay, or not
_CUTS = (7, 8, 12, 13, 14, 19)  # about what is read of a transport header
_ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
_ERRORS = {4: (3, 3, 11, 12), 6: (1, 2, 3, 4, 127)}
_FRAGMENT = 44  # the extension header


class Ends(NamedTuple):
    """A connection as its port sees it; of ICMP the ports are as in a flow's key."""

    local: Address
    remote: Address
    protocol: int
    local_port: int
    remote_port: int


class Part(NamedTuple):
    """A packet, or a fragment of one: offset in units of 8 bytes."""

    transport: bytes
    offset: int = 0
    more: bool = False
    number: int = 0

    @property
    def is_whole(self) -> bool:
        return not (self.offset or self.more)


def transport_of(random: Random, ends: Ends, *, is_from_port: bool) -> bytes:
    """What an end sends, from its transport header on."""
    ports = (ends.local_port, ends.remote_port)[:: 1 if is_from_port else -1]
    payload = bytes(random.choice(_PAYLOAD_BYTES))
    if ends.protocol == TCP:
        return encode_tcp(Tcp(*ports, flags=random.choice(TCP_FLAGS))) + payload
    if ends.protocol in _ECHO:
        # Of what is no echo the type stands for a port.
        kind = ends.remote_port or random.choice(_ECHO[ends.protocol])
        code = random.choice((0, 0, 0, 1))
        return encode_icmp(Icmp(kind & 255, code, 0x1234, ends.local_port, 1))
    return encode_udp(Udp(*ports, 8 + len(payload))) + payload


def packet_of(random: Random, ends: Ends, part: Part, *, is_from_port: bool) -> bytes:
    """The packet that carries it to the other end."""
    source, destination = (ends.local, ends.remote)[:: 1 if is_from_port else -1]
    ttl = 64 if random.random() < 0.95 else random.choice((0, 1, 2))
    tos = random.choice((0, 0, 0, 1, 2, 3, 0xB9))
    if source.version == 4:
        header = Ipv4(
            source.value,
            destination.value,
            ends.protocol,
            0,
            ttl,
            tos,
            part.number,
            more_fragments=part.more,
            offset=part.offset,
            options=bytes([1]) * random.choice((0, 0, 0, 0, 4)),
        )
        return ipv4_packet(header, part.transport)
    protocol, payload = ends.protocol, part.transport
    if not part.is_whole:
        extension = encode_fragment(
            protocol, part.offset, more_fragments=part.more, number=part.number
        )
        protocol, payload = _FRAGMENT, extension + payload
    header6 = Ipv6(source.value, destination.value, protocol, 0, ttl, tos)
    return ipv6_packet(header6, payload)


def packet_in(random: Random, ends: Ends, *, is_from_port: bool) -> bytes:
    """Any packet from one of the ends to the other."""
    transport = transport_of(random, ends, is_from_port=is_from_port)
    # Cut short, with the rest in the frame as if it were padding.
    cut = len(transport) if random.random() < 0.97 else random.choice(_CUTS)
    packet = packet_of(random, ends, Part(transport[:cut]), is_from_port=is_from_port)
    return packet + transport[cut:]


def pieces(random: Random, ends: Ends, *, is_from_port: bool) -> Iterator[bytes]:
    """Fragments of a packet, sometimes not all, or late."""
    transport = transport_of(random, ends, is_from_port=is_from_port) + bytes(24)
    number = random.randint(1, 3)
    parts = [
        Part(transport[:16], 0, more=True, number=number),
        Part(transport[16:24], 2, more=True, number=number),
        Part(transport[24:], 3, number=number),
    ]
    if random.random() < 0.3:
        random.shuffle(parts)
    for part in parts[random.choice((0, 0, 0, 1)) : random.randint(2, 3)]:
        yield packet_of(random, ends, part, is_from_port=is_from_port)


def error_about(random: Random, ends: Ends, to: Ends, *, is_from_port: bool) -> bytes:
    """An ICMP error that one end, or a router before it, sends the other about a packet of its; the
    error's own ends are `to`.
    """
    version = ends.local.version
    quoted = packet_in(random, ends, is_from_port=not is_from_port)
    if random.random() < 0.1:  # not about this flow, but the way back
        quoted = packet_in(random, ends, is_from_port=is_from_port)
    cut = random.choice(
        (*[2000] * 6, 28 if version == 4 else 48, 27 if version == 4 else 47, 20, 19)
    )
    kind = random.choice(_ERRORS[version])
    transport = encode_icmp(Icmp(kind, random.choice((0, 1, 4)))) + quoted[:cut]
    protocol = ICMP if version == 4 else ICMPV6
    part = Part(transport, more=random.random() < 0.1, number=1)
    packet = packet_of(random, to._replace(protocol=protocol), part, is_from_port=is_from_port)
    # What was cut off may still be in the frame, as if it were padding.
    return packet + quoted[cut:] if random.random() < 0.5 else packet
