"""Which control nodes an agent talks to: two of those configured, chosen so that agents spread.

Pure. Each agent has an order of its own over all control nodes (rendezvous hashing: adding one
moves only the agents that it wins), and lives with the first two. One that cannot be reached for
`REHOME_AFTER_S` is left for the next of the order that is free, and stands last from then on; a
session that works is never left for a better one, since moving costs more than it gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SESSIONS = 2
# A control node that restarts is back sooner, with all its agents at home.
REHOME_AFTER_S = 3.0
STABLE_S = 5.0


def preference(host: str, controls: Sequence[str]) -> list[str]:
    """Return the control nodes in a host's order; the same on every machine, for ever."""
    return sorted(
        dict.fromkeys(controls),
        key=lambda control: hashlib.sha256(f"{host} {control}".encode()).digest(),
    )


class Homes:
    """One agent's choice. `used` are the control nodes to keep sessions with, one per slot."""

    def __init__(self, host: str, controls: Sequence[str]) -> None:
        order = preference(host, controls)
        self.used = order[:SESSIONS]
        self._spare = order[SESSIONS:]
        self._failing_since: dict[str, float] = {}

    def lost(self, control: str, lasted_s: float, now: float) -> None:
        """A session ended, or could not be had; `lasted_s` is how long it was established."""
        if lasted_s > STABLE_S:
            self._failing_since.pop(control, None)
        self._failing_since.setdefault(control, now)

    def next_of(self, slot: int, now: float) -> str:
        """Return the control node to connect to in a slot, perhaps another than before."""
        control = self.used[slot]
        failing_since = self._failing_since.get(control)
        if self._spare and failing_since is not None and now - failing_since >= REHOME_AFTER_S:
            self._failing_since.pop(control)
            self._spare.append(control)
            self.used[slot] = self._spare.pop(0)
        return self.used[slot]
