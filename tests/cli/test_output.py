import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.cli.output import (
    cell,
    columns,
    format_pairs,
    format_table,
    format_tree,
    print_json,
    print_json_line,
    print_records,
)


def test_a_table_aligns_texts_left_and_numbers_right():
    records = [
        {"name": "red-1", "packets": 7, "address": "10.1.1.3"},
        {"name": "b", "packets": 12345, "address": None},
    ]
    assert format_table(records, columns("name", "packets", "address")) == [
        "NAME   PACKETS  ADDRESS",
        "red-1        7  10.1.1.3",
        "b        12345  -",
    ]


def test_a_column_with_one_text_is_no_column_of_numbers():
    lines = format_table([{"id": 5}, {"id": "none"}], columns("id"))
    assert lines == ["ID", "5", "none"]


def test_a_column_of_numbers_may_have_gaps():
    lines = format_table([{"packets": 5}, {}], columns("packets"))
    assert lines == ["PACKETS", "      5", "      -"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (0.25, "0.2"),
        (["a", 1], "a, 1"),
        ({"a": [1]}, '{"a":[1]}'),
        ("two\nlines", "two lines"),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


@given(
    st.lists(
        st.fixed_dictionaries(
            {"a": st.text("xyz ", max_size=9).map(str.strip), "b": st.integers()}
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_line_of_a_table_has_its_columns_at_the_same_place(records):
    titles, *lines = format_table(records, columns("a", "b"))
    ends = {len(line) for line in lines} | {len(titles)}
    assert len(ends) == 1  # the last column leans right: all lines end together


def test_pairs_align():
    assert format_pairs([("a", 1), ("long", "x")]) == ["a     1", "long  x"]


def test_a_tree_indents_members_and_items():
    value = {
        "id": 1,
        "subnets": [{"prefix": "10.1.1.0/24", "gateway": "10.1.1.1"}, "x"],
        "no": None,
    }
    assert format_tree(value) == [
        "id  1",
        "subnets",
        "  - prefix   10.1.1.0/24",
        "    gateway  10.1.1.1",
        "  - x",
    ]


def test_records_print_as_json_with_every_field(capsys):
    print_records([{"a": 1, "hidden": 2}], columns("a"), as_json=True, nothing="none")
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "hidden": 2}]


def test_no_records_are_said_to_be_none(capsys):
    print_records([], columns("a"), as_json=False, nothing="no such route")
    assert capsys.readouterr().out == "no such route\n"
    print_records([], columns("a"), as_json=True, nothing="no such route")
    assert json.loads(capsys.readouterr().out) == []


def test_no_colour_without_a_terminal(capsys):
    print_records([{"a": 1}], columns("a"), as_json=False, nothing="")
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_utf8_and_lines_are_single(capsys):
    print_json({"name": "rötlich"})
    assert "rötlich" in capsys.readouterr().out
    print_json_line({"a": {"b": 1}})
    assert capsys.readouterr().out == '{"a":{"b":1}}\n'
