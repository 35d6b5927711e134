"""The agent as a process: opens what it needs, runs its tasks, and leaves everything in place.

One task owns the host (`AgentProcess.turns`); sessions, HTTP and the kernel's news wake it. Ending,
however abruptly, takes nothing out of the kernel: packets flow on, and the next process adopts
programs, rows and numbers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from filament.agent.audit import Audit, audit_routes
from filament.agent.connection import Connections
from filament.agent.core import AgentCore, PortState
from filament.agent.devices import Devices
from filament.agent.host import AgentHost
from filament.agent.introspect import AgentView, agent_routes
from filament.agent.naming import Naming
from filament.agent.ports import port_routes
from filament.agent.rehearsals import Rehearsals, rehearsal_routes
from filament.agent.sandesh import agent_introspect
from filament.agent.sessions import Moment, SessionLog
from filament.agent.state import State
from filament.agent.verdicts import Verdicts
from filament.base.errors import FilamentError
from filament.dataplane import bpf
from filament.dataplane.attach import Attachments, Hook, forget_filters, forget_pins, probe_hook
from filament.dataplane.flow_table import FlowTableMove
from filament.dataplane.load import PROGRAMS, load
from filament.dataplane.maps import PinnedMaps
from filament.dataplane.netlink import Links, allow_route_lookups
from filament.dataplane.ring import SampleRing
from filament.dataplane.sweep import Watch
from filament.forward.layout import TABLE_BY_NAME
from filament.runtime import heap
from filament.runtime.clock import now, wall
from filament.runtime.log import logger
from filament.runtime.serve import Listen, serve_http
from filament.runtime.shared_log import SharedLog
from filament.runtime.tls import MutualTls

_log = logger("agent")
_AUDIT_EVERY_S = 30.0
_SAMPLES_EVERY_S = 0.5
_HEARD_EVERY_S = 0.1
_CLAIMS_EVERY_S = 0.02
_NO_CLAIMS_EVERY_S = 0.5
_CLAIMS_SHARE = 20  # times as long as it took
_SWEEP_EVERY_S = 5.0
_SWEEP_SHARE = 20  # times as long as it took
_PRESSED_SWEEP_EVERY_S = 1.0
_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 1.0
_QUIET_S = 1.0
_VIEWS_EVERY_S = 0.2
_IDLE_S = 1.0
_SETTLE_EVERY_S = 10.0
_SETTLE_ANYHOW_S = 60.0
_VIEWS_SHARE = 20  # at most 1/20 of the time goes into writing views to disk


class AgentPlace(msgspec.Struct, frozen=True):
    """What an agent is told from outside.

    `address` is the tunnel end (host-order int), `controls` are `HOST:PORT`, of which two are used
    (see `agent.homes`), `state` the directory for what survives restarts, `pins` one in a BPF file
    system, `listens` where HTTP is served, `introspects` where Sandesh introspect is. `tls` is
    how control nodes and we prove ourselves to one another; None: we do not. `hook` forces how
    programs are attached (tests). `session_log` is where flows are told of, if anywhere.
    `flow_table` is how many flows the host may have, `max_vm_flows` how many of them one port may
    have, in percent (0: no limit).
    """

    name: str
    address: int
    controls: tuple[str, ...]
    underlay: str
    state: Path
    pins: Path
    listens: tuple[Listen, ...]
    introspects: tuple[Listen, ...] = ()
    tls: MutualTls | None = None
    hook: Hook | None = None
    session_log: SharedLog | None = None
    flow_table: int = TABLE_BY_NAME["flows"].max_entries
    max_vm_flows: float = 0.0

    @property
    def port_flows(self) -> int:
        """How many flows one port may have; 0: no limit."""
        if not self.max_vm_flows:
            return 0
        return max(1, int(self.flow_table * self.max_vm_flows / 100))


async def run_agent(
    place: AgentPlace, stop: asyncio.Event, started: Callable[[list[Listen]], None] | None = None
) -> None:
    """Run the agent of a host until `stop`.

    Raises PermanentError when the host lacks what an agent needs (root, a BPF file system), and
    TransientError when an address to listen on is taken. `started` hears the addresses listened on.
    """
    with ExitStack() as opened:
        agent = AgentProcess(place, opened)
        agent.host.restore_preferences(time.monotonic_ns())
        agent.host.turn()  # from what is on disk, before anybody is asked
        agent.settle_flows()
        _log.info("agent-started", name=place.name, hook=agent.host.devices.hook)
        await agent.run(stop, started)
        agent.save_views()
    _log.info("agent-stopped", name=place.name)


def forget_host(pins: Path) -> None:
    """Take an agent's programs, maps and links out of the kernel; run in the host's namespace.

    Harmless when there is nothing, and after a crash. The agent must not be running.
    """
    forget_pins(pins)
    with closing(Links()) as links:
        forget_filters(links)


class _Departures:
    """Tells the session log of the flows of ports that leave, with the names of before."""

    def __init__(self, host: AgentHost, log: SessionLog) -> None:
        self._host, self._log = host, log
        self._naming: Naming | None = None

    def expect(self, ports: Sequence[PortState]) -> None:
        """Remember names while there are rows to tell them by."""
        self._naming = Naming(self._host, ports)

    def left(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Hand the flows of a port on."""
        self._log.left(rows, self._naming or Naming(self._host))


