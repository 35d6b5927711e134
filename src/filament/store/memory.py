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
        self._named: dict[tuple[str, tuple[str, ...]], str] = {}
        self._allocations: dict[tuple[str, int], Allocation] = {}
        self._log: list[Commit] = []

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """See Store."""
        objects, allocations = list(self._objects.values()), list(self._allocations.values())
        return self._revision, iter(objects), iter(allocations)

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self._require_applicable(commit)
        self._apply(commit)
        self._log.append(commit)

    def commit_all(self, commits: Sequence[Commit]) -> None:
        """See Store."""
        if len(commits) > 1:  # a later one may fail: keep what was
            kept = (self._revision, dict(self._objects), dict(self._named))
            held, length = dict(self._allocations), len(self._log)
        try:
            for commit in commits:
                self.commit(commit)
        except ConflictError:
            if len(commits) > 1:
                self._revision, self._objects, self._named = kept
                self._allocations = held
                del self._log[length:]
            raise

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

    def _require_applicable(self, commit: Commit) -> None:
        if commit.revision != self._revision + 1:
            raise RevisionConflictError(
                f"commit {commit.revision} does not follow revision {self._revision}",
                self._revision,
            )
        deleted = {item.uuid for item in commit.deletes}
        for item in commit.deletes:
            if item.uuid not in self._objects:
                raise ConflictError(f"{item.kind} {item.name} to delete does not exist")
        freed = {(one.pool, one.value) for one in commit.frees}
        for pool, value in freed:
            if (pool, value) not in self._allocations:
                raise ConflictError(f"value {value} of pool {pool} is not held")
        for item in commit.puts:
            holder = self._named.get((item.kind, item.fq_name), item.uuid)
            if holder != item.uuid and holder not in deleted:
                raise ConflictError(f"{item.kind} {item.name} already exists")
            before = self._objects.get(item.uuid)
            is_same = before is None or (before.kind, before.fq_name) == (item.kind, item.fq_name)
            if not is_same and item.uuid not in deleted:
                raise ConflictError(f"uuid {item.uuid} already belongs to another object")
        for one in commit.takes:
            key = (one.pool, one.value)
            if key in self._allocations and key not in freed:
                raise ConflictError(f"value {one.value} of pool {one.pool} is already held")

    def _apply(self, commit: Commit) -> None:
        for item in commit.deletes:
            del self._objects[item.uuid]
            del self._named[item.kind, item.fq_name]
        for one in commit.frees:
            del self._allocations[one.pool, one.value]
        for item in commit.puts:
            self._objects[item.uuid] = item
            self._named[item.kind, item.fq_name] = item.uuid
        for one in commit.takes:
            self._allocations[one.pool, one.value] = one
        self._revision = commit.revision
