"""What one control node has been told in one session, and what is still to be told.

Pure. Everything here dies with the session: the next one begins by telling everything again.
Order matters on the wire: an instance is subscribed before routes are published in it, and left
after they are retracted; `EndOfRib` follows the first complete publication, `Synced` comes last.
"""

from __future__ import annotations

from collections.abc import Mapping

from filament.wire.xmpp.stanza import (
    ConfigSubscribed,
    ConfigUnsubscribed,
    Destination,
    EndOfRib,
    FromAgent,
    InstanceSubscribed,
    InstanceUnsubscribed,
    RoutePublished,
    RouteRetracted,
    Sync,
    Synced,
)

RouteKey = tuple[str, Destination]  # instance, destination
# The parent that TF gives every virtual-router.
ROUTER_PARENT = "default-global-system-config"


class Session:
    """One session with one control node, from connect to loss.

    `unanswered` is the newest Sync not acknowledged yet, `received` and `acknowledged` sequence
    numbers. `has_ended_rib` says that the control node knows that we have told everything.
    """

    def __init__(self, host: str) -> None:
        self.instances: dict[str, int] = {}
        self.unanswered: Sync | None = None
        self.received = 0
        self.acknowledged = 0
        self.has_ended_rib = False
        self._routes: dict[RouteKey, RoutePublished] = {}
        self._machines: set[str] = set()
        self._outbox: list[FromAgent] = [
            ConfigSubscribed("virtual-router", f"{ROUTER_PARENT}:{host}", takes_edits=True)
        ]

    def take(self) -> list[FromAgent]:
        """Return and forget what is to be told."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def want_machine(self, machine: str) -> None:
        """Ask for a virtual machine's configuration, once."""
        if machine not in self._machines:
            self._machines.add(machine)
            self._outbox.append(ConfigSubscribed("virtual-machine", machine))

    def release_machine(self, machine: str) -> None:
        """No longer ask for it."""
        if machine in self._machines:
            self._machines.discard(machine)
            self._outbox.append(ConfigUnsubscribed("virtual-machine", machine))

    def publish(
        self, instances: Mapping[str, int], routes: Mapping[RouteKey, RoutePublished]
    ) -> list[str]:
        """Tell the difference to what has been told; return the instances that were left."""
        for instance, number in instances.items():
            if self.instances.get(instance) != number:
                if instance in self.instances:
                    # Its number is part of the route distinguisher: the old routes must go.
                    self._leave(instance)
                self._outbox.append(InstanceSubscribed(instance, number))
                self.instances[instance] = number
        for key in self._routes.keys() - routes.keys():
            del self._routes[key]
            self._outbox.append(RouteRetracted(*key))
        for key, route in routes.items():
            if self._routes.get(key) != route:
                self._routes[key] = route
                self._outbox.append(route)
        left = sorted(self.instances.keys() - instances.keys())
        for instance in left:
            self._leave(instance)
        return left

    def acknowledge(self, sync: Sync) -> None:
        """Everything up to `sync` is applied, and what follows from it has been published."""
        if not self.has_ended_rib:
            self.has_ended_rib = True
            self._outbox.append(EndOfRib())
        self.acknowledged = sync.sequence
        self._outbox.append(Synced(sync.sequence, sync.revision))
        if self.unanswered is not None and self.unanswered.sequence == sync.sequence:
            self.unanswered = None

    def _leave(self, instance: str) -> None:
        """Leaving an instance withdraws what was published in it."""
        for key in [key for key in self._routes if key[0] == instance]:
            del self._routes[key]
        del self.instances[instance]
        self._outbox.append(InstanceUnsubscribed(instance))
