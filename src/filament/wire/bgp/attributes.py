"""Path attributes: one frozen, hashable `Attributes` for all that routes of an UPDATE share.

`ATTRIBUTES` is the registry: flags, decoder, and what RFC 7606 does about a malformed one. An
attribute that is not in it is passed on as it came when it is optional and transitive, with the
partial bit set (RFC 4271 section 9), ignored when it is optional only, and fatal otherwise.
MP_REACH_NLRI and MP_UNREACH_NLRI are the business of `update`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from filament.base.limits import MAX_BGP_ATTRIBUTE_SETS_CACHED
from filament.base.net import Address

AS_TRANS = 23456  # RFC 6793 section 2

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED = 0x80, 0x40, 0x20, 0x10


class OriginCode(enum.IntEnum):
    """ORIGIN, RFC 4271 section 5.1.1; the lower is preferred."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


class SegmentKind(enum.IntEnum):
    """Kinds of AS_PATH segments, RFC 4271 section 4.3 and RFC 5065 section 3."""

    SET = 1
    SEQUENCE = 2
    CONFED_SEQUENCE = 3
    CONFED_SET = 4


class Segment(NamedTuple):
    """A segment of an AS path."""

    kind: int
    ases: tuple[int, ...]


AsPath = tuple[Segment, ...]


class Aggregator(NamedTuple):
    """Who aggregated a route."""

    asn: int
    address: int


class PmsiTunnel(NamedTuple):
    """PMSI_TUNNEL, RFC 6514 section 5; `label` is the 24-bit field, `kind` 6 ingress replication.

    TF adds kind 252 (assisted replication) and uses the flags 0x08 replicator, 0x10 leaf, 0x80
    edge replication supported.
    """

    flags: int
    kind: int
    label: int
    identifier: bytes


INGRESS_REPLICATION = 6


class EdgeDiscovery(NamedTuple):
    """TF: a member of a local multicast tree and the label ranges it offers."""

    address: int
    labels: tuple[tuple[int, int], ...]


class EdgeForwarding(NamedTuple):
    """TF: one edge of the global multicast tree."""

    in_address: int
    in_label: int
    out_address: int
    out_label: int


class Unknown(NamedTuple):
    """An optional transitive attribute that we do not know; `flags` as we pass it on."""

    flags: int
    code: int
    value: bytes


