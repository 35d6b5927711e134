"""What a reader of configuration may ask: the read interface of snapshots and candidates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from filament.model.change import Allocation, Object


class View(Protocol):
    """A consistent picture of configuration at one revision.

    Implemented by `model.snapshot.Snapshot` (the committed state) and `model.snapshot.Candidate`
    (a snapshot with an uncommitted change laid over it). Every method is O(answer).
    """

    @property
    def revision(self) -> int:
        """The last commit contained (a candidate: the revision it would be committed as)."""

    def get(self, uuid: str) -> Object | None:
        """The object with this uuid."""

    def named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        """The object of a kind with this fq_name."""

    def of_kind(self, kind: str) -> Iterable[Object]:
        """All objects of a kind, in order of creation."""

    def count(self, kind: str) -> int:
        """How many objects of a kind there are."""

    def referrers(self, uuid: str, kind: str) -> Iterable[Object]:
        """Objects of `kind` that refer to `uuid` (back references)."""

    def children(self, uuid: str, kind: str) -> Iterable[Object]:
        """Objects of `kind` whose parent is `uuid`."""

    def allocated(self, pool: str, value: int) -> Allocation | None:
        """Who holds a value of a pool."""

    def allocations_of(self, owner: str) -> Iterable[Allocation]:
        """Everything an owner holds."""
