"""Looking at a lot in slices finds what looking at it at once would find."""

import operator

from hypothesis import given
from hypothesis import strategies as st

from filament.runtime.introspect import slices
from filament.runtime.introspect.slices import in_order, lowest


def run(paused):
    """Run to the end; return how many pauses there were, and what came of it."""
    pauses = 0
    while True:
        try:
            next(paused)
        except StopIteration as done:
            return pauses, done.value
        pauses += 1


@given(
    st.lists(st.integers(-50, 50), unique=True),
    st.integers(1, 20),
    st.none() | st.integers(-60, 60),
    st.booleans(),
    st.integers(1, 7),
)
def test_the_lowest_of_many(items, limit, after, only_even, size):
    expected = sorted(
        item for item in items if (after is None or item > after) and not (only_even and item % 2)
    )[:limit]
    before, slices.SLICE = slices.SLICE, size
    try:
        is_wanted = (lambda item: item % 2 == 0) if only_even else None
        pauses, found = run(lowest(items, operator.pos, limit, after=after, is_wanted=is_wanted))
        assert found == expected
        assert pauses >= len(items) // size
        _, ordered = run(in_order(items, operator.neg))
        assert list(ordered) == sorted(items, reverse=True)
    finally:
        slices.SLICE = before
