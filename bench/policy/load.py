"""The load generators (`bench/c/load.c`) at the two ends of a peer, each on a processor of its own.

Only the round trip has both ends on one: between two it is mostly the scheduler that is measured.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import Peer

from filament.testing.lab import namespaces

SOURCE = Path(__file__).parents[1] / "c" / "load.c"
UDP_PORT = 4096  # the first; all peers let PORTS of them in
TCP_PORT = 6144
PORTS = 64
_CONCURRENCY = 32
_TCP_PORTS = 16
_GRACE_S = 30
_REFUSED_SECONDS = 0.3
_HEARD_S = 60
_CALM_S = 0.25

Json = dict[str, Any]


def compiled(directory: Path) -> str:
    """Compile the generators; returns the program."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "load"
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the bench needs a C compiler; run `make setup-dev`")
    argv = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE)]
    subprocess.run(argv, check=True)
    return str(program)


def prepare(peer: Peer) -> None:
    """Let a client make more connections than one range of ports has, as a busy one would."""
    with namespaces.inside(peer.client):
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")
        Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")


class Watching:
    """What a stream of packets tells of being answered. On a busy machine answers stay away for a
    moment by themselves, so an end counts once no answer has followed it for a while.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._heard: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._process = process
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put(json.loads(line))

    def began_ns(self, after_ns: int) -> int:
        """When the first packet after `after_ns` that is answered was sent."""
        while (event := self._heard.get(timeout=_HEARD_S))["event"] != "found" or (
            event["sent_ns"] < after_ns
        ):
            pass
        return int(event["sent_ns"])

    def ended_ns(self) -> int:
        """When the last packet that is answered was sent, once there is an end of answers."""
        event: Json = {"event": ""}
        while True:
            try:
                wait_s = _CALM_S if event["event"] == "lost" else _HEARD_S
                event = self._heard.get(timeout=wait_s)
            except queue.Empty:
                if event["event"] != "lost":
                    raise
                return int(event["sent_ns"])


class Load:
    """The generators, compiled, for any peer.

    `least_share` is the smallest part of a processor that a sender of packets had: it never waits,
    so less than nearly all of it was somebody else's.
    """

    def __init__(self, program: str) -> None:
        self.least_share = 1.0
        self._program = program

    def packets(self, peer: Peer, flows: int, seconds: float) -> float:
        """64-byte datagrams a second that arrive, sent from one processor to another."""
        with self._server(peer, 1, "sink", UDP_PORT) as stop:
            sent = self._client(peer, 0, "blast", peer.address, UDP_PORT, flows, seconds)
            arrived = stop()
        self.least_share = min(self.least_share, sent["used_ns"] / sent["ns"])
        if arrived["packets"] < sent["sent"] // 10:
            raise RuntimeError(f"{peer.name}: of {sent} only {arrived} arrived")
        return float(arrived["packets"] / (sent["ns"] / 1e9))

    def trip_us(self, peer: Peer, flows: int, seconds: float) -> float:
        """Median round trip of 64-byte datagrams."""
        with self._server(peer, 0, "echo", UDP_PORT, 1):
            found = self._client(peer, 0, "trips", peer.address, UDP_PORT, flows, seconds)
        if not found["trips"]:
            raise RuntimeError(f"{peer.name}: nothing came back: {found}")
        return float(found["p50_us"])

    def is_refused(self, peer: Peer) -> bool:
        """Whether a port that no rule lets in stays closed: else no policy would be measured."""
        port = UDP_PORT + PORTS
        with self._server(peer, 1, "echo", port, 1):
            found = self._client(peer, 0, "trips", peer.address, port, 1, _REFUSED_SECONDS)
        return not found["trips"]

    def connections(self, peer: Peer, seconds: float) -> Json:
        """TCP connections that are opened, asked, answered and closed; `per_s`, `p99_us`."""
        with self._server(peer, 1, "serve", TCP_PORT, _TCP_PORTS):
            found = self._client(
                *(peer, 0, "connect", peer.address, TCP_PORT, _TCP_PORTS, _CONCURRENCY, seconds)
            )
        if found["failed"] > found["connections"] // 100:
            raise RuntimeError(f"{peer.name}: connections failed: {found}")
        return {**found, "per_s": found["connections"] / (found["ns"] / 1e9)}

    def fill(self, peer: Peer, ports: int, sources: int, seconds: float) -> Json:
        """Make flows that both ends speak in, for so long at most; `flows` says how many."""
        with self._server(peer, 1, "echo", UDP_PORT, ports):
            return self._client(peer, 0, "fill", peer.address, UDP_PORT, ports, sources, seconds)

    @contextlib.contextmanager
    def watching(self, peer: Peer, interval_us: int, lost_ms: int) -> Iterator[Watching]:
        """Send all the time, and hear when answers begin and when they end."""
        with self._server(peer, 1, "echo", UDP_PORT, 1):
            process = self._start(
                *(peer, peer.client, 0, "watch", peer.address, UDP_PORT, interval_us, lost_ms)
            )
            try:
                yield Watching(process)
            finally:
                process.terminate()
                process.wait(timeout=_GRACE_S)

    def _client(self, peer: Peer, cpu: int, *arguments: object) -> Json:
        client = peer.popen(peer.client, self._argv(cpu, arguments))
        text, _ = client.communicate(timeout=_GRACE_S * 4)
        if client.returncode:
            raise RuntimeError(f"{peer.name}: {arguments[0]} failed: {text.strip()}")
        return _last(text)

    @contextlib.contextmanager
    def _server(self, peer: Peer, cpu: int, *arguments: object) -> Iterator[Any]:
        """Run a server for the block; yields a function that ends it and returns what it says."""
        server = self._start(peer, peer.server, cpu, *arguments)
        try:
            yield lambda: _last(_end(server))
        finally:
            _end(server)

    def _start(
        self, peer: Peer, place: Path, cpu: int, *arguments: object
    ) -> subprocess.Popen[str]:
        process = peer.popen(place, self._argv(cpu, arguments))
        assert process.stdout is not None
        line = process.stdout.readline()
        if "ready" not in line:
            raise RuntimeError(f"{peer.name}: {arguments[0]} did not start: {line}")
        return process

    def _argv(self, cpu: int, arguments: tuple[object, ...]) -> list[str]:
        return ["taskset", "-c", str(cpu), self._program, *map(str, arguments)]


def _end(process: subprocess.Popen[str]) -> str:
    if process.poll() is None:
        process.terminate()
    if process.stdout is None or process.stdout.closed:
        return ""
    text, _ = process.communicate(timeout=_GRACE_S)
    return text


def _last(text: str) -> Json:
    found: Json = json.loads(text.splitlines()[-1])
    return found
