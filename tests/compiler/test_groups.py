"""Security groups as lists: which rule goes where, what each becomes, what is left out."""

from __future__ import annotations

import pytest

from filament.base.origin import Origin
from filament.compiler.compile import Compiler, compile_plan
from filament.compiler.render import Rendered

from .universe import Universe, address, rule

WEB, DB = (Universe.fq(name) for name in ("web", "db"))
LOCAL = {"security_group": "local"}
ANYWHERE = address(subnet="0.0.0.0/0")


def group(name):
    return {"security_group": name}


@pytest.fixture
def universe():
    return Universe()


def lists(universe, name="web"):
    """Compile and return a group's two lists, one short line per rule."""
    universe.commit()
    acls = compile_plan(universe.snapshot).acls
    found = (
        acls[f"{Universe.fq(name)}:{way}-access-control-list"] for way in ("egress", "ingress")
    )
    return [[line(each) for each in acl.rules] for acl in found]


def line(each):
    def side(match):
        words = [] if match.group is None else [f"group {match.group}"]
        words += [str(match.prefix)] if match.prefix else []
        words += ["{}-{}".format(*match.ports)] if match.ports != (0, 65535) else []
        return " ".join(words) or "*"

    version = f" v{each.version}" if each.version else ""
    protocol = "any" if each.protocol is None else each.protocol
    assert each.passes
    assert not each.both_ways
    assert each.source.network == each.destination.network == ""
    return f"{side(each.source)} > {side(each.destination)} {protocol}{version} {each.rule_uuid}"


