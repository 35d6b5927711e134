"""A lab: compute hosts as network namespaces, real processes, workloads made through the API.

`build` makes the hosts, the underlay and the processes; `open` finds a lab another process made.
Nothing is created in the caller's network namespace except the API process, which listens on
127.0.0.1 and a unix socket there. The lab supervises nobody: what is killed stays dead until
`restart`. Single-threaded: entering namespaces works on the calling thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import msgspec.structs

from filament.base.errors import InputError, NotFoundError, PermanentError
from filament.base.net import format_ipv4, format_mac
from filament.client import http
from filament.client.sync import Client
from filament.testing.lab import links, namespaces, processes
from filament.testing.lab.intent import Intent, Network
from filament.testing.lab.links import End
from filament.testing.lab.plan import (
    FABRIC_BRIDGE,
    FABRIC_NAMESPACE,
    FIRST_ROUTER_NUMBER,
    MAX_ROUTERS,
    TENANT_MTU_BYTES,
    UNDERLAY_DEVICE,
    UNDERLAY_LENGTH,
    UNDERLAY_MTU_BYTES,
    XMPP_PORT,
    Directories,
    LabHost,
    LabPlan,
    Underlay,
    Workload,
    load,
    plan_lab,
    require_name,
    save,
)
from filament.testing.lab.processes import Process, Program

API = "api"
CONTROL = "control"
CONTROL_NAME = "ctl1"
DEFAULT_API_LISTEN = "127.0.0.1:8082"
START_TIMEOUT_S = 60.0
_POLL_S = 0.01


def agent_of(host: str) -> str:
    """The name of a host's agent process."""
    return f"agent-{host}"


def control_name(process: str) -> str:
    """The name a control node's process goes by among others: `ctl1` for `control`."""
    return process.removeprefix(f"{CONTROL}-") if process != CONTROL else CONTROL_NAME


