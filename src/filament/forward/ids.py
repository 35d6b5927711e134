"""Numbers for the names that rows refer to: small, stable across restarts, never reused too early.

Pure; the agent keeps the state on disk and writes it there before a number is used. Numbers mean
something on this host only.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from filament.base.errors import PermanentError
from filament.forward.layout import TABLE_BY_NAME

# What is numbered: the first number and the number of numbers. 0 means "none" in every space; the
# labels below 16 are reserved (RFC 3032). Where numbers are keys of an array its size is the limit.
SPACES: Mapping[str, tuple[int, int]] = {
    "vrf": (1, 1 << 16),
    "network": (1, 1 << 20),
    "vif": (1, TABLE_BY_NAME["counters"].max_entries - 1),
    "next_hop": (1, TABLE_BY_NAME["next_hops"].max_entries - 1),
    "label": (16, TABLE_BY_NAME["labels"].max_entries - 16),
    "list": (1, 1 << 20),
    "groups": (1, 1 << 20),
    "tags": (1, 1 << 20),
    "claim": (1, TABLE_BY_NAME["claims"].max_entries),
}


class IdsState(msgspec.Struct, frozen=True):
    """All of an `Ids` that has to survive: numbers by space and name, and the policy generation.

    `cooling` are numbers that nobody has any more but that may still be in the kernel.
    """

    numbers: dict[str, dict[str, int]] = {}
    cooling: dict[str, list[int]] = {}
    generation: int = 0
    fingerprint: str = ""


class _Space:
    """The numbers of one space; free ones in a heap, so that the lowest goes first."""

    def __init__(self, name: str, numbers: Mapping[str, int], cooling: list[int]) -> None:
        self.name = name
        self.first, self.count = SPACES[name]
        self.numbers = dict(numbers)
        self.cooling = list(cooling)
        taken = {*self.numbers.values(), *self.cooling}
        self.next = max(taken, default=self.first - 1) + 1
        self.free = sorted(set(range(self.first, self.next)) - taken)

    def take(self, key: str) -> int:
        if self.free:
            number = heapq.heappop(self.free)
        elif self.next < self.first + self.count:
            number, self.next = self.next, self.next + 1
        else:
            raise PermanentError(f"no {self.name} number for {key}: all {self.count} are in use")
        self.numbers[key] = number
        return number

    def release_unused(self, used: AbstractSet[str]) -> bool:
        """Let go of what is not used; says whether anything changed."""
        for number in self.cooling:
            heapq.heappush(self.free, number)
        had_cooling = bool(self.cooling)
        unused = self.numbers.keys() - used
        self.cooling = sorted(self.numbers.pop(key) for key in unused)
        return had_cooling or bool(unused)


class Ids:
    """The numbers of one host; one per agent, owned by the task that plans.

    `changes` grows whenever the state does: then it has to go to disk before the rows do.
    """

    def __init__(self, state: IdsState | None = None) -> None:
        state = state or IdsState()
        self._spaces = {
            name: _Space(name, state.numbers.get(name, {}), state.cooling.get(name, []))
            for name in SPACES
        }
        self._generation = state.generation
        self._fingerprint = state.fingerprint
        self.changes = 0

    def get(self, space: str, key: str) -> int:
        """Return the number of `key`, a new one if it has none. Raises PermanentError when full."""
        numbers = self._spaces[space]
        number = numbers.numbers.get(key)
        if number is None:
            number = numbers.take(key)
            self.changes += 1
        return number

    def rename(self, space: str, old: str, new: str) -> None:
        """Call by another name what has a number, which stays the same."""
        numbers = self._spaces[space].numbers
        if old != new and old in numbers:
            numbers[new] = numbers.pop(old)
            self.changes += 1

    def numbers(self, space: str) -> dict[str, int]:
        """Return the numbers of a space by name."""
        return dict(self._spaces[space].numbers)

    def release_unused(self, used: Mapping[str, AbstractSet[str]]) -> None:
        """End a plan step: numbers of keys that are not in `used` become free.

        They are given out again only after the next call, so that a number never changes its
        meaning while rows with the former one may be in the kernel. Spaces that `used` lacks are
        left alone.
        """
        for space, keys in used.items():
            if self._spaces[space].release_unused(keys):
                self.changes += 1

    def generation(self, fingerprint: str) -> int:
        """Return the policy generation of what `fingerprint` stands for: the last, or one more."""
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            # The kernel compares for equality only; 0 is what it has before it is programmed.
            self._generation = self._generation % 0xFFFFFFFF + 1
            self.changes += 1
        return self._generation

    def skip_generation(self, known: int) -> None:
        """Go past a generation found in the kernel, in case the state was lost."""
        if known > self._generation:
            self._generation, self._fingerprint = known, ""
            self.changes += 1

    def export(self) -> IdsState:
        """Return the state, to make the same `Ids` from."""
        return IdsState(
            numbers={name: dict(space.numbers) for name, space in self._spaces.items()},
            cooling={name: list(space.cooling) for name, space in self._spaces.items()},
            generation=self._generation,
            fingerprint=self._fingerprint,
        )
