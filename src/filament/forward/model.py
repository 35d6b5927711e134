"""The reference interpreter: tables + packet -> verdict, frame, counters, and how it came about.

It says in Python what `dataplane/c` says to the kernel; the bpf tests run both on the same tables
and packets. It is also the data plane of the simulator and the engine of `filament trace`. Where
the two must differ: a frame's buffer and checksum offload state, which only the kernel has.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_SAMPLES
from filament.base.net import MPLS_OVER_UDP_PORT, VXLAN_PORT, bits_of, format_ipv4
from filament.forward.ecmp import Chooser
from filament.forward.flows import FlowKey, Fragment, FragmentKey
from filament.forward.gateway import (
    Asked,
    advertisement,
    arp_reply,
    echo_reply,
    is_advertisement,
    is_solicitation,
    read_arp,
    read_target,
)
from filament.forward.layout import (
    FABRIC_VIF,
    GATEWAY_LINK_LOCAL,
    INTERFACE_CHECK_MAC,
    NEXT_HOP_PEER,
    NEXT_HOP_VXLAN,
    ROUTE_PROXY_ARP,
    DropReason,
    NextHopType,
    Verdict,
)
from filament.forward.members import leads_to
from filament.forward.parse import Packet, is_link_local, is_unicast, parse_ip
from filament.forward.policy import MAX_FLOWS, Policy, Shown
from filament.forward.rows import (
    HostValues,
    InterfaceValues,
    LabelValues,
    NextHopValues,
    RouteValues,
    Rows,
    VniValues,
)
from filament.forward.sources import Sender, find_claim, refuse_sender, refuse_source
from filament.forward.steps import Step, Trail
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS, Change, Key, Tables
from filament.forward.tunnel import (
    ETHERTYPE_BY_VERSION,
    MPLS_END,
    VXLAN_END,
    decode_source,
    encode_outer,
    mark_congestion,
    merge_congestion,
    overhead_of,
    replace_word,
    tunnelled_length,
)
from filament.wire.packet.arp import REQUEST
from filament.wire.packet.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Ethernet,
    decode_ethernet,
    encode_ethernet,
)
from filament.wire.packet.ethernet import HEADER_BYTES as ETHERNET_BYTES
from filament.wire.packet.ipv4 import HEADER_BYTES as IPV4_BYTES
from filament.wire.packet.ipv4 import UDP
from filament.wire.packet.mpls import decode_label
from filament.wire.packet.udp import HEADER_BYTES as UDP_HEADER_BYTES
from filament.wire.packet.vxlan import decode_vxlan

_SECOND_NS = 1_000_000_000
_ECN = 3
# Of an IPv4 and UDP header: first byte, fragment word, protocol, destination, destination port.
_OUTER = struct.Struct("!B5xHxB6xI2xH")
_ANY_FRAGMENT = 0x3FFF
_UDP_END = ETHERNET_BYTES + IPV4_BYTES + UDP_HEADER_BYTES


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


class Way(NamedTuple):
    """To another host: the next hop, its number, and the label or VNI to push."""

    next_hop: NextHopValues
    number: int
    label: int


class Counter(NamedTuple):
    """A row of `counters`."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0


