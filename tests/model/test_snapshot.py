"""Snapshots follow commits exactly; candidates read as if they had been committed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ConflictError
from filament.model.change import Allocation, Object, Ref
from filament.model.snapshot import Candidate, Snapshot, Staged

KINDS = ("virtual-network", "network-policy")
UUIDS = ("a", "b", "c", "d")
VALUES = range(4)


def pictured(view):
    """Everything a view can be asked, in one comparable value."""
    return {
        "get": {uuid: view.get(uuid) for uuid in UUIDS},
        "named": {(kind, uuid): view.named(kind, ("p", uuid)) for kind in KINDS for uuid in UUIDS},
        "of_kind": {kind: {item.uuid: item for item in view.of_kind(kind)} for kind in KINDS},
        "referrers": {
            (uuid, kind): {item.uuid for item in view.referrers(uuid, kind)}
            for uuid in UUIDS
            for kind in KINDS
        },
        "children": {
            (uuid, kind): {item.uuid for item in view.children(uuid, kind)}
            for uuid in UUIDS
            for kind in KINDS
        },
        "allocated": {value: view.allocated("p", value) for value in VALUES},
        "owned": {
            uuid: sorted(view.allocations_of(uuid), key=lambda one: one.value) for uuid in UUIDS
        },
        "free": [(view.free_from("p", value), view.free_down_from("p", value)) for value in VALUES],
        "count": view.held_count("p"),
        "revision": view.revision,
    }


_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.sampled_from(UUIDS),
            st.sets(st.sampled_from(UUIDS)),
            st.integers(0, 3),
        ),
        st.tuples(st.just("delete"), st.sampled_from(UUIDS)),
        st.tuples(st.just("take"), st.sampled_from(VALUES), st.sampled_from(UUIDS)),
        st.tuples(st.just("free"), st.sampled_from(VALUES)),
    ),
    max_size=8,
)


def carry_out(change, steps):
    for step in steps:
        match step:
            case ("put", uuid, targets, mtu):
                before = change.get(uuid)
                item = before or Object(
                    kind=KINDS[UUIDS.index(uuid) % 2],
                    uuid=uuid,
                    fq_name=("p", uuid),
                    parent_kind="virtual-network",
                    parent_uuid="a",
                )
                refs = tuple(Ref("virtual-network", target) for target in sorted(targets))
                change.put(msgspec.structs.replace(item, props={"mtu": mtu}, refs=refs))
            case ("delete", uuid):
                item = change.get(uuid)
                if item is not None:
                    change.delete(item)
            case ("take", value, owner):
                if change.allocated("p", value) is None:
                    change.take("p", value, owner)
            case ("free", value):
                held = change.allocated("p", value)
                if held is not None:
                    change.free(held)


@given(st.lists(_steps, max_size=4))
def test_a_candidate_reads_as_the_snapshot_will_after_the_commit(rounds):
    snapshot = Snapshot()
    for steps in rounds:
        candidate = Candidate(snapshot)
        carry_out(candidate, steps)
        foreseen = pictured(candidate)
        snapshot.apply(candidate.commit(1.0, "test"))
        assert pictured(snapshot) == foreseen
        rebuilt = Snapshot(snapshot.revision, snapshot.objects(), snapshot.allocations())
        assert pictured(rebuilt) == foreseen


@given(st.lists(_steps, max_size=4))
def test_staged_commits_read_as_if_applied_one_by_one(rounds):
    staged, snapshot = Staged(Snapshot()), Snapshot()
    for steps in rounds:
        candidate = Candidate(staged)
        carry_out(candidate, steps)
        commit = candidate.commit(1.0, "test")
        staged.absorb(commit)
        snapshot.apply(commit)
        assert pictured(staged) == pictured(snapshot)


def test_objects_come_in_order_of_creation_however_often_they_change():
    snapshot = Snapshot()
    for uuid in ("c", "a", "b", "c"):
        change = Candidate(snapshot)
        change.put(Object("virtual-network", uuid, (uuid,)))
        snapshot.apply(change.commit(1.0, "test"))
    assert [item.uuid for item in snapshot.of_kind("virtual-network")] == ["c", "a", "b"]
    assert [item.revision for item in snapshot.objects()] == [4, 2, 3]


def test_a_held_value_cannot_be_taken():
    change = Candidate(Snapshot(0, (), [Allocation("p", 7, "x")]))
    with pytest.raises(ConflictError, match="value 7 of pool p is held by x"):
        change.take("p", 7, "y")


def test_deleting_gives_back_what_the_object_holds():
    snapshot = Snapshot(3, [Object("virtual-network", "a", ("a",))], [Allocation("p", 7, "a")])
    change = Candidate(snapshot)
    change.delete(snapshot.get("a"))
    commit = change.commit(1.0, "test")
    assert commit.frees == (Allocation("p", 7, "a"),)
    snapshot.apply(commit)
    assert len(snapshot) == 0
    assert snapshot.allocated("p", 7) is None
    with pytest.raises(AssertionError):
        snapshot.apply(commit)
