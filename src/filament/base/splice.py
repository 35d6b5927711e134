"""What changed in a long list: everything between an equal start and an equal end.

Lists of rules are long and changed in few places. Items that are the same objects are compared in
no time, so whoever makes one list from another keeps the objects of what did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

ItemT = TypeVar("ItemT")
_RUN = 256  # items


class Splice(NamedTuple):
    """Items `start` to `old_end` of one list became items `start` to `new_end` of another."""

    start: int
    old_end: int
    new_end: int


def splice_of(old: Sequence[ItemT], new: Sequence[ItemT]) -> Splice:
    """Return the shortest splice that leads from `old` to `new`, sequences of one type."""
    shorter = min(len(old), len(new))
    start = _equal_count(old, new, shorter)
    tail = _equal_count(old[::-1], new[::-1], shorter - start)
    return Splice(start, len(old) - tail, len(new) - tail)


def _equal_count(one: Sequence[ItemT], other: Sequence[ItemT], limit: int) -> int:
    """How many items at the start, at most `limit`, are equal."""
    # Runs are compared at once: of items that are the same objects that takes a tenth.
    start = 0
    while start + _RUN <= limit and one[start : start + _RUN] == other[start : start + _RUN]:
        start += _RUN
    for index in range(start, min(start + _RUN, limit)):
        left, right = one[index], other[index]
        if not (left is right or left == right):
            return index
    return min(start + _RUN, limit)


def keep_equal(old: Sequence[ItemT], new: Sequence[ItemT]) -> list[ItemT]:
    """Return `new` with the objects of `old` in place of those equal to them at start and end."""
    start, old_end, new_end = splice_of(old, new)
    return [*old[:start], *new[start:new_end], *old[old_end:]]
