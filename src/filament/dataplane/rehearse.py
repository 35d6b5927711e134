"""Runs packets through the programs without sending them, and without leaving a trace of them.

The same object is loaded once more: it reads the very rows that the attached programs read, and has
flows, counters, drops and samples of its own, which end with it. What it says of a packet is what
the attached programs say of one whose flow they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from filament.dataplane import bpf
from filament.dataplane.load import OBJECT, PROGRAMS, Apart, load_apart
from filament.dataplane.maps import clear_row, possible_cpus, read_row
from filament.forward.layout import DropReason, Verdict

_DECISION = (0,)
_UNDECIDED = (0, 0, 0, 0)
_REASONS = {reason.value: reason for reason in DropReason}


class Packet(NamedTuple):
    """A frame as it comes in at a device, and which program takes it there."""

    program: str
    ifindex: int
    frame: bytes


class Ruling(NamedTuple):
    """What the programs did with a packet; `ifindex` and `frame` are of what would leave."""

    verdict: Verdict
    reason: DropReason
    next_hop: int
    ifindex: int
    frame: bytes


class Rehearsal(NamedTuple):
    """What became of packets, and the tags of the programs that said so: equal tags are equal
    instructions.
    """

    rulings: list[Ruling]
    tags: Mapping[str, str]


def rehearse(directory: Path, packets: Iterable[Packet], *, path: Path = OBJECT) -> Rehearsal:
    """Run packets in order, later ones in the flows that earlier ones began.

    `directory` holds the pinned maps. Runs in the network namespace of the calling thread. Raises
    `PermanentError` when the object is not that of the maps, and for a device that is not there.
    """
    with load_apart(directory, path=path) as apart:
        tags = {name: bpf.program(apart.programs[name]).tag for name in PROGRAMS}
        return Rehearsal([_run(apart, packet) for packet in packets], tags)


def _run(apart: Apart, packet: Packet) -> Ruling:
    decisions, cpus = apart.maps["decisions"], possible_cpus()
    clear_row(decisions, "decisions", _DECISION, cpus)
    program = apart.programs[packet.program]
    ran = bpf.run(program, packet.frame, ifindex=packet.ifindex)
    decided = read_row(decisions, "decisions", _DECISION, cpus)
    verdict, reason, next_hop, ifindex = decided or _UNDECIDED
    frame = ran.frame if verdict == Verdict.REDIRECT else b""
    return Ruling(Verdict(verdict), _REASONS[reason], next_hop, ifindex, frame)
