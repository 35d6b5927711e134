"""Filament's lab with real routers around it, everything described through the API alone.

ctl1 (AS 64512) ---- gobgp   iBGP, MD5, route-target constraint; our stand-in forwards
                ---- frr     iBGP, MD5, graceful restart; its kernel forwards EVPN
                ---- edge    an FRR in AS 65002: eBGP
                ---- exabgp  AS 65003
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from filament.base.net import format_ipv4, format_mac
from filament.testing.lab.lab import CONTROL_NAME
from filament.testing.lab.plan import CONTROL_NAMESPACE
from filament.testing.lab.scenario import build_scenario
from filament.testing.peers.capture import Capture
from filament.testing.peers.exabgp import ExaBgp
from filament.testing.peers.frr import Frr
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Neighbour, PeerSettings, Segment, Vrf

ASN = 64512
PASSWORD = "of-the-test"
RED, BLUE = "target:64512:5", "target:64512:6"
VPN = ("inet-vpn", "inet6-vpn", "e-vpn")
ASNS = {"gobgp": ASN, "frr": ASN, "edge": 65002, "exabgp": 65003}
MACS = {"gobgp": "02:00:00:00:0f:01", "frr": "02:00:00:00:0f:02", "edge": "02:00:00:00:0f:03"}
LABELS = {"gobgp": 201, "frr": 202, "edge": 203, "exabgp": 204}
L3_VNI = 6000


class FilamentWorld:
    """The lab `lab` and its peers by name; every peer has a VRF red and a VRF blue."""

    def __init__(self, run, stack: contextlib.ExitStack) -> None:
        self.steps: list[str] = []
        self.encapsulations: tuple[str, ...] = ()
        self.lab = build_scenario(run, self.steps.append)
        stack.callback(self.lab.close)
        self.intent = self.lab.intent
        self.control = format_ipv4(self.lab.plan.control_address)
        self.capture = stack.enter_context(
            Capture(self.lab.place(CONTROL_NAMESPACE), "eth0", run / "control.pcap")
        )
        # Both sides must mean the same segment: FRR's has the number that the API gave the network.
        uuid = self.intent.client.uuid_of("virtual-network", ["default-domain", "demo", "blue"])
        network = self.intent.client.get("virtual-network", uuid)
        self.vni = network["virtual_network_network_id"]
        routers = {name: self.lab.add_router(name) for name in ASNS}
        self.address = {name: format_ipv4(router.address) for name, router in routers.items()}
        kinds = {"gobgp": GoBgp, "frr": Frr, "edge": Frr, "exabgp": ExaBgp}
        self.peers = {name: self.adapter(kind, name) for name, kind in kinds.items()}
        for peer in self.peers.values():
            stack.callback(peer.stop)
            peer.spawn()
        self.intent.set_graceful_restart(restart_time_s=60)
        self.intent.create_bgp_router(
            CONTROL_NAME,
            self.lab.plan.control_address,
            ASN,
            ("route-target", *VPN, "erm-vpn"),
            router_type="control-node",
        )
        self.intent.set_route_targets("red", [RED])
        self.intent.set_route_targets("blue", [BLUE])
        for name, router in routers.items():
            self.describe(name, router.address)
        for peer in self.peers.values():
            peer.wait_for(peer.is_ready, "takes commands")
        for peer in self.peers.values():
            peer.wait_established()

    def prefer(self, encapsulations: tuple[str, ...]) -> None:
        """Have the cluster prefer encapsulations in this order, unless it does."""
        if encapsulations != self.encapsulations:
            self.intent.set_encapsulations(encapsulations, wait="agents")
            self.encapsulations = encapsulations

    def families(self, name: str) -> tuple[str, ...]:
        return (*VPN, "route-target") if name == "gobgp" else VPN

    def describe(self, name: str, address: int) -> None:
        """Tell Filament of a peer."""
        key = {"key_type": "md5", "key_items": [{"key_id": 0, "key": PASSWORD}]}
        has_key = name in ("gobgp", "frr")
        self.intent.create_bgp_router(
            name,
            address,
            ASNS[name],
            self.families(name),
            vendor=name,
            **({"auth_data": key} if has_key else {}),
        )
        if ASNS[name] != ASN:
            self.intent.peer(name, [CONTROL_NAME])

    def adapter(self, kind, name):
        address, mac = self.address[name], MACS.get(name, "")
        neighbour = Neighbour(
            address=self.control,
            asn=ASN,
            families=self.families(name),
            password=PASSWORD if name in ("gobgp", "frr") else "",
            restart_time_s=60 if name == "frr" else 0,
        )
        has_vxlan = name in ("frr", "edge")
        red = Vrf(name="red", rd=f"{address}:5", targets=(RED,), label=LABELS[name])
        blue = Vrf(
            name="blue",
            rd=f"{address}:6",
            targets=(BLUE,),
            vni=L3_VNI if name != "exabgp" else 0,
            router_mac=mac,
            label=LABELS[name] + 50,
        )
        settings = PeerSettings(
            name=name,
            address=address,
            asn=ASNS[name],
            neighbours=(neighbour,),
            vrfs=(red, blue) if name != "exabgp" else (),
            segments=(Segment(vni=self.vni, rd=f"{address}:4000", targets=(BLUE,)),)
            if has_vxlan
            else (),
            encapsulations=("udp",) if name == "gobgp" else (),
        )
        directory = self.lab.directories.run / name
        directory.mkdir()
        return kind(settings, self.lab.place(name), directory)

    # what the API chose --------------------------------------------------------------------

    def workload(self, name: str):
        return self.lab.plan.workload(name)

    def route_of(self, name: str) -> str:
        """A workload's host route."""
        return f"{format_ipv4(self.workload(name).address)}/32"

    def mac_of(self, name: str) -> str:
        return format_mac(self.workload(name).mac)

    def host_of(self, name: str) -> str:
        """The tunnel end a workload is behind."""
        return format_ipv4(self.lab.plan.host(self.workload(name).host).address)

    def peer_route(self, name: str, prefix: str, target: str = RED, **more) -> PeerRoute:
        """A VPN route of a peer's VRF red (or blue)."""
        is_red = target == RED
        fields = {
            "family": "inet6-vpn" if ":" in prefix else "inet-vpn",
            "prefix": prefix,
            "rd": f"{self.address[name]}:{5 if is_red else 6}",
            "label": LABELS[name] + (0 if is_red else 50),
            "targets": frozenset({target}),
        }
        return PeerRoute(**fields | more)

    def shown(self, *words: str) -> str:
        """What `filament show` prints."""
        program = str(Path(sys.executable).with_name("filament"))
        environment = os.environ | {"FILAMENT_RUN": str(self.lab.directories.run)}
        done = subprocess.run(
            [program, "show", *words], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def pings(self, source: str, address: str, count: int = 3) -> bool:
        """Whether every echo of a few comes back to a workload."""
        done = self.lab.run(source, ["ping", "-nq", f"-c{count}", "-i0.2", "-W1", address])
        return f"{count} received" in done.stdout
