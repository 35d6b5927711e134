"""Waiting between attempts: quick at first, bounded, and not in step with others."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff(first_s: float = 0.05, limit_s: float = 5.0) -> Iterator[float]:
    """Yield waiting times that double from `first_s` to `limit_s`, each with up to 20 % taken off.

    The jitter keeps a thousand agents from reconnecting in the same millisecond.
    """
    wait_s = first_s
    while True:
        yield wait_s * (1.0 - 0.2 * random.random())  # noqa: S311 - not a secret
        wait_s = min(wait_s * 2, limit_s)
