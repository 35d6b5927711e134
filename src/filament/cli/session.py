"""One run of the command line: where the API is, and requests to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from filament.client.http import quoted
from filament.client.sync import Answer, Client
from filament.client.trust import trust_of

DEFAULT_API = "http://127.0.0.1:8082"
DEFAULT_RUN = "/run/filament"
TIMEOUT_S = 10.0
Written = Answer


class Session:
    """Where this run of the command line finds things; one per process, made from options.

    Keeps one connection to the API while a command asks several questions.
    """

    def __init__(self, run_dir: str | None, api_address: str | None) -> None:
        self.run_dir = Path(run_dir or DEFAULT_RUN)
        self.run_dir_is_given = run_dir is not None
        self.api_address = api_address or default_api(self.run_dir)
        self.kinds: dict[str, dict[str, list[str]]] | None = None  # filled by names.kinds
        self.timeout_s = TIMEOUT_S
        self._client: Client | None = None

    def close(self) -> None:
        """Close the connection to the API, if one is open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str, **query: str) -> Any:
        """GET a JSON value from the API; empty query values are left out."""
        return self._request("GET", path, None, query).value

    def change(
        self,
        method: str,
        path: str,
        body: object,
        *,
        wait: str = "none",
        timeout_s: float = 10.0,
        **query: str,
    ) -> Written:
        """Send a change; with `wait` the API answers when `control` or `agents` have applied it.

        The answer's `lagging` names who had not when `timeout_s` was over.
        """
        if wait == "none":
            return self._request(method, path, body, query)
        query |= {"wait": wait, "timeout_s": f"{timeout_s:g}"}
        with self._connect(self.timeout_s + timeout_s) as patient:
            return patient.request(method, quoted(path), body, **query)

    def _request(self, method: str, path: str, body: object, query: dict[str, str]) -> Answer:
        if self._client is None:
            self._client = self._connect(self.timeout_s)
        return self._client.request(method, quoted(path), body, **query)

    def _connect(self, patience_s: float) -> Client:
        trust = trust_of(os.environ)
        return Client(self.api_address, timeout_s=patience_s, who="filament", trust=trust)


def default_api(run_dir: Path) -> str:
    """Return the API of this machine: its unix socket when there is one, else TF's port."""
    api_socket = run_dir / "api.sock"
    return f"unix:{api_socket}" if api_socket.exists() else DEFAULT_API
