"""Rules that no host has room for are refused, with the number that would fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.api.request import Update
from filament.base.errors import InputError
from filament.base.limits import MAX_ACL_RULES
from filament.model.body import convert_body
from filament.model.change import Object
from filament.model.check_rules import require_fitting_group, sum_of
from filament.model.kinds import KINDS
from filament.testing.sim.api import SimApi
from filament.testing.sim.schedule import Schedule

PROJECT = ["default-domain", "demo"]
LOCAL = {"security_group": "local"}
ANY_PORTS = [{"start_port": 0, "end_port": 65535}]


def rule(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "direction": ">",
        "protocol": "tcp",
        "src_addresses": [{"subnet": {"ip_prefix": f"10.0.0.{number}", "ip_prefix_len": 32}}],
        "dst_addresses": [LOCAL],
        "src_ports": ANY_PORTS,
        "dst_ports": ANY_PORTS,
        "ethertype": "IPv4",
    } | changes


def policy_rule(number: int) -> dict[str, Any]:
    networks = [{"virtual_network": "any"}, {"virtual_network": "local"}]
    ports = [{"start_port": number, "end_port": number}]
    return {
        "direction": ">",
        "protocol": "tcp",
        "src_addresses": networks,
        "dst_addresses": networks[:1],
        "src_ports": ANY_PORTS,
        "dst_ports": ports,
        "action_list": {"simple_action": "pass"},
    }


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr("filament.model.check_rules.MAX_ACL_RULES", 10)
    made = SimApi(Schedule(1))
    made.create("project", PROJECT, parent_type="domain")
    return made


def put(api: SimApi, item: Object, **fields: Any) -> None:
    api.ask(Update(item.kind, item.uuid, convert_body(KINDS[item.kind], fields)))


def group(api: SimApi, *rules: dict[str, Any]) -> Object:
    return api.create(
        "security-group", [*PROJECT, "web"], security_group_entries={"policy_rule": list(rules)}
    )


def policy(api: SimApi, name: str, count: int) -> Object:
    rules = [policy_rule(number) for number in range(count)]
    return api.create(
        "network-policy", [*PROJECT, name], network_policy_entries={"policy_rule": rules}
    )


def test_a_group_that_does_not_fit_is_refused_and_the_old_one_stays(api):
    web = group(api, *map(rule, range(10)))
    with pytest.raises(InputError) as caught:
        put(api, web, security_group_entries={"policy_rule": list(map(rule, range(13)))})
    assert str(caught.value) == (
        "the 13 rules of security-group default-domain:demo:web make 13 rules of its ingress list,"
        " and hosts have room for 10: the first 10 of its rules would fit at"
        " $.security-group.security_group_entries.policy_rule; leave out 3 rules, or put them into"
        " another group that ports are in besides"
    )
    assert api.engine is not None
    kept = api.engine.snapshot.get(web.uuid)
    assert kept is not None
    assert len(kept.props["security_group_entries"]["policy_rule"]) == 10


def test_each_prefix_and_range_of_ports_counts_and_each_direction_by_itself(api):
    ranges = [{"start_port": port, "end_port": port} for port in (80, 443, 8080)]
    subnets = [{"ip_prefix": f"10.1.{n}.0", "ip_prefix_len": 24} for n in range(4)]
    with pytest.raises(InputError, match=r"the 1 rules .* make 12 rules .* the first 0 of"):
        group(api, rule(1, src_addresses=[{"subnet_list": subnets}], dst_ports=ranges))
    out = [rule(n, dst_addresses=rule(n)["src_addresses"], src_addresses=[LOCAL]) for n in range(9)]
    group(api, *map(rule, range(10)), *out)


def test_what_was_too_long_may_become_shorter():
    def of(count: int) -> Object:
        entries = {"policy_rule": [rule(1)] * count}
        return Object("security-group", "u", ("web",), props={"security_group_entries": entries})

    require_fitting_group(of(MAX_ACL_RULES), None)
    require_fitting_group(of(MAX_ACL_RULES + 1), of(MAX_ACL_RULES + 2))
    with pytest.raises(InputError, match=f"the first {MAX_ACL_RULES} of its rules would fit"):
        require_fitting_group(of(MAX_ACL_RULES + 2), of(MAX_ACL_RULES + 1))


def test_policies_count_together_where_they_hang(api):
    with pytest.raises(InputError) as caught:
        policy(api, "long", 6)
    assert str(caught.value) == (
        "the 6 rules of network-policy default-domain:demo:long make 12 rules of an access control"
        " list, and hosts have room for 10: the first 5 of its rules would fit at"
        " $.network-policy.network_policy_entries.policy_rule; leave out 1 rules"
    )
    one, two, three = policy(api, "one", 3), policy(api, "two", 2), policy(api, "three", 1)
    red = api.create("virtual-network", [*PROJECT, "red"])
    sequence = {"sequence": {"major": 0, "minor": 0}}
    api.link(red, one, sequence)
    api.link(red, two, sequence)
    with pytest.raises(InputError) as caught:
        api.link(red, three, sequence)
    assert str(caught.value) == (
        "the 3 network-policies of virtual-network default-domain:demo:red make 12 rules of its"
        " access control list, and hosts have room for 10 at"
        " $.virtual-network.network_policy_refs; attach fewer of them, or such as say the same with"
        " fewer rules"
    )
    rules = [policy_rule(number) for number in range(3)]
    with pytest.raises(InputError, match=r"in virtual-network default-domain:demo:red, beside 6 "):
        put(api, two, network_policy_entries={"policy_rule": rules})


def test_rules_of_too_many_shapes_are_refused(api, monkeypatch):
    monkeypatch.setattr("filament.model.check_rules.MAX_RULE_SHAPES", 3)

    def of_source_port(port: int) -> dict[str, Any]:
        return rule(1, src_ports=[{"start_port": port, "end_port": port}])

    web = group(api, *map(rule, range(10)))  # one shape
    with pytest.raises(InputError) as caught:
        api.create(
            "security-group",
            [*PROJECT, "db"],
            security_group_entries={"policy_rule": [of_source_port(port) for port in range(5)]},
        )
    assert str(caught.value) == (
        "the 5 rules of security-group default-domain:demo:db look at packets in 5 ways (prefix"
        " lengths, source ports), and hosts try 3 for one packet: the first 3 of its rules would"
        " fit at $.security-group.security_group_entries.policy_rule; use fewer lengths of"
        " prefixes, and fewer ranges of source ports"
    )
    lengths = [{"ip_prefix": "10.0.0.0", "ip_prefix_len": length} for length in (8, 16, 24, 28)]
    wide = rule(1, src_addresses=[{"subnet_list": lengths}])
    with pytest.raises(InputError, match=r"look at packets in 4 ways .* the first 0 of its rules"):
        put(api, web, security_group_entries={"policy_rule": [wide]})


CHANGES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3), st.integers(0, 9)), max_size=6)


@given(CHANGES)
def test_the_sum_of_a_changed_list_is_that_of_a_new_one(
    changes: list[tuple[int, int, int]],
) -> None:
    before = [rule(number, protocol=("tcp", "any")[number % 2]) for number in range(100)]
    sum_of(before)
    for start, gone, number in changes:
        after = list(before)
        after[start : start + gone] = [
            rule(number, src_ports=[{"start_port": number, "end_port": number}], ethertype="IPv6")
        ] * (number % 3)
        found = sum_of(after, before)
        assert found == sum_of([dict(one) for one in after])
        assert sum_of(after) is found or len(after) < 64
        before = after