class Attributes(msgspec.Struct, frozen=True, cache_hash=True):
    """What the routes of an UPDATE share. Decoded ones are interned: compare by `is` first.

    An IPv4-mapped IPv6 `next_hop` is IPv4 here (RFC 4659 section 3.2.1); `link_local` is the second
    IPv6 next hop (RFC 2545 section 3), 0 for none. Extended communities are 8 octets each, those
    of `origin_vn_path` too. `tunnel_encapsulation` is the raw value of RFC 9012's attribute.
    """

    origin: int = OriginCode.IGP
    as_path: AsPath = ()
    next_hop: Address = Address(0, 4)
    link_local: int = 0
    med: int | None = None
    local_preference: int | None = None
    is_atomic_aggregate: bool = False
    aggregator: Aggregator | None = None
    communities: tuple[int, ...] = ()
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    extended_communities: tuple[bytes, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    pmsi_tunnel: PmsiTunnel | None = None
    tunnel_encapsulation: bytes = b""
    edge_discovery: tuple[EdgeDiscovery, ...] = ()
    edge_forwarding: tuple[EdgeForwarding, ...] = ()
    origin_vn_path: tuple[bytes, ...] = ()
    unknown: tuple[Unknown, ...] = ()


def path_length(path: AsPath) -> int:
    """Count the ASes of a path, a set as one, confederations not (RFC 4271 section 9.1.2.2)."""
    return sum(
        len(segment.ases) if segment.kind == SegmentKind.SEQUENCE else 1
        for segment in path
        if segment.kind <= SegmentKind.SEQUENCE
    )


def neighbour_as(path: AsPath) -> int:
    """Return the AS that a route came from, 0 when it is of our own or of a set."""
    for segment in path:
        if segment.kind == SegmentKind.SEQUENCE:
            return segment.ases[0]
        if segment.kind == SegmentKind.SET:
            return 0
    return 0


def has_as(path: AsPath, asn: int) -> bool:
    """Say whether an AS is anywhere in a path."""
    return any(asn in segment.ases for segment in path)


def count_as(path: AsPath, asn: int) -> int:
    """Return how often an AS is in a path."""
    return sum(segment.ases.count(asn) for segment in path)


def replace_as(path: AsPath, old: int, new: int) -> AsPath:
    """Put an AS in the place of another, wherever that is."""
    return tuple(
        Segment(segment.kind, tuple(new if asn == old else asn for asn in segment.ases))
        for segment in path
    )


def is_private_as(asn: int) -> bool:
    """Say whether an AS is one for use among friends only (RFC 6996)."""
    return 64512 <= asn <= 65534 or 4_200_000_000 <= asn <= 4_294_967_294


def without_private_as(
    path: AsPath, *, beyond_public: bool, but: int, substitute: int = 0
) -> AsPath:
    """Take private ASes out of a path: those before the first other one or, with `beyond_public`,
    all; never the AS `but`. With `substitute` each is replaced instead: by the last public AS
    before it, by `substitute` where there is none. What TF's RemovePrivate does.
    """
    done = False
    segments = []
    for segment in path:
        ases: list[int] = []
        for asn in segment.ases:
            if done or not is_private_as(asn) or asn == but:
                ases.append(asn)
                done = done or not beyond_public
                if substitute and not is_private_as(asn):
                    substitute = asn
            elif substitute:
                ases.append(substitute)
        if ases:
            segments.append(Segment(segment.kind, tuple(ases)))
    return tuple(segments)


def prepend_as(path: AsPath, asn: int) -> AsPath:
    """Put an AS before a path (RFC 4271 section 5.1.2)."""
    if path and path[0].kind == SegmentKind.SEQUENCE and len(path[0].ases) < 255:
        return (Segment(SegmentKind.SEQUENCE, (asn, *path[0].ases)), *path[1:])
    return (Segment(SegmentKind.SEQUENCE, (asn,)), *path)


def format_as_path(path: AsPath) -> str:
    """Format a path: `64512 64513 {64514 64515}`."""
    brackets = {1: "{}", 3: "()", 4: "[]"}
    shown = []
    for segment in path:
        text = " ".join(str(asn) for asn in segment.ases)
        pair = brackets.get(segment.kind, "")
        shown.append(f"{pair[0]}{text}{pair[1]}" if pair else text)
    return " ".join(shown)


# RFC 7606 -----------------------------------------------------------------------------------


class Approach(enum.IntEnum):
    """What to do about a malformed attribute, RFC 7606 section 2, short of ending the session.

    What ends it (NLRI that cannot be found, an unknown well-known attribute) raises `BgpError`.
    """

    DISCARD = 1
    WITHDRAW = 2


class Fault(msgspec.Struct, frozen=True):
    """Something wrong in an UPDATE that did not end the session."""

    approach: Approach
    code: int  # of the attribute
    text: str

    def __str__(self) -> str:
        deed = "discarded" if self.approach is Approach.DISCARD else "treated as withdraw"
        return f"{name_of(self.code)}: {self.text} ({deed})"


class Session(NamedTuple):
    """What decoding depends on: the session's AS width, and whether the peer is of another AS."""

    is_as4: bool = True
    is_external: bool = False


class Malformed(Exception):  # noqa: N818 - never leaves this package
    """An attribute's value is wrong; the registry says what happens then."""


Decoder = Callable[[bytes, Session], object]


class Rule(NamedTuple):
    """A row of the registry. `flags` are those of OPTIONAL and TRANSITIVE that it must have."""

    name: str
    flags: int
    on_malformed: Approach
    decode: Decoder
    is_internal: bool = False  # discarded when an external peer sends it


def _need(condition: bool, text: str) -> None:
    if not condition:
        raise Malformed(text)


def _decode_origin(value: bytes, _: Session) -> int:
    _need(len(value) == 1 and value[0] <= 2, f"the value is {value[:8].hex()}; 00 to 02 exist")
    return value[0]


def _decode_as_path(value: bytes, session: Session) -> AsPath:
    return _decode_segments(value, 4 if session.is_as4 else 2)


def _decode_segments(value: bytes, width: int) -> AsPath:
    segments: list[Segment] = []
    at, end = 0, len(value)
    while at < end:
        _need(at + 2 <= end, "a segment is cut off")
        kind, count = value[at], value[at + 1]
        stop = at + 2 + width * count
        _need(1 <= kind <= 4, f"there is no segment type {kind}")
        _need(count > 0, "a segment is empty")
        _need(stop <= end, f"a segment of {count} ASes in {end - at - 2} octets")
        ases = tuple(
            int.from_bytes(value[place : place + width], "big")
            for place in range(at + 2, stop, width)
        )
        _need(0 not in ases, "AS 0 is in it (RFC 7607)")
        _need(kind <= SegmentKind.SEQUENCE, "confederation segments, and we are in none")
        segments.append(Segment(kind, ases))
        at = stop
    return tuple(segments)


def _decode_as4_path(value: bytes, _: Session) -> AsPath:
    return _decode_segments(value, 4)


def _decode_u32(value: bytes, _: Session) -> int:
    _need(len(value) == 4, f"{len(value)} octets; it has 4")
    return int.from_bytes(value, "big")


def _decode_nothing(value: bytes, _: Session) -> bool:
    _need(not value, f"{len(value)} octets; it has none")
    return True


def _decode_aggregator(value: bytes, session: Session) -> Aggregator:
    width = 4 if session.is_as4 else 2
    _need(len(value) == width + 4, f"{len(value)} octets; it has {width + 4}")
    return Aggregator(int.from_bytes(value[:width], "big"), int.from_bytes(value[width:], "big"))


def _decode_as4_aggregator(value: bytes, _: Session) -> Aggregator:
    return _decode_aggregator(value, Session())


def _pieces(value: bytes, size: int) -> list[bytes]:
    if not value or len(value) % size:
        raise Malformed(f"{len(value)} octets; expected a multiple of {size}, and not 0")
    return [value[at : at + size] for at in range(0, len(value), size)]


def _decode_next_hop(value: bytes, session: Session) -> Address:
    return Address(_decode_u32(value, session), 4)


def _decode_u32s(value: bytes, _: Session) -> tuple[int, ...]:
    return tuple(int.from_bytes(each, "big") for each in _pieces(value, 4))


def _decode_extended(value: bytes, _: Session) -> tuple[bytes, ...]:
    return tuple(_pieces(value, 8))


def _decode_large(value: bytes, _: Session) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (
            int.from_bytes(each[:4], "big"),
            int.from_bytes(each[4:8], "big"),
            int.from_bytes(each[8:], "big"),
        )
        for each in _pieces(value, 12)
    )


