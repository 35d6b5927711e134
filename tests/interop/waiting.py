"""Waiting for the world of others, and how long it may take.

A limit on waiting only bounds a failure: it is long enough for a machine that has other things to
do. What must be quick is measured, and may be late when the machine was: never three times running.
"""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0
PROMPT_S = 2.0
_TRIES = 3


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait until `condition()` is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s: {what}"
        time.sleep(0.05)
    return found


def promptly(attempt: Callable[[], float], within_s: float = PROMPT_S) -> None:
    """Require of an attempt, which returns how long it took in seconds, that it can be quick."""
    took: list[float] = []
    while not took or took[-1] >= within_s:
        assert len(took) < _TRIES, f"took {took} s, each time {within_s:g} s or more"
        took.append(attempt())


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._began
