"""A configuration in few words, an agent that behaves, and both joined to a core by sessions."""

from __future__ import annotations

import uuid

import msgspec

from filament.base.errors import ProtocolError
from filament.base.net import Prefix
from filament.base.origin import Origin
from filament.compiler.slots import slots
from filament.control.core import ControlCore
from filament.model.change import Allocation, Commit, Object, Ref
from filament.model.snapshot import Snapshot
from filament.wire.xmpp.session import ClientSession, ServerSession, SessionClosed, StanzaReceived
from filament.wire.xmpp.stanza import (
    ConfigRefused,
    ConfigSent,
    ConfigSubscribed,
    EndOfRib,
    InstanceSubscribed,
    NextHop,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    Sync,
    Synced,
)

PROJECT = ("default-domain", "demo")
SYSTEM = ("default-global-system-config",)
RED, BLUE = "default-domain:demo:red:red", "default-domain:demo:blue:blue"


def uuid_of(kind, name):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {name}"))


def machine_uuid(name):
    return uuid_of("virtual-machine", name)


class World:
    """The configuration the API would have, and commits as it would make them."""

    def __init__(self):
        self.snapshot = Snapshot()
        self._targets = 8_000_000
        self.commit(
            self.object("global-system-config", SYSTEM, {"autonomous_system": 64512}),
            self.object("project", PROJECT),
        )

    def object(self, kind, fq_name, props=None, refs=()):
        return Object(
            kind, uuid_of(kind, ":".join(fq_name)), tuple(fq_name), props=props or {}, refs=refs
        )

    def router(self, host):
        return self.object("virtual-router", (*SYSTEM, host))

    def network(self, name, *policies):
        refs = tuple(
            Ref(
                "network-policy",
                uuid_of("network-policy", ":".join((*PROJECT, policy))),
                {"sequence": {"major": 0, "minor": 0}},
            )
            for policy in policies
        )
        return self.object("virtual-network", (*PROJECT, name), {}, refs)

    def policy(self, name, left, right):
        def side(network):
            return [{"virtual_network": ":".join((*PROJECT, network)), "network_policy": None}]

        any_port = [{"start_port": -1, "end_port": -1}]
        rule = {
            "direction": "<>",
            "protocol": "any",
            "src_addresses": side(left),
            "dst_addresses": side(right),
            "src_ports": any_port,
            "dst_ports": any_port,
            "action_list": {"simple_action": "pass"},
            "rule_uuid": "r1",
        }
        entries = {"network_policy_entries": {"policy_rule": [rule]}}
        return self.object("network-policy", (*PROJECT, name), entries)

    def port(self, name, network, address):
        """A virtual machine with one interface and one address."""
        machine = self.object("virtual-machine", (machine_uuid(name),))
        machine = msgspec.structs.replace(machine, uuid=machine_uuid(name))
        fq_name = (*PROJECT, name)
        refs = (
            Ref("virtual-machine", machine.uuid),
            Ref("virtual-network", uuid_of("virtual-network", ":".join((*PROJECT, network)))),
        )
        interface = self.object("virtual-machine-interface", fq_name, {}, refs)
        ip_refs = (Ref("virtual-machine-interface", interface.uuid),)
        props = {"instance_ip_address": address}
        return machine, interface, self.object("instance-ip", (name,), props, ip_refs)

    def commit(self, *puts, deletes=()):
        revision = self.snapshot.revision + 1
        staged = Commit(
            revision,
            0.0,
            "test",
            tuple(msgspec.structs.replace(each, revision=revision) for each in puts),
            tuple(self.snapshot.get(each.uuid) for each in deletes),
        )
        probe = Snapshot(revision - 1, self.snapshot.objects(), self.snapshot.allocations())
        probe.apply(staged)
        takes = []
        for slot in slots(probe, staged.puts):
            takes.append(Allocation(slot.pool, self._targets, slot.owner))
            self._targets += 1
        done = msgspec.structs.replace(staged, takes=tuple(takes))
        self.snapshot.apply(done)
        return done

    def load_into(self, core, now=0.0):
        core.load(self.snapshot.objects(), self.snapshot.allocations(), self.snapshot.revision, now)


def demo_world():
    """red-1 and blue-1 for host1, red-2 for host2."""
    world = World()
    world.commit(world.router("host1"), world.router("host2"))
    world.commit(world.network("red"), world.network("blue"))
    world.commit(*world.port("red-1", "red", "10.1.1.3"))
    world.commit(*world.port("red-2", "red", "10.1.1.4"))
    world.commit(*world.port("blue-1", "blue", "10.1.2.3"))
    return world


