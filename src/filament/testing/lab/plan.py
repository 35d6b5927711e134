"""What a lab consists of, as frozen values: names, addresses, paths. No I/O except lab.json.

    workload red-1          workload red-2
        | eth0                  | eth0
        | tapXXXXXXXX           | tapXXXXXXXX
    host1 --eth0-- fabric --eth0-- host2        (namespaces; fabric holds a bridge)
                     |
                    ctl (control node ctl1, 172.30.0.10; then ctl2, 172.30.0.11, ...)

With underlay "direct" the hosts' `eth0`s are the two ends of one veth pair, as bare as a cable,
and `ctl0` leads to the control node by the fabric (172.30.1.0/24).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from filament.base.errors import InputError, NotFoundError
from filament.base.net import parse_ipv4

Underlay = Literal["bridge", "direct"]

# MPLS over UDP puts 32 bytes around a tenant's packet: IPv4 20, UDP 8, MPLS 4 (RFC 7510).
# The underlay is made larger by at least that much so that tenants get Ethernet's usual 1500
# and no packet is ever too big for the tunnel.
ENCAPSULATION_BYTES = 32
UNDERLAY_MTU_BYTES = 1600
TENANT_MTU_BYTES = 1500

UNDERLAY_LENGTH = 24
FABRIC_BRIDGE = "br0"
UNDERLAY_DEVICE = "eth0"
CONTROL_NAMESPACE = "ctl"
FABRIC_NAMESPACE = "fabric"
CONTROL_NUMBER = 10
MAX_CONTROLS = 5
MAX_HOSTS = 200 - MAX_CONTROLS + 1
# Routers are 172.30.0.201 and on: above every host.
FIRST_ROUTER_NUMBER = 201
MAX_ROUTERS = 50
XMPP_PORT = 5269
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class LabHost(msgspec.Struct, frozen=True):
    """A compute host: a namespace with an agent; `address` is its tunnel end (host-order int)."""

    name: str
    address: int


class Workload(msgspec.Struct, frozen=True):
    """A workload as it was plugged: everything needed to reach it, replug it and unplug it.

    `network` is the network's fq name, `device` the tap in the host; numbers are host-order ints.
    """

    name: str
    host: str
    network: str
    machine_uuid: str
    interface_uuid: str
    device: str
    mac: int
    address: int
    length: int
    gateway: int


class LabPlan(msgspec.Struct, frozen=True):
    """The whole lab as it is known to other processes through RUN/lab.json.

    `controls` are the control nodes' namespaces and the addresses they listen on. `routers` are
    namespaces on the underlay for somebody else's routers (`Lab.add_router`).
    `agent_options` are given to every agent besides what it is told of the lab.
    `ready` is set once `up` has finished: a lab that is not is a ruin to be cleared away.
    """

    underlay: Underlay
    hosts: tuple[LabHost, ...]
    controls: tuple[LabHost, ...]
    api_listen: str
    boot: str
    workloads: tuple[Workload, ...] = ()
    routers: tuple[LabHost, ...] = ()
    agent_options: tuple[str, ...] = ()
    ready: bool = False

    @property
    def control_address(self) -> int:
        """The first control node's address."""
        return self.controls[0].address

    def host(self, name: str) -> LabHost:
        """The host of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise NotFoundError(f"no host named {name!r} in this lab; there are: {known}")

    def workload(self, name: str) -> Workload:
        """The workload of that name."""
        for workload in self.workloads:
            if workload.name == name:
                return workload
        known = ", ".join(workload.name for workload in self.workloads) or "none"
        raise NotFoundError(f"no workload named {name!r} in this lab; there are: {known}")

    def places(self) -> list[str]:
        """Names of every namespace of the lab."""
        others = [host.name for host in (*self.hosts, *self.routers, *self.controls)]
        return [*(workload.name for workload in self.workloads), *others, FABRIC_NAMESPACE]


class Directories(msgspec.Struct, frozen=True):
    """Where a lab keeps its things: all below its run directory, so that removing that removes
    the lab.
    """

    run: Path

    @property
    def plan(self) -> Path:
        """The lab.json other processes read."""
        return self.run / "lab.json"

    @property
    def namespaces(self) -> Path:
        """Bind mounts of the network namespaces."""
        return self.run / "netns"

    @property
    def pids(self) -> Path:
        """Pid files."""
        return self.run / "pid"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.run / "log"

    @property
    def session_log(self) -> Path:
        """What flows were, of all hosts in one file."""
        return self.logs / "sessions.jsonl"

    @property
    def state(self) -> Path:
        """FILAMENT_STATE of every process of the lab."""
        return self.run / "state"

    @property
    def bpffs(self) -> Path:
        """FILAMENT_BPFFS of every agent: a BPF file system of the lab's own, so that its pins
        meet nobody else's and one unmount removes them all.
        """
        return self.run / "bpf"

    def namespace(self, name: str) -> Path:
        """The namespace of a host, workload, control node or `fabric`."""
        return self.namespaces / name


def plan_lab(
    *,
    host_count: int,
    control_count: int = 1,
    underlay: Underlay,
    api_listen: str,
    boot: str,
    agent_options: tuple[str, ...] = (),
) -> LabPlan:
    """Lay out a lab of `host_count` hosts (named host1, host2, ...) without workloads.

    The control nodes' namespaces are `ctl`, `ctl2`, ...
    """
    if not 1 <= host_count <= MAX_HOSTS:
        raise InputError(
            "bad-host-count", f"a lab of {host_count} hosts", hint=f"ask for 1 to {MAX_HOSTS}"
        )
    if underlay == "direct" and host_count != 2:
        raise InputError(
            "bad-host-count",
            f"a direct underlay joins two hosts, not {host_count}",
            hint="ask for 2 hosts or for the bridge underlay",
        )
    if not 1 <= control_count <= MAX_CONTROLS:
        raise InputError(
            "bad-control-count",
            f"a lab of {control_count} control nodes",
            hint=f"ask for 1 to {MAX_CONTROLS}",
        )
    base = parse_ipv4("172.30.0.0")
    first = parse_ipv4("172.30.1.0" if underlay == "direct" else "172.30.0.0") + CONTROL_NUMBER
    controls = tuple(
        LabHost(f"{CONTROL_NAMESPACE}{index + 1 if index else ''}", first + index)
        for index in range(control_count)
    )
    # Host N is 172.30.0.N; the control nodes' numbers are left out.
    numbers = [
        number + control_count * (number >= CONTROL_NUMBER) for number in range(1, host_count + 1)
    ]
    hosts = tuple(LabHost(f"host{i}", base + number) for i, number in enumerate(numbers, start=1))
    return LabPlan(underlay, hosts, controls, api_listen, boot, agent_options=agent_options)


def require_name(plan: LabPlan, name: str) -> None:
    """Refuse a workload name that is taken or cannot be a file and object name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "bad-name",
            f"{name!r} cannot be the name of a workload",
            hint="use up to 31 lower-case letters, digits and dashes",
        )
    if name in plan.places():
        raise InputError("taken-name", f"{name!r} exists in this lab", hint="choose another name")


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_suffix(".draft")


def save(plan: LabPlan, path: Path) -> None:
    """Write lab.json whole or not at all."""
    draft = draft_of(path)
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
    draft.replace(path)


def load(path: Path) -> LabPlan:
    """Read lab.json; NotFoundError says how to get one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabPlan)
    except FileNotFoundError:
        raise NotFoundError(
            f"no lab runs in {path.parent}; start one with `filament lab up`"
        ) from None
