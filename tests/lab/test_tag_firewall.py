"""The tag firewall, from the API's objects to packets between hosts."""

import re
import signal
import subprocess

import pytest
from tests.lab.test_groups_and_ipv6 import ADDRESSES, received

from filament.cli.main import run
from filament.testing.lab.intent import DOMAIN, PROJECT, require_followed

pytestmark = pytest.mark.lab

MANAGEMENT = "default-policy-management"
GLOBAL_SET = [MANAGEMENT, "default-application-policy-set"]
TAGS = ("tier=web", "tier=db", "deployment=prod", "deployment=test")


@pytest.fixture(scope="module", autouse=True)
def tags(lab):
    for name in TAGS:
        kind, value = name.split("=")
        lab.intent.client.create("tag", [name], tag_type_name=kind, tag_value=value)


def tag_it(lab, kind, uuid, **values):
    """Give an object global tags, by type; None takes them away."""
    edits = {
        name: None if value is None else {"is_global": True, "value": value}
        for name, value in values.items()
    }
    body = {"obj_type": kind, "obj_uuid": uuid, **edits}
    require_followed(lab.intent.client.request("POST", "/set-tag", body, wait="agents"))


def tag_workload(lab, name, **values):
    tag_it(lab, "virtual-machine-interface", lab.plan.workload(name).interface_uuid, **values)


def create_rule(lab, name, one, two, **fields):
    """A global rule between what has some tags and what has others."""
    given = {
        "direction": ">",
        "service": {"protocol": "any"},
        "action_list": {"simple_action": "pass"},
        **fields,
    }
    return lab.intent.client.create(
        "firewall-rule",
        [MANAGEMENT, name],
        parent_type="policy-management",
        endpoint_1={"tags": [f"global:{tag}" for tag in one]} if one else {"any": True},
        endpoint_2={"tags": [f"global:{tag}" for tag in two]} if two else {"any": True},
        **given,
    )


def create_policy(lab, name, *rules):
    refs = [
        {"to": [MANAGEMENT, rule], "attr": {"sequence": f"{n}.0"}} for n, rule in enumerate(rules)
    ]
    return lab.intent.client.create(
        "firewall-policy",
        [MANAGEMENT, name],
        parent_type="policy-management",
        firewall_rule_refs=refs,
    )


def use_policies(lab, *policies):
    """Make these the policies of the global set."""
    client = lab.intent.client
    uuid = client.uuid_of("application-policy-set", GLOBAL_SET)
    refs = [
        {"to": [MANAGEMENT, name], "attr": {"sequence": f"{n}.0"}}
        for n, name in enumerate(policies)
    ]
    require_followed(
        client.update("application-policy-set", uuid, wait="agents", firewall_policy_refs=refs)
    )


def trace(lab, capsys, *ends):
    """What `filament trace` says, and whether the packet arrives."""
    code = run(["--run-dir", str(lab.directories.run), "trace", *ends])
    return capsys.readouterr().out, code == 0


def test_web_reaches_db_of_its_own_deployment_only(lab, capsys):
    tag_workload(lab, "red-1", tier="web", deployment="prod")
    tag_workload(lab, "red-2", tier="db", deployment="prod")
    create_rule(lab, "web-db", ["tier=web"], ["tier=db"], match_tags={"tag_list": ["deployment"]})
    create_policy(lab, "tiers", "web-db")
    assert received(lab, "red-2", ADDRESSES["red-1"]) == 3
    use_policies(lab, "tiers")
    try:
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
        assert received(lab, "red-2", ADDRESSES["red-1"]) == 0
        said, arrives = trace(lab, capsys, "red-1", "red-2")
        assert arrives
        assert f"firewall-rule {MANAGEMENT}:web-db" in said
        assert f"firewall-policy {MANAGEMENT}:tiers of application-policy-set" in said
        said, arrives = trace(lab, capsys, "red-2", "red-1")
        assert not arrives
        assert "no rule of default-application-policy-set matches" in said
        tag_workload(lab, "red-2", deployment="test")
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
        # What the port does not say, its network says.
        tag_workload(lab, "red-2", deployment=None)
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
        red = lab.intent.client.uuid_of("virtual-network", [DOMAIN, PROJECT, "red"])
        tag_it(lab, "virtual-network", red, deployment="prod")
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
    finally:
        use_policies(lab)
    assert received(lab, "red-2", ADDRESSES["red-1"]) == 3


