"""A kernel of one's own: mounts, network namespaces and devices that only these tests see.

Everything lives in a mount and a network namespace of the test process, which it leaves again; the
kernel removes what was in them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_CLONE_NEWNET = 0x40000000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def run(*command: str) -> str:
    """Run a command and return its output; fails with its words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


@contextlib.contextmanager
def kernel_of_ones_own() -> Iterator[Path]:
    """Enter fresh mount and network namespaces; yields a mounted, empty BPF file system."""
    former = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    directory = Path.cwd()
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
    try:
        _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        _call("mount", b"bpf", b"/sys/fs/bpf", b"bpf", 0, None)
        Path("/run/netns").mkdir(exist_ok=True)
        _call("mount", b"tmpfs", b"/run/netns", b"tmpfs", 0, None)
        run("ip", "link", "set", "lo", "up")
        yield Path("/sys/fs/bpf")
    finally:
        # Whoever shares our working directory (a thread started since) may not enter with us.
        _call("unshare", _CLONE_FS)
        for handle in former:
            _call("setns", handle, 0)
            os.close(handle)
        os.chdir(directory)
