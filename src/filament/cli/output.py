"""How the command line prints: aligned tables for people, JSON for programs.

Everything a command shows goes through here, so that all commands look alike. Values are records
(dicts of JSON values); a table shows some of their fields, `--json` shows all of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

Record = Mapping[str, Any]
_GAP = "  "


class Column(NamedTuple):
    """One table column: the record's field it shows, and its title."""

    field: str
    title: str


def columns(*fields: str) -> tuple[Column, ...]:
    """Make columns titled like their fields (`since_s` becomes `SINCE S`)."""
    return tuple(Column(field, field.replace("_", " ").upper()) for field in fields)


def cell(value: object) -> str:
    """Format one value for a table cell; what is absent or empty is a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) if value else "-"
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":")) if value else "-"
    return " ".join(str(value).split("\n"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_table(
    records: Sequence[Record], shown: Sequence[Column], *, title_style: bool = False
) -> list[str]:
    """Lay records out as lines: titles, then one line each; columns of numbers lean right."""
    cells = [[cell(record.get(column.field)) for column in shown] for record in records]
    leans_right = [
        any(_is_number(record.get(column.field)) for record in records)
        and all(
            _is_number(record.get(column.field)) or cell(record.get(column.field)) == "-"
            for record in records
        )
        for column in shown
    ]
    widths = [
        max([len(column.title), *(len(row[index]) for row in cells)])
        for index, column in enumerate(shown)
    ]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, leans_right, strict=True)
        )
        return _GAP.join(padded).rstrip()

    titles = line([column.title for column in shown])
    if title_style:
        titles = click.style(titles, bold=True)
    return [titles, *(line(row) for row in cells)]


def format_pairs(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """Lay out `name  value` lines, values aligned."""
    kept = [(name, cell(value)) for name, value in pairs]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name.ljust(width)}{_GAP}{value}" for name, value in kept]


def format_tree(value: object, indent: str = "") -> list[str]:
    """Lay a JSON value out as indented lines: `name value`, members and items below their owner."""
    if isinstance(value, dict):
        kept = {str(name): item for name, item in value.items() if item is not None}
        scalars = [name for name, item in kept.items() if not isinstance(item, dict | list)]
        width = max((len(name) for name in scalars), default=0)
        lines = []
        for name, item in kept.items():
            if isinstance(item, dict | list) and item:
                lines += [f"{indent}{name}", *format_tree(item, indent + "  ")]
            else:
                lines.append(f"{indent}{name.ljust(width)}{_GAP}{cell(item)}")
        return lines
    if isinstance(value, list):
        lines = []
        for item in value:
            if isinstance(item, dict | list) and item:
                first, *rest = format_tree(item, "")
                lines += [f"{indent}- {first}", *(f"{indent}  {line}" for line in rest)]
            else:
                lines.append(f"{indent}- {cell(item)}")
        return lines
    return [f"{indent}{cell(value)}"]


def wants_colour() -> bool:
    """Say whether stdout is a terminal whose owner has not asked for no colour (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to stdout; styles survive only on a terminal that wants them."""
    text = "\n".join(lines)
    if text:
        click.echo(text, color=wants_colour())


def print_json(value: object) -> None:
    """Print one JSON value, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: object) -> None:
    """Print one JSON value on one line: streams are read line by line."""
    click.echo(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def print_records(
    records: Sequence[Record], shown: Sequence[Column], *, as_json: bool, nothing: str
) -> None:
    """Print records as a table or as a JSON list; `nothing` is said when there are none."""
    if as_json:
        print_json(list(records))
    elif records:
        print_lines(format_table(records, shown, title_style=wants_colour()))
    else:
        print_lines([nothing])


def print_note(text: str) -> None:
    """Tell the person something that is no part of the answer (stderr)."""
    click.echo(text, err=True)
