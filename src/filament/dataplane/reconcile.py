"""Make the rows in the kernel what they should be: desired tables against what the maps hold.

The maps are read once at the start, and again by every audit; in between the reconciler remembers
what it wrote, so that a change costs what it changes. A row that cannot be written has its own
status and is tried again with every later call; it holds nobody else up. Before everything has
been heard (`may_delete`), rows that nobody asks for are left alone: an agent that was restarted
adopts what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from filament.base.errors import PermanentError
from filament.forward.layout import TABLES
from filament.forward.tables import Change, Key, Row, Tables

Values = tuple[int, ...]
Rows = dict[str, dict[Key, Values]]

_HOST = "host"
_HOST_KEY: Key = (0,)
_LIST_PARTS = ("ranges", "buckets", "shapes")  # by list, the first field of their keys
_PLANNED = tuple(table.name for table in TABLES if table.planned and table.name != _HOST)


class RowMaps(Protocol):
    """Where rows are kept: `maps.PinnedMaps`, or a fake."""

    def read_planned(self) -> Rows:
        """Read every table whose rows are planned."""

    def write(self, changes: Iterable[Change]) -> None:
        """Write rows in table order, then delete in reverse; raises PermanentError on the first
        that fails. Writing again is harmless.
        """


class Failure(NamedTuple):
    """A row that is not as it should be, and why."""

    table: str
    key: Key
    text: str


class Outcome(NamedTuple):
    """What one `apply` did: rows written and deleted, all rows that failed, and how many were
    found that nobody asks for but that may not be deleted yet.
    """

    written: int
    deleted: int
    failures: tuple[Failure, ...]
    kept: int


class Reconciler:
    """One per agent process; it alone writes planned rows. Owned by one task."""

    def __init__(self, maps: RowMaps) -> None:
        self._maps = maps
        self._actual = _with_all_tables(maps.read_planned())
        self._applied_count = 0
        self._plan: object = None  # whose rows are in the kernel, all of them and no others

    @property
    def actual(self) -> Mapping[str, Mapping[Key, Values]]:
        """The rows in the kernel as far as known; not to be changed."""
        return self._actual

    @property
    def mark(self) -> int:
        """Changes with every `apply`; see `compare`."""
        return self._applied_count

    def apply(self, desired: Tables, *, may_delete: bool) -> Outcome:
        """Write what differs, delete what is too much if allowed, the host's row last."""
        self._applied_count += 1
        writes, surplus = self._differences(desired)
        deletes = surplus if may_delete else []
        self._plan = None
        failures = self._write(writes) + self._write(deletes)
        failures += self._write_host(desired)
        if desired.delta is not None and not failures and len(deletes) == len(surplus):
            self._plan = desired.delta.plan
        return Outcome(
            written=sum(1 for one in writes if self._is_done(one)),
            deleted=sum(1 for one in deletes if self._is_done(one)),
            failures=tuple(failures),
            kept=len(surplus) - len(deletes),
        )

    def compare(self, found: Rows, mark: int) -> list[Failure] | None:
        """Compare what was read from the maps with what is remembered, and believe the maps.

        `mark` is from before reading: None when rows were written meanwhile, so that nothing can
        be said. Differences are repaired by the next `apply`.
        """
        if mark != self._applied_count:
            return None
        found = _with_all_tables(found)
        drifted = [
            Failure(table, key, f"found {found[table].get(key)}, wrote {rows.get(key)}")
            for table, rows in self._actual.items()
            for key in sorted(rows.keys() | found[table].keys())
            if rows.get(key) != found[table].get(key)
        ]
        self._actual = found
        if drifted:
            self._plan = None
        return drifted

    def _differences(self, desired: Tables) -> tuple[list[Change], list[Change]]:
        """Return the writes in table order, and rows too many in reverse; not the host's row."""
        writes: list[Change] = []
        surplus: list[Change] = []
        known: Mapping[str, set[Key]] = {}
        if desired.delta is not None and desired.delta.before is self._plan is not None:
            known = desired.delta.keys
        for table in _PLANNED:
            wanted, actual = desired.rows[table], self._actual[table]
            keys = known.get(table)
            if keys is None:
                rows: Iterable[tuple[Key, Row]] = wanted.items()
                others: Iterable[Key] = actual.keys() - wanted.keys()
            else:
                rows = [(key, wanted[key]) for key in sorted(keys) if key in wanted]
                others = [key for key in sorted(keys) if key in actual and key not in wanted]
            writes.extend(
                Change(table, key, row.values) for key, row in rows if actual.get(key) != row.values
            )
            surplus.extend(Change(table, key, None) for key in others)
        surplus.reverse()
        return writes, surplus

    def _write_host(self, desired: Tables) -> list[Failure]:
        """Write the host's row: it says that the rows are those of a revision."""
        wanted = desired.rows[_HOST].get(_HOST_KEY)
        if wanted is None or wanted.values == self._actual[_HOST].get(_HOST_KEY):
            return []
        return self._write([Change(_HOST, _HOST_KEY, wanted.values)])

    def _write(self, changes: list[Change]) -> list[Failure]:
        """Write changes at once, or one by one to learn which of them fail."""
        if not changes:
            return []
        try:
            self._maps.write(changes)
        except PermanentError:
            return self._write_singly(changes)
        for change in changes:
            self._remember(change)
        return []

    def _write_singly(self, changes: list[Change]) -> list[Failure]:
        """Write one by one. A list of rules that lacks a part is not made known: packets must not
        pass because the rule that denies them did not fit.
        """
        failures: list[Failure] = []
        broken: set[int] = set()
        for change in changes:
            try:
                if change.table == "lists" and change.values and change.key[0] in broken:
                    raise PermanentError("a part of this list of rules could not be written")
                self._maps.write([change])
            except PermanentError as error:
                failures.append(Failure(change.table, change.key, str(error)))
                if change.table in _LIST_PARTS:
                    broken.add(change.key[0])
            else:
                self._remember(change)
        return failures

    def _remember(self, change: Change) -> None:
        if change.values is None:
            self._actual[change.table].pop(change.key, None)
        else:
            self._actual[change.table][change.key] = change.values

    def _is_done(self, change: Change) -> bool:
        return self._actual[change.table].get(change.key) == change.values


def _with_all_tables(rows: Rows) -> Rows:
    return {table: dict(rows.get(table, {})) for table in (*_PLANNED, _HOST)}
