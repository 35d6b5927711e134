"""The BGP side of the RIB: peers in, VPN tables, what peers are to be sent.

`control.peering` calls it, in this order for one session: `peer_up` when it is established,
`announce`, `withdraw` and `end_of_rib` as UPDATEs come, `refresh` when the peer asks for one,
`peer_down` when it is over. Whenever `has_work`, it calls `take` in steps as large as it likes,
encodes each batch once for all of its members, and lets the event loop run in between. `timer_at`
and `handle_timer` are the usual ones.

Routes of a peer that goes down are kept as stale for the families it said (`keep`, graceful
restart), until `sweep`; those of others are swept at once, a step of `take` at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice

import msgspec

from filament.base.limits import MAX_PENDING_CHANGES, MAX_REJECTIONS_KEPT
from filament.base.net import Address
from filament.rib.adjout import AdjOut, OutBatch
from filament.rib.bundle import Bundle, compare, equals
from filament.rib.peer import Peer, PeerKind, Speaker
from filament.rib.policy import OutPolicy
from filament.rib.rtc import CONSTRAINED, END_OF_RIB_TIMEOUT_S, membership_key
from filament.rib.targets import TargetSets, format_target
from filament.rib.vpn import TABLE_NAMES, Routes, VpnTable
from filament.wire.bgp.attributes import Attributes
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.routes import format_route

_REJECTED_KEYS_KEPT = 100  # of routes that came together
OURSELVES = Peer("local", PeerKind.AGENT)


class Rejection(msgspec.Struct, frozen=True):
    """Routes that were received and cannot be used. `count` is how many came together, `keys` are
    those of the first of them.
    """

    peer: str
    family: AddressFamily
    keys: tuple[bytes, ...]
    count: int
    reason: str

    @property
    def table(self) -> str:
        """The name of the table that they are not used in."""
        return TABLE_NAMES[self.family]

    @property
    def first(self) -> str:
        """The first of the routes, as text; "" when none is known."""
        return format_route(self.family, self.keys[0]) if self.keys else ""


class VpnCandidate(msgspec.Struct, frozen=True):
    """One path to a key of a VPN table and its fate."""

    bundle: Bundle
    label: bytes
    is_best: bool
    reason: str


class Telling(msgspec.Struct, frozen=True):
    """Whether a peer is sent a route, and why not."""

    peer: str
    is_sent: bool
    reason: str


class VpnExplanation(msgspec.Struct, frozen=True):
    """Everything about a key of a VPN table; candidates best first.

    `imports` are (instance, target it is imported by); none means `not_imported` says why.
    """

    table: str
    key: bytes
    text: str
    candidates: tuple[VpnCandidate, ...]
    imports: tuple[tuple[str, str], ...]
    not_imported: str
    tellings: tuple[Telling, ...]


class BgpRib:
    """One per RIB."""

    def __init__(self, target_sets: TargetSets) -> None:
        self.us = Speaker()
        self.tables = {family: VpnTable(family, target_sets, self.us) for family in AddressFamily}
        self.out = AdjOut(self.tables, target_sets)
        self.peers: dict[str, Peer] = {}
        self.rejections: deque[Rejection] = deque(maxlen=MAX_REJECTIONS_KEPT)
        self._target_sets = target_sets
        self._waits_until: dict[str, float] = {}  # for memberships, by peer
        self._sweeping: dict[tuple[str, AddressFamily], None] = {}
        self._memberships: dict[bytes, None] = {}  # targets that instances here want

    # ourselves ----------------------------------------------------------------------------

    def configure(self, us: Speaker) -> None:
        """Say who we are. Sessions that this changes must be ended by the caller."""
        if us == self.us:
            return
        memberships = list(self._memberships)
        for target in memberships:
            self.set_membership(target, is_wanted=False)
        self.us = us
        for table in self.tables.values():
            table.reassess(us)
        for target in memberships:
            self.set_membership(target, is_wanted=True)

    def set_membership(self, target: bytes, *, is_wanted: bool) -> None:
        """Ask peers for the routes with a target, or no longer."""
        if is_wanted == (target in self._memberships):
            return
        table = self.tables[AddressFamily.ROUTE_TARGET]
        key = membership_key(self.us.asn, target)
        if is_wanted:
            self._memberships[target] = None
            attributes = Attributes(next_hop=Address(self.us.address, 4), local_preference=100)
            table.announce(OURSELVES, attributes, ((key, b""),))
        else:
            del self._memberships[target]
            table.withdraw(OURSELVES.name, (key,))

    # sessions -----------------------------------------------------------------------------

    def peer_up(
        self,
        peer: Peer,
        families: Collection[AddressFamily],
        now: float,
        *,
        has_llgr: bool = False,
        ends_rib: bool = True,
    ) -> None:
        """A session is established; `families` are those that both sides want.

        The peer gets its first copy of each table from `take`; VPN tables wait for its
        memberships when it speaks route-target. Not so when it will never say that these are all
        (`ends_rib`): then it is given what each of them asks for as it comes.
        """
        assert peer.kind is not PeerKind.AGENT, "agents speak XMPP"
        self.peers[peer.name] = peer
        asn = peer.asn if peer.kind is PeerKind.EXTERNAL else 0
        us = self.us
        if peer.local_as:
            us = msgspec.structs.replace(us, asn=peer.local_as)
        policy = OutPolicy(us, peer.kind, asn, has_llgr, peer.rules)
        self.out.join(peer.name, policy, frozenset(families))
        if (peer.name, AddressFamily.ROUTE_TARGET) not in self._sweeping:
            # What it asked for before it restarted counts until it says otherwise: it may wait
            # for our End-of-RIB before it tells anything.
            for key in self._stale_memberships(peer.name):
                self.out.note_interest(peer.name, key, is_there=True)
        waits = ends_rib and AddressFamily.ROUTE_TARGET in families
        # Memberships first: the peer withholds its routes until it has ours.
        for family in sorted(families, key=_turn_of):
            if not waits or family not in CONSTRAINED:
                self.out.make_ready(peer.name, family)
        if waits:
            self._waits_until[peer.name] = now + END_OF_RIB_TIMEOUT_S

    def peer_down(self, name: str, keep: Collection[AddressFamily] = ()) -> None:
        """A session is over. Routes of the families to keep stay as stale until `sweep`."""
        del self.peers[name]
        self.out.leave(name)
        self._waits_until.pop(name, None)
        for family, table in self.tables.items():
            table.mark_stale(name)
            if family not in keep and table.stale_bundles_of(name):
                self._sweeping[name, family] = None

    def make_long_lived(self, name: str, family: AddressFamily) -> None:
        """Keep what is stale of a peer for longer (RFC 9494): marked and less preferred."""
        self.tables[family].make_long_lived(name)

    def sweep(self, name: str, family: AddressFamily) -> None:
        """Remove what a peer has not announced again (its End-of-RIB came, or its time is up)."""
        if not self.tables[family].stale_bundles_of(name):
            return
        if family is AddressFamily.ROUTE_TARGET:
            for key in self._stale_memberships(name):
                self.out.note_interest(name, key, is_there=False)
        self._sweeping[name, family] = None

    def _stale_memberships(self, name: str) -> list[bytes]:
        stale = self.tables[AddressFamily.ROUTE_TARGET].stale_bundles_of(name)
        return [key for bundle in stale for key in bundle.routes]

    def stale_count(self, name: str, family: AddressFamily) -> int:
        """Return how many stale routes of a peer are kept."""
        return sum(len(each.routes) for each in self.tables[family].stale_bundles_of(name))

    # what peers say -----------------------------------------------------------------------

    def announce(
        self,
        name: str,
        family: AddressFamily,
        attributes: Attributes,
        routes: Routes,
        field: bytes = b"",
    ) -> None:
        """Take routes of a peer that share attributes: (key, label) as `nlri.split` finds them,
        with the field they came in where it may be sent on as it is (`Announced.field`).
        """
        peer, table = self.peers[name], self.tables[family]
        if peer.rules.origin is not None:
            attributes = msgspec.structs.replace(attributes, origin=peer.rules.origin)
        problem = table.announce(peer, attributes, routes, field)
        if family is AddressFamily.ROUTE_TARGET:
            for key, _ in routes:
                self.out.note_interest(name, key, is_there=True)
        if problem:
            self.reject(name, family, [key for key, _ in routes], problem)

    def reject(self, name: str, family: AddressFamily, keys: Collection[bytes], why: str) -> None:
        """Remember that routes of a peer cannot be used, and why."""
        first = tuple(islice(keys, _REJECTED_KEYS_KEPT))
        self.rejections.append(Rejection(name, family, first, len(keys), why))

    def withdraw(self, name: str, family: AddressFamily, keys: Iterable[bytes]) -> None:
        """Take that a peer has no routes to these keys any more."""
        if family is AddressFamily.ROUTE_TARGET:
            keys = list(keys)
            for key in keys:
                self.out.note_interest(name, key, is_there=False)
        self.tables[family].withdraw(name, keys)

    def end_of_rib(self, name: str, family: AddressFamily) -> None:
        """A peer has announced all it has of a family: what is stale of it is swept."""
        self.sweep(name, family)
        if family is AddressFamily.ROUTE_TARGET:
            self._open(name)

    def refresh(self, name: str, family: AddressFamily, *, is_enhanced: bool = False) -> None:
        """A peer asks to be told everything again; `is_enhanced` as RFC 7313 wants it."""
        self.out.refresh(name, family, is_enhanced=is_enhanced)

    def _open(self, name: str) -> None:
        """Stop waiting for a peer's memberships."""
        if self._waits_until.pop(name, None) is None:
            return
        for family in AddressFamily:
            if family in CONSTRAINED and family in self.out.members[name].families:
                self.out.make_ready(name, family)

    # what they are told -------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `take` should be called (again), writable peers given."""
        return self.out.has_work or bool(self._sweeping) or self.out.is_pending

    @property
    def is_busy(self) -> bool:
        """Whether `take` removes routes or looks at changes step by step, so that one step may
        give nothing and the next something.
        """
        return bool(self._sweeping) or self.out.is_pending

    @property
    def is_behind(self) -> bool:
        """Whether peers should be heard no further before what they said has been looked at: it is
        much, or somebody waits for it.
        """
        count = self.out.pending_count
        return count > MAX_PENDING_CHANGES or (count > 0 and self.out.has_work)

    def take(
        self, limit: int = 10_000, can_write: Callable[[str], bool] = lambda _: True
    ) -> list[OutBatch]:
        """Do a step of about `limit` routes; return what to send now, in order (see `adjout`)."""
        for name, family in list(self._sweeping):
            swept = self.tables[family].sweep(name, limit)
            limit -= swept
            if limit <= 0:
                break
            del self._sweeping[name, family]
        return self.out.take(max(limit, 1), can_write)

    # time ---------------------------------------------------------------------------------

    def timer_at(self) -> float | None:
        """Return when `handle_timer` has something to do next."""
        return min(self._waits_until.values(), default=None)

    def handle_timer(self, now: float) -> None:
        """Wait no longer for memberships that are late."""
        for name, until in list(self._waits_until.items()):
            if now >= until:
                self._open(name)

    # answers ------------------------------------------------------------------------------

    def table_named(self, name: str) -> VpnTable | None:
        """Return the table of TF's name."""
        return next((each for each in self.tables.values() if each.name == name), None)

    def why(self, family: AddressFamily, key: bytes) -> VpnExplanation:
        """Explain a key of a table: each path, who imports it, which peers are sent it."""
        table = self.tables[family]
        paths = table.paths(key)
        best = table.best(key)
        equal = equals(paths) if paths else ()
        return VpnExplanation(
            table=table.name,
            key=key,
            text=format_route(family, key),
            candidates=tuple(
                VpnCandidate(each, each.routes[key], each is best, _fate(each, best, equal))
                for each in paths
            ),
            imports=tuple(
                (name, self._import_target(name, bundle))
                for bundle in equal
                for name in sorted(bundle.target_set.importers)
            ),
            not_imported="" if best is None else self._not_imported(best),
            tellings=tuple(self._telling(name, table, best) for name in self.out.members),
        )

    def _import_target(self, instance: str, bundle: Bundle) -> str:
        for target in sorted(bundle.target_set.targets):
            if instance in self._target_sets.importers_of(target):
                return format_target(target)
        return ""

    @staticmethod
    def _not_imported(best: Bundle) -> str:
        if best.target_set.importers:
            return ""
        targets = ", ".join(sorted(map(format_target, best.target_set.targets)))
        if not targets:
            return "it has no route target"
        return f"no routing instance here imports {targets}"

    def _telling(self, name: str, table: VpnTable, best: Bundle | None) -> Telling:
        member = self.out.members[name]
        family = table.family
        if family not in member.families:
            return Telling(name, False, f"the session does not carry {family}")
        if best is None:
            return Telling(name, False, "no path to it can be used")
        if family not in member.ready:
            return Telling(name, False, "the peer has not said yet which targets it wants")
        if family is AddressFamily.ROUTE_TARGET:
            return Telling(name, True, "")
        audience, exported = member.group.audience(family, best)
        if name in audience:
            return Telling(name, True, "")
        if best.peer.name == name:
            return Telling(name, False, "split horizon: it came from this peer")
        if isinstance(exported, str):
            return Telling(name, False, exported)
        targets = ", ".join(sorted(map(format_target, best.target_set.targets))) or "no target"
        return Telling(name, False, f"the peer did not ask for {targets}")

    def verify(self) -> None:
        """Recompute the tables; AssertionError names what differs."""
        for table in self.tables.values():
            table.verify()


def _turn_of(family: AddressFamily) -> tuple[bool, int, int]:
    return family is not AddressFamily.ROUTE_TARGET, family.afi, family.safi


def _fate(bundle: Bundle, best: Bundle | None, equal: tuple[Bundle, ...]) -> str:
    if bundle is best:
        return "best"
    if best is None or bundle.problem:
        return f"not usable: {bundle.problem}"
    reason = compare(bundle, best)
    return f"of equal cost; {reason}" if bundle in equal else reason