class Lab:
    """One lab, by its run directory; any number of processes may hold one, one at a time changes
    it.
    """

    def __init__(self, directories: Directories, plan: LabPlan) -> None:
        self.directories = directories
        self.plan = plan
        # Connects when it is used first.
        self.intent = Intent(Client(self.api_address, who="lab"))

    # making and finding ------------------------------------------------------------------

    @classmethod
    def open(cls, run: Path) -> Self:
        """Find the lab of a run directory. Raises NotFoundError when there is none."""
        directories = Directories(run)
        return cls(directories, load(directories.plan))

    @classmethod
    def build(
        cls,
        run: Path,
        *,
        host_count: int = 2,
        control_count: int = 1,
        underlay: Underlay = "bridge",
        api_listen: str = DEFAULT_API_LISTEN,
        agent_options: Sequence[str] = (),
    ) -> Self:
        """Make hosts and underlay, without processes. lab.json comes first: a lab that dies half
        made can always be recognised and cleared away.
        """
        namespaces.require_root()
        directories = Directories(run)
        run.mkdir(parents=True, exist_ok=True)
        plan = plan_lab(
            host_count=host_count,
            control_count=control_count,
            underlay=underlay,
            api_listen=api_listen,
            boot=processes.boot_id(),
            agent_options=tuple(agent_options),
        )
        lab = cls(directories, plan)
        lab._remember(plan)
        for directory in (directories.pids, directories.logs, directories.state):
            directory.mkdir(exist_ok=True)
        namespaces.ensure_bpffs(directories.bpffs)
        namespaces.ensure_namespace_directory(directories.namespaces)
        for name in plan.places():
            lab._create_namespace(name)
        lab._lay_underlay()
        return lab

    def _remember(self, plan: LabPlan) -> None:
        self.plan = plan
        save(plan, self.directories.plan)

    def _create_namespace(self, name: str) -> Path:
        path = self.directories.namespace(name)
        namespaces.create_namespace(path)
        links.prepare_namespace(path)
        return path

    def _lay_underlay(self) -> None:
        fabric = self.directories.namespace(FABRIC_NAMESPACE)
        links.add_bridge(fabric, FABRIC_BRIDGE, mtu_bytes=UNDERLAY_MTU_BYTES)
        device, shift = UNDERLAY_DEVICE, 0
        if self.plan.underlay == "direct":
            left, right = (self.directories.namespace(host.name) for host in self.plan.hosts)
            links.add_veth(
                End(left, UNDERLAY_DEVICE),
                End(right, UNDERLAY_DEVICE),
                mtu_bytes=UNDERLAY_MTU_BYTES,
            )
            for host in self.plan.hosts:
                place = self.directories.namespace(host.name)
                links.add_address(place, UNDERLAY_DEVICE, host.address, UNDERLAY_LENGTH)
            # The control node is reached by a network of its own: 172.30.1.N for 172.30.0.N.
            device, shift = "ctl0", 256
        for host in self.plan.hosts:
            self._join_fabric(host.name, device, host.address + shift)
        for control in self.plan.controls:
            self._join_fabric(control.name, UNDERLAY_DEVICE, control.address)

    def _join_fabric(self, name: str, device: str, address: int) -> None:
        place = self.directories.namespace(name)
        fabric = self.directories.namespace(FABRIC_NAMESPACE)
        links.add_veth(End(place, device), End(fabric, name), mtu_bytes=UNDERLAY_MTU_BYTES)
        links.join_bridge(fabric, FABRIC_BRIDGE, name)
        links.add_address(place, device, address, UNDERLAY_LENGTH)

    def mark_ready(self) -> None:
        """Say in lab.json that everything is there."""
        self._remember(msgspec.structs.replace(self.plan, ready=True))

    # processes ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start every process; they find each other in whatever order they come up."""
        for program in self.programs():
            processes.spawn(self.directories.pids, program)

    def programs(self) -> list[Program]:
        """What runs in this lab: the API, the control nodes, and an agent per host."""
        api_argv = ("serve", "--role", "api", "--listen", self.plan.api_listen)
        programs = [self._program(API, None, api_argv)]
        listened: list[str] = []
        for name, place in zip(self.controls, self.plan.controls, strict=True):
            address = f"{format_ipv4(place.address)}:{XMPP_PORT}"
            argv: tuple[str, ...] = (
                *("serve", "--role", "control", "--name", control_name(name)),
                *("--api", self.api_address, "--xmpp", address),
            )
            programs.append(self._program(name, place.name, argv))
            listened += ["--control", address]
        for host in self.plan.hosts:
            argv = (
                *("agent", "--name", host.name, "--address", format_ipv4(host.address)),
                *(*listened, "--underlay", UNDERLAY_DEVICE),
                *("--session-log", str(self.directories.session_log)),
                *self.plan.agent_options,
            )
            programs.append(self._program(agent_of(host.name), host.name, argv))
        return programs

    @property
    def controls(self) -> list[str]:
        """The names of the control nodes' processes: `control`, `control-ctl2`, ..."""
        count = len(self.plan.controls)
        return [CONTROL, *(f"{CONTROL}-ctl{number}" for number in range(2, count + 1))]

    @property
    def process_names(self) -> list[str]:
        """The names of all processes."""
        return [API, *self.controls, *(agent_of(host.name) for host in self.plan.hosts)]

    def _program(self, name: str, place: str | None, argv: tuple[str, ...]) -> Program:
        environment = dict(os.environ)
        environment["FILAMENT_RUN"] = str(self.directories.run)
        environment["FILAMENT_STATE"] = str(self.directories.state)
        environment["FILAMENT_BPFFS"] = str(self.directories.bpffs)
        environment.pop("FILAMENT_API", None)
        return Program(
            name=name,
            argv=(str(Path(sys.executable).with_name("filament")), *argv),
            environment=environment,
            namespace=None if place is None else str(self.directories.namespace(place)),
            log=str(self.directories.logs / f"{name}.log"),
        )

    def status(self) -> list[tuple[Process, bool]]:
        """Every process ever started here and still on record, and whether it runs."""
        found = processes.recorded(self.directories.pids)
        return [(process, processes.is_running(process)) for process in found]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a process and wait until it has ended (`api`, `control`, `agent-host1`, ...).

        Raises PermanentError when it does not run, or will not end within 5 s.
        """
        process = self._process(name)
        if not processes.send_signal(process, number):
            raise PermanentError(f"{name} is not running; start it with restart")
        if not processes.wait_gone(process, 5.0):
            raise PermanentError(f"{name} (pid {process.pid}) did not end on {number.name}")
        if name == API:
            self.intent.client.close()

    def restart(self, name: str) -> Process:
        """Start a process that has ended, exactly as before."""
        process = self._process(name)
        if processes.is_running(process):
            raise PermanentError(f"{name} still runs (pid {process.pid}); kill it first")
        return processes.spawn(self.directories.pids, process.program)

    def _process(self, name: str) -> Process:
        return processes.read_pid_file(processes.pid_file(self.directories.pids, name))

    def log_tail(self, name: str, line_count: int = 15) -> str:
        """Return the end of a process's log."""
        path = self.directories.logs / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-line_count:])

    # asking roles ------------------------------------------------------------------------

    @property
    def api_address(self) -> str:
        """The API's unix socket."""
        return f"unix:{self.directories.run}/api.sock"

    def close(self) -> None:
        """Close the connection to the API; the lab itself goes on."""
        self.intent.client.close()

    def socket_of(self, name: str) -> str:
        """The address of a process's own HTTP server."""
        file = f"control-{CONTROL_NAME}" if name == CONTROL else name
        return f"unix:{self.directories.run}/{file}.sock"

    def ask(self, name: str, target: str) -> Any:
        """GET a JSON value from a role. Raises NoAnswerError when it is not there."""
        return self._request(name, "GET", target, None)

    def _request(self, name: str, method: str, target: str, body: object) -> Any:
        reply = http.request(self.socket_of(name), method, target, body)
        if reply.status != 200:
            raise http.error_of(reply.status, f"{name}: {reply.text}")
        return reply.value()

    def wait_for(self, name: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until a process answers and, for all but the API, is connected to its peer.

        Raises PermanentError with the end of its log when it ends or does not get there.
        """
        deadline = time.monotonic() + timeout_s
        process = self._process(name)
        problem = "it does not answer"
        while time.monotonic() < deadline:
            if not processes.is_running(process):
                problem = "it has ended"
                break
            try:
                if _is_connected(name, self.ask(name, "/filament/status")):
                    return
                problem = "it is not connected"
            except http.NoAnswerError as error:
                problem = str(error)
            time.sleep(_POLL_S)
        raise PermanentError(
            f"{name} did not start within {timeout_s:g} s: {problem}; the end of its log:\n"
            f"{self.log_tail(name)}"
        )

    def wait_plugged(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every workload's port is active and every host knows the way to it.

        Raises PermanentError that says what a port waits for.
        """
        deadline = time.monotonic() + timeout_s
        waiting = self._waiting_ports()
        while waiting:
            if time.monotonic() > deadline:
                ports = "; ".join(f"{name} is {state}" for name, state in waiting.items())
                raise PermanentError(f"not plugged within {timeout_s:g} s: {ports}")
            time.sleep(_POLL_S)
            waiting = self._waiting_ports()
        self.settle(timeout_s)

    def _waiting_ports(self) -> dict[str, str]:
        """State by name of the workloads whose port is not active."""
        states = {
            port["uuid"]: port["state"]
            for host in {workload.host for workload in self.plan.workloads}
            for port in self.ask(agent_of(host), "/filament/interfaces")["interfaces"]
        }
        found = {
            workload.name: states.get(workload.interface_uuid, "unknown to the agent")
            for workload in self.plan.workloads
        }
        return {name: state for name, state in found.items() if state != "active"}

    def settle(self, timeout_s: float = 30.0) -> None:
        """Wait until every agent has applied everything the API knows, and what followed from it.

        A barrier, not a sleep: an empty change is waited for with `wait=agents`; what agents
        published before it has then gone everywhere. Raises TransientError when it has not.
        """
        self.intent.touch(wait="agents", timeout_s=timeout_s)

    # routers -----------------------------------------------------------------------------

    def add_router(self, name: str) -> LabHost:
        """Make a namespace on the underlay, without processes, for a router of somebody else's."""
        require_name(self.plan, name)
        number = FIRST_ROUTER_NUMBER + len(self.plan.routers)
        if number >= FIRST_ROUTER_NUMBER + MAX_ROUTERS:
            raise InputError(
                "too-many-routers", f"{name} would be router {MAX_ROUTERS + 1}", hint="use fewer"
            )
        router = LabHost(name, self.plan.hosts[0].address - 1 + number)
        self._remember(msgspec.structs.replace(self.plan, routers=(*self.plan.routers, router)))
        self._create_namespace(name)
        self._join_fabric(name, UNDERLAY_DEVICE, router.address)
        return router

    # workloads ---------------------------------------------------------------------------

    def add_workload(self, name: str, host: str, network: Network) -> Workload:
        """Ask the API for a port on a network, make its namespace and veth, and plug it in."""
        workload = self.prepare_workload(name, host, network)
        self.plug(workload)
        return workload

    def prepare_workload(self, name: str, host: str, network: Network) -> Workload:
        """Do everything of `add_workload` but the plugging."""
        require_name(self.plan, name)
        self.plan.host(host)
        interface = self.intent.create_workload(name, network)
        workload = Workload(
            name=name,
            host=host,
            network=network.name,
            machine_uuid=interface.machine_uuid,
            interface_uuid=interface.interface_uuid,
            device=f"tap{interface.interface_uuid[:11]}",
            mac=interface.mac,
            address=interface.address,
            length=network.prefix.length,
            gateway=network.gateway,
        )
        self._remember(
            msgspec.structs.replace(self.plan, workloads=(*self.plan.workloads, workload))
        )
        self._create_namespace(name)
        self._wire(workload)
        return workload

    def _wire(self, workload: Workload) -> None:
        """Join workload and host as a hypervisor would, configured as DHCP would."""
        place = self.directories.namespace(workload.name)
        host = self.directories.namespace(workload.host)
        links.add_veth(
            End(place, "eth0", workload.mac), End(host, workload.device), mtu_bytes=TENANT_MTU_BYTES
        )
        links.add_address(place, "eth0", workload.address, workload.length)
        links.add_default_route(place, workload.gateway)

    def plug(self, workload: Workload) -> None:
        """Tell the host's agent about the port, as Nova and the CNI do in TF."""
        port = {
            "id": workload.interface_uuid,
            "instance-id": workload.machine_uuid,
            "display-name": workload.name,
            "ip-address": format_ipv4(workload.address),
            "mac-address": format_mac(workload.mac),
            "system-name": workload.device,
            "type": 1,
            "rx-vlan-id": -1,
            "tx-vlan-id": -1,
            "vhostuser-mode": 0,
        }
        self._request(agent_of(workload.host), "POST", "/port", port)

    def remove_workload(self, name: str) -> None:
        """Unplug a workload, and remove its namespace and its objects."""
        workload = self.plan.workload(name)
        target = f"/port/{workload.interface_uuid}"
        self._request(agent_of(workload.host), "DELETE", target, None)
        place = self.directories.namespace(name)
        processes.kill_pids(namespaces.processes_inside([place]))
        links.remove_device(place, "eth0")
        namespaces.remove_namespace(place)
        self.intent.delete_workload(name, workload.machine_uuid, workload.interface_uuid)
        left = tuple(other for other in self.plan.workloads if other.name != name)
        self._remember(msgspec.structs.replace(self.plan, workloads=left))

    # running things inside ---------------------------------------------------------------

    def place(self, name: str) -> Path:
        """The namespace of a workload, a host, `fabric` or `ctl`."""
        if name not in self.plan.places():
            known = ", ".join(self.plan.places())
            raise NotFoundError(f"no workload or host named {name!r} in this lab; try: {known}")
        path = self.directories.namespace(name)
        if path not in namespaces.mounts_under(path):
            raise NotFoundError(
                f"the namespace of {name} is gone (was the machine restarted?);"
                " run `filament lab down`, then `filament lab up`"
            )
        return path

    def exec(self, name: str, argv: Sequence[str]) -> NoReturn:
        """Become a program inside a workload or host, keeping the terminal."""
        namespaces.enter_namespace(self.place(name))
        environment = {**os.environ, "FILAMENT_RUN": str(self.directories.run)}
        try:
            os.execvpe(argv[0], list(argv), environment)
        except FileNotFoundError:
            raise NotFoundError(f"there is no program {argv[0]!r} on this machine") from None

    def popen(self, name: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program inside a workload or host as our child, speaking text."""
        with namespaces.inside(self.place(name)):
            return subprocess.Popen(argv, text=True, **options)

    def run(
        self, name: str, argv: Sequence[str], *, timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside a workload or host to its end and capture what it says."""
        with namespaces.inside(self.place(name)):
            return subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout_s, check=False
            )


def _is_connected(name: str, status: Mapping[str, Any]) -> bool:
    if name == API:
        return True
    if name == CONTROL or name.startswith(f"{CONTROL}-"):
        return bool(status["api"]["connected"])
    return all(each["state"] in {"established", "spare"} for each in status["controls"])
