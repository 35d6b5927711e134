"""A store in memory: for tests and the simulator. "Durable" as long as the instance lives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from filament.base.errors import ConflictError, NotFoundError, RevisionConflictError
from filament.model.change import Allocation, Commit, Object


class MemoryStore:
    """See `store.contract.Store`."""

    def __init__(self) -> None:
        self._revision = 0
        self._objects: dict[str, Object] = {}
        self._names: set[tuple[str, tuple[str, ...]]] = set()
        self._allocations: dict[tuple[str, int], Allocation] = {}
        self._log: list[Commit] = []

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """See Store."""
        objects, allocations = list(self._objects.values()), list(self._allocations.values())
        return self._revision, iter(objects), iter(allocations)

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self.commit_all([commit])

    def commit_all(self, commits: Sequence[Commit]) -> None:
        """See Store."""
        saved = (self._revision, dict(self._objects), set(self._names), dict(self._allocations))
        try:
            for commit in commits:
                self._apply(commit)
        except ConflictError:
            self._revision, self._objects, self._names, self._allocations = saved
            raise
        self._log += commits

    def log(self, after: int, limit: int) -> list[Commit]:
        """See Store."""
        first = self._log[0].revision if self._log else self._revision + 1
        if not first - 1 <= after <= self._revision:
            raise NotFoundError(
                f"commits after revision {after} are not kept;"
                f" the log holds {first}-{self._revision}"
            )
        start = after + 1 - first
        return self._log[start : start + limit]

    def compact(self, before: int) -> None:
        """See Store."""
        self._log = [commit for commit in self._log if commit.revision >= before]

    def close(self) -> None:
        """See Store."""

    def _apply(self, commit: Commit) -> None:
        if commit.revision != self._revision + 1:
            raise RevisionConflictError(
                f"commit {commit.revision} does not follow revision {self._revision}",
                self._revision,
            )
        for item in commit.deletes:
            if self._objects.pop(item.uuid, None) is None:
                raise ConflictError(f"{item.kind} {item.name} to delete does not exist")
            self._names.discard((item.kind, item.fq_name))
        for allocation in commit.frees:
            if self._allocations.pop((allocation.pool, allocation.value), None) is None:
                raise ConflictError(
                    f"value {allocation.value} of pool {allocation.pool} is not held"
                )
        for item in commit.puts:
            self._put(item)
        for allocation in commit.takes:
            key = (allocation.pool, allocation.value)
            if key in self._allocations:
                raise ConflictError(
                    f"value {allocation.value} of pool {allocation.pool} is already held"
                )
            self._allocations[key] = allocation
        self._revision = commit.revision

    def _put(self, item: Object) -> None:
        name = (item.kind, item.fq_name)
        before = self._objects.get(item.uuid)
        if before is None and name in self._names:
            raise ConflictError(f"{item.kind} {item.name} already exists")
        if before is not None and (before.kind, before.fq_name) != name:
            raise ConflictError(f"uuid {item.uuid} already belongs to {before.kind} {before.name}")
        self._names.add(name)
        self._objects[item.uuid] = item
