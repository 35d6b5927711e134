"""What is kept of a BGP peer that went away, by family and for how long: the helper's part of
graceful restart (RFC 4724 section 4.2, RFC 8538) and of its long-lived form (RFC 9494). Pure.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from filament.compiler.peers import RestartPlan
from filament.wire.bgp.errors import HARD_RESET, Code
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.session import Agreement, SessionClosed


class Stage(enum.Enum):
    """How far a family's stale routes are on their way out."""

    RESTART = "graceful restart"  # the peer is away, and expected
    LONG_LIVED = "long-lived stale"  # it has been away for longer than it said
    REFRESHING = "waiting for End-of-RIB"  # it is back


class Kept(NamedTuple):
    """The stale routes of one family."""

    stage: Stage
    until: float


class Deed(enum.Enum):
    """What is to be done with the stale routes of a family whose time is up."""

    SWEEP = "sweep"
    MAKE_LONG_LIVED = "make long-lived"


class Retention:
    """One per configured peer."""

    def __init__(self) -> None:
        self.kept: dict[AddressFamily, Kept] = {}
        self._long_lived: dict[AddressFamily, int] = {}

    def lost(
        self, agreement: Agreement, closed: SessionClosed, plan: RestartPlan, now: float
    ) -> frozenset[AddressFamily]:
        """An established session ended; return the families whose routes are to be kept."""
        self.kept = {}
        restart = agreement.restart
        if restart is None or not plan.is_helper or not _may_keep(agreement, closed):
            return frozenset()
        self._long_lived = {
            each.family: min(each.stale_time_s, plan.long_lived_time_s)
            for each in agreement.long_lived
            if plan.long_lived_time_s and each.stale_time_s
        }
        families = [family for family, _ in restart.preserved if family in agreement.families]
        for family in families:
            if restart.restart_time_s:
                self.kept[family] = Kept(Stage.RESTART, now + restart.restart_time_s)
            elif family in self._long_lived:
                self.kept[family] = Kept(Stage.RESTART, now)  # becomes long-lived at once
        return frozenset(self.kept)

    def back(self, agreement: Agreement, plan: RestartPlan, now: float) -> list[AddressFamily]:
        """The peer is back; return the families whose stale routes it did not preserve.

        Of those that are long-lived by now, the long-lived capability says so (RFC 9494 section
        4.2).
        """
        restart = agreement.restart
        preserved = (
            {family for family, is_kept in restart.preserved if is_kept} if restart else set()
        )
        long_lived = {each.family for each in agreement.long_lived if each.is_preserved and restart}
        dropped = []
        for family, kept in list(self.kept.items()):
            by = long_lived if kept.stage is Stage.LONG_LIVED else preserved
            if family in agreement.families and family in by:
                self.kept[family] = Kept(Stage.REFRESHING, now + plan.end_of_rib_timeout_s)
            else:
                dropped.append(family)
                del self.kept[family]
        return dropped

    def end_of_rib(self, family: AddressFamily) -> None:
        """The peer has announced a family again: what is still stale goes."""
        self.kept.pop(family, None)

    def forget(self) -> list[AddressFamily]:
        """Keep nothing any more; return what was kept."""
        families = list(self.kept)
        self.kept = {}
        return families

    def timer_at(self) -> float | None:
        """Return when `expire` has something to say."""
        return min((each.until for each in self.kept.values()), default=None)

    def expire(self, now: float) -> list[tuple[AddressFamily, Deed]]:
        """Return what is to be done with families whose time is up."""
        deeds = []
        for family, kept in list(self.kept.items()):
            if now < kept.until:
                continue
            long_lived_s = self._long_lived.get(family, 0)
            if kept.stage is Stage.RESTART and long_lived_s:
                self.kept[family] = Kept(Stage.LONG_LIVED, now + long_lived_s)
                deeds.append((family, Deed.MAKE_LONG_LIVED))
            else:
                del self.kept[family]
                deeds.append((family, Deed.SWEEP))
        return deeds


def _may_keep(agreement: Agreement, closed: SessionClosed) -> bool:
    """Say whether the end of a session is one that graceful restart is for."""
    said = closed.received or closed.sent
    if said is None:
        return True  # the transport ended
    if said.code == Code.CEASE and said.subcode == HARD_RESET:
        return False
    # RFC 8538 section 2: with the N bit, notifications and an expired hold time count as well.
    return agreement.restart is not None and agreement.restart.is_for_notifications
