"""The speakers that are compared, each a route reflector with two clients, in its own process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import msgspec
from bench.bgp.load import ASN, RECEIVER, SENDER

from filament.client.watch import Loaded
from filament.model.change import Object

ADDRESS = "10.255.0.1"
CLIENTS = (SENDER, RECEIVER)


class Speaker(ABC):
    """One daemon; a fresh process for every measurement, because what it learnt stays with it."""

    name = ""
    families: tuple[str, ...] = ()
    knows_membership = False
    most_routes = 1 << 30  # what it does in reasonable time

    def __init__(self, place: Path, port: int) -> None:
        self.port = port
        self.place = place / self.name
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self._log = (self.place / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return which one it is; "" when it is not installed."""

    @classmethod
    def takes_part(cls, family: str, routes: int, *, is_constrained: bool) -> bool:
        """Whether it can do a case, in reasonable time."""
        return (
            family in cls.families
            and routes <= cls.most_routes
            and (cls.knows_membership or not is_constrained)
        )

    @abstractmethod
    def argv(self) -> list[str]:
        """Write its configuration; return what starts it in the foreground."""

    def start(self) -> int:
        """Start it; return its process id."""
        # As installed: Python keeps what it compiled.
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        }
        self._process = subprocess.Popen(
            self.argv(),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self.place,
            env=environment,
        )
        return self._process.pid

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Stop it and wait."""
        if self._process is None:
            return
        self._process.send_signal(signum)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _ask(*argv: str) -> str:
    try:
        found = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (found.stdout or found.stderr).strip().split("\n", 1)[0]


class Filament(Speaker):
    """A control node, alone: its configuration is the copy it keeps of the API's."""

    name = "filament"
    families = ("vpnv4", "evpn")
    knows_membership = True

    @classmethod
    def version(cls) -> str:
        return "this revision"

    def argv(self) -> list[str]:
        fabric = ("default-domain", "default-project", "ip-fabric", "__default__")
        objects = [
            _object(
                "global-system-config", ("default-global-system-config",), autonomous_system=ASN
            )
        ]
        for name, address, kind in (
            ("ctl1", ADDRESS, "control-node"),
            *((f"client{address}", address, "router") for address in CLIENTS),
        ):
            parameters = {
                "address": address,
                "identifier": address,
                "autonomous_system": ASN,
                "router_type": kind,
                "port": self.port if name == "ctl1" else 179,
                "address_families": {"family": ["route-target", "inet-vpn", "e-vpn"]},
            }
            if name == "ctl1":
                parameters["cluster_id"] = 0x0AFF0001
            objects.append(_object("bgp-router", (*fabric, name), bgp_router_parameters=parameters))
        copy = self.place / "control-ctl1.json"
        copy.write_bytes(msgspec.json.encode(Loaded(1, objects, [])))
        settings = self.place / "filament.toml"
        settings.write_text(
            f'run = "{self.place}"\nstate = "{self.place}"\nlog_level = "warning"\n'
            f'[control]\nname = "ctl1"\nxmpp = "127.0.0.1:5269"\nbgp = ["{ADDRESS}"]\n'
            'introspect = ""\n'
        )
        program = str(Path(sys.executable).with_name("filament"))
        return [program, "serve", "--role", "control", "--config", str(settings)]


def _object(kind: str, fq_name: tuple[str, ...], **props: object) -> Object:
    uuid = str(uuid5(NAMESPACE_DNS, f"{kind} {fq_name}"))
    return Object(kind, uuid, fq_name, props=dict(props), revision=1)


