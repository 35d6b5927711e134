"""The single writer: order, groups, durability before answers, refusals."""

import asyncio
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from filament.api.journal import Journal
from filament.api.request import Create, Delete
from filament.api.writer import MAX_WAITING, RETAIN_COMMITS, Writer
from filament.base.errors import (
    ConflictError,
    NotFoundError,
    RevisionConflictError,
    TransientError,
)
from filament.model.body import Body
from filament.model.change import Commit

from .office import NOW, Office


def machine(name):
    return Create("virtual-machine", Body(fq_name=(name,)))


class Bench:
    """A writer over an office whose store can be made to fail, and whose groups are recorded."""

    is_shared = False
    compact_every = 1000

    def __init__(self):
        self.office = Office()
        self.groups = []
        self.failure = None
        self.takes_s = 0.0
        self.compacted = []
        self.may_compact = threading.Event()
        self.may_compact.set()
        self.journal = Journal(self.office.view.revision)
        self.executor = ThreadPoolExecutor(1)
        self.writer = Writer(self.office.engine, self, self.journal, self.executor, lambda: NOW)

    def commit_all(self, commits):
        if self.failure is not None:
            raise self.failure
        # Nothing of a group is seen by readers before it is stored.
        assert self.office.view.revision == commits[0].revision - 1
        time.sleep(self.takes_s)
        self.groups.append([commit.revision for commit in commits])
        return self.office.store.commit_all(commits)

    def log(self, after, limit):
        return self.office.store.log(after, limit)

    def compact(self, before):
        assert self.may_compact.wait(30)
        self.compacted.append(before)

    async def submit_all(self, *requests):
        return await asyncio.gather(
            *(self.writer.submit(request, "test") for request in requests), return_exceptions=True
        )


