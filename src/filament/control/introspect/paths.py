"""A path as ShowRoutePath: attributes in TF's words."""

from __future__ import annotations

from filament.base.net import format_ipv4
from filament.compiler.targets import read_asn
from filament.control.node import ControlNode
from filament.rib.bestpath import infeasible_reason
from filament.rib.keys import RouteKey, table_name
from filament.rib.path import Path
from filament.wire.sandesh.text import format_time
from filament.wire.sandesh.xml import Values

# What TF's control node assumes where an agent gives no MED.
_MED_BY_PREFERENCE = {100: 200, 200: 100}
_MAX_U32 = (1 << 32) - 1


def modified_at(node: ControlNode, path: Path) -> float:
    """Return since when (epoch seconds) a path has been as it is."""
    return node.since(path.peer) if path.peer in node.core.agents else 0.0


def path_values(node: ControlNode, instance: str, key: RouteKey, path: Path) -> Values:
    """Return one path of a route of an instance."""
    rib = node.core.rib
    is_replicated = path.source != instance
    flags = ["Stale"] if path.stale else []
    if infeasible_reason(path):
        flags.append("NoTunnelEncap")
    return {
        "protocol": f"XMPP ({path.sub_protocol})" if path.sub_protocol else "XMPP",
        "last_modified": format_time(modified_at(node, path)),
        "local_preference": path.local_preference,
        "med": _MED_BY_PREFERENCE.get(path.local_preference, _MAX_U32 - path.local_preference),
        "local_as": read_asn(node.core.snapshot),
        "peer_as": 0,
        "source": path.peer,
        "next_hop": format_ipv4(path.next_hop),
        "label": path.label,
        "origin": "igp",
        "replicated": is_replicated,
        "primary_table": table_name(path.source, key.family) if is_replicated else "",
        "secondary_tables": (
            []
            if is_replicated
            else [table_name(name, key.family) for name in rib.importers(instance)]
        ),
        "communities": _communities(node, path),
        "origin_vn": rib.network_of(path),
        "flags": flags,
        "tunnel_encap": list(path.encapsulations),
        "sequence_no": str(path.sequence) if path.sequence else "",
    }


def _communities(node: ControlNode, path: Path) -> list[str]:
    source = node.core.rib.instances.get(path.source)
    targets = sorted(source.exports) if source is not None else []
    return [*(f"encapsulation:{one}" for one in path.encapsulations), *targets]
