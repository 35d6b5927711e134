"""What `forward.plan` turns into rows: the agent's ports, subnets, routes and ACLs, all frozen."""

from __future__ import annotations

import msgspec

from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin

# Of routes (TF's path preference): of what one of several ports holds, the standbys'; all others.
LOW_PREFERENCE, HIGH_PREFERENCE = 100, 200


class Abilities(msgspec.Struct, frozen=True):
    """What rows can be made for; an agent offers and accepts nothing else."""

    encapsulations: frozenset[str]
    ip_versions: frozenset[int]


ABILITIES = Abilities(frozenset({"udp", "vxlan"}), frozenset({4, 6}))


class Host(msgspec.Struct, frozen=True):
    """This compute host: its name and the underlay address tunnels end at (host-order int).

    `origin` is its virtual-router, as received; nowhere until then.
    """

    name: str
    address: int
    origin: Origin = NOWHERE


class AddressPair(msgspec.Struct, frozen=True):
    """An allowed address pair: what a port may send from besides its own, and receives.

    `mac` 0 is the port's own. `is_standby` pairs (TF's active-standby) are held by one of several
    ports at a time (the port's `standbys` say how it stands), the others by all at once.
    """

    prefix: Prefix
    mac: int = 0
    is_standby: bool = False


class Standby(msgspec.Struct, frozen=True, order=True):
    """Addresses of a port that one of several ports holds at a time, and how this one stands with
    them (TF's path preference): of several, the highest `preference` holds them, then the highest
    `sequence`, which the newest claim has.
    """

    prefix: Prefix
    preference: int
    sequence: int


class Grouping(msgspec.Struct, frozen=True):
    """Addresses of a prefix that are told apart by their first `length` bits only."""

    prefix: Prefix
    length: int

    def __str__(self) -> str:
        """Write it like 10.0.0.0/8 by /28."""
        return f"{self.prefix} by /{self.length}"


class FatFlow(msgspec.Struct, frozen=True):
    """Connections of a port that count as one (TF's fat flow): those of a protocol that have `port`
    at one end, whatever the other (0: all of the protocol's), and also whatever their address at
    the port (`ignores_local`), or at the far end.

    With `local` or `remote` (or both, of one IP version) it is about addresses in those prefixes
    only, and does not tell them apart any further than they say.
    """

    protocol: int
    port: int
    ignores_local: bool = False
    ignores_remote: bool = False
    local: Grouping | None = None
    remote: Grouping | None = None

    def __str__(self) -> str:
        """Write it like `protocol 17 port 53, any local address, remote 10.0.0.0/8 by /28`."""
        sides = (
            ("local", self.ignores_local, self.local),
            ("remote", self.ignores_remote, self.remote),
        )
        parts = [f"protocol {self.protocol} port {self.port or 'any'}"]
        parts += [
            f"any {name} address" if is_ignored else f"{name} {grouping}"
            for name, is_ignored, grouping in sides
            if is_ignored or grouping is not None
        ]
        return ", ".join(parts)


