"""One compute host's agent: the core, its state on disk, its devices and the data plane together.

Everything here is synchronous and owned by one task (`agent.role` runs it); a `turn` brings the
kernel to where the core wants it, and tells the control nodes. Order in a turn: numbers in a file
before they are used in the kernel, rows before routes are published, rows gone before a device is
let go. Nothing is taken out of the kernel when the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from filament.agent.core import AgentCore, PortState
from filament.agent.devices import Devices
from filament.agent.plug import Plug
from filament.agent.preference import Contender, Place
from filament.agent.state import State
from filament.base.errors import FilamentError, InputError
from filament.dataplane.maps import PinnedMaps
from filament.dataplane.reconcile import Failure, Outcome, Reconciler, Rows
from filament.dataplane.sweep import Sweeper
from filament.forward.holders import claim_name
from filament.forward.ids import Ids, IdsState
from filament.forward.inputs import Inputs
from filament.forward.layout import PLANNED, TABLE_BY_NAME
from filament.forward.lists import Edition, Memo
from filament.forward.plan import plan
from filament.forward.tables import Tables
from filament.runtime.log import logger
from filament.wire.xmpp.stanza import FromAgent

_log = logger("agent.host")
_NOTHING_DONE = Outcome(0, 0, (), 0)


class Leaving(Protocol):
    """Who is told of the flows of ports that leave: of their names before anything changes, then of
    the flows' rows when they are gone from the kernel.
    """

    def expect(self, ports: Sequence[PortState]) -> None:
        """Ports are about to leave; all ports, these among them, as the rows in the kernel are."""

    def left(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """The flows of one of them."""


class AgentHost:
    """The agent of one host, from start to end of its process.

    `changed` is called when a turn has become due, `send` with what control nodes are to be told.
    `tables` are the rows of the last turn, `problem` says why there are no newer ones, or which
    rules did not fit.
    """

    def __init__(
        self,
        core: AgentCore,
        state: State,
        maps: PinnedMaps,
        devices: Devices,
        changed: Callable[[], None],
        send: Callable[[list[tuple[str, FromAgent]]], None],
    ) -> None:
        self.core = core
        self.maps = maps
        self.devices = devices
        self.reconciler = Reconciler(maps)
        self.sweeper = Sweeper(maps)
        self.ids = _restore_ids(state, self.reconciler)
        self.tables = Tables(0, {name: {} for name in PLANNED})
        self.planned: Inputs | None = None  # what `tables` were made of
        self.outcome = _NOTHING_DONE
        self.problem = ""
        self.posted_count = 0  # ports plugged and unplugged
        self.leaving: Leaving | None = None  # hears of the flows of ports that leave
        self._state = state
        self._changed = changed
        self._send = send
        self._plugs: dict[str, Plug] = {}
        self._memo = Memo()
        self._ports: list[PortState] = []  # as they were when `tables` were made
        self._done: Inputs | None = None
        self._is_due = True
        self._may_delete = False
        self._ids_on_disk = self.ids.changes
        self._preferences_on_disk = core.preferences.changes
        self._contenders: dict[int, Contender] = {}  # by the number of their claim
        self._claimed: dict[bytes, bytes] = {}  # rows that have been looked at
        for plug in state.load_plugs():
            self._adopt(plug)

    # ports ------------------------------------------------------------------------------------

    def plug(self, plug: Plug) -> None:
        """Plug a port, or plug it again in another device; it is kept when this returns.

        Raises InputError when the device is another port's or the underlay.
        """
        self.posted_count += 1
        if plug.device == self.devices.underlay:
            raise InputError(
                "bad-device", f"{plug.device} is the underlay of this host", hint="give a tap"
            )
        for other in self._plugs.values():
            if other.device == plug.device and other.uuid != plug.uuid:
                raise InputError(
                    "device-taken",
                    f"port {other.uuid} is plugged in {plug.device}",
                    hint="unplug it first",
                )
        if self._plugs.get(plug.uuid) != plug:
            self._state.save_plug(plug)
        self._adopt(plug)
        self._changed()

    def unplug(self, uuid: str) -> bool:
        """Unplug a port; False when there is none."""
        self.posted_count += 1
        plug = self._plugs.get(uuid)
        if plug is None:
            return False
        self._state.forget_plug(uuid)
        del self._plugs[uuid]
        self.core.unplug(uuid)
        self.devices.release(plug.device)
        self._changed()
        return True

    def plugged(self, uuid: str) -> Plug | None:
        """Return a plugged port."""
        return self._plugs.get(uuid)

    def _adopt(self, plug: Plug) -> None:
        before = self._plugs.get(plug.uuid)
        if before is not None and before.device != plug.device:
            self.devices.release(before.device)
        self._plugs[plug.uuid] = plug
        self.core.plug(plug)
        self.devices.want(plug.device)

    # turns ------------------------------------------------------------------------------------

    @property
    def has_problems(self) -> bool:
        """Whether something failed that `try_again` should be called for."""
        return bool(self.problem or self.outcome.failures or self.devices.has_problems)

    def try_again(self) -> None:
        """Make the next turn try again what failed."""
        self.devices.try_again()
        self._is_due = True

    def turn(self) -> None:
        """Ask control nodes what there is to ask, bring the kernel up to date, tell what follows.

        Questions go first: the answer to one is on its way while rows are made.
        """
        self.devices.follow()
        self._send(self.core.take_outbox())
        inputs = self.core.inputs()
        if not self._is_due and inputs is self._done:
            return
        try:
            may_delete = self.core.may_delete
            if self._is_due or inputs != self._done or may_delete != self._may_delete:
                self._is_due = False
                self._program(inputs, may_delete=may_delete)
                self._may_delete = may_delete
            self._tell_applied(inputs)
            self.devices.detach_released()
        except FilamentError as error:
            if self.problem != str(error):
                _log.error("rows-not-planned", reason=str(error))
            self.problem = str(error)
        else:
            problem = "; ".join(self.tables.misfits)
            if problem and self.problem != problem:
                _log.error("rules-do-not-fit", reason=problem)
            self.problem = problem
            self._done = inputs
        self._send(self.core.take_outbox())

    # addresses that one of several ports holds ------------------------------------------------

    @property
    def has_contenders(self) -> bool:
        """Whether ports here have such addresses."""
        return bool(self._contenders)

    def restore_preferences(self, now_ns: int) -> None:
        """Take up what an earlier process knew of who holds what; before the first turn."""
        saved = self._state.load_preferences()
        numbers = self.ids.numbers("claim")
        self._contenders = {
            number: Contender(one.port, Place(one.instance, one.prefix))
            for one in saved
            if (number := numbers.get(claim_name(one.port, one.prefix))) is not None
        }
        self.core.preferences.restore(saved, self._claims(), now_ns)

    def settle(self, now_ns: int) -> None:
        """See whether somebody else is to hold an address; cheap where there is none."""
        if self._contenders and self.core.settle(self._claims(), now_ns):
            self._changed()

    def save_preferences(self) -> None:
        """Keep on disk who holds what, if it has changed.

        Afterwards, and not before it is told: claims that are newer than what the file knows of are
        looked at again, and come to the same.
        """
        changes = self.core.preferences.changes
        if changes != self._preferences_on_disk:
            self._state.save_preferences(self.core.preferences.save())
            self._preferences_on_disk = changes

    def _claims(self) -> dict[Contender, int]:
        """Read when ports last claimed what they may hold, where that is new."""
        rows = self.maps.read_changed("claims", self._claimed)
        return {
            self._contenders[number]: claimed_ns
            for (number,), (claimed_ns,) in rows.items()
            if number in self._contenders
        }

    def audited(self, found: Rows, mark: int) -> int:
        """Compare what was read from the maps; return how many rows had drifted.

        `mark` is the reconciler's from before reading. Drift is repaired by the next turn.
        """
        drifted = self.reconciler.compare(found, mark) or []
        self.devices.ensure_all()
        if drifted:
            _log.warning("rows-drifted", count=len(drifted), first=str(drifted[0]))
            self._is_due = True
        return len(drifted)

    def editions(self) -> dict[str, Edition]:
        """Return how lists of rules that were edited are numbered, to prove their rows by."""
        return self._memo.editions()

    def plan_anew(self) -> None:
        """Make the next turn plan all rows without what is remembered of the last plan."""
        self._memo = Memo()
        self._is_due = True

    def _program(self, inputs: Inputs, *, may_delete: bool) -> None:
        if self.leaving is not None and may_delete and self._are_leaving(inputs):
            self.leaving.expect(self._ports)
        vrfs_before = {*self.ids.numbers("vrf").values()}
        claims_before = {*self.ids.numbers("claim").values()}
        tables = plan(inputs, self.ids, whole=may_delete, memo=self._memo)
        if self.ids.changes != self._ids_on_disk:
            self._state.save_ids(self.ids.export())
            self._ids_on_disk = self.ids.changes
        vifs_before = self._vifs()
        self.outcome = self.reconciler.apply(tables, may_delete=may_delete)
        self.tables, self.planned = tables, inputs
        for vif in vifs_before - self._vifs():
            rows = self.maps.forget_port(vif)
            if self.leaving is not None:
                self.leaving.left(rows)
        if self.leaving is not None:
            self._ports = self.core.ports()
        for vrf in vrfs_before - {*self.ids.numbers("vrf").values()}:
            self.maps.forget_vrf(vrf)
        numbers = self.ids.numbers("claim")
        self.maps.forget_claims(claims_before - {*numbers.values()})
        self._claimed.clear()
        self._contenders = {
            numbers[claim_name(port.uuid, one.prefix)]: Contender(
                port.uuid, Place(port.vrf, one.prefix)
            )
            for port in inputs.ports
            for one in port.standbys
        }
        for failure in self.outcome.failures:
            _log.error("row-failed", table=failure.table, key=failure.key, reason=failure.text)
        if may_delete and not self._may_delete:
            self.devices.forget_strangers()

    def _are_leaving(self, inputs: Inputs) -> bool:
        """Say whether ports that have rows are not among `inputs` any more."""
        if self.planned is None:
            return False
        return not {port.uuid for port in self.planned.ports} <= {one.uuid for one in inputs.ports}

    def _tell_applied(self, inputs: Inputs) -> None:
        """Tell the core which of the inputs' rows are in the kernel."""
        labels = self.ids.numbers("label")
        failed = self._failed_ports(inputs, labels, self.outcome.failures)
        self.core.applied(inputs, self.ids.numbers("vrf"), labels, failed)

    def is_pressed(self) -> bool:
        """Whether the flow table is nearly full at this moment."""
        self.sweeper.look(self._vifs())
        return self.sweeper.is_pressed

    def _vifs(self) -> set[int]:
        return {values[0] for values in self.reconciler.actual["interfaces"].values()}

    def _failed_ports(
        self, inputs: Inputs, labels: dict[str, int], failures: tuple[Failure, ...]
    ) -> frozenset[str]:
        """Return the ports (uuids) that lack one of their own rows."""
        if not failures:
            return frozenset()
        rows = {(one.table, one.key) for one in failures}
        next_hops = self.ids.numbers("next_hop")
        return frozenset(
            port.uuid
            for port in inputs.ports
            if ("interfaces", (port.ifindex,)) in rows
            or ("labels", (labels[port.uuid],)) in rows
            or ("next_hops", (next_hops[f"port {port.uuid}"],)) in rows
        )


