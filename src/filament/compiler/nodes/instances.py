"""The table of routing instances, rendered and made by clients: instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filament.base.graph import Changes, Node, Rows, Tables
from filament.compiler.extras import plan_extra
from filament.compiler.networks import (
    Network,
    Partner,
    instance_names,
    network_of_instance,
    plan_instances,
)
from filament.compiler.plan import RoutingInstance
from filament.model.view import View

# instances: fq name -> RoutingInstance ----------------------------------------------------


def _run_instances(_: View, tables: Tables) -> Rows:
    rows: Rows = {}
    for network in tables["networks"].values():
        rows |= _instances(tables, network)
    for extra in tables["extras"].values():
        rows[extra.name] = plan_extra(extra, _linked_partners(tables, extra.name))
    return rows


def _update_instances(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = {*changes["networks"], *changes["partners"]}
    for name, change in changes["stances"].items():
        if not (change.old and change.new and change.old.revision == change.new.revision):
            names.add(name)
    for name, change in changes["networks"].items():
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            names |= tables["partners"].get(name, frozenset())
    extras = _touched_extras(tables, changes, names)
    rows: Rows = {}
    for name in extras:
        extra = tables["extras"].get(name)
        rows[name] = plan_extra(extra, _linked_partners(tables, name)) if extra else None
    for name in names:
        network = tables["networks"].get(name)
        if network is not None:
            rows |= _instances(tables, network)
        else:
            rows |= {instance: None for instance, _ in instance_names(tuple(name.split(":")))}
    return rows


def _instances(tables: Tables, network: Network) -> dict[str, RoutingInstance]:
    networks = tables["networks"]
    partners = _linked_partners(tables, network.default_instance)
    for name in tables["partners"].get(network.name, ()):
        partners[networks[name].default_instance] = networks[name]
    return plan_instances(network, partners, tables["stances"][network.name].revision)


def _linked_partners(tables: Tables, instance: str) -> dict[str, Partner]:
    """Return what client-made references connect an instance with, by name."""
    found: dict[str, Partner] = {}
    for name in sorted(tables["linked"].get(instance, ())):
        partner = tables["extras"].get(name) or tables["networks"].get(_network_name(name))
        if partner is not None:
            found[name] = partner
    return found


def _touched_extras(tables: Tables, changes: Mapping[str, Changes], networks: set[str]) -> set[str]:
    """Return the client-made instances to plan again; add to `networks` those to plan again."""
    instances = set(changes["linked"])
    for name, change in changes["extras"].items():
        instances.add(name)
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            instances |= tables["linked"].get(name, frozenset())
    for change in changes["networks"].values():
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            row = change.new or change.old
            instances |= tables["linked"].get(row.default_instance, frozenset())
    extras = {name for name in instances if name in tables["extras"] or name in changes["extras"]}
    networks |= {
        network for name in instances - extras if (network := _network_name(name))
    } & tables["networks"].keys()
    return extras


def _network_name(instance: str) -> str:
    return ":".join(network_of_instance(instance))


def _offer(network: Partner) -> tuple[Any, ...]:
    """Return what partners' instances hold of a network."""
    return network.exports, network.revision


NODES: tuple[Node[View], ...] = (
    Node(
        "instances",
        ("networks", "stances", "partners", "extras", "linked"),
        _run_instances,
        _update_instances,
    ),
)
