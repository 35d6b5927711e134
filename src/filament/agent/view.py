"""What one control node told this agent: configuration graph and routes, batch by batch.

Pure. Stanzas wait in `pending` until the Sync that closes their batch, so that the picture is
always of one revision. It outlives the session: what a lost control node said is kept, and swept
only when the next session has said everything again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from filament.agent.config import Problem
from filament.agent.graph import Graph
from filament.agent.usable import Usable, usable_of, why_unusable
from filament.base.errors import ProtocolError
from filament.forward.inputs import ABILITIES, Abilities
from filament.wire.xmpp.entry import format_destination
from filament.wire.xmpp.stanza import (
    ConfigRefused,
    ConfigSent,
    Destination,
    Link,
    Node,
    RouteItem,
    RoutesSent,
    Sync,
)

# A control node that never ends its batch must not fill our memory.
MAX_PENDING_STANZAS = 100_000


class SavedInstance(msgspec.Struct, frozen=True):
    """The routes of one instance, as saved."""

    instance: str
    items: tuple[RouteItem, ...] = ()


class SavedView(msgspec.Struct, frozen=True):
    """A view as it is kept on disk."""

    control: str
    revision: int = 0
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    instances: tuple[SavedInstance, ...] = ()


class View:
    """The picture one control node gave; lives as long as the agent knows that control node.

    `revision` is the last Sync's. `is_whole` says that this session has sent everything; until
    then the picture holds what earlier sessions said too. `has_been_whole` says that some session
    did. `config_changes` and `route_changes` count changes, for those who remember what they
    derived.
    """

    def __init__(
        self, own_address: int, saved: SavedView | None = None, abilities: Abilities = ABILITIES
    ) -> None:
        self.graph = Graph()
        self.revision = 0
        self.is_whole = False
        self.has_been_whole = saved is not None
        self.config_changes = 0
        self.route_changes = 0
        self.refusals: dict[tuple[str, str], Problem] = {}
        self._own_address = own_address
        self._pending: list[ConfigSent | RoutesSent | ConfigRefused] = []
        self._abilities = abilities
        self._items: dict[str, dict[Destination, RouteItem]] = {}
        self._usable: dict[str, dict[Destination, Usable]] = {}
        self._stale: set[tuple[str, Destination]] = set()
        if saved is not None:
            self.revision = saved.revision
            self.graph = Graph(saved.nodes, saved.links)
            for one in saved.instances:
                self._take_routes(RoutesSent(one.instance, items=one.items))

    def save(self, control: str) -> SavedView:
        """Return the picture for the disk."""
        return SavedView(
            control=control,
            revision=self.revision,
            nodes=tuple(self.graph.nodes),
            links=tuple(self.graph.links),
            instances=tuple(
                SavedInstance(instance, tuple(items.values()))
                for instance, items in self._items.items()
            ),
        )

    def begin_session(self) -> None:
        """A session begins: its half batch of before is void, everything known becomes stale."""
        self.end_session()
        self.graph.mark_stale()
        self.refusals.clear()
        self._stale = {
            (instance, each) for instance, items in self._items.items() for each in items
        }

    def end_session(self) -> None:
        """The session is over; what its unfinished batch said never happened."""
        self._pending.clear()
        self.is_whole = False

    def receive(self, stanza: ConfigSent | RoutesSent | ConfigRefused) -> None:
        """Keep a stanza until its batch is complete; raises ProtocolError when it never is."""
        if len(self._pending) >= MAX_PENDING_STANZAS:
            raise ProtocolError(
                "policy-violation", f"{MAX_PENDING_STANZAS} stanzas came without a sync after them"
            )
        self._pending.append(stanza)

    def complete(self, sync: Sync, *, is_whole: bool) -> None:
        """The batch is complete: take it in; `is_whole` also ends what is still stale."""
        pending, self._pending = self._pending, []
        for stanza in pending:
            match stanza:
                case ConfigSent():
                    self.graph.receive(stanza)
                    for node in stanza.nodes:
                        self.refusals.pop((node.kind, node.name), None)
                    self.config_changes += 1
                case RoutesSent():
                    self._take_routes(stanza)
                case ConfigRefused(kind=kind, name=name, text=text):
                    self.refusals[kind, name] = Problem(f"{kind} {name}", text)
        self.revision = sync.revision
        if is_whole and not self.is_whole:
            self.is_whole = self.has_been_whole = True
            self._sweep()

    def forget_instance(self, instance: str) -> None:
        """Forget the routes of an instance that is not subscribed any more."""
        if self._items.pop(instance, None) is not None:
            self._usable.pop(instance, None)
            self._stale = {key for key in self._stale if key[0] != instance}
            self.route_changes += 1

    @property
    def instances(self) -> Iterable[str]:
        """The instances with routes."""
        return self._items.keys()

    def usable_of(self, instance: str) -> dict[Destination, Usable]:
        """Return the usable routes of an instance; not to be changed."""
        return self._usable.get(instance, {})

    def items_of(self, instance: str) -> dict[Destination, RouteItem]:
        """Return the routes of an instance as received; not to be changed."""
        return self._items.get(instance, {})

    def unusable_routes(self) -> list[Problem]:
        """Say which routes this host cannot use, and why."""
        return [
            Problem(f"route {format_destination(item.destination)} in {instance}", reason)
            for instance, items in self._items.items()
            for item in items.values()
            if (reason := why_unusable(item, self._abilities))
        ]

    def _take_routes(self, sent: RoutesSent) -> None:
        items = self._items.setdefault(sent.instance, {})
        usable = self._usable.setdefault(sent.instance, {})
        is_changed = False
        for destination in sent.retracted:
            is_changed |= items.pop(destination, None) is not None
            usable.pop(destination, None)
            self._stale.discard((sent.instance, destination))
        for item in sent.items:
            self._stale.discard((sent.instance, item.destination))
            if items.get(item.destination) == item:
                continue  # as it was: a new session tells everything again
            is_changed = True
            items[item.destination] = item
            found = usable_of(sent.instance, item, self._own_address, self._abilities)
            if found is None:
                usable.pop(item.destination, None)
            else:
                usable[item.destination] = found
        self.route_changes += is_changed

    def _sweep(self) -> None:
        self.graph.sweep()
        self.config_changes += 1
        self.route_changes += bool(self._stale)
        for instance, destination in self._stale:
            self._items.get(instance, {}).pop(destination, None)
            self._usable.get(instance, {}).pop(destination, None)
        self._stale.clear()