@pytest.fixture
async def bench():
    made = Bench()
    running = asyncio.ensure_future(made.writer.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.executor.shutdown()


async def test_requests_that_wait_together_share_a_transaction(bench):
    answers = await bench.submit_all(machine("a"), machine("b"), machine("a"), machine("c"))
    assert [answer.commit.revision for answer in (answers[0], answers[1], answers[3])] == [2, 3, 4]
    assert isinstance(answers[2], ConflictError)  # sees what was prepared before it
    assert bench.groups == [[2, 3, 4]]
    assert bench.journal.last == bench.office.view.revision == 4
    assert [one.revision for one in await bench.writer.history(1, 10)] == [2, 3, 4]


async def test_clients_that_ask_one_after_the_other_end_up_in_one_group(bench):
    async def client(name):
        for number in range(5):
            await bench.writer.submit(machine(f"{name}-{number}"), "test")

    bench.takes_s = 0.01
    first = asyncio.ensure_future(client("a"))
    await asyncio.sleep(0.001)  # the others find the store busy
    await asyncio.gather(first, *(client(name) for name in "bcd"))
    # The first is one ahead of the others, and would stay in groups of its own.
    assert [len(group) for group in bench.groups] == [1, 4, 4, 4, 4, 3]


async def test_a_client_that_is_alone_waits_for_nobody(bench, monkeypatch):
    def patience(seconds):
        monkeypatch.setattr("filament.api.writer.GATHER_SHARE", 1e9)
        monkeypatch.setattr("filament.api.writer.MAX_GATHER_S", seconds)

    patience(3600)
    async with asyncio.timeout(20):
        for number in range(3):
            await bench.submit_all(machine(f"alone-{number}"))
        await bench.submit_all(machine("a"), machine("b"))
        patience(0.001)
        await bench.submit_all(machine("c"))  # after a moment without the other
        patience(3600)
        await bench.submit_all(machine("d"))
    assert [len(group) for group in bench.groups] == [1, 1, 1, 2, 1, 1]


async def test_a_request_builds_on_those_before_it_in_the_group(bench):
    (first,) = await bench.submit_all(machine("a"))
    uuid = first.object.uuid
    answers = await bench.submit_all(
        Delete("virtual-machine", uuid), machine("a"), Delete("virtual-machine", uuid)
    )
    assert answers[1].object.uuid != uuid
    assert isinstance(answers[2], NotFoundError)
    assert bench.groups[-1] == [3, 4]


async def test_when_the_store_refuses_nobody_is_told_otherwise(bench):
    bench.failure = TransientError("disk full")
    answers = await bench.submit_all(machine("a"), machine("b"))
    assert [str(answer) for answer in answers] == ["disk full", "disk full"]
    assert bench.office.view.revision == bench.journal.last == 1
    bench.failure = None
    (answer,) = await bench.submit_all(machine("a"))
    assert answer.commit.revision == 2


async def test_a_store_that_somebody_else_wrote_ends_the_process():
    bench = Bench()
    bench.failure = RevisionConflictError("commit 2 does not follow revision 9", 9)
    running = asyncio.ensure_future(bench.writer.run())
    asking = asyncio.ensure_future(bench.writer.submit(machine("a"), "test"))
    with pytest.raises(RevisionConflictError):
        await running
    asking.cancel()
    bench.executor.shutdown()


async def test_a_caller_that_goes_away_disturbs_nobody(bench):
    gone = asyncio.ensure_future(bench.writer.submit(machine("a"), "test"))
    await asyncio.sleep(0)
    gone.cancel()
    (answer,) = await bench.submit_all(machine("b"))
    assert answer.object.fq_name == ("b",)


async def test_too_many_waiting_writes_are_refused():
    bench = Bench()  # nobody serves its queue
    tasks = [
        asyncio.ensure_future(bench.writer.submit(machine(str(number)), "test"))
        for number in range(MAX_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(TransientError, match="1024 writes are waiting already; try again"):
        await bench.writer.submit(machine("more"), "test")
    for task in tasks:
        task.cancel()
    bench.executor.shutdown()


async def test_the_log_is_compacted_now_and_then(bench):
    view = bench.office.view
    for revision in range(view.revision + 1, 999):
        bench.office.keep(Commit(revision, 1.0, "test"))
    await bench.submit_all(machine("a"))
    assert bench.compacted == []
    bench.may_compact.clear()
    async with asyncio.timeout(20):
        await bench.submit_all(machine("b"))  # is answered before the log is compacted
    assert bench.compacted == []
    bench.may_compact.set()
    await bench.submit_all(machine("c"))
    assert bench.compacted == [1000 - RETAIN_COMMITS]


class Contested(Bench):
    """A store in which another process commits first, `losses` times."""

    is_shared = True

    def __init__(self, losses):
        super().__init__()
        self.losses = losses
        self.foreign = 0

    def commit_all(self, commits):
        if self.losses:
            self.losses -= 1
            self.foreign += 1
            other = Office()
            other.engine.load(self.office.store)
            body = Body(fq_name=(f"foreign-{self.foreign}",), uuid=str(uuid.uuid4()))
            self.office.store.commit(
                other.engine.prepare(Create("virtual-machine", body), now=NOW, who="other").commit
            )
        return self.office.store.commit_all(commits)


async def carried_out(bench, *requests):
    running = asyncio.ensure_future(bench.writer.run())
    try:
        async with asyncio.timeout(20):
            return await bench.submit_all(*requests)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        bench.executor.shutdown()


async def test_who_comes_second_prepares_again_on_what_the_first_did():
    bench = Contested(2)
    answers = await carried_out(bench, machine("a"), machine("foreign-2"))
    assert answers[0].commit.revision == 4
    assert isinstance(answers[1], ConflictError)  # the other process has made it meanwhile
    names = [item.name for item in bench.office.view.of_kind("virtual-machine")]
    assert names == ["foreign-1", "foreign-2", "a"]
    assert bench.journal.last == 4


async def test_who_always_comes_second_gives_up():
    bench = Contested(1_000_000)
    (answer,) = await carried_out(bench, machine("a"))
    assert isinstance(answer, TransientError)
    assert "other API processes committed first 50 times; try again" in str(answer)
    assert bench.office.view.named("virtual-machine", ("a",)) is None


async def test_a_follower_takes_over_what_others_commit():
    bench = Contested(0)
    bench.follow = bench.office.store.follow
    following = asyncio.ensure_future(bench.writer.follow(bench.executor))
    bench.office.store.commit(Commit(2, 1.0, "other"))
    async with asyncio.timeout(10):
        await bench.journal.changed(1, 10)
    assert bench.office.view.revision == bench.journal.last == 2
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    bench.executor.shutdown()


async def test_a_refusal_rests_on_what_other_processes_have_committed(bench):
    bench.is_shared = True
    foreign = bench.office.engine.prepare(machine("theirs"), now=NOW, who="another process")
    bench.office.store.commit(foreign.commit)
    [deleted, again] = await bench.submit_all(
        Delete("virtual-machine", foreign.object.uuid),
        Delete("virtual-machine", foreign.object.uuid),
    )
    assert deleted.commit.revision == foreign.commit.revision + 1
    assert isinstance(again, NotFoundError)