class Frr(Speaker):
    """FRRouting's bgpd alone: no zebra, so that it is not slowed by the kernel."""

    name = "frr"
    families = ("vpnv4", "evpn")
    _program = "/usr/lib/frr/bgpd"

    @classmethod
    def version(cls) -> str:
        return _ask(cls._program, "--version") if Path(cls._program).exists() else ""

    def argv(self) -> list[str]:
        lines = [
            "hostname frr", "log stdout errors",
            f"router bgp {ASN}",
            f" bgp router-id {ADDRESS}",
            f" bgp cluster-id {ADDRESS}",
            " no bgp default ipv4-unicast",
        ]  # fmt: skip
        for client in CLIENTS:
            lines += [
                f" neighbor {client} remote-as {ASN}",
                f" neighbor {client} passive",
                f" neighbor {client} advertisement-interval 0",
            ]
        for family in ("ipv4 vpn", "l2vpn evpn"):
            lines.append(f" address-family {family}")
            for client in CLIENTS:
                lines += [
                    f"  neighbor {client} activate",
                    f"  neighbor {client} route-reflector-client",
                ]
            lines.append(" exit-address-family")
        config = self.place / "frr.conf"
        config.write_text("\n".join(lines) + "\n")
        for path in (self.place, config):
            shutil.chown(path, "frr", "frr")
        self.place.chmod(0o755)
        socket_place = self.place / "vty"
        socket_place.mkdir(exist_ok=True)
        shutil.chown(socket_place, "frr", "frr")
        return [
            self._program, "-f", str(config), "-i", str(socket_place / "pid"),
            "--vty_socket", str(socket_place), "-p", str(self.port), "-l", ADDRESS, "-Z", "-P", "0",
        ]  # fmt: skip


class Bird(Speaker):
    """BIRD 2, which knows no EVPN."""

    name = "bird"
    families = ("vpnv4",)

    @classmethod
    def version(cls) -> str:
        return _ask("bird", "--version")

    def argv(self) -> list[str]:
        lines = [f"router id {ADDRESS};", "vpn4 table reflected;", "protocol device {}"]
        lines += [
            f"protocol bgp client{number} {{ local {ADDRESS} port {self.port} as {ASN};"
            f" neighbor {client} as {ASN}; passive; rr client; rr cluster id {ADDRESS};"
            " vpn4 mpls { table reflected; import all; export all; }; }"
            for number, client in enumerate(CLIENTS)
        ]
        config = self.place / "bird.conf"
        config.write_text("\n".join(lines) + "\n")
        return ["bird", "-f", "-c", str(config), "-s", str(self.place / "ctl")]


class Gobgp(Speaker):
    """GoBGP; its EVPN collapses beyond some 20,000 routes, and so is left out. It knows membership,
    but as a reflector of hundreds of them it does not get done within minutes.
    """

    name = "gobgp"
    families = ("vpnv4",)
    most_routes = 100_000

    @classmethod
    def version(cls) -> str:
        return _ask("gobgpd", "--version")

    def argv(self) -> list[str]:
        lines = [
            "[global.config]", f"as = {ASN}", f'router-id = "{ADDRESS}"', f"port = {self.port}",
            f'local-address-list = ["{ADDRESS}"]',
        ]  # fmt: skip
        for client in CLIENTS:
            lines += [
                "[[neighbors]]",
                "[neighbors.config]", f'neighbor-address = "{client}"', f"peer-as = {ASN}",
                "[neighbors.transport.config]", "passive-mode = true",
                "[neighbors.route-reflector.config]", "route-reflector-client = true",
                f'route-reflector-cluster-id = "{ADDRESS}"',
            ]  # fmt: skip
            for family in ("l3vpn-ipv4-unicast", "rtc"):
                lines += [
                    "[[neighbors.afi-safis]]",
                    "[neighbors.afi-safis.config]", f'afi-safi-name = "{family}"',
                ]  # fmt: skip
        config = self.place / "gobgp.toml"
        config.write_text("\n".join(lines) + "\n")
        return ["gobgpd", "-f", str(config), "-l", "warn", "--api-hosts", "127.0.0.1:50051"]


SPEAKERS: tuple[type[Speaker], ...] = (Filament, Frr, Bird, Gobgp)


def wait_for_port(port: int, pid: int) -> None:
    """Wait until a speaker listens."""
    wanted = f":{port:04X}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = Path("/proc/net/tcp").read_text().splitlines()
        if any(wanted in line.split()[1] and line.split()[3] == "0A" for line in lines[1:]):
            return
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")
