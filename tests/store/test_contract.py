"""One suite for every store: what `store.contract` promises."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from filament.base.errors import ConflictError, NotFoundError, RevisionConflictError
from filament.model.change import Allocation, Commit, Object, Ref
from filament.store import etcd as etcd_module
from filament.store.etcd import EtcdStore
from filament.store.memory import MemoryStore
from filament.store.sqlite import SqliteStore
from filament.testing.etcd import EtcdCluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(params=["memory", "sqlite", "etcd", "etcd-small"])
def store(request, tmp_path, monkeypatch):
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "f.db")
    else:
        if request.param == "etcd-small":  # everything is cut into pieces
            monkeypatch.setattr("filament.store.etcd._MAX_BYTES", 1500)
            monkeypatch.setattr("filament.store.etcd._MAX_OPS", 2)
        cluster = request.getfixturevalue("etcd")
        cluster.wipe()
        made = EtcdStore(cluster.endpoints)
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
    bodies = store.commit_all(group)
    assert bodies == [msgspec.json.encode(commit) for commit in group]
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


def test_the_history_of_one_object_is_read_newest_first(store):
    commits = [
        Commit(1, 1.0, "", puts=(machine("u"), machine("v"))),
        Commit(2, 2.0, "", puts=(machine("v", note="x"),)),
        Commit(3, 3.0, "", puts=(machine("u", note="y"),)),
        Commit(4, 4.0, "", deletes=(machine("u"),)),
        Commit(5, 5.0, "", puts=(machine("u"),)),
    ]
    store.commit_all(commits[:3])
    store.commit_all(commits[3:])
    assert store.touching("u", 9, 9) == [commits[4], commits[3], commits[2], commits[0]]
    assert store.touching("u", 9, 2) == [commits[4], commits[3]]
    assert store.touching("u", 3, 9) == [commits[0]]
    assert store.touching("v", 1 << 60, 9) == [commits[1], commits[0]]
    assert store.touching("w", 9, 9) == []
    store.compact(3)
    assert store.touching("u", 9, 9) == [commits[4], commits[3], commits[2]]


def test_a_follower_waits_for_commits_and_gets_them_in_order(store):
    assert store.follow(0, 0.01) == []
    first = Commit(1, 1.0, "", puts=(machine("u"),))
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(store.follow, 0, 20.0)
        store.commit(first)
        assert waiting.result(30) == [first]
        store.commit(Commit(2, 1.0, "", puts=(machine("v"),)))
    assert [commit.revision for commit in store.follow(0, 20.0)] == [1, 2]
    store.compact(2)
    with pytest.raises(NotFoundError, match="the log holds 2-2"):
        store.follow(0, 1.0)


def test_content_survives_compaction(store):
    store.commit_all(
        [
            Commit(1, 1.0, "", puts=(machine("b"), machine("a"), machine("gone"))),
            Commit(2, 1.0, "", takes=(Allocation("p/q", 1, "a"), Allocation("p/q", 2, "b"))),
        ]
    )
    store.compact(3)
    store.commit(Commit(3, 1.0, "", deletes=(machine("gone"),), puts=(machine("b", n=1),)))
    expected = (3, [machine("b", n=1), machine("a")])
    assert contents(store)[:2] == expected
    store.compact(3)
    store.commit(Commit(4, 1.0, "", frees=(Allocation("p/q", 1, "a"),), puts=(machine("gone"),)))
    store.compact(4)
    store.compact(2)  # never goes back
    assert contents(store) == (
        4,
        [machine("b", n=1), machine("a"), machine("gone")],
        [Allocation("p/q", 2, "b")],
    )
    with pytest.raises(ConflictError):
        store.commit(Commit(5, 1.0, "", puts=(machine("other", "gone"),)))


def test_a_commit_too_large_for_one_request_is_still_one(store):
    many = tuple(machine(f"u{number}", note="x" * 2000) for number in range(150))
    takes = tuple(Allocation("p", number, f"u{number}") for number in range(150))
    store.commit(Commit(1, 1.0, "", puts=many, takes=takes))
    # Larger than a request of etcd, which the store may have been told is small.
    huge = machine("huge", note="y" * int(2.5 * etcd_module._MAX_BYTES))
    store.commit(Commit(2, 1.0, "", puts=(huge,), deletes=many[:100], frees=takes[:100]))
    expected = (2, [*many[100:], huge], sorted(takes[100:], key=lambda one: one.value))
    assert contents(store) == expected
    store.compact(2)
    assert contents(store) == expected
    assert len(store.log(1, 9)[0].deletes) == 100
    store.commit(Commit(3, 1.0, "", puts=(machine("huge", note="small"),)))
    store.compact(3)
    assert contents(store)[1][-1] == machine("huge", note="small")


def test_an_empty_store_is_seeded_at_any_revision(store):
    items = [machine("b"), machine("a")]
    store.seed(41, items, [Allocation("p", 7, "a")])
    assert contents(store) == (41, items, [Allocation("p", 7, "a")])
    assert store.log(41, 9) == []
    with pytest.raises(NotFoundError, match="commits after revision 40 are not kept"):
        store.log(40, 9)
    with pytest.raises(ConflictError, match="the store is not empty: it is at revision 41"):
        store.seed(1, [], [])
    with pytest.raises(ConflictError, match="already exists"):
        store.commit(Commit(42, 1.0, "", puts=(machine("c", "a"),)))
    store.commit(Commit(42, 1.0, "", puts=(machine("c"),)))
    assert contents(store)[1] == [*items, machine("c")]


def test_a_store_is_seeded_with_the_log_of_another(store):
    log = [
        Commit(40, 1.0, "", puts=(machine("a", note="x" * 4000),)),
        Commit(41, 2.0, "me", puts=(machine("b"),), deletes=(machine("gone"),)),
    ]
    store.seed(41, [machine("a"), machine("b")], [], log)
    assert store.log(39, 9) == log
    with pytest.raises(NotFoundError, match="commits after revision 38 are not kept"):
        store.log(38, 9)
    assert store.touching("gone", 99, 9) == log[1:]
    store.commit(Commit(42, 3.0, "", deletes=(machine("b"),)))
    assert [commit.revision for commit in store.log(40, 9)] == [41, 42]
    assert contents(store)[:2] == (42, [machine("a")])
    store.compact(42)
    assert [commit.revision for commit in store.log(41, 9)] == [42]
