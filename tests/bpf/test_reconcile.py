"""The reconciler on real maps, which must do exactly what the maps in memory do."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.dataplane import load
from filament.dataplane.maps import PinnedMaps
from filament.dataplane.reconcile import Reconciler
from filament.forward.layout import TABLES
from filament.forward.tables import FAT_SUBNET_BITS, SENDER_BITS, VRF_BITS, Row, Tables
from filament.testing.maps import PLANNED, MemoryMaps

pytestmark = pytest.mark.bpf
BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "be16": 16, "be32": 32, "be128": 128}
BITS["mac"] = 48


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Freshly pinned maps in a BPF file system of their own."""
    place = tmp_path_factory.mktemp("bpffs")
    subprocess.run(["mount", "-t", "bpf", "none", place], check=True)
    load.load(place / "maps").close()
    yield place / "maps"
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def maps(directory):
    with PinnedMaps(directory) as opened:
        for table in PLANNED:
            opened.clear(table)
        yield opened


def tables(rows, revision=1):
    return Tables(
        revision,
        {
            table: {key: Row(values) for key, values in rows.get(table, {}).items()}
            for table in PLANNED
        },
    )


def value_of(fields):
    """Any row but that of zeros, which is absent from an array."""
    columns = [st.integers(0, 2 ** BITS[field.type] - 1) for field in fields if field.type in BITS]
    return st.tuples(*columns).filter(any)


def key_of(table):
    """A few keys, so that steps meet: ids, or prefixes without host bits."""
    if table.map_type == "LPM_TRIE":
        bits = 32 if table.name == "routes" else 128
        every = 2**bits - 1
        # What comes before the address matches exactly: a VRF, a port and a MAC, or a kind of flow.
        scopes = {"sources": (SENDER_BITS, 2), "fat_subnets": (FAT_SUBNET_BITS, 4)}
        scope_bits, scope = scopes.get(table.name, (VRF_BITS, 1))
        length = st.integers(0, bits)
        return st.tuples(length, *[st.integers(1, 3)] * scope, st.integers(0, every)).map(
            lambda key: (
                scope_bits + key[0],
                *key[1:-1],
                key[-1] & (every << bits - key[0]) & every,
            )
        )
    highest = 0 if table.name == "host" else 6
    return st.tuples(*[st.integers(0, highest)] * len(table.key))


some_rows = st.fixed_dictionaries(
    {
        table.name: st.dictionaries(
            key_of(table),
            value_of(table.value),
            min_size=table.name == "host",  # it is never deleted
            max_size=6,
        )
        for table in TABLES
        if table.planned
    }
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(some_rows, st.booleans()), min_size=1, max_size=4))
def test_real_maps_do_what_memory_does(maps, steps):
    maps.clear("host")
    memory = MemoryMaps()
    real, thought = Reconciler(maps), Reconciler(memory)
    real.apply(tables({}), may_delete=True)  # what an example before this one left
    for wanted, may_delete in steps:
        desired = tables(wanted)
        outcome = real.apply(desired, may_delete=may_delete)
        assert outcome == thought.apply(desired, may_delete=may_delete)
        assert outcome.failures == ()
        found = maps.read_planned()
        assert found == memory.read_planned()
        assert real.compare(found, real.mark) == []
    # A new process finds what the old one left, and with everything heard goes on from there.
    Reconciler(maps).apply(tables(steps[0][0]), may_delete=True)
    assert maps.read_planned() == steps[0][0]


def test_a_row_the_kernel_refuses_is_named_and_holds_nobody_up(maps):
    hop = (2, 1, 7, 0, 1, 2, 0, 0, 0)
    reconciler = Reconciler(maps)
    desired = tables({"next_hops": {(1,): hop, (65536,): hop, (2,): hop}, "labels": {(20,): (1,)}})
    outcome = reconciler.apply(desired, may_delete=True)
    assert outcome.written == 3
    (failure,) = outcome.failures
    assert (failure.table, failure.key) == ("next_hops", (65536,))
    assert "table next_hops, which holds at most 65536 rows" in failure.text
    assert maps.read_all("labels") == {(20,): (1,)}
    assert set(maps.read_all("next_hops")) == {(1,), (2,)}


def test_thousands_of_routes_are_one_batch_and_a_change_is_one_row(maps):
    routes = {(64, 1, address): (1, 17, 1, 0, 0, 0) for address in range(5000)}
    reconciler = Reconciler(maps)
    assert reconciler.apply(tables({"routes": routes}), may_delete=True).written == 5000
    routes[64, 1, 9] = (2, 17, 1, 0, 0, 0)
    del routes[64, 1, 10]
    outcome = reconciler.apply(tables({"routes": routes}), may_delete=True)
    assert (outcome.written, outcome.deleted) == (1, 1)
    assert maps.read_all("routes") == routes
