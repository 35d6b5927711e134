"""Sets of security groups, or of tags, that addresses have: each has a number. Pure.

Routes carry the members; what the kernel compares is one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Numbers(NamedTuple):
    """Where numbers come from: `(space, name) -> number`, noting that it is used, and how what has
    one gets another name: `(space, old, new)`.
    """

    number: Callable[[str, str], int]
    rename: Callable[[str, str, str], None]

    def network(self, name: str) -> int:
        """The number of a network, 0 of any."""
        return self.number("network", name) if name else 0


class Sets:
    """The sets of security groups, or of tags, that addresses here or heard of have, by number."""

    def __init__(self, numbers: Numbers, space: str, asked_as: int) -> None:
        self.asked_as = asked_as  # in rules.groups
        self._numbers = numbers
        self._space = space
        self.by_members: dict[tuple[int, ...], int] = {}
        self.is_asked = False  # whether some rule asks which set an address has

    def number(self, members: Iterable[int]) -> int:
        """Return the number of a set, 0 of the empty one."""
        listed = tuple(sorted(set(members)))
        if not listed:
            return 0
        number = self.by_members.get(listed)
        if number is None:
            name = ",".join(map(str, listed))
            number = self.by_members[listed] = self._numbers.number(self._space, name)
        return number

    def keep(self, members: tuple[int, ...]) -> None:
        """Let nobody else get the number of a set that a list of before speaks of."""
        self._numbers.number(self._space, ",".join(map(str, members)))

    def having(self, member: int) -> tuple[int, ...]:
        """Return the numbers of the sets that one is a member of."""
        return tuple(
            sorted(number for members, number in self.by_members.items() if member in members)
        )
