"""Lines appended to one file by any number of processes, and rotated by whichever comes first.

Whoever writes opens the file by its name, under a lock beside it: so nobody goes on in a file that
another has rotated away, and two never rotate at once. A batch is one write; one that the disk has
no room for is taken back whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SharedLog:
    """A file of at most `max_bytes`, and `kept` former ones: NAME.1 is the youngest.

    A batch that is larger by itself gets a file of its own. Raises OSError when the directory
    cannot be written to, or the disk is full.
    """

    def __init__(self, path: Path, *, max_bytes: int, kept: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept

    def append(self, batch: bytes) -> None:
        """Write whole lines."""
        if not batch:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            descriptor = self._open()
            try:
                size = os.fstat(descriptor).st_size
                if size and size + len(batch) > self._max_bytes:
                    os.close(descriptor)
                    descriptor = -1
                    self._rotate()
                    descriptor, size = self._open(), 0
                _write_whole(descriptor, batch, size)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Closing lets go of the lock, as the end of a process does.
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _rotate(self) -> None:
        if not self._kept:
            self.path.unlink()
            return
        for number in range(self._kept - 1, 0, -1):
            former = self._numbered(number)
            if former.exists():
                former.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _write_whole(descriptor: int, batch: bytes, size: int) -> None:
    try:
        written = os.write(descriptor, batch)
        while written < len(batch):
            written += os.write(descriptor, batch[written:])
    except OSError:
        os.ftruncate(descriptor, size)  # half a line would spoil the next
        raise
