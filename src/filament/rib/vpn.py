"""One table per BGP family, TF's `bgp.l3vpn.0` and its like: routes by raw NLRI key.

A key is what `wire.bgp.nlri` cuts out of the NLRI: distinguisher included, label not. A reflector
never looks inside. Paths to a key are bundles (see `bundle`): most keys have one, which then is
the table's value itself; several are a tuple, the best first, and so is a single one that cannot
be used. Per route a table costs the key, the label and two dictionary entries.

`pending` collects what changed since it was last taken (see `pending`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from filament.rib.bundle import Bundle, Entry, equals, ordered, problem_of
from filament.rib.peer import Peer, Speaker
from filament.rib.pending import Pending
from filament.rib.targets import TargetSets, targets_of
from filament.wire.bgp.attributes import Attributes
from filament.wire.bgp.communities import LLGR_STALE, NO_LLGR
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import Alike

TABLE_NAMES = {
    AddressFamily.INET: "inet.0",
    AddressFamily.INET_LABELED: "inet.3",
    AddressFamily.INET_VPN: "bgp.l3vpn.0",
    AddressFamily.ROUTE_TARGET: "bgp.rtarget.0",
    AddressFamily.ERM_VPN: "bgp.ermvpn.0",
    AddressFamily.INET6: "inet6.0",
    AddressFamily.INET6_LABELED: "inet6.3",
    AddressFamily.INET6_VPN: "bgp.l3vpn-inet6.0",
    AddressFamily.E_VPN: "bgp.evpn.0",
}

Route = tuple[bytes, bytes]  # (key, label)
Routes = Collection[Route] | Alike


class VpnTable:
    """Every path of one family. One per family and RIB; owned by one task."""

    def __init__(self, family: AddressFamily, target_sets: TargetSets, us: Speaker) -> None:
        self.family = family
        self.us = us
        self.name = TABLE_NAMES[family]
        self.routes: dict[bytes, Entry] = {}
        self.pending = Pending()
        self._target_sets = target_sets
        self._bundles: dict[str, dict[Attributes, Bundle]] = {}  # by peer
        self._stale: dict[str, dict[Bundle, None]] = {}

    # paths --------------------------------------------------------------------------------

    def announce(
        self, peer: Peer, attributes: Attributes, routes: Routes, field: bytes = b""
    ) -> str:
        """Put a peer's paths with these attributes, in place of its earlier ones to these keys.

        `field` is the NLRI that the routes came in where it may be sent on as it is. Returns why
        they cannot be used, "" when they can.
        """
        of_peer = self._bundles.get(peer.name)
        bundle = of_peer.get(attributes) if of_peer is not None else None
        if bundle is None:
            bundle = self._new_bundle(peer, attributes)
        table, pending, mine = self.routes, self.pending, bundle.routes
        if pending.gone:
            pending.spill()
        changed = pending.before
        if not bundle.problem and len(routes) > 1:
            # What comes in bulk is new: then no step is taken per route but by C code.
            new = dict(iter(routes))
            if table.keys().isdisjoint(new) and (not changed or changed.keys().isdisjoint(new)):
                table.update(dict.fromkeys(new, bundle))
                mine.update(new)
                is_whole = len(new) == len(routes)
                pending.add_fresh(bundle, list(new), field if is_whole else b"")
                return ""
        for key, label in routes:
            entry = table.get(key)
            if entry is None and not bundle.problem:
                table[key] = bundle
                mine[key] = label
                changed.setdefault(key)
            elif entry is not bundle or mine[key] != label:
                pending.spill()
                self._put(key, label, entry, bundle)
        return bundle.problem

    def withdraw(self, peer: str, keys: Iterable[bytes]) -> int:
        """Remove a peer's paths to these keys; return how many there were."""
        table, pending = self.routes, self.pending
        if pending.fresh:
            pending.spill()
        wanted = list(dict.fromkeys(keys))
        if len(wanted) <= 1:
            return int(bool(wanted) and self._withdraw(peer, wanted[0]))
        first = table.get(wanted[0])
        if (
            isinstance(first, Bundle)
            and first.peer.name == peer
            and (not pending.before or pending.before.keys().isdisjoint(wanted))
            and list(map(table.get, wanted)).count(first) == len(wanted)
        ):
            # In bulk they come as they were announced, and are one bundle's.
            mine = first.routes
            pending.add_gone(first, wanted, list(map(mine.pop, wanted)))
            for key in wanted:
                del table[key]
            if not mine:
                self._drop(first)
            return len(wanted)
        return sum(self._withdraw(peer, key) for key in wanted)

    def _withdraw(self, peer: str, key: bytes) -> bool:
        entry = self.routes.get(key)
        if isinstance(entry, tuple):
            return self._take(key, entry, peer)
        if entry is None or entry.peer.name != peer:
            return False
        self.pending.note(key, entry)
        del self.routes[key]
        self._leave(entry, key)
        return True

    def _put(self, key: bytes, label: bytes, entry: Entry | None, bundle: Bundle) -> None:
        """Put one path where another bundle's is, or the first if it cannot be used."""
        before = best_of(entry)
        paths = () if entry is None else entry if isinstance(entry, tuple) else (entry,)
        mine = next((each for each in paths if each.peer.name == bundle.peer.name), None)
        if mine is bundle:
            if bundle.routes[key] != label:
                self.pending.note(key, before)
                bundle.routes[key] = label
            return
        is_same = False
        if mine is not None:
            # Announced again as it was before the peer went away: nobody need be told.
            is_same = (
                mine.is_stale
                and mine.problem == bundle.problem
                and mine.attributes == bundle.attributes
                and mine.routes[key] == label
            )
        if not is_same:
            self.pending.note(key, before)
        if mine is not None:
            self._leave(mine, key)
        bundle.routes[key] = label
        self._set(key, (*(each for each in paths if each is not mine), bundle))

    def _take(self, key: bytes, entry: tuple[Bundle, ...], peer: str) -> bool:
        """Remove one path of several."""
        mine = next((each for each in entry if each.peer.name == peer), None)
        if mine is None:
            return False
        self.pending.note(key, best_of(entry))
        self._leave(mine, key)
        self._set(key, tuple(each for each in entry if each is not mine))
        return True

    def _set(self, key: bytes, bundles: tuple[Bundle, ...]) -> None:
        if not bundles:
            del self.routes[key]
        elif len(bundles) == 1 and not bundles[0].problem:
            self.routes[key] = bundles[0]
        else:
            self.routes[key] = ordered(bundles)

    # bundles ------------------------------------------------------------------------------

    def _new_bundle(self, peer: Peer, attributes: Attributes) -> Bundle:
        problem = problem_of(self.family, peer, attributes, self.us)
        target_set = self._target_sets.get(targets_of(attributes.extended_communities))
        bundle = Bundle(self.family, peer, attributes, target_set, problem)
        target_set.bundles[bundle] = None
        self._bundles.setdefault(peer.name, {})[attributes] = bundle
        return bundle

    def _leave(self, bundle: Bundle, key: bytes) -> None:
        routes = bundle.routes
        del routes[key]
        if not routes:
            self._drop(bundle)

    def _drop(self, bundle: Bundle) -> None:
        del bundle.target_set.bundles[bundle]
        self._target_sets.release(bundle.target_set)
        name = bundle.peer.name
        if bundle.is_stale:
            del self._stale[name][bundle]
            if not self._stale[name]:
                del self._stale[name]
            return
        of_peer = self._bundles[name]
        del of_peer[bundle.attributes]
        if not of_peer:
            del self._bundles[name]

    def bundles(self) -> list[Bundle]:
        """Return every bundle there is now."""
        fresh = [each for of_peer in self._bundles.values() for each in of_peer.values()]
        return [*fresh, *(each for stale in self._stale.values() for each in stale)]

    def bundles_of(self, peer: str) -> list[Bundle]:
        """Return what one peer announces, stale included."""
        return [*self._bundles.get(peer, {}).values(), *self._stale.get(peer, ())]

    def stale_bundles_of(self, peer: str) -> list[Bundle]:
        """Return what a peer announced before it went away and did not announce again."""
        return list(self._stale.get(peer, ()))

    def reassess(self, us: Speaker) -> None:
        """Look again at what cannot be used, because we are somebody else now."""
        self.us = us
        self.pending.spill()
        for bundle in self.bundles():
            problem = problem_of(self.family, bundle.peer, bundle.attributes, us)
            if problem == bundle.problem:
                continue
            for key in bundle.routes:
                self.pending.note(key, self.best(key))
            bundle.problem = problem
            for key in bundle.routes:
                self._set(key, self.paths(key))

    # peers that go away -------------------------------------------------------------------

    def mark_stale(self, peer: str) -> None:
        """Keep what a peer announced until it announces it again, or it is swept.

        Its routes go on as they are (RFC 4724 section 4.1).
        """
        for bundle in self._bundles.pop(peer, {}).values():
            bundle.is_stale = True
            self._stale.setdefault(peer, {})[bundle] = None

    def make_long_lived(self, peer: str) -> None:
        """Keep a peer's stale routes for longer, less preferred and marked (RFC 9494 section 4.3).

        Those that must not be kept so long are removed.
        """
        for bundle in self.stale_bundles_of(peer):
            attributes, routes = bundle.attributes, list(bundle.routes.items())
            if NO_LLGR in attributes.communities:
                self.withdraw(peer, [key for key, _ in routes])
            elif LLGR_STALE not in attributes.communities:
                communities = (*attributes.communities, LLGR_STALE)
                marked = msgspec.structs.replace(attributes, communities=communities)
                self.announce(bundle.peer, marked, routes)
        self.mark_stale(peer)

    def sweep(self, peer: str, limit: int) -> int:
        """Remove up to `limit` stale routes of a peer; return how many, 0 when none is left."""
        count = 0
        while count < limit and (stale := self._stale.get(peer)):
            bundle = next(reversed(stale))
            keys = list(bundle.routes)[: limit - count]
            count += self.withdraw(peer, keys)
        return count

    def count_of(self, peer: str) -> int:
        """Return how many routes a peer announces."""
        return sum(len(each.routes) for each in self.bundles_of(peer))

    # answers ------------------------------------------------------------------------------

    def best(self, key: bytes) -> Bundle | None:
        """Return the bundle that is best for a key, None when none is usable."""
        return best_of(self.routes.get(key))

    def paths(self, key: bytes) -> tuple[Bundle, ...]:
        """Return the bundles that lead to a key, the best first."""
        entry = self.routes.get(key)
        return () if entry is None else entry if isinstance(entry, tuple) else (entry,)

    def equal_paths(self, key: bytes) -> tuple[Bundle, ...]:
        """Return the usable bundles that share the load to a key."""
        paths = self.paths(key)
        return equals(paths) if paths else ()

    def verify(self) -> None:
        """Recompute the indices and orders; AssertionError names what differs."""
        found: dict[bytes, list[Bundle]] = {}
        for bundle in self.bundles():
            assert bundle.routes, "a bundle is kept without routes"
            assert bundle in bundle.target_set.bundles, "a target set does not know its bundle"
            assert bundle.target_set.targets == targets_of(bundle.attributes.extended_communities)
            for key in bundle.routes:
                found.setdefault(key, []).append(bundle)
        assert set(found) == set(self.routes), f"routes of {self.name} differ from its bundles"
        for key, bundles in found.items():
            entry = self.routes[key]
            names = [each.peer.name for each in bundles]
            assert len(set(names)) == len(names), "a peer has two paths to one key"
            if len(bundles) == 1 and not bundles[0].problem:
                assert entry is bundles[0], f"{self.name} holds another bundle for {key.hex()}"
            else:
                assert entry == ordered(bundles), f"{self.name} orders {key.hex()} differently"


def best_of(entry: Entry | None) -> Bundle | None:
    """Return the usable bundle that comes first in a table's value."""
    if isinstance(entry, tuple):
        return None if entry[0].problem else entry[0]
    return entry
