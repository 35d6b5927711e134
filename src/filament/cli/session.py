"""One run of the command line: where the API is, and requests to it with errors as our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from filament.cli import http

DEFAULT_API = "http://127.0.0.1:8082"
TIMEOUT_S = 10.0


class Written(NamedTuple):
    """What the API answered to a change: its value, the commit, and who has not applied it.

    `lagging` is empty when nobody was waited for, or all have applied it.
    """

    value: Any
    revision: int
    lagging: str


class Session:
    """Where this run of the command line finds things; one per process, made from options."""

    def __init__(self, run_dir: str, api_address: str | None) -> None:
        self.run_dir = Path(run_dir)
        self.api_address = api_address or default_api(self.run_dir)
        self.kinds: list[str] | None = None  # filled by names.kinds
        self.timeout_s = TIMEOUT_S

    def get(self, path: str, **query: str | None) -> Any:
        """GET a JSON value from the API; query values of None are left out."""
        return self._request("GET", path, None, query).value

    def change(
        self, method: str, path: str, body: object, *, wait: str = "none", timeout_s: float = 10.0
    ) -> Written:
        """Send a change; with `wait` the API answers when `control` or `agents` have applied it."""
        query = {"wait": wait, "timeout_s": f"{timeout_s:g}"} if wait != "none" else {}
        return self._request(method, path, body, query, extra_s=timeout_s)

    def _request(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str | None],
        extra_s: float = 0.0,
    ) -> Written:
        asked = {name: value for name, value in query.items() if value is not None}
        target = quote(path) + (f"?{urlencode(asked)}" if asked else "")
        try:
            reply = http.request(self.api_address, method, target, body, self.timeout_s + extra_s)
        except http.NoAnswerError as error:
            raise PermanentError(
                f"the API at {self.api_address} does not answer ({error})"
                "; start it with `filament serve --role api`, or name another with --api"
            ) from error
        if reply.status not in (200, 202):
            raise error_of(reply.status, reply.text)
        _, _, waited = reply.headers.get("x-filament-wait", "").partition("timeout;")
        revision = int(reply.headers.get("x-filament-revision", "0"))
        return Written(reply.value(), revision, waited.strip())


def default_api(run_dir: Path) -> str:
    """Return the API of this machine: its unix socket when there is one, else TF's port."""
    api_socket = run_dir / "api.sock"
    return f"unix:{api_socket}" if api_socket.exists() else DEFAULT_API


def error_of(status: int, text: str) -> FilamentError:
    """Turn an error answer back into the class of the house that made it."""
    message = text.strip() or f"the API answered HTTP status {status}"
    if status == 404:
        return NotFoundError(message)
    if status == 403:
        return ForbiddenError(message)
    if status == 409:
        return ConflictError(message)
    if status == 503:
        return TransientError(message)
    if 400 <= status < 500:
        return InputError("refused", message)
    return PermanentError(message)
