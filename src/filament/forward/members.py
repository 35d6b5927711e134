"""Members of composite next hops: which there are, and what chooses among them.

`c/lib/member.h` says the same in C.
"""

from __future__ import annotations

from filament.forward.layout import (
    ECMP_DESTINATION,
    ECMP_DESTINATION_PORT,
    ECMP_PROTOCOL,
    ECMP_SOURCE,
    ECMP_SOURCE_PORT,
    NextHopType,
)
from filament.forward.parse import Packet
from filament.forward.rows import InterfaceValues, MemberValues, NextHopValues, RouteValues, Rows
from filament.forward.tunnel import fold, rotate

_WORD = 0xFFFFFFFF


def flow_hash(packet: Packet, fields: int, seed: int) -> int:
    """Return what the fields of a packet that a composite looks at come to: 32 bits.

    `seed` is the host's own, so that hosts one behind the other do not all choose alike.
    """
    mixed = seed
    if fields & ECMP_SOURCE:
        mixed ^= fold(packet.source, packet.version)
    mixed = rotate(mixed * 0x9E3779B1 & _WORD, 15)
    if fields & ECMP_DESTINATION:
        mixed ^= fold(packet.destination, packet.version)
    mixed = mixed * 0x85EBCA6B & _WORD
    if not packet.is_fragment:
        if fields & ECMP_SOURCE_PORT:
            mixed ^= packet.source_port << 16
        if fields & ECMP_DESTINATION_PORT:
            mixed ^= packet.destination_port
    mixed = rotate(mixed, 13)
    if fields & ECMP_PROTOCOL:
        mixed ^= packet.protocol
    # Every bit of the fields must reach the lowest ones, which decide between two members.
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & _WORD
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & _WORD
    return mixed ^ mixed >> 16


def next_hop_of(rows: Rows, number: int) -> NextHopValues | None:
    """Return a next hop; a row without a type is none."""
    row = rows.find("next_hops", (number,))
    next_hop = NextHopValues(*row.values) if row is not None else None
    return next_hop if next_hop is not None and next_hop.type else None


def member_at(rows: Rows, number: int, index: int) -> int:
    """Return the member of a composite at a position, 0 when there is none."""
    row = rows.find("members", (number, index))
    return MemberValues(*row.values).member if row is not None else 0


def is_member(rows: Rows, number: int, member: int) -> bool:
    """Say whether a next hop is one of a composite's."""
    return rows.find("places", (number, member)) is not None


def leads_to(rows: Rows, route: RouteValues, port: InterfaceValues) -> bool:
    """Say whether a route leads to a port, alone or among others."""
    return route.next_hop == port.next_hop or is_member(rows, route.next_hop, port.next_hop)


def member_from(rows: Rows, number: int, packet: Packet) -> int:
    """Return the member of a composite that a packet came from; 0 for none, or no composite."""
    composite = next_hop_of(rows, number)
    if composite is None or composite.type != NextHopType.COMPOSITE:
        return 0
    for index in range(composite.members):
        member = member_at(rows, number, index)
        next_hop = next_hop_of(rows, member)
        if next_hop is None:
            continue
        if next_hop.type == NextHopType.TUNNEL:
            if packet.outer_source and next_hop.remote == packet.outer_source:
                return member
        elif member == packet.sender_hop:
            return member
    return 0
