"""Why an instance routes a key the way it does, in words."""

from __future__ import annotations

import msgspec

from filament.rib.bestpath import compare, infeasible_reason
from filament.rib.keys import RouteKey
from filament.rib.path import Path


class Candidate(msgspec.Struct, frozen=True):
    """One path to a key and its fate. `via` is the target it was imported by, "" for an own one."""

    path: Path
    via: str
    chosen: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """Everything about a key of an instance; candidates best first."""

    instance: str
    key: RouteKey
    candidates: tuple[Candidate, ...]


def reason_of(path: Path, chosen: tuple[Path, ...]) -> str:
    """Say why a path was chosen, or not; `chosen` are those that were, the best first."""
    if path in chosen:
        if len(chosen) > 1:
            return f"one of {len(chosen)} paths of equal cost"
        return "best"
    if not chosen or infeasible_reason(path):
        return f"not usable: {infeasible_reason(path)}"
    lost = compare(path, chosen[0])
    if lost:
        return lost
    # Of equal cost and yet not chosen: the same way, told by somebody else.
    twin = next(
        each for each in chosen if (each.next_hop, each.label) == (path.next_hop, path.label)
    )
    return f"the same next hop and label as the path from {twin.peer}"
