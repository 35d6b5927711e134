"""The door of the API: who a request comes from, and whether it may come in at all.

Everything that is not known to be safe for tenants is for cloud admins only, so that a new
endpoint is closed until somebody has thought about it. What a tenant may do with which object is
`api.permission`'s business.
"""

from __future__ import annotations

import hmac
import os
import re
from typing import Any, Literal, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from filament.api.caller import Caller, trusted
from filament.base.errors import FilamentError, ForbiddenError
from filament.model.kind import ROOT
from filament.model.kinds import KINDS
from filament.model.view import View
from filament.runtime.serve import AsgiApp
from filament.runtime.web import error_response, header

AaaMode = Literal["no-auth", "cloud-admin", "rbac"]

_CALLER = "filament.caller"
# What they say is the same for everybody, and in the documentation.
_OPEN_PATHS = frozenset({"/", "/openapi.json", "/filament/kinds"})
_READING_METHODS = frozenset({"GET", "HEAD"})
# Actions that only read, though they are POSTs.
_READING_ACTIONS = frozenset({"/fqname-to-id", "/id-to-fqname", "/list-bulk-collection"})
# Besides collections and objects: paths where `api.permission` is asked for every object touched.
TENANT_PATHS = frozenset(
    {
        *_READING_ACTIONS,
        "/filament/called",
        "/filament/counts",
        "/",
        f"/{ROOT}",
        "/ref-update",
        "/ref-relax-for-delete",
        "/prop-collection-get",
        "/prop-collection-update",
        "/obj-perms",
        "/chown",
        "/chmod",
        "/set-tag",
        "/transaction",
        "/watch",
    }
)
_TENANT_PATTERN = re.compile("/virtual-network/[^/]+/(ip-alloc|ip-free|subnet-ip-count)")
# The database as it is, hidden objects included.
_RAW_PATHS = frozenset({"/filament/snapshot", "/filament/log"})
_CONTROL_PATHS = frozenset({"/watch", "/filament/snapshot", "/filament/status", "/filament/report"})
_DEFAULT_DOMAIN = ("default-domain",)


class UnauthenticatedError(FilamentError):
    """The request does not prove who sends it: HTTP 401."""


class Credentials(msgspec.Struct, frozen=True):
    """What a request says about its sender: the Authorization and the X-Auth-Token header."""

    authorization: str = ""
    token: str = ""


