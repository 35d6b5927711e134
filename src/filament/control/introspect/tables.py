"""The tables of the control node as introspect looks at them: names, keys in order, paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from filament.base.errors import InputError
from filament.base.net import Prefix, bits_of, mask_of
from filament.control.introspect.paths import modified_at, path_values
from filament.control.node import ControlNode
from filament.rib.bestpath import infeasible_reason
from filament.rib.keys import MASTER, Family, RouteKey, table_name
from filament.runtime.introspect.slices import SLICE, Paused
from filament.wire.sandesh.xml import Values

Order = Prefix | str  # of keys of one table: all of one type
Counts = list[int]
COUNTED = ("prefixes", "paths", "primary_paths", "secondary_paths", "infeasible_paths", "stale")


class Table(Protocol):
    """One table. `family` is TF's name of it, as in the table's name."""

    name: str
    instance: str
    family: str

    def keys(self) -> list[RouteKey]:
        """Return every key there is now."""

    def order(self, key: RouteKey) -> Order:
        """Return what stands for a key among the others."""

    def read_order(self, text: str) -> Order:
        """Return the order of a key from its text. Raises InputError."""

    def paths(self, key: RouteKey) -> list[tuple[float, Values]]:
        """Return a route's paths as ShowRoutePath, the best first, each with its (epoch) time."""

    def count(self) -> Paused[Counts]:
        """Count what `COUNTED` names."""


class InstanceTable:
    """A routing instance's table of one family."""

    def __init__(self, node: ControlNode, instance: str, family: Family) -> None:
        self.name = table_name(instance, family)
        self.instance = instance
        self.family = family.value
        self._node = node
        self._family = family

    def keys(self) -> list[RouteKey]:
        """See Table."""
        return [
            key for key in self._node.core.rib.keys(self.instance) if key.family is self._family
        ]

    @property
    def _is_unicast(self) -> bool:
        return self._family in (Family.INET, Family.INET6)

    def order(self, key: RouteKey) -> Order:
        """See Table."""
        return key.prefix if self._is_unicast else str(key)

    def read_order(self, text: str) -> Order:
        """See Table."""
        return Prefix.parse(text) if self._is_unicast else text

    def paths(self, key: RouteKey) -> list[tuple[float, Values]]:
        """See Table."""
        rib = self._node.core.rib
        if self.instance not in rib.instances:
            return []
        candidates = rib.why(self.instance, key).candidates
        return [
            (
                modified_at(self._node, one.path),
                path_values(self._node, self.instance, key, one.path),
            )
            for one in candidates
        ]

    def count(self) -> Paused[Counts]:
        """See Table."""
        rib = self._node.core.rib
        prefixes = paths = secondary = infeasible = stale = 0
        for number, key in enumerate(self.keys()):
            found = rib.paths(self.instance, key)
            prefixes += bool(found)
            paths += len(found)
            for path in found:
                secondary += path.source != self.instance
                infeasible += bool(infeasible_reason(path))
                stale += path.stale
            if number % SLICE == 0:
                yield
        return [prefixes, paths, paths - secondary, secondary, infeasible, stale]


def tables_of(node: ControlNode) -> list[Table]:
    """Return every table, by instance, the master's first."""
    names = sorted(node.core.rib.instances, key=lambda name: (name != MASTER, name))
    return [InstanceTable(node, name, family) for name in names for family in Family]


def summary_values(counts: Counts) -> Values:
    """Return counts under the names that every kind of table summary has for them."""
    *named, stale = counts
    return dict(zip(COUNTED, named, strict=False)) | {"stale_paths": stale}


class PrefixFilter:
    """Which keys a `prefix` parameter asks for: that one, those inside it, those around it."""

    def __init__(self, table: Table, text: str, *, longer: bool, shorter: bool) -> None:
        self._text = text
        self._longer = longer
        self._wanted: Order | None
        try:
            self._wanted = table.read_order(text)
        except InputError:
            self._wanted = None  # it may be one of another table
        self._around = (
            {_shortened(self._wanted, length) for length in range(self._wanted.length + 1)}
            if shorter and isinstance(self._wanted, Prefix)
            else {self._wanted}
        )

    def __call__(self, order: Order) -> bool:
        wanted = self._wanted
        if wanted is None:
            return False
        if order in self._around:
            return True
        if not self._longer:
            return False
        if isinstance(wanted, Prefix) and isinstance(order, Prefix):
            return (
                order.version == wanted.version
                and order.length >= wanted.length
                and wanted.contains(order.address)
            )
        return isinstance(order, str) and order.startswith(self._text)


def _shortened(prefix: Prefix, length: int) -> Prefix:
    mask = mask_of(length, prefix.version)
    assert length <= bits_of(prefix.version)
    return Prefix(prefix.address & mask, length, prefix.version)


def tables_named(tables: list[Table], text: str) -> Iterator[Table]:
    """Yield the tables whose name contains a text."""
    return (table for table in tables if text in table.name)
