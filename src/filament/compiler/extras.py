"""Routing instances that clients make themselves, besides the ones every network has.

They are intent: a child of a virtual-network, with references to route targets (InstanceTargetType
says in which direction) and to other routing instances, with which they leak both ways, rendered
ones included. Each takes an automatic target as well, as in TF's schema-transformer.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from filament.base.errors import InputError
from filament.base.net import RouteTarget
from filament.base.origin import Origin
from filament.compiler.networks import Partner
from filament.compiler.plan import RoutingInstance
from filament.compiler.targets import own_target
from filament.model.change import Object
from filament.model.view import View

ROUTING_INSTANCE = "routing-instance"
_ROUTE_TARGET = "route-target"


class Extra(msgspec.Struct, frozen=True):
    """One routing-instance that a client made. `wants` are uuids of instances to leak with;
    `network_id` is its network's, chosen once when the network is made.
    """

    name: str
    uuid: str
    network: str
    network_uuid: str
    network_id: int
    target: str
    imports: frozenset[str]
    exports: frozenset[str]
    wants: frozenset[str]
    revision: int


def read_extra(view: View, instance: Object, asn: int) -> Extra:
    """Read a routing-instance and its allocation."""
    target = own_target(view, instance.name, asn)
    imports, exports = {target} - {""}, {target} - {""}
    for ref in instance.refs_to(_ROUTE_TARGET):
        found = view.get(ref.uuid)
        if found is None:
            continue
        try:
            name = str(RouteTarget.parse(found.name))
        except InputError:
            # The API refuses these; a plan is total, so an old one is left out of it.
            continue
        direction = (ref.attr or {}).get("import_export")
        if direction != "export":
            imports.add(name)
        if direction != "import":
            exports.add(name)
    network = view.get(instance.parent_uuid or "")
    network_id = network.props.get("virtual_network_network_id") if network else None
    return Extra(
        name=instance.name,
        uuid=instance.uuid,
        network=":".join(instance.fq_name[:-1]),
        network_uuid=instance.parent_uuid or "",
        network_id=network_id if isinstance(network_id, int) else 0,
        target=target,
        imports=frozenset(imports),
        exports=frozenset(exports),
        wants=frozenset(ref.uuid for ref in instance.refs_to(ROUTING_INSTANCE)),
        revision=instance.revision,
    )


def plan_extra(extra: Extra, partners: Mapping[str, Partner]) -> RoutingInstance:
    """Make the plan's row of an instance that leaks with `partners` (by name of the instance)."""
    revisions = [partner.revision for partner in partners.values()]
    return RoutingInstance(
        name=extra.name,
        network=extra.network,
        network_uuid=extra.network_uuid,
        network_id=extra.network_id,
        target=extra.target,
        imports=extra.imports.union(*(partner.exports for partner in partners.values())),
        exports=extra.exports,
        connections=tuple(sorted(partners)),
        is_default=False,
        origin=Origin(
            f"routing-instance {extra.name}", "client-instance", max(extra.revision, *revisions, 0)
        ),
        own_imports=extra.imports,
        intent_uuid=extra.uuid,
    )
