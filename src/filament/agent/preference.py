"""Who holds an address that several ports share: TF's path preference, as this host sees it. Pure.

A port whose workload claims the address (the kernel notes when, see `forward.layout`) takes it: its
route goes out with the high preference and a sequence above all that was heard of. Whoever hears
of a newer claim than its own lets go, and stands by: its route stays, with the low preference. So
the newest claim wins wherever it is made, and of two made at once that of the lowest host.

A port that has taken the address too often in too short a time waits before it may take it again,
longer each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from filament.base.net import Prefix
from filament.forward.inputs import HIGH_PREFERENCE, LOW_PREFERENCE, Standby

SECOND_NS = 1_000_000_000
FLAP_WINDOW_NS = 4 * SECOND_NS  # TF's kMinInterval
MAX_FLAPS = 5  # in that time, besides the first
FIRST_WAIT_NS = 4 * SECOND_NS
LONGEST_WAIT_NS = 32 * SECOND_NS
_FIRST_SEQUENCE = 1  # 0 is of addresses that all ports have at once
_MAX_SEQUENCE = (1 << 32) - 1


class Place(NamedTuple):
    """What is held: a prefix in an instance."""

    instance: str
    prefix: Prefix


class Contender(NamedTuple):
    """A port (uuid) of this host that a place may be held by."""

    port: str
    place: Place


class Heard(NamedTuple):
    """The best route to a place that control nodes tell of; `address` is the host's."""

    preference: int
    sequence: int
    address: int

    @property
    def rank(self) -> tuple[int, int, int]:
        """What the best of several has the highest of."""
        return self.preference, self.sequence, -self.address


class SavedContender(msgspec.Struct, frozen=True):
    """How a port stood, as it is kept on disk."""

    port: str
    instance: str
    prefix: Prefix
    is_holder: bool
    sequence: int
    highest: int
    considered_ns: int


class _Standing:
    """How one port stands with one place.

    Claims up to `considered_ns` (the kernel's monotonic clock) have been looked at. `highest` is
    the highest sequence known to be in use. `waits_until_ns`, if not 0, is when it may take the
    place again, and `wanted_over` the highest sequence when it last claimed meanwhile.
    """

    def __init__(self) -> None:
        self.is_holder = False
        self.sequence = _FIRST_SEQUENCE
        self.highest = 0
        self.considered_ns = 0
        self.stable_ns = -FLAP_WINDOW_NS
        self.flaps = 0
        self.wait_ns = FIRST_WAIT_NS
        self.waited_ns = 0
        self.waits_until_ns = 0
        self.wanted_over: int | None = None

    def take(self, sequence: int, now_ns: int) -> None:
        """Become the holder."""
        if now_ns - self.stable_ns <= FLAP_WINDOW_NS:
            self.flaps += 1
        else:
            if now_ns - self.waited_ns > FLAP_WINDOW_NS:
                self.wait_ns = FIRST_WAIT_NS
            self.stable_ns, self.flaps = now_ns, 0
        self.is_holder, self.sequence, self.wanted_over = True, sequence, None

    def let_go(self, considered_ns: int, now_ns: int) -> None:
        """Stand by again: what was claimed up to then does not count any more."""
        self.is_holder = False
        self.considered_ns = max(self.considered_ns, considered_ns)
        if self.flaps >= MAX_FLAPS and now_ns - self.stable_ns <= FLAP_WINDOW_NS:
            self.waits_until_ns = now_ns + self.wait_ns
            self.wait_ns = min(2 * self.wait_ns, LONGEST_WAIT_NS)
            self.flaps = 0


class View(NamedTuple):
    """How a port stands, for people: `flaps` is how often it took the place of late, and
    `waits_until_ns`, if not 0, when it may take it again.
    """

    contender: Contender
    standby: Standby
    flaps: int
    waits_until_ns: int


