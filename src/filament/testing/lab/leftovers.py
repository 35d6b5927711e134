"""What a lab could leave behind on a machine, as one comparable value.

Compare two pictures taken in namespaces of one's own (`scripts/private`): elsewhere other
people's processes come and go between them.
"""

from __future__ import annotations

import time
from pathlib import Path

from filament.testing.lab import links
from filament.testing.lab.namespaces import mounts_under
from filament.testing.lab.processes import started_at

Picture = dict[str, list[str]]


def picture() -> Picture:
    """Mounts below /run, devices, running processes, network namespaces, pins and /run's entries.

    Mounts elsewhere may be copies of somebody else's, which go when their directory is removed.
    """
    entries = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
    running = [pid for pid in entries if started_at(int(pid)) is not None]
    pins = Path("/sys/fs/bpf")
    return {
        "mounts": sorted(str(point) for point in mounts_under(Path("/run"))),
        "devices": sorted(links.device_names(Path("/proc/self/ns/net"))),
        "processes": sorted(running),
        "namespaces": sorted({_namespace_of(pid) for pid in running}),
        "run": _names(Path("/run")),
        "pins": _names(pins) if pins.is_dir() else [],
    }


def settled_picture(before: Picture, timeout_s: float = 1.0) -> Picture:
    """Take a picture that equals `before`, or, after `timeout_s`, one that does not.

    A process that was being born or was dying at the time of a crash has that long to do so.
    """
    deadline = time.monotonic() + timeout_s
    while (now := picture()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    return now


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def _namespace_of(pid: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except (FileNotFoundError, ProcessLookupError):
        return ""
