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
        assert self._started.wait(10)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
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
def api_process(directory):
    """Start an API as a process of its own; yields (process, address). Kills it at the end."""
    socket = directory / "api.sock"
    command = [sys.executable, "-c", PROCESS, directory / "filament.db", socket]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process.stdout:
        try:
            assert process.stdout.readline() == b"started\n"
            yield process, f"unix:{socket}"
        finally:
            process.kill()
            process.wait()
