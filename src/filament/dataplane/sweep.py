"""Sweeps flows that have been idle for too long out of the kernel's table.

The programs take such rows for absent already, but only this makes room for others. Both count: the
programs what they enter, the sweeper what it takes out, per port; the difference is what a port's
limit is about.

A table that is nearly full is pressed: somebody floods or scans. Then flows that nobody answered,
those that may not pass, and TCP that did not get beyond its handshake or is over, go after seconds.
Connections that both ends speak in are left alone: they survive, and new ones find room again with
the next sweep.
"""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from filament.dataplane import bpf
from filament.dataplane.maps import PinnedMaps
from filament.forward.flows import Flow, FlowKey, idle_s
from filament.forward.layout import (
    ACL_PASS,
    FLOW_IDLE_PRESSED_S,
    FLOW_IDLE_TCP_S,
    FLOWS_PRESSED,
)
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change, Key
from filament.wire.packet.ipv4 import TCP

RawRow = tuple[bytes, bytes]
_SECOND_NS = 1_000_000_000
# A table may have a million rows: what decides is read from their bytes, and is a kind's.
_LAST_SEEN = struct.Struct("=Q")
_LAST_SEEN_AT = 8
_PACKETS = struct.Struct("=Q8xQ")  # out and in
_PACKETS_AT = 16
_VIF = struct.Struct("=I")  # where keys begin
_STATE = slice(-4, None)  # of a row: action, flags, TCP flags; of a key: protocol, what is left out
_ROWS_AT_ONCE = 1024  # deleted by one call
_LEAST_IDLE_NS = FLOW_IDLE_PRESSED_S * _SECOND_NS


class Watch(NamedTuple):
    """Who hears of rows (key and value) that a sweep meets: those that it takes out, and those that
    stay and were seen after `since_ns` (None: none of them).
    """

    ended: Callable[[RawRow], None]
    active: Callable[[RawRow], None]
    since_ns: int | None = None


class _Kind(NamedTuple):
    """What all flows of one protocol and state have in common: how long they may be idle, and
    whether they are left alone in a pressed table once both ends have spoken: of TCP those where
    the one who began has answered the other, and nobody has ended it.
    """

    idle_ns: int
    may_stay: bool


def _kind_of(key: bytes, value: bytes) -> _Kind:
    protocol = FlowKey(*KEY_CODECS["flows"].decode(key)).protocol
    flow = Flow(*VALUE_CODECS["flows"].decode(value))
    idle = idle_s(flow, protocol)
    may_stay = flow.action == ACL_PASS and (protocol != TCP or idle == FLOW_IDLE_TCP_S)
    return _Kind(idle * _SECOND_NS, may_stay)


class Sweeper:
    """One per agent; owned by whoever calls it, one sweep at a time.

    `held` is how many flows the last sweep or `look` found, of at most `limit`.
    """

    def __init__(self, maps: PinnedMaps, limit: int | None = None) -> None:
        self.limit = maps.capacity("flows") if limit is None else limit
        self.held = 0
        self._met = 0
        self._maps = maps
        self._counting = threading.Lock()

    @property
    def is_pressed(self) -> bool:
        """Whether the table is nearly full."""
        return self.held >= self.limit * FLOWS_PRESSED

    def look(self, vifs: Iterable[int]) -> int:
        """Count the flows of ports without walking the table; returns and remembers `held`."""
        self.held = sum(
            self._read("flows_entered", vif) - self._read("flows_swept", vif) for vif in vifs
        )
        return self.held

    def sweep(self, now_ns: int, watch: Watch | None = None) -> int:
        """Delete idle flows; returns how many. `now_ns` is the kernel's monotonic clock.

        Takes a second or two per million rows, twice if the table is found to be pressed only now;
        call it beside the tasks that packets wait for.
        """
        was_pressed = self.is_pressed
        count = self._sweep(now_ns, watch, is_pressed=was_pressed)
        if self.is_pressed and not was_pressed:
            # Those that stay have been told of.
            ended = watch._replace(since_ns=None) if watch is not None else None
            count += self._sweep(now_ns, ended, is_pressed=True)
        return count

    def _sweep(self, now_ns: int, watch: Watch | None, *, is_pressed: bool) -> int:
        swept: Counter[int] = Counter()
        descriptor = self._maps.descriptor("flows")
        self._met = 0  # and left
        idle = self._idle(descriptor, now_ns, watch, is_pressed=is_pressed)
        while rows := list(islice(idle, _ROWS_AT_ONCE)):
            absent = bpf.delete_all(descriptor, [key for key, _ in rows])
            self._met -= len(rows)
            for row in rows:
                # Only what was there is ours to count.
                if row[0] not in absent:
                    swept[_VIF.unpack_from(row[0])[0]] += 1
                    if watch is not None:
                        watch.ended(row)
        self._count(swept)
        # At once: others look at it while the table is walked.
        self.held = self._met
        return swept.total()

    def take_out(self, keys: Iterable[Key], vifs: Container[int]) -> None:
        """Delete flows whatever they say, also while a sweep goes on in another thread. Those of
        ports that are not among `vifs` are counted nowhere: they are in nobody's limit.
        """
        codec, descriptor = KEY_CODECS["flows"], self._maps.descriptor("flows")
        gone = [key[0] for key in keys if bpf.delete(descriptor, codec.encode(key))]
        self._count(Counter(vif for vif in gone if vif in vifs))

    def _count(self, swept: Counter[int]) -> None:
        with self._counting:
            changes = []
            for vif, count in swept.items():
                count += self._read("flows_swept", vif)
                changes.append(Change("flows_swept", (vif,), (count,)))
            self._maps.write(changes)

    def _read(self, counter: str, vif: int) -> int:
        return (self._maps.read(counter, (vif,)) or (0,))[0]

    def _idle(
        self, descriptor: int, now_ns: int, watch: Watch | None, *, is_pressed: bool
    ) -> Iterator[RawRow]:
        since_ns = watch.since_ns if watch is not None else None
        kinds: dict[tuple[bytes, bytes], _Kind] = {}
        for key, value in bpf.items(descriptor):
            self._met += 1
            (last_seen_ns,) = _LAST_SEEN.unpack_from(value, _LAST_SEEN_AT)
            idle_ns = now_ns - last_seen_ns
            if idle_ns > _LEAST_IDLE_NS:
                name = key[_STATE], value[_STATE]
                kind = kinds.get(name)
                if kind is None:
                    kind = kinds[name] = _kind_of(key, value)
                if idle_ns > kind.idle_ns or (
                    is_pressed
                    and not (kind.may_stay and all(_PACKETS.unpack_from(value, _PACKETS_AT)))
                ):
                    yield key, value
                    continue
            if watch is not None and since_ns is not None and last_seen_ns > since_ns:
                watch.active((key, value))
