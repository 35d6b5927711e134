"""Access control lists and the flow table that remembers their verdicts.

`c/lib/policy.h` and `c/lib/flow.h` say the same in C. A row of the table is both directions of a
connection; its verdict is on the tuple of the end that started it, and holds for the generation and
the ACL it was given under; otherwise the next packet is judged again. The other direction is the
flow's answers once a packet of it passed (FLOW_PASSED); until then it is judged on its own.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from filament.base.net import widen_address
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    FLOW_BOTH_DENIED,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_ICMP_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_TCP_S,
    FLOW_INBOUND,
    FLOW_PASSED,
    INTERFACE_POLICY,
    PROTOCOL_ANY,
    RULE_NONE,
    TABLE_BY_NAME,
    DropReason,
)
from filament.forward.parse import ICMP_BY_VERSION, WITH_PORTS, Packet, parse_quoted
from filament.forward.rows import InterfaceValues, RouteValues, Rows, RuleValues
from filament.forward.steps import Trail
from filament.forward.tables import ROUTES_BY_VERSION, Key, Row
from filament.wire.packet.ipv4 import TCP
from filament.wire.packet.tcp import ACK, FIN, RST, SYN

_SECOND_NS = 1_000_000_000
_MAX_FLOWS = TABLE_BY_NAME["flows"].max_entries
_ICMPS = frozenset(ICMP_BY_VERSION.values())


class FlowKey(NamedTuple):
    """A key of `flows`: a connection as its port sees it. Addresses are wide (`widen_address`)."""

    vif: int
    vrf: int
    local: int
    remote: int
    local_port: int
    remote_port: int
    protocol: int


class Tuple(NamedTuple):
    """A packet's addresses (wide), ports and protocol, as rules match them."""

    source: int
    destination: int
    source_port: int
    destination_port: int
    protocol: int


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

    def is_forward(self, *, is_from_port: bool) -> bool:
        """Whether a packet goes the way of who started the flow."""
        return is_from_port == (not self.flags & FLOW_INBOUND)

    def is_idle(self, protocol: int, now_ns: int) -> bool:
        """Say whether the row is too old to count."""
        return now_ns - self.last_seen_ns > idle_s(self, protocol) * _SECOND_NS


def idle_s(flow: Flow, protocol: int) -> int:
    """Return how long a flow may be without a packet."""
    started = flow.tcp_in if flow.flags & FLOW_INBOUND else flow.tcp_out
    if flow.action != ACL_PASS and not flow.flags & FLOW_PASSED:
        return FLOW_IDLE_DENIED_S
    if protocol in _ICMPS:
        return FLOW_IDLE_ICMP_S
    if protocol != TCP:
        return FLOW_IDLE_S
    if flow.is_closed:
        return FLOW_IDLE_TCP_CLOSED_S
    if started & (SYN | ACK) == SYN:
        return FLOW_IDLE_TCP_OPENING_S
    return FLOW_IDLE_TCP_S


class Ruling(NamedTuple):
    """What an ACL says: the deciding rule's position (or RULE_NONE) and the action."""

    rule: int
    action: int


class Passage(NamedTuple):
    """A packet on its way from or to a port, and all that judging it takes."""

    key: FlowKey
    port: InterfaceValues
    generation: int
    bytes: int
    now_ns: int
    is_from_port: bool
    remote_network: int
    version: int
    tcp_flags: int

    def is_current(self, flow: Flow) -> bool:
        """Say whether a flow's verdict is of the rules that hold."""
        return flow.generation == self.generation and flow.acl == self.port.acl

    def is_alive(self, flow: Flow) -> bool:
        """Say whether the row is this packet's flow, and not one that ended before."""
        if flow.is_idle(self.key.protocol, self.now_ns):
            return False
        # A new connection by the ports of one that is closed.
        return self.tcp_flags & (SYN | ACK) != SYN or not flow.is_closed

    def is_forward(self, flow: Flow) -> bool:
        """Say whether the packet goes the way of who started the flow."""
        return flow.is_forward(is_from_port=self.is_from_port)

    def add_to(self, flow: Flow) -> None:
        """Add the packet to its flow."""
        if self.is_from_port:
            flow.out_packets += 1
            flow.out_bytes += self.bytes
            flow.tcp_out |= self.tcp_flags
        else:
            flow.in_packets += 1
            flow.in_bytes += self.bytes
            flow.tcp_in |= self.tcp_flags
        flow.last_seen_ns = self.now_ns

    @property
    def refusal(self) -> DropReason:
        """Why the packet is dropped when the policy denies it."""
        return DropReason.POLICY_FROM_PORT if self.is_from_port else DropReason.POLICY_TO_PORT


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
        ports = ports if packet.protocol in _ICMPS else ports[::-1]
    return FlowKey(port.vif, port.vrf, *addresses, *ports, packet.protocol)


