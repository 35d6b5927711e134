"""What is compared: each peer is two namespaces, client and server, and the way between them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from filament.base.net import format_ipv4, parse_ipv4
from filament.testing.lab import links, namespaces, processes
from filament.testing.lab.lab import Lab
from filament.testing.lab.links import End
from filament.testing.lab.scenario import build_scenario
from filament.testing.lab.teardown import tear_down

CLIENT = parse_ipv4("10.9.0.1")
SERVER = parse_ipv4("10.9.0.2")
UNDERLAY_MTU_BYTES = 1600
TENANT_MTU_BYTES = 1500


class Peer:
    """A way between a client and a server namespace."""

    name = ""
    what = ""

    def __init__(self, client: Path, server: Path, address: str) -> None:
        self.client, self.server, self.address = client, server, address

    def popen(self, place: Path, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program at one end."""
        with namespaces.inside(place):
            return subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )

    def close(self) -> None:
        """Remove what was built."""


class Bare(Peer):
    """Namespaces without any process of ours."""

    def __init__(self, run: Path, *places: str) -> None:
        self.directory = run / self.name
        namespaces.ensure_namespace_directory(self.directory)
        for place in ("client", "server", *places):
            namespaces.create_namespace(self.directory / place)
            links.prepare_namespace(self.directory / place)
        super().__init__(self.directory / "client", self.directory / "server", format_ipv4(SERVER))

    def close(self) -> None:
        processes.kill_pids(namespaces.processes_inside(list(self.directory.iterdir())))
        for point in namespaces.mounts_under(self.directory):
            namespaces.unmount(point)


class Veth(Bare):
    """The floor: client and server are the two ends of one veth pair."""

    name = "veth"
    what = "one veth pair, nothing between"

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        ends = End(self.client, "eth0"), End(self.server, "eth0")
        links.add_veth(*ends, mtu_bytes=TENANT_MTU_BYTES)
        for place, address in ((self.client, CLIENT), (self.server, SERVER)):
            links.add_address(place, "eth0", address, 24)


class Vxlan(Bare):
    """Two hosts, each a bridge with the workload's veth and a kernel VXLAN device."""

    name = "vxlan"
    what = "two hosts, kernel VXLAN and bridge, no policy"

    def __init__(self, run: Path) -> None:
        super().__init__(run, "host1", "host2")
        hosts = [self.directory / "host1", self.directory / "host2"]
        underlay = [parse_ipv4("172.31.0.1"), parse_ipv4("172.31.0.2")]
        ends = [End(host, "eth0") for host in hosts]
        links.add_veth(ends[0], ends[1], mtu_bytes=UNDERLAY_MTU_BYTES)
        workloads = [(self.client, CLIENT), (self.server, SERVER)]
        for index, (workload, address) in enumerate(workloads):
            host = hosts[index]
            links.add_address(host, "eth0", underlay[index], 24)
            links.add_bridge(host, "br0", mtu_bytes=TENANT_MTU_BYTES)
            links.add_vxlan(
                host,
                "vxlan0",
                vni=100,
                local=underlay[index],
                remote=underlay[1 - index],
                mtu_bytes=TENANT_MTU_BYTES,
            )
            ends_here = End(workload, "eth0"), End(host, "tap0")
            links.add_veth(*ends_here, mtu_bytes=TENANT_MTU_BYTES)
            for device in ("vxlan0", "tap0"):
                links.join_bridge(host, "br0", device)
            links.add_address(workload, "eth0", address, 24)


class Filament(Peer):
    """Two hosts with agents; client and server on different networks joined by a policy."""

    name = "filament"
    what = "two hosts, MPLS over UDP, red to blue with the policy of both networks"
    agent_options: tuple[str, ...] = ()

    def __init__(self, run: Path) -> None:
        self.run = run / self.name
        self.lab: Lab = build_scenario(
            self.run, lambda _: None, underlay="direct", agent_options=self.agent_options
        )
        intent = self.lab.intent
        intent.create_policy("red-blue", "red", "blue")
        intent.set_policies("red", ["red-blue"])
        intent.set_policies("blue", ["red-blue"], wait="agents")
        server = self.lab.plan.workload("blue-2")
        super().__init__(
            self.lab.place("red-1"), self.lab.place("blue-2"), format_ipv4(server.address)
        )

    def close(self) -> None:
        tear_down(self.run, lambda _: None)


PEERS: tuple[Callable[[Path], Peer], ...] = (Veth, Vxlan, Filament)
