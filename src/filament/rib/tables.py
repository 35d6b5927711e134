"""The tables of instances, by name: every path that is in one, and what is chosen among them.

What is put into a table and why is `rib`'s and `imports`'; here it is kept, chosen from, and told
once per (instance, key) to those who listen, and only when they could tell the difference.
"""

from __future__ import annotations

import msgspec

from filament.rib.bestpath import select
from filament.rib.keys import RouteKey
from filament.rib.path import Path, Selection

Place = tuple[str, str, bytes]  # (source, peer, VPN key), see Path.place
Table = dict[RouteKey, dict[Place, Path]]


class RouteChanged(msgspec.Struct, frozen=True):
    """The choice for a key of an instance changed; None: there is no route any more."""

    instance: str
    key: RouteKey
    selection: Selection | None


class InstanceTables:
    """All of them; one per RIB. Choices are as of the last `take_changes`."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._selected: dict[str, dict[RouteKey, Selection]] = {}
        self._dirty: dict[tuple[str, RouteKey], None] = {}

    def add(self, instance: str) -> None:
        """Begin an empty table. One forgotten since `take_changes` goes on: listeners see the
        sum.
        """
        self._tables[instance] = {}
        self._selected.setdefault(instance, {})

    def forget(self, instance: str) -> None:
        """Forget a table and what is in it."""
        for key in self._tables.pop(instance):
            self._dirty[instance, key] = None

    def put(self, instance: str, key: RouteKey, path: Path) -> None:
        """Put a path in the place of the one before it."""
        self._tables[instance].setdefault(key, {})[path.place] = path
        self._dirty[instance, key] = None

    def drop(self, instance: str, key: RouteKey, path: Path) -> None:
        """Remove a path that is there."""
        table = self._tables[instance]
        paths = table[key]
        del paths[path.place]
        if not paths:
            del table[key]
        self._dirty[instance, key] = None

    # changes ------------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` has something to look at."""
        return bool(self._dirty)

    def take_changes(self) -> list[RouteChanged]:
        """Choose where something changed; return and forget the changes a listener could see."""
        changes = []
        for name, key in self._dirty:
            table = self._tables.get(name)
            selection = select(table[key].values()) if table and key in table else None
            selected = self._selected[name]
            before = selected.get(key)
            if selection is not None:
                selected[key] = selection
            elif before is not None:
                del selected[key]
            if (before is None) != (selection is None) or not (
                before is None or selection is None or selection.forwards_as(before)
            ):
                changes.append(RouteChanged(name, key, selection))
        self._dirty = {}
        for name in [name for name in self._selected if name not in self._tables]:
            del self._selected[name]
        return changes

    # answers ------------------------------------------------------------------------------

    def selection(self, instance: str, key: RouteKey) -> Selection | None:
        """Return the choice for a key."""
        return self._selected.get(instance, {}).get(key)

    def selections(self, instance: str) -> dict[RouteKey, Selection]:
        """Return every route of an instance; do not change it."""
        return self._selected.get(instance, {})

    def keys(self, instance: str) -> list[RouteKey]:
        """Return every key of an instance that has a path, chosen or not."""
        return list(self._tables.get(instance, ()))

    def paths(self, instance: str, key: RouteKey) -> list[Path]:
        """Return every path to a key, chosen or not, in no order."""
        return list(self._tables.get(instance, {}).get(key, {}).values())

    def path(self, instance: str, key: RouteKey, place: Place) -> Path | None:
        """Return the path in one place; None where there is none."""
        return self._tables.get(instance, {}).get(key, {}).get(place)

    def verify(self, expected: dict[str, Table]) -> None:
        """Compare with what should be there, and choose again; AssertionError names what differs.

        Call after `take_changes`.
        """
        assert set(expected) == set(self._tables), "the RIB has tables of other instances"
        for name, table in expected.items():
            assert table == self._tables[name], f"table {name} differs from what is published"
            chosen = {key: select(paths.values()) for key, paths in table.items()}
            best = {key: selection for key, selection in chosen.items() if selection is not None}
            assert best == self._selected[name], f"choices of {name} differ from its paths"
        assert set(self._selected) == set(self._tables), "choices remain of forgotten instances"
