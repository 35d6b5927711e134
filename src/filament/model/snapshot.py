"""Configuration in memory: the committed state, and a change laid over it.

A `Snapshot` is changed only by `apply`, in time proportional to the commit; everything else reads.
A `Candidate` is what a request would make of it: the compiler and the checks read the candidate
as if it had been committed, then it either becomes a `Commit` or is dropped. Candidates stack,
so that several requests can be prepared before the first is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from filament.base.errors import ConflictError
from filament.model.change import Allocation, Commit, Object
from filament.model.runs import Runs
from filament.model.view import View


class PoolView(View, Protocol):
    """A view that can also say which values of a pool are free and which are held."""

    def free_from(self, pool: str, value: int) -> int:
        """The lowest free value of a pool at or above `value`."""

    def free_down_from(self, pool: str, value: int) -> int:
        """The highest free value of a pool at or below `value`."""

    def held_count(self, pool: str) -> int:
        """How many values of a pool are held."""


class _Pool:
    """One pool's allocations by value. Exists while something is held."""

    __slots__ = ("held", "runs")

    def __init__(self) -> None:
        self.held: dict[int, Allocation] = {}
        self.runs = Runs()


class Snapshot:
    """The committed configuration at one revision. One per role process, lives as long as it."""

    def __init__(
        self,
        revision: int = 0,
        objects: Iterable[Object] = (),
        allocations: Iterable[Allocation] = (),
    ) -> None:
        self._revision = revision
        self._objects: dict[str, Object] = {}
        self._named: dict[tuple[str, tuple[str, ...]], str] = {}
        self._of_kind: dict[str, dict[str, None]] = {}
        self._referrers: dict[str, dict[str, dict[str, None]]] = {}
        self._children: dict[str, dict[str, dict[str, None]]] = {}
        self._pools: dict[str, _Pool] = {}
        self._owned: dict[str, dict[tuple[str, int], Allocation]] = {}
        for item in objects:
            self._put(item)
        for allocation in allocations:
            self._take(allocation)

    @property
    def revision(self) -> int:
        """The last commit applied."""
        return self._revision

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._objects)

    def apply(self, commit: Commit) -> None:
        """Make `commit` (the next revision) part of the state."""
        assert commit.revision == self._revision + 1, (commit.revision, self._revision)
        for item in commit.deletes:
            self._delete(item.uuid)
        for allocation in commit.frees:
            self._free(allocation)
        for item in commit.puts:
            self._put(item)
        for allocation in commit.takes:
            self._take(allocation)
        self._revision = commit.revision

    def get(self, uuid: str) -> Object | None:
        """See View."""
        return self._objects.get(uuid)

    def named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        """See View."""
        uuid = self._named.get((kind, fq_name))
        return None if uuid is None else self._objects[uuid]

    def of_kind(self, kind: str) -> Iterator[Object]:
        """See View."""
        return (self._objects[uuid] for uuid in self._of_kind.get(kind, ()))

    def count(self, kind: str) -> int:
        """See View."""
        return len(self._of_kind.get(kind, ()))

    def referrers(self, uuid: str, kind: str) -> Iterator[Object]:
        """See View."""
        return (self._objects[who] for who in self._referrers.get(uuid, {}).get(kind, ()))

    def children(self, uuid: str, kind: str) -> Iterator[Object]:
        """See View."""
        return (self._objects[who] for who in self._children.get(uuid, {}).get(kind, ()))

    def allocated(self, pool: str, value: int) -> Allocation | None:
        """See View."""
        held = self._pools.get(pool)
        return None if held is None else held.held.get(value)

    def allocations_of(self, owner: str) -> list[Allocation]:
        """See View."""
        return list(self._owned.get(owner, {}).values())

    def free_from(self, pool: str, value: int) -> int:
        """See PoolView."""
        held = self._pools.get(pool)
        return value if held is None else held.runs.free_from(value)

    def free_down_from(self, pool: str, value: int) -> int:
        """See PoolView."""
        held = self._pools.get(pool)
        return value if held is None else held.runs.free_down_from(value)

    def held_count(self, pool: str) -> int:
        """See PoolView."""
        held = self._pools.get(pool)
        return 0 if held is None else len(held.held)

    def objects(self) -> Iterator[Object]:
        """Every object, in order of creation."""
        return iter(self._objects.values())

    def allocations(self) -> Iterator[Allocation]:
        """Every allocation."""
        return (one for pool in self._pools.values() for one in pool.held.values())

    def _put(self, item: Object) -> None:
        before = self._objects.get(item.uuid)
        if before is None:
            self._named[item.kind, item.fq_name] = item.uuid
            self._of_kind.setdefault(item.kind, {})[item.uuid] = None
            if item.parent_uuid is not None:
                _index(self._children, item.parent_uuid, item)
        self._objects[item.uuid] = item
        if before is None or before.refs != item.refs:
            now = {ref.uuid for ref in item.refs}
            formerly = {ref.uuid for ref in before.refs} if before is not None else set()
            for uuid in formerly - now:
                _unindex(self._referrers, uuid, item)
            for ref in item.refs:  # not `now`: keep the order of the references
                if ref.uuid not in formerly:
                    _index(self._referrers, ref.uuid, item)

    def _delete(self, uuid: str) -> None:
        item = self._objects.pop(uuid)
        del self._named[item.kind, item.fq_name]
        del self._of_kind[item.kind][uuid]
        if item.parent_uuid is not None:
            _unindex(self._children, item.parent_uuid, item)
        for target in {ref.uuid for ref in item.refs}:
            _unindex(self._referrers, target, item)

    def _take(self, allocation: Allocation) -> None:
        pool = self._pools.setdefault(allocation.pool, _Pool())
        pool.runs.add(allocation.value)
        pool.held[allocation.value] = allocation
        key = (allocation.pool, allocation.value)
        self._owned.setdefault(allocation.owner, {})[key] = allocation

    def _free(self, allocation: Allocation) -> None:
        pool = self._pools[allocation.pool]
        pool.runs.remove(allocation.value)
        del pool.held[allocation.value]
        if not pool.held:
            del self._pools[allocation.pool]
        owned = self._owned[allocation.owner]
        del owned[allocation.pool, allocation.value]
        if not owned:
            del self._owned[allocation.owner]


