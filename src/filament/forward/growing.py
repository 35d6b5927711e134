"""Lists in which every rule passes, kept while their rules change. Pure.

Such a list is its rules in any order: a packet passes if some rule matches. So it may be changed
where it stands, row by row, while packets are judged by it: with everything that grows written
before anything shrinks, whoever looks meanwhile gets the old verdict or the new one. That takes
three things, and `Grown.edited` answers None (a new list is made, under a new number) where they
cannot be had:

- A shape's number and the place of a range mean one thing for as long as the list lives.
- Rows are added, or replaced by ones that pass no less, and only then taken away: that is the
  order in which rows are written. A bucket that is to pass fewer ports and is not gone may not
  change together with something that grows, unless it alone changes: then it is one row.
- What nobody needs any more is little: numbers of shapes and rules are not given out again.

`lay_out` makes all rows from rules, numbers and places; `edited` only those of buckets that change.
A property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from filament.base.splice import Splice
from filament.forward.classify import Compiled, Piece, Rule, Shape, cut, first_of, places_of
from filament.forward.layout import SHAPE_PORT_RANGE
from filament.forward.tables import Key

_MOST_SHAPES_UNUSED = 16
_MOST_RULES_EVER = 1 << 24
_MOST_RANGES_EVER = 1 << 24


class Numbering(NamedTuple):
    """What rows are called. `shapes` have a number and the first rule there was of them, which no
    later one comes before; `ranges` are the places of the first range of buckets that have any.
    """

    shapes: dict[Shape, tuple[int, int]]
    ranges: dict[Key, int]
    next_rule: int
    next_range: int


class Grown(NamedTuple):
    """A list, its rows and their numbering. The position of a rule is a number of its own, larger
    than that of any rule that was there before it came.
    """

    rules: tuple[Rule, ...]
    numbering: Numbering
    pieces: dict[Key, tuple[Piece, ...]]  # by bucket
    rows: Compiled
    touched: frozenset[Key] = frozenset()  # buckets that the edit was about that made it

    def edited(self, splice: Splice, new: Sequence[Rule]) -> Grown | None:
        """Return the list with rules `new`, numbered from `next_rule` on, in place of some; None
        when it must be made anew.
        """
        gone = self.rules[splice.start : splice.old_end]
        shapes = dict(self.numbering.shapes)
        added = _by_bucket(new, shapes)
        removed = _by_bucket(gone, shapes)
        touched = added.keys() | removed.keys()
        kinds = {number: shape for shape, (number, _) in shapes.items()}
        pieces = dict(self.pieces)
        shrinks = False
        for bucket in touched:
            out = set(removed.get(bucket, ()))
            kept = [piece for piece in pieces.get(bucket, ()) if piece not in out]
            kept += added.get(bucket, ())
            if kept:
                pieces[bucket] = tuple(kept)
                shrinks |= bool(out) and bool(kinds[bucket[0]].flags & SHAPE_PORT_RANGE)
            else:
                pieces.pop(bucket, None)
        rules = (*self.rules[: splice.start], *new, *self.rules[splice.old_end :])
        next_rule = self.numbering.next_rule + len(new)
        if (shrinks and added and len(touched) > 1) or next_rule > _MOST_RULES_EVER:
            return None
        # To count the shapes that are in use takes long, and few lists have so many.
        if len(shapes) > _MOST_SHAPES_UNUSED:
            used = {bucket[0] for bucket in pieces}
            if len(shapes) - len(used) > _MOST_SHAPES_UNUSED:
                return None
        numbering = Numbering(
            shapes, dict(self.numbering.ranges), next_rule, self.numbering.next_range
        )
        rows = Compiled(
            {(number,): (first, *shape) for shape, (number, first) in shapes.items()},
            dict(self.rows.buckets),
            dict(self.rows.ranges),
        )
        for bucket in sorted(touched):
            numbering = _rewrite(bucket, kinds[bucket[0]], pieces, numbering, rows)
        if numbering.next_range > _MOST_RANGES_EVER:
            return None
        return Grown(rules, numbering, pieces, rows, frozenset(touched))


def lay_out(rules: Iterable[Rule], numbering: Numbering | None = None) -> Grown:
    """Make a list from its rules; their positions and `numbering` are those of an edited list, or
    of a new one.
    """
    listed = tuple(rules)
    shapes = dict(numbering.shapes) if numbering is not None else {}
    pieces = {bucket: tuple(found) for bucket, found in _by_bucket(listed, shapes).items()}
    kinds = {number: shape for shape, (number, _) in shapes.items()}
    rows = Compiled(
        {(number,): (first, *shape) for shape, (number, first) in shapes.items()}, {}, {}
    )
    if numbering is None:
        next_rule = max((rule.position + 1 for rule in listed), default=0)
        made = Numbering(shapes, {}, next_rule, 0)
        for bucket in pieces:
            made = _rewrite(bucket, kinds[bucket[0]], pieces, made, rows)
        return Grown(listed, made, pieces, rows)
    for bucket, found in pieces.items():
        if kinds[bucket[0]].flags & SHAPE_PORT_RANGE:
            first = numbering.ranges.get(bucket, numbering.next_range)
            rows.buckets[bucket] = _write_ranges(found, first, rows)
        else:
            rows.buckets[bucket] = first_of(found)
    return Grown(listed, numbering._replace(shapes=shapes), pieces, rows)


def _by_bucket(
    rules: Iterable[Rule], shapes: dict[Shape, tuple[int, int]]
) -> dict[Key, list[Piece]]:
    """Return the pieces of rules by the buckets they stand in; new shapes get numbers."""
    found: dict[Key, list[Piece]] = {}
    for rule in rules:
        for shape, bucket, piece in places_of(rule):
            known = shapes.get(shape)
            if known is None:
                known = shapes[shape] = len(shapes), rule.position
            found.setdefault((known[0], *bucket), []).append(piece)
    return found


def _rewrite(
    bucket: Key,
    shape: Shape,
    pieces: dict[Key, tuple[Piece, ...]],
    numbering: Numbering,
    rows: Compiled,
) -> Numbering:
    """Make the rows of a bucket, its ranges in a new place, and take away those it had."""
    before = rows.buckets.pop(bucket, None)
    if before is not None:
        _, _, first, count = before
        for index in range(first, first + count):
            del rows.ranges[index,]
    numbering.ranges.pop(bucket, None)
    found = pieces.get(bucket)
    if found is None:
        return numbering
    if not shape.flags & SHAPE_PORT_RANGE:
        rows.buckets[bucket] = first_of(found)
        return numbering
    first = numbering.next_range
    numbering.ranges[bucket] = first
    rows.buckets[bucket] = made = _write_ranges(found, first, rows)
    return numbering._replace(next_range=first + made[3])


def _write_ranges(pieces: Sequence[Piece], first: int, rows: Compiled) -> tuple[int, ...]:
    count = 0
    for piece in cut(pieces):
        rows.ranges[first + count,] = piece
        count += 1
    return 0, 0, first, count
