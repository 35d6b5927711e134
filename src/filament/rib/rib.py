"""Every path of the control node, and who imports it: replication by route target.

Paths are published by agents into instances, or learnt by BGP into VPN tables (see `bgp`). An
instance's table holds its own paths, those of every instance whose export targets meet its import
targets, and the VPN routes with such a target; its own are VPN routes to BGP peers. Who imports is
decided once per distinct target set and kept; a path costs only the copying to those who do, and a
change of one instance's imports looks only at the target sets it gains or loses.

Changes are collected and told once per (instance, key) by `take_changes`, and only when a listener
could see them. Owned by one task; `verify` recomputes everything and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from filament.base.errors import NotFoundError
from filament.rib.adjout import CHANGES_AT_ONCE
from filament.rib.bestpath import infeasible_reason, rank, select
from filament.rib.bgp import BgpRib
from filament.rib.exchange import INSTANCE_FAMILY, Exported, export, vpn_key
from filament.rib.explain import Candidate, Explanation, reason_of
from filament.rib.imports import Imports
from filament.rib.keys import RouteKey
from filament.rib.members import Members
from filament.rib.path import Path, Selection
from filament.rib.peer import Peer, PeerKind, Speaker
from filament.rib.tables import InstanceTables, RouteChanged, Table
from filament.rib.targets import (
    NO_TARGETS,
    Targets,
    TargetSet,
    TargetSets,
    encode_targets,
    format_target,
)
from filament.wire.bgp.family import AddressFamily

IMPORTS_AT_ONCE = 500


class Instance(msgspec.Struct, frozen=True):
    """A routing instance: what the RIB needs of the plan's.

    `network_id` is TF's number of the network, 0 when unknown; routes tell it to other control
    nodes (origin VN).
    """

    name: str
    network: str
    imports: frozenset[str]
    exports: frozenset[str]
    network_id: int = 0


class _Source:
    """What agents published into one instance, configured or not. Exists while it has paths or
    is configured.
    """

    __slots__ = ("routes", "target_set")

    def __init__(self, target_set: TargetSet) -> None:
        self.target_set = target_set
        self.routes: dict[RouteKey, dict[str, Path]] = {}


class Rib:
    """The table of tables. One per control node."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.target_sets = TargetSets()
        self.bgp = BgpRib(self.target_sets)
        self._tables = InstanceTables()
        self._learnt = Imports(self.bgp, self._tables, self.target_sets)
        self.bgp.out.listener = self._learnt.follow
        self._imports: dict[str, Targets] = {}
        self._exporting: dict[bytes, dict[str, None]] = {}  # target -> instances
        self._networks: dict[int, dict[str, None]] = {}  # network id -> instances
        self._members = Members(self.bgp.set_membership)
        self._sources: dict[str, _Source] = {}
        self._of_peer: dict[str, dict[tuple[str, RouteKey], None]] = {}

    # configuration ------------------------------------------------------------------------

    def configure(self, us: Speaker) -> None:
        """Say which BGP speaker we are; exported routes carry its AS in their communities."""
        if us == self.bgp.us:
            return
        self.bgp.configure(us)
        for name in self.instances:
            self._export_instance(name)

    def put_instance(self, instance: Instance) -> None:
        """Add an instance or change its targets. Raises `InputError` for what is no target."""
        name = instance.name
        before = self.instances.get(name)
        if before == instance:
            return
        imports, exports = encode_targets(instance.imports), encode_targets(instance.exports)
        if before is None:
            self._tables.add(name)
        else:
            self._forget_network(before)
        self.instances[name] = instance
        self._networks.setdefault(instance.network_id, {})[name] = None
        if before is None:
            self._copy(self._source(name), name)
        self._change_imports(name, imports)
        self._change_exports(name, exports)
        if (
            before is None
            or before.exports != instance.exports
            or before.network_id != instance.network_id
        ):
            self._export_instance(name)

    def forget_instance(self, name: str) -> None:
        """Remove an instance with its table; what peers published into it is kept, unseen."""
        before = self.instances.get(name)
        if before is None:
            return
        self._unexport_instance(name)
        self._change_exports(name, NO_TARGETS)
        self._change_imports(name, NO_TARGETS)
        self._forget_network(before)
        self._tables.forget(name)
        del self.instances[name], self._imports[name]
        self._drop_if_idle(name)

    def _forget_network(self, instance: Instance) -> None:
        names = self._networks[instance.network_id]
        del names[instance.name]
        if not names:
            del self._networks[instance.network_id]

    def _change_imports(self, name: str, new: Targets) -> None:
        old = self._imports.get(name, NO_TARGETS)
        self._imports[name] = new
        self._members.change_imports(name, new)
        for target_set, imports in self.target_sets.change_imports(name, old, new):
            for source in target_set.sources - {name}:
                if imports:
                    self._copy(self._sources[source], name)
                else:
                    self._uncopy(self._sources[source], name)
            self._learnt.note(target_set)

    def _change_exports(self, name: str, exports: Targets) -> None:
        source = self._source(name)
        old = source.target_set
        if old.targets == exports:
            return
        for target in old.targets - exports:
            del self._exporting[target][name]
            if not self._exporting[target]:
                del self._exporting[target]
        for target in exports - old.targets:
            self._exporting.setdefault(target, {})[name] = None
        new = self.target_sets.get(exports)
        new.sources.add(name)
        source.target_set = new
        for importer in new.importers.keys() - old.importers.keys() - {name}:
            self._copy(source, importer)
        for importer in old.importers.keys() - new.importers.keys() - {name}:
            self._uncopy(source, importer)
        self._leave(old, name)

    def _leave(self, target_set: TargetSet, name: str) -> None:
        target_set.sources.discard(name)
        self.target_sets.release(target_set)

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            target_set = self.target_sets.get(NO_TARGETS)
            target_set.sources.add(name)
            source = self._sources[name] = _Source(target_set)
        return source

    def _drop_if_idle(self, name: str) -> None:
        source = self._sources[name]
        if name not in self.instances and not source.routes:
            self._leave(source.target_set, name)
            del self._sources[name]

    def _copy(self, source: _Source, importer: str) -> None:
        for key, paths in source.routes.items():
            for path in paths.values():
                self._tables.put(importer, key, path)

    def _uncopy(self, source: _Source, importer: str) -> None:
        for key, paths in source.routes.items():
            for path in paths.values():
                self._tables.drop(importer, key, path)

    def _holders(self, name: str) -> list[str]:
        """Instances whose tables hold what is published into `name`."""
        importers = self._sources[name].target_set.importers
        holders = [each for each in importers if each != name]
        return [*holders, name] if name in self.instances else holders

    # membership ---------------------------------------------------------------------------

    def join(self, instance: str) -> None:
        """An agent here subscribes to an instance: BGP peers are asked for its routes."""
        self._members.join(instance)

    def leave(self, instance: str) -> None:
        """An agent leaves an instance; without members nothing is drawn for it."""
        self._members.leave(instance)

    # VPN tables ---------------------------------------------------------------------------

    def _exported(self, key: RouteKey, path: Path) -> Exported | None:
        """Return an agent's path as a VPN route; None when it is none."""
        instance = self.instances.get(path.source)
        if instance is None or infeasible_reason(path):
            return None
        targets = self._sources[path.source].target_set.targets
        if not targets:
            return None
        return export(key, path, targets, self.bgp.us.asn, instance.network_id)

    def _export(self, key: RouteKey, path: Path) -> None:
        """Announce an agent's path as a VPN route, or withdraw it where it is none any more."""
        exported = self._exported(key, path)
        if exported is None:
            self._unexport(key, path)
        else:
            peer = Peer(path.peer, PeerKind.AGENT)
            table = self.bgp.tables[exported.family]
            table.announce(peer, exported.attributes, ((exported.key, exported.label),))

    def _unexport(self, key: RouteKey, path: Path) -> None:
        if path.source in self.instances:
            family, nlri_key = vpn_key(key, path)
            self.bgp.tables[family].withdraw(path.peer, (nlri_key,))

    def _export_instance(self, name: str) -> None:
        for key, paths in self._sources[name].routes.items():
            for path in paths.values():
                self._export(key, path)

    def _unexport_instance(self, name: str) -> None:
        for key, paths in self._sources[name].routes.items():
            for path in paths.values():
                self._unexport(key, path)

    # paths --------------------------------------------------------------------------------

    def publish(self, key: RouteKey, path: Path) -> None:
        """Put an agent's path to `key` into instance `path.source`, replacing its earlier one."""
        paths = self._source(path.source).routes.setdefault(key, {})
        before = paths.get(path.peer)
        if before == path:
            return
        if before is not None and before.distinguisher != path.distinguisher:
            self._unexport(key, before)
        paths[path.peer] = path
        self._of_peer.setdefault(path.peer, {})[path.source, key] = None
        for holder in self._holders(path.source):
            self._tables.put(holder, key, path)
        self._export(key, path)

    def withdraw(self, peer: str, source: str, key: RouteKey) -> bool:
        """Remove a peer's path; say whether there was one."""
        held = self._of_peer.get(peer)
        if held is None or (source, key) not in held:
            return False
        del held[source, key]
        if not held:
            del self._of_peer[peer]
        routes = self._sources[source].routes
        path = routes[key].pop(peer)
        if not routes[key]:
            del routes[key]
        for holder in self._holders(source):
            self._tables.drop(holder, key, path)
        self._unexport(key, path)
        self._drop_if_idle(source)
        return True

    def withdraw_instance(self, peer: str, source: str) -> None:
        """Remove everything a peer published into one instance."""
        for name, key in list(self._of_peer.get(peer, ())):
            if name == source:
                self.withdraw(peer, source, key)

    def withdraw_peer(self, peer: str) -> None:
        """Remove everything a peer published."""
        for name, key in list(self._of_peer.get(peer, ())):
            self.withdraw(peer, name, key)

    def mark_stale(self, peer: str) -> None:
        """Keep a peer's paths, less preferred, until they are published again or swept."""
        for name, key in self._of_peer.get(peer, ()):
            path = self._sources[name].routes[key][peer]
            self.publish(key, msgspec.structs.replace(path, stale=True))

    def sweep_stale(self, peer: str) -> int:
        """Remove the peer's paths that are still stale; return how many."""
        stale = [
            (name, key)
            for name, key in self._of_peer.get(peer, ())
            if self._sources[name].routes[key][peer].stale
        ]
        for name, key in stale:
            self.withdraw(peer, name, key)
        return len(stale)

    # answers ------------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` has something to look at."""
        return self._tables.has_changes or self._learnt.is_waiting

    def take_changes(self) -> list[RouteChanged]:
        """Choose where something changed; return and forget the changes a listener could see.

        VPN routes that changed, and those that instances gained or lost with a target, are followed
        a portion at a time, lest everybody wait: with `has_changes` there is more.
        """
        self.bgp.out.collect(CHANGES_AT_ONCE)
        self._learnt.follow_waiting(IMPORTS_AT_ONCE)
        return self._tables.take_changes()

    def selection(self, instance: str, key: RouteKey) -> Selection | None:
        """Return the choice for a key as of the last `take_changes`."""
        return self._tables.selection(instance, key)

    def selections(self, instance: str) -> dict[RouteKey, Selection]:
        """Return every route of an instance as of the last `take_changes`; do not change it."""
        return self._tables.selections(instance)

    def keys(self, instance: str) -> list[RouteKey]:
        """Return every key of an instance that has a path, chosen or not."""
        return self._tables.keys(instance)

    def paths(self, instance: str, key: RouteKey) -> list[Path]:
        """Return every path to a key, chosen or not, in no order."""
        return self._tables.paths(instance, key)

    def importers(self, instance: str) -> list[str]:
        """Return the other instances that import what is published into one, sorted."""
        source = self._sources.get(instance)
        return sorted(source.target_set.importers.keys() - {instance}) if source else []

    def network_of(self, path: Path) -> str:
        """Return the network a path's destination is in; "" when nothing here tells.

        One learnt by BGP says so itself, or its targets do: they are what a single network
        exports, or else what a single one imports.
        """
        source = self.instances.get(path.source)
        if source is not None:
            return source.network
        if path.kind is PeerKind.AGENT:
            return path.network
        if path.origin_network and path.origin_network in self._networks:
            return self._network_of_all(self._networks[path.origin_network])
        for index in (self._exporting.get, self.target_sets.importers_of):
            for target in sorted(path.targets):
                network = self._network_of_all(index(target) or ())
                if network:
                    return network
        return ""

    def _network_of_all(self, instances: Iterable[str]) -> str:
        networks = {self.instances[name].network for name in instances}
        return networks.pop() if len(networks) == 1 else ""

    def import_target(self, instance: str, path: Path) -> str:
        """Return the (lowest) target by which an instance imports a path, "" for its own."""
        if path.source == instance:
            return ""
        exports = path.targets or self._sources[path.source].target_set.targets
        shared = self._imports[instance] & exports
        return format_target(min(shared)) if shared else ""

    def count_of_peer(self, peer: str) -> int:
        """Return how many paths a peer published."""
        return len(self._of_peer.get(peer, ()))

    def has_of_peer(self, peer: str, source: str, key: RouteKey) -> bool:
        """Say whether a peer published a path to a key into an instance."""
        return (source, key) in self._of_peer.get(peer, ())

    def paths_of_peer(self, peer: str) -> Iterator[tuple[RouteKey, Path]]:
        """Yield everything a peer published."""
        for name, key in self._of_peer.get(peer, ()):
            yield key, self._sources[name].routes[key][peer]

    def why(self, instance: str, key: RouteKey) -> Explanation:
        """Explain the choice for a key. Raises `NotFoundError` for an unknown instance."""
        if instance not in self.instances:
            raise NotFoundError(
                f"no routing instance is called {instance!r}; `filament show vrf` lists them"
            )
        paths = self._tables.paths(instance, key)
        selection = select(paths)
        chosen = selection.paths if selection is not None else ()
        rest = sorted(
            (path for path in paths if path not in chosen),
            key=rank,
        )
        return Explanation(
            instance,
            key,
            tuple(
                Candidate(
                    path,
                    self.import_target(instance, path),
                    path in chosen,
                    reason_of(path, chosen),
                )
                for path in (*chosen, *rest)
            ),
        )

    # oracle -------------------------------------------------------------------------------

    def verify(self) -> None:
        """Recompute every table from what is published; AssertionError names what differs.

        Call after `take_changes`.
        """
        self._verify_tables()
        self._verify_vpn()
        held = {
            (peer, name, key)
            for name, source in self._sources.items()
            for key, paths in source.routes.items()
            for peer in paths
        }
        indexed = {(peer, *each) for peer, all_held in self._of_peer.items() for each in all_held}
        assert held == indexed, "the index of paths by peer differs from the paths"
        for name, source in self._sources.items():
            assert name in self.instances or source.routes, f"source {name} is idle"
            assert name in source.target_set.sources, f"source {name} left its target set"
        imports = {name: encode_targets(each.imports) for name, each in self.instances.items()}
        assert imports == self._imports, "what instances import differs from their configuration"
        self.target_sets.verify(imports)
        self._members.verify(imports)

    def _verify_tables(self) -> None:
        expected: dict[str, Table] = {name: {} for name in self.instances}
        for instance in self.instances.values():
            table = expected[instance.name]
            for name, source in self._sources.items():
                exporter = self.instances.get(name)
                exports = exporter.exports if exporter is not None else frozenset()
                if name == instance.name or not exports.isdisjoint(instance.imports):
                    for key, paths in source.routes.items():
                        for path in paths.values():
                            table.setdefault(key, {})[path.place] = path
            for key, path in self._learnt.expected(encode_targets(instance.imports)):
                table.setdefault(key, {})[path.place] = path
        self._tables.verify(expected)

    def _verify_vpn(self) -> None:
        self.bgp.verify()
        expected: dict[tuple[AddressFamily, bytes, str], Exported] = {}
        for source in self._sources.values():
            for key, paths in source.routes.items():
                for path in paths.values():
                    exported = self._exported(key, path)
                    if exported is not None:
                        expected[exported.family, exported.key, path.peer] = exported
        found = {
            (table.family, key, bundle.peer.name): Exported(
                table.family, key, label, bundle.attributes
            )
            for table in self.bgp.tables.values()
            if table.family in INSTANCE_FAMILY
            for bundle in table.bundles()
            if bundle.peer.kind is PeerKind.AGENT
            for key, label in bundle.routes.items()
        }
        assert found == expected, "VPN routes of agents differ from what they published"
