"""Reflection of VPN routes, in turns: one client announces, the other counts, then withdrawals.

    VPNv4 and EVPN type 2, 50 routes per UPDATE
    100,000 routes with 500 target sets; --full: 400,000, 5,000 sets, memberships as well
    restart: from a kill -9 with 10,000 routes to their being reflected again

Memory is that of the process when all routes are there. With --full a round takes about
four minutes on two quiet processors, and all of it some ten: there are as many rounds as fit.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from bench.bgp.load import RECEIVER, SENDER
from bench.bgp.speakers import ADDRESS, SPEAKERS, Filament, Speaker, wait_for_port

RESTART_ROUTES = 10_000
PORT = 1790
MOST_REPETITIONS = 3
ROUNDS_S = 540.0
Say = Callable[[str], None]


class Case(NamedTuple):
    """One setting in which speakers are compared."""

    family: str
    routes: int
    targets: int
    is_constrained: bool = False

    def __str__(self) -> str:
        asked = ", by membership" if self.is_constrained else ""
        return f"{self.family}, {self.routes:,} routes, {self.targets:,} target sets{asked}"


QUICK = [Case(family, 100_000, 500) for family in ("vpnv4", "evpn")]
FULL = [
    Case(family, routes, targets, is_constrained)
    for is_constrained, routes, targets, family in product(
        (False, True), (100_000, 400_000), (500, 5_000), ("vpnv4", "evpn")
    )
]


def measure(place: Path, *, is_full: bool, repetitions: int, say: Say) -> dict[str, Any]:
    """Measure every case; what to do with the figures is `bench.__main__`'s.

    In rounds of every case and every speaker, so that a noisy minute hits all of them; another
    round begins only when, by what the longest took, it ends within `ROUNDS_S`.
    """
    for address in (ADDRESS, SENDER, RECEIVER):
        subprocess.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"], check=True)
    speakers = {each: version for each in SPEAKERS if (version := each.version())}
    for missing in [each for each in SPEAKERS if each not in speakers]:
        say(f"{missing.name} is not installed: it is left out")
    runs: dict[Case, dict[str, list[dict[str, Any]]]] = {}
    began = time.monotonic()
    longest_s = 0.0
    for number in range(1, repetitions + 1):
        round_began = time.monotonic()
        if round_began - began + longest_s > ROUNDS_S:
            say(f"another round would take longer than {ROUNDS_S:.0f} s in all: {number - 1} count")
            break
        for case in FULL if is_full else QUICK:
            say("")
            say(f"round {number} of {repetitions}, {time.monotonic() - began:.0f} s: {case}")
            found = runs.setdefault(case, {})
            for make in speakers:
                if make.takes_part(case.family, case.routes, is_constrained=case.is_constrained):
                    found.setdefault(make.name, []).append(_run(make(place, PORT), case, say))
        longest_s = max(longest_s, time.monotonic() - round_began)
    return {
        "speakers": {each.name: version for each, version in speakers.items()},
        "cases": {
            str(case): {name: _summary(each) for name, each in found.items()}
            for case, found in runs.items()
        },
        "seconds": time.monotonic() - began,
        "restart_s": _restart(place, say),
    }


def _run(speaker: Speaker, case: Case, say: Say) -> dict[str, Any]:
    pid = speaker.start()
    try:
        wait_for_port(speaker.port, pid)
        found = _load(
            speaker.port,
            "--family", case.family, "--routes", str(case.routes),
            "--targets", str(case.targets), "--pid", str(pid),
            *(["--constrained"] if case.is_constrained else []),
        )  # fmt: skip
    finally:
        speaker.stop()
    for name in ("announce", "withdraw"):
        if found[f"{name}_count"] != found["expected"]:
            raise SystemExit(
                f"{speaker.name} reflected {found[f'{name}_count']:,} of {found['expected']:,}"
                f" in {name}; see {speaker.place}/log"
            )
    if found.get("unasked"):
        raise SystemExit(f"{speaker.name} sent {found['unasked']:,} routes nobody asked for")
    say(
        f"  {speaker.name:<10} {found['expected'] / found['announce_s']:>9,.0f} routes/s"
        f" {found['expected'] / found['withdraw_s']:>9,.0f} withdrawals/s"
        f" {found['rss_mib']:>6.0f} MiB"
        f" {found['expected'] / max(found['announce_cpu_s'], 0.01):>9,.0f} routes/processor second"
    )
    return found


def _load(port: int, *options: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "bench.bgp.load", "--port", str(port), *options]
    found = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(found.stdout)


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "routes_per_s": statistics.median(each["expected"] / each["announce_s"] for each in runs),
        "withdrawals_per_s": statistics.median(
            each["expected"] / each["withdraw_s"] for each in runs
        ),
        "routes_per_cpu_s": statistics.median(
            each["expected"] / max(each["announce_cpu_s"], 0.01) for each in runs
        ),
        "rss_mib": statistics.median(each["rss_mib"] for each in runs),
        "samples": runs,
    }


def _restart(place: Path, say: Say) -> float:
    """Kill a control node that has routes; return how long until they are reflected again.

    The peers of the load connect anew at once, as routers do whose session was cut off.
    """
    speaker = Filament(place, PORT)
    options = ("--routes", str(RESTART_ROUTES), "--settle", "0", "--no-withdraw")
    pid = speaker.start()
    try:
        wait_for_port(speaker.port, pid)
        _load(speaker.port, *options)
        speaker.stop(signal.SIGKILL)
        began = time.monotonic()
        speaker.start()
        found = _load(speaker.port, *options)
        took = time.monotonic() - began
    finally:
        speaker.stop()
    if found["announce_count"] != RESTART_ROUTES:
        raise SystemExit(f"after a restart {found['announce_count']} routes are reflected")
    say(f"  restart with {RESTART_ROUTES:,} routes: reflected again after {took:.1f} s")
    return took
