"""A real etcd cluster on this machine's loopback, for tests: members come, die and come back."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path
from typing import Self

from filament.store.etcd_client import EtcdClient, drop

_START_S = 30.0


class EtcdCluster:
    """Members by number. Ends what it started, by process."""

    def __init__(self, directory: Path, members: int = 1) -> None:
        self._directory = directory
        self._ports = _free_ports(2 * members)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for member in range(self.size):
            self.start(member)
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in list(self._processes):
            self.kill(member)

    @property
    def size(self) -> int:
        """How many members the cluster has, dead ones included."""
        return len(self._ports) // 2

    @property
    def endpoints(self) -> list[str]:
        """Where clients find the members."""
        return [f"http://127.0.0.1:{port}" for port in self._ports[: self.size]]

    @property
    def address(self) -> str:
        """The cluster as `--store` names it."""
        return f"etcd:{','.join(self.endpoints)}"

    def start(self, member: int) -> None:
        """Start a member, with what it had on disk."""
        peers = [f"http://127.0.0.1:{port}" for port in self._ports[self.size :]]
        named = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
        options = {
            "name": f"m{member}",
            "data-dir": str(self._directory / f"m{member}"),
            "listen-client-urls": self.endpoints[member],
            "advertise-client-urls": self.endpoints[member],
            "listen-peer-urls": peers[member],
            "initial-advertise-peer-urls": peers[member],
            "initial-cluster": named,
            "heartbeat-interval": "50",
            "election-timeout": "500",
            "logger": "zap",
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        with (self._directory / f"m{member}.log").open("ab") as log:
            self._processes[member] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, member: int) -> None:
        """End a member as a power failure would."""
        process = self._processes.pop(member)
        process.kill()
        process.wait()

    def wait(self) -> None:
        """Return when the cluster serves."""
        with contextlib.closing(EtcdClient(self.endpoints, patience_s=_START_S)) as client:
            client.transact([], [])

    def wipe(self) -> None:
        """Forget every key."""
        with contextlib.closing(EtcdClient(self.endpoints)) as client:
            client.transact([], [drop(b"\0", b"\xff")])


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