def _decode_pmsi(value: bytes, _: Session) -> PmsiTunnel:
    _need(len(value) >= 5, f"{len(value)} octets; it has at least 5")
    if value[1] == INGRESS_REPLICATION:
        _need(len(value) in (9, 21), f"ingress replication with {len(value) - 5} octets of address")
    return PmsiTunnel(value[0], value[1], int.from_bytes(value[2:5], "big"), value[5:])


def _decode_tunnels(value: bytes, _: Session) -> bytes:
    at, end = 0, len(value)
    _need(end > 0, "it is empty")
    while at < end:
        _need(at + 4 <= end, "a tunnel is cut off")
        at += 4 + int.from_bytes(value[at + 2 : at + 4], "big")
    _need(at == end, "a tunnel is longer than what remains")
    return value


def _decode_edge_discovery(value: bytes, _: Session) -> tuple[EdgeDiscovery, ...]:
    edges: list[EdgeDiscovery] = []
    at, end = 0, len(value)
    while at < end:
        _need(at + 6 <= end and value[at] == 4, "an edge is cut off or has no IPv4 address")
        size = value[at + 5]
        stop = at + 6 + size
        _need(not size % 8 and stop <= end, f"label ranges of {size} octets")
        edges.append(
            EdgeDiscovery(
                int.from_bytes(value[at + 1 : at + 5], "big"),
                tuple(
                    (
                        int.from_bytes(value[place : place + 4], "big"),
                        int.from_bytes(value[place + 4 : place + 8], "big"),
                    )
                    for place in range(at + 6, stop, 8)
                ),
            )
        )
        at = stop
    return tuple(edges)


