"""An agent's view: what hangs on its machines, kept up to date for the agents concerned only."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.compiler.compile import Compiler, compile_plan
from filament.compiler.plan import AgentView, PlanDelta
from filament.compiler.render import Rendered
from filament.compiler.views import Audience, agent_view, diff, is_empty, touched
from filament.wire.xmpp.stanza import ConfigSent, Link, Node

from .universe import Universe, rule, uuid_of

RED, BLUE = "default-domain:demo:red", "default-domain:demo:blue"
SYSTEM = "default-global-system-config"
SUBNETS = "virtual-network-network-ipam"


@pytest.fixture
def universe():
    made = Universe()
    made.global_system_config()
    made.vrouter_config()
    made.router("host1")
    made.ipam()
    made.policy("talk", rule(RED, BLUE))
    made.commit()
    made.network("red", ["talk"], subnets=[{"subnet_uuid": "s1"}])
    made.network("blue")
    for name in ("vm1", "vm2"):
        made.machine(name)
    made.port("port1", "red", "vm1")
    made.port("port2", "blue", "vm2")
    made.instance_ip("ip1", "port1")
    made.instance_ip("ip2", "port2")
    made.commit()
    return made


def view_of(universe, *machines, router="host1"):
    plan = compile_plan(universe.snapshot)
    return agent_view(universe.snapshot, plan, Rendered(plan), router, machines)


def machine(name):
    return uuid_of("virtual-machine", name)


def test_a_machines_view_is_everything_on_it_and_nothing_else(universe):
    view = view_of(universe, machine("vm1"))
    ipam = "default-domain:demo:ipam"
    attribute = f"attr({RED},{ipam})"
    port = "default-domain:demo:port1"
    assert set(view.nodes) == {
        ("global-system-config", SYSTEM),
        ("global-vrouter-config", f"{SYSTEM}:default-global-vrouter-config"),
        ("virtual-router", f"{SYSTEM}:host1"),
        ("virtual-machine", "vm1"),
        ("virtual-machine-interface", port),
        ("instance-ip", "ip1"),
        ("virtual-network", RED),
        ("routing-instance", f"{RED}:red"),
        ("access-control-list", f"{RED}:red"),
        ("network-ipam", ipam),
        (SUBNETS, attribute),
    }
    interface, network = ("virtual-machine-interface", port), ("virtual-network", RED)
    assert view.links == {
        Link(
            "global-system-config",
            SYSTEM,
            "global-vrouter-config",
            f"{SYSTEM}:default-global-vrouter-config",
            "global-system-config-global-vrouter-config",
        ),
        Link(
            "global-system-config",
            SYSTEM,
            "virtual-router",
            f"{SYSTEM}:host1",
            "global-system-config-virtual-router",
        ),
        Link(
            "virtual-router",
            f"{SYSTEM}:host1",
            "virtual-machine",
            "vm1",
            "virtual-router-virtual-machine",
        ),
        Link(*interface, "virtual-machine", "vm1", "virtual-machine-interface-virtual-machine"),
        Link("instance-ip", "ip1", *interface, "instance-ip-virtual-machine-interface"),
        Link(*interface, *network, "virtual-machine-interface-virtual-network"),
        Link(*network, "routing-instance", f"{RED}:red", "virtual-network-routing-instance"),
        Link(*network, "access-control-list", f"{RED}:red", "virtual-network-access-control-list"),
        Link(*network, SUBNETS, attribute, SUBNETS),
        Link(SUBNETS, attribute, "network-ipam", ipam, SUBNETS),
    }


def test_nodes_carry_properties_uuid_and_revision(universe):
    nodes = view_of(universe, machine("vm1")).nodes
    assert nodes["instance-ip", "ip1"] == Node(
        "instance-ip",
        "ip1",
        {"instance_ip_address": "10.1.1.3", "uuid": uuid_of("instance-ip", "ip1")},
        2,
    )
    attribute = nodes[SUBNETS, f"attr({RED},default-domain:demo:ipam)"]
    assert attribute.props == {"value": {"ipam_subnets": [{"subnet_uuid": "s1"}]}}
    assert attribute.revision == 2
    rules = nodes["access-control-list", f"{RED}:red"].props["access_control_list_entries"]
    assert rules["acl_rule"][0]["origin"]["object"] == "network-policy default-domain:demo:talk"
    assert nodes["routing-instance", f"{RED}:red"].props["routing_instance_is_default"] is True


def test_a_network_node_has_its_vn_id(universe):
    universe.network("red", virtual_network_network_id=7)
    universe.commit()
    node = view_of(universe, machine("vm1")).nodes["virtual-network", RED]
    assert node.props["virtual_network_network_id"] == 7


def test_a_machine_by_name_is_the_same_machine(universe):
    assert view_of(universe, "vm1") == view_of(universe, machine("vm1"))


def test_a_machine_that_does_not_exist_shows_nothing_and_no_other_kind_does(universe):
    port = uuid_of("virtual-machine-interface", Universe.fq("port1"))
    bare = view_of(universe)
    assert len(bare.nodes) == 3
    assert view_of(universe, "no-such-vm", port) == bare


def test_an_unknown_router_may_know_nothing(universe):
    assert view_of(universe, machine("vm1"), router="host9") == AgentView({}, frozenset())


def test_the_difference_of_two_views(universe):
    before = view_of(universe, machine("vm1"))
    universe.instance_ip("ip1", "port1", address="10.1.1.9")
    universe.instance_ip("ip3", "port1")
    universe.network("red", subnets=[{"subnet_uuid": "s1"}])
    universe.commit()
    after = view_of(universe, machine("vm1"))
    sent = diff(before, after)
    assert {(node.kind, node.name) for node in sent.nodes} == {
        ("instance-ip", "ip1"),
        ("instance-ip", "ip3"),
        ("virtual-network", RED),
        ("routing-instance", f"{RED}:red"),
        (SUBNETS, f"attr({RED},default-domain:demo:ipam)"),
    }
    assert sent.deleted_nodes == (("access-control-list", f"{RED}:red"),)
    assert [link.metadata for link in sent.links] == ["instance-ip-virtual-machine-interface"]
    assert [link.metadata for link in sent.deleted_links] == ["virtual-network-access-control-list"]
    assert not is_empty(sent)
    assert is_empty(diff(after, after))
    assert is_empty(ConfigSent())


def test_touched_is_known_from_the_commit_alone(universe):
    universe.port("port1", "red", "vm2")
    universe.instance_ip("ip2", "port2")
    commit = universe.commit()
    found = touched(universe.snapshot, commit, PlanDelta(3, acls_put=frozenset({f"{BLUE}:blue"})))
    assert found.machines == {machine("vm2"), "vm2"}
    assert found.nodes == {
        ("virtual-machine-interface", Universe.fq("port1")),
        ("virtual-machine-interface", Universe.fq("port2")),
        ("instance-ip", "ip2"),
        ("virtual-network", BLUE),
        ("access-control-list", f"{BLUE}:blue"),
    }
    assert not found.is_everyone


class Controller:
    """The part of a control node that keeps agents' views."""

    def __init__(self, universe):
        self.universe = universe
        self.compiler = Compiler()
        self.compiler.load(universe.snapshot)
        self.rendered = Rendered(self.compiler.plan)
        self.audience = Audience()
        self.sent = {}  # agent -> what it holds by what it was sent
        self.machines = {}

    def join(self, agent, *machines):
        self.audience.join(agent, agent)
        self.sent[agent] = ({}, set())
        self.machines[agent] = set(machines)
        for each in machines:
            self.audience.subscribe(agent, each)
        self.tell(agent)

    def tell(self, agent):
        view = self.universe.snapshot
        sent = self.audience.tell(agent, view, self.compiler.plan, self.rendered)
        nodes, links = self.sent[agent]
        for key in sent.deleted_nodes:
            del nodes[key]
        links -= set(sent.deleted_links)
        nodes |= {(node.kind, node.name): node for node in sent.nodes}
        links |= set(sent.links)

    def commit(self):
        """Follow the staged commit, telling only whom it concerns; return them."""
        commit = self.universe.commit()
        view = self.universe.snapshot
        delta = self.compiler.update(view, commit)
        self.rendered.update(self.compiler.plan, delta)
        affected = self.audience.affected(view, commit, delta)
        for agent in affected:
            self.tell(agent)
        return affected

    def verify(self):
        """Every agent holds exactly its view as computed from scratch."""
        for agent, (nodes, links) in self.sent.items():
            right = view_of(self.universe, *self.machines[agent], router=agent)
            assert nodes == right.nodes
            assert links == right.links
            assert self.audience.told(agent) == right


