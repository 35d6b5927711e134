"""Route targets of routing instances: the allocated one, and those a user lists on a network.

The number comes from the allocations (pool `route-target/<asn>`, owner: the instance's fq name);
nothing here chooses one. Source: TF schema-transformer, route targets per routing instance.
"""

from __future__ import annotations

from typing import Any

from filament.base.errors import InputError
from filament.base.net import RouteTarget
from filament.model.change import Object
from filament.model.view import View

DEFAULT_ASN = 64512
GLOBAL_SYSTEM_CONFIG = ("default-global-system-config",)
POOL_PREFIX = "route-target/"


def read_asn(view: View) -> int:
    """Return the cluster's autonomous system number."""
    config = view.named("global-system-config", GLOBAL_SYSTEM_CONFIG)
    asn = config.props.get("autonomous_system") if config else None
    return asn if isinstance(asn, int) else DEFAULT_ASN


def pool_of(asn: int) -> str:
    """Return the pool that numbers of automatic targets come from while the cluster has `asn`."""
    return f"{POOL_PREFIX}{asn}"


def own_target(view: View, instance: str, asn: int) -> str:
    """Return the automatic target of an instance, "" until its number is allocated."""
    pool = pool_of(asn)
    for allocation in view.allocations_of(instance):
        if allocation.pool == pool:
            return f"target:{asn}:{allocation.value}"
    return ""


def listed_targets(item: Object) -> tuple[frozenset[str], frozenset[str]]:
    """Read the three target lists of a virtual-network or bgpvpn into what it imports and what it
    exports.
    """
    both = _read_list(item.props.get("route_target_list"))
    imports = _read_list(item.props.get("import_route_target_list"))
    exports = _read_list(item.props.get("export_route_target_list"))
    return both | imports, both | exports


def _read_list(value: Any) -> frozenset[str]:
    """Read a RouteTargetList in canonical spelling."""
    targets = set()
    for text in (value or {}).get("route_target") or ():
        try:
            targets.add(str(RouteTarget.parse(text)))
        except InputError:
            # The API refuses these; a plan is total, so an old one is left out of it.
            continue
    return frozenset(targets)
