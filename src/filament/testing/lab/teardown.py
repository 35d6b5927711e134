"""Remove every trace of a lab: led by what exists, not by what should.

Works on a lab killed half made, on one whose machine restarted, and on none at all: it looks at
pid files, mounts and processes inside our namespaces, and needs no lab.json beyond the proof that
the directory is a lab's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from filament.base.errors import PermanentError, TransientError
from filament.testing.lab import namespaces, processes
from filament.testing.lab.plan import Directories, draft_of

Say = Callable[[str], None]


def tear_down(run: Path, say: Say) -> None:
    """End the lab's processes, free its namespaces, devices and pins, remove its files.

    Raises PermanentError when `run` holds something that is not a lab, or the caller sits inside
    one of its namespaces.
    """
    namespaces.require_root()
    directories = Directories(run)
    if not run.exists():
        say(f"no lab in {run}: nothing to do")
        return
    _require_lab(directories)
    recorded = processes.recorded(directories.pids)
    running = [process for process in recorded if processes.is_running(process)]
    stubborn = processes.stop_all(running)
    for name in stubborn:
        say(f"{name} had to be killed")
    places = sorted(directories.namespaces.glob("*"))
    strays = namespaces.processes_inside(places)
    processes.kill_pids(strays)
    # Links die with their namespaces, and pinned programs with their file system.
    mounts = namespaces.mounts_under(run)
    for point in mounts:
        namespaces.unmount(point)
    shutil.rmtree(run)
    say(
        f"ended {len(running)} processes and {len(strays)} others inside,"
        f" removed {len(places)} namespaces and {run}"
    )


def _require_lab(directories: Directories) -> None:
    # Killed before it was whole, lab.json may still be a draft.
    others = {entry.name for entry in directories.run.iterdir()} - {draft_of(directories.plan).name}
    if others and not directories.plan.exists():
        found = ", ".join(sorted(others)[:5])
        raise PermanentError(
            f"{directories.run} holds something that is not a lab ({found})"
            "; name the lab's directory with FILAMENT_RUN, or remove that one yourself"
        )
    here = Path("/proc/self/ns/net").stat()
    for place in directories.namespaces.glob("*"):
        there = place.stat()
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            raise PermanentError(f"you are inside {place.name}; leave it before removing the lab")


@contextlib.contextmanager
def sole_changer(run: Path) -> Iterator[None]:
    """Keep two `up`s or `down`s of one lab apart.

    The lock is an abstract socket name: it cannot outlive its process and leaves no file.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0filament-lab:{os.path.realpath(run)}")
    except OSError:
        lock.close()
        raise TransientError(
            f"another process is bringing the lab in {run} up or down; wait for it"
        ) from None
    with lock:
        yield
