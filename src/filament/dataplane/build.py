"""Compiles the BPF programs: `python -m filament.dataplane.build` (which is `make bpf`).

Does nothing when the object is newer than everything it is made from. `--force` compiles anyway.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filament.base.errors import PermanentError
from filament.dataplane import gen
from filament.dataplane.load import OBJECT

_SOURCE = OBJECT.with_name("vrouter.bpf.c")
_HEADERS = OBJECT.parent / "lib"
GENERATED = _HEADERS / "tables.gen.h"


def is_stale() -> bool:
    """Say whether the object is missing or older than a source. The header must be written."""
    if not OBJECT.exists():
        return True
    built_at = OBJECT.stat().st_mtime
    return any(path.stat().st_mtime > built_at for path in (_SOURCE, *_HEADERS.glob("*.h")))


def compile_object(
    path: Path = OBJECT,
    *,
    source: Path | None = None,
    clang: str = "clang",
    warnings: Sequence[str] = ("-Wall", "-Wextra", "-Werror"),
) -> None:
    """Compile the programs into `path`; the generated header must be there, beside the others.

    Raises `PermanentError` with clang's words.
    """
    if shutil.which(clang) is None:
        raise PermanentError(f"compiling the BPF programs needs {clang}; install clang and llvm")
    fresh = path.with_name(path.name + ".new")
    command = [clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-std=gnu11"]
    command += warnings
    source = source or _SOURCE
    # The BPF target has no machine directory of its own, asm/types.h is found in the host's.
    command += ["-idirafter", f"/usr/include/{platform.machine()}-linux-gnu"]
    command += ["-c", str(source), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermanentError(f"compiling {source} failed:\n{done.stderr}")
    fresh.replace(path)


def build(*, force: bool = False) -> bool:
    """Bring the object up to date; says whether it had to be compiled."""
    gen.write(GENERATED)
    if not force and not is_stale():
        return False
    compile_object()
    return True


if __name__ == "__main__":
    build(force="--force" in sys.argv[1:])