def _decode_edge_forwarding(value: bytes, _: Session) -> tuple[EdgeForwarding, ...]:
    edges = _pieces(value, 17)
    _need(all(each[0] == 4 for each in edges), "an edge has no IPv4 addresses")
    return tuple(
        EdgeForwarding(
            *(int.from_bytes(each[place : place + 4], "big") for place in range(1, 17, 4))
        )
        for each in edges
    )


_WELL_KNOWN = TRANSITIVE
_PASSING = OPTIONAL | TRANSITIVE
_WITHDRAW, _DISCARD = Approach.WITHDRAW, Approach.DISCARD

ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR, COMMUNITIES = range(1, 9)
ORIGINATOR_ID, CLUSTER_LIST = 9, 10
MP_REACH, MP_UNREACH, EXTENDED_COMMUNITIES, AS4_PATH, AS4_AGGREGATOR = range(14, 19)
PMSI_TUNNEL, TUNNEL_ENCAPSULATION = 22, 23
LARGE_COMMUNITIES = 32
EDGE_DISCOVERY, EDGE_FORWARDING, ORIGIN_VN_PATH = 241, 242, 243

ATTRIBUTES: dict[int, Rule] = {
    ORIGIN: Rule("ORIGIN", _WELL_KNOWN, _WITHDRAW, _decode_origin),
    AS_PATH: Rule("AS_PATH", _WELL_KNOWN, _WITHDRAW, _decode_as_path),
    NEXT_HOP: Rule("NEXT_HOP", _WELL_KNOWN, _WITHDRAW, _decode_next_hop),
    MED: Rule("MULTI_EXIT_DISC", OPTIONAL, _WITHDRAW, _decode_u32),
    LOCAL_PREF: Rule("LOCAL_PREF", _WELL_KNOWN, _WITHDRAW, _decode_u32, is_internal=True),
    ATOMIC_AGGREGATE: Rule("ATOMIC_AGGREGATE", _WELL_KNOWN, _DISCARD, _decode_nothing),
    AGGREGATOR: Rule("AGGREGATOR", _PASSING, _DISCARD, _decode_aggregator),
    COMMUNITIES: Rule("COMMUNITIES", _PASSING, _WITHDRAW, _decode_u32s),
    ORIGINATOR_ID: Rule("ORIGINATOR_ID", OPTIONAL, _WITHDRAW, _decode_u32, is_internal=True),
    CLUSTER_LIST: Rule("CLUSTER_LIST", OPTIONAL, _WITHDRAW, _decode_u32s, is_internal=True),
    EXTENDED_COMMUNITIES: Rule("EXTENDED_COMMUNITIES", _PASSING, _WITHDRAW, _decode_extended),
    AS4_PATH: Rule("AS4_PATH", _PASSING, _DISCARD, _decode_as4_path),
    AS4_AGGREGATOR: Rule("AS4_AGGREGATOR", _PASSING, _DISCARD, _decode_as4_aggregator),
    PMSI_TUNNEL: Rule("PMSI_TUNNEL", _PASSING, _WITHDRAW, _decode_pmsi),
    TUNNEL_ENCAPSULATION: Rule("TUNNEL_ENCAPSULATION", _PASSING, _WITHDRAW, _decode_tunnels),
    LARGE_COMMUNITIES: Rule("LARGE_COMMUNITIES", _PASSING, _WITHDRAW, _decode_large),
    EDGE_DISCOVERY: Rule("EDGE_DISCOVERY", _PASSING, _DISCARD, _decode_edge_discovery),
    EDGE_FORWARDING: Rule("EDGE_FORWARDING", _PASSING, _DISCARD, _decode_edge_forwarding),
    ORIGIN_VN_PATH: Rule("ORIGIN_VN_PATH", _PASSING, _DISCARD, _decode_extended),
}

