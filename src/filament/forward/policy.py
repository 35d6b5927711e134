"""Lists of rules and the flow table that remembers their verdicts.

`c/lib/policy.h` and `c/lib/flow.h` say the same in C; `forward.flows` has the rows. A row of the
table is both directions of a connection; its verdict is on the tuple of the end that started it,
and holds for the generation and the lists it was given under; otherwise the next packet is judged
again. The other direction is the flow's answers once a packet of it passed (FLOW_PASSED); until
then it is judged on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from filament.base.net import narrow_address, widen_address
from filament.forward.classify import Asked
from filament.forward.flows import (
    ICMPS,
    SECOND_NS,
    Flow,
    FlowKey,
    Fragment,
    FragmentKey,
    key_of,
    refusal,
)
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    FIREWALL_DENY,
    FLOW_BOTH_DENIED,
    FLOW_INBOUND,
    FLOW_PASSED,
    FRAGMENT_IDLE_S,
    INTERFACE_POLICY,
    PROTOCOL_PORTLESS,
    RULE_NONE,
    SECURITY_DENY,
    SHAPE_DESTINATION_NETWORK,
    SHAPE_GROUPS,
    SHAPE_PORT,
    SHAPE_PORT_RANGE,
    SHAPE_PROTOCOL,
    SHAPE_SOURCE_NETWORK,
    TABLE_BY_NAME,
    DropReason,
)
from filament.forward.members import member_from
from filament.forward.parse import WITH_PORTS, Packet, parse_quoted
from filament.forward.rows import (
    BucketValues,
    InterfaceValues,
    ListValues,
    RangeValues,
    RouteValues,
    Rows,
    ShapeValues,
)
from filament.forward.steps import Trail
from filament.forward.tables import ROUTES_BY_VERSION, Row
from filament.wire.packet.ipv4 import TCP
from filament.wire.packet.tcp import ACK, SYN

MAX_FLOWS = TABLE_BY_NAME["flows"].max_entries
_MAX_FRAGMENTS = TABLE_BY_NAME["fragments"].max_entries


class Answer(NamedTuple):
    """What a list says: the deciding rule's position (or RULE_NONE) and the action."""

    rule: int
    action: int


class Ruling(NamedTuple):
    """What the lists of a port say of a flow: the rules that decided, and its row's action."""

    rule: int
    security: int
    security_rule: int
    firewall: int
    firewall_rule: int
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
    remote_groups: int
    remote_tags: int
    version: int
    tcp_flags: int
    icmp: int
    packet: Packet | None = None
    came_from: int = 0  # the member of the composite back that it came from, 0 for none

    def is_current(self, flow: Flow) -> bool:
        """Say whether a flow's verdict is of the rules that hold."""
        security, firewall = lists_of(self.port, outbound=not flow.flags & FLOW_INBOUND)
        return (
            flow.generation == self.generation
            and flow.acl == self.port.acl
            and flow.security == security
            and flow.firewall == firewall
        )

    def is_alive(self, flow: Flow) -> bool:
        """Say whether the row is this packet's flow, and not one that ended before."""
        if flow.is_idle(self.key.protocol, self.now_ns):
            return False
        # A new connection by the ports of one that is closed.
        return self.tcp_flags & (SYN | ACK) != SYN or not flow.is_closed

    @property
    def may_begin(self) -> bool:
        """Whether it may be the first packet of a connection: of TCP only a SYN is. Fat flows are
        many connections.
        """
        is_followed = self.key.protocol == TCP and not self.key.fat
        return not is_followed or self.tcp_flags & (SYN | ACK) == SYN

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

    def refusal(self, action: int) -> DropReason:
        """Why the packet is dropped when its flow may not pass."""
        return refusal(action, is_from_port=self.is_from_port)


def lists_of(port: InterfaceValues, *, outbound: bool) -> tuple[int, int]:
    """Return the lists of a port's security groups and firewall policies for flows that the port
    starts (`outbound`), or the far end.
    """
    if outbound:
        return port.egress, port.firewall_egress
    return port.ingress, port.firewall_ingress


class Shown(NamedTuple):
    """A packet that is sampled: at which port, in which VRF, and why it was dropped (NONE: it is
    the first of a flow that passes).
    """

    vif: int
    vrf: int
    reason: DropReason


