"""Rows of the flow table, and of the one of fragments: their keys, and when they no longer count.

`c/lib/flow.h` says the same in C; `forward.policy` says who gets a row, and with which verdict.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from filament.base.net import widen_address
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    FIREWALL_DENY,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_ICMP_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_TCP_S,
    FLOW_INBOUND,
    FLOW_PASSED,
    SECURITY_DENY,
    DropReason,
)
from filament.forward.parse import ICMP_BY_VERSION, Packet
from filament.forward.rows import InterfaceValues
from filament.wire.packet.ipv4 import TCP
from filament.wire.packet.tcp import ACK, FIN, RST, SYN

SECOND_NS = 1_000_000_000
ICMPS = frozenset(ICMP_BY_VERSION.values())

# Why a packet from the port, and one to it, is dropped, by its flow's action.
_REFUSALS = {
    ACL_DENY: (DropReason.POLICY_FROM_PORT, DropReason.POLICY_TO_PORT),
    SECURITY_DENY: (DropReason.SECURITY_FROM_PORT, DropReason.SECURITY_TO_PORT),
    FIREWALL_DENY: (DropReason.FIREWALL_FROM_PORT, DropReason.FIREWALL_TO_PORT),
}


class FlowKey(NamedTuple):
    """A key of `flows`: a connection as its port sees it. Addresses are wide (`widen_address`)."""

    vif: int
    vrf: int
    local: int
    remote: int
    local_port: int
    remote_port: int
    protocol: int


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


def key_of(packet: Packet, port: InterfaceValues, *, is_from_port: bool) -> FlowKey:
    """Return the key of a packet's flow at a port.

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
    return FlowKey(port.vif, port.vrf, *addresses, *ports, packet.protocol)
