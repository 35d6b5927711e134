"""Following one of several API processes: which one, and whose configuration is believed."""

import asyncio
import contextlib

import pytest

from filament.base.errors import TransientError
from filament.client.watch import Loaded, Relisted
from filament.control import follow as follow_module
from filament.control.follow import MOST_MISMATCHES, OLDER_LOADS, ApiState, follow
from filament.model.edit import MismatchError


class Client:
    """An API process at a revision; 0 is one that does not answer."""

    def __init__(self, address, revision):
        self.address, self.revision = address, revision
        self.loads = 0
        self.watched_after = []
        self.wrong_edits = False

    async def load(self):
        self.loads += 1
        self._require_up()
        return Loaded(self.revision, [], [])

    async def report(self, report):
        self._require_up()

    async def watch(self, after, _incarnation, find):
        self.watched_after.append(after)
        self._require_up()
        if find is not None and self.wrong_edits:
            raise MismatchError("an edit of another object")
        if after > self.revision:
            yield Relisted()
            return
        await asyncio.sleep(3600)

    def _require_up(self):
        if not self.revision:
            raise TransientError(f"{self.address} is away")


class Follower:
    incarnation = "this process"

    def __init__(self, revision):
        self.revision = revision
        self.taken = []

    def find(self, uuid):
        return None

    def report(self):
        return None

    def take_configuration(self, loaded):
        self.taken.append(loaded.revision)
        self.revision = loaded.revision


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(follow_module, "backoff", lambda **_: iter(lambda: 0.0, 1))


async def followed(clients, follower, until):
    state = ApiState(clients[0].address)
    task = asyncio.ensure_future(follow(clients, state, follower))
    async with asyncio.timeout(5):
        while not until():  # noqa: ASYNC110 - nothing to wait for but their turns
            await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return state


async def test_the_next_is_followed_when_one_does_not_answer():
    away, here = Client("a", 0), Client("b", 7)
    follower = Follower(7)
    state = await followed([away, here], follower, lambda: here.watched_after)
    assert (state.connected, state.address, state.error) == (True, "b", "")
    assert follower.taken == []


async def test_one_that_is_behind_is_given_time():
    behind, away = Client("a", 5), Client("b", 0)
    follower = Follower(7)
    await followed([behind, away], follower, lambda: behind.loads == 2)
    behind.revision = 8
    await followed([behind, away], follower, lambda: behind.watched_after[-1:] == [7])
    assert follower.taken == []


async def test_an_older_configuration_that_stays_is_believed():
    clients = [Client("a", 5), Client("b", 5)]
    follower = Follower(7)
    await followed(clients, follower, lambda: follower.taken)
    assert follower.taken == [5]
    assert sum(client.loads for client in clients) == 2 * OLDER_LOADS + 1


async def test_a_single_one_is_believed_at_once():
    client = Client("a", 5)
    follower = Follower(7)
    await followed([client], follower, lambda: follower.taken)
    assert (follower.taken, client.loads) == ([5], 1)


async def test_one_that_is_away_is_asked_less_and_less(monkeypatch):
    begun = []

    def backoff(**_):
        begun.append(True)
        return iter(lambda: 0.0, 1)

    monkeypatch.setattr(follow_module, "backoff", backoff)
    tried = []
    away = Client("a", 0)
    away._require_up = lambda: tried.append(True) or Client._require_up(away)
    await followed([away], Follower(7), lambda: len(tried) == 5)
    assert len(begun) == 1, "the waiting times begin again at every attempt"


async def test_edits_of_other_objects_than_ours_make_it_load_again_and_then_read_whole_ones():
    client = Client("a", 7)
    client.wrong_edits = True
    follower = Follower(7)
    await followed([client], follower, lambda: len(client.watched_after) == MOST_MISMATCHES + 1)
    assert follower.taken == [7] * MOST_MISMATCHES
