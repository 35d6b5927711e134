"""The plan: what the intent means in L3VPN terms. Rebuildable from configuration at any time."""

from __future__ import annotations

import msgspec

from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin
from filament.wire.xmpp.stanza import Link, Node


class Slot(msgspec.Struct, frozen=True, order=True):
    """A number the plan needs: which pool, and for whom. The API allocates it (see Allocation)."""

    pool: str
    owner: str


class RoutingInstance(msgspec.Struct, frozen=True):
    """One VRF of the cluster; the default one of a network has the network's name twice.

    `name` and `network` are fq names in one string. `target` is its own route target
    (`target:64512:8000000`; "" until allocated). `imports` and `exports` hold all targets,
    its own and those learnt through `connections` (names of the instances it leaks with) included;
    `own_imports` is `imports` without the learnt ones. `intent_uuid` is the object's uuid where a
    client made the instance, "" where it is rendered.
    """

    name: str
    network: str
    network_uuid: str
    network_id: int
    target: str
    imports: frozenset[str]
    exports: frozenset[str]
    connections: tuple[str, ...] = ()
    is_default: bool = True
    origin: Origin = NOWHERE
    own_imports: frozenset[str] = frozenset()
    intent_uuid: str = ""


ANY_GROUP = -1  # a security group, whichever (TF's number for it)


class AclMatch(msgspec.Struct, frozen=True):
    """One side of an ACL rule. `network` is an fq name, "any" or "" (any); prefix None is any.

    `group` is the number of a security group the address must be in, None for no such condition.
    """

    network: str = "any"
    prefix: Prefix | None = None
    ports: tuple[int, int] = (0, 65535)
    group: int | None = None


class AclRule(msgspec.Struct, frozen=True):
    """One ordered rule of an access control list.

    `protocol` is an IP protocol number or None for any; `both_ways` is TF's direction `<>`;
    `version` is 4 or 6, None for both. In rules on ICMP the ports of the destination are a type and
    a code, as OpenStack writes them; the code is 65535, or the type again, for any. An `origin` of
    revision 0 is of its list's revision.
    """

    source: AclMatch
    destination: AclMatch
    protocol: int | None
    passes: bool
    both_ways: bool
    rule_uuid: str
    origin: Origin = NOWHERE
    version: int | None = None


class Acl(msgspec.Struct, frozen=True):
    """An access control list: first matching rule decides.

    A virtual network has one only when it has policies; without it, traffic that has a route
    passes. A security group has two, for egress and ingress: what no rule passes is dropped.
    `name` is the object's fq name (`domain:project:network:network`), `network` that of the
    network, "" where the parent is a group.
    """

    name: str
    network: str
    parent_uuid: str
    rules: tuple[AclRule, ...]
    origin: Origin = NOWHERE
    parent_kind: str = "virtual-network"


class Plan(msgspec.Struct, frozen=True):
    """The whole plan at one revision; tables keyed by row name."""

    revision: int
    routing_instances: dict[str, RoutingInstance]
    acls: dict[str, Acl]


class PlanDelta(msgspec.Struct, frozen=True):
    """What one commit changed in the plan: names of rows put (added or changed) and deleted."""

    revision: int
    instances_put: frozenset[str] = frozenset()
    instances_deleted: frozenset[str] = frozenset()
    acls_put: frozenset[str] = frozenset()
    acls_deleted: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed: so with most commits."""
        return not (
            self.instances_put or self.instances_deleted or self.acls_put or self.acls_deleted
        )


class AgentView(msgspec.Struct, frozen=True):
    """Everything one agent may know: nodes by (kind, name), and the links between them."""

    nodes: dict[tuple[str, str], Node]
    links: frozenset[Link]
