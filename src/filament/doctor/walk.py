"""Walk a packet through the tables of hosts: pure, so that tests and the simulator walk too.

A walk starts at a port as a workload would start it: the workload asks for the MAC of its gateway
(or of a neighbour in its own subnet), then sends. Tunnel packets go on in the host whose address
they carry, until a port receives the packet or a host drops it. Every row that was met is kept
with its origin.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from filament.base.net import MPLS_OVER_UDP_PORT, Prefix, format_ipv4, format_mac
from filament.base.origin import NOWHERE, Origin
from filament.doctor import packet
from filament.doctor.packet import Flow
from filament.doctor.passage import Met, Passage, Pipeline
from filament.doctor.words import Names, phrase, value_by_field
from filament.forward.layout import DropReason, NextHopType
from filament.forward.tables import Tables

MAX_HOPS = 8  # more hosts in a row is a loop
_VRF_BITS = 32


class PortFacts(msgspec.Struct, frozen=True):
    """A port as its agent holds it; addresses are host-order ints."""

    uuid: str
    name: str
    device: str
    ifindex: int
    mac: int
    addresses: tuple[int, ...]


class HostFacts(msgspec.Struct, frozen=True):
    """A host as its agent holds it. `applied` is the revision its rows show."""

    name: str
    address: int
    tables: Tables
    names: Names
    ports: tuple[PortFacts, ...] = ()
    applied: int = 0

    def port(self, uuid: str) -> PortFacts | None:
        """The port of an interface's uuid."""
        return next((port for port in self.ports if port.uuid == uuid), None)

    def port_at(self, ifindex: int) -> PortFacts | None:
        """The port of a device."""
        return next((port for port in self.ports if port.ifindex == ifindex), None)


class Step(msgspec.Struct, frozen=True):
    """One thing that happened to the packet: where, at which stage, and which row made it so.

    `table` and `key` name the row ("" when no row did it); `origin` says who made the row.
    """

    host: str
    stage: str
    text: str
    table: str = ""
    key: tuple[int, ...] = ()
    origin: Origin = NOWHERE


class Outcome(enum.Enum):
    """How a walk ended."""

    DELIVERED = "delivered"
    ANSWERED = "answered"  # the gateway itself replied
    DROPPED = "dropped"
    LOST = "lost"  # it left for a host whose tables nobody has


class Journey(msgspec.Struct, frozen=True):
    """One packet's way: what happened, and how it ended.

    `host` and `ifindex` are where it arrived; `frame` the bytes that arrived there.
    """

    flow: Flow
    steps: tuple[Step, ...]
    outcome: Outcome
    reason: DropReason = DropReason.NONE
    host: str = ""
    ifindex: int = 0
    frame: bytes = b""


class Sender(NamedTuple):
    """The port a packet starts at."""

    host: str
    port: PortFacts


