"""Edits of long objects: they lead exactly where they say, or are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.model.change import Commit, Object, Ref
from filament.model.edit import (
    Edit,
    MismatchError,
    TerseCommit,
    bases,
    edit_of,
    edited,
    hash_of,
    terse,
    whole,
)

FIELD = "security_group_entries"
_encode = msgspec.json.encode


def rule(number: int, text: str = "tcp") -> dict[str, Any]:
    return {"protocol": text, "dst_ports": [{"start_port": number, "end_port": number}]}


def group(rules: list[Any], revision: int = 1, **props: Any) -> Object:
    return Object(
        "security-group",
        "11111111-0000-4000-8000-000000000000",
        ("default-domain", "demo", "big"),
        "project",
        "22222222-0000-4000-8000-000000000000",
        {"display_name": "big", FIELD: {"policy_rule": rules}, **props},
        (Ref("tag", "33333333-0000-4000-8000-000000000000"),),
        revision,
    )


def far(value: Any, kind: Any) -> Any:
    """As another process has it."""
    return msgspec.json.decode(_encode(value), type=kind)


LONG = [rule(number) for number in range(100)]
SPLICES = st.lists(
    st.tuples(st.integers(0, 110), st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=8
)
PROPS = st.dictionaries(
    st.sampled_from(["id_perms", "annotations", "security_group_id", "display_name"]),
    st.one_of(st.integers(), st.text(max_size=3), st.dictionaries(st.text(max_size=2), st.floats(
        allow_nan=False, allow_infinity=False), max_size=2)),
    max_size=3,
)  # fmt: skip


@given(SPLICES, st.lists(PROPS, min_size=1, max_size=3))
def test_an_edit_leads_another_process_to_the_same_object(
    splices: list[tuple[int, int, int]], changes: list[dict[str, Any]]
) -> None:
    here = group(LONG)
    there = far(here, Object)
    for revision, (start, gone, come) in enumerate(splices, 2):
        rules = list(here.props[FIELD]["policy_rule"])
        rules[start : start + gone] = [rule(1000 * revision + each, "ü") for each in range(come)]
        after = group(rules, revision, **changes[revision % len(changes)])
        commit = Commit(revision, 1.5, "test", (after,))
        known = bases(commit, {here.uuid: here}.get)
        assert bool(known) == (len(rules) > 64)
        told = far(terse(commit, known), TerseCommit)
        assert whole(told, {there.uuid: there}.get) == commit
        there = whole(told, {there.uuid: there}.get).puts[0]
        here = after
        assert hash_of(there) == hash_of(here)


def test_an_edit_is_short_and_keeps_the_objects_of_what_stays() -> None:
    before = group(LONG)
    after = group([*LONG[:50], rule(7777), *LONG[51:]], 2, id_perms={"last_modified": "now"})
    edit = edit_of(before, after)
    assert edit is not None
    assert len(_encode(edit)) < 600
    (one,) = edit.lists
    assert (one.start, one.count, one.items) == (50, 1, [rule(7777)])
    assert edit.props == {"id_perms": {"last_modified": "now"}}
    made = edited(before, far(edit, Edit)).props[FIELD]["policy_rule"]
    assert all(made[at] is LONG[at] for at in range(100) if at != 50)


def test_an_edit_of_another_object_is_refused() -> None:
    before, after = group(LONG), group([*LONG, rule(7777)], 2)
    edit = edit_of(before, after)
    assert edit is not None
    for other in (
        group(LONG, 3),
        group([*LONG[1:], LONG[0]]),
        group([*LONG[:-1], rule(5)]),
        group(LONG, display_name="other"),
        msgspec.structs.replace(before, refs=()),
    ):
        with pytest.raises(MismatchError, match="big is not what an edit of it is for"):
            edited(other, edit)
    for wrong in (
        msgspec.structs.replace(edit, lists=(msgspec.structs.replace(edit.lists[0], start=3),)),
        msgspec.structs.replace(edit, props={"display_name": "other"}),
        msgspec.structs.replace(edit, revision=9),
    ):
        with pytest.raises(MismatchError, match=r"an edit of .* makes not what it says"):
            edited(before, wrong)
    told = TerseCommit(2, 0.0, "test", edits=(edit,))
    with pytest.raises(MismatchError, match=f"there is no object {before.uuid} for an edit of it"):
        whole(told, {}.get)


def test_what_an_edit_cannot_say_is_told_whole() -> None:
    before = group(LONG)
    for after in (
        group([rule(5000 + at) for at in range(100)], 2),  # mostly new
        msgspec.structs.replace(group([*LONG, rule(7)], 2), refs=()),
        msgspec.structs.replace(group([*LONG, rule(7)], 2), fq_name=("a",)),
    ):
        commit = Commit(2, 0.0, "test", (after,))
        told = terse(commit, {before.uuid: before})
        assert told.edits == ()
        assert whole(told, {before.uuid: before}.get) == commit
    short = group([*LONG[:9]], 2)
    again = Commit(3, 0.0, "test", (short,), (before,))
    assert bases(again, {before.uuid: before}.get) == {}
    anew = Commit(2, 0.0, "test", (group([*LONG, rule(7)], 2),), (before,))
    assert bases(anew, {before.uuid: before}.get) == {}  # another object by the same uuid
