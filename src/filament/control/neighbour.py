"""One configured BGP peer of a control node: its machine, its connections, what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from filament.base.limits import MAX_BGP_PEER_ROUTES
from filament.compiler.peers import PeerPlan, PrefixLimit
from filament.control.retention import Retention
from filament.rib.peer import Peer, PeerKind, PrivateAs, Rules
from filament.runtime.drive import Driver
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.peer import BgpPeer, PeerRule
from filament.wire.bgp.session import Agreement, BgpSession, Offer, SessionEvent

WARNING_SHARE = 0.8  # of a prefix limit


class Neighbour:
    """Lives as long as its bgp-router is configured the way it is.

    `session` is the one that the RIB knows of; `agreement` and `established_at` are its, or those
    of the last one.
    """

    def __init__(self, plan: PeerPlan, offer: Offer, chance: Callable[[], float]) -> None:
        self.plan = plan
        self.machine = BgpPeer(offer, PeerRule(is_passive=plan.is_passive), chance)
        self.retention = Retention()
        self.drivers: dict[BgpSession, Driver[SessionEvent]] = {}
        self.session: BgpSession | None = None
        self.agreement: Agreement | None = None
        self.changed_at = 0.0  # epoch seconds, of the last session that came or went
        self.connecting: asyncio.Task[None] | None = None
        self.is_draining = False
        self.kept_away_until: float | None = None  # after too many prefixes
        self.warned: set[AddressFamily] = set()
        self.ended: set[AddressFamily] = set()  # families whose End-of-RIB came
        self._room: dict[AddressFamily, int] = {}

    @property
    def name(self) -> str:
        """The bgp-router's."""
        return self.plan.name

    def rib_peer(self, agreement: Agreement, asn: int) -> Peer:
        """Return the peer as the RIB knows it; `asn` is our AS."""
        if agreement.is_external:
            kind = PeerKind.EXTERNAL
        else:
            kind = PeerKind.CLIENT if self.plan.is_client else PeerKind.INTERNAL
        return Peer(
            name=self.name,
            kind=kind,
            asn=agreement.peer_as,
            identifier=agreement.peer_identifier,
            local_as=self.plan.local_as if self.plan.local_as != asn else 0,
            rules=Rules(
                has_as_override=self.plan.has_as_override,
                private_as=PrivateAs(self.plan.private_as_action),
                loops=self.plan.loops,
                origin=self.plan.origin_override,
                encapsulations=self.plan.encapsulations,
            ),
        )

    def flush(self, *, but: BgpSession | None = None) -> None:
        """Write what waits, and let events be heard: of all sessions but one."""
        for session, driver in list(self.drivers.items()):
            if session is not but:
                driver.flush()

    @property
    def driver(self) -> Driver[SessionEvent] | None:
        """The driver of the established session."""
        return self.drivers.get(self.session) if self.session is not None else None

    def timer_at(self) -> float | None:
        """Return when something is to be done without a cause from outside."""
        times = (self.machine.timer_at(), self.retention.timer_at(), self.kept_away_until)
        return min((each for each in times if each is not None), default=None)

    # prefix limits ----------------------------------------------------------------------------

    def limit(self, family: AddressFamily) -> PrefixLimit:
        """Return how many routes of a family the peer may announce."""
        for each in self.plan.prefix_limits:
            if each.family is family:
                return each
        return PrefixLimit(family, MAX_BGP_PEER_ROUTES)

    def take_room(self, family: AddressFamily, count: int) -> bool:
        """Note announcements; say whether it is time to count what the peer has really announced.

        Counting is not free, and announcing the same again is no more routes: so it is done only
        when there may be too many.
        """
        room = self._room.get(family, 0) - count
        self._room[family] = room
        return room < 0

    def note_count(self, family: AddressFamily, count: int) -> None:
        """Note how many routes there really are."""
        maximum = self.limit(family).maximum
        warning = int(maximum * WARNING_SHARE)
        self._room[family] = max((warning if count < warning else maximum) - count, 0)

    def is_near_limit(self, family: AddressFamily, count: int) -> bool:
        """Say whether to warn, once until there are fewer again."""
        if count < self.limit(family).maximum * WARNING_SHARE:
            self.warned.discard(family)
            return False
        if family in self.warned:
            return False
        self.warned.add(family)
        return True
