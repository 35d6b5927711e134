"""Four control nodes that hear of each other's agents by BGP; agents with homes apart.

By `agent.homes`, of these hosts and addresses: host1 and another have no control node in common.
"""

import time

import pytest
from tests.lab.kit import lab_of
from tests.lab.test_tag_firewall import create_policy, create_rule, tag_workload, use_policies

from filament.base.net import format_ipv4
from filament.testing.lab import reach
from filament.testing.lab.intent import DOMAIN, PROJECT
from filament.testing.lab.probes import Probe

pytestmark = pytest.mark.lab

BEFORE_S = 0.3


@pytest.fixture(scope="module")
def lab():
    with lab_of(host_count=4, control_count=4) as built:
        yield built


def homes(lab):
    """Who talks to whom: control nodes' addresses, by host."""
    return {
        host.name: {
            each["address"]
            for each in lab.ask(f"agent-{host.name}", "/filament/status")["controls"]
            if each["state"] == "established"
        }
        for host in lab.plan.hosts
    }


def until(lab, condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, (homes(lab), lab.log_tail("control"))
        time.sleep(0.05)


def apart(lab):
    """Return the number of a host that shares no control node with host1."""
    found = homes(lab)
    return next(
        (
            number
            for number in range(2, len(found) + 1)
            if not found["host1"] & found[f"host{number}"]
        ),
        None,
    )


def process_of(lab, address):
    numbers = {
        f"172.30.0.{place.address & 255}:5269": process
        for process, place in zip(lab.controls, lab.plan.controls, strict=True)
    }
    return numbers[address]


def test_members_of_a_group_are_known_to_agents_of_other_control_nodes(lab):
    """A group travels with its members' routes, by BGP as well."""
    number = apart(lab)
    assert number is not None
    near, far = "red-1", f"red-{number}"
    client = lab.intent.client
    local = {"security_group": "local"}
    anybody = {"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}

    def create(name, *sides):
        rules = [
            {"direction": ">", "protocol": "any", "src_addresses": [one], "dst_addresses": [other]}
            for one, other in sides
        ]
        client.create(
            "security-group",
            [DOMAIN, PROJECT, name],
            parent_type="project",
            security_group_entries={"policy_rule": rules},
        )

    def put(workload, *groups):
        refs = [{"to": [DOMAIN, PROJECT, group]} for group in groups]
        uuid = lab.plan.workload(workload).interface_uuid
        client.update("virtual-machine-interface", uuid, wait="agents", security_group_refs=refs)

    def answers():
        target = format_ipv4(lab.plan.workload(far).address)
        return lab.run(near, ["ping", "-nqc1", "-W0.3", target]).returncode == 0

    create("admin", (local, anybody))
    create("served", ({"security_group": f"{DOMAIN}:{PROJECT}:admin"}, local))
    until(lab, answers)
    put(far, "served")
    until(lab, lambda: not answers())
    put(near, "admin")
    until(lab, answers)
    put(near)
    until(lab, lambda: not answers())
    put(far)
    until(lab, answers)


def test_tags_are_known_to_agents_of_other_control_nodes(lab):
    """Tags travel with their workloads' routes, by BGP as well: both ends' rules ask for those of
    an end that only the other pair of control nodes was told of.
    """
    until(lab, lambda: all(len(each) == 2 for each in homes(lab).values()))
    number = apart(lab)
    assert number is not None
    near, far = "red-1", f"red-{number}"
    for name in ("tier=web", "tier=db"):
        kind, value = name.split("=")
        lab.intent.client.create("tag", [name], tag_type_name=kind, tag_value=value)
    create_rule(lab, "web-db", ["tier=web"], ["tier=db"])
    create_policy(lab, "tiers", "web-db")

    def answers(source, target):
        address = format_ipv4(lab.plan.workload(target).address)
        return lab.run(source, ["ping", "-nqc1", "-W0.3", address]).returncode == 0

    until(lab, lambda: answers(near, far))
    use_policies(lab, "tiers")
    try:
        until(lab, lambda: not answers(near, far))
        tag_workload(lab, far, tier="db")
        assert not answers(near, far)
        tag_workload(lab, near, tier="web")
        until(lab, lambda: answers(near, far))
        assert not answers(far, near)
        flows = lab.ask(f"agent-host{number}", "/filament/flows")["flows"]
        # The last seen first: before there was a rule, others passed.
        asked = next(flow for flow in flows if flow["inbound"] and not flow["denied"])
        number_of_web = int(lab.intent.client.get("tag", tag_uuid(lab, "tier=web"))["tag_id"], 16)
        assert asked["destination_tags"] == ["tier=db"]
        assert asked["source_tags"] in (["tier=web"], [f"0x{number_of_web:08x}"])
        tag_workload(lab, near, tier="db")
        until(lab, lambda: not answers(near, far))
        tag_workload(lab, far, tier="web")
        until(lab, lambda: answers(far, near))
        assert not answers(near, far)
    finally:
        use_policies(lab)
    until(lab, lambda: answers(near, far))


def tag_uuid(lab, name):
    return lab.intent.client.uuid_of("tag", [name])


def test_routes_cross_from_one_pair_of_control_nodes_to_another(lab):
    until(lab, lambda: all(len(each) == 2 for each in homes(lab).values()))
    assert apart(lab) is not None, homes(lab)
    until(lab, lambda: reach.measure(lab) == reach.expected(lab.plan))


def test_waiting_for_agents_is_for_those_of_every_control_node(lab):
    """What docs/limits.md promises: hosts apart have applied the change when the write answers, and
    only the routes that follow from it on the other side may still be on their way by BGP.
    """
    until(lab, lambda: all(len(each) == 2 for each in homes(lab).values()))
    client, number = lab.intent.client, apart(lab)
    policy = lab.intent.create_policy("red-blue", "red", "blue")
    uuid = client.uuid_of("virtual-network", [DOMAIN, PROJECT, "red"])
    for policies in (["red-blue"], [], ["red-blue"], []):
        refs = [
            {"to": [DOMAIN, PROJECT, name], "attr": {"sequence": {"major": 0, "minor": 0}}}
            for name in policies
        ]
        answer = client.update("virtual-network", uuid, wait="agents", network_policy_refs=refs)
        assert not answer.lagging
        applied = {
            host.name: lab.ask(f"agent-{host.name}", "/filament/status")["applied"]
            for host in lab.plan.hosts
        }
        assert set(applied.values()) == {answer.revision}, applied
        settled = [lab.ask(name, "/filament/status")["settled"] for name in lab.controls]
        assert set(settled) == {answer.revision}
    client.delete("network-policy", policy)
    network = lab.intent.find_network([DOMAIN, PROJECT, "red"])
    workload = lab.add_workload("red-9", f"host{number}", network)
    lab.wait_plugged()
    ping = ["ping", "-nqc1", "-W0.5", format_ipv4(workload.address)]
    until(lab, lambda: lab.run("red-1", ping).returncode == 0)
    lab.remove_workload("red-9")
    lab.settle()


def test_a_home_that_is_lost_for_good_is_replaced_without_losing_a_packet(lab):
    until(lab, lambda: reach.measure(lab) == reach.expected(lab.plan))
    before = homes(lab)
    other = apart(lab)
    victim = min(before["host1"])
    with Probe(lab, "red-1", f"red-{other}") as there, Probe(lab, "blue-2", "blue-1") as back:
        time.sleep(BEFORE_S)
        lab.kill(process_of(lab, victim))
        until(lab, lambda: all(len(each - {victim}) == 2 for each in homes(lab).values()))
        after = homes(lab)
        time.sleep(1.0)
        lab.restart(process_of(lab, victim))
        lab.wait_for(process_of(lab, victim))
        time.sleep(3.0)
    assert victim not in after["host1"]
    assert len(after["host1"] - before["host1"]) == 1
    for probe in (there, back):
        outcome = probe.outcome
        assert outcome.sent > 1000
        assert (outcome.lost, outcome.refused, outcome.duplicates) == (0, 0, 0), outcome
    assert homes(lab) == after  # a session that works is not left for a better one
    assert reach.measure(lab) == reach.expected(lab.plan)
