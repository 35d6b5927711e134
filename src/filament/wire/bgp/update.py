"""UPDATE: bytes <-> routes with their attributes, in bulk. RFC 4271 section 4.3, RFC 4760.

Decoding never fails halfway: what RFC 7606 forgives is in `Update.faults`, and the routes it
takes away are in `withdrawn`; only what ends the session raises. Attribute sets are interned per
decoder, so that a reflected table of a million routes decodes a few hundred of them; and so are
attributes, since most sets differ from others in one or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
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
from filament.wire.bgp.nlri import Alike, Nlri, cut, keys_of, split_in_bulk

MAX_MESSAGE = 4096  # RFC 4271 section 4.1
MAX_EXTENDED_MESSAGE = 65535  # RFC 8654
_MARKER = b"\xff" * 16
_UPDATE = b"\x02"
_OVERHEAD = 23  # marker, length, type and the two lengths of an UPDATE
_REACH = b"\x90\x0e"  # the header of an MP_REACH_NLRI of two octets of length
# An UPDATE up to where its MP_REACH_NLRI, the first of the attributes, begins.
_REACHING = Struct(">16sHBHH2sH")


class Announced(NamedTuple):
    """Routes of one family with the attributes they share. `field` is their NLRI as it came where
    it may go on as it is: several routes, all of one shape (`nlri.Alike`).
    """

    family: AddressFamily
    attributes: Attributes
    routes: Alike | list[Nlri]
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
    start: int  # of the header
    value: int
    stop: int


_Headers = dict[int, _Header]  # by code, in the order they came
_Decoded = dict[bytes, tuple[int, object]]  # faultless attributes, raw: (code, value)
_MULTIPROTOCOL = frozenset({codes.MP_REACH, codes.MP_UNREACH})
_MANDATORY = frozenset({codes.ORIGIN, codes.AS_PATH})
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
        self._decoded: _Decoded = {}

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
        keys = keys_of(split_in_bulk(AddressFamily.INET, field))
        return Update(withdrawn=(Withdrawn(AddressFamily.INET, keys),))

    def _decode(self, withdrawn_field: bytes, field: bytes, nlri_field: bytes) -> Update:
        headers, faults = _headers(field)
        reach, unreach = headers.get(codes.MP_REACH), headers.get(codes.MP_UNREACH)
        withdrawn: list[Withdrawn] = []
        announced: list[Announced] = []
        end_of_rib = None
        if withdrawn_field:
            keys = keys_of(split_in_bulk(AddressFamily.INET, withdrawn_field))
            withdrawn.append(Withdrawn(AddressFamily.INET, keys))
        if unreach is not None:
            family, routes = self._unreach(field[unreach.value : unreach.stop], faults)
            if family is not None and routes:
                withdrawn.append(Withdrawn(family, keys_of(routes)))
            elif len(headers) == 1 and not nlri_field and not withdrawn_field:
                end_of_rib = family
        if reach is not None:
            self._reach(field, headers, reach, announced, faults)
        if nlri_field:
            parsed = self._parse(field, headers, b"")
            routes = split_in_bulk(AddressFamily.INET, nlri_field)
            faults += parsed.faults
            if not parsed.has_next_hop:
                faults.append(_missing(codes.NEXT_HOP))
            announced.append(Announced(AddressFamily.INET, parsed.attributes, routes))
        refused: list[Withdrawn] = []
        if any(fault.approach is Approach.WITHDRAW for fault in faults):
            refused = [Withdrawn(each.family, keys_of(each.routes)) for each in announced]
            withdrawn += refused
            announced = []
        return Update(tuple(withdrawn), tuple(announced), end_of_rib, tuple(faults), tuple(refused))

    def _unreach(
        self, value: bytes, faults: list[Fault]
    ) -> tuple[AddressFamily | None, Alike | list[Nlri]]:
        if len(value) < 3:
            raise _optional(codes.MP_UNREACH, f"{len(value)} octets; it has at least 3")
        family = self._family(codes.MP_UNREACH, value, faults)
        if family is None:
            return None, []
        return family, split_in_bulk(family, value[3:])

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
        headers: _Headers,
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
        routes = split_in_bulk(family, nlri_field)
        if isinstance(routes, Alike) and len(routes) > 1:
            announced.append(Announced(family, parsed.attributes, routes, nlri_field))
        else:
            announced.append(Announced(family, parsed.attributes, list(routes)))

    def _parse(self, field: bytes, headers: _Headers, hop: bytes) -> _Parsed:
        """Return the attributes other than MP ones, with the next hop of MP_REACH_NLRI."""
        at = 0
        raw = hop
        for code, header in headers.items():
            if code in _MULTIPROTOCOL:
                raw += field[at : header.start]
                at = header.stop
        raw += field[at:]
        parsed = self._parsed.get(raw)
        if parsed is None:
            if len(self._parsed) >= MAX_BGP_ATTRIBUTE_SETS_CACHED:
                self._parsed.clear()
            if len(self._decoded) >= MAX_BGP_ATTRIBUTE_SETS_CACHED:
                self._decoded.clear()
            parsed = _parse(field, headers, hop, self._session, self._decoded)
            self._parsed[raw] = parsed
        return parsed


def _malformed(text: str) -> BgpError:
    return BgpError(Code.UPDATE, MALFORMED_LIST, text)


def _optional(code: int, text: str) -> BgpError:
    return BgpError(Code.UPDATE, BAD_OPTIONAL, f"{codes.name_of(code)}: {text}")


def _missing(code: int) -> Fault:
    return Fault(Approach.WITHDRAW, code, "it is missing")


def _headers(field: bytes) -> tuple[_Headers, list[Fault]]:
    """Find the attributes; of one that appears twice the first counts (RFC 7606 section 3)."""
    headers: _Headers = {}
    faults: list[Fault] = []
    at, end = 0, len(field)
    while at < end:
        if at + 3 > end:
            faults.append(Fault(Approach.WITHDRAW, 0, f"{end - at} octets after the attributes"))
            break
        flags, code, size = field[at], field[at + 1], field[at + 2]
        value = at + 3
        if flags & EXTENDED:
            value = at + 4
            size = size << 8 | field[at + 3] if value <= end else 0
        stop = value + size
        if value > end or stop > end:
            text = f"{size} octets in the {end - value} that remain"
            faults.append(Fault(Approach.WITHDRAW, code, text))
            break
        if code not in headers:
            headers[code] = _new(_Header, (flags, at, value, stop))
        elif code in _MULTIPROTOCOL:
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


def _parse(
    field: bytes, headers: _Headers, hop: bytes, session: Session, decoded: _Decoded
) -> _Parsed:
    values: dict[int, object] = {}
    faults: list[Fault] = []
    unknown: list[Unknown] = []
    for code, (flags, start, value, stop) in headers.items():
        if code in _MULTIPROTOCOL:
            continue
        raw = field[start:stop]
        known = decoded.get(raw)
        if known is not None:
            values[code] = known[1]
        elif code in ATTRIBUTES:
            fault = _decode_known(code, flags, field[value:stop], session, values)
            if fault is None:
                decoded[raw] = code, values[code]
            else:
                faults.append(fault)
        elif not flags & OPTIONAL:
            raise BgpError(
                Code.UPDATE,
                UNKNOWN_WELL_KNOWN,
                f"attribute {code} is not known, and not optional",
                encode_attribute(flags & ~EXTENDED, code, field[value:stop]),
            )
        elif flags & TRANSITIVE:
            unknown.append(Unknown(flags & 0xE0 | PARTIAL, code, field[value:stop]))
    wrong = {fault.code for fault in faults}
    if not values.keys() >= _MANDATORY:
        faults += [_missing(code) for code in sorted(_MANDATORY - values.keys() - wrong)]
    _merge_as4(values, session)
    fields = {_FIELDS[code]: value for code, value in values.items()}
    if hop:
        fields["next_hop"], fields["link_local"] = _decode_next_hop(hop)
    if unknown:
        unknown.sort(key=_code_of)  # equal attributes are equal in whatever order they came
        fields["unknown"] = tuple(unknown)
    attributes = Attributes(**fields)  # type: ignore[arg-type]
    return _Parsed(attributes, tuple(faults), codes.NEXT_HOP in wrong or codes.NEXT_HOP in values)


def _decode_known(
    code: int, flags: int, value: bytes, session: Session, values: dict[int, object]
) -> Fault | None:
    """Decode an attribute of the registry into `values`; return what is wrong with it instead."""
    rule = ATTRIBUTES[code]
    if rule.is_internal and session.is_external:
        return Fault(Approach.DISCARD, code, "an external peer has no say in it")
    if flags & (OPTIONAL | TRANSITIVE) != rule.flags:
        text = f"the flags are {flags:#04x}; expected {rule.flags:#04x}"
        return Fault(Approach.WITHDRAW, code, text)
    try:
        values[code] = rule.decode(value, session)
    except Malformed as error:
        return Fault(rule.on_malformed, code, str(error))
    return None


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


@lru_cache(maxsize=MAX_BGP_ATTRIBUTE_SETS_CACHED)
def _decode_next_hop(hop: bytes) -> tuple[Address, int]:
    """Return the next hop and the link-local one in AFI, SAFI, size and addresses.

    The size is checked here: RFC 7606 section 7.11.
    """
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
    return (
        Address(int.from_bytes(address, "big"), 4 if len(address) == 4 else 6),
        int.from_bytes(link_local, "big"),
    )


# encoding -----------------------------------------------------------------------------------


@lru_cache(maxsize=MAX_BGP_ATTRIBUTE_SETS_CACHED)
def _encode_next_hop(family: AddressFamily, hop: Address, link_local: int) -> bytes:
    """Return what MP_REACH_NLRI has before its routes: AFI, SAFI, size, next hop, a reserved octet.

    The inverse of `_decode_next_hop`.
    """
    address = hop.value.to_bytes(4 if hop.version == 4 else 16, "big")
    if family.afi == 2 and len(address) == 4:
        address = _MAPPED + address
    distinguisher = bytes(8) if family in _DISTINGUISHED else b""
    octets = distinguisher + address
    if link_local:
        octets += distinguisher + link_local.to_bytes(16, "big")
    return family.raw + bytes((len(octets),)) + octets + b"\x00"


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
    start = _encode_next_hop(family, attributes.next_hop, attributes.link_local)
    room = limit - _OVERHEAD - len(shared) - 4 - len(start)
    messages = []
    for chunk in _chunks(routes, room, family):
        size = len(start) + len(chunk)
        # RFC 7606 section 5.1: it should be the first of the attributes, and is always extended.
        head = _REACHING.pack(
            _MARKER, _OVERHEAD + 4 + size + len(shared), 2, 0, 4 + size + len(shared), _REACH, size
        )
        messages.append(b"".join((head, start, chunk, shared)))
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


def _chunks(routes: Sequence[bytes], room: int, family: AddressFamily | None = None) -> list[bytes]:
    """Join routes into pieces of at most `room` octets; a field of the family may be cut."""
    whole = b"".join(routes)
    if len(whole) <= room:
        return [whole] if whole else []
    if family is not None and any(len(each) > room for each in routes):
        routes = [route for each in routes for route in cut(family, each)]
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
