"""Deletion: what stands in its way, and what goes along."""

from __future__ import annotations

import msgspec

from filament.api.companions import companions_left
from filament.api.draft import DRAFT
from filament.api.permission import Access
from filament.api.refusals import still_used
from filament.api.shown import ShownPlan
from filament.api.symmetry import mirror
from filament.model.change import Object
from filament.model.kind import Kind
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate


def delete(
    change: Candidate,
    item: Object,
    plan: ShownPlan,
    asking: Access,
    going: frozenset[str] = frozenset(),
) -> None:
    """Delete an object nothing depends on, and what goes with it; `going` are the parents that go
    as well. ConflictError says what still uses it.
    """
    kind = KINDS[item.kind]
    shown = list(plan.of_network(item.uuid))
    children = [
        child
        for child_kind in kind.children.values()
        for child in change.children(item.uuid, child_kind)
    ]
    cascade = [child for child in children if _goes_with(kind, child)]
    blocking = [child for child in children if child not in cascade]
    for one in shown:
        for child_kind in KINDS[one.kind].children.values():
            blocking += change.children(one.uuid, child_kind)
    if blocking:
        raise still_used(asking, "children still present", item, blocking)
    users: list[Object] = []
    relaxed: list[Object] = []
    for one in (item, *shown):
        for user_kind in KINDS[one.kind].back_references.values():
            for user in change.referrers(one.uuid, user_kind):
                is_relaxed = all(ref.is_relaxed for ref in user.refs if ref.uuid == one.uuid)
                (relaxed if is_relaxed else users).append(user)
    for one in shown:  # references within a kind are mirrored, but not onto what is rendered
        users += change.referrers(one.uuid, one.kind)
    leaving = [one for one in users if item.kind in KINDS[one.kind].derived_references]
    going |= {item.uuid, *(one.uuid for one in (*cascade, *leaving))}
    users = [one for one in users if one.uuid not in going]
    if users:
        raise still_used(asking, "resource still referred", item, users)
    for child in cascade:
        delete(change, child, plan, asking, going)
    gone = {item.uuid, *(one.uuid for one in shown)}
    for user in (*leaving, *relaxed):
        kept = tuple(ref for ref in user.refs if ref.uuid not in gone)
        change.put(msgspec.structs.replace(user, refs=kept))
    mirror(change, msgspec.structs.replace(item, refs=()), item)
    change.delete(item)
    for owner in plan.owners(item):
        for allocation in change.allocations_of(owner):
            change.free(allocation)
    for left in companions_left(change, item):
        delete(change, left, plan, asking)


def _goes_with(kind: Kind, child: Object) -> bool:
    """Whether a child is deleted with its parent: derived, or made as a default (TF)."""
    made = (f"default-{child.kind}", DRAFT)
    return child.kind in kind.derived_children or child.fq_name[-1] in made