class Verifier(Protocol):
    """A way to know people: the local file or keystone."""

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header of a 401."""

    async def verify(self, credentials: Credentials) -> Caller:
        """Who it is; UnauthenticatedError, or TransientError when nobody can say now."""

    async def close(self) -> None:
        """Give back what it holds."""


class Authentication(msgspec.Struct, frozen=True):
    """How this API knows its callers. Without `verifier` everybody may do everything.

    `control_token` is what control nodes on other machines prove themselves with.
    """

    verifier: Verifier | None = None
    aaa_mode: AaaMode = "cloud-admin"
    control_token: str = ""

    @property
    def is_on(self) -> bool:
        """Whether anything is checked."""
        return self.verifier is not None and self.aaa_mode != "no-auth"

    async def close(self) -> None:
        """Close the verifier."""
        if self.verifier is not None:
            await self.verifier.close()


OPEN = Authentication()


def caller_of(request: Request) -> Caller:
    """The caller that the guard has found."""
    caller: Caller = request.scope[_CALLER]
    return caller


def tenant_of(request: Request) -> str | None:
    """The project that owns what a request makes: the caller's. A cloud admin without one may name
    it in a header; from others that would be their own word.
    """
    caller = caller_of(request)
    if caller.project is None and caller.is_cloud_admin:
        return header(request.scope, b"x-project-id")
    return caller.project


class Guard:
    """ASGI middleware before every route. One per API process."""

    def __init__(self, app: AsgiApp, authentication: Authentication, places: Places) -> None:
        self.app = app
        self._authentication = authentication
        self._places = places

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it with 401, 403 or 503."""
        if scope["type"] == "http":
            try:
                scope[_CALLER] = (
                    await self._admitted(scope)
                    if self._authentication.is_on
                    else trusted(_program(scope))
                )
            except UnauthenticatedError as error:
                await self._challenge(error)(scope, receive, send)
                return
            except FilamentError as error:
                await error_response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _admitted(self, scope: Any) -> Caller:
        authentication = self._authentication
        path = _normal(scope["path"])
        given = Credentials(
            header(scope, b"authorization") or "", header(scope, b"x-auth-token") or ""
        )
        if given == Credentials():
            # A proxy on the socket passes its clients' credentials on, and then they count.
            if _is_ours(scope):
                return trusted(_program(scope))
            if path in _OPEN_PATHS:
                return Caller("nobody")
        if _is_control(given, authentication.control_token):
            if path not in _CONTROL_PATHS:
                raise ForbiddenError(
                    f"Permission Denied: a control node's token does not open {path};"
                    f" it opens {', '.join(sorted(_CONTROL_PATHS))}"
                )
            return trusted("control-node")
        assert authentication.verifier is not None
        caller = await authentication.verifier.verify(given)
        if caller.domain == "default":
            caller = msgspec.structs.replace(caller, domain=self._default_domain())
        self._require_admission(caller, scope["method"], path)
        return caller

    def _default_domain(self) -> str | None:
        domain = self._places.snapshot.named("domain", _DEFAULT_DOMAIN)
        return domain.uuid if domain is not None else None

    def _require_admission(self, caller: Caller, method: str, path: str) -> None:
        if caller.is_cloud_admin or path in _OPEN_PATHS:
            return
        if caller.is_global_reader and path in _RAW_PATHS:
            raise ForbiddenError(
                f"Permission Denied: {path} holds what is hidden as well: only a cloud admin may"
                " read it; GET /watch?resource_type=KIND tells every change of what you may read"
            )
        if caller.is_global_reader and (method in _READING_METHODS or path in _READING_ACTIONS):
            return
        if self._authentication.aaa_mode == "cloud-admin":
            raise ForbiddenError(
                f"Permission Denied: user {caller.user} with roles"
                f" {', '.join(sorted(caller.roles)) or 'none'} is no cloud admin, and aaa_mode is"
                " cloud-admin"
            )
        if not _is_for_tenants(path):
            raise ForbiddenError(
                f"Permission Denied: {path} concerns the whole database: only a cloud admin may"
                " use it"
            )

    def _challenge(self, error: UnauthenticatedError) -> Response:
        verifier = self._authentication.verifier
        challenge = verifier.challenge if verifier is not None else "Basic"
        response = Response(f"{error}\n", 401, {"WWW-Authenticate": challenge})
        response.headers["content-type"] = "text/plain; charset=utf-8"
        return response


class Places(Protocol):
    """Where the committed configuration is found."""

    @property
    def snapshot(self) -> View:
        """The committed snapshot."""


def _is_for_tenants(path: str) -> bool:
    if path in TENANT_PATHS or _TENANT_PATTERN.fullmatch(path):
        return True
    first, slash, rest = path[1:].partition("/")
    if not slash:
        return first.endswith("s") and first[:-1] in KINDS
    return "/" not in rest and first.replace("_", "-") in KINDS


def _normal(path: str) -> str:
    return path.rstrip("/") or "/"


def _is_ours(scope: Any) -> bool:
    """Whether the other end of a unix socket is root or runs as we do."""
    peer = scope.get("state", {}).get("peer_uid")
    return peer is not None and peer in {0, os.geteuid()}


def _is_control(given: Credentials, token: str) -> bool:
    scheme, _, secret = given.authorization.partition(" ")
    return bool(
        token
        and scheme.lower() == "bearer"
        and hmac.compare_digest(secret.strip().encode(), token.encode())
    )


def _program(scope: Any) -> str:
    return header(scope, b"x-contrail-useragent") or header(scope, b"user-agent") or "api"
