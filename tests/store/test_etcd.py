"""The etcd store's own promises: shared by several, members that die, answers that get lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from filament.base.errors import (
    ConflictError,
    InputError,
    PermanentError,
    RevisionConflictError,
    TransientError,
)
from filament.model.change import Allocation, Commit, Object
from filament.store import etcd as etcd_module
from filament.store.etcd import EtcdStore
from filament.store.etcd_client import EtcdClient, put
from filament.store.open import open_store
from filament.testing.etcd import EtcdCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.fixture
def two(cluster):
    cluster.wipe()
    stores = [EtcdStore(cluster.endpoints, patience_s=2), EtcdStore(cluster.endpoints)]
    yield stores
    for store in stores:
        store.close()


def machine(uuid, name=None, **props):
    return Object("virtual-machine", uuid, (name or uuid,), props=props)


def commit(revision, *puts, **fields):
    return Commit(revision, 1.0, "test", puts=puts, **fields)


def contents(store):
    revision, objects, allocations = store.load()
    return revision, list(objects), list(allocations)


def test_of_two_commits_of_one_revision_one_wins(two):
    one, other = two
    assert contents(other) == (0, [], [])
    one.commit(commit(1, machine("a"), takes=(Allocation("p", 1, "a"),)))
    with pytest.raises(RevisionConflictError, match="1 does not follow revision 1") as caught:
        other.commit(commit(1, machine("b"), takes=(Allocation("p", 1, "b"),)))
    assert caught.value.revision == 1
    with pytest.raises(ConflictError, match="value 1 of pool p is already held"):
        other.commit(commit(2, machine("b"), takes=(Allocation("p", 1, "b"),)))
    other.commit(commit(2, machine("b"), takes=(Allocation("p", 2, "b"),)))
    one.commit(commit(3, machine("c")))  # has read 2 on the way
    assert contents(one) == contents(other)
    assert [each.revision for each in one.log(0, 9)] == [1, 2, 3]


def test_a_follower_is_woken_by_what_others_commit_and_not_by_its_own(two, monkeypatch):
    one, other = two
    one.commit(commit(1, machine("a")))
    waits = threading.Event()
    wait = one._watching.wait

    def noted(*args):
        waits.set()
        wait(*args)

    monkeypatch.setattr(one._watching, "wait", noted)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(one.follow, 1, 60.0)
        assert waits.wait(20)
        one.commit(commit(2, machine("b")))
        with pytest.raises(TimeoutError):
            following.result(0.3)
        other.commit(commit(3, machine("c")))
        assert [each.revision for each in following.result(20)] == [2, 3]


def test_both_may_move_the_checkpoint_on(two):
    one, other = two
    for revision in range(1, 21):
        (one, other)[revision % 2].commit(commit(revision, machine(f"u{revision % 7}", n=revision)))
        if revision % 3 == 0:
            one.compact(revision - 5)
        if revision % 4 == 0:
            other.compact(revision - 2)
    expected = [f"u{number}" for number in (1, 2, 3, 4, 5, 6, 0)]
    assert [item.uuid for item in contents(one)[1]] == expected
    assert contents(one) == contents(other)


class Lossy:
    """A member whose answers to writes get lost after it did what it was asked."""

    def __init__(self, store, losses):
        self.member = store._client._members[0]
        self.post, self.losses = self.member.post, losses
        self.member.post = self

    def __call__(self, path, content):
        answer = self.post(path, content)
        if b"request_put" in content and self.losses:
            self.losses -= 1
            raise TimeoutError("lost")
        return answer


def test_a_commit_whose_answer_got_lost_is_there_once(two):
    one, other = two
    one.load()
    Lossy(one, 2)
    one.commit(commit(1, machine("a")))
    one.commit(commit(2, machine("b")))
    assert [item.uuid for item in contents(other)[1]] == ["a", "b"]
    assert [each.revision for each in other.log(0, 9)] == [1, 2]


def test_when_nobody_can_say_the_log_tells_later(two):
    one, other = two
    one.load()
    lossy = Lossy(one, 1_000_000)
    with pytest.raises(TransientError, match="whether it did what it was asked is unknown"):
        one.commit(commit(1, machine("a")))
    lossy.losses = 0
    assert [each.revision for each in other.log(0, 9)] == [1]  # it did
    with pytest.raises(RevisionConflictError):
        one.commit(commit(1, machine("a")))
    one.commit(commit(2, machine("b")))
    assert [item.uuid for item in contents(one)[1]] == ["a", "b"]


def test_a_process_that_dies_while_moving_the_checkpoint_tears_nothing(two, monkeypatch):
    one, other = two
    monkeypatch.setattr(etcd_module, "_MAX_BYTES", 100)
    monkeypatch.setattr(etcd_module, "_MAX_OPS", 1)
    one.commit(commit(1, *(machine(f"u{number}", note="x" * 300) for number in range(5))))
    one.compact(1)
    one.commit(commit(2, *(machine(f"u{number}", note="y" * 900) for number in range(5))))
    one.commit(commit(3, deletes=(machine("u3"),)))
    before = contents(other)
    asked, transact = [], one._client.transact

    def die_after(count):
        def wrapped(*arguments):
            asked.append(arguments)
            if len(asked) > count:
                raise KeyboardInterrupt
            return transact(*arguments)

        return wrapped

    for count in range(3, 40, 4):
        asked.clear()
        one._client.transact = die_after(count)
        with pytest.raises(KeyboardInterrupt):
            one.compact(1)
        assert contents(other) == before
    one._client.transact = transact
    one.compact(4)
    assert contents(other) == before


def test_an_import_that_dies_is_told_and_can_be_done_again(two, monkeypatch):
    one, other = two
    items = [machine(f"u{number}") for number in range(3)]

    def failing():
        yield from items[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.seed(9, failing(), [])
    with pytest.raises(TransientError, match="is being imported into; if that import is dead"):
        other.load()
    one.seed(9, items, [])
    assert contents(other) == (9, items, [])


def test_a_newer_format_is_refused(cluster, two):
    client = EtcdClient(cluster.endpoints)
    client.transact([], [put(b"/filament/format", b"2")])
    client.close()
    with pytest.raises(PermanentError, match="has schema version 2, this program reads up to 1"):
        EtcdStore(cluster.endpoints)


def test_addresses_of_stores_are_checked(tmp_path):
    for bad in ("postgres:x", "sqlite:", "etcd", ""):
        with pytest.raises(
            InputError, match=r"is no address of a store.*write sqlite:PATH or etcd"
        ):
            open_store(bad)
    with pytest.raises(InputError, match=r"'127\.0\.0\.1:2379' is no address of an etcd member"):
        open_store("etcd:127.0.0.1:2379")
    store = open_store(f"sqlite:{tmp_path}/f.db")
    assert not store.is_shared
    store.close()


def test_nobody_there_is_said(monkeypatch):
    with pytest.raises(TransientError, match="etcd does not answer"):
        EtcdStore(["http://127.0.0.1:1"], patience_s=0.1)