@pytest.fixture
def controller(universe):
    universe.router("host2")
    universe.commit()
    made = Controller(universe)
    made.join("host1", machine("vm1"))
    made.join("host2", machine("vm2"))
    made.verify()
    return made


def test_only_agents_with_the_object_are_affected(universe, controller):
    universe.instance_ip("ip1", "port1", address="10.1.1.9")
    assert controller.commit() == ["host1"]
    universe.network("blue", ["talk"])
    assert controller.commit() == ["host1", "host2"]  # red's instance leaks with it now
    universe.machine("vm3")
    universe.port("port3", "red", "vm3")
    assert controller.commit() == []
    universe.global_system_config(alarm_enable=True)
    assert controller.commit() == ["host1", "host2"]
    controller.verify()


def test_an_agent_loses_a_port_that_moves_to_another_machine(universe, controller):
    universe.port("port1", "red", "vm2")
    assert controller.commit() == ["host1", "host2"]
    controller.verify()
    universe.port("port1", "red")
    assert controller.commit() == ["host2"]
    controller.verify()


def test_a_machine_subscribed_before_it_exists_comes_with_its_creation(universe, controller):
    controller.audience.subscribe("host1", machine("late"))
    controller.machines["host1"].add(machine("late"))
    universe.machine("late")
    assert controller.commit() == ["host1"]
    controller.verify()


