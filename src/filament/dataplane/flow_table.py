"""A flow table of another size takes the place of the one that packets use, and gets its rows.

Connections of workloads must not notice: what answers a flow passes only while its row is there. So
rows are copied before programs that use the new table run anywhere, and those that the old programs
enter meanwhile are copied once they run nowhere any more. Until then the old table stays pinned
beside the new one, so that a process that ends half-way loses nothing either.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filament.dataplane import bpf
from filament.dataplane.maps import PinnedMaps
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change, fields_of

_FLOWS = "flows"
_FORMER = "flows-before"
_STARTED = fields_of(_FLOWS).index("started_ns")
_LAST_SEEN = fields_of(_FLOWS).index("last_seen_ns")
_TICK_NS = 20_000_000  # what the programs' clock may be behind
_RawRow = tuple[bytes, bytes]


class FlowTableMove:
    """One start of an agent: nothing to do unless the table pinned in `directory` is of another
    size than `limit` flows. Made before the programs are loaded; then `copy`, and `finish` once
    the loaded ones are attached everywhere.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._copied_ns: int | None = None
        with _opened(directory / _FLOWS) as descriptor:
            if descriptor is None or bpf.map_shape(descriptor).max_entries == limit:
                return
        (directory / _FLOWS).replace(directory / _FORMER)

    def copy(self, maps: PinnedMaps) -> int:
        """Copy rows into the new table, the last seen where not all fit; returns how many."""
        with _opened(self._directory / _FORMER) as former:
            if former is None:
                return 0
            self._copied_ns = time.monotonic_ns()
            rows, room = list(bpf.items(former)), maps.capacity(_FLOWS)
            if len(rows) > room:
                rows.sort(key=lambda row: -_value(row, _LAST_SEEN))
                _count_out(maps, rows[room:])
            bpf.update_all(maps.descriptor(_FLOWS), rows[:room])
            return min(len(rows), room)

    def finish(self, maps: PinnedMaps) -> None:
        """Copy what was entered into the old table since then, and let that go."""
        if self._copied_ns is None:
            return
        flows, since_ns = maps.descriptor(_FLOWS), self._copied_ns - _TICK_NS
        lost = []
        with _opened(self._directory / _FORMER) as former:
            assert former is not None
            for row in bpf.items(former):
                if _value(row, _STARTED) < since_ns or _is_in(flows, row):
                    continue
                try:
                    bpf.update(flows, *row)
                except bpf.KernelError:  # no room
                    lost.append(row)
        _count_out(maps, lost)
        (self._directory / _FORMER).unlink()
        self._copied_ns = None


def _value(row: _RawRow, place: int) -> int:
    return VALUE_CODECS[_FLOWS].decode(row[1])[place]


def _is_in(flows: int, row: _RawRow) -> bool:
    return bpf.lookup(flows, row[0], len(row[1])) is not None


def _count_out(maps: PinnedMaps, rows: list[_RawRow]) -> None:
    """Rows that did not come along are in no port's limit any more."""
    changes = []
    for vif, count in Counter(KEY_CODECS[_FLOWS].decode(key)[0] for key, _ in rows).items():
        before = maps.read("flows_swept", (vif,)) or (0,)
        changes.append(Change("flows_swept", (vif,), (before[0] + count,)))
    maps.write(changes)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open what is pinned; None where nothing is."""
    try:
        descriptor = bpf.open_pinned(path)
    except bpf.KernelError as problem:
        if problem.errno != errno.ENOENT:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
