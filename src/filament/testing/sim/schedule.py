"""Virtual time: events in order of their time, then of their making. Seeded, hence repeatable."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable


class Schedule:
    """The one clock and event queue of a simulation.

    `now` is virtual seconds. Two runs with one seed do the same things at the same instants.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` once, `delay_s` from now."""
        self._made += 1
        heapq.heappush(self._events, (self.now + delay_s, self._made, action))

    def run(self, duration_s: float) -> None:
        """Let `duration_s` of virtual time pass."""
        end = self.now + duration_s
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> None:
        """Let time pass until `condition` holds; fail after `limit_s` virtual seconds."""
        end = self.now + limit_s
        while not condition():
            if not self._events or self._events[0][0] > end:
                raise AssertionError(f"not reached within {limit_s} virtual seconds")
            self.now, _, action = heapq.heappop(self._events)
            action()
