"""The simulated compute host: an agent that may die, a kernel and a disk that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from filament.agent.core import AgentCore, Device
from filament.agent.plug import Plug
from filament.agent.view import SavedView
from filament.dataplane.reconcile import Reconciler
from filament.forward.ids import Ids, IdsState
from filament.forward.lists import Edition, Memo
from filament.forward.model import Model, UnderlayPath
from filament.forward.plan import plan
from filament.forward.tables import Tables
from filament.testing.sim.control import NETWORK_DELAY_S, SimControl
from filament.testing.sim.network import Connection
from filament.testing.sim.schedule import Schedule
from filament.wire.xmpp.session import (
    ClientSession,
    ServerSession,
    SessionClosed,
    SessionOpened,
    StanzaReceived,
)

_RETRY_S = 0.05
_APPLY_S = (0.0001, 0.002)
_FIRST_IFINDEX = 100


class AgentLink:
    """An agent's connection to one control node, and the attempts to make it."""

    def __init__(self, schedule: Schedule, host: SimHost, control: SimControl) -> None:
        self._schedule = schedule
        self._host = host
        self._control = control
        self._is_cut_off = False
        self._wakes_at = 0.0
        self.client: ClientSession | None = None
        self._server: ServerSession | None = None
        self.connection = self._dial(0.0)

    @property
    def control_name(self) -> str:
        """The control node's name."""
        return self._control.name

    def cut(self, *, cut_off: bool) -> None:
        """Partition the agent from this control node, or heal it."""
        self._is_cut_off = cut_off
        self.connection.hold(held=cut_off)

    def close(self) -> None:
        """The agent died: its kernel ends the connection."""
        self.client = None
        self.connection.reset()

    def redial(self) -> None:
        """The agent is back."""
        self.connection = self._dial(0.001)

    def send(self) -> None:
        """Move the client session's bytes."""
        if self.client is not None:
            for data in self.client.data_to_send(self._schedule.now):
                self.connection.to_b.send(data)

    def arm(self) -> None:
        """Wake the agent at the session's next timer."""
        at = self.client.timer_at() if self.client is not None else None
        if at is not None and not self._schedule.now < self._wakes_at <= at:
            self._wakes_at = max(at, self._schedule.now)
            self._schedule.after(self._wakes_at - self._schedule.now, self._host.step)

    def _dial(self, wait_s: float) -> Connection:
        connection = Connection(
            self._schedule, NETWORK_DELAY_S, self._client_hears, self._server_hears
        )
        self._schedule.after(wait_s, lambda: self._connect(connection))
        return connection

    def _connect(self, connection: Connection) -> None:
        if self._host.core is None or connection is not self.connection:
            return
        server = None if self._is_cut_off else self._control.accept(self)
        if server is None:
            self._schedule.after(_RETRY_S, lambda: self._connect(connection))
            return
        self._server = server
        self.client = ClientSession(self._host.name, self._schedule.now)
        self._host.step()

    def _server_hears(self, data: bytes) -> None:
        if self._server is not None:
            self._control.hear(self._server, data)

    def _client_hears(self, data: bytes) -> None:
        client = self.client
        if client is not None:
            client.receive_data(data, self._schedule.now)
            self._host.step()
            if client.closed and client is self.client:
                self.client = None
                self.connection.reset()
                self.connection = self._dial(_RETRY_S)


class SimHost:
    """A compute host. `kernel` forwards whether the agent lives or not.

    `may_crash` is asked between the plan being on disk and its rows being in the kernel.
    """

    def __init__(
        self,
        schedule: Schedule,
        name: str,
        address: int,
        controls: Iterable[SimControl],
        underlay: Mapping[int, UnderlayPath],
    ) -> None:
        self.name = name
        self.address = address
        self._schedule = schedule
        self._controls = list(controls)
        self.ids_state = IdsState()
        self._disk_plugs: dict[str, Plug] = {}
        self._disk_views: list[SavedView] = []
        self._devices: dict[str, Device] = {}
        self._is_turn_due = False
        self.crash_chance = 0.0
        self.kernel = Model(None, lambda: schedule.now, underlay)
        self.desired: Tables | None = None
        self.core: AgentCore | None = None
        self._start_core()
        self.links = [AgentLink(schedule, self, control) for control in self._controls]

    def editions(self) -> dict[str, Edition]:
        """Return how edited lists are numbered."""
        return self._memo.editions()

    def start(self) -> None:
        """Start (again): adopt what kernel and disk hold."""
        self._start_core()
        for link in self.links:
            link.redial()

    def crash(self) -> None:
        """Kill the agent."""
        self.core = None
        self._is_turn_due = False
        for link in self.links:
            link.close()

    def forget_views(self) -> None:
        """Lose what control nodes said from the disk."""
        self._disk_views = []

    def plug(self, port_uuid: str, machine: str) -> int:
        """Make a device and plug it as a port; returns its ifindex."""
        device = f"tap{len(self._devices)}"
        ifindex = _FIRST_IFINDEX + len(self._devices)
        self._devices[device] = Device(device, ifindex, is_veth=True)
        self._disk_plugs[port_uuid] = Plug(port_uuid, machine, device)
        if self.core is not None:
            self.core.device_found(self._devices[device])
            self.core.plug(self._disk_plugs[port_uuid])
            self.step()
        return ifindex

    def unplug(self, port_uuid: str) -> None:
        """Unplug a port."""
        del self._disk_plugs[port_uuid]
        if self.core is not None:
            self.core.unplug(port_uuid)
            self.step()

    def step(self) -> None:
        """Hear sessions out and plan a turn; rows are written a moment later, as in a kernel."""
        core = self.core
        if core is None:
            return
        for link in self.links:
            client = link.client
            if client is None:
                continue
            client.handle_timer(self._schedule.now)
            while (event := client.next_event()) is not None:
                match event:
                    case SessionOpened():
                        core.control_connected(link.control_name)
                    case StanzaReceived(stanza=stanza):
                        core.receive(link.control_name, stanza)
                    case SessionClosed():
                        core.control_lost(link.control_name)
        self._send(core)
        if not self._is_turn_due:
            self._is_turn_due = True
            self._schedule.after(self._schedule.random.uniform(*_APPLY_S), lambda: self._turn(core))

    def _send(self, core: AgentCore) -> None:
        client_of = {link.control_name: link.client for link in self.links}
        for control, stanza in core.take_outbox():
            client = client_of[control]
            if client is not None:
                client.send(stanza, self._schedule.now)
        for link in self.links:
            link.send()
            link.arm()

    def _start_core(self) -> None:
        self._ids = Ids(self.ids_state)
        self._memo = Memo()
        self._reconciler = Reconciler(self.kernel)
        controls = [control.name for control in self._controls]
        core = AgentCore(self.name, self.address, controls, self._disk_views)
        for device in self._devices.values():
            core.device_found(device)
        for one in self._disk_plugs.values():
            core.plug(one)
        self.core = core

    def _turn(self, core: AgentCore) -> None:
        if core is not self.core:
            return  # this turn died with its process
        self._is_turn_due = False
        inputs = core.inputs()
        desired = plan(inputs, self._ids, whole=core.may_delete, memo=self._memo)
        self.ids_state = self._ids.export()
        self._disk_views = core.saved_views()
        if self._schedule.random.random() < self.crash_chance:
            self.crash()
            return
        outcome = self._reconciler.apply(desired, may_delete=core.may_delete)
        assert not outcome.failures, outcome.failures
        self.desired = desired
        core.applied(inputs, self._ids.numbers("vrf"), self._ids.numbers("label"))
        self._send(core)