def draft(lab, action):
    """Commit or discard what is drafted for the cluster."""
    scope = lab.intent.client.uuid_of("global-system-config", ["default-global-system-config"])
    body = {"scope_uuid": scope, "action": action}
    answer = lab.intent.client.request("POST", "/security-policy-draft", body, wait="agents")
    require_followed(answer)


def set_draft_mode(lab, *, on):
    uuid = lab.intent.client.uuid_of("global-system-config", ["default-global-system-config"])
    lab.intent.client.update("global-system-config", uuid, enable_security_policy_draft=on)


def test_a_committed_draft_is_enforced_at_once_also_on_running_flows(lab):
    tag_workload(lab, "red-1", tier="web")
    tag_workload(lab, "red-2", tier="db")
    client = lab.intent.client
    rule = create_rule(lab, "anything", [], [], direction="<>")
    create_policy(lab, "open", "anything")
    use_policies(lab, "open")
    ping = ["ping", "-n", "-i0.02", "-W0.2", ADDRESSES["red-2"]]
    pinging = lab.popen("red-1", ping, stdout=subprocess.PIPE)
    try:
        set_draft_mode(lab, on=True)
        client.update("firewall-rule", rule, action_list={"simple_action": "deny"})
        create_rule(lab, "db-web", ["tier=db"], ["tier=web"])
        refs = [
            {"to": [MANAGEMENT, "db-web"], "attr": {"sequence": "0.5"}},
            {"to": [MANAGEMENT, "anything"], "attr": {"sequence": "1.0"}},
        ]
        opened = client.uuid_of("firewall-policy", [MANAGEMENT, "open"])
        client.update("firewall-policy", opened, wait="agents", firewall_rule_refs=refs)
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
        draft(lab, "commit")
        # The running flow has its tuple judged again: its next packets are dropped.
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
        assert received(lab, "red-2", ADDRESSES["red-1"]) == 3
        pinging.send_signal(signal.SIGQUIT)
        pinging.send_signal(signal.SIGINT)
        said = pinging.communicate(timeout=10)[0]
        sent, got = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        assert got < sent
        client.update("firewall-rule", rule, action_list={"simple_action": "pass"})
        draft(lab, "discard")
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
    finally:
        if pinging.poll() is None:
            pinging.kill()
            pinging.communicate()
        draft(lab, "discard")
        set_draft_mode(lab, on=False)
        use_policies(lab)


def test_a_neutron_firewall_and_the_others_must_both_allow(lab, capsys):
    client = lab.intent.client
    client.create("tag", ["neutron_fwaas=group"], tag_type_name="neutron_fwaas", tag_value="group")
    rules = {}
    for name in ("others", "firewall"):
        rules[name] = create_rule(lab, f"{name}-rule", [], [], direction="<>")
        create_policy(lab, name, f"{name}-rule")
    client.create(
        "application-policy-set",
        [DOMAIN, PROJECT, "firewall-set"],
        parent_type="project",
        firewall_policy_refs=[{"to": [MANAGEMENT, "firewall"], "attr": {"sequence": "1.0"}}],
        tag_refs=[{"to": ["neutron_fwaas=group"]}],
    )
    use_policies(lab, "others")
    uuid = lab.plan.workload("red-2").interface_uuid
    groups = {"neutron_fwaas": {"is_global": True, "add_values": ["group"]}}
    body = {"obj_type": "virtual-machine-interface", "obj_uuid": uuid, **groups}
    try:
        require_followed(client.request("POST", "/set-tag", body, wait="agents"))
        assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
        for denying in ("firewall", "others"):
            set_action(client, rules[denying], "deny")
            assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
            said, arrives = trace(lab, capsys, "red-1", "red-2")
            assert not arrives
            assert f"firewall-policy {MANAGEMENT}:{denying} of" in said
            set_action(client, rules[denying], "pass")
            assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
        assert run(["--run-dir", str(lab.directories.run), "verify"]) == 0
    finally:
        use_policies(lab)


def set_action(client, rule, action):
    action_list = {"simple_action": action}
    require_followed(client.update("firewall-rule", rule, wait="agents", action_list=action_list))
