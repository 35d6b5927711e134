"""Routes of instances <-> routes of VPN tables: what an agent said as BGP says it, and back.

Outwards the distinguisher is the vRouter's address and its number for the instance; targets,
encapsulations, security groups, tags, origin network and mobility become communities (TF's rules,
bgp_xmpp_channel.cc). Inwards a route of any speaker becomes a path as agents can use it.
"""

from __future__ import annotations

from typing import NamedTuple

from filament.base.net import Address, RouteDistinguisher
from filament.base.origin import Origin
from filament.rib.bundle import DEFAULT_LOCAL_PREFERENCE, Bundle
from filament.rib.keys import (
    ErmRoute,
    EvpnEthernetSegment,
    EvpnInclusive,
    EvpnMac,
    EvpnMulticast,
    EvpnPrefix,
    EvpnSegment,
    EvpnUnknown,
    Family,
    RouteKey,
    unicast,
)
from filament.rib.path import Path
from filament.rib.targets import Targets
from filament.rib.vpn import TABLE_NAMES
from filament.wire.bgp import communities as codes
from filament.wire.bgp import routes as typed
from filament.wire.bgp.attributes import INGRESS_REPLICATION, Attributes, PmsiTunnel
from filament.wire.bgp.communities import Encapsulation, LoadBalance, Mobility, Numbered
from filament.wire.bgp.family import AddressFamily

VPN_FAMILY = {
    Family.INET: AddressFamily.INET_VPN,
    Family.INET6: AddressFamily.INET6_VPN,
    Family.EVPN: AddressFamily.E_VPN,
    Family.ERMVPN: AddressFamily.ERM_VPN,
}
INSTANCE_FAMILY = {vpn: family for family, vpn in VPN_FAMILY.items()}

GLOBAL_IDS_END = 8_000_000  # security groups and tags below are of every AS (TF)
LOW_PREFERENCE, HIGH_PREFERENCE = 100, 200
_MPLS = frozenset({"udp", "gre", "mpls"})
_ENCAPSULATIONS = {
    "gre": Encapsulation.GRE,
    "udp": Encapsulation.MPLS_O_UDP,
    "vxlan": Encapsulation.VXLAN,
    "mpls": Encapsulation.MPLS,
    "native": Encapsulation.NATIVE,
}
_ENCAPSULATION_NAMES = {
    **{code.value: name for name, code in _ENCAPSULATIONS.items()},
    Encapsulation.MPLS_O_GRE.value: "gre",
}
# A router that names no encapsulation takes MPLS in either; the host's priority decides.
DEFAULT_ENCAPSULATIONS = ("udp", "gre")
_BALANCE_FIELDS = ("l3-source-address", "l3-destination-address", "l4-protocol",
                   "l4-source-port", "l4-destination-port")  # fmt: skip


class Exported(NamedTuple):
    """A route as it stands in a VPN table."""

    family: AddressFamily
    key: bytes
    label: bytes
    attributes: Attributes


def default_med(local_preference: int) -> int:
    """Return the MED of an agent's route that gives none (TF)."""
    if local_preference == LOW_PREFERENCE:
        return HIGH_PREFERENCE
    if local_preference == HIGH_PREFERENCE:
        return LOW_PREFERENCE
    return (1 << 32) - 1 - local_preference


def vpn_key(key: RouteKey, path: Path) -> tuple[AddressFamily, bytes]:
    """Return the table and the NLRI key that an agent's path has, or would have, in BGP."""
    family = VPN_FAMILY[key.family]
    return family, typed.encode_route(family, _route(key, path))[0]


def export(key: RouteKey, path: Path, targets: Targets, asn: int, network_id: int) -> Exported:
    """Return an agent's path as a VPN route of the AS, with its instance's export targets."""
    family = VPN_FAMILY[key.family]
    nlri_key, label = typed.encode_route(family, _route(key, path))
    encapsulations = _outward_encapsulations(key.family, path)
    extended = [*targets, *(codes.encode_encapsulation(each) for each in encapsulations)]
    extended += codes.encode_security_groups(asn, path.security_groups)
    extended += codes.encode_tags(asn, path.tags)
    if network_id:
        extended.append(codes.encode_origin_vn(asn, network_id))
    if path.sequence or path.is_sticky:
        extended.append(codes.encode_mobility(Mobility(path.sequence, path.is_sticky)))
    if path.load_balance is not None:
        extended.append(codes.encode_load_balance(_load_balance(path.load_balance)))
    if isinstance(key.nlri, EvpnPrefix) and path.mac:
        extended.append(codes.encode_router_mac(path.mac))
    pmsi = None
    if isinstance(key.nlri, EvpnInclusive):
        pmsi = PmsiTunnel(
            0, INGRESS_REPLICATION, _raw_label(key.family, path), path.next_hop.to_bytes(4, "big")
        )
    return Exported(
        family,
        nlri_key,
        label,
        Attributes(
            next_hop=Address(path.next_hop, 4),
            local_preference=path.local_preference,
            med=path.med or default_med(path.local_preference),
            communities=path.communities,
            extended_communities=tuple(sorted(extended)),
            pmsi_tunnel=pmsi,
        ),
    )


