"""A network's access control list: order, implicit rules, what is left out."""

from __future__ import annotations

import pytest

from filament.base.origin import Origin
from filament.compiler.compile import compile_plan

from .universe import Universe, address, rule

RED, BLUE, GREEN = (f"default-domain:demo:{name}" for name in ("red", "blue", "green"))
ALLOW, DENY = "implicit-allow", "implicit-deny"
IMPLICIT = {
    "00000000-0000-0000-0000-100000000001": ALLOW,
    "00000000-0000-0000-0000-100000000002": DENY,
}


@pytest.fixture
def universe():
    return Universe()


def lines(universe, network="red"):
    """Compile and return a network's list, one short line per rule."""
    universe.commit()
    acl = compile_plan(universe.snapshot).acls[f"default-domain:demo:{network}:{network}"]

    def side(match):
        words = [match.network.split(":")[-1]] if match.network else []
        words += [str(match.prefix)] if match.prefix else []
        words += ["{}-{}".format(*match.ports)] if match.ports != (0, 65535) else []
        return " ".join(words)

    return [
        f"{side(each.source)} {'<>' if each.both_ways else '>'} {side(each.destination)}"
        f" {'any' if each.protocol is None else each.protocol}"
        f" {'pass' if each.passes else 'deny'} {IMPLICIT.get(each.rule_uuid, each.rule_uuid)}"
        for each in acl.rules
    ]


def test_without_policies_there_is_no_list(universe):
    universe.network("red")
    universe.commit()
    assert compile_plan(universe.snapshot).acls == {}


def test_any_between_two_networks(universe):
    universe.policy("talk", rule(RED, BLUE))
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red <> blue any pass r1",
        f"red > red any pass {ALLOW}",
        f"any > any any pass {ALLOW}",
    ]