class Walker:
    """Hosts by name, with a pipeline each; flows that one walk opens are there for the next, so
    that an answer meets the state its question left.
    """

    def __init__(self, hosts: Mapping[str, HostFacts], pipelines: Mapping[str, Pipeline]) -> None:
        self.hosts = hosts
        self._pipelines = pipelines
        self._host_at = {host.address: name for name, host in hosts.items()}

    def walk(self, sender: Sender, flow: Flow, *, answers: bool = False) -> Journey:
        """Send the first packet of a flow from a port (`answers`: the one that answers it)."""
        asked, mac = self._resolve(sender, flow)
        if mac is None:
            return msgspec.structs.replace(asked, flow=flow)
        frame = packet.encode_frame(flow, sender.port.mac, mac, answers=answers)
        passage = self._pipelines[sender.host].from_port(sender.port.ifindex, frame)
        return self._follow(sender.host, flow, list(asked.steps), passage)

    def _resolve(self, sender: Sender, flow: Flow) -> tuple[Journey, int | None]:
        """Ask by ARP as the workload would; the MAC is None when nobody answers."""
        wanted = next_address(self.hosts[sender.host], sender.port, flow.destination)
        request = packet.encode_arp_request(sender.port.mac, flow.source, wanted)
        passage = self._pipelines[sender.host].from_port(sender.port.ifindex, request)
        macs = [packet.decode_arp_sender(frame) for _, frame in passage.to_ports]
        mac = next((mac for mac in macs if mac is not None), None)
        if mac is not None:
            text = f"{format_ipv4(wanted)} is at {format_mac(mac)}"
            step = Step(sender.host, "arp", text)
            return Journey(flow, (step,), Outcome.ANSWERED), mac
        steps = [Step(sender.host, "arp", f"who has {format_ipv4(wanted)}?")]
        return self._follow(sender.host, flow, steps, passage), None

    def _follow(self, host: str, flow: Flow, steps: list[Step], passage: Passage) -> Journey:
        """Follow what a host did with the packet to the next host, until it ends."""
        start = host
        for _ in range(MAX_HOPS):
            facts = self.hosts[host]
            steps += [met_step(facts, met) for met in passage.met]
            if passage.to_ports:
                ifindex, frame = passage.to_ports[0]
                answered = host == start and _is_answer(frame, flow)
                return self._arrived(host, flow, steps, ifindex, frame, answered=answered)
            if not passage.to_underlay:
                steps.append(Step(host, "drop", passage.reason.text))
                return Journey(flow, tuple(steps), Outcome.DROPPED, passage.reason, host)
            outer = passage.to_underlay[0]
            tunnelled = packet.decode_tunnelled(outer)
            assert tunnelled is not None, outer.hex()
            steps.append(Step(host, "tunnel", tunnel_text(tunnelled, facts.names)))
            next_host = self._host_at.get(tunnelled.destination)
            if next_host is None:
                away = format_ipv4(tunnelled.destination)
                steps.append(Step(away, "lost", "no agent of that host answers here"))
                return Journey(flow, tuple(steps), Outcome.LOST, host=away)
            host = next_host
            passage = self._pipelines[host].from_underlay(outer)
        steps.append(Step(host, "lost", f"the packet went through {MAX_HOPS} hosts: a loop"))
        return Journey(flow, tuple(steps), Outcome.LOST, host=host)

    def _arrived(
        self,
        host: str,
        flow: Flow,
        steps: Sequence[Step],
        ifindex: int,
        frame: bytes,
        *,
        answered: bool,
    ) -> Journey:
        whom = self.hosts[host].names.port(ifindex)
        text = f"the gateway answers {whom}" if answered else f"to {whom}"
        outcome = Outcome.ANSWERED if answered else Outcome.DELIVERED
        step = Step(host, outcome.value, text)
        return Journey(flow, (*steps, step), outcome, host=host, ifindex=ifindex, frame=frame)


def next_address(host: HostFacts, port: PortFacts, destination: int) -> int:
    """Return whose MAC a workload asks for: its neighbour's in its own subnet, else its gateway's.

    The workload's subnet is the one of the VRF that holds its address; a workload outside any
    subnet asks for the destination itself.
    """
    rows = host.tables.rows
    interface = rows["interfaces"].get((port.ifindex,))
    if interface is None or not port.addresses:
        return destination
    vrf = value_by_field("interfaces", interface.values)["vrf"]
    type_by_id = {
        key[0]: value_by_field("next_hops", row.values)["type"]
        for key, row in rows["next_hops"].items()
    }
    routes = [
        (Prefix(address, length - _VRF_BITS), type_by_id.get(row.values[0]))
        for (length, route_vrf, address), row in rows["routes"].items()
        if route_vrf == vrf
    ]
    subnets = [
        prefix
        for prefix, kind in routes
        if kind == NextHopType.DISCARD and prefix.contains(port.addresses[0])
    ]
    subnet = max(subnets, key=lambda prefix: prefix.length, default=None)
    if subnet is None or subnet.contains(destination):
        return destination
    gateways = [
        prefix.address
        for prefix, kind in routes
        if kind == NextHopType.RECEIVE and subnet.contains(prefix.address)
    ]
    return min(gateways, default=destination)


def met_step(host: HostFacts, met: Met) -> Step:
    """Say in a step which row the packet met."""
    said = phrase(met.table, met.key, met.values, host.names)
    return Step(host.name, said.stage, said.text, met.table, met.key, met.origin)


def tunnel_text(outer: packet.Tunnelled, names: Names) -> str:
    """Say how a packet is carried between hosts."""
    return (
        f"MPLS over UDP to {names.host(outer.destination)}, "
        f"port {outer.source_port} to {MPLS_OVER_UDP_PORT}, label {outer.label}"
    )


def _is_answer(frame: bytes, flow: Flow) -> bool:
    """Say whether a frame goes back to the sender of a flow, in the name of its destination."""
    content = packet.decode_ethernet(frame).payload
    return content[12:20] == flow.destination.to_bytes(4, "big") + flow.source.to_bytes(4, "big")
