"""Access control lists and the flow table that remembers their verdicts.

`c/lib/policy.h` and `c/lib/flow.h` say the same in C. A verdict holds for the generation and the
ACL it was given under; otherwise the packet is judged again. The first packet of an allowed flow
also enters the reverse tuple as its answers' (FLOW_RESPONDER), judged as what they answer.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_S,
    FLOW_RESPONDER,
    INTERFACE_POLICY,
    PROTOCOL_ANY,
    RULE_NONE,
    TABLE_BY_NAME,
)
from filament.forward.parse import WITH_PORTS, Packet, parse_quoted
from filament.forward.rows import InterfaceValues, RouteValues, Rows, RuleValues
from filament.forward.steps import Trail
from filament.forward.tables import Key, Row
from filament.wire.packet.ipv4 import ICMP, TCP

_SECOND_NS = 1_000_000_000
_MAX_FLOWS = TABLE_BY_NAME["flows"].max_entries


class FlowKey(NamedTuple):
    """A key of `flows`; the tuple is the packet's."""

    vif: int
    source: int
    destination: int
    source_port: int
    destination_port: int
    protocol: int

    def reversed(self) -> FlowKey:
        """The answers' key. What stands for ports in ICMP is the same in both directions."""
        ports = self.source_port, self.destination_port
        if self.protocol != ICMP:
            ports = ports[1], ports[0]
        return FlowKey(self.vif, self.destination, self.source, *ports, self.protocol)


class Flow(msgspec.Struct):
    """A row of `flows`."""

    packets: int
    bytes: int
    last_seen_ns: int
    generation: int
    rule: int
    action: int
    flags: int
    acl: int

    def values(self) -> tuple[int, ...]:
        """Return the row in layout order."""
        return msgspec.structs.astuple(self)

    def is_idle(self, protocol: int, now_ns: int) -> bool:
        """Say whether the entry is too old to count."""
        idle_s = FLOW_IDLE_TCP_S if protocol == TCP else FLOW_IDLE_S
        return now_ns - self.last_seen_ns > idle_s * _SECOND_NS


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

    def is_current(self, flow: Flow) -> bool:
        """Say whether a flow's verdict holds."""
        return (
            flow.generation == self.generation
            and flow.acl == self.port.acl
            and not flow.is_idle(self.key.protocol, self.now_ns)
        )


def key_of(packet: Packet, vif: int) -> FlowKey:
    """Return the key of a packet's flow at a port."""
    return FlowKey(
        vif,
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        packet.protocol,
    )


def rule_matches(rule: RuleValues, networks: tuple[int, int], tuple_: FlowKey) -> bool:
    """Say whether a rule is about a flow between two networks (source, destination)."""
    if rule.source_network and rule.source_network != networks[0]:
        return False
    if rule.destination_network and rule.destination_network != networks[1]:
        return False
    if rule.protocol not in (PROTOCOL_ANY, tuple_.protocol):
        return False
    if tuple_.source & rule.source_mask != rule.source:
        return False
    if tuple_.destination & rule.destination_mask != rule.destination:
        return False
    if tuple_.protocol not in WITH_PORTS:
        return True
    return (
        rule.source_port_low <= tuple_.source_port <= rule.source_port_high
        and rule.destination_port_low <= tuple_.destination_port <= rule.destination_port_high
    )


