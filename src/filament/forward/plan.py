"""From ports, subnets, routes and filters to the complete rows of one host. Pure.

Rules of precedence for one prefix of a VRF: a local port's address (but one that a port elsewhere
holds while ours stand by), then a received route, then the gateway and service addresses, then the
subnet. Lists of rules are `forward.lists`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from filament.base.limits import MAX_ECMP_MEMBERS
from filament.base.net import (
    ROUTER_MAC,
    Prefix,
    format_ipv4,
    format_mac,
    mask_of,
    wide_parts,
)
from filament.base.origin import NOWHERE, Origin
from filament.forward.fat import FatRows, has_prefix, plan_fat_flows
from filament.forward.holders import (
    active_holders,
    claim_name,
    local_prefixes,
    shared_label,
    standing_of,
)
from filament.forward.ids import SPACES, Ids
from filament.forward.inputs import Hop, Inputs, Port, Route, Standby, Subnet
from filament.forward.layout import (
    ECMP_DESTINATION,
    ECMP_DESTINATION_PORT,
    ECMP_PROTOCOL,
    ECMP_SOURCE,
    ECMP_SOURCE_PORT,
    INTERFACE_CHECK_MAC,
    INTERFACE_CHECK_SOURCE,
    INTERFACE_FAT_FLOWS,
    INTERFACE_FAT_SUBNETS,
    INTERFACE_POLICY,
    INTERFACE_STANDBY,
    NEXT_HOP_PEER,
    NEXT_HOP_VXLAN,
    PLANNED,
    ROUTE_PROXY_ARP,
    NextHopType,
)
from filament.forward.lists import ListPlanner, Memo
from filament.forward.rows import InterfaceValues, NextHopValues
from filament.forward.sets import Numbers
from filament.forward.tables import (
    ROUTES_BY_VERSION,
    SENDER_BITS,
    VRF_BITS,
    Delta,
    Key,
    Row,
    Tables,
)

_VXLAN = "vxlan"
_ECMP_FIELDS = {
    "l3-source-address": ECMP_SOURCE,
    "l3-destination-address": ECMP_DESTINATION,
    "l4-protocol": ECMP_PROTOCOL,
    "l4-source-port": ECMP_SOURCE_PORT,
    "l4-destination-port": ECMP_DESTINATION_PORT,
}
_NO_ADDRESS = Prefix.host(0, 6)
_FLAGS = InterfaceValues._fields.index("flags")  # verdicts rest on what comes before them
_NOBODYS = (0, 0, 0)  # network, security groups and tags of an address without a route


def plan(inputs: Inputs, ids: Ids, *, whole: bool = True, memo: Memo | None = None) -> Tables:
    """Return all rows of the host. Numbers come from `ids`, which changes.

    Write `ids` to disk before the rows. With `whole` false, inputs may still be missing (an agent
    that has just started): no number is released then. `memo` is from the plan before, for speed.
    Raises PermanentError when numbers run out.
    """
    planner = _Planner(inputs, ids, memo, may_edit=whole)
    planner.plan_groups()
    planner.plan_tags()
    planner.plan_filters()
    planner.plan_ports()
    planner.plan_vrfs()
    planner.plan_subnets()
    planner.plan_routes()
    planner.plan_host()
    if whole:
        ids.release_unused(planner.used)
    delta = planner.delta() if memo is not None else None
    return Tables(inputs.revision, planner.rows, planner.misfits, delta)


class _Place(NamedTuple):
    """A prefix in a VRF."""

    vrf: str
    prefix: Prefix


class _To(NamedTuple):
    """Where a route leads: the next hop, what it pushes, and whom policy takes the address for."""

    next_hop: int
    label: int = 0
    network: str = ""
    groups: int = 0
    tags: int = 0


class _Way(NamedTuple):
    """One way to an address: a port here, or another host."""

    port: Port | None = None
    hop: Hop | None = None

    @property
    def order(self) -> tuple[object, ...]:
        """What to sort ways by: those that end here first; always the same for the same way."""
        if self.port is not None:
            return 0, self.port.uuid
        assert self.hop is not None
        return 1, *msgspec.structs.astuple(self.hop)


class _Planner:
    """One run of `plan`: the rows so far, and the names whose numbers they use."""

    def __init__(self, inputs: Inputs, ids: Ids, memo: Memo | None, *, may_edit: bool) -> None:
        self.inputs = inputs
        self.rows: dict[str, dict[Key, Row]] = {name: {} for name in PLANNED}
        self.used: dict[str, set[str]] = {space: set() for space in SPACES}
        self._ids = ids
        self._list_by_filter: dict[str, int] = {}
        self._groups_by_port: dict[str, int] = {}
        self._policy_sets = {one.name: one for one in inputs.policy_sets}
        policies = [policy for one in inputs.policy_sets for policy in one.policies]
        memo = memo or Memo()
        self._mentions = memo.mentions(policies)
        memo.forget_policies_but({policy.name for policy in policies})
        self._security_groups = {one.name: one for one in inputs.security_groups}
        numbers = Numbers(self._number, self._ids.rename)
        self._lists = ListPlanner(numbers, self.rows, memo, may_edit=may_edit)
        self._ports_by_label: dict[int, tuple[Port, ...]] = {}
        self._holders: dict[_Place, list[Port]] = {}
        self._subnets: dict[str, list[Prefix]] = {}
        for subnet in inputs.subnets:
            self._subnets.setdefault(subnet.vrf, []).append(subnet.prefix)

    @property
    def misfits(self) -> tuple[str, ...]:
        """Which lists did not fit."""
        return tuple(self._lists.misfits)

    def _number(self, space: str, key: str) -> int:
        self.used[space].add(key)
        return self._ids.get(space, key)

    def _network(self, name: str) -> int:
        return self._number("network", name) if name else 0

    # --- lists of rules ---

    def delta(self) -> Delta:
        """Return how the rows of lists differ from those of the plan before, as the last step."""
        return self._lists.delta()

    def plan_groups(self) -> None:
        """Number the sets of security groups that addresses have, before lists speak of them."""
        number_by_name = {one.name: one.number for one in self.inputs.security_groups}
        for port in self.inputs.ports:
            members = (number_by_name.get(name, 0) for name in port.security_groups)
            self._groups_by_port[port.uuid] = self._lists.groups.number(filter(None, members))
        for route in self.inputs.routes:
            self._lists.groups.number(route.security_groups)

    def plan_tags(self) -> None:
        """Number the sets of tags that addresses have, before lists speak of them."""
        for port in self.inputs.ports:
            self._tags(port.tags)
        for route in self.inputs.routes:
            self._tags(route.tags)

    def _tags(self, tags: Iterable[int]) -> int:
        """Return the number of a set of tags, as far as rules here tell it from others."""
        return self._lists.tags.number(self._mentions.relevant(tags))

    def plan_filters(self) -> None:
        for one in self.inputs.filters:
            self._list_by_filter[one.name] = self._lists.of_filter(one)

    def _acl_of(self, port: Port) -> int:
        if port.acl is None:
            return 0
        if port.acl in self._list_by_filter:
            return self._list_by_filter[port.acl]
        # Not received: a list without rules denies everything, which is the safe side.
        return self._lists.empty(f"{port.acl} missing", _because(port.origin, "missing-filter"))

    def _security_of(self, port: Port) -> tuple[int, int]:
        """Return the lists of what the port's security groups let out and in; 0 without any."""
        if not port.security_groups:
            return 0, 0
        found = [
            one
            for name in sorted(set(port.security_groups))
            if (one := self._security_groups.get(name)) is not None
        ]
        if not found:
            origin = _because(port.origin, "missing-security-group")
            missing = self._lists.empty("security-group missing", origin)
            return missing, missing
        return (
            self._lists.of_groups(found, is_egress=True),
            self._lists.of_groups(found, is_egress=False),
        )

    def _firewall_of(self, port: Port) -> tuple[int, int]:
        """Return the lists of what the port's policy sets let out and in; 0 without any."""
        halves = [
            [one for name in names if (one := self._policy_sets.get(name)) is not None]
            for names in (port.fwaas_sets, port.policy_sets)
        ]
        tags = frozenset(port.tags)
        return (
            self._lists.of_policy_sets(halves, tags, is_egress=True),
            self._lists.of_policy_sets(halves, tags, is_egress=False),
        )

    # --- ports ---

    def plan_ports(self) -> None:
        for port in self.inputs.ports:
            next_hop = self._number("next_hop", f"port {port.uuid}")
            label = self._number("label", port.uuid)
            self._ports_by_label[label] = (port,)
            self.rows["interfaces"][port.ifindex,] = Row(
                (
                    self._number("vif", port.uuid),
                    self._number("vrf", port.vrf),
                    self._network(port.network),
                    self._acl_of(port),
                    *self._security_of(port),
                    *self._firewall_of(port),
                    next_hop,
                    _interface_flags(port),
                    port.addresses[0] if port.addresses else 0,
                    port.flow_limit,
                    port.addresses6[0] if port.addresses6 else 0,
                    port.mac,
                ),
                port.origin,
            )
            self.rows["next_hops"][next_hop,] = Row(
                NextHopValues(
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
            self._plan_sources(port)
            self._plan_fat_flows(port)

    def _plan_fat_flows(self, port: Port) -> None:
        if port.fat_flows:
            interface = InterfaceValues(*self.rows["interfaces"][port.ifindex,].values)
            rows = FatRows(self.rows["fat_flows"], self.rows["fat_subnets"])
            plan_fat_flows(port, interface, rows, self._lists.prefixes)

    def _plan_sources(self, port: Port) -> None:
        """Add what a port may send from, but for primary addresses that its row has and nobody
        claims.
        """
        vif = self._number("vif", port.uuid)
        claims = {
            one.prefix: self._number("claim", claim_name(port.uuid, one.prefix))
            for one in port.standbys
        }

        def allow(mac: int, prefix: Prefix, pair: int) -> None:
            rule = f"allowed-address-pair {pair}" if pair else "address"
            row = Row((pair, claims.get(prefix, 0)), _because(port.origin, rule))
            for part in wide_parts(prefix):
                key = (SENDER_BITS + part.length, vif, mac, part.address)
                self.rows["sources"].setdefault(key, row)

        for version, addresses in ((4, port.addresses), (6, port.addresses6)):
            for index, address in enumerate(addresses):
                host = Prefix.host(address, version)
                if index or host in claims:
                    allow(port.mac, host, 0)
        for number, pair in enumerate(port.pairs, 1):
            allow(pair.mac or port.mac, pair.prefix, number)
            if pair.mac not in (0, port.mac):
                allow(pair.mac, _NO_ADDRESS, number)

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
        values = NextHopValues(NextHopType.DISCARD, 0, 0, 0, 0, 0)
        discard = self._shared_next_hop("discard", values, subnet)
        place = _Place(subnet.vrf, subnet.prefix)
        self._route(place, _To(discard, network=subnet.network), subnet.origin)
        values = NextHopValues(NextHopType.RECEIVE, 0, 0, 0, 0, ROUTER_MAC)
        receive = self._shared_next_hop("receive", values, subnet)
        for address, rule in ((subnet.service, "service-address"), (subnet.gateway, "gateway")):
            if address:
                place = _Place(subnet.vrf, Prefix.host(address, subnet.prefix.version))
                to = _To(receive, network=subnet.network)
                self._route(place, to, _because(subnet.origin, rule))

    def _shared_next_hop(
        self, key: str, values: NextHopValues, cause: Subnet | Port | Route
    ) -> int:
        """Return a next hop that many routes share: it is there because of the oldest of them."""
        number = self._number("next_hop", key)
        origin = _because(cause.origin, key.partition(" ")[0])
        rows = self.rows["next_hops"]
        present = rows.get((number,))
        if present is None or _age(origin) < _age(present.origin):
            rows[number,] = Row(values, origin)
        return number

    def plan_routes(self) -> None:
        rules: dict[_Place, str] = {}
        for port in self.inputs.ports:
            for prefix, rule in local_prefixes(port):
                place = _Place(port.vrf, prefix)
                rules.setdefault(place, rule)
                holders = self._holders.setdefault(place, [])
                if port not in holders:
                    holders.append(port)
        for place, holders in self._holders.items():
            if len(holders) > 1:
                label = self._number("label", shared_label(*place))
                self._ports_by_label[label] = tuple(active_holders(place.prefix, holders))
        received: dict[_Place, tuple[Route, list[_Way]]] = {}
        for route in self.inputs.routes:
            place = _Place(route.vrf, route.prefix)
            if place not in received and (ways := self._ways(route)):
                received[place] = route, ways
        for place, (route, ways) in received.items():
            if place not in self._holders:
                self._plan_received(place, route, ways)
        for place, holders in self._holders.items():
            known = received.get(place)
            self._plan_held(place, holders, rules[place], known)

    def _plan_received(self, place: _Place, route: Route, ways: list[_Way]) -> None:
        to = self._to(ways, route.load_balance, route)._replace(
            network=route.network,
            groups=self._lists.groups.number(route.security_groups),
            tags=self._tags(route.tags),
        )
        self._route(place, to, route.origin)

    def _plan_held(
        self,
        place: _Place,
        holders: list[Port],
        rule: str,
        known: tuple[Route, list[_Way]] | None,
    ) -> None:
        """Add the route to an address that ports here have, and maybe ports elsewhere."""
        active = active_holders(place.prefix, holders)
        first = active[0]
        ways = [_Way(port) for port in active]
        load_balance = first.load_balance
        origin = _because(first.origin, rule)
        is_elsewhere = False
        if standing_of(first, place.prefix).sequence:
            is_elsewhere = known is not None and _is_elsewhere(first, *known)
        elif known is not None and any(way.port in holders for way in known[1]):
            # Ours are among the best ways that control nodes know: all of them share the load.
            route, others = known
            ways += [way for way in others if way.port not in holders]
            load_balance = route.load_balance
        to = self._to(ways, load_balance, first)._replace(
            network=first.network,
            groups=self._groups_by_port[first.uuid],
            tags=self._tags(first.tags),
        )
        if known is not None and is_elsewhere:
            self._plan_received(place, *known)
        else:
            self._route(place, to, origin)
        if len(holders) > 1:
            label = self._number("label", shared_label(*place))
            self.rows["labels"][label,] = Row((to.next_hop,), origin)

    def _ways(self, route: Route) -> list[_Way]:
        """Return the ways of a received route; none for an echo of a port that is gone from here.

        A way that ends at this host is its ports', known by their label; a VNI names no port: what
        is here is known without it.
        """
        first = Hop(route.next_hop, route.label, route.encapsulation, route.router_mac)
        found: dict[_Way, None] = {}
        for hop in (first, *route.others):
            if hop.address != self.inputs.host.address:
                found[_Way(None, hop)] = None
            elif hop.encapsulation != _VXLAN:
                for port in self._ports_by_label.get(hop.label, ()):
                    found[_Way(port)] = None
        return list(found)

    def _to(
        self, ways: list[_Way], load_balance: tuple[str, ...] | None, cause: Port | Route
    ) -> _To:
        """Return where a route with these ways leads."""
        if len(ways) == 1:
            (way,) = ways
            if way.port is not None:
                return _To(self._number("next_hop", f"port {way.port.uuid}"))
            assert way.hop is not None
            return _To(self._tunnel(way.hop, cause, label=0), way.hop.label)
        ways = sorted(ways, key=lambda way: way.order)[:MAX_ECMP_MEMBERS]
        members = []
        for way in ways:
            if way.port is not None:
                members.append(self._number("next_hop", f"port {way.port.uuid}"))
            elif way.hop is not None:
                members.append(self._tunnel(way.hop, cause, label=way.hop.label))
        local_count = sum(way.port is not None for way in ways)
        return _To(self._composite(ways, members, local_count, _fields_of(load_balance), cause))

    def _composite(
        self,
        ways: list[_Way],
        members: list[int],
        local_count: int,
        fields: int,
        cause: Port | Route,
    ) -> int:
        """Return the next hop that stands for several; routes with the same ones share it."""
        content = _fingerprint(([way.order for way in ways], fields))
        values = NextHopValues(
            NextHopType.COMPOSITE, fields, 0, 0, 0, 0, 0, len(members), local_count
        )
        number = self._shared_next_hop(f"composite {content}", values, cause)
        origin = _because(cause.origin, "ecmp")
        for index, member in enumerate(members):
            self.rows["members"].setdefault((number, index), Row((member,), origin))
            self.rows["places"].setdefault((number, member), Row((index,), origin))
        return number

    def _tunnel(self, hop: Hop, cause: Port | Route, *, label: int) -> int:
        """Return the next hop of a tunnel; with a label it pushes that instead of the route's."""
        name = f"tunnel {format_ipv4(hop.address)}"
        pushed = f" label {label}" if label else ""
        if hop.encapsulation != _VXLAN:
            values = NextHopValues(NextHopType.TUNNEL, 0, 0, hop.address, 0, 0, label)
            return self._shared_next_hop(f"{name}{pushed}", values, cause)
        router = hop.router_mac or ROUTER_MAC
        macs = router, ROUTER_MAC
        values = NextHopValues(NextHopType.TUNNEL, NEXT_HOP_VXLAN, 0, hop.address, *macs, label)
        return self._shared_next_hop(f"{name} vxlan {format_mac(router)}{pushed}", values, cause)

    def _route(self, place: _Place, to: _To, origin: Origin) -> None:
        vrf, (address, length, version) = place
        # ARP is answered for what a workload believes to be on its own link.
        on_link = any(
            length >= subnet.length and subnet.contains(address, version)
            for subnet in self._subnets.get(vrf, ())
        )
        key = (VRF_BITS + length, self._number("vrf", vrf), address)
        flags = ROUTE_PROXY_ARP if on_link else 0
        values = (to.next_hop, to.label, self._network(to.network), to.groups, to.tags, flags)
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

        Lists are in it by their names, which stand for their contents.
        """
        ports = {
            key: (*row.values[:_FLAGS], row.values[_FLAGS] & INTERFACE_POLICY)
            for key, row in self.rows["interfaces"].items()
        }
        borders = [
            network_borders(
                {key: self._policy_of(row.values) for key, row in self.rows[table].items()},
                version,
            )
            for version, table in ROUTES_BY_VERSION.items()
        ]
        return [sorted(ports.items()), self._lists.names, *borders]

    def _policy_of(self, route: tuple[int, ...]) -> tuple[int, ...]:
        """Return what rules may ask of a route's destination: network, security groups, tags."""
        _, _, network, groups, tags, _ = route
        lists = self._lists
        return network, groups if lists.groups.is_asked else 0, tags if lists.tags.is_asked else 0


def _is_elsewhere(port: Port, route: Route, ways: Sequence[_Way]) -> bool:
    """Whether a received route to what a port here stands by for leads to a better holder."""
    own = standing_of(port, route.prefix)
    told = Standby(route.prefix, route.preference, route.sequence)
    return told >= own and all(way.port is None for way in ways)


def _fields_of(load_balance: tuple[str, ...] | None) -> int:
    if load_balance is None:
        return sum(_ECMP_FIELDS.values())
    return sum(bit for field, bit in _ECMP_FIELDS.items() if field in load_balance)


def _interface_flags(port: Port) -> int:
    return (
        (INTERFACE_POLICY if port.has_policy else 0)
        | (INTERFACE_CHECK_MAC if port.checks_mac else 0)
        | (INTERFACE_CHECK_SOURCE if port.checks_source else 0)
        | (INTERFACE_FAT_FLOWS if port.fat_flows else 0)
        | (INTERFACE_STANDBY if port.standbys else 0)
        | (INTERFACE_FAT_SUBNETS if any(map(has_prefix, port.fat_flows)) else 0)
    )


def network_borders(
    policy_by_route: Mapping[Key, tuple[int, ...]], version: int = 4
) -> list[tuple[Key, tuple[int, ...]]]:
    """Return the fewest routes that tell of every address the same network, security groups and
    tags, in a stable order.

    A route inside another of the same changes no verdict: a new port in a subnet that is there is
    no reason to judge all flows again.
    """
    borders: list[tuple[Key, tuple[int, ...]]] = []
    # Outer prefixes sort before inner ones; `around` are those that the current one lies in.
    around: list[tuple[int, int, int, tuple[int, ...]]] = []
    ordered = sorted(policy_by_route, key=lambda key: (key[1], key[2], key[0]))
    for key in ordered:
        length, vrf, address = key
        while around and not _lies_in(vrf, address, around[-1], version):
            around.pop()
        policy = policy_by_route[key]
        if policy != (around[-1][3] if around else _NOBODYS):
            borders.append((key, policy))
        around.append((length, vrf, address, policy))
    return borders


def _lies_in(
    vrf: int, address: int, outer: tuple[int, int, int, tuple[int, ...]], version: int
) -> bool:
    length, outer_vrf, outer_address, _ = outer
    return vrf == outer_vrf and address & mask_of(length - VRF_BITS, version) == outer_address


def _fingerprint(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _because(origin: Origin, rule: str) -> Origin:
    return Origin(origin.object, rule, origin.revision)


def _age(origin: Origin) -> tuple[int, str]:
    """Order origins from the oldest on, in a way that does not depend on the order of inputs."""
    return origin.revision, origin.object
