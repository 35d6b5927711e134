"""Who listens to which instance's routes, and what they have yet to be sent.

Pure. Changes are kept by instance, not by agent: all who listen to an instance are sent the same
stanzas, made once. One who has just subscribed is sent all of it, a portion with each `take`, and
from the first portion on what changes as well: an instance of any size keeps nobody else waiting.
Memory is bounded by the number of subscriptions and of routes that changed since the last `take`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from filament.control.translate import FLOOD, destination_of, flood_of, item_of
from filament.rib.keys import RouteKey
from filament.rib.rib import Rib
from filament.wire.xmpp.entry import family_of
from filament.wire.xmpp.stanza import Destination, RouteItem, RoutesSent, TableFamily

FRESH_AT_ONCE = 2_000  # routes told to those who have just subscribed, in one `take`
_BEGUN_AS = 10  # to begin with an instance takes as long as so many routes


class _Filling:
    """An instance that some agents are being told whole; `keys` are those yet to come."""

    __slots__ = ("agents", "instance", "keys")

    def __init__(self, instance: str, agents: dict[str, None], keys: Iterator[RouteKey]) -> None:
        self.instance = instance
        self.agents = agents
        self.keys = keys


class Fanout:
    """The listeners of one control node. Agents may listen before they are served."""

    def __init__(self, rib: Rib) -> None:
        self._rib = rib
        self._listening: dict[str, dict[str, None]] = {}  # instance -> agents
        self._served: set[str] = set()
        self._fresh: dict[str, dict[str, None]] = {}  # instance -> agents that want all of it
        self._filling: _Filling | None = None

    @property
    def has_work(self) -> bool:
        """Whether somebody has not been sent all of an instance yet."""
        return self._filling is not None or bool(self._fresh)

    def serve(self, agent: str, instances: Iterable[str]) -> None:
        """Send an agent what it listens to, from the beginning."""
        self._served.add(agent)
        for instance in instances:
            self._fresh.setdefault(instance, {})[agent] = None

    def stop_serving(self, agent: str) -> None:
        """Send an agent nothing more; it goes on listening."""
        self._served.discard(agent)
        for instance in [name for name, agents in self._fresh.items() if agent in agents]:
            self._need_not(agent, instance)
        if self._filling is not None:
            self._need_not(agent, self._filling.instance)

    def listen(self, agent: str, instance: str) -> None:
        """An agent subscribes to an instance, which need not exist."""
        self._listening.setdefault(instance, {})[agent] = None
        if agent in self._served:
            self._fresh.setdefault(instance, {})[agent] = None

    def leave(self, agent: str, instance: str) -> None:
        """An agent has unsubscribed."""
        self._need_not(agent, instance)
        del self._listening[instance][agent]
        if not self._listening[instance]:
            del self._listening[instance]

    def _need_not(self, agent: str, instance: str) -> None:
        """Stop sending an agent all of an instance."""
        waiting = self._fresh.get(instance)
        if waiting is not None and agent in waiting:
            del waiting[agent]
            if not waiting:
                del self._fresh[instance]
        filling = self._filling
        if filling is not None and filling.instance == instance:
            filling.agents.pop(agent, None)
            if not filling.agents:
                self._filling = None

    def take(self) -> dict[str, list[RoutesSent]]:
        """Return and forget what is to be sent, by agent; lets the RIB choose first.

        With `has_work` there is more.
        """
        changed: dict[str, dict[RouteKey, None]] = {}
        for change in self._rib.take_changes():
            changed.setdefault(change.instance, {})[change.key] = None
        outbox: dict[str, list[RoutesSent]] = {}
        for instance, keys in changed.items():
            waiting = self._fresh.get(instance, {})
            agents = [
                agent
                for agent in self._listening.get(instance, ())
                if agent in self._served and agent not in waiting
            ]
            if agents:
                stanzas = self._stanzas(instance, keys)
                for agent in agents:
                    outbox.setdefault(agent, []).extend(stanzas)
        room = FRESH_AT_ONCE
        while room > 0 and self.has_work:
            room -= self._fill(room, outbox)
        return outbox

    def _fill(self, room: int, outbox: dict[str, list[RoutesSent]]) -> int:
        """Tell up to `room` routes of one instance to those who want all of it; return how much
        work it was, in routes.

        A route is told as it is now: one that changed since this instance was begun with has been
        told already, and is told the same again; one that is gone since is not.
        """
        filling, begun = self._filling, 0
        if filling is None:
            instance = next(iter(self._fresh))
            keys = iter(list(self._rib.selections(instance)))
            filling = self._filling = _Filling(instance, self._fresh.pop(instance), keys)
            begun = _BEGUN_AS
        portion = list(islice(filling.keys, room))
        if len(portion) < room:
            self._filling = None
        routes = self._rib.selections(filling.instance)
        stanzas = self._stanzas(filling.instance, [key for key in portion if key in routes])
        if stanzas:
            for agent in filling.agents:
                outbox.setdefault(agent, []).extend(stanzas)
        return begun + len(portion)

    def routes_of(self, instance: str) -> list[RouteItem]:
        """Return the routes of an instance as all who listen to it have been told."""
        stanzas = self._stanzas(instance, self._rib.selections(instance))
        return [item for stanza in stanzas for item in stanza.items]

    def _stanzas(self, instance: str, keys: Iterable[RouteKey]) -> list[RoutesSent]:
        """Return the stanzas that tell how routes of an instance are now, one per family."""
        items: dict[TableFamily, list[RouteItem]] = {}
        retracted: dict[TableFamily, list[Destination]] = {}
        floods = False
        for key in keys:
            destination = destination_of(key)
            if destination is None:
                continue
            if destination is FLOOD:
                floods = True
                continue
            selection = self._rib.selection(instance, key)
            family = family_of(destination)
            if selection is None:
                retracted.setdefault(family, []).append(destination)
            else:
                item = item_of(self._rib, instance, destination, selection)
                items.setdefault(family, []).append(item)
        if floods:
            flood = flood_of(self._rib, instance)
            if flood is None:
                retracted.setdefault(TableFamily.ENET, []).append(FLOOD)
            else:
                items.setdefault(TableFamily.ENET, []).append(flood)
        return [
            RoutesSent(
                instance, tuple(items.get(family, ())), tuple(retracted.get(family, ())), family
            )
            for family in TableFamily
            if family in items or family in retracted
        ]
