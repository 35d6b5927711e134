"""What a control node keeps on disk: the last configuration, and the agents it knows.

Three files, each replaced by renaming a whole new one over it, so that a kill at any instant leaves
the old or the new. They survive the process, not the machine: nothing is synced to the platter,
because after a power loss the agents' state is gone as well.

- The configuration lets the node restart while the API is away. Written by a thread, at most every
  `MIN_INTERVAL_S`, and less often the longer it takes: missing commits are watched for again.
- The names of agents and of BGP peers with a session say whom to await after a restart
  (`control.absence`). Written at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from filament.client.watch import Loaded
from filament.runtime import heap
from filament.runtime.clock import now
from filament.runtime.log import logger

MIN_INTERVAL_S = 1.0
_DUTY = 20  # writing takes at most 1/20 of the time

T = TypeVar("T")

_log = logger("control")
_loaded = msgspec.json.Decoder(Loaded)
_names = msgspec.json.Decoder(list[str])


class DiskCopy:
    """The three files of one control node; `path` is the configuration's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._agents_path = path.with_name(f"{path.stem}-agents{path.suffix}")
        self._changed = asyncio.Event()
        self._peers_path = path.with_name(f"{path.stem}-peers{path.suffix}")
        self._agents: list[str] | None = None
        self._peers: list[str] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def read_configuration(self) -> Loaded | None:
        """Return the configuration of an earlier process; None when there is no usable one."""
        return _read(self._path, _loaded)

    def read_agents(self) -> list[str] | None:
        """Return the agents an earlier process knew; None when there is no usable record."""
        return _read(self._agents_path, _names)

    def write_agents(self, agents: list[str]) -> None:
        """Keep the agents' names, unless they are the ones kept already."""
        if agents != self._agents:
            _replace(self._agents_path, msgspec.json.encode(agents))
            self._agents = agents

    def read_peers(self) -> list[str]:
        """Return the BGP peers an earlier process had sessions with."""
        return _read(self._peers_path, _names) or []

    def write_peers(self, peers: list[str]) -> None:
        """Keep the names of BGP peers, unless they are the ones kept already."""
        if peers != self._peers:
            _replace(self._peers_path, msgspec.json.encode(peers))
            self._peers = peers

    def note_change(self) -> None:
        """The configuration has changed since it was written."""
        self._changed.set()

    async def keep(self, current: Callable[[], Loaded]) -> None:
        """Write `current()` whenever it has changed, until cancelled; then once more."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                loaded, began = current(), now()
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, loaded))
                try:
                    await asyncio.shield(writing)
                finally:
                    await writing  # a thread cannot be cancelled; two must not write at once
                heap.settle()  # what is on disk has come to stay
                await asyncio.sleep(max(MIN_INTERVAL_S, _DUTY * (now() - began)))
        finally:
            if self._changed.is_set():
                self._write(current())

    def _write(self, loaded: Loaded) -> None:
        _replace(self._path, msgspec.json.encode(loaded))


def _replace(path: Path, content: bytes) -> None:
    """Replace a file; one that cannot be written costs a slower restart, not this process."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        _log.warning("copy-not-written", path=str(path), error=str(error))


def _read(path: Path, decoder: msgspec.json.Decoder[T]) -> T | None:
    try:
        return decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("copy-unusable", path=str(path), error=str(error))
        return None
