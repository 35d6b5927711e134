"""Path selection in instances' tables: TF's order (BgpPath::PathCompare).

Feasible first, higher local preference, sticky MAC, higher mobility sequence, not stale, shorter AS
path, lower origin, lower MED of the same neighbour: paths equal so far share the load, each way
once; but those with a mobility sequence do not, which are to something that is in one place at a
time: of them the lowest next hop wins, on every control node. The first of them, which gives the
route its attributes, is one of an agent rather than of BGP, of another AS rather than of ours, and
then the one with the lowest next hop, peer and source. The step "not stale" is ours beside TF's
"not long-lived stale": an agent that is away yields to one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from filament.base.net import format_ipv4
from filament.rib.path import KNOWN_ENCAPSULATIONS, Path, Selection
from filament.rib.peer import PeerKind
from filament.wire.bgp.attributes import neighbour_as, path_length


def infeasible_reason(path: Path) -> str:
    """Say why a path cannot carry a packet; "" when it can."""
    if path.problem:
        return path.problem
    if path.encapsulations and KNOWN_ENCAPSULATIONS.isdisjoint(path.encapsulations):
        return f"none of its encapsulations is known: {', '.join(path.encapsulations)}"
    if path.label == 0 and path.vni == 0:
        return "it has no label"
    return ""


class Criterion(NamedTuple):
    """One step of the comparison: the lower `key` wins; `show` gives it as people read it."""

    name: str
    key: Callable[[Path], object]
    show: Callable[[Path], str]


# Equal in all of these, and in MED: equal cost.
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
    Criterion(
        "sticky MAC",
        lambda path: not path.is_sticky,
        lambda path: "sticky" if path.is_sticky else "not sticky",
    ),
    Criterion("mobility sequence", lambda path: -path.sequence, lambda path: str(path.sequence)),
    Criterion(
        "freshness",
        lambda path: (path.is_llgr_stale, path.stale),
        lambda path: (
            f"{path.peer} is away"
            if path.stale
            else "long-lived stale"
            if path.is_llgr_stale
            else f"{path.peer} is connected"
        ),
    ),
    Criterion(
        "AS path length",
        lambda path: path_length(path.as_path),
        lambda path: str(path_length(path.as_path)),
    ),
    Criterion("origin", lambda path: path.origin_code, lambda path: str(path.origin_code)),
)

Cost = tuple[bool, int, bool, int, bool, bool, int, int]


def cost_of(path: Path) -> Cost:
    """Return what must be equal for two paths to share the load; lower is better."""
    return (
        bool(infeasible_reason(path)),
        -path.local_preference,
        not path.is_sticky,
        -path.sequence,
        path.is_llgr_stale,
        path.stale,
        path_length(path.as_path) if path.as_path else 0,
        path.origin_code,
    )


def rank(path: Path) -> tuple[Cost, int, int, int, str, str, bytes]:
    """Return a total order of paths, the best first, MED apart."""
    kind = min(path.kind, PeerKind.CLIENT)
    return (
        cost_of(path),
        kind,
        path.next_hop,
        path.router_id,
        path.peer,
        path.source,
        path.vpn_key,
    )


def select(paths: Iterable[Path]) -> Selection | None:
    """Choose among the paths to one key; None when none of them is feasible."""
    feasible = [path for path in paths if not infeasible_reason(path)]
    if not feasible:
        return None
    if len(feasible) == 1:
        return Selection((feasible[0],))
    feasible.sort(key=rank)
    lowest = cost_of(feasible[0])
    alike = [path for path in feasible if cost_of(path) == lowest]
    # MED is compared within a neighbour AS before anything else decides: no order of arrival
    # matters (RFC 4271 section 9.1.2.2 c). Agents' MED only mirrors their preference.
    least: dict[int, int] = {}
    for path in alike:
        if path.as_path:
            neighbour = neighbour_as(path.as_path)
            least[neighbour] = min(path.med, least.get(neighbour, path.med))
    equal: dict[tuple[int, int, int], Path] = {}
    for path in alike:
        if not path.as_path or path.med == least[neighbour_as(path.as_path)]:
            equal.setdefault((path.next_hop, path.label, path.vni), path)
    if feasible[0].sequence:
        return Selection((min(equal.values(), key=lambda path: path.next_hop),))
    return Selection(tuple(equal.values()))


def compare(path: Path, best: Path) -> str:
    """Say by which criterion `best` wins over `path`, with both values; "" for equal cost."""
    for criterion in COST:
        if criterion.key(path) != criterion.key(best):
            return f"{criterion.name}: {criterion.show(path)}, best has {criterion.show(best)}"
    if (
        path.as_path
        and neighbour_as(path.as_path) == neighbour_as(best.as_path)
        and path.med != best.med
    ):
        return f"MED: {path.med}, best has {best.med}"
    if best.sequence and path.next_hop != best.next_hop:
        hops = format_ipv4(path.next_hop), format_ipv4(best.next_hop)
        return f"next hop: {hops[0]}, best has {hops[1]} (with a sequence it is in one place)"
    return ""
