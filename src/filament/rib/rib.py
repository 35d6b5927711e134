"""Every path of the control node, and who imports it: replication by route target.

Paths are published by peers into instances. An instance's table holds its own paths and those of
every instance whose export targets meet its import targets. Who imports is decided once per
distinct export target set and kept; a path costs only the copying to those who do, and a change
of one instance's imports looks only at the target sets it gains or loses.

Changes are collected and told once per (instance, key) by `take_changes`, and only when a listener
could see them. Owned by one task; `verify` recomputes everything and compares.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from filament.base.errors import NotFoundError
from filament.rib.bestpath import compare, cost_of, infeasible_reason, select
from filament.rib.keys import RouteKey
from filament.rib.path import Path, Selection

NO_TARGETS: frozenset[str] = frozenset()


class Instance(msgspec.Struct, frozen=True):
    """A routing instance: what the RIB needs of the plan's."""

    name: str
    network: str
    imports: frozenset[str]
    exports: frozenset[str]


class RouteChanged(msgspec.Struct, frozen=True):
    """The choice for a key of an instance changed; None: there is no route any more."""

    instance: str
    key: RouteKey
    selection: Selection | None


class Candidate(msgspec.Struct, frozen=True):
    """One path to a key and its fate. `via` is the target it was imported by, "" for an own one."""

    path: Path
    via: str
    chosen: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """Why an instance routes a key the way it does; candidates best first."""

    instance: str
    key: RouteKey
    candidates: tuple[Candidate, ...]


class _TargetSet:
    """A distinct set of export targets: which sources carry it, which instances import it."""

    __slots__ = ("importers", "sources", "targets")

    def __init__(self, targets: frozenset[str], importers: set[str]) -> None:
        self.targets = targets
        self.importers = importers
        self.sources: set[str] = set()


class _Source:
    """What peers published into one instance, configured or not. Exists while it has paths or
    is configured.
    """

    __slots__ = ("routes", "target_set")

    def __init__(self, target_set: _TargetSet) -> None:
        self.target_set = target_set
        self.routes: dict[RouteKey, dict[str, Path]] = {}


_Table = dict[RouteKey, dict[tuple[str, str], Path]]  # (source, peer) -> path


