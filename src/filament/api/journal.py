"""The change stream: recent commits in memory, older ones from the store, and who waits for more.

A watcher has a cursor, not a queue: a slow one costs nothing here, and is told to list again once
the commits it needs are no longer kept. Where many watch they are woken less often and told of
several commits at once: a thousand writes a second must not mean a million deliveries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from filament.model.change import Commit, Object
from filament.model.edit import terse

RECENT_COMMITS = 1000  # kept in memory, encoded; the store's log goes further back

MAX_EVENT_BYTES = 4_000_000  # a larger commit (a restore) is cheaper to list than to follow
RELIST = b"event: relist\ndata: {}\n\n"

# Between two wakings, per watcher: about twice what it takes to tell one, so that watching leaves
# half of the time to others. Nobody waits for this after a quiet moment.
PAUSE_S = 0.0001

_encode = msgspec.json.Encoder().encode


_NO_BASES: Mapping[str, Object] = {}


class _Recent:
    """One commit: as an event, and as one with edits. What takes long is encoded when asked for."""

    def __init__(self, commit: Commit, body: bytes | None, bases: Mapping[str, Object]) -> None:
        self.commit = commit
        self._bases = bases
        self._event = _event(commit, body) if body is not None and not bases else None
        self._terse: bytes | None = None

    def event(self, *, edits: bool) -> bytes:
        if edits and self._bases:
            if self._terse is None:
                self._terse = _event(self.commit, _encode(terse(self.commit, self._bases)))
            return self._terse
        if self._event is None:
            self._event = event_of(self.commit)
        return self._event


class Journal:
    """Encoded commits from `first` to `last`. One per API process."""

    def __init__(self, revision: int) -> None:
        """Start after `revision`: nothing in memory yet."""
        self.last = revision
        self.is_closed = False
        self._recent: deque[_Recent] = deque(maxlen=RECENT_COMMITS)
        self._news = asyncio.Event()
        self._waiting = 0
        self._woken_at = 0.0
        self._later: asyncio.TimerHandle | None = None

    @property
    def first(self) -> int:
        """The oldest revision in memory (`last` + 1 when there is none)."""
        return self.last - len(self._recent) + 1

    def publish(
        self,
        commits: Sequence[Commit],
        bodies: Sequence[bytes] = (),
        bases: Sequence[Mapping[str, Object]] = (),
    ) -> None:
        """Add stored commits (`bodies` is their JSON, if there is; `bases` the objects before each
        that it may be told against) and wake those who wait.
        """
        for index, commit in enumerate(commits):
            body = bodies[index] if bodies else None
            self._recent.append(_Recent(commit, body, bases[index] if bases else _NO_BASES))
            self.last = commit.revision
        if not self._waiting or self._later is not None:
            return
        loop = asyncio.get_running_loop()
        pause_s = self._woken_at + self._waiting * PAUSE_S - loop.time()
        if pause_s > 0:
            self._later = loop.call_later(pause_s, self._wake)
        else:
            self._wake()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.is_closed = True
        self._wake()

    def after(self, revision: int, limit: int, *, edits: bool = False) -> list[bytes]:
        """Up to `limit` events of revisions above `revision`, which must be at least first - 1."""
        start = revision - self.first + 1
        assert start >= 0, (revision, self.first)
        end = min(start + limit, self._length)
        return [self._recent[index].event(edits=edits) for index in range(start, end)]

    async def changed(self, revision: int, timeout_s: float) -> bool:
        """Wait until there is something after `revision`; False when time is up or we close."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.last <= revision and not self.is_closed:
                    self._waiting += 1
                    try:
                        await self._news.wait()
                    finally:
                        self._waiting -= 1
        except TimeoutError:
            return False
        return self.last > revision

    @property
    def _length(self) -> int:
        return len(self._recent)

    def _wake(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._waiting:
            self._woken_at = asyncio.get_running_loop().time()
        news, self._news = self._news, asyncio.Event()
        news.set()


def event_of(commit: Commit) -> bytes:
    """A commit as one server-sent event; RELIST when it is too large to be one."""
    return _event(commit, _encode(commit))


def _event(commit: Commit, body: bytes) -> bytes:
    if len(body) > MAX_EVENT_BYTES:
        return RELIST
    return b"id: %d\nevent: commit\ndata: %b\n\n" % (commit.revision, body)
