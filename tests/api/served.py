"""A real API server for tests: in a thread, or as a process that can be killed."""

import asyncio
import contextlib
import subprocess
import sys
import threading

from filament.api.role import run_api
from filament.client.sync import Client
from filament.runtime.serve import Listen

PROCESS = """
import asyncio, pathlib, sys
from filament.api.role import run_api
from filament.runtime import log
from filament.runtime.serve import Listen
log.configure()
async def main():
    await run_api(
        database=pathlib.Path(sys.argv[1]),
        listens=[Listen(path=sys.argv[2])],
        stop=asyncio.Event(),
        store_address=sys.argv[3],
        retain_commits=int(sys.argv[4]),
        started=lambda bound: print("started", flush=True),
    )
asyncio.run(main())
"""


class ServedApi:
    """An API in a thread of this process, on TCP and on a unix socket."""

    def __init__(self, directory, **more):
        self.more = more
        self.directory = directory
        self.socket = f"unix:{directory}/api.sock"
        self.url = ""
        self._stop = None
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close()

    def client(self):
        return Client(self.socket)

    def _run(self):
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        self._stop = asyncio.Event()
        listens = [Listen("127.0.0.1", 0), Listen(path=self.socket.removeprefix("unix:"))]
        database = self.directory / "filament.db"
        await run_api(
            database=database,
            listens=listens,
            stop=self._stop,
            started=self._bound,
            **self.more,
        )

    def _bound(self, bound):
        self.url = f"{'https' if self.more.get('tls') else 'http'}://{bound[0]}"
        self._started.set()


@contextlib.contextmanager
def api_process(directory, store="", name="api", retain_commits=100_000):
    """Start an API as a process of its own; yields (process, address). Kills it at the end."""
    process, address = start_api(directory, store, name, retain_commits)
    try:
        yield process, address
    finally:
        stop_api(process)


def start_api(directory, store="", name="api", retain_commits=100_000):
    """Start an API process and wait until it serves."""
    socket = directory / f"{name}.sock"
    command = [sys.executable, "-c", PROCESS, directory / "filament.db", socket, store]
    with (directory / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, str(retain_commits)], stdout=subprocess.PIPE, stderr=log
        )
    said = process.stdout.readline()
    if said != b"started\n":
        stop_api(process)
        raise AssertionError((directory / f"{name}.log").read_text()[-2000:])
    return process, f"unix:{socket}"


def stop_api(process):
    """End an API process as a power failure would."""
    process.kill()
    process.wait()
    process.stdout.close()
