"""What BGP peers are to be sent: changes as they come, and whole tables when they ask.

Peers with an equal policy are a group. A change of a route is worked out per group and pair of
bundles (the best before, the best now), never per peer and route: those who had the old one are
told that it is gone unless they get the new one. There is no table of what was sent; it follows
from what was best, whose it was, and what a peer asked for, as they were when last told.

So order matters, and is kept: changes are resolved into batches, a portion at a time (`collect`),
before anybody's interest changes or a first copy begins; batches of changes go out before any
peer's own work, and a peer's own work (its first copy of a table, a refresh, routes gained or lost
with its interest) in the order it came up. That work is made of iterators that read the tables as
they go: it costs nothing while a peer does not read, and a change on the way is told by the
change's own batch after it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from filament.rib.bundle import Bundle
from filament.rib.pending import Changes
from filament.rib.policy import OutPolicy
from filament.rib.rtc import CONSTRAINED, Interest
from filament.rib.targets import TargetSet, TargetSets
from filament.rib.vpn import VpnTable, best_of
from filament.wire.bgp.attributes import Attributes
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import join_all, withdrawn_all

MAX_BATCH_ROUTES = 1000
CHANGES_AT_ONCE = 5_000
_IMPORTED_AS = 10  # a key that instances import takes as long as so many that they do not


class OutKind(enum.Enum):
    """What a batch says."""

    ANNOUNCE = "announce"
    WITHDRAW = "withdraw"
    END_OF_RIB = "end-of-rib"
    REFRESH_BEGINS = "refresh-begins"  # RFC 7313
    REFRESH_ENDS = "refresh-ends"


class OutBatch(NamedTuple):
    """One thing to tell some peers, to be encoded once for all of them (those with four-octet
    ASes alike). `routes` are NLRI as they go on the wire, one by one or (of announcements) in
    fields of several, `route_count` in all; only announcements have attributes.
    """

    members: tuple[str, ...]
    family: AddressFamily
    kind: OutKind
    attributes: Attributes | None = None
    routes: list[bytes] = []
    route_count: int = 0


class Member:
    """A peer that is up. `ready` are the families it is told of changes; `interest` None: all."""

    __slots__ = ("families", "group", "interest", "name", "ready", "targets_sent", "work")

    def __init__(self, name: str, group: Group, families: frozenset[AddressFamily]) -> None:
        self.name = name
        self.group = group
        self.families = families
        self.ready: set[AddressFamily] = set()
        self.interest = Interest() if AddressFamily.ROUTE_TARGET in families else None
        self.work: deque[Iterator[OutBatch]] = deque()
        self.targets_sent: dict[bytes, Attributes] = {}


class Group:
    """Members with one policy. `epoch` grows whenever who gets what may have changed."""

    __slots__ = ("epoch", "members", "policy")

    def __init__(self, policy: OutPolicy) -> None:
        self.policy = policy
        self.members: dict[str, Member] = {}
        self.epoch = 0

    def audience(
        self, family: AddressFamily, bundle: Bundle
    ) -> tuple[tuple[str, ...], Attributes | str]:
        """Return who is sent a bundle's routes, and what; a reason instead when nobody is."""
        known = bundle.sent.get(self)
        if known is not None and known[0] == self.epoch:
            return known[1], known[2]
        exported = self.policy.export(bundle) if known is None else known[2]
        names: tuple[str, ...] = ()
        if isinstance(exported, Attributes):
            targets = bundle.target_set.targets
            names = tuple(
                name
                for name, member in self.members.items()
                if family in member.ready
                and name != bundle.peer.name
                and (
                    member.interest is None
                    or family not in CONSTRAINED
                    or member.interest.wants(targets)
                )
            )
        bundle.sent[self] = (self.epoch, names, exported)
        return names, exported


