"""Rows of the flow table, and of the one of fragments: their keys, and when they no longer count.

`c/lib/flow.h` says the same in C; `forward.policy` says who gets a row, and with which verdict.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from filament.base.net import narrow_address, widen_address
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
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
    SECURITY_DENY,
    DropReason,
)
from filament.forward.parse import ICMP_BY_VERSION, Packet
from filament.forward.rows import Found, InterfaceValues, RouteValues
from filament.forward.tables import Key, Row
from filament.wire.packet.ipv4 import TCP
from filament.wire.packet.tcp import ACK, FIN, RST, SYN

SECOND_NS = 1_000_000_000
_WORD = 0xFFFFFFFF
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


class FarEnd(NamedTuple):
    """What policy knows of a far end by its route: network and sets of security groups and tags."""

    network: int
    groups: int
    tags: int


class FlowKey(NamedTuple):
    """A key of `flows`: a connection as its port sees it. Addresses are wide (`widen_address`).

    `fat` says what a fat flow's key leaves out: ports that are 0 then, FAT_LOCAL, FAT_REMOTE.
    """

    vif: int
    vrf: int
    local: int
    remote: int
    local_port: int
    remote_port: int
    protocol: int
    fat: int = 0

    @property
    def version(self) -> int:
        """The flow's IP version; at least one of the addresses is in the key, or both are zero."""
        return narrow_address(self.local if self.fat & FAT_REMOTE else self.remote).version

    @property
    def remote_address(self) -> int:
        """The far address, wide; zero of its version where the key leaves it out."""
        return widen_address(0, self.version) if self.fat & FAT_REMOTE else self.remote

    @property
    def far_end(self) -> FarEnd | None:
        """What the key of a fat flow has instead of the far address; None when it has that."""
        if not self.fat & FAT_REMOTE:
            return None
        return FarEnd(*(self.remote >> shift & _WORD for shift in (64, 32, 0)))


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
    return _fatten(key, packet.version, rows) if port.flags & INTERFACE_FAT_FLOWS else key


def _fatten(key: FlowKey, version: int, rows: Lookup) -> FlowKey:
    """Leave out of a key what the port's fat flows do not look at.

    The far address is left out for the sake of what policy knows of it: flows of other networks,
    groups or tags are others, so that no packet passes by a verdict on what it is not.
    """

    def rule(port: int) -> Row | None:
        return rows.find("fat_flows", (key.vif, key.protocol, port))

    found, ports = None, (key.local_port, key.remote_port)
    if key.protocol not in ICMPS:
        if key.local_port and (found := rule(key.local_port)) is not None:
            ports = key.local_port, 0
        elif key.remote_port and (found := rule(key.remote_port)) is not None:
            ports = 0, key.remote_port
    if found is None:
        found = rule(0)
        if found is None:
            return key
        # The type of ICMP stays: one may pass where another may not.
        ports = 0, key.remote_port if key.protocol in ICMPS else 0
    (fat,) = found.values
    local, remote = key.local, key.remote
    if fat & FAT_LOCAL:
        local = widen_address(0, version)
    if fat & FAT_REMOTE:
        route = rows.find_route(key.vrf, narrow_address(remote).value, version)
        far = RouteValues(*route.row.values) if route is not None else None
        remote = (far.network << 64 | far.groups << 32 | far.tags) if far is not None else 0
    return FlowKey(key.vif, key.vrf, local, remote, *ports, key.protocol, fat)
