"""What the nodes share: which objects and allocations they read, and tables turned around."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from filament.base.graph import Change, Changes, Rows
from filament.compiler.extras import ROUTING_INSTANCE
from filament.compiler.groups import SECURITY_GROUP
from filament.compiler.networks import BGPVPN
from filament.compiler.targets import POOL_PREFIX
from filament.model.change import Commit, Object

VN_ID_POOL = "vn-id"
# Whose changes nodes look at; what they read besides changes together with these.
KINDS = frozenset(
    (
        BGPVPN,
        "global-system-config",
        "network-policy",
        "virtual-network",
        ROUTING_INSTANCE,
        SECURITY_GROUP,
    )
)


def source_changes(commit: Commit) -> dict[str, Changes]:
    """Return what the nodes read of a commit as changes of sources: objects by uuid, allocations
    by (pool, value). Ports and addresses are most of what ever changes, and no node reads them.
    """
    objects = {each.uuid: Change(each, None) for each in commit.deletes if each.kind in KINDS}
    for each in commit.puts:
        if each.kind in KINDS:
            old = objects[each.uuid].old if each.uuid in objects else None
            objects[each.uuid] = Change(old, each)
    allocations = {
        (each.pool, each.value): Change(each, None) for each in commit.frees if _is_read(each.pool)
    }
    for taken in commit.takes:
        if not _is_read(taken.pool):
            continue
        key = (taken.pool, taken.value)
        old = allocations[key].old if key in allocations else None
        allocations[key] = Change(old, taken)
    return {"objects": objects, "allocations": allocations}


def _is_read(pool: str) -> bool:
    return pool == VN_ID_POOL or pool.startswith(POOL_PREFIX)


def rows_of(change: Change) -> list[Any]:
    """Return the row before and the row after, those that are known."""
    return [row for row in change if row is not None]


def changed_objects(changes: Changes, kind: str) -> list[Object]:
    assert kind in KINDS, f"changes of {kind} do not reach the nodes: add it to KINDS"
    return [row for change in changes.values() for row in rows_of(change) if row.kind == kind]


def invert(pairs: Iterable[tuple[Any, str]]) -> Rows:
    """Return key -> frozenset of everything paired with it."""
    index: dict[Any, set[str]] = {}
    for key, member in pairs:
        index.setdefault(key, set()).add(member)
    return {key: frozenset(members) for key, members in index.items()}


def amend(
    index: Mapping[Any, frozenset[str]],
    gone: set[tuple[Any, str]],
    come: set[tuple[Any, str]],
) -> Rows:
    """Return the rows of a reverse index that pairs gone and come change; empty ones are gone."""
    removed, added = invert(gone), invert(come)
    nothing: frozenset[str] = frozenset()
    return {
        key: (index.get(key, nothing) - removed.get(key, nothing)) | added.get(key, nothing) or None
        for key in removed.keys() | added.keys()
    }
