"""Path selection: TF's order (BgpPath::PathCompare) as far as it applies to paths of agents.

Feasible first, higher local preference, higher mobility sequence, not stale: paths equal so far
share the load. The first of them, which gives the route its attributes, is the one with the lowest
next hop, then peer, then source instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from filament.rib.path import KNOWN_ENCAPSULATIONS, Path, Selection


def infeasible_reason(path: Path) -> str:
    """Say why a path cannot carry a packet; "" when it can."""
    if path.encapsulations and KNOWN_ENCAPSULATIONS.isdisjoint(path.encapsulations):
        return f"none of its encapsulations is known: {', '.join(path.encapsulations)}"
    if path.label == 0:
        return "it has no label"
    return ""


class Criterion(NamedTuple):
    """One step of the comparison: the lower `key` wins; `show` gives it as people read it."""

    name: str
    key: Callable[[Path], object]
    show: Callable[[Path], str]


# Equal in all of these: equal cost.
COST = (
    Criterion(
        "feasibility",
        lambda path: bool(infeasible_reason(path)),
        lambda path: infeasible_reason(path) or "feasible",
    ),
    Criterion(
        "local preference",
        lambda path: -path.local_preference,
        lambda path: str(path.local_preference),
    ),
    Criterion("mobility sequence", lambda path: -path.sequence, lambda path: str(path.sequence)),
    Criterion(
        "freshness",
        lambda path: path.stale,
        lambda path: f"{path.peer} is away" if path.stale else f"{path.peer} is connected",
    ),
)


def cost_of(path: Path) -> tuple[bool, int, int, bool]:
    """Return what must be equal for two paths to share the load; lower is better."""
    return bool(infeasible_reason(path)), -path.local_preference, -path.sequence, path.stale


def _rank(path: Path) -> tuple[tuple[bool, int, int, bool], int, str, str]:
    return cost_of(path), path.next_hop, path.peer, path.source


def select(paths: Iterable[Path]) -> Selection | None:
    """Choose among the paths to one key; None when none of them is feasible."""
    feasible = [path for path in paths if not infeasible_reason(path)]
    if not feasible:
        return None
    if len(feasible) == 1:
        return Selection((feasible[0],))
    feasible.sort(key=_rank)
    lowest = cost_of(feasible[0])
    return Selection(tuple(path for path in feasible if cost_of(path) == lowest))


def compare(path: Path, best: Path) -> str:
    """Say by which criterion `best` wins over `path`, with both values; "" for equal cost."""
    for criterion in COST:
        if criterion.key(path) != criterion.key(best):
            return f"{criterion.name}: {criterion.show(path)}, best has {criterion.show(best)}"
    return ""
