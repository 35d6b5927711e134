"""What control nodes and agents say to each other, as structs; `codec` turns them into XML.

The dialect is Tungsten Fabric's. Two additions, in our own namespace so that others ignore them:
`Sync`/`Synced` (the revision barrier) and the `origin`/`revision` attributes on nodes and items.
"""

from __future__ import annotations

import msgspec

from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin


class Node(msgspec.Struct, frozen=True):
    """An object as an agent receives it: TF's configuration download `<node>`.

    `kind` dashed, `name` the fq name in one string (TF's link nodes are named
    `attr(<left name>,<right name>)` and have their value in `props["value"]`), `props` JSON
    values under underscored property names and "uuid", `revision` the commit that last
    changed the object.
    """

    kind: str
    name: str
    props: dict[str, object] = {}
    revision: int = 0


class Link(msgspec.Struct, frozen=True, order=True):
    """An edge between two nodes of an agent's view, TF's `<link>`; `metadata` is TF's name of it
    (`virtual-machine-interface-virtual-network`).
    """

    left_kind: str
    left_name: str
    right_kind: str
    right_name: str
    metadata: str


# agent -> control -------------------------------------------------------------------------


class ConfigSubscribed(msgspec.Struct, frozen=True):
    """The agent wants a `virtual-router` or `virtual-machine` and what hangs on it."""

    kind: str
    name: str


class ConfigUnsubscribed(msgspec.Struct, frozen=True):
    """The agent no longer wants it."""

    kind: str
    name: str


class InstanceSubscribed(msgspec.Struct, frozen=True):
    """The agent wants an instance's routes; `instance_id` is its own VRF number (for the RD)."""

    instance: str
    instance_id: int


class InstanceUnsubscribed(msgspec.Struct, frozen=True):
    """The agent leaves an instance; its routes in it are withdrawn."""

    instance: str


class NextHop(msgspec.Struct, frozen=True):
    """Where a route leads: tunnel end (host-order int), MPLS label, network, encapsulations."""

    address: int
    label: int
    network: str = ""
    encapsulations: tuple[str, ...] = ("udp",)
    mac: int = 0


class RoutePublished(msgspec.Struct, frozen=True):
    """The agent reaches `prefix` in `instance` (publish + associate)."""

    instance: str
    prefix: Prefix
    next_hop: NextHop
    local_preference: int = 200
    sequence: int = 0
    sub_protocol: str = "interface"
    origin: Origin = NOWHERE


class RouteRetracted(msgspec.Struct, frozen=True):
    """The agent no longer reaches `prefix` in `instance` (publish + dissociate)."""

    instance: str
    prefix: Prefix


class EndOfRib(msgspec.Struct, frozen=True):
    """The sender has sent everything it had (either direction)."""


class Synced(msgspec.Struct, frozen=True):
    """The agent has applied everything sent before Sync `sequence`; what it published because of
    it precedes this stanza.
    """

    sequence: int
    revision: int


# control -> agent -------------------------------------------------------------------------


class RouteItem(msgspec.Struct, frozen=True):
    """The best route to a prefix: every equal-cost next hop."""

    prefix: Prefix
    next_hops: tuple[NextHop, ...]
    network: str = ""
    local_preference: int = 100
    origin: Origin = NOWHERE


class RoutesSent(msgspec.Struct, frozen=True):
    """Routes of one instance: `items` added or changed, `retracted` gone."""

    instance: str
    items: tuple[RouteItem, ...] = ()
    retracted: tuple[Prefix, ...] = ()


class ConfigSent(msgspec.Struct, frozen=True):
    """A change of the agent's configuration view; deletes carry only kind and name."""

    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    deleted_nodes: tuple[tuple[str, str], ...] = ()
    deleted_links: tuple[Link, ...] = ()


class ConfigRefused(msgspec.Struct, frozen=True):
    """The control node will not serve this subscription; `text` says why and what would help."""

    kind: str
    name: str
    text: str


class Sync(msgspec.Struct, frozen=True):
    """Everything up to `revision` has been sent. `whole` is set once the agent's complete view
    and routes have been sent, so that it may forget what it was not told about again.
    """

    sequence: int
    revision: int
    whole: bool = False


FromAgent = (
    ConfigSubscribed
    | ConfigUnsubscribed
    | InstanceSubscribed
    | InstanceUnsubscribed
    | RoutePublished
    | RouteRetracted
    | EndOfRib
    | Synced
)
FromControl = RoutesSent | ConfigSent | ConfigRefused | EndOfRib | Sync
Stanza = FromAgent | FromControl
