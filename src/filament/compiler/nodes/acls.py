"""Tables of rules: groups, quoted, and the lists of networks and of groups: acls."""

from __future__ import annotations

from collections.abc import Mapping

from filament.base.graph import Changes, Node, Rows, Tables
from filament.compiler.groups import SECURITY_GROUP, Group, acl_names, group_acls, read_group
from filament.compiler.nodes.rows import amend, changed_objects, invert
from filament.compiler.plan import Acl
from filament.model.view import View

# groups: fq name -> Group ---------------------------------------------------------------------


def _run_groups(view: View, _: Tables) -> Rows:
    return {group.name: read_group(group) for group in view.of_kind(SECURITY_GROUP)}


def _update_groups(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for group in changed_objects(changes["objects"], SECURITY_GROUP):
        now = view.named(SECURITY_GROUP, group.fq_name)
        rows[group.name] = read_group(now) if now else None
    return rows


# quoted: fq name of a group -> the groups whose rules name it ----------------------------------


def _run_quoted(_: View, tables: Tables) -> Rows:
    return invert(
        (name, group.name) for group in tables["groups"].values() for name in group.mentions
    )


def _update_quoted(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(name, group) for group, row in changes["groups"].items() for name in _quotes(row.old)}
    new = {(name, group) for group, row in changes["groups"].items() for name in _quotes(row.new)}
    return amend(tables["quoted"], old - new, new - old)


def _quotes(group: Group | None) -> frozenset[str]:
    return group.mentions if group else frozenset()


# acls: fq name -> Acl ---------------------------------------------------------------------


def _run_acls(_: View, tables: Tables) -> Rows:
    found = (stance.acl for stance in tables["stances"].values())
    rows: Rows = {acl.name: acl for acl in found if acl}
    for group in tables["groups"].values():
        rows |= _group_acls(tables, group)
    return rows


def _group_acls(tables: Tables, group: Group) -> dict[str, Acl]:
    def number_of(name: str) -> int | None:
        other = tables["groups"].get(name)
        return other.number if other else None

    return {acl.name: acl for acl in group_acls(group, number_of)}


def _update_acls(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    groups = set(changes["groups"])
    for name, change in changes["groups"].items():
        if not (change.old and change.new and change.old.number == change.new.number):
            groups |= tables["quoted"].get(name, frozenset())
    for name in groups:
        group = tables["groups"].get(name)
        rows |= _group_acls(tables, group) if group else dict.fromkeys(acl_names(name))
    for change in changes["stances"].values():
        if change.old and change.old.acl:
            rows[change.old.acl.name] = None
        if change.new and change.new.acl:
            rows[change.new.acl.name] = change.new.acl
    return rows


NODES: tuple[Node[View], ...] = (
    Node("groups", ("objects",), _run_groups, _update_groups),
    Node("quoted", ("groups",), _run_quoted, _update_quoted),
    Node("acls", ("stances", "groups", "quoted"), _run_acls, _update_acls),
)
