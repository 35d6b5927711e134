"""An incremental engine: tables made from tables, recomputed only where something changed.

A node is a pure function from input tables to one output table. Beside `run` (the whole table) it
may have `update` (only the rows a change can have touched), which may answer `UNHANDLED` to fall
back to a full run of that node; what then differs is what later nodes see. `verify` recomputes
everything and compares, so that a wrong `update` is found and not believed. After OVN's northd
engine. No I/O; the graph owns its tables and nobody else writes them.

Rows compare by value and are never None: None stands for absence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar

Source = TypeVar("Source")

Rows = dict[Any, Any]
Tables = Mapping[str, Mapping[Any, Any]]


class Change(NamedTuple):
    """One row before and after; None is absent. Sources may not know `old` and leave it None."""

    old: Any
    new: Any


Changes = Mapping[Any, Change]
NO_CHANGES: Final[Changes] = {}


class Unhandled(Enum):
    """What an `update` answers when it cannot tell which rows are touched."""

    UNHANDLED = "unhandled"


UNHANDLED: Final = Unhandled.UNHANDLED


class Node(NamedTuple, Generic[Source]):
    """One table and how to make it.

    `inputs` names sources (whose rows the node reads through the source object) and earlier
    nodes. `run(source, tables)` returns the whole table. `update(source, tables, changes)` sees
    the inputs as they now are, its own table as it was under its own name, and per input what
    changed (an input that did not change has no entries); it returns every row it reconsidered,
    None for those that are gone. Rows that turn out equal are not a change.
    """

    name: str
    inputs: tuple[str, ...]
    run: Callable[[Source, Tables], Rows]
    update: Callable[[Source, Tables, Mapping[str, Changes]], Rows | Unhandled] | None = None


class Graph(Generic[Source]):
    """Nodes in the order given, each after its inputs, and their current tables."""

    def __init__(self, sources: Sequence[str], nodes: Sequence[Node[Source]]) -> None:
        known = set(sources)
        for node in nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise AssertionError(
                    f"node {node.name} reads {', '.join(missing)}, which no earlier node or "
                    f"source makes; known there: {', '.join(sorted(known))}"
                )
            if node.name in known:
                raise AssertionError(f"two nodes or sources are named {node.name}")
            known.add(node.name)
        self._sources = frozenset(sources)
        self._nodes = tuple(nodes)
        self._tables: dict[str, Rows] = {node.name: {} for node in nodes}

    def table(self, name: str) -> Rows:
        """Return a node's table: the live one, to be read only and not kept over an update."""
        return self._tables[name]

    def load(self, source: Source) -> dict[str, Changes]:
        """Run every node in full and return what changed, per node."""
        before = self._tables
        self._tables = self._recompute(source)
        return {name: _compare(before[name], rows) for name, rows in self._tables.items()}

    def update(self, source: Source, changes: Mapping[str, Changes]) -> dict[str, Changes]:
        """Bring every table up to `source`, given what changed in the sources.

        Returns what changed per node that changed at all. When a node raises, all tables are as
        they were before the call.
        """
        unknown = changes.keys() - self._sources
        if unknown:
            raise AssertionError(
                f"changes of {', '.join(sorted(unknown))}, which are not sources of this graph; "
                f"sources: {', '.join(sorted(self._sources))}"
            )
        changed: dict[str, Changes] = {name: rows for name, rows in changes.items() if rows}
        if not changed:
            return {}
        done: dict[str, Changes] = {}
        try:
            for node in self._nodes:
                if changed.keys().isdisjoint(node.inputs):
                    continue
                delta = self._step(node, source, changed)
                if delta:
                    _write(self._tables[node.name], delta)
                    changed[node.name] = done[node.name] = delta
        except BaseException:
            for name, wrong in done.items():
                _write(self._tables[name], {k: Change(c.new, c.old) for k, c in wrong.items()})
            raise
        return done

    def fork(self) -> Graph[Source]:
        """Another graph with tables of its own and the same rows."""
        other: Graph[Source] = Graph(tuple(self._sources), self._nodes)
        other._tables = {name: dict(rows) for name, rows in self._tables.items()}
        return other

    def verify(self, source: Source) -> None:
        """Recompute everything from `source`; raise AssertionError naming the rows that differ."""
        wrong = []
        for name, rows in self._recompute(source).items():
            for key, (kept, right) in _compare(self._tables[name], rows).items():
                wrong.append(f"{name}[{key!r}] is {kept!r} but recomputed it is {right!r}")
        if wrong:
            more = f" (and {len(wrong) - 5} more)" if len(wrong) > 5 else ""
            raise AssertionError("incremental tables are wrong: " + "; ".join(wrong[:5]) + more)

    def _step(
        self, node: Node[Source], source: Source, changed: Mapping[str, Changes]
    ) -> dict[Any, Change]:
        """Return the changes of one node's table, not yet written."""
        table = self._tables[node.name]
        if node.update is not None:
            names = (*node.inputs, node.name)
            tables = {name: self._tables[name] for name in names if name in self._tables}
            inputs = {name: changed.get(name, NO_CHANGES) for name in node.inputs}
            rows = node.update(source, tables, inputs)
            if rows is not UNHANDLED:
                return dict(_differences(table, rows))
        return _compare(table, node.run(source, self._inputs(node, self._tables)))

    def _recompute(self, source: Source) -> dict[str, Rows]:
        tables: dict[str, Rows] = {}
        for node in self._nodes:
            tables[node.name] = node.run(source, self._inputs(node, tables))
        return tables

    @staticmethod
    def _inputs(node: Node[Source], tables: Mapping[str, Rows]) -> Tables:
        """Return what a full run may read: nothing but its declared inputs."""
        return {name: tables[name] for name in node.inputs if name in tables}


def _differences(table: Rows, rows: Rows) -> Iterator[tuple[Any, Change]]:
    for key, new in rows.items():
        old = table.get(key)
        if old != new:
            yield key, Change(old, new)


def _compare(old: Rows, new: Rows) -> dict[Any, Change]:
    """Return the changes that lead from one whole table to another."""
    changes = {key: Change(row, None) for key, row in old.items() if key not in new}
    changes.update(_differences(old, new))
    return changes


def _write(table: Rows, delta: Changes) -> None:
    for key, change in delta.items():
        if change.new is None:
            table.pop(key, None)
        else:
            table[key] = change.new
