"""Rows of the flow table, and of the one of fragments: their keys, and when they no longer count.

`c/lib/flow.h` says the same in C; `forward.policy` says who gets a row, and with which verdict.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from filament.base.net import bits_of, mask_of, narrow_address, widen_address
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    FAR_END_BITS,
    FAT_BY_BOTH,
    FAT_BY_LOCAL,
    FAT_BY_REMOTE,
    FAT_LOCAL,
    FAT_REMOTE,
    FIREWALL_DENY,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_ICMP_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_TCP_S,
    FLOW_INBOUND,
    FLOW_PASSED,
    INTERFACE_FAT_FLOWS,
    INTERFACE_FAT_SUBNETS,
    SECURITY_DENY,
    DropReason,
)
from filament.forward.parse import ICMP_BY_VERSION, Packet
from filament.forward.rows import (
    FatFlowValues,
    FatSubnetValues,
    Found,
    InterfaceValues,
    RouteValues,
)
from filament.forward.tables import Key, Row
from filament.wire.packet.ipv4 import TCP
from filament.wire.packet.tcp import ACK, FIN, RST, SYN

SECOND_NS = 1_000_000_000
# Of a far address that a fat flow's key has in part: IPv4 whole, of IPv6 what is not the host's.
MAX_REMOTE_LENGTHS = {4: 32, 6: 64}
_FAR_NUMBER = (1 << FAR_END_BITS) - 1
_HALF = bits_of(6) // 2
_TOP_WORD = bits_of(6) - bits_of(4)
ICMPS = frozenset(ICMP_BY_VERSION.values())

# Why a packet from the port, and one to it, is dropped, by its flow's action.
_REFUSALS = {
    ACL_DENY: (DropReason.POLICY_FROM_PORT, DropReason.POLICY_TO_PORT),
    SECURITY_DENY: (DropReason.SECURITY_FROM_PORT, DropReason.SECURITY_TO_PORT),
    FIREWALL_DENY: (DropReason.FIREWALL_FROM_PORT, DropReason.FIREWALL_TO_PORT),
}


class Lookup(Protocol):
    """Rows of one data plane, as `forward.rows.Rows` has them."""

    def find(self, name: str, key: Key) -> Row | None:
        """Look a row up by its key."""

    def find_route(self, vrf: int, address: int, version: int) -> Found | None:
        """Return the longest prefix of the VRF that holds `address`."""

    def find_fat_subnet(self, scope: Key, address: int) -> Found | None:
        """Return the longest prefix among a port's fat flows that holds a wide address."""


class FarEnd(NamedTuple):
    """What policy knows of a far end by its route: network and sets of security groups and tags."""

    network: int
    groups: int
    tags: int

    def beside(self, address: int, version: int) -> int:
        """Return what a key has of it and of the far address (MAX_REMOTE_LENGTHS)."""
        numbers = self.network << 2 * FAR_END_BITS | self.groups << FAR_END_BITS | self.tags
        return (address << _TOP_WORD if version == 4 else address) | numbers


class FlowKey(NamedTuple):
    """A key of `flows`: a connection as its port sees it. Addresses are wide (`widen_address`).

    `fat` says what a fat flow's key leaves out: ports that are 0 then, and of addresses all but the
    first `local_length` bits (FAT_LOCAL) or `remote_length` (FAT_REMOTE).
    """

    vif: int
    vrf: int
    local: int
    remote: int
    local_port: int
    remote_port: int
    protocol: int
    fat: int = 0
    local_length: int = 0
    remote_length: int = 0

    @property
    def version(self) -> int:
        """The flow's IP version."""
        return narrow_address(self.local).version

    @property
    def remote_address(self) -> int:
        """The far address, wide; zeros in the place of bits that the key leaves out."""
        if not self.fat & FAT_REMOTE:
            return self.remote
        version = self.version
        left = self.remote >> _TOP_WORD if version == 4 else self.remote >> _HALF << _HALF
        return widen_address(left, version)

    @property
    def far_end(self) -> FarEnd | None:
        """What the key of a fat flow has beside the far address; None when it has all of that."""
        if not self.fat & FAT_REMOTE:
            return None
        shifts = (2 * FAR_END_BITS, FAR_END_BITS, 0)
        return FarEnd(*(self.remote >> shift & _FAR_NUMBER for shift in shifts))


class FragmentKey(NamedTuple):
    """A key of `fragments`."""

    vif: int
    source: int
    destination: int
    id: int
    protocol: int


class Fragment(NamedTuple):
    """A row of `fragments`."""

    seen_ns: int
    source_port: int
    destination_port: int
    icmp: int


class Flow(msgspec.Struct):
    """A row of `flows`."""

    started_ns: int
    last_seen_ns: int
    out_packets: int
    out_bytes: int
    in_packets: int
    in_bytes: int
    generation: int
    acl: int
    rule: int
    security: int
    security_rule: int
    firewall: int
    firewall_rule: int
    icmp: int
    member: int
    action: int
    flags: int
    tcp_out: int
    tcp_in: int

    def values(self) -> tuple[int, ...]:
        """Return the row in layout order."""
        return msgspec.structs.astuple(self)

    @property
    def is_closed(self) -> bool:
        """Whether TCP ended: reset by one side, or closed by both."""
        return bool((self.tcp_out | self.tcp_in) & RST or self.tcp_out & self.tcp_in & FIN)

    @property
    def is_established(self) -> bool:
        """Whether it may pass and both ends speak."""
        return self.action == ACL_PASS and bool(self.out_packets and self.in_packets)

    def is_forward(self, *, is_from_port: bool) -> bool:
        """Whether a packet goes the way of who started the flow."""
        return is_from_port == (not self.flags & FLOW_INBOUND)

    def is_idle(self, protocol: int, now_ns: int) -> bool:
        """Say whether the row is too old to count."""
        return now_ns - self.last_seen_ns > idle_s(self, protocol) * SECOND_NS


