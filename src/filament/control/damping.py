"""How often an agent may begin a session: what comes and goes for ever costs little. Pure.

An agent may begin `BURST` sessions at once, and one more every `EVERY_S` after that: enough for any
number of restarts that somebody waits for, and for one that is refused and tries again. BGP peers
are held off by their own machine (`wire.bgp.peer`).
"""

from __future__ import annotations

from filament.base.limits import MAX_AGENTS

BURST = 20
EVERY_S = 1.0


class Damping:
    """One per control node. Remembers at most `MAX_AGENTS` agents: those that came last."""

    def __init__(self) -> None:
        # When an agent will have all its sessions to begin again; the one that came last is last.
        self._restored_at: dict[str, float] = {}

    def wait_s(self, agent: str, now: float) -> float:
        """Let an agent begin a session and return 0, or for how long it has to wait."""
        restored_at = max(self._restored_at.get(agent, now), now)
        wait_s = restored_at - now - (BURST - 1) * EVERY_S
        if wait_s > 0:
            return wait_s
        self._restored_at.pop(agent, None)
        if len(self._restored_at) >= MAX_AGENTS:
            del self._restored_at[next(iter(self._restored_at))]
        self._restored_at[agent] = restored_at + EVERY_S
        return 0.0
