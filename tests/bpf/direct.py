"""The kernel's programs and maps by as few system calls and copies as there can be.

`dataplane.bpf` opens a buffer per call and reads maps row by row where it must; a test that runs
millions of packets cannot. Here every program and map has buffers of its own, made once.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct
from collections.abc import Iterable
from typing import NamedTuple

from filament.dataplane import bpf
from filament.dataplane.maps import Values
from filament.forward.layout import TABLE_BY_NAME
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Key

_TEST_RUN, _LOOKUP = 10, 1
_LOOKUP_BATCH, _TAKE_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 24, 25, 26, 27
_MOST_ROWS = 512  # read at once
_MOST_BYTES = 1 << 16  # of a frame
_RUN = struct.Struct("=IIIIQQIIIIQQIII4x")
_RAN = struct.Struct("=4xI4xI")  # the program's return value, and bytes of the frame
_BATCH = struct.Struct("=QQQQIIQQ")
_SKB_BYTES, _SKB_IFINDEX, _SKB_GSO_SIZE = 192, 40, 176


def _call(command: int, attributes: ctypes.Array[ctypes.c_char], size: int) -> int:
    result = int(bpf._libc.syscall(bpf._SYSCALL, command, attributes, size))
    return -ctypes.get_errno() if result < 0 else result


def _require(result: int, command: str, subject: str) -> None:
    if result < 0:
        raise bpf.KernelError(command, subject, -result)


class Ran(NamedTuple):
    """What a test run returned: the program's return value, and the frame."""

    returned: int
    frame: bytes


class Program:
    """One program, run on frames."""

    def __init__(self, descriptor: int) -> None:
        self._sent = ctypes.create_string_buffer(_MOST_BYTES)
        self._received = ctypes.create_string_buffer(_MOST_BYTES)
        self._context = ctypes.create_string_buffer(_SKB_BYTES)
        self._attributes = ctypes.create_string_buffer(_RUN.size)
        self._descriptor = descriptor

    def run(self, frame: bytes, *, ifindex: int, gso_size: int = 0) -> Ran:
        """Run it once on a frame that comes from a device."""
        ctypes.memmove(self._sent, frame, len(frame))
        struct.pack_into("=I", self._context, _SKB_IFINDEX, ifindex)
        struct.pack_into("=I", self._context, _SKB_GSO_SIZE, gso_size)
        _RUN.pack_into(
            self._attributes,
            0,
            self._descriptor,
            0,
            len(frame),
            _MOST_BYTES,
            ctypes.addressof(self._sent),
            ctypes.addressof(self._received),
            1,
            0,
            _SKB_BYTES,
            0,
            ctypes.addressof(self._context),
            0,
            0,
            0,
            0,
        )
        result = _call(_TEST_RUN, self._attributes, _RUN.size)
        _require(result, "test", f"a program with {len(frame)} bytes")
        returned, length = _RAN.unpack_from(self._attributes)
        return Ran(returned, ctypes.string_at(self._received, length))


