"""Communities: typed values <-> the 8 octets of an extended community, TF's private ones too.

An extended community is `bytes` of length 8 everywhere: type, subtype, six octets of value. RFC
4360, RFC 5668 (four-octet AS), RFC 7432 section 7 (EVPN), RFC 9012 section 4.1 (encapsulation).
TF's own live in the first-come-first-served types 0x80 and 0x82.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from filament.base.errors import InputError
from filament.base.net import RouteTarget, format_ipv4, format_mac, parse_mac

# Well-known communities: RFC 1997, RFC 7611, RFC 9494, RFC 7999; the last two are TF's.
GRACEFUL_SHUTDOWN = 0xFFFF0000
ACCEPT_OWN = 0xFFFF0001
LLGR_STALE = 0xFFFF0006
NO_LLGR = 0xFFFF0007
ACCEPT_OWN_NEXTHOP = 0xFFFF0008
BLACKHOLE = 0xFFFF029A
NO_EXPORT = 0xFFFFFF01
NO_ADVERTISE = 0xFFFFFF02
NO_EXPORT_SUBCONFED = 0xFFFFFF03
NO_REORIGINATE = 0xFFFFF000

COMMUNITY_NAMES = {
    GRACEFUL_SHUTDOWN: "graceful-shutdown",
    ACCEPT_OWN: "accept-own",
    LLGR_STALE: "llgr-stale",
    NO_LLGR: "no-llgr",
    ACCEPT_OWN_NEXTHOP: "accept-own-nexthop",
    BLACKHOLE: "blackhole",
    NO_EXPORT: "no-export",
    NO_ADVERTISE: "no-advertise",
    NO_EXPORT_SUBCONFED: "no-export-subconfed",
    NO_REORIGINATE: "no-reoriginate",
}
_COMMUNITY_BY_NAME = {name: value for value, name in COMMUNITY_NAMES.items()}


def format_community(value: int) -> str:
    """Format a community: `no-export`, `64512:100`."""
    return COMMUNITY_NAMES.get(value) or f"{value >> 16}:{value & 0xFFFF}"


def parse_community(text: str) -> int:
    """Parse what `format_community` prints."""
    if text in _COMMUNITY_BY_NAME:
        return _COMMUNITY_BY_NAME[text]
    numbers = [_number(part, 1 << 16) for part in text.split(":")]
    if len(numbers) == 2 and None not in numbers:
        return (numbers[0] or 0) << 16 | (numbers[1] or 0)
    raise InputError(
        "bad-community",
        f"{text!r} is not a community",
        hint="write AS:NUMBER, for example 64512:100, or a name like no-export",
    )


def _number(text: str, limit: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < limit:
        return int(text)
    return None


class Encapsulation(enum.IntEnum):
    """Tunnel types of the encapsulation community (IANA's BGP Tunnel Encapsulation types)."""

    GRE = 2
    VXLAN = 8
    NVGRE = 9
    MPLS = 10
    MPLS_O_GRE = 11
    VXLAN_GPE = 12
    MPLS_O_UDP = 13
    NATIVE = 16  # TF's


_ENCAPSULATION_TEXTS: dict[int, str] = {
    each.value: each.name.lower().replace("_", "-") for each in Encapsulation
} | {Encapsulation.MPLS_O_UDP.value: "udp"}

# (type, subtype) of what we know; the transitive bit (0x40 clear) is part of the type.
_ADMINISTERED_TYPES = (0x00, 0x01, 0x02)  # two-octet AS, IPv4 address, four-octet AS
_TARGET_SUBTYPE = 0x02
_SITE_SUBTYPE = 0x03
_SOURCE_AS_SUBTYPE = 0x09
_ROUTE_IMPORT_SUBTYPE = 0x0B
_ENCAPSULATION = b"\x03\x0c"
_DEFAULT_GATEWAY = b"\x03\x0d"
_LOAD_BALANCE = b"\x03\xaa"
_MOBILITY = b"\x06\x00"
_SEGMENT_LABEL = b"\x06\x01"
_SEGMENT_IMPORT = b"\x06\x02"
_ROUTER_MAC = b"\x06\x03"
_TREE_LEAF = b"\x06\x05"
_MULTICAST_FLAGS = b"\x06\x09"
_LOCAL_SEQUENCE = b"\xc0\x00"
_GROUP, _ORIGIN_VN, _TAG, _SUB_CLUSTER = 0x04, 0x71, 0x84, 0x85
_PRIVATE_2, _PRIVATE_4 = 0x80, 0x82


def _administered(subtype: int, admin: int, number: int, *, admin_is_ipv4: bool = False) -> bytes:
    """Build one of RFC 4360 section 3's layouts, the shortest AS that holds `admin`."""
    if admin_is_ipv4:
        return bytes((1, subtype)) + admin.to_bytes(4, "big") + number.to_bytes(2, "big")
    if admin < 1 << 16:
        return bytes((0, subtype)) + admin.to_bytes(2, "big") + number.to_bytes(4, "big")
    return bytes((2, subtype)) + admin.to_bytes(4, "big") + number.to_bytes(2, "big")


def targets_of(communities: Iterable[bytes]) -> list[bytes]:
    """Return those of the extended communities that are route targets."""
    return [each for each in communities if each[1] == 2 and each[0] <= 2]


def encode_site(admin: int, number: int, *, admin_is_ipv4: bool = False) -> bytes:
    """Return a site of origin (route origin) community."""
    return _administered(_SITE_SUBTYPE, admin, number, admin_is_ipv4=admin_is_ipv4)


def encode_encapsulation(encapsulation: int) -> bytes:
    """Return the encapsulation community of a tunnel type."""
    return _ENCAPSULATION + bytes(4) + encapsulation.to_bytes(2, "big")


def encapsulations_as(communities: Iterable[bytes], types: Iterable[int]) -> tuple[bytes, ...]:
    """Return communities with these tunnel types in the place of those they name."""
    others = (each for each in communities if each[:2] != _ENCAPSULATION)
    return (*others, *map(encode_encapsulation, types))


def encapsulations_of(communities: Iterable[bytes]) -> list[int]:
    """Return the tunnel types that the communities name, in order."""
    return [int.from_bytes(each[6:], "big") for each in communities if each[:2] == _ENCAPSULATION]


class Mobility(NamedTuple):
    """MAC mobility, RFC 7432 section 7.7."""

    sequence: int
    is_sticky: bool = False


def encode_mobility(mobility: Mobility) -> bytes:
    """Return the MAC mobility community."""
    return _MOBILITY + bytes((mobility.is_sticky, 0)) + mobility.sequence.to_bytes(4, "big")


def mobility_of(communities: Iterable[bytes]) -> Mobility | None:
    """Return the first MAC mobility among the communities."""
    for each in communities:
        if each[:2] == _MOBILITY:
            return Mobility(int.from_bytes(each[4:], "big"), bool(each[2] & 1))
    return None


def encode_router_mac(mac: int) -> bytes:
    """Return the router's MAC community (RFC 9135 section 8.1)."""
    return _ROUTER_MAC + mac.to_bytes(6, "big")


def router_mac_of(communities: Iterable[bytes]) -> int | None:
    """Return the first router's MAC among the communities."""
    for each in communities:
        if each[:2] == _ROUTER_MAC:
            return int.from_bytes(each[2:], "big")
    return None


def encode_segment_import(mac: int) -> bytes:
    """Return the ES-import target of an Ethernet segment (RFC 7432 section 7.6)."""
    return _SEGMENT_IMPORT + mac.to_bytes(6, "big")


def encode_segment_label(label: int, *, is_single_active: bool = False) -> bytes:
    """Return the ESI label community (RFC 7432 section 7.5); `label` is the 24-bit field."""
    return _SEGMENT_LABEL + bytes((is_single_active, 0, 0)) + label.to_bytes(3, "big")


def encode_tree_leaf(label: int, *, is_leaf: bool) -> bytes:
    """Return the E-Tree community (RFC 8317 section 5.1)."""
    return _TREE_LEAF + bytes((is_leaf, 0, 0)) + label.to_bytes(3, "big")


def is_tree_leaf(communities: Iterable[bytes]) -> bool:
    """Say whether an E-Tree community marks a leaf."""
    return any(each[:2] == _TREE_LEAF and each[2] & 1 for each in communities)


def encode_multicast_flags(flags: int) -> bytes:
    """Return the multicast flags community (RFC 9251 section 9.4)."""
    return _MULTICAST_FLAGS + flags.to_bytes(2, "big") + bytes(4)


DEFAULT_GATEWAY = _DEFAULT_GATEWAY + bytes(6)


class LoadBalance(NamedTuple):
    """TF's choice of the fields that spread flows over equal paths; all five by default."""

    is_source: bool = True
    is_destination: bool = True
    is_protocol: bool = True
    is_source_port: bool = True
    is_destination_port: bool = True
    is_source_bias: bool = False


def encode_load_balance(balance: LoadBalance) -> bytes:
    """Return TF's load balance community."""
    fields = sum(0x80 >> place for place in range(5) if balance[place])
    return _LOAD_BALANCE + bytes((fields, 0, 0x80 if balance.is_source_bias else 0, 0, 0, 0))


def load_balance_of(communities: Iterable[bytes]) -> LoadBalance:
    """Return the load balance that applies: all fields when no community says otherwise."""
    for each in communities:
        if each[:2] == _LOAD_BALANCE:
            fields = [bool(each[2] & 0x80 >> place) for place in range(5)]
            return LoadBalance._make((*fields, bool(each[4] & 0x80)))
    return LoadBalance()


def encode_local_sequence(sequence: int) -> bytes:
    """Return TF's local sequence number, which is not transitive."""
    return _LOCAL_SEQUENCE + sequence.to_bytes(4, "big") + bytes(2)


class Numbered(NamedTuple):
    """A number that TF gave out under an AS: a security group, a tag, an origin network."""

    asn: int
    number: int


def _encode_numbers(subtype: int, asn: int, numbers: Iterable[int]) -> tuple[bytes, ...]:
    """Return the communities of numbers under an AS.

    A four-octet AS leaves no room for the number, so that TF sends a pair per number: the AS with
    a running index, and the number with that index where an AS would be.
    """
    communities: list[bytes] = []
    for index, number in enumerate(numbers, 1):
        if asn >= 1 << 16:
            communities.append(
                bytes((_PRIVATE_4, subtype)) + asn.to_bytes(4, "big") + index.to_bytes(2, "big")
            )
        communities.append(
            bytes((_PRIVATE_2, subtype))
            + (asn if asn < 1 << 16 else index).to_bytes(2, "big")
            + number.to_bytes(4, "big")
        )
    return tuple(communities)


def _numbers_of(subtype: int, communities: Iterable[bytes]) -> list[Numbered]:
    wanted = [
        each for each in communities if each[1] == subtype and each[0] in (_PRIVATE_2, _PRIVATE_4)
    ]
    asn_by_index = {each[6:]: each[2:6] for each in wanted if each[0] == _PRIVATE_4}
    return [
        Numbered(
            int.from_bytes(asn_by_index.get(each[2:4], each[2:4]), "big"),
            int.from_bytes(each[4:], "big"),
        )
        for each in wanted
        if each[0] == _PRIVATE_2
    ]


def encode_security_groups(asn: int, groups: Iterable[int]) -> tuple[bytes, ...]:
    """Return the communities of security group ids."""
    return _encode_numbers(_GROUP, asn, groups)


def security_groups_of(communities: Iterable[bytes]) -> list[Numbered]:
    """Return the security groups among the communities."""
    return _numbers_of(_GROUP, communities)


def encode_tags(asn: int, tags: Iterable[int]) -> tuple[bytes, ...]:
    """Return the communities of tags."""
    return _encode_numbers(_TAG, asn, tags)


def tags_of(communities: Iterable[bytes]) -> list[Numbered]:
    """Return the tags among the communities."""
    return _numbers_of(_TAG, communities)


def encode_origin_vn(asn: int, index: int) -> bytes:
    """Return TF's origin network; with a four-octet AS only 16 bits of the index go with it."""
    if asn < 1 << 16:
        return bytes((_PRIVATE_2, _ORIGIN_VN)) + asn.to_bytes(2, "big") + index.to_bytes(4, "big")
    return (
        bytes((_PRIVATE_4, _ORIGIN_VN))
        + asn.to_bytes(4, "big")
        + (index & 0xFFFF).to_bytes(2, "big")
    )


def origin_vn_of(communities: Iterable[bytes]) -> Numbered | None:
    """Return the first origin network among the communities."""
    for each in communities:
        if each[1] == _ORIGIN_VN and each[0] in (_PRIVATE_2, _PRIVATE_4):
            return _private(each)
    return None


def encode_sub_cluster(asn: int, number: int) -> bytes:
    """Return TF's sub-cluster community."""
    if asn < 1 << 16:
        return (
            bytes((_PRIVATE_2, _SUB_CLUSTER)) + asn.to_bytes(2, "big") + number.to_bytes(4, "big")
        )
    return (
        bytes((_PRIVATE_4, _SUB_CLUSTER))
        + asn.to_bytes(4, "big")
        + (number & 0xFFFF).to_bytes(2, "big")
    )


def _private(community: bytes) -> Numbered:
    width = 2 if community[0] == _PRIVATE_2 else 4
    return Numbered(
        int.from_bytes(community[2 : 2 + width], "big"),
        int.from_bytes(community[2 + width :], "big"),
    )


_ADMINISTERED_NAMES = {
    _TARGET_SUBTYPE: "target",
    _SITE_SUBTYPE: "soo",
    _SOURCE_AS_SUBTYPE: "source-as",
    _ROUTE_IMPORT_SUBTYPE: "rt-import",
}
_PRIVATE_NAMES = {
    _GROUP: "secgroup",
    _TAG: "tag",
    _ORIGIN_VN: "originvn",
    _SUB_CLUSTER: "subcluster",
}


def format_extended(community: bytes) -> str:
    """Format an extended community as TF prints it; 16 hexadecimal digits when unknown."""
    kind, subtype = community[0], community[1]
    if kind in _ADMINISTERED_TYPES and subtype in _ADMINISTERED_NAMES:
        width = 2 if kind == 0 else 4
        admin = int.from_bytes(community[2 : 2 + width], "big")
        number = int.from_bytes(community[2 + width :], "big")
        shown = format_ipv4(admin) if kind == 1 else str(admin)
        return f"{_ADMINISTERED_NAMES[subtype]}:{shown}:{number}"
    if kind in (_PRIVATE_2, _PRIVATE_4) and subtype in _PRIVATE_NAMES:
        return "{}:{}:{}".format(_PRIVATE_NAMES[subtype], *_private(community))
    shown = _format_special(community)
    return shown or community.hex()


def _format_special(community: bytes) -> str:
    number = int.from_bytes(community[2:], "big")
    match community[:2]:
        case b"\x03\x0c":
            tunnel = number & 0xFFFF
            return f"encapsulation:{_ENCAPSULATION_TEXTS.get(tunnel, tunnel)}"
        case b"\x03\x0d":
            return f"defaultgw:{number}"
        case b"\x03\xaa":
            return f"load-balance:{community[2:].hex()}"
        case b"\x06\x00":
            stuck = "sticky" if community[2] & 1 else "non-sticky"
            return f"mobility:{stuck}:{number & 0xFFFFFFFF}"
        case b"\x06\x01":
            mode = "single-active" if community[2] & 1 else "all-active"
            return f"esilabel:{mode}:{number & 0xFFFFFF}"
        case b"\x06\x02":
            return f"esimport:{format_mac(number)}"
        case b"\x06\x03":
            return f"rtrmac:{format_mac(number)}"
        case b"\x06\x05":
            return f"etree:{'leaf' if community[2] & 1 else 'root'}:{number & 0xFFFFFF}"
        case b"\x06\x09":
            return f"multicast-flags:{number >> 32}"
        case b"\xc0\x00":
            return f"local_sequence_number:{number >> 16}"
    return ""


def parse_extended(text: str) -> bytes:
    """Parse an extended community that a person wrote: what `format_extended` prints of targets,
    sites, encapsulations, router MACs and mobility, or 16 hexadecimal digits.
    """
    name, _, rest = text.partition(":")
    try:
        if name == "target":
            return RouteTarget.parse(text).encode()
        if name == "soo":
            parsed = RouteTarget.parse(f"target:{rest}")
            return encode_site(parsed.admin, parsed.number, admin_is_ipv4=parsed.admin_is_ipv4)
        if name == "encapsulation":
            for encapsulation, shown in _ENCAPSULATION_TEXTS.items():
                if rest in (shown, str(encapsulation)):
                    return encode_encapsulation(encapsulation)
        if name == "rtrmac":
            return encode_router_mac(parse_mac(rest))
        if name == "mobility":
            stuck, _, number = rest.partition(":")
            sequence = _number(number, 1 << 32)
            if stuck in ("sticky", "non-sticky") and sequence is not None:
                return encode_mobility(Mobility(sequence, stuck == "sticky"))
    except InputError as error:
        raise InputError("bad-extended-community", error.message, hint=error.hint) from error
    if len(text) == 16 and text.isascii():
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    raise InputError(
        "bad-extended-community",
        f"{text!r} is not an extended community",
        hint="write target:64512:100, soo:64512:1, encapsulation:vxlan, or 16 hexadecimal digits",
    )