class AgentProcess:
    """The tasks of one agent process and what they share."""

    def __init__(self, place: AgentPlace, opened: ExitStack) -> None:
        self._place = place
        self._wake = asyncio.Event()
        self._state = State(place.state)
        core = AgentCore(
            place.name,
            place.address,
            place.controls,
            self._state.load_views(),
            flow_limit=place.port_flows,
        )
        self.connections = Connections(
            place.controls,
            core,
            self._wake.set,
            place.tls.client_context() if place.tls is not None else None,
        )
        self._move = FlowTableMove(place.pins / "maps", place.flow_table)
        programs = opened.enter_context(load(place.pins / "maps", flow_limit=place.flow_table))
        maps = opened.enter_context(PinnedMaps(place.pins / "maps"))
        copied = self._move.copy(maps)
        if copied:
            _log.info("flow-table-resized", flows=place.flow_table, copied=copied)
        self._ring = opened.enter_context(SampleRing(place.pins / "maps"))
        tags = {name: bpf.program(programs[name]).tag for name in PROGRAMS}
        self._links = opened.enter_context(closing(Links()))
        allow_route_lookups()
        devices = Devices(
            core,
            self._links,
            Attachments(place.pins, place.hook or probe_hook(programs["from_port"])),
            port_program=programs["from_port"],
            fabric_program=programs["from_fabric"],
            underlay=place.underlay,
        )
        self.host = AgentHost(
            core, self._state, maps, devices, self._wake.set, self.connections.send
        )
        self._rehearsals = Rehearsals(place.pins / "maps", tags, self._underlay)
        self._verdicts = Verdicts(place.name, lambda: Naming(self.host), maps.read)
        self._sessions = None
        if place.session_log is not None:
            self._sessions = SessionLog(
                place.session_log,
                lambda: Naming(self.host),
                lambda: core.flow_export_rate,
                place.address,
            )
            self.host.leaving = _Departures(self.host, self._sessions)
        self._turned = now()
        self._saved_mark = core.saved_mark

    def settle_flows(self) -> None:
        """The loaded programs are attached: nobody uses a former flow table any more."""
        self._move.finish(self.host.maps)

    def _underlay(self) -> int:
        link = self.host.devices.state(self.host.devices.underlay).link
        return link.ifindex if link is not None else 0

    async def run(
        self, stop: asyncio.Event, started: Callable[[list[Listen]], None] | None
    ) -> None:
        """Run every task until `stop`."""
        view = AgentView(self.host, self.connections.by_control, self._verdicts, self._sessions)
        routes = (
            *port_routes(self.host),
            *agent_routes(view),
            *rehearsal_routes(self._rehearsals),
            *audit_routes(Audit(self.host, self.connections.by_control)),
        )
        app = Starlette(routes=routes)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._links.fileno(), self._wake.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [
                    tasks.create_task(self._turns()),
                    tasks.create_task(self._keep_views()),
                    tasks.create_task(self._audits()),
                    tasks.create_task(self._sweeps()),
                    tasks.create_task(self._take_samples()),
                    tasks.create_task(self._settle_heap()),
                    tasks.create_task(self._settle_devices()),
                    tasks.create_task(self._settle_preferences()),
                    tasks.create_task(self.connections.run()),
                ]
                if self._place.introspects:
                    pages = agent_introspect(self.host, self.connections.by_control).application()
                    serving = serve_http(pages, self._place.introspects, stop=stop)
                    others.append(tasks.create_task(serving))
                others.append(tasks.create_task(self._end_streams(stop)))
                await serve_http(app, self._place.listens, stop=stop, started=started)
                for task in others:
                    task.cancel()
        finally:
            loop.remove_reader(self._links.fileno())

    def save_views(self) -> None:
        """Keep on disk what control nodes said, and who holds what, if it has changed."""
        mark = self.host.core.saved_mark
        if mark != self._saved_mark:
            try:
                self._state.save_views(self.host.core.saved_views())
            except FilamentError as error:
                _log.warning("views-not-saved", reason=str(error))
            else:
                self._saved_mark = mark
        try:
            self.host.save_preferences()
        except FilamentError as error:
            _log.warning("preferences-not-saved", reason=str(error))

    async def _turns(self) -> None:
        """Own the host: a turn whenever something happened, and again while something is wrong."""
        while True:
            wait_s = _TRY_AGAIN_S if self.host.has_problems else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                self.host.try_again()
            self._wake.clear()
            self.host.turn()
            self._turned = now()

    async def _keep_views(self) -> None:
        """Save views soon after they change, but spend little time on it."""
        while True:
            began = now()
            self.save_views()
            await asyncio.sleep(max(_VIEWS_EVERY_S, _VIEWS_SHARE * (now() - began)))

    async def _settle_heap(self) -> None:
        """Collect garbage while nothing changes, or when that has not been for long."""
        heap.by_hand()
        settled = now()
        while True:
            await asyncio.sleep(_IDLE_S)
            is_idle = now() - self._turned > _IDLE_S
            if now() - settled > (_SETTLE_EVERY_S if is_idle else _SETTLE_ANYHOW_S):
                heap.settle()
                settled = now()

    async def _settle_devices(self) -> None:
        """Give devices their links while no port is being plugged."""
        while True:
            before = self.host.devices.provisional
            await asyncio.sleep(_QUIET_S)
            if before != self.host.devices.provisional:
                continue
            for ifindex in before:
                try:
                    await asyncio.to_thread(self.host.devices.settle, ifindex)
                except FilamentError as error:
                    _log.warning("link-not-made", ifindex=ifindex, reason=str(error))
                self.host.devices.settled(ifindex)

    async def _take_samples(self) -> None:
        """Take what the kernel showed of packets, sooner while somebody listens."""
        while True:
            self._verdicts.take(self._ring.read())
            await asyncio.sleep(_HEARD_EVERY_S if self._verdicts.is_heard else _SAMPLES_EVERY_S)

    async def _settle_preferences(self) -> None:
        """See who holds the addresses that one of several ports holds, soon after it changes."""
        while True:
            began = now()
            try:
                self.host.settle(time.monotonic_ns())
            except FilamentError as error:
                _log.error("claims-not-read", reason=str(error))
            every_s = _CLAIMS_EVERY_S if self.host.has_contenders else _NO_CLAIMS_EVERY_S
            await asyncio.sleep(max(every_s, _CLAIMS_SHARE * (now() - began)))

    async def _end_streams(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._verdicts.close()

    async def _sweeps(self) -> None:
        """Make room in the flow table, beside the other tasks, and spend little time on it, but for
        when the table is nearly full.
        """
        sweeper, was_pressed = self.host.sweeper, False
        while True:
            began = now()
            try:
                await asyncio.to_thread(self._sweep)
            except FilamentError as error:
                _log.error("flows-not-swept", reason=str(error))
            if sweeper.is_pressed != was_pressed:
                was_pressed = sweeper.is_pressed
                event = "flow-table-pressed" if sweeper.is_pressed else "flow-table-relieved"
                _log.warning(event, held=sweeper.held, limit=sweeper.limit)
            took = now() - began
            if sweeper.is_pressed:
                await asyncio.sleep(max(_PRESSED_SWEEP_EVERY_S, took))
            else:
                await self._rest(max(_SWEEP_EVERY_S, _SWEEP_SHARE * took))

    async def _rest(self, seconds: float) -> None:
        """Leave the table alone for so long, or until it is pressed: a flood fills it in less."""
        for _ in range(math.ceil(seconds / _LOOK_EVERY_S)):
            if self.host.is_pressed():
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _sweep(self) -> None:
        """Sweep the flow table once, and tell of what was met; in a thread of its own."""
        now_ns, log = time.monotonic_ns(), self._sessions
        if log is None:
            self.host.sweeper.sweep(now_ns)
            return
        since_ns = log.begin(now_ns)
        self.host.sweeper.sweep(now_ns, Watch(log.ended, log.active, since_ns))
        log.end(Moment(now_ns, wall()))

    async def _audits(self) -> None:
        """Compare all rows with the kernel now and then; reading happens beside the other tasks."""
        while True:
            await asyncio.sleep(_AUDIT_EVERY_S)
            mark = self.host.reconciler.mark
            try:
                found = await asyncio.to_thread(self.host.maps.read_planned)
            except FilamentError as error:
                _log.error("audit-failed", reason=str(error))
                continue
            self.host.audited(found, mark)
            self._wake.set()