def test_a_router_created_after_its_agent_came_opens_the_view(universe, controller):
    controller.join("host3", machine("vm1"))
    assert controller.audience.told("host3") == AgentView({}, frozenset())
    universe.router("host3")
    assert controller.commit() == ["host3"]
    controller.verify()


def test_what_everybody_sees_is_told_to_everybody(universe, controller):
    fq_name = (SYSTEM, "second-vrouter-config")
    parent = ("global-system-config", uuid_of("global-system-config", SYSTEM))
    universe.put("global-vrouter-config", fq_name, parent=parent)
    assert controller.commit() == ["host1", "host2"]
    controller.verify()


def test_unsubscribing_and_leaving_forget(universe, controller):
    controller.audience.unsubscribe("host1", machine("vm1"))
    controller.audience.unsubscribe("host1", "never-wanted")
    controller.machines["host1"].clear()
    controller.tell("host1")
    controller.verify()
    controller.audience.leave("host2")
    controller.audience.leave("host2")
    universe.network("blue")
    universe.network("red", ["talk"])
    universe.global_system_config(alarm_enable=True)
    assert controller.commit() == ["host1"]


MACHINES, PORTS, ADDRESSES = ("vm1", "vm2", "vm3"), ("a", "b", "c"), ("i", "j")
STEPS = st.one_of(
    st.tuples(st.just("machine"), st.sampled_from(MACHINES)),
    st.tuples(
        st.just("port"),
        st.sampled_from(PORTS),
        st.sampled_from(["red", "blue"]),
        st.sampled_from([None, *MACHINES]),
    ),
    st.tuples(st.just("ip"), st.sampled_from(ADDRESSES), st.sampled_from([None, *PORTS])),
    st.tuples(st.just("net"), st.sampled_from(["red", "blue"]), st.booleans(), st.booleans()),
    st.tuples(st.just("policy"), st.sampled_from(["any", "tcp"])),
    st.tuples(st.just("router"), st.sampled_from(["host1", "host2", "host3"])),
    st.tuples(st.just("ipam")),
    st.tuples(st.just("system"), st.booleans()),
    st.tuples(
        st.just("delete"),
        st.sampled_from([*MACHINES, *PORTS, *ADDRESSES]),
    ),
)
KIND_OF = (
    dict.fromkeys(MACHINES, "virtual-machine")
    | dict.fromkeys(PORTS, "virtual-machine-interface")
    | dict.fromkeys(ADDRESSES, "instance-ip")
)


