"""UPDATE: bytes <-> routes with their attributes, in bulk. RFC 4271 section 4.3, RFC 4760.

Decoding never fails halfway: what RFC 7606 forgives is in `Update.faults`, and the routes it
takes away are in `withdrawn`; only what ends the session raises. Attribute sets are interned per
decoder, so that a reflected table of a million routes decodes a few hundred of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from filament.base.limits import MAX_BGP_ATTRIBUTE_SETS_CACHED
from filament.base.net import Address
from filament.wire.bgp import attributes as codes
from filament.wire.bgp.attributes import (
    ATTRIBUTES,
    EXTENDED,
    OPTIONAL,
    PARTIAL,
    TRANSITIVE,
    Approach,
    Attributes,
    Fault,
    Malformed,
    Session,
    Unknown,
    encode_attribute,
    encode_attributes,
    merge_as4_path,
)
from filament.wire.bgp.errors import (
    BAD_OPTIONAL,
    MALFORMED_LIST,
    UNKNOWN_WELL_KNOWN,
    BgpError,
    Code,
)
from filament.wire.bgp.family import BY_CODE, AddressFamily, describe
from filament.wire.bgp.nlri import Nlri, cut, split, split_alike

MAX_MESSAGE = 4096  # RFC 4271 section 4.1
MAX_EXTENDED_MESSAGE = 65535  # RFC 8654
_MARKER = b"\xff" * 16
_UPDATE = b"\x02"
_OVERHEAD = 23  # marker, length, type and the two lengths of an UPDATE


class Announced(NamedTuple):
    """Routes of one family with the attributes they share. `field` is their NLRI as it came where
    it may go on as it is: several routes, all of one shape (`nlri.split_alike`).
    """

    family: AddressFamily
    attributes: Attributes
    routes: list[Nlri]
    field: bytes = b""


class Withdrawn(NamedTuple):
    """Keys of routes that are no more (labels left out)."""

    family: AddressFamily
    keys: list[bytes]


class Update(msgspec.Struct, frozen=True):
    """A decoded UPDATE. Withdrawals come first (RFC 4271 section 4.3: announced wins).

    `refused` was announced with attributes so malformed that it is withdrawn instead (RFC 7606): it
    is in `withdrawn` as well.
    """

    withdrawn: tuple[Withdrawn, ...] = ()
    announced: tuple[Announced, ...] = ()
    end_of_rib: AddressFamily | None = None
    faults: tuple[Fault, ...] = ()
    refused: tuple[Withdrawn, ...] = ()


class _Header(NamedTuple):
    flags: int
    code: int
    start: int  # of the header
    value: int
    stop: int


_new = tuple.__new__  # a named tuple's own is written in Python


class _Parsed(NamedTuple):
    attributes: Attributes
    faults: tuple[Fault, ...]
    has_next_hop: bool  # by NEXT_HOP, or a fault says what is wrong with it


class UpdateDecoder:
    """Decodes the UPDATEs of one session: `families` are those that both sides want."""

    def __init__(
        self,
        families: frozenset[AddressFamily],
        *,
        is_as4: bool = True,
        is_external: bool = False,
    ) -> None:
        self._families = families
        self._session = Session(is_as4, is_external)
        self._parsed: dict[bytes, _Parsed] = {}

    def decode(self, body: bytes) -> Update:
        """Decode what follows the message header. Raises `BgpError` when the session must end."""
        end = len(body)
        if end < 4:
            raise _malformed("an UPDATE shorter than its two lengths")
        first = 2 + int.from_bytes(body[:2], "big")
        if first + 2 > end:
            raise _malformed("withdrawn routes longer than the message")
        start = first + 2
        stop = start + int.from_bytes(body[first:start], "big")
        if stop > end:
            raise _malformed("attributes longer than the message")
        if start == stop == end:  # no attributes, no NLRI
            return self._only_withdrawn(body[2:first])
        return self._decode(body[2:first], body[start:stop], body[stop:])

    def _only_withdrawn(self, field: bytes) -> Update:
        if not field:
            return Update(end_of_rib=AddressFamily.INET)
        keys = [key for key, _ in split(AddressFamily.INET, field)]
        return Update(withdrawn=(Withdrawn(AddressFamily.INET, keys),))

    def _decode(self, withdrawn_field: bytes, field: bytes, nlri_field: bytes) -> Update:
        headers, faults = _headers(field)
        reach = unreach = None
        for header in headers:
            if header.code == codes.MP_REACH:
                reach = header
            elif header.code == codes.MP_UNREACH:
                unreach = header
        withdrawn: list[Withdrawn] = []
        announced: list[Announced] = []
        end_of_rib = None
        if withdrawn_field:
            keys = [key for key, _ in split(AddressFamily.INET, withdrawn_field)]
            withdrawn.append(Withdrawn(AddressFamily.INET, keys))
        if unreach is not None:
            family, routes = self._unreach(field[unreach.value : unreach.stop], faults)
            if family is not None and routes:
                withdrawn.append(Withdrawn(family, [key for key, _ in routes]))
            elif len(headers) == 1 and not nlri_field and not withdrawn_field:
                end_of_rib = family
        if reach is not None:
            self._reach(field, headers, reach, announced, faults)
        if nlri_field:
            parsed = self._parse(field, headers, b"")
            routes = split(AddressFamily.INET, nlri_field)
            faults += parsed.faults
            if not parsed.has_next_hop:
                faults.append(_missing(codes.NEXT_HOP))
            announced.append(Announced(AddressFamily.INET, parsed.attributes, routes))
        refused: list[Withdrawn] = []
        if any(fault.approach is Approach.WITHDRAW for fault in faults):
            refused = [
                Withdrawn(each.family, [key for key, _ in each.routes]) for each in announced
            ]
            withdrawn += refused
            announced = []
        return Update(tuple(withdrawn), tuple(announced), end_of_rib, tuple(faults), tuple(refused))

    def _unreach(
        self, value: bytes, faults: list[Fault]
    ) -> tuple[AddressFamily | None, list[Nlri]]:
        if len(value) < 3:
            raise _optional(codes.MP_UNREACH, f"{len(value)} octets; it has at least 3")
        family = self._family(codes.MP_UNREACH, value, faults)
        if family is None:
            return None, []
        return family, split(family, value[3:])

    def _family(self, code: int, value: bytes, faults: list[Fault]) -> AddressFamily | None:
        afi, safi = int.from_bytes(value[:2], "big"), value[2]
        family = BY_CODE.get((afi, safi))
        if family is None or family not in self._families:
            text = f"{describe(afi, safi)} was not agreed on"
            faults.append(Fault(Approach.DISCARD, code, text))
            return None
        return family

    def _reach(
        self,
        field: bytes,
        headers: list[_Header],
        reach: _Header,
        announced: list[Announced],
        faults: list[Fault],
    ) -> None:
        value = field[reach.value : reach.stop]
        if len(value) < 5 or 5 + value[3] > len(value):
            raise _optional(codes.MP_REACH, "it ends before its routes begin")
        family = self._family(codes.MP_REACH, value, faults)
        if family is None:
            return
        start = 5 + value[3]
        parsed = self._parse(field, headers, value[: start - 1])
        faults += parsed.faults
        nlri_field = value[start:]
        alike = split_alike(family, nlri_field)
        if alike is not None and len(alike) > 1:
            announced.append(Announced(family, parsed.attributes, alike, nlri_field))
        else:
            announced.append(Announced(family, parsed.attributes, split(family, nlri_field)))

    def _parse(self, field: bytes, headers: list[_Header], hop: bytes) -> _Parsed:
        """Return the attributes other than MP ones, with the next hop of MP_REACH_NLRI."""
        at = 0
        pieces = [hop]
        for header in headers:
            if header.code in (codes.MP_REACH, codes.MP_UNREACH):
                pieces.append(field[at : header.start])
                at = header.stop
        pieces.append(field[at:])
        raw = b"".join(pieces)
        parsed = self._parsed.get(raw)
        if parsed is None:
            if len(self._parsed) >= MAX_BGP_ATTRIBUTE_SETS_CACHED:
                self._parsed.clear()
            parsed = self._parsed[raw] = _parse(field, headers, hop, self._session)
        return parsed


def _malformed(text: str) -> BgpError:
    return BgpError(Code.UPDATE, MALFORMED_LIST, text)


def _optional(code: int, text: str) -> BgpError:
    return BgpError(Code.UPDATE, BAD_OPTIONAL, f"{codes.name_of(code)}: {text}")


def _missing(code: int) -> Fault:
    return Fault(Approach.WITHDRAW, code, "it is missing")


def _headers(field: bytes) -> tuple[list[_Header], list[Fault]]:
    """Find the attributes; of one that appears twice the first counts (RFC 7606 section 3)."""
    headers: list[_Header] = []
    faults: list[Fault] = []
    seen: set[int] = set()
    at, end = 0, len(field)
    while at < end:
        if at + 3 > end:
            faults.append(Fault(Approach.WITHDRAW, 0, f"{end - at} octets after the attributes"))
            break
        flags, code, size = field[at], field[at + 1], field[at + 2]
        value = at + 3
        if flags & EXTENDED:
            value = at + 4
            size = int.from_bytes(field[at + 2 : value], "big")
        stop = value + size
        if value > end or stop > end:
            text = f"{size} octets in the {end - value} that remain"
            faults.append(Fault(Approach.WITHDRAW, code, text))
            break
        if code not in seen:
            seen.add(code)
            headers.append(_new(_Header, (flags, code, at, value, stop)))
        elif code in (codes.MP_REACH, codes.MP_UNREACH):
            raise _malformed(f"{codes.name_of(code)} is there twice")
        else:
            faults.append(Fault(Approach.DISCARD, code, "it is there twice; the first counts"))
        at = stop
    return headers, faults


_FIELDS = {
    codes.ORIGIN: "origin",
    codes.AS_PATH: "as_path",
    codes.NEXT_HOP: "next_hop",
    codes.MED: "med",
    codes.LOCAL_PREF: "local_preference",
    codes.ATOMIC_AGGREGATE: "is_atomic_aggregate",
    codes.AGGREGATOR: "aggregator",
    codes.COMMUNITIES: "communities",
    codes.ORIGINATOR_ID: "originator_id",
    codes.CLUSTER_LIST: "cluster_list",
    codes.EXTENDED_COMMUNITIES: "extended_communities",
    codes.LARGE_COMMUNITIES: "large_communities",
    codes.PMSI_TUNNEL: "pmsi_tunnel",
    codes.TUNNEL_ENCAPSULATION: "tunnel_encapsulation",
    codes.EDGE_DISCOVERY: "edge_discovery",
    codes.EDGE_FORWARDING: "edge_forwarding",
    codes.ORIGIN_VN_PATH: "origin_vn_path",
}


def _parse(field: bytes, headers: list[_Header], hop: bytes, session: Session) -> _Parsed:
    values: dict[int, object] = {}
    faults: list[Fault] = []
    unknown: list[Unknown] = []
    for flags, code, _, start, stop in headers:
        if code in (codes.MP_REACH, codes.MP_UNREACH):
            continue
        rule = ATTRIBUTES.get(code)
        value = field[start:stop]
        if rule is None:
            if not flags & OPTIONAL:
                raise BgpError(
                    Code.UPDATE,
                    UNKNOWN_WELL_KNOWN,
                    f"attribute {code} is not known, and not optional",
                    encode_attribute(flags & ~EXTENDED, code, value),
                )
            if flags & TRANSITIVE:
                unknown.append(Unknown(flags & 0xE0 | PARTIAL, code, value))
            continue
        if rule.is_internal and session.is_external:
            faults.append(Fault(Approach.DISCARD, code, "an external peer has no say in it"))
            continue
        if flags & (OPTIONAL | TRANSITIVE) != rule.flags:
            text = f"the flags are {flags:#04x}; expected {rule.flags:#04x}"
            faults.append(Fault(Approach.WITHDRAW, code, text))
            continue
        try:
            values[code] = rule.decode(value, session)
        except Malformed as error:
            faults.append(Fault(rule.on_malformed, code, str(error)))
    wrong = {fault.code for fault in faults}
    faults += [
        _missing(code)
        for code in (codes.ORIGIN, codes.AS_PATH)
        if code not in values and code not in wrong
    ]
    _merge_as4(values, session)
    fields: dict[str, object] = {_FIELDS[code]: value for code, value in values.items()}
    if hop:
        fields |= _decode_next_hop(hop)
    unknown.sort(key=_code_of)  # equal attributes are equal in whatever order they came
    attributes = Attributes(**fields, unknown=tuple(unknown))  # type: ignore[arg-type]
    return _Parsed(attributes, tuple(faults), codes.NEXT_HOP in wrong or codes.NEXT_HOP in values)


def _code_of(attribute: Unknown) -> int:
    return attribute.code


def _merge_as4(values: dict[int, object], session: Session) -> None:
    """Take AS4_PATH and AS4_AGGREGATOR in, from those who do not know four-octet ASes."""
    as4_path = values.pop(codes.AS4_PATH, None)
    as4_aggregator = values.pop(codes.AS4_AGGREGATOR, None)
    if session.is_as4:
        return  # RFC 6793 section 4.1: they must not be there, and are discarded
    aggregator = values.get(codes.AGGREGATOR)
    if isinstance(aggregator, codes.Aggregator) and as4_aggregator is not None:
        if aggregator.asn != codes.AS_TRANS:
            return  # RFC 6793 section 4.2.3: then both are ignored
        values[codes.AGGREGATOR] = as4_aggregator
    path = values.get(codes.AS_PATH)
    if isinstance(path, tuple) and isinstance(as4_path, tuple):
        values[codes.AS_PATH] = merge_as4_path(path, as4_path)


_MAPPED = bytes(10) + b"\xff\xff"
_DISTINGUISHED = frozenset({AddressFamily.INET_VPN, AddressFamily.INET6_VPN})


def _decode_next_hop(hop: bytes) -> dict[str, object]:
    """Decode AFI, SAFI, size and next hop. Its size is checked here: RFC 7606 section 7.11."""
    family = BY_CODE[int.from_bytes(hop[:2], "big"), hop[2]]
    addresses = hop[4:]
    width = 8 if family in _DISTINGUISHED else 0  # of an RD of zeros before each address
    size = len(addresses)
    if size == width + 4:
        address, link_local = addresses[width:], b""
    elif size in (width + 16, 2 * (width + 16)):
        address, link_local = addresses[width : width + 16], addresses[width + 16 + width :]
    else:
        raise _optional(codes.MP_REACH, f"a next hop of {size} octets for {family}")
    if address.startswith(_MAPPED) and not link_local:
        address = address[12:]
    return {
        "next_hop": Address(int.from_bytes(address, "big"), 4 if len(address) == 4 else 6),
        "link_local": int.from_bytes(link_local, "big"),
    }


# encoding -----------------------------------------------------------------------------------


def _encode_next_hop(family: AddressFamily, attributes: Attributes) -> bytes:
    """Return what stands between SAFI and routes: size, next hop, a reserved octet."""
    hop = attributes.next_hop
    address = hop.value.to_bytes(4 if hop.version == 4 else 16, "big")
    if family.afi == 2 and len(address) == 4:
        address = _MAPPED + address
    distinguisher = bytes(8) if family in _DISTINGUISHED else b""
    octets = distinguisher + address
    if attributes.link_local:
        octets += distinguisher + attributes.link_local.to_bytes(16, "big")
    return bytes((len(octets),)) + octets + b"\x00"


def encode_message(kind: int, body: bytes) -> bytes:
    """Put the header before a message's body."""
    return _MARKER + (19 + len(body)).to_bytes(2, "big") + bytes((kind,)) + body