def idle_s(flow: Flow, protocol: int) -> int:
    """Return how long a flow may be without a packet."""
    started = flow.tcp_in if flow.flags & FLOW_INBOUND else flow.tcp_out
    if flow.action != ACL_PASS and not flow.flags & FLOW_PASSED:
        return FLOW_IDLE_DENIED_S
    if protocol in ICMPS:
        return FLOW_IDLE_ICMP_S
    if protocol != TCP:
        return FLOW_IDLE_S
    if flow.is_closed:
        return FLOW_IDLE_TCP_CLOSED_S
    if started & (SYN | ACK) == SYN:
        return FLOW_IDLE_TCP_OPENING_S
    return FLOW_IDLE_TCP_S


def refusal(action: int, *, is_from_port: bool) -> DropReason:
    """Why packets from a port, or to it, are dropped whose flow has an action that denies."""
    from_port, to_port = _REFUSALS.get(action, _REFUSALS[ACL_DENY])
    return from_port if is_from_port else to_port


def key_of(packet: Packet, port: InterfaceValues, rows: Lookup, *, is_from_port: bool) -> FlowKey:
    """Return the key of a packet's flow at a port; fat flows and routes are looked up in `rows`.

    What stands for ports in ICMP is the same in both directions.
    """
    addresses = (
        widen_address(packet.source, packet.version),
        widen_address(packet.destination, packet.version),
    )
    ports = packet.source_port, packet.destination_port
    if not is_from_port:
        addresses = addresses[::-1]
        ports = ports if packet.protocol in ICMPS else ports[::-1]
    key = FlowKey(port.vif, port.vrf, *addresses, *ports, packet.protocol)
    return _fatten(key, packet.version, port, rows) if port.flags & INTERFACE_FAT_FLOWS else key


def _fatten(key: FlowKey, version: int, port: InterfaceValues, rows: Lookup) -> FlowKey:
    """Leave out of a key what the port's fat flows do not look at.

    What is left out of the far address is so for the sake of what policy knows of it: flows of
    other networks, groups or tags are others, so that no packet passes by a verdict on what it is
    not.
    """
    found = _choose_fat_flow(key, port, rows)
    if found is None:
        return key
    ports, (fat, local_length, remote_length) = found
    local, remote = key.local, key.remote
    if fat & FAT_LOCAL:
        local = widen_address(_narrow(local, version) & mask_of(local_length, version), version)
    if fat & FAT_REMOTE:
        address = _narrow(remote, version)
        route = rows.find_route(key.vrf, address, version)
        far = FarEnd(0, 0, 0)
        if route is not None:
            values = RouteValues(*route.row.values)
            far = FarEnd(values.network, values.groups, values.tags)
        remote = far.beside(address & mask_of(remote_length, version), version)
    ends = local, remote, *ports
    return FlowKey(key.vif, key.vrf, *ends, key.protocol, fat, local_length, remote_length)


def _narrow(address: int, version: int) -> int:
    """Take a wide address for one of a version, which a packet may call IPv6 whatever it is."""
    return address & ((1 << bits_of(version)) - 1)


def _choose_fat_flow(
    key: FlowKey, port: InterfaceValues, rows: Lookup
) -> tuple[tuple[int, int], FatFlowValues] | None:
    """Return the fat flow that a key belongs to, with what is left of its ports. Those without
    prefixes come first, then those by the port's own address, the far one, and both; among them
    those of the port's own transport port, of the far one, and of none (TF's order).
    """
    # The type of ICMP stays: one may pass where another may not.
    choices = [(0, (0, key.remote_port if key.protocol in ICMPS else 0))]
    if key.protocol not in ICMPS:
        kept = (key.local_port, 0), (0, key.remote_port)
        choices = [(max(ports), ports) for ports in kept if any(ports)] + choices
    for number, ports in choices:
        row = rows.find("fat_flows", (key.vif, key.protocol, number))
        if row is not None:
            return ports, FatFlowValues(*row.values)
    if not port.flags & INTERFACE_FAT_SUBNETS:
        return None
    for by in (FAT_BY_LOCAL, FAT_BY_REMOTE, FAT_BY_BOTH):
        for number, ports in choices:
            address = key.remote if by == FAT_BY_REMOTE else key.local
            found = rows.find_fat_subnet((key.vif, key.protocol, by, number), address)
            if found is not None and by == FAT_BY_BOTH:
                then = FatSubnetValues(*found.row.values).then
                found = rows.find_fat_subnet((key.vif, key.protocol, then, number), key.remote)
            if found is not None:
                return ports, FatFlowValues(*found.row.values[:-1])
    return None
