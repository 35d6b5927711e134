"""Looking at a lot in slices: computations that pause by yielding None for others to go on."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")
Paused = Generator[None, None, ValueT]

SLICE = 2000  # items looked at between two pauses


def lowest(
    items: Sequence[ItemT],
    order: Callable[[ItemT], Any],
    limit: int,
    *,
    after: Any = None,
    is_wanted: Callable[[ItemT], bool] | None = None,
) -> Paused[list[ItemT]]:
    """Return the lowest `limit` wanted items that come `after` an order; no two have the same."""
    found: list[tuple[Any, ItemT]] = []
    for start in range(0, len(items), SLICE):
        part: Iterable[ItemT] = items[start : start + SLICE]
        if is_wanted is not None:
            part = filter(is_wanted, part)
        placed = ((order(item), item) for item in part)
        if after is not None:
            placed = (each for each in placed if each[0] > after)
        if len(found) == limit:
            highest = found[-1][0]
            placed = (each for each in placed if each[0] < highest)
        fitting = list(placed)
        if fitting:
            found = heapq.nsmallest(limit, [*found, *fitting])
        yield
    return [item for _, item in found]


def in_order(items: Sequence[ItemT], order: Callable[[ItemT], Any]) -> Paused[Iterator[ItemT]]:
    """Return all items in order, as an iterator that sorts as it goes."""
    parts = []
    for start in range(0, len(items), SLICE):
        parts.append(sorted(items[start : start + SLICE], key=order))
        yield
    return heapq.merge(*parts, key=order)