class Port(msgspec.Struct, frozen=True):
    """A virtual-machine-interface plugged into this host, with a device that exists.

    `vrf` is the routing instance's name, `network` the network's fq name, `acl` the ACL's name or
    None, `addresses` the IPv4 instance-ips and `addresses6` the IPv6 ones (host order; empty until
    allocated). `flow_limit` is how many flows it may have, 0 for no limit of its own.
    `security_groups` are the names of those it is in; in none, everything may come and go.
    `pairs` are its allowed address pairs. `checks_mac` and `checks_source` say whether it may send
    from its own MAC and addresses only, and what is routed to it. `load_balance` are the fields
    of packets that choose among it and others with the same address, None for all five.
    `tags` are the numbers of those it has by TF's precedence, `policy_sets` the names of the
    application policy sets that hold for it, in order; those of `fwaas_sets` are asked apart, and
    both must allow. Of `fat_flows` with the same protocol, port and prefixes the first counts.
    `standbys` are those of its addresses and pairs that it shares with ports that stand by.
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
    addresses6: tuple[int, ...] = ()
    flow_limit: int = 0
    security_groups: tuple[str, ...] = ()
    pairs: tuple[AddressPair, ...] = ()
    checks_mac: bool = True
    checks_source: bool = True
    load_balance: tuple[str, ...] | None = None
    tags: tuple[int, ...] = ()
    policy_sets: tuple[str, ...] = ()
    fwaas_sets: tuple[str, ...] = ()
    fat_flows: tuple[FatFlow, ...] = ()
    standbys: tuple[Standby, ...] = ()


class Vrf(msgspec.Struct, frozen=True):
    """A routing instance that has ports here.

    `vni` is its network's VXLAN identifier, 0 for none. `is_layer2` and `is_layer3` say what is
    forwarded in it (the network's forwarding mode). `floods_unknown` says that frames to a MAC
    without a route go to every host of `floods` instead of nowhere.
    """

    name: str
    network: str
    vni: int = 0
    is_layer2: bool = True
    is_layer3: bool = True
    floods_unknown: bool = False
    origin: Origin = NOWHERE


class Hop(msgspec.Struct, frozen=True, order=True):
    """One way to another host: where the tunnel ends, and what packets carry through it.

    `encapsulation` is `udp` or `gre` (`label` is an MPLS label) or `vxlan` (`label` is a VNI).
    `router_mac` is the inner destination of packets that are routed through a VXLAN.
    """

    address: int
    label: int
    encapsulation: str = "udp"
    router_mac: int = 0


class Subnet(msgspec.Struct, frozen=True):
    """A subnet of a network, with the gateway and service addresses answered on every host."""

    vrf: str
    network: str
    prefix: Prefix
    gateway: int
    service: int = 0
    origin: Origin = NOWHERE


class Route(msgspec.Struct, frozen=True):
    """A route received from a control node, IPv4 or IPv6 by its prefix.

    `next_hop` is a host's tunnel address; with `label` and `encapsulation` it is the first way.
    `others` are the ways of equal cost besides it. `security_groups` and `tags` are those of the
    destination, as the route carries them. `router_mac` is what frames in VXLAN are addressed to
    (EVPN type 5), 0 for TF's own. `load_balance` are the fields of packets that choose among
    several ways (`LOAD_BALANCE_FIELDS`), None for all five. `preference` and `sequence` are
    to be compared with those of ports here.
    """

    vrf: str
    prefix: Prefix
    next_hop: int
    label: int
    network: str
    origin: Origin = NOWHERE
    encapsulation: str = "udp"
    others: tuple[Hop, ...] = ()
    security_groups: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()
    router_mac: int = 0
    load_balance: tuple[str, ...] | None = None
    preference: int = HIGH_PREFERENCE
    sequence: int = 0


class MacRoute(msgspec.Struct, frozen=True):
    """Where a MAC address of a VRF is (EVPN type 2), as received; the first of `hops` is best.

    `address` is the IP address it goes with, None for the MAC alone.
    """

    vrf: str
    mac: int
    hops: tuple[Hop, ...]
    network: str
    address: Prefix | None = None
    origin: Origin = NOWHERE
    security_groups: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()


class Flood(msgspec.Struct, frozen=True):
    """Another host that takes broadcast, unknown and multicast frames of a VRF (EVPN type 3)."""

    vrf: str
    hop: Hop
    origin: Origin = NOWHERE


class FilterMatch(msgspec.Struct, frozen=True):
    """One side of a filter rule: network fq name ("" any), prefix (of length 0: any), port range,
    and the number of a security group that the address must be a member of (0: none).
    """

    network: str = ""
    prefix: Prefix = Prefix(0, 0)
    ports: tuple[int, int] = (0, 65535)
    security_group: int = 0


class FilterRule(msgspec.Struct, frozen=True):
    """One rule of a filter; `protocol` None is any, `version` 0 too. `both_ways` rules match either
    direction. `icmp` is the type and code of an ICMP rule, None for any of them.
    """

    source: FilterMatch
    destination: FilterMatch
    protocol: int | None
    passes: bool
    both_ways: bool
    origin: Origin = NOWHERE
    version: int = 0
    icmp: tuple[int | None, int | None] = (None, None)


class Filter(msgspec.Struct, frozen=True):
    """An access control list as the agent received it: first match decides, none denies."""

    name: str
    rules: tuple[FilterRule, ...]
    origin: Origin = NOWHERE


class SecurityGroup(msgspec.Struct, frozen=True):
    """A security group: what its members' flows may be, as rules that pass; its `number` travels
    with its members' routes. Egress rules have the far end for destination, ingress for source.
    """

    name: str
    number: int
    egress: tuple[FilterRule, ...] = ()
    ingress: tuple[FilterRule, ...] = ()
    origin: Origin = NOWHERE


class FirewallEnd(msgspec.Struct, frozen=True):
    """One way to be an end of a firewall rule: in the network ("" any), with an address of the
    prefix (None any; of length 0 any of its IP version), and with all of `tags` (numbers).
    """

    network: str = ""
    prefix: Prefix | None = None
    tags: tuple[int, ...] = ()


class Service(msgspec.Struct, frozen=True):
    """A protocol (None any) and its ports, where it has any."""

    protocol: int | None = None
    source_ports: tuple[int, int] = (0, 65535)
    ports: tuple[int, int] = (0, 65535)


class FirewallRule(msgspec.Struct, frozen=True):
    """One rule of a firewall policy: who may (or may not) start a flow to whom.

    The starter must be one of `sources`, the other end one of `destinations`, and the packet one of
    `services`: with none of something it matches nothing. `both_ways` rules match with the ends
    exchanged, too (the service stays: its `ports` are those of whom is spoken to). `match` are tag
    types of which both ends must have a tag in common.
    """

    sources: tuple[FirewallEnd, ...]
    destinations: tuple[FirewallEnd, ...]
    services: tuple[Service, ...]
    passes: bool
    both_ways: bool
    match: tuple[int, ...] = ()
    name: str = ""
    revision: int = 0


class FirewallPolicy(msgspec.Struct, frozen=True):
    """Firewall rules in order: the first that matches decides."""

    name: str
    rules: tuple[FirewallRule, ...]
    revision: int = 0


class PolicySet(msgspec.Struct, frozen=True):
    """An application policy set: firewall policies in order. What none of a port's decides on is
    denied, unless the port's sets have no policy at all.
    """

    name: str
    policies: tuple[FirewallPolicy, ...]
    origin: Origin = NOWHERE


class Inputs(msgspec.Struct, frozen=True):
    """Everything rows are made from, at one configuration revision."""

    host: Host
    revision: int = 0
    ports: tuple[Port, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    routes: tuple[Route, ...] = ()
    filters: tuple[Filter, ...] = ()
    vrfs: tuple[Vrf, ...] = ()
    macs: tuple[MacRoute, ...] = ()
    floods: tuple[Flood, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()
    policy_sets: tuple[PolicySet, ...] = ()
