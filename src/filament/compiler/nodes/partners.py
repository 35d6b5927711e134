"""Tables of who leaks with whom by policy or as provider: listers, partners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filament.base.graph import Changes, Node, Rows, Tables
from filament.compiler.acls import Stance
from filament.compiler.nodes.rows import amend, invert, rows_of
from filament.model.view import View

# listers: who wants to be connected to a network (its name), or to everybody in a project --


def _run_listers(_: View, tables: Tables) -> Rows:
    return invert(
        (key, name) for name, stance in tables["stances"].items() for key in _listed(stance)
    )


def _update_listers(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    gone, come = set(), set()
    for name, row in changes["stances"].items():
        before, after = _listed(row.old), _listed(row.new)
        gone |= {(key, name) for key in before - after}
        come |= {(key, name) for key in after - before}
    return amend(tables["listers"], gone, come)


def _listed(stance: Stance | None) -> set[tuple[str, str]]:
    """Return the keys under which `listers` holds a network."""
    if stance is None:
        return set()
    keys = {("network", name) for name in (*stance.wish.networks, *stance.providers)}
    if stance.wish.everybody:
        keys.add(("project", stance.project))
    return keys


# partners: fq name of a network -> the networks it leaks with, where there are any --------


def _run_partners(_: View, tables: Tables) -> Rows:
    found = ((name, _partners(tables, name)) for name in tables["stances"])
    return {name: partners for name, partners in found if partners}


def _update_partners(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = set()
    for name, change in changes["stances"].items():
        if change.old and change.new and _reach(change.old) == _reach(change.new):
            continue
        names |= {name, *tables["partners"].get(name, ())}
        for stance in rows_of(change):
            names |= stance.wish.networks | set(stance.providers)
            if stance.wish.everybody:
                names |= tables["listers"].get(("project", stance.project), frozenset())
        names |= tables["listers"].get(("network", name), frozenset())
    return {name: _partners(tables, name) or None for name in names}


def _reach(stance: Stance) -> tuple[Any, ...]:
    """Return what partners depend on."""
    return stance.wish, stance.providers, stance.project


def _partners(tables: Tables, name: str) -> frozenset[str]:
    """Return the networks that `name` leaks with: both list each other (TF), or one is linked to
    the other as to its provider network. Wanting everybody lists every network that lists us and
    those of our project that want everybody too.
    """
    stances, listers = tables["stances"], tables["listers"]
    own = stances.get(name)
    if own is None:
        return frozenset()
    listing = listers.get(("network", name), frozenset())
    found = {other for other in own.providers if other in stances}
    found |= {other for other in listing if name in stances[other].providers}
    for other in own.wish.networks:
        theirs = stances.get(other)
        if theirs and (name in theirs.wish.networks or theirs.wish.everybody):
            found.add(other)
    if own.wish.everybody:
        found |= {other for other in listing if name in stances[other].wish.networks}
        found |= listers.get(("project", own.project), frozenset())
    return frozenset(found - {name})


NODES: tuple[Node[View], ...] = (
    Node("listers", ("stances",), _run_listers, _update_listers),
    Node("partners", ("stances", "listers"), _run_partners, _update_partners),
)
