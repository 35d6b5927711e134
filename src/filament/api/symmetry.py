"""References as they are kept: in one order, and symmetric between objects of one kind."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from filament.model.change import Object, Ref
from filament.model.kind import Kind
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate


def mirror(change: Candidate, item: Object, before: Object | None) -> None:
    """Keep references between objects of one kind symmetric, as TF does."""
    if item.kind not in KINDS[item.kind].references:
        return
    now = {ref.uuid: ref for ref in item.refs_to(item.kind)}
    then = {ref.uuid for ref in before.refs_to(item.kind)} if before is not None else set()
    for uuid in then - now.keys():
        other = change.get(uuid)
        if other is not None:
            kept = tuple(ref for ref in other.refs if ref.uuid != item.uuid)
            change.put(msgspec.structs.replace(other, refs=kept))
    for uuid, ref in now.items():
        other = change.get(uuid)
        if other is not None and uuid != item.uuid:
            kept = tuple(one for one in other.refs if one.uuid != item.uuid)
            back = Ref(item.kind, item.uuid, ref.attr)
            if back not in other.refs:
                refs = ordered(KINDS[item.kind], (*kept, back))
                change.put(msgspec.structs.replace(other, refs=refs))


def ordered(kind: Kind, refs: Iterable[Ref]) -> tuple[Ref, ...]:
    """References by kind in the registry's order, so that the same set is the same object."""
    order = list(kind.references)
    return tuple(sorted(refs, key=lambda ref: order.index(ref.kind)))
