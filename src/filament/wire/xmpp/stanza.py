"""What control nodes and agents say to each other, as structs; `codec` turns them into XML.

The dialect is Tungsten Fabric's. Three additions, in our own namespace so that others ignore them:
`Sync`/`Synced` (the revision barrier), the `origin`/`revision` attributes on nodes and items, and
`RulesEdited`, which only those are sent who say that they understand it.
"""

from __future__ import annotations

import enum

import msgspec

from filament.base.net import MAX_MAC, Prefix
from filament.base.origin import NOWHERE, Origin

BROADCAST_MAC = MAX_MAC
NO_ADDRESS = Prefix(0, 0)


class TableFamily(enum.Enum):
    """The tables of an instance that are spoken of; the value is AFI/SAFI as TF's XMPP has it."""

    INET = "1/1"
    INET6 = "2/1"
    ENET = "25/242"


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
    """The agent wants a `virtual-router` or `virtual-machine` and what hangs on it. One that
    `takes_edits` understands `RulesEdited`.
    """

    kind: str
    name: str
    takes_edits: bool = False


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


class MacKey(msgspec.Struct, frozen=True, order=True):
    """What an Ethernet (e-vpn) route leads to; TF writes it `[TAG-]MAC,IP/LEN`.

    - Type 2: `mac`, and `address` a host's prefix; 0.0.0.0/0 means the MAC alone.
    - Type 3: `mac` is `BROADCAST_MAC` and `address` 0.0.0.0/32: frames for everybody. The control
      node sends one such route per instance, with all hosts in `RouteItem.flood`.
    - Type 5: `mac` is 0 and `address` any prefix.
    """

    mac: int
    address: Prefix = NO_ADDRESS
    tag: int = 0


Destination = Prefix | MacKey


class NextHop(msgspec.Struct, frozen=True):
    """Where a route leads: tunnel end (host-order int), label, network, encapsulations.

    With `vxlan` among the encapsulations, `label` is a VNI for a MacKey; `vni` is that of a prefix.
    `mac` is the router's MAC (an Ethernet route's) or the port's; `l3_label` is for packets that
    are routed to a host found by its MAC. `tags` are those of the destination (TF's tag-list).
    """

    address: int
    label: int
    network: str = ""
    encapsulations: tuple[str, ...] = ("udp",)
    mac: int = 0
    vni: int = 0
    l3_label: int = 0
    tags: tuple[int, ...] = ()


class RoutePublished(msgspec.Struct, frozen=True):
    """The agent reaches `destination` in `instance` (publish + associate).

    `med` 0 lets the control node derive it from the preference. `load_balance` are the packet's
    fields that choose among several ways, None for TF's default of all five. `communities` are
    texts (`no-advertise`, `64512:7`).
    """

    instance: str
    destination: Destination
    next_hop: NextHop
    local_preference: int = 200
    sequence: int = 0
    sub_protocol: str = "interface"
    origin: Origin = NOWHERE
    med: int = 0
    is_sticky: bool = False
    security_groups: tuple[int, ...] = ()
    communities: tuple[str, ...] = ()
    load_balance: tuple[str, ...] | None = None


class RouteRetracted(msgspec.Struct, frozen=True):
    """The agent no longer reaches `destination` in `instance` (publish + dissociate)."""

    instance: str
    destination: Destination


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
    """The best route to a destination: every equal-cost next hop.

    `flood` takes the place of `next_hops` in the route of `BROADCAST_MAC` (TF's olist): frames for
    everybody go to all of them. The other fields are those of `RoutePublished`.
    """

    destination: Destination
    next_hops: tuple[NextHop, ...] = ()
    network: str = ""
    local_preference: int = 100
    origin: Origin = NOWHERE
    med: int = 0
    sequence: int = 0
    is_sticky: bool = False
    security_groups: tuple[int, ...] = ()
    communities: tuple[str, ...] = ()
    load_balance: tuple[str, ...] | None = None
    flood: tuple[NextHop, ...] = ()


class RoutesSent(msgspec.Struct, frozen=True, cache_hash=True):
    """Routes of one instance: `items` added or changed, `retracted` gone.

    `family` is the table's; every destination is of it. The same one goes to many agents and is
    encoded once: hence the hash is kept.
    """

    instance: str
    items: tuple[RouteItem, ...] = ()
    retracted: tuple[Destination, ...] = ()
    family: TableFamily = TableFamily.INET


class RulesEdited(msgspec.Struct, frozen=True):
    """An access-control-list that the agent was sent before got other rules in one place.

    In the list whose hash is `before`, `rules` take the place of `count` rules from `start` on;
    then its hash is `hash`, and its revision `revision`. All else in it is as it was.
    """

    name: str
    revision: int
    before: int
    hash: int
    start: int
    count: int
    rules: tuple[object, ...] = ()


class ConfigSent(msgspec.Struct, frozen=True):
    """A change of the agent's configuration view; deletes carry only kind and name."""

    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    deleted_nodes: tuple[tuple[str, str], ...] = ()
    deleted_links: tuple[Link, ...] = ()
    edits: tuple[RulesEdited, ...] = ()


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