Index = dict[str, dict[str, dict[str, None]]]


def _index(index: Index, key: str, item: Object) -> None:
    by_kind = index.get(key)
    if by_kind is None:
        by_kind = index[key] = {}
    uuids = by_kind.get(item.kind)
    if uuids is None:
        uuids = by_kind[item.kind] = {}
    uuids[item.uuid] = None


def _unindex(index: Index, key: str, item: Object) -> None:
    by_kind = index[key]
    del by_kind[item.kind][item.uuid]
    if not by_kind[item.kind]:
        del by_kind[item.kind]
    if not by_kind:
        del index[key]


class Candidate:
    """A view with an uncommitted change laid over it. One per request; costs only the change."""

    def __init__(self, base: PoolView) -> None:
        self._base = base
        self._revision = base.revision + 1
        self._puts: dict[str, Object] = {}
        self._deletes: dict[str, Object] = {}
        self._named: dict[tuple[str, tuple[str, ...]], str] = {}
        self._takes: dict[tuple[str, int], Allocation] = {}
        self._frees: dict[tuple[str, int], Allocation] = {}

    @property
    def revision(self) -> int:
        """The revision it would be committed as."""
        return self._revision

    @property
    def puts(self) -> list[Object]:
        """Objects added or changed so far."""
        return list(self._puts.values())

    @property
    def deletes(self) -> list[Object]:
        """Objects deleted so far, as they were."""
        return list(self._deletes.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed so far."""
        return not (self._puts or self._deletes or self._takes or self._frees)

    def before(self, uuid: str) -> Object | None:
        """The object as it was without this change."""
        return self._base.get(uuid)

    def put(self, item: Object) -> Object:
        """Add or replace an object; its revision becomes the candidate's. Returns it."""
        item = msgspec.structs.replace(item, revision=self._revision)
        self._puts[item.uuid] = item
        self._named[item.kind, item.fq_name] = item.uuid
        return item

    def delete(self, item: Object) -> None:
        """Remove an object and give back everything it holds."""
        self._puts.pop(item.uuid, None)
        self._named.pop((item.kind, item.fq_name), None)
        before = self._base.get(item.uuid)
        if before is not None:  # one added by this change was never there
            self._deletes[item.uuid] = before
        for allocation in self.allocations_of(item.uuid):
            self.free(allocation)

    def take(self, pool: str, value: int, owner: str) -> None:
        """Take a value of a pool; ConflictError when it is held."""
        holder = self.allocated(pool, value)
        if holder is not None:
            raise ConflictError(f"value {value} of pool {pool} is held by {holder.owner}")
        self._takes[pool, value] = Allocation(pool, value, owner)

    def free(self, allocation: Allocation) -> None:
        """Give a value back; it may be taken again, also within the same change."""
        key = (allocation.pool, allocation.value)
        if self._takes.pop(key, None) is None:
            self._frees[key] = allocation

    def commit(self, at: float, who: str) -> Commit:
        """The change as a commit, with the candidate's revision."""
        return Commit(
            revision=self._revision,
            at=at,
            who=who,
            puts=tuple(self._puts.values()),
            deletes=tuple(self._deletes.values()),
            takes=tuple(self._takes.values()),
            frees=tuple(self._frees.values()),
        )

    def get(self, uuid: str) -> Object | None:
        """See View."""
        item = self._puts.get(uuid)
        if item is not None:
            return item
        return None if uuid in self._deletes else self._base.get(uuid)

    def named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        """See View."""
        uuid = self._named.get((kind, fq_name))
        if uuid is not None:
            return self._puts[uuid]
        item = self._base.named(kind, fq_name)
        return None if item is None or item.uuid in self._deletes else item

    def of_kind(self, kind: str) -> Iterator[Object]:
        """See View."""
        new = [item for item in self._puts.values() if item.kind == kind]
        return self._overlaid(self._base.of_kind(kind), new)

    def count(self, kind: str) -> int:
        """See View."""
        return sum(1 for _ in self.of_kind(kind))

    def referrers(self, uuid: str, kind: str) -> Iterator[Object]:
        """See View."""
        if not self._puts and not self._deletes:
            return iter(self._base.referrers(uuid, kind))
        new = [
            item
            for item in self._puts.values()
            if item.kind == kind and any(ref.uuid == uuid for ref in item.refs)
        ]
        return self._overlaid(self._base.referrers(uuid, kind), new)

    def children(self, uuid: str, kind: str) -> Iterator[Object]:
        """See View."""
        if not self._puts and not self._deletes:
            return iter(self._base.children(uuid, kind))
        new = [
            item for item in self._puts.values() if item.kind == kind and item.parent_uuid == uuid
        ]
        return self._overlaid(self._base.children(uuid, kind), new)

    def allocated(self, pool: str, value: int) -> Allocation | None:
        """See View."""
        taken = self._takes.get((pool, value))
        if taken is not None or (pool, value) in self._frees:
            return taken
        return self._base.allocated(pool, value)

    def allocations_of(self, owner: str) -> list[Allocation]:
        """See View."""
        kept = [
            one
            for one in self._base.allocations_of(owner)
            if (one.pool, one.value) not in self._frees
        ]
        return kept + [one for one in self._takes.values() if one.owner == owner]

    def free_from(self, pool: str, value: int) -> int:
        """See PoolView."""
        free = self._base.free_from(pool, value)
        while (pool, free) in self._takes:
            free = self._base.free_from(pool, free + 1)
        if not self._frees:
            return free
        return min([free, *(one for one in self._given_back(pool) if one >= value)])

    def free_down_from(self, pool: str, value: int) -> int:
        """See PoolView."""
        free = self._base.free_down_from(pool, value)
        while (pool, free) in self._takes:
            free = self._base.free_down_from(pool, free - 1)
        if not self._frees:
            return free
        return max([free, *(one for one in self._given_back(pool) if one <= value)])

    def _given_back(self, pool: str) -> list[int]:
        return [key[1] for key in self._frees if key[0] == pool and key not in self._takes]

    def held_count(self, pool: str) -> int:
        """See PoolView."""
        taken = sum(key[0] == pool for key in self._takes)
        return self._base.held_count(pool) + taken - sum(key[0] == pool for key in self._frees)

    def _overlaid(self, base: Iterable[Object], new: list[Object]) -> Iterator[Object]:
        """`base` without what was changed or deleted, in place where `new` has the new version."""
        changed = {item.uuid: item for item in new}
        for item in base:
            replacement = changed.pop(item.uuid, None)
            if replacement is not None:
                yield replacement
            elif item.uuid not in self._puts and item.uuid not in self._deletes:
                yield item
        yield from changed.values()


class Staged(Candidate):
    """Prepared commits that are not durable yet, laid over a snapshot. One per group of writes."""

    @property
    def revision(self) -> int:
        """The last commit laid over the base."""
        return self._revision - 1

    def absorb(self, commit: Commit) -> None:
        """Lay the next prepared commit over, so that the request after it can build on it."""
        assert commit.revision == self._revision, (commit.revision, self._revision)
        for item in commit.deletes:
            self._puts.pop(item.uuid, None)
            self._named.pop((item.kind, item.fq_name), None)
            self._deletes[item.uuid] = item
        for allocation in commit.frees:
            self.free(allocation)
        for item in commit.puts:
            self._puts[item.uuid] = item
            self._named[item.kind, item.fq_name] = item.uuid
            self._deletes.pop(item.uuid, None)
        for allocation in commit.takes:
            self._takes[allocation.pool, allocation.value] = allocation
        self._revision += 1
