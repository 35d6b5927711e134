"""Network namespaces as bind mounts under a lab's own run directory, and the mounts beside them.

A namespace is named by the path of its bind mount, never by a name in /run/netns: labs with
different run directories never meet. Needs root (CAP_SYS_ADMIN). Everything here works on the
calling thread: the lab is single-threaded on purpose.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from filament.base.errors import PermanentError

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 1 << 20
_MNT_DETACH = 2

# os.setns and os.unshare came with Python 3.12; the lab supports 3.11.
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), flags, None)


def require_root() -> None:
    """Refuse to go on without the rights a lab needs."""
    if os.geteuid() != 0:
        raise PermanentError(
            "the lab makes network namespaces and loads BPF programs, which needs root;"
            " run it with sudo"
        )


def mounts_under(directory: Path) -> list[Path]:
    """Mount points at or below `directory`, deepest and latest first (the order to unmount)."""
    # Mount points are listed with their real paths, and octal escapes for blanks.
    root = str(directory.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == root or point.startswith(root + "/"):
            found.append(Path(point))
    return found[::-1]


def unmount(point: Path) -> None:
    """Unmount lazily: what still uses it keeps it until it lets go."""
    _call("umount2", os.fsencode(point), _MNT_DETACH)


def ensure_namespace_directory(directory: Path) -> None:
    """Make `directory` a mount point of its own, shared with mount namespaces made later.

    Shared, so that unmounting a namespace here also frees it in mount namespaces that copied
    ours meanwhile; else a service started since would keep dead hosts alive.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if directory.resolve() not in mounts_under(directory):
        _mount(str(directory), directory, "none", _MS_BIND | _MS_REC)
        _mount("", directory, "none", _MS_SHARED | _MS_REC)


def ensure_bpffs(directory: Path) -> None:
    """Mount a BPF file system at `directory` unless something is mounted there."""
    directory.mkdir(parents=True, exist_ok=True)
    if directory.resolve() not in mounts_under(directory):
        _mount("bpf", directory, "bpf", 0)


def create_namespace(path: Path) -> None:
    """Create an empty network namespace and keep it alive as a bind mount at `path`."""
    path.touch(exist_ok=False)
    with _returning_home():
        _call("unshare", _CLONE_NEWNET)
        _mount("/proc/thread-self/ns/net", path, "none", _MS_BIND)


def remove_namespace(path: Path) -> None:
    """Forget a namespace; the kernel frees it once no process is left inside."""
    for point in mounts_under(path):
        unmount(point)
    path.unlink(missing_ok=True)


def enter_namespace(path: Path) -> None:
    """Move the calling thread into the namespace, for good."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", handle, _CLONE_NEWNET)
    finally:
        os.close(handle)


@contextlib.contextmanager
def inside(path: Path | None) -> Iterator[None]:
    """Run the block in a namespace (None: stay); sockets and children made there remain there."""
    if path is None:
        yield
        return
    with _returning_home():
        enter_namespace(path)
        yield


@contextlib.contextmanager
def _returning_home() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)


def processes_inside(paths: list[Path]) -> list[int]:
    """Pids whose network namespace is one of `paths`, but never our own."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            wanted.add((status.st_dev, status.st_ino))
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Processes end while we look, and kernel threads have no namespace to show.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            status = (entry / "ns" / "net").stat()
            if (status.st_dev, status.st_ino) in wanted:
                found.append(int(entry.name))
    return found
