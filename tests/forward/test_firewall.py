"""What the rows of policy sets say is what a naive reading of the sets says, of any flow."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.net import Prefix, parse_ipv4, widen_address
from filament.base.origin import Origin
from filament.forward.classify import Asked
from filament.forward.ids import Ids
from filament.forward.inputs import (
    FirewallEnd,
    FirewallPolicy,
    FirewallRule,
    Host,
    Inputs,
    PolicySet,
    Port,
    Route,
    Service,
)
from filament.forward.layout import ACL_DENY, ACL_PASS, RULE_NONE
from filament.forward.plan import plan
from filament.forward.policy import Policy
from filament.forward.rows import InterfaceValues, RouteValues, Rows

WEB, DB, PROD, TEST = 0x20001, 0x20002, 0x30001, 0x30002
LABELS = 0x00005, 0x00006
HERE, FAR = parse_ipv4("10.1.1.3"), parse_ipv4("10.1.1.9")
TCP, ICMP = 6, 1
SETS = [(), (WEB,), (DB,), (WEB, PROD), (DB, PROD), (DB, TEST), (*LABELS, WEB), (LABELS[0], DB)]

ends = st.builds(
    FirewallEnd,
    network=st.sampled_from(["", "", "red", "blue"]),
    prefix=st.sampled_from(
        [None, None, Prefix(HERE, 32), Prefix(FAR, 32), Prefix(HERE & ~255, 24), Prefix(0, 0, 6)]
    ),
    tags=st.sampled_from([(), (), (WEB,), (DB,), (DB, PROD), (LABELS[0],), LABELS]),
)
services = st.sampled_from(
    [Service(), Service(TCP), Service(TCP, ports=(80, 90)), Service(TCP, (5, 6)), Service(ICMP)]
)
rules = st.builds(
    FirewallRule,
    sources=st.lists(ends, max_size=3).map(tuple),
    destinations=st.lists(ends, max_size=3).map(tuple),
    services=st.lists(services, max_size=3).map(tuple),
    passes=st.booleans(),
    both_ways=st.booleans(),
    match=st.sampled_from([(), (), (3,), (0,), (2, 3)]),
    name=st.sampled_from(["one", "two"]),
)
policies = st.builds(
    FirewallPolicy, name=st.just("policy"), rules=st.lists(rules, max_size=4).map(tuple)
)
policy_sets = st.builds(
    PolicySet,
    name=st.just("set"),
    policies=st.lists(policies, max_size=2).map(tuple),
    origin=st.just(Origin("application-policy-set set", "set", 3)),
)


class Flow:
    """Who starts a flow to whom: (tags, network, address) each, and what it is."""

    def __init__(self, starter, other, protocol, source_port, port) -> None:
        self.starter, self.other = starter, other
        self.protocol, self.source_port, self.port = protocol, source_port, port


def is_end(end: FirewallEnd, whom) -> bool:
    tags, network, address = whom
    return (
        set(end.tags) <= set(tags)
        and end.network in ("", network)
        and (end.prefix is None or (end.prefix.version == 4 and end.prefix.contains(address)))
    )


def is_service(service: Service, flow: Flow) -> bool:
    if service.protocol not in (None, flow.protocol):
        return False
    if flow.protocol != TCP:
        return True
    low, high = service.source_ports
    return low <= flow.source_port <= high and service.ports[0] <= flow.port <= service.ports[1]


def agrees(rule: FirewallRule, flow: Flow) -> bool:
    def of_type(tags, kind):
        return {tag for tag in tags if tag >> 16 == kind}

    return all(of_type(flow.starter[0], kind) & of_type(flow.other[0], kind) for kind in rule.match)


def is_rule(rule: FirewallRule, flow: Flow) -> bool:
    ways = [(flow.starter, flow.other)]
    if rule.both_ways:
        ways.append((flow.other, flow.starter))
    return (
        agrees(rule, flow)
        and any(is_service(one, flow) for one in rule.services)
        and any(
            any(is_end(end, one) for end in rule.sources)
            and any(is_end(end, two) for end in rule.destinations)
            for one, two in ways
        )
    )


def naive(sets, flow: Flow) -> bool:
    held = [policy for one in sets for policy in one.policies]
    for policy in held:
        for rule in policy.rules:
            if is_rule(rule, flow):
                return rule.passes
    return not held


def port(tags, sets=("set",), fwaas=()) -> Port:
    return Port("p", "p", "tap", 11, True, 2, (HERE,), "red", "red", None, True, Origin("p", "", 1),
                tags=tags, policy_sets=sets, fwaas_sets=fwaas)  # fmt: skip


def planned(sets, tags, far_tags, far_network="red", fwaas=()):
    route = Route("red", Prefix(FAR, 32), parse_ipv4("172.30.0.2"), 17, far_network, tags=far_tags)
    inputs = Inputs(
        Host("h", parse_ipv4("172.30.0.1")),
        ports=(port(tags, *(tuple(one.name for one in half) for half in (sets, fwaas))),),
        routes=(route,),
        policy_sets=(*sets, *fwaas),
    )
    return plan(inputs, Ids())


@given(data=st.data())
def test_rows_say_what_the_sets_say(data: st.DataObject) -> None:
    sets = [data.draw(policy_sets)]
    # Of a firewall of Neutron's, which must allow as well.
    fwaas = [msgspec.structs.replace(data.draw(policy_sets), name="fwaas")]
    fwaas = data.draw(st.sampled_from([[], fwaas]))
    own, far = data.draw(st.sampled_from(SETS)), data.draw(st.sampled_from(SETS))
    far_network = data.draw(st.sampled_from(["red", "blue"]))
    tables = planned(sets, own, far, far_network, fwaas)
    rows = Rows(tables)
    interface = InterfaceValues(*tables.rows["interfaces"][11,].values)
    there = RouteValues(*tables.rows["routes"][64, 1, FAR].values)
    near, other = (own, "red", HERE), (far, far_network, FAR)
    for outbound in (True, False):
        protocol = data.draw(st.sampled_from([TCP, TCP, ICMP]))
        source_port, to = (data.draw(st.sampled_from([5, 7, 80, 91])) for _ in range(2))
        ends = [near, other] if outbound else [other, near]
        flow = Flow(*ends, protocol, source_port, to)
        networks = {"red": interface.network, "blue": there.network}
        ports = (source_port, to) if protocol == TCP else (0, 0x800)
        asked = Asked(
            *(networks[one[1]] for one in ends),
            there.tags,
            *(widen_address(one[2], 4) for one in ends),
            *ports,
            protocol,
            4,
        )
        number = interface.firewall_egress if outbound else interface.firewall_ingress
        answer = Policy(rows).ask(number, asked)
        assert (answer.action == ACL_PASS) == (naive(fwaas, flow) and naive(sets, flow))


def rule(source, destination, passes=True, **more) -> FirewallRule:
    service = more.pop("service", Service())
    given = {"both_ways": False, **more}
    return FirewallRule(
        (FirewallEnd(tags=source),), (FirewallEnd(tags=destination),), (service,), passes, **given
    )


def of(*rules: FirewallRule, name="set") -> PolicySet:
    return PolicySet(
        name, (FirewallPolicy("policy", rules),), Origin("application-policy-set set", "set", 3)
    )


def test_sets_without_policies_let_everything_pass() -> None:
    tables = planned([PolicySet("set", ())], (WEB,), (DB,))
    interface = InterfaceValues(*tables.rows["interfaces"][11,].values)
    assert (interface.firewall_egress, interface.firewall_ingress) == (0, 0)


def test_a_policy_without_a_rule_for_a_flow_denies_it_and_says_which_set() -> None:
    tables = planned([of(rule((DB,), (DB,)))], (WEB,), (DB,))
    interface = InterfaceValues(*tables.rows["interfaces"][11,].values)
    row = tables.rows["lists"][interface.firewall_egress,]
    assert row.values == (0, 0)
    assert row.origin == Origin("application-policy-set set", "implicit-deny", 3)


def test_a_rule_is_named_with_its_policy_and_its_set() -> None:
    web = rule((WEB,), (DB,), match=(3,), name="web-db", revision=9)
    tables = planned([of(web)], (WEB, PROD), (DB, PROD))
    [row] = tables.rows["rules"].values()
    assert row.origin == Origin(
        "firewall-rule web-db", "firewall-policy policy of application-policy-set set", 9
    )


def test_tags_that_no_rule_asks_for_are_nobodys_business() -> None:
    """Neither lists nor flows change when workloads get labels that no policy speaks of."""
    one = planned([of(rule((WEB,), (DB,)))], (WEB,), (DB,))
    other = planned([of(rule((WEB,), (DB,)))], (WEB, LABELS[0]), (DB, LABELS[1], TEST))
    assert one.rows == other.rows


def test_a_changed_far_end_changes_the_generation_only_where_rules_ask() -> None:
    asking, silent = of(rule((WEB,), (DB,))), of(rule((), ()))
    for one, expected in ((asking, True), (silent, False)):
        ids = Ids()
        generations = []
        for far in ((DB,), ()):
            route = Route("red", Prefix(FAR, 32), 1, 17, "red", tags=far)
            inputs = Inputs(Host("h", 2), ports=(port((WEB,)),), routes=(route,),
                            policy_sets=(one,))  # fmt: skip
            generations.append(plan(inputs, ids).rows["host"][0,].values[1])
        assert (generations[0] != generations[1]) is expected


@pytest.mark.parametrize("fwaas", [True, False])
@pytest.mark.parametrize("sets", [True, False])
def test_sets_of_neutrons_firewalls_and_the_others_must_both_allow(
    *, fwaas: bool, sets: bool
) -> None:
    """TF asks them apart; the rule is that of whoever decided."""
    asked = [of(rule((), (), passes=one, name=f"{one}")) for one in (fwaas, sets)]
    first, second = (
        msgspec.structs.replace(one, name=name)
        for one, name in zip(asked, ("fwaas", "set"), strict=True)
    )
    tables = planned([second], (WEB,), (DB,), fwaas=[first])
    number = InterfaceValues(*tables.rows["interfaces"][11,].values).firewall_egress
    anything = Asked(1, 1, 0, widen_address(HERE, 4), widen_address(FAR, 4), 1, 1, TCP, 4)
    answer = Policy(Rows(tables)).ask(number, anything)
    assert answer == (int(fwaas), ACL_PASS if fwaas and sets else ACL_DENY)
    decided = "set" if fwaas else "fwaas"
    assert tables.rows["rules"][number, answer.rule].origin.rule.endswith(f"set {decided}")


@pytest.mark.parametrize(("first", "passes"), [("deny", False), ("allow", True)])
def test_sets_are_asked_in_order(first: str, passes: bool) -> None:
    by_name = {
        "deny": of(rule((), (), passes=False), name="deny"),
        "allow": of(rule((), ()), name="allow"),
    }
    other = "allow" if first == "deny" else "deny"
    tables = planned([by_name[first], by_name[other]], (), ())
    interface = InterfaceValues(*tables.rows["interfaces"][11,].values)
    asked = Asked(1, 1, 0, HERE, FAR, 5, 80, TCP, 4)
    answer = Policy(Rows(tables)).ask(interface.firewall_egress, asked)
    assert answer.rule != RULE_NONE
    assert (answer.action == ACL_PASS) is passes
