"""A synchronous client of the configuration API, on the standard library alone.

For the command line, the lab and tests: imports fast, needs no event loop, and turns statuses
back into the errors of the house. Not thread safe; one per thread.
"""

from __future__ import annotations

import http.client
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec

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

_ERRORS: dict[int, type[FilamentError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    500: PermanentError,
    503: TransientError,
}
_encode = msgspec.json.Encoder().encode
Items = list[dict[str, Any]]  # the class below has a method called list
FqName = list[str]


class Answer(NamedTuple):
    """What the API answered. `revision` is the commit of a write (0 for reads); `lagging` names
    who had not applied it when a `wait` ran out.
    """

    value: Any
    revision: int = 0
    lagging: str = ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Client:
    """One connection, kept open. `address` is `http(s)://host:port` or `unix:/path`."""

    def __init__(
        self, address: str, *, timeout_s: float = 30.0, who: str = "", trust: Trust = NO_TRUST
    ) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/json", **trust.headers()}
        if who:
            self._headers["X-Contrail-Useragent"] = who
        self._connection = _connection(address, timeout_s, trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    # -- typed verbs -------------------------------------------------------------------------

    def create(self, kind: str, fq_name: FqName, /, *, wait: str = "", **fields: Any) -> str:
        """Create an object and return its uuid; `fields` are properties, refs, parent_type."""
        body = {kind: {"fq_name": fq_name, **fields}}
        uuid: str = self.request("POST", f"/{kind}s", body, wait=wait).value[kind]["uuid"]
        return uuid

    def get(self, kind: str, uuid: str, /, **query: str) -> dict[str, Any]:
        """Read an object; `query` as in `fields="display_name"`, `exclude_children="1"`."""
        value: dict[str, Any] = self.request("GET", f"/{kind}/{quote(uuid)}", **query).value[kind]
        return value

    def list(self, kind: str, /, **query: str) -> Items:
        """List a collection; with `detail="true"` whole objects."""
        listed = self.request("GET", f"/{kind}s", **query).value[f"{kind}s"]
        return [item.get(kind, item) for item in listed] if "detail" in query else listed

    def update(self, kind: str, uuid: str, /, *, wait: str = "", **fields: Any) -> Answer:
        """Change the named fields; None removes a property, a refs field is the whole new list."""
        return self.request("PUT", f"/{kind}/{quote(uuid)}", {kind: fields}, wait=wait)

    def delete(self, kind: str, uuid: str, *, wait: str = "") -> Answer:
        """Delete an object."""
        return self.request("DELETE", f"/{kind}/{quote(uuid)}", wait=wait)

    def uuid_of(self, kind: str, fq_name: FqName) -> str:
        """The uuid of a named object (`/fqname-to-id`)."""
        answer = self.request("POST", "/fqname-to-id", {"type": kind, "fq_name": fq_name})
        uuid: str = answer.value["uuid"]
        return uuid

    def name_of(self, uuid: str) -> tuple[str, FqName]:
        """Kind and fq_name of an object (`/id-to-fqname`)."""
        value = self.request("POST", "/id-to-fqname", {"uuid": uuid}).value
        return value["type"], value["fq_name"]

    def add_ref(
        self, kind: str, uuid: str, target: str, target_uuid: str, attr: Any = None
    ) -> Answer:
        """Add a reference, or overwrite its attribute."""
        return self._update_ref("ADD", kind, uuid, target, target_uuid, attr)

    def remove_ref(self, kind: str, uuid: str, target: str, target_uuid: str) -> Answer:
        """Remove a reference."""
        return self._update_ref("DELETE", kind, uuid, target, target_uuid, None)

    def _update_ref(
        self, operation: str, kind: str, uuid: str, target: str, target_uuid: str, attr: Any
    ) -> Answer:
        body = {
            "type": kind,
            "uuid": uuid,
            "ref-type": target,
            "ref-uuid": target_uuid,
            "operation": operation,
            "attr": attr,
        }
        return self.request("POST", "/ref-update", body)

    # -- requests ----------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """Send one request; empty query values are left out. Raises the errors of the house."""
        wanted = {name: value for name, value in query.items() if value}
        target = f"{path}?{urlencode(wanted)}" if wanted else path
        content = None if body is None else _encode(body)
        response, raw = self._exchange(method, target, content)
        if response.status not in {200, 202}:
            raise _error(response.status, raw.decode(errors="replace").strip())
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(
            msgspec.json.decode(raw) if is_json else raw.decode(errors="replace"),
            int(response.headers.get("X-Filament-Revision") or 0),
            (response.headers.get("X-Filament-Wait") or "").removeprefix("timeout; waiting for "),
        )

    def _exchange(
        self, method: str, target: str, content: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        was_open = self._connection.sock is not None
        try:
            return self._once(method, target, content)
        except (ConnectionError, http.client.RemoteDisconnected) as error:
            self._connection.close()
            # A kept connection may have been closed by a restarted server; only reads are safe
            # to repeat, a write may have been carried out.
            if was_open and method == "GET":
                return self._retry(method, target, content)
            raise self._unreachable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _retry(
        self, method: str, target: str, content: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            return self._once(method, target, content)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _once(
        self, method: str, target: str, content: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, target, content, self._headers)
        response = self._connection.getresponse()
        return response, response.read()

    def _unreachable(self, error: Exception) -> TransientError:
        return TransientError(
            f"the API at {self._address} does not answer ({error or type(error).__name__});"
            " is it running?"
        )


def _connection(address: str, timeout_s: float, trust: Trust) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"), timeout_s)
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(
            "bad-address",
            f"{address!r} is no address of an API",
            hint="write http(s)://HOST:PORT or unix:/PATH",
        )
    port = parts.port or 8082
    if parts.scheme == "https":
        context = trust.context()
        return http.client.HTTPSConnection(parts.hostname, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(parts.hostname, port, timeout=timeout_s)


def _error(status: int, text: str) -> FilamentError:
    kind = _ERRORS.get(status)
    if kind is not None:
        return kind(text)
    if 400 <= status < 500:
        return InputError(f"http-{status}", text)
    return PermanentError(f"HTTP {status}: {text}")
