"""Sessions with control nodes: connect, talk, connect again; never give up, never hurry others.

`Connections` keeps as many sessions as `agent.homes` says, each with a control node of its choice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable

from filament.agent.core import AgentCore
from filament.agent.homes import STABLE_S, Homes
from filament.base.errors import ProtocolError
from filament.runtime.backoff import backoff
from filament.runtime.clock import now
from filament.runtime.drive import Driver
from filament.runtime.log import logger
from filament.runtime.secure import secure
from filament.runtime.serve import parse_listen
from filament.wire.xmpp.session import (
    OPEN_TIME_S,
    ClientSession,
    SessionClosed,
    SessionEvent,
    SessionOpened,
    StanzaReceived,
)
from filament.wire.xmpp.stanza import FromAgent, FromControl
from filament.wire.xmpp.starttls import TlsClient

_log = logger("agent.connection")
_CONNECT_TIMEOUT_S = 2.0
_FIRST_WAIT_S = 0.02
# Short, because convergence after a control node's restart waits for it; an attempt costs one SYN.
_LONGEST_WAIT_S = 0.6
SPARE = "spare"
_HISTORY_LENGTH = 64


class Connection:
    """The agent's side of one control node (`HOST:PORT`), for the life of the process.

    `changed` is called after the core heard something. `state` is `spare` while sessions are kept
    with others; `problem` says why there is no session. `flap_count` sessions have ended, the last
    at `flapped_at`; `history` has the last changes of state: when, and to what.
    """

    def __init__(
        self,
        control: str,
        core: AgentCore,
        changed: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.control = control
        self.state = SPARE
        self.problem = ""
        self.since = now()
        self.last_state = ""
        self.flap_count = 0
        self.flapped_at: float | None = None
        self.history: deque[tuple[float, str]] = deque(maxlen=_HISTORY_LENGTH)
        self._sent_before = self._received_before = 0  # in sessions that are over
        self._place = parse_listen(control)
        self._core = core
        self._changed = changed
        self._session: ClientSession | None = None
        self._driver: Driver[SessionEvent[FromControl]] | None = None
        self._established_at: float | None = None

    @property
    def sent_count(self) -> int:
        """How many stanzas were sent, in all sessions."""
        return self._sent_before + (self._session.sent_count if self._session is not None else 0)

    @property
    def received_count(self) -> int:
        """How many stanzas were received, in all sessions."""
        session = self._session
        return self._received_before + (session.received_count if session is not None else 0)

    def send(self, stanza: FromAgent) -> None:
        """Queue a stanza; see `flush`. Without a session it is void: the next tells all again."""
        if self._session is not None:
            self._session.send(stanza, now())

    def flush(self) -> None:
        """Write what was queued."""
        if self._driver is not None:
            self._driver.flush()

    def begin_again(self, reason: str) -> bool:
        """End the session so that the next tells everything again; False when there is none."""
        if self._session is None or self._driver is None:
            return False
        self._session.close(reason, now())
        self._driver.flush()
        return True

    def leave(self) -> None:
        """Another control node takes this one's place."""
        self._set_state(SPARE, self.problem)

    async def run_once(self) -> float:
        """Run one session from connect to loss; returns for how long it was established."""
        self._established_at = None
        self._set_state("connecting", self.problem)
        await self._converse()
        return 0.0 if self._established_at is None else now() - self._established_at

    async def _converse(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._place.host, self._place.port)
        except TimeoutError:
            self._set_state("connecting", f"no answer within {_CONNECT_TIMEOUT_S:g} s")
            return
        except OSError as error:
            self._set_state("connecting", error.strerror or str(error))
            return
        if self._tls is not None and not await self._secure(reader, writer, self._tls):
            return
        self._session = ClientSession(self._core.host.name, now())
        self._driver = Driver(self._session, reader, writer, self._hear)
        self._set_state("opening")
        try:
            await self._driver.run()
        finally:
            self._sent_before += self._session.sent_count
            self._received_before += self._session.received_count
            self._session = self._driver = None
            self._core.control_lost(self.control)
            if self.state != "connecting":
                self._set_state("connecting", "the connection was lost")
            self._changed()

    async def _secure(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
    ) -> bool:
        """Switch to TLS; False when the control node will not, or is not who it should be."""
        agreement = TlsClient(self._core.host.name)
        host = self._place.host
        try:
            await secure(agreement, reader, writer, context, within_s=OPEN_TIME_S, host=host)
        except ProtocolError as error:
            self._set_state("connecting", error.message)
            writer.close()
            return False
        return True

    def _hear(self, event: SessionEvent[FromControl]) -> None:
        match event:
            case SessionOpened():
                self._core.control_connected(self.control)
                self._established_at = now()
                self._set_state("established")
            case StanzaReceived(stanza=stanza):
                try:
                    self._core.receive(self.control, stanza)
                except ProtocolError as error:
                    assert self._session is not None
                    self._session.refuse(error, now())
            case SessionClosed(reason=reason):
                self._set_state("connecting", reason)
        self._changed()

    def _set_state(self, state: str, problem: str = "") -> None:
        if (state, problem) != (self.state, self.problem):
            self.since = now()
            if self.state == "established" and state != self.state:
                self.flap_count += 1
                self.flapped_at = self.since
            if state != self.state:
                self.last_state = self.state
            self.history.append((self.since, f"{state}{': ' if problem else ''}{problem}"))
            _log.info("control-session", control=self.control, state=state, problem=problem)
        self.state, self.problem = state, problem


class Connections:
    """The sessions of one agent: which control nodes it could use, and with which it talks."""

    def __init__(
        self,
        controls: Iterable[str],
        core: AgentCore,
        changed: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.by_control = {control: Connection(control, core, changed, tls) for control in controls}
        self._homes = Homes(core.host.name, list(self.by_control))

    async def run(self) -> None:
        """Keep every session up until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for slot in range(len(self._homes.used)):
                tasks.create_task(self._keep(slot))

    async def _keep(self, slot: int) -> None:
        """Keep one session up, with whichever control node can be had."""
        waits = backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        control = self._homes.used[slot]
        while True:
            lasted_s = await self.by_control[control].run_once()
            self._homes.lost(control, lasted_s, now())
            if lasted_s > STABLE_S:
                waits = backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
            await asyncio.sleep(next(waits))
            chosen = self._homes.next_of(slot, now())
            if chosen != control:
                _log.warning("control-left", control=control, instead=chosen)
                self.by_control[control].leave()
                control = chosen
                waits = backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)

    def send(self, outbox: Iterable[tuple[str, FromAgent]]) -> None:
        """Send stanzas to control nodes."""
        touched = {}
        for control, stanza in outbox:
            connection = self.by_control[control]
            connection.send(stanza)
            touched[control] = connection
        for connection in touched.values():
            connection.flush()
