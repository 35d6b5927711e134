"""The single writer: requests are prepared in order, stored in groups, then applied and answered.

Requests that arrive while the store is busy share its next transaction, so that the price of
durability is paid once for all of them. Those just answered are given a moment to ask again, so
that clients with one request in flight each end up in one group and not in two that alternate.
Nobody sees a commit before it is durable.

Several API processes may share one store. Each follows the others' commits; whoever prepared
against a revision that is no longer the last catches up and prepares again, so what was checked
and allocated was so against exactly the revision before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol

from filament.api.caller import Caller
from filament.api.engine import ConfigEngine
from filament.api.journal import Journal
from filament.api.request import Prepared, Request
from filament.base.errors import FilamentError, RevisionConflictError, TransientError
from filament.model.change import Commit
from filament.model.content import Content, replacement
from filament.model.edit import bases
from filament.model.snapshot import PoolView, Staged
from filament.runtime import heap
from filament.runtime.backoff import backoff
from filament.store.contract import Store

MAX_GROUP = 64  # requests that share one transaction
# A group waits for those who were answered with the last: for so much of what that took to store.
GATHER_SHARE = 0.5
MAX_GATHER_S = 0.01
MAX_WAITING = 1024  # contrail-api's max_requests
RETAIN_COMMITS = 100_000  # of the log, for history
MAX_ATTEMPTS = 50  # to store a group while other processes commit too
_CATCH_UP = 1000  # commits read from the log at once
_FOLLOW_S = 1.0  # a follower looks up at least so often, also to end


class _Change(Protocol):
    @property
    def commit(self) -> Commit | None: ...


class Replaced(NamedTuple):
    """The commit of a restore; None when everything was like that already."""

    commit: Commit | None


class _Waiting(NamedTuple):
    prepare: Callable[[PoolView], _Change]
    answer: asyncio.Future[Any]
    is_alone: bool = False  # reads the committed snapshot, so nothing may be staged before it


class Writer:
    """Owns the store's thread and the order of commits. One per API process."""

    def __init__(
        self,
        engine: ConfigEngine,
        store: Store,
        journal: Journal,
        executor: Executor,
        wall: Callable[[], float],
        *,
        retain_commits: int = RETAIN_COMMITS,
    ) -> None:
        self._engine = engine
        self._store = store
        self._journal = journal
        self._executor = executor
        self._wall = wall
        self._retain_commits = retain_commits
        self._compact_every = max(1, min(store.compact_every, retain_commits // 10))
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._expected = 1  # how many will likely ask: those of the last group and who waited then
        self._gathered: asyncio.Future[None] | None = None  # while a group waits for others
        self._lacking = 0  # how many more they have to be
        self._unsettled = 0  # commits since the heap was settled
        self._store_s = 0.0  # that the last group took to store

    async def submit(self, request: Request, who: Caller | str) -> Prepared:
        """Have a request carried out; returns once it is durable, raises what refused it."""

        def prepare(view: PoolView) -> Prepared:
            return self._engine.prepare(request, now=self._wall(), who=who, view=view)

        prepared: Prepared = await self._enqueued(prepare)
        return prepared

    async def replace(self, content: Content, who: str) -> Replaced:
        """Make the whole configuration that of `content`, in one commit."""

        def prepare(view: PoolView) -> Replaced:
            del view  # there is nothing but the snapshot
            return Replaced(replacement(self._engine.snapshot, content, self._wall(), who))

        replaced: Replaced = await self._enqueued(prepare, is_alone=True)
        return replaced

    async def run(self) -> None:
        """Serve until cancelled."""
        kept: list[_Waiting] = []
        while True:
            group = kept or [await self._queue.get()]
            kept = []
            await self._gather(len(group))
            while len(group) < MAX_GROUP and not self._queue.empty():
                waiting = self._queue.get_nowait()
                if waiting.is_alone or group[0].is_alone:
                    kept = [waiting]
                    break
                group.append(waiting)
            count = len(group)
            await self._carry_out(group)
            self._expected = min(count + len(kept) + self._queue.qsize(), MAX_GROUP)

    async def follow(self, executor: Executor) -> None:
        """Take over what other processes commit, until cancelled; `executor` is only for this.

        Raises NotFoundError when we were away for so long that the log no longer tells.
        """
        loop = asyncio.get_running_loop()
        waits = backoff()
        while True:
            after = self._engine.snapshot.revision
            try:
                commits = await loop.run_in_executor(executor, self._store.follow, after, _FOLLOW_S)
            except TransientError:
                await asyncio.sleep(next(waits))
                continue
            waits = backoff()
            self._take(commits)
            self._settle_now_and_then()

    async def history(self, after: int, limit: int) -> list[Commit]:
        """Commits from the store's log; NotFoundError when they are no longer kept."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._store.log, after, limit)

    async def touching(self, uuid: str, before: int, limit: int) -> list[Commit]:
        """The newest commits below a revision that changed an object, newest first."""
        loop = asyncio.get_running_loop()
        read = self._store.touching
        return await loop.run_in_executor(self._executor, read, uuid, before, limit)

    def _enqueued(
        self, prepare: Callable[[PoolView], _Change], *, is_alone: bool = False
    ) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(prepare, answer, is_alone))
        except asyncio.QueueFull:
            raise TransientError(f"{MAX_WAITING} writes are waiting already; try again") from None
        if self._gathered is not None and self._queue.qsize() >= self._lacking:
            _finish(self._gathered)
        return answer

    async def _gather(self, count: int) -> None:
        """Wait for as many requests as are expected, `count` of which are there, but not long."""
        self._lacking = self._expected - count
        if self._queue.qsize() >= self._lacking:
            return
        loop = asyncio.get_running_loop()
        self._gathered = loop.create_future()
        wait_s = min(self._store_s * GATHER_SHARE, MAX_GATHER_S)
        late = loop.call_later(wait_s, _finish, self._gathered)
        try:
            await self._gathered
        finally:
            late.cancel()
            self._gathered = None

    async def _carry_out(self, group: list[_Waiting]) -> None:
        waits = backoff(first_s=0.002, limit_s=0.1)
        for _ in range(MAX_ATTEMPTS):
            revision = self._engine.snapshot.revision
            prepared, refused = self._prepare(group)
            if refused and self._store.is_shared:
                # What was refused may be made possible by what another process has committed:
                # a client that created there and deletes here must not hear that it is not so.
                try:
                    await self._catch_up()
                except TransientError as error:
                    _refuse_all(group, error)
                    return
                if self._engine.snapshot.revision != revision:
                    continue
            for waiting, refusal in refused:
                _refuse_all([waiting], refusal)
            group = [waiting for waiting, _ in prepared]
            try:
                await self._keep([one.commit for _, one in prepared if one.commit is not None])
            except RevisionConflictError:
                if not self._store.is_shared:
                    raise  # somebody wrote to a store that is ours alone
                try:
                    await self._catch_up()
                except TransientError as error:
                    _refuse_all(group, error)
                    return
                await asyncio.sleep(next(waits))
                continue
            except TransientError as error:
                _refuse_all(group, error)
                return
            for waiting, one in prepared:
                if not waiting.answer.done():
                    waiting.answer.set_result(one)
            # Not before they are answered: on etcd it takes half a second.
            await self._compact_now_and_then(revision)
            return
        _refuse_all(
            group,
            TransientError(f"other API processes committed first {MAX_ATTEMPTS} times; try again"),
        )

    def _prepare(
        self, group: list[_Waiting]
    ) -> tuple[list[tuple[_Waiting, _Change]], list[tuple[_Waiting, FilamentError]]]:
        """Prepare each on top of those before it; return what can be, and what cannot."""
        staged = Staged(self._engine.snapshot)
        prepared: list[tuple[_Waiting, _Change]] = []
        refused: list[tuple[_Waiting, FilamentError]] = []
        for waiting in group:
            try:
                one = waiting.prepare(staged)
            except FilamentError as error:
                refused.append((waiting, error))
                continue
            if one.commit is not None:
                staged.absorb(one.commit)
            prepared.append((waiting, one))
        return prepared, refused

    async def _keep(self, commits: list[Commit]) -> None:
        """Store prepared commits, then let everybody see them."""
        if not commits:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        stored = loop.run_in_executor(self._executor, self._store.commit_all, commits)
        self._settle_now_and_then()  # while nobody could be answered anyway
        bodies = await stored
        self._store_s = loop.time() - began
        self._take(commits, bodies)

    async def _compact_now_and_then(self, before: int) -> None:
        """Compact the log every so many revisions; the last time we stored we were at `before`."""
        last, every = self._engine.snapshot.revision, self._compact_every
        if last // every != before // every:
            loop = asyncio.get_running_loop()
            oldest = last - self._retain_commits
            await loop.run_in_executor(self._executor, self._compact, oldest)

    def _compact(self, before: int) -> None:
        try:
            self._store.compact(before)
        except TransientError:
            return  # the next time will do; what matters is stored

    async def _catch_up(self) -> None:
        while True:
            commits = await self.history(self._engine.snapshot.revision, _CATCH_UP)
            if not commits:
                return
            self._take(commits)

    def _take(self, commits: Sequence[Commit], bodies: Sequence[bytes] = ()) -> None:
        """Apply durable commits; writer and follower may both bring the same ones."""
        known = self._engine.snapshot.revision
        old = sum(commit.revision <= known for commit in commits)
        fresh = commits[old:]
        told_against = []
        for commit in fresh:
            told_against.append(bases(commit, self._engine.snapshot.get))
            self._engine.apply(commit)
        if fresh:
            self._journal.publish(fresh, bodies[old:], told_against)
            self._unsettled += len(fresh)

    def _settle_now_and_then(self) -> None:
        if self._unsettled >= heap.SETTLE_EVERY:
            self._unsettled = 0
            heap.settle()


def _refuse_all(group: list[_Waiting], error: FilamentError) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
