"""The single writer: requests are prepared in order, stored in groups, then applied and answered.

Requests that arrive while the store is busy share its next transaction, so that the price of
durability is paid once for all of them. Nobody sees a commit before it is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from filament.api.caller import Caller
from filament.api.engine import ConfigEngine, Prepared, Request
from filament.api.journal import Journal
from filament.base.errors import FilamentError, TransientError
from filament.base.limits import WATCH_BACKLOG_COMMITS
from filament.model.change import Commit
from filament.model.snapshot import Staged
from filament.store.contract import Store

MAX_GROUP = 64  # requests that share one transaction
MAX_WAITING = 1024  # contrail-api's max_requests
_COMPACT_EVERY = 1000


class _Waiting(NamedTuple):
    request: Request
    who: Caller | str
    answer: asyncio.Future[Prepared]


class Writer:
    """Owns the store's thread and the order of commits. One per API process."""

    def __init__(
        self,
        engine: ConfigEngine,
        store: Store,
        journal: Journal,
        executor: Executor,
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._store = store
        self._journal = journal
        self._executor = executor
        self._wall = wall
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)

    async def submit(self, request: Request, who: Caller | str) -> Prepared:
        """Have a request carried out; returns once it is durable, raises what refused it."""
        answer: asyncio.Future[Prepared] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(request, who, answer))
        except asyncio.QueueFull:
            raise TransientError(f"{MAX_WAITING} writes are waiting already; try again") from None
        return await answer

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._carry_out(group)

    async def history(self, after: int, limit: int) -> list[Commit]:
        """Commits from the store's log; NotFoundError when they are no longer kept."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._store.log, after, limit)

    async def _carry_out(self, group: list[_Waiting]) -> None:
        staged = Staged(self._engine.snapshot)
        prepared: list[tuple[_Waiting, Prepared]] = []
        for waiting in group:
            try:
                one = self._engine.prepare(
                    waiting.request, now=self._wall(), who=waiting.who, view=staged
                )
            except FilamentError as error:
                _refuse(waiting, error)
                continue
            if one.commit is not None:
                staged.absorb(one.commit)
            prepared.append((waiting, one))
        commits = [one.commit for _, one in prepared if one.commit is not None]
        if commits:
            try:
                await self._store_all(commits)
            except TransientError as error:
                for waiting, _ in prepared:
                    _refuse(waiting, error)
                return
            for commit in commits:
                self._engine.apply(commit)
            self._journal.publish(commits)
        for waiting, one in prepared:
            if not waiting.answer.done():
                waiting.answer.set_result(one)

    async def _store_all(self, commits: list[Commit]) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._store.commit_all, commits)
        last = commits[-1].revision
        if last // _COMPACT_EVERY != (commits[0].revision - 1) // _COMPACT_EVERY:
            oldest = last - WATCH_BACKLOG_COMMITS
            await loop.run_in_executor(self._executor, self._store.compact, oldest)


def _refuse(waiting: _Waiting, error: FilamentError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