class Preferences:
    """How the ports of one host stand; lives as long as its process, and in a file.

    `changes` grows whenever what is kept on disk changes. Bounded by the ports' address pairs.
    """

    def __init__(self, own_address: int) -> None:
        self.changes = 0
        self._own_address = own_address
        self._former: dict[Contender, _Standing] = {}  # of an earlier process, not asked for yet
        self._by_place: dict[Place, dict[str, _Standing]] = {}

    def restore(
        self, saved: Iterable[SavedContender], claims: Mapping[Contender, int], now_ns: int
    ) -> None:
        """Take up what an earlier process kept, as far as the kernel still knows of the claim
        (`claims`, ns): a host that was started again has new workloads.
        """
        for one in saved:
            standing = _Standing()
            standing.sequence, standing.highest = one.sequence, one.highest
            if one.considered_ns <= now_ns:
                standing.considered_ns = one.considered_ns
            contender = Contender(one.port, Place(one.instance, one.prefix))
            claimed_ns = claims.get(contender, 0)
            standing.is_holder = one.is_holder and 0 < one.considered_ns <= claimed_ns
            self._former[contender] = standing

    def standby(self, contender: Contender) -> Standby:
        """Return how a port stands with a place; one that is not known stands by from now on."""
        standing = self._standing(contender)
        preference = HIGH_PREFERENCE if standing.is_holder else LOW_PREFERENCE
        return Standby(contender.place.prefix, preference, standing.sequence)

    def retain(self, contenders: Iterable[Contender], *, are_all: bool) -> None:
        """Forget all others; unless these `are_all`, an earlier process's are kept."""
        former = {place: {*ports} for place, ports in self._by_place.items()}
        kept: dict[Place, dict[str, _Standing]] = {}
        for one in contenders:
            kept.setdefault(one.place, {})[one.port] = self._standing(one)
        self._by_place = kept
        self.changes += {place: {*ports} for place, ports in kept.items()} != former
        if are_all:
            self._former.clear()

    @property
    def places(self) -> Iterable[Place]:
        """What ports of this host may hold."""
        return self._by_place.keys()

    def settle(
        self, claims: Mapping[Contender, int], heard: Mapping[Place, Heard], now_ns: int
    ) -> bool:
        """Look at when ports last claimed (ns of the kernel's monotonic clock) and what control
        nodes tell; say whether anybody stands otherwise than before.
        """
        before = self.changes
        for place, standings in self._by_place.items():
            if place in heard:
                self._hear(standings, heard[place], now_ns)
            for standing in standings.values():
                if standing.waits_until_ns and now_ns >= standing.waits_until_ns:
                    standing.waits_until_ns, standing.waited_ns = 0, now_ns
                    if standing.wanted_over == _highest(standings):
                        self._take(standings, standing, standing.considered_ns, now_ns)
            claimed = {
                port: at_ns
                for port in standings
                if (at_ns := claims.get(Contender(port, place), 0))
            }
            for port, at_ns in sorted(claimed.items(), key=lambda one: one[1]):
                self._claim(standings, standings[port], at_ns, now_ns)
        return self.changes != before

    def save(self) -> list[SavedContender]:
        """Return how everybody stands, for the disk."""
        known = {
            Contender(port, place): one
            for place, standings in self._by_place.items()
            for port, one in standings.items()
        }
        return [
            SavedContender(
                contender.port,
                *contender.place,
                is_holder=one.is_holder,
                sequence=one.sequence,
                highest=one.highest,
                considered_ns=one.considered_ns,
            )
            for contender, one in {**self._former, **known}.items()
        ]

    def views(self) -> list[View]:
        """Return how everybody stands, for people."""
        return [
            View(contender, self.standby(contender), one.flaps, one.waits_until_ns)
            for place, standings in sorted(self._by_place.items())
            for port, one in sorted(standings.items())
            for contender in (Contender(port, place),)
        ]

    def _standing(self, contender: Contender) -> _Standing:
        standings = self._by_place.setdefault(contender.place, {})
        if contender.port not in standings:
            standings[contender.port] = self._former.pop(contender, _Standing())
        return standings[contender.port]

    def _hear(self, standings: dict[str, _Standing], heard: Heard, now_ns: int) -> None:
        for standing in standings.values():
            standing.highest = max(standing.highest, heard.sequence)
            if (
                standing.is_holder
                and heard.preference >= HIGH_PREFERENCE
                and (-heard.sequence, heard.address) < (-standing.sequence, self._own_address)
            ):
                standing.let_go(now_ns, now_ns)
                self.changes += 1

    def _claim(
        self, standings: dict[str, _Standing], standing: _Standing, at_ns: int, now_ns: int
    ) -> None:
        if at_ns <= standing.considered_ns:
            return
        standing.considered_ns = at_ns
        if standing.is_holder:
            return
        if standing.waits_until_ns:
            standing.wanted_over = _highest(standings)
        else:
            self._take(standings, standing, at_ns, now_ns)

    def _take(
        self, standings: dict[str, _Standing], standing: _Standing, at_ns: int, now_ns: int
    ) -> None:
        for other in standings.values():
            if other is not standing and other.is_holder:
                other.let_go(at_ns, now_ns)
        standing.take(min(_highest(standings) + 1, _MAX_SEQUENCE), now_ns)
        self.changes += 1


def _highest(standings: Mapping[str, _Standing]) -> int:
    return max(max(one.sequence, one.highest) for one in standings.values())
