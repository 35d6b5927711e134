"""Which networks policies connect: both must list each other."""

from __future__ import annotations

import pytest

from filament.base.errors import InputError
from filament.base.net import Prefix
from filament.compiler.compile import compile_plan
from filament.compiler.policies import Address, parse_protocol, read_policy

from .universe import Universe, address, rule

RED, BLUE, GREEN = (f"default-domain:demo:{name}" for name in ("red", "blue", "green"))
OTHER = ("default-domain", "other")


@pytest.fixture
def universe():
    return Universe()


def leaks(universe):
    """Compile and return the leaking pairs of short network names."""
    universe.commit()
    plan = compile_plan(universe.snapshot)
    return {
        tuple(sorted((instance.network.split(":")[-1], other.split(":")[-1])))
        for instance in plan.routing_instances.values()
        for other in instance.connections
        if instance.name in plan.routing_instances[other].connections
    }


def test_a_policy_on_both_networks_connects_them(universe):
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    universe.network("blue", ["talk"])
    assert leaks(universe) == {("blue", "red")}


def test_a_policy_on_one_network_connects_nothing(universe):
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    universe.network("blue")
    assert leaks(universe) == set()


def test_each_may_list_the_other_in_a_policy_of_its_own(universe):
    universe.policy("to-blue", rule("local", BLUE, protocol="tcp"))
    universe.policy("to-red", rule(RED, "local", direction=">"))
    universe.network("red", ["to-blue"])
    universe.network("blue", ["to-red"])
    assert leaks(universe) == {("blue", "red")}


@pytest.mark.parametrize(
    "silent",
    [
        {"action": "deny"},
        {"action": None},
        {"action_list": None},
        {"action_list": {"simple_action": "pass", "apply_service": ["d:p:fw"]}},
    ],
)
def test_rules_that_do_not_plainly_pass_connect_nothing(universe, silent):
    universe.policy("talk", rule(RED, BLUE, **silent))
    universe.network("red", ["talk"])
    universe.network("blue", ["talk"])
    assert leaks(universe) == set()


def test_a_rule_about_other_networks_means_nothing_here(universe):
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    universe.network("green", ["talk"])
    assert leaks(universe) == set()


def test_any_reaches_networks_of_the_project_that_want_any_too(universe):
    universe.policy("open", rule("local", "any"))
    universe.network("red", ["open"])
    universe.network("blue", ["open"])
    universe.network("green")
    universe.network("far", ["open"], project=OTHER)
    assert leaks(universe) == {("blue", "red")}


def test_any_reaches_whoever_lists_us_by_name_in_any_project(universe):
    universe.policy("open", rule("local", "any"))
    universe.policy("to-red", rule("local", RED))
    universe.network("red", ["open"])
    universe.network("far", ["to-red"], project=OTHER)
    universe.network("near", ["to-red"])
    assert leaks(universe) == {("far", "red"), ("near", "red")}


def test_an_address_may_stand_for_a_policys_networks(universe):
    universe.policy("members")
    universe.policy("talk", rule("local", address(policy=universe.fq("members"))))
    universe.policy("back", rule(address(policy=universe.fq("members")), RED))
    universe.network("red", ["talk"])
    universe.network("blue", ["members", "back"])
    universe.network("green", ["members"])
    assert leaks(universe) == {("blue", "red")}


def test_a_policy_that_does_not_exist_stands_for_nothing(universe):
    universe.policy("talk", rule("local", address(policy="default-domain:demo:gone")))
    universe.network("red", ["talk"])
    assert leaks(universe) == set()


def test_a_timed_attachment_connects_too(universe):
    timed = {"sequence": {"major": 0, "minor": 0}, "timer": {"start_time": "now"}}
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", [("talk", timed)])
    universe.network("blue", ["talk"])
    assert leaks(universe) == {("blue", "red")}
    acls = compile_plan(universe.snapshot).acls
    assert list(acls) == ["default-domain:demo:blue:blue"]


def test_a_network_linked_to_its_provider_network_leaks_with_it(universe):
    universe.network("provider", is_provider_network=True)
    universe.network("red", networks=["default-domain:demo:provider"])
    assert leaks(universe) == {("provider", "red")}


@pytest.mark.parametrize(
    ("text", "number"),
    [("tcp", 6), ("UDP", 17), ("icmp", 1), ("any", None), (None, None), ("0", 0), ("255", 255)],
)
def test_protocols_by_name_and_number(text, number):
    assert parse_protocol(text) == number


def test_icmp_means_icmpv6_for_ipv6():
    assert parse_protocol("icmp", ipv6=True) == 58


@pytest.mark.parametrize("text", ["tpc", "256", "-1", ""])
def test_other_protocols_are_refused(text):
    with pytest.raises(InputError) as raised:
        parse_protocol(text)
    assert str(raised.value).startswith(
        f"{text!r} is not an IP protocol; write any, a number 0-255 or one of ah, dccp, egp"
    )


def test_addresses_and_ports_as_read(universe):
    policy = universe.policy(
        "talk",
        rule(
            address("any", subnet="10.1.1.9/24", subnets=["10.2.0.0/16", "fd00::1/8", "x/9"]),
            address(subnet="fd00::/129"),
            source_ports=[(-1, -1), (80, 90)],
            destination_ports=[],
        ),
    )
    read = read_policy(policy)
    [one] = read.rules
    assert one.sources == (
        Address(
            "any",
            subnets=tuple(map(Prefix.parse, ("10.1.1.0/24", "10.2.0.0/16", "fd00::/8"))),
        ),
    )
    assert one.destinations == (Address(is_foreign=True),)
    assert one.source_ports == ((0, 65535), (80, 90))
    assert one.destination_ports == ((0, 65535),)
