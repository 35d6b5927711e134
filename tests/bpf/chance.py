"""Random values by a seed, in the words of Hypothesis's strategies but a hundred times as fast.

What the programs are tested with needs thousands of cases more than it needs shrinking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

DrawFn = Callable[["SearchStrategy"], Any]


class SearchStrategy:
    """A way to make a value by chance."""

    def __init__(self, make: Callable[[Random], Any]) -> None:
        self.make = make

    def __class_getitem__(cls, _: object) -> type[SearchStrategy]:
        return cls

    def map(self, change: Callable[[Any], Any]) -> SearchStrategy:
        return SearchStrategy(lambda random: change(self.make(random)))

    def flatmap(self, follow: Callable[[Any], SearchStrategy]) -> SearchStrategy:
        return SearchStrategy(lambda random: follow(self.make(random)).make(random))


def just(value: object) -> SearchStrategy:
    return SearchStrategy(lambda _: value)


def sampled_from(values: Sequence[Any]) -> SearchStrategy:
    # As `choice`, but for what that does to be fair to the last bit.
    count = len(values)
    return SearchStrategy(lambda random: values[int(random.random() * count)])


def booleans() -> SearchStrategy:
    return SearchStrategy(lambda random: random.random() < 0.5)


def integers(low: int, high: int) -> SearchStrategy:
    count = high - low + 1
    return SearchStrategy(lambda random: low + int(random.random() * count))


def binary(min_size: int, max_size: int) -> SearchStrategy:
    return SearchStrategy(lambda random: random.randbytes(random.randint(min_size, max_size)))


def lists(of: SearchStrategy, *, max_size: int) -> SearchStrategy:
    return SearchStrategy(
        lambda random: [of.make(random) for _ in range(random.randint(0, max_size))]
    )


def composite(make: Callable[..., Any]) -> Callable[..., SearchStrategy]:
    def strategy(*given: Any, **named: Any) -> SearchStrategy:
        return SearchStrategy(lambda random: make(lambda one: one.make(random), *given, **named))

    return strategy
