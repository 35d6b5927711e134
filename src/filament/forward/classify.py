"""From an ordered list of rules to rows that are found by hashing: tuple space search. Pure.

Rules that look at the same parts of a packet have one *shape*: the same prefix lengths, the same
wildcards. A lookup masks the packet by each shape and asks one hash table, the *buckets*; shapes
are tried in the order of their first rule and no further than could win, so that a lookup costs the
number of shapes (a few, whatever the number of rules) and not that of rules. A bucket of a shape
with port ranges points at *ranges*: what its rules say of each destination port, cut into pieces
that do not overlap, sorted, found by bisection.

`c/lib/policy.h` looks up; `forward.policy` does the same in Python. What a rule means is
`matches`, which the tests compare with both.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from filament.forward.layout import (
    PROTOCOL_ANY,
    PROTOCOL_PORTLESS,
    SHAPE_DESTINATION_NETWORK,
    SHAPE_GROUPS,
    SHAPE_PORT,
    SHAPE_PORT_RANGE,
    SHAPE_PROTOCOL,
    SHAPE_SOURCE_NETWORK,
)
from filament.forward.parse import ICMP_BY_VERSION, WITH_PORTS
from filament.forward.tables import Key

ANY_PORTS = (0, 65535)
_ICMPS = frozenset(ICMP_BY_VERSION.values())


class Rule(NamedTuple):
    """One rule by numbers; addresses and masks are wide (`widen_address`), 0 is any.

    `groups` are the sets of security groups the far end may have, None any. `version` 0 is any. For
    ICMP `ports` of the destination are type << 8 | code. Ports count only in protocols that have
    any. `position` is its place in the list; of two that match the lower wins.
    """

    position: int
    action: int
    source_network: int = 0
    destination_network: int = 0
    groups: tuple[int, ...] | None = None
    source: int = 0
    source_mask: int = 0
    destination: int = 0
    destination_mask: int = 0
    source_ports: tuple[int, int] = ANY_PORTS
    ports: tuple[int, int] = ANY_PORTS
    protocol: int = PROTOCOL_ANY
    version: int = 0


class Asked(NamedTuple):
    """What a list is asked about: a packet, or the flow it belongs to. Addresses are wide."""

    source_network: int
    destination_network: int
    groups: int
    source: int
    destination: int
    source_port: int
    port: int
    protocol: int
    version: int


class Shape(NamedTuple):
    """What a shape's rules look at. Its first fields are tested, the others mask the packet."""

    version: int
    source_port_low: int
    source_port_high: int
    flags: int
    protocol: int
    source_mask: int
    destination_mask: int


