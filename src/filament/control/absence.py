"""Who is away and expected back, so that the absence costs no packet: agents, and BGP peers.

Two cases of agents, both TF's graceful restart (RFC 4724's idea) for XMPP:

- **An agent is lost.** Its data plane goes on without it, so its routes are kept as stale for
  `STALE_HOLD_S`. When it is back and has published again everything it had (its EndOfRib, and
  its acknowledgement of the configuration it asked for), what it did not publish again is swept;
  a returned agent that never says so is swept when the time is up.
- **The control node restarted.** Its RIB is empty, and an agent must not forget the routes of
  others only because those have not reconnected yet. Until every expected agent has published
  again, or `RESTART_GRACE_S` passed, no Sync is `whole` and no revision is settled. Expected are
  the agents that the previous process knew (the node keeps their names on disk, written before an
  agent's routes go to anybody), or every virtual-router when there is no such record. A node that
  is one of several awaits for `SHARED_GRACE_S` only: agents that lost it live with others since,
  which tell of their routes by BGP; without a record it awaits nobody.

BGP peers are awaited after a restart likewise: those that the previous process had sessions with,
until each has sent End-of-RIB for every family, or is up for `UNENDED_S` when it never sends any.
The RIB is complete with its agents (then we send End-of-RIB ourselves: two control nodes must not
wait for each other's), and whole with its peers as well (then agents may forget the rest).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

STALE_HOLD_S = 60.0
RESTART_GRACE_S = 30.0
SHARED_GRACE_S = 10.0
UNENDED_S = 2.0


class Absences:
    """Who is awaited and until when. One per control node, lives as long as its process."""

    def __init__(self, expected: Iterable[str] | None, peers: Iterable[str] = ()) -> None:
        self._expected = None if expected is None else set(expected)
        self._awaited_peers = dict.fromkeys(peers, 0.0)  # until when, once it has begun
        self._awaited: set[str] = set()
        self._grace_until: float | None = None
        self._has_begun = False
        self._stale_until: dict[str, float] = {}

    # after a restart of this control node -------------------------------------------------

    def begin(self, routers: Collection[str], returned: Collection[str], now: float) -> None:
        """The configuration is known for the first time: `routers` are the possible agents.

        `returned` have published again already. Later calls only strike out agents that are
        configured no more.
        """
        if not self._has_begun:
            self._has_begun = True
            expected = set(routers) if self._expected is None else self._expected
            self._awaited = expected - set(returned)
            self._grace_until = now + RESTART_GRACE_S
            self._awaited_peers = dict.fromkeys(self._awaited_peers, now + RESTART_GRACE_S)
        self._awaited.intersection_update(routers)
        self._end_grace_if_done()

    def shared(self, now: float) -> None:
        """There are other control nodes, with which agents may live."""
        if self._expected is None:
            self._awaited.clear()
        if self._grace_until is not None:
            self._grace_until = min(self._grace_until, now + SHARED_GRACE_S)
        self._end_grace_if_done()

    def removed(self, agent: str) -> None:
        """An agent is configured no more: nobody awaits it."""
        self._awaited.discard(agent)
        self._end_grace_if_done()

    @property
    def is_complete(self) -> bool:
        """Say whether the RIB holds all that can be expected after a restart."""
        return self._has_begun and self._grace_until is None

    @property
    def is_whole(self) -> bool:
        """Say whether the RIB holds what BGP peers told the previous process as well."""
        return self.is_complete and not self._awaited_peers

    @property
    def awaited(self) -> list[str]:
        """Agents that have not published again since this control node restarted."""
        return sorted(self._awaited)

    @property
    def awaited_peers(self) -> list[str]:
        """BGP peers that have not told all again since this control node restarted."""
        return sorted(self._awaited_peers)

    def peers_configured(self, peers: Collection[str]) -> None:
        """Await nobody who is no peer any more."""
        for name in self._awaited_peers.keys() - peers:
            del self._awaited_peers[name]

    def peer_up(self, name: str, now: float, *, ends_rib: bool) -> None:
        """A BGP peer is back; unless it `ends_rib` nobody knows when it has told all."""
        if name in self._awaited_peers and not ends_rib:
            self._awaited_peers[name] = min(self._awaited_peers[name], now + UNENDED_S)

    def peer_told_all(self, name: str) -> None:
        """A BGP peer has ended all its families."""
        self._awaited_peers.pop(name, None)

    def _end_grace_if_done(self) -> None:
        if self._has_begun and not self._awaited:
            self._grace_until = None

    # agents that come and go --------------------------------------------------------------

    def lost(self, agent: str, now: float) -> None:
        """An agent's session ended: keep its routes for a while."""
        self._stale_until[agent] = now + STALE_HOLD_S

    def connected(self, agent: str, now: float) -> None:
        """An agent is back: give it the whole time again to publish what it has."""
        if agent in self._stale_until:
            self._stale_until[agent] = now + STALE_HOLD_S

    def published_again(self, agent: str) -> None:
        """An agent has published everything it has; the caller sweeps what it has not."""
        self._stale_until.pop(agent, None)
        self._awaited.discard(agent)
        self._end_grace_if_done()

    @property
    def stale(self) -> list[str]:
        """Agents with routes that are kept though they were not published again."""
        return sorted(self._stale_until)

    def stale_until(self, agent: str) -> float | None:
        """Return until when an agent's old routes are kept."""
        return self._stale_until.get(agent)

    # time ---------------------------------------------------------------------------------

    def timer_at(self) -> float | None:
        """Return when `expire` has something to do next."""
        times = list(self._stale_until.values())
        if self._grace_until is not None:
            times.append(self._grace_until)
        if self._has_begun:
            times += self._awaited_peers.values()
        return min(times, default=None)

    def expire(self, now: float) -> list[str]:
        """Stop awaiting those whose time is up; return the agents whose stale routes must go."""
        if self._grace_until is not None and now >= self._grace_until:
            self._awaited.clear()
            self._grace_until = None
        if self._has_begun:
            for name in [each for each, until in self._awaited_peers.items() if now >= until]:
                del self._awaited_peers[name]
        expired = [agent for agent, until in self._stale_until.items() if now >= until]
        for agent in expired:
            del self._stale_until[agent]
        return expired