def encode_updates(
    family: AddressFamily,
    attributes: Attributes,
    routes: Sequence[bytes],
    *,
    is_as4: bool = True,
    limit: int = MAX_MESSAGE,
) -> list[bytes]:
    """Return the messages that announce `routes` (wire NLRI, see `nlri.join`), each complete.

    Each of `routes` may be a whole field (`Announced.field`) as well. As few messages as `limit`
    octets each allow. Raises ValueError when the attributes leave no room for
    a single route: whoever makes them must keep them shorter.
    """
    is_plain = family is AddressFamily.INET and attributes.next_hop.version == 4
    shared = encode_attributes(attributes, is_as4=is_as4, has_next_hop=is_plain)
    if is_plain:
        head = b"\x00\x00" + len(shared).to_bytes(2, "big") + shared
        return [
            encode_message(2, head + chunk)
            for chunk in _chunks(routes, limit - _OVERHEAD - len(shared))
        ]
    start = family.raw + _encode_next_hop(family, attributes)
    room = limit - _OVERHEAD - len(shared) - 4 - len(start)
    if any(len(each) > room for each in routes):
        routes = [route for each in routes for route in cut(family, each)]
    messages = []
    for chunk in _chunks(routes, room):
        value = start + chunk
        # RFC 7606 section 5.1: it should be the first of the attributes, and is always extended.
        reach = b"\x90\x0e" + len(value).to_bytes(2, "big") + value
        size = len(reach) + len(shared)
        messages.append(encode_message(2, b"\x00\x00" + size.to_bytes(2, "big") + reach + shared))
    return messages


