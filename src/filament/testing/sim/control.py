"""The simulated control node: the production core and sessions, with a disk that survives it."""

from __future__ import annotations

from typing import Protocol

from filament.base.errors import ProtocolError
from filament.control.core import ControlCore
from filament.model.change import Allocation, Object
from filament.testing.sim.api import SimApi
from filament.testing.sim.network import Connection
from filament.testing.sim.schedule import Schedule
from filament.wire.xmpp.session import (
    ServerSession,
    SessionClosed,
    SessionOpened,
    StanzaReceived,
)

NETWORK_DELAY_S = (0.0002, 0.005)
_LOG_LIMIT = 10_000


class Dialler(Protocol):
    """Whoever connected: the far end of a session."""

    connection: Connection


class SimControl:
    """A control node: follows the API, serves agents, keeps a copy of both on its disk."""

    def __init__(self, schedule: Schedule, api: SimApi, name: str) -> None:
        self.name = name
        self.is_cut_off = False  # from the API
        self._schedule = schedule
        self._api = api
        self._disk: tuple[int, list[Object], list[Allocation]] | None = None
        self._disk_agents: list[str] | None = None
        self._wakes_at: float | None = None
        self._diallers: dict[ServerSession, Dialler] = {}
        self._session_of: dict[str, ServerSession] = {}
        self.core: ControlCore | None = None
        api.watchers.append(self.pull_soon)
        self.start()

    def start(self) -> None:
        """Start (again): from the copy on disk, then from the API."""
        self.core = ControlCore(self.name, self._disk_agents)
        if self._disk is not None:
            revision, objects, allocations = self._disk
            self.core.load(objects, allocations, revision, self._schedule.now)
        self.pull_soon()

    def crash(self) -> None:
        """Die: connections are reset, memory is gone."""
        self.core = None
        self._session_of.clear()
        diallers, self._diallers = self._diallers, {}
        for dialler in diallers.values():
            dialler.connection.reset()

    def pull_soon(self) -> None:
        """Hear of what was committed, a network delay from now."""
        self._schedule.after(self._schedule.random.uniform(*NETWORK_DELAY_S), self._pull)

    def accept(self, dialler: Dialler) -> ServerSession | None:
        """Take a connection; None when nobody listens."""
        if self.core is None:
            return None
        session = ServerSession(self._schedule.now)
        self._diallers[session] = dialler
        self._arm()
        return session

    def hear(self, session: ServerSession, data: bytes) -> None:
        """Take bytes of an agent's connection."""
        if session in self._diallers:
            session.receive_data(data, self._schedule.now)
            self.step()

    def step(self) -> None:
        """Do all that can be done now: timers, events, output."""
        core, now = self.core, self._schedule.now
        if core is None:
            return
        for session in list(self._diallers):
            session.handle_timer(now)
            self._take_events(core, session)
        core.handle_timer(now)
        outbox = core.take_outbox()
        self._disk_agents = core.known_agents  # before anything goes out, as on the real disk
        for agent, stanza in outbox:
            self._session_of[agent].send(stanza, now)
        for agent, reason in core.take_closures():
            self._session_of[agent].close(reason, now)
        for session, dialler in list(self._diallers.items()):
            self._take_events(core, session)
            for data in session.data_to_send(now):
                dialler.connection.to_a.send(data)
            if session.closed:
                del self._diallers[session]
        self._arm()

    def _take_events(self, core: ControlCore, session: ServerSession) -> None:
        now = self._schedule.now
        while (event := session.next_event()) is not None:
            agent = self._agent_of(session)
            match event:
                case SessionOpened(peer=peer):
                    before = self._session_of.pop(peer, None)
                    if before is not None:  # it was killed, came back, and we had not noticed
                        before.close("replaced by a newer connection", now)
                        core.agent_lost(peer, now)
                    self._session_of[peer] = session
                    core.agent_connected(peer, now)
                case StanzaReceived(stanza=stanza) if agent is not None:
                    try:
                        core.receive(agent, stanza)
                    except ProtocolError as error:
                        session.refuse(error, now)
                case SessionClosed() if agent is not None:
                    del self._session_of[agent]
                    core.agent_lost(agent, now)

    def _agent_of(self, session: ServerSession) -> str | None:
        return next((name for name, one in self._session_of.items() if one is session), None)

    def _pull(self) -> None:
        core, store = self.core, self._api.store
        if core is None or self._api.engine is None or self.is_cut_off:
            return
        if core.is_loaded:
            for commit in store.log(core.revision, _LOG_LIMIT):
                core.apply_commit(commit, self._schedule.now)
        else:
            revision, objects, allocations = store.load()
            core.load(objects, allocations, revision, self._schedule.now)
        revision, objects, allocations = store.load()
        self._disk = revision, list(objects), list(allocations)
        self.step()

    def _arm(self) -> None:
        """Wake at the next timer of the core or of a session."""
        if self.core is None:
            return
        due = [self.core.timer_at(), *(session.timer_at() for session in self._diallers)]
        at = min((one for one in due if one is not None), default=None)
        if at is None or (self._wakes_at is not None and self._schedule.now < self._wakes_at <= at):
            return
        self._wakes_at = max(at, self._schedule.now)
        self._schedule.after(self._wakes_at - self._schedule.now, self.step)
