"""The agent, thought: plugged ports + devices + what control nodes said -> inputs and stanzas.

Sans-IO: no clock, no sockets, no kernel; the asyncio shell (`agent.role`) and the simulator own
one each and call it from one thread. The cycle: feed it (`plug`, `device_found`, `receive`, ...),
make rows of `inputs()`, put them into the data plane, then say so with `applied`; what it has to
tell control nodes is in `take_outbox`. It publishes a port only once its rows are applied, and
acknowledges a batch only once everything in it is.

What control nodes said is kept when they are lost (headless); `may_delete` tells whether what the
data plane holds beyond `inputs()` is known to be obsolete or may only not have been told again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from filament.agent.announce import published_routes
from filament.agent.collect import Collected, collect, order_of
from filament.agent.config import ConfigReader, Configuration, PortConfig, Problem
from filament.agent.graph import Graph
from filament.agent.plug import Plug
from filament.agent.preference import Contender, Heard, Place, Preferences
from filament.agent.session import ROUTER_PARENT, RouteKey, Session
from filament.agent.view import SavedView, View
from filament.base.origin import NOWHERE
from filament.forward.inputs import ABILITIES, Abilities, Host, Inputs, Port
from filament.wire.xmpp.stanza import (
    ConfigRefused,
    ConfigSent,
    Destination,
    EndOfRib,
    FromAgent,
    FromControl,
    RouteItem,
    RoutePublished,
    RoutesSent,
    Sync,
)


class Device(NamedTuple):
    """A network device of this host that is ready to carry a port."""

    name: str
    ifindex: int
    is_veth: bool


class PortState(msgspec.Struct, frozen=True):
    """A plugged port for people: `state` is `active` or says what the port waits for."""

    plug: Plug
    state: str
    config: PortConfig | None = None
    device: Device | None = None


class ControlState(msgspec.Struct, frozen=True):
    """A control node for people; `acknowledged` is the last Sync answered in this session."""

    control: str
    is_connected: bool
    is_whole: bool
    revision: int
    received: int
    acknowledged: int


class _Offer(NamedTuple):
    """Inputs handed out, the instances they serve, and the Syncs they contain, by session."""

    inputs: Inputs
    instances: frozenset[str]
    syncs: list[tuple[Session, Sync]]


class AgentCore:
    """One per agent process; see the module's text for the cycle.

    `controls` names the control nodes this agent uses, in order of preference: of two that know
    the same revision, the first is believed. `saved` is what an earlier process kept on disk.
    `flow_limit` is how many flows any port may have (0: no limit but its own).
    `preferences` are how ports stand with addresses that one of several holds.
    """

    def __init__(
        self,
        name: str,
        address: int,
        controls: Iterable[str] = (),
        saved: Iterable[SavedView] = (),
        abilities: Abilities = ABILITIES,
        flow_limit: int = 0,
    ) -> None:
        self.host = Host(name, address)
        self.preferences = Preferences(address)
        self._flow_limit = flow_limit
        self._abilities = abilities
        self._plugs: dict[str, Plug] = {}
        self._devices: dict[str, Device] = {}
        self._views: dict[str, View] = {one: View(address, None, abilities) for one in controls}
        for view in saved:
            self._views[view.control] = View(address, view, abilities)
        self._sessions: dict[str, Session] = {}
        self._reader = ConfigReader(abilities)
        self._configuration = Configuration()
        self._configured_from: tuple[View, int] | None = None
        self._routes = Collected()
        self._routed_from: tuple[object, ...] = ()
        self._offer: _Offer | None = None
        self._is_offer_current = False
        self._published: dict[RouteKey, RoutePublished] = {}
        self._instances: dict[str, int] = {}
        self._active: frozenset[str] = frozenset()
        self._has_been_whole = False

    # ports and devices ------------------------------------------------------------------------

    def plug(self, plug: Plug) -> None:
        """A port was plugged (again: its machine or device may have changed)."""
        before = self._plugs.get(plug.uuid)
        self._plugs[plug.uuid] = plug
        if before is not None and before.machine != plug.machine:
            self._release_machine(before.machine)
        self._is_offer_current = False
        for session in self._sessions.values():
            session.want_machine(plug.machine)

    def unplug(self, uuid: str) -> None:
        """A port was unplugged; unknown ones are nothing to do."""
        plug = self._plugs.pop(uuid, None)
        if plug is not None:
            self._release_machine(plug.machine)
            self._is_offer_current = False

    def device_found(self, device: Device) -> None:
        """A device exists and can carry a port (again: its ifindex may have changed)."""
        if self._devices.get(device.name) != device:
            self._devices[device.name] = device
            self._is_offer_current = False

    def device_gone(self, name: str) -> None:
        """A device does not exist, or cannot carry a port any more."""
        if self._devices.pop(name, None) is not None:
            self._is_offer_current = False

    # addresses that one of several ports holds ------------------------------------------------

    def settle(self, claims: Mapping[Contender, int], now_ns: int) -> bool:
        """See who holds what, by when ports last claimed it (ns of the kernel's monotonic clock)
        and by what control nodes tell; say whether that has changed.
        """
        is_changed = self.preferences.settle(claims, self.heard(), now_ns)
        if is_changed:
            self._is_offer_current = False
        return is_changed

    def heard(self) -> dict[Place, Heard]:
        """Return the best that control nodes tell of the addresses that ports here may hold."""
        heard: dict[Place, Heard] = {}
        for place in self.preferences.places:
            for view in self._route_views():
                item = view.items_of(place.instance).get(place.prefix)
                if item is None or not item.next_hops:
                    continue
                address = min(hop.address for hop in item.next_hops)
                told = Heard(item.local_preference, item.sequence, address)
                heard[place] = max(told, heard.get(place, told), key=lambda one: one.rank)
        return heard

    # control nodes ----------------------------------------------------------------------------

    def control_connected(self, control: str) -> None:
        """A session begins: ask again for everything, and publish again what is published."""
        view = self._views.setdefault(control, View(self.host.address, None, self._abilities))
        view.begin_session()
        session = Session(self.host.name)
        self._sessions[control] = session
        for machine in sorted({plug.machine for plug in self._plugs.values()}):
            session.want_machine(machine)
        session.publish(self._instances, self._published)
        self._is_offer_current = False

    def control_lost(self, control: str) -> None:
        """A session ended: what it said stays, while nobody else knows better."""
        if self._sessions.pop(control, None) is not None:
            self._views[control].end_session()
            self._is_offer_current = False

    def receive(self, control: str, stanza: FromControl) -> None:
        """Take a stanza of a connected control node; raises ProtocolError on abuse."""
        session, view = self._sessions[control], self._views[control]
        match stanza:
            case RoutesSent(instance=instance) if instance not in session.instances:
                pass  # it was on its way when we left the instance
            case ConfigSent() | RoutesSent() | ConfigRefused():
                view.receive(stanza)
            case Sync():
                self._complete(session, view, stanza)
            case EndOfRib():
                pass  # Sync.whole says it, and more

    def take_outbox(self) -> list[tuple[str, FromAgent]]:
        """Return and forget what to tell which control node, in order."""
        outbox: list[tuple[str, FromAgent]] = []
        for control, session in self._sessions.items():
            outbox.extend((control, stanza) for stanza in session.take())
        return outbox

    # the data plane ---------------------------------------------------------------------------

    @property
    def may_delete(self) -> bool:
        """Whether rows that `inputs()` does not ask for are obsolete.

        False until some control node has sent everything once: until then, rows found in the
        kernel may belong to ports this process has not been told about yet.
        """
        return self._has_been_whole

    def inputs(self) -> Inputs:
        """Return everything rows are made from; the same object while nothing changed."""
        if self._offer is None or not self._is_offer_current:
            self._offer = self._make_offer()
            self._is_offer_current = True
        return self._offer.inputs

    def applied(
        self,
        inputs: Inputs,
        vrf_ids: Mapping[str, int],
        labels: Mapping[str, int],
        failed: frozenset[str] = frozenset(),
    ) -> None:
        """The rows of the last `inputs()` are in the data plane: publish, then acknowledge.

        `vrf_ids` are this host's numbers by instance name. `labels` are its MPLS labels: by port
        uuid for packets, by `bridge UUID` for frames to a port, by `flood INSTANCE` for frames to
        everybody in an instance; what has no label is offered by VXLAN only.
        `failed` are the ports (uuids) whose rows could not be written: they are not published.
        Older inputs than the last handed out say nothing new and are ignored.
        """
        offer = self._offer
        if offer is None or offer.inputs is not inputs:
            return
        ports = [port for port in inputs.ports if port.uuid not in failed]
        self._active = frozenset(port.uuid for port in ports)
        self._instances = {one: vrf_ids[one] for one in sorted(offer.instances) if one in vrf_ids}
        encapsulations = tuple(
            one
            for one in self._configuration.encapsulations
            if one in self._abilities.encapsulations
        )
        published = published_routes(
            self.host.address,
            inputs.vrfs,
            ports,
            labels,
            encapsulations or ("udp",),
            {one.name: one.number for one in inputs.security_groups},
        )
        self._published = {(route.instance, route.destination): route for route in published}
        for control, session in self._sessions.items():
            for instance in session.publish(self._instances, self._published):
                self._views[control].forget_instance(instance)
        for session, sync in offer.syncs:
            session.acknowledge(sync)
        offer.syncs.clear()

    # for the disk and for people --------------------------------------------------------------

    def saved_views(self) -> list[SavedView]:
        """Return what control nodes said, for a later process of this agent."""
        return [view.save(control) for control, view in self._views.items() if view.revision]

    @property
    def saved_mark(self) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever `saved_views` would."""
        return tuple(
            (control, view.config_changes, view.route_changes)
            for control, view in self._views.items()
        )

    def ports(self) -> list[PortState]:
        """Return every plugged port, and what it waits for."""
        self.inputs()
        return [self._port_state(self._plugs[uuid]) for uuid in sorted(self._plugs)]

    def controls(self) -> list[ControlState]:
        """Return every control node this agent knows."""
        return [
            ControlState(
                control=control,
                is_connected=control in self._sessions,
                is_whole=view.is_whole,
                revision=view.revision,
                received=session.received if (session := self._sessions.get(control)) else 0,
                acknowledged=session.acknowledged if session else 0,
            )
            for control, view in self._views.items()
        ]

    def problems(self) -> list[Problem]:
        """Return what was received and cannot be used."""
        self.inputs()
        problems = list(self._configuration.problems)
        for view in self._route_views():
            problems.extend(view.unusable_routes())
        for control, view in self._views.items():
            problems.extend(
                Problem(one.object, f"refused by {control}: {one.text}")
                for one in view.refusals.values()
            )
        return sorted(set(problems))

    def routes(self) -> dict[str, list[RouteItem]]:
        """Return received routes by instance, as far as this host uses them."""
        items: dict[str, dict[Destination, RouteItem]] = {}
        for view in self._route_views():
            for instance in view.instances:
                known = items.setdefault(instance, {})
                for destination, item in view.items_of(instance).items():
                    known.setdefault(destination, item)
        return {
            instance: [known[one] for one in sorted(known, key=order_of)]
            for instance, known in items.items()
        }

    @property
    def published(self) -> Iterable[RoutePublished]:
        """What control nodes were told that is reached here."""
        return self._published.values()

    @property
    def views(self) -> Mapping[str, View]:
        """What each control node told, by its address; not to be changed."""
        return self._views

    @property
    def believed(self) -> str:
        """The control node whose configuration holds; "" before there is one."""
        view = self._believed()
        return next((name for name, one in self._views.items() if one is view), "")

    @property
    def flow_export_rate(self) -> int | None:
        """How many sessions a second a host may tell of; None where nobody said."""
        return self._configuration.flow_export_rate

    @property
    def graph(self) -> Graph | None:
        """The configuration that holds."""
        view = self._believed()
        return view.graph if view is not None else None

    # inside -----------------------------------------------------------------------------------

    def _complete(self, session: Session, view: View, sync: Sync) -> None:
        """A batch is complete."""
        if sync.revision < view.revision:
            for control in self._views.keys() - self._sessions.keys():
                self._views[control] = View(self.host.address, None, self._abilities)
        # Before our EndOfRib the control node cannot know all that we want to hear of.
        was_whole = view.is_whole
        view.complete(sync, is_whole=sync.whole and session.has_ended_rib)
        if view.is_whole and not was_whole:
            self._has_been_whole = True
            self._forget_newer(sync.revision)
        session.received = sync.sequence
        session.unanswered = sync
        self._is_offer_current = False

    def _forget_newer(self, revision: int) -> None:
        """Forget what lost control nodes said of later revisions than a whole session's.

        The store went back in time (it was restored), and a control node that we left for another
        will never tell us so itself.
        """
        for control in self._views.keys() - self._sessions.keys():
            if self._views[control].revision > revision:
                self._views[control] = View(self.host.address, None, self._abilities)

    def _release_machine(self, machine: str) -> None:
        if all(plug.machine != machine for plug in self._plugs.values()):
            for session in self._sessions.values():
                session.release_machine(machine)

    def _make_offer(self) -> _Offer:
        configuration = self._configure()
        configs = [
            (plug, config)
            for uuid, plug in self._plugs.items()
            if (config := configuration.ports.get(uuid)) is not None
        ]
        instances = frozenset(config.vrf for _, config in configs)
        acls = {config.acl for _, config in configs}
        groups = {name for _, config in configs for name in config.security_groups}
        policy_sets = {
            name for _, config in configs for name in (*config.policy_sets, *config.fwaas_sets)
        }
        active = [
            (config, device)
            for plug, config in configs
            if (device := self._devices.get(plug.device)) is not None
        ]
        contenders = (
            Contender(config.uuid, Place(config.vrf, prefix))
            for config, _ in active
            for prefix in config.standbys
        )
        self.preferences.retain(contenders, are_all=self._has_been_whole)
        router = configuration.routers.get(f"{ROUTER_PARENT}:{self.host.name}", NOWHERE)
        collected = self._collect_routes(instances)
        inputs = Inputs(
            host=Host(self.host.name, self.host.address, router),
            revision=view.revision if (view := self._believed()) is not None else 0,
            ports=tuple(
                _port(config, device, self._flow_limit, self.preferences)
                for config, device in active
            ),
            subnets=tuple(one for one in configuration.subnets if one.vrf in instances),
            routes=collected.routes,
            filters=tuple(one for one in configuration.filters if one.name in acls),
            vrfs=tuple(one for one in configuration.vrfs if one.name in instances),
            macs=collected.macs,
            floods=collected.floods,
            security_groups=tuple(
                one for one in configuration.security_groups if one.name in groups
            ),
            policy_sets=tuple(one for one in configuration.policy_sets if one.name in policy_sets),
        )
        syncs = [
            (session, session.unanswered)
            for session in self._sessions.values()
            if session.unanswered is not None
        ]
        return _Offer(inputs, instances, syncs)

    def _believed(self) -> View | None:
        """Return the view whose configuration holds: complete, then newest, then connected."""
        best: tuple[tuple[bool, int, bool], View] | None = None
        for control, view in self._views.items():
            rank = (view.has_been_whole, view.revision, control in self._sessions)
            if best is None or rank > best[0]:
                best = rank, view
        return best[1] if best is not None else None

    def _configure(self) -> Configuration:
        view = self._believed()
        if view is None:
            return self._configuration
        if self._configured_from != (view, view.config_changes):
            self._configuration = self._reader.read(view.graph)
            self._configured_from = (view, view.config_changes)
        return self._configuration

    def _route_views(self) -> list[View]:
        """Return whose routes hold: those of whole sessions; without any, all that is remembered.

        A control node that is away may have missed withdrawals that the others have heard.
        """
        whole = [view for view in self._views.values() if view.is_whole]
        return whole or list(self._views.values())

    def _collect_routes(self, instances: frozenset[str]) -> Collected:
        """Merge the views' routes, unless nothing has changed since the last time."""
        views = self._route_views()
        source = (instances, *((view, view.route_changes) for view in views))
        if source != self._routed_from:
            self._routes, self._routed_from = collect(instances, views), source
        return self._routes

    def _port_state(self, plug: Plug) -> PortState:
        config = self._configuration.ports.get(plug.uuid)
        device = self._devices.get(plug.device)
        if config is None:
            wanted = self._configuration.waiting.get(plug.uuid, "its configuration")
            state = f"waiting for {wanted}"
        elif device is None:
            state = f"waiting for the device {plug.device}"
        elif plug.uuid not in self._active:
            state = "waiting for the data plane"
        else:
            state = "active"
        return PortState(plug, state, config, device)


def _port(config: PortConfig, device: Device, flow_limit: int, preferences: Preferences) -> Port:
    return Port(
        uuid=config.uuid,
        name=config.name,
        device=device.name,
        ifindex=device.ifindex,
        is_veth=device.is_veth,
        mac=config.mac,
        addresses=config.addresses,
        vrf=config.vrf,
        network=config.network,
        acl=config.acl,
        has_policy=config.has_policy,
        origin=config.origin,
        security_groups=config.security_groups,
        tags=config.tags,
        policy_sets=config.policy_sets,
        fwaas_sets=config.fwaas_sets,
        fat_flows=config.fat_flows,
        addresses6=config.addresses6,
        pairs=config.pairs,
        checks_mac=config.checks_mac,
        checks_source=config.checks_source,
        flow_limit=min(filter(None, (config.flow_limit, flow_limit)), default=0),
        load_balance=config.load_balance,
        standbys=tuple(
            preferences.standby(Contender(config.uuid, Place(config.vrf, prefix)))
            for prefix in config.standbys
        ),
    )
