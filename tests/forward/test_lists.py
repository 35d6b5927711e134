"""Lists of security groups: edited where they stand, made anew where nobody may see them change."""

from __future__ import annotations

import msgspec
import pytest

from filament.base.net import Prefix, parse_ipv4
from filament.base.origin import Origin
from filament.forward.ids import Ids
from filament.forward.inputs import FilterMatch, FilterRule, Host, Inputs, Port, SecurityGroup
from filament.forward.layout import TABLE_BY_NAME
from filament.forward.lists import Memo
from filament.forward.plan import plan
from filament.forward.rows import InterfaceValues
from filament.forward.tables import Tables

COUNT = 200
WEB = "demo:web"


def rule(number: int, *, group: int = 0, ports: tuple[int, int] = (80, 80)) -> FilterRule:
    prefix = Prefix.parse(f"10.9.{number >> 8}.{number & 255}/32")
    far = FilterMatch(security_group=group) if group else FilterMatch("", prefix)
    near = FilterMatch("", Prefix(0, 0), ports)
    origin = Origin(f"security-group {WEB}", f"group-rule r{number}")
    return FilterRule(far, near, 6, passes=True, both_ways=False, origin=origin)


RULES = tuple(rule(number) for number in range(COUNT))


def inputs(ingress: tuple[FilterRule, ...] = RULES, revision: int = 5) -> Inputs:
    port = Port(
        uuid="uuid-1",
        name="port-1",
        device="tap1",
        ifindex=11,
        is_veth=True,
        mac=0x020000000001,
        addresses=(parse_ipv4("10.1.1.3"),),
        vrf="demo:red",
        network="demo:red",
        acl=None,
        security_groups=(WEB,),
    )
    group = SecurityGroup(
        WEB, 8000000, (), ingress, Origin(f"security-group {WEB}", "group", revision)
    )
    return Inputs(Host("host1", 1), revision, (port,), security_groups=(group,))


def changed(at: int, *new: FilterRule) -> tuple[FilterRule, ...]:
    return (*RULES[:at], *new, *RULES[at + 1 :])


def list_of(tables: Tables) -> int:
    return InterfaceValues(*tables.rows["interfaces"][11,].values).ingress


def generation(tables: Tables) -> int:
    return tables.rows["host"][0,].values[1]


def differing(old: Tables, new: Tables) -> dict[str, int]:
    """How many rows of which table are written or deleted."""
    found = {}
    for table, rows in new.rows.items():
        before = old.rows[table]
        count = sum(
            1
            for key in rows.keys() | before.keys()
            if key not in rows or key not in before or rows[key].values != before[key].values
        )
        if count:
            found[table] = count
    return found


def values(tables: Tables) -> dict[str, dict[tuple[int, ...], tuple[int, ...]]]:
    return {
        table: {key: row.values for key, row in rows.items()} for table, rows in tables.rows.items()
    }


def test_a_rule_that_changes_is_a_few_rows_and_another_generation():
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo)
    now = plan(inputs(changed(100, rule(999)), 6), ids, memo=memo)
    assert differing(before, now) == {"rules": 2, "buckets": 2, "host": 1}
    assert list_of(now) == list_of(before)
    assert generation(now) != generation(before)
    assert now.rows["rules"][list_of(now), COUNT].origin == Origin(
        f"security-group {WEB}", "group-rule r999", 6
    )


def test_another_planner_proves_an_edited_list():
    ids, memo = Ids(), Memo()
    plan(inputs(), ids, memo=memo)
    edited = inputs(changed(100, rule(998), rule(999)), 6)
    now = plan(edited, ids, memo=memo)
    kept = ids.export()
    assert values(plan(edited, Ids(kept), memo=Memo(memo.editions()))) == values(now)
    other = inputs(changed(100, rule(998), rule(997)), 6)
    wrong = plan(other, Ids(kept), memo=Memo(memo.editions()))
    assert differing(wrong, now) == {"rules": 1, "buckets": 2}


def test_ranges_of_ports_that_moved_leave_no_rows_behind():
    ids, memo = Ids(), Memo()
    ranges = [rule(7, ports=(low, low + 5)) for low in (100, 200, 300, 400)]
    before = plan(inputs(changed(100, *ranges[:2])), ids, memo=memo)
    for more in (ranges[:3], ranges, ranges[1:], ranges[3:]):
        edited = inputs(changed(100, *more), 6)
        now = plan(edited, ids, memo=memo)
        assert list_of(now) == list_of(before)
        assert len(now.rows["ranges"]) == len(more)
        proved = plan(edited, Ids(ids.export()), memo=Memo(memo.editions()))
        assert values(proved) == values(now)


