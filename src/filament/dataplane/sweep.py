"""Sweeps flows that have been idle for too long out of the kernel's table.

The programs take such rows for absent already, but only this makes room for others. Both count: the
programs what they enter, the sweeper what it takes out, per port; the difference is what a port's
limit is about.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from filament.dataplane import bpf
from filament.dataplane.maps import PinnedMaps
from filament.forward.layout import FLOW_IDLE_TCP_CLOSED_S
from filament.forward.policy import Flow
from filament.forward.tables import KEY_CODECS, VALUE_CODECS, Change

RawRow = tuple[bytes, bytes]
_SECOND_NS = 1_000_000_000
# Most rows are young: a look at one number tells, before the whole row is decoded.
_LAST_SEEN = struct.Struct("=Q")
_LAST_SEEN_AT = 8
_LEAST_IDLE_NS = FLOW_IDLE_TCP_CLOSED_S * _SECOND_NS


class Watch(NamedTuple):
    """Who hears of rows (key and value) that a sweep meets: those that it takes out, and those that
    stay and were seen after `since_ns` (None: none of them).
    """

    ended: Callable[[RawRow], None]
    active: Callable[[RawRow], None]
    since_ns: int | None = None


def sweep(maps: PinnedMaps, now_ns: int, watch: Watch | None = None) -> int:
    """Delete idle flows; returns how many. `now_ns` is the kernel's monotonic clock.

    Takes a second per million rows; call it beside the tasks that packets wait for. One at a time.
    """
    swept: Counter[int] = Counter()
    descriptor = maps.descriptor("flows")
    for vif, key, value in _idle(descriptor, now_ns, watch):
        # One by one: only so is it known which were still there.
        if bpf.delete(descriptor, key):
            swept[vif] += 1
            if watch is not None:
                watch.ended((key, value))
    changes = []
    for vif, count in swept.items():
        before = maps.read("flows_swept", (vif,)) or (0,)
        changes.append(Change("flows_swept", (vif,), (before[0] + count,)))
    maps.write(changes)
    return swept.total()


def _idle(descriptor: int, now_ns: int, watch: Watch | None) -> Iterator[tuple[int, bytes, bytes]]:
    key_codec, value_codec = KEY_CODECS["flows"], VALUE_CODECS["flows"]
    since_ns = watch.since_ns if watch is not None else None
    for key, value in bpf.items(descriptor):
        (last_seen_ns,) = _LAST_SEEN.unpack_from(value, _LAST_SEEN_AT)
        if now_ns - last_seen_ns > _LEAST_IDLE_NS:
            vif, *_, protocol = key_codec.decode(key)
            if Flow(*value_codec.decode(value)).is_idle(protocol, now_ns):
                yield vif, key, value
                continue
        if watch is not None and since_ns is not None and last_seen_ns > since_ns:
            watch.active((key, value))
