"""Following the API: load the configuration once, then every commit, for ever.

The API may be away for as long as it likes: what is known is served meanwhile, and the stream is
taken up again where it ended. Of several API processes on one store any will do: the next is tried
when one does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from filament.base.errors import FilamentError, TransientError
from filament.client.watch import Loaded, Relisted, WatchClient
from filament.model.change import Commit, Object
from filament.model.edit import MismatchError
from filament.runtime.backoff import backoff
from filament.runtime.clock import wall
from filament.runtime.log import logger

LONGEST_WAIT_S = 1.0
FRUITLESS_STREAMS = 5  # in a row; then everything is loaded again
MOST_MISMATCHES = 3  # of edits; then objects are read whole
OLDER_LOADS = 5  # of each API process, in a row; then the store has really been put back

_log = logger("control")


class Follower(Protocol):
    """Who wants to follow."""

    @property
    def incarnation(self) -> str:
        """A secret of this process, in its reports too."""

    @property
    def revision(self) -> int | None:
        """The revision it is at; None when it has no configuration yet."""

    def find(self, uuid: str) -> Object | None:
        """An object as it is at `revision`."""

    def report(self) -> Report:
        """What it tells the API about itself."""

    def take_configuration(self, loaded: Loaded) -> None:
        """Start anew from a whole configuration."""

    def take_commit(self, commit: Commit) -> None:
        """Take the commit of `revision` + 1."""


class AgentReport(msgspec.Struct, frozen=True):
    """An agent as reported: the revision it has applied, and since when (epoch seconds) it is
    connected, or gone.
    """

    applied: int
    connected: bool
    since: float


class Report(msgspec.Struct, frozen=True):
    """What a control node tells the API, so that clients can wait for their changes."""

    control: str
    revision: int
    settled: int
    agents: dict[str, AgentReport]
    incarnation: str = ""


class ApiState(msgspec.Struct):
    """The connection to the API that is followed, for people; `since` is epoch seconds, `error`
    "" while well.
    """

    address: str
    connected: bool = False
    since: float = 0.0
    error: str = "not tried yet"


class _RelistError(FilamentError):
    """The stream cannot go on from the revision we have."""


async def follow(clients: Sequence[WatchClient], state: ApiState, follower: Follower) -> None:
    """Keep `follower` up to date by one of the API's processes, until cancelled; `state` tells how
    it goes.
    """
    waits: Iterator[float] = backoff(limit_s=LONGEST_WAIT_S)
    must_load = follower.revision is None
    watched_from: int | None = None  # where the last stream began
    fruitless = 0  # streams in a row that brought nothing
    older = 0  # configurations in a row that were older than ours
    mismatches = 0  # edits that were of other objects than ours
    chosen = 0
    while True:
        client = clients[chosen]
        try:
            if must_load:
                loaded = await client.load()
                if _is_behind(clients, loaded, follower) and older < OLDER_LOADS * len(clients):
                    older, must_load = older + 1, False
                    raise TransientError(f"the API at {client.address} is behind us")
                follower.take_configuration(loaded)
                must_load, fruitless, older = False, 0, 0
            await client.report(follower.report())
            if not state.connected:
                state.connected, state.since, state.error = True, wall(), ""
                _log.info("api-reached", address=state.address, revision=follower.revision)
            watched_from = follower.revision
            await _watch(client, follower, edits=mismatches < MOST_MISMATCHES)
        except MismatchError as error:
            mismatches += 1
            _log.error("relisting", reason=str(error))
            must_load = True
        except _RelistError as error:
            _log.warning("relisting", reason=str(error))
            must_load = True
        except FilamentError as error:
            if state.connected or state.error != str(error):
                _log.warning("api-lost", address=client.address, error=str(error))
                state.connected, state.since, state.error = False, wall(), str(error)
            chosen = (chosen + 1) % len(clients)
            state.address = clients[chosen].address
        if watched_from is not None:
            fruitless = fruitless + 1 if watched_from == follower.revision else 0
            if fruitless == FRUITLESS_STREAMS:
                # Something in the stream may be more than we can read; go round it.
                must_load, fruitless = True, 0
        if watched_from not in {None, follower.revision}:
            waits = backoff(limit_s=LONGEST_WAIT_S)
        watched_from = None
        await asyncio.sleep(next(waits))


def _is_behind(clients: Sequence[WatchClient], loaded: Loaded, follower: Follower) -> bool:
    """Of several API processes one may be behind for a moment; a single one was put back."""
    return len(clients) > 1 and loaded.revision < (follower.revision or 0)


async def _watch(client: WatchClient, follower: Follower, *, edits: bool) -> None:
    """Feed the stream to `follower`; ends only by raising."""
    find = follower.find if edits else None
    async for event in client.watch(follower.revision or 0, follower.incarnation, find):
        if isinstance(event, Relisted):
            raise _RelistError(f"the API cannot continue from revision {follower.revision}")
        expected = (follower.revision or 0) + 1
        if event.revision > expected:
            raise _RelistError(f"commit {event.revision} came instead of {expected}")
        if event.revision == expected:
            follower.take_commit(event)
