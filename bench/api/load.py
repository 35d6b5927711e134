"""A load generator that must not be the limit: raw sockets, kept open, several in flight.

A lane is one connection and a generator of requests: it yields one, is sent the answer, yields
the next. All lanes run in one thread over epoll; a request costs some 20 us of this process, and
every run says which share of a processor it took.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TIMEOUT_S = 60.0
_HEAD_END = b"\r\n\r\n"


class Ask(NamedTuple):
    """One request; `label` is what it is counted as."""

    label: str
    method: str
    target: str
    body: bytes = b""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    head: bytes
    body: bytes

    def value(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Lane = Generator[Ask, Reply, None]


def ask(label: str, method: str, target: str, value: object = None) -> Ask:
    """A request with a JSON body."""
    body = b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
    return Ask(label, method, target, body)


@dataclass
class Run:
    """What a run took: seconds per request by label, wall and own processor seconds."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    wall_s: float = 0.0
    client_s: float = 0.0

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return sum(map(len, self.latencies.values()))

    @property
    def client_share(self) -> float:
        """The generator's share of one processor."""
        return self.client_s / self.wall_s if self.wall_s else 0.0

    def add(self, other: Run) -> None:
        """Count another run in."""
        for label, values in other.latencies.items():
            self.latencies.setdefault(label, []).extend(values)
        self.wall_s += other.wall_s
        self.client_s += other.client_s


class Connection:
    """One kept connection to a unix socket or a TCP address (`host:port`)."""

    def __init__(self, address: str) -> None:
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self.socket = socket.create_connection((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def send(self, request: Ask) -> None:
        """Write a request."""
        length = f"Content-Length: {len(request.body)}\r\n" if request.body else ""
        head = (
            f"{request.method} {request.target} HTTP/1.1\r\nHost: api\r\n"
            f"Content-Type: application/json\r\n{length}\r\n"
        )
        self.socket.sendall(head.encode() + request.body)

    def receive(self) -> Reply | None:
        """Read what is there; the answer when it is whole."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise RuntimeError("the API closed a connection in the middle of an answer")
        self._received += piece
        end = self._received.find(_HEAD_END)
        if end < 0:
            return None
        head = bytes(self._received[:end])
        length = _length(head)
        whole = end + len(_HEAD_END) + length
        if len(self._received) < whole:
            return None
        body = bytes(self._received[end + len(_HEAD_END) : whole])
        del self._received[:whole]
        return Reply(int(head[9:12]), head, body)

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def run(connections: Sequence[Connection], lanes: Iterable[Lane]) -> Run:
    """Run each lane on a connection of its own until it ends; there may be fewer lanes."""
    result = Run()
    poller = select.epoll()
    active: dict[int, tuple[Connection, Lane, str, float]] = {}
    began, own = time.perf_counter(), time.process_time()
    for connection, lane in zip(connections, lanes, strict=False):
        first = next(lane, None)
        if first is None:
            continue
        poller.register(connection.socket, select.EPOLLIN)
        active[connection.socket.fileno()] = connection, lane, first.label, time.perf_counter()
        connection.send(first)
    while active:
        ready = poller.poll(TIMEOUT_S)
        if not ready:
            raise RuntimeError(f"no answer within {TIMEOUT_S:g} s")
        for number, _ in ready:
            connection, lane, label, since = active[number]
            reply = connection.receive()
            if reply is None:
                continue
            now = time.perf_counter()
            if reply.status != 200:
                text = reply.body.decode(errors="replace").strip()
                raise RuntimeError(f"{label} was answered {reply.status}: {text}")
            result.latencies.setdefault(label, []).append(now - since)
            try:
                following = lane.send(reply)
            except StopIteration:
                poller.unregister(number)
                del active[number]
                continue
            active[number] = connection, lane, following.label, time.perf_counter()
            connection.send(following)
    poller.close()
    result.wall_s = time.perf_counter() - began
    result.client_s = time.process_time() - own
    return result


def once(connection: Connection, request: Ask) -> Reply:
    """Ask one thing and wait for the answer."""
    replies: list[Reply] = []

    def lane() -> Lane:
        replies.append((yield request))

    run([connection], [lane()])
    return replies[0]


def _length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"content-length:")
    if start < 0:
        raise RuntimeError(f"an answer without length: {head.decode(errors='replace')}")
    end = lowered.find(b"\r\n", start)
    return int(lowered[start + 15 : end if end >= 0 else None])
