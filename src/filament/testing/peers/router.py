"""A router's forwarding, for a BGP daemon that has none: programmed from what the daemon learnt.

    workload -- host ==underlay== router --tun-- VRF namespace --veth-- outside host

GoBGP and ExaBGP forward nothing, and FRR needs an MPLS kernel for VPN routes; `Router` stands in
for their hardware, with real packets on both sides. EVPN of FRR goes by FRR's own kernel devices.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filament.base.errors import PermanentError
from filament.testing.lab import links, namespaces, processes
from filament.testing.lab.links import End
from filament.testing.lab.processes import Program
from filament.testing.peers import router_process
from filament.testing.peers.daemon import Peer
from filament.testing.peers.frr import Frr, configure, switch_forwarding_on
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Segment, Vrf

OUTSIDE_MTU_BYTES = 1400
_ANSWER_S = 5.0
# Looked at after the main table, and by FRR never: it must not announce our default route.
_TABLE = 100


class Router:
    """Forwards for these VRFs and segments of one peer.

    VRFs of `Frr` are its own namespaces; others' are made here. Where FRR has VXLAN devices of its
    own, no VRF with a VNI and no segment can be given to a `Router` beside it.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        vrfs: tuple[Vrf, ...] = (),
        segments: tuple[Segment, ...] = (),
        mac: str = "02:00:00:00:fe:01",
    ) -> None:
        self._peer = peer
        self._vrfs, self._segments = vrfs, segments
        self._vrf_places: dict[str, Path] = {}
        self._segment_places: dict[int, Path] = {}
        self._segment_hosts: dict[int, tuple[str, str]] = {}
        self.directory = peer.directory / "router"
        self.mac = mac
        self.counts: dict[str, int] = {}

    # making ------------------------------------------------------------------------------

    def make_vrfs(self) -> None:
        """Make the namespaces of the VRFs, or take FRR's."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for vrf in self._vrfs:
            if isinstance(self._peer, Frr):
                self._vrf_places[vrf.name] = self._peer.vrf_place(vrf.name)
                continue
            place = self._vrf_places[vrf.name] = self._make_place(f"vrf-{vrf.name}")
            switch_forwarding_on(place)

    def _make_place(self, name: str) -> Path:
        place = self.directory / name
        namespaces.create_namespace(place)
        configure(place, ["link set lo up"])
        return place

    def add_outside(self, vrf: str, gateway: str, host: str) -> Path:
        """Put a host behind a VRF; both addresses with length. Returns the host's namespace."""
        place = self.outside(vrf)
        self.add_addresses(vrf, gateway, host)
        return place

    def outside(self, vrf: str) -> Path:
        """Return the namespace of the host behind a VRF, made when it is asked for first."""
        place = self.directory / f"outside-{vrf}"
        if not place.exists():
            self._make_place(place.name)
            hang_host(self._vrf_places[vrf], place)
        return place

    def add_addresses(self, vrf: str, gateway: str, host: str) -> None:
        """Give VRF and host behind it a further network, of either version."""
        place = self.directory / f"outside-{vrf}"
        give_addresses(self._vrf_places[vrf], place, gateway, host)

    def add_segment_host(self, segment: Segment, address: str, mac: str) -> Path:
        """Put a host on a layer-2 segment; its interface is `tapVNI`. Before `start`."""
        place = self._make_place(f"segment-{segment.vni}")
        self._segment_places[segment.vni] = place
        self._segment_hosts[segment.vni] = (address, mac)
        return place

    def start(self) -> None:
        """Start forwarding, by empty tables."""
        settings = self._peer.settings
        ports: dict[str, Any] = {
            "address": settings.address,
            "mac": self.mac,
            "vrfs": {name: str(place) for name, place in self._vrf_places.items()},
            "has_vxlan": bool(self._segments or any(vrf.vni for vrf in self._vrfs)),
            "segments": {str(vni): str(place) for vni, place in self._segment_places.items()},
        }
        (self.directory / "ports.json").write_text(json.dumps(ports))
        (self.directory / "tables").unlink(missing_ok=True)
        pids = self.directory / "pid"
        pids.mkdir(exist_ok=True)
        argv = (sys.executable, router_process.__file__, str(self.directory))
        log = str(self.directory / "router.log")
        program = Program("router", argv, {"PATH": "/usr/bin"}, str(self._peer.place), log)
        self._process = processes.spawn(pids, program)
        self._peer.wait_for((self.directory / "tables").exists, "has a forwarding process")
        for name, place in self._vrf_places.items():
            device = f"tun-{name}"
            configure(place, [f"link set {device} up mtu {OUTSIDE_MTU_BYTES}"])
            for version in (4, 6):
                configure(
                    place,
                    [
                        f"rule add pref 40000 lookup {_TABLE}",
                        f"route add default dev {device} table {_TABLE}",
                    ],
                    version=version,
                )
        for vni, (address, mac) in self._segment_hosts.items():
            device = f"tap{vni}"
            configure(
                self._segment_places[vni],
                [
                    f"link set {device} address {mac} mtu {OUTSIDE_MTU_BYTES} up",
                    f"addr add {address} dev {device}",
                ],
            )

    def stop(self) -> None:
        """End the forwarding process."""
        processes.stop_all([self._process])

    # tables ------------------------------------------------------------------------------

    def program(self, routes: Iterable[PeerRoute]) -> None:
        """Replace the tables by what follows from these routes."""
        tables = plan_tables(self._vrfs, self._segments, list(routes))
        self._send(json.dumps(tables))

    def follow(self) -> None:
        """Replace the tables by what follows from what the daemon holds now."""
        families = {
            family for neighbour in self._peer.settings.neighbours for family in neighbour.families
        }
        routes = [
            route
            for family in sorted(families - {"route-target", "inet", "inet6"})
            for route in self._peer.received(family)
        ]
        self.program(routes)

    def refresh_counts(self) -> dict[str, int]:
        """Ask for the packet counts: tunnels in and out, and what was dropped why."""
        self._send("")
        return self.counts

    def _send(self, line: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(str(self.directory / "tables"))
            connection.sendall(line.encode() + b"\n")
            answer = connection.makefile().readline()
        if not answer:
            log = self.directory / "router.log"
            raise PermanentError(f"the router's process died:\n{log.read_text()[-2000:]}")
        self.counts = json.loads(answer)


def hang_host(vrf: Path, host: Path) -> None:
    """Join a VRF's namespace (device `outside`) and a host's (device `eth0`)."""
    links.add_veth(End(vrf, "outside"), End(host, "eth0"), mtu_bytes=OUTSIDE_MTU_BYTES)


def give_addresses(vrf: Path, host: Path, gateway_address: str, host_address: str) -> None:
    """Address both ends of `hang_host`, and send the host's packets to the VRF."""
    version = 6 if ":" in host_address else 4
    options = " nodad" if version == 6 else ""
    gateway = gateway_address.partition("/")[0]
    configure(vrf, [f"addr add {gateway_address} dev outside{options}"], version=version)
    commands = [f"addr add {host_address} dev eth0{options}", f"route add default via {gateway}"]
    configure(host, commands, version=version)


def plan_tables(
    vrfs: tuple[Vrf, ...], segments: tuple[Segment, ...], routes: list[PeerRoute]
) -> dict[str, Any]:
    """What a router with these VRFs and segments forwards by, given what it learnt."""
    tables: dict[str, Any] = {
        "labels": {str(vrf.label): vrf.name for vrf in vrfs if vrf.label},
        "vnis": {str(vrf.vni): vrf.name for vrf in vrfs if vrf.vni},
        "routes": {vrf.name: [] for vrf in vrfs},
        "macs": {str(segment.vni): {} for segment in segments},
        "floods": {str(segment.vni): [] for segment in segments},
    }
    for route in routes:
        if route.family in ("inet-vpn", "inet6-vpn") or route.evpn_type == 5:
            entry = _forwarding_entry(route)
            for vrf in vrfs:
                if entry is not None and route.targets & set(vrf.targets):
                    tables["routes"][vrf.name].append(entry)
        for segment in segments:
            if not route.targets & set(segment.targets):
                continue
            hop = [route.next_hop, route.label or segment.vni]
            if route.evpn_type == 2:
                tables["macs"][str(segment.vni)][route.mac.replace(":", "")] = hop
            elif route.evpn_type == 3:
                tables["floods"][str(segment.vni)].append(hop)
    return tables


def _forwarding_entry(route: PeerRoute) -> list[Any] | None:
    """Prefix, encapsulation, tunnel end, number, far router's MAC; None when there is no way.

    A router prefers what carries MPLS for a VPN route; without a word it takes GRE (RFC 4023).
    """
    encapsulations = route.encapsulations or frozenset({"gre"})
    if route.evpn_type == 5:
        mac = route.router_mac.replace(":", "")
        return [route.prefix, "vxlan", route.next_hop, route.label, mac] if mac else None
    for name in ("udp", "gre"):
        if name in encapsulations or (name == "gre" and "mpls-o-gre" in encapsulations):
            return [route.prefix, name, route.next_hop, route.label, ""]
    return None
