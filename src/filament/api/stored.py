"""Small durable values that are no objects of the configuration: key-value pairs of clients
and pools of integers.

They live in the same store, under the same revisions, as objects of a kind that the registry does
not list: no route reaches them but those of this page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from filament.api.engine import ConfigEngine
from filament.api.request import Outcome
from filament.base.errors import ConflictError, InputError, NotFoundError
from filament.model.change import Object
from filament.model.snapshot import Candidate
from filament.model.stored import STORED_VALUE
from filament.model.view import View

USERAGENT = "useragent"
_INT_POOL = "int-pool"
_INT = "int"


def find_value(view: View, space: str, key: str) -> Any:
    """The value stored under a key, None when there is none."""
    item = view.named(STORED_VALUE, (space, key))
    return None if item is None else item.props["value"]


def list_values(view: View, space: str) -> Iterator[tuple[str, Any]]:
    """Every key and value of a space."""
    for item in view.of_kind(STORED_VALUE):
        if item.fq_name[0] == space:
            yield item.fq_name[1], item.props["value"]


class StoreValue(msgspec.Struct, frozen=True):
    """Store a value under a key, over what was there."""

    space: str
    key: str
    value: Any

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        before = change.named(STORED_VALUE, (self.space, self.key))
        if before is None or before.props["value"] != self.value:
            _put(engine, change, self.space, self.key, self.value, before=before)
        return Outcome()


class ForgetValue(msgspec.Struct, frozen=True):
    """Remove a key, if it is there (TF asks no more)."""

    space: str
    key: str

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del engine, now
        item = change.named(STORED_VALUE, (self.space, self.key))
        if item is not None:
            change.delete(item)
        return Outcome()


class CreateIntPool(msgspec.Struct, frozen=True):
    """Make a pool of the integers from `start` to `end`."""

    pool: str
    start: int
    end: int

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        if not 0 <= self.start <= self.end < 1 << 62:
            raise InputError(
                "bad-range",
                f"{self.start}-{self.end} is no range of integers",
                path="$.start",
                hint="start must not be negative nor above end",
            )
        value = {"start": self.start, "end": self.end}
        known = find_value(change, _INT_POOL, self.pool)
        if known is not None and known != value:
            raise ConflictError(
                f"int pool {self.pool} already exists, from {known['start']} to {known['end']};"
                " delete it first"
            )
        if known is None:
            _put(engine, change, _INT_POOL, self.pool, value)
        return Outcome()


class DeleteIntPool(msgspec.Struct, frozen=True):
    """Delete a pool and everything allocated from it."""

    pool: str

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del engine, now
        item = _pool(change, self.pool)
        for held in list(change.children(item.uuid, STORED_VALUE)):
            change.delete(held)
        change.delete(item)
        return Outcome()


class TakeInt(msgspec.Struct, frozen=True):
    """Take `value`, or the lowest free one, for an owner (any text); answers the value."""

    pool: str
    owner: str
    value: int | None = None

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        item = _pool(change, self.pool)
        start, end = item.props["value"]["start"], item.props["value"]["end"]
        value = change.free_from(_allocations(self.pool), start)
        if self.value is not None:
            value = self.value
            if not start <= value <= end:
                raise InputError(
                    "outside-pool",
                    f"{value} is not in int pool {self.pool}",
                    path="$.value",
                    hint=f"it goes from {start} to {end}",
                )
            holder = int_owner(change, self.pool, value)
            if holder == self.owner:
                return Outcome(answer=value)
            if holder is not None:
                raise ConflictError(f"{value} of int pool {self.pool} is held by '{holder}'")
        elif value > end:
            raise ConflictError(f"int pool {self.pool} is exhausted: {start}-{end} are all held")
        held = _put(engine, change, _INT, f"{self.pool}/{value}", self.owner, parent=item)
        change.take(_allocations(self.pool), value, held.uuid)
        return Outcome(answer=value)


class FreeInt(msgspec.Struct, frozen=True):
    """Give an integer back, if it is held."""

    pool: str
    value: int

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del engine, now
        _pool(change, self.pool)
        held = change.named(STORED_VALUE, (_INT, f"{self.pool}/{self.value}"))
        if held is not None:
            change.delete(held)
        return Outcome()


def int_owner(view: View, pool: str, value: int) -> str | None:
    """Who holds an integer of a pool, None for nobody; NotFoundError for an unknown pool."""
    _pool(view, pool)
    owner: str | None = find_value(view, _INT, f"{pool}/{value}")
    return owner


def _pool(view: View, pool: str) -> Object:
    item = view.named(STORED_VALUE, (_INT_POOL, pool))
    if item is None:
        raise NotFoundError(f"int pool {pool} not found; POST /int-pools makes one")
    return item


def _allocations(pool: str) -> str:
    return f"int-pool/{pool}"


def _put(
    engine: ConfigEngine,
    change: Candidate,
    space: str,
    key: str,
    value: Any,
    *,
    before: Object | None = None,
    parent: Object | None = None,
) -> Object:
    if before is not None:
        return change.put(msgspec.structs.replace(before, props={"value": value}))
    return change.put(
        Object(
            kind=STORED_VALUE,
            uuid=engine.new_uuid(),
            fq_name=(space, key),
            parent_kind=parent.kind if parent is not None else None,
            parent_uuid=parent.uuid if parent is not None else None,
            props={"value": value},
        )
    )
