"""A file that several processes append to and rotate, whatever happens to them."""

import errno
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from filament.runtime import shared_log
from filament.runtime.shared_log import SharedLog

WRITER = """
import sys
from pathlib import Path
from filament.runtime.shared_log import SharedLog
log = SharedLog(Path(sys.argv[1]), max_bytes=2000, kept=200)
for number in range(100):
    log.append(f'{{"writer": "{sys.argv[2]}", "number": {number}}}\\n'.encode() * 2)
"""


def files(path):
    """The files of a log, the oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda one: -int(one.suffix[1:]))
    return [*numbered, path]


def test_lines_are_appended_and_the_directory_is_made(tmp_path):
    log = SharedLog(tmp_path / "a" / "log", max_bytes=100, kept=1)
    log.append(b"one\n")
    log.append(b"")
    log.append(b"two\n")
    assert log.path.read_bytes() == b"one\ntwo\n"


def test_a_full_file_makes_room_and_only_so_many_are_kept(tmp_path):
    log = SharedLog(tmp_path / "log", max_bytes=10, kept=2)
    for number in range(5):
        log.append(b"%d234567\n" % number)
    assert [path.read_bytes() for path in files(log.path)] == [
        b"2234567\n",
        b"3234567\n",
        b"4234567\n",
    ]


def test_none_may_be_kept(tmp_path):
    log = SharedLog(tmp_path / "log", max_bytes=10, kept=0)
    log.append(b"1234567\n")
    log.append(b"2234567\n")
    assert [path.read_bytes() for path in files(log.path)] == [b"2234567\n"]


def test_a_batch_larger_than_a_file_has_one_of_its_own(tmp_path):
    log = SharedLog(tmp_path / "log", max_bytes=10, kept=2)
    log.append(b"1\n")
    log.append(b"x" * 50 + b"\n")
    log.append(b"2\n")
    assert [len(path.read_bytes()) for path in files(log.path)] == [2, 51, 2]


def test_several_processes_lose_and_mix_nothing(tmp_path):
    path = tmp_path / "log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name]) for name in ("a", "b", "c")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    lines = [json.loads(line) for one in files(path) for line in one.read_text().splitlines()]
    assert Counter((line["writer"], line["number"]) for line in lines) == Counter(
        {(name, number): 2 for name in "abc" for number in range(100)}
    )
    for writer in "abc":
        numbers = [line["number"] for line in lines if line["writer"] == writer]
        assert numbers == sorted(numbers)
    assert all(one.stat().st_size <= 2000 for one in files(path))


def test_who_held_the_file_when_it_was_rotated_away_goes_on_in_the_new_one(tmp_path):
    one, other = (SharedLog(tmp_path / "log", max_bytes=10, kept=3) for _ in range(2))
    one.append(b"1234567\n")
    other.append(b"2234567\n")
    one.append(b"3\n")
    assert (tmp_path / "log").read_bytes() == b"2234567\n3\n"


def test_half_a_batch_is_taken_back(tmp_path, monkeypatch):
    log = SharedLog(tmp_path / "log", max_bytes=1000, kept=1)
    log.append(b"one\n")
    left = [3]
    real = os.write

    def write(descriptor, content):
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[: left.pop()])

    monkeypatch.setattr(shared_log.os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        log.append(b"two and more\n")
    monkeypatch.undo()
    log.append(b"three\n")
    assert log.path.read_bytes() == b"one\nthree\n"
