"""Long-running processes of a lab: started detached, found again by pid file, killed only if ours.

A pid file holds the pid, when that process started and the boot it belongs to, and is written
before the process becomes the program: killing the lab at any moment leaves either no process or
one that can be found. Nobody supervises them: a killed one stays dead until restarted.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from filament.base.errors import NotFoundError, PermanentError
from filament.testing.lab import namespaces

TERMINATION_GRACE_S = 3.0


class Program(msgspec.Struct, frozen=True):
    """What to run: enough to run it again. `namespace` None is the caller's network namespace."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    namespace: str | None
    log: str


class Process(msgspec.Struct, frozen=True):
    """One run of a program. `started` is in clock ticks since boot `boot`: no pid is ever mistaken
    for one of its reincarnations.
    """

    program: Program
    pid: int
    started: int
    boot: str


def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command in parentheses may hold anything; fields are counted after the last one.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_running(process: Process) -> bool:
    """Say whether this very run is still alive."""
    return process.boot == boot_id() and started_at(process.pid) == process.started


def pid_file(directory: Path, name: str) -> Path:
    """Where a program's pid file is."""
    return directory / f"{name}.json"


def recorded(directory: Path) -> list[Process]:
    """Every process a pid file in `directory` tells of, running or not, by name."""
    return [read_pid_file(path) for path in sorted(directory.glob("*.json"))]


def read_pid_file(path: Path) -> Process:
    """Read one pid file; says which names exist when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Process)
    except FileNotFoundError:
        names = ", ".join(sorted(other.stem for other in path.parent.glob("*.json"))) or "none"
        raise NotFoundError(
            f"no process named {path.stem!r} in this lab; there are: {names}"
        ) from None


def spawn(directory: Path, program: Program) -> Process:
    """Start a program detached from us; returns once it has been executed.

    The newborn tells its pid and waits until that is on disk; when we die meanwhile, it does too.
    Raises PermanentError when the program cannot be executed.
    """
    heard, tell = os.pipe2(os.O_CLOEXEC)
    permitted, permit = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # A grandchild is adopted by init: whoever runs the lab need not wait for it.
        if os.fork() == 0:
            os.close(permit)
            _become(program, permitted, tell)
        os._exit(0)
    os.close(tell)
    os.close(permitted)
    os.waitpid(child, 0)
    path = pid_file(directory, program.name)
    with os.fdopen(heard, "rb") as words, os.fdopen(permit, "wb") as permission:
        pid = int(words.readline())
        process = Process(program, pid, started_at(pid) or 0, boot_id())
        draft = path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(process))
        draft.rename(path)
        permission.write(b"go")
        permission.close()
        # The pipe closes by itself when the program is executed.
        complaint = words.read()
    if complaint:
        path.unlink()
        raise PermanentError(f"cannot run {program.argv[0]}: {complaint.decode()}")
    return process


def _become(program: Program, permitted: int, tell: int) -> NoReturn:
    try:
        os.setsid()
        os.write(tell, f"{os.getpid()}\n".encode())
        if os.read(permitted, 2):
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if program.namespace is not None:
                namespaces.enter_namespace(Path(program.namespace))
            nothing = os.open(os.devnull, os.O_RDONLY)
            log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.execve(program.argv[0], program.argv, program.environment)
    except OSError as error:
        os.write(tell, str(error).encode())
    os._exit(127)


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal a process if it is still this run; says whether it was."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle pins the pid, so that nobody can take it between the look and the signal.
        if not is_running(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def wait_gone(process: Process, timeout_s: float) -> bool:
    """Wait until a process has ended; says whether it did in time."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_running(process):
            return True
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(handle)


def stop_all(processes: list[Process]) -> list[str]:
    """Ask processes to end, then make them; returns the names of those that had to be killed."""
    asked = [process for process in processes if send_signal(process, signal.SIGTERM)]
    deadline = time.monotonic() + TERMINATION_GRACE_S
    stubborn = []
    for process in asked:
        if not wait_gone(process, max(0.0, deadline - time.monotonic())):
            stubborn.append(process.program.name)
            send_signal(process, signal.SIGKILL)
            wait_gone(process, TERMINATION_GRACE_S)
    return stubborn


def kill_pids(pids: list[int]) -> None:
    """Kill processes known by pid alone (those found inside our own namespaces) and await it."""
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            handles.append(handle)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + TERMINATION_GRACE_S
    waiting = set(handles)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left * 1000):
            poll.unregister(handle)
            waiting.discard(handle)
    for handle in handles:
        os.close(handle)
