"""A flow table of an operator's size, and of another size later."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from filament.dataplane import bpf, load
from filament.dataplane.flow_table import FlowTableMove
from filament.dataplane.maps import PinnedMaps
from filament.dataplane.sweep import Sweeper, Watch
from filament.forward.flows import FlowKey
from filament.forward.layout import ACL_PASS, FLOW_PASSED, TABLE_BY_NAME
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change, fields_of

pytestmark = pytest.mark.bpf

FIELDS = fields_of("flows")


@pytest.fixture
def directory(bpffs: Path, request):
    found = bpffs / request.node.name[:60]
    yield found
    for path in found.glob("*"):
        path.unlink()


def flow(vif: int, port: int, seen_ns: int) -> Change:
    row = dict.fromkeys(FIELDS, 0) | {"started_ns": seen_ns, "last_seen_ns": seen_ns}
    return Change("flows", FlowKey(vif, 1, 2, 3, port, 80, 6), tuple(row.values()))


def ports(maps: PinnedMaps) -> set[int]:
    return {key[4] for key in maps.read_all("flows")}


def start(directory: Path, limit: int) -> tuple[FlowTableMove, PinnedMaps]:
    move = FlowTableMove(directory, limit)
    load.load(directory, flow_limit=limit).close()
    return move, PinnedMaps(directory)


def test_the_table_is_as_large_as_asked_and_says_what_it_takes(directory: Path) -> None:
    _, maps = start(directory, 4096)
    with maps:
        assert maps.capacity("flows") == Sweeper(maps).limit == 4096
        empty = maps.memory_bytes("flows")
        maps.write([flow(1, port, 1) for port in range(1, 4097)])
        assert 4096 * 150 < maps.memory_bytes("flows") - empty < 4096 * 250
        with pytest.raises(bpf.KernelError, match="table flows"):
            maps.write([flow(2, 1, 1)])


def test_without_a_word_it_is_as_large_as_before(directory: Path) -> None:
    start(directory, 2048)[1].close()
    load.load(directory).close()
    with PinnedMaps(directory) as maps:
        assert maps.capacity("flows") == 2048 != TABLE_BY_NAME["flows"].max_entries


def test_rows_come_along_into_a_larger_table(directory: Path) -> None:
    _, before = start(directory, 1024)
    now_ns = time.monotonic_ns()
    with before:
        before.write([flow(1, port, now_ns) for port in range(1, 11)])
        move, maps = start(directory, 2048)
        with maps:
            assert move.copy(maps) == 10
            assert ports(maps) == set(range(1, 11))
            # The old programs still run, and enter another; ours know one better meanwhile.
            before.write([flow(1, 11, time.monotonic_ns()), flow(1, 1, time.monotonic_ns())])
            maps.write([flow(1, 1, 5)])
            move.finish(maps)
            assert ports(maps) == set(range(1, 12))
            rows = maps.read_all("flows")
            assert rows[FlowKey(1, 1, 2, 3, 1, 80, 6)][0] == 5
            assert maps.capacity("flows") == 2048
    assert not (directory / "flows-before").exists()


def test_of_a_smaller_one_the_last_seen_stay_and_the_others_are_counted_out(
    directory: Path,
) -> None:
    _, before = start(directory, 2048)
    now_ns = time.monotonic_ns() - 60_000_000_000
    with before:
        before.write([flow(1 + port % 2, port, now_ns + port) for port in range(1, 1201)])
    move, maps = start(directory, 1024)
    with maps:
        assert move.copy(maps) == 1024
        move.finish(maps)
        assert ports(maps) == set(range(177, 1201))
        assert maps.read_all("flows_swept") == {(1,): (88,), (2,): (88,)}


def test_a_move_that_ended_half_way_is_done_by_the_next_start(directory: Path) -> None:
    _, before = start(directory, 1024)
    with before:
        before.write([flow(1, port, 7) for port in range(1, 11)])
    start(directory, 2048)[1].close()  # killed before it copied
    move, maps = start(directory, 2048)
    with maps:
        assert ports(maps) == set()
        assert move.copy(maps) == 10
        move.finish(maps)
        assert ports(maps) == set(range(1, 11))
    assert not (directory / "flows-before").exists()


def test_flows_are_counted_without_a_walk(directory: Path) -> None:
    """What was entered less what was swept out, of the ports that are there."""
    _, maps = start(directory, 4096)
    with maps:
        maps.write(
            [
                Change("flows_entered", (vif,), (count,))
                for vif, count in ((1, 4000), (2, 3), (9, 7))
            ]
        )
        maps.write([Change("flows_swept", (1,), (1000,))])
        sweeper = Sweeper(maps)
        assert sweeper.look({1, 2, 3}) == sweeper.held == 3003
        assert not sweeper.is_pressed
        maps.write([Change("flows_entered", (2,), (1000,))])
        sweeper.look({1, 2, 3})
        assert sweeper.is_pressed


def test_only_what_was_there_is_swept(directory: Path) -> None:
    """Somebody else takes rows out while the table is swept: they are counted by whoever did."""
    _, maps = start(directory, 4096)
    told: list[bytes] = []
    with maps:
        flows = maps.descriptor("flows")
        value = VALUE_CODECS["flows"].encode((0,) * len(FIELDS))
        keys = [KEY_CODECS["flows"].encode(FlowKey(7, 1, 2, n, 1, 80, 17)) for n in range(3000)]
        bpf.update_all(flows, [(key, value) for key in keys])
        assert bpf.delete_all(flows, keys[100:200]) == set()
        assert bpf.delete_all(flows, keys[:300]) == set(keys[100:200])

        def ended(row: tuple[bytes, bytes]) -> None:
            if not told:  # nothing is left of what the sweep has not reached
                bpf.delete_all(flows, keys)
            told.append(row[0])

        sweeper = Sweeper(maps)
        swept = sweeper.sweep(time.monotonic_ns(), Watch(ended, ended))
        assert 0 < swept == len(told) < 2700
        assert maps.read("flows_swept", (7,)) == (swept,)
        assert sweeper.held == 0


def test_a_million_flows_are_held_and_left_alone(directory: Path) -> None:
    """All speak both ways: the table is pressed, and nobody is swept out of it."""
    count, limit = 1_000_000, 1 << 20
    _, maps = start(directory, limit)
    now_ns = time.monotonic_ns()
    row = dict.fromkeys(FIELDS, 0) | {
        "last_seen_ns": now_ns - 10_000_000_000,
        "out_packets": 1,
        "in_packets": 1,
        "action": ACL_PASS,
        "flags": FLOW_PASSED,
    }
    value = VALUE_CODECS["flows"].encode(tuple(row.values()))
    key = KEY_CODECS["flows"].encode(FlowKey(1, 1, 2, 0, 1, 80, 17))
    with maps:
        # The far address of flow N is N.
        rows = [(key[:24] + n.to_bytes(16, "big") + key[40:], value) for n in range(count)]
        bpf.update_all(maps.descriptor("flows"), rows)
        sweeper = Sweeper(maps)
        assert sweeper.sweep(now_ns) == 0
        assert (sweeper.held, sweeper.is_pressed) == (count, True)
        taken = maps.memory_bytes("flows")
        assert count * 150 < taken < count * 250, f"{taken / count:.0f} bytes each"
