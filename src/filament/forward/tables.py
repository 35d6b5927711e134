"""Rows of the data plane as Python values: what `forward.plan` makes and everybody else reads."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from filament.base.origin import NOWHERE, Origin
from filament.forward.layout import TABLE_BY_NAME, Field

Key = tuple[int, ...]

VRF_BITS = 32  # the part of a route's prefix_length that matches the VRF
SENDER_BITS = 96  # the part of a source's prefix_length that matches the port, MAC and padding
FAT_SUBNET_BITS = 64  # the part of a fat subnet's that matches port, protocol and one of its ports
ROUTES_BY_VERSION = {4: "routes", 6: "routes6"}  # the tables of routes, by IP version


class Row(msgspec.Struct, frozen=True):
    """One row's value, in the order of the table's value fields, and where it comes from.

    Two rows are the same to the kernel when `values` are; `origin` is for people.
    """

    values: tuple[int, ...]
    origin: Origin = NOWHERE


class Delta(NamedTuple):
    """How tables differ from those of the plan before, so that nobody need compare what is long.

    `plan` and `before` stand for the two plans and are compared by identity. `keys` are those of
    rows that may differ, of some tables: of others nothing is known.
    """

    plan: object
    before: object
    keys: dict[str, set[Key]]


class Tables(msgspec.Struct, frozen=True):
    """The complete desired rows of one host at one revision: table name -> key -> row.

    `misfits` say which lists of rules are not what they should be, because there is no room for
    them. `delta` is known where a plan before is remembered.

    Holds every table of `layout.PLANNED`, also empty ones. Keys and values are ints in the
    order of the layout's fields; pad fields are left out.
    """

    revision: int
    rows: dict[str, dict[Key, Row]]
    misfits: tuple[str, ...] = ()
    delta: Delta | None = None


class Change(NamedTuple):
    """One map write: value None deletes."""

    table: str
    key: Key
    values: tuple[int, ...] | None


def fields_of(table: str) -> list[str]:
    """Return the names of a row's values, in order."""
    return [one.name for one in TABLE_BY_NAME[table].value if not one.type.startswith("pad")]


_NATIVE = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "be16": "H", "be32": "I"}
_BYTES = {"mac": 6, "be128": 16}


class Codec:
    """Rows of one struct of the layout as bytes, exactly as the BPF programs see them.

    Values are ints in field order without the pad fields; `size_bytes` is the struct's size.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        codes, self._swapped, self._strings, index = "=", [], [], 0
        for field in fields:
            if field.type.startswith("pad"):
                codes += f"{field.type[3:]}x"
                continue
            if field.type in _BYTES:
                codes += f"{_BYTES[field.type]}s"
                self._strings.append((index, _BYTES[field.type]))
                index += 1
                continue
            codes += _NATIVE[field.type]
            if field.type.startswith("be") and sys.byteorder == "little":
                self._swapped.append((index, int(field.type[2:]) // 8))
            index += 1
        self._struct = struct.Struct(codes)
        self.size_bytes = self._struct.size

    def encode(self, values: Sequence[int]) -> bytes:
        """Encode one row; a value out of its field's range is a bug of the caller."""
        if not self._swapped and not self._strings:
            return self._struct.pack(*values)
        native: list[int | bytes] = list(values)
        for index, size in self._swapped:
            native[index] = int.from_bytes(values[index].to_bytes(size, "big"), "little")
        for index, size in self._strings:
            native[index] = values[index].to_bytes(size, "big")
        return self._struct.pack(*native)

    def decode(self, raw: bytes | memoryview, offset: int = 0) -> tuple[int, ...]:
        """Decode one row out of `raw`, which must hold `size_bytes` from `offset` on."""
        native = self._struct.unpack_from(raw, offset)
        if not self._swapped and not self._strings:
            return native
        values = list(native)
        for index, size in self._swapped:
            values[index] = int.from_bytes(values[index].to_bytes(size, "big"), "little")
        for index, _ in self._strings:
            values[index] = int.from_bytes(values[index], "big")
        return tuple(values)


KEY_CODECS = {name: Codec(table.key) for name, table in TABLE_BY_NAME.items()}
VALUE_CODECS = {name: Codec(table.value) for name, table in TABLE_BY_NAME.items()}
