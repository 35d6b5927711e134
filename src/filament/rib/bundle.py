"""Routes that share a peer and an attribute set, and the order among such bundles.

All that decides between two paths, but for what is in the key, is in the attributes and the peer:
so it is worked out once per bundle, not per route. TF's order is `BgpPath::PathCompare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from filament.rib.peer import Peer, PeerKind, Speaker
from filament.rib.targets import TargetSet
from filament.wire.bgp.attributes import Attributes, count_as, neighbour_as, path_length
from filament.wire.bgp.communities import ACCEPT_OWN, LLGR_STALE, is_tree_leaf, mobility_of
from filament.wire.bgp.family import AddressFamily

DEFAULT_LOCAL_PREFERENCE = 100

Cost = tuple[int, bool, bool, int, bool, int, int]
Tie = tuple[int, int, int, str]


class Order(NamedTuple):
    """What decides between bundles: `cost`, `med` within a `neighbour` AS, and then `tie`."""

    cost: Cost
    neighbour: int
    med: int
    tie: Tie


class Bundle:
    """What one peer announces with one attribute set, in one table; exists while it has routes.

    `routes` maps an NLRI key to its label. `problem` says why its routes cannot be used, "" when
    they can. `is_stale` marks what a peer that is away announced before it went. `sent` caches what
    each group of peers is sent of it (see `adjout`).
    """

    __slots__ = (
        "_order",
        "attributes",
        "family",
        "is_stale",
        "peer",
        "problem",
        "routes",
        "sent",
        "target_set",
    )

    def __init__(
        self,
        family: AddressFamily,
        peer: Peer,
        attributes: Attributes,
        target_set: TargetSet,
        problem: str,
    ) -> None:
        self.family = family
        self.peer = peer
        self.attributes = attributes
        self.target_set = target_set
        self.problem = problem
        self.routes: dict[bytes, bytes] = {}
        self.is_stale = False
        self.sent: dict[Any, Any] = {}
        self._order: Order | None = None

    @property
    def order(self) -> Order:
        """What selection compares; worked out when there is something to compare it with."""
        if self._order is None:
            attributes = self.attributes
            self._order = Order(
                cost_of(attributes),
                neighbour_as(attributes.as_path),
                attributes.med or 0,
                tie_of(self.peer, attributes),
            )
        return self._order


Entry = Bundle | tuple[Bundle, ...]


def cost_of(attributes: Attributes) -> Cost:
    """Return what is compared before MED; the lower is better."""
    mobility = mobility_of(attributes.extended_communities)
    preference = attributes.local_preference
    return (
        -(DEFAULT_LOCAL_PREFERENCE if preference is None else preference),
        is_tree_leaf(attributes.extended_communities),
        not (mobility is not None and mobility.is_sticky),
        -(mobility.sequence if mobility is not None else 0),
        LLGR_STALE in attributes.communities,
        path_length(attributes.as_path),
        attributes.origin,
    )


COST_NAMES = (
    "local preference",
    "tree leaf",
    "non-sticky MAC",
    "mobility sequence",
    "long-lived stale",
    "AS path length",
    "origin",
)


def tie_of(peer: Peer, attributes: Attributes) -> Tie:
    """Return what decides between paths of equal cost; the lower is better."""
    originator = attributes.originator_id
    return (
        min(peer.kind, PeerKind.CLIENT),  # client or not does not matter
        peer.identifier if originator is None else originator,
        len(attributes.cluster_list),
        peer.name,
    )


TIE_NAMES = ("kind of peer", "router id", "cluster list length", "peer")


def problem_of(family: AddressFamily, peer: Peer, attributes: Attributes, us: Speaker) -> str:
    """Say why routes with these attributes cannot be used; "" when they can.

    TF's flags AsPathLooped, NoNeighborAs, OriginatorIdLooped, ClusterListLooped.
    """
    if peer.kind is PeerKind.AGENT:
        return ""
    for ours in {us.asn, peer.local_as or us.asn} if attributes.as_path else ():
        count, most = count_as(attributes.as_path, ours), peer.rules.loops_of(family)
        if count > most:
            often = f" {count} times, more than its loop_count of {most}" if most else ""
            return f"AS path loop: our AS {ours} is in its AS path{often}"
    if peer.kind is PeerKind.EXTERNAL:
        first = neighbour_as(attributes.as_path)
        if first != peer.asn:
            return f"the first AS of its path is {first}, not the peer's, {peer.asn}"
        return ""
    if (
        us.identifier
        and attributes.originator_id == us.identifier
        and ACCEPT_OWN not in attributes.communities
    ):
        return "originator loop: we originated it"
    if us.cluster_id is not None and us.cluster_id in attributes.cluster_list:
        return "cluster list loop: we reflected it before"
    return ""


def ordered(bundles: Sequence[Bundle]) -> tuple[Bundle, ...]:
    """Order the bundles that lead to one key: the best first, those with a problem last.

    The result does not depend on the order given: MED is compared within each neighbour AS before
    anything else decides (RFC 4271 section 9.1.2.2 c).
    """
    ranked = sorted(bundles, key=_rank)
    equal = equals(ranked)
    return (*equal, *(each for each in ranked if each not in equal))


def equals(ranked: Sequence[Bundle]) -> tuple[Bundle, ...]:
    """Return, of bundles in order, those of equal cost to the best; none when none is usable."""
    lowest = ranked[0]
    if lowest.problem:
        return ()
    if len(ranked) == 1:
        return (lowest,)
    cost = lowest.order.cost
    alike = [each for each in ranked if each.order.cost == cost and not each.problem]
    least: dict[int, int] = {}
    for _, neighbour, med, _ in (each.order for each in alike):
        least[neighbour] = min(med, least.get(neighbour, med))
    return tuple(each for each in alike if each.order.med == least[each.order.neighbour])


def _rank(bundle: Bundle) -> tuple[bool, Cost, Tie]:
    order = bundle.order
    return bool(bundle.problem), order.cost, order.tie


def compare(bundle: Bundle, best: Bundle) -> str:
    """Say by which criterion `best` wins, with both values."""
    if bundle.problem:
        return f"not usable: {bundle.problem}"
    mine, other = bundle.order, best.order
    for name, ours, theirs in zip(COST_NAMES, mine.cost, other.cost, strict=True):
        if ours != theirs:
            return f"{name}: {_shown(ours)}, best has {_shown(theirs)}"
    if mine.neighbour == other.neighbour and mine.med != other.med:
        return f"MED: {mine.med}, best has {other.med}"
    for name, tie, best_tie in zip(TIE_NAMES, mine.tie, other.tie, strict=True):
        if tie != best_tie:
            return f"{name}: {tie}, best has {best_tie}"
    return ""


def _shown(value: float) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    return str(abs(value))
