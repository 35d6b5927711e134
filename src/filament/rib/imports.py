"""VPN routes in the tables of instances: who imports what BGP peers announce.

Follows changes of the VPN tables, and what instances gain or lost with a target of theirs. The
latter may be much, and waits until its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat

from filament.rib.bgp import BgpRib
from filament.rib.bundle import Bundle
from filament.rib.exchange import INSTANCE_FAMILY, import_path, instance_key
from filament.rib.keys import RouteKey
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.rib.pending import Changes
from filament.rib.tables import InstanceTables, Place
from filament.rib.targets import Targets, TargetSet, TargetSets
from filament.rib.vpn import VpnTable
from filament.wire.bgp.family import AddressFamily

_VpnKey = tuple[AddressFamily, bytes]


class Imports:
    """One per RIB. What agents publish here is imported by `rib`, as it is published."""

    def __init__(self, bgp: BgpRib, tables: InstanceTables, target_sets: TargetSets) -> None:
        self._bgp = bgp
        self._tables = tables
        self._target_sets = target_sets
        # VPN routes that instances here hold: the key there, and (instance, place) of each copy.
        self._held: dict[_VpnKey, tuple[RouteKey, dict[tuple[str, Place], Path]]] = {}
        self._waiting: dict[_VpnKey, None] = {}  # VPN routes that instances gained or lost

    @property
    def is_waiting(self) -> bool:
        """Whether `follow_waiting` has something to do."""
        return bool(self._waiting)

    def note(self, target_set: TargetSet) -> None:
        """Note that an instance gained or lost the routes with a target set."""
        for bundle in target_set.bundles:
            if bundle.peer.kind is not PeerKind.AGENT:
                self._waiting.update(dict.fromkeys(zip(repeat(bundle.family), bundle.routes)))

    def follow_waiting(self, limit: int) -> None:
        """Follow up to `limit` of the routes that instances gained or lost."""
        for place in list(islice(self._waiting, limit)):
            del self._waiting[place]
            family, key = place
            self._follow(self._bgp.tables[family], key)

    def follow(self, table: VpnTable, changes: Changes) -> int:
        """Follow changes of a VPN table; return how many keys concerned an instance."""
        if table.family not in INSTANCE_FAMILY:
            return 0
        routes, family = table.routes, table.family
        held = self._held
        if not held and not self._target_sets.has_importers:
            return 0
        keys = []
        for bundle, run in changes.fresh.items():
            if bundle.target_set.importers:
                keys += run.keys
        for key in changes.before:
            entry = routes.get(key)
            if isinstance(entry, Bundle) and not entry.target_set.importers:
                entry = None
            if entry is not None or (family, key) in held:
                keys.append(key)
        if held:
            for run in changes.gone.values():
                keys += [key for key in run.keys if (family, key) in held]
        for key in keys:
            self._follow(table, key)
        return len(keys)

    def _follow(self, table: VpnTable, key: bytes) -> None:
        """Bring instances' copies of a VPN route up to date."""
        place = (table.family, key)
        wanted: dict[tuple[str, Place], Path] = {}
        for bundle in table.equal_paths(key):
            if bundle.peer.kind is PeerKind.AGENT or not bundle.target_set.importers:
                continue
            label = bundle.routes[key]
            path = import_path(table.family, key, label, bundle, self._bgp.us.asn)
            for importer in bundle.target_set.importers:
                wanted[importer, path.place] = path
        known = self._held.get(place)
        if known is None and not wanted:
            return
        route_key = known[0] if known is not None else instance_key(table.family, key)
        if route_key is None:
            return
        # An instance may have been forgotten since, and put again without its copies.
        held = known[1] if known is not None else {}
        tables = self._tables
        for (importer, where), path in held.items():
            if (importer, where) not in wanted and tables.path(importer, route_key, where):
                tables.drop(importer, route_key, path)
        for (importer, where), path in wanted.items():
            if tables.path(importer, route_key, where) != path:
                tables.put(importer, route_key, path)
        if wanted:
            self._held[place] = route_key, wanted
        else:
            del self._held[place]

    def expected(self, imports: Targets) -> Iterator[tuple[RouteKey, Path]]:
        """Yield what an instance with these import targets should have: for the oracle."""
        for family in INSTANCE_FAMILY:
            table = self._bgp.tables[family]
            for key in table.routes:
                for bundle in table.equal_paths(key):
                    if bundle.peer.kind is PeerKind.AGENT:
                        continue
                    route_key = instance_key(family, key)
                    if route_key is not None and not imports.isdisjoint(bundle.target_set.targets):
                        label = bundle.routes[key]
                        yield route_key, import_path(family, key, label, bundle, self._bgp.us.asn)
