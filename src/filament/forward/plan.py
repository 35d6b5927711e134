"""From ports, subnets, routes and filters to the complete rows of one host. Pure.

Rules of precedence for one prefix of a VRF: a local port's address, then a received route, then
the gateway and service addresses, then the subnet. A filter becomes an ACL under a number of its
own content: changed content is another number, so a port goes from one ACL to the next by one
row, and never sees half of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from filament.base.net import ROUTER_MAC, Prefix, format_ipv4, format_mac, mask_of, widen_address
from filament.base.origin import NOWHERE, Origin
from filament.forward.ids import SPACES, Ids
from filament.forward.inputs import Filter, FilterMatch, FilterRule, Inputs, Port, Route, Subnet
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    INTERFACE_POLICY,
    NEXT_HOP_PEER,
    NEXT_HOP_VXLAN,
    PROTOCOL_ANY,
    ROUTE_PROXY_ARP,
    TABLES,
    NextHopType,
)
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS, Key, Row, Tables

_VXLAN = "vxlan"
_WIDE_BITS = 96  # that a wide IPv4 address has before its own


def plan(inputs: Inputs, ids: Ids, *, whole: bool = True) -> Tables:
    """Return all rows of the host. Numbers come from `ids`, which changes.

    Write `ids` to disk before the rows. With `whole` false, inputs may still be missing (an agent
    that has just started): no number is released then. Raises PermanentError when numbers run out.
    """
    planner = _Planner(inputs, ids)
    planner.plan_filters()
    planner.plan_ports()
    planner.plan_vrfs()
    planner.plan_subnets()
    planner.plan_routes()
    planner.plan_host()
    if whole:
        ids.release_unused(planner.used)
    return Tables(inputs.revision, planner.rows)


class _Place(NamedTuple):
    """A prefix in a VRF."""

    vrf: str
    prefix: Prefix


class _Planner:
    """One run of `plan`: the rows so far, and the names whose numbers they use."""

    def __init__(self, inputs: Inputs, ids: Ids) -> None:
        self.inputs = inputs
        self.rows: dict[str, dict[Key, Row]] = {t.name: {} for t in TABLES if t.planned}
        self.used: dict[str, set[str]] = {space: set() for space in SPACES}
        self._ids = ids
        self._acl_by_filter: dict[str, int] = {}
        self._port_by_label: dict[int, Port] = {}
        self._subnets: dict[str, list[Prefix]] = {}
        for subnet in inputs.subnets:
            self._subnets.setdefault(subnet.vrf, []).append(subnet.prefix)

    def _number(self, space: str, key: str) -> int:
        self.used[space].add(key)
        return self._ids.get(space, key)

    def _network(self, name: str) -> int:
        return self._number("network", name) if name else 0

    # --- filters ---

    def plan_filters(self) -> None:
        for one in self.inputs.filters:
            acl = self._number("acl", f"{one.name} {_fingerprint(_content(one))}")
            self._acl_by_filter[one.name] = acl
            index = 0
            for rule in one.rules:
                for source, destination, origin in _directions(rule):
                    values = self._rule_values(rule, source, destination)
                    self.rows["acl_rules"][acl, index] = Row(values, origin)
                    index += 1
            self.rows["acls"][acl,] = Row((index,), one.origin)

    def _rule_values(
        self, rule: FilterRule, source: FilterMatch, destination: FilterMatch
    ) -> tuple[int, ...]:
        return (
            self._network(source.network),
            self._network(destination.network),
            *_wide_prefix(source.prefix),
            *_wide_prefix(destination.prefix),
            *source.ports,
            *destination.ports,
            PROTOCOL_ANY if rule.protocol is None else rule.protocol,
            ACL_PASS if rule.passes else ACL_DENY,
        )

    def _acl_of(self, port: Port) -> int:
        if port.acl is None:
            return 0
        if port.acl in self._acl_by_filter:
            return self._acl_by_filter[port.acl]
        # Not received: a number without rules denies everything, which is the safe side.
        acl = self._number("acl", f"{port.acl} missing")
        self.rows["acls"].setdefault((acl,), Row((0,), _because(port.origin, "missing-filter")))
        return acl

    # --- ports ---

    def plan_ports(self) -> None:
        for port in self.inputs.ports:
            next_hop = self._number("next_hop", f"port {port.uuid}")
            label = self._number("label", port.uuid)
            self._port_by_label[label] = port
            self.rows["interfaces"][port.ifindex,] = Row(
                (
                    self._number("vif", port.uuid),
                    self._number("vrf", port.vrf),
                    self._network(port.network),
                    self._acl_of(port),
                    next_hop,
                    INTERFACE_POLICY if port.has_policy else 0,
                    port.addresses[0] if port.addresses else 0,
                    port.flow_limit,
                    port.addresses6[0] if port.addresses6 else 0,
                    port.mac,
                ),
                port.origin,
            )
            self.rows["next_hops"][next_hop,] = Row(
                (
                    NextHopType.INTERFACE,
                    NEXT_HOP_PEER if port.is_veth else 0,
                    port.ifindex,
                    0,
                    port.mac,
                    ROUTER_MAC,
                ),
                port.origin,
            )
            self.rows["labels"][label,] = Row((next_hop,), port.origin)

    # --- VRFs ---

    def plan_vrfs(self) -> None:
        for vrf in self.inputs.vrfs:
            if vrf.vni and vrf.is_layer3:
                values = (self._number("vrf", vrf.name),)
                # Of two networks with one identifier the first has it.
                self.rows["vnis"].setdefault((vrf.vni,), Row(values, _because(vrf.origin, "vni")))

    # --- routes ---

    def plan_subnets(self) -> None:
        for subnet in self.inputs.subnets:
            self._plan_subnet(subnet)

    def _plan_subnet(self, subnet: Subnet) -> None:
        discard = self._shared_next_hop("discard", (NextHopType.DISCARD, 0, 0, 0, 0, 0), subnet)
        place = _Place(subnet.vrf, subnet.prefix)
        self._route(place, discard, 0, subnet.network, subnet.origin)
        values = (NextHopType.RECEIVE, 0, 0, 0, 0, ROUTER_MAC)
        receive = self._shared_next_hop("receive", values, subnet)
        for address, rule in ((subnet.service, "service-address"), (subnet.gateway, "gateway")):
            if address:
                place = _Place(subnet.vrf, Prefix.host(address, subnet.prefix.version))
                self._route(place, receive, 0, subnet.network, _because(subnet.origin, rule))

    def _shared_next_hop(self, key: str, values: tuple[int, ...], cause: Subnet | Route) -> int:
        """Return a next hop that many routes share: it is there because of the oldest of them."""
        number = self._number("next_hop", key)
        origin = _because(cause.origin, key.partition(" ")[0])
        rows = self.rows["next_hops"]
        present = rows.get((number,))
        if present is None or _age(origin) < _age(present.origin):
            rows[number,] = Row(values, origin)
        return number

    def plan_routes(self) -> None:
        received: set[_Place] = set()
        for route in self.inputs.routes:
            place = _Place(route.vrf, route.prefix)
            if place not in received and self._plan_received(place, route):
                received.add(place)
        local: set[_Place] = set()
        for port in self.inputs.ports:
            next_hop = self._number("next_hop", f"port {port.uuid}")
            for host in (
                *(Prefix.host(address) for address in port.addresses),
                *(Prefix.host(address, 6) for address in port.addresses6),
            ):
                place = _Place(port.vrf, host)
                if place not in local:
                    local.add(place)
                    origin = _because(port.origin, "local-address")
                    self._route(place, next_hop, 0, port.network, origin)

    def _plan_received(self, place: _Place, route: Route) -> bool:
        """Add a received route; False for an echo of a port that is not here any more."""
        is_vxlan = route.encapsulation == _VXLAN
        if route.next_hop == self.inputs.host.address:
            # A VNI names no port; what is here is known without it.
            port = None if is_vxlan else self._port_by_label.get(route.label)
            if port is None:
                return False
            next_hop = self._number("next_hop", f"port {port.uuid}")
            self._route(place, next_hop, 0, route.network, route.origin)
            return True
        next_hop = self._tunnel(route, is_vxlan=is_vxlan)
        self._route(place, next_hop, route.label, route.network, route.origin)
        return True

    def _tunnel(self, route: Route, *, is_vxlan: bool) -> int:
        to = format_ipv4(route.next_hop)
        if not is_vxlan:
            values = (NextHopType.TUNNEL, 0, 0, route.next_hop, 0, 0)
            return self._shared_next_hop(f"tunnel {to}", values, route)
        router = route.router_mac or ROUTER_MAC
        values = (NextHopType.TUNNEL, NEXT_HOP_VXLAN, 0, route.next_hop, router, ROUTER_MAC)
        return self._shared_next_hop(f"tunnel {to} vxlan {format_mac(router)}", values, route)

    def _route(
        self, place: _Place, next_hop: int, label: int, network: str, origin: Origin
    ) -> None:
        vrf, (address, length, version) = place
        # ARP is answered for what a workload believes to be on its own link.
        on_link = any(
            length >= subnet.length and subnet.contains(address, version)
            for subnet in self._subnets.get(vrf, ())
        )
        key = (VRF_BITS + length, self._number("vrf", vrf), address)
        flags = ROUTE_PROXY_ARP if on_link else 0
        values = (next_hop, label, self._network(network), flags)
        self.rows[ROUTES_BY_VERSION[version]][key] = Row(values, origin)

    # --- host ---

    def plan_host(self) -> None:
        generation = self._ids.generation(_fingerprint(self._policy_facts()))
        values = (self.inputs.host.address, generation, self.inputs.revision)
        origin = self.inputs.host.origin
        if origin == NOWHERE:
            # Not received yet: it is this host's all the same, of no revision.
            origin = Origin(f"virtual-router {self.inputs.host.name}", "host")
        self.rows["host"][0,] = Row(values, origin)

    def _policy_facts(self) -> list[object]:
        """Return all that a verdict in the flow table may rest on, in a stable order.

        ACLs are in it by their numbers, which stand for their contents.
        """
        ports = {key: row.values[:6] for key, row in self.rows["interfaces"].items()}
        borders = [
            network_borders({key: row.values[2] for key, row in self.rows[table].items()}, version)
            for version, table in ROUTES_BY_VERSION.items()
        ]
        return [sorted(ports.items()), *borders]


def network_borders(network_by_route: Mapping[Key, int], version: int = 4) -> list[tuple[Key, int]]:
    """Return the fewest routes that tell the same network of every address, in a stable order.

    A route inside another of the same network changes no verdict: a new port in a subnet that is
    there is no reason to judge all flows again.
    """
    borders: list[tuple[Key, int]] = []
    # Outer prefixes sort before inner ones; `around` are those that the current one lies in.
    around: list[tuple[int, int, int, int]] = []
    ordered = sorted(network_by_route, key=lambda key: (key[1], key[2], key[0]))
    for key in ordered:
        length, vrf, address = key
        while around and not _lies_in(vrf, address, around[-1], version):
            around.pop()
        network = network_by_route[key]
        if network != (around[-1][3] if around else 0):
            borders.append((key, network))
        around.append((length, vrf, address, network))
    return borders


def _lies_in(vrf: int, address: int, outer: tuple[int, int, int, int], version: int) -> bool:
    length, outer_vrf, outer_address, _ = outer
    return vrf == outer_vrf and address & mask_of(length - VRF_BITS, version) == outer_address


def _wide_prefix(prefix: Prefix) -> tuple[int, int]:
    """Return a prefix as wide address and mask; one of length 0 is any address."""
    if not prefix.length:
        return 0, 0
    length = prefix.length + (_WIDE_BITS if prefix.version == 4 else 0)
    return widen_address(prefix.address, prefix.version), mask_of(length, 6)


def _directions(rule: FilterRule) -> Iterable[tuple[FilterMatch, FilterMatch, Origin]]:
    yield rule.source, rule.destination, rule.origin
    if rule.both_ways and rule.source != rule.destination:
        yield rule.destination, rule.source, _because(rule.origin, f"{rule.origin.rule} reversed")


def _content(one: Filter) -> list[object]:
    return [
        (rule.source, rule.destination, rule.protocol, rule.passes, rule.both_ways)
        for rule in one.rules
    ]


def _fingerprint(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _because(origin: Origin, rule: str) -> Origin:
    return Origin(origin.object, rule, origin.revision)


def _age(origin: Origin) -> tuple[int, str]:
    """Order origins from the oldest on, in a way that does not depend on the order of inputs."""
    return origin.revision, origin.object
