"""Who is woken how often, and that nobody misses anything."""

import asyncio

import pytest

from filament.api.journal import PAUSE_S, Journal
from filament.model.change import Commit

COMMITS = 20


class Watcher:
    def __init__(self, journal):
        self.journal, self.at, self.rounds, self.heard = journal, 0, 0, 0

    async def run(self):
        while self.at < COMMITS:
            assert await self.journal.changed(self.at, 5.0)
            events = self.journal.after(self.at, 1000)
            self.at, self.rounds = self.journal.last, self.rounds + 1
            self.heard += len(events)


@pytest.mark.parametrize(("count", "fewest", "most"), [(1, COMMITS, COMMITS), (500, 2, 4)])
async def test_many_watchers_are_told_of_several_commits_at_once(count, fewest, most):
    journal = Journal(0)
    watchers = [Watcher(journal) for _ in range(count)]
    tasks = [asyncio.ensure_future(watcher.run()) for watcher in watchers]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for revision in range(1, COMMITS + 1):
        journal.publish([Commit(revision, 0.0, "x")])
        if count == 1:
            await asyncio.sleep(2 * PAUSE_S)
        else:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
    assert {watcher.heard for watcher in watchers} == {COMMITS}
    rounds = {watcher.rounds for watcher in watchers}
    assert fewest <= min(rounds)
    # A machine that was slow to publish had more pauses.
    assert max(rounds) <= most + (loop.time() - begun) // (count * PAUSE_S)


async def test_the_first_commit_after_a_quiet_moment_is_told_at_once():
    journal = Journal(0)
    tasks = [asyncio.ensure_future(journal.changed(0, 5.0)) for _ in range(1000)]
    await asyncio.sleep(0)
    journal.publish([Commit(1, 0.0, "x")])
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)


async def test_closing_does_not_wait_for_the_pause():
    journal = Journal(0)
    await asyncio.gather(*(_once(journal) for _ in range(1000)), _publish(journal))
    tasks = [asyncio.ensure_future(journal.changed(journal.last, 5.0)) for _ in range(1000)]
    await asyncio.sleep(0)
    journal.publish([Commit(2, 0.0, "x")])
    journal.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)


async def _once(journal):
    assert await journal.changed(0, 5.0)


async def _publish(journal):
    journal.publish([Commit(1, 0.0, "x")])
