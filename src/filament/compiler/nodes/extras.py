"""Tables of the routing instances that clients made: extras, rendered, wanted, linked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from filament.base.graph import UNHANDLED, Changes, Node, Rows, Tables, Unhandled
from filament.compiler.extras import ROUTING_INSTANCE, Extra, read_extra
from filament.compiler.nodes.networks import ASN
from filament.compiler.nodes.rows import amend, changed_objects, invert, rows_of
from filament.compiler.render import uuid_of as rendered_uuid
from filament.model.view import View

# extras: fq name -> Extra, the routing instances that clients made --------------------------


def _run_extras(view: View, tables: Tables) -> Rows:
    asn = tables["settings"][ASN]
    return {each.name: read_extra(view, each, asn) for each in view.of_kind(ROUTING_INSTANCE)}


def _update_extras(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows | Unhandled:
    if changes["settings"]:
        return UNHANDLED
    names = {each.fq_name for each in changed_objects(changes["objects"], ROUTING_INSTANCE)}
    for change in changes["allocations"].values():
        for allocation in rows_of(change):
            if allocation.owner in tables["extras"]:
                names.add(tuple(allocation.owner.split(":")))
    rows: Rows = {}
    for name in names:
        extra = view.named(ROUTING_INSTANCE, name)
        rows[":".join(name)] = read_extra(view, extra, tables["settings"][ASN]) if extra else None
    return rows


# rendered: uuid of a network's default instance -> its fq name -------------------------------


def _run_rendered(_: View, tables: Tables) -> Rows:
    names = (network.default_instance for network in tables["networks"].values())
    return {rendered_uuid(ROUTING_INSTANCE, name): name for name in names}


def _update_rendered(_: View, __: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for change in changes["networks"].values():
        if change.old is None or change.new is None:
            name = (change.new or change.old).default_instance
            rows[rendered_uuid(ROUTING_INSTANCE, name)] = name if change.new else None
    return rows


# wanted: uuid of an instance -> the client-made instances that refer to it -------------------


def _run_wanted(_: View, tables: Tables) -> Rows:
    return invert((uuid, row.name) for row in tables["extras"].values() for uuid in row.wants)


def _update_wanted(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(uuid, name) for name, row in changes["extras"].items() for uuid in _wants(row.old)}
    new = {(uuid, name) for name, row in changes["extras"].items() for uuid in _wants(row.new)}
    return amend(tables["wanted"], old - new, new - old)


def _wants(extra: Extra | None) -> frozenset[str]:
    return extra.wants if extra else frozenset()


# linked: fq name of an instance -> those it leaks with because a client said so --------------


def _run_linked(view: View, tables: Tables) -> Rows:
    names = set(tables["extras"])
    for row in tables["extras"].values():
        names |= _resolved(view, tables, row.wants)
    return {name: linked for name in names if (linked := _linked(view, tables, name))}


def _update_linked(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = set()
    for name, change in changes["extras"].items():
        names |= {name, *tables["linked"].get(name, ())}
        for row in rows_of(change):
            names |= _resolved(view, tables, row.wants) | tables["wanted"].get(
                row.uuid, frozenset()
            )
    for uuid, change in changes["rendered"].items():
        if uuid in tables["wanted"] or tables["linked"].get(change.old or change.new):
            names |= {*rows_of(change), *tables["wanted"].get(uuid, ())}
    return {name: _linked(view, tables, name) or None for name in names}


def _linked(view: View, tables: Tables, name: str) -> frozenset[str]:
    """Return what an instance refers to and what refers to it."""
    extra = tables["extras"].get(name)
    uuid = extra.uuid if extra else rendered_uuid(ROUTING_INSTANCE, name)
    if extra is None and uuid not in tables["rendered"]:
        return frozenset()
    found = _resolved(view, tables, extra.wants) if extra else set()
    return frozenset(found | tables["wanted"].get(uuid, frozenset())) - {name}


def _resolved(view: View, tables: Tables, uuids: Iterable[str]) -> set[str]:
    """Return the names of instances, client-made or rendered; one that is gone has none."""
    found = set()
    for uuid in uuids:
        item = view.get(uuid)
        name = item.name if item is not None else tables["rendered"].get(uuid)
        if name is not None:
            found.add(name)
    return found


NODES: tuple[Node[View], ...] = (
    Node("extras", ("objects", "allocations", "settings"), _run_extras, _update_extras),
    Node("rendered", ("networks",), _run_rendered, _update_rendered),
    Node("wanted", ("extras",), _run_wanted, _update_wanted),
    Node("linked", ("extras", "rendered", "wanted"), _run_linked, _update_linked),
)
