"""Sets of taken numbers, compared with a plain set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.model.runs import Runs

_values = st.integers(0, 12)


@given(st.lists(_values, max_size=40), _values)
def test_runs_answer_as_a_set_would(toggled, asked):
    runs, taken = Runs(), set()
    for value in toggled:
        if value in taken:
            runs.remove(value)
            taken.remove(value)
        else:
            runs.add(value)
            taken.add(value)
    assert len(runs) == len(taken)
    assert [value for value in range(-1, 15) if value in runs] == sorted(taken)
    assert runs.free_from(asked) == min(set(range(asked, 20)) - taken)
    assert runs.free_down_from(asked) == max(set(range(-20, asked + 1)) - taken)


def test_taking_twice_and_giving_back_what_is_free_are_bugs():
    runs = Runs()
    runs.add(5)
    with pytest.raises(AssertionError, match="5 is already taken"):
        runs.add(5)
    with pytest.raises(AssertionError, match="6 is not taken"):
        runs.remove(6)


def test_a_full_pool_is_one_run():
    runs = Runs()
    for value in range(100_000):
        runs.add(runs.free_from(0))
        assert value in runs
    assert runs.free_from(0) == 100_000
    runs.remove(777)
    assert runs.free_from(0) == 777