class AdjOut:
    """All groups and members. One per RIB."""

    def __init__(self, tables: dict[AddressFamily, VpnTable], target_sets: TargetSets) -> None:
        self.members: dict[str, Member] = {}
        self._groups: dict[OutPolicy, Group] = {}
        self._tables = tables
        self._target_sets = target_sets
        # Hears of changes before they are resolved: the tables of instances follow them. Returns
        # how many keys concern any.
        self.listener: Callable[[VpnTable, Changes], int] = lambda _table, _changes: 0
        self._live: deque[OutBatch] = deque()
        self._working: dict[str, None] = {}  # members with work, in turn
        self._opening: dict[tuple[str, AddressFamily], None] = {}  # ready once nothing is pending

    # members ------------------------------------------------------------------------------

    def join(self, name: str, policy: OutPolicy, families: frozenset[AddressFamily]) -> Member:
        """Add a peer that came up; it is told nothing before `make_ready`."""
        assert name not in self.members, f"{name} is up already"
        group = self._groups.get(policy)
        if group is None:
            group = self._groups[policy] = Group(policy)
        member = group.members[name] = self.members[name] = Member(name, group, families)
        return member

    def leave(self, name: str) -> None:
        """Forget a peer that went down, and what it was to be sent."""
        member = self.members.pop(name)
        self._working.pop(name, None)
        self._opening = {each: None for each in self._opening if each[0] != name}
        group = member.group
        del group.members[name]
        group.epoch += 1
        live = (each._replace(members=_without(each.members, name)) for each in self._live)
        self._live = deque(each for each in live if each.members)
        if not group.members:
            del self._groups[group.policy]
            for table in self._tables.values():
                for bundle in table.bundles():
                    bundle.sent.pop(group, None)

    def make_ready(self, name: str, family: AddressFamily) -> None:
        """Start telling a peer of a family: its whole table, then End-of-RIB, and changes."""
        if family not in self.members[name].ready:
            self._opening[name, family] = None
            self.collect(CHANGES_AT_ONCE)

    def _open(self, name: str, family: AddressFamily) -> None:
        member = self.members[name]
        member.ready.add(family)
        member.group.epoch += 1
        self._add_work(member, self._dump(member, family))
        end = OutBatch((name,), family, OutKind.END_OF_RIB)
        self._add_work(member, iter((end,)))

    def refresh(self, name: str, family: AddressFamily, *, is_enhanced: bool) -> None:
        """Send a peer a whole table again: it asked for that (RFC 2918, RFC 7313)."""
        member = self.members[name]
        if family not in member.ready:
            return  # it is to get the table anyway
        names = (name,)
        if is_enhanced:
            self._add_work(member, iter((OutBatch(names, family, OutKind.REFRESH_BEGINS),)))
        if family is AddressFamily.ROUTE_TARGET:
            member.targets_sent.clear()
        self._add_work(member, self._dump(member, family))
        if is_enhanced:
            self._add_work(member, iter((OutBatch(names, family, OutKind.REFRESH_ENDS),)))

    def _add_work(self, member: Member, work: Iterator[OutBatch]) -> None:
        member.work.append(work)
        self._working[member.name] = None

    # interest -----------------------------------------------------------------------------

    def note_interest(self, name: str, key: bytes, *, is_there: bool) -> None:
        """Note that a peer announced or withdrew a route target membership."""
        member = self.members.get(name)
        if member is not None and member.interest is not None:
            member.interest.note(key, is_there=is_there)

    def _apply_interests(self) -> None:
        for member in self.members.values():
            if member.interest is None or not member.interest.is_noted:
                continue
            gained, lost = member.interest.apply(self._target_sets)
            member.group.epoch += 1
            if lost:
                self._withdraw_sets(member, lost)
            if gained:
                for family in self._tables:
                    if family in CONSTRAINED and family in member.ready:
                        self._add_work(member, self._dump(member, family, gained))

    def _withdraw_sets(self, member: Member, lost: list[TargetSet]) -> None:
        """Withdraw what a peer has no interest in any more: the keys are those of this moment."""
        keys_by_family: dict[AddressFamily, list[bytes]] = {}
        for target_set in lost:
            for bundle in target_set.bundles:
                family = bundle.family
                if (
                    family in CONSTRAINED
                    and family in member.ready
                    and bundle.peer.name != member.name
                    and isinstance(member.group.audience(family, bundle)[1], Attributes)
                ):
                    keys_by_family.setdefault(family, []).extend(bundle.routes)
        for family, keys in keys_by_family.items():
            self._add_work(member, self._withdraw_unwanted(member, family, keys))

    def _withdraw_unwanted(
        self, member: Member, family: AddressFamily, keys: list[bytes]
    ) -> Iterator[OutBatch]:
        """Withdraw keys, but for those that by now the peer is told of with other targets."""
        table = self._tables[family]
        for start in range(0, len(keys), MAX_BATCH_ROUTES):
            gone = []
            for key in keys[start : start + MAX_BATCH_ROUTES]:
                best = table.best(key)
                if best is None or member.name not in member.group.audience(family, best)[0]:
                    gone.append(key)
            if gone:
                yield from _withdrawals((member.name,), family, gone)

    # changes ------------------------------------------------------------------------------

    @property
    def pending_count(self) -> int:
        """How many keys changed and were not looked at."""
        return sum(len(table.pending) for table in self._tables.values())

    @property
    def is_pending(self) -> bool:
        """Whether there are any such."""
        return any(table.pending for table in self._tables.values())

    def collect(self, limit: int) -> int:
        """Resolve what changed since the last time into batches, about `limit` keys of it.

        Once nothing is left, new interests are applied and first copies begun. Returns how much
        work it was, in keys.
        """
        done = 0
        for table in self._tables.values():
            while table.pending and done < limit:
                changes = table.pending.take(min(limit - done, self._portion))
                imported = self._resolve_changes(table, changes)
                done += changes.key_count + _IMPORTED_AS * imported
        if not self.is_pending:
            self._apply_interests()
            opening, self._opening = self._opening, {}
            for name, family in opening:
                self._open(name, family)
        return done

    @property
    def _portion(self) -> int:
        """How many keys to look at before it is known whether instances import them."""
        return MAX_BATCH_ROUTES // 4 if self._target_sets.has_importers else CHANGES_AT_ONCE

    def _resolve_changes(self, table: VpnTable, changes: Changes) -> int:
        imported = self.listener(table, changes)
        if table.family is AddressFamily.ROUTE_TARGET:
            runs = (*changes.fresh.values(), *changes.gone.values())
            keys = [*changes.before, *(key for run in runs for key in run.keys)]
            for member in self.members.values():
                if table.family in member.ready:
                    self._live.extend(self._tell_targets(member, keys))
            return imported
        if not self._groups:
            return imported
        for bundle, run in changes.fresh.items():
            self._resolve(table, None, bundle, run.keys, run.fields)
        for bundle, run in changes.gone.items():
            self._resolve(table, bundle, None, run.keys)
        self._resolve_keys(table, changes)
        return imported

    def _resolve_keys(self, table: VpnTable, changes: Changes) -> None:
        by_pair: dict[tuple[Bundle | None, Bundle | None], list[bytes]] = {}
        last_old: Bundle | None = None
        last_new: Bundle | None = None
        keys: list[bytes] = []
        get = table.routes.get
        for key, old in changes.before.items():
            entry = get(key)
            new = best_of(entry) if entry.__class__ is tuple else entry
            if old is new and (old is None or old.routes[key] == changes.labels[key]):
                continue
            if old is not last_old or new is not last_new:
                last_old, last_new = old, new  # type: ignore[assignment]
                keys = by_pair.setdefault((old, last_new), [])
            keys.append(key)
        for (before, now), keys in by_pair.items():
            self._resolve(table, before, now, keys)

    def _resolve(
        self,
        table: VpnTable,
        old: Bundle | None,
        new: Bundle | None,
        keys: list[bytes],
        announced: list[bytes] | None = None,
    ) -> None:
        family = table.family
        for group in self._groups.values():
            had = group.audience(family, old)[0] if old is not None else ()
            names: tuple[str, ...] = ()
            if new is not None:
                names, exported = group.audience(family, new)
                if names and isinstance(exported, Attributes):
                    if announced is None:
                        announced = join_all(family, keys, new.routes)
                    self._live.append(
                        OutBatch(names, family, OutKind.ANNOUNCE, exported, announced, len(keys))
                    )
            gone = had if not names else tuple(name for name in had if name not in names)
            if gone:
                self._live.extend(_withdrawals(gone, family, keys))

    def _tell_targets(self, member: Member, keys: Iterable[bytes]) -> Iterator[OutBatch]:
        """Tell a peer of memberships: of each the best that is not its own.

        So two clients that want the same target hear of each other, whichever is best, and send
        each other their routes (RFC 4684 section 3.2 has the reflector do as much).
        """
        family = AddressFamily.ROUTE_TARGET
        table = self._tables[family]
        names = (member.name,)
        by_attributes: dict[Attributes | None, list[bytes]] = {}
        for key in keys:
            wanted = None
            for bundle in table.paths(key):
                if bundle.peer.name == member.name or bundle.problem:
                    continue
                exported = member.group.audience(family, bundle)[1]
                if isinstance(exported, Attributes):
                    wanted = exported
                    break
            held = member.targets_sent.get(key)
            if wanted == held:
                continue
            if wanted is None:
                del member.targets_sent[key]
            else:
                member.targets_sent[key] = wanted
            by_attributes.setdefault(wanted, []).append(key)
        for attributes, told in by_attributes.items():
            kind = OutKind.WITHDRAW if attributes is None else OutKind.ANNOUNCE
            yield OutBatch(names, family, kind, attributes, told, len(told))

    # whole tables -------------------------------------------------------------------------

    def _dump(
        self, member: Member, family: AddressFamily, sets: list[TargetSet] | None = None
    ) -> Iterator[OutBatch]:
        """Yield a table as one member is to see it, all of it or what carries some target sets."""
        table = self._tables[family]
        if family is AddressFamily.ROUTE_TARGET:
            keys = list(table.routes)
            for start in range(0, len(keys), MAX_BATCH_ROUTES):
                yield from self._tell_targets(member, keys[start : start + MAX_BATCH_ROUTES])
            return
        bundles = table.bundles()
        if sets is not None:
            wanted = set(sets)
            bundles = [each for each in bundles if each.target_set in wanted]
        names = (member.name,)
        for bundle in bundles:
            audience, exported = member.group.audience(family, bundle)
            if member.name not in audience or not isinstance(exported, Attributes):
                continue
            keys = list(bundle.routes)
            for start in range(0, len(keys), MAX_BATCH_ROUTES):
                told = [
                    key
                    for key in keys[start : start + MAX_BATCH_ROUTES]
                    if table.best(key) is bundle
                ]
                if told:
                    routes = join_all(family, told, bundle.routes)
                    yield OutBatch(names, family, OutKind.ANNOUNCE, exported, routes, len(told))

    # draining -----------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `take` has something to give (to members that can be written to)."""
        return bool(self._live or self._working or self._opening)

    def take(self, limit: int, can_write: Callable[[str], bool]) -> list[OutBatch]:
        """Return what to send now, in order: about `limit` routes, changes before whole tables.

        Members for which `can_write` is false are left out of whole tables for now; changes are
        theirs as well, since they exist only once.
        """
        batches: list[OutBatch] = []
        count = 0
        room = limit  # of keys that changed: those that nobody is told of take time as well
        while True:
            while self._live and count < limit:
                batch = self._live.popleft()
                batches.append(batch)
                count += batch.route_count * len(batch.members) or 1
            if self._live:
                return batches
            done = self.collect(room)
            room -= done
            if not self._live and (not done or room <= 0):
                break
        if self.is_pending:
            return batches
        for name in list(self._working):
            if count >= limit:
                break
            if not can_write(name):
                continue
            member = self.members[name]
            del self._working[name]  # the others have their turn before it comes again
            while member.work and count < limit:
                step = next(member.work[0], None)
                if step is None:
                    member.work.popleft()
                    continue
                batches.append(step)
                count += step.route_count or 1
            if member.work:
                self._working[name] = None
        return batches


def _without(names: tuple[str, ...], gone: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != gone)


def _withdrawals(
    names: tuple[str, ...], family: AddressFamily, keys: list[bytes]
) -> Iterator[OutBatch]:
    for start in range(0, len(keys), MAX_BATCH_ROUTES):
        routes = withdrawn_all(family, keys[start : start + MAX_BATCH_ROUTES])
        yield OutBatch(names, family, OutKind.WITHDRAW, None, routes, len(routes))
