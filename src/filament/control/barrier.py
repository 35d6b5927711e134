"""When a revision is settled: every connected agent shows it, and what they said because of it.

Two rounds per revision. Round one ends when every agent has acknowledged the Sync that covers the
revision's output; agents publish routes before they acknowledge, so round two, over the output
that those caused, ends with every consequence applied everywhere. A lost agent is not waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

MAX_OPEN_ROUNDS = 16  # more revisions than this in flight are settled together


class _Round:
    """Waiting for agents to acknowledge up to a sequence each."""

    __slots__ = ("is_second", "revision", "waiting")

    def __init__(self, revision: int, waiting: dict[str, int]) -> None:
        self.revision = revision
        self.waiting = waiting
        self.is_second = False


class Barrier:
    """The rounds in flight, oldest first. `settled` only grows, but for `restart`."""

    def __init__(self) -> None:
        self.settled = 0
        self._started = 0
        self._rounds: deque[_Round] = deque()

    def restart(self) -> None:
        """Forget everything: the configuration was loaded anew."""
        self.settled = self._started = 0
        self._rounds.clear()

    def advance(self, revision: int, outstanding: Mapping[str, int]) -> None:
        """Take note that everything up to `revision` has been sent, and settle what can be.

        `outstanding` maps agents to the last sequence sent to them, where they have yet to
        acknowledge it. Call after each flush.
        """
        if revision > self._started:
            self._started = revision
            if len(self._rounds) == MAX_OPEN_ROUNDS:
                self._rounds.pop()
            self._rounds.append(_Round(revision, dict(outstanding)))
        for each in self._rounds:
            if not each.waiting and not each.is_second:
                each.is_second = True
                each.waiting = dict(outstanding)
        while self._rounds and self._rounds[0].is_second and not self._rounds[0].waiting:
            self.settled = self._rounds.popleft().revision

    def acknowledged(self, agent: str, sequence: int) -> None:
        """An agent acknowledged everything up to `sequence`."""
        for each in self._rounds:
            if each.waiting.get(agent, sequence + 1) <= sequence:
                del each.waiting[agent]

    def lost(self, agent: str) -> None:
        """An agent is gone; nobody waits for it."""
        for each in self._rounds:
            each.waiting.pop(agent, None)

    @property
    def is_waiting(self) -> bool:
        """Say whether some revision is not settled yet."""
        return bool(self._rounds)
