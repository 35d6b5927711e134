"""What a store promises; `tests/store` runs the same suite against every implementation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from filament.model.change import Allocation, Commit, Object


class Store(Protocol):
    """A transactional database of objects and allocations with a change log.

    Promises: `commit` is atomic and durable when it returns (a process killed at any later
    instant loses nothing, one killed before leaves nothing); revisions are gapless; two commits
    never get one revision; (pool, value) of allocations is unique; `log` returns exactly the
    commits after a revision or raises when they are compacted. Calls block; the owner runs them
    on one writer thread (`follow` on one of its own).
    """

    @property
    def is_shared(self) -> bool:
        """Whether other processes may commit to it at the same time; then follow it."""

    @property
    def compact_every(self) -> int:
        """After how many commits to compact: whoever commits meanwhile may wait for it."""

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """Return the current revision, every object (in order of creation) and allocation.

        The iterators are read before the next call.
        """

    def commit(self, commit: Commit) -> None:
        """Store a commit whose revision is current + 1.

        Raises `RevisionConflictError` when it is not, `ConflictError` when a taken value is
        already held or a (kind, fq_name) or uuid already exists, `TransientError` when the
        medium refuses (full, read-only); then nothing has changed. Of a shared store
        `TransientError` may also mean that nobody could say: the log tells.
        """

    def commit_all(self, commits: Sequence[Commit]) -> list[bytes]:
        """Store several commits at the price of one: all of them, or (raising) none.

        Returns each as JSON, for whoever passes it on.
        """

    def log(self, after: int, limit: int) -> list[Commit]:
        """Return up to `limit` commits with revisions above `after`, in order.

        Raises `NotFoundError` when commits after `after` are no longer kept, or when `after` lies
        beyond the last commit.
        """

    def touching(self, uuid: str, before: int, limit: int) -> list[Commit]:
        """Return the newest `limit` kept commits below revision `before` that put or delete an
        object, newest first.
        """

    def follow(self, after: int, timeout_s: float) -> list[Commit]:
        """Wait until there are commits above `after`, by whomever, and return some of them, in
        order; none when `timeout_s` is over. Raises as `log` does.

        Called from a thread of its own.
        """

    def compact(self, before: int) -> None:
        """Forget log entries with revisions below `before` (objects stay). Nobody is answered them
        any more; one that is killed soon afterwards may know them again.
        """

    def seed(
        self,
        revision: int,
        objects: Iterable[Object],
        allocations: Iterable[Allocation],
        commits: Sequence[Commit] = (),
    ) -> None:
        """Fill a store that was never written to: afterwards it is at `revision`, and its log holds
        `commits`: those without gaps up to `revision`, or none. All or nothing. Raises
        `ConflictError` when it has been written to.
        """

    def close(self) -> None:
        """Release files and handles; committed data stays."""
