"""ExaBGP (Debian's 4.2): says anything it can spell, including attributes nobody knows.

It keeps no table: the adapter makes one of the updates its helper writes down. EVPN it reads and
does not speak; `RawSpeaker` does.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Any

import msgspec

from filament.base.errors import PermanentError
from filament.testing.lab.processes import Program
from filament.testing.peers import exabgp_relay
from filament.testing.peers.daemon import ESTABLISHED, Peer
from filament.testing.peers.route import (
    ENCAPSULATION_NUMBERS,
    Family,
    PeerRoute,
    normal_address,
    normal_prefix,
    sort_communities,
)
from filament.testing.peers.settings import Neighbour

_FAMILIES: dict[Family, str] = {
    "inet": "ipv4 unicast",
    "inet6": "ipv6 unicast",
    "inet-vpn": "ipv4 mpls-vpn",
    "inet6-vpn": "ipv6 mpls-vpn",
    "e-vpn": "l2vpn evpn",
}
_ANSWER_S = 5.0
# pmsi:ingressreplication:FLAGS:LABEL(FIELD):TUNNEL
_PMSI_FIELD = re.compile(r"\((\d+)\)")


class ExaBgp(Peer):
    """An exabgp with our helper."""

    def programs(self) -> list[Program]:
        """Write exabgp.conf."""
        path = self.directory / "exabgp.conf"
        path.write_text(self.configuration())
        (self.directory / "messages").unlink(missing_ok=True)
        settings = {
            "daemon.user": "root",
            "daemon.drop": "false",
            "api.cli": "false",
            "api.ack": "true",
            "bgp.openwait": "10",
        }
        if any(neighbour.is_passive for neighbour in self.settings.neighbours):
            settings |= {"tcp.bind": self.settings.address, "tcp.port": "179"}
        environment = {f"exabgp.{name}": value for name, value in settings.items()}
        environment |= {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return [self.program("exabgp", ["exabgp", str(path)], environment)]

    def configuration(self) -> str:
        """Return exabgp.conf."""
        run = f"/usr/bin/python3 {exabgp_relay.__file__} {self.directory}"
        lines = [f"process relay {{ run {run}; encoder json; }}"]
        for neighbour in self.settings.neighbours:
            lines += self._neighbour(neighbour)
        return "\n".join(lines) + "\n"

    def _neighbour(self, neighbour: Neighbour) -> list[str]:
        families = (f"    {_FAMILIES[family]};" for family in neighbour.families)
        return [
            f"neighbor {neighbour.address} {{",
            f"  router-id {self.settings.address};",
            f"  local-address {self.settings.address};",
            f"  local-as {self.settings.asn};",
            f"  peer-as {neighbour.asn};",
            f"  hold-time {neighbour.hold_time_s};",
            "  group-updates false;",
            *([f"  md5-password '{neighbour.password}';"] if neighbour.password else []),
            *(["  passive;"] if neighbour.is_passive else []),
            "  capability {",
            "    route-refresh enable;",
            *(
                [f"    graceful-restart {neighbour.restart_time_s};"]
                if neighbour.restart_time_s
                else []
            ),
            "  }",
            "  family {",
            *families,
            "  }",
            "  api {",
            "    processes [ relay ];",
            "    neighbor-changes;",
            "    receive { parsed; update; notification; }",
            "  }",
            "}",
        ]

    # asking ------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Say whether the helper takes commands."""
        return (self.directory / "commands").exists()

    def tell(self, command: str) -> None:
        """Give ExaBGP a command of its own language; PermanentError when it does not take it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(str(self.directory / "commands"))
            connection.sendall(command.encode() + b"\n")
            answer = connection.makefile().readline().strip()
        if answer != "done":
            raise PermanentError(f"exabgp answers {answer!r} to {command!r}")

    def messages(self) -> list[dict[str, Any]]:
        """Everything ExaBGP told its helper since it was started, in order."""
        path = self.directory / "messages"
        if not path.exists():
            return []
        # The last line may be half written.
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        return [msgspec.json.decode(line) for line in whole.splitlines()]

    def sessions(self) -> dict[str, str]:
        """State by neighbour: the last change it told of."""
        states = {neighbour.address: "idle" for neighbour in self.settings.neighbours}
        for message in self.messages():
            if message["type"] == "state":
                neighbour = message["neighbor"]
                state = neighbour["state"]
                states[neighbour["address"]["peer"]] = ESTABLISHED if state == "up" else state
        return states

    def notifications(self) -> list[tuple[int, int]]:
        """Code and subcode of every notification received."""
        return [
            (found["code"], found["subcode"])
            for message in self.messages()
            # Its own end, too, is a notification, but nobody's.
            if message["type"] == "notification" and "neighbor" in message
            for found in [message["neighbor"]["notification"]]
            if message["neighbor"]["direction"] == "receive"
        ]

    def received(self, family: Family) -> list[PeerRoute]:
        """What the updates since the last session came up leave."""
        table: dict[tuple[str, object], PeerRoute] = {}
        for message in self.messages():
            if "neighbor" not in message:
                continue
            peer = message["neighbor"]["address"]["peer"]
            if message["type"] == "state" and message["neighbor"]["state"] == "down":
                table = {key: route for key, route in table.items() if key[0] != peer}
            # An end-of-RIB is an update without one.
            update = message["neighbor"].get("message", {}).get("update", {})
            for nlri in update.get("withdraw", {}).get(_FAMILIES[family], []):
                table.pop((peer, read_nlri(family, nlri).key), None)
            attributes = update.get("attribute", {})
            for next_hop, nlris in update.get("announce", {}).get(_FAMILIES[family], {}).items():
                for nlri in nlris:
                    route = read_route(family, nlri, next_hop, attributes)
                    table[peer, route.key] = route
        return list(table.values())

    # telling -----------------------------------------------------------------------------

    def announce(self, route: PeerRoute) -> None:
        """Originate a route to every neighbour."""
        self.tell(f"announce {self._words(route)}")

    def withdraw(self, route: PeerRoute) -> None:
        """Take it back."""
        self.tell(f"withdraw {self._words(route)}")

    def _words(self, route: PeerRoute) -> str:
        if route.family in ("e-vpn", "route-target"):
            raise PermanentError(f"exabgp 4.2 has no words for {route.family}")
        words = ["route", route.prefix, "next-hop", self.next_hop_of(route)]
        if route.rd:
            words += ["rd", route.rd, "label", str(route.label)]
        extended = [*sorted(route.targets), *sorted(route.others)]
        names = sorted(route.encapsulations or self.settings.encapsulations)
        extended += [f"0x030c00000000{ENCAPSULATION_NUMBERS[name]:04x}" for name in names]
        if extended:
            words += ["extended-community", "[", *extended, "]"]
        if route.communities:
            words += ["community", "[", *sorted(route.communities), "]"]
        if route.local_pref is not None:
            words += ["local-preference", str(route.local_pref)]
        if route.med is not None:
            words += ["med", str(route.med)]
        if route.as_path:
            words += ["as-path", "[", *map(str, route.as_path), "]"]
        for attribute in sorted(route.raw_attributes):
            words += ["attribute", "[", attribute, "]"]
        return " ".join(words)


def read_nlri(family: Family, nlri: Any) -> PeerRoute:
    """Read what names a route."""
    if isinstance(nlri, str):
        return PeerRoute(family=family, prefix=normal_prefix(nlri))
    rd = nlri.get("rd", nlri.get("route-distinguisher", ""))
    label = nlri.get("label") or [[0]]
    if family != "e-vpn":
        return PeerRoute(family=family, prefix=nlri["nlri"], rd=rd, label=label[0][0])
    tag = nlri.get("ethernet-tag", 0)
    host = "" if nlri.get("ip") in (None, "", "None") else nlri["ip"]
    if nlri["code"] == 5:
        host = f"{host}/{nlri['iplen']}"
    return PeerRoute(
        family=family,
        evpn_type=nlri["code"],
        rd=rd,
        tag=tag,
        mac=nlri.get("mac", "").lower(),
        prefix=normal_prefix(host),
        # The second number is the whole field, where ExaBGP kept it.
        label=label[0][-1] if "label" in nlri else None,
    )


def read_route(family: Family, nlri: Any, next_hop: str, attributes: dict[str, Any]) -> PeerRoute:
    """Read one announced route with the attributes of its update."""
    extended = [
        int(value["value"]).to_bytes(8) for value in attributes.get("extended-community", [])
    ]
    communities = sort_communities(extended)
    route = read_nlri(family, nlri)
    if field := _PMSI_FIELD.search(attributes.get("pmsi", "")):
        route = msgspec.structs.replace(route, label=int(field[1]))
    return msgspec.structs.replace(
        route,
        **msgspec.structs.asdict(communities),
        next_hop=normal_address(next_hop) if next_hop != "null" else "",
        local_pref=attributes.get("local-preference"),
        med=attributes.get("med"),
        as_path=tuple(attributes.get("as-path", [])),
        originator_id=attributes.get("originator-id", ""),
        cluster_list=tuple(attributes.get("cluster-list", [])),
        communities=frozenset(f"{high}:{low}" for high, low in attributes.get("community", [])),
        raw_attributes=frozenset(
            f"0x{int(code, 16):02x} 0x{int(flags, 16):02x} {value.lower()}"
            for name, value in attributes.items()
            if name.startswith("attribute-0x")
            for _, code, flags in [name.split("-")]
        ),
    )
