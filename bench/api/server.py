"""The API process that is measured: started as people start it, watched through /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.api.load import Connection, ask, once

_TICKS = os.sysconf("SC_CLK_TCK")
_START_S = 120.0


class ApiProcess:
    """`filament serve --role api` on a directory of its own; its database stays until `remove`."""

    def __init__(self, directory: Path, store: str = "") -> None:
        self.directory = directory
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """Where it is driven: a unix socket, which costs a client less than TCP."""
        return f"unix:{self.directory}/api.sock"

    def start(self) -> float:
        """Start it; seconds until it has answered its first request."""
        began = time.perf_counter()
        settings = self.directory / "settings.toml"
        store = f'store = "{self._store}"\n' if self._store else ""
        settings.write_text(f'state = "{self.directory}"\n[api]\nlisten = []\n{store}')
        run = ["--run-dir", str(self.directory), "serve", "--role", "api"]
        code = "from filament.cli.main import main; main()"
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *run, "--config", str(settings)], stderr=log, stdout=log
        )
        log.close()
        while time.perf_counter() - began < _START_S:
            try:
                connection = Connection(self.address)
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.005)
                continue
            once(connection, ask("status", "GET", "/filament/status"))
            connection.close()
            return time.perf_counter() - began
        raise RuntimeError(f"the API did not start: {(self.directory / 'log').read_text()[-1000:]}")

    def kill(self) -> None:
        """End it as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it and forget its database."""
        self.kill()
        shutil.rmtree(self.directory)

    def connections(self, count: int) -> list[Connection]:
        """Open connections to it."""
        return [Connection(self.address) for _ in range(count)]

    def cpu_s(self) -> float:
        """Processor seconds that all its threads have used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mib(self) -> float:
        """Resident memory."""
        (line,) = [one for one in self._proc("status").splitlines() if one.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()