VECTORS = {
    "out": (rule(LOCAL, ANYWHERE), ["* > 0.0.0.0/0 any r1"], []),
    "in": (rule(ANYWHERE, LOCAL), [], ["0.0.0.0/0 > * any r1"]),
    "in from itself": (rule(group(WEB), LOCAL), [], ["group 8000001 > * any r1"]),
    "in from another": (rule(group(DB), LOCAL), [], ["group 8000002 > * any r1"]),
    "in from any group": (rule(group("any"), LOCAL), [], ["group -1 > * any r1"]),
    "in from a number": (rule(group("7"), LOCAL), [], ["group 7 > * any r1"]),
    "from a group that is not there": (rule(group("d:p:gone"), LOCAL), [], []),
    "both": (rule(LOCAL, LOCAL), ["* > * any r1"], ["* > * any r1"]),
    "neither": (rule(ANYWHERE, ANYWHERE), [], []),
    "ports": (
        rule(ANYWHERE, LOCAL, protocol="tcp", destination_ports=((80, 80), (443, 444))),
        [],
        ["0.0.0.0/0 > 80-80 6 r1", "0.0.0.0/0 > 443-444 6 r1"],
    ),
    "prefixes": (
        rule(address(subnets=["10.1.0.0/16", "10.2.0.9/24"]), LOCAL),
        [],
        ["10.1.0.0/16 > * any r1", "10.2.0.0/24 > * any r1"],
    ),
    "IPv6": (
        rule(LOCAL, address(subnet="fd00::/8"), ethertype="IPv6"),
        ["* > fd00::/8 any v6 r1"],
        [],
    ),
    "IPv4": (rule(LOCAL, ANYWHERE, ethertype="IPv4"), ["* > 0.0.0.0/0 any v4 r1"], []),
    "ping of IPv6": (rule(LOCAL, LOCAL, protocol="icmp", ethertype="IPv6"), ["* > * 58 v6 r1"],
                     ["* > * 58 v6 r1"]),
    "ICMP type and code": (
        rule(ANYWHERE, LOCAL, protocol="icmp", source_ports=((8, 8),), destination_ports=((0, 0),)),
        [],
        ["0.0.0.0/0 8-8 > 0-0 1 r1"],
    ),
    "ICMP type above its code": (
        rule(ANYWHERE, LOCAL, protocol="icmp", destination_ports=((8, 0),)),
        [],
        ["0.0.0.0/0 > 8-0 1 r1"],
    ),
    "ICMP code that is none": (
        rule(ANYWHERE, LOCAL, protocol="icmp", destination_ports=((80, 443),)), [], []
    ),
    "ports upside down": (
        rule(ANYWHERE, LOCAL, protocol="tcp", destination_ports=((8, 7),)), [], []
    ),
    "no ports": (rule(LOCAL, ANYWHERE) | {"src_ports": [], "dst_ports": None},
                 ["* > 0.0.0.0/0 any r1"], []),
    "prefixes that are none": (rule(address(subnet="ten/8"), LOCAL), [], []),
    "protocol that is none": (rule(ANYWHERE, LOCAL, protocol="none"), [], []),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_what_a_rule_becomes(universe, case):
    given, egress, ingress = VECTORS[case]
    universe.group("web", given, number=8000001)
    universe.group("db", number=8000002)
    assert lists(universe) == [egress, ingress]


def test_rules_keep_their_order(universe):
    universe.group("web", *(rule(LOCAL, ANYWHERE, rule_uuid=f"r{n}") for n in range(9)))
    assert [each[-2:] for each in lists(universe)[0]] == [f"r{n}" for n in range(9)]


def test_an_empty_group_has_both_lists_empty(universe):
    universe.group("web")
    assert lists(universe) == [[], []]


def test_rows_say_where_they_come_from(universe):
    universe.group("web", rule(LOCAL, ANYWHERE, rule_uuid="r7"))
    universe.commit()
    acl = compile_plan(universe.snapshot).acls[f"{WEB}:egress-access-control-list"]
    # Of the list's revision: rules that do not change stay the same objects.
    assert acl.rules[0].origin == Origin(f"security-group {WEB}", "group-rule r7")
    assert acl.origin == Origin(f"security-group {WEB}", "egress-access-control-list", 1)
    assert (acl.parent_kind, acl.network) == ("security-group", "")


def test_lists_follow_the_numbers_of_the_groups_they_name(universe):
    compiler = Compiler()
    compiler.load(universe.snapshot)
    universe.group("web", rule(group(DB), LOCAL))
    compiler.update(universe.snapshot, universe.commit())
    ingress = f"{WEB}:ingress-access-control-list"
    assert compiler.plan.acls[ingress].rules == ()
    for number in (8000002, 77):
        universe.group("db", number=number)
        delta = compiler.update(universe.snapshot, universe.commit())
        assert ingress in delta.acls_put
        assert compiler.plan.acls[ingress].rules[0].source.group == number
    universe.delete("security-group", DB)
    delta = compiler.update(universe.snapshot, universe.commit())
    assert delta.acls_deleted == {
        f"{DB}:{way}-access-control-list" for way in ("ingress", "egress")
    }
    assert compiler.plan.acls[ingress].rules == ()
    compiler.verify(universe.snapshot)


def test_lists_are_rendered_as_tf_renders_them(universe):
    web = universe.group(
        "web",
        rule(group(DB), LOCAL, protocol="tcp", ethertype="IPv4", destination_ports=((80, 80),)),
        number=8000001,
    )
    universe.group("db", number=8000002)
    universe.commit()
    rendered = Rendered(compile_plan(universe.snapshot))
    egress, ingress = rendered.children(web.uuid, "access-control-list")
    assert (egress.fq_name[-1], ingress.fq_name[-1]) == (
        "egress-access-control-list",
        "ingress-access-control-list",
    )
    assert (ingress.parent_kind, ingress.parent_uuid) == ("security-group", web.uuid)
    (made,) = ingress.props["access_control_list_entries"]["acl_rule"]
    nothing = {"virtual_network": None, "subnet": None, "subnet_list": [], "network_policy": None}
    assert made["match_condition"] == {
        "protocol": "6",
        "src_address": nothing | {"security_group": "8000002"},
        "src_port": {"start_port": 0, "end_port": 65535},
        "dst_address": nothing | {"security_group": None},
        "dst_port": {"start_port": 80, "end_port": 80},
        "ethertype": "IPv4",
    }
    assert (made["action_list"]["simple_action"], made["direction"], made["rule_uuid"]) == (
        "pass",
        None,
        "r1",
    )
    assert egress.props["access_control_list_entries"]["acl_rule"] == []
