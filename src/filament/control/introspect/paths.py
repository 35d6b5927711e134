"""A path as ShowRoutePath: attributes in TF's words."""

from __future__ import annotations

from collections.abc import Iterable

from filament.base.net import format_ipv4
from filament.compiler.targets import read_asn
from filament.control.node import ControlNode
from filament.rib.bestpath import infeasible_reason
from filament.rib.bgp import OURSELVES
from filament.rib.bundle import Bundle
from filament.rib.exchange import default_med
from filament.rib.keys import RouteKey, table_name
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.rib.targets import format_target
from filament.wire.bgp.attributes import OriginCode, format_as_path, neighbour_as
from filament.wire.bgp.communities import (
    Encapsulation,
    encapsulations_of,
    format_community,
    format_extended,
    mobility_of,
)
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import label_value
from filament.wire.sandesh.text import format_time
from filament.wire.sandesh.xml import Values

# What TF's control node calls the reasons why a path cannot be used, by how ours begin.
_FLAGS = {
    "AS path loop": "AsPathLooped",
    "the first AS": "NoNeighborAs",
    "originator loop": "OriginatorIdLooped",
    "cluster list loop": "ClusterListLooped",
    "none of its encapsulations": "NoTunnelEncap",
}
_ENCAPSULATION_NAMES = {2: "gre", 8: "vxlan", 10: "mpls", 11: "mpls-o-gre", 13: "udp", 16: "native"}
_ORIGINS = {code.value: code.name.lower() for code in OriginCode}
_VPN_TABLES = {"inet": "bgp.l3vpn.0", "inet6": "bgp.l3vpn-inet6.0", "evpn": "bgp.evpn.0"}


def modified_at(node: ControlNode, peer: str) -> float:
    """Return since when (epoch seconds) the session is up by which a peer's paths came."""
    if peer == OURSELVES.name:
        return node.started_at
    return node.since(peer) if peer in node.core.agents else node.peer_since(peer)


def protocol_of(path: Path) -> str:
    """Return TF's word for how a path came: the protocol, and what it is a path to."""
    protocol = "XMPP" if path.kind is PeerKind.AGENT else "BGP"
    return f"{protocol} ({path.sub_protocol})" if path.sub_protocol else protocol


def protocol_of_bundle(bundle: Bundle) -> str:
    """Return the same for routes of BGP's own tables."""
    if bundle.peer is OURSELVES:
        return "Local"
    return "XMPP" if bundle.peer.kind is PeerKind.AGENT else "BGP"


def source_of(node: ControlNode, peer: str) -> str:
    """Return whom a path is from, as TF says it: a router by its address, an agent by its name."""
    neighbour = node.peering.neighbours.get(peer)
    return str(neighbour.plan.address) if neighbour is not None else peer


def path_values(node: ControlNode, instance: str, key: RouteKey, path: Path) -> Values:
    """Return one path of a route of an instance."""
    rib = node.core.rib
    is_own = path.source == instance
    is_bgp = path.kind is not PeerKind.AGENT
    flags = ["Stale"] if path.stale else []
    if path.is_llgr_stale:
        flags.append("LlgrStale")
    if problem := infeasible_reason(path):
        flags.append(_flag(problem))
    primary = path.source if is_bgp else table_name(path.source, key.family)
    return {
        "protocol": protocol_of(path),
        "last_modified": format_time(modified_at(node, path.peer)),
        "local_preference": path.local_preference,
        "med": path.med or (0 if is_bgp else default_med(path.local_preference)),
        "local_as": read_asn(node.core.snapshot),
        "peer_as": neighbour_as(path.as_path),
        "peer_router_id": format_ipv4(path.router_id) if path.router_id else "",
        "source": source_of(node, path.peer),
        "as_path": format_as_path(path.as_path),
        "next_hop": format_ipv4(path.next_hop),
        "label": path.label,
        "origin": _origin(path.origin_code),
        "replicated": not is_own,
        "primary_table": "" if is_own else primary,
        "secondary_tables": _secondary(node, instance, key) if is_own else [],
        "communities": [
            *(format_community(one) for one in path.communities),
            *(f"encapsulation:{one}" for one in path.encapsulations),
            *_targets(node, path),
            *(f"secgroup:{one}" for one in path.security_groups),
            *(f"tag:{one}" for one in path.tags),
        ],
        "origin_vn": rib.network_of(path),
        "flags": flags,
        "tunnel_encap": list(path.encapsulations),
        "sequence_no": str(path.sequence) if path.sequence else "",
        "load_balance": {
            "decision_type": "field-hash",
            "fields": list(path.load_balance) if path.load_balance is not None else [],
        },
    }