def test_a_new_process_makes_an_edited_list_under_another_number():
    # How the rows in the kernel are numbered died with the process that numbered them.
    ids, memo = Ids(), Memo()
    plan(inputs(), ids, memo=memo)
    edited = inputs(changed(100, rule(999)), 6)
    before = plan(edited, ids, memo=memo)
    again = plan(edited, Ids(ids.export()), memo=Memo())
    assert list_of(again) != list_of(before)
    assert generation(again) != generation(before)


def test_without_deletions_a_list_is_not_edited():
    # A rule that is gone would go on passing until rows may be deleted.
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo, whole=False)
    now = plan(inputs(changed(100)), ids, memo=memo, whole=False)
    assert list_of(now) != list_of(before)


def test_a_list_that_denies_is_not_edited():
    ids, memo = Ids(), Memo()
    denial = msgspec.structs.replace(rule(999), passes=False)
    before = plan(inputs(), ids, memo=memo)
    now = plan(inputs(changed(100, denial)), ids, memo=memo)
    assert list_of(now) != list_of(before)


def test_a_rule_about_a_group_follows_who_is_in_it():
    ids, memo = Ids(), Memo()
    plan(inputs(), ids, memo=memo)
    now = plan(inputs(changed(100, rule(999, group=8000000))), ids, memo=memo)
    far = {row.values[-2] for row in now.rows["rules"].values()}
    assert far == {0, 1}  # some ask for nothing of the far end, one for its groups
    again = plan(inputs(changed(100, rule(999, group=8000001))), ids, memo=memo)
    assert len(again.rows["buckets"]) == COUNT - 1  # nobody is in that one


def test_edits_and_their_reverse_come_back_to_the_same_verdicts():
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo)
    for number in range(60):
        plan(inputs(changed(number, rule(900 + number))), ids, memo=memo)
    again = plan(inputs(), ids, memo=memo)

    def passing(tables: Tables) -> set[tuple[int, ...]]:
        return {key[2:] for key in tables.rows["buckets"] if key[0] == list_of(tables)}

    assert passing(again) == passing(before)


@pytest.fixture
def room(monkeypatch):
    """Set how many rows of buckets there is room for."""

    def make(count: int) -> None:
        tables = {**TABLE_BY_NAME, "buckets": TABLE_BY_NAME["buckets"]._replace(max_entries=count)}
        monkeypatch.setattr("filament.forward.lists.TABLE_BY_NAME", tables)

    return make


def test_a_list_that_does_not_fit_leaves_the_old_one(room):
    room(COUNT + 10)
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo)
    assert before.misfits == ()
    longer = inputs((*RULES, *(rule(500 + number) for number in range(11))), 6)
    for _ in range(2):  # the second time without making the list again
        now = plan(longer, ids, memo=memo)
        (text,) = now.misfits
        assert text == (
            "the 211 rules of ingress demo:web do not fit: they need 11 more rows of buckets, of"
            " 210 there are 10 left; those it had before stay"
        )
        assert differing(before, now) == {"host": 1}  # only the revision: nobody is judged again
        assert generation(now) == generation(before)
    shorter = plan(inputs((*RULES, rule(500)), 7), ids, memo=memo)
    assert shorter.misfits == ()
    assert len(shorter.rows["buckets"]) == COUNT + 1
    room(COUNT + 11)
    assert len(plan(longer, ids, memo=memo).rows["buckets"]) == COUNT + 11


def test_a_first_list_that_does_not_fit_denies_everything(room):
    room(COUNT - 1)
    tables = plan(inputs(), Ids(), memo=Memo())
    (text,) = tables.misfits
    assert text == (
        "the 200 rules of ingress demo:web do not fit: they need 200 more rows of buckets, of 199"
        " there are 199 left; it denies everything"
    )
    assert tables.rows["lists"][list_of(tables),].values == (0, 0)
    assert not tables.rows["buckets"]


def test_a_new_list_needs_room_beside_the_old_one(room):
    room(2 * COUNT - 1)
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo, whole=False)
    now = plan(inputs(changed(100, rule(999)), 6), ids, memo=memo, whole=False)
    assert list_of(now) == list_of(before)
    assert "there are 199 left; those it had before stay" in now.misfits[0]


def test_a_list_of_too_many_shapes_is_refused(monkeypatch):
    monkeypatch.setattr("filament.forward.lists.MAX_RULE_SHAPES", 3)
    ids, memo = Ids(), Memo()
    before = plan(inputs(), ids, memo=memo)
    shapes = [
        msgspec.structs.replace(
            rule(500 + port), source=FilterMatch("", rule(port).source.prefix, (port, port))
        )
        for port in range(3)
    ]
    now = plan(inputs((*RULES, *shapes), 6), ids, memo=memo)
    (text,) = now.misfits
    assert text == (
        "the 203 rules of ingress demo:web look at packets in 4 ways (prefix lengths, source"
        " ports), at most 3 are tried for one packet; those it had before stay"
    )
    assert differing(before, now) == {"host": 1}