class Model:
    """One host's data plane. Its rows may change between packets, its flows and counters stay.

    `clock` returns seconds on a monotonic clock. `underlay` is read at every tunnelled packet. The
    flow table has room for `most_flows`.
    """

    def __init__(
        self,
        tables: Tables | None,
        clock: Callable[[], float],
        underlay: Mapping[int, UnderlayPath] | None = None,
        *,
        most_flows: int = MAX_FLOWS,
    ) -> None:
        self.rows = Rows(tables)
        self.underlay = underlay if underlay is not None else {}
        self.drops: dict[tuple[int, int], int] = {}
        self.vrf_drops: dict[tuple[int, int], int] = {}
        self.shown: deque[Shown] = deque(maxlen=MAX_SAMPLES)
        self.counters: dict[int, Counter] = {}
        self.claims: dict[int, int] = {}
        self._clock = clock
        self._policy = Policy(self.rows, self.shown.append, most_flows)
        self.chooser = Chooser(self.rows, self._policy.flows)

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

    def fragments(self) -> dict[FragmentKey, Fragment]:
        """Return what first fragments said."""
        return dict(self._policy.fragments)

    def entered_flows(self) -> dict[int, int]:
        """Return how many flows were entered, by port's number."""
        return dict(self._policy.entered)

    def forget_port(self, vif: int) -> None:
        """Forget flows, drops and counters of a port's number."""
        self._policy.forget_port(vif)
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

    def forget_vrf(self, vrf: int) -> None:
        """Forget drops in a VRF's number."""
        for drop in [drop for drop in self.vrf_drops if drop[0] == vrf]:
            del self.vrf_drops[drop]

    def claim(self, port: InterfaceValues, sender: Sender) -> None:
        """Note that a port sent from an address, if that is one to be claimed."""
        number = find_claim(self.rows, port, sender)
        if number:
            self.claims.pop(number, None)  # the newest comes last
            self.claims[number] = int(self._clock() * _SECOND_NS)

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
        self.chooser = model.chooser
        self.now_ns = int(now * _SECOND_NS)
        self.frame = frame
        self.trail = Trail()
        self.vrf = 0  # of a packet from the fabric that no port has, as far as it is known
        self.host: HostValues = self.rows.host()

    # --- ways out ---

    def drop(self, port: InterfaceValues | None, reason: DropReason) -> Result:
        """Discard the packet of a port, or (None) of none, for a counted reason."""
        vif, vrf = (port.vif, port.vrf) if port is not None else (FABRIC_VIF, self.vrf)
        for counts, key in ((self.model.drops, vif), (self.model.vrf_drops, vrf)):
            counts[key, reason] = counts.get((key, reason), 0) + 1
        self.model.shown.append(Shown(vif, vrf, reason))
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

    def route(self, stage: str, vrf: int, address: int, version: int) -> RouteValues | None:
        found = self.rows.find_route(vrf, address, version)
        table = ROUTES_BY_VERSION[version]
        if found is None:
            self.trail.meet(stage, table, (VRF_BITS + bits_of(version), vrf, address), None)
            return None
        self.trail.meet(stage, table, found.key, found.row)
        return RouteValues(*found.row.values)

    # --- from a port ---

    def from_port(self, ifindex: int, gso_size: int) -> Result:
        port = self.port(ifindex)
        if port is None:
            return self.drop(None, DropReason.UNKNOWN_INTERFACE)
        self.model.count(port.vif, rx=len(self.frame))
        try:
            ethernet = decode_ethernet(self.frame)
        except ProtocolError:
            return self.drop(port, DropReason.MALFORMED)
        if ethernet.ethertype == ETHERTYPE_ARP:
            return self.answer_arp(port, ifindex, ethernet)
        version = _VERSION_BY_ETHERTYPE.get(ethernet.ethertype)
        if version is None:
            return self.drop(port, DropReason.UNSUPPORTED_PROTOCOL)
        packet = parse_ip(self.frame, ETHERNET_BYTES, version)
        if packet is not None:
            packet.sender_hop = port.next_hop
        if packet is not None and is_solicitation(packet):
            return self.answer_solicitation(port, ifindex, ethernet, packet)
        if packet is not None and is_advertisement(packet):
            self.hear_advertisement(port, ethernet, packet)
        # Any other destination is the gateway's: ports share no link with anybody else.
        if ethernet.is_group:
            return self.drop(port, DropReason.NOT_UNICAST)
        if packet is None:
            return self.drop(port, DropReason.MALFORMED)
        if not is_unicast(packet.destination, version):
            return self.drop(port, DropReason.NOT_UNICAST)
        if is_link_local(packet.destination, version):
            return self.to_link_local(port, ifindex, packet, ethernet.source)
        sender = Sender(ethernet.source, packet.source, version)
        reason = refuse_source(self.rows, port, sender, self.trail)
        if reason:
            return self.drop(port, reason)
        return self.route_packet(port, ifindex, packet, gso_size)

    def to_link_local(
        self, port: InterfaceValues, ifindex: int, packet: Packet, mac: int
    ) -> Result:
        """Within the link there is nobody but the gateway."""
        sender = Sender(mac, packet.source, packet.version)
        if is_link_local(packet.source, packet.version):
            reason = refuse_sender(self.rows, port, sender, self.trail)
        else:
            reason = refuse_source(self.rows, port, sender, self.trail)
        if reason:
            return self.drop(port, reason)
        if packet.destination != GATEWAY_LINK_LOCAL:
            return self.drop(port, DropReason.NO_ROUTE)
        return self.answer_echo(port, ifindex, packet, port.next_hop)

    def route_packet(
        self, port: InterfaceValues, ifindex: int, packet: Packet, gso_size: int
    ) -> Result:
        route = self.route("route", port.vrf, packet.destination, packet.version)
        if route is None:
            return self.drop(port, DropReason.NO_ROUTE)
        next_hop = self.next_hop(route.next_hop)
        if next_hop is None:
            return self.drop(port, DropReason.INVALID_NEXT_HOP)
        if next_hop.type == NextHopType.DISCARD:
            return self.drop(port, DropReason.UNASSIGNED)
        if next_hop.type == NextHopType.RECEIVE:
            return self.answer_echo(port, ifindex, packet, route.next_hop)
        if packet.ttl <= 1:
            return self.drop(port, DropReason.TTL_EXCEEDED)
        begun = self.policy.begun
        reason = self.policy.police(self.frame, packet, port, self.trail, self.now_ns, route)
        if self.policy.begun != begun:
            mac = decode_ethernet(self.frame).source
            self.model.claim(port, Sender(mac, packet.source, packet.version))
        if reason:
            return self.drop(port, reason)
        number = route.next_hop
        if next_hop.type == NextHopType.COMPOSITE:
            number = self.chooser.member(packet, port, number)
            chosen = self.next_hop(number)
            if chosen is None:
                return self.drop(port, DropReason.INVALID_NEXT_HOP)
            next_hop = chosen
        self.decrement_ttl(packet)
        if next_hop.type == NextHopType.TUNNEL:
            to = Way(next_hop, number, next_hop.label or route.label)
            return self.tunnel(port, packet, to, gso_size)
        if next_hop.type == NextHopType.INTERFACE:
            return self.to_port(packet, next_hop, number, port)
        return self.drop(port, DropReason.INVALID_NEXT_HOP)

    def decrement_ttl(self, packet: Packet) -> None:
        frame = bytearray(self.frame)
        packet.ttl -= 1
        if packet.version == 4:
            word = packet.ttl << 8 | frame[ETHERNET_BYTES + 9]
            replace_word(frame, ETHERNET_BYTES + 8, word, ETHERNET_BYTES + 10)
        else:
            frame[ETHERNET_BYTES + 7] = packet.ttl
        self.frame = bytes(frame)

    def to_port(
        self, packet: Packet, next_hop: NextHopValues, number: int, sender: InterfaceValues
    ) -> Result:
        port = self.port(next_hop.ifindex)
        if port is None:
            return self.drop(sender, DropReason.UNKNOWN_INTERFACE)
        reason = self.policy.police(self.frame, packet, port, self.trail, self.now_ns, None)
        if reason:
            return self.drop(port, reason)
        return self.hand_over(packet, port, next_hop, number)

    def hand_over(
        self, packet: Packet, port: InterfaceValues, next_hop: NextHopValues, number: int
    ) -> Result:
        ethertype = ETHERTYPE_BY_VERSION[packet.version]
        header = Ethernet(next_hop.destination_mac, next_hop.source_mac, ethertype)
        frame = encode_ethernet(header) + self.frame[ETHERNET_BYTES:]
        self.model.count(port.vif, tx=len(frame))
        is_peer = bool(next_hop.flags & NEXT_HOP_PEER)
        return self.send(Output(next_hop.ifindex, frame, is_peer=is_peer), number)

    def answer_arp(self, port: InterfaceValues, ifindex: int, ethernet: Ethernet) -> Result:
        asked = read_arp(self.frame)
        if asked is None:
            return self.drop(port, DropReason.MALFORMED)
        if port.flags & INTERFACE_CHECK_MAC and asked.sender_mac != ethernet.source:
            return self.drop(port, DropReason.SOURCE_MAC_SPOOFED)
        sender = Sender(ethernet.source, asked.sender, 4)
        reason = refuse_sender(self.rows, port, sender, self.trail)
        if reason:
            return self.drop(port, reason)
        self.model.claim(port, sender)
        if asked.operation != REQUEST or asked.target == asked.sender:
            return self.drop(port, DropReason.ARP_UNANSWERED)
        target = sender._replace(address=asked.target)
        if not asked.sender and find_claim(self.rows, port, target):
            return self.drop(port, DropReason.ARP_UNANSWERED)
        route = self.on_link(port, asked.target, 4)
        if route is None:
            return self.drop(port, DropReason.ARP_UNANSWERED)
        next_hop = self.next_hop(port.next_hop)
        if next_hop is None:
            return self.drop(port, DropReason.INVALID_NEXT_HOP)
        return self.answer(port, ifindex, arp_reply(self.frame, asked, next_hop.source_mac))

    def answer_solicitation(
        self, port: InterfaceValues, ifindex: int, ethernet: Ethernet, packet: Packet
    ) -> Result:
        """Answer neighbour discovery as `answer_arp` answers ARP."""
        target = read_target(self.frame, packet)
        if target is None:
            return self.drop(port, DropReason.MALFORMED)
        sender = Sender(ethernet.source, packet.source, 6)
        reason = refuse_sender(self.rows, port, sender, self.trail)
        if reason:
            return self.drop(port, reason)
        self.model.claim(port, sender)
        if not packet.source and find_claim(self.rows, port, sender._replace(address=target)):
            return self.drop(port, DropReason.ARP_UNANSWERED)
        is_router = target == GATEWAY_LINK_LOCAL
        if not is_router:
            route = self.on_link(port, target, 6)
            if route is None:
                return self.drop(port, DropReason.ARP_UNANSWERED)
            holder = self.next_hop(route.next_hop)
            is_router = holder is not None and holder.type == NextHopType.RECEIVE
        next_hop = self.next_hop(port.next_hop)
        if next_hop is None:
            return self.drop(port, DropReason.INVALID_NEXT_HOP)
        asked = Asked(target, is_router)
        frame = advertisement(self.frame, packet, asked, next_hop.source_mac)
        return self.answer(port, ifindex, frame)

    def hear_advertisement(self, port: InterfaceValues, ethernet: Ethernet, packet: Packet) -> None:
        """Note what an advertisement claims; otherwise it is a packet like any other."""
        target = read_target(self.frame, packet)
        if target is None:
            return
        sender = Sender(ethernet.source, packet.source, 6)
        if not refuse_sender(self.rows, port, sender, Trail()):
            self.model.claim(port, sender._replace(address=target))

    def on_link(self, port: InterfaceValues, target: int, version: int) -> RouteValues | None:
        """Return the route to what a workload believes to be on its link, if it is answered for.

        Never for the port's own addresses: that would look like a conflict to it.
        """
        route = self.route("arp", port.vrf, target, version)
        if route is None or not route.flags & ROUTE_PROXY_ARP:
            return None
        return None if leads_to(self.rows, route, port) else route

    def answer(self, port: InterfaceValues, ifindex: int, frame: bytes) -> Result:
        self.model.count(port.vif, tx=len(frame))
        return self.send(Output(ifindex, frame), port.next_hop)

    def answer_echo(
        self, port: InterfaceValues, ifindex: int, packet: Packet, number: int
    ) -> Result:
        frame = echo_reply(self.frame, packet)
        if frame is None:
            return self.drop(port, DropReason.NOT_SERVED)
        self.model.count(port.vif, tx=len(frame))
        return self.send(Output(ifindex, frame), number)

    def tunnel(self, port: InterfaceValues, packet: Packet, to: Way, gso_size: int) -> Result:
        next_hop, number, label = to
        length = tunnelled_length(self.frame, packet, gso_size, overhead_of(next_hop))
        path = self.model.underlay.get(next_hop.remote)
        if length > 0xFFFF:
            return self.drop(port, DropReason.MTU_EXCEEDED)
        if path is None:
            return self.drop(port, DropReason.NO_UNDERLAY_ROUTE)
        if length > path.mtu_bytes:
            return self.drop(port, DropReason.MTU_EXCEEDED)
        # Without a neighbour yet, the kernel writes the MACs when it has asked for them.
        macs = (path.destination_mac, path.source_mac) if path.destination_mac else (0, 0)
        outer = encode_outer(packet, self.host.address, next_hop, label)
        frame = encode_ethernet(Ethernet(*macs, ETHERTYPE_IPV4)) + outer
        frame += self.frame[ETHERNET_BYTES:]
        self.model.count(FABRIC_VIF, tx=len(frame))
        is_vxlan = next_hop.flags & NEXT_HOP_VXLAN
        kind, word = ("VXLAN", "VNI") if is_vxlan else ("MPLS over UDP", "label")
        self.trail.note("tunnel", f"{kind} to {format_ipv4(next_hop.remote)}, {word} {label}")
        return self.send(Output(path.ifindex, frame, next_hop.remote), number)

    # --- from the fabric ---

    def inner_offset(self) -> int:
        """Where the packet begins in a frame that is tunnelled to this host, 0 for any other.

        Those are the host's own business.
        """
        frame = self.frame
        if len(frame) < MPLS_END or decode_ethernet(frame).ethertype != ETHERTYPE_IPV4:
            return 0
        # Version 4 without options; fragments and options are sent by no tunnel end.
        first, fragment, protocol, destination, port = _OUTER.unpack_from(frame, ETHERNET_BYTES)
        if not (
            first == 0x45
            and protocol == UDP
            and not fragment & _ANY_FRAGMENT
            and destination == self.host.address != 0
        ):
            return 0
        if port == MPLS_OVER_UDP_PORT:
            return MPLS_END
        return VXLAN_END if port == VXLAN_PORT and len(frame) >= VXLAN_END else 0

    def from_mpls(self) -> int | DropReason:
        """Return the next hop of the packet's label, or why there is none."""
        entry = decode_label(self.frame[_UDP_END:])
        if not entry.is_bottom:
            return DropReason.INVALID_LABEL
        row = self.rows.find("labels", (entry.label,))
        self.trail.meet("label", "labels", (entry.label,), row)
        return LabelValues(*row.values).next_hop if row is not None else DropReason.INVALID_LABEL

    def from_vxlan(self, packet: Packet | None) -> int | DropReason:
        """Return the next hop of the packet's destination in the VRF of its VNI, or why none."""
        if packet is None:
            return DropReason.MALFORMED
        header = decode_vxlan(self.frame[_UDP_END:])
        row = self.rows.find("vnis", (header.vni,))
        self.trail.meet("vni", "vnis", (header.vni,), row)
        if row is None or not header.is_valid:
            return DropReason.INVALID_VNI
        self.vrf = VniValues(*row.values).vrf
        inner = decode_ethernet(self.frame[VXLAN_END - ETHERNET_BYTES :])
        if inner.ethertype != ETHERTYPE_BY_VERSION[packet.version]:
            return DropReason.UNSUPPORTED_PROTOCOL
        route = self.route("route", self.vrf, packet.destination, packet.version)
        return route.next_hop if route is not None else DropReason.NO_ROUTE

    def from_fabric(self) -> Result:
        offset = self.inner_offset()
        if not offset:
            return Result(Verdict.OK, DropReason.NONE, None, ())
        self.model.count(FABRIC_VIF, rx=len(self.frame))
        packet = parse_ip(self.frame, offset)
        number = self.from_mpls() if offset == MPLS_END else self.from_vxlan(packet)
        if isinstance(number, DropReason):
            return self.drop(None, number)
        if packet is not None:
            packet.outer_source = decode_source(self.frame)
        next_hop = self.next_hop(number)
        if next_hop is not None and next_hop.type == NextHopType.COMPOSITE:
            if packet is None:
                return self.drop(None, DropReason.MALFORMED)
            number = self.chooser.local_member(packet, number, self.now_ns)
            next_hop = self.next_hop(number)
        if next_hop is None or next_hop.type != NextHopType.INTERFACE:
            return self.drop(None, DropReason.INVALID_NEXT_HOP)
        port = self.port(next_hop.ifindex)
        if port is None:
            return self.drop(None, DropReason.UNKNOWN_INTERFACE)
        if packet is None:
            return self.drop(port, DropReason.MALFORMED)
        reason = self.policy.police(self.frame, packet, port, self.trail, self.now_ns, None)
        if reason:
            return self.drop(port, reason)
        merged = merge_congestion(packet.tos & _ECN, self.frame[ETHERNET_BYTES + 1] & _ECN)
        if merged is None:
            return self.drop(port, DropReason.CONGESTION_LOST)
        frame = bytearray(self.frame[:ETHERNET_BYTES] + self.frame[offset:])
        if merged != packet.tos & _ECN:
            mark_congestion(frame, packet, merged)
            self.trail.note("congestion", f"marked {merged} as in the tunnel")
        self.frame = bytes(frame)
        return self.hand_over(packet, port, next_hop, number)


_VERSION_BY_ETHERTYPE = {ETHERTYPE_IPV4: 4, ETHERTYPE_IPV6: 6}
