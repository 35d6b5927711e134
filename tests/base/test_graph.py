"""The incremental engine: fallbacks, minimal changes, rollback, and the oracle that finds lies."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.graph import UNHANDLED, Change, Graph, Node

SQUARES_RUN = []


def run_squares(source, _tables):
    SQUARES_RUN.append("full")
    return {key: number * number for key, number in source.items()}


def update_squares(source, _tables, changes):
    if any(change.new == 13 for change in changes["numbers"].values()):
        return UNHANDLED
    return {key: source[key] ** 2 if key in source else None for key in changes["numbers"]}


def run_sum(_source, tables):
    return {"sum": sum(tables["squares"].values())}


def update_sum(_source, tables, changes):
    rise = sum((c.new or 0) - (c.old or 0) for c in changes["squares"].values())
    return {"sum": tables["sum"].get("sum", 0) + rise}


SQUARES = Node("squares", ("numbers",), run_squares, update_squares)
SUM = Node("sum", ("squares",), run_sum, update_sum)


def graph_of(*nodes):
    return Graph(("numbers",), nodes or (SQUARES, SUM))


def changes(old, new):
    keys = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    return {"numbers": {key: Change(old.get(key), new.get(key)) for key in keys}}


def test_load_fills_every_table_and_tells_what_changed():
    graph = graph_of()
    told = graph.load({"a": 2, "b": 3})
    assert graph.table("squares") == {"a": 4, "b": 9}
    assert graph.table("sum") == {"sum": 13}
    assert told["squares"] == {"a": Change(None, 4), "b": Change(None, 9)}
    assert graph.load({"a": 2})["squares"] == {"b": Change(9, None)}


def test_update_touches_only_what_changed():
    graph = graph_of()
    graph.load({"a": 2, "b": 3})
    SQUARES_RUN.clear()
    told = graph.update({"a": 2, "b": 4}, changes({"a": 2, "b": 3}, {"a": 2, "b": 4}))
    assert told == {"squares": {"b": Change(9, 16)}, "sum": {"sum": Change(13, 20)}}
    assert SQUARES_RUN == []


def test_a_row_that_turns_out_equal_is_no_change_and_stops_there():
    graph = graph_of()
    graph.load({"a": 2})
    assert graph.update({"a": -2}, changes({"a": 2}, {"a": -2})) == {}


def test_unhandled_runs_that_node_in_full_and_later_nodes_still_by_change():
    graph = graph_of()
    graph.load({"a": 2, "b": 3})
    SQUARES_RUN.clear()
    told = graph.update({"a": 2, "b": 13}, changes({"a": 2, "b": 3}, {"a": 2, "b": 13}))
    assert SQUARES_RUN == ["full"]
    assert told == {"squares": {"b": Change(9, 169)}, "sum": {"sum": Change(13, 173)}}


def test_a_node_without_update_runs_in_full():
    graph = graph_of(Node("squares", ("numbers",), run_squares))
    graph.load({"a": 1})
    assert graph.update({"a": 3}, changes({"a": 1}, {"a": 3})) == {"squares": {"a": Change(1, 9)}}


def test_verify_names_the_rows_that_an_update_got_wrong():
    forgetful = Node("squares", ("numbers",), run_squares, lambda *_: {})
    graph = graph_of(forgetful)
    graph.load({"a": 1})
    graph.verify({"a": 1})
    graph.update({"a": 2}, changes({"a": 1}, {"a": 2}))
    with pytest.raises(AssertionError) as raised:
        graph.verify({"a": 2})
    assert str(raised.value) == (
        "incremental tables are wrong: squares['a'] is 1 but recomputed it is 4"
    )


def test_tables_are_as_before_when_a_node_raises():
    def burst(_source, _tables, changes):
        raise ZeroDivisionError

    graph = graph_of(SQUARES, Node("sum", ("squares",), run_sum, burst))
    graph.load({"a": 2, "b": 3})
    with pytest.raises(ZeroDivisionError):
        graph.update({"a": 5, "c": 1}, changes({"a": 2, "b": 3}, {"a": 5, "c": 1}))
    graph.verify({"a": 2, "b": 3})


def test_a_node_may_read_only_what_comes_before():
    with pytest.raises(AssertionError, match="node sum reads squares, which no earlier node"):
        graph_of(SUM, SQUARES)
    with pytest.raises(AssertionError, match="two nodes or sources are named squares"):
        graph_of(SQUARES, SQUARES)
    with pytest.raises(AssertionError, match="changes of letters, which are not sources"):
        graph_of().update({}, {"letters": {}})


NUMBERS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 14))


@given(st.lists(NUMBERS, min_size=1))
def test_any_sequence_of_updates_equals_recomputing(states):
    graph = graph_of()
    graph.load(states[0])
    for before, after in pairwise(states):
        graph.update(after, changes(before, after))
        graph.verify(after)