class FakeAgent:
    """What the contract asks of an agent: ports it has, what it was told, what it says back."""

    def __init__(self, name, *ports, address=None):
        self.name = name
        self.address = address or 0xAC1E0000 + int(name[-1])
        self.machines = [machine_uuid(port) for port in ports]
        self.acknowledges = True
        self.begin()

    def begin(self):
        """Everything a session told and was told is forgotten."""
        self.nodes, self.links, self.routes = {}, set(), {}
        self.syncs, self.refusals, self.end_of_rib = [], [], False
        self.published, self.instances, self.ended_rib = {}, {}, False
        self.outbox = [ConfigSubscribed("virtual-router", f"{SYSTEM[0]}:{self.name}")]
        self.outbox += [ConfigSubscribed("virtual-machine", each) for each in self.machines]

    @property
    def was_whole(self):
        return any(sync.whole for sync in self.syncs)

    def plug(self, port):
        self.machines.append(machine_uuid(port))
        self.outbox.append(ConfigSubscribed("virtual-machine", machine_uuid(port)))

    def receive(self, stanza):
        match stanza:
            case ConfigSent(nodes, links, deleted_nodes, deleted_links):
                self.links -= set(deleted_links)
                for key in deleted_nodes:
                    del self.nodes[key]
                self.nodes.update({(node.kind, node.name): node for node in nodes})
                self.links |= set(links)
            case RoutesSent(instance, items, retracted):
                for prefix in retracted:
                    self.routes.pop((instance, prefix), None)
                self.routes.update({(instance, item.destination): item for item in items})
            case ConfigRefused():
                self.refusals.append(stanza.text)
            case EndOfRib():
                self.end_of_rib = True
            case Sync(sequence, revision):
                self.syncs.append(stanza)
                self._publish()
                if not self.ended_rib:
                    self.ended_rib = True
                    self.outbox.append(EndOfRib())
                if self.acknowledges:
                    self.outbox.append(Synced(sequence, revision))

    def _linked(self, metadata):
        return {
            (each.left_name, each.right_name) for each in self.links if each.metadata == metadata
        }

    def _publish(self):
        networks = dict(self._linked("virtual-machine-interface-virtual-network"))
        wanted = {}
        for address, interface in self._linked("instance-ip-virtual-machine-interface"):
            network = networks.get(interface)
            if network is not None:
                instance = f"{network}:{network.rpartition(':')[2]}"
                text = self.nodes["instance-ip", address].props["instance_ip_address"]
                wanted[instance, Prefix.parse(text)] = RoutePublished(
                    instance,
                    Prefix.parse(text),
                    NextHop(self.address, 16 + Prefix.parse(text).address % 256, network),
                    origin=Origin(f"virtual-machine-interface {interface}", "port", 1),
                )
        for instance, _ in wanted:
            if instance not in self.instances:
                self.instances[instance] = len(self.instances) + 1
                self.outbox.append(InstanceSubscribed(instance, self.instances[instance]))
        for key in self.published.keys() - wanted.keys():
            self.outbox.append(RouteRetracted(*key))
        self.outbox += [route for key, route in wanted.items() if self.published.get(key) != route]
        self.published = wanted


class Cluster:
    """One core and agents, joined by pairs of sessions, on one clock that only `advance` moves."""

    def __init__(self, world, *agents, expected=()):
        self.world = world
        self.now = 0.0
        self.core = ControlCore("ctl1", expected)
        self.agents = {agent.name: agent for agent in agents}
        self.wires = {}
        self.closed = {}

    def start(self):
        self.world.load_into(self.core, self.now)
        for name in self.agents:
            self.connect(name)
        return self.run()

    def commit(self, *puts, deletes=()):
        self.core.apply_commit(self.world.commit(*puts, deletes=deletes), self.now)
        return self.run()

    def connect(self, name):
        self.agents[name].begin()
        self.wires[name] = ClientSession(name, self.now), ServerSession(self.now)
        self.core.agent_connected(name, self.now, "172.30.0.1")

    def lose(self, name):
        del self.wires[name]
        self.core.agent_lost(name, self.now)

    def advance(self, seconds):
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while (at := self.core.timer_at()) is not None and at <= end:
            self.now = max(self.now, at)
            self.core.handle_timer(self.now)
            self.run()
        self.now = end
        return self

    def restart_control(self, expected):
        for name in list(self.wires):
            del self.wires[name]
        self.core = ControlCore("ctl1", expected)
        self.world.load_into(self.core, self.now)

    def run(self):
        """Move bytes and stanzas until nobody says more, flushing the core in between."""
        busy = True
        while busy:
            busy = False
            for agent, stanza in self.core.take_outbox():
                if agent in self.wires:
                    self.wires[agent][1].send(stanza, self.now)
            for agent, reason in self.core.take_closures():
                self.closed[agent] = reason
                self.lose(agent)
            for name in list(self.wires):
                busy |= self._carry(name)
            busy |= self.core.has_more
        if self.core.is_loaded:
            self.core.verify()
        return self

    def _carry(self, name):
        client, server = self.wires[name]
        agent = self.agents[name]
        outbox, agent.outbox = agent.outbox, []
        if client.peer:
            for stanza in outbox:
                client.send(stanza, self.now)
        else:
            agent.outbox = outbox
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(self.now):
                moved = True
                receiver.receive_data(data, self.now)
        while (event := client.next_event()) is not None:
            if isinstance(event, StanzaReceived):
                agent.receive(event.stanza)
            elif isinstance(event, SessionClosed):
                self.closed[name] = event.reason
                self.lose(name)
                return True
        while (event := server.next_event()) is not None:
            if isinstance(event, StanzaReceived):
                try:
                    self.core.receive(name, event.stanza)
                except ProtocolError as error:
                    server.refuse(error, self.now)
        return moved or bool(agent.outbox)
