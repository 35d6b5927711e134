"""Looking at a lot in slices finds what looking at it at once would find."""

import itertools
import operator

from hypothesis import given
from hypothesis import strategies as st

from filament.base.limits import INTROSPECT_TIMEOUT_S, MAX_INTROSPECT_LISTS
from filament.runtime.introspect import slices
from filament.runtime.introspect.slices import Reading, in_order, lowest


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


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def pages(reading, items, limit, between=lambda: None, order=operator.pos, **options):
    """Read a list to its end, as a client does: from the last of a page to the next."""
    found, after = [], None
    while True:
        _, page = run(reading.page("list", items, order, limit, after=after, **options))
        found += page
        if len(page) < limit:
            return found
        after = page[-1]
        between()


@given(
    st.sets(st.integers(-50, 50)),
    st.integers(1, 7),
    st.booleans(),
    st.lists(st.tuples(st.integers(-50, 50), st.booleans(), st.booleans())),
    st.integers(1, 7),
)
def test_pages_are_the_list(items, limit, only_even, changes, size):
    """Nothing comes twice, all that was there throughout comes, and in order."""
    is_wanted = (lambda item: item % 2 == 0) if only_even else None
    clock, there, changing = Clock(), set(items), iter(changes)
    reading = Reading(clock)

    def change():
        item, is_put, is_late = next(changing, (0, 0 in there, False))
        (there.add if is_put else there.discard)(item)
        clock.now += 2 * INTROSPECT_TIMEOUT_S * is_late

    before, slices.SLICE = slices.SLICE, size
    try:
        expected = sorted(item for item in items if is_wanted is None or is_wanted(item))
        assert pages(reading, lambda: list(items), limit, is_wanted=is_wanted) == expected
        found = pages(reading, lambda: list(there), limit, change, is_wanted=is_wanted)
    finally:
        slices.SLICE = before
    assert found == sorted(set(found))
    touched = {item for item, _, _ in changes}
    assert set(found) - touched == set(expected) - touched


def test_a_page_costs_what_is_on_it():
    looked_at = []

    def order(item):
        looked_at.append(item)
        return item

    many = list(range(10_000))
    reading = Reading(Clock())
    costs = []
    found = pages(reading, lambda: many, 100, lambda: costs.append(len(looked_at)), order)
    assert found == many
    steps = [after - before for before, after in itertools.pairwise(costs[1:])]
    assert max(steps) <= 20, steps[:3]  # to find the place; the second page put them in order


def test_lists_are_kept_for_a_while_and_a_few_of_them():
    clock, asked = Clock(), []
    reading = Reading(clock)

    def read(name, after=None):
        def items():
            asked.append(name)
            return [1, 2, 3]

        return run(reading.page(name, items, operator.pos, 1, after=after))[1]

    assert [read("a"), read("a", 1), read("a", 2), read("a", 3)] == [[1], [2], [3], []]
    assert asked == ["a", "a"]  # to begin, and to be put in order
    assert read("a") == [1]
    assert read("a", 1) == [2]
    assert asked == ["a"] * 4  # who begins again sees what there is now
    clock.now = INTROSPECT_TIMEOUT_S + 1
    assert read("a", 1) == [2]
    assert len(asked) == 5
    others = [str(number) for number in range(MAX_INTROSPECT_LISTS)]
    for each in others:
        read(each, 1)
    asked.clear()
    for each in others:
        read(each, 2)
    assert asked == []
    assert read("a", 1) == [2]
    assert asked == ["a"]
