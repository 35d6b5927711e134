"""A thousand watchers: each hears of every commit, once, in order, and how soon."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable

from bench.api.load import TIMEOUT_S, Ask, Connection

_ID = re.compile(rb"(?m)^id: (\d+)$")


class Watchers:
    """Open change streams in this process, read by epoll."""

    def __init__(self, connect: Callable[[], Connection], count: int, after: int) -> None:
        self._poller = select.epoll()
        self._by_number: dict[int, Connection] = {}
        self._next: dict[int, int] = {}
        self._begun: dict[int, bytes] = {}
        self.wrong = 0  # commits that came out of order, twice, or after a gap
        request = Ask("watch", "GET", f"/watch?after={after}")
        for _ in range(count):
            connection = connect()
            number = connection.socket.fileno()
            self._by_number[number] = connection
            self._next[number] = after + 1
            self._begun[number] = b""
            self._poller.register(connection.socket, select.EPOLLIN)
            connection.send(request)

    def read_until(self, revision: int) -> list[float]:
        """Read until every watcher has heard of `revision`; when each had, in perf_counter time."""
        heard: list[float] = []
        lacking = {number for number, at in self._next.items() if at <= revision}
        deadline = time.monotonic() + TIMEOUT_S
        while lacking:
            for number, _ in self._poller.poll(1.0):
                self._read(number)
                if number in lacking and self._next[number] > revision:
                    lacking.discard(number)
                    heard.append(time.perf_counter())
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(lacking)} watchers have not heard of {revision}")
        return heard

    def _read(self, number: int) -> None:
        piece = self._by_number[number].socket.recv(1 << 18)
        if not piece:
            raise RuntimeError("a watcher was dropped")
        *lines, self._begun[number] = (self._begun[number] + piece).rsplit(b"\n", 1)
        for found in _ID.findall(lines[0]) if lines else ():
            if int(found) != self._next[number]:
                self.wrong += 1
            self._next[number] = int(found) + 1

    def close(self) -> None:
        """Hang up."""
        self._poller.close()
        for connection in self._by_number.values():
            connection.close()