def stage(universe, step):
    snapshot = universe.snapshot

    def known(kind, name):
        if name is None:
            return None
        fq_name = name if kind != "virtual-machine-interface" else Universe.fq(name)
        return snapshot.named(kind, tuple(fq_name.split(":")))

    match step:
        case ("machine", name):
            universe.machine(name)
        case ("port", name, network, owner):
            universe.port(name, network, owner if known("virtual-machine", owner) else None)
        case ("ip", name, port):
            universe.instance_ip(
                name, port if known("virtual-machine-interface", port) else None, "10.0.0.1"
            )
        case ("net", name, has_policy, has_subnet):
            subnets = [{"subnet_uuid": "s"}] if has_subnet else []
            universe.network(name, ["talk"] if has_policy else [], subnets=subnets)
        case ("policy", protocol):
            universe.policy("talk", rule(RED, BLUE, protocol=protocol))
        case ("router", host):
            universe.router(host)
        case ("ipam",):
            universe.ipam()
        case ("system", value):
            universe.global_system_config(alarm_enable=value)
        case ("delete", name):
            kind = KIND_OF[name]
            found = known(kind, name)
            users = [
                each
                for user in ("virtual-machine-interface", "instance-ip")
                for each in (snapshot.referrers(found.uuid, user) if found else ())
            ]
            if found and not users:
                universe.delete(kind, found.name)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=25))
def test_agents_always_hold_their_views(steps):
    universe = Universe()
    universe.global_system_config()
    universe.vrouter_config()
    universe.router("host1")
    universe.ipam()
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red")
    universe.network("blue")
    universe.commit()
    controller = Controller(universe)
    controller.join("host1", machine("vm1"), machine("vm2"))
    controller.join("host2", machine("vm2"))
    controller.join("host3", machine("vm3"))
    for step in steps:
        stage(universe, step)
        controller.commit()
        controller.verify()


def test_a_port_brings_its_security_groups_and_their_lists(universe):
    web = universe.group("web", rule({"security_group": "local"}, "any"))
    universe.port("port1", "red", "vm1", groups=["web"])
    commit = universe.commit()
    view = view_of(universe, machine("vm1"))
    name = Universe.fq("web")
    node = view.nodes["security-group", name]
    assert node.props == {"security_group_id": 8000000, "uuid": web.uuid}
    for way in ("ingress", "egress"):
        called = f"{name}:{way}-access-control-list"
        assert ("access-control-list", called) in view.nodes
        assert (
            Link(
                "security-group", name, "access-control-list", called,
                "security-group-access-control-list",
            )
            in view.links
        )  # fmt: skip
    (made,) = view.nodes["access-control-list", f"{name}:egress-access-control-list"].props[
        "access_control_list_entries"
    ]["acl_rule"]
    assert made["origin"]["object"] == f"security-group {name}"
    delta = PlanDelta(3, acls_put=frozenset({f"{name}:egress-access-control-list"}))
    assert ("security-group", name) in touched(universe.snapshot, commit, delta).nodes
