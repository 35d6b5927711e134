"""GoBGP (Debian's 3.10): VPNv4, VPNv6, EVPN, and route-target constraint enforced both ways."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

import msgspec

from filament.base.errors import PermanentError
from filament.testing.lab.processes import Program
from filament.testing.peers.daemon import ESTABLISHED, Peer
from filament.testing.peers.route import (
    ENCAPSULATION_NAMES,
    Communities,
    Family,
    PeerRoute,
    bare,
    normal_address,
    normal_prefix,
)
from filament.testing.peers.settings import Neighbour

# GoBGP's name in its configuration, and on its command line.
_FAMILIES: dict[Family, tuple[str, str]] = {
    "inet": ("ipv4-unicast", "ipv4"),
    "inet6": ("ipv6-unicast", "ipv6"),
    "inet-vpn": ("l3vpn-ipv4-unicast", "vpnv4"),
    "inet6-vpn": ("l3vpn-ipv6-unicast", "vpnv6"),
    "e-vpn": ("l2vpn-evpn", "evpn"),
    "route-target": ("rtc", "rtc"),
}
_STATES = ("unknown", "idle", "connect", "active", "opensent", "openconfirm", ESTABLISHED)
_ENCAPSULATIONS = {"udp": "mpls-in-udp", "gre": "gre", "mpls-o-gre": "mpls-in-gre"}


class GoBgp(Peer):
    """A gobgpd. Everything is told to it by its own command `gobgp`."""

    has_restarted = False

    def programs(self) -> list[Program]:
        """Write gobgpd.toml. After `has_restarted` is set it says so in its OPEN (RFC 4724)."""
        path = self.directory / "gobgpd.toml"
        path.write_text(self.configuration())
        argv = ["gobgpd", "-f", str(path), "--api-hosts=127.0.0.1:50051", "--pprof-disable", "-p"]
        return [self.program("gobgpd", [*argv, *(["-r"] if self.has_restarted else [])])]

    def configuration(self) -> str:
        """Return gobgpd.toml."""
        settings = self.settings
        lines = [
            "[global.config]",
            f"as = {settings.asn}",
            f'router-id = "{settings.address}"',
            f'local-address-list = ["{settings.address}"]',
        ]
        if settings.encapsulations:
            names = ", ".join(
                f'"encap:{_ENCAPSULATIONS.get(name, name)}"' for name in settings.encapsulations
            )
            action = "policy-definitions.statements.actions.bgp-actions.set-ext-community"
            lines += [
                "[global.apply-policy.config]",
                'export-policy-list = ["encapsulation"]',
                "[[policy-definitions]]",
                'name = "encapsulation"',
                "[[policy-definitions.statements]]",
                'name = "vpn"',
                # An EVPN route names its own, and its number means nothing in another.
                "[policy-definitions.statements.conditions.bgp-conditions]",
                'afi-safi-in-list = ["l3vpn-ipv4-unicast", "l3vpn-ipv6-unicast"]',
                f"[{action}]",
                'options = "add"',
                f"[{action}.set-ext-community-method]",
                f"communities-list = [{names}]",
            ]
        for neighbour in settings.neighbours:
            lines += self._neighbour(neighbour)
        return "\n".join(lines) + "\n"

    def _neighbour(self, neighbour: Neighbour) -> list[str]:
        lines = [
            "[[neighbors]]",
            "[neighbors.config]",
            f'neighbor-address = "{neighbour.address}"',
            f"peer-as = {neighbour.asn}",
            *([f'auth-password = "{neighbour.password}"'] if neighbour.password else []),
            "[neighbors.transport.config]",
            f'local-address = "{self.settings.address}"',
            f"passive-mode = {str(neighbour.is_passive).lower()}",
            # Its defaults leave a lost session alone for half a minute and more.
            "[neighbors.timers.config]",
            "connect-retry = 1",
            "idle-hold-time-after-reset = 1",
            f"hold-time = {neighbour.hold_time_s}",
            f"keepalive-interval = {max(1, neighbour.hold_time_s // 3)}",
        ]
        if neighbour.asn != self.settings.asn:
            lines += ["[neighbors.ebgp-multihop.config]", "enabled = true", "multihop-ttl = 8"]
        if neighbour.is_client:
            cluster = self.settings.cluster_id or self.settings.address
            lines += [
                "[neighbors.route-reflector.config]",
                "route-reflector-client = true",
                f'route-reflector-cluster-id = "{cluster}"',
            ]
        if neighbour.restart_time_s:
            lines += [
                "[neighbors.graceful-restart.config]",
                "enabled = true",
                f"restart-time = {neighbour.restart_time_s}",
                f"long-lived-enabled = {str(bool(neighbour.long_lived_time_s)).lower()}",
            ]
        for family in neighbour.families:
            lines += [
                "[[neighbors.afi-safis]]",
                "[neighbors.afi-safis.config]",
                f'afi-safi-name = "{_FAMILIES[family][0]}"',
            ]
            if neighbour.restart_time_s:
                lines += ["[neighbors.afi-safis.mp-graceful-restart.config]", "enabled = true"]
            if neighbour.long_lived_time_s:
                lines += [
                    "[neighbors.afi-safis.long-lived-graceful-restart.config]",
                    "enabled = true",
                    f"restart-time = {neighbour.long_lived_time_s}",
                ]
        return lines

    # asking ------------------------------------------------------------------------------

    def _ask(self, *words: str) -> Any:
        return msgspec.json.decode(self.run(["gobgp", "-j", *words]))

    def _tell(self, *words: str) -> None:
        self.run(["gobgp", *words])

    def is_ready(self) -> bool:
        """Say whether its API answers, and make the VRFs once it does."""
        try:
            self._ask("global")
        except PermanentError:
            return False
        for vrf in self.settings.vrfs:
            self.add_vrf(vrf.name, vrf.rd, vrf.targets)
        return True

    def add_vrf(self, name: str, rd: str, targets: tuple[str, ...]) -> None:
        """Make a VRF: the only way to route-target membership, which it then announces."""
        self._tell("vrf", "add", name, "rd", rd, "rt", "both", *map(bare, targets))

    def remove_vrf(self, name: str) -> None:
        """Give a VRF up, and its membership with it."""
        self._tell("vrf", "del", name)

    def sessions(self) -> dict[str, str]:
        """State by neighbour."""
        return {
            found["conf"]["neighbor_address"]: _STATES[found["state"].get("session_state", 0)]
            for found in self._ask("neighbor")
        }

    def flaps(self) -> int:
        """How often a session was lost since the start."""
        return sum(found["state"].get("flops", 0) for found in self._ask("neighbor"))

    def received(self, family: Family) -> list[PeerRoute]:
        """What it accepted from its neighbours."""
        table: dict[str, list[Any]] = self._ask("global", "rib", "-a", _FAMILIES[family][1])
        return [
            read_path(family, path)
            for paths in table.values()
            for path in paths
            if path.get("neighbor-ip")
        ]

    def advertised_prefixes(self, neighbour: str, family: Family) -> set[str]:
        """Prefixes it sends to a neighbour, after constraint and policy."""
        table = self._ask("neighbor", neighbour, "adj-out", "-a", _FAMILIES[family][1])
        return {path["nlri"]["prefix"] for paths in table.values() for path in paths}

    def announce(self, route: PeerRoute) -> None:
        """Originate a route; of `others` nothing, it has no words for them."""
        self._tell("global", "rib", "add", "-a", _FAMILIES[route.family][1], *self._words(route))

    def withdraw(self, route: PeerRoute) -> None:
        """Take it back."""
        self._tell("global", "rib", "del", "-a", _FAMILIES[route.family][1], *self._words(route))

    def _words(self, route: PeerRoute) -> list[str]:
        targets = ["rt", *sorted(map(bare, route.targets))] if route.targets else []
        next_hop = ["nexthop", self.next_hop_of(route)]
        if route.local_pref is not None:
            next_hop += ["local-pref", str(route.local_pref)]
        if route.family in ("inet", "inet6"):
            return [route.prefix, *next_hop]
        if route.family != "e-vpn":
            label = ["label", str(route.label), "rd", route.rd]
            return [route.prefix, *label, *targets, *next_hop]
        (tunnel,) = route.encapsulations or {"vxlan"}
        rest = ["rd", route.rd, *targets, "encap", tunnel]
        number = str(route.label)
        tag = ["etag", str(route.tag)]
        if route.evpn_type == 2:
            host = route.prefix.partition("/")[0] or "0.0.0.0"
            return ["macadv", route.mac, host, *tag, "label", number, *rest, *next_hop]
        if route.evpn_type == 3:
            origin = route.prefix.partition("/")[0]
            tunnel_of = ["pmsi", "ingress-repl", number, origin]
            return ["multicast", origin, *tag, *rest, *tunnel_of, *next_hop]
        if route.evpn_type == 5:
            zero = "0.0.0.0" if ipaddress.ip_network(route.prefix).version == 4 else "::"
            router = ["router-mac", route.router_mac] if route.router_mac else []
            line = ["prefix", route.prefix, "gw", zero, *tag, "label", number]
            return [*line, *rest, *router, *next_hop]
        raise PermanentError(f"gobgp cannot be told to announce EVPN type {route.evpn_type}")


def _rd(value: dict[str, Any]) -> str:
    return f"{value['admin']}:{value['assigned']}"


def read_path(family: Family, path: dict[str, Any]) -> PeerRoute:
    """Read one path of `gobgp -j global rib`."""
    attributes = {attribute["type"]: attribute for attribute in path["attrs"]}
    reach = attributes.get(14) or attributes.get(3) or {}
    communities = _communities(attributes.get(16, {}).get("value", []))
    return PeerRoute(
        family=family,
        **_identity(family, path["nlri"], attributes),
        **msgspec.structs.asdict(communities),
        next_hop=normal_address(reach.get("nexthop", "")),
        local_pref=attributes.get(5, {}).get("value"),
        med=attributes.get(4, {}).get("metric"),
        as_path=tuple(
            asn for segment in attributes.get(2, {}).get("as_paths", []) for asn in segment["asns"]
        ),
        originator_id=attributes.get(9, {}).get("value", ""),
        cluster_list=tuple(attributes.get(10, {}).get("value", [])),
        communities=frozenset(
            f"{value >> 16}:{value & 0xFFFF}"
            for value in attributes.get(8, {}).get("communities", [])
        ),
        is_stale=path.get("stale", False),
    )


def _identity(family: Family, nlri: dict[str, Any], attributes: dict[int, Any]) -> dict[str, Any]:
    if family == "route-target":
        asn, _, target = nlri["prefix"].partition(":")
        return {"prefix": f"{asn}:target:{target}" if target else "default"}
    if family in ("inet", "inet6"):
        return {"prefix": nlri["prefix"]}
    if family != "e-vpn":
        return {"prefix": nlri["prefix"], "rd": _rd(nlri["rd"]), "label": nlri["labels"][0]}
    value = nlri["value"]
    found = {
        "evpn_type": nlri["type"],
        "rd": _rd(value["rd"]) if "rd" in value else "",
        "tag": value.get("etag", 0),
    }
    if nlri["type"] == 2:
        host = "" if value["ip"] in ("<nil>", "") else normal_prefix(value["ip"])
        return found | {"mac": value["mac"], "prefix": host, "label": value["labels"][0]}
    if nlri["type"] == 3:
        field = attributes.get(22, {}).get("label")
        return found | {"prefix": normal_prefix(value["ip"]), "label": field}
    if nlri["type"] == 5:
        return found | {"prefix": value["prefix"], "label": value["label"]}
    return found


def _communities(values: list[dict[str, Any]]) -> Communities:
    targets, encapsulations, others, router_mac = set(), set(), set(), ""
    for value in values:
        kind = (value["type"], value.get("subtype"))
        if kind[0] in (0, 1, 2) and kind[1] == 2:
            targets.add(f"target:{value['value']}")
        elif kind == (3, 12):
            number = value["tunnel_type"]
            encapsulations.add(ENCAPSULATION_NAMES.get(number, str(number)))
        elif kind == (6, 3):
            router_mac = value["mac"]
        elif kind[0] >= 0x80 and isinstance(value.get("value"), str):
            # What it does not know it shows without the first byte, in base64.
            others.add(f"0x{kind[0]:02x}{base64.b64decode(value['value']).hex()}")
        else:
            others.add(msgspec.json.encode(value).decode())
    return Communities(
        targets=frozenset(targets),
        encapsulations=frozenset(encapsulations),
        router_mac=router_mac,
        others=frozenset(others),
    )