def _outward_encapsulations(family: Family, path: Path) -> list[Encapsulation]:
    """Return what the route may be sent in: one label field cannot be MPLS's and VXLAN's."""
    names = path.encapsulations
    if family is Family.EVPN:
        found = [_ENCAPSULATIONS[each] for each in names if each in _ENCAPSULATIONS]
        return [*found, Encapsulation.MPLS_O_GRE] if "gre" in names else found
    if "vxlan" in names and not _MPLS.isdisjoint(names):
        names = tuple(each for each in names if each != "vxlan")
    return [_ENCAPSULATIONS[each] for each in names if each in _ENCAPSULATIONS]


def _raw_label(family: Family, path: Path) -> int:
    """Return the 24 bits of the label field."""
    if "vxlan" in path.encapsulations:
        if family is Family.EVPN:
            return path.label
        if _MPLS.isdisjoint(path.encapsulations):
            return path.vni or path.label
    return (path.label << 4 | 1) & 0xFFFFFF


def _route(key: RouteKey, path: Path) -> typed.Route:
    nlri, distinguisher = key.nlri, path.distinguisher
    label = _raw_label(key.family, path)
    match nlri:
        case EvpnMac():
            l3_label = (path.l3_label or None) if "vxlan" in path.encapsulations else None
            if path.l3_label and l3_label is None:
                l3_label = path.l3_label << 4 | 1
            return typed.MacRoute(distinguisher, nlri.tag, nlri.mac, nlri.address, label, l3_label)
        case EvpnPrefix():
            return typed.EvpnPrefixRoute(distinguisher, nlri.tag, nlri.prefix, label)
        case EvpnInclusive():
            return typed.MulticastRoute(nlri.distinguisher, nlri.tag, nlri.originator)
        case EvpnSegment():
            return typed.AutoDiscoveryRoute(nlri.distinguisher, nlri.segment, nlri.tag, label)
        case EvpnEthernetSegment():
            return typed.SegmentRoute(nlri.distinguisher, nlri.segment, nlri.originator)
        case EvpnMulticast():
            return typed.SelectiveMulticastRoute(
                nlri.distinguisher, nlri.tag, nlri.source, nlri.group, nlri.originator
            )
        case EvpnUnknown():
            return typed.OpaqueRoute(nlri.kind, nlri.value)
        case ErmRoute():
            return typed.TreeRoute(
                nlri.kind, nlri.distinguisher, nlri.router_id, nlri.source, nlri.group
            )
        case _:
            return typed.PrefixRoute(nlri, distinguisher, label)


def _load_balance(fields: tuple[str, ...]) -> LoadBalance:
    is_set = [each in fields for each in (*_BALANCE_FIELDS, "source-bias")]
    return LoadBalance(*is_set)


def _load_balance_fields(balance: LoadBalance) -> tuple[str, ...] | None:
    if balance == LoadBalance():
        return None
    found = [name for name, is_set in zip(_BALANCE_FIELDS, balance[:5], strict=True) if is_set]
    return (*found, "source-bias") if balance.is_source_bias else tuple(found)


# inwards ----------------------------------------------------------------------------------------


