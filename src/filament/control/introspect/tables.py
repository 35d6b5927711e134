"""The tables of the control node as introspect looks at them: names, keys in order, paths.

Instances' tables hold decoded keys and paths, BGP's own (`bgp.l3vpn.0` and its like) raw keys and
bundles of attributes; here both look alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from filament.base.errors import InputError
from filament.base.net import Prefix
from filament.control.introspect.paths import (
    bundle_values,
    modified_at,
    path_values,
    protocol_of,
    protocol_of_bundle,
    source_of,
)
from filament.control.node import ControlNode
from filament.rib.bestpath import infeasible_reason
from filament.rib.exchange import instance_key
from filament.rib.keys import MASTER, Family, RouteKey, table_name
from filament.rib.peer import PeerKind
from filament.runtime.introspect.slices import SLICE, Paused
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.routes import format_route
from filament.wire.sandesh.xml import Values

Counts = list[int]
COUNTED = ("prefixes", "paths", "primary_paths", "secondary_paths", "infeasible_paths", "stale")
# TF's words for the families of BGP's tables. Tables of the others appear when they have routes.
VPN_FAMILIES = {
    AddressFamily.INET_VPN: "inetvpn",
    AddressFamily.INET6_VPN: "inet6vpn",
    AddressFamily.E_VPN: "evpn",
    AddressFamily.ERM_VPN: "ermvpn",
    AddressFamily.ROUTE_TARGET: "rtarget",
}


class Table(Protocol):
    """One table. `family` is TF's name of it; keys are of a type of the table's own."""

    name: str
    instance: str
    family: str

    def keys(self) -> list[Any]:
        """Return every key there is now."""

    def order(self, key: Any) -> Any:
        """Return what stands for a key among the others."""

    def mark(self, key: Any) -> str:
        """Return a key's order as a text."""

    def read_mark(self, text: str) -> Any:
        """Return the order that `mark` wrote. Raises InputError."""

    def text(self, key: Any) -> str:
        """Return a key as TF writes it."""

    def start(self, text: str) -> Any:
        """Return the order of a key that somebody wrote. Raises InputError."""

    def filter(self, text: str, *, longer: bool, shorter: bool) -> Callable[[Any], bool]:
        """Return which keys a `prefix` asks for: that, those inside it, those around it."""

    def has_path(self, key: Any, source: str | None, protocol: str) -> bool:
        """Say whether a route has a path from a source (None: any), and by a protocol."""

    def paths(self, key: Any) -> list[tuple[float, Values]]:
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
        self._is_unicast = family in (Family.INET, Family.INET6)

    def keys(self) -> list[RouteKey]:
        """See Table."""
        family = self._family
        return [key for key in self._node.core.rib.keys(self.instance) if key.family is family]

    def order(self, key: RouteKey) -> Any:
        """See Table."""
        return key.nlri if self._is_unicast else str(key)

    def mark(self, key: RouteKey) -> str:
        """See Table."""
        return str(key)

    def read_mark(self, text: str) -> Any:
        """See Table."""
        return Prefix.parse(text) if self._is_unicast else text

    start = read_mark

    def text(self, key: RouteKey) -> str:
        """See Table."""
        return str(key)

    def filter(self, text: str, *, longer: bool, shorter: bool) -> Callable[[RouteKey], bool]:
        """See Table."""
        if not self._is_unicast:
            return text_filter(str, text, longer=longer)
        return prefix_filter(lambda key: key.prefix, text, longer=longer, shorter=shorter)

    def has_path(self, key: RouteKey, source: str | None, protocol: str) -> bool:
        """See Table."""
        return any(
            source in (None, source_of(self._node, path.peer))
            and protocol_of(path).lower().startswith(protocol)
            for path in self._node.core.rib.paths(self.instance, key)
        )

    def paths(self, key: RouteKey) -> list[tuple[float, Values]]:
        """See Table."""
        rib = self._node.core.rib
        paths = rib.paths(self.instance, key)
        if len(paths) > 1:  # only then is there an order
            paths = [one.path for one in rib.why(self.instance, key).candidates]
        return [
            (modified_at(self._node, path.peer), path_values(self._node, self.instance, key, path))
            for path in paths
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


class VpnTable:
    """One of BGP's own tables."""

    instance = MASTER

    def __init__(self, node: ControlNode, family: AddressFamily) -> None:
        self._node = node
        self._family = family
        self._table = node.core.rib.bgp.tables[family]
        self.name = self._table.name
        self.family = VPN_FAMILIES.get(family, str(family))

    def keys(self) -> list[bytes]:
        """See Table."""
        return list(self._table.routes)

    def order(self, key: bytes) -> bytes:
        """See Table."""
        return key

    def mark(self, key: bytes) -> str:
        """See Table."""
        return key.hex()

    def read_mark(self, text: str) -> bytes:
        """See Table."""
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise InputError("bad-cursor", f"{text!r:.64} is no key of {self.name}") from None

    def start(self, text: str) -> bytes:
        """See Table: keys here are ordered by their bytes, so that one must be there."""
        for key in self.keys():
            if self.text(key) == text:
                return key
        raise InputError("unknown-route", f"{self.name} has no route {text!r:.128}")

    def text(self, key: bytes) -> str:
        """See Table."""
        return format_route(self._family, key)

    def filter(self, text: str, *, longer: bool, shorter: bool) -> Callable[[bytes], bool]:
        """See Table; a prefix without a distinguisher asks for it with any."""
        try:
            Prefix.parse(text)
        except InputError:
            return text_filter(self.text, text, longer=longer)
        return prefix_filter(self.prefix, text, longer=longer, shorter=shorter)

    def prefix(self, key: bytes) -> Prefix | None:
        """Return the prefix that a key has in an instance; None where it has none."""
        inside = instance_key(self._family, key)
        return inside.nlri if inside is not None and isinstance(inside.nlri, Prefix) else None

    def has_path(self, key: bytes, source: str | None, protocol: str) -> bool:
        """See Table."""
        return any(
            source in (None, source_of(self._node, bundle.peer.name))
            and protocol_of_bundle(bundle).lower().startswith(protocol)
            for bundle in self._table.paths(key)
        )

    def paths(self, key: bytes) -> list[tuple[float, Values]]:
        """See Table."""
        return [
            (
                modified_at(self._node, bundle.peer.name),
                bundle_values(self._node, self._family, key, bundle),
            )
            for bundle in self._table.paths(key)
        ]

    def count(self) -> Paused[Counts]:
        """See Table; paths of agents are copies of those in instances' tables."""
        paths = secondary = infeasible = stale = 0
        for bundle in list(self._table.bundles()):
            size = len(bundle.routes)
            paths += size
            secondary += size * (bundle.peer.kind is PeerKind.AGENT)
            infeasible += size * bool(bundle.problem)
            stale += size * bundle.is_stale
            yield
        return [len(self._table.routes), paths, paths - secondary, secondary, infeasible, stale]


def tables_of(node: ControlNode) -> list[Table]:
    """Return every table: BGP's own, then those of instances, the master's first."""
    found = [
        VpnTable(node, family)
        for family, table in node.core.rib.bgp.tables.items()
        if family in VPN_FAMILIES or table.routes
    ]
    names = sorted(node.core.rib.instances, key=lambda name: (name != MASTER, name))
    return [*found, *(InstanceTable(node, name, family) for name in names for family in Family)]


def summary_values(counts: Counts) -> Values:
    """Return counts under the names that every kind of table summary has for them."""
    *named, stale = counts
    return dict(zip(COUNTED, named, strict=False)) | {"stale_paths": stale}


def text_filter(
    text_of: Callable[[Any], str], wanted: str, *, longer: bool
) -> Callable[[Any], bool]:
    """Return a test of keys by their text."""
    if longer:
        return lambda key: text_of(key).startswith(wanted)
    return lambda key: text_of(key) == wanted


def prefix_filter(
    prefix_of: Callable[[Any], Prefix | None], text: str, *, longer: bool, shorter: bool
) -> Callable[[Any], bool]:
    """Return a test of keys by their prefix; one that is none asks for nothing here."""
    try:
        wanted = Prefix.parse(text)
    except InputError:
        return lambda _: False

    def is_wanted(key: Any) -> bool:
        prefix = prefix_of(key)
        if prefix is None or prefix.version != wanted.version:
            return False
        if prefix == wanted:
            return True
        if longer and prefix.length > wanted.length:
            return wanted.contains(prefix.address)
        return shorter and prefix.length < wanted.length and prefix.contains(wanted.address)

    return is_wanted


def tables_named(tables: list[Table], text: str) -> list[Table]:
    """Return the tables whose name contains a text."""
    return [table for table in tables if text in table.name]
