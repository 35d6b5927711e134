"""The planned maps in memory: what `dataplane.maps.PinnedMaps` promises, without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from filament.base.errors import PermanentError
from filament.forward.layout import TABLE_BY_NAME, TABLES
from filament.forward.tables import Change, Key

Values = tuple[int, ...]
PLANNED = tuple(table.name for table in TABLES if table.planned)


class MemoryMaps:
    """Rows as the kernel would keep them, and the order in which they were written.

    `log` lists every change made; writing a row named in `refused` (table, key -> text) fails.
    """

    def __init__(self, rows: Mapping[str, Mapping[Key, Values]] | None = None) -> None:
        given = rows or {}
        self.rows: dict[str, dict[Key, Values]] = {
            table: dict(given.get(table, {})) for table in PLANNED
        }
        self.refused: dict[tuple[str, Key], str] = {}
        self.log: list[Change] = []

    def read_planned(self) -> dict[str, dict[Key, Values]]:
        """Read every planned table."""
        return {table: dict(rows) for table, rows in self.rows.items()}

    def write(self, changes: Iterable[Change]) -> None:
        """Write in table order, then delete in reverse; raises PermanentError at a refused row."""
        ordered = list(changes)
        updates = [one for one in ordered if one.values is not None]
        deletes = [one for one in ordered if one.values is None]
        for change in (
            *sorted(updates, key=lambda one: PLANNED.index(one.table)),
            *sorted(deletes, key=lambda one: -PLANNED.index(one.table)),
        ):
            if (change.table, change.key) in self.refused:
                raise PermanentError(self.refused[change.table, change.key])
            self.log.append(change)
            is_array = TABLE_BY_NAME[change.table].map_type.endswith("ARRAY")
            if change.values is None or (is_array and not any(change.values)):
                self.rows[change.table].pop(change.key, None)
            else:
                self.rows[change.table][change.key] = change.values
