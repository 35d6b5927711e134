"""The only adapter between sans-IO machines and asyncio streams.

The driver reads, runs timers and writes; its owner hears events and, after changing the machine,
calls `flush`. Output is bounded: a peer that does not read is dropped, others are not delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

from filament.base.limits import MAX_OUTPUT_QUEUE_BYTES
from filament.base.machine import Machine
from filament.runtime.clock import now

EventT = TypeVar("EventT")
_READ_BYTES = 65536
_LINGER_S = 1.0


class Turnstile:
    """Lets work into the event loop in portions, so that timers between are late by one at most.

    When a thousand peers have said something, all of them are ready in one turn of the loop, and
    keepalives would be due long before it ends. Shared by all who do such work; nobody is let in
    while `is_shut` says so: what came in before has to be worked off first.
    """

    def __init__(
        self, portion_s: float = 0.05, is_shut: Callable[[], bool] = lambda: False
    ) -> None:
        self._portion_s = portion_s
        self._is_shut = is_shut
        self._began: float | None = None
        self._waiting = 0

    @property
    def is_crowded(self) -> bool:
        """Whether work waits for the next turns of the loop."""
        return self._waiting > 0

    async def enter(self) -> None:
        """Return when there is room in this turn of the loop; at once, as a rule."""
        self._waiting += 1
        try:
            # The next turn of the loop is what is waited for: there is no event to tell.
            while self._is_shut() or (  # noqa: ASYNC110
                self._began is not None and now() - self._began > self._portion_s
            ):
                await asyncio.sleep(0)
        finally:
            self._waiting -= 1
        if self._began is None:
            self._began = now()
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._began = None


class Driver(Generic[EventT]):
    """Runs one machine over one stream until either side closes.

    `on_event` is called synchronously for every event, in order; it may change the machine (the
    driver flushes afterwards) but must not await. `overflowed` says that the peer was dropped
    because it did not read.
    """

    def __init__(
        self,
        machine: Machine[EventT],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: Callable[[EventT], None],
        *,
        max_queue_bytes: int = MAX_OUTPUT_QUEUE_BYTES,
        turnstile: Turnstile | None = None,
    ) -> None:
        self._turnstile = turnstile
        self.machine = machine
        self.overflowed = False
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._max_queue_bytes = max_queue_bytes
        self._timer: asyncio.TimerHandle | None = None
        self._parting: asyncio.TimerHandle | None = None
        self._stepping = False

    async def run(self) -> None:
        """Drive the machine until the conversation is over; never raises for the peer's faults."""
        try:
            self.flush()
            while not self.machine.closed:
                data = await self._read()
                if self._turnstile is not None:
                    await self._turnstile.enter()
                self.machine.receive_data(data, now())
                self.flush()
                if not data:
                    break
            while not self._writer.is_closing() and await self._read():
                pass  # see _part
        finally:
            for timer in (self._timer, self._parting):
                if timer is not None:
                    timer.cancel()
            if self.overflowed:
                self._writer.transport.abort()
            self._writer.close()
            try:
                async with asyncio.timeout(1.0):
                    await self._writer.wait_closed()
            except (OSError, TimeoutError):
                self._writer.transport.abort()

    def flush(self) -> None:
        """Deliver pending events, write pending bytes and re-arm the timer."""
        if self._stepping:  # on_event changed the machine: the loop below is still running
            return
        self._stepping = True
        try:
            while (event := self.machine.next_event()) is not None:
                self._on_event(event)
            output = self.machine.data_to_send(now())
            if output:
                self._writer.write(b"".join(output))
        finally:
            self._stepping = False
        if self.backlog_bytes > self._max_queue_bytes:
            self.overflowed = True
            self._writer.transport.abort()
        elif self.machine.closed:
            self._part()
        self._arm()

    @property
    def backlog_bytes(self) -> int:
        """What is written and has not reached the kernel yet."""
        return self._writer.transport.get_write_buffer_size()

    async def drained(self) -> None:
        """Wait until the peer has read most of what is written, or is gone."""
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    def _part(self) -> None:
        """End our side after what is queued, and give the peer a moment to end its own.

        What it still sends meanwhile is read and thrown away: closing with unread input resets
        the connection, and the reset would overtake our last words, which say why we close.
        """
        if self._parting is None and not self._writer.is_closing():
            self._parting = asyncio.get_running_loop().call_later(_LINGER_S, self._writer.close)
            # TLS ends only in both directions at once; the connection may have broken meanwhile.
            with contextlib.suppress(OSError):
                if self._writer.can_write_eof():
                    self._writer.write_eof()

    def _arm(self) -> None:
        at = None if self.machine.closed else self.machine.timer_at()
        if self._timer is not None:
            if at is not None and self._timer.when() <= at:
                return  # it comes early, finds nothing due and is set again: once, not per flush
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at, self._run_timer)

    def _run_timer(self) -> None:
        self._timer = None
        self.machine.handle_timer(now())
        self.flush()
