"""The two clocks. Nothing above asks another; thinking floors get `now` as an argument."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds on the monotonic clock, the same one as the event loop's."""
    return time.monotonic()


def wall() -> float:
    """Seconds since the epoch, for people and for change logs."""
    return time.time()
