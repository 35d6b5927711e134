"""Rows of the data plane as Python values: what `forward.plan` makes and everybody else reads."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from filament.base.origin import NOWHERE, Origin

Key = tuple[int, ...]


class Row(msgspec.Struct, frozen=True):
    """One row's value, in the order of the table's value fields, and where it comes from.

    Two rows are the same to the kernel when `values` are; `origin` is for people.
    """

    values: tuple[int, ...]
    origin: Origin = NOWHERE


class Tables(msgspec.Struct, frozen=True):
    """The complete desired rows of one host at one revision: table name -> key -> row.

    Holds every planned table of `layout.TABLES`, also empty ones. Keys and values are ints in the
    order of the layout's fields; pad fields are left out.
    """

    revision: int
    rows: dict[str, dict[Key, Row]]


class Change(NamedTuple):
    """One map write: value None deletes."""

    table: str
    key: Key
    values: tuple[int, ...] | None