def bundle_values(node: ControlNode, family: AddressFamily, key: bytes, bundle: Bundle) -> Values:
    """Return one path of a route of one of BGP's own tables."""
    attributes, peer = bundle.attributes, bundle.peer
    mobility = mobility_of(attributes.extended_communities)
    encapsulations = encapsulations_of(attributes.extended_communities)
    flags = ["Stale"] if bundle.is_stale else []
    if bundle.problem:
        flags.append(_flag(bundle.problem))
    is_agent = peer.kind is PeerKind.AGENT
    label = bundle.routes.get(key, b"")
    values: dict[str, object] = {
        "protocol": protocol_of_bundle(bundle),
        "last_modified": format_time(modified_at(node, peer.name)),
        "local_preference": (
            100 if attributes.local_preference is None else attributes.local_preference
        ),
        "med": attributes.med or 0,
        "local_as": node.core.rib.bgp.us.asn,
        "peer_as": peer.asn,
        "peer_router_id": format_ipv4(peer.identifier) if peer.identifier else "",
        "source": source_of(node, peer.name),
        "as_path": format_as_path(attributes.as_path),
        "next_hop": str(attributes.next_hop),
        "label": _label(label_value(family, key, label), encapsulations) if label else 0,
        "origin": _origin(attributes.origin),
        "replicated": is_agent and peer is not OURSELVES,
        "communities": [
            *(format_community(one) for one in attributes.communities),
            *(format_extended(one) for one in attributes.extended_communities),
        ],
        "flags": flags,
        "tunnel_encap": [_ENCAPSULATION_NAMES.get(one, str(one)) for one in encapsulations],
        "sequence_no": str(mobility.sequence) if mobility is not None else "",
        "cluster_list": [format_ipv4(one) for one in attributes.cluster_list],
        "origin_vn_path": [format_extended(one) for one in attributes.origin_vn_path],
    }
    if attributes.originator_id is not None:
        values["originator_id"] = format_ipv4(attributes.originator_id)
    if attributes.pmsi_tunnel is not None:
        tunnel = attributes.pmsi_tunnel
        values["pmsi_tunnel"] = {
            "type": "IngressReplication" if tunnel.kind == _INGRESS else str(tunnel.kind),
            "identifier": _identifier(tunnel.identifier),
            "label": tunnel.label,
        }
    return values


_INGRESS = 6


def _label(field: int, encapsulations: Iterable[int]) -> int:
    """Return what is in a label field of 24 bits: a VNI with VXLAN, else an MPLS label."""
    return field if Encapsulation.VXLAN in encapsulations else field >> 4


def _identifier(raw: bytes) -> str:
    return format_ipv4(int.from_bytes(raw, "big")) if len(raw) == 4 else raw.hex()


def _origin(code: int) -> str:
    return _ORIGINS.get(code, str(code))


def _flag(problem: str) -> str:
    """Return TF's word for a problem; without one, the problem itself."""
    return next((word for start, word in _FLAGS.items() if problem.startswith(start)), problem)


def _targets(node: ControlNode, path: Path) -> Iterable[str]:
    if path.targets:
        return sorted(map(format_target, path.targets))
    source = node.core.rib.instances.get(path.source)
    return sorted(source.exports) if source is not None else []


def _secondary(node: ControlNode, instance: str, key: RouteKey) -> list[str]:
    """Name the tables that have copies of what is published into an instance."""
    rib = node.core.rib
    tables = [table_name(name, key.family) for name in rib.importers(instance)]
    vpn = _VPN_TABLES.get(key.family.value)
    found = rib.instances.get(instance)
    return [*tables, vpn] if vpn is not None and found is not None and found.exports else tables
