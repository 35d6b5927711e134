"""The naive evaluator against what docs/policy.md says, one sentence at a time."""

from __future__ import annotations

import pytest

from filament.testing.intended import ICMP, ICMPV6, TCP, UDP, Flow, Intended

RED, BLUE, GREEN = (f"d:p:{name}" for name in ("red", "blue", "green"))
FAR = "d:q:far"
ADDRESSES = {
    "red-1": (RED, "10.1.1.3", "fd00:1::3"),
    "red-2": (RED, "10.1.1.4", "fd00:1::4"),
    "blue-1": (BLUE, "10.1.2.3", "fd00:2::3"),
    "green-1": (GREEN, "10.1.3.3", "fd00:3::3"),
    "far-1": (FAR, "10.1.4.3", "fd00:4::3"),
}
EVERY_PORT = [{"start_port": -1, "end_port": -1}]


def to(name):
    return {"to": name.split(":")}


def side(given):
    return given if isinstance(given, dict) else {"virtual_network": given}


def prefix(text):
    base, _, length = text.partition("/")
    return {"ip_prefix": base, "ip_prefix_len": int(length)}


def rule(source, destination, *, action="pass", direction="<>", protocol="any", **more):
    return {
        "direction": direction,
        "protocol": protocol,
        "src_addresses": [side(source)],
        "src_ports": EVERY_PORT,
        "dst_addresses": [side(destination)],
        "dst_ports": EVERY_PORT,
        "action_list": {"simple_action": action},
    } | more


def ports(*ranges):
    return [{"start_port": start, "end_port": end} for start, end in ranges]


def configuration(policies=(), attached=(), groups=(), **port_fields):
    """`policies` and `groups`: rules by name; `attached`: (network, policy, attributes)."""
    objects = []
    for network in (RED, BLUE, GREEN, FAR):
        refs = [
            to(f"d:p:{policy}") | {"attr": attr}
            for name, policy, attr in attached
            if name == network
        ]
        body = {"fq_name": network.split(":"), "network_policy_refs": refs}
        objects.append(("virtual-network", body))
    for name, rules in dict(policies).items():
        body = {"fq_name": ["d", "p", name], "network_policy_entries": {"policy_rule": rules}}
        objects.append(("network-policy", body))
    for name, rules in dict(groups).items():
        body = {"fq_name": ["d", "p", name], "security_group_entries": {"policy_rule": rules}}
        objects.append(("security-group", body))
    for name, (network, *addresses) in ADDRESSES.items():
        body = {"fq_name": ["d", "p", name], "virtual_network_refs": [to(network)]}
        fields = port_fields.get(name.replace("-", "_"), {})
        objects.append(("virtual-machine-interface", body | fields))
        for address in addresses:
            body = {
                "fq_name": [address],
                "instance_ip_address": address,
                "virtual_machine_interface_refs": [to(f"d:p:{name}")],
            }
            objects.append(("instance-ip", body))
    return Intended(objects)


def on(policy, *networks, **attr):
    attributes = {"sequence": {"major": 0, "minor": 0}} | attr
    return [(network, policy, attributes) for network in networks]


def flow(source, destination, protocol=TCP, *, version=4, **fields):
    index = 1 if version == 4 else 2
    ends = ADDRESSES[source][index], ADDRESSES[destination][index]
    defaults = {"source_port": 1024, "destination_port": 80} if protocol in (TCP, UDP) else {}
    return Flow(*ends, protocol, **(defaults | fields))


def may(meant, source, destination, protocol=TCP, **fields):
    made = flow(source, destination, protocol, **fields)
    return meant.judge(f"d:p:{source}", f"d:p:{destination}", made).allowed


def test_a_network_reaches_itself_and_no_other():
    meant = configuration()
    assert may(meant, "red-1", "red-2")
    answer = meant.judge("d:p:red-1", "d:p:blue-1", flow("red-1", "blue-1"))
    assert answer == (False, f"{RED} and {BLUE} do not list each other")


