"""Small blocking HTTP/1.1 over TCP and unix sockets, on the standard library alone.

Shared by the synchronous client, the command line and the lab: one way to name a server, one way
to say why it does not answer, one table from statuses to the errors of the house. An address is
`http(s)://HOST:PORT` or `unix:/PATH`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from filament.client.trust import NO_TRUST, Trust

DEFAULT_PORT = 8082  # of TF's configuration API
_ERRORS: dict[int, type[FilamentError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,  # a quota, or a picture that is too old
    503: TransientError,
}


class NoAnswerError(PermanentError):
    """Nobody is there, or what is there does not speak HTTP; the message says which."""


class RefusedError(NoAnswerError):
    """It answered that it does not do what is asked; the message is its own."""


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
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def connection_to(address: str, timeout_s: float, trust: Trust = NO_TRUST) -> HTTPConnection:
    """Make a connection (not yet opened) to an address. Raises InputError."""
    if address.startswith("unix:"):
        return UnixConnection(address.removeprefix("unix:"), timeout_s)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"} or parts.path not in {"", "/"}:
        raise InputError(
            "bad-address",
            f"{address!r} is no address of an API",
            hint="write http(s)://HOST:PORT or unix:/PATH",
        )
    port = port or DEFAULT_PORT
    if parts.scheme == "https":
        return HTTPSConnection(host, port, timeout=timeout_s, context=trust.context())
    return HTTPConnection(host, port, timeout=timeout_s)


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


def stream(address: str, target: str, timeout_s: float, trust: Trust = NO_TRUST) -> Iterator[str]:
    """GET a never-ending answer and yield its lines; `timeout_s` bounds the silence between two.

    Raises NoAnswerError when it cannot start, breaks or falls silent; ends when the server does.
    """
    headers = {"Accept": "text/event-stream", **trust.headers()}
    with closing(connection_to(address, timeout_s, trust)) as connection:
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                text = response.read().decode("utf-8", "replace").strip()
                raise RefusedError(text or f"HTTP status {response.status}")
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
    if isinstance(error, PermissionError):
        return "this user may not connect to it"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, ConnectionError):  # RemoteDisconnected too: reset, aborted, broken pipe
        return "it closed the connection without answering"
    if isinstance(error, socket.gaierror):
        return f"the host name is unknown: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, BadStatusLine):
        return "what listens there does not speak HTTP"
    return f"its answer is cut off or broken: {type(error).__name__}"


def error_of(status: int, text: str) -> FilamentError:
    """Turn an error answer back into the class of the house that made it."""
    message = text.strip() or f"the server answered HTTP status {status}"
    kind = _ERRORS.get(status)
    if kind is not None:
        return kind(message)
    if 400 <= status < 500:
        return InputError(f"http-{status}", message)
    return PermanentError(message)
