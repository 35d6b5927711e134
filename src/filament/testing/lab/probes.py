"""Numbered UDP packets between workloads, counted to the last one (`c/probe.c`)."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from filament.base.errors import PermanentError
from filament.base.net import format_ipv4
from filament.testing.lab.lab import Lab

_SOURCE = Path(__file__).with_name("c") / "probe.c"
PROBE_PORT = 7001
_END_TIMEOUT_S = 10.0


class Outcome(msgspec.Struct, frozen=True):
    """What became of a probe's packets. `refused` sends (an ICMP error came back) were tried
    once more; gaps are between two packets that arrived.
    """

    sent: int
    arrived: int
    replied: int
    duplicates: int
    refused: int
    longest_gap_us: int
    latest_send_us: int

    @property
    def lost(self) -> int:
        """Packets that did not make the way there and back."""
        return self.sent - self.replied


def compiled(directory: Path) -> Path:
    """Compile the probe into `directory` unless it is there, newer than its source."""
    program = directory / "probe"
    if program.exists() and program.stat().st_mtime > _SOURCE.stat().st_mtime:
        return program
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        raise PermanentError("the probe needs a C compiler; run `make setup`")
    argv = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(program)]
    result = subprocess.run([*argv, str(_SOURCE)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise PermanentError(f"the probe does not compile:\n{result.stderr}")
    return program


class Probe:
    """Packets from one workload to another and back at a steady rate, for as long as the block.

    `outcome` is there after the block.
    """

    outcome: Outcome

    def __init__(self, lab: Lab, source: str, target: str, *, rate_hz: int = 1000) -> None:
        self._lab, self._source, self._target, self._rate_hz = lab, source, target, rate_hz

    def __enter__(self) -> Self:
        lab = self._lab
        program = str(compiled(lab.directories.run))
        address = format_ipv4(lab.plan.workload(self._target).address)
        self._reflector = lab.popen(
            self._target, [program, "reflect", str(PROBE_PORT)], stdout=subprocess.PIPE
        )
        assert self._reflector.stdout is not None
        self._reflector.stdout.readline()
        argv = [program, "send", address, str(PROBE_PORT), str(self._rate_hz), "3600"]
        self._sender = lab.popen(self._source, argv, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sent = _end(self._sender)
        arrived = _end(self._reflector)
        if error is not None:
            return
        self.outcome = Outcome(
            sent=sent["sent"],
            arrived=arrived["count"],
            replied=sent["reply_count"],
            duplicates=arrived["duplicates"] + sent["reply_duplicates"],
            refused=sent["refused"],
            longest_gap_us=max(arrived["longest_gap_us"], sent["reply_longest_gap_us"]),
            latest_send_us=sent["latest_send_us"],
        )


def _end(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    try:
        text, _ = process.communicate(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    counts: dict[str, Any] = msgspec.json.decode(text.splitlines()[-1])
    return counts