def test_both_networks_must_list_each_other():
    policies = {"talk": [rule(RED, BLUE)]}
    assert not may(configuration(policies, on("talk", RED)), "red-1", "blue-1")
    assert may(configuration(policies, on("talk", RED, BLUE)), "red-1", "blue-1")
    denied = {"talk": [rule(RED, BLUE, action="deny")]}
    assert not configuration(denied, on("talk", RED, BLUE)).reaches(RED, BLUE)


def test_any_is_the_project_and_whoever_names_us():
    policies = {"open": [rule("local", "any")], "name": [rule("local", RED)]}
    assert may(configuration(policies, on("open", RED, BLUE)), "red-1", "blue-1")
    assert not may(configuration(policies, on("open", RED, FAR)), "red-1", "far-1")
    named = configuration(policies, on("open", RED) + on("name", FAR))
    assert may(named, "red-1", "far-1")


def test_a_policy_stands_for_its_networks():
    policies = {"members": [], "talk": [rule("local", {"network_policy": "d:p:members"})]}
    attached = on("talk", RED, BLUE) + on("members", BLUE, RED)
    assert may(configuration(policies, attached), "red-1", "blue-1")
    assert not may(configuration(policies, attached), "red-1", "green-1")


def test_what_a_rule_leaves_out_is_denied_both_ways_and_others_are_not_touched():
    policies = {"web": [rule(RED, BLUE, direction=">", protocol="tcp", dst_ports=ports((80, 81)))]}
    meant = configuration(policies, on("web", RED, BLUE))
    assert may(meant, "red-1", "blue-1")
    assert not may(meant, "red-1", "blue-1", UDP)
    assert not may(meant, "red-1", "blue-1", destination_port=82)
    assert not may(meant, "blue-1", "red-1")
    assert not may(meant, "blue-1", "red-1", UDP)
    assert may(meant, "red-1", "red-2", UDP)


def test_both_ways_exchanges_ports_too():
    policies = {"web": [rule(RED, BLUE, protocol="tcp", dst_ports=ports((80, 80)))]}
    meant = configuration(policies, on("web", RED, BLUE))
    assert may(meant, "red-1", "blue-1")
    assert not may(meant, "blue-1", "red-1")
    assert may(meant, "blue-1", "red-1", source_port=80, destination_port=9)


def test_the_first_rule_in_order_of_sequence_decides():
    policies = {
        "no": [rule(RED, BLUE, action="deny", protocol="udp")],
        "yes": [rule(RED, BLUE)],
    }
    first = {"sequence": {"major": 0, "minor": 1}}
    last = {"sequence": {"major": 1, "minor": 0}}
    for attributes, allowed in ((first, False), (last, True), ({"sequence": None}, True)):
        attached = on("yes", RED, BLUE, sequence={"major": 0, "minor": 2})
        attached += on("no", RED, BLUE, **attributes)
        assert may(configuration(policies, attached), "red-1", "blue-1", UDP) == allowed


def test_a_timed_policy_connects_and_filters_nothing():
    policies = {"talk": [rule(RED, BLUE, protocol="tcp")]}
    timed = configuration(policies, on("talk", RED, BLUE, timer={"start_time": "now"}))
    assert may(timed, "red-1", "blue-1", UDP)


@pytest.mark.parametrize("listed", [False, True])
def test_prefixes_narrow_a_rule_but_not_what_it_leaves_out(listed):
    one = prefix("10.1.1.3/32")
    narrowed = {"virtual_network": RED} | ({"subnet_list": [one]} if listed else {"subnet": one})
    meant = configuration({"talk": [rule(narrowed, BLUE)]}, on("talk", RED, BLUE))
    assert may(meant, "red-1", "blue-1")
    assert not may(meant, "red-2", "blue-1")
    assert not may(meant, "red-1", "blue-1", version=6)


def test_rules_about_prefixes_alone_hold_everywhere():
    bare = rule({"subnet": prefix("10.1.1.0/24")}, {"subnet": prefix("10.1.0.0/16")}, action="deny")
    meant = configuration({"no": [bare]}, on("no", RED))
    assert not may(meant, "red-1", "red-2")
    assert may(meant, "red-1", "red-2", version=6)