class Compiled(NamedTuple):
    """The rows of one list, without its number: keys begin after it.

    Of a list with two halves the last `second_count` shapes are the second's.
    """

    shapes: dict[Key, tuple[int, ...]]
    buckets: dict[Key, tuple[int, ...]]
    ranges: dict[Key, tuple[int, ...]]
    second_count: int = 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many shapes there are, in the first half and in the second."""
        return len(self.shapes) - self.second_count, self.second_count


def matches(rule: Rule, asked: Asked) -> bool:
    """Say whether a rule matches: what it means, whatever the rows look like."""
    if rule.source_network and rule.source_network != asked.source_network:
        return False
    if rule.destination_network and rule.destination_network != asked.destination_network:
        return False
    if rule.groups is not None and asked.groups not in rule.groups:
        return False
    if rule.version and rule.version != asked.version:
        return False
    if rule.protocol not in (PROTOCOL_ANY, asked.protocol):
        return False
    if asked.source & rule.source_mask != rule.source:
        return False
    if asked.destination & rule.destination_mask != rule.destination:
        return False
    if rule.protocol in _ICMPS:
        return rule.ports[0] <= asked.port <= rule.ports[1]
    if asked.protocol not in WITH_PORTS:
        return True
    return (
        rule.source_ports[0] <= asked.source_port <= rule.source_ports[1]
        and rule.ports[0] <= asked.port <= rule.ports[1]
    )


Piece = tuple[int, int, int, int]  # lowest and highest destination port, rule, action


class Place(NamedTuple):
    """Where a rule stands for one of the ways to match it: a bucket of a shape, and its piece."""

    shape: Shape
    bucket: Key
    piece: Piece


class _Way(NamedTuple):
    """One of the ways a packet may match a rule."""

    protocol: int
    source_ports: tuple[int, int]
    ports: tuple[int, int]


def _ways(rule: Rule) -> Iterator[_Way]:
    """Split a rule by what ports mean in protocols."""
    has_ports = (rule.source_ports, rule.ports) != (ANY_PORTS, ANY_PORTS)
    if rule.protocol in WITH_PORTS:
        yield _Way(rule.protocol, rule.source_ports, rule.ports)
    elif rule.protocol in _ICMPS:
        yield _Way(rule.protocol, ANY_PORTS, rule.ports)
    elif rule.protocol == PROTOCOL_ANY and has_ports:
        for protocol in sorted(WITH_PORTS):
            yield _Way(protocol, rule.source_ports, rule.ports)
        yield _Way(PROTOCOL_PORTLESS, ANY_PORTS, ANY_PORTS)
    else:
        yield _Way(rule.protocol, ANY_PORTS, ANY_PORTS)


def places_of(rule: Rule) -> Iterator[Place]:
    """Yield where a rule stands."""
    if rule.groups == ():
        return  # nobody here, or heard of here, is a member
    for way in _ways(rule):
        shape = _shape_of(rule, way)
        piece = (*way.ports, rule.position, rule.action)
        for groups in rule.groups if rule.groups is not None else (0,):
            yield Place(shape, _bucket_of(rule, way, groups), piece)


def compile_rules(rules: Iterable[Rule]) -> Compiled:
    """Return the rows of a list."""
    found: dict[Shape, dict[Key, list[Piece]]] = {}
    first_rule: dict[Shape, int] = {}
    for rule in rules:
        for shape, bucket, piece in places_of(rule):
            first_rule.setdefault(shape, rule.position)
            found.setdefault(shape, {}).setdefault(bucket, []).append(piece)
    compiled = Compiled({}, {}, {})
    for number, shape in enumerate(sorted(found, key=lambda one: (first_rule[one], one))):
        compiled.shapes[number,] = (first_rule[shape], *shape)
        for bucket, pieces in found[shape].items():
            compiled.buckets[number, *bucket] = _bucket_values(shape, pieces, compiled)
    return compiled


def compile_halves(first: Iterable[Rule], second: Sequence[Rule]) -> Compiled:
    """Return the rows of a list whose halves must both let a packet pass; positions of rules go on
    from the first half to the second. A half that nothing can pass leaves nothing to ask.
    """
    one, other = compile_rules(first), compile_rules(second)
    if not one.shapes or not other.shapes:
        return Compiled({}, {}, {})
    shapes, ranges = len(one.shapes), len(one.ranges)
    for (number,), values in other.shapes.items():
        one.shapes[shapes + number,] = values
    for (number, *bucket), (rule, action, at, count) in other.buckets.items():
        one.buckets[shapes + number, *bucket] = rule, action, at + ranges if count else 0, count
    for (number,), values in other.ranges.items():
        one.ranges[ranges + number,] = values
    return one._replace(second_count=len(other.shapes))


def _shape_of(rule: Rule, way: _Way) -> Shape:
    flags = 0
    if rule.source_network:
        flags |= SHAPE_SOURCE_NETWORK
    if rule.destination_network:
        flags |= SHAPE_DESTINATION_NETWORK
    if rule.groups is not None:
        flags |= SHAPE_GROUPS
    protocol = way.protocol
    if protocol not in (PROTOCOL_ANY, PROTOCOL_PORTLESS):
        flags |= SHAPE_PROTOCOL
        protocol = 0
    low, high = way.ports
    if low == high:
        flags |= SHAPE_PORT
    elif way.ports != ANY_PORTS:
        flags |= SHAPE_PORT_RANGE
    masks = rule.source_mask, rule.destination_mask
    return Shape(rule.version, *way.source_ports, flags, protocol, *masks)


def _bucket_of(rule: Rule, way: _Way, groups: int) -> Key:
    is_exact = way.protocol not in (PROTOCOL_ANY, PROTOCOL_PORTLESS)
    return (
        rule.source_network,
        rule.destination_network,
        groups,
        way.protocol if is_exact else 0,
        way.ports[0] if way.ports[0] == way.ports[1] else 0,
        rule.source,
        rule.destination,
    )


def _bucket_values(shape: Shape, pieces: list[Piece], compiled: Compiled) -> tuple[int, ...]:
    """Return a bucket's row; its ranges, when it has any, go into `compiled`."""
    if not shape.flags & SHAPE_PORT_RANGE:
        return first_of(pieces)
    first = len(compiled.ranges)
    for count, piece in enumerate(cut(pieces)):
        compiled.ranges[first + count,] = piece
    return 0, 0, first, len(compiled.ranges) - first


def first_of(pieces: Iterable[Piece]) -> tuple[int, ...]:
    """Return the row of a bucket whose rules do not ask for ranges of ports."""
    _, _, rule, action = min(pieces, key=lambda piece: piece[2])
    return rule, action, 0, 0


def cut(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Cut overlapping (low, high, rule, action) into sorted ones that do not; lower rules win."""
    waiting = sorted(pieces)
    open_: list[tuple[int, int, int]] = []  # rule, high, action
    at, index = 0, 0
    last: tuple[int, int, int, int] | None = None
    while index < len(waiting) or open_:
        if not open_:
            at = max(at, waiting[index][0])
        while index < len(waiting) and waiting[index][0] <= at:
            _, high, rule, action = waiting[index]
            heapq.heappush(open_, (rule, high, action))
            index += 1
        while open_ and open_[0][1] < at:
            heapq.heappop(open_)
        if not open_:
            continue
        rule, high, action = open_[0]
        end = high if index == len(waiting) else min(high, waiting[index][0] - 1)
        if last is not None and last[1] + 1 == at and last[2] == rule:
            last = (last[0], end, rule, action)
        else:
            if last is not None:
                yield last
            last = (at, end, rule, action)
        at = end + 1
    if last is not None:
        yield last
