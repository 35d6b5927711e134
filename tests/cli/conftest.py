"""A role that answers canned JSON on a unix socket, and remembers what it was asked."""

import asyncio
import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest

from filament.api.role import run_api
from filament.cli.main import run
from filament.runtime.serve import Listen


@pytest.fixture(autouse=True)
def nobodys_api(monkeypatch):
    """The default address is nobody's here, whoever else runs on this machine."""
    monkeypatch.setattr("filament.cli.session.DEFAULT_API", "http://127.0.0.1:9")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def address_string(self):
        return "unix"

    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(size)) if size else None
        self.server.asked.append((self.command, self.path, body))
        reply = self.server.answers.get((self.command, urlsplit(self.path).path))
        if callable(reply):
            reply = reply(self.path, body)
        status, headers, value = reply if reply is not None else (404, {}, "nothing here\n")
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if not isinstance(value, str):
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = answer


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, path, answers):
        self.answers = answers
        self.asked = []
        super().__init__(str(path), Handler)


@contextmanager
def serve(path, answers):
    """Serve `answers`: (method, path) -> (status, headers, value) or a function that makes one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Server(path, answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("FILAMENT_API", "FILAMENT_RUN", "FILAMENT_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def role():
    """The context manager that serves a role."""
    return serve


@pytest.fixture
def ok():
    return lambda value, **headers: (200, headers, value)


class Command:
    """The command line, run in this process against one run directory."""

    def __init__(self, run_dir):
        self.run_dir = run_dir

    def __call__(self, *arguments):
        return run(["--run-dir", str(self.run_dir), *arguments])


@pytest.fixture
def run_in():
    return Command


class ApiThread:
    """A real API process's inside, in a thread of its own."""

    def __init__(self, directory):
        self._directory = directory
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._error = None

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await run_api(
                database=self._directory / "filament.db",
                listens=[Listen(path=str(self._directory / "api.sock"))],
                stop=self._stop,
                started=lambda _: self._started.set(),
            )
        except BaseException as error:  # shown by the test that waits for the start
            self._error = error
            self._started.set()

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(60)
        assert self._error is None, self._error
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert self._error is None, self._error


@pytest.fixture
def api(tmp_path):
    """The command line against a real, empty API."""
    with ApiThread(tmp_path):
        yield Command(tmp_path)
