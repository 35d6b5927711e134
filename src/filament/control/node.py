"""The control node's process around `ControlCore`: sessions with agents, time, disk, reports.

Everything that touches the core runs on one event loop and does not await between looking and
changing, so the core has one owner without locks. Changes only wake the flusher, which lets what
else is ready happen first and then sends everybody what is new: a burst becomes one flush.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import deque
from collections.abc import Callable

import msgspec

from filament.base.errors import FilamentError, ProtocolError
from filament.base.limits import MAX_AGENTS, MAX_HALF_OPEN, MAX_OUTPUT_QUEUE_BYTES
from filament.base.net import Address
from filament.client.watch import Loaded, WatchClient
from filament.compiler.peers import concerns, plan_speaker
from filament.control.copy import DiskCopy
from filament.control.core import ControlCore
from filament.control.damping import Damping
from filament.control.follow import AgentReport, ApiState, Report
from filament.control.neighbour import Neighbour
from filament.control.peering import Peering
from filament.model.change import Commit, Object
from filament.runtime import heap
from filament.runtime.backoff import backoff
from filament.runtime.clock import now, wall
from filament.runtime.drive import Driver, Turnstile
from filament.runtime.log import logger
from filament.runtime.secure import secure
from filament.wire.xmpp.session import (
    HOLD_TIME_S,
    OPEN_TIME_S,
    ServerSession,
    SessionClosed,
    SessionEvent,
    SessionOpened,
    StanzaReceived,
)
from filament.wire.xmpp.stanza import FromAgent, FromControl
from filament.wire.xmpp.starttls import TlsServer

REPORT_INTERVAL_S = 5.0
_REPORT_RETRY_S = 1.0  # an API process that does not answer is tried again so often
_REPORT_SHARE = 10  # at most a tenth of the time goes into making reports
_REPORT_PATIENCE_S = 0.05  # for one that nobody can be waiting for
_REPORT_PAUSE_S = 0.01  # between two reports, so that a burst of acknowledgements becomes one
# When more is said than fits into a turn of the loop: each flush tells every agent of each of its
# networks, and costs a Sync and its answer. Ten thousand routes are read in less.
_GATHER_S = 1.2
_ENDINGS_KEPT = 64

_log = logger("control")


class SessionEnded(msgspec.Struct, frozen=True):
    """A session that is over: whose, and why. `agent` is "" when it never said."""

    agent: str
    address: str
    reason: str
    at: float  # epoch seconds


class Flaps(msgspec.Struct, frozen=True):
    """How often an agent's sessions ended since this process began, and when (epoch seconds)."""

    count: int
    at: float


class Connection:
    """One transport from somebody who may be an agent.

    `claimed` is the name it gave; `agent` is that name while it is accepted under it, else "".
    `names` are those in its certificate, None without TLS.
    """

    def __init__(
        self,
        node: ControlNode,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        names: set[str] | None,
    ) -> None:
        peer = writer.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.remote = _endpoint(peer)
        self.local = _endpoint(writer.get_extra_info("sockname"))
        self.claimed = ""
        self.agent = ""
        self.names = names
        self.opened: Callable[[], object] = lambda: None
        self.since = 0.0
        self.has_ended = False
        self.session = ServerSession(now(), node.hold_time_s)
        self.driver: Driver[SessionEvent[FromAgent]] = Driver(
            self.session,
            reader,
            writer,
            lambda event: node.take_event(self, event),
            max_queue_bytes=node.max_queue_bytes,
            turnstile=node.turnstile,
        )


def _endpoint(name: tuple[object, ...] | None) -> str:
    return f"{name[0]}:{name[1]}" if name else ""


