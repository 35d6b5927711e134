"""Reads samples of packets out of the kernel's ring (BPF_MAP_TYPE_RINGBUF).

The ring is two counters and its bytes, mapped into memory: whoever writes moves the producer's, we
move the consumer's. One reader at a time. When nobody reads, the ring is full and the kernel goes
on counting without showing.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple, Self

from filament.dataplane import bpf
from filament.forward.layout import (
    SAMPLE,
    SAMPLE_HEAD_BYTES,
    SAMPLES,
    SAMPLES_BYTES,
)
from filament.forward.tables import Codec

_PAGE = mmap.PAGESIZE
_COUNTER = struct.Struct("=Q")
_HEADER = struct.Struct("=II")  # length with two flags, offset of the page
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_CODEC = Codec(SAMPLE)
_MOST_AT_ONCE = 1024


class Sample(NamedTuple):
    """A packet: when (the kernel's monotonic clock), at which port, in which VRF, from which
    device, why it was dropped (0: it is the first of a flow that passes), its length in bytes, and
    the start of its frame.
    """

    at_ns: int
    vif: int
    vrf: int
    ifindex: int
    reason: int
    length: int
    head: bytes


class SampleRing:
    """The ring pinned in a directory, until `close`."""

    def __init__(self, directory: Path) -> None:
        descriptor = bpf.open_pinned(directory / SAMPLES)
        try:
            self._consumer = mmap.mmap(descriptor, _PAGE)
            # The bytes are mapped twice in a row, so that no record is cut in two.
            size = _PAGE + 2 * SAMPLES_BYTES
            self._ring = mmap.mmap(descriptor, size, prot=mmap.PROT_READ, offset=_PAGE)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unmap the ring, which stays pinned."""
        self._consumer.close()
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> list[Sample]:
        """Take the samples that are there, at most a thousand at once, oldest first."""
        (at,) = _COUNTER.unpack_from(self._consumer, 0)
        samples: list[Sample] = []
        while len(samples) < _MOST_AT_ONCE:
            (end,) = _COUNTER.unpack_from(self._ring, 0)
            if at >= end:
                break
            start = _PAGE + at % SAMPLES_BYTES
            length, _ = _HEADER.unpack_from(self._ring, start)
            if length & _BUSY:
                break  # it is being written
            start += _HEADER.size
            if not length & _DISCARDED:
                samples.append(self._sample(start))
            size = (length & ~(_BUSY | _DISCARDED)) + _HEADER.size
            at += -(-size // 8) * 8
            _COUNTER.pack_into(self._consumer, 0, at)
        return samples

    def _sample(self, start: int) -> Sample:
        head = start + _CODEC.size_bytes
        at_ns, vif, vrf, ifindex, reason, length, captured = _CODEC.decode(self._ring[start:head])
        shown = self._ring[head : head + min(captured, SAMPLE_HEAD_BYTES)]
        return Sample(at_ns, vif, vrf, ifindex, reason, length, shown)
