"""Tables of what networks say for themselves: settings, networks."""

from __future__ import annotations

from collections.abc import Mapping

from filament.base.graph import UNHANDLED, Changes, Node, Rows, Tables, Unhandled
from filament.compiler.networks import BGPVPN, network_of_instance, read_network
from filament.compiler.nodes.rows import VN_ID_POOL, changed_objects, rows_of
from filament.compiler.targets import POOL_PREFIX, read_asn
from filament.model.view import View

ASN = "autonomous-system"

# settings: what the whole cluster shares --------------------------------------------------


def _run_settings(view: View, _: Tables) -> Rows:
    return {ASN: read_asn(view)}


def _update_settings(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    if changed_objects(changes["objects"], "global-system-config"):
        return {ASN: read_asn(view)}
    return {}


# networks: fq name -> Network -------------------------------------------------------------


def _run_networks(view: View, tables: Tables) -> Rows:
    asn = tables["settings"][ASN]
    networks = (read_network(view, network, asn) for network in view.of_kind("virtual-network"))
    return {network.name: network for network in networks}


def _update_networks(
    view: View, tables: Tables, changes: Mapping[str, Changes]
) -> Rows | Unhandled:
    if changes["settings"]:
        return UNHANDLED  # a new AS number renames every automatic target
    names = {network.fq_name for network in changed_objects(changes["objects"], "virtual-network")}
    for vpn in changed_objects(changes["objects"], BGPVPN):
        names |= {network.fq_name for network in view.referrers(vpn.uuid, "virtual-network")}
    for change in changes["allocations"].values():
        for allocation in rows_of(change):
            if allocation.pool.startswith(POOL_PREFIX):
                names.add(network_of_instance(allocation.owner))
            elif allocation.pool == VN_ID_POOL:
                owner = view.get(allocation.owner)
                names |= {owner.fq_name} if owner else set()
    rows: Rows = {}
    for name in names:
        network = view.named("virtual-network", name)
        asn = tables["settings"][ASN]
        rows[":".join(name)] = read_network(view, network, asn) if network else None
    return rows


NODES: tuple[Node[View], ...] = (
    Node("settings", ("objects",), _run_settings, _update_settings),
    Node("networks", ("objects", "allocations", "settings"), _run_networks, _update_networks),
)
