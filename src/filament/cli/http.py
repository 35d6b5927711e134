"""Small blocking HTTP/1.1 requests over TCP and unix sockets, enough for one command.

An address is `unix:PATH`, `http://HOST:PORT` or `HOST:PORT`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)


class NoAnswerError(PermanentError):
    """Nobody is there, or what is there does not speak HTTP; the message says which."""


class Reply(NamedTuple):
    """A whole answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    def value(self) -> Any:
        """Decode the body as JSON; an empty body is None."""
        try:
            return json.loads(self.text) if self.text.strip() else None
        except ValueError as error:
            raise NoAnswerError(f"it answered something that is not JSON: {error}") from error


class UnixConnection(HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(address: str, timeout_s: float) -> HTTPConnection:
    """Make a connection (not yet opened) to an address."""
    if address.startswith("unix:"):
        return UnixConnection(address.removeprefix("unix:"), timeout_s)
    host, colon, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    if not colon or not port.isdigit() or not host or "/" in host:
        raise InputError(
            "bad-address",
            f"{address!r} is no address of an HTTP server",
            hint="write unix:PATH or http://HOST:PORT",
        )
    return HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)


def request(
    address: str, method: str, target: str, body: object = None, timeout_s: float = 10.0
) -> Reply:
    """Send one request and read the whole answer. Raises NoAnswerError."""
    content = None if body is None else json.dumps(body).encode()
    headers = {} if content is None else {"Content-Type": "application/json"}
    with closing(connection_to(address, timeout_s)) as connection:
        try:
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            raise NoAnswerError(reason_of(error, timeout_s)) from error
        kept = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, kept, text)


def stream(address: str, target: str, timeout_s: float) -> Iterator[str]:
    """GET a never-ending answer and yield its lines; `timeout_s` bounds the silence between two.

    Raises NoAnswerError when it cannot start, breaks or falls silent; ends when the server does.
    """
    with closing(connection_to(address, timeout_s)) as connection:
        try:
            connection.request("GET", target, headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            if response.status != 200:
                text = response.read().decode("utf-8", "replace").strip()
                raise NoAnswerError(text or f"HTTP status {response.status}")
            for line in response:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, HTTPException) as error:
            raise NoAnswerError(reason_of(error, timeout_s)) from error


def reason_of(error: OSError | HTTPException, timeout_s: float) -> str:
    """Say to a person why there is no answer."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return f"the host name is unknown: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"it does not speak HTTP: {type(error).__name__}"


def error_of(status: int, text: str) -> FilamentError:
    """Turn an error answer back into the class of the house that made it."""
    message = text.strip() or f"the server answered HTTP status {status}"
    by_status = {
        403: ForbiddenError(message),
        404: NotFoundError(message),
        409: ConflictError(message),
        503: TransientError(message),
    }
    if status in by_status:
        return by_status[status]
    return InputError("refused", message) if 400 <= status < 500 else PermanentError(message)
