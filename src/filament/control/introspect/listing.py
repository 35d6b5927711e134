"""Long lists, page by page: sorted, filtered, found without holding anybody up.

A page is what stands next after a cursor in the order of the keys: what changes meanwhile is never
repeated. Nothing but the order is remembered between pages, and that not for long.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.runtime.clock import now
from filament.runtime.introspect.serve import Answer, Messages
from filament.runtime.introspect.slices import Paused, Reading
from filament.wire.sandesh.query import Cursor, Query, format_cursor, parse_cursor
from filament.wire.sandesh.routing import CONTROL
from filament.wire.sandesh.xml import Message, Values

Row = Values | None


def listing(
    request: str,
    response: str,
    field: str,
    keys: Callable[[Query], Sequence[str]],
    values_of: Callable[[str], Row | Paused[Row]],
    more: Callable[[Query], Mapping[str, Any]] = lambda _: {},
) -> dict[str, Answer]:
    """Return the answers to a request for a list of named things, and to the one for the rest.

    `keys` are the names of all that the query asks for, `values_of` makes a row of one (at once or
    with pauses; None when it is gone meanwhile), `more` are the response's other members.
    """
    reading = Reading(now)

    def page(query: Query, after: str) -> Messages:
        names = yield from reading.page(
            repr(sorted(query.items())),
            lambda: keys(query),
            str,
            MAX_INTROSPECT_ROWS + 1,
            after=after or None,
        )
        shown = names[:MAX_INTROSPECT_ROWS]
        cursor = Cursor(query, row=shown[-1]) if len(names) > len(shown) else None
        values: dict[str, Any] = {field: _rows(shown, values_of), **more(query)}
        if cursor is not None:
            values["next_batch"] = format_cursor(cursor)
        yield Message(response, values)

    answers: dict[str, Answer] = {request: lambda query: page(query, "")}
    iterate = f"{request}Iterate"
    if iterate in CONTROL.requests:

        def following(query: Query) -> Messages:
            cursor = parse_cursor(CONTROL.requests[request], str(query.get("cursor", "")))
            return page(cursor.query, cursor.row)

        answers[iterate] = following
    return answers


def _rows(names: Sequence[str], values_of: Callable[[str], Row | Paused[Row]]) -> Iterator[Row]:
    for name in names:
        made = values_of(name)
        row = (yield from made) if isinstance(made, Generator) else made
        if row is not None:
            yield row


def nothing(request: str, response: str) -> dict[str, Answer]:
    """Return the answer to a request of whose subject there is nothing here."""

    def answer(_: Query) -> Iterator[Message]:
        yield Message(response, {})

    return {request: answer}


def searching(query: Query, names: Sequence[str]) -> list[str]:
    """Return the names that contain what is searched for."""
    text = str(query.get("search_string", ""))
    return [name for name in names if text in name] if text else list(names)