class Policy:
    """The judge of one data plane, with its flow table, which has room for `most_flows`; `show`
    hears of flows that begin.
    """

    def __init__(
        self,
        rows: Rows,
        show: Callable[[Shown], None] = lambda _: None,
        most_flows: int = MAX_FLOWS,
    ) -> None:
        self._most_flows = most_flows
        self._rows = rows
        self._show = show
        self.flows: dict[FlowKey, Flow] = {}
        self.fragments: dict[FragmentKey, Fragment] = {}
        self.entered: dict[int, int] = {}
        self.swept: dict[int, int] = {}
        self.begun = 0  # flows that were not there before

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
        if packet.is_fragment:
            self._follow_fragment(packet, port.vif, now_ns)
        is_from_port = route is not None
        key = key_of(packet, port, self._rows, is_from_port=is_from_port)
        passage = Passage(
            key,
            port,
            self._rows.host().generation,
            packet.length,
            now_ns,
            is_from_port,
            route.network if route is not None else 0,
            route.groups if route is not None else 0,
            route.tags if route is not None else 0,
            packet.version,
            packet.tcp_flags if not key.fat else 0,
            packet.icmp_type << 8 | packet.icmp_code,
            packet,
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
                reason = passage.refusal(flow.action)
        else:
            may_pass = flow is not None and flow.action == ACL_PASS and passage.is_alive(flow)
            flow, reason = self._judge(passage, trail)
            if reason is DropReason.NONE and not may_pass:
                self._show(Shown(port.vif, port.vrf, reason))
        stage = "flow" if passage.is_forward(flow) else "answer"
        trail.meet(stage, "flows", passage.key, Row(flow.values()))
        self._explain(flow.acl, flow.rule, trail)
        if flow.security and flow.action != ACL_DENY:
            self._explain(flow.security, flow.security_rule, trail)
        if flow.firewall and flow.action in (ACL_PASS, FIREWALL_DENY):
            self._explain(flow.firewall, flow.firewall_rule, trail)
        return reason

    def _follow_fragment(self, packet: Packet, vif: int, now_ns: int) -> None:
        """Remember what the first fragment of a packet says, or give a later one what that said."""
        if packet.protocol not in WITH_PORTS and not packet.is_icmp:
            return
        key = FragmentKey(
            vif,
            widen_address(packet.source, packet.version),
            widen_address(packet.destination, packet.version),
            packet.fragment_id,
            packet.protocol,
        )
        if packet.is_first:
            icmp = packet.icmp_type << 8 | packet.icmp_code
            self.fragments.pop(key, None)
            if len(self.fragments) >= _MAX_FRAGMENTS:
                del self.fragments[next(iter(self.fragments))]
            ports = packet.source_port, packet.destination_port
            self.fragments[key] = Fragment(now_ns, *ports, icmp)
            return
        known = self.fragments.get(key)
        if known is None or now_ns - known.seen_ns > FRAGMENT_IDLE_S * SECOND_NS:
            return
        packet.source_port, packet.destination_port = known.source_port, known.destination_port
        packet.icmp_type, packet.icmp_code = known.icmp >> 8, known.icmp & 255

    def _explain(self, number: int, rule: int, trail: Trail) -> None:
        """Note which rule of a list decided, or that none did."""
        if rule != RULE_NONE:
            trail.meet("rule", "rules", (number, rule), self._rows.find("rules", (number, rule)))
        elif number:
            trail.meet("rule", "lists", (number,), self._rows.find("lists", (number,)))

    def forget_port(self, vif: int) -> None:
        """Forget a port's flows and their counts."""
        for key in [key for key in self.flows if key.vif == vif]:
            del self.flows[key]
        for fragment in [key for key in self.fragments if key.vif == vif]:
            del self.fragments[fragment]
        self.entered.pop(vif, None)
        self.swept.pop(vif, None)

    def _is_about_flow(self, frame: bytes, packet: Packet, passage: Passage, trail: Trail) -> bool:
        """Say whether an ICMP error is about a flow that may pass."""
        quoted = parse_quoted(frame, packet)
        if quoted is None or quoted.source != packet.destination:
            return False
        key = key_of(quoted, passage.port, self._rows, is_from_port=not passage.is_from_port)
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
            self.begun += 1
            flow = Flow(passage.now_ns, *[0] * 18)
            flow.flags = 0 if is_from_port else FLOW_INBOUND
        is_answer = not passage.is_forward(flow) and bool(flow.flags & FLOW_PASSED)
        # Only who started was judged, and denied: what comes the other way is not an answer.
        is_denied_already = (
            not passage.is_forward(flow) and not is_answer and passage.is_current(flow)
        )
        icmp = flow.icmp if is_answer else passage.icmp
        ruling = self._rule_on(passage, icmp, outbound=is_from_port != is_answer)
        if is_answer and ruling.action != ACL_PASS and passage.may_begin:
            own = self._rule_on(passage, passage.icmp, outbound=is_from_port)
            if own.action == ACL_PASS:
                ruling, is_answer = own, False
        flow.generation, flow.acl = passage.generation, passage.port.acl
        if ruling.action == ACL_PASS:
            flow.flags = FLOW_PASSED | (0 if is_from_port != is_answer else FLOW_INBOUND)
        elif is_denied_already or (is_answer and passage.may_begin):
            flow.flags |= FLOW_BOTH_DENIED
        elif not is_answer:
            flow.flags &= ~(FLOW_BOTH_DENIED | FLOW_INBOUND)
            flow.flags |= 0 if is_from_port else FLOW_INBOUND
        if not is_denied_already or ruling.action == ACL_PASS:
            flow.rule, flow.security, flow.security_rule, *firewall, flow.action = ruling
            flow.firewall, flow.firewall_rule = firewall
            if not is_answer:
                flow.icmp = passage.icmp
        if passage.came_from:
            flow.member = passage.came_from
        passage.add_to(flow)
        reason = DropReason.NONE
        if known is None:
            reason = self._may_enter(passage)
        if reason is DropReason.NONE:
            self.flows[key] = flow
        return flow, reason if ruling.action == ACL_PASS else passage.refusal(ruling.action)

    def _with_remote_network(self, passage: Passage, trail: Trail) -> Passage:
        """Look up which network, groups and tags a packet to the port comes from."""
        version, packet = passage.version, passage.packet
        far_end = passage.key.far_end
        if packet is None and far_end is not None:
            return passage._replace(
                remote_network=far_end.network,
                remote_groups=far_end.groups,
                remote_tags=far_end.tags,
            )
        source = packet.source if packet is not None else narrow_address(passage.key.remote).value
        back = self._rows.find_route(passage.key.vrf, source, version)
        if back is None:
            return passage
        trail.meet("source", ROUTES_BY_VERSION[version], back.key, back.row)
        found = RouteValues(*back.row.values)
        return passage._replace(
            remote_network=found.network,
            remote_groups=found.groups,
            remote_tags=found.tags,
            came_from=member_from(self._rows, found.next_hop, packet) if packet is not None else 0,
        )

    def judge_again(self, key: FlowKey, flow: Flow, port: InterfaceValues) -> int | None:
        """Return the action that the rules give a flow, as it began, changing nothing; None when
        its verdict is of other rules, so that the next packet will be judged anyway.
        """
        is_outbound = not flow.flags & FLOW_INBOUND
        passage = Passage(
            key=key,
            port=port,
            generation=self._rows.host().generation,
            bytes=0,
            now_ns=flow.last_seen_ns,
            is_from_port=is_outbound,
            remote_network=0,
            remote_groups=0,
            remote_tags=0,
            version=key.version,
            tcp_flags=0,
            icmp=flow.icmp,
        )
        if not passage.is_current(flow):
            return None
        passage = self._with_remote_network(passage, Trail())
        return self._rule_on(passage, flow.icmp, outbound=is_outbound).action

    def _may_enter(self, passage: Passage) -> DropReason:
        """Count a flow that has no row yet; the reason when there is no room for it."""
        vif, limit = passage.key.vif, passage.port.flow_limit
        entered = self.entered.get(vif, 0)
        if limit and entered - self.swept.get(vif, 0) >= limit:
            return DropReason.FLOW_LIMIT
        if len(self.flows) >= self._most_flows:
            return DropReason.FLOW_TABLE_FULL
        self.entered[vif] = entered + 1
        return DropReason.NONE

    def _rule_on(self, passage: Passage, icmp: int, *, outbound: bool) -> Ruling:
        """Judge the flow as started by the port, or by the far end: by its network's policy, then
        by the port's security groups, then by its firewall policies (all must let it pass). ICMP is
        judged by what it began with.
        """
        key, port = passage.key, passage.port
        networks = port.network, passage.remote_network
        addresses = key.local, key.remote_address
        ports = key.local_port, key.remote_port
        if not outbound:
            networks, addresses, ports = (
                (networks[1], networks[0]),
                (addresses[1], addresses[0]),
                (ports[1], ports[0]),
            )
        if key.protocol in ICMPS:
            ports = 0, icmp
        asked = Asked(
            *networks,
            passage.remote_groups,
            *addresses,
            *ports,
            key.protocol,
            passage.version,
        )
        rule, action = self.ask(port.acl, asked)
        security, firewall = lists_of(port, outbound=outbound)
        ruling = Ruling(rule, security, RULE_NONE, firewall, RULE_NONE, action)
        if action != ACL_PASS:
            return ruling
        security_rule, action = self.ask(security, asked)
        ruling = ruling._replace(security_rule=security_rule)
        if action != ACL_PASS:
            return ruling._replace(action=SECURITY_DENY)
        firewall_rule, action = self.ask(firewall, asked._replace(groups=passage.remote_tags))
        action = ACL_PASS if action == ACL_PASS else FIREWALL_DENY
        return ruling._replace(firewall_rule=firewall_rule, action=action)

    def ask(self, number: int, asked: Asked) -> Answer:
        """Find the first rule of a list that matches. List 0 is none; one without a row denies. Of
        a list with two halves each must let it pass; the rule is of the one that decided.
        """
        if not number:
            return Answer(RULE_NONE, ACL_PASS)
        row = self._rows.find("lists", (number,))
        first, second = ListValues(*row.values) if row is not None else (0, 0)
        answer = self._ask_half(number, range(first), asked)
        if second and answer.action == ACL_PASS:
            answer = self._ask_half(number, range(first, first + second), asked)
        return answer

    def _ask_half(self, number: int, shapes: range, asked: Asked) -> Answer:
        best = Answer(RULE_NONE, ACL_DENY)
        for index in shapes:
            found = self._rows.find("shapes", (number, index))
            if found is None:
                return Answer(RULE_NONE, ACL_DENY)  # half a list denies
            shape = ShapeValues(*found.values)
            if shape.first_rule >= best.rule:
                break
            if (
                (shape.version and shape.version != asked.version)
                or not shape.source_port_low <= asked.source_port <= shape.source_port_high
                or (shape.protocol == PROTOCOL_PORTLESS and asked.protocol in WITH_PORTS)
            ):
                continue
            answer = self._ask_bucket(number, index, shape, asked)
            if answer is not None and answer.rule < best.rule:
                best = answer
        return best

    def _ask_bucket(
        self, number: int, index: int, shape: ShapeValues, asked: Asked
    ) -> Answer | None:
        flags = shape.flags
        key = (
            number,
            index,
            asked.source_network if flags & SHAPE_SOURCE_NETWORK else 0,
            asked.destination_network if flags & SHAPE_DESTINATION_NETWORK else 0,
            asked.groups if flags & SHAPE_GROUPS else 0,
            asked.protocol if flags & SHAPE_PROTOCOL else 0,
            asked.port if flags & SHAPE_PORT else 0,
            asked.source & shape.source_mask,
            asked.destination & shape.destination_mask,
        )
        row = self._rows.find("buckets", key)
        if row is None:
            return None
        bucket = BucketValues(*row.values)
        if not flags & SHAPE_PORT_RANGE:
            return Answer(bucket.rule, bucket.action)
        return self._ask_ranges(number, bucket, asked.port)

    def _ask_ranges(self, number: int, bucket: BucketValues, port: int) -> Answer | None:
        first, count = bucket.first_range, bucket.range_count
        for _ in range(18):
            if not count:
                break
            row = self._rows.find("ranges", (number, first + count // 2))
            if row is None:
                break
            found = RangeValues(*row.values)
            if port < found.low:
                count //= 2
            elif port > found.high:
                first += count // 2 + 1
                count -= count // 2 + 1
            else:
                return Answer(found.rule, found.action)
        return None
