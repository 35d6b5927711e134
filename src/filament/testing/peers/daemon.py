"""What the adapters share: a daemon in a namespace, started detached, ended by pid, waited for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filament.base.errors import PermanentError, TransientError
from filament.testing.lab import namespaces, processes
from filament.testing.lab.processes import Process, Program
from filament.testing.peers.route import Family, PeerRoute
from filament.testing.peers.settings import PeerSettings

POLL_S = 0.05
# Waiting only bounds a failure: these are for a machine that has other things to do.
PATIENCE_S = 60.0
_COMMAND_TIMEOUT_S = 60.0
_END_S = 5.0
ESTABLISHED = "established"


class Peer(ABC):
    """A BGP speaker of somebody else's. Keeps everything it makes in `directory`.

    A context manager: started on entry, ended on exit.
    """

    def __init__(self, settings: PeerSettings, place: Path, directory: Path) -> None:
        self.settings = settings
        self.place = place
        self.directory = directory

    # the verbs ---------------------------------------------------------------------------

    @abstractmethod
    def programs(self) -> list[Program]:
        """Write the configuration; say what to run, in this order."""

    @abstractmethod
    def sessions(self) -> dict[str, str]:
        """State of each session by neighbour: `established`, or the daemon's word in small."""

    @abstractmethod
    def announce(self, route: PeerRoute) -> None:
        """Originate a route."""

    @abstractmethod
    def withdraw(self, route: PeerRoute) -> None:
        """Take back what `announce` originated."""

    @abstractmethod
    def received(self, family: Family) -> list[PeerRoute]:
        """Routes of others that it holds, as its own command tells of them."""

    def is_ready(self) -> bool:
        """Say whether it takes commands."""
        return True

    # life --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemon and wait until it takes commands."""
        self.spawn()
        started = len(self._running())
        self.wait_for(lambda: len(self._running()) < started or self.is_ready(), "takes commands")
        if len(self._running()) < started:
            raise PermanentError(f"{self.settings.name} has ended:\n{self.log_tail()}")

    def spawn(self) -> None:
        """Start the daemon without waiting."""
        self._pids.mkdir(parents=True, exist_ok=True)
        for program in self.programs():
            processes.spawn(self._pids, program)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon: the last program started first. What does not end is killed."""
        for process in reversed(self._running()):
            processes.send_signal(process, number)
            if not processes.wait_gone(process, _END_S):
                processes.send_signal(process, signal.SIGKILL)
                processes.wait_gone(process, _END_S)

    def kill(self, name: str) -> None:
        """Kill one of its programs, as a crash would."""
        process = processes.read_pid_file(processes.pid_file(self._pids, name))
        processes.send_signal(process, signal.SIGKILL)
        processes.wait_gone(process, _END_S)

    def revive(self, name: str) -> None:
        """Start one of its programs again, as before."""
        process = processes.read_pid_file(processes.pid_file(self._pids, name))
        processes.spawn(self._pids, process.program)

    @property
    def _pids(self) -> Path:
        return self.directory / "pid"

    def _running(self) -> list[Process]:
        found = processes.recorded(self._pids)
        found.sort(key=lambda process: process.started)
        return [process for process in found if processes.is_running(process)]

    def wait_for(self, holds: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until `holds()` is true and return its value; TransientError says what was waited
        for, with the end of the daemon's log.
        """
        deadline = time.monotonic() + timeout_s
        while not (value := holds()):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"waited {timeout_s:g} s until {self.settings.name} {what};"
                    f" sessions: {self._sessions_if_any()}; its log ends:\n{self.log_tail()}"
                )
            time.sleep(POLL_S)
        return value

    def _sessions_if_any(self) -> dict[str, str]:
        try:
            return self.sessions()
        except PermanentError as error:
            return {"?": str(error)}

    def wait_established(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until every session of the settings is up."""
        self.wait_for(
            lambda: set(self.sessions().values()) == {ESTABLISHED}, "has its sessions", timeout_s
        )

    def wait_received(
        self, family: Family, timeout_s: float = PATIENCE_S, **fields: object
    ) -> PeerRoute:
        """Wait for a route whose named fields have these values, and return it."""
        found = self.wait_for(
            lambda: self.find(family, **fields), f"has a {family} route with {fields}", timeout_s
        )
        return found[0]  # type: ignore[no-any-return]

    def wait_gone(self, family: Family, timeout_s: float = PATIENCE_S, **fields: object) -> None:
        """Wait until no route has these fields."""
        self.wait_for(
            lambda: not self.find(family, **fields),
            f"has no {family} route with {fields}",
            timeout_s,
        )

    def find(self, family: Family, **fields: object) -> list[PeerRoute]:
        """Received routes whose named fields have these values."""
        return [
            route
            for route in self.received(family)
            if all(getattr(route, name) == value for name, value in fields.items())
        ]

    # for adapters ------------------------------------------------------------------------

    def next_hop_of(self, route: PeerRoute) -> str:
        """What to announce a route with: itself unless the route says otherwise.

        A VPN-IPv6 route's is 16 bytes (RFC 4659 section 3.2.1); given an IPv4 address daemons send
        4, which tshark calls malformed.
        """
        address = route.next_hop or self.settings.address
        is_mapped = route.family == "inet6-vpn" and ":" not in address
        return f"::ffff:{address}" if is_mapped else address

    def run(self, argv: list[str], *, stdin: str = "", check: bool = True) -> str:
        """Run a command inside the peer's namespace and return what it printed."""
        with namespaces.inside(self.place):
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise PermanentError(f"{self.settings.name}: {' '.join(argv)} failed: {said}")
        return done.stdout

    def program(
        self, name: str, argv: list[str], environment: dict[str, str] | None = None
    ) -> Program:
        """Describe a program of this peer for `processes.spawn`."""
        found = shutil.which(argv[0], path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/frr")
        if found is None:
            raise PermanentError(
                f"{self.settings.name} needs {argv[0]}, which is not here; run `scripts/setup test`"
            )
        return Program(
            name=name,
            argv=(found, *argv[1:]),
            environment=environment or {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            namespace=str(self.place),
            log=str(self.directory / f"{name}.log"),
        )

    def log_tail(self, line_count: int = 15) -> str:
        """The end of the peer's logs."""
        lines: list[str] = []
        for path in sorted(self.directory.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()[-line_count:]
            lines += [f"--- {path.name}", *text]
        return "\n".join(lines)
