"""The reference interpreter: tables + packet -> verdict, frame, counters, and how it came about.

It says in Python what `dataplane/c` says to the kernel; the bpf tests run both on the same tables
and packets. It is also the data plane of the simulator and the engine of `filament trace`. Where
the two must differ: a frame's buffer and checksum offload state, which only the kernel has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from filament.base.errors import ProtocolError
from filament.base.net import MPLS_OVER_UDP_PORT, format_ipv4
from filament.forward.layout import (
    FABRIC_VIF,
    NEXT_HOP_PEER,
    ROUTE_PROXY_ARP,
    TUNNEL_TTL,
    DropReason,
    NextHopType,
    Verdict,
)
from filament.forward.parse import Packet, is_unicast, parse_ipv4
from filament.forward.policy import FlowKey, Policy
from filament.forward.rows import (
    HostValues,
    InterfaceValues,
    LabelValues,
    NextHopValues,
    RouteValues,
    Rows,
)
from filament.forward.steps import Step, Trail
from filament.forward.tables import Change, Key, Tables
from filament.forward.tunnel import (
    OUTER_BYTES,
    encode_outer,
    merge_congestion,
    replace_word,
    tunnelled_length,
)
from filament.wire.packet.arp import ARP_BYTES, REPLY, REQUEST, Arp, decode_arp, encode_arp
from filament.wire.packet.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    Ethernet,
    decode_ethernet,
    encode_ethernet,
)
from filament.wire.packet.ethernet import HEADER_BYTES as ETHERNET_BYTES
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REQUEST
from filament.wire.packet.ipv4 import ICMP, UDP
from filament.wire.packet.mpls import decode_label
from filament.wire.packet.udp import HEADER_BYTES as UDP_HEADER_BYTES

_SECOND_NS = 1_000_000_000
_ECN = 3
# Of an IPv4 and UDP header: first byte, fragment word, protocol, destination, destination port.
_OUTER = struct.Struct("!B5xHxB6xI2xH")
_ANY_FRAGMENT = 0x3FFF


class UnderlayPath(NamedTuple):
    """The kernel's way to another host: device, its MAC, the neighbour's (None: not resolved
    yet, the kernel asks and keeps the packet meanwhile), and the MTU in bytes.
    """

    ifindex: int
    source_mac: int
    destination_mac: int | None
    mtu_bytes: int = 1500


class Output(NamedTuple):
    """A frame that leaves: to a port's device, or to the underlay for the host `remote`."""

    ifindex: int
    frame: bytes
    remote: int = 0
    is_peer: bool = False

    @property
    def is_to_fabric(self) -> bool:
        """Whether it goes to another host."""
        return self.remote != 0


class Result(NamedTuple):
    """What became of a packet. Verdict OK: not ours, the host's own stack has it."""

    verdict: Verdict
    reason: DropReason
    output: Output | None
    trail: tuple[Step, ...]
    next_hop: int = 0


class Counter(NamedTuple):
    """A row of `counters`."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0


class Model:
    """One host's data plane. Its rows may change between packets, its flows and counters stay.

    `clock` returns seconds on a monotonic clock. `underlay` is read at every tunnelled packet.
    """

    def __init__(
        self,
        tables: Tables | None,
        clock: Callable[[], float],
        underlay: Mapping[int, UnderlayPath] | None = None,
    ) -> None:
        self.rows = Rows(tables)
        self.underlay = underlay if underlay is not None else {}
        self.drops: dict[tuple[int, int], int] = {}
        self.counters: dict[int, Counter] = {}
        self._clock = clock
        self._policy = Policy(self.rows)

    # --- the maps' verbs, so that a reconciler can work on a model ---

    def replace(self, tables: Tables) -> None:
        """Make the rows those of `tables`."""
        self.rows.replace(tables)

    def write(self, changes: Iterable[Change]) -> None:
        """Apply row changes."""
        self.rows.write(changes)

    def read_planned(self) -> dict[str, dict[Key, tuple[int, ...]]]:
        """Return the values of all planned rows."""
        return self.rows.read_planned()

    def flows(self) -> dict[FlowKey, tuple[int, ...]]:
        """Return the flow table."""
        return {key: flow.values() for key, flow in self._policy.flows.items()}

    def forget_port(self, vif: int) -> None:
        """Forget flows, drops and counters of a port's number."""
        flows = self._policy.flows
        for key in [key for key in flows if key.vif == vif]:
            del flows[key]
        for drop in [drop for drop in self.drops if drop[0] == vif]:
            del self.drops[drop]
        self.counters.pop(vif, None)

    # --- packets ---

    def from_port(self, ifindex: int, frame: bytes, *, gso_size: int = 0) -> Result:
        """Process a frame that arrives from a port's device.

        `gso_size` is the payload of each segment when the frame is still to be segmented.
        """
        return _Run(self, self._policy, self._clock(), frame).from_port(ifindex, gso_size)

    def from_fabric(self, frame: bytes) -> Result:
        """Process a frame that arrives from the underlay."""
        return _Run(self, self._policy, self._clock(), frame).from_fabric()

    def count(self, vif: int, *, rx: int = 0, tx: int = 0) -> None:
        """Count a packet of `rx` or `tx` bytes."""
        known = self.counters.get(vif, Counter())
        self.counters[vif] = Counter(
            known.rx_packets + bool(rx),
            known.rx_bytes + rx,
            known.tx_packets + bool(tx),
            known.tx_bytes + tx,
        )


