"""Looking at a lot in slices: computations that pause by yielding None for others to go on."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")
Paused = Generator[None, None, ValueT]

SLICE = 2000  # items looked at between two pauses


def lowest(
    items: Sequence[ItemT],
    order: Callable[[ItemT], Any],
    is_wanted: Callable[[Any], bool],
    limit: int,
) -> Paused[list[ItemT]]:
    """Return the lowest `limit` items whose order is wanted, in order; no two have the same."""
    found: list[tuple[Any, ItemT]] = []
    for start in range(0, len(items), SLICE):
        placed = ((order(item), item) for item in items[start : start + SLICE])
        part = [each for each in placed if is_wanted(each[0])]
        if part:
            found = heapq.nsmallest(limit, [*found, *part])
        yield
    return [item for _, item in found]


def in_order(items: Sequence[ItemT], order: Callable[[ItemT], Any]) -> Paused[Iterator[ItemT]]:
    """Return all items in order, as an iterator that sorts as it goes."""
    parts = []
    for start in range(0, len(items), SLICE):
        parts.append(sorted(items[start : start + SLICE], key=order))
        yield
    return heapq.merge(*parts, key=order)
