"""Rows are right although of long lists only what a plan says has changed is compared."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from filament.base.net import Prefix, parse_ipv4
from filament.base.origin import Origin
from filament.dataplane.reconcile import Reconciler
from filament.forward.ids import Ids
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    SecurityGroup,
)
from filament.forward.lists import Memo
from filament.forward.plan import plan
from filament.testing.maps import PLANNED, MemoryMaps


def rule(source: int, low: int, high: int, group: int, *, passes: bool) -> FilterRule:
    prefix = Prefix.parse(f"10.9.{source}.0/24") if source else Prefix(0, 0)
    far = FilterMatch(security_group=8_000_000 + group) if group else FilterMatch("", prefix)
    near = FilterMatch("", Prefix(0, 0), (low, max(low, high)))
    origin = Origin("security-group g", f"group-rule {source}")
    return FilterRule(far, near, 6, passes=passes, both_ways=False, origin=origin)


RULE = st.builds(
    rule,
    st.integers(0, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0, 0, 0, 1]),
    passes=st.sampled_from([True] * 9 + [False]),
)
MANY = tuple(
    rule(number % 7, 1 + number // 7, 1 + number // 7 + number % 2, 0, passes=True)
    for number in range(28)
)


def inputs(revision: int, rules: dict[str, tuple[FilterRule, ...]], ports: int) -> Inputs:
    found = tuple(
        Port(
            uuid=f"uuid-{number}",
            name=f"port-{number}",
            device=f"tap{number}",
            ifindex=10 + number,
            is_veth=True,
            mac=0x020000000000 + number,
            addresses=(parse_ipv4(f"10.1.1.{2 + number}"),),
            vrf="demo:red",
            network="demo:red",
            acl="filter",
            security_groups=tuple(sorted(rules))[: number + 1],
        )
        for number in range(ports)
    )
    groups = tuple(
        SecurityGroup(name, 8_000_000 + index, (), some, Origin("security-group g", "group", 3))
        for index, (name, some) in enumerate(rules.items())
    )
    filters = (Filter("filter", rules["a"][:3], Origin("filter", "filter", revision)),)
    return Inputs(Host("host1", 1), revision, found, security_groups=groups, filters=filters)


STEP = st.fixed_dictionaries(
    {
        "group": st.sampled_from("ab"),
        "start": st.integers(0, 30),
        "gone": st.integers(0, 3),
        "come": st.lists(RULE, max_size=3),
        "ports": st.integers(1, 3),
        "whole": st.sampled_from([True] * 5 + [False]),
        "refused": st.booleans(),
        "again": st.booleans(),
        "lost": st.booleans(),
        "anew": st.sampled_from([False] * 9 + [True]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, min_size=2, max_size=8))
def test_the_kernel_has_what_is_planned_after_every_change(steps: list[dict[str, Any]]) -> None:
    maps, ids, memo = MemoryMaps(), Ids(), Memo()
    reconciler = Reconciler(maps)
    rules = {"a": MANY, "b": MANY[:5]}
    for revision, step in enumerate(steps, 1):
        some = rules[step["group"]]
        after = (*some[: step["start"]], *step["come"], *some[step["start"] + step["gone"] :])
        rules = {**rules, step["group"]: after}
        if step["anew"]:
            memo = Memo()
        if step["lost"] and maps.rows["buckets"]:
            del maps.rows["buckets"][next(iter(maps.rows["buckets"]))]
            assert reconciler.compare(maps.read_planned(), reconciler.mark)
        desired = plan(inputs(revision, rules, step["ports"]), ids, whole=step["whole"], memo=memo)
        buckets = sorted(desired.rows["buckets"])
        if step["refused"]:
            maps.refused = dict.fromkeys((("buckets", key) for key in buckets[::5]), "refused")
        failures = reconciler.apply(desired, may_delete=step["whole"]).failures
        assert not failures or step["refused"]
        maps.refused = {}
        if failures:  # tried again without another plan, or with the next
            if step["again"]:
                assert not reconciler.apply(desired, may_delete=step["whole"]).failures
            continue
        wanted = {
            (table, key): row.values
            for table in PLANNED
            for key, row in desired.rows[table].items()
        }
        found = {(table, key): row for table in PLANNED for key, row in maps.rows[table].items()}
        assert wanted.items() <= found.items()
        assert wanted == found or not step["whole"]
