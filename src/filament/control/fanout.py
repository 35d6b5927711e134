"""Who listens to which instance's routes, and what they have yet to be sent.

Pure. Changes are kept by instance, not by agent: all who listen to an instance are sent the same
stanzas, made once. One who has just subscribed is sent all of it. Memory is bounded by the number
of subscriptions and of routes that changed since the last `take`.
"""

from __future__ import annotations

from collections.abc import Iterable

from filament.control.translate import FLOOD, destination_of, flood_of, item_of
from filament.rib.keys import RouteKey
from filament.rib.rib import Rib
from filament.wire.xmpp.entry import family_of
from filament.wire.xmpp.stanza import Destination, RouteItem, RoutesSent, TableFamily


class Fanout:
    """The listeners of one control node. Agents may listen before they are served."""

    def __init__(self, rib: Rib) -> None:
        self._rib = rib
        self._listening: dict[str, dict[str, None]] = {}  # instance -> agents
        self._served: set[str] = set()
        self._fresh: dict[tuple[str, str], None] = {}  # (instance, agent): wants all of it

    def serve(self, agent: str, instances: Iterable[str]) -> None:
        """Send an agent what it listens to, from the beginning."""
        self._served.add(agent)
        self._fresh |= dict.fromkeys((instance, agent) for instance in instances)

    def stop_serving(self, agent: str) -> None:
        """Send an agent nothing more; it goes on listening."""
        self._served.discard(agent)
        self._fresh = {each: None for each in self._fresh if each[1] != agent}

    def listen(self, agent: str, instance: str) -> None:
        """An agent subscribes to an instance, which need not exist."""
        self._listening.setdefault(instance, {})[agent] = None
        if agent in self._served:
            self._fresh[instance, agent] = None

    def leave(self, agent: str, instance: str) -> None:
        """An agent has unsubscribed."""
        self._fresh.pop((instance, agent), None)
        del self._listening[instance][agent]
        if not self._listening[instance]:
            del self._listening[instance]

    def take(self) -> dict[str, list[RoutesSent]]:
        """Return and forget what is to be sent, by agent; lets the RIB choose first."""
        changed: dict[str, dict[RouteKey, None]] = {}
        for change in self._rib.take_changes():
            changed.setdefault(change.instance, {})[change.key] = None
        outbox: dict[str, list[RoutesSent]] = {}
        for instance, keys in changed.items():
            agents = [
                agent
                for agent in self._listening.get(instance, ())
                if agent in self._served and (instance, agent) not in self._fresh
            ]
            if agents:
                stanzas = self._stanzas(instance, keys)
                for agent in agents:
                    outbox.setdefault(agent, []).extend(stanzas)
        whole: dict[str, list[RoutesSent]] = {}
        for instance, agent in self._fresh:
            if instance not in whole:
                whole[instance] = self._stanzas(instance, self._rib.selections(instance))
            if whole[instance]:
                outbox.setdefault(agent, []).extend(whole[instance])
        self._fresh.clear()
        return outbox

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
