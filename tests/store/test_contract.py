"""One suite for every store: what `store.contract` promises."""

import pytest

from filament.base.errors import ConflictError, NotFoundError, RevisionConflictError
from filament.model.change import Allocation, Commit, Object, Ref
from filament.store.memory import MemoryStore
from filament.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "f.db")
    yield made
    made.close()


def machine(uuid, name=None, **props):
    return Object("virtual-machine", uuid, (name or uuid,), props=props)


def contents(store):
    revision, objects, allocations = store.load()
    return revision, list(objects), sorted(allocations, key=lambda one: (one.pool, one.value))


def test_an_empty_store_is_at_revision_0(store):
    assert contents(store) == (0, [], [])
    assert store.log(0, 10) == []


def test_what_is_committed_is_loaded(store):
    item = Object(
        "instance-ip",
        "u1",
        ("a", "b"),
        parent_kind="project",
        parent_uuid="p",
        props={"deep": {"list": [1, "é", True]}},
        refs=(Ref("virtual-network", "n", {"x": 1}), Ref("virtual-machine", "m")),
        revision=1,
    )
    commit = Commit(1, 12.5, "me", puts=(item,), takes=(Allocation("ip/x", 1 << 31, "u1"),))
    store.commit(commit)
    assert contents(store) == (1, [item], [Allocation("ip/x", 1 << 31, "u1")])
    assert store.log(0, 10) == [commit]


def test_changes_keep_the_order_of_creation(store):
    store.commit(Commit(1, 1.0, "", puts=(machine("b"), machine("a"))))
    store.commit(Commit(2, 1.0, "", puts=(machine("b", note="changed"), machine("c"))))
    store.commit(Commit(3, 1.0, "", deletes=(machine("a"),)))
    assert contents(store)[1] == [machine("b", note="changed"), machine("c")]


def test_values_given_back_can_be_taken_also_within_one_commit(store):
    one, other = Allocation("p", 1, "x"), Allocation("p", 1, "y")
    store.commit(Commit(1, 1.0, "", takes=(one,)))
    store.commit(Commit(2, 1.0, "", frees=(one,), takes=(other,)))
    assert contents(store) == (2, [], [other])


def test_names_given_back_can_be_taken_also_within_one_commit(store):
    store.commit(Commit(1, 1.0, "", puts=(machine("u1", "vm"),)))
    new = machine("u2", "vm")
    store.commit(Commit(2, 1.0, "", deletes=(machine("u1", "vm"),), puts=(new,)))
    assert contents(store) == (2, [new], [])


START = Commit(1, 1.0, "", puts=(machine("u1", "vm"),), takes=(Allocation("p", 1, "u1"),))


@pytest.mark.parametrize(
    ("commit", "error"),
    [
        (Commit(1, 1.0, ""), RevisionConflictError),
        (Commit(3, 1.0, ""), RevisionConflictError),
        (Commit(2, 1.0, "", takes=(Allocation("p", 1, "u9"),)), ConflictError),
        (Commit(2, 1.0, "", puts=(machine("u2", "vm"),)), ConflictError),
        (Commit(2, 1.0, "", puts=(machine("u1", "other"),)), ConflictError),
        (Commit(2, 1.0, "", deletes=(machine("u2"),)), ConflictError),
        (Commit(2, 1.0, "", frees=(Allocation("p", 2, "u1"),)), ConflictError),
    ],
)
def test_a_refused_commit_changes_nothing(store, commit, error):
    store.commit(START)
    before = contents(store)
    # Something that could be stored comes before what cannot.
    mixed = Commit(
        commit.revision,
        1.0,
        "",
        puts=(machine("fresh"), *commit.puts),
        deletes=commit.deletes,
        takes=(Allocation("q", 1, "fresh"), *commit.takes),
        frees=commit.frees,
    )
    with pytest.raises(error) as caught:
        store.commit(mixed)
    if isinstance(caught.value, RevisionConflictError):
        assert caught.value.revision == 1
    assert contents(store) == before
    assert store.log(0, 10) == [START]
    store.commit(Commit(2, 1.0, "", puts=(machine("fresh"),)))


def test_a_group_is_stored_whole_or_not_at_all(store):
    group = [Commit(2, 1.0, "", puts=(machine("u2"),)), Commit(3, 1.0, "", puts=(machine("u3"),))]
    bad = Commit(4, 1.0, "", takes=(Allocation("p", 1, "u9"),))
    store.commit(START)
    before = contents(store)
    with pytest.raises(ConflictError):
        store.commit_all([*group, bad])
    assert contents(store) == before
    assert store.log(0, 10) == [START]
    store.commit_all(group)
    assert contents(store)[0] == 3
    assert store.log(1, 10) == group
    store.commit_all([])
    assert contents(store)[0] == 3


def test_the_log_is_read_in_pieces_and_compacted(store):
    commits = [Commit(number, 1.0, "", puts=(machine(f"u{number}"),)) for number in range(1, 8)]
    store.commit_all(commits)
    assert store.log(0, 3) == commits[:3]
    assert store.log(3, 3) == commits[3:6]
    assert store.log(7, 3) == []
    store.compact(5)
    assert store.log(4, 9) == commits[4:]
    with pytest.raises(NotFoundError, match="commits after revision 3 are not kept; the log hold"):
        store.log(3, 9)
    with pytest.raises(NotFoundError, match="commits after revision 8 are not kept"):
        store.log(8, 9)
    assert len(contents(store)[1]) == 7
    store.compact(99)
    assert store.log(7, 9) == []
    store.commit(Commit(8, 1.0, ""))
    assert store.log(7, 9) == [Commit(8, 1.0, "")]
