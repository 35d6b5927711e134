"""A store in memory: for tests and the simulator. "Durable" as long as the instance lives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from filament.base.errors import ConflictError, NotFoundError
from filament.model.change import Allocation, Commit, Object
from filament.store.index import Index, Undo

_encode = msgspec.json.Encoder().encode


class MemoryStore:
    """See `store.contract.Store`."""

    is_shared = False
    compact_every = 1000

    def __init__(self) -> None:
        self._index = Index()
        self._objects: dict[str, Object] = {}
        self._allocations: dict[tuple[str, int], Allocation] = {}
        self._log: list[Commit] = []
        self._oldest = 1  # of the log, also while it is empty
        self._news = threading.Condition()

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """See Store."""
        objects, allocations = list(self._objects.values()), list(self._allocations.values())
        return self._index.revision, iter(objects), iter(allocations)

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self.commit_all([commit])

    def commit_all(self, commits: Sequence[Commit]) -> list[bytes]:
        """See Store."""
        undo: Undo = []
        revision = self._index.revision
        try:
            for commit in commits:
                self._index.require_applicable(commit)
                undo += self._index.apply(commit)
        except ConflictError:
            self._index.revert(undo, revision)
            raise
        for commit in commits:
            self._keep(commit)
        with self._news:
            self._log += commits
            self._news.notify_all()
        return [_encode(commit) for commit in commits]

    def log(self, after: int, limit: int) -> list[Commit]:
        """See Store."""
        if not self._oldest - 1 <= after <= self._index.revision:
            raise not_kept(after, self._oldest, self._index.revision)
        start = after + 1 - self._oldest
        return self._log[start : start + limit]

    def touching(self, uuid: str, before: int, limit: int) -> list[Commit]:
        """See Store."""
        found = [
            commit for commit in self._log if commit.revision < before and touches(commit, uuid)
        ]
        return found[::-1][:limit]

    def follow(self, after: int, timeout_s: float) -> list[Commit]:
        """See Store."""
        with self._news:
            self._news.wait_for(lambda: self._index.revision > after, timeout_s)
            return self.log(after, FOLLOW_COMMITS)

    def compact(self, before: int) -> None:
        """See Store."""
        self._oldest = max(self._oldest, min(before, self._index.revision + 1))
        self._log = [commit for commit in self._log if commit.revision >= before]

    def seed(
        self,
        revision: int,
        objects: Iterable[Object],
        allocations: Iterable[Allocation],
        commits: Sequence[Commit] = (),
    ) -> None:
        """See Store."""
        if self._index.revision:
            raise not_empty(self._index.revision)
        self._objects = {item.uuid: item for item in objects}
        self._allocations = {(one.pool, one.value): one for one in allocations}
        self._index.fill(revision, self._objects.values(), self._allocations.values())
        self._log = list(commits)
        self._oldest = commits[0].revision if commits else revision + 1

    def close(self) -> None:
        """See Store."""

    def _keep(self, commit: Commit) -> None:
        for item in commit.deletes:
            del self._objects[item.uuid]
        for one in commit.frees:
            del self._allocations[one.pool, one.value]
        for item in commit.puts:
            self._objects[item.uuid] = item
        for one in commit.takes:
            self._allocations[one.pool, one.value] = one


FOLLOW_COMMITS = 1000  # that one call of `follow` returns at most


def touches(commit: Commit, uuid: str) -> bool:
    """Whether a commit puts or deletes an object."""
    return any(item.uuid == uuid for item in (*commit.puts, *commit.deletes))


def not_kept(after: int, oldest: int, last: int) -> NotFoundError:
    """Refuse to read commits after a revision that the log does not hold, or not any more."""
    held = f"the log holds {oldest}-{last}" if oldest <= last else "the log is empty"
    return NotFoundError(f"commits after revision {after} are not kept; {held}")


def not_empty(revision: int) -> ConflictError:
    """Refuse to import into a store that has been written to."""
    return ConflictError(
        f"the store is not empty: it is at revision {revision}; import into a new one, or restore"
    )
