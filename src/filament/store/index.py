"""What a store must know about its content to refuse a commit: keys, not contents.

The check costs the commit, not the store. It is the second line of defence: whoever prepared the
commit checked it against the same revision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from filament.base.errors import ConflictError, RevisionConflictError
from filament.model.change import Allocation, Commit, Object

_ABSENT = object()
Undo = list[tuple[dict[Any, Any], Any, Any]]
Place = tuple[int, int]  # where an object stands in the order of creation: revision, then rank


class Index:
    """Uuids, names and held values at one revision. One per store."""

    def __init__(self) -> None:
        self.revision = 0
        self.places: dict[str, Place] = {}
        self._identities: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._named: dict[tuple[str, tuple[str, ...]], str] = {}
        self._held: dict[tuple[str, int], None] = {}

    def fill(
        self, revision: int, objects: Iterable[Object], allocations: Iterable[Allocation]
    ) -> None:
        """Start from a whole content; whoever needs `places` sets them."""
        self.revision = revision
        self._identities = {item.uuid: (item.kind, item.fq_name) for item in objects}
        self._named = {identity: uuid for uuid, identity in self._identities.items()}
        self._held = {(one.pool, one.value): None for one in allocations}

    def require_applicable(self, commit: Commit) -> None:
        """Raise RevisionConflictError or ConflictError when a commit cannot be the next one."""
        if commit.revision != self.revision + 1:
            raise RevisionConflictError(
                f"commit {commit.revision} does not follow revision {self.revision}",
                self.revision,
            )
        deleted = {item.uuid for item in commit.deletes}
        for item in commit.deletes:
            if item.uuid not in self._identities:
                raise ConflictError(f"{item.kind} {item.name} to delete does not exist")
        freed = {(one.pool, one.value) for one in commit.frees}
        for pool, value in freed:
            if (pool, value) not in self._held:
                raise ConflictError(f"value {value} of pool {pool} is not held")
        for item in commit.puts:
            holder = self._named.get((item.kind, item.fq_name), item.uuid)
            if holder != item.uuid and holder not in deleted:
                raise ConflictError(f"{item.kind} {item.name} already exists")
            before = self._identities.get(item.uuid)
            is_same = before is None or before == (item.kind, item.fq_name)
            if not is_same and item.uuid not in deleted:
                raise ConflictError(f"uuid {item.uuid} already belongs to another object")
        for one in commit.takes:
            key = (one.pool, one.value)
            if key in self._held and key not in freed:
                raise ConflictError(f"value {one.value} of pool {one.pool} is already held")

    def apply(self, commit: Commit) -> Undo:
        """Take over the next commit; returns what `revert` needs."""
        undo: Undo = []
        for item in commit.deletes:
            identity = self._identities[item.uuid]
            _drop(undo, self._identities, item.uuid)
            if item.uuid in self.places:
                _drop(undo, self.places, item.uuid)
            if self._named.get(identity) == item.uuid:
                _drop(undo, self._named, identity)
        for one in commit.frees:
            _drop(undo, self._held, (one.pool, one.value))
        for rank, item in enumerate(commit.puts):
            if item.uuid not in self._identities:
                _set(undo, self.places, item.uuid, (commit.revision, rank))
            _set(undo, self._identities, item.uuid, (item.kind, item.fq_name))
            _set(undo, self._named, (item.kind, item.fq_name), item.uuid)
        for one in commit.takes:
            _set(undo, self._held, (one.pool, one.value), None)
        self.revision = commit.revision
        return undo

    def revert(self, undo: Undo, revision: int) -> None:
        """Go back to `revision`, before the commits whose steps `undo` holds, in order."""
        for table, key, former in reversed(undo):
            if former is _ABSENT:
                del table[key]
            else:
                table[key] = former
        self.revision = revision


def _set(undo: Undo, table: dict[Any, Any], key: Any, value: Any) -> None:
    undo.append((table, key, table.get(key, _ABSENT)))
    table[key] = value


def _drop(undo: Undo, table: dict[Any, Any], key: Any) -> None:
    undo.append((table, key, table.pop(key)))