class Policy:
    """The judge of one data plane, with its flow table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.flows: dict[FlowKey, Flow] = {}

    def may_pass(
        self,
        frame: bytes,
        packet: Packet,
        port: InterfaceValues,
        trail: Trail,
        now_ns: int,
        route: RouteValues | None,
    ) -> bool:
        """Say whether the port's policy lets the packet pass, and remember it.

        `route` is the one to the destination of a packet from the port, None of one to the port.
        """
        if not port.flags & INTERFACE_POLICY:
            return True
        key = key_of(packet, port.vif)
        generation = self._rows.host().generation
        network = route.network if route is not None else 0
        passage = Passage(key, port, generation, packet.length, now_ns, route is not None, network)
        if packet.is_error and self._is_about_flow(frame, packet, passage, trail):
            return True
        flow = self.flows.get(key)
        if flow is not None and passage.is_current(flow):
            flow.packets += 1
            flow.bytes += packet.length
            flow.last_seen_ns = now_ns
        else:
            flow = self._judge(passage, trail)
        trail.meet("flow", "flows", key, Row(flow.values()))
        if flow.rule != RULE_NONE:
            rule_key = flow.acl, flow.rule
            trail.meet("rule", "acl_rules", rule_key, self._rows.find("acl_rules", rule_key))
        elif flow.acl:
            trail.meet("rule", "acls", (flow.acl,), self._rows.find("acls", (flow.acl,)))
        return flow.action == ACL_PASS

    def _is_about_flow(self, frame: bytes, packet: Packet, passage: Passage, trail: Trail) -> bool:
        """Say whether an ICMP error is about a flow that may pass."""
        quoted = parse_quoted(frame, packet)
        if quoted is None or quoted.source != packet.destination:
            return False
        key = key_of(quoted, passage.port.vif).reversed()
        flow = self.flows.get(key)
        if (
            flow is None
            or flow.action != ACL_PASS
            or flow.generation != passage.generation
            or flow.acl != passage.port.acl
            or flow.is_idle(key.protocol, passage.now_ns)
        ):
            return False
        trail.meet("error", "flows", key, Row(flow.values()))
        return True

    def _judge(self, passage: Passage, trail: Trail) -> Flow:
        """Judge a packet that has no current entry, and enter the verdict."""
        key, now_ns = passage.key, passage.now_ns
        if not passage.is_from_port:
            back = self._rows.find_route(passage.port.vrf, key.source)
            network = RouteValues(*back.row.values).network if back is not None else 0
            passage = passage._replace(remote_network=network)
            if back is not None:
                trail.meet("source", "routes", back.key, back.row)
        reverse = key.reversed()
        known, partner = self.flows.get(key), self.flows.get(reverse)
        if partner is not None and partner.is_idle(key.protocol, now_ns):
            partner = None
        # One-way flows keep their answers' entry alive.
        if known is not None and partner is None and known.is_idle(key.protocol, now_ns):
            known = None
        if known is not None:
            is_answer = bool(known.flags & FLOW_RESPONDER)
        else:
            # This half may have been evicted.
            is_answer = (
                partner is not None
                and partner.action == ACL_PASS
                and not partner.flags & FLOW_RESPONDER
            )
        ruling = self._rule_on(passage, as_answer=is_answer)
        if is_answer and ruling.action != ACL_PASS:
            own = self._rule_on(passage, as_answer=False)
            if own.action == ACL_PASS:
                ruling, is_answer = own, False
        flow = Flow(
            (known.packets if known is not None else 0) + 1,
            (known.bytes if known is not None else 0) + passage.bytes,
            now_ns,
            passage.generation,
            ruling.rule,
            ruling.action,
            FLOW_RESPONDER if is_answer else 0,
            passage.port.acl,
        )
        self._enter(key, flow)
        if ruling.action == ACL_PASS and not is_answer:
            answers = msgspec.structs.replace(
                flow,
                packets=partner.packets if partner is not None else 0,
                bytes=partner.bytes if partner is not None else 0,
                last_seen_ns=partner.last_seen_ns if partner is not None else now_ns,
                flags=FLOW_RESPONDER,
            )
            self._enter(reverse, answers)
        return flow

    def _enter(self, key: FlowKey, flow: Flow) -> None:
        if key not in self.flows and len(self.flows) >= _MAX_FLOWS:
            del self.flows[next(iter(self.flows))]
        self.flows[key] = flow

    def _rule_on(self, passage: Passage, *, as_answer: bool) -> Ruling:
        """Judge the packet's tuple, or the tuple that it answers, in the port's ACL."""
        tuple_ = passage.key.reversed() if as_answer else passage.key
        networks = passage.port.network, passage.remote_network
        if passage.is_from_port == as_answer:
            networks = networks[1], networks[0]
        return self._ask(passage.port.acl, networks, tuple_)

    def _ask(self, acl: int, networks: tuple[int, int], tuple_: FlowKey) -> Ruling:
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
            if rule_matches(rule, networks, tuple_):
                return Ruling(index, rule.action)
        return Ruling(RULE_NONE, ACL_DENY)
