"""One layout for C, Python and people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.forward.flows import Flow
from filament.forward.layout import RULES, TABLE_BY_NAME, TABLES, DropReason, Field
from filament.forward.rows import VALUES_BY_TABLE
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Codec


def names(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(field.name for field in fields if not field.type.startswith("pad"))


def test_the_models_rows_have_the_layouts_fields() -> None:
    assert {
        name: row._fields  # type: ignore[attr-defined]
        for name, row in VALUES_BY_TABLE.items()
    } == {table.name: names(table.value) for table in (RULES, *TABLES) if table.planned}
    assert Flow.__struct_fields__ == names(TABLE_BY_NAME["flows"].value)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_struct_has_holes(table) -> None:
    """Fields lie at multiples of their size, as C puts them, and the end is aligned too."""
    for fields, codec in (
        (table.key, KEY_CODECS[table.name]),
        (table.value, VALUE_CODECS[table.name]),
    ):
        at, widest = 0, 1
        for field in fields:
            size, alignment = {
                "8": (1, 1),
                "16": (2, 2),
                "32": (4, 4),
                "64": (8, 8),
                "128": (16, 4),
                "mac": (6, 1),
            }.get(field.type.lstrip("ube"), (0, 1))
            if field.type.startswith("pad"):
                size = int(field.type[3:])
            assert size > 0, field
            assert at % alignment == 0, field
            at, widest = at + size, max(widest, alignment)
        assert at == codec.size_bytes
        assert at % widest == 0


def test_bytes_are_as_c_sees_them() -> None:
    codec = Codec((Field("a", "u16"), Field("b", "be16"), Field("c", "be32"), Field("m", "mac")))
    raw = codec.encode((0x0102, 0x0304, 0x0A010103, 0x020304050607))
    assert raw[2:8] == bytes([3, 4, 10, 1, 1, 3])
    assert raw[8:] == bytes([2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(data=st.data())
def test_rows_survive_the_bytes(table, data) -> None:
    bits = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "be16": 16, "be32": 32, "be128": 128}
    bits["mac"] = 48
    for fields, codec in (
        (table.key, KEY_CODECS[table.name]),
        (table.value, VALUE_CODECS[table.name]),
    ):
        values = tuple(
            data.draw(st.integers(0, (1 << bits[field.type]) - 1))
            for field in fields
            if not field.type.startswith("pad")
        )
        assert codec.decode(codec.encode(values)) == values


def test_every_drop_reason_speaks() -> None:
    numbers = [int(reason) for reason in DropReason]
    assert numbers == list(range(len(numbers)))
    assert all(reason.text and (reason.tf or reason is DropReason.NONE) for reason in DropReason)
