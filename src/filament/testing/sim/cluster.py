"""A simulated cluster and its workloads: what tests build, break and ask."""

from __future__ import annotations

from typing import NamedTuple

from filament.base.net import ROUTER_MAC, format_ipv4, parse_ipv4
from filament.control.core import ControlCore
from filament.forward.layout import DropReason
from filament.forward.model import Result, UnderlayPath
from filament.model.change import Object
from filament.testing.sim.api import SimApi
from filament.testing.sim.control import SimControl
from filament.testing.sim.host import SimHost
from filament.testing.sim.schedule import Schedule
from filament.wire.packet.frames import icmp_packet, ipv4_frame
from filament.wire.packet.icmp import ECHO_REPLY, ECHO_REQUEST, Icmp

DOMAIN = "default-domain"
PROJECT = "demo"
_UNDERLAY = parse_ipv4("172.30.0.0")
_MAX_HOPS = 4


class Workload(NamedTuple):
    """A machine with one port."""

    name: str
    network: str
    host: str
    port: Object
    ifindex: int
    address: int
    mac: int


class Fate(NamedTuple):
    """What became of a probe: the name of the workload that got it, or why nobody did."""

    arrived_at: str | None
    reason: DropReason = DropReason.NONE


class Cluster:
    """One API, control nodes and hosts on one virtual clock. Everything follows from `seed`."""

    def __init__(
        self,
        seed: int,
        *,
        hosts: tuple[str, ...] = ("host1", "host2"),
        controls: tuple[str, ...] = ("ctl1",),
    ) -> None:
        self.seed = seed
        self.schedule = Schedule(seed)
        self.api = SimApi(self.schedule)
        self.controls = {one: SimControl(self.schedule, self.api, one) for one in controls}
        self.hosts: dict[str, SimHost] = {}
        self.networks: dict[str, Object] = {}
        self.workloads: dict[str, Workload] = {}
        self._echo_ids = 0
        self._underlay: dict[int, UnderlayPath] = {}
        self.api.create("project", [DOMAIN, PROJECT], parent_type="domain")
        for number, name in enumerate(hosts, 1):
            address = _UNDERLAY + number
            self.api.create(
                "virtual-router",
                ["default-global-system-config", name],
                virtual_router_ip_address=format_ipv4(address),
            )
            self.hosts[name] = SimHost(
                self.schedule, name, address, self.controls.values(), self._underlay
            )
            self._underlay[address] = UnderlayPath(1, 2, 3, 1600)

    # intent -----------------------------------------------------------------------------------

    def add_network(self, name: str, prefix: str) -> Object:
        """Make a network with one subnet, addresses from the start."""
        base, length = prefix.split("/")
        subnet = {
            "subnet": {"ip_prefix": base, "ip_prefix_len": int(length)},
            "addr_from_start": True,
        }
        ipam = {
            "to": [DOMAIN, "default-project", "default-network-ipam"],
            "attr": {"ipam_subnets": [subnet]},
        }
        self.networks[name] = self.api.create(
            "virtual-network", [DOMAIN, PROJECT, name], network_ipam_refs=[ipam]
        )
        return self.networks[name]

    def add_workload(self, name: str, network: str, host: str) -> Workload:
        """Make a machine with a port and an address, and plug it."""
        machine = self.api.create("virtual-machine", [name])
        port = self.api.create(
            "virtual-machine-interface",
            [DOMAIN, PROJECT, f"{name}-port"],
            parent_type="project",
            virtual_network_refs=[{"to": [DOMAIN, PROJECT, network]}],
            virtual_machine_refs=[{"to": [name]}],
        )
        address = self.api.create(
            "instance-ip",
            [name],
            virtual_network_refs=[{"to": [DOMAIN, PROJECT, network]}],
            virtual_machine_interface_refs=[{"to": list(port.fq_name)}],
        )
        ifindex = self.hosts[host].plug(port.uuid, machine.uuid)
        mac = int(
            port.props["virtual_machine_interface_mac_addresses"]["mac_address"][0].replace(
                ":", ""
            ),
            16,
        )
        self.workloads[name] = Workload(
            name,
            network,
            host,
            port,
            ifindex,
            parse_ipv4(address.props["instance_ip_address"]),
            mac,
        )
        return self.workloads[name]

    def add_policy(self, name: str, left: str, right: str) -> Object:
        """Make a policy that lets two networks talk; it does nothing until it is attached."""
        rule = {
            "direction": "<>",
            "protocol": "any",
            "src_addresses": [{"virtual_network": f"{DOMAIN}:{PROJECT}:{left}"}],
            "dst_addresses": [{"virtual_network": f"{DOMAIN}:{PROJECT}:{right}"}],
            "src_ports": [{"start_port": -1, "end_port": -1}],
            "dst_ports": [{"start_port": -1, "end_port": -1}],
            "action_list": {"simple_action": "pass"},
        }
        return self.api.create(
            "network-policy",
            [DOMAIN, PROJECT, name],
            network_policy_entries={"policy_rule": [rule]},
        )

    def attach(self, policy: Object, *networks: str) -> None:
        """Attach a policy to networks."""
        for name in networks:
            self.api.link(
                self.networks[name], policy, {"sequence": {"major": 0, "minor": 0}, "timer": None}
            )

    def detach(self, policy: Object, *networks: str) -> None:
        """Detach a policy from networks."""
        for name in networks:
            self.api.unlink(self.networks[name], policy)

    def remove_workload(self, name: str) -> None:
        """Unplug a machine's port and delete its objects."""
        one = self.workloads.pop(name)
        self.hosts[one.host].unplug(one.port.uuid)
        engine = self.api.engine
        assert engine is not None
        for kind, fq_name in (
            ("instance-ip", (name,)),
            ("virtual-machine-interface", one.port.fq_name),
            ("virtual-machine", (name,)),
        ):
            item = engine.snapshot.named(kind, fq_name)
            assert item is not None
            self.api.delete(item)

    # time -------------------------------------------------------------------------------------

    def settle(self, limit_s: float = 120.0) -> None:
        """Let time pass until every living control node says that all is applied."""
        revision = self.api.revision
        self.schedule.run_until(
            lambda: all(core.settled >= revision for core in self.living_controls()), limit_s
        )

    def living_controls(self) -> list[ControlCore]:
        """Cores of the control nodes that run."""
        return [one.core for one in self.controls.values() if one.core is not None]

    # packets ----------------------------------------------------------------------------------

    def probe(self, source: Workload, destination: int, *, echo_id: int | None = None) -> Fate:
        """Send one ICMP echo request from a workload to an address."""
        if echo_id is None:
            self._echo_ids = self._echo_ids % 65535 + 1
            echo_id = self._echo_ids
        return self._send(source, destination, ECHO_REQUEST, echo_id)

    def ping(self, source: Workload, destination: Workload, *, echo_id: int | None = None) -> bool:
        """Whether a request arrives and its answer comes back."""
        if echo_id is None:
            self._echo_ids = self._echo_ids % 65535 + 1
            echo_id = self._echo_ids
        there = self._send(source, destination.address, ECHO_REQUEST, echo_id)
        if there.arrived_at != destination.name:
            return False
        back = self._send(destination, source.address, ECHO_REPLY, echo_id)
        return back.arrived_at == source.name

    def _send(self, source: Workload, destination: int, kind: int, echo_id: int) -> Fate:
        header = Icmp(kind, identifier=echo_id, sequence=1)
        packet = icmp_packet(source.address, destination, header, b"probe")
        return self.carry(source, ipv4_frame(source.mac, ROUTER_MAC, packet))

    def carry(self, source: Workload, frame: bytes) -> Fate:
        """Let a workload send a frame, and follow it to where it ends."""
        host = self.hosts[source.host]
        result = host.kernel.from_port(source.ifindex, frame)
        for _ in range(_MAX_HOPS):
            output = result.output
            if output is None:
                return Fate(None, result.reason)
            if not output.is_to_fabric:
                return self._arrival(host, result)
            host = next(one for one in self.hosts.values() if one.address == output.remote)
            result = host.kernel.from_fabric(output.frame)
        raise AssertionError("the packet goes round in circles")

    def _arrival(self, host: SimHost, result: Result) -> Fate:
        assert result.output is not None
        for one in self.workloads.values():
            if one.host == host.name and one.ifindex == result.output.ifindex:
                return Fate(one.name)
        return Fate(None, result.reason)
