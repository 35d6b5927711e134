"""Loading over pinned maps, and maps as rows."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filament.base.errors import PermanentError
from filament.dataplane import bpf, load, maps
from filament.dataplane.load import PROGRAMS
from filament.dataplane.maps import PinnedMaps, possible_cpus
from filament.dataplane.ring import SampleRing
from filament.forward.flows import FlowKey
from filament.forward.layout import (
    ABI,
    SAMPLE_DROP,
    SAMPLE_HEAD_BYTES,
    SAMPLES_BYTES,
    SAMPLES_PER_SLICE,
    TABLES,
    DropReason,
)
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change

pytestmark = pytest.mark.bpf

HOP = (2, 1, 7, 0, 0x020000000001, 0x00005E000100, 0, 0, 0)


@pytest.fixture
def directory(bpffs: Path, request) -> Iterator[Path]:
    found = bpffs / request.node.name.replace("[", "-").replace("]", "")[:60]
    yield found
    for path in found.glob("*"):
        path.unlink()


@pytest.fixture
def pinned(directory: Path) -> Iterator[PinnedMaps]:
    load.load(directory).close()
    with PinnedMaps(directory) as opened:
        yield opened


def test_maps_are_pinned_by_name_and_programs_are_ours(directory: Path) -> None:
    with load.load(directory) as programs:
        assert set(programs.descriptor_by_name) == set(PROGRAMS)
        for name in PROGRAMS:
            assert bpf.program(programs[name]).name == name
    assert {path.name for path in directory.iterdir()} == {
        "abi",
        "samples",
        *(t.name for t in TABLES),
    }


def test_a_second_load_shares_the_maps_and_gives_the_same_programs(directory: Path) -> None:
    with load.load(directory) as first, PinnedMaps(directory) as opened:
        opened.write([Change("labels", (16,), (3,))])
        tag = bpf.program(first["from_port"]).tag
        with load.load(directory) as second:
            assert bpf.program(second["from_port"]).tag == tag
            bpf.run(second["from_port"], bytes(64))
        assert opened.read_all("labels") == {(16,): (3,)}
        assert opened.read_all("drops") == {(0, 1): (1,)}


def test_decisions_are_recorded_for_tests_only(directory: Path) -> None:
    with load.load(directory) as programs, PinnedMaps(directory) as opened:
        bpf.run(programs["from_port"], bytes(64))
        assert opened.read_decision() == (0, 0, 0, 0)
        with load.load(directory, record_decisions=True) as recording:
            bpf.run(recording["from_port"], bytes(64))
            assert opened.read_decision() == (2, 1, 0, 0)


def test_maps_of_another_version_are_left_alone(directory: Path, monkeypatch) -> None:
    load.load(directory).close()
    before = sorted(path.name for path in directory.iterdir())
    monkeypatch.setattr(load, "ABI", ABI ^ 1)
    for attempt in (lambda: load.load(directory), lambda: PinnedMaps(directory)):
        with pytest.raises(PermanentError) as caught:
            attempt()
        text = str(caught.value)
        assert f"the maps pinned in {directory} have row formats {ABI:016x}" in text
        assert f"this program has {ABI ^ 1:016x}" in text
        assert "run the version that made them, or detach its programs and remove" in text
    assert sorted(path.name for path in directory.iterdir()) == before


def test_maps_without_a_version_are_left_alone(directory: Path) -> None:
    load.load(directory).close()
    (directory / "abi").unlink()
    with pytest.raises(PermanentError, match="have unknown row formats, this program has"):
        load.load(directory)


def test_an_object_of_other_row_formats_is_refused(directory: Path, monkeypatch) -> None:
    monkeypatch.setattr(load, "ABI", ABI ^ 1)
    with pytest.raises(PermanentError, match=r"was built for row formats .* `make bpf`"):
        load.load(directory)


def test_a_missing_object_says_how_to_build_it(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"none\.o: No such file or directory; `make bpf`"):
        load.load(directory, path=tmp_path / "none.o")


def test_a_refused_program_comes_with_the_verifiers_words(directory: Path, tmp_path: Path) -> None:
    text = load.OBJECT.read_bytes()
    broken = tmp_path / "vrouter.bpf.o"
    # A helper that does not exist: call 12 (tail call) numbers are rewritten by nobody else.
    at = text.find(b"\x85\x00\x00\x00\x27\x00\x00\x00")
    assert at > 0
    broken.write_bytes(text[: at + 4] + b"\xff\x7f\0\0" + text[at + 8 :])
    with pytest.raises(PermanentError, match="invalid func unknown#32767"):
        load.load(directory, path=broken)
    assert not (directory / "abi").exists()
    assert {path.name for path in directory.iterdir()} == set()


def test_where_nothing_is_pinned_there_are_no_maps(directory: Path) -> None:
    with pytest.raises(bpf.KernelError, match=r"open .*ranges: No such file or directory"):
        PinnedMaps(directory)


def test_rows_of_every_table_come_back(pinned: PinnedMaps) -> None:
    for table in TABLES:
        if table.map_type.startswith("PERCPU") or table.map_type == "LPM_TRIE":
            continue
        key = (0,) * len([f for f in table.key if not f.type.startswith("pad")])
        width = len([f for f in table.value if not f.type.startswith("pad")])
        values = tuple(range(1, width + 1))
        pinned.write([Change(table.name, key, values)])
        assert pinned.read(table.name, key) == values
        assert pinned.read_all(table.name) == {key: values}
        if table.name != "host":
            pinned.write([Change(table.name, key, None)])
            assert pinned.read(table.name, key) is None
            assert pinned.read_all(table.name) == {}


def test_deleting_what_is_not_there_is_no_error(pinned: PinnedMaps) -> None:
    changes = [Change("routes", (64, 1, address), None) for address in range(5)]
    pinned.write([Change("routes", (64, 1, 2), (1, 2, 3, 4, 5, 6)), *changes])
    assert pinned.read_all("routes") == {}


@pytest.mark.parametrize("has_batches", [True, False])
def test_many_rows_with_and_without_batches(
    pinned: PinnedMaps, monkeypatch, has_batches: bool
) -> None:
    if not has_batches:
        original = bpf._try

        def refuse(command, attributes):
            is_batch = command in (bpf._LOOKUP_BATCH, bpf._UPDATE_BATCH, bpf._DELETE_BATCH)
            return -errno.EOPNOTSUPP if is_batch else original(command, attributes)

        monkeypatch.setattr(bpf, "_try", refuse)
    rows = {(64, 1 + n % 3, n): (n,) * 6 for n in range(10_000)}
    pinned.write([Change("routes", key, values) for key, values in rows.items()])
    assert pinned.read_all("routes") == rows
    gone = [key for key in rows if key[2] % 2]
    pinned.write([Change("routes", key, None) for key in gone])
    assert pinned.read_all("routes").keys() == rows.keys() - set(gone)


def test_rows_are_written_before_what_points_at_them_and_deleted_after(
    pinned: PinnedMaps, monkeypatch
) -> None:
    order = []
    monkeypatch.setattr(PinnedMaps, "_update", lambda _, table, rows: order.append(table.name))
    monkeypatch.setattr(
        PinnedMaps, "_delete", lambda _, table, keys: order.append(f"-{table.name}")
    )
    pinned.write(
        [
            Change("host", (0,), (1, 2, 3)),
            Change("routes", (64, 1, 1), None),
            Change("routes", (64, 1, 2), (1, 0, 0, 0, 0, 0)),
            Change("next_hops", (1,), HOP),
            Change("next_hops", (2,), None),
        ]
    )
    assert order == ["next_hops", "routes", "host", "-routes", "-next_hops"]


def test_a_full_table_is_named(pinned: PinnedMaps) -> None:
    with pytest.raises(bpf.KernelError) as caught:
        pinned.write([Change("next_hops", (65536,), HOP)])
    assert str(caught.value) == (
        "write to table next_hops, which holds at most 65536 rows: Argument list too long (E2BIG)"
    )


def test_values_per_cpu_are_added_up(pinned: PinnedMaps) -> None:
    codec = VALUE_CODECS["counters"]
    rows = [(cpu + 1, 10, 0, 0) for cpu in range(possible_cpus())]
    descriptor = bpf.open_pinned(pinned.directory / "counters")
    try:
        raw = b"".join(codec.encode(row) for row in rows)
        bpf.update(descriptor, KEY_CODECS["counters"].encode((5,)), raw)
    finally:
        os.close(descriptor)
    count = possible_cpus()
    assert pinned.read_all("counters") == {(5,): (count * (count + 1) // 2, 10 * count, 0, 0)}
    assert pinned.read("counters", (6,)) is None


def test_a_port_that_left_leaves_nothing_to_its_successor(pinned: PinnedMaps) -> None:
    for vif in (1, 2):
        flow = FlowKey(vif, 1, 1, 2, 3, 4, 17)
        pinned.write([Change("flows", flow, (1,) * 19)])
        pinned.write([Change("fragments", (vif, 1, 2, 3, 17), (1, 2, 3, 4))])
        pinned.write([Change(name, (vif,), (5,)) for name in ("flows_entered", "flows_swept")])
        raw = VALUE_CODECS["counters"].encode((1, 1, 1, 1)) * possible_cpus()
        with _opened(pinned.directory / "counters") as descriptor:
            bpf.update(descriptor, KEY_CODECS["counters"].encode((vif,)), raw)
        with _opened(pinned.directory / "drops") as descriptor:
            key = KEY_CODECS["drops"].encode((vif, 3))
            bpf.update(descriptor, key, (8).to_bytes(8, "little") * possible_cpus())
    pinned.forget_port(1)
    for name in ("flows", "fragments", "counters", "drops", "flows_entered", "flows_swept"):
        assert {key[0] for key in pinned.read_all(name)} == {2}


class _opened:
    def __init__(self, path: Path) -> None:
        self.descriptor = bpf.open_pinned(path)

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def test_cpus_are_counted_from_ranges(monkeypatch) -> None:
    for text, count in (("0\n", 1), ("0-3\n", 4), ("0-1,4-7\n", 8)):
        monkeypatch.setattr(maps.Path, "read_text", lambda _, text=text: text)
        assert possible_cpus() == count


def test_statistics_are_kept_while_somebody_asks(directory: Path) -> None:
    with load.load(directory) as programs:
        asking = bpf.enable_stats()
        try:
            bpf.run(programs["from_fabric"], bytes(64), repeat=100)
        finally:
            os.close(asking)
        found = bpf.program(programs["from_fabric"])
    assert found.run_count == 100
    assert found.run_time_ns > 0
    assert found.verified_instructions > 0


def test_errors_name_command_subject_and_errno() -> None:
    with pytest.raises(bpf.KernelError) as caught:
        bpf.update(99999, bytes(4), bytes(4))
    assert str(caught.value) == ("write to a map the key 00000000: Bad file descriptor (EBADF)")
    assert caught.value.errno == errno.EBADF


def test_some_dropped_packets_are_shown_and_all_are_counted(directory: Path) -> None:
    frame = bytes(range(200))
    with load.load(directory) as programs, PinnedMaps(directory) as opened:
        with SampleRing(directory) as ring:
            assert ring.read() == []
            before = time.monotonic_ns()
            bpf.run(programs["from_port"], frame[:60])
            bpf.run(programs["from_port"], frame)
            first, second = ring.read()
            assert (first.vif, first.reason) == (0, DropReason.UNKNOWN_INTERFACE)
            # The kernel took the frame's first byte for a broadcast or not; the rest is ours.
            assert (first.length, first.head) == (60, frame[:60])
            assert (second.length, second.head) == (200, frame[:SAMPLE_HEAD_BYTES])
            assert abs(first.at_ns - before) < 5_000_000_000
            assert ring.read() == []
            bpf.run(programs["from_port"], frame, repeat=100_000)
            taken = sum(len(samples) for samples in iter(ring.read, []))
            assert 0 < taken < 10_000
        assert opened.read_all("drops") == {(0, 1): (100_002,)}
        assert opened.read_all("vrf_drops") == {(0, 1): (100_002,)}
        # What was not shown is known: beyond the share of a slice of time, or with the ring full.
        _, _, shown, skipped, lost = opened.read("samplings", (SAMPLE_DROP,)) or ()
        assert (shown, shown + skipped, lost) == (taken + 2, 100_002, 0)


def test_a_full_ring_is_counted(directory: Path) -> None:
    with load.load(directory) as programs, PinnedMaps(directory) as opened:
        rounds = SAMPLES_BYTES // SAMPLE_HEAD_BYTES // SAMPLES_PER_SLICE
        for _ in range(rounds):
            opened.clear("samplings")
            bpf.run(programs["from_port"], bytes(200), repeat=SAMPLES_PER_SLICE)
        _, count, shown, skipped, lost = opened.read("samplings", (SAMPLE_DROP,)) or ()
        assert (shown, skipped, lost) == (0, 0, count)
        with SampleRing(directory) as ring:
            assert sum(len(samples) for samples in iter(ring.read, [])) == SAMPLES_BYTES // 168


def test_a_vrf_that_left_leaves_nothing_to_its_successor(pinned: PinnedMaps) -> None:
    with _opened(pinned.directory / "vrf_drops") as descriptor:
        for vrf in (1, 2):
            key = KEY_CODECS["vrf_drops"].encode((vrf, 3))
            bpf.update(descriptor, key, (8).to_bytes(8, "little") * possible_cpus())
    pinned.forget_vrf(1)
    assert list(pinned.read_all("vrf_drops")) == [(2, 3)]