class Map:
    """One table's map: whole rows, by batches. Of per-CPU maps the sum over CPUs."""

    def __init__(self, name: str, descriptor: int, cpus: int) -> None:
        table = TABLE_BY_NAME[name]
        self._name, self._descriptor = name, descriptor
        self._decode_key = KEY_CODECS[name].decode
        self._value = VALUE_CODECS[name]
        self._key_bytes = KEY_CODECS[name].size_bytes
        self._cpus = cpus if table.map_type.startswith("PERCPU") else 1
        self._is_array = table.map_type.endswith("ARRAY")
        one = self._value.size_bytes
        self._stride = -(-one // 8) * 8 if self._cpus > 1 else one
        self._value_bytes = self._stride * self._cpus
        self._keys = ctypes.create_string_buffer(_MOST_ROWS * self._key_bytes)
        self._values = ctypes.create_string_buffer(_MOST_ROWS * self._value_bytes)
        self._cursor = ctypes.create_string_buffer(max(self._key_bytes, 8))
        self._attributes = ctypes.create_string_buffer(_BATCH.size)
        # Cases are much alike: hardly any row is new.
        self._key_of = functools.lru_cache(1 << 16)(KEY_CODECS[name].encode)
        self._value_of = functools.lru_cache(1 << 16)(self._value.encode)

    def _batch(self, command: int, count: int, *, reads: bool = False) -> int:
        _BATCH.pack_into(
            self._attributes,
            0,
            0,
            ctypes.addressof(self._cursor) if reads else 0,
            ctypes.addressof(self._keys),
            ctypes.addressof(self._values),
            count,
            self._descriptor,
            0,
            0,
        )
        return _call(command, self._attributes, _BATCH.size)

    def _read_value(self, index: int) -> Values:
        at = index * self._value_bytes
        if self._cpus == 1:
            return self._value.decode(self._values, at)
        rows = [self._value.decode(self._values, at + n * self._stride) for n in range(self._cpus)]
        return tuple(map(sum, zip(*rows, strict=True)))

    def _rows(self, command: int, most: int) -> dict[Key, Values]:
        result = self._batch(command, most, reads=True)
        if result != -errno.ENOENT and not (result == 0 and self._is_array):
            assert result < 0, f"{self._name} has more than {most} rows"
            _require(result, "read", f"table {self._name}")
        (found,) = struct.unpack_from("=I", self._attributes, 32)
        return {
            self._decode_key(self._keys, index * self._key_bytes): self._read_value(index)
            for index in range(found)
        }

    def take(self) -> dict[Key, Values]:
        """Read a hash's rows, and delete them."""
        return self._rows(_TAKE_BATCH, _MOST_ROWS)

    def read(self, count: int = _MOST_ROWS) -> dict[Key, Values]:
        """Read a hash's rows, or the first `count` of an array."""
        return self._rows(_LOOKUP_BATCH, count)

    def zero(self, count: int) -> None:
        """Make the first rows of an array absent."""
        ctypes.memset(self._values, 0, count * self._value_bytes)
        for index in range(count):
            struct.pack_into("=I", self._keys, index * self._key_bytes, index)
        result = self._batch(_UPDATE_BATCH, count)
        _require(result, "write to", f"table {self._name}")

    def write(self, rows: Iterable[tuple[Key, Values]]) -> None:
        """Write rows, of no per-CPU map."""
        listed = list(rows)
        for at in range(0, len(listed), _MOST_ROWS):
            part = listed[at : at + _MOST_ROWS]
            keys = b"".join([self._key_of(key) for key, _ in part])
            values = b"".join([self._value_of(row) for _, row in part])
            ctypes.memmove(self._keys, keys, len(keys))
            ctypes.memmove(self._values, values, len(values))
            _require(self._batch(_UPDATE_BATCH, len(part)), "write to", f"table {self._name}")

    def delete(self, keys: Iterable[Key]) -> None:
        """Delete rows that there are."""
        listed = list(keys)
        if self._is_array:
            absent = (0,) * len(self._value.decode(bytes(self._value.size_bytes)))
            self.write([(key, absent) for key in listed])
            return
        for at in range(0, len(listed), _MOST_ROWS):
            part = listed[at : at + _MOST_ROWS]
            raw = b"".join([self._key_of(key) for key in part])
            ctypes.memmove(self._keys, raw, len(raw))
            _require(self._batch(_DELETE_BATCH, len(part)), "delete from", f"table {self._name}")


class OnlyRow:
    """Row 0 of a per-CPU array, and nothing else of it."""

    def __init__(self, name: str, descriptor: int, cpus: int) -> None:
        codec = VALUE_CODECS[name]
        stride = -(-codec.size_bytes // 8) * 8
        self._name, self._descriptor, self._codec = name, descriptor, codec
        self._offsets = range(0, stride * cpus, stride)
        self._key = ctypes.create_string_buffer(4)
        self._value = ctypes.create_string_buffer(stride * cpus)
        self._absent = ctypes.create_string_buffer(stride * cpus)
        self._attributes = ctypes.create_string_buffer(32)

    def _act(self, command: int, value: ctypes.Array[ctypes.c_char]) -> None:
        where = ctypes.addressof(self._key), ctypes.addressof(value)
        struct.pack_into("=IxxxxQQQ", self._attributes, 0, self._descriptor, *where, 0)
        _require(_call(command, self._attributes, 32), "read or write", f"table {self._name}")

    def clear(self) -> None:
        """Write zeros."""
        self._act(2, self._absent)

    def read(self) -> Values:
        """Read the sum over CPUs."""
        self._act(_LOOKUP, self._value)
        rows = [self._codec.decode(self._value, offset) for offset in self._offsets]
        return tuple(map(sum, zip(*rows, strict=True)))
