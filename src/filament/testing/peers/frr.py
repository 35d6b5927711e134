"""FRR (Debian's 8.4): zebra and bgpd, VRFs as network namespaces, EVPN in the kernel's data plane.

What it announces is what its kernel holds, as on a router: a route of a VRF's namespace, a MAC
behind a bridge. What it learns by EVPN its zebra puts into the kernel, so a `Frr` with segments or
layer-3 VNIs forwards packets itself. This kernel has no MPLS: VPN routes stay in bgpd.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from filament.base.errors import PermanentError
from filament.testing.lab import namespaces
from filament.testing.lab.processes import Program
from filament.testing.peers import frr_config
from filament.testing.peers.daemon import Peer
from filament.testing.peers.route import (
    ENCAPSULATION_NAMES,
    Communities,
    Family,
    PeerRoute,
    normal_address,
    normal_prefix,
)
from filament.testing.peers.settings import PeerSettings, Segment, Vrf

_VPN = {"inet-vpn": "ipv4 vpn", "inet6-vpn": "ipv6 vpn"}
_PLAIN = {"inet": "ipv4 unicast", "inet6": "ipv6 unicast"}
_USER = "frr"


class Frr(Peer):
    """zebra and bgpd of one router. `vrf_place(name)` is the namespace of a VRF."""

    def __init__(self, settings: PeerSettings, place: Path, directory: Path) -> None:
        super().__init__(settings, place, directory)
        self._has_devices = False

    # starting ----------------------------------------------------------------------------

    def vrf_place(self, name: str) -> Path:
        """The namespace that is a VRF."""
        return self.directory / "netns" / name

    def programs(self) -> list[Program]:
        """Make the VRFs and segments the first time; write one configuration per daemon."""
        if not self._has_devices:
            self._make_devices()
            self._has_devices = True
        sockets = self.directory / "run"
        sockets.mkdir(exist_ok=True)
        zebra, bgpd = self.directory / "zebra.conf", self.directory / "bgpd.conf"
        zebra.write_text(frr_config.zebra(self.settings))
        bgpd.write_text(frr_config.bgpd(self.settings))
        for path in (self.directory, sockets, zebra, bgpd):
            shutil.chown(path, _USER, _USER)
        common = f"--vty_socket {sockets} -z {sockets}/zserv.api -P 0 --log stdout"
        (sockets / "zserv.api").unlink(missing_ok=True)
        wait = f"until [ -S {sockets}/zserv.api ]; do sleep 0.02; done"
        return [
            self._daemon("zebra", f"-n -f {zebra} -i {sockets}/zebra.pid {common}"),
            self._daemon("bgpd", f"-f {bgpd} -i {sockets}/bgpd.pid {common}", wait),
        ]

    def _daemon(self, name: str, options: str, first: str = ":") -> Program:
        # FRR takes every namespace in /run/netns for a VRF; it is to find ours alone.
        script = (
            f"mkdir -p /run/netns; mount --rbind {self.directory}/netns /run/netns; {first};"
            f" exec /usr/lib/frr/{name} {options}"
        )
        private = ["unshare", "--mount", "--propagation", "slave", "/bin/sh", "-ec", script]
        return self.program(name, private)

    def _make_devices(self) -> None:
        netns = self.directory / "netns"
        netns.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        for vrf in self.settings.vrfs:
            place = self.vrf_place(vrf.name)
            namespaces.create_namespace(place)
            configure(place, ["link set lo up"])
            switch_forwarding_on(place)
            if vrf.vni:
                self._join_vrf(vrf, place)
        for segment in self.settings.segments:
            configure(self.place, self._segment_commands(segment))

    def _vxlan(self, vni: int) -> str:
        local = self.settings.address
        return f"link add vx{vni} type vxlan id {vni} dstport 4789 local {local} nolearning"

    def _join_vrf(self, vrf: Vrf, place: Path) -> None:
        """A layer-3 VNI: its VXLAN device is born beside the underlay, and moves into the VRF."""
        handle = os.open(place, os.O_RDONLY)
        try:
            with namespaces.inside(self.place):
                moved = [self._vxlan(vrf.vni), f"link set vx{vrf.vni} netns /proc/self/fd/{handle}"]
                _ip(moved, keep=(handle,))
        finally:
            os.close(handle)
        address = f"address {vrf.router_mac}" if vrf.router_mac else ""
        configure(
            place,
            [
                f"link add br{vrf.vni} {address} type bridge",
                f"link set br{vrf.vni} up",
                f"link set vx{vrf.vni} master br{vrf.vni} up",
            ],
        )

    def _segment_commands(self, segment: Segment) -> list[str]:
        vni = segment.vni
        return [
            f"link add br{vni} type bridge",
            f"link set br{vni} up",
            self._vxlan(vni),
            f"link set vx{vni} master br{vni} up",
            # A port to hang hosts behind: `announce` puts MACs here, tests their namespaces.
            f"link add port{vni} type veth peer name host{vni}",
            f"link set port{vni} master br{vni} up",
            f"link set host{vni} up",
        ]

    def is_ready(self) -> bool:
        """Say whether bgpd has read its configuration."""
        return (self.directory / "run" / "bgpd.vty").exists() and "router bgp" in self.show(
            "show running-config bgpd", check=False
        )

    # asking ------------------------------------------------------------------------------

    def show(self, *commands: str, check: bool = True) -> str:
        """Run commands of vtysh and return what they print."""
        words = [word for command in commands for word in ("-c", command)]
        return self.run(["vtysh", "--vty_socket", str(self.directory / "run"), *words], check=check)

    def configure(self, *lines: str) -> None:
        """Change the running configuration."""
        self.show("configure terminal", *lines)

    def sessions(self) -> dict[str, str]:
        """State by neighbour."""
        text = self.show("show bgp neighbors json")
        found = msgspec.json.decode(text) if text.strip() else {}
        return {
            name: value["bgpState"].lower()
            for name, value in found.items()
            if isinstance(value, dict) and "bgpState" in value
        }

    def received(self, family: Family) -> list[PeerRoute]:
        """Paths its neighbours sent it."""
        if family == "e-vpn":
            return self._received_evpn()
        if family in _PLAIN:
            return list(self._received_plain(family))
        if family not in _VPN:
            raise PermanentError(f"FRR 8.4 does not know the family {family}")
        # The list names no labels and no communities; each prefix alone does.
        table = msgspec.json.decode(self.show(f"show bgp {_VPN[family]} json"))["routes"]
        prefixes = sorted(
            {prefix for routes in table["routeDistinguishers"].values() for prefix in routes}
        )
        if not prefixes:
            return []
        text = self.show(*(f"show bgp {_VPN[family]} {prefix} json" for prefix in prefixes))
        return [
            read_path(path, family=family, rd=rd, prefix=found["prefix"])
            for answer in _values(text)
            for rd, found in answer.items()
            for path in found["paths"]
            if is_received(path)
        ]

    def _received_plain(self, family: Family) -> Iterator[PeerRoute]:
        table = msgspec.json.decode(self.show(f"show bgp {_PLAIN[family]} json"))["routes"]
        for prefix in table:
            answer = msgspec.json.decode(self.show(f"show bgp {_PLAIN[family]} {prefix} json"))
            for path in answer["paths"]:
                if is_received(path):
                    yield read_path(path, family=family, prefix=prefix)

    def _received_evpn(self) -> list[PeerRoute]:
        table = msgspec.json.decode(self.show("show bgp l2vpn evpn route detail json"))
        return [
            read_path(path, family="e-vpn", rd=rd, **evpn_identity(found))
            for rd, routes in table.items()
            if isinstance(routes, dict)
            for found in routes.values()
            if isinstance(found, dict)
            for paths in found["paths"]
            for path in paths
            if is_received(path)
        ]

    # telling -----------------------------------------------------------------------------

    def announce(self, route: PeerRoute) -> None:
        """Put into the kernel what makes FRR announce this: a VRF's route for VPN families and
        EVPN type 5, a MAC (and its address) behind the segment's port for type 2. RD, targets
        and numbers are those of the VRF or segment whose RD the route names.
        """
        self._change(route, "add", "append")

    def withdraw(self, route: PeerRoute) -> None:
        """Take it out again."""
        self._change(route, "del", "del")

    def _change(self, route: PeerRoute, verb: str, fdb_verb: str) -> None:
        if route.family == "e-vpn" and route.evpn_type == 2:
            vni = self._segment(route.rd).vni
            self.run(
                ["bridge", "fdb", fdb_verb, route.mac, "dev", f"port{vni}", "master", "static"]
            )
            if route.prefix:
                host = route.prefix.partition("/")[0]
                reachable = f"lladdr {route.mac} nud permanent" if verb == "add" else ""
                configure(self.place, [f"neigh {verb} {host} {reachable} dev br{vni}"])
            return
        if route.family == "e-vpn" and route.evpn_type != 5:
            raise PermanentError(f"FRR announces EVPN type {route.evpn_type} by itself or never")
        vrf = self._vrf(route)
        version = ipaddress.ip_network(route.prefix).version
        # By a device, not a blackhole: FRR announces only what leads somewhere.
        line = f"route {verb} {route.prefix} dev lo proto static"
        configure(self.vrf_place(vrf.name), [line], version=version)

    def _vrf(self, route: PeerRoute) -> Vrf:
        for vrf in self.settings.vrfs:
            if vrf.rd == route.rd:
                return vrf
        known = ", ".join(vrf.rd for vrf in self.settings.vrfs)
        raise PermanentError(f"{self.settings.name} has no VRF with rd {route.rd}; it has {known}")

    def _segment(self, rd: str) -> Segment:
        for segment in self.settings.segments:
            if segment.rd == rd:
                return segment
        known = ", ".join(segment.rd for segment in self.settings.segments)
        raise PermanentError(f"{self.settings.name} has no segment with rd {rd}; it has {known}")


def switch_forwarding_on(place: Path) -> None:
    """Make a namespace a router of both versions."""
    with namespaces.inside(place):
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", name).write_text("1")


def configure(place: Path, commands: list[str], *, version: int = 4) -> None:
    """Run `ip` commands in a namespace, all or none said to be wrong."""
    with namespaces.inside(place):
        _ip(commands, version=version)


def _ip(commands: list[str], *, version: int = 4, keep: tuple[int, ...] = ()) -> None:
    done = subprocess.run(
        ["ip", f"-{version}", "-batch", "-"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        check=False,
        pass_fds=keep,
    )
    if done.returncode:
        raise PermanentError(f"ip refuses {commands}: {done.stderr.strip()}")


def _values(text: str) -> Iterator[Any]:
    """JSON values one behind the other, as vtysh prints them for several commands."""
    decoder, at = json.JSONDecoder(), 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


def is_received(path: dict[str, Any]) -> bool:
    """Say whether a neighbour sent this path: its own have the peer `0.0.0.0` or `(unspec)`."""
    return path["peer"]["peerId"] not in ("0.0.0.0", "(unspec)", "::")


def evpn_identity(found: dict[str, Any]) -> dict[str, Any]:
    """What names an EVPN route of `show bgp l2vpn evpn route detail json`."""
    prefix = ""
    if "ip" in found:
        length = found["ipLen"]
        # Of type 5 `ipLen` is the prefix's length, of others the address's size.
        prefix = normal_prefix(f"{found['ip']}/{length}" if length else found["ip"])
    return {
        "evpn_type": found["routeType"],
        "tag": found.get("ethTag", 0),
        "mac": found.get("mac", ""),
        "prefix": prefix,
    }


def read_path(path: dict[str, Any], **identity: Any) -> PeerRoute:
    """Read one path of bgpd's JSON."""
    label: int | None = path.get("remoteLabel")
    if "vni" in path:
        label = int(str(path["vni"]).partition("/")[0])
    if "pmsi" in path:
        label = path["pmsi"].get("label")
    segments = path["aspath"].get("segments", [])
    return PeerRoute(
        **identity,
        label=label,
        **msgspec.structs.asdict(_communities(path.get("extendedCommunity", {}))),
        next_hop=normal_address(path["nexthops"][0]["ip"]) if path.get("nexthops") else "",
        local_pref=path.get("locPrf"),
        med=path.get("metric"),
        as_path=tuple(asn for segment in segments for asn in segment["list"]),
        originator_id=path.get("originatorId", ""),
        cluster_list=tuple(path.get("clusterList", {}).get("list", [])),
        communities=frozenset(path.get("community", {}).get("list", [])),
        is_stale=bool(path.get("stale")),
    )


def _communities(value: dict[str, str]) -> Communities:
    targets, encapsulations, others, router_mac = set(), set(), set(), ""
    for word in value.get("string", "").split():
        kind, _, rest = word.partition(":")
        if kind == "RT":
            targets.add(f"target:{rest}")
        elif kind == "ET":
            encapsulations.add(ENCAPSULATION_NAMES.get(int(rest), rest))
        elif kind == "Rmac":
            router_mac = rest
        else:
            others.add(word)
    return Communities(
        targets=frozenset(targets),
        encapsulations=frozenset(encapsulations),
        router_mac=router_mac,
        others=frozenset(others),
    )
