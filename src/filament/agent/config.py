"""What an agent's configuration means: graph -> ports, subnets and filters of `forward.inputs`.

Pure, and tolerant: a partial graph gives the ports that are complete and says what the others wait
for; an object with a malformed value becomes a `Problem` and costs nobody else anything. Values
are TF's property shapes; numbers and booleans may be text, as TF's own XML has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Struct

from filament.agent.filters import ReadFilter, is_dynamic, read_filter
from filament.agent.firewall import FirewallMemory, FirewallReading
from filament.agent.graph import Graph
from filament.agent.interface import (
    ACTIVE_STANDBY,
    FatFlows,
    HashedFields,
    Interface,
    fat_flows,
    flow_limit,
    listed,
    load_balance,
)
from filament.base.errors import InputError
from filament.base.limits import MAX_ACL_RULES
from filament.base.net import Prefix, parse_address, parse_mac
from filament.base.origin import NOWHERE, Origin
from filament.forward.inputs import (
    ABILITIES,
    Abilities,
    AddressPair,
    FatFlow,
    Filter,
    FilterRule,
    PolicySet,
    SecurityGroup,
    Subnet,
    Vrf,
)
from filament.wire.xmpp.stanza import Node

VMI = "virtual-machine-interface"
DEFAULT_ENCAPSULATIONS = ("udp", "gre", "vxlan")
_ENCAPSULATION_BY_NAME = {"MPLSoUDP": "udp", "MPLSoGRE": "gre", "VXLAN": "vxlan"}
_GROUP = "security-group"
_SUBNETS = "virtual-network-network-ipam"
ShapeT = TypeVar("ShapeT")


class Problem(Struct, frozen=True, order=True):
    """Something received that cannot be used: the object (`kind name`) and what is wrong."""

    object: str
    text: str


class PortConfig(Struct, frozen=True):
    """A port as configured: everything `forward.inputs.Port` has but the device. `standbys` are the
    prefixes that one of several ports holds at a time.
    """

    uuid: str
    name: str
    mac: int
    addresses: tuple[int, ...]
    vrf: str
    network: str
    acl: str | None
    has_policy: bool
    origin: Origin = NOWHERE
    addresses6: tuple[int, ...] = ()
    security_groups: tuple[str, ...] = ()
    pairs: tuple[AddressPair, ...] = ()
    checks_mac: bool = True
    checks_source: bool = True
    flow_limit: int = 0
    load_balance: tuple[str, ...] | None = None
    tags: tuple[int, ...] = ()
    policy_sets: tuple[str, ...] = ()
    fwaas_sets: tuple[str, ...] = ()
    fat_flows: tuple[FatFlow, ...] = ()
    standbys: tuple[Prefix, ...] = ()


class Configuration(Struct, frozen=True):
    """The meaning of one graph.

    `ports` by uuid, complete ones only; `waiting` says of the others what they lack. `subnets`,
    `filters` and `vrfs` belong to the networks in the graph, `routers` are its virtual-routers by
    fq name. `encapsulations` is the cluster's priority, in the words of routes, `flow_export_rate`
    how many sessions a second a host may tell of (None: TF's default).
    """

    ports: dict[str, PortConfig] = {}
    waiting: dict[str, str] = {}
    subnets: tuple[Subnet, ...] = ()
    filters: tuple[Filter, ...] = ()
    problems: tuple[Problem, ...] = ()
    routers: dict[str, Origin] = {}
    vrfs: tuple[Vrf, ...] = ()
    encapsulations: tuple[str, ...] = DEFAULT_ENCAPSULATIONS
    flow_export_rate: int | None = None
    security_groups: tuple[SecurityGroup, ...] = ()
    policy_sets: tuple[PolicySet, ...] = ()


class _SecurityGroup(Struct):
    security_group_id: int | None = None


class _InstanceIp(Struct):
    instance_ip_address: str | None = None
    instance_ip_mode: str | None = None


class _NetworkProperties(Struct):
    forwarding_mode: str | None = None
    vxlan_network_identifier: int | None = None
    rpf: str | None = None
    max_flows: int | None = None


class _Network(Struct):
    virtual_network_fat_flow_protocols: FatFlows | None = None
    ecmp_hashing_include_fields: HashedFields | None = None
    virtual_network_properties: _NetworkProperties | None = None
    virtual_network_network_id: int | None = None
    flood_unknown_unicast: bool | None = None


class _Priorities(Struct):
    encapsulation: list[str] | str | None = None


class _Global(Struct):
    ecmp_hashing_include_fields: HashedFields | None = None
    encapsulation_priorities: _Priorities | None = None
    flow_export_rate: int | None = None
    forwarding_mode: str | None = None
    vxlan_network_identifier_mode: str | None = None


class _Instance(Struct):
    routing_instance_is_default: bool | None = None


class _Prefix(Struct):
    ip_prefix: str | None = None
    ip_prefix_len: int | None = None


class _Subnet(Struct):
    subnet: _Prefix | None = None
    default_gateway: str | None = None
    dns_server_address: str | None = None


class _NetworkSubnets(Struct):
    ipam_subnets: list[_Subnet] | _Subnet | None = None


class _SubnetsAttribute(Struct):
    value: _NetworkSubnets | None = None


class _IpamSubnets(Struct):
    subnets: list[_Subnet] | _Subnet | None = None


class _Ipam(Struct):
    """A network-ipam: its subnets when it is a flat one."""

    ipam_subnets: _IpamSubnets | None = None


class ConfigReader:
    """Reads graphs; remembers filters by node, because access lists are long and rarely change."""

    def __init__(self, abilities: Abilities = ABILITIES) -> None:
        self.ip_versions = abilities.ip_versions
        self._filters: dict[str, tuple[Node, ReadFilter]] = {}
        self._groups: dict[str, SecurityGroup] = {}
        self.firewall = FirewallMemory()

    def read(self, graph: Graph) -> Configuration:
        """Return the meaning of a graph."""
        return _Reading(graph, self).run()

    def filter_of(self, node: Node) -> tuple[Filter, list[str]]:
        """Return an access list's filter and what is wrong with it."""
        known = self._filters.get(node.name)
        if known is None or known[0] is not node:
            known = node, read_filter(node, known[1] if known is not None else None)
            self._filters[node.name] = known
        return known[1].filter, known[1].faults

    def remember_groups(self, groups: list[SecurityGroup]) -> tuple[SecurityGroup, ...]:
        """Return the groups, those that did not change as the objects they were: planners know
        them by that.
        """
        before = self._groups
        self._groups = {
            one.name: before[one.name] if before.get(one.name) == one else one for one in groups
        }
        return tuple(self._groups.values())

    def forget_filters_but(self, names: set[str]) -> None:
        """Forget access lists that are gone."""
        for name in self._filters.keys() - names:
            del self._filters[name]


class _Reading:
    """One pass over one graph."""

    def __init__(self, graph: Graph, reader: ConfigReader) -> None:
        self._graph = graph
        self._reader = reader
        self._problems: dict[Problem, None] = {}
        self._firewall = FirewallReading(graph, reader.firewall, self._report)

    def run(self) -> Configuration:
        vrf_by_network: dict[str, str] = {}
        acl_by_network: dict[str, str] = {}
        subnets: list[Subnet] = []
        filters: list[Filter] = []
        vrfs: list[Vrf] = []
        cluster = self._read_cluster()
        for network in self._graph.of_kind("virtual-network"):
            filters.extend(self._read_filters(network, acl_by_network))
            vrf = self._vrf_of(network)
            if vrf is not None:
                vrf_by_network[network.name] = vrf
                vrfs.append(self._read_vrf(network, vrf, cluster))
                subnets.extend(self._read_subnets(network, vrf))
        policy_sets = self._firewall.read_sets()
        groups = [self._read_group(node) for node in self._graph.of_kind(_GROUP)]
        acls = self._graph.of_kind("access-control-list")
        self._reader.forget_filters_but({node.name for node in acls})
        ports: dict[str, PortConfig] = {}
        waiting: dict[str, str] = {}
        for node in self._graph.of_kind(VMI):
            interface = self._shape(node, Interface)
            if interface is None or not interface.uuid:
                if interface is not None:
                    self._report(node, "it has no uuid")
                continue
            port = self._read_port(node, interface, vrf_by_network, acl_by_network)
            if isinstance(port, PortConfig):
                ports[interface.uuid] = port
            else:
                waiting[interface.uuid] = port
        return Configuration(
            ports,
            waiting,
            tuple(subnets),
            tuple(filters),
            tuple(sorted(self._problems)),
            routers={
                node.name: Origin(f"virtual-router {node.name}", "host", node.revision)
                for node in self._graph.of_kind("virtual-router")
            },
            vrfs=tuple(vrfs),
            encapsulations=_encapsulations(cluster),
            flow_export_rate=cluster.flow_export_rate,
            security_groups=self._reader.remember_groups(groups),
            policy_sets=policy_sets,
        )

    def _read_group(self, node: Node) -> SecurityGroup:
        """Read a security group; a list of it that is not there lets nothing pass."""
        shape = self._shape(node, _SecurityGroup) or _SecurityGroup()
        rules: dict[str, tuple[FilterRule, ...]] = {}
        metadata = f"{_GROUP}-access-control-list"
        for acl in self._graph.linked(node, metadata, "access-control-list"):
            one, faults = self._reader.filter_of(acl)
            for fault in faults:
                self._report(acl, fault)
            rules[acl.name.rpartition(":")[2]] = one.rules
        return SecurityGroup(
            node.name,
            shape.security_group_id or 0,
            rules.get("egress-access-control-list", ()),
            rules.get("ingress-access-control-list", ()),
            Origin(f"{_GROUP} {node.name}", "group", node.revision),
        )

    def _read_port(
        self,
        node: Node,
        interface: Interface,
        vrf_by_network: dict[str, str],
        acl_by_network: dict[str, str],
    ) -> PortConfig | str:
        """Return a complete port, or what it waits for."""
        networks = self._graph.linked(node, f"{VMI}-virtual-network", "virtual-network")
        if not networks:
            return "its virtual-network"
        network = networks[0].name
        if network not in vrf_by_network:
            return f"the routing-instance of {network}"
        if not interface.macs:
            return "its MAC address"
        try:
            mac = parse_mac(interface.macs[0])
        except InputError as error:
            self._report(node, f"virtual_machine_interface_mac_addresses: {error}")
            return "a usable MAC address"
        addresses, standbys, revision = self._read_addresses(node)
        if not addresses[4] and not addresses[6]:
            return "an instance-ip with an address"
        groups = tuple(one.name for one in self._graph.linked(node, f"{VMI}-{_GROUP}", _GROUP))
        tags, policy_sets, fwaas_sets = self._firewall.of_port(node, networks[0])
        shape = self._shape(networks[0], _Network) or _Network()
        properties = shape.virtual_network_properties or _NetworkProperties()
        faults: list[str] = []
        pairs = interface.pairs(faults)
        fat = fat_flows(
            (
                interface.virtual_machine_interface_fat_flow_protocols,
                shape.virtual_network_fat_flow_protocols,
            ),
            faults,
        )
        for fault in faults:
            self._report(node, fault)
        return PortConfig(
            uuid=interface.uuid,
            name=node.name,
            mac=mac,
            addresses=tuple(addresses[4]),
            addresses6=tuple(addresses[6]),
            vrf=vrf_by_network[network],
            network=network,
            acl=acl_by_network.get(network),
            has_policy=not interface.virtual_machine_interface_disable_policy,
            security_groups=groups if interface.is_secured else (),
            pairs=pairs,
            checks_mac=interface.is_secured,
            checks_source=interface.is_secured and properties.rpf != "disable",
            flow_limit=interface.max_flows or flow_limit(properties.max_flows),
            load_balance=load_balance(
                interface.ecmp_hashing_include_fields,
                shape.ecmp_hashing_include_fields,
                self._read_cluster().ecmp_hashing_include_fields,
            ),
            tags=tags,
            fwaas_sets=fwaas_sets,
            policy_sets=policy_sets,
            fat_flows=fat,
            standbys=(*standbys, *_standbys(pairs, addresses)),
            origin=Origin(f"{VMI} {node.name}", "port", max(node.revision, revision)),
        )

    def _read_addresses(self, node: Node) -> tuple[dict[int, dict[int, None]], list[Prefix], int]:
        """Return the port's addresses by IP version, those of them that others may hold instead,
        and its newest instance-ip's revision.
        """
        addresses: dict[int, dict[int, None]] = {4: {}, 6: {}}
        standbys: list[Prefix] = []
        revision = 0
        for ip in self._graph.linked(node, f"instance-ip-{VMI}", "instance-ip"):
            shape = self._shape(ip, _InstanceIp)
            if shape is None or not shape.instance_ip_address:
                continue
            try:
                address = parse_address(shape.instance_ip_address)
            except InputError as error:
                self._report(ip, f"instance_ip_address: {error}")
                continue
            if address.version not in self._reader.ip_versions:
                self._report(ip, f"{address} is IPv{address.version}; it is not forwarded")
                continue
            addresses[address.version][address.value] = None
            if shape.instance_ip_mode == ACTIVE_STANDBY:
                standbys.append(Prefix.host(address.value, address.version))
            revision = max(revision, ip.revision)
        return addresses, standbys, revision

    def _read_cluster(self) -> _Global:
        """Return the cluster's settings; the defaults where it has none."""
        for node in self._graph.of_kind("global-vrouter-config"):
            return self._shape(node, _Global) or _Global()
        return _Global()

    def _read_vrf(self, network: Node, vrf: str, cluster: _Global) -> Vrf:
        shape = self._shape(network, _Network) or _Network()
        properties = shape.virtual_network_properties or _NetworkProperties()
        mode = properties.forwarding_mode or cluster.forwarding_mode or "l2_l3"
        if cluster.vxlan_network_identifier_mode == "configured":
            vni = properties.vxlan_network_identifier
        else:
            vni = shape.virtual_network_network_id
        return Vrf(
            name=vrf,
            network=network.name,
            vni=vni or 0,
            is_layer2=mode != "l3",
            is_layer3=mode != "l2",
            floods_unknown=bool(shape.flood_unknown_unicast),
            origin=Origin(f"virtual-network {network.name}", "vrf", network.revision),
        )

    def _vrf_of(self, network: Node) -> str | None:
        """Return the network's default routing instance."""
        metadata = "virtual-network-routing-instance"
        for instance in self._graph.linked(network, metadata, "routing-instance"):
            shape = self._shape(instance, _Instance)
            if shape is not None and shape.routing_instance_is_default:
                return instance.name
        return None

    def _read_filters(self, network: Node, acl_by_network: dict[str, str]) -> list[Filter]:
        """Return the one filter of a network: lists that clients made in order of their names, then
        the one its policies make, as if they were one list. Dynamic lists only mirror (TF).
        """
        metadata = "virtual-network-access-control-list"
        own = f"{network.name}:{network.name.rpartition(':')[2]}"
        linked = self._graph.linked(network, metadata, "access-control-list")
        nodes = sorted(linked, key=lambda node: (node.name == own, node.name))
        filters = []
        is_whole = True
        for node in nodes:
            if is_dynamic(node):
                continue
            one, faults = self._reader.filter_of(node)
            for fault in faults:
                self._report(node, fault)
            if is_whole:  # a list that cannot be read whole ends in deny, and so does what follows
                filters.append(one)
            is_whole = is_whole and not faults
        if not filters:
            return []
        acl_by_network[network.name] = filters[0].name if len(filters) == 1 else own
        return filters if len(filters) == 1 else [self._joined(network, own, filters)]

    def _joined(self, network: Node, name: str, filters: list[Filter]) -> Filter:
        rules = tuple(rule for one in filters for rule in one.rules)
        if len(rules) > MAX_ACL_RULES:
            self._report(
                network,
                f"its access control lists have {len(rules)} rules; only {MAX_ACL_RULES} are"
                " evaluated, those after them are replaced by deny",
            )
        revision = max(one.origin.revision for one in filters)
        return Filter(
            name,
            rules[:MAX_ACL_RULES],
            Origin(f"virtual-network {network.name}", "filters", revision),
        )

    def _read_subnets(self, network: Node, vrf: str) -> list[Subnet]:
        subnets: list[Subnet] = []
        for attribute in self._graph.linked(network, _SUBNETS, _SUBNETS):
            shape = self._shape(attribute, _SubnetsAttribute)
            value = shape.value if shape is not None else None
            source, entries = attribute, listed(value.ipam_subnets if value else None)
            if entries and all(entry.subnet is None for entry in entries):
                # The network names the subnets of a flat IPAM and leaves them to it.
                for source in self._graph.linked(attribute, _SUBNETS, "network-ipam"):
                    ipam = self._shape(source, _Ipam) or _Ipam()
                    flat = (ipam.ipam_subnets or _IpamSubnets()).subnets
                    subnets += self._serve(source, listed(flat), network, vrf)
            else:
                subnets += self._serve(source, entries, network, vrf)
        return subnets

    def _serve(
        self, source: Node, entries: list[_Subnet], network: Node, vrf: str
    ) -> Iterator[Subnet]:
        """The subnets that are forwarded; `source` is told of the others."""
        for index, entry in enumerate(entries):
            try:
                subnet = _subnet(entry, network, vrf, source.revision)
            except InputError as error:
                self._report(source, f"ipam_subnets[{index}]: {error}")
                continue
            version = subnet.prefix.version
            if version in self._reader.ip_versions:
                yield subnet
            else:
                self._report(
                    source,
                    f"ipam_subnets[{index}]: {subnet.prefix} is IPv{version}; it is not forwarded",
                )

    def _shape(self, node: Node, shape: type[ShapeT]) -> ShapeT | None:
        """Return a node's properties as `shape`, or report what does not fit."""
        try:
            return msgspec.convert(node.props, shape, strict=False)
        except msgspec.ValidationError as error:
            self._report(node, str(error))
            return None

    def _report(self, node: Node, text: str) -> None:
        self._problems[Problem(f"{node.kind} {node.name}", text)] = None


def _subnet(entry: _Subnet, network: Node, vrf: str, revision: int) -> Subnet:
    """Read one subnet; raises InputError for what is malformed."""
    given = entry.subnet
    if given is None or given.ip_prefix is None or given.ip_prefix_len is None:
        raise InputError("bad-subnet", "it has no prefix", hint="give ip_prefix and ip_prefix_len")
    prefix = Prefix.parse(f"{given.ip_prefix}/{given.ip_prefix_len}")
    return Subnet(
        vrf=vrf,
        network=network.name,
        prefix=prefix,
        gateway=_address(entry.default_gateway, prefix),
        service=_address(entry.dns_server_address, prefix),
        origin=Origin(f"virtual-network {network.name}", "subnet", max(revision, network.revision)),
    )


def _address(text: str | None, subnet: Prefix) -> int:
    """Read an address of the subnet's IP version, 0 for none."""
    if not text:
        return 0
    address = parse_address(text)
    if address.version != subnet.version:
        raise InputError(
            "bad-subnet", f"{text} is no IPv{subnet.version} address", hint=f"give one of {subnet}"
        )
    return address.value


def _encapsulations(cluster: _Global) -> tuple[str, ...]:
    """Return the cluster's priority, without words that TF does not have."""
    priorities = cluster.encapsulation_priorities or _Priorities()
    named = [_ENCAPSULATION_BY_NAME.get(one) for one in listed(priorities.encapsulation)]
    return tuple(one for one in named if one is not None) or DEFAULT_ENCAPSULATIONS


def _standbys(
    pairs: tuple[AddressPair, ...], addresses: dict[int, dict[int, None]]
) -> tuple[Prefix, ...]:
    """Return what of a port's pairs is routed to one port at a time; not its own addresses, which
    a pair may give another MAC.
    """
    own = {Prefix.host(one, version) for version, found in addresses.items() for one in found}
    shared = (one.prefix for one in pairs if one.is_standby and one.prefix.length)
    return tuple(dict.fromkeys(one for one in shared if one not in own))
