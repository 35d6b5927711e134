"""Who is compared where there is policy: the same rules everywhere, stateful, first packet judged.

Rules let UDP and TCP to some ports in; what answers a connection needs no rule of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers import (
    CLIENT,
    SERVER,
    TENANT_MTU_BYTES,
    UNDERLAY_MTU_BYTES,
    Bare,
    Filament,
    Peer,
)
from bench.policy.load import PORTS, TCP_PORT, UDP_PORT

from filament.base.net import Prefix, format_ipv4, parse_ipv4
from filament.testing.lab import links, namespaces
from filament.testing.lab.intent import DOMAIN, PROJECT, require_followed
from filament.testing.lab.links import End

Json = dict[str, Any]
FEW = 10
MANY = 10_000
FLOW_TABLE = 1 << 21
_CLOSED_S = "10"  # how long the kernel's conntrack keeps what was closed: as long as we do
_ENFORCED_S = "60"  # how long hosts may take for many rules
_UNDERLAY = parse_ipv4("172.31.0.1"), parse_ipv4("172.31.0.2")
_LENGTHS = (32, 28, 24, 20)
_SOURCES = 10  # prefixes of one rule of a large group: a request has at most a megabyte


class Rule(NamedTuple):
    """Lets in what comes from a prefix to some ports."""

    protocol: str
    low: int
    high: int
    prefix: Prefix


ANYWHERE = Prefix(0, 0)
WANTED = (
    Rule("tcp", TCP_PORT, TCP_PORT + PORTS - 1, ANYWHERE),
    Rule("udp", UDP_PORT, UDP_PORT + PORTS - 1, ANYWHERE),
)


def others(count: int) -> list[Rule]:
    """Rules that match none of the bench's packets, of several kinds and prefix lengths."""
    found = []
    for number in range(count):
        length = _LENGTHS[number % len(_LENGTHS)]
        base = (20 << 24) + (number << 12)
        protocol = ("tcp", "udp")[number // _SOURCES % 2]
        low = 10_000 + number // _SOURCES
        high = low + number // _SOURCES % 3 * 7
        found.append(Rule(protocol, low, high, Prefix(base, length)))
    return found


def rules(count: int) -> list[Rule]:
    """`count` rules; those that matter come last."""
    return [*others(count - len(WANTED)), *WANTED]


class Routing(Bare):
    """Two hosts that route between the workload's veth and the wire, no tunnel and no rules: what
    it costs that there are hosts between workloads at all.
    """

    name = "routing"
    what = "two hosts, kernel routing, no tunnel, no rules"

    def __init__(self, run: Path) -> None:
        super().__init__(run, "host1", "host2")
        hosts = [self.directory / "host1", self.directory / "host2"]
        links.add_veth(End(hosts[0], "eth0"), End(hosts[1], "eth0"), mtu_bytes=UNDERLAY_MTU_BYTES)
        for index, (host, workload) in enumerate(
            zip(hosts, (self.client, self.server), strict=True)
        ):
            here, there = _UNDERLAY[index], _UNDERLAY[1 - index]
            links.add_address(host, "eth0", here, 24)
            ends = End(workload, "eth0"), End(host, "tap0")
            links.add_veth(*ends, mtu_bytes=TENANT_MTU_BYTES)
            links.add_address(host, "tap0", parse_ipv4(f"10.9.{index + 1}.1"), 24)
            links.add_address(workload, "eth0", parse_ipv4(f"10.9.{index + 1}.2"), 24)
            links.add_default_route(workload, parse_ipv4(f"10.9.{index + 1}.1"))
            far = 2 - index
            gateway = self._connect(host, here, there, far)
            with namespaces.inside(host):
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
                _run("ip", "route", "add", f"10.9.{far}.0/24", "via", gateway)
        self.address = "10.9.2.2"

    def _connect(self, host: Path, here: int, there: int, far: int) -> str:
        """Prepare a host; returns the gateway to the other one, whose number is `far`."""
        del host, here, far
        return format_ipv4(there)


class VxlanNft(Routing):
    """The same through a kernel VXLAN device, with conntrack and rules in nftables on both."""

    name = "vxlan-nft"
    what = "two hosts, kernel VXLAN and routing, nftables with conntrack on both"

    def _connect(self, host: Path, here: int, there: int, far: int) -> str:
        links.add_vxlan(
            host, "vxlan0", vni=100, local=here, remote=there, mtu_bytes=TENANT_MTU_BYTES
        )
        links.add_address(host, "vxlan0", parse_ipv4(f"10.9.255.{3 - far}"), 24)
        with namespaces.inside(host):
            _run("nft", "-f", "-", given=self._ruleset())
            closed = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait")
            closed.write_text(_CLOSED_S)
        return f"10.9.255.{far}"

    def _ruleset(self) -> str:
        lines = [
            f"oifname tap0 ip saddr {rule.prefix} {rule.protocol} dport {rule.low}-{rule.high}"
            " accept"
            for rule in rules(FEW)
        ]
        return "\n".join(
            (
                "table ip filter {",
                "chain forward {",
                "type filter hook forward priority 0; policy drop;",
                "ct state established,related accept",
                "iifname tap0 accept",
                *lines,
                "}",
                "}",
                "",
            )
        )


class OvsCt(Bare):
    """One host, one bridge of Open vSwitch's userspace datapath between both workloads; there is
    no tunnel, and one conntrack: the easier half of what the others do.
    """

    name = "ovs-ct"
    what = "one host, one OVS bridge (userspace datapath) with ct(), no tunnel"

    def __init__(self, run: Path) -> None:
        super().__init__(run, "host")
        host = self.directory / "host"
        for workload, address, tap in (
            (self.client, CLIENT, "tap1"),
            (self.server, SERVER, "tap2"),
        ):
            ends = End(workload, "eth0"), End(host, tap)
            links.add_veth(*ends, mtu_bytes=TENANT_MTU_BYTES)
            links.add_address(workload, "eth0", address, 24)
            for end in ends:  # its datapath reads frames off the device, and needs whole ones
                with namespaces.inside(end.namespace):
                    _run("ethtool", "-K", end.device, "tx", "off")
        self._state = run / "ovs-state"
        self._state.mkdir(parents=True, exist_ok=True)
        self._daemons: list[subprocess.Popen[str]] = []
        try:
            self._serve(host)
        except BaseException:
            self.close()
            raise

    def _serve(self, host: Path) -> None:
        state, socket = self._state, f"unix:{self._state}/db.sock"
        schema = "/usr/share/openvswitch/vswitch.ovsschema"
        self._ovs(host, "ovsdb-tool", "create", f"{state}/conf.db", schema)
        self._daemon(host, "ovsdb-server", f"{state}/conf.db", f"--remote=p{socket}")
        vsctl = "ovs-vsctl", "--retry", "--timeout=20", f"--db={socket}"
        self._ovs(host, *vsctl, "--no-wait", "init")
        self._daemon(host, "ovs-vswitchd", socket)
        bridge = "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"
        ports = "--", "add-port", "br0", "tap1", "--", "add-port", "br0", "tap2"
        self._ovs(host, *vsctl, *bridge, *ports)
        flows = [
            "priority=100,arp,actions=normal",
            "priority=100,ct_state=-trk,ip,actions=ct(table=1)",
            "table=1,priority=100,ct_state=+trk+est,ip,actions=normal",
            "table=1,priority=100,ct_state=+trk+rel,ip,actions=normal",
            "table=1,priority=90,ct_state=+trk+new,ip,in_port=tap2,actions=ct(commit),normal",
            *(
                f"table=1,priority=80,ct_state=+trk+new,{rule.protocol},nw_src={rule.prefix},"
                f"tp_dst={ports},actions=ct(commit),normal"
                for rule in rules(FEW)
                for ports in _masked(rule.low, rule.high)
            ),
            "table=1,priority=0,actions=drop",
        ]
        self._ovs(host, "ovs-ofctl", "add-flows", "br0", "-", given="\n".join(flows))

    @property
    def _environment(self) -> dict[str, str]:
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        return {**os.environ, **dict.fromkeys(names, str(self._state))}

    def _ovs(self, host: Path, *argv: str, given: str = "") -> None:
        with namespaces.inside(host):
            _run(*argv, given=given, environment=self._environment)

    def _daemon(self, host: Path, *argv: str) -> None:
        with namespaces.inside(host):
            daemon = subprocess.Popen(
                argv,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        self._daemons.append(daemon)

    def close(self) -> None:
        """End the daemons and remove what was built."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self._state, ignore_errors=True)
        super().close()


def _masked(low: int, high: int) -> list[str]:
    """A range of ports as values with masks."""
    found = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size //= 2
        found.append(f"{low:#x}/{0x10000 - size:#x}")
        low += size
    return found


class Groups(Filament):
    """Filament's two hosts, with security groups at both ports besides the networks' policy.

    `many` is a second way between them, from host 2 to host 1, whose ports have a group of as many
    rules as one wants.
    """

    name = "filament"
    what = "two hosts, MPLS over UDP, red to blue by policy, security groups at both ports"
    agent_options = ("--flow-table", str(FLOW_TABLE))

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        leave = {
            "direction": ">",
            "ethertype": "IPv4",
            "protocol": "any",
            "src_addresses": _side(security_group="local"),
            "dst_addresses": _side(subnet=_subnet(ANYWHERE)),
        }
        self._create("bench-out", [leave])
        self._create("bench-few", _entries(rules(FEW)))
        self._many = self._create("bench-many", _entries(rules(FEW)))
        # Servers send nothing but answers: their groups let nothing out.
        self._join("red-1", "bench-few", "bench-out")
        self._join("blue-2", "bench-few")
        self._join("red-2", "bench-many", "bench-out")
        self._join("blue-1", "bench-many")
        server = self.lab.plan.workload("blue-1")
        self.many = Peer(
            self.lab.place("red-2"), self.lab.place("blue-1"), format_ipv4(server.address)
        )

    def _create(self, name: str, entries: list[Json]) -> str:
        return self.lab.intent.client.create(
            "security-group",
            [DOMAIN, PROJECT, name],
            parent_type="project",
            security_group_entries={"policy_rule": entries},
        )

    def _join(self, workload: str, *groups: str) -> None:
        answer = self.lab.intent.client.update(
            "virtual-machine-interface",
            self.lab.plan.workload(workload).interface_uuid,
            wait="agents",
            security_group_refs=[{"to": [DOMAIN, PROJECT, group]} for group in groups],
        )
        require_followed(answer)

    def withdraw(self, rule_uuid: str) -> None:
        """Take one rule out of the group of many, by a request that names it."""
        self._edit({"operation": "delete", "position": rule_uuid})

    def give(self, rule: Rule, rule_uuid: str) -> None:
        """Put one rule into the group of many, by a request that holds it."""
        (value,) = _entries([rule])
        self._edit({"operation": "add", "value": {**value, "rule_uuid": rule_uuid}})

    def rule_uuid_of(self, rule: Rule) -> str:
        """What a rule of the group of many is called."""
        (wanted,) = _entries([rule])
        group = self.lab.intent.client.get("security-group", self._many)
        listed: list[Json] = group["security_group_entries"]["policy_rule"]
        (found,) = (one["rule_uuid"] for one in listed if wanted.items() <= one.items())
        return str(found)

    def _edit(self, update: Json) -> None:
        body = {"uuid": self._many, "updates": [{"field": "security_group_entries", **update}]}
        self.lab.intent.client.request("POST", "/prop-collection-update", body)

    def set_many(self, wanted: Sequence[Rule], *, wait: str = "agents") -> None:
        """Let exactly these in to the ends of `many`, besides what answers."""
        body = {"security-group": {"security_group_entries": {"policy_rule": _entries(wanted)}}}
        answer = self.lab.intent.client.request(
            "PUT", f"/security-group/{self._many}", body, wait=wait, timeout_s=_ENFORCED_S
        )
        require_followed(answer)


def _side(**address: object) -> list[Json]:
    return [address]


def _subnet(prefix: Prefix) -> Json:
    return {"ip_prefix": format_ipv4(prefix.address), "ip_prefix_len": prefix.length}


def _entries(wanted: Sequence[Rule]) -> list[Json]:
    """Rules as the API takes them; those that differ in their source only are one."""
    sources: dict[tuple[str, int, int], list[Json]] = {}
    for rule in wanted:
        key = rule.protocol, rule.low, rule.high
        sources.setdefault(key, []).append({"subnet": _subnet(rule.prefix)})
    return [
        {
            "direction": ">",
            "ethertype": "IPv4",
            "protocol": protocol,
            "src_addresses": addresses,
            "dst_addresses": _side(security_group="local"),
            "dst_ports": [{"start_port": low, "end_port": high}],
        }
        for (protocol, low, high), addresses in sources.items()
    ]


def _run(*argv: str, given: str = "", environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, input=given, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} failed: {(done.stderr or done.stdout).strip()}")