def _restore_ids(state: State, reconciler: Reconciler) -> Ids:
    """Return this host's numbers; those of an unknown past found in the kernel stay unused.

    Without the file, a number given to another VRF while old rows still carry it would let packets
    cross; it is given out again only after those rows are gone.
    """
    kept = state.load_ids(IdsState)
    ids = Ids(kept if kept is not None else IdsState(cooling=_numbers_in(reconciler)))
    host = reconciler.actual["host"].get((0,))
    if host is not None:
        ids.skip_generation(_value(host, "host", "generation"))
    return ids


def _numbers_in(reconciler: Reconciler) -> dict[str, list[int]]:
    """Return the numbers that rows in the kernel use, by space."""
    actual = reconciler.actual
    interfaces = actual["interfaces"].values()
    routes = {**actual["routes"], **actual["routes6"]}  # keys of the two differ in length
    found = {
        "vrf": {key[1] for key in routes}
        | {_value(row, "vnis", "vrf") for row in actual["vnis"].values()}
        | {_value(row, "interfaces", "vrf") for row in interfaces},
        "network": {_value(row, "routes", "network") for row in routes.values()}
        | {_value(row, "interfaces", "network") for row in interfaces}
        | {network for key in actual["buckets"] for network in key[2:4]},
        "groups": {key[4] for key in actual["buckets"]}
        | {_value(row, "routes", "groups") for row in routes.values()},
        "vif": {_value(row, "interfaces", "vif") for row in interfaces}
        | {key[1] for key in actual["sources"]},
        "next_hop": {key[0] for key in actual["next_hops"]},
        "label": {key[0] for key in actual["labels"]},
        "list": {
            key[0] for name in ("lists", "shapes", "buckets", "ranges") for key in actual[name]
        },
    }
    return {space: sorted(numbers - {0}) for space, numbers in found.items()}


def _value(values: tuple[int, ...], table: str, field: str) -> int:
    """Return one field of a row."""
    names = [one.name for one in TABLE_BY_NAME[table].value if not one.type.startswith("pad")]
    return values[names.index(field)]
