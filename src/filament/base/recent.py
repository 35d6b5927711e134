"""What was made of values that are long to look through and never change in place, by identity."""

from __future__ import annotations

from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")
MadeT = TypeVar("MadeT")


class Recent(Generic[ValueT, MadeT]):
    """What was made of the last few values: of the very same object the same is true again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # By identity, which nobody else gets while the value is held here.
        self._made: dict[int, tuple[ValueT, MadeT]] = {}

    def get(self, value: ValueT) -> MadeT | None:
        """Return what was made of this very object, None when that is not known any more."""
        found = self._made.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def put(self, value: ValueT, made: MadeT) -> None:
        """Note what was made of a value, and forget what was noted longest ago."""
        while len(self._made) >= self._limit:
            self._made.pop(next(iter(self._made)), None)
        self._made[id(value)] = value, made