_NAMES = {MP_REACH: "MP_REACH_NLRI", MP_UNREACH: "MP_UNREACH_NLRI"}


def name_of(code: int) -> str:
    """Name an attribute in a message."""
    rule = ATTRIBUTES.get(code)
    return rule.name if rule is not None else _NAMES.get(code, f"attribute {code}")


# encoding -----------------------------------------------------------------------------------


def encode_attribute(flags: int, code: int, value: bytes) -> bytes:
    """Return one attribute with its header."""
    if len(value) > 255:
        return bytes((flags | EXTENDED, code)) + len(value).to_bytes(2, "big") + value
    return bytes((flags, code, len(value))) + value


_BYTE = [bytes((value,)) for value in range(256)]
_HEADS = {code: bytes((rule.flags, code)) for code, rule in ATTRIBUTES.items()}


def _encode(code: int, value: bytes) -> bytes:
    """Return an attribute of the registry."""
    if len(value) > 255:
        return encode_attribute(ATTRIBUTES[code].flags, code, value)
    return _HEADS[code] + _BYTE[len(value)] + value


@lru_cache(maxsize=MAX_BGP_ATTRIBUTE_SETS_CACHED)
def encode_attributes(attributes: Attributes, *, is_as4: bool = True, has_next_hop: bool) -> bytes:
    """Return all attributes in ascending order, but for MP_REACH_NLRI.

    `has_next_hop` puts in NEXT_HOP, which routes of inet have and others not (RFC 4760 section 3).
    A peer that does not know four-octet ASes is told AS_TRANS and AS4_PATH (RFC 6793 section
    4.2.2).
    """
    encoded = [
        _encode(ORIGIN, _BYTE[attributes.origin]),
        _encode(AS_PATH, _encode_segments(attributes.as_path, 4 if is_as4 else 2)),
    ]
    if has_next_hop:
        encoded.append(_encode(NEXT_HOP, attributes.next_hop.value.to_bytes(4, "big")))
    if attributes.med is not None:
        encoded.append(_encode(MED, attributes.med.to_bytes(4, "big")))
    if attributes.local_preference is not None:
        encoded.append(_encode(LOCAL_PREF, attributes.local_preference.to_bytes(4, "big")))
    if attributes.is_atomic_aggregate:
        encoded.append(_encode(ATOMIC_AGGREGATE, b""))
    if attributes.aggregator is not None:
        encoded.append(
            _encode(AGGREGATOR, _encode_aggregator(attributes.aggregator, 4 if is_as4 else 2))
        )
    if attributes.communities:
        encoded.append(_encode(COMMUNITIES, _encode_numbers(attributes.communities)))
    if attributes.originator_id is not None:
        encoded.append(_encode(ORIGINATOR_ID, attributes.originator_id.to_bytes(4, "big")))
    if attributes.cluster_list:
        encoded.append(_encode(CLUSTER_LIST, _encode_numbers(attributes.cluster_list)))
    if attributes.extended_communities:
        encoded.append(_encode(EXTENDED_COMMUNITIES, b"".join(attributes.extended_communities)))
    if not is_as4:
        encoded += _encode_as4(attributes)
    encoded += _encode_rare(attributes)
    if attributes.unknown:
        encoded += [encode_attribute(*each) for each in attributes.unknown]
        encoded.sort(key=_code_of)
    return b"".join(encoded)


