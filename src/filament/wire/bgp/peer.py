"""One peer as a sans-IO machine: when to connect, whom to let in, which of two connections lives.

    DOWN --start--> CONNECT or ACTIVE --a connection--> CONNECTED --all lost--> ACTIVE or HELD

RFC 4271 calls DOWN and HELD Idle, and CONNECTED after the state of its connection. A peer that
fails again and again is HELD, for longer each time: then we neither connect nor accept, so that a
flapping peer costs little (RFC 4271 section 8.1, DampPeerOscillations).

A peer that turns our connections away does not flap: it may be holding us, or not yet be ready
after its restart. We try again ever less often, and let it in meanwhile. Were it HELD, two sides
that hold one another by turns would never meet.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from filament.base.net import format_ipv4
from filament.wire.bgp.errors import COLLISION, REJECTED
from filament.wire.bgp.session import (
    TRACE_LENGTH,
    BgpSession,
    Offer,
    OpenReceived,
    SessionClosed,
    SessionEstablished,
    SessionEvent,
    TraceEntry,
    keeps_ours,
)
from filament.wire.bgp.transitions import State

CONNECT_RETRY_S = 10.0
CONNECT_TIMEOUT_S = 15.0
MAX_HELD_S = 100.0
STABLE_S = 30.0  # established so long, a peer's earlier failures are forgotten
_FIRST_RETRY_S = 0.5
_JITTER = 0.1
_MAX_DOUBLINGS = 10  # of a wait; a float has room for a thousand


class Phase(enum.Enum):
    """Where a peer is between its connections."""

    DOWN = "down"
    HELD = "held"
    CONNECT = "connect"
    ACTIVE = "active"
    CONNECTED = "connected"


class Input(enum.Enum):
    """What may happen to a peer."""

    START = "start"
    STOP = "stop"
    TIMER = "timer"
    CONNECTED = "connected"
    CONNECT_FAILED = "connect failed"
    ACCEPTED = "accepted"
    LOST = "all connections lost"
    TURNED_AWAY = "turned away"


class Action(enum.Enum):
    """What is done about it."""

    SEEK = "connect, or wait for a passive peer"
    WAIT = "wait before connecting again"
    ADD = "begin a session"
    PAUSE = "hold the peer for as long as it failed often"
    FORGET = "end all sessions"
    REFUSE = "close the connection at once"
    ACCEPT = "nothing more"


_DOWN = (Action.FORGET, Phase.DOWN)
_ADD = (Action.ADD, Phase.CONNECTED)

# SEEK and PAUSE choose the phase themselves: the one here is what they choose first.
TRANSITIONS: dict[tuple[Phase, Input], tuple[Action, Phase]] = {
    (phase, Input.STOP): _DOWN for phase in Phase
} | {
    (Phase.DOWN, Input.START): (Action.SEEK, Phase.CONNECT),
    (Phase.DOWN, Input.CONNECTED): (Action.REFUSE, Phase.DOWN),
    (Phase.DOWN, Input.CONNECT_FAILED): (Action.ACCEPT, Phase.DOWN),
    (Phase.DOWN, Input.ACCEPTED): (Action.REFUSE, Phase.DOWN),
    (Phase.HELD, Input.TIMER): (Action.SEEK, Phase.CONNECT),
    (Phase.HELD, Input.CONNECTED): (Action.REFUSE, Phase.HELD),
    (Phase.HELD, Input.CONNECT_FAILED): (Action.ACCEPT, Phase.HELD),
    (Phase.HELD, Input.ACCEPTED): (Action.REFUSE, Phase.HELD),
    (Phase.CONNECT, Input.TIMER): (Action.WAIT, Phase.ACTIVE),
    (Phase.CONNECT, Input.CONNECTED): _ADD,
    (Phase.CONNECT, Input.CONNECT_FAILED): (Action.WAIT, Phase.ACTIVE),
    (Phase.CONNECT, Input.ACCEPTED): _ADD,
    (Phase.ACTIVE, Input.TIMER): (Action.SEEK, Phase.CONNECT),
    (Phase.ACTIVE, Input.CONNECTED): _ADD,
    (Phase.ACTIVE, Input.CONNECT_FAILED): (Action.ACCEPT, Phase.ACTIVE),
    (Phase.ACTIVE, Input.ACCEPTED): _ADD,
    (Phase.CONNECTED, Input.CONNECTED): _ADD,
    (Phase.CONNECTED, Input.CONNECT_FAILED): (Action.ACCEPT, Phase.CONNECTED),
    (Phase.CONNECTED, Input.ACCEPTED): _ADD,
    (Phase.CONNECTED, Input.LOST): (Action.PAUSE, Phase.ACTIVE),
    (Phase.CONNECTED, Input.TURNED_AWAY): (Action.WAIT, Phase.ACTIVE),
}

_RFC_NAMES = {
    Phase.DOWN: "Idle",
    Phase.HELD: "Idle",
    Phase.CONNECT: "Connect",
    Phase.ACTIVE: "Active",
    Phase.CONNECTED: "OpenSent",  # or its session's, see `BgpPeer.state`
}
_ADVANCE = {State.CLOSED: 0, State.OPEN_SENT: 1, State.OPEN_CONFIRM: 2, State.ESTABLISHED: 3}


class Connection(NamedTuple):
    """A session of a peer; `is_ours` when we opened it."""

    session: BgpSession
    is_ours: bool


class PeerRule(msgspec.Struct, frozen=True):
    """How a peer is reached. A passive one is only waited for."""

    is_passive: bool = False
    connect_retry_s: float = CONNECT_RETRY_S


class BgpPeer:
    """One configured peer; outlives its connections. `chance` gives numbers of [0, 1) for jitter.

    `offer` and `rule` may be replaced at any time; they count from the next connection on.
    """

    def __init__(self, offer: Offer, rule: PeerRule, chance: Callable[[], float]) -> None:
        self.offer = offer
        self.rule = rule
        self.phase = Phase.DOWN
        self.connections: list[Connection] = []
        self.history: deque[TraceEntry] = deque(maxlen=TRACE_LENGTH)
        self.established_count = 0
        self.lost_count = 0
        self.reason = "not started"
        self._chance = chance
        self._failures = 0  # sessions in a row that were not established for long
        self._attempts = 0  # connections in a row that did not come about
        self._timer_at: float | None = None
        self._is_wanted = False

    @property
    def state(self) -> str:
        """The state by RFC 4271's name, of the connection that is furthest."""
        if not self.connections:
            return _RFC_NAMES[self.phase]
        states = [each.session.state for each in self.connections]
        return max(states, key=_ADVANCE.__getitem__).value

    @property
    def established(self) -> BgpSession | None:
        """The established session, if there is one."""
        for connection in self.connections:
            if connection.session.is_established:
                return connection.session
        return None

    # intent -----------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to seek the peer."""
        if self.phase is Phase.DOWN:
            self._step(Input.START, now)

    def stop(self, subcode: int, reason: str, now: float) -> None:
        """End every connection with a Cease, and seek the peer no more."""
        for connection in list(self.connections):
            connection.session.cease(subcode, reason, now)
        self._step(Input.STOP, now, reason)

    def take_wish(self) -> bool:
        """Say whether to open a connection now; asked once per wish."""
        wanted, self._is_wanted = self._is_wanted, False
        return wanted

    # what happens -----------------------------------------------------------------------------

    def connected(self, now: float) -> BgpSession | None:
        """A connection that we opened is there; None: close it."""
        if any(each.is_ours or each.session.is_established for each in self.connections):
            return None
        return self._begin(Input.CONNECTED, now, is_ours=True)

    def connect_failed(self, reason: str, now: float) -> None:
        """The connection that was wished for did not come about."""
        self._attempts += 1
        self._step(Input.CONNECT_FAILED, now, reason)

    def accepted(self, now: float) -> BgpSession | None:
        """The peer opened a connection; None: close it."""
        for each in self.connections:
            if not each.is_ours and not each.session.is_established:
                # It would not open a second one if it still believed in the first.
                each.session.abandon("the peer opened another connection", now)
        return self._begin(Input.ACCEPTED, now, is_ours=False)

    def _begin(self, happened: Input, now: float, *, is_ours: bool) -> BgpSession | None:
        action = self._step(happened, now)
        if action is not Action.ADD:
            return None
        session = BgpSession(self.offer, now, self.history)
        self.connections.append(Connection(session, is_ours))
        return session

    def take_event(self, session: BgpSession, event: SessionEvent, now: float) -> None:
        """Follow what a session of ours tells, before its owner does."""
        if isinstance(event, OpenReceived):
            self._resolve_collision(session, now)
        elif isinstance(event, SessionEstablished):
            self.established_count += 1
            self._attempts = 0
            self.reason = ""
        elif isinstance(event, SessionClosed):
            self._lose(session, event, now)

    def _resolve_collision(self, session: BgpSession, now: float) -> None:
        agreement = session.agreement
        assert agreement is not None, "its OPEN was taken"
        is_ours = any(each.is_ours for each in self.connections if each.session is session)
        for other in [each for each in self.connections if each.session is not session]:
            if other.session.state is State.ESTABLISHED:
                known = other.session.agreement
                if not is_ours and known is not None and known.restart and known.restart.preserved:
                    # It restarted, and we have not noticed: RFC 4724 section 5.
                    other.session.abandon("the peer restarted and connected again", now)
                else:
                    session.cease(COLLISION, "another connection is established", now)
                    return
            elif other.session.state is State.OPEN_CONFIRM:
                ours = (session.offer.identifier, session.offer.local_as)
                theirs = (agreement.peer_identifier, agreement.peer_as)
                loser = session if keeps_ours(ours, theirs) is not is_ours else other.session
                winner = format_ipv4(max(ours, theirs)[0])
                loser.cease(COLLISION, f"the connection that {winner} opened is kept", now)
                if loser is session:
                    return

    def _lose(self, session: BgpSession, event: SessionClosed, now: float) -> None:
        lost = next((each for each in self.connections if each.session is session), None)
        if lost is None:
            return  # one of those that `_drop_successors` ended
        self.connections.remove(lost)
        if event.was_established:
            self.lost_count += 1
        self.reason = event.reason
        if self.phase is not Phase.CONNECTED:
            return
        was_stable = now - (session.established_at or now) >= STABLE_S
        if event.was_established:
            self._failures = 0 if was_stable else self._failures + 1
        if self.connections:
            if event.was_established and self._failures > 1:
                self._drop_successors(event.reason, now)
            return
        if lost.is_ours and session.agreement is None and not event.sent:
            self._attempts += 1
            self._step(Input.TURNED_AWAY, now, f"it let us in and said no OPEN: {event.reason}")
            return
        if not event.was_established:
            self._failures += 1
        self._step(Input.LOST, now, event.reason)

    def _drop_successors(self, reason: str, now: float) -> None:
        """End what a flapping peer opened before the end of its last session was noticed.

        Else it would never be held as long as it is quick. The owner flushes these connections.
        """
        successors, self.connections = self.connections, []
        for each in successors:
            each.session.cease(REJECTED, "the peer fails too often", now)
        self._step(Input.LOST, now, reason)

    # time -------------------------------------------------------------------------------------

    def timer_at(self) -> float | None:
        """Return when `handle_timer` has something to do."""
        return self._timer_at

    def handle_timer(self, now: float) -> None:
        """Connect, or stop waiting for a connection."""
        if self._timer_at is not None and now >= self._timer_at:
            self._timer_at = None
            self._step(Input.TIMER, now)

    # steps ------------------------------------------------------------------------------------

    def _step(self, happened: Input, now: float, detail: str = "") -> Action:
        before = self.phase
        action, phase = TRANSITIONS.get((before, happened), (Action.ACCEPT, before))
        self.phase = phase
        match action:
            case Action.SEEK:
                self._seek(now)
            case Action.WAIT:
                self._wait(now)
            case Action.PAUSE:
                self._pause(now)
            case Action.ADD | Action.FORGET:
                self._timer_at = None
                self._is_wanted = False
                if action is Action.FORGET:
                    self._failures = self._attempts = 0
            case Action.REFUSE | Action.ACCEPT:
                pass
        if detail:
            self.reason = detail
        if self.phase is not before or detail:
            self.history.append(TraceEntry(now, happened.value, self.state, detail))
        return action

    def _seek(self, now: float) -> None:
        if self.rule.is_passive:
            self.phase = Phase.ACTIVE
            self._timer_at = None
            return
        self._is_wanted = True
        self._timer_at = now + CONNECT_TIMEOUT_S

    def _wait(self, now: float) -> None:
        self._is_wanted = False
        doubled = min(self._attempts, _MAX_DOUBLINGS)
        wait_s = min(self.rule.connect_retry_s, _FIRST_RETRY_S * 2.0**doubled)
        self._timer_at = None if self.rule.is_passive else now + self._jittered(wait_s)

    def _pause(self, now: float) -> None:
        """After the first failure seek the peer again, after more of them in a row hold it."""
        if self._failures <= 1:
            self.phase = Phase.ACTIVE
            self._timer_at = None
            if not self.rule.is_passive:
                self._timer_at = now + self._jittered(_FIRST_RETRY_S)
            return
        self.phase = Phase.HELD
        held_s = min(MAX_HELD_S, 2.0 ** min(self._failures - 2, _MAX_DOUBLINGS))
        self._timer_at = now + self._jittered(held_s)

    def _jittered(self, wait_s: float) -> float:
        return wait_s * (1.0 + _JITTER * (2.0 * self._chance() - 1.0))
