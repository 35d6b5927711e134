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

from filament.base.net import (
    MPLS_OVER_UDP_PORT,
    VXLAN_PORT,
    Prefix,
    format_address,
    format_ipv4,
    format_mac,
)
from filament.base.origin import NOWHERE, Origin
from filament.doctor import packet
from filament.doctor.packet import Flow
from filament.doctor.words import Names, has_lists, phrase, short_name, value_by_field
from filament.forward import steps
from filament.forward.layout import DropReason, NextHopType
from filament.forward.model import Model, Result, UnderlayPath
from filament.forward.rows import InterfaceValues, NextHopValues, RouteValues
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS, Tables
from filament.wire.packet.frames import arp_request_frame, solicitation_frame

MAX_HOPS = 8  # more hosts in a row is a loop
# The kernel's way between hosts is not what is explained: every host reaches every other.
_ANY_WAY = UnderlayPath(0, 0, None, 0xFFFF)


class PortFacts(msgspec.Struct, frozen=True):
    """A port as its agent holds it; addresses are host-order ints.

    `display_name` is the workload's, as whoever plugged the port called it; "" when not told.
    """

    uuid: str
    name: str
    display_name: str
    device: str
    ifindex: int
    mac: int
    addresses: tuple[int, ...]
    addresses6: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.display_name or short_name(self.name)


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

    def network_of(self, port: PortFacts) -> str:
        """The short name of a port's network; "" when the port has no row."""
        row = self.tables.rows["interfaces"].get((port.ifindex,))
        return self.names.network(InterfaceValues(*row.values).network) if row is not None else ""


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

    `host` and `ifindex` are where it arrived.
    """

    flow: Flow
    steps: tuple[Step, ...]
    outcome: Outcome
    reason: DropReason = DropReason.NONE
    host: str = ""
    ifindex: int = 0


class Sender(NamedTuple):
    """The port a packet starts at."""

    host: str
    port: PortFacts


class Heard(NamedTuple):
    """A frame that a host was given on a walk, by which program, and what the model did with it.

    `packet` says which packet it is of: the question, or the answer to it. `ifindex` is the port's
    device, 0 of the underlay.
    """

    host: str
    packet: str
    program: str
    ifindex: int
    frame: bytes
    result: Result


class Walker:
    """Hosts by name, with a model each; flows that one walk opens are there for the next, so that
    an answer meets the state its question left. `heard` is what hosts were given, in order.
    """

    def __init__(self, hosts: Mapping[str, HostFacts]) -> None:
        self.hosts = hosts
        self._host_at = {host.address: name for name, host in hosts.items()}
        self._models = {name: model_of(host) for name, host in hosts.items()}
        self.heard: list[Heard] = []

    def walk(self, sender: Sender, flow: Flow, *, answers: bool = False) -> Journey:
        """Send the first packet of a flow from a port (`answers`: the one that answers it)."""
        model, ifindex = self._models[sender.host], sender.port.ifindex
        wanted = next_address(self.hosts[sender.host], sender.port, flow.destination, flow.version)
        ask = arp_request_frame if flow.version == 4 else solicitation_frame
        stage = "arp" if flow.version == 4 else "nd"
        asked = model.from_port(ifindex, ask(sender.port.mac, flow.source, wanted))
        mac = packet.neighbour_mac(asked.output.frame) if asked.output is not None else None
        wanted_text = format_address(wanted, flow.version)
        if mac is None:
            step = Step(sender.host, stage, f"who has {wanted_text}?")
            return self._follow(sender.host, flow, [step], asked)
        step = Step(sender.host, stage, f"{wanted_text} is at {format_mac(mac)}")
        frame = packet.encode_frame(flow, sender.port.mac, mac, answers=answers)
        result = model.from_port(ifindex, frame)
        word = "answer" if answers else "question"
        self.heard.append(Heard(sender.host, word, "from_port", ifindex, frame, result))
        return self._follow(sender.host, flow, [step], result)

    def _follow(self, host: str, flow: Flow, met: list[Step], result: Result) -> Journey:
        """Follow what a host did with the packet to the next host, until it ends."""
        for _ in range(MAX_HOPS):
            facts = self.hosts[host]
            met += met_steps(facts, result.trail)
            output = result.output
            if output is None and not result.reason:
                met.append(Step(host, "lost", "this is not the tunnel address its rows have"))
                return Journey(flow, tuple(met), Outcome.LOST, host=host)
            if output is None:
                met.append(Step(host, "drop", result.reason.text))
                return Journey(flow, tuple(met), Outcome.DROPPED, result.reason, host)
            if not output.is_to_fabric:
                # Only the gateway turns a packet around by itself.
                is_answer = packet.frame_ends(output.frame) == (flow.destination, flow.source)
                outcome = Outcome.ANSWERED if is_answer else Outcome.DELIVERED
                whom = facts.names.port(output.ifindex)
                text = f"the gateway answers {whom}" if is_answer else f"to {whom}"
                met.append(Step(host, outcome.value, text))
                return Journey(flow, tuple(met), outcome, host=host, ifindex=output.ifindex)
            met.append(Step(host, "tunnel", tunnel_text(output.frame, facts.names)))
            next_host = self._host_at.get(output.remote)
            if next_host is None:
                away = facts.names.hosts.get(output.remote, format_ipv4(output.remote))
                met.append(Step(away, "lost", "its agent does not answer: nobody can tell"))
                return Journey(flow, tuple(met), Outcome.LOST, host=away)
            host = next_host
            result = self._models[host].from_fabric(output.frame)
            word = self.heard[-1].packet
            self.heard.append(Heard(host, word, "from_fabric", 0, output.frame, result))
        met.append(Step(host, "lost", f"the packet went through {MAX_HOPS} hosts: a loop"))
        return Journey(flow, tuple(met), Outcome.LOST, host=host)


def model_of(host: HostFacts) -> Model:
    """Make a host's model, with a way to every other host and no flows yet."""
    next_hops = (NextHopValues(*row.values) for row in host.tables.rows["next_hops"].values())
    remotes = {next_hop.remote for next_hop in next_hops if next_hop.type == NextHopType.TUNNEL}
    return Model(host.tables, lambda: 0.0, dict.fromkeys(remotes, _ANY_WAY))


