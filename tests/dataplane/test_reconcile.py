"""The reconciler against maps in memory; tests/bpf verifies those against real ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.dataplane.reconcile import Failure, Reconciler
from filament.forward.layout import TABLES
from filament.forward.tables import Row, Tables
from filament.testing.maps import PLANNED, MemoryMaps


def tables(rows, revision=1):
    return Tables(
        revision,
        {
            table: {key: Row(values) for key, values in rows.get(table, {}).items()}
            for table in PLANNED
        },
    )


def plain(desired):
    return {
        table: {key: row.values for key, row in rows.items()}
        for table, rows in desired.rows.items()
    }


HOST = {"host": {(0,): (1, 5, 9)}}
ROUTE = {"routes": {(56, 1, 0x0A010100): (3, 0, 1, 0)}}
NEXT_HOP = {"next_hops": {(3,): (2, 1, 7, 0, 1, 2)}}


def test_the_hosts_row_comes_last_and_deletes_in_reverse():
    maps = MemoryMaps(
        {
            "routes": {(64, 1, 5): (4, 0, 1, 0)},
            "next_hops": {(4,): (2, 1, 8, 0, 1, 2)},
            "labels": {(20,): (4,)},
        }
    )
    Reconciler(maps).apply(tables({**HOST, **ROUTE, **NEXT_HOP}), may_delete=True)
    assert [(one.table, one.values is not None) for one in maps.log] == [
        ("next_hops", True),
        ("routes", True),
        ("routes", False),
        ("labels", False),
        ("next_hops", False),
        ("host", True),
    ]


def test_nothing_found_is_deleted_before_everything_was_heard():
    found = {"routes": {(64, 1, 5): (4, 0, 1, 0)}, "labels": {(20,): (4,)}}
    maps = MemoryMaps(found)
    reconciler = Reconciler(maps)
    desired = tables({**ROUTE, "labels": {(20,): (5,)}})
    outcome = reconciler.apply(desired, may_delete=False)
    assert (outcome.written, outcome.deleted, outcome.kept) == (2, 0, 1)
    assert maps.rows["routes"] == found["routes"] | ROUTE["routes"]
    assert maps.rows["labels"] == {(20,): (5,)}
    outcome = reconciler.apply(desired, may_delete=True)
    assert (outcome.written, outcome.deleted, outcome.kept) == (0, 1, 0)
    assert maps.rows["routes"] == ROUTE["routes"]


def test_a_row_that_fails_holds_nobody_up_and_is_tried_again():
    maps = MemoryMaps()
    maps.refused = {("next_hops", (3,)): "write to table next_hops: no space"}
    reconciler = Reconciler(maps)
    desired = tables({**HOST, **ROUTE, **NEXT_HOP})
    outcome = reconciler.apply(desired, may_delete=True)
    failure = Failure("next_hops", (3,), "write to table next_hops: no space")
    assert (outcome.written, outcome.failures) == (1, (failure,))
    assert maps.rows["routes"] == ROUTE["routes"]
    assert maps.rows["host"] == HOST["host"]
    assert reconciler.apply(desired, may_delete=True).failures == (failure,)
    maps.refused = {}
    outcome = reconciler.apply(desired, may_delete=True)
    assert (outcome.written, outcome.failures) == (1, ())
    assert maps.rows == plain(desired)


def test_only_changes_are_written():
    maps = MemoryMaps()
    reconciler = Reconciler(maps)
    reconciler.apply(tables({**HOST, **ROUTE, **NEXT_HOP}), may_delete=True)
    maps.log.clear()
    reconciler.apply(tables({**HOST, **ROUTE, **NEXT_HOP}), may_delete=True)
    assert maps.log == []


def test_an_audit_finds_drift_and_the_next_apply_repairs_it():
    maps = MemoryMaps()
    reconciler = Reconciler(maps)
    desired = tables({**HOST, **ROUTE, **NEXT_HOP})
    reconciler.apply(desired, may_delete=True)
    assert reconciler.compare(maps.read_planned(), reconciler.mark) == []
    del maps.rows["next_hops"][(3,)]
    maps.rows["labels"][(99,)] = (1,)
    assert reconciler.compare(maps.read_planned(), reconciler.mark) == [
        Failure("next_hops", (3,), "found None, wrote (2, 1, 7, 0, 1, 2)"),
        Failure("labels", (99,), "found (1,), wrote None"),
    ]
    reconciler.apply(desired, may_delete=True)
    assert maps.rows == plain(desired)


def test_an_audit_that_was_overtaken_says_nothing():
    maps = MemoryMaps()
    reconciler = Reconciler(maps)
    mark, found = reconciler.mark, maps.read_planned()
    desired = tables(NEXT_HOP)
    reconciler.apply(desired, may_delete=True)
    assert reconciler.compare(found, mark) is None
    assert reconciler.apply(desired, may_delete=True).written == 0


def rows_of(table, keys, values):
    return st.dictionaries(keys, values, max_size=5).map(lambda rows: (table, rows))


small = st.integers(1, 4)
some_rows = st.tuples(
    rows_of("lists", st.tuples(small), st.tuples(small, small)),
    rows_of("next_hops", st.tuples(small), st.tuples(*[small] * 6)),
    rows_of("labels", st.tuples(small), st.tuples(small)),
    rows_of("routes", st.tuples(st.just(64), small, small), st.tuples(*[small] * 4)),
    st.just(("host", {(0,): (1, 1, 1)})),
).map(dict)
step = st.tuples(
    some_rows,
    st.booleans(),
    st.sets(st.tuples(st.sampled_from(["next_hops", "labels"]), st.tuples(small)), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(found=some_rows, steps=st.lists(step, min_size=1, max_size=5))
def test_any_sequence_ends_where_it_should(found, steps):
    """Never deletes too early; after the last step without refusals, actual == desired."""
    maps = MemoryMaps(found)
    reconciler = Reconciler(maps)
    for wanted, may_delete, refused in steps:
        maps.refused = dict.fromkeys(refused, "refused")
        before = maps.read_planned()
        outcome = reconciler.apply(tables(wanted), may_delete=may_delete)
        assert {(one.table, one.key) for one in outcome.failures} <= refused
        for table in PLANNED:
            if not may_delete:
                assert before[table].keys() <= maps.rows[table].keys()
            for key, values in wanted.get(table, {}).items():
                if (table, key) not in refused:
                    assert maps.rows[table][key] == values
        assert reconciler.compare(maps.read_planned(), reconciler.mark) == []
    maps.refused = {}
    last = tables(steps[-1][0])
    assert reconciler.apply(last, may_delete=True).failures == ()
    assert maps.rows == plain(last)


@pytest.mark.parametrize("table", PLANNED)
def test_every_planned_table_is_reconciled(table):
    width = len(next(one for one in TABLES if one.name == table).key)
    maps = MemoryMaps()
    Reconciler(maps).apply(tables({table: {(0,) * width: (1,)}}), may_delete=True)
    assert maps.rows[table] == {(0,) * width: (1,)}


def test_deletes_keep_their_order_when_one_of_them_fails():
    maps = MemoryMaps({**ROUTE, **NEXT_HOP, "labels": {(20,): (3,)}, "lists": {(1,): (2, 0)}})
    maps.refused = {("labels", (20,)): "refused"}
    outcome = Reconciler(maps).apply(tables({}), may_delete=True)
    assert [one.table for one in outcome.failures] == ["labels"]
    # The first is of the batch that failed half-way.
    assert [one.table for one in maps.log] == ["routes", "routes", "next_hops", "lists"]
