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
    for one in sets:
        for policy in one.policies:
            where = f"firewall-policy {policy.name} of application-policy-set {one.name}"
            for rule in policy.rules:
                origin = Origin(f"firewall-rule {rule.name}", where, rule.revision)
                yield from _pieces(rule, origin, tags, number_by_far_tags, is_egress=is_egress)


def _pieces(
    rule: FirewallRule,
    origin: Origin,
    tags: frozenset[int],
    number_by_far_tags: Mapping[tuple[int, ...], int],
    *,
    is_egress: bool,
) -> Iterator[Piece]:
    ways = [(rule.sources, rule.destinations)]
    if rule.both_ways and rule.sources != rule.destinations:
        ways.append((rule.destinations, rule.sources))
    for sources, destinations in ways:
        near, far = (sources, destinations) if is_egress else (destinations, sources)
        own = [end for end in near if tags.issuperset(end.tags)]
        for near_end, far_end, service in product(own, far, rule.services):
            far_sets = _far_sets(far_end, rule.match, tags, number_by_far_tags)
            source, destination = (near_end, far_end) if is_egress else (far_end, near_end)
            versions = {end.prefix.version for end in (source, destination) if end.prefix}
            if len(versions) < 2:
                version = min(versions, default=0)
                sides = _side(source, service.source_ports), _side(destination, service.ports)
                judged = FilterRule(
                    *sides, service.protocol, rule.passes, both_ways=False, version=version
                )
                yield Piece(*sides, judged, origin, far_sets)


def _far_sets(
    end: FirewallEnd,
    match: Sequence[int],
    tags: frozenset[int],
    number_by_far_tags: Mapping[tuple[int, ...], int],
) -> tuple[int, ...] | None:
    if not end.tags and not match:
        return None
    shared = [{tag for tag in tags if tag >> TAG_TYPE_SHIFT == one} for one in match]
    return tuple(
        sorted(
            number
            for far_tags, number in number_by_far_tags.items()
            if set(end.tags).issubset(far_tags)
            and all(not one.isdisjoint(far_tags) for one in shared)
        )
    )


def _side(end: FirewallEnd, ports: tuple[int, int]) -> FilterMatch:
    return FilterMatch(end.network, end.prefix or Prefix(0, 0), ports)
