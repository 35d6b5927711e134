"""Rows that are found by hashing say what a walk over the rules says, of any packet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from filament.base.net import mask_of
from filament.forward.classify import (
    ANY_PORTS,
    Asked,
    Rule,
    compile_rules,
    matches,
)
from filament.forward.layout import ACL_DENY, ACL_PASS, PROTOCOL_ANY, RULE_NONE
from filament.forward.policy import Policy
from filament.forward.rows import Rows
from filament.forward.tables import Change

LIST = 5
ADDRESSES = st.integers(0, 15).map(lambda low: low << 124 | low)
PORTS = st.sampled_from([0, 1, 52, 53, 80, 443, 1000, 65535])


@st.composite
def port_ranges(draw: st.DrawFn) -> tuple[int, int]:
    if draw(st.booleans()):
        return ANY_PORTS
    ends = draw(PORTS), draw(PORTS)
    return min(ends), max(ends)


@st.composite
def rules(draw: st.DrawFn, position: int) -> Rule:
    masks = [mask_of(draw(st.sampled_from([0, 0, 1, 4, 128])), 6) for _ in range(2)]
    protocol = draw(st.sampled_from([PROTOCOL_ANY, PROTOCOL_ANY, 1, 6, 17, 47, 58]))
    return Rule(
        position,
        draw(st.sampled_from([ACL_PASS, ACL_DENY])),
        draw(st.sampled_from([0, 0, 1, 2])),
        draw(st.sampled_from([0, 0, 1, 2])),
        draw(st.sampled_from([None, None, None, (), (1,), (1, 2)])),
        draw(ADDRESSES) & masks[0],
        masks[0],
        draw(ADDRESSES) & masks[1],
        masks[1],
        draw(port_ranges()),
        draw(port_ranges()),
        protocol,
        draw(st.sampled_from([0, 0, 4, 6])),
    )


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    protocol = draw(st.sampled_from([1, 6, 17, 47, 58]))
    return Asked(
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2)),
        draw(ADDRESSES),
        draw(ADDRESSES),
        draw(PORTS) if protocol in (6, 17) else 0,
        draw(PORTS) if protocol != 47 else 0,
        protocol,
        draw(st.sampled_from([4, 6])),
    )


def policy_of(found: list[Rule]) -> Policy:
    rows = Rows()
    compiled = compile_rules(found)
    for table in ("shapes", "buckets", "ranges"):
        made = getattr(compiled, table)
        rows.write(Change(table, (LIST, *key), values) for key, values in made.items())
    rows.write([Change("lists", (LIST,), compiled.counts)])
    return Policy(rows)


@given(data=st.data())
def test_the_first_rule_that_matches_decides(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    found = [data.draw(rules(position)) for position in range(count)]
    policy = policy_of(found)
    for _ in range(8):
        question = data.draw(asked())
        first = next((rule for rule in found if matches(rule, question)), None)
        expected = (RULE_NONE, ACL_DENY) if first is None else (first.position, first.action)
        assert policy.ask(LIST, question) == expected


def test_shapes_do_not_grow_with_rules() -> None:
    found = [
        Rule(n, ACL_PASS, source=n << 32, source_mask=mask_of(96, 6), protocol=6, ports=(n, n))
        for n in range(5000)
    ]
    compiled = compile_rules(found)
    assert (len(compiled.shapes), len(compiled.buckets)) == (1, 5000)


def test_a_thousand_ranges_are_one_bucket_and_found_by_bisection() -> None:
    found = [Rule(n, ACL_PASS, protocol=6, ports=(60 * n, 60 * n + 90)) for n in range(1000)]
    compiled = compile_rules(found)
    assert (len(compiled.shapes), len(compiled.buckets), len(compiled.ranges)) == (1, 1, 1000)
    policy = policy_of(found)
    for port in (0, 59, 60, 90, 91, 59999, 60030, 60031):
        question = Asked(0, 0, 0, 1, 2, 7, port, 6, 4)
        first = next((rule for rule in found if matches(rule, question)), None)
        assert policy.ask(LIST, question).rule == (first.position if first else RULE_NONE)
