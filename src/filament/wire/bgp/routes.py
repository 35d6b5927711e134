"""Routes, typed: what a key and its label say. For those who originate, import or show routes.

`decode_route` and `encode_route` are inverse to one another for everything `nlri.split` accepts.
Addresses of EVPN routes are host prefixes; `label` fields are the 24 bits (see `nlri.label_value`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from filament.base.net import (
    Prefix,
    RouteDistinguisher,
    RouteTarget,
    format_ipv4,
    format_mac,
)
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import (
    EVPN_AUTO_DISCOVERY,
    EVPN_MAC_IP,
    EVPN_MULTICAST,
    EVPN_PREFIX,
    EVPN_SEGMENT,
    EVPN_SELECTIVE_MULTICAST,
    NO_ESI,
    Nlri,
)


class PrefixRoute(NamedTuple):
    """inet, inet6, labeled and VPN routes; `distinguisher` None and `label` 0 where none is."""

    prefix: Prefix
    distinguisher: RouteDistinguisher | None = None
    label: int = 0


class TargetRoute(NamedTuple):
    """Route target membership, RFC 4684. `bits` counts AS and target: 0 asks for everything.

    `target` is the 8 octets, zeros from `bits` on.
    """

    bits: int
    asn: int = 0
    target: bytes = bytes(8)


class TreeRoute(NamedTuple):
    """erm-vpn: kind 1 is a local tree, 2 the global tree's; addresses are IPv4."""

    kind: int
    distinguisher: RouteDistinguisher
    router_id: int
    source: int
    group: int


class AutoDiscoveryRoute(NamedTuple):
    """e-vpn type 1."""

    distinguisher: RouteDistinguisher
    segment: bytes
    tag: int
    label: int = 0


class MacRoute(NamedTuple):
    """e-vpn type 2; `l3_label` None when there is only one label."""

    distinguisher: RouteDistinguisher
    tag: int
    mac: int
    address: Prefix | None = None
    label: int = 0
    l3_label: int | None = None
    segment: bytes = NO_ESI


class MulticastRoute(NamedTuple):
    """e-vpn type 3."""

    distinguisher: RouteDistinguisher
    tag: int
    originator: Prefix


class SegmentRoute(NamedTuple):
    """e-vpn type 4."""

    distinguisher: RouteDistinguisher
    segment: bytes
    originator: Prefix


class EvpnPrefixRoute(NamedTuple):
    """e-vpn type 5; `gateway` is of the prefix's IP version."""

    distinguisher: RouteDistinguisher
    tag: int
    prefix: Prefix
    label: int = 0
    gateway: int = 0
    segment: bytes = NO_ESI


class SelectiveMulticastRoute(NamedTuple):
    """e-vpn type 6 (RFC 9251)."""

    distinguisher: RouteDistinguisher
    tag: int
    source: Prefix | None
    group: Prefix | None
    originator: Prefix
    flags: int = 0


class OpaqueRoute(NamedTuple):
    """A route of a type that we only pass on."""

    kind: int
    value: bytes


Route = (
    PrefixRoute
    | TargetRoute
    | TreeRoute
    | AutoDiscoveryRoute
    | MacRoute
    | MulticastRoute
    | SegmentRoute
    | EvpnPrefixRoute
    | SelectiveMulticastRoute
    | OpaqueRoute
)

_LABELED = frozenset({AddressFamily.INET_LABELED, AddressFamily.INET6_LABELED})
_VPN = frozenset({AddressFamily.INET_VPN, AddressFamily.INET6_VPN})


