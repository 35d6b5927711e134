"""Keystone's identity API v3, as far as a service needs it to know its callers.

Source: the Identity API v3 reference, "Authentication and token management".
"""

from __future__ import annotations

import ssl
from datetime import datetime

import httpx2
import msgspec

from filament.base.errors import PermanentError, TransientError

_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 16


class _Named(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Scoped(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    domain: _Named | None = None


class Token(msgspec.Struct, frozen=True):
    """What keystone says about a token: `project` or `domain` is its scope, if it has one."""

    user: _Scoped
    expires_at: str
    roles: tuple[_Named, ...] = ()
    project: _Scoped | None = None
    domain: _Named | None = None

    @property
    def expires(self) -> float:
        """When it expires, in epoch seconds."""
        return datetime.fromisoformat(self.expires_at).timestamp()


class _Answer(msgspec.Struct, frozen=True):
    token: Token


class ServiceUser(msgspec.Struct, frozen=True):
    """The user as which tokens are validated."""

    name: str
    password: str
    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"


_answer = msgspec.json.Decoder(_Answer)


class KeystoneClient:
    """Asynchronous access to one keystone; holds the service's own token. One per process."""

    def __init__(self, url: str, user: ServiceUser, context: ssl.SSLContext | None = None) -> None:
        """`url` is the identity endpoint, with or without `/v3`."""
        self._url = url.rstrip("/").removesuffix("/v3") + "/v3/auth/tokens"
        self._user = user
        self._token = ""
        limits = httpx2.Limits(max_connections=_MAX_CONNECTIONS)
        transport = httpx2.AsyncHTTPTransport(verify=context or True, limits=limits)
        # No proxies from the environment: keystone is on our own network.
        self._http = httpx2.AsyncClient(transport=transport, timeout=_TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def validate(self, token: str) -> Token | None:
        """What keystone says about a token; None when it does not accept it.

        Raises TransientError when keystone does not answer, PermanentError when it refuses us.
        """
        response = await self._ask(token)
        if response.status_code == httpx2.codes.UNAUTHORIZED:  # our own token has expired
            self._token = ""
            response = await self._ask(token)
        if response.status_code == httpx2.codes.NOT_FOUND:
            return None
        self._require(response, httpx2.codes.OK, "validates no tokens")
        try:
            return _answer.decode(response.content).token
        except msgspec.DecodeError as error:
            raise TransientError(f"keystone at {self._url} answers strangely: {error}") from error

    async def _ask(self, token: str) -> httpx2.Response:
        if not self._token:
            self._token = await self.issue()
        headers = {"X-Auth-Token": self._token, "X-Subject-Token": token}
        return await self._request("GET", "?nocatalog", headers=headers)

    async def issue(self) -> str:
        """Ask for a token of the service user, scoped to its project."""
        user = self._user
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {
                            "name": user.name,
                            "domain": {"name": user.user_domain},
                            "password": user.password,
                        }
                    },
                },
                "scope": {
                    "project": {"name": user.project, "domain": {"name": user.project_domain}}
                },
            }
        }
        response = await self._request("POST", "?nocatalog", content=msgspec.json.encode(body))
        self._require(response, httpx2.codes.CREATED, f"refuses the service user {user.name}")
        token: str = response.headers["X-Subject-Token"]
        return token

    async def _request(
        self,
        method: str,
        query: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx2.Response:
        given = {"Content-Type": "application/json"} | (headers or {})
        try:
            return await self._http.request(
                method, self._url + query, headers=given, content=content
            )
        except httpx2.HTTPError as error:
            raise TransientError(
                f"keystone at {self._url} does not answer ({error or type(error).__name__}):"
                " nobody can be authenticated now"
            ) from error

    def _require(self, response: httpx2.Response, status: int, what: str) -> None:
        if response.status_code == status:
            return
        text = f"keystone at {self._url} {what}: it answered {response.status_code}"
        if response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise TransientError(text)
        raise PermanentError(f"{text}; check [api.keystone] of the settings")
