"""A role that answers canned JSON on a unix socket, and remembers what it was asked."""

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest


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