def test_tcp_only_denies_everything_else_between_the_two(universe):
    universe.policy("talk", rule(RED, BLUE, protocol="tcp", destination_ports=[(80, 80)]))
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red <> blue 80-80 6 pass r1",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_rules_that_an_earlier_one_covers_are_left_out(universe):
    universe.policy(
        "first",
        rule(RED, "any", protocol="udp", rule_uuid="r1"),
        rule("local", BLUE, protocol="17", action="deny", direction=">", rule_uuid="r2"),
        rule(RED, BLUE, protocol="tcp", destination_ports=[(80, 90)], rule_uuid="r3"),
        rule(RED, BLUE, protocol="tcp", destination_ports=[(85, 90)], rule_uuid="r4"),
        rule(RED, BLUE, protocol="tcp", destination_ports=[(85, 91)], rule_uuid="r5"),
    )
    universe.network("red", ["first"])
    assert lines(universe) == [
        "red <> any 17 pass r1",
        "red <> blue 80-90 6 pass r3",
        "red <> blue 85-91 6 pass r5",
        f"red > red any pass {ALLOW}",
        "red <> any any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_what_a_one_way_rule_leaves_out_is_denied_both_ways(universe):
    universe.policy(
        "talk", rule(RED, BLUE, direction=">", protocol="tcp", destination_ports=[(80, 80)])
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red > blue 80-80 6 pass r1",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_a_rule_that_goes_one_way_does_not_cover_one_that_goes_both(universe):
    universe.policy(
        "talk",
        rule(RED, BLUE, direction=">", protocol="tcp", rule_uuid="r1"),
        rule(RED, BLUE, direction="<>", protocol="tcp", rule_uuid="r2"),
        rule(RED, BLUE, direction=">", protocol="6", rule_uuid="r3"),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red > blue 6 pass r1",
        "red <> blue 6 pass r2",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_icmp_has_types_and_codes_instead_of_ranges(universe):
    universe.policy(
        "talk",
        rule(RED, BLUE, protocol="icmp", destination_ports=[(8, 8)], rule_uuid="any code"),
        rule(RED, BLUE, protocol="icmp", destination_ports=[(9, 3)], rule_uuid="inside 8-8"),
        rule(RED, BLUE, protocol="icmp", destination_ports=[(9, 3)], rule_uuid="again"),
        rule(RED, GREEN, protocol="icmp", destination_ports=[(80, 443)], rule_uuid="no code"),
        rule(RED, BLUE, protocol="icmp", rule_uuid="all"),
        rule(RED, BLUE, protocol="1", destination_ports=[(3, -1)], rule_uuid="covered"),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red <> blue 8-8 1 pass any code",
        "red <> blue 9-3 1 pass inside 8-8",
        "red <> blue 1 pass all",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny any code",
        "red <> green any deny no code",
        f"any > any any pass {ALLOW}",
    ]


def test_what_else_a_rule_asks_for_changes_nothing_that_passes(universe):
    mirror = {"analyzer_name": "default-domain:demo:tap", "udp_port": 8099}
    more = {"simple_action": "pass", "log": True, "alert": True, "mirror_to": mirror}
    universe.policy("talk", rule(RED, BLUE, action_list=more))
    universe.policy("plain", rule(GREEN, BLUE))
    universe.network("red", ["talk"])
    universe.network("green", ["plain"])
    red, green = lines(universe), lines(universe, "green")
    assert [line.replace("green", "red") for line in green] == red


def test_a_name_across_projects_means_that_network(universe):
    universe.policy("talk", rule("local", "default-domain:other:red", protocol="tcp"))
    universe.network("red", ["talk"])
    universe.commit()
    acl = compile_plan(universe.snapshot).acls["default-domain:demo:red:red"]
    assert (acl.rules[0].source.network, acl.rules[0].destination.network) == (
        RED,
        "default-domain:other:red",
    )


def test_policies_in_order_of_sequence_then_of_attachment(universe):
    def at(major, minor):
        return {"sequence": {"major": major, "minor": minor}}

    for name in ("p1", "p2", "p3", "p4"):
        universe.policy(name, rule("local", f"default-domain:demo:{name}", rule_uuid=name))
    universe.network("red", [("p1", {}), ("p2", at(2, 0)), ("p3", at(1, 5)), ("p4", at(1, 5))])
    assert [line.split()[-1] for line in lines(universe)] == ["p3", "p4", "p2", "p1", ALLOW, ALLOW]


def test_sides_and_ports_multiply(universe):
    universe.policy(
        "talk",
        rule(
            [RED, address(RED, subnets=["10.1.1.0/25", "10.1.1.128/25"])],
            address(BLUE, subnet="10.2.0.0/16"),
            protocol="tcp",
            destination_ports=[(22, 22), (80, 80)],
        ),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red <> blue 10.2.0.0/16 22-22 6 pass r1",
        "red <> blue 10.2.0.0/16 80-80 6 pass r1",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_subnets_narrow_and_are_covered_by_wider_ones_only(universe):
    def within(text):
        return address(RED, subnet=text)

    universe.policy(
        "talk",
        rule(within("10.1.1.0/25"), BLUE, rule_uuid="r1"),
        rule(within("10.1.0.0/16"), BLUE, rule_uuid="r2"),
        rule(within("10.1.7.0/24"), BLUE, rule_uuid="r3"),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red 10.1.1.0/25 <> blue any pass r1",
        "red 10.1.0.0/16 <> blue any pass r2",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_rules_of_subnets_alone_hold_everywhere_and_keep_them_when_denied(universe):
    bare = rule(address(subnet="10.0.0.0/8"), address(subnet="10.9.0.0/16"), protocol="icmp")
    universe.policy("talk", bare)
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "10.0.0.0/8 <> 10.9.0.0/16 1 pass r1",
        f"red > red any pass {ALLOW}",
        "10.0.0.0/8 <> 10.9.0.0/16 any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_rules_about_ipv6_prefixes(universe):
    universe.policy(
        "talk",
        rule(address(RED, subnet="fd00::/8"), BLUE, rule_uuid="v6"),
        rule(address(subnet="::/0"), address(subnet="fd01::/16"), rule_uuid="bare"),
        rule(address(subnet="0.0.0.0/0"), address(subnet="fd01::/16"), rule_uuid="none"),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        "red fd00::/8 <> blue any pass v6",
        "::/0 <> fd01::/16 any pass bare",
        "0.0.0.0/0 <> fd01::/16 any pass none",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny v6",
        f"any > any any pass {ALLOW}",
    ]


def test_rules_that_match_nothing_still_deny_the_rest(universe):
    universe.policy(
        "talk",
        rule(address(RED, subnet="fd00::/129"), BLUE, rule_uuid="long"),
        rule(RED, GREEN, protocol="tpc", rule_uuid="typo"),
        rule(address(subnet="fd00::/129"), address(subnet="fd01::/16"), rule_uuid="bare"),
    )
    universe.network("red", ["talk"])
    assert lines(universe) == [
        f"red > red any pass {ALLOW}",
        "red <> blue any deny long",
        "red <> green any deny typo",
        f"any > any any pass {ALLOW}",
    ]


def test_an_address_for_a_policy_becomes_one_rule_per_network(universe):
    universe.policy("members")
    universe.policy("talk", rule("local", address(policy=universe.fq("members")), protocol="udp"))
    universe.network("red", ["talk"])
    universe.network("blue", ["members"])
    universe.network("green", ["members"])
    assert lines(universe) == [
        "red <> blue 17 pass r1",
        "red <> green 17 pass r1",
        f"red > red any pass {ALLOW}",
        "red <> blue any deny r1",
        "red <> green any deny r1",
        f"any > any any pass {ALLOW}",
    ]


def test_a_provider_network_keeps_others_out(universe):
    universe.network("red", is_provider_network=True)
    assert lines(universe) == [
        f"red > red any pass {ALLOW}",
        f"red <> any any deny {DENY}",
        f"any > any any pass {ALLOW}",
    ]


def test_a_network_linked_to_a_provider_denies_it_unless_a_policy_passes(universe):
    universe.network("provider", is_provider_network=True)
    universe.network("red", networks=["default-domain:demo:provider"])
    assert lines(universe) == [
        f"red > red any pass {ALLOW}",
        f"red <> provider any deny {DENY}",
        f"any > any any pass {ALLOW}",
    ]


def test_fabric_snat_reaches_the_fabric_and_nothing_else(universe):
    universe.network("red", fabric_snat=True)
    assert lines(universe) == [
        f"red > red any pass {ALLOW}",
        f"red <> ip-fabric any pass {ALLOW}",
        f"red <> any any deny {DENY}",
        f"any > any any pass {ALLOW}",
    ]


def test_rows_tell_where_they_come_from(universe):
    universe.network("red")
    universe.commit()
    universe.policy("talk", rule(RED, BLUE, protocol="tcp"))
    universe.commit()
    universe.network("red", ["talk"])
    universe.commit()
    universe.policy("talk", rule(RED, BLUE, protocol="udp"))
    universe.commit()
    acl = compile_plan(universe.snapshot).acls["default-domain:demo:red:red"]
    assert acl.origin == Origin(f"virtual-network {RED}", "network-acl", 4)
    assert [each.origin for each in acl.rules] == [
        Origin("network-policy default-domain:demo:talk", "policy-rule r1", 4),
        Origin(f"virtual-network {RED}", "implicit-allow", 3),
        Origin("network-policy default-domain:demo:talk", "policy-rule-rest r1", 4),
        Origin(f"virtual-network {RED}", "implicit-allow", 3),
    ]
