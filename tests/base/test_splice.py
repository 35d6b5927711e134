"""A splice is the shortest one that leads from one list to another."""

from hypothesis import given
from hypothesis import strategies as st

from filament.base.splice import Splice, keep_equal, splice_of

LISTS = st.lists(st.integers(0, 2), max_size=8)


@given(LISTS, LISTS)
def test_a_splice_leads_from_one_to_the_other(old, new):
    start, old_end, new_end = splice_of(old, new)
    assert [*old[:start], *new[start:new_end], *old[old_end:]] == new
    assert 0 <= start <= min(old_end, new_end)
    if start < min(old_end, new_end):
        assert old[start] != new[start]
        assert old[old_end - 1] != new[new_end - 1]


def test_what_did_not_change_stays_the_same_object():
    old = [{"a": 1}, {"b": 2}, {"c": 3}]
    new = [{"a": 1}, {"b": 3}, {"d": 4}, {"c": 3}]
    assert splice_of(old, new) == Splice(1, 2, 3)
    kept = keep_equal(old, new)
    assert kept == new
    assert [kept[0] is old[0], kept[1] is new[1], kept[3] is old[2]] == [True] * 3
