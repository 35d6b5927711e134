"""The rows of a list of rules, as its tables have them: all of them, or what an edit changes."""

from __future__ import annotations

from collections.abc import Iterable

from filament.base.origin import Origin
from filament.forward.classify import Compiled, Rule
from filament.forward.growing import Grown
from filament.forward.layout import ASKS_GROUPS
from filament.forward.tables import Key, Row

LONG_TABLES = ("ranges", "buckets", "shapes")
_NO_RANGES = (0, 0, 0, 0)  # of a bucket that is not there


def rule_rows(
    number: int, rules: Iterable[Rule], origins: Iterable[Origin], asked_as: int = ASKS_GROUPS
) -> dict[Key, Row]:
    """Return the rows of rules as people wrote them, for whoever explains a list."""
    return {
        (number, rule.position): Row(
            _rule_values(rule, 0 if rule.groups is None else asked_as), origin
        )
        for rule, origin in zip(rules, origins, strict=True)
    }


def write_list(
    rows: dict[str, dict[Key, Row]], number: int, made: Compiled, origin: Origin
) -> None:
    """Add the rows of a list."""
    for table, some in (
        ("ranges", made.ranges),
        ("buckets", made.buckets),
        ("shapes", made.shapes),
    ):
        rows[table] |= {(number, *key): Row(values, origin) for key, values in some.items()}
    rows["lists"][number,] = Row(made.counts, origin)


def rewrite_list(
    rows: dict[str, dict[Key, Row]], number: int, before: Compiled, now: Grown, origin: Origin
) -> dict[str, set[Key]]:
    """Bring the rows of a list from what it was to what an edit made of it; return the keys of
    those that are not as they were.
    """
    keys: dict[str, set[Key]] = {table: set() for table in LONG_TABLES}
    old_buckets, new_buckets = before.buckets, now.rows.buckets
    for bucket in now.touched:
        old, new = old_buckets.get(bucket), new_buckets.get(bucket)
        _set_row(rows["buckets"], keys["buckets"], (number, *bucket), new, origin)
        for values in (old, new):
            _, _, first, count = values or _NO_RANGES
            for index in range(first, first + count):
                place, values_there = (number, index), now.rows.ranges.get((index,))
                _set_row(rows["ranges"], keys["ranges"], place, values_there, origin)
    for shape in before.shapes.keys() | now.rows.shapes.keys():
        new = now.rows.shapes.get(shape)
        if before.shapes.get(shape) != new:
            _set_row(rows["shapes"], keys["shapes"], (number, *shape), new, origin)
    rows["lists"][number,] = Row(now.rows.counts, origin)
    return keys


def _set_row(
    rows: dict[Key, Row], keys: set[Key], key: Key, values: tuple[int, ...] | None, origin: Origin
) -> None:
    keys.add(key)
    if values is None:
        rows.pop(key, None)
    else:
        rows[key] = Row(values, origin)


def _rule_values(rule: Rule, asked: int) -> tuple[int, ...]:
    return (
        rule.source_network,
        rule.destination_network,
        rule.source,
        rule.source_mask,
        rule.destination,
        rule.destination_mask,
        *rule.source_ports,
        *rule.ports,
        rule.protocol,
        rule.version,
        asked,
        rule.action,
    )