def instance_key(family: AddressFamily, key: bytes) -> RouteKey | None:
    """Return the key that a VPN route has in the tables of instances; None when it has none."""
    route = typed.decode_route(family, key)
    match route:
        case typed.PrefixRoute(prefix=prefix):
            return unicast(prefix)
        case typed.MacRoute():
            return RouteKey(Family.EVPN, EvpnMac(route.tag, route.mac, route.address))
        case typed.EvpnPrefixRoute():
            return RouteKey(Family.EVPN, EvpnPrefix(route.tag, route.prefix))
        case typed.MulticastRoute():
            nlri = EvpnInclusive(route.distinguisher, route.tag, route.originator)
            return RouteKey(Family.EVPN, nlri)
        case typed.AutoDiscoveryRoute():
            segment = EvpnSegment(route.distinguisher, route.segment, route.tag)
            return RouteKey(Family.EVPN, segment)
        case typed.SegmentRoute():
            attached = EvpnEthernetSegment(route.distinguisher, route.segment, route.originator)
            return RouteKey(Family.EVPN, attached)
        case typed.SelectiveMulticastRoute(group=group) if group is not None:
            return RouteKey(
                Family.EVPN,
                EvpnMulticast(
                    route.distinguisher, route.tag, route.source, group, route.originator
                ),
            )
        case typed.TreeRoute():
            return RouteKey(
                Family.ERMVPN,
                ErmRoute(
                    route.kind, route.distinguisher, route.router_id, route.group, route.source
                ),
            )
    return None


def import_path(family: AddressFamily, key: bytes, label: bytes, bundle: Bundle, asn: int) -> Path:
    """Return a VPN route as a path of an instance's table. `asn` is ours."""
    attributes, peer = bundle.attributes, bundle.peer
    extended = attributes.extended_communities
    codepoints = codes.encapsulations_of(extended) or peer.rules.encapsulations_of(family)
    encapsulations = tuple(
        dict.fromkeys(_ENCAPSULATION_NAMES.get(each, f"type-{each}") for each in codepoints)
    )
    is_vxlan = "vxlan" in encapsulations
    route = typed.decode_route(family, key, label)
    raw, l3_label = _labels(route, attributes)
    tag: int = getattr(route, "tag", 0)
    mac: int = getattr(route, "mac", 0)
    vni = tag if 0 < tag <= 0xFFFFFF else raw
    mobility = codes.mobility_of(extended)
    origin_vn = codes.origin_vn_of(extended)
    preference = attributes.local_preference
    hop = attributes.next_hop
    return Path(
        peer=peer.name,
        source=TABLE_NAMES[family],
        next_hop=hop.value if hop.version == 4 else 0,
        label=vni if is_vxlan else raw >> 4,
        encapsulations=encapsulations or DEFAULT_ENCAPSULATIONS,
        mac=codes.router_mac_of(extended) or mac,
        local_preference=DEFAULT_LOCAL_PREFERENCE if preference is None else preference,
        sequence=mobility.sequence if mobility is not None else 0,
        is_sticky=mobility is not None and mobility.is_sticky,
        sub_protocol="",
        origin=Origin(f"bgp-router {peer.name}", TABLE_NAMES[family]),
        med=attributes.med or 0,
        security_groups=_accepted(codes.security_groups_of(extended), asn),
        tags=_accepted(codes.tags_of(extended), asn),
        communities=attributes.communities,
        load_balance=_load_balance_fields(codes.load_balance_of(extended)),
        vni=vni if is_vxlan and family is not AddressFamily.E_VPN else 0,
        l3_label=0 if l3_label is None else l3_label if is_vxlan else l3_label >> 4,
        kind=peer.kind,
        vpn_key=key,
        targets=bundle.target_set.targets,
        as_path=attributes.as_path,
        origin_code=attributes.origin,
        origin_network=0 if origin_vn is None else _own(origin_vn, asn),
        router_id=peer.identifier if attributes.originator_id is None else attributes.originator_id,
        problem="" if hop.version == 4 else "its next hop is IPv6, and tunnels here are IPv4",
    )


def _labels(route: typed.Route, attributes: Attributes) -> tuple[int, int | None]:
    """Return the 24 bits of the label field, and of an EVPN type 2's second."""
    match route:
        case typed.MacRoute(label=label, l3_label=l3_label):
            return label, l3_label
        case typed.MulticastRoute():
            tunnel = attributes.pmsi_tunnel
            return (tunnel.label if tunnel is not None else 0), None
    return getattr(route, "label", 0), None


def _accepted(numbered: list[Numbered], asn: int) -> tuple[int, ...]:
    return tuple(
        each.number for each in numbered if each.number < GLOBAL_IDS_END or each.asn == asn
    )


def _own(origin_vn: Numbered, asn: int) -> int:
    if origin_vn.number >= GLOBAL_IDS_END or origin_vn.asn == asn:
        return origin_vn.number
    return 0


def distinguisher_of(family: AddressFamily, key: bytes) -> RouteDistinguisher:
    """Return the distinguisher in a VPN route's key."""
    start = 2 if family in (AddressFamily.E_VPN, AddressFamily.ERM_VPN) else 1
    return RouteDistinguisher.decode(key[start : start + 8])
