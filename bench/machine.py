"""What a measurement ran on, without the machine's name: only what bears on the numbers."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def describe() -> dict[str, object]:
    """Processor, kernel, memory, and the revision measured."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cpu_count": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": _revision(),
    }


def _revision() -> str:
    argv = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def load() -> dict[str, object]:
    """Load averages and the processors' busy time so far: foreign work shows in them."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return {"average": os.getloadavg(), "busy_ticks": sum(fields) - fields[3] - fields[4]}
