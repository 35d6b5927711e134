"""Compute hosts and workloads as network namespaces, programmed from plans without any agent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filament.base.net import ROUTER_MAC, Prefix, format_ipv4, format_mac, parse_ipv4
from filament.dataplane.attach import Attachments, forget_pins, probe_hook
from filament.dataplane.load import Programs, load
from filament.dataplane.maps import PinnedMaps
from filament.forward.ids import Ids
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    Route,
    Subnet,
    Vrf,
)
from filament.forward.layout import RULES
from filament.forward.plan import plan
from filament.forward.tables import Change

from .kernel import run

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
UNDERLAY_MTU = 1500
TENANT_MTU = UNDERLAY_MTU - 32
ALLOW = Filter("allow", (FilterRule(FilterMatch(), FilterMatch(), None, True, False),))


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Work in a named network namespace."""
    former = os.open("/proc/self/ns/net", os.O_RDONLY)
    wanted = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        assert _libc.setns(wanted, _CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(former, _CLONE_NEWNET) == 0
        os.close(wanted)
        os.close(former)


def add_namespace(name: str) -> None:
    """Make a named namespace; without IPv6, whose chatter would be counted as drops."""
    run("ip", "netns", "add", name)
    with inside(name):
        for scope in ("default", "all"):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
    run_in(name, "ip", "link", "set", "lo", "up")


def run_in(namespace: str, *command: str) -> str:
    return run("nsenter", f"--net=/run/netns/{namespace}", *command)


@contextlib.contextmanager
def serving(namespace: str, *command: str) -> Iterator[None]:
    """Run a server in a namespace for a while; it is ready when it has said something."""
    enter = ("nsenter", f"--net=/run/netns/{namespace}")
    with subprocess.Popen(
        (*enter, *command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.terminate()


class Workload(NamedTuple):
    """One end of a port: a device of a namespace, in a VRF."""

    namespace: str
    device: str
    vrf: str
    address: int


class ComputeHost:
    """A host: its namespace, programs, maps and ports."""

    def __init__(self, name: str, address: str, bpffs: Path) -> None:
        self.name = name
        self.address = parse_ipv4(address)
        self.ids = Ids()
        self.ports: list[Port] = []
        self.routes: list[Route] = []
        self.subnets: tuple[Subnet, ...] = ()
        self.vrfs: tuple[Vrf, ...] = ()
        add_namespace(name)
        with inside(name):
            Path("/proc/sys/net/ipv4/conf/lo/forwarding").write_text("1")
        self.pins = bpffs / name
        self.programs: Programs = load(self.pins)
        self.maps = PinnedMaps(self.pins)
        hook = probe_hook(self.programs["from_port"])
        self.attachments = Attachments(self.pins, hook)

    def close(self) -> None:
        forget_pins(self.pins)
        self.programs.close()
        self.maps.close()

    def attach(self, device: str, program: str) -> int:
        """Attach a program to a device of the host; returns its ifindex."""
        shown = run_in(self.name, "ip", "-o", "link", "show", device)
        ifindex = int(shown.split(":")[0])
        with inside(self.name):
            self.attachments.ensure(ifindex, self.programs[program])
        return ifindex

    def plug(self, workload: Workload, *, is_veth: bool = True) -> Port:
        """Make the workload's device and namespace, and the port."""
        number = len(self.ports) + 1
        mac = 0x02F000000000 | self.address & 0xFF << 8 | number
        if not Path("/run/netns", workload.namespace).exists():
            add_namespace(workload.namespace)
        tap, inner = f"tap{number}", workload.device
        run_in(
            workload.namespace,
            *("ip", "link", "add", inner, "mtu", str(TENANT_MTU), "address", format_mac(mac)),
            *("type", "veth", "peer", "name", tap, "mtu", str(TENANT_MTU), "netns"),
            f"/run/netns/{self.name}",
        )
        address = format_ipv4(workload.address)
        run_in(workload.namespace, "ip", "link", "set", inner, "up")
        run_in(workload.namespace, "ip", "addr", "add", f"{address}/32", "dev", inner)
        run_in(self.name, "ip", "link", "set", tap, "up")
        ifindex = self.attach(tap, "from_port")
        port = Port(
            uuid=f"{self.name}-{number}",
            name=f"{workload.namespace}-{inner}",
            device=tap,
            ifindex=ifindex,
            is_veth=is_veth,
            mac=mac,
            addresses=(workload.address,),
            vrf=workload.vrf,
            network=workload.vrf,
            acl="allow",
        )
        self.ports.append(port)
        plan(self.inputs(), self.ids)
        return port

    def label(self, port: Port) -> int:
        return self.ids.numbers("label")[port.uuid]

    def inputs(self) -> Inputs:
        return Inputs(
            host=Host(self.name, self.address),
            ports=tuple(self.ports),
            routes=tuple(self.routes),
            filters=(ALLOW,),
            subnets=self.subnets,
            vrfs=self.vrfs,
        )

    def apply(self) -> None:
        """Write the plan's rows."""
        tables = plan(self.inputs(), self.ids)
        self.maps.write(
            Change(name, key, row.values)
            for name, rows in tables.rows.items()
            if name != RULES.name
            for key, row in rows.items()
        )

    def drops(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        return self.maps.read_all("drops")

    def tunnelled(self) -> tuple[int, ...]:
        """Counters of the fabric: packets and bytes received and sent."""
        return self.maps.read("counters", (0,)) or (0, 0, 0, 0)


def announce(hosts: list[ComputeHost], vrf: str, prefix: str, via: ComputeHost, port: Port) -> None:
    """Give all hosts a route of a VRF to a port."""
    for host in hosts:
        host.routes.append(
            Route(vrf, Prefix.parse(prefix), via.address, via.label(port), port.network)
        )


def route_default(namespace: str, device: str) -> None:
    """Send everything of a workload to the gateway's MAC, which is the same everywhere."""
    gateway = "169.254.0.1"
    run_in(namespace, "ip", "route", "add", gateway, "dev", device)
    neighbour = ("lladdr", format_mac(ROUTER_MAC), "dev", device, "nud", "permanent")
    run_in(namespace, "ip", "neigh", "add", gateway, *neighbour)
    run_in(namespace, "ip", "route", "add", "default", "via", gateway, "dev", device)


@contextlib.contextmanager
def two_hosts(bpffs: Path) -> Iterator[tuple[ComputeHost, ComputeHost]]:
    """Two hosts joined by an underlay, with no ports yet."""
    hosts = [ComputeHost(f"h{n}", f"172.30.0.{n}", bpffs) for n in (1, 2)]
    ends = ("type", "veth", "peer", "name", "u0", "netns", "/run/netns/h2")
    run_in("h1", "ip", "link", "add", "u0", *ends)
    for host in hosts:
        address = f"{format_ipv4(host.address)}/24"
        run_in(host.name, "ip", "link", "set", "u0", "mtu", str(UNDERLAY_MTU), "up")
        run_in(host.name, "ip", "addr", "add", address, "dev", "u0")
        host.attach("u0", "from_fabric")
    try:
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.close()
