"""Distinct sets of route targets: who imports each, and which routes carry it.

Routes are many, sets of targets few: whether a route is imported, and which peers asked for it, is
decided once per set. A set exists while an instance exports it or a VPN route carries it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from filament.base.net import RouteTarget

if TYPE_CHECKING:
    from filament.rib.bundle import Bundle

Targets = frozenset[bytes]
NO_TARGETS: Targets = frozenset()
# Of two-octet ASes, IPv4 addresses, four-octet ASes; ES-import.
_TARGET_TYPES = frozenset({b"\x00\x02", b"\x01\x02", b"\x02\x02", b"\x06\x02"})


def encode_targets(texts: frozenset[str]) -> Targets:
    """Return targets as communities. Raises `InputError`."""
    return frozenset(RouteTarget.parse(each).encode() for each in texts)


def format_target(community: bytes) -> str:
    """Format a target community as TF prints it."""
    target = RouteTarget.decode(community)
    return str(target) if target is not None else community.hex()


def targets_of(communities: tuple[bytes, ...]) -> Targets:
    """Return what decides who imports a route: route targets, and ES-import ones (RFC 7432
    section 7.6).
    """
    return frozenset([each for each in communities if each[:2] in _TARGET_TYPES])


class TargetSet:
    """One distinct set. `sources` are the instances that export it, `bundles` the VPN routes."""

    __slots__ = ("bundles", "importers", "sources", "targets")

    def __init__(self, targets: Targets, importers: dict[str, None]) -> None:
        self.targets = targets
        self.importers = importers
        self.sources: set[str] = set()
        self.bundles: dict[Bundle, None] = {}


class TargetSets:
    """All of them, with the indices from single targets. One per RIB."""

    def __init__(self) -> None:
        self._sets: dict[Targets, TargetSet] = {}
        self._sets_with: dict[bytes, dict[Targets, None]] = {}
        self._importing: dict[bytes, dict[str, None]] = {}

    def __iter__(self) -> Iterator[TargetSet]:
        return iter(self._sets.values())

    def get(self, targets: Targets) -> TargetSet:
        """Return the set of these targets, made when it is new."""
        found = self._sets.get(targets)
        if found is None:
            importers: dict[str, None] = {}
            for target in sorted(targets) if len(targets) > 1 else targets:
                importers |= self._importing.get(target, {})
                self._sets_with.setdefault(target, {})[targets] = None
            found = self._sets[targets] = TargetSet(targets, importers)
        return found

    def release(self, target_set: TargetSet) -> None:
        """Forget a set that nobody carries any more."""
        if target_set.sources or target_set.bundles:
            return
        if self._sets.get(target_set.targets) is not target_set:
            return
        del self._sets[target_set.targets]
        for target in target_set.targets:
            del self._sets_with[target][target_set.targets]
            if not self._sets_with[target]:
                del self._sets_with[target]

    def with_target(self, target: bytes) -> list[TargetSet]:
        """Return the sets that contain a target."""
        return [self._sets[each] for each in self._sets_with.get(target, ())]

    @property
    def has_importers(self) -> bool:
        """Whether any instance imports anything."""
        return bool(self._importing)

    def importers_of(self, target: bytes) -> list[str]:
        """Return the instances that import a target."""
        return list(self._importing.get(target, ()))

    def change_imports(self, name: str, old: Targets, new: Targets) -> list[tuple[TargetSet, bool]]:
        """Change what an instance imports; return the sets it now imports (True) or not."""
        for target in old - new:
            del self._importing[target][name]
            if not self._importing[target]:
                del self._importing[target]
        for target in new - old:
            self._importing.setdefault(target, {})[name] = None
        touched: dict[Targets, None] = {}
        for target in sorted(old ^ new):
            touched |= self._sets_with.get(target, {})
        changed = []
        for targets in touched:
            target_set = self._sets[targets]
            imported, imports = name in target_set.importers, not new.isdisjoint(targets)
            if imports == imported:
                continue
            if imports:
                target_set.importers[name] = None
            else:
                del target_set.importers[name]
            changed.append((target_set, imports))
        return changed

    def verify(self, imports_by_instance: dict[str, Targets]) -> None:
        """Recompute who imports what; AssertionError names what differs."""
        for targets, target_set in self._sets.items():
            assert target_set.sources or target_set.bundles, "a target set is kept idle"
            importers = {
                name for name, each in imports_by_instance.items() if not each.isdisjoint(targets)
            }
            assert importers == set(target_set.importers), (
                f"importers of {sorted(map(format_target, targets))} differ"
            )
