"""The VNC Python client, unmodified, against a real API process: every kind it knows."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = """
import asyncio, pathlib, sys
from filament.api.role import run_api
from filament.runtime import log
from filament.runtime.serve import Listen
log.configure()
async def main():
    await run_api(
        database=pathlib.Path(sys.argv[1]),
        listens=[Listen("127.0.0.1", 0)],
        stop=asyncio.Event(),
        started=lambda bound: print(bound[0], flush=True),
    )
asyncio.run(main())
"""
SCRIPT = Path(__file__).with_name("vnc_every_kind.py")


@contextlib.contextmanager
def served(directory):
    """An API process on TCP; yields its address."""
    command = [sys.executable, "-c", SERVER, directory / "filament.db"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process.stdout:
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(tmp_path_factory.mktemp("vnc")) as made:
        yield made


def test_the_client_creates_reads_lists_updates_and_deletes_every_kind_it_knows(address):
    port = address.rpartition(":")[2]
    command = [sys.executable, "-W", "ignore", SCRIPT, port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 121
    assert [each for each in answers if each["problem"]] == []
