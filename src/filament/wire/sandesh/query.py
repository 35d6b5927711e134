"""What a request asks: the query string by TF's rules, and the cursors of long answers.

A parameter's name may go on after the name of a field (`searchX` sets `search`); one of any other
name (`x`, usually) sets the field at its own position. An empty value is none.
"""

from __future__ import annotations

import base64
import binascii
import difflib
from urllib.parse import unquote_plus

import msgspec

from filament.base.errors import InputError, NotFoundError
from filament.wire.sandesh.schema import NUMBER_TYPES, Field, Request, Schema

MAX_PARAMETERS = 64
_KINDS = {"string": str, "bool": bool}
_SHOWN = 64  # characters of what was asked, in an error
_MISSPELT = 0.75  # alike enough to be meant

Query = dict[str, "str | int | bool"]


def find_request(schema: Schema, name: str) -> Request:
    """Return a request by its name. Raises NotFoundError that names the nearest."""
    request = schema.requests.get(name)
    if request is None:
        near = difflib.get_close_matches(name[:_SHOWN], schema.requests, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotFoundError(f"there is no request {name!r:.{_SHOWN}}{meant}; / lists them all")
    return request


def read_query(request: Request, query: str) -> Query:
    """Read a query string into values by parameter name; those without a value are left out.

    Raises InputError that says what the request takes.
    """
    parts = query.split("&") if query else []
    if len(parts) > MAX_PARAMETERS:
        raise InputError(
            "too-many-parameters",
            f"{request.name} was given {len(parts)} parameters",
            hint=_takes(request),
        )
    values: Query = {}
    for position, part in enumerate(parts):
        given, _, text = part.partition("=")
        name, value = unquote_plus(given), unquote_plus(text)
        if value:
            field = _field(request, name, position)
            values[field.name] = _value(request, field, value)
    return values


def _field(request: Request, name: str, position: int) -> Field:
    fields = request.parameters
    for field in fields:
        if name == field.name:
            return field
    for field in fields:
        if name.startswith(field.name):
            return field
    near = difflib.get_close_matches(
        name[:_SHOWN], [one.name for one in fields], n=1, cutoff=_MISSPELT
    )
    if near:
        raise InputError(
            "unknown-parameter",
            f"{request.name} has no parameter {name!r:.{_SHOWN}}",
            hint=f"did you mean {near[0]}?",
        )
    if position >= len(fields):
        raise InputError(
            "unknown-parameter",
            f"{request.name} has no parameter {name!r:.{_SHOWN}} and no"
            f" {_ordinal(position + 1)} one",
            hint=_takes(request),
        )
    return fields[position]


def _value(request: Request, field: Field, text: str) -> str | int | bool:
    if field.type == "bool":
        if text.lower() in ("1", "true"):
            return True
        if text.lower() in ("0", "false"):
            return False
        wanted = "1 or 0"
    elif field.type in NUMBER_TYPES:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 20:
            return int(text)
        wanted = "a whole number"
    else:
        return text
    raise InputError(
        "bad-parameter",
        f"{field.name} of {request.name} is {text!r:.{_SHOWN}}",
        hint=f"write {wanted}",
    )


def _takes(request: Request) -> str:
    names = ", ".join(field.name for field in request.parameters)
    return f"it takes {names}" if names else "it takes none"


def _ordinal(number: int) -> str:
    suffixes = {1: "st", 2: "nd", 3: "rd"}
    suffix = "th" if 10 <= number % 100 <= 20 else suffixes.get(number % 10, "th")
    return f"{number}{suffix}"


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where an answer goes on: what was asked, the table, the row after which to continue, and
    how many of what the table has (counted once, on the first page).
    """

    query: Query
    table: str = ""
    row: str = ""
    counts: list[int] = []


def format_cursor(cursor: Cursor) -> str:
    """Write a cursor as letters, digits, - and _ only: clients put it into a URL as it is."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_cursor(text: str) -> Cursor | None:
    """Read a cursor, None when it is none; see `parse_cursor` for what it asks."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        return None


def parse_cursor(request: Request, text: str) -> Cursor:
    """Read a cursor of a request. Raises InputError: cursors are made by us only."""
    cursor = read_cursor(text)
    kinds = {field.name: _KINDS.get(field.type, int) for field in request.parameters}
    if cursor is None or any(
        type(value) is not kinds.get(name) for name, value in cursor.query.items()
    ):
        raise InputError(
            "bad-cursor",
            f"{text!r:.{_SHOWN}} is no place to continue from",
            hint=f"ask {request.name} for what next_batch said, or begin anew",
        )
    return cursor
