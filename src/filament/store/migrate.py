"""Versions of what a store keeps: what is older is brought up step by step, what is newer refused.

A step upgrades from the version it is filed under to the next. The caller runs `migrate` inside
one transaction, so that a store is at its old version or at ours, never between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from filament.base.errors import PermanentError

Step = Callable[[], None]


def migrate(place: str, version: int, newest: int, steps: Mapping[int, Step]) -> bool:
    """Bring the store at `place` from `version` to `newest`; True when anything was done.

    Raises PermanentError for a version that is newer than this program, or too old for it.
    """
    if version > newest:
        raise PermanentError(
            f"{place} has schema version {version}, this program reads up to {newest}; use the"
            " program version that wrote it, or newer (export there and import here to go back)"
        )
    for step in range(version, newest):
        if step not in steps:
            raise PermanentError(
                f"{place} has schema version {version}, this program upgrades from"
                f" {min(steps, default=newest)} on; upgrade with an older version first"
            )
        steps[step]()
    return version < newest
