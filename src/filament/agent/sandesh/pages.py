"""Lists of the agent, a hundred rows at a time or all: TF's Pagination.

The first page says how the next and how all can be had (`PageReq`). All are written as a list of
messages, so that no message is larger than others can wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from filament.base.errors import InputError
from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.runtime.introspect.serve import Answer, Messages
from filament.runtime.introspect.slices import in_order, lowest
from filament.wire.sandesh.query import Cursor, Query, format_cursor, parse_cursor, read_cursor
from filament.wire.sandesh.vrouter import AGENT
from filament.wire.sandesh.xml import Message, Values

PAGE_ROWS = 100
_ALL = "*"  # as a cursor's row: everything


class Listed(NamedTuple):
    """One kind of list: `keys` are all that a query asks for, `order` sorts them and `mark` is that
    as a text which `read_mark` reads. `maker` is called for each answer and returns what makes a
    row of a key, None when that is gone meanwhile.
    """

    response: str
    field: str
    keys: Callable[[Query], Sequence[Any]]
    maker: Callable[[], Callable[[Any], Values | None]]
    order: Callable[[Any], Any] = lambda key: key
    mark: Callable[[Any], str] = str
    read_mark: Callable[[str], Any] = lambda text: text


class Pages:
    """The lists, by request."""

    def __init__(self, lists: dict[str, Listed]) -> None:
        self._lists = lists

    def answers(self) -> dict[str, Answer]:
        """Return the answers to all lists' requests, and to the one for more."""

        def answering(name: str) -> Answer:
            return lambda query: self._page(name, query, "")

        return {**{name: answering(name) for name in self._lists}, "PageReq": self._more}

    def _more(self, query: Query) -> Messages:
        text = str(query.get("key", ""))
        named = read_cursor(text)
        if named is None or named.table not in self._lists:
            raise InputError(
                "bad-cursor",
                f"{text!r:.64} is no place to continue from",
                hint="ask what an answer's next_page said, or begin anew",
            )
        cursor = parse_cursor(AGENT.requests[named.table], text)
        if cursor.row == _ALL:
            return self._all(cursor.table, cursor.query)
        return self._page(cursor.table, cursor.query, cursor.row)

    def _page(self, name: str, query: Query, after: str) -> Messages:
        listed = self._lists[name]
        keys = listed.keys(query)
        last = listed.read_mark(after) if after else None
        found = yield from lowest(keys, listed.order, PAGE_ROWS + 1, after=last)
        shown = found[:PAGE_ROWS]
        yield Message(listed.response, {listed.field: _rows(shown, listed.maker())})
        if after or len(found) > PAGE_ROWS:
            following = listed.mark(shown[-1]) if len(found) > PAGE_ROWS else ""
            first = format_cursor(Cursor(query, name))
            yield Message(
                "Pagination",
                {
                    "req": {
                        "next_page": _key(query, name, following),
                        "first_page": first,
                        "prev_page": first if after else "",
                        "all": _key(query, name, _ALL),
                        "table_size": len(keys),
                        "entries": f"{len(shown)} of {len(keys)}",
                    }
                },
            )

    def _all(self, name: str, query: Query) -> Messages:
        listed = self._lists[name]
        make = listed.maker()
        ordered = yield from in_order(listed.keys(query), listed.order)
        while True:
            part = list(islice(ordered, MAX_INTROSPECT_ROWS))
            if not part:
                return
            yield Message(listed.response, {listed.field: _rows(part, make)})


def _rows(keys: Sequence[Any], make: Callable[[Any], Values | None]) -> Iterator[Values]:
    return (values for key in keys if (values := make(key)) is not None)


def _key(query: Query, name: str, row: str) -> str:
    return format_cursor(Cursor(query, name, row)) if row else ""
