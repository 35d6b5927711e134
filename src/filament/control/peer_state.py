"""BGP peers as people and introspect see them: a picture of each, made when somebody asks."""

from __future__ import annotations

import msgspec

from filament.base.net import format_ipv4
from filament.base.origin import Origin
from filament.control.neighbour import Neighbour
from filament.control.peering import Peering
from filament.rib.rib import Rib
from filament.runtime.clock import now, wall
from filament.wire.bgp.capability import CAPABILITY_NAMES
from filament.wire.bgp.session import BgpSession, Counts


class FamilyState(msgspec.Struct, frozen=True):
    """One family of a peer. `stale` routes are kept of a session that is over, `until_s` from now.

    `ended` says whether the peer has told everything it had when the session began.
    """

    family: str
    agreed: bool
    routes: int
    maximum: int
    ended: bool = False
    stale: int = 0
    stage: str = ""
    until_s: float | None = None


class HistoryEntry(msgspec.Struct, frozen=True):
    """One thing that happened to a peer; `at` is epoch seconds."""

    at: float
    input: str
    state: str
    detail: str


class PeerState(msgspec.Struct, frozen=True):
    """Everything about one BGP peer. Times are epoch seconds; `since` is the last change between
    established and not, 0 for never. `sent` and `received` are of the session that is up.
    """

    name: str
    address: str
    port: int
    state: str
    reason: str
    peer_as: int
    local_as: int
    is_internal: bool
    is_client: bool
    router_type: str
    vendor: str
    is_passive: bool
    is_admin_down: bool
    has_password: bool
    since: float
    established_count: int
    lost_count: int
    peer_identifier: str
    hold_time_s: int
    is_four_octet_as: bool
    capabilities: tuple[str, ...]
    families: tuple[FamilyState, ...]
    sent: Counts
    received: Counts
    faults: int
    last_fault: str
    origin: Origin

    @property
    def is_established(self) -> bool:
        """Whether routes flow."""
        return self.state == "Established"


def peer_states(peering: Peering, rib: Rib) -> list[PeerState]:
    """Return a picture of every configured peer, by name."""
    return [peer_state(neighbour, rib) for _, neighbour in sorted(peering.neighbours.items())]


def peer_history(neighbour: Neighbour) -> list[HistoryEntry]:
    """Return what happened to a peer, the oldest first, as far back as the ring goes."""
    shift = wall() - now()
    return [
        HistoryEntry(round(entry.at + shift, 3), entry.input, entry.state, entry.detail)
        for entry in neighbour.machine.history
    ]


def peer_state(neighbour: Neighbour, rib: Rib) -> PeerState:
    """Return a picture of one peer."""
    plan, machine, agreement = neighbour.plan, neighbour.machine, neighbour.agreement
    session: BgpSession | None = neighbour.session
    codes = agreement.capabilities.codes if agreement is not None else ()
    return PeerState(
        name=plan.name,
        address=str(plan.address),
        port=plan.port,
        state=machine.state,
        reason="" if session is not None else machine.reason,
        peer_as=plan.peer_as,
        local_as=plan.local_as,
        is_internal=plan.is_internal,
        is_client=plan.is_client,
        router_type=plan.router_type,
        vendor=plan.vendor,
        is_passive=plan.is_passive,
        is_admin_down=plan.is_admin_down,
        has_password=bool(plan.password),
        since=round(neighbour.changed_at, 3),
        established_count=machine.established_count,
        lost_count=machine.lost_count,
        peer_identifier=format_ipv4(agreement.peer_identifier) if agreement is not None else "",
        hold_time_s=agreement.hold_time_s if agreement is not None else plan.hold_time_s,
        is_four_octet_as=agreement is not None and agreement.is_as4,
        capabilities=tuple(CAPABILITY_NAMES.get(code, f"capability {code}") for code in codes),
        families=_families(neighbour, rib),
        sent=session.sent if session is not None else Counts(),
        received=session.received if session is not None else Counts(),
        faults=session.fault_count if session is not None else 0,
        last_fault=session.last_fault if session is not None else "",
        origin=plan.origin,
    )


def _families(neighbour: Neighbour, rib: Rib) -> tuple[FamilyState, ...]:
    agreed = neighbour.agreement.families if neighbour.session and neighbour.agreement else ()
    states = []
    for family in neighbour.plan.families:
        kept = neighbour.retention.kept.get(family)
        states.append(
            FamilyState(
                family=str(family),
                agreed=family in agreed,
                routes=rib.bgp.tables[family].count_of(neighbour.name),
                maximum=neighbour.limit(family).maximum,
                ended=family in neighbour.ended,
                stale=rib.bgp.stale_count(neighbour.name, family),
                stage=kept.stage.value if kept is not None else "",
                until_s=round(kept.until - now(), 1) if kept is not None else None,
            )
        )
    return tuple(states)
