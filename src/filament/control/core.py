"""The control node, thought: configuration and agents in, stanzas out. No I/O, no clock.

One flush (`take_outbox`) sends each agent what changed for it since the last, coalesced, and ends
with a `Sync`; an agent for which nothing changed is told the revision a little later, together
with whatever else happened (`IDLE_SYNC_S`). The first Sync after which an agent may forget what
it was not told again is `whole`: once it has published everything it had (see `agents`), and once
the RIB is complete after a restart of this node (see `absence`).

An agent whose name is no virtual-router is refused, not disconnected: it is served as soon as the
virtual-router exists.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from filament.base.errors import NotFoundError, ProtocolError
from filament.base.limits import MAX_AGENT_ROUTES, MAX_AGENT_SUBSCRIPTIONS
from filament.compiler.compile import Compiler
from filament.compiler.plan import AgentView, Plan, PlanDelta
from filament.compiler.render import Rendered
from filament.compiler.views import NOTHING, Audience, is_empty, router_fq_name
from filament.control.absence import Absences
from filament.control.agents import AgentSession
from filament.control.barrier import Barrier
from filament.control.fanout import Fanout
from filament.control.translate import key_of, path_of
from filament.model.change import Allocation, Commit, Object
from filament.model.snapshot import Snapshot
from filament.rib.rib import Instance, Rib
from filament.wire.xmpp.entry import format_destination
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    ConfigRefused,
    ConfigSubscribed,
    ConfigUnsubscribed,
    Destination,
    EndOfRib,
    FromAgent,
    FromControl,
    InstanceSubscribed,
    InstanceUnsubscribed,
    MacKey,
    RouteItem,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    Sync,
    Synced,
)

IDLE_SYNC_S = 1.0
_ROUTER = "virtual-router"
_MACHINE = "virtual-machine"
_SPEAKER = "bgp-router"


class Refusal(msgspec.Struct, frozen=True):
    """An agent that is connected and not served, and why."""

    agent: str
    address: str
    kind: str
    name: str
    text: str


class ControlCore:
    """One per control node process; owned by one task.

    `expected` names the agents that a previous process of this node served; None when there is
    no record of it.
    """

    def __init__(
        self, name: str, expected: Iterable[str] | None = None, peers: Iterable[str] = ()
    ) -> None:
        self.name = name
        self.rib = Rib()
        self.agents: dict[str, AgentSession] = {}
        self.absences = Absences(expected, peers)
        self.refusals: dict[str, Refusal] = {}
        self.snapshot = Snapshot()
        self._is_loaded = False
        self._compiler = Compiler()
        self._rendered = Rendered(self._compiler.plan)
        self._audience = Audience()
        self._barrier = Barrier()
        self._fanout = Fanout(self.rib)
        self._touched: dict[str, None] = {}  # agents with something to be sent
        self._outstanding: dict[str, int] = {}  # agent -> last sequence, unacknowledged
        self._refused: list[tuple[str, ConfigRefused]] = []
        self._closures: list[tuple[str, str]] = []
        self._left_behind: dict[str, list[str]] = {}  # lost agent -> instances it subscribed to
        self._idle_sync_at: float | None = None
        self._is_behind = False  # there was more to tell than went out with the last flush

    # configuration ------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The revision of the configuration this node works from."""
        return self.snapshot.revision

    @property
    def settled(self) -> int:
        """The last revision that every connected agent shows with all its consequences."""
        return self._barrier.settled

    @property
    def is_loaded(self) -> bool:
        """Say whether a configuration has been loaded."""
        return self._is_loaded

    def load(
        self,
        objects: Iterable[Object],
        allocations: Iterable[Allocation],
        revision: int,
        now: float,
    ) -> None:
        """Start from a whole configuration; agents are sent what is different in it."""
        if revision < self.revision:
            self._barrier.restart()  # the store was restored from a backup
        self.snapshot = Snapshot(revision, objects, allocations)
        self._is_loaded = True
        self._follow_plan(self._compiler.load(self.snapshot))
        for session in self.agents.values():
            self._reconsider(session)
            if session.is_served:
                session.config_changed = session.sync_wanted = True
                self._touched[session.name] = None
        routers = {each.fq_name[-1] for each in self.snapshot.of_kind(_ROUTER)}
        returned = [each.name for each in self.agents.values() if each.has_published_again]
        self.absences.begin(routers, returned, now)
        if self._is_one_of_several():
            self.absences.shared(now)
        self._touch_unwhole()

    def apply_commit(self, commit: Commit, now: float) -> None:
        """Follow the next commit (its revision is ours + 1)."""
        self.snapshot.apply(commit)
        delta = self._compiler.update(self.snapshot, commit)
        self._follow_plan(delta)
        for each in self._audience.affected(self.snapshot, commit, delta):
            self.agents[each].config_changed = True
            self._touched[each] = None
        for changed in (*commit.puts, *commit.deletes):
            if changed.kind == _ROUTER:
                name = changed.fq_name[-1]
                if self.snapshot.named(_ROUTER, changed.fq_name) is None:
                    self.absences.removed(name)
                    self._touch_unwhole()
                if name in self.agents:
                    self._reconsider(self.agents[name])
            elif changed.kind == _SPEAKER and self._is_one_of_several():
                self.absences.shared(now)
                self._touch_unwhole()
        if self._idle_sync_at is None and self.agents:
            self._idle_sync_at = now + IDLE_SYNC_S

    def _is_one_of_several(self) -> bool:
        """Say whether the cluster has other control nodes, by its bgp-routers."""
        return any(
            each.fq_name[-1] != self.name
            and (each.props.get("bgp_router_parameters") or {}).get("router_type") == "control-node"
            for each in self.snapshot.of_kind(_SPEAKER)
        )

    def _follow_plan(self, delta: PlanDelta) -> None:
        plan = self._compiler.plan
        self._rendered.update(plan, delta)
        for name in delta.instances_deleted:
            self.rib.forget_instance(name)
        for name in delta.instances_put:
            row = plan.routing_instances[name]
            self.rib.put_instance(
                Instance(name, row.network, row.imports, row.exports, row.network_id)
            )

    # agents come and go -------------------------------------------------------------------

    def agent_connected(self, agent: str, now: float, address: str = "") -> None:
        """An agent's session begins; the one before has been `agent_lost`."""
        assert agent not in self.agents, f"{agent} is connected twice"
        self.agents[agent] = AgentSession(agent, address, now)
        self.absences.connected(agent, now)

    def agent_lost(self, agent: str, now: float) -> None:
        """An agent's session ended; its routes stay for a while (see `absence`)."""
        session = self.agents.pop(agent, None)
        if session is None:
            return
        if session.is_served:
            self.rib.mark_stale(agent)
            self.absences.lost(agent, now)
        self._audience.leave(agent)
        self._fanout.stop_serving(agent)
        self._leave_behind(agent)
        for instance in session.instances:
            self._fanout.leave(agent, instance)
        if session.is_served:
            # It is expected back: until then its instances' routes are drawn as before.
            self._left_behind[agent] = list(session.instances)
        else:
            self._leave_instances(session.instances)
        self._barrier.lost(agent)
        self._outstanding.pop(agent, None)
        self._touched.pop(agent, None)
        self.refusals.pop(agent, None)
        self._refused = [each for each in self._refused if each[0] != agent]

    def _leave_instances(self, instances: Iterable[str]) -> None:
        for instance in instances:
            self.rib.leave(instance)

    def _leave_behind(self, agent: str) -> None:
        """Stop drawing routes for what an agent subscribed to before it was lost."""
        self._leave_instances(self._left_behind.pop(agent, ()))

    def _reconsider(self, session: AgentSession) -> None:
        """Serve or refuse an agent, according to whether its virtual-router exists."""
        router = session.router
        if router is None or not self._is_loaded:
            return
        exists = self.snapshot.named(_ROUTER, router_fq_name(router)) is not None
        if exists and not session.is_served:
            self._serve(session, router)
        elif not exists:
            if session.is_served:
                self._stop_serving(session)
            self._refuse(
                session,
                _ROUTER,
                router,
                f"control node {self.name} knows no virtual-router {router}; create one named"
                f" {session.name!r}, or start the agent with the name of one that exists",
            )

    def _serve(self, session: AgentSession, router: str) -> None:
        self.refusals.pop(session.name, None)
        if session.was_ignored:
            self._closures.append(
                (session.name, f"virtual-router {router} exists now; connect and publish again")
            )
            return
        session.is_served = True
        self._audience.join(session.name, router)
        for machine in session.machines:
            self._audience.subscribe(session.name, machine)
        session.asked = session.config_changed = True
        self._fanout.serve(session.name, session.instances)
        self._touched[session.name] = None

    def _stop_serving(self, session: AgentSession) -> None:
        name = session.name
        session.is_served = False
        session.was_ignored = True  # should it be served again, it must publish again
        self._audience.leave(name)
        self._fanout.stop_serving(name)
        self.rib.withdraw_peer(name)
        self._leave_behind(name)
        self.absences.published_again(name)
        self._barrier.lost(name)
        self._outstanding.pop(name, None)
        self._touched.pop(name, None)

    def _refuse(self, session: AgentSession, kind: str, name: str, text: str) -> None:
        refusal = Refusal(session.name, session.address, kind, name, text)
        if self.refusals.get(session.name) != refusal:
            self.refusals[session.name] = refusal
            self._refused.append((session.name, ConfigRefused(kind, name, text)))

    # what agents say ----------------------------------------------------------------------

    def receive(self, agent: str, stanza: FromAgent) -> None:
        """Take what a connected agent says. Raises `ProtocolError`: its session must be closed."""
        session = self.agents[agent]
        match stanza:
            case ConfigSubscribed(kind=kind, name=name, takes_edits=takes_edits):
                session.takes_edits |= takes_edits
                self._subscribe_config(session, kind, name)
            case ConfigUnsubscribed(kind=kind, name=name):
                self._unsubscribe_config(session, kind, name)
            case InstanceSubscribed(instance=instance, instance_id=instance_id):
                self._subscribe_instance(session, instance, instance_id)
            case InstanceUnsubscribed(instance=instance):
                self._unsubscribe_instance(session, instance)
            case RoutePublished():
                self._publish(session, stanza)
            case RouteRetracted(instance=instance, destination=destination):
                self._retract(session, instance, destination)
            case EndOfRib():
                session.ended_rib = True
                self._note_published_again(session)
            case Synced(sequence=sequence, revision=revision):
                self._take_synced(session, sequence, revision)

    def _subscribe_config(self, session: AgentSession, kind: str, name: str) -> None:
        if kind == _ROUTER:
            if router_fq_name(name)[-1] != session.name:
                self._refuse(
                    session,
                    kind,
                    name,
                    f"agent {session.name!r} may subscribe only to the virtual-router of its own"
                    f" name, not to {name}",
                )
            elif session.router is None:
                session.router = name
                self._reconsider(session)
        elif kind == _MACHINE:
            if name not in session.machines:
                _require_room(session)
                session.machines.add(name)
                if session.is_served:
                    self._audience.subscribe(session.name, name)
                    session.asked = session.config_changed = True
                    self._touched[session.name] = None
        else:
            self._refuse(
                session,
                kind,
                name,
                f"{kind} {name} cannot be subscribed to; {_ROUTER} and {_MACHINE} can",
            )

    def _unsubscribe_config(self, session: AgentSession, kind: str, name: str) -> None:
        if kind == _MACHINE and name in session.machines:
            session.machines.discard(name)
            if session.is_served:
                self._audience.unsubscribe(session.name, name)
                session.config_changed = True
                self._touched[session.name] = None

    def _subscribe_instance(self, session: AgentSession, instance: str, instance_id: int) -> None:
        if instance in session.instances:
            raise ProtocolError(
                "policy-violation",
                f"{instance} is subscribed already; unsubscribe it first",
            )
        _require_room(session)
        if any(each & 0xFFFF == instance_id & 0xFFFF for each in session.instances.values()):
            raise ProtocolError(
                "policy-violation",
                f"{instance} is subscribed as instance {instance_id}, a number that another one"
                " has; route distinguishers need numbers of their own, below 65536",
            )
        session.instances[instance] = instance_id
        self.rib.join(instance)
        self._fanout.listen(session.name, instance)

    def _unsubscribe_instance(self, session: AgentSession, instance: str) -> None:
        if instance not in session.instances:
            raise ProtocolError(
                "policy-violation", f"{instance} is not subscribed, so it cannot be left"
            )
        del session.instances[instance]
        self.rib.leave(instance)
        self._fanout.leave(session.name, instance)
        self.rib.withdraw_instance(session.name, instance)

    def _publish(self, session: AgentSession, stanza: RoutePublished) -> None:
        instance_id = session.instances.get(stanza.instance)
        if instance_id is None:
            raise ProtocolError(
                "policy-violation",
                f"{format_destination(stanza.destination)} is published in {stanza.instance}, which"
                " is not subscribed; subscribe it first",
            )
        if not session.is_served:
            session.was_ignored = True
            return
        key = key_of(stanza.destination, stanza.next_hop.address, instance_id)
        if isinstance(stanza.destination, MacKey) and stanza.destination.mac == BROADCAST_MAC:
            flood = stanza.instance, stanza.destination.tag
            before = session.floods.get(flood)
            if before is not None and before != key:
                self.rib.withdraw(session.name, stanza.instance, before)
            session.floods[flood] = key
        # What is published again (after a reconnection everything is) takes no more room.
        if self.rib.count_of_peer(session.name) >= MAX_AGENT_ROUTES and not self.rib.has_of_peer(
            session.name, stanza.instance, key
        ):
            raise ProtocolError(
                "policy-violation", f"an agent may publish {MAX_AGENT_ROUTES} routes, not more"
            )
        self.rib.publish(key, path_of(session.name, instance_id, stanza))

    def _retract(self, session: AgentSession, instance: str, destination: Destination) -> None:
        if isinstance(destination, MacKey) and destination.mac == BROADCAST_MAC:
            # A retraction does not repeat the next hop, which is part of the key.
            key = session.floods.pop((instance, destination.tag), None)
        else:
            key = key_of(destination, 0, 0)
        if key is not None:
            self.rib.withdraw(session.name, instance, key)

    def _take_synced(self, session: AgentSession, sequence: int, revision: int) -> None:
        if not session.acknowledged_sequence <= sequence <= session.sent_sequence:
            raise ProtocolError(
                "policy-violation",
                f"Sync {sequence} is acknowledged; expected {session.acknowledged_sequence} to"
                f" {session.sent_sequence}",
            )
        session.acknowledged_sequence = sequence
        session.applied_revision = revision
        self._barrier.acknowledged(session.name, sequence)
        if self._outstanding.get(session.name) == sequence:
            del self._outstanding[session.name]
        self._note_published_again(session)

    def _note_published_again(self, session: AgentSession) -> None:
        if not session.has_published_again or not session.is_served:
            return
        if self.absences.stale_until(session.name) is not None:
            self.rib.sweep_stale(session.name)
        self._leave_behind(session.name)
        was_whole = self.absences.is_whole
        self.absences.published_again(session.name)
        if not session.is_whole:
            self._touched[session.name] = None
        if self.absences.is_whole and not was_whole:
            self._touch_unwhole()

    def peer_told_all(self, name: str) -> None:
        """A BGP peer has told all it has, and what it told is in the RIB."""
        self.absences.peer_told_all(name)
        self._touch_unwhole()

    def _touch_unwhole(self) -> None:
        """Look again at the agents that wait for a whole Sync."""
        if self.absences.is_whole:
            for session in self.agents.values():
                if session.is_served and not session.is_whole and session.has_published_again:
                    self._touched[session.name] = None

    # what they are told -------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether `take_outbox` has more to tell than went out with the last flush."""
        return self.rib.has_changes or self._fanout.has_work

    def take_outbox(self) -> list[tuple[str, FromControl]]:
        """Return and forget what to send to whom, in order: one flush."""
        routes = self._fanout.take()
        self._touched |= dict.fromkeys(routes)
        was_behind, self._is_behind = self._is_behind, self.has_more
        if was_behind and not self._is_behind:
            self._touch_unwhole()
        outbox: list[tuple[str, FromControl]] = list(self._refused)
        self._refused.clear()
        for agent in self._touched:
            stanzas = self._flush(self.agents[agent], routes.get(agent, ()))
            outbox.extend((agent, stanza) for stanza in stanzas)
        self._touched.clear()
        # BGP peers may be away for long; what they will say is no part of a revision.
        if self.absences.is_complete and not self._is_behind:
            self._barrier.advance(self.revision, self._outstanding)
        return outbox

    def _flush(self, session: AgentSession, routes: Iterable[RoutesSent]) -> list[FromControl]:
        """Return what one agent is to be sent now, up to a Sync; nothing when nothing changed."""
        stanzas: list[FromControl] = []
        if session.config_changed:
            sent = self._audience.tell(
                session.name,
                self.snapshot,
                self._compiler.plan,
                self._rendered,
                edits=session.takes_edits,
            )
            if not is_empty(sent):
                stanzas.append(sent)
        stanzas.extend(routes)
        is_whole = (
            not session.is_whole
            and session.has_published_again
            and self.absences.is_whole
            and not self._is_behind
        )
        if stanzas or is_whole or session.asked or session.sync_wanted:
            session.sent_sequence += 1
            session.sent_revision = self.revision
            if session.asked:
                session.answered_sequence = session.sent_sequence
            if is_whole:
                session.is_whole = True
                stanzas.append(EndOfRib())
            stanzas.append(Sync(session.sent_sequence, self.revision, is_whole))
            self._outstanding[session.name] = session.sent_sequence
        session.config_changed = session.asked = session.sync_wanted = False
        return stanzas

    def take_closures(self) -> list[tuple[str, str]]:
        """Return and forget the agents whose sessions must be closed, and the reason to tell."""
        closures, self._closures = self._closures, []
        return [each for each in closures if each[0] in self.agents]

    # time ---------------------------------------------------------------------------------

    def timer_at(self) -> float | None:
        """Return when `handle_timer` has something to do next."""
        times = [
            each for each in (self.absences.timer_at(), self._idle_sync_at) if each is not None
        ]
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Sweep what nobody published again, end the restart grace, tell idle agents."""
        for agent in self.absences.expire(now):
            self.rib.sweep_stale(agent)
            self._leave_behind(agent)
        self._touch_unwhole()
        if self._idle_sync_at is not None and now >= self._idle_sync_at:
            self._idle_sync_at = None
            for session in self.agents.values():
                if session.is_served and session.sent_revision < self.revision:
                    session.sync_wanted = True
                    self._touched[session.name] = None

    # answers ------------------------------------------------------------------------------

    def applied(self, session: AgentSession) -> int:
        """Return the revision an agent shows: ours, when nothing is on its way to it."""
        if session.is_served and not (
            session.name in self._outstanding or session.name in self._touched
        ):
            return self.revision
        return session.applied_revision

    @property
    def plan(self) -> Plan:
        """The plan of the configuration; not to be changed."""
        return self._compiler.plan

    def told(self, agent: str) -> AgentView:
        """Return what a connected agent was told of the configuration."""
        session = self.agents[agent]
        return self._audience.told(agent) if session.is_served else NOTHING

    def routes_told(self, agent: str) -> dict[str, list[RouteItem]]:
        """Return the routes a connected agent was told, by the instances it subscribed to."""
        session = self.agents[agent]
        if not session.is_served:
            return {}
        return {
            name: self._fanout.routes_of(name) if name in self.rib.instances else []
            for name in session.instances
        }

    def holders(self, kind: str, name: str) -> list[str]:
        """Return the agents that were told of an object, sorted."""
        return self._audience.holders(kind, name)

    @property
    def known_agents(self) -> list[str]:
        """Agents whose routes this node holds or will: what a restart must wait for."""
        served = {each.name for each in self.agents.values() if each.is_served}
        return sorted(served.union(self.absences.stale, self.absences.awaited))

    def instance(self, name: str) -> Instance:
        """Return an instance of the RIB. Raises `NotFoundError`."""
        found = self.rib.instances.get(name)
        if found is None:
            raise NotFoundError(
                f"no routing instance is called {name!r}; `filament show vrf` lists them"
            )
        return found

    def verify(self) -> None:
        """Recompute plan and RIB and compare; AssertionError names what differs.

        Call after `take_outbox`.
        """
        self._compiler.verify(self.snapshot)
        self.rib.verify()


def _require_room(session: AgentSession) -> None:
    if session.subscription_count >= MAX_AGENT_SUBSCRIPTIONS:
        raise ProtocolError(
            "policy-violation",
            f"an agent may subscribe to {MAX_AGENT_SUBSCRIPTIONS} machines and instances, not more",
        )