def encode_withdrawals(
    family: AddressFamily, routes: Sequence[bytes], *, limit: int = MAX_MESSAGE
) -> list[bytes]:
    """Return the messages that withdraw `routes` (wire NLRI, see `nlri.withdrawn`)."""
    if family is AddressFamily.INET:
        return [
            encode_message(2, len(chunk).to_bytes(2, "big") + chunk + b"\x00\x00")
            for chunk in _chunks(routes, limit - _OVERHEAD)
        ]
    messages = []
    for chunk in _chunks(routes, limit - _OVERHEAD - 7):
        value = family.raw + chunk
        unreach = b"\x90\x0f" + len(value).to_bytes(2, "big") + value
        messages.append(encode_message(2, b"\x00\x00" + len(unreach).to_bytes(2, "big") + unreach))
    return messages


def encode_end_of_rib(family: AddressFamily) -> bytes:
    """Return the End-of-RIB marker of a family (RFC 4724 section 2)."""
    if family is AddressFamily.INET:
        return encode_message(2, bytes(4))
    return encode_message(2, b"\x00\x00\x00\x06\x80\x0f\x03" + family.raw)


def _chunks(routes: Sequence[bytes], room: int) -> list[bytes]:
    """Join routes into pieces of at most `room` octets."""
    whole = b"".join(routes)
    if len(whole) <= room:
        return [whole] if whole else []
    chunks: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for route in routes:
        size += len(route)
        if size > room:
            if not pending or len(route) > room:
                raise ValueError(f"a route of {len(route)} octets where {room} are left")
            chunks.append(b"".join(pending))
            pending, size = [], len(route)
        pending.append(route)
    chunks.append(b"".join(pending))
    return chunks
