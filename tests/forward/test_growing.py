"""Lists that change where they stand: the rows of a new one, and no wrong verdict on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from filament.base.splice import Splice
from filament.forward.classify import Asked, Rule, matches
from filament.forward.growing import Grown, lay_out
from filament.forward.layout import ACL_DENY, ACL_PASS, RULE_NONE
from filament.forward.policy import Answer, Policy
from filament.forward.rows import Rows
from filament.forward.tables import Change

from .test_classify import LIST, asked, rules

COUNTS = st.integers(0, 6)
MakeRule = Callable[[int], st.SearchStrategy[Rule]]
QUESTIONS = st.lists(asked(), min_size=4, max_size=4)


@st.composite
def passing(draw: st.DrawFn, position: int) -> Rule:
    rule = draw(rules(position))
    return rule._replace(action=ACL_PASS, source_network=0, destination_network=0)


@st.composite
def edits(draw: st.DrawFn, known: int) -> tuple[int, int, int]:
    start = draw(st.integers(0, known))
    return start, draw(st.integers(start, known)), draw(st.integers(0, 3))


def rows_of(grown: Grown) -> dict[tuple[str, tuple[int, ...]], tuple[int, ...]]:
    """All rows but those for people, by table and key."""
    return {
        **{
            (table, (LIST, *key)): values
            for table in ("ranges", "buckets", "shapes")
            for key, values in getattr(grown.rows, table).items()
        },
        ("lists", (LIST,)): grown.rows.counts,
    }


def steps(before: Grown, now: Grown) -> Iterator[Change]:
    """What is written, in order, as `dataplane.reconcile` does it."""
    old, new = rows_of(before), rows_of(now)
    for (table, key), values in new.items():
        if old.get((table, key)) != values:
            yield Change(table, key, values)
    for table, key in reversed(old):
        if (table, key) not in new:
            yield Change(table, key, None)


def naive(found: tuple[Rule, ...], question: Asked) -> Answer:
    """The verdict by all rules, one by one."""
    positions = [rule.position for rule in found if matches(rule, question)]
    return Answer(min(positions), ACL_PASS) if positions else Answer(RULE_NONE, ACL_DENY)


def check(data: st.DataObject, made: MakeRule, questions: list[Asked]) -> None:
    """Edit a list three times, and ask it after each row that is written."""
    grown = lay_out([data.draw(made(position)) for position in range(data.draw(COUNTS))])
    rows = Rows()
    rows.write(Change(table, key, values) for (table, key), values in rows_of(grown).items())
    policy = Policy(rows)
    for _ in range(3):
        start, end, more = data.draw(edits(len(grown.rules)))
        first = grown.numbering.next_rule
        new = [data.draw(made(first + index)) for index in range(more)]
        edited = grown.edited(Splice(start, end, start + more), new)
        if edited is None:
            continue
        assert edited.rules == (*grown.rules[:start], *new, *grown.rules[end:])
        again = lay_out(edited.rules, edited.numbering)
        assert rows_of(again) == rows_of(edited)
        was = [naive(grown.rules, question) for question in questions]
        now = [naive(edited.rules, question) for question in questions]
        for change in steps(grown, edited):
            rows.write([change])
            for question, *allowed in zip(questions, was, now, strict=True):
                assert policy.ask(LIST, question).action in {one.action for one in allowed}
        assert [policy.ask(LIST, question) for question in questions] == now
        grown = edited


@given(data=st.data(), questions=QUESTIONS)
def test_an_edited_list_is_a_new_one_and_nobody_sees_half_of_it(
    data: st.DataObject, questions: list[Asked]
) -> None:
    check(data, passing, questions)


@st.composite
def near(draw: st.DrawFn, position: int) -> Rule:
    """One of few rules, so that buckets are shared and ranges overlap."""
    low = draw(st.integers(1, 3))
    return rule(position, low, draw(st.integers(low, 3)), draw(st.integers(0, 1)))


@settings(max_examples=300)
@given(data=st.data())
def test_nobody_sees_half_of_a_change_of_rules_that_overlap(data: st.DataObject) -> None:
    questions = [Asked(0, 0, 0, source, 9, 7, port, 6, 4) for source in (1, 2) for port in range(5)]
    check(data, near, questions)


def rule(position: int, low: int, high: int, source: int = 0) -> Rule:
    mask = (1 << 128) - 1 if source else 0
    return Rule(position, ACL_PASS, source=source, source_mask=mask, protocol=6, ports=(low, high))


def test_one_rule_of_many_is_a_row_or_two():
    grown = lay_out(rule(n, 80, 80, source=n + 1) for n in range(1000))
    edited = grown.edited(Splice(500, 501, 501), [rule(1000, 81, 81, source=501)])
    assert edited is not None
    assert list(steps(grown, edited)) == [
        Change("buckets", (LIST, 0, 0, 0, 0, 6, 81, 501, 0), (1000, ACL_PASS, 0, 0)),
        Change("buckets", (LIST, 0, 0, 0, 0, 6, 80, 501, 0), None),
    ]


def test_a_bucket_that_shrinks_while_another_grows_takes_a_new_list():
    grown = lay_out([rule(0, 80, 90), rule(1, 100, 110)])
    splice = Splice(1, 2, 2)
    assert grown.edited(splice, [rule(2, 105, 105)]) is None  # port 105 would be denied meanwhile
    assert grown.edited(splice, [rule(2, 100, 109)]) is not None  # one bucket: one row
    assert grown.edited(splice, []) is not None


def test_numbers_that_nobody_needs_end_a_list():
    grown: Grown | None = lay_out([Rule(0, ACL_PASS)])
    edited = 0
    while grown is not None:
        position = grown.numbering.next_rule
        ports = position, position + 1  # another shape each time
        other = Rule(position, ACL_PASS, source_ports=ports, protocol=6)
        grown = grown.edited(Splice(0, 1, 1), [other])
        edited += grown is not None
    assert edited == 16