def test_beside_prefixes_a_policy_stands_for_the_network_it_hangs_on():
    bare = {"subnet": prefix("10.1.1.0/24")}
    policies = {
        "members": [],
        "bare": [rule({"network_policy": "d:p:members"}, bare, action="deny", direction=">")],
        "talk": [rule(RED, BLUE)],
    }
    attached = on("members", RED, BLUE) + on("bare", RED) + on("talk", RED, BLUE)
    meant = configuration(policies, attached)
    assert not may(meant, "red-1", "red-2")
    assert may(meant, "blue-1", "red-1")


def test_icmp_types_and_codes():
    def pings(first, last):
        made = rule(RED, BLUE, protocol="icmp", dst_ports=ports((first, last)))
        return configuration({"ping": [made]}, on("ping", RED, BLUE))

    for first, last, allowed in (
        (8, 0, True), (8, 8, True), (8, -1, True), (-1, -1, True), (0, 255, True), (8, 1, False),
        (3, 0, False),
    ):  # fmt: skip
        assert may(pings(first, last), "red-1", "blue-1", ICMP, icmp_type=8) == allowed


LOCAL = {"security_group": "local"}
ANYBODY = {"subnet": prefix("0.0.0.0/0")}


def test_groups_let_out_and_in_what_one_of_them_allows():
    groups = {
        "none": [],
        "out": [rule(LOCAL, ANYBODY)],
        "web": [rule(ANYBODY, LOCAL, protocol="tcp", dst_ports=ports((80, 80)))],
    }

    def with_groups(**names):
        fields = {
            port: {"security_group_refs": [to(f"d:p:{name}") for name in listed]}
            for port, listed in names.items()
        }
        return configuration(groups=groups, **fields)

    assert may(with_groups(red_2=["web"]), "red-1", "red-2")
    assert not may(with_groups(red_2=["web"]), "red-1", "red-2", UDP)
    assert not may(with_groups(red_2=["web"]), "red-2", "red-1")
    assert may(with_groups(red_2=["web", "out"]), "red-2", "red-1")
    assert not may(with_groups(red_1=["none"]), "red-1", "red-2")
    assert not may(with_groups(red_2=["web"]), "red-1", "red-2", version=6)


def test_members_of_a_remote_group():
    groups = {
        "web": [rule({"security_group": "d:p:admin"}, LOCAL)],
        "admin": [rule(LOCAL, ANYBODY)],
    }
    web, admin = ({"security_group_refs": [to(f"d:p:{name}")]} for name in ("web", "admin"))
    assert not may(configuration(groups=groups, red_2=web), "red-1", "red-2")
    assert may(configuration(groups=groups, red_1=admin, red_2=web), "red-1", "red-2")
    insecure = admin | {"port_security_enabled": False}
    assert not may(configuration(groups=groups, red_1=insecure, red_2=web), "red-1", "red-2")


def test_ports_that_groups_or_policies_do_not_hold_for():
    groups = {"none": []}
    closed = {"security_group_refs": [to("d:p:none")]}
    for field, value in (
        ("port_security_enabled", False),
        ("virtual_machine_interface_disable_policy", True),
    ):
        assert may(configuration(groups=groups, red_1=closed | {field: value}), "red-1", "red-2")


def test_ethertypes():
    six = rule(LOCAL, {"subnet": prefix("::/0")}, ethertype="IPv6", protocol="icmp")
    fields = {"security_group_refs": [to("d:p:six")]}
    meant = configuration(groups={"six": [six]}, red_1=fields)
    assert may(meant, "red-1", "red-2", ICMPV6, version=6, icmp_type=128)
    assert not may(meant, "red-1", "red-2", ICMP, icmp_type=8)


def test_an_address_must_be_the_ports():
    meant = configuration()
    stolen = Flow("10.1.1.4", "10.1.1.3", TCP)
    assert not meant.judge("d:p:red-1", "d:p:red-2", stolen).allowed