class ControlNode:
    """One per process."""

    def __init__(
        self,
        name: str,
        api_address: str,
        copy: DiskCopy,
        *,
        hold_time_s: float = HOLD_TIME_S,
        max_queue_bytes: int = MAX_OUTPUT_QUEUE_BYTES,
        bgp: tuple[Address, ...] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._half_open: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self.core = ControlCore(name, copy.read_agents(), copy.read_peers())
        self.api = ApiState(api_address)
        self.endings: deque[SessionEnded] = deque(maxlen=_ENDINGS_KEPT)
        self.connections: dict[str, Connection] = {}
        self.incarnation = secrets.token_hex(16)
        self.turnstile = Turnstile()
        self.started_at = wall()
        self.most_connections = 0
        self.flaps: dict[str, Flaps] = {}
        self._damping = Damping()
        self.hold_time_s = hold_time_s
        self.max_queue_bytes = max_queue_bytes
        self._copy = copy
        self._open: set[Connection] = set()
        self._changed = asyncio.Event()
        self._report_changed: list[asyncio.Event] = []  # one per API process that is told
        self._gone_since: dict[str, float] = {}  # stale agents: epoch seconds
        self.peering = Peering(
            self.core.rib,
            listens=bgp,
            on_change=self._changed.set,
            is_complete=lambda: self.core.absences.is_complete,
            on_session=self._note_bgp_session,
            on_told_all=self._note_told_all,
            max_queue_bytes=max_queue_bytes,
        )
        kept = copy.read_configuration()
        if kept is not None:
            self._load(kept)
            _log.info("copy-loaded", revision=kept.revision)

    # configuration (`control.follow` calls these) -------------------------------------------

    @property
    def revision(self) -> int | None:
        """The revision of the configuration; None while there is none."""
        return self.core.revision if self.core.is_loaded else None

    def find(self, uuid: str) -> Object | None:
        """See follow.Follower."""
        return self.core.snapshot.get(uuid)

    def take_configuration(self, loaded: Loaded) -> None:
        """Start anew from a whole configuration."""
        self._load(loaded)
        self._copy.note_change()

    def take_commit(self, commit: Commit) -> None:
        """Follow one commit."""
        self.core.apply_commit(commit, now())
        if concerns(commit):
            self._configure_peering()
        self._copy.note_change()
        self._changed.set()

    def _load(self, loaded: Loaded) -> None:
        with heap.growing():
            self.core.load(loaded.objects, loaded.allocations, loaded.revision, now())
        self._configure_peering()
        self._changed.set()

    def _configure_peering(self) -> None:
        self.peering.configure(plan_speaker(self.core.snapshot, self.core.name))
        self.core.absences.peers_configured(self.peering.neighbours.keys())

    def _note_bgp_session(self, neighbour: Neighbour) -> None:
        absences = self.core.absences
        if neighbour.session is not None and neighbour.agreement is not None:
            absences.peer_up(neighbour.name, now(), ends_rib=neighbour.agreement.ends_rib)
        up = {name for name, each in self.peering.neighbours.items() if each.session is not None}
        # Before anybody hears of its routes: a restart must know whom to await.
        self._copy.write_peers(sorted(up.union(absences.awaited_peers)))
        self._changed.set()

    def _note_told_all(self, name: str) -> None:
        self.core.peer_told_all(name)
        self._changed.set()

    def configuration(self) -> Loaded:
        """Return the whole configuration, for the disk."""
        snapshot = self.core.snapshot
        return Loaded(snapshot.revision, list(snapshot.objects()), list(snapshot.allocations()))

    # sessions -------------------------------------------------------------------------------

    async def serve_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak XMPP on one transport until it ends."""
        self._make_room()
        self._half_open[writer] = None
        try:
            names = await self._prove(reader, writer) if self._tls is not None else None
            if self._tls is None or names is not None:
                await self._converse(reader, writer, names)
        finally:
            self._half_open.pop(writer, None)
            writer.close()

    def _make_room(self) -> None:
        """Drop the oldest of too many who have not said who they are; agents do so at once."""
        while len(self._half_open) >= MAX_HALF_OPEN:
            oldest = next(iter(self._half_open))
            del self._half_open[oldest]
            oldest.transport.abort()

    async def _prove(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> set[str] | None:
        """Switch to TLS and return the names in the peer's certificate; None when it has none."""
        assert self._tls is not None
        agreement = TlsServer()
        try:
            return await secure(agreement, reader, writer, self._tls, within_s=OPEN_TIME_S)
        except ProtocolError as error:
            peer = writer.get_extra_info("peername")
            address = str(peer[0]) if peer else ""
            self.endings.append(SessionEnded(agreement.peer, address, str(error), wall()))
            _log.info("agent-refused", agent=agreement.peer, address=address, reason=str(error))
            writer.close()
            return None

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        names: set[str] | None,
    ) -> None:
        connection = Connection(self, reader, writer, names)
        connection.opened = lambda: self._half_open.pop(writer, None)
        self._open.add(connection)
        try:
            if len(self._open) > 2 * MAX_AGENTS:  # with room for those that come back
                self._refuse(connection, self._is_full())
            await connection.driver.run()
        finally:
            self._open.discard(connection)
            self._end(connection, "the control node stops")  # unless it has ended before

    def close(self) -> None:
        """Say goodbye to everybody."""
        self.peering.close()
        for connection in list(self._open):
            connection.session.close("the control node stops", now())
            connection.driver.flush()

    def take_event(self, connection: Connection, event: SessionEvent[FromAgent]) -> None:
        """Take what a session tells."""
        match event:
            case SessionOpened(peer=agent):
                self._accept(connection, agent)
            case StanzaReceived(stanza=stanza):
                try:
                    self.core.receive(connection.agent, stanza)
                except ProtocolError as error:
                    self._refuse(connection, error)
            case SessionClosed(reason=reason):
                if connection.driver.overflowed:
                    reason = f"it did not read: over {self.max_queue_bytes} bytes waited for it"
                self._end(connection, reason)
        self._changed.set()

    def _is_full(self) -> ProtocolError:
        return ProtocolError(
            "resource-constraint",
            f"control node {self.core.name} serves {MAX_AGENTS} agents, not more",
        )

    def _accept(self, connection: Connection, agent: str) -> None:
        connection.claimed = agent
        connection.opened()
        if connection.names is not None and agent not in connection.names:
            self._refuse(
                connection,
                ProtocolError(
                    "not-authorized",
                    f"the certificate is of {', '.join(sorted(connection.names)) or 'nobody'}, not"
                    f" of {agent!r}; give the agent one with its name",
                ),
            )
            return
        known = self.connections.get(agent)
        if known is not None and known.address != connection.address:
            self._refuse(
                connection,
                ProtocolError(
                    "conflict",
                    f"an agent {agent!r} is connected from {known.address}; give the one at"
                    f" {connection.address} a name of its own",
                ),
            )
            return
        if known is None and len(self.connections) >= MAX_AGENTS:
            self._refuse(connection, self._is_full())
            return
        wait_s = self._damping.wait_s(agent, now())
        if wait_s:
            self._refuse(
                connection,
                ProtocolError(
                    "policy-violation",
                    f"agent {agent!r} begins sessions too often; it may come back in"
                    f" {wait_s:.1f} s",
                ),
            )
            return
        if known is not None:
            # It was cut off without our noticing, or killed and restarted.
            error = ProtocolError("conflict", f"a newer session of agent {agent!r} took over")
            self._refuse(known, error)
            known.driver.flush()
        connection.agent = agent
        connection.since = round(wall(), 3)  # once: a report that only trembles is none
        self.connections[agent] = connection
        self.most_connections = max(self.most_connections, len(self.connections))
        self.core.agent_connected(agent, now(), connection.address)
        _log.info("agent-connected", agent=agent, address=connection.address)

    def _refuse(self, connection: Connection, error: ProtocolError) -> None:
        connection.session.refuse(error, now())
        self._end(connection, str(error))

    def _end(self, connection: Connection, reason: str) -> None:
        if connection.has_ended:
            return
        connection.has_ended = True
        agent, connection.agent = connection.agent, ""
        if agent:
            del self.connections[agent]
            self.core.agent_lost(agent, now())
            self._gone_since[agent] = wall()
            self._note_flap(agent)
        ended = SessionEnded(connection.claimed, connection.address, reason, wall())
        self.endings.append(ended)
        self._changed.set()
        _log.info("agent-lost", agent=ended.agent, address=ended.address, reason=reason)

    def _note_flap(self, agent: str) -> None:
        before = self.flaps.pop(agent, None)
        if len(self.flaps) >= MAX_AGENTS:
            del self.flaps[next(iter(self.flaps))]  # the one that has been quiet longest
        self.flaps[agent] = Flaps(before.count + 1 if before is not None else 1, wall())

    # flushing and time ------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush what changes and run timers, until cancelled."""
        while True:
            try:
                async with asyncio.timeout_at(self.core.timer_at()):
                    await self._changed.wait()
            except TimeoutError:
                pass  # a timer is due
            # What else is ready (stanzas of other agents, commits of one burst) goes out together.
            began = now()
            await asyncio.sleep(0)
            while self.turnstile.is_crowded and now() - began < _GATHER_S:  # noqa: ASYNC110
                await asyncio.sleep(0)
            self._changed.clear()
            due_at = self.core.timer_at()
            if due_at is not None and due_at <= now():
                self.core.handle_timer(now())
            await self._flush()

    @property
    def has_news(self) -> bool:
        """Whether something happened that has not been worked into what everybody is told."""
        return self._changed.is_set()

    async def _flush(self) -> None:
        for agent, reason in self.core.take_closures():
            connection = self.connections[agent]
            self._refuse(connection, ProtocolError("reset", reason))
            connection.driver.flush()
        if self.core.is_loaded:
            # Before anybody hears of an agent's routes: a restart must know whom to await.
            self._copy.write_agents(self.core.known_agents)
        at = now()
        told: dict[Connection, list[FromControl]] = {}
        for agent, stanza in self.core.take_outbox():
            told.setdefault(self.connections[agent], []).append(stanza)
        for connection, stanzas in told.items():
            # Meanwhile an agent may come back in a new session: this is not for that one.
            await self.turnstile.enter()
            if not connection.has_ended:
                for stanza in stanzas:
                    connection.session.send(stanza, at)
                connection.driver.flush()
        if self.core.has_more:
            self._changed.set()
        if self.core.rib.bgp.has_work:
            self.peering.wake()
        for changed in self._report_changed:
            changed.set()

    # reports ----------------------------------------------------------------------------------

    def report(self) -> Report:
        """Return what the API is told."""
        core = self.core
        agents = {
            each.name: AgentReport(core.applied(each), connected=True, since=self.since(each.name))
            for each in core.agents.values()
            if each.is_served
        }
        for agent in core.absences.stale:
            if agent not in agents:
                # One that is back but not served yet is still away, since it went.
                since = self._gone_since.setdefault(agent, wall())
                agents[agent] = AgentReport(0, connected=False, since=since)
        self._gone_since = {
            agent: at for agent, at in self._gone_since.items() if agent in core.absences.stale
        }
        return Report(core.name, core.revision, core.settled, agents, self.incarnation)

    def since(self, agent: str) -> float:
        """Return since when (epoch seconds) an agent is connected."""
        return self.connections[agent].since

    def peer_since(self, peer: str) -> float:
        """Return since when (epoch seconds) a BGP peer is up, or is not; 0 for never was."""
        neighbour = self.peering.neighbours.get(peer)
        return neighbour.changed_at if neighbour is not None else 0.0

    async def run_reports(self, client: WatchClient) -> None:
        """Tell an API process how far everything is, when it changes and every few seconds,
        whether or not it is the one that is followed.
        """
        changed = asyncio.Event()
        self._report_changed.append(changed)
        reported: Report | None = None
        has_waited = False
        failures = backoff(limit_s=_REPORT_RETRY_S)
        while True:
            try:
                async with asyncio.timeout(REPORT_INTERVAL_S if reported else _REPORT_RETRY_S):
                    await changed.wait()
                is_due = False
            except TimeoutError:
                is_due = True
            changed.clear()
            began = now()
            report = self.report()
            pause_s = max(_REPORT_PAUSE_S, _REPORT_SHARE * (now() - began))
            if self.revision is None or not (is_due or report != reported):
                await asyncio.sleep(pause_s if self.revision is not None else 0)
                continue
            if not is_due and not has_waited and _says_little(report, reported):
                has_waited = True
                await asyncio.sleep(_REPORT_PATIENCE_S)
                changed.set()
                continue
            has_waited = False
            try:
                await client.report(report)
                reported, failures = report, backoff(limit_s=_REPORT_RETRY_S)
            except FilamentError:
                reported = None  # it may have been restarted: it must hear everything again
                await asyncio.sleep(next(failures))
            await asyncio.sleep(pause_s)


def _says_little(report: Report, before: Report | None) -> bool:
    """Say whether only agents' applied revisions are new: what follows will say more."""
    return (
        before is not None
        and (report.revision, report.settled) == (before.revision, before.settled)
        and report.agents.keys() == before.agents.keys()
        and all(
            (one.connected, one.since) == (before.agents[name].connected, before.agents[name].since)
            for name, one in report.agents.items()
        )
    )
