"""A set of integers kept as sorted runs: finds the nearest free value without walking.

A pool that is handed out in order is one run, so finding the next free value, taking it and
giving it back are each a binary search and a short move, however full the pool is.
"""

from __future__ import annotations

from bisect import bisect_right


class Runs:
    """Taken values as disjoint inclusive runs, in order. Not thread safe; owned by a snapshot."""

    __slots__ = ("_count", "_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value <= self._ends[index]

    def add(self, value: int) -> None:
        """Take `value`, which must be free."""
        starts, ends = self._starts, self._ends
        index = bisect_right(starts, value)
        assert index == 0 or ends[index - 1] < value, f"{value} is already taken"
        joins_left = index > 0 and ends[index - 1] == value - 1
        joins_right = index < len(starts) and starts[index] == value + 1
        if joins_left and joins_right:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_left:
            ends[index - 1] = value
        elif joins_right:
            starts[index] = value
        else:
            starts.insert(index, value)
            ends.insert(index, value)
        self._count += 1

    def remove(self, value: int) -> None:
        """Give `value` back; it must be taken."""
        starts, ends = self._starts, self._ends
        index = bisect_right(starts, value) - 1
        assert 0 <= index < len(ends), f"{value} is not taken"
        assert value <= ends[index], f"{value} is not taken"
        start, end = starts[index], ends[index]
        if start == end:
            del starts[index], ends[index]
        elif value == start:
            starts[index] = value + 1
        elif value == end:
            ends[index] = value - 1
        else:
            ends[index] = value - 1
            starts.insert(index + 1, value + 1)
            ends.insert(index + 1, end)
        self._count -= 1

    def free_from(self, value: int) -> int:
        """The lowest free value at or above `value`."""
        index = bisect_right(self._starts, value) - 1
        if index >= 0 and value <= self._ends[index]:
            return self._ends[index] + 1
        return value

    def free_down_from(self, value: int) -> int:
        """The highest free value at or below `value`."""
        index = bisect_right(self._starts, value) - 1
        if index >= 0 and value <= self._ends[index]:
            return self._starts[index] - 1
        return value