def rule_matches(rule: RuleValues, networks: tuple[int, int], asked: Tuple) -> bool:
    """Say whether a rule is about a flow between two networks (source, destination)."""
    if rule.source_network and rule.source_network != networks[0]:
        return False
    if rule.destination_network and rule.destination_network != networks[1]:
        return False
    if rule.protocol not in (PROTOCOL_ANY, asked.protocol):
        return False
    if asked.source & rule.source_mask != rule.source:
        return False
    if asked.destination & rule.destination_mask != rule.destination:
        return False
    if asked.protocol not in WITH_PORTS:
        return True
    return (
        rule.source_port_low <= asked.source_port <= rule.source_port_high
        and rule.destination_port_low <= asked.destination_port <= rule.destination_port_high
    )


class Policy:
    """The judge of one data plane, with its flow table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.flows: dict[FlowKey, Flow] = {}
        self.entered: dict[int, int] = {}
        self.swept: dict[int, int] = {}

    def police(
        self,
        frame: bytes,
        packet: Packet,
        port: InterfaceValues,
        trail: Trail,
        now_ns: int,
        route: RouteValues | None,
    ) -> DropReason:
        """Say whether the port's policy lets the packet pass (NONE), and remember it.

        `route` is the one to the destination of a packet from the port, None of one to the port.
        """
        if not port.flags & INTERFACE_POLICY:
            return DropReason.NONE
        is_from_port = route is not None
        passage = Passage(
            key_of(packet, port, is_from_port=is_from_port),
            port,
            self._rows.host().generation,
            packet.length,
            now_ns,
            is_from_port,
            route.network if route is not None else 0,
            packet.version,
            packet.tcp_flags,
        )
        if packet.is_error and self._is_about_flow(frame, packet, passage, trail):
            return DropReason.NONE
        flow = self.flows.get(passage.key)
        reason = DropReason.NONE
        if (
            flow is not None
            and passage.is_current(flow)
            and passage.is_alive(flow)
            and (
                flow.action == ACL_PASS or flow.flags & FLOW_BOTH_DENIED or passage.is_forward(flow)
            )
        ):
            passage.add_to(flow)
            if flow.action != ACL_PASS:
                reason = passage.refusal
        else:
            flow, reason = self._judge(passage, trail)
        stage = "flow" if passage.is_forward(flow) else "answer"
        trail.meet(stage, "flows", passage.key, Row(flow.values()))
        if flow.rule != RULE_NONE:
            rule_key = flow.acl, flow.rule
            trail.meet("rule", "acl_rules", rule_key, self._rows.find("acl_rules", rule_key))
        elif flow.acl:
            trail.meet("rule", "acls", (flow.acl,), self._rows.find("acls", (flow.acl,)))
        return reason

    def forget_port(self, vif: int) -> None:
        """Forget a port's flows and their counts."""
        for key in [key for key in self.flows if key.vif == vif]:
            del self.flows[key]
        self.entered.pop(vif, None)
        self.swept.pop(vif, None)

    def _is_about_flow(self, frame: bytes, packet: Packet, passage: Passage, trail: Trail) -> bool:
        """Say whether an ICMP error is about a flow that may pass."""
        quoted = parse_quoted(frame, packet)
        if quoted is None or quoted.source != packet.destination:
            return False
        key = key_of(quoted, passage.port, is_from_port=not passage.is_from_port)
        flow = self.flows.get(key)
        if (
            flow is None
            or flow.action != ACL_PASS
            or not passage.is_current(flow)
            or flow.is_idle(key.protocol, passage.now_ns)
        ):
            return False
        trail.meet("error", "flows", key, Row(flow.values()))
        return True

    def _judge(self, passage: Passage, trail: Trail) -> tuple[Flow, DropReason]:
        """Judge a packet that has no current verdict, and enter it."""
        key, is_from_port = passage.key, passage.is_from_port
        if not is_from_port:
            passage = self._with_remote_network(passage, trail)
        known = self.flows.get(key)
        if known is not None and passage.is_alive(known):
            flow = msgspec.structs.replace(known)
        else:
            flags = 0 if is_from_port else FLOW_INBOUND
            flow = Flow(passage.now_ns, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0)
        is_answer = not passage.is_forward(flow) and bool(flow.flags & FLOW_PASSED)
        # Only who started was judged, and denied: what comes the other way is not an answer.
        is_denied_already = (
            not passage.is_forward(flow) and not is_answer and passage.is_current(flow)
        )
        ruling = self._rule_on(passage, outbound=is_from_port != is_answer)
        if is_answer and ruling.action != ACL_PASS:
            own = self._rule_on(passage, outbound=is_from_port)
            if own.action == ACL_PASS:
                ruling, is_answer = own, False
        flow.generation, flow.acl = passage.generation, passage.port.acl
        if ruling.action == ACL_PASS:
            flow.flags = FLOW_PASSED | (0 if is_from_port != is_answer else FLOW_INBOUND)
        elif is_answer or is_denied_already:
            flow.flags |= FLOW_BOTH_DENIED
        else:
            flow.flags &= ~(FLOW_BOTH_DENIED | FLOW_INBOUND)
            flow.flags |= 0 if is_from_port else FLOW_INBOUND
        if not is_denied_already or ruling.action == ACL_PASS:
            flow.rule, flow.action = ruling.rule, ruling.action
        passage.add_to(flow)
        reason = DropReason.NONE
        if known is None:
            reason = self._may_enter(passage)
        if reason is DropReason.NONE:
            self.flows[key] = flow
        return flow, reason if ruling.action == ACL_PASS else passage.refusal

    def _with_remote_network(self, passage: Passage, trail: Trail) -> Passage:
        """Look up which network a packet to the port comes from."""
        version = passage.version
        source = passage.key.remote if version == 6 else passage.key.remote & 0xFFFFFFFF
        back = self._rows.find_route(passage.key.vrf, source, version)
        if back is None:
            return passage
        trail.meet("source", ROUTES_BY_VERSION[version], back.key, back.row)
        return passage._replace(remote_network=RouteValues(*back.row.values).network)

    def _may_enter(self, passage: Passage) -> DropReason:
        """Count a flow that has no row yet; the reason when there is no room for it."""
        vif, limit = passage.key.vif, passage.port.flow_limit
        entered = self.entered.get(vif, 0)
        if limit and entered - self.swept.get(vif, 0) >= limit:
            return DropReason.FLOW_LIMIT
        if len(self.flows) >= _MAX_FLOWS:
            return DropReason.FLOW_TABLE_FULL
        self.entered[vif] = entered + 1
        return DropReason.NONE

    def _rule_on(self, passage: Passage, *, outbound: bool) -> Ruling:
        """Judge the flow as started by the port, or by the far end."""
        key = passage.key
        networks = passage.port.network, passage.remote_network
        asked = Tuple(key.local, key.remote, key.local_port, key.remote_port, key.protocol)
        if not outbound:
            networks = networks[1], networks[0]
            asked = Tuple(key.remote, key.local, key.remote_port, key.local_port, key.protocol)
        return self._ask(passage.port.acl, networks, asked)

    def _ask(self, acl: int, networks: tuple[int, int], asked: Tuple) -> Ruling:
        """Find the first rule that matches. ACL 0 is no ACL; one without a row denies."""
        if not acl:
            return Ruling(RULE_NONE, ACL_PASS)
        row = self._rows.find("acls", (acl,))
        rule_count = row.values[0] if row is not None else 0
        for index in range(rule_count):
            key: Key = acl, index
            found = self._rows.find("acl_rules", key)
            if found is None:
                break  # half an ACL denies
            rule = RuleValues(*found.values)
            if rule_matches(rule, networks, asked):
                return Ruling(index, rule.action)
        return Ruling(RULE_NONE, ACL_DENY)
