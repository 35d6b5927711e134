"""What routes lead to: the keys of instances' tables, with TF's text forms and table names.

Keys are values: hashable, ordered within a family, without label or next hop. In an instance's
table the route distinguisher of EVPN types 2 and 5 is `0:0`, since the instance is one place
whoever says so; types 1, 3, 4 and 6 and multicast keep theirs (TF's `EvpnPrefix`).
"""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import msgspec

from filament.base.net import (
    NO_DISTINGUISHER,
    Prefix,
    RouteDistinguisher,
    format_address,
    format_ipv4,
    format_mac,
)

BROADCAST_MAC = (1 << 48) - 1
MASTER = "default-domain:default-project:ip-fabric:__default__"


class Family(enum.Enum):
    """Which table of an instance; the value is the suffix TF's name of the table has."""

    __hash__ = object.__hash__  # of a key's look-up; an enum's own is written in Python

    INET = "inet"
    INET6 = "inet6"
    EVPN = "evpn"
    ERMVPN = "ermvpn"


def table_name(instance: str, family: Family) -> str:
    """Return TF's name of an instance's table: `<instance>.inet.0`, `inet.0` for the master."""
    return f"{family.value}.0" if instance == MASTER else f"{instance}.{family.value}.0"


class EvpnSegment(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 1, Ethernet auto-discovery. `segment` is the ESI, 10 bytes."""

    distinguisher: RouteDistinguisher
    segment: bytes
    tag: int

    def __str__(self) -> str:
        return f"1-{self.distinguisher}-{format_segment(self.segment)}-{self.tag}"


class EvpnMac(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 2, a MAC with or without an address (host prefix)."""

    tag: int
    mac: int
    address: Prefix | None = None
    distinguisher: RouteDistinguisher = NO_DISTINGUISHER

    def __str__(self) -> str:
        address = format_ip(self.address)
        return f"2-{self.distinguisher}-{self.tag}-{format_mac(self.mac)},{address}"


class EvpnInclusive(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 3, inclusive multicast: whoever floods the tag ends at `originator`."""

    distinguisher: RouteDistinguisher
    tag: int
    originator: Prefix

    def __str__(self) -> str:
        return f"3-{self.distinguisher}-{self.tag}-{format_ip(self.originator)}"


class EvpnEthernetSegment(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 4: `originator` is attached to the segment."""

    distinguisher: RouteDistinguisher
    segment: bytes
    originator: Prefix

    def __str__(self) -> str:
        segment = format_segment(self.segment)
        return f"4-{self.distinguisher}-{segment}-{format_ip(self.originator)}"


class EvpnPrefix(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 5, an IP prefix (RFC 9136)."""

    tag: int
    prefix: Prefix
    distinguisher: RouteDistinguisher = NO_DISTINGUISHER

    def __str__(self) -> str:
        return f"5-{self.distinguisher}-{self.tag}-{self.prefix}"


class EvpnMulticast(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVPN type 6, selective multicast (RFC 9251): `originator` wants `group` from `source`."""

    distinguisher: RouteDistinguisher
    tag: int
    source: Prefix | None
    group: Prefix
    originator: Prefix

    def __str__(self) -> str:
        source = f"{format_ip(self.source)}-" if self.source is not None else ""
        return (
            f"6-{self.distinguisher}-{self.tag}-{source}{format_ip(self.group)}"
            f"-{format_ip(self.originator)}"
        )


class EvpnUnknown(msgspec.Struct, frozen=True, order=True, gc=False):
    """An EVPN route of a type we only pass on; `value` is all that follows type and length."""

    kind: int
    value: bytes

    def __str__(self) -> str:
        return f"{self.kind}-{self.value.hex()}"


class ErmKind(enum.IntEnum):
    """Route types of TF's erm-vpn: a vRouter's own, a control node's tree, the tree over trees."""

    NATIVE = 0
    LOCAL_TREE = 1
    GLOBAL_TREE = 2


class ErmRoute(msgspec.Struct, frozen=True, order=True, gc=False):
    """A multicast route, TF's SAFI 243; addresses are IPv4, host order."""

    kind: int
    distinguisher: RouteDistinguisher
    router_id: int
    group: int
    source: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kind}-{self.distinguisher}-{format_ipv4(self.router_id)},"
            f"{format_ipv4(self.group)},{format_ipv4(self.source)}"
        )


EvpnRoute: TypeAlias = (
    EvpnSegment
    | EvpnMac
    | EvpnInclusive
    | EvpnEthernetSegment
    | EvpnPrefix
    | EvpnMulticast
    | EvpnUnknown
)
Nlri: TypeAlias = Prefix | EvpnRoute | ErmRoute


class RouteKey(NamedTuple):
    """What a route leads to; one route per key in an instance's table."""

    family: Family
    nlri: Nlri

    @property
    def prefix(self) -> Prefix:
        """The prefix of a unicast route; the caller knows that it is one."""
        assert isinstance(self.nlri, Prefix)
        return self.nlri

    def __str__(self) -> str:
        return str(self.nlri)


def order_of(key: RouteKey) -> tuple[str, str, Nlri]:
    """Return what to sort the keys of a table by: family, kind of route, then value."""
    return key.family.value, type(key.nlri).__name__, key.nlri


def inet(prefix: Prefix) -> RouteKey:
    """Return the key of a unicast IPv4 route."""
    return RouteKey(Family.INET, prefix)


def unicast(prefix: Prefix) -> RouteKey:
    """Return the key of a unicast route of the prefix's IP version."""
    return RouteKey(Family.INET if prefix.version == 4 else Family.INET6, prefix)


def evpn(route: EvpnRoute) -> RouteKey:
    """Return the key of an EVPN route."""
    return RouteKey(Family.EVPN, route)


def ermvpn(route: ErmRoute) -> RouteKey:
    """Return the key of a multicast route."""
    return RouteKey(Family.ERMVPN, route)


def format_ip(address: Prefix | None) -> str:
    """Format a host's prefix without its length; `0.0.0.0` where there is none, as TF does."""
    return "0.0.0.0" if address is None else format_address(address.address, address.version)


def format_segment(segment: bytes) -> str:
    """Format an Ethernet segment identifier: colon-separated hex."""
    return ":".join(f"{octet:02x}" for octet in segment)
