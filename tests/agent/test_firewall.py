"""Tags and policy sets: from the API's objects, through what an agent is shown, to its inputs."""

from __future__ import annotations

import pytest
from tests.api.office import Office, subnet

from filament.agent.config import ConfigReader
from filament.agent.firewall import effective_tags
from filament.agent.graph import Graph
from filament.base.net import Prefix
from filament.compiler.compile import compile_plan
from filament.compiler.plan import PlanDelta
from filament.compiler.render import Rendered
from filament.compiler.views import agent_view, touched
from filament.forward.inputs import FirewallEnd, Service
from filament.wire.xmpp.stanza import ConfigSent

MANAGEMENT = "default-policy-management"
GLOBAL_SET = f"{MANAGEMENT}:default-application-policy-set"
DEMO = ("default-domain", "demo")
LABEL_A, LABEL_B = 0x00001, 0x00002


class World:
    """A project with a port `p` of a machine `vm` in a network `red`, on host1."""

    def __init__(self) -> None:
        self.office = Office()
        office = self.office
        office.create("virtual-router", "default-global-system-config", "host1",
                      parent_type="global-system-config",
                      virtual_router_ip_address="172.30.0.1")  # fmt: skip
        self.project = office.create("project", *DEMO)
        ipam = [{"to": ["default-domain", "default-project", "default-network-ipam"],
                 "attr": {"ipam_subnets": [subnet()]}}]  # fmt: skip
        self.network = office.create(
            "virtual-network", *DEMO, "red", parent_type="project", network_ipam_refs=ipam
        )
        self.machine = office.create("virtual-machine", "vm")
        self.port = office.create(
            "virtual-machine-interface", *DEMO, "p", parent_type="project",
            virtual_network_refs=[{"uuid": self.network.uuid}],
            virtual_machine_refs=[{"uuid": self.machine.uuid}],
        )  # fmt: skip
        office.create("instance-ip", "ip", virtual_network_refs=[{"uuid": self.network.uuid}],
                      virtual_machine_interface_refs=[{"uuid": self.port.uuid}])  # fmt: skip
        self.reader = ConfigReader()

    def tag(self, kind: str, value: str, *items: object) -> int:
        name = f"{kind}={value}"
        tag = self.office.view.named("tag", (name,)) or self.office.create(
            "tag", name, tag_type_name=kind, tag_value=value
        )
        for item in items:
            self.office.add_ref(item, tag)
        return int(tag.props["tag_id"], 16)

    def rule(self, name: str, one: dict, two: dict, **fields: object):
        given = {
            "service": {"protocol": "tcp", "dst_ports": {"start_port": 80, "end_port": 90}},
            "direction": ">",
            "action_list": {"simple_action": "pass"},
            **fields,
        }
        return self.office.create(
            "firewall-rule", MANAGEMENT, name, parent_type="policy-management",
            endpoint_1=one, endpoint_2=two, **{k: v for k, v in given.items() if v is not None},
        )  # fmt: skip

    def policy(self, name: str, *rules: str, sequences: tuple[str, ...] = ()):
        sequences = sequences or tuple(f"{n}.0" for n in range(len(rules)))
        refs = [
            {"to": [MANAGEMENT, one], "attr": {"sequence": sequence} if sequence else {}}
            for one, sequence in zip(rules, sequences, strict=True)
        ]
        return self.office.create("firewall-policy", MANAGEMENT, name,
                                  parent_type="policy-management",
                                  firewall_rule_refs=refs)  # fmt: skip

    def policy_set(self, *fq_name: str, policies: tuple[str, ...] = (), tags: tuple[str, ...] = ()):
        refs = [{"to": [MANAGEMENT, one], "attr": {"sequence": "1"}} for one in policies]
        kind = "project" if len(fq_name) == 3 else "policy-management"
        return self.office.create(
            "application-policy-set", *fq_name, parent_type=kind, firewall_policy_refs=refs,
            tag_refs=[{"to": [one]} for one in tags],
        )  # fmt: skip

    def use(self, *policies: str) -> None:
        found = self.office.view.named("application-policy-set", tuple(GLOBAL_SET.split(":")))
        refs = [
            {"to": [MANAGEMENT, one], "attr": {"sequence": f"{n}"}}
            for n, one in enumerate(policies)
        ]
        self.office.update(found, firewall_policy_refs=refs)

    def shown(self):
        plan = compile_plan(self.office.view)
        machines = [self.machine.uuid]
        return agent_view(self.office.view, plan, Rendered(plan), "host1", machines)

    def read(self):
        shown = self.shown()
        graph = Graph()
        graph.receive(ConfigSent(tuple(shown.nodes.values()), tuple(shown.links)))
        return self.reader.read(graph)

    def policies(self):
        """The policies of the global set."""
        by_name = {one.name: one for one in self.read().policy_sets}
        return by_name[GLOBAL_SET].policies

    def port_config(self):
        return self.read().ports[self.port.uuid]