def _int(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _host(octets: bytes) -> Prefix:
    return Prefix.host(_int(octets), 4 if len(octets) == 4 else 6)


def _optional_host(octets: bytes) -> Prefix | None:
    return _host(octets) if octets else None


def _bits_and_address(address: Prefix | None) -> bytes:
    if address is None:
        return b"\x00"
    size = 4 if address.version == 4 else 16
    return bytes((8 * size,)) + address.address.to_bytes(size, "big")


def decode_route(family: AddressFamily, key: bytes, label: bytes = b"") -> Route:
    """Decode what `nlri.split` found; without its label a route decodes as if that were zeros."""
    if family is AddressFamily.E_VPN:
        return _decode_evpn(key, label)
    if family is AddressFamily.ROUTE_TARGET:
        octets = key[1:].ljust(12, b"\x00")
        return TargetRoute(key[0], _int(octets[:4]), octets[4:])
    if family is AddressFamily.ERM_VPN:
        if key[0] not in (1, 2):
            return OpaqueRoute(key[0], key[2:])
        return TreeRoute(
            key[0],
            RouteDistinguisher.decode(key[2:10]),
            _int(key[10:14]),
            _int(key[15:19]),
            _int(key[20:24]),
        )
    version, bits = (4, key[0]) if family.afi == 1 else (6, key[0])
    distinguisher, octets = None, key[1:]
    if family in _VPN:
        distinguisher, octets, bits = RouteDistinguisher.decode(key[1:9]), key[9:], bits - 64
    width = 4 if version == 4 else 16
    return PrefixRoute(
        Prefix(_int(octets.ljust(width, b"\x00")), bits, version), distinguisher, _int(label)
    )


def _decode_evpn(key: bytes, label: bytes) -> Route:
    decoder = _EVPN_DECODERS.get(key[0])
    return OpaqueRoute(key[0], key[2:]) if decoder is None else decoder(key, label)


def _decode_auto_discovery(key: bytes, label: bytes) -> Route:
    return AutoDiscoveryRoute(
        RouteDistinguisher.decode(key[2:10]), key[10:20], _int(key[20:24]), _int(label)
    )


def _decode_mac(key: bytes, label: bytes) -> Route:
    if len(label) <= 3:  # no segment, one label: see `nlri`
        label = NO_ESI + label
    return MacRoute(
        RouteDistinguisher.decode(key[2:10]),
        _int(key[20:24]),
        _int(key[25:31]),
        _optional_host(key[32:]),
        _int(label[10:13]),
        _int(label[13:16]) if len(label) == 16 else None,
        label[:10],
    )


def _decode_multicast(key: bytes, _: bytes) -> Route:
    return MulticastRoute(RouteDistinguisher.decode(key[2:10]), _int(key[10:14]), _host(key[15:]))


def _decode_segment(key: bytes, _: bytes) -> Route:
    return SegmentRoute(RouteDistinguisher.decode(key[2:10]), key[10:20], _host(key[21:]))


def _decode_evpn_prefix(key: bytes, label: bytes) -> Route:
    width = len(key) - 15
    return EvpnPrefixRoute(
        RouteDistinguisher.decode(key[2:10]),
        _int(key[10:14]),
        Prefix(_int(key[15:]), key[14], 4 if width == 4 else 6),
        _int(label[10 + width :]),
        _int(label[10 : 10 + width]),
        label[:10] or NO_ESI,
    )


def _decode_selective_multicast(key: bytes, label: bytes) -> Route:
    addresses: list[Prefix | None] = []
    at = 14
    for _ in range(3):
        stop = at + 1 + (key[at] >> 3)
        addresses.append(_optional_host(key[at + 1 : stop]))
        at = stop
    source, group, originator = addresses
    assert originator is not None, "split has checked that it is there"
    return SelectiveMulticastRoute(
        RouteDistinguisher.decode(key[2:10]),
        _int(key[10:14]),
        source,
        group,
        originator,
        _int(label),
    )


_EVPN_DECODERS: dict[int, Callable[[bytes, bytes], Route]] = {
    EVPN_AUTO_DISCOVERY: _decode_auto_discovery,
    EVPN_MAC_IP: _decode_mac,
    EVPN_MULTICAST: _decode_multicast,
    EVPN_SEGMENT: _decode_segment,
    EVPN_PREFIX: _decode_evpn_prefix,
    EVPN_SELECTIVE_MULTICAST: _decode_selective_multicast,
}


# encoding -----------------------------------------------------------------------------------


def encode_route(family: AddressFamily, route: Route) -> Nlri:
    """Return the (key, label) of a route, as `nlri.split` would find it."""
    match route:
        case PrefixRoute():
            return _encode_prefix(family, route)
        case TargetRoute(bits=bits, asn=asn, target=target):
            octets = (asn.to_bytes(4, "big") + target)[: (bits + 7) // 8]
            return bytes((bits,)) + octets, b""
        case TreeRoute():
            value = route.distinguisher.encode() + b"\x20".join(
                number.to_bytes(4, "big") for number in (route.router_id, route.source, route.group)
            )
            return bytes((route.kind, len(value))) + value, b""
        case OpaqueRoute(kind=kind, value=value):
            return bytes((kind, len(value))) + value, b""
    kind, key, label = _encode_evpn(route)
    return bytes((kind, len(key) + (3 if kind == EVPN_MAC_IP else 0))) + key, label


def _encode_prefix(family: AddressFamily, route: PrefixRoute) -> Nlri:
    prefix = route.prefix
    width = 4 if prefix.version == 4 else 16
    octets = prefix.address.to_bytes(width, "big")[: (prefix.length + 7) // 8]
    if family in _VPN:
        assert route.distinguisher is not None, "a VPN route has a distinguisher"
        key = bytes((64 + prefix.length,)) + route.distinguisher.encode() + octets
        return key, route.label.to_bytes(3, "big")
    key = bytes((prefix.length,)) + octets
    return key, route.label.to_bytes(3, "big") if family in _LABELED else b""


def _encode_evpn(route: Route) -> tuple[int, bytes, bytes]:
    match route:
        case AutoDiscoveryRoute():
            key = route.segment + route.tag.to_bytes(4, "big")
            label = route.label.to_bytes(3, "big")
            return EVPN_AUTO_DISCOVERY, route.distinguisher.encode() + key, label
        case MacRoute():
            key = (
                route.distinguisher.encode()
                + NO_ESI
                + route.tag.to_bytes(4, "big")
                + b"\x30"
                + route.mac.to_bytes(6, "big")
                + _bits_and_address(route.address)
            )
            label = route.label.to_bytes(3, "big")
            if route.l3_label is not None:
                label += route.l3_label.to_bytes(3, "big")
            if route.segment != NO_ESI or len(label) > 3:
                label = route.segment + label
            return EVPN_MAC_IP, key, label
        case MulticastRoute():
            key = route.tag.to_bytes(4, "big") + _bits_and_address(route.originator)
            return EVPN_MULTICAST, route.distinguisher.encode() + key, b""
        case SegmentRoute():
            key = route.segment + _bits_and_address(route.originator)
            return EVPN_SEGMENT, route.distinguisher.encode() + key, b""
        case EvpnPrefixRoute():
            width = 4 if route.prefix.version == 4 else 16
            key = (
                route.distinguisher.encode()
                + route.tag.to_bytes(4, "big")
                + bytes((route.prefix.length,))
                + route.prefix.address.to_bytes(width, "big")
            )
            gateway = route.gateway.to_bytes(width, "big")
            return EVPN_PREFIX, key, route.segment + gateway + route.label.to_bytes(3, "big")
        case SelectiveMulticastRoute():
            key = (
                route.distinguisher.encode()
                + route.tag.to_bytes(4, "big")
                + _bits_and_address(route.source)
                + _bits_and_address(route.group)
                + _bits_and_address(route.originator)
            )
            return EVPN_SELECTIVE_MULTICAST, key, bytes((route.flags,))
    raise AssertionError(f"{route} is no e-vpn route")


# text ---------------------------------------------------------------------------------------


def format_route(family: AddressFamily, key: bytes) -> str:
    """Format a route as TF prints it: `10.0.0.1:5:10.1.1.3/32`, `2-10.0.0.1:5-0-02:..,10.1.1.3`."""
    route = decode_route(family, key)
    match route:
        case PrefixRoute(prefix=prefix, distinguisher=distinguisher):
            return f"{distinguisher}:{prefix}" if distinguisher is not None else str(prefix)
        case TargetRoute():
            return _format_target(route)
        case TreeRoute():
            return (
                f"{route.kind}-{route.distinguisher}-{format_ipv4(route.router_id)},"
                f"{format_ipv4(route.group)},{format_ipv4(route.source)}"
            )
        case OpaqueRoute(kind=kind, value=value):
            return f"{kind}-{value.hex()}"
    return f"{key[0]}-{_format_evpn(route)}"


def _format_target(route: TargetRoute) -> str:
    if route.bits == 0:
        return "0:0/0"
    target = RouteTarget.decode(route.target)
    shown = str(target) if target is not None else route.target.hex()
    return f"{route.asn}:{shown}" + (f"/{route.bits}" if route.bits < 96 else "")


def _format_evpn(route: Route) -> str:
    match route:
        case AutoDiscoveryRoute(distinguisher=distinguisher, segment=segment, tag=tag):
            return f"{distinguisher}-{segment.hex(':')}-{tag}"
        case MacRoute(distinguisher=distinguisher, tag=tag, mac=mac, address=address):
            return f"{distinguisher}-{tag}-{format_mac(mac)},{_format_host(address)}"
        case MulticastRoute(distinguisher=distinguisher, tag=tag, originator=originator):
            return f"{distinguisher}-{tag}-{_format_host(originator)}"
        case SegmentRoute(distinguisher=distinguisher, segment=segment, originator=originator):
            return f"{distinguisher}-{segment.hex(':')}-{_format_host(originator)}"
        case EvpnPrefixRoute(distinguisher=distinguisher, tag=tag, prefix=prefix):
            return f"{distinguisher}-{tag}-{prefix}"
        case SelectiveMulticastRoute():
            source = f"-{_format_host(route.source)}" if route.source is not None else ""
            ends = f"{_format_host(route.group)}-{_format_host(route.originator)}"
            return f"{route.distinguisher}-{route.tag}{source}-{ends}"
    raise AssertionError(f"{route} is no e-vpn route")


def _format_host(address: Prefix | None) -> str:
    return "0.0.0.0" if address is None else str(address).partition("/")[0]
