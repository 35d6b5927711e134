"""Firewall rules in pieces that one list can hold: each about one direction, end and service. Pure.

A list is made for a port: what a rule asks of the port's own tags is decided here and now, and what
it asks of the far end's tags becomes the sets of tags that it may have. So the kernel compares one
number, whatever tags rules speak of. Source: TF agent 5.3, filter/acl.cc and acl_entry.cc: all of
an end's tags must be there, one of an address group's labels or prefixes is enough, and a rule of
both directions exchanges the ends but not the ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple, Self

from filament.base.net import Prefix
from filament.base.origin import Origin
from filament.forward.inputs import (
    FilterMatch,
    FilterRule,
    FirewallEnd,
    FirewallPolicy,
    FirewallRule,
    PolicySet,
)

TAG_TYPE_SHIFT = 16  # a tag's number is 16 bits of type, then 16 of value (TF)


class Mentions(NamedTuple):
    """What rules ask of tags: those they name, and the types that must agree."""

    tags: frozenset[int]
    types: frozenset[int]

    @classmethod
    def of(cls, policies: Iterable[FirewallPolicy]) -> Self:
        """Collect what the rules of policies ask."""
        tags: set[int] = set()
        types: set[int] = set()
        for policy in policies:
            for rule in policy.rules:
                types.update(rule.match)
                for end in (*rule.sources, *rule.destinations):
                    tags.update(end.tags)
        return cls(frozenset(tags), frozenset(types))

    @classmethod
    def union(cls, several: Iterable[Mentions]) -> Self:
        """Return what any of several asks."""
        listed = list(several)
        return cls(
            frozenset().union(*(one.tags for one in listed)),
            frozenset().union(*(one.types for one in listed)),
        )

    def relevant(self, tags: Iterable[int]) -> frozenset[int]:
        """Return those tags that make a difference to some rule."""
        return frozenset(
            tag for tag in tags if tag in self.tags or tag >> TAG_TYPE_SHIFT in self.types
        )


class Piece(NamedTuple):
    """A part of a firewall rule as a rule of a list; see `lists.Directed`."""

    source: FilterMatch
    destination: FilterMatch
    rule: FilterRule
    origin: Origin
    far_sets: tuple[int, ...] | None


def piece_rules(
    sets: Sequence[PolicySet],
    tags: frozenset[int],
    number_by_far_tags: Mapping[tuple[int, ...], int],
    *,
    is_egress: bool,
) -> Iterator[Piece]:
    """Yield the pieces of the rules of policy sets, in order, that a port with `tags` can match.

    `is_egress` is for flows that the port starts, otherwise the far end does.
    `number_by_far_tags` are the sets of tags that far ends may have.
    """
    far = _FarSets(tags, number_by_far_tags)
    for one in sets:
        for policy in one.policies:
            where = f"firewall-policy {policy.name} of application-policy-set {one.name}"
            for rule in policy.rules:
                yield from _pieces(rule, where, tags, far, is_egress=is_egress)


def _pieces(
    rule: FirewallRule, where: str, tags: frozenset[int], sets: _FarSets, *, is_egress: bool
) -> Iterator[Piece]:
    origin = Origin(f"firewall-rule {rule.name}", where, rule.revision)
    ways = [(rule.sources, rule.destinations)]
    if rule.both_ways and rule.sources != rule.destinations:
        ways.append((rule.destinations, rule.sources))
    for sources, destinations in ways:
        near, far = (sources, destinations) if is_egress else (destinations, sources)
        own = [end for end in near if tags.issuperset(end.tags)]
        for near_end, far_end, service in product(own, far, rule.services):
            far_sets = sets.of(far_end.tags, rule.match)
            source, destination = (near_end, far_end) if is_egress else (far_end, near_end)
            versions = {end.prefix.version for end in (source, destination) if end.prefix}
            if len(versions) < 2:
                version = min(versions, default=0)
                sides = _side(source, service.source_ports), _side(destination, service.ports)
                judged = FilterRule(
                    *sides, service.protocol, rule.passes, both_ways=False, version=version
                )
                yield Piece(*sides, judged, origin, far_sets)


class _FarSets:
    """Which sets of tags a far end may have; asked of many rules, few of which ask differently."""

    def __init__(
        self, tags: frozenset[int], number_by_far_tags: Mapping[tuple[int, ...], int]
    ) -> None:
        self._tags = tags
        self._numbers = [(frozenset(far), number) for far, number in number_by_far_tags.items()]
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]] = {}

    def of(self, wanted: tuple[int, ...], match: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the numbers of the sets that have all `wanted` tags, and of each type of `match`
        one that the port has too; None when any will do.
        """
        if not wanted and not match:
            return None
        found = self._known.get((wanted, match))
        if found is None:
            shared = [{tag for tag in self._tags if tag >> TAG_TYPE_SHIFT == one} for one in match]
            found = self._known[wanted, match] = tuple(
                sorted(
                    number
                    for far, number in self._numbers
                    if far.issuperset(wanted) and all(not one.isdisjoint(far) for one in shared)
                )
            )
        return found


def _side(end: FirewallEnd, ports: tuple[int, int]) -> FilterMatch:
    return FilterMatch(end.network, end.prefix or Prefix(0, 0), ports)