@pytest.fixture
def world() -> World:
    return World()


def test_the_port_s_tag_comes_before_the_machine_s_the_network_s_and_the_project_s(world):
    expected = []
    for value, item in (
        ("project", world.project),
        ("network", world.network),
        ("machine", world.machine),
        ("port", world.port),
    ):
        number = world.tag("tier", value, item)
        assert world.port_config().tags == (number,)
        expected.append(number)
    assert len(set(expected)) == 4


def test_types_come_from_different_objects_and_labels_from_one(world):
    tier = world.tag("tier", "web", world.network)
    site = world.tag("site", "here", world.project)
    labels = {world.tag("label", value, world.machine) for value in "ab"}
    world.tag("label", "c", world.network)
    assert set(world.port_config().tags) == {tier, site, *labels}


def test_of_one_type_and_level_the_lowest_number_holds():
    assert effective_tags([[0x20009, 0x20003], [0x20001, 0x30001]]) == (0x20003, 0x30001)
    assert effective_tags([[], [LABEL_B, LABEL_A], [0x00003]]) == (LABEL_A, LABEL_B)


def test_sets_of_a_port_in_order(world):
    app = world.tag("application", "shop", world.port)
    tier = world.tag("tier", "web", world.port)
    assert app < tier
    mine = (*DEMO, "default-application-policy-set")
    world.policy_set(*DEMO, "a-project-set", tags=("application=shop",))
    world.policy_set(MANAGEMENT, "z-global-set", tags=("application=shop",))
    world.policy_set(MANAGEMENT, "tier-set", tags=("tier=web",))
    world.policy_set(MANAGEMENT, "nobody-s", tags=())
    assert world.port_config().policy_sets == (
        GLOBAL_SET,
        ":".join(mine),
        f"{MANAGEMENT}:z-global-set",
        ":".join((*DEMO, "a-project-set")),
        f"{MANAGEMENT}:tier-set",
    )


def test_sets_that_a_neutron_firewall_selects_are_asked_apart(world):
    """One that another tag selects too is asked in both."""
    world.tag("neutron_fwaas", "group-1", world.port)
    world.tag("application", "shop", world.port)
    world.policy_set(*DEMO, "firewall-set", tags=("neutron_fwaas=group-1",))
    world.policy_set(*DEMO, "both-set", tags=("neutron_fwaas=group-1", "application=shop"))
    config = world.port_config()
    firewall, both = (":".join((*DEMO, name)) for name in ("firewall-set", "both-set"))
    assert sorted(config.fwaas_sets) == sorted((firewall, both))
    assert both in config.policy_sets
    assert firewall not in config.policy_sets


def test_policies_and_rules_go_by_their_sequence_which_is_text(world):
    for name in ("nine", "ten", "without"):
        world.rule(name, {"any": True}, {"any": True})
    world.policy("p", "nine", "ten", "without", sequences=("9.0", "10.0", ""))
    world.use("p")
    [policy] = world.policies()
    assert [one.name for one in policy.rules] == [f"{MANAGEMENT}:ten", f"{MANAGEMENT}:nine"]


def rule_of(world, *ends, **fields):
    world.rule("r", *ends, **fields)
    world.policy("p", "r")
    world.use("p")
    [rule] = world.policies()[0].rules
    return rule


def test_a_rule_as_read(world):
    web, db = world.tag("tier", "web"), world.tag("tier", "db")
    deployment = world.tag("deployment", "prod") >> 16
    rule = rule_of(
        world,
        {"tags": ["global:tier=web"]},
        {"tags": ["global:tier=db"]},
        match_tags={"tag_list": ["deployment"]},
    )
    assert rule.sources == (FirewallEnd(tags=(web,)),)
    assert rule.destinations == (FirewallEnd(tags=(db,)),)
    assert rule.services == (Service(6, ports=(80, 90)),)
    assert (rule.match, rule.passes, rule.both_ways) == ((deployment,), True, False)


def test_without_match_tags_nothing_has_to_agree(world):
    assert rule_of(world, {"any": True}, {"any": True}).match == ()


def test_the_other_direction_exchanges_the_ends_and_not_the_ports(world):
    web = world.tag("tier", "web")
    rule = rule_of(world, {"tags": ["global:tier=web"]}, {"any": True}, direction="<")
    assert rule.sources == (FirewallEnd(),)
    assert rule.destinations == (FirewallEnd(tags=(web,)),)
    assert rule.services == (Service(6, ports=(80, 90)),)