def next_address(host: HostFacts, port: PortFacts, destination: int, version: int = 4) -> int:
    """Return whose MAC a workload asks for: its neighbour's in its own subnet, else its gateway's.

    The workload's subnet is the one of the VRF that holds its address; a workload outside any
    subnet asks for the destination itself.
    """
    rows = host.tables.rows
    interface = rows["interfaces"].get((port.ifindex,))
    addresses = port.addresses if version == 4 else port.addresses6
    if interface is None or not addresses:
        return destination
    vrf = InterfaceValues(*interface.values).vrf
    type_by_id = {key[0]: row.values[0] for key, row in rows["next_hops"].items()}
    routes = [
        (
            Prefix(address, length - VRF_BITS, version),
            type_by_id.get(RouteValues(*row.values).next_hop),
        )
        for (length, route_vrf, address), row in rows[ROUTES_BY_VERSION[version]].items()
        if route_vrf == vrf
    ]
    subnets = [
        prefix
        for prefix, kind in routes
        if kind == NextHopType.DISCARD and prefix.contains(addresses[0], version)
    ]
    subnet = max(subnets, key=lambda prefix: prefix.length, default=None)
    if subnet is None or subnet.contains(destination, version):
        return destination
    gateways = [
        prefix.address
        for prefix, kind in routes
        if kind == NextHopType.RECEIVE and subnet.contains(prefix.address, version)
    ]
    return min(gateways, default=destination)


def met_steps(host: HostFacts, trail: Sequence[steps.Step]) -> list[Step]:
    """Say in steps which rows the packet met."""
    met = []
    for each in trail:
        if not each.table:
            # Drops and tunnels are said with names by the walk itself.
            if each.stage not in ("drop", "tunnel"):
                met.append(Step(host.name, each.stage, each.note))
        elif each.table != "flows" or is_telling(each):
            values = each.row.values if each.row is not None else None
            said = phrase(each.table, each.key, values, host.names)
            stage = each.stage if each.stage in _STAGES else said.stage
            text = f"answers {said.text}" if each.stage == _ANSWER else said.text
            met.append(Step(host.name, stage, text, each.table, each.key, each.origin))
    return met


# Stages at which a route is looked up for another purpose than forwarding.
_STAGES = ("source", "arp")
_ANSWER = "answer"  # the stage of a packet that goes the other way than its flow began


def is_telling(flow: steps.Step) -> bool:
    """Say whether a flow's row tells more than the rule that follows it in the trail."""
    if flow.row is None:
        return False
    return flow.stage == _ANSWER or not has_lists(value_by_field("flows", flow.row.values))


def tunnel_text(frame: bytes, names: Names) -> str:
    """Say how a frame is carried between hosts."""
    outer = packet.decode_tunnelled(frame)
    kind, label = ("VXLAN", "VNI") if outer.is_vxlan else ("MPLS over UDP", "label")
    port = VXLAN_PORT if outer.is_vxlan else MPLS_OVER_UDP_PORT
    return (
        f"{kind} to {names.host(outer.destination)}, "
        f"port {outer.source_port} to {port}, {label} {outer.label}"
    )
