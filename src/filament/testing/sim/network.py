"""Connections between simulated processes: bytes with delay, resets and partitions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from filament.testing.sim.schedule import Schedule

Received = Callable[[bytes], None]


class Pipe:
    """One direction of a connection: bytes arrive in order, late, and not while `held`.

    A partition holds bytes as TCP would (they are sent again until it heals); a reset loses what
    is under way. b"" tells the receiver that the connection ended.
    """

    def __init__(
        self, schedule: Schedule, delay_s: tuple[float, float], received: Received
    ) -> None:
        self._schedule = schedule
        self._delay_s = delay_s
        self._received = received
        self._waiting: deque[bytes] = deque()
        self._arrives_at = 0.0
        self.is_held = False
        self.is_open = True

    def send(self, data: bytes) -> None:
        """Queue bytes towards the receiver."""
        if self.is_open:
            self._waiting.append(data)
            self._plan_arrival()

    def hold(self, *, held: bool) -> None:
        """Start or end a partition."""
        self.is_held = held
        if not held:
            for _ in self._waiting:
                self._plan_arrival()

    def reset(self) -> None:
        """End the connection now; bytes under way are lost."""
        if self.is_open:
            self.is_open = False
            self._waiting.clear()
            self._received(b"")

    def _plan_arrival(self) -> None:
        wait_s = self._schedule.random.uniform(*self._delay_s)
        # Never before what was sent earlier: a stream keeps its order.
        self._arrives_at = max(self._arrives_at, self._schedule.now + wait_s)
        self._schedule.after(self._arrives_at - self._schedule.now, self._arrive)

    def _arrive(self) -> None:
        if self.is_open and not self.is_held and self._waiting:
            data = self._waiting.popleft()
            self._received(data)


class Connection:
    """Two pipes between two endpoints, `a` and `b`, with one fate."""

    def __init__(
        self,
        schedule: Schedule,
        delay_s: tuple[float, float],
        a_received: Received,
        b_received: Received,
    ) -> None:
        self.to_a = Pipe(schedule, delay_s, a_received)
        self.to_b = Pipe(schedule, delay_s, b_received)

    def hold(self, *, held: bool) -> None:
        """Partition or heal both directions."""
        self.to_a.hold(held=held)
        self.to_b.hold(held=held)

    def reset(self) -> None:
        """End both directions; each endpoint hears an end."""
        self.to_a.reset()
        self.to_b.reset()