class _Run:
    """One packet's way through the model."""

    def __init__(self, model: Model, policy: Policy, now: float, frame: bytes) -> None:
        self.model = model
        self.rows = model.rows
        self.policy = policy
        self.now_ns = int(now * _SECOND_NS)
        self.frame = frame
        self.trail = Trail()
        self.host: HostValues = self.rows.host()

    # --- ways out ---

    def drop(self, vif: int, reason: DropReason) -> Result:
        """Discard the packet, for a counted reason."""
        drops = self.model.drops
        drops[vif, reason] = drops.get((vif, reason), 0) + 1
        self.trail.note("drop", reason.text)
        return Result(Verdict.SHOT, reason, None, tuple(self.trail))

    def send(self, output: Output, next_hop: int) -> Result:
        """Let a frame leave."""
        return Result(Verdict.REDIRECT, DropReason.NONE, output, tuple(self.trail), next_hop)

    # --- lookups ---

    def port(self, ifindex: int) -> InterfaceValues | None:
        row = self.rows.find("interfaces", (ifindex,))
        self.trail.meet("port", "interfaces", (ifindex,), row)
        return InterfaceValues(*row.values) if row is not None else None

    def next_hop(self, number: int) -> NextHopValues | None:
        row = self.rows.find("next_hops", (number,))
        self.trail.meet("next-hop", "next_hops", (number,), row)
        next_hop = NextHopValues(*row.values) if row is not None else None
        return next_hop if next_hop is not None and next_hop.type else None

    def route(self, stage: str, vrf: int, address: int) -> RouteValues | None:
        found = self.rows.find_route(vrf, address)
        if found is None:
            self.trail.meet(stage, "routes", (64, vrf, address), None)
            return None
        self.trail.meet(stage, "routes", found.key, found.row)
        return RouteValues(*found.row.values)

    # --- from a port ---

    def from_port(self, ifindex: int, gso_size: int) -> Result:
        port = self.port(ifindex)
        if port is None:
            return self.drop(FABRIC_VIF, DropReason.UNKNOWN_INTERFACE)
        self.model.count(port.vif, rx=len(self.frame))
        try:
            ethernet = decode_ethernet(self.frame)
        except ProtocolError:
            return self.drop(port.vif, DropReason.MALFORMED)
        if ethernet.ethertype == ETHERTYPE_ARP:
            return self.answer_arp(port, ifindex, ethernet)
        if ethernet.ethertype != ETHERTYPE_IPV4:
            return self.drop(port.vif, DropReason.UNSUPPORTED_PROTOCOL)
        # Any other destination is the gateway's: ports share no link with anybody else.
        if ethernet.is_group:
            return self.drop(port.vif, DropReason.NOT_UNICAST)
        packet = parse_ipv4(self.frame, ETHERNET_BYTES)
        if packet is None:
            return self.drop(port.vif, DropReason.MALFORMED)
        if not is_unicast(packet.destination):
            return self.drop(port.vif, DropReason.NOT_UNICAST)
        if not self.is_own_source(port, packet.source):
            return self.drop(port.vif, DropReason.SOURCE_SPOOFED)
        return self.route_packet(port, ifindex, packet, gso_size)

    def is_own_source(self, port: InterfaceValues, source: int) -> bool:
        if source and source == port.address:
            return True
        route = self.route("source", port.vrf, source)
        return route is not None and route.next_hop == port.next_hop and is_unicast(source)

    def route_packet(
        self, port: InterfaceValues, ifindex: int, packet: Packet, gso_size: int
    ) -> Result:
        route = self.route("route", port.vrf, packet.destination)
        if route is None:
            return self.drop(port.vif, DropReason.NO_ROUTE)
        next_hop = self.next_hop(route.next_hop)
        if next_hop is None:
            return self.drop(port.vif, DropReason.INVALID_NEXT_HOP)
        if next_hop.type == NextHopType.DISCARD:
            return self.drop(port.vif, DropReason.UNASSIGNED)
        if next_hop.type == NextHopType.RECEIVE:
            return self.answer_echo(port, ifindex, packet, route.next_hop)
        if packet.ttl <= 1:
            return self.drop(port.vif, DropReason.TTL_EXCEEDED)
        if not self.policy.may_pass(self.frame, packet, port, self.trail, self.now_ns, route):
            return self.drop(port.vif, DropReason.POLICY_FROM_PORT)
        self.decrement_ttl(packet)
        if next_hop.type == NextHopType.TUNNEL:
            return self.tunnel(port, packet, route, next_hop, gso_size)
        if next_hop.type == NextHopType.INTERFACE:
            return self.to_port(packet, next_hop, route.next_hop, port.vif)
        return self.drop(port.vif, DropReason.INVALID_NEXT_HOP)

    def decrement_ttl(self, packet: Packet) -> None:
        frame = bytearray(self.frame)
        packet.ttl -= 1
        word = packet.ttl << 8 | packet.protocol
        replace_word(frame, ETHERNET_BYTES + 8, word, ETHERNET_BYTES + 10)
        self.frame = bytes(frame)

    def to_port(
        self, packet: Packet, next_hop: NextHopValues, number: int, source_vif: int
    ) -> Result:
        port = self.port(next_hop.ifindex)
        if port is None:
            return self.drop(source_vif, DropReason.UNKNOWN_INTERFACE)
        if not self.policy.may_pass(self.frame, packet, port, self.trail, self.now_ns, None):
            return self.drop(port.vif, DropReason.POLICY_TO_PORT)
        return self.hand_over(port, next_hop, number)

    def hand_over(self, port: InterfaceValues, next_hop: NextHopValues, number: int) -> Result:
        header = Ethernet(next_hop.destination_mac, next_hop.source_mac, ETHERTYPE_IPV4)
        frame = encode_ethernet(header) + self.frame[ETHERNET_BYTES:]
        self.model.count(port.vif, tx=len(frame))
        is_peer = bool(next_hop.flags & NEXT_HOP_PEER)
        return self.send(Output(next_hop.ifindex, frame, is_peer=is_peer), number)

    def answer_arp(self, port: InterfaceValues, ifindex: int, ethernet: Ethernet) -> Result:
        try:
            asked = decode_arp(self.frame[ETHERNET_BYTES:])
        except ProtocolError:
            return self.drop(port.vif, DropReason.MALFORMED)
        if asked.operation != REQUEST:
            return self.drop(port.vif, DropReason.ARP_UNANSWERED)
        route = self.route("arp", port.vrf, asked.target)
        # Never for the port's own addresses: that would look like a conflict to it.
        if route is None or not route.flags & ROUTE_PROXY_ARP or route.next_hop == port.next_hop:
            return self.drop(port.vif, DropReason.ARP_UNANSWERED)
        next_hop = self.next_hop(port.next_hop)
        if next_hop is None:
            return self.drop(port.vif, DropReason.INVALID_NEXT_HOP)
        header = Ethernet(ethernet.source, next_hop.source_mac, ETHERTYPE_ARP)
        reply = Arp(REPLY, next_hop.source_mac, asked.target, asked.sender_mac, asked.sender)
        padding = self.frame[ETHERNET_BYTES + ARP_BYTES :]
        frame = encode_ethernet(header) + encode_arp(reply) + padding
        self.model.count(port.vif, tx=len(frame))
        return self.send(Output(ifindex, frame), port.next_hop)

    def answer_echo(
        self, port: InterfaceValues, ifindex: int, packet: Packet, number: int
    ) -> Result:
        """Turn an echo request to the gateway around. Fragments are not served."""
        transport = ETHERNET_BYTES + packet.header_bytes
        if packet.protocol != ICMP or packet.is_fragment or self.frame[transport] != ECHO_REQUEST:
            return self.drop(port.vif, DropReason.NOT_SERVED)
        frame = bytearray(self.frame)
        frame[0:6], frame[6:12] = frame[6:12], frame[0:6]
        at = ETHERNET_BYTES
        frame[at + 12 : at + 16], frame[at + 16 : at + 20] = (
            frame[at + 16 : at + 20],
            frame[at + 12 : at + 16],
        )
        replace_word(frame, at + 8, TUNNEL_TTL << 8 | ICMP, at + 10)
        replace_word(frame, transport, ECHO_REPLY << 8 | frame[transport + 1], transport + 2)
        self.model.count(port.vif, tx=len(frame))
        return self.send(Output(ifindex, bytes(frame)), number)

    def tunnel(
        self,
        port: InterfaceValues,
        packet: Packet,
        route: RouteValues,
        next_hop: NextHopValues,
        gso_size: int,
    ) -> Result:
        length = tunnelled_length(self.frame, packet, gso_size)
        path = self.model.underlay.get(next_hop.remote)
        if length > 0xFFFF:
            return self.drop(port.vif, DropReason.MTU_EXCEEDED)
        if path is None:
            return self.drop(port.vif, DropReason.NO_UNDERLAY_ROUTE)
        if length > path.mtu_bytes:
            return self.drop(port.vif, DropReason.MTU_EXCEEDED)
        # Without a neighbour yet, the kernel writes the MACs when it has asked for them.
        macs = (path.destination_mac, path.source_mac) if path.destination_mac else (0, 0)
        outer = encode_outer(packet, self.host.address, next_hop.remote, route.label)
        frame = encode_ethernet(Ethernet(*macs, ETHERTYPE_IPV4)) + outer
        frame += self.frame[ETHERNET_BYTES:]
        self.model.count(FABRIC_VIF, tx=len(frame))
        text = f"MPLS over UDP to {format_ipv4(next_hop.remote)}, label {route.label}"
        self.trail.note("tunnel", text)
        return self.send(Output(path.ifindex, frame, next_hop.remote), route.next_hop)

    # --- from the fabric ---

    def is_tunnelled(self) -> bool:
        """Whether the frame is MPLS over UDP to this host; the rest is the host's own business."""
        frame = self.frame
        if len(frame) < OUTER_BYTES or decode_ethernet(frame).ethertype != ETHERTYPE_IPV4:
            return False
        # Version 4 without options; fragments and options are sent by no tunnel end.
        first, fragment, protocol, destination, port = _OUTER.unpack_from(frame, ETHERNET_BYTES)
        return (
            first == 0x45
            and protocol == UDP
            and not fragment & _ANY_FRAGMENT
            and destination == self.host.address != 0
            and port == MPLS_OVER_UDP_PORT
        )

    def from_fabric(self) -> Result:
        if not self.is_tunnelled():
            return Result(Verdict.OK, DropReason.NONE, None, ())
        self.model.count(FABRIC_VIF, rx=len(self.frame))
        at = ETHERNET_BYTES + 20 + UDP_HEADER_BYTES
        entry = decode_label(self.frame[at:])
        if not entry.is_bottom:
            return self.drop(FABRIC_VIF, DropReason.INVALID_LABEL)
        row = self.rows.find("labels", (entry.label,))
        self.trail.meet("label", "labels", (entry.label,), row)
        if row is None:
            return self.drop(FABRIC_VIF, DropReason.INVALID_LABEL)
        number = LabelValues(*row.values).next_hop
        next_hop = self.next_hop(number)
        if next_hop is None or next_hop.type != NextHopType.INTERFACE:
            return self.drop(FABRIC_VIF, DropReason.INVALID_NEXT_HOP)
        port = self.port(next_hop.ifindex)
        if port is None:
            return self.drop(FABRIC_VIF, DropReason.UNKNOWN_INTERFACE)
        packet = parse_ipv4(self.frame, OUTER_BYTES)
        if packet is None:
            return self.drop(port.vif, DropReason.MALFORMED)
        if not self.policy.may_pass(self.frame, packet, port, self.trail, self.now_ns, None):
            return self.drop(port.vif, DropReason.POLICY_TO_PORT)
        merged = merge_congestion(packet.tos & _ECN, self.frame[ETHERNET_BYTES + 1] & _ECN)
        if merged is None:
            return self.drop(port.vif, DropReason.CONGESTION_LOST)
        frame = bytearray(self.frame[:ETHERNET_BYTES] + self.frame[OUTER_BYTES:])
        if merged != packet.tos & _ECN:
            word = frame[ETHERNET_BYTES] << 8 | packet.tos & ~_ECN | merged
            replace_word(frame, ETHERNET_BYTES, word, ETHERNET_BYTES + 10)
            self.trail.note("congestion", f"marked {merged} as in the tunnel")
        self.frame = bytes(frame)
        return self.hand_over(port, next_hop, number)
