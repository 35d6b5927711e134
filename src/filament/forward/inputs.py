"""What `forward.plan` turns into rows: the agent's ports, subnets, routes and ACLs, all frozen."""

from __future__ import annotations

import msgspec

from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin


class Host(msgspec.Struct, frozen=True):
    """This compute host: its name and the underlay address tunnels end at (host-order int).

    `origin` is its virtual-router, as received; nowhere until then.
    """

    name: str
    address: int
    origin: Origin = NOWHERE


class Port(msgspec.Struct, frozen=True):
    """A virtual-machine-interface plugged into this host, with a device that exists.

    `vrf` is the routing instance's name, `network` the network's fq name, `acl` the ACL's name or
    None, `addresses` the instance-ips (host order; empty until allocated).
    """

    uuid: str
    name: str
    device: str
    ifindex: int
    is_veth: bool
    mac: int
    addresses: tuple[int, ...]
    vrf: str
    network: str
    acl: str | None
    has_policy: bool = True
    origin: Origin = NOWHERE


class Subnet(msgspec.Struct, frozen=True):
    """A subnet of a network, with the gateway and service addresses answered on every host."""

    vrf: str
    network: str
    prefix: Prefix
    gateway: int
    service: int = 0
    origin: Origin = NOWHERE


class Route(msgspec.Struct, frozen=True):
    """A route received from a control node: `next_hop` is a host's tunnel address."""

    vrf: str
    prefix: Prefix
    next_hop: int
    label: int
    network: str
    origin: Origin = NOWHERE


class FilterMatch(msgspec.Struct, frozen=True):
    """One side of a filter rule: network fq name ("" any), prefix, port range."""

    network: str = ""
    prefix: Prefix = Prefix(0, 0)
    ports: tuple[int, int] = (0, 65535)


class FilterRule(msgspec.Struct, frozen=True):
    """One rule of a filter; `protocol` None is any. `both_ways` rules match either direction."""

    source: FilterMatch
    destination: FilterMatch
    protocol: int | None
    passes: bool
    both_ways: bool
    origin: Origin = NOWHERE


class Filter(msgspec.Struct, frozen=True):
    """An access control list as the agent received it: first match decides, none denies."""

    name: str
    rules: tuple[FilterRule, ...]
    origin: Origin = NOWHERE


class Inputs(msgspec.Struct, frozen=True):
    """Everything rows are made from, at one configuration revision."""

    host: Host
    revision: int = 0
    ports: tuple[Port, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    routes: tuple[Route, ...] = ()
    filters: tuple[Filter, ...] = ()