def _code_of(attribute: bytes) -> int:
    return attribute[1]


def _encode_rare(attributes: Attributes) -> list[bytes]:
    encoded: list[bytes] = []
    if attributes.pmsi_tunnel is not None:
        tunnel = attributes.pmsi_tunnel
        value = bytes((tunnel.flags, tunnel.kind)) + tunnel.label.to_bytes(3, "big")
        encoded.append(_encode(PMSI_TUNNEL, value + tunnel.identifier))
    if attributes.tunnel_encapsulation:
        encoded.append(_encode(TUNNEL_ENCAPSULATION, attributes.tunnel_encapsulation))
    if attributes.large_communities:
        value = b"".join(map(_encode_numbers, attributes.large_communities))
        encoded.append(_encode(LARGE_COMMUNITIES, value))
    if attributes.edge_discovery:
        value = b"".join(
            b"\x04"
            + edge.address.to_bytes(4, "big")
            + _BYTE[8 * len(edge.labels)]
            + b"".join(map(_encode_numbers, edge.labels))
            for edge in attributes.edge_discovery
        )
        encoded.append(_encode(EDGE_DISCOVERY, value))
    if attributes.edge_forwarding:
        value = b"".join(b"\x04" + _encode_numbers(edge) for edge in attributes.edge_forwarding)
        encoded.append(_encode(EDGE_FORWARDING, value))
    if attributes.origin_vn_path:
        encoded.append(_encode(ORIGIN_VN_PATH, b"".join(attributes.origin_vn_path)))
    return encoded


def _encode_numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join([number.to_bytes(4, "big") for number in numbers])


def _encode_segments(path: AsPath, width: int) -> bytes:
    return b"".join(
        bytes((segment.kind, len(segment.ases)))
        + b"".join(_narrow(asn, width).to_bytes(width, "big") for asn in segment.ases)
        for segment in path
    )


def _narrow(asn: int, width: int) -> int:
    return asn if width == 4 or asn < 1 << 16 else AS_TRANS


def _encode_aggregator(aggregator: Aggregator, width: int) -> bytes:
    return _narrow(aggregator.asn, width).to_bytes(width, "big") + aggregator.address.to_bytes(
        4, "big"
    )


def _encode_as4(attributes: Attributes) -> list[bytes]:
    encoded: list[bytes] = []
    if any(asn >= 1 << 16 for segment in attributes.as_path for asn in segment.ases):
        encoded.append(_encode(AS4_PATH, _encode_segments(attributes.as_path, 4)))
    if attributes.aggregator is not None and attributes.aggregator.asn >= 1 << 16:
        encoded.append(_encode(AS4_AGGREGATOR, _encode_aggregator(attributes.aggregator, 4)))
    return encoded


def merge_as4_path(path: AsPath, as4_path: AsPath) -> AsPath:
    """Restore the path that AS_TRANS stands for (RFC 6793 section 4.2.3).

    What the shorter AS4_PATH lacks at the front was added by those who do not know four octets.
    """
    missing = path_length(path) - path_length(as4_path)
    if missing < 0:
        return path
    front: list[Segment] = []
    for segment in path:
        if missing <= 0:
            break
        if segment.kind == SegmentKind.SEQUENCE:
            front.append(Segment(segment.kind, segment.ases[:missing]))
            missing -= len(front[-1].ases)
        else:
            front.append(segment)
            missing -= 1
    if front and as4_path and front[-1].kind == as4_path[0].kind == SegmentKind.SEQUENCE:
        joined = front[-1].ases + as4_path[0].ases
        if len(joined) <= 255:
            return (*front[:-1], Segment(SegmentKind.SEQUENCE, joined), *as4_path[1:])
    return (*front, *as4_path)
