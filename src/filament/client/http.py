"""Servers by their addresses, and what goes wrong with them in words: HTTP for one question.

Shared by the synchronous client, the command line and the lab: one way to name a server, one way
to say why it does not answer, one table from statuses to the errors of the house. An address is
`http(s)://HOST:PORT` or `unix:/PATH`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
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
from filament.client.connection import BrokenAnswerError, Connection
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
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class NoAnswerError(PermanentError):
    """Nobody is there, or what is there does not speak HTTP; the message says which."""


class RefusedError(NoAnswerError):
    """It answered that it does not do what is asked; the message is its own."""


class Reply(NamedTuple):
    """A whole answer as text; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    def value(self) -> Any:
        """Decode the body as JSON; an empty body is None."""
        try:
            return json.loads(self.text) if self.text.strip() else None
        except ValueError as error:
            raise NoAnswerError(f"it answered something that is not JSON: {error}") from error


def quoted(text: str, safe: str = "/") -> str:
    """Percent-encode a text for a path or a query (RFC 3986 section 2.1)."""
    kept = _UNRESERVED | frozenset(safe.encode())
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode())


def with_query(path: str, query: Mapping[str, str]) -> str:
    """Return a request's target."""
    pairs = "&".join(f"{quoted(name, '')}={quoted(value, '')}" for name, value in query.items())
    return f"{path}?{pairs}" if pairs else path


def connection_to(address: str, timeout_s: float, trust: Trust = NO_TRUST) -> Connection:
    """Make a connection (not yet opened) to an address. Raises InputError."""
    if address.startswith("unix:"):
        return Connection("localhost", 0, timeout_s, path=address.removeprefix("unix:"))
    scheme, separator, rest = address.partition("://")
    place = _host_and_port(rest.removesuffix("/"))
    if scheme not in {"http", "https"} or not separator or place is None:
        raise InputError(
            "bad-address",
            f"{address!r} is no address of an API",
            hint="write http(s)://HOST:PORT or unix:/PATH",
        )
    if scheme == "https":
        # Imported here: what speaks TLS brings the standard library's TLS with it.
        from filament.client.tls import TlsConnection  # noqa: PLC0415

        return TlsConnection(*place, timeout_s, trust.context())
    return Connection(*place, timeout_s)


def _host_and_port(text: str) -> tuple[str, int] | None:
    """Read `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; None when it is none of them."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return None
        port = rest[1:] if rest else str(DEFAULT_PORT)
    else:
        host, colon, port = text.partition(":")
        port = port if colon else str(DEFAULT_PORT)
    if not host or set(host) & set("/?#@ \t\r\n"):
        return None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16):
        return None
    return host, int(port)


def request(
    address: str, method: str, target: str, body: object = None, timeout_s: float = 10.0
) -> Reply:
    """Send one request and read the whole answer. Raises NoAnswerError."""
    content = None if body is None else json.dumps(body).encode()
    headers = {} if content is None else {"Content-Type": "application/json"}
    with closing(connection_to(address, timeout_s)) as connection:
        try:
            response = connection.request(method, target, content, headers)
        except (OSError, BrokenAnswerError) as error:
            raise NoAnswerError(reason_of(error, timeout_s)) from error
        text = response.content.decode("utf-8", "replace")
        return Reply(response.status, response.headers, text)


def stream(address: str, target: str, timeout_s: float, trust: Trust = NO_TRUST) -> Iterator[str]:
    """GET a never-ending answer and yield its lines; `timeout_s` bounds the silence between two.

    Raises NoAnswerError when it cannot start, breaks or falls silent; ends when the server does.
    """
    headers = {"Accept": "text/event-stream", **trust.headers()}
    with closing(connection_to(address, timeout_s, trust)) as connection:
        try:
            status, pieces = connection.stream(target, headers)
            if status != 200:
                text = b"".join(pieces).decode("utf-8", "replace").strip()
                raise RefusedError(text or f"HTTP status {status}")
            begun = b""
            for piece in pieces:
                # At line feeds only: JSON may hold U+2028, which splitlines takes for an end.
                *lines, begun = (begun + piece).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace").rstrip("\r")
        except (OSError, BrokenAnswerError) as error:
            raise NoAnswerError(reason_of(error, timeout_s)) from error


def reason_of(error: OSError | BrokenAnswerError, timeout_s: float) -> str:
    """Say to a person why there is no answer."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, PermissionError):
        return "this user may not connect to it"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, ConnectionError):  # reset, aborted, broken pipe
        return "it closed the connection without answering"
    if isinstance(error, socket.gaierror):
        return f"the host name is unknown: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)


def error_of(status: int, text: str) -> FilamentError:
    """Turn an error answer back into the class of the house that made it."""
    message = text.strip() or f"the server answered HTTP status {status}"
    kind = _ERRORS.get(status)
    if kind is not None:
        return kind(message)
    if 400 <= status < 500:
        return InputError(f"http-{status}", message)
    return PermanentError(message)
