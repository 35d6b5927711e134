"""`filament lab up`, `exec` and `down` as a person runs them, and after crashes at any moment."""

import os
import random
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from filament.testing.lab.lab import Lab
from filament.testing.lab.leftovers import picture, settled_picture
from filament.testing.lab.teardown import tear_down

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
RUN = Path("/run/filament-updown")
UP_LIMIT_S = 20  # what the README promises of `make up` on a warm machine


def filament(*argv, run=RUN, **options):
    environment = {**os.environ, "FILAMENT_RUN": str(run), "NO_COLOR": "1"}
    return subprocess.Popen(
        [str(ROOT / "filament"), *argv],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def run(*argv, **options):
    """Run the command line; return (exit code, what it printed)."""
    with filament(*argv, **options) as process:
        text, _ = process.communicate(timeout=60)
    return process.returncode, text


@pytest.fixture
def clean():
    before = picture()
    yield
    tear_down(RUN, print)
    assert settled_picture(before) == before


def test_up_shows_what_it_did_and_down_leaves_nothing(clean):
    before = picture()
    began = time.monotonic()
    code, text = run("lab", "up")
    assert code == 0, text
    assert time.monotonic() - began < UP_LIMIT_S
    rows = [line.split() for line in text.splitlines()]
    assert ["red-1", "red", "10.1.1.3", "host1"] in rows
    assert ["blue-2", "blue", "10.1.2.4", "host2"] in rows
    assert ["red-1", "-", "no", "reaches", "no"] in rows
    assert re.search(r"^lab complete after +\d+\.\d\d s$", text, re.MULTILINE)
    # Every step says its time.
    assert len(re.findall(r"\d\.\d\d s$", text, re.MULTILINE)) >= 6

    code, text = run("lab", "exec", "red-1", "--", "ping", "-c3", "-i0.1", "10.1.1.4")
    assert code == 0
    assert "3 received" in text
    assert run("lab", "exec", "red-1", "--", "false")[0] == 1

    pids = [process.pid for process, _ in Lab.open(RUN).status()]
    code, text = run("lab", "up")
    assert code == 0
    assert "is already up" in text
    assert [process.pid for process, _ in Lab.open(RUN).status()] == pids

    code, text = run("lab", "down")
    assert code == 0, text
    assert settled_picture(before) == before
    code, text = run("lab", "down")
    assert code == 0
    assert "nothing to do" in text
    assert settled_picture(before) == before


def test_an_unknown_workload_or_program_is_said(clean):
    code, text = run("lab", "exec", "red-1", "--", "true")
    assert code == 2
    assert f"no lab runs in {RUN}; start one with `filament lab up`" in text
    Lab.build(RUN)
    code, text = run("lab", "exec", "red-9", "--", "true")
    assert code == 2
    assert "no workload or host named 'red-9' in this lab" in text
    code, text = run("lab", "exec", "host1", "--", "no-such-program")
    assert code == 2
    assert "there is no program 'no-such-program'" in text


def test_up_after_everything_was_killed_builds_anew(clean):
    assert run("lab", "up")[0] == 0
    lab = Lab.open(RUN)
    for name in ("api", "control", "agent-host1", "agent-host2"):
        lab.kill(name)
    code, text = run("lab", "up")
    assert code == 0, text
    assert all(alive for _, alive in Lab.open(RUN).status())


def test_up_killed_at_any_moment_leaves_nothing_that_down_does_not_remove(clean):
    before = picture()
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(6):
        with filament("lab", "up") as process:
            time.sleep(moments.uniform(0.2, 2.5))
            process.kill()
            process.communicate()
        code, text = run("lab", "down")
        assert code == 0, f"seed {seed}: {text}"
        assert settled_picture(before) == before


def test_up_after_an_up_that_was_killed(clean):
    with filament("lab", "up") as process:
        time.sleep(1.0)
        process.kill()
        process.communicate()
    code, text = run("lab", "up")
    assert code == 0, text


def test_a_process_that_cannot_start_is_named_with_its_log(clean):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8082))
        taken.listen()
        code, text = run("lab", "up")
    assert code == 1
    assert "api did not start" in text
    assert "127.0.0.1:8082" in text
