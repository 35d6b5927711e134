"""Looking at a lot in slices: computations that pause by yielding None for others to go on."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from filament.base.limits import INTROSPECT_TIMEOUT_S, MAX_INTROSPECT_LISTS

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


class Reading:
    """Lists in order, for those who read them page by page: a page costs what is on it.

    Kept from a reader's second page on, and for a while: most ask for one only, and some never
    come back. What a list has lost since is still in it and the reader's to pass over; what it has
    gained is not, until somebody begins to read again.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[object, tuple[float, list[Any]]] = {}  # the longest unread first

    def page(
        self,
        name: object,
        items: Callable[[], Sequence[ItemT]],
        order: Callable[[ItemT], Any],
        limit: int,
        *,
        after: Any = None,
        is_wanted: Callable[[ItemT], bool] | None = None,
    ) -> Paused[list[ItemT]]:
        """Return what `lowest` does, of the list of that name; `items` are all of it."""
        now = self._now()
        for each, (read_at, _) in list(self._kept.items()):
            if read_at < now - INTROSPECT_TIMEOUT_S:
                del self._kept[each]
        if after is None:
            self._kept.pop(name, None)
            found = yield from lowest(items(), order, limit, is_wanted=is_wanted)
            return found
        kept = self._kept.pop(name, None)
        listed: list[ItemT] = kept[1] if kept is not None else (yield from _sorted(items(), order))
        self._kept[name] = now, listed
        while len(self._kept) > MAX_INTROSPECT_LISTS:
            del self._kept[next(iter(self._kept))]
        found = []
        start = bisect_right(listed, after, key=order)
        for number, item in enumerate(islice(listed, start, None), 1):
            if is_wanted is None or is_wanted(item):
                found.append(item)
                if len(found) == limit:
                    break
            if number % SLICE == 0:
                yield
        return found


def _sorted(items: Sequence[ItemT], order: Callable[[ItemT], Any]) -> Paused[list[ItemT]]:
    listed: list[ItemT] = []
    merged = yield from in_order(items, order)
    while part := list(islice(merged, SLICE)):
        listed += part
        yield
    return listed


def in_order(items: Sequence[ItemT], order: Callable[[ItemT], Any]) -> Paused[Iterator[ItemT]]:
    """Return all items in order, as an iterator that sorts as it goes."""
    parts = []
    for start in range(0, len(items), SLICE):
        parts.append(sorted(items[start : start + SLICE], key=order))
        yield
    return heapq.merge(*parts, key=order)