class Rib:
    """The table of tables. One per control node."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self._sources: dict[str, _Source] = {}
        self._target_sets: dict[frozenset[str], _TargetSet] = {}
        self._sets_with: dict[str, set[frozenset[str]]] = {}  # target -> sets that contain it
        self._importing: dict[str, set[str]] = {}  # target -> instances that import it
        self._tables: dict[str, _Table] = {}
        self._selected: dict[str, dict[RouteKey, Selection]] = {}
        self._dirty: dict[tuple[str, RouteKey], None] = {}
        self._of_peer: dict[str, dict[tuple[str, RouteKey], None]] = {}

    # configuration ------------------------------------------------------------------------

    def put_instance(self, instance: Instance) -> None:
        """Add an instance or change its targets."""
        name = instance.name
        before = self.instances.get(name)
        if before == instance:
            return
        self.instances[name] = instance
        if before is None:
            self._tables[name] = {}
            self._selected.setdefault(name, {})  # forgotten and put again: listeners see the sum
            self._copy(self._source(name), name)
        self._change_imports(
            name, before.imports if before is not None else NO_TARGETS, instance.imports
        )
        self._change_exports(name, instance.exports)

    def forget_instance(self, name: str) -> None:
        """Remove an instance with its table; what peers published into it is kept, unseen."""
        before = self.instances.get(name)
        if before is None:
            return
        self._change_exports(name, NO_TARGETS)
        self._change_imports(name, before.imports, NO_TARGETS)
        for key in self._tables[name]:
            self._dirty[name, key] = None
        del self.instances[name], self._tables[name]
        self._drop_if_idle(name)

    def _change_imports(self, name: str, old: frozenset[str], new: frozenset[str]) -> None:
        for target in old - new:
            self._importing[target].discard(name)
            if not self._importing[target]:
                del self._importing[target]
        for target in new - old:
            self._importing.setdefault(target, set()).add(name)
        touched: set[frozenset[str]] = set()
        for target in old ^ new:
            touched |= self._sets_with.get(target, set())
        for targets in touched:
            target_set = self._target_sets[targets]
            imported, imports = name in target_set.importers, not new.isdisjoint(targets)
            if imports == imported:
                continue
            if imports:
                target_set.importers.add(name)
            else:
                target_set.importers.discard(name)
            for source in target_set.sources - {name}:
                if imports:
                    self._copy(self._sources[source], name)
                else:
                    self._uncopy(self._sources[source], name)

    def _change_exports(self, name: str, exports: frozenset[str]) -> None:
        source = self._source(name)
        old = source.target_set
        if old.targets == exports:
            return
        new = self._target_set(exports)
        new.sources.add(name)
        source.target_set = new
        for importer in new.importers - old.importers - {name}:
            self._copy(source, importer)
        for importer in old.importers - new.importers - {name}:
            self._uncopy(source, importer)
        self._leave(old, name)

    def _target_set(self, targets: frozenset[str]) -> _TargetSet:
        target_set = self._target_sets.get(targets)
        if target_set is None:
            importers: set[str] = set()
            for target in targets:
                importers |= self._importing.get(target, set())
                self._sets_with.setdefault(target, set()).add(targets)
            target_set = self._target_sets[targets] = _TargetSet(targets, importers)
        return target_set

    def _leave(self, target_set: _TargetSet, name: str) -> None:
        target_set.sources.discard(name)
        if target_set.sources:
            return
        del self._target_sets[target_set.targets]
        for target in target_set.targets:
            self._sets_with[target].discard(target_set.targets)
            if not self._sets_with[target]:
                del self._sets_with[target]

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            target_set = self._target_set(NO_TARGETS)
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
                self._put_copy(importer, key, path)

    def _uncopy(self, source: _Source, importer: str) -> None:
        for key, paths in source.routes.items():
            for path in paths.values():
                self._drop_copy(importer, key, path)

    def _put_copy(self, importer: str, key: RouteKey, path: Path) -> None:
        self._tables[importer].setdefault(key, {})[path.source, path.peer] = path
        self._dirty[importer, key] = None

    def _drop_copy(self, importer: str, key: RouteKey, path: Path) -> None:
        paths = self._tables[importer][key]
        del paths[path.source, path.peer]
        if not paths:
            del self._tables[importer][key]
        self._dirty[importer, key] = None

    def _holders(self, name: str) -> list[str]:
        """Instances whose tables hold what is published into `name`."""
        holders = self._sources[name].target_set.importers - {name}
        return [*holders, name] if name in self.instances else list(holders)

    # paths --------------------------------------------------------------------------------

    def publish(self, key: RouteKey, path: Path) -> None:
        """Put a peer's path to `key` into instance `path.source`, replacing its earlier one."""
        paths = self._source(path.source).routes.setdefault(key, {})
        if paths.get(path.peer) == path:
            return
        paths[path.peer] = path
        self._of_peer.setdefault(path.peer, {})[path.source, key] = None
        for holder in self._holders(path.source):
            self._put_copy(holder, key, path)

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
            self._drop_copy(holder, key, path)
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
        for name in [name for name in self._selected if name not in self.instances]:
            del self._selected[name]
        return changes

    def selection(self, instance: str, key: RouteKey) -> Selection | None:
        """Return the choice for a key as of the last `take_changes`."""
        return self._selected.get(instance, {}).get(key)

    def selections(self, instance: str) -> dict[RouteKey, Selection]:
        """Return every route of an instance as of the last `take_changes`; do not change it."""
        return self._selected.get(instance, {})

    def keys(self, instance: str) -> list[RouteKey]:
        """Return every key of an instance that has a path, chosen or not."""
        return list(self._tables.get(instance, ()))

    def paths(self, instance: str, key: RouteKey) -> list[Path]:
        """Return every path to a key, chosen or not, in no order."""
        return list(self._tables.get(instance, {}).get(key, {}).values())

    def importers(self, instance: str) -> list[str]:
        """Return the other instances that import what is published into one, sorted."""
        source = self._sources.get(instance)
        return sorted(source.target_set.importers - {instance}) if source is not None else []

    def network_of(self, path: Path) -> str:
        """Return the network a path's destination is in."""
        source = self.instances.get(path.source)
        return source.network if source is not None else path.network

    def import_target(self, instance: str, path: Path) -> str:
        """Return the (lowest) target by which an instance imports a path, "" for its own."""
        if path.source == instance:
            return ""
        exports = self._sources[path.source].target_set.targets
        return min(self.instances[instance].imports & exports)

    def count_of_peer(self, peer: str) -> int:
        """Return how many paths a peer published."""
        return len(self._of_peer.get(peer, ()))

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
        paths = list(self._tables[instance].get(key, {}).values())
        selection = select(paths)
        chosen = selection.paths if selection is not None else ()
        rest = sorted(
            (path for path in paths if path not in chosen),
            key=lambda path: (cost_of(path), path.next_hop, path.peer, path.source),
        )
        return Explanation(
            instance,
            key,
            tuple(
                Candidate(
                    path, self.import_target(instance, path), path in chosen, _reason(path, chosen)
                )
                for path in (*chosen, *rest)
            ),
        )

    # oracle -------------------------------------------------------------------------------

    def verify(self) -> None:
        """Recompute every table from the published paths; AssertionError names what differs.

        Call after `take_changes`.
        """
        expected: dict[str, _Table] = {name: {} for name in self.instances}
        for instance in self.instances.values():
            for name, source in self._sources.items():
                exporter = self.instances.get(name)
                exports = exporter.exports if exporter is not None else NO_TARGETS
                if name == instance.name or not exports.isdisjoint(instance.imports):
                    for key, paths in source.routes.items():
                        for peer, path in paths.items():
                            expected[instance.name].setdefault(key, {})[name, peer] = path
        assert set(expected) == set(self._tables), "the RIB has tables of other instances"
        for name, table in expected.items():
            assert table == self._tables[name], f"table {name} differs from what is published"
            chosen = {key: select(paths.values()) for key, paths in table.items()}
            best = {key: selection for key, selection in chosen.items() if selection is not None}
            assert best == self._selected[name], f"choices of {name} differ from its paths"
        assert set(self._selected) == set(self._tables), "choices remain of forgotten instances"
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
        for targets, target_set in self._target_sets.items():
            importers = {each.name for each in self.instances.values() if each.imports & targets}
            assert importers == target_set.importers, f"importers of {sorted(targets)} differ"


def _reason(path: Path, chosen: tuple[Path, ...]) -> str:
    if path in chosen:
        if len(chosen) > 1:
            return f"one of {len(chosen)} paths of equal cost"
        return "best"
    if not chosen:
        return f"not usable: {infeasible_reason(path)}"
    return compare(path, chosen[0])
