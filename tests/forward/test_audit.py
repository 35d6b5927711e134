"""Rows as they should be against rows as they are."""

from __future__ import annotations

from filament.forward.audit import RowDifference, compare_rows
from filament.forward.layout import ACL_DENY
from filament.forward.rows import BucketValues
from filament.forward.tables import Row, Tables

BUCKET = (1,) * 9
FIRST_RULE_DENIES = BucketValues(0, ACL_DENY, 0, 0)


def test_a_row_of_zeros_is_one_where_rows_are_not_numbered() -> None:
    """As is that of a list whose first rule denies."""
    wanted = Tables(1, {"buckets": {BUCKET: Row(FIRST_RULE_DENIES)}})
    assert compare_rows(wanted, {"buckets": {BUCKET: tuple(FIRST_RULE_DENIES)}}) == []
    (missing,) = compare_rows(wanted, {"buckets": {}})
    assert missing == RowDifference("buckets", BUCKET, tuple(FIRST_RULE_DENIES), None)


def test_a_row_of_zeros_in_an_array_is_none() -> None:
    wanted = Tables(1, {"labels": {(16,): Row((0,)), (17,): Row((3,))}})
    assert compare_rows(wanted, {"labels": {(17,): (3,)}}) == []
    assert len(compare_rows(wanted, {"labels": {}})) == 1
