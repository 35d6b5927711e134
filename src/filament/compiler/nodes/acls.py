"""Tables of rules: groups, quoted, pieces, and the lists of networks and of groups: acls.

Groups are long, and changed by a rule: what is made of a rule is made once.
"""

from __future__ import annotations

from collections.abc import Mapping

from filament.base.graph import Changes, Node, Rows, Tables
from filament.compiler.groups import (
    SECURITY_GROUP,
    Group,
    NumberOf,
    acl_names,
    group_acls,
    group_pieces,
    read_group,
)
from filament.compiler.nodes.rows import amend, changed_objects, invert
from filament.model.view import View

# groups: fq name -> Group ---------------------------------------------------------------------


def _run_groups(view: View, _: Tables) -> Rows:
    return {group.name: read_group(group) for group in view.of_kind(SECURITY_GROUP)}


def _update_groups(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for group in changed_objects(changes["objects"], SECURITY_GROUP):
        now = view.named(SECURITY_GROUP, group.fq_name)
        rows[group.name] = read_group(now, tables["groups"].get(group.name)) if now else None
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


# pieces: fq name of a group -> Pieces ------------------------------------------------------------


def _run_pieces(_: View, tables: Tables) -> Rows:
    number_of = _numbers(tables)
    return {name: group_pieces(group, number_of) for name, group in tables["groups"].items()}


def _update_pieces(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    number_of = _numbers(tables)
    anew: set[str] = set()  # those whose rules name a group that has another number
    for name, change in changes["groups"].items():
        if not (change.old and change.new and change.old.number == change.new.number):
            anew |= tables["quoted"].get(name, frozenset())
    rows: Rows = {}
    for name in anew | set(changes["groups"]):
        group = tables["groups"].get(name)
        old = changes["groups"][name].old if name in changes["groups"] else None
        known = tables["pieces"].get(name)
        before = (old, known) if old and known and name not in anew else None
        rows[name] = group_pieces(group, number_of, before) if group else None
    return rows


def _numbers(tables: Tables) -> NumberOf:
    def number_of(name: str) -> int | None:
        other = tables["groups"].get(name)
        return other.number if other else None

    return number_of


# acls: fq name -> Acl ---------------------------------------------------------------------


def _run_acls(_: View, tables: Tables) -> Rows:
    found = (stance.acl for stance in tables["stances"].values())
    rows: Rows = {acl.name: acl for acl in found if acl}
    for name, group in tables["groups"].items():
        rows |= {acl.name: acl for acl in group_acls(group, tables["pieces"][name])}
    return rows


def _update_acls(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for name in {*changes["groups"], *changes["pieces"]}:
        group = tables["groups"].get(name)
        if group:
            rows |= {acl.name: acl for acl in group_acls(group, tables["pieces"][name])}
        else:
            rows |= dict.fromkeys(acl_names(name))
    for change in changes["stances"].values():
        if change.old and change.old.acl:
            rows[change.old.acl.name] = None
        if change.new and change.new.acl:
            rows[change.new.acl.name] = change.new.acl
    return rows


NODES: tuple[Node[View], ...] = (
    Node("groups", ("objects",), _run_groups, _update_groups),
    Node("quoted", ("groups",), _run_quoted, _update_quoted),
    Node("pieces", ("groups", "quoted"), _run_pieces, _update_pieces),
    Node("acls", ("stances", "groups", "pieces"), _run_acls, _update_acls),
)
