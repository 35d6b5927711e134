"""The pinned maps as rows of Python ints: the only way rows get into or out of the kernel.

Knows map types only as far as rows need it: in arrays a row of zeros is absent and deleting writes
zeros; per-CPU values are added up. What the rows mean is `forward`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from filament.dataplane import bpf
from filament.dataplane.load import require_same_abi
from filament.forward.layout import TABLE_BY_NAME, TABLES, Table
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change, Key

Values = tuple[int, ...]


def possible_cpus() -> int:
    """How many values a per-CPU map has per key (`0-3` or `0` in sysfs)."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return int(ranges[-1].split("-")[-1]) + 1


def _is_array(table: Table) -> bool:
    return table.map_type.endswith("ARRAY")


def _is_per_cpu(table: Table) -> bool:
    return table.map_type.startswith("PERCPU_")


def _value_bytes(table: Table, cpus: int) -> int:
    size = VALUE_CODECS[table.name].size_bytes
    return -(-size // 8) * 8 * cpus if _is_per_cpu(table) else size


def _decode(table: Table, raw: bytes, cpus: int) -> Values:
    codec = VALUE_CODECS[table.name]
    if not _is_per_cpu(table):
        return codec.decode(raw)
    stride = -(-codec.size_bytes // 8) * 8
    rows = [codec.decode(raw, cpu * stride) for cpu in range(cpus)]
    return tuple(sum(column) for column in zip(*rows, strict=True))


def read_row(descriptor: int, name: str, key: Key, cpus: int) -> Values | None:
    """Read one row of a table's map, per-CPU values added up; None when it is absent."""
    table = TABLE_BY_NAME[name]
    raw = bpf.lookup(descriptor, KEY_CODECS[name].encode(key), _value_bytes(table, cpus))
    if raw is None or (_is_array(table) and not any(raw)):
        return None
    return _decode(table, raw, cpus)


def clear_row(descriptor: int, name: str, key: Key, cpus: int) -> None:
    """Make one row of an array's map absent."""
    absent = bytes(_value_bytes(TABLE_BY_NAME[name], cpus))
    bpf.update(descriptor, KEY_CODECS[name].encode(key), absent)


class PinnedMaps:
    """The vRouter's maps in one pin directory, open until `close`.

    Opening raises `PermanentError` if there are none or their row formats are another version's.
    Readers and writers may be several processes; each row is written atomically, a batch is not.
    """

    def __init__(self, directory: Path) -> None:
        require_same_abi(directory)
        self.directory = directory
        self._cpus = possible_cpus()
        self._descriptors: dict[str, int] = {}
        try:
            for table in TABLES:
                self._descriptors[table.name] = bpf.open_pinned(directory / table.name)
        except bpf.KernelError:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptors; the maps stay pinned."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def descriptor(self, name: str) -> int:
        """Return a table's file descriptor, which stays this object's."""
        return self._descriptors[name]

    def capacity(self, name: str) -> int:
        """Return how many rows a table may have: an operator may have chosen it."""
        return bpf.map_shape(self._descriptors[name]).max_entries

    def memory_bytes(self, name: str) -> int:
        """Return how much memory a table takes, in the kernel."""
        return bpf.map_memory_bytes(self._descriptors[name])

    def read(self, name: str, key: Key) -> Values | None:
        """Read one row, or None."""
        return read_row(self._descriptors[name], name, key, self._cpus)

    def read_all(self, name: str) -> dict[Key, Values]:
        """Read a whole table; absent rows of arrays are left out, per-CPU values added up."""
        return dict(self._items(TABLE_BY_NAME[name]))

    def read_changed(self, name: str, known: dict[bytes, bytes]) -> dict[Key, Values]:
        """Read the rows of a table that are other than `known`, which has them afterwards."""
        table, changed = TABLE_BY_NAME[name], {}
        for key, raw in bpf.items(self._descriptors[name], self._value_bytes(table)):
            if known.get(key) != raw:
                known[key] = raw
                changed[KEY_CODECS[name].decode(key)] = _decode(table, raw, self._cpus)
        return changed

    def read_planned(self) -> dict[str, dict[Key, Values]]:
        """Read every table whose rows `forward.plan` makes."""
        return {table.name: self.read_all(table.name) for table in TABLES if table.planned}

    def read_decision(self) -> Values:
        """The calling CPU's is unknown, so: the sum over CPUs. For tests, which clear it before."""
        return self.read("decisions", (0,)) or (0, 0, 0, 0)

    def write(self, changes: Iterable[Change]) -> None:
        """Write rows in the layout's table order, then delete in the reverse order.

        So nothing in the kernel ever points at a row that is not there. Raises `KernelError`
        naming table and row; what was written before it stays, and writing again is harmless.
        """
        updates: dict[str, list[tuple[Key, Values]]] = {}
        deletes: dict[str, list[Key]] = {}
        for name, key, values in changes:
            if values is None:
                deletes.setdefault(name, []).append(key)
            else:
                updates.setdefault(name, []).append((key, values))
        for table in TABLES:
            if table.name in updates:
                self._update(table, updates[table.name])
        for table in reversed(TABLES):
            if table.name in deletes:
                self._delete(table, deletes[table.name])

    def forget_port(self, vif: int) -> list[tuple[bytes, bytes]]:
        """Delete what the kernel collected under a port's number, before another port gets it.

        Flows, drops and counts: a successor must inherit neither verdicts nor statistics. Returns
        the rows of its flows, key and value.
        """
        # All keys begin with the number; a full flow table is too long to decode for one port.
        start = vif.to_bytes(4, sys.byteorder)
        found = {}
        for name in ("flows", "drops", "fragments"):
            descriptor = self._descriptors[name]
            size = self._value_bytes(TABLE_BY_NAME[name])
            found[name] = [row for row in bpf.items(descriptor, size) if row[0].startswith(start)]
            bpf.delete_all(descriptor, [key for key, _ in found[name]])
        for name in ("counters", "flows_entered", "flows_swept"):
            self._delete(TABLE_BY_NAME[name], [(vif,)])
        return found["flows"]

    def forget_vrf(self, vrf: int) -> None:
        """Delete what the kernel counted under a VRF's number, before another VRF gets it."""
        keys = [key for key in self.read_all("vrf_drops") if key[0] == vrf]
        self._delete(TABLE_BY_NAME["vrf_drops"], keys)

    def forget_claims(self, numbers: Iterable[int]) -> None:
        """Delete when something was claimed, before its number stands for something else."""
        self._delete(TABLE_BY_NAME["claims"], [(number,) for number in numbers])

    def clear(self, name: str) -> None:
        """Delete every row of a table."""
        self._delete(TABLE_BY_NAME[name], list(self.read_all(name)))

    def _value_bytes(self, table: Table) -> int:
        return _value_bytes(table, self._cpus)

    def _items(self, table: Table) -> Iterator[tuple[Key, Values]]:
        key_codec, is_array = KEY_CODECS[table.name], _is_array(table)
        descriptor = self._descriptors[table.name]
        for key, raw in bpf.items(descriptor, self._value_bytes(table)):
            if is_array and not any(raw):
                continue
            yield key_codec.decode(key), _decode(table, raw, self._cpus)

    def _update(self, table: Table, rows: list[tuple[Key, Values]]) -> None:
        key_codec, value_codec = KEY_CODECS[table.name], VALUE_CODECS[table.name]
        raw = [(key_codec.encode(key), value_codec.encode(values)) for key, values in rows]
        try:
            bpf.update_all(self._descriptors[table.name], raw)
        except bpf.KernelError as problem:
            subject = f"table {table.name}, which holds at most {table.max_entries} rows"
            raise bpf.KernelError("write to", subject, problem.errno) from problem

    def _delete(self, table: Table, keys: list[Key]) -> None:
        raw = [KEY_CODECS[table.name].encode(key) for key in keys]
        if _is_array(table):
            absent = bytes(self._value_bytes(table))
            bpf.update_all(self._descriptors[table.name], [(key, absent) for key in raw])
        else:
            bpf.delete_all(self._descriptors[table.name], raw)
