"""Routes and tables: ShowRouteReq and ShowRouteSummaryReq."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.control.introspect.tables import (
    COUNTED,
    Counts,
    Table,
    summary_values,
    tables_named,
    tables_of,
)
from filament.control.node import ControlNode
from filament.runtime.clock import now
from filament.runtime.introspect.serve import Answer, Messages
from filament.runtime.introspect.slices import Paused, Reading
from filament.wire.sandesh.query import Cursor, Query, format_cursor, parse_cursor
from filament.wire.sandesh.routing import CONTROL
from filament.wire.sandesh.text import format_time
from filament.wire.sandesh.xml import Message, Values

_ROUTES = CONTROL.requests["ShowRouteReq"]
_SUMMARY = CONTROL.requests["ShowRouteSummaryReq"]
# Families as people ask for them: TF's own words, and the short ones of its tools.
_FAMILIES = {"l3vpn": "inetvpn", "l3vpn-inet6": "inet6vpn"}


class _Shown(NamedTuple):
    """What a page shows of one table."""

    table: Table
    counts: Counts
    keys: list[Any]


class RouteAnswers:
    """The answers; reads the node, changes nothing."""

    def __init__(self, node: ControlNode) -> None:
        self._node = node
        self._reading = Reading(now)

    def answers(self) -> dict[str, Answer]:
        """Return them by request."""
        return {
            "ShowRouteReq": lambda query: self._routes(Cursor(query)),
            "ShowRouteReqIterate": lambda query: self._routes(
                parse_cursor(_ROUTES, str(query.get("cursor", "")))
            ),
            "ShowRouteSummaryReq": lambda query: self._summaries(Cursor(query)),
            "ShowRouteSummaryReqIterate": lambda query: self._summaries(
                parse_cursor(_SUMMARY, str(query.get("cursor", "")))
            ),
        }

    # summaries ------------------------------------------------------------------------------

    def _summaries(self, cursor: Cursor) -> Messages:
        text = str(cursor.query.get("search_string", ""))
        named = tables_named(tables_of(self._node), text)
        start = _position(named, cursor.table)
        shown = named[start : start + MAX_INTROSPECT_ROWS]
        rows: list[Values] = []
        for table in shown:
            counts = yield from table.count()
            rows.append({"name": table.name, **summary_values(counts)})
            yield None
        values: dict[str, Any] = {"tables": rows}
        following = named[start + len(shown) :]
        if following:
            values["next_batch"] = format_cursor(Cursor(cursor.query, following[0].name))
        yield Message("ShowRouteSummaryResp", values)

    # routes ---------------------------------------------------------------------------------

    def _routes(self, cursor: Cursor) -> Messages:
        query = cursor.query
        count = int(query.get("count", 0))
        limit = min(count, MAX_INTROSPECT_ROWS) if count > 0 else MAX_INTROSPECT_ROWS
        tables = self._tables(query)
        first = cursor.table or str(query.get("start_routing_table", ""))
        tables = tables[_position(tables, first) :]
        after = cursor.row
        shown: list[_Shown] = []
        following: Cursor | None = None
        for table in tables:
            yield None
            if limit == 0:
                following = Cursor(query, table.name)
                break
            keys = yield from self._keys(table, query, after, limit + 1)
            if keys or table.name == query.get("routing_table"):
                is_counted = after and len(cursor.counts) == len(COUNTED)
                counts = cursor.counts if is_counted else (yield from table.count())
                shown.append(_Shown(table, counts, keys[:limit]))
                if len(keys) > limit:
                    last = table.mark(keys[limit - 1])
                    following = Cursor(query, table.name, last, counts)
                    break
                limit -= len(keys)
            after = ""
        values: dict[str, Any] = {"tables": (self._table(one, query) for one in shown)}
        if following is not None and not count:
            values["next_batch"] = format_cursor(following)
        yield Message("ShowRouteResp", values)

    def _tables(self, query: Query) -> list[Table]:
        """Return the tables a query asks for."""
        family = str(query.get("family", ""))
        family = _FAMILIES.get(family, family)
        instance = query.get("routing_instance")
        name = query.get("routing_table")
        since = str(query.get("start_routing_instance", ""))
        return [
            table
            for table in tables_of(self._node)
            if name in (None, table.name)
            and instance in (None, table.instance)
            and family in ("", table.family)
            and since <= table.instance
        ]

    def _keys(self, table: Table, query: Query, after: str, limit: int) -> Paused[list[Any]]:
        """Return the keys of a table that are asked for and come after a cursor, in order."""
        tests: list[Callable[[Any], bool]] = []
        prefix = str(query.get("prefix", ""))
        if prefix:
            longer, shorter = (bool(query.get(f"{one}_match")) for one in ("longer", "shorter"))
            tests.append(table.filter(prefix, longer=longer, shorter=shorter))
        source, protocol = query.get("source"), str(query.get("protocol", "")).lower()
        if source is not None or protocol:
            wanted = str(source) if source is not None else None
            tests.append(lambda key: table.has_path(key, wanted, protocol))
        start = str(query.get("start_prefix", ""))
        if start:
            first = table.start(start)
            tests.append(lambda key: bool(table.order(key) >= first))
        found = yield from self._reading.page(
            table.name,
            table.keys,
            table.order,
            limit,
            after=table.read_mark(after) if after else None,
            is_wanted=(lambda key: all(test(key) for test in tests)) if tests else None,
        )
        return found

    def _table(self, shown: _Shown, query: Query) -> Values:
        return {
            "routing_instance": shown.table.instance,
            "routing_table_name": shown.table.name,
            **summary_values(shown.counts),
            "routes": self._shown_routes(shown, query),
        }

    def _shown_routes(self, shown: _Shown, query: Query) -> Iterator[Values | None]:
        protocol = str(query.get("protocol", "")).lower()
        source = query.get("source")
        for key in shown.keys:
            found = [
                (at, path)
                for at, path in shown.table.paths(key)
                if source in (None, path["source"])
                and path["protocol"].lower().startswith(protocol)
            ]
            # One that went meanwhile, or that nobody asked for.
            if found:
                last = format_time(max(at for at, _ in found))
                paths = [path for _, path in found]
                yield {"prefix": shown.table.text(key), "last_modified": last, "paths": paths}
            else:
                yield None


def _position(tables: list[Table], name: str) -> int:
    """Return where a table stands; after all when it is gone, at the start when none is named."""
    if not name:
        return 0
    return next((i for i, table in enumerate(tables) if table.name == name), len(tables))
