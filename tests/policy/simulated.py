"""A world in the simulator: real API engine, compiler, routes and agents, and the forward model."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from filament.api.request import Delete, Update
from filament.base.net import ROUTER_MAC, parse_mac
from filament.model.body import convert_body
from filament.model.change import Object
from filament.model.kinds import KINDS
from filament.model.snapshot import Snapshot
from filament.testing.intended import ICMP, ICMPV6, SCTP, TCP, UDP, Flow, Intended
from filament.testing.sim.cluster import Cluster, Fate, Workload
from filament.wire.packet.frames import (
    icmp6_packet,
    icmp_packet,
    ipv4_frame,
    ipv4_packet,
    ipv6_frame,
    ipv6_packet,
    tcp6_packet,
    tcp_packet,
    udp6_packet,
    udp_packet,
)
from filament.wire.packet.icmp import Icmp
from filament.wire.packet.ipv4 import Ipv4
from filament.wire.packet.ipv6 import Ipv6
from filament.wire.packet.tcp import ACK, SYN, Tcp

from .worlds import (
    DOMAIN,
    NETWORKS,
    PORT,
    PROJECTS,
    READ,
    Place,
    Probe,
    Request,
    foundation,
    places,
    subnets,
)

_IPAM = [DOMAIN, "default-project", "default-network-ipam"]


def bodies(snapshot: Snapshot) -> list[tuple[str, dict[str, Any]]]:
    """The objects that policy is made of, as the API shows them."""
    return [(kind, _body(snapshot, item)) for kind in READ for item in snapshot.of_kind(kind)]


def _body(snapshot: Snapshot, item: Object) -> dict[str, Any]:
    body: dict[str, Any] = {"fq_name": list(item.fq_name), "uuid": item.uuid, **item.props}
    for ref in item.refs:
        target = snapshot.get(ref.uuid)
        assert target is not None
        field = f"{ref.kind.replace('-', '_')}_refs"
        body.setdefault(field, []).append({"to": list(target.fq_name), "attr": ref.attr})
    return body


class Simulated:
    """A cluster with a world's networks and ports."""

    def __init__(self, seed: int) -> None:
        self.cluster = Cluster(seed)
        api = self.cluster.api
        api.create("project", [DOMAIN, PROJECTS[1]], parent_type="domain")
        for network, number in NETWORKS.items():
            ipam = {"to": _IPAM, "attr": {"ipam_subnets": subnets(number)}}
            self.cluster.networks[network] = api.create(
                "virtual-network", network.split(":"), network_ipam_refs=[ipam]
            )
        self._workloads = {place: self._plug(place) for place in places()}
        for request in foundation():
            self.ask(request)
        self._echo_id = 0

    @property
    def snapshot(self) -> Snapshot:
        engine = self.cluster.api.engine
        assert engine is not None
        return engine.snapshot

    def _plug(self, place: Place) -> Workload:
        api = self.cluster.api
        machine = api.create("virtual-machine", [place.machine])
        port = api.create(
            PORT,
            place.port.split(":"),
            parent_type="project",
            virtual_network_refs=[{"to": place.network.split(":")}],
            virtual_machine_refs=[{"to": [place.machine]}],
        )
        for address, version in zip(place.addresses, ("v4", "v6"), strict=True):
            api.create(
                "instance-ip",
                [f"{place.machine}-{version}"],
                instance_ip_address=address,
                instance_ip_family=version,
                virtual_network_refs=[{"to": place.network.split(":")}],
                virtual_machine_interface_refs=[{"to": place.port.split(":")}],
            )
        ifindex = self.cluster.hosts[place.host].plug(port.uuid, machine.uuid)
        mac = parse_mac(port.props["virtual_machine_interface_mac_addresses"]["mac_address"][0])
        address4 = int(ip_address(place.addresses[0]))
        made = Workload(place.machine, place.network, place.host, port, ifindex, address4, mac)
        self.cluster.workloads[place.machine] = made
        return made

    def ask(self, request: Request) -> None:
        """Carry out one of a round's requests."""
        api = self.cluster.api
        if request.verb == "create":
            api.create(request.kind, request.fq_name, **request.fields)
            return
        item = self.snapshot.named(request.kind, tuple(request.fq_name))
        assert item is not None
        if request.verb == "delete":
            api.ask(Delete(item.kind, item.uuid))
        else:
            body = convert_body(KINDS[item.kind], request.fields)
            api.ask(Update(item.kind, item.uuid, body))

    def intended(self) -> Intended:
        """The meaning of what the API holds now."""
        return Intended(bodies(self.snapshot))

    def connects(self, probe: Probe) -> tuple[bool, Fate]:
        """Whether a first packet arrives and an answer comes back, and what became of the last."""
        self._echo_id = self._echo_id % 65535 + 1
        there, back = (self._workloads[one] for one in (probe.source, probe.destination))
        fate = self.cluster.carry(there, _frame(there.mac, probe.flow, self._echo_id))
        if fate.arrived_at != back.name:
            return False, fate
        answer = _frame(back.mac, _answer(probe.flow), self._echo_id, is_answer=True)
        fate = self.cluster.carry(back, answer)
        return fate.arrived_at == there.name, fate


def _answer(flow: Flow) -> Flow:
    icmp_type = {8: 0, 128: 129}.get(flow.icmp_type, 0)
    return Flow(
        flow.destination,
        flow.source,
        flow.protocol,
        flow.destination_port,
        flow.source_port,
        icmp_type,
    )


def _frame(mac: int, flow: Flow, echo_id: int, *, is_answer: bool = False) -> bytes:
    packet = _packet4 if flow.version == 4 else _packet6
    frame = ipv4_frame if flow.version == 4 else ipv6_frame
    return frame(mac, ROUTER_MAC, packet(flow, echo_id, is_answer=is_answer))


def _packet4(flow: Flow, echo_id: int, *, is_answer: bool) -> bytes:
    ends = int(ip_address(flow.source)), int(ip_address(flow.destination))
    if flow.protocol == ICMP:
        return icmp_packet(*ends, Icmp(flow.icmp_type, flow.icmp_code, identifier=echo_id))
    if flow.protocol == TCP:
        return tcp_packet(*ends, _tcp(flow, is_answer=is_answer))
    if flow.protocol == UDP:
        return udp_packet(*ends, (flow.source_port, flow.destination_port), b"probe")
    return ipv4_packet(Ipv4(*ends, flow.protocol, 0, 64), _other(flow))


def _packet6(flow: Flow, echo_id: int, *, is_answer: bool) -> bytes:
    ends = int(ip_address(flow.source)), int(ip_address(flow.destination))
    if flow.protocol == ICMPV6:
        return icmp6_packet(*ends, Icmp(flow.icmp_type, flow.icmp_code, identifier=echo_id))
    if flow.protocol == TCP:
        return tcp6_packet(*ends, _tcp(flow, is_answer=is_answer))
    if flow.protocol == UDP:
        return udp6_packet(*ends, (flow.source_port, flow.destination_port), b"probe")
    return ipv6_packet(Ipv6(*ends, flow.protocol, hop_limit=64), _other(flow))


def _tcp(flow: Flow, *, is_answer: bool) -> Tcp:
    flags = SYN | ACK if is_answer else SYN
    return Tcp(flow.source_port, flow.destination_port, flags=flags)


def _other(flow: Flow) -> bytes:
    """The transport part of what has no encoder here: SCTP's common header, or anything."""
    if flow.protocol != SCTP:
        return bytes(16)
    ports = flow.source_port.to_bytes(2, "big") + flow.destination_port.to_bytes(2, "big")
    return ports + bytes(12)
