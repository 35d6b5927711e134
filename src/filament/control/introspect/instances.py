"""Routing instances and route targets: what runs, and what the configuration asks for."""

from __future__ import annotations

from filament.control.introspect.configuration import changed_at
from filament.control.introspect.listing import Row, listing, searching
from filament.control.introspect.tables import InstanceTable, summary_values
from filament.control.node import ControlNode
from filament.rib.keys import Family, table_name
from filament.rib.rib import Instance
from filament.rib.targets import encode_targets
from filament.runtime.introspect.serve import Answer
from filament.runtime.introspect.slices import Paused
from filament.wire.sandesh.xml import Values


def instance_answers(node: ControlNode) -> dict[str, Answer]:
    """Return the answers about instances and targets."""
    rib = node.core.rib

    def full(name: str) -> Paused[Row]:
        instance = rib.instances.get(name)
        if instance is None:
            return None
        tables = yield from _tables(node, instance)
        return {**_instance(node, instance), "tables": tables}

    def short(name: str) -> Values | None:
        instance = rib.instances.get(name)
        return None if instance is None else _instance(node, instance)

    return {
        **listing(
            "ShowRoutingInstanceReq",
            "ShowRoutingInstanceResp",
            "instances",
            lambda query: searching(query, list(rib.instances)),
            full,
        ),
        **listing(
            "ShowRoutingInstanceSummaryReq",
            "ShowRoutingInstanceSummaryResp",
            "instances",
            lambda query: searching(query, list(rib.instances)),
            short,
        ),
        **listing(
            "ShowRtGroupReq",
            "ShowRtGroupResp",
            "rtgroup_list",
            lambda query: searching(query, _targets(node)),
            lambda target: _target(node, target, is_full=True),
        ),
        **listing(
            "ShowRtGroupSummaryReq",
            "ShowRtGroupSummaryResp",
            "rtgroup_list",
            lambda query: searching(query, _targets(node)),
            lambda target: _target(node, target, is_full=False),
        ),
        **listing(
            "ShowBgpInstanceConfigReq",
            "ShowBgpInstanceConfigResp",
            "instances",
            lambda query: searching(query, list(node.core.plan.routing_instances)),
            lambda name: _configured(node, name),
        ),
    }


def _instance(node: ControlNode, instance: Instance) -> Values:
    row = node.core.plan.routing_instances.get(instance.name)
    return {
        "name": instance.name,
        "virtual_network": instance.network,
        "vn_index": row.network_id if row is not None else 0,
        "import_target": sorted(instance.imports),
        "export_target": sorted(instance.exports),
        "routing_policies": [],
    }


def _tables(node: ControlNode, instance: Instance) -> Paused[list[Values]]:
    """Return an instance's tables and who listens to them."""
    members = [
        {
            "peer": session.name,
            "ribout_registered": session.is_served,
            "ribin_registered": session.is_served,
            "instance_id": session.instances[instance.name],
        }
        for session in sorted(node.core.agents.values(), key=lambda each: each.name)
        if instance.name in session.instances
    ]
    tables: list[Values] = []
    for family in Family:
        table = InstanceTable(node, instance.name, family)
        counts = yield from table.count()
        tables.append(
            {
                "name": table.name,
                **summary_values(counts),
                "listeners": len(members),
                "membership": {"peers": members},
            }
        )
    return tables


def _targets(node: ControlNode) -> list[str]:
    found: set[str] = set()
    for instance in node.core.rib.instances.values():
        found |= instance.imports | instance.exports
    return list(found)


def _target(node: ControlNode, target: str, *, is_full: bool) -> Values:
    """Return who imports and exports a target, and which agents are interested in it."""
    instances = sorted(node.core.rib.instances.values(), key=lambda each: each.name)
    importing = [each.name for each in instances if target in each.imports]
    exporting = [each.name for each in instances if target in each.exports]
    values: dict[str, object] = {
        "rtarget": target,
        "import_members": _members(importing),
        "export_members": _members(exporting),
    }
    if is_full:
        wanted = encode_targets(frozenset({target}))
        values["peers_interested"] = sorted(
            [
                *(
                    session.name
                    for session in node.core.agents.values()
                    if not session.instances.keys().isdisjoint(importing)
                ),
                *(
                    name
                    for name, member in node.core.rib.bgp.out.members.items()
                    if member.interest is not None and member.interest.wants(wanted)
                ),
            ]
        )
    return values


def _members(instances: list[str]) -> list[Values]:
    if not instances:
        return []
    return [
        {"family": family.value, "tables": [table_name(name, family) for name in instances]}
        for family in Family
    ]


def _configured(node: ControlNode, name: str) -> Values | None:
    row = node.core.plan.routing_instances.get(name)
    if row is None:
        return None
    network = node.core.snapshot.get(row.network_uuid)
    return {
        "name": row.name,
        "virtual_network": row.network,
        "virtual_network_index": row.network_id,
        "import_target": sorted(row.imports),
        "export_target": sorted(row.exports),
        "last_change_at": changed_at(network),
    }