def test_networks_subnets_and_address_groups_are_ends(world):
    label = world.tag("label", "lan")
    group = world.office.create(
        "address-group", MANAGEMENT, "lan", parent_type="policy-management",
        address_group_prefix={"subnet": [{"ip_prefix": "10.9.0.0", "ip_prefix_len": 16}]},
    )  # fmt: skip
    world.tag("label", "lan", group)
    rule = rule_of(world, {"address_group": f"{MANAGEMENT}:lan"}, {"virtual_network": ":".join(
        world.network.fq_name)})  # fmt: skip
    assert rule.sources == (
        FirewallEnd(tags=(label,)),
        FirewallEnd(prefix=Prefix.parse("10.9.0.0/16")),
    )
    assert rule.destinations == (FirewallEnd(network=world.network.name),)


def test_a_subnet_of_every_address_is_of_one_version(world):
    everybody = {"subnet": {"ip_prefix": "::", "ip_prefix_len": 0}}
    assert rule_of(world, everybody, {"any": True}).sources == (
        FirewallEnd(prefix=Prefix(0, 0, 6)),
    )


def test_a_service_group_is_its_services_and_none_is_nothing(world):
    services = [
        {"protocol": "udp", "dst_ports": {"start_port": 53, "end_port": 53}},
        {"protocol": "icmp"},
        {"protocol": "any", "dst_ports": {"start_port": 1, "end_port": 2}},
    ]
    world.office.create(
        "service-group", MANAGEMENT, "s", parent_type="policy-management",
        service_group_firewall_service_list={"firewall_service": services},
    )  # fmt: skip
    group = [{"to": [MANAGEMENT, "s"]}]
    rule = rule_of(world, {"any": True}, {"any": True}, service=None, service_group_refs=group)
    assert rule.services == (Service(17, ports=(53, 53)), Service(1), Service())


def test_what_did_not_change_is_the_same_object(world):
    world.rule("r", {"any": True}, {"any": True})
    world.policy("p", "r")
    world.use("p")
    before = world.read().policy_sets
    world.tag("tier", "web", world.port)
    after = world.read().policy_sets
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_an_unreadable_rule_denies_and_ends_what_follows(world):
    ports = {"start_port": 9, "end_port": 5}
    service = {"protocol": "tcp", "dst_ports": ports}
    world.rule("bad", {"any": True}, {"any": True}, service=service)
    world.rule("good", {"any": True}, {"any": True})
    world.policy("p", "bad", "good")
    world.use("p")
    [rule] = world.policies()[0].rules
    assert (rule.passes, rule.sources, rule.services) == (False, (FirewallEnd(),), (Service(),))
    [problem] = world.read().problems
    assert problem.object == f"firewall-rule {MANAGEMENT}:bad"
    assert "ports are 9 to 5" in problem.text
    assert "everything after it is denied" in problem.text


def test_drafts_are_shown_to_nobody(world):
    office = world.office
    system = office.view.named("global-system-config", ("default-global-system-config",))
    office.update(system, enable_security_policy_draft=True)
    world.tag("application", "shop", world.port)
    world.policy_set(MANAGEMENT, "draft-set", tags=("application=shop",))
    world.use()
    kinds = {kind for kind, _ in world.shown().nodes}
    assert "application-policy-set" in kinds
    assert not [name for _, name in world.shown().nodes if "draft" in name]


def test_a_new_set_concerns_those_with_its_tag(world):
    world.tag("application", "shop", world.port)
    view = world.office.view
    made = world.policy_set(MANAGEMENT, "s", tags=("application=shop",))
    commit_like = type("Commit", (), {"puts": (view.get(made.uuid),), "deletes": ()})
    nodes = touched(view, commit_like, PlanDelta(view.revision)).nodes
    assert ("tag", "application=shop") in nodes
    assert ("tag", "application=shop") in world.shown().nodes


def test_policies_are_read_once_and_what_is_wrong_with_them_is_said_each_time(world):
    ports = {"start_port": 9, "end_port": 5}
    world.rule("bad", {"any": True}, {"any": True}, service={"protocol": "tcp", "dst_ports": ports})
    world.policy("p", "bad")
    world.use("p")
    shown = world.shown()
    graph = Graph()
    graph.receive(ConfigSent(tuple(shown.nodes.values()), tuple(shown.links)))
    first, again = world.reader.read(graph), world.reader.read(graph)
    assert first.problems == again.problems != ()
    assert first.policy_sets == again.policy_sets
    [key] = [key for key in shown.nodes if key[1].endswith(":bad") and key[0] == "firewall-rule"]
    graph.receive(ConfigSent(deleted_nodes=(key,)))
    changed = world.reader.read(graph)
    assert changed.problems == ()
    assert changed.policy_sets != first.policy_sets


def test_rules_that_become_too_many_end_in_deny(world, monkeypatch):
    monkeypatch.setattr("filament.agent.firewall.MAX_ACL_RULES", 3)
    for name in "abc":
        world.rule(name, {"any": True}, {"any": True}, direction="<>")
    world.policy("p", "a", "b", "c")
    world.use("p")
    [policy] = world.policies()
    assert [rule.passes for rule in policy.rules] == [True, False]
    [problem] = world.read().problems
    assert "are more than 3" in problem.text
