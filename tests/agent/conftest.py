"""A scripted control node: builds TF's configuration graph and talks to an AgentCore."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from filament.agent.core import AgentCore, Device
from filament.agent.plug import parse_plug
from filament.agent.role import AgentPlace
from filament.base.net import Prefix, parse_ipv4
from filament.runtime.serve import Listen
from filament.wire.xmpp.stanza import (
    ConfigSent,
    EndOfRib,
    Link,
    NextHop,
    Node,
    RouteItem,
    RoutesSent,
    Sync,
)

VMI = "virtual-machine-interface"
ENTRIES = "access_control_list_entries"


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


class Script:
    """Configuration of ports `number` in networks, as a control node would send it."""

    host = parse_ipv4("172.30.0.1")
    other = parse_ipv4("172.30.0.2")

    @staticmethod
    def uuid(number):
        return uuid_of(number)

    @staticmethod
    def network_name(network):
        return f"default-domain:demo:{network}"

    def vrf(self, network):
        return f"{self.network_name(network)}:{network}"

    def network(self, network="red", subnet="10.1.1.0/24", gateway="10.1.1.1", revision=1):
        """Virtual network, its default instance and its subnet."""
        name, vrf = self.network_name(network), self.vrf(network)
        base, length = subnet.split("/")
        ipam = "default-domain:default-project:default-network-ipam"
        attribute = f"attr({name},{ipam})"
        metadata = "virtual-network-network-ipam"
        value = {
            "ipam_subnets": [
                {
                    "subnet": {"ip_prefix": base, "ip_prefix_len": int(length)},
                    "default_gateway": gateway,
                }
            ]
        }
        return ConfigSent(
            nodes=(
                Node("virtual-network", name, {"uuid": uuid_of(900)}, revision),
                Node("routing-instance", vrf, {"routing_instance_is_default": True}, revision),
                Node("network-ipam", ipam, {}, revision),
                Node(metadata, attribute, {"value": value}, revision),
            ),
            links=(
                Link(
                    "virtual-network",
                    name,
                    "routing-instance",
                    vrf,
                    "virtual-network-routing-instance",
                ),
                Link("virtual-network", name, metadata, attribute, metadata),
                Link(metadata, attribute, "network-ipam", ipam, metadata),
            ),
        )

    def port(self, number=3, network="red", address="10.1.1.3", revision=2, **props):
        """A port, its machine and its address; `number` makes names, uuids and MAC."""
        name, ip = f"default-domain:demo:port-{number}", f"ip-{number}"
        machine = uuid_of(500 + number)
        macs = {"mac_address": [f"02:00:00:00:00:{number:02x}"]}
        values = {"uuid": uuid_of(number), f"{VMI.replace('-', '_')}_mac_addresses": macs, **props}
        return ConfigSent(
            nodes=(
                Node("virtual-machine", machine, {"uuid": machine}, revision),
                Node(VMI, name, values, revision),
                Node("instance-ip", ip, {"instance_ip_address": address}, revision),
            ),
            links=(
                Link(VMI, name, "virtual-machine", machine, f"{VMI}-virtual-machine"),
                Link(
                    VMI,
                    name,
                    "virtual-network",
                    self.network_name(network),
                    f"{VMI}-virtual-network",
                ),
                Link("instance-ip", ip, VMI, name, f"instance-ip-{VMI}"),
            ),
        )

    def acl(self, rules, network="red", revision=3):
        """The network's access control list with TF's rules."""
        name = self.vrf(network)
        entries = {"dynamic": None, "acl_rule": rules}
        return ConfigSent(
            nodes=(
                Node(
                    "access-control-list", name, {"access_control_list_entries": entries}, revision
                ),
            ),
            links=(
                Link(
                    "virtual-network",
                    self.network_name(network),
                    "access-control-list",
                    name,
                    "virtual-network-access-control-list",
                ),
            ),
        )

    def plug(self, number=3, device=None):
        return parse_plug(
            {
                "id": uuid_of(number),
                "instance-id": uuid_of(500 + number),
                "system-name": device or f"tap{number}",
            }
        )

    @staticmethod
    def device(number=3, ifindex=None):
        return Device(f"tap{number}", ifindex or 100 + number, is_veth=True)

    def route(self, text, network="red", next_hop=None, label=17, preference=200, **more):
        hop = NextHop(next_hop or self.other, label, self.network_name(network), **more)
        return RouteItem(
            Prefix.parse(text), (hop,), self.network_name(network), local_preference=preference
        )

    def routes(self, *items, network="red", retracted=()):
        return RoutesSent(self.vrf(network), items, tuple(Prefix.parse(one) for one in retracted))


class Talk:
    """A core, a data plane that takes everything, and control nodes that say what the test says."""

    def __init__(self, core):
        self.core = core
        self.sequence = 0
        self.vrf_ids = {}
        self.labels = {}

    def say(self, *stanzas, revision=None, whole=False, control="ctl1"):
        """Send a batch with its Sync, apply, and return what the agent answers `control`."""
        for stanza in stanzas:
            self.core.receive(control, stanza)
        if revision is not None:
            self.sequence += 1
            self.core.receive(control, Sync(self.sequence, revision, whole))
        return self.apply(control)

    def apply(self, control="ctl1", failed=frozenset()):
        """Apply what the core wants and return what it then says to `control`."""
        inputs = self.core.inputs()
        for one in (*inputs.ports, *inputs.subnets):
            self.vrf_ids.setdefault(one.vrf, len(self.vrf_ids) + 1)
        for port in inputs.ports:
            self.labels.setdefault(port.uuid, len(self.labels) + 16)
        self.core.applied(inputs, self.vrf_ids, self.labels, failed)
        return [stanza for to, stanza in self.core.take_outbox() if to == control]

    def connect(self, control="ctl1"):
        self.core.control_connected(control)
        return [stanza for to, stanza in self.core.take_outbox() if to == control]


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def talk(script):
    return Talk(AgentCore("host1", script.host, ["ctl1", "ctl2"]))


@pytest.fixture
def restarted(script):
    """Make the agent of a new process from what an old one saved."""

    def restart(old):
        saved = old.core.saved_views()
        return Talk(AgentCore("host1", script.host, ["ctl1", "ctl2"], saved))

    return restart


@pytest.fixture
def running(talk, script):
    """Port 3 of red plugged and active over ctl1, a remote port known, and everything synced."""
    talk.core.plug(script.plug())
    talk.core.device_found(script.device())
    talk.connect()
    talk.say(script.network(), script.port(), revision=5)
    talk.say(script.routes(script.route("10.1.1.4/32")), EndOfRib(), revision=5, whole=True)
    return talk


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


@pytest.fixture
def place(tmp_path, script):
    """A host of its own: network namespace with underlay and taps 3 and 4, BPF file system."""
    pins = tmp_path / "bpffs"
    pins.mkdir()
    subprocess.run(["mount", "-t", "bpf", "none", pins], check=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            ip(
                "link set lo up",
                "link add eth0 type veth peer name far0",
                "address add 172.30.0.1/24 dev eth0",
                *(f"link add tap{n} mtu 1468 type veth peer name far{n}" for n in (3, 4)),
            )
            yield AgentPlace(
                name="host1",
                address=script.host,
                controls=("127.0.0.1:5269",),
                underlay="eth0",
                state=tmp_path / "state",
                pins=pins / "filament" / "host1",
                listens=(Listen(path=str(tmp_path / "agent.sock")),),
            )
        finally:
            _libc.setns(home.fileno(), _CLONE_NEWNET)
            subprocess.run(["umount", "-l", pins], check=True)
