"""Security groups and IPv6, from the API to packets between hosts."""

import re
import time

import pytest

from filament.base.limits import MAX_SAMPLES
from filament.base.net import Prefix
from filament.testing.lab.dual import LINK_LOCAL_GATEWAY, add_ipv6
from filament.testing.lab.intent import DOMAIN, PROJECT, require_followed
from filament.testing.lab.lab import agent_of

pytestmark = pytest.mark.lab

ADDRESSES = {"red-1": "10.1.1.3", "red-2": "10.1.1.4"}
ADDRESSES6 = {"red-1": "2001:db8:1::3", "red-2": "2001:db8:1::4"}
GATEWAY6 = "2001:db8:1::1"


def received(lab, source, target, *options):
    """How many of three pings are answered."""
    argv = ["ping", "-nq", "-c3", "-i0.02", "-W0.5", *options, target]
    return int(re.search(r"(\d+) received", lab.run(source, argv).stdout)[1])


def side(**address):
    empty = {"subnet": None, "virtual_network": None, "security_group": None}
    return [{**empty, **address}]


def rule(source, destination, **match):
    ports = [{"start_port": 0, "end_port": 65535}]
    return {
        "direction": ">",
        "protocol": "any",
        "ethertype": "IPv4",
        "src_addresses": source,
        "src_ports": ports,
        "dst_addresses": destination,
        "dst_ports": ports,
        **match,
    }


ANYBODY = side(subnet={"ip_prefix": "0.0.0.0", "ip_prefix_len": 0})
LOCAL = side(security_group="local")


def create_group(lab, name, *rules):
    return lab.intent.client.create(
        "security-group",
        [DOMAIN, PROJECT, name],
        parent_type="project",
        security_group_entries={"policy_rule": list(rules)},
    )


def put_into(lab, workload, *groups):
    uuid = lab.plan.workload(workload).interface_uuid
    refs = [{"to": [DOMAIN, PROJECT, group]} for group in groups]
    client = lab.intent.client
    require_followed(
        client.update("virtual-machine-interface", uuid, wait="agents", security_group_refs=refs)
    )


def test_members_of_a_remote_group_come_in_and_others_do_not(lab):
    create_group(lab, "admin", rule(LOCAL, ANYBODY))
    create_group(
        lab,
        "web",
        rule(LOCAL, ANYBODY, protocol="udp"),
        rule(side(security_group=f"{DOMAIN}:{PROJECT}:admin"), LOCAL),
    )
    assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
    put_into(lab, "red-2", "web")
    assert received(lab, "red-1", ADDRESSES["red-2"]) == 0
    put_into(lab, "red-1", "admin")
    assert received(lab, "red-1", ADDRESSES["red-2"]) == 3
    # A member of admin is let out, nobody is let in but by answers; web may only speak UDP.
    assert received(lab, "red-2", ADDRESSES["red-1"]) == 0
    put_into(lab, "red-1")
    put_into(lab, "red-2")
    assert received(lab, "red-2", ADDRESSES["red-1"]) == 3


@pytest.fixture(scope="module")
def dual(lab):
    """Red with a second, IPv6 subnet, and an address of it on both its workloads."""
    add_ipv6(lab, "red", Prefix.parse("2001:db8:1::/64"), ADDRESSES6)
    return lab


def test_ipv6_crosses_hosts(dual):
    assert received(dual, "red-1", ADDRESSES6["red-2"], "-6") == 3
    assert received(dual, "red-2", ADDRESSES6["red-1"], "-6") == 3
    assert received(dual, "red-1", ADDRESSES["red-2"]) == 3


def test_the_gateway_answers_for_both_its_addresses(dual):
    assert received(dual, "red-1", GATEWAY6, "-6") == 3
    assert received(dual, "red-1", f"{LINK_LOCAL_GATEWAY}%eth0", "-6") == 3


def test_addresses_that_were_not_given_are_dropped(dual):
    dual.run("red-1", ["ip", "addr", "add", "2001:db8:1::66/64", "dev", "eth0", "nodad"])
    try:
        stolen = ("-6", "-I", "2001:db8:1::66")
        assert received(dual, "red-1", ADDRESSES6["red-2"], *stolen) == 0
    finally:
        dual.run("red-1", ["ip", "addr", "del", "2001:db8:1::66/64", "dev", "eth0"])


def test_the_agent_shows_what_was_dropped(dual):
    dual.run("red-1", ["ping", "-nq", "-c1", "-W0.2", "192.0.2.77"])
    host = dual.plan.workload("red-1").host
    deadline = time.monotonic() + 10
    while True:
        samples = dual.ask(agent_of(host), "/filament/drop-samples")["samples"]
        heads = [
            one for one in samples if one["reason"] == "NO_ROUTE" and "c000024d" in one["head"]
        ]
        if heads or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert len(samples) <= MAX_SAMPLES
    assert heads[0]["interface"].endswith("red-1-port")


def test_security_groups_are_of_an_ip_version(dual):
    create_group(dual, "four", rule(LOCAL, ANYBODY), rule(ANYBODY, LOCAL))
    put_into(dual, "red-2", "four")
    assert received(dual, "red-1", ADDRESSES["red-2"]) == 3
    assert received(dual, "red-1", ADDRESSES6["red-2"], "-6") == 0
    put_into(dual, "red-2")
    assert received(dual, "red-1", ADDRESSES6["red-2"], "-6") == 3
