"""What every HTTP role shares: JSON by msgspec, bounded bodies, errors as statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    RevisionConflictError,
    TransientError,
)
from filament.base.limits import MAX_REQUEST_BYTES, REQUEST_BODY_TIMEOUT_S

EXCHANGE = "filament.exchange"  # where in the state of a request our server offers an Exchange
Handler = Callable[[Request], Awaitable[Response]]
_encoder = msgspec.json.Encoder()


class Exchange(Protocol):
    """A request and its answer without ASGI's messages, which cost more than most handlers."""

    def whole_body(self) -> bytes | None:
        """The body of the request if all of it has arrived, None if it must be waited for."""

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer; False when it must be sent by messages."""


class WholeResponse(Response):
    """A response whose body is there: Starlette's in a third of its time. `headers` name neither
    the body's length nor its type.
    """

    def __init__(
        self, body: bytes, status: int, headers: Mapping[str, str] | None, media_type: bytes
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type)]
        if headers:
            self.raw_headers += [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in headers.items()
            ]


class BodyTooLargeError(InputError):
    """The request body exceeds the limit: HTTP 413."""


class SlowBodyError(InputError):
    """The request body took too long to arrive: HTTP 408, and the connection is closed."""


class MediaTypeError(InputError):
    """The request body says it is something else than JSON: HTTP 415."""


# The first that fits counts.
_STATUS: tuple[tuple[type[FilamentError], int], ...] = (
    (BodyTooLargeError, 413),
    (SlowBodyError, 408),
    (MediaTypeError, 415),
    (InputError, 400),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (PreconditionError, 412),
    (QuotaError, 412),
    (TransientError, 503),
)


def header(scope: Any, name: bytes) -> str | None:
    """A header of a request by its lower-case name. Starlette's own look-up costs as much as all
    of routing.
    """
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode any msgspec-encodable value."""
    return WholeResponse(_encoder.encode(value), status, headers, b"application/json")


def text_response(
    text: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A plain text."""
    return WholeResponse(text.encode(), status, headers, b"text/plain; charset=utf-8")


def error_response(error: FilamentError) -> Response:
    """Answer an error as plain text with the status of its class, as TF's API does."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    headers: dict[str, str] = {}
    if isinstance(error, SlowBodyError):
        headers["Connection"] = "close"  # what arrives later is no request
    if isinstance(error, PreconditionError | RevisionConflictError):
        headers["X-Filament-Revision"] = str(error.revision)
    return PlainTextResponse(f"{error}\n", status, headers=headers)


async def read_body(
    request: Request,
    limit: int = MAX_REQUEST_BYTES,
    timeout_s: float = REQUEST_BODY_TIMEOUT_S,
) -> bytes:
    """Read a JSON body, refusing it as soon as it exceeds `limit` bytes or `timeout_s` is over.

    A body without a content type is taken for JSON; one that says it is something else is refused
    unread, which also keeps web pages of other origins from posting forms to us.
    """
    given = header(request.scope, b"content-type") or ""
    kind = given.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        if not _has_body(request):
            return b""
        raise MediaTypeError(
            "not-json", f"the body is {kind}", hint="send it as Content-Type: application/json"
        )
    exchange = _exchange(request.scope)
    whole = exchange.whole_body() if exchange is not None else None
    if whole is not None and len(whole) <= limit:
        return whole
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_bounded(request, limit)
    except TimeoutError:
        raise SlowBodyError(
            "slow-body", f"the request body did not arrive within {timeout_s:g} s", hint="try again"
        ) from None


def _has_body(request: Request) -> bool:
    length = header(request.scope, b"content-length")
    return length not in {None, "0"} or header(request.scope, b"transfer-encoding") is not None


async def _read_bounded(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(
                "body-too-large",
                f"the request body exceeds {limit} bytes",
                hint="send less at once",
            )
        chunks.append(chunk)
    return b"".join(chunks)


def answering_errors(handler: Handler) -> Handler:
    """Wrap a handler so that FilamentErrors become responses; anything else is our bug."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except FilamentError as error:
            return error_response(error)

    return answer


Handlers = Mapping[str, Handler]  # by method
_WHOLE = frozenset({Response, PlainTextResponse, WholeResponse})  # their body is all of the answer


class Routes:
    """An ASGI application that finds the handler of a path without trying every route.

    `handlers_by_path` maps paths (`/{name}` stands for one segment) to handlers; where several
    fit, the first does. What no route answers (404, 405, a slash too many) is Starlette's.
    """

    def __init__(self, handlers_by_path: Mapping[str, Handlers]) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._shaped: dict[int, list[tuple[list[str], dict[str, Handler]]]] = {}
        routes = []
        for path, given in handlers_by_path.items():
            handlers = {method: answering_errors(handler) for method, handler in given.items()}
            if "GET" in handlers:
                handlers["HEAD"] = handlers["GET"]
            routes.append(Route(path, _by_method(handlers), methods=list(given)))
            if "{" in path:
                segments = path.split("/")
                self._shaped.setdefault(len(segments), []).append((segments, handlers))
            else:
                self._exact[path] = handlers
        self._rest = Starlette(routes=routes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        found = self._find(scope["path"]) if scope["type"] == "http" else None
        handler = found[0].get(scope["method"]) if found is not None else None
        if found is None or handler is None:
            await self._rest(scope, receive, send)
            return
        scope["path_params"] = found[1]
        response = await handler(Request(scope, receive, send))
        exchange = _exchange(scope)
        is_whole = type(response) in _WHOLE and response.background is None
        if (
            exchange is None
            or not is_whole
            or not exchange.answer(response.status_code, response.raw_headers, bytes(response.body))
        ):
            await response(scope, receive, send)

    def _find(self, path: str) -> tuple[dict[str, Handler], dict[str, str]] | None:
        handlers = self._exact.get(path)
        if handlers is not None:
            return handlers, {}
        given = path.split("/")
        for segments, handlers in self._shaped.get(len(given), ()):
            parameters: dict[str, str] = {}
            for wanted, segment in zip(segments, given, strict=True):
                if wanted.startswith("{") and segment:
                    parameters[wanted[1:-1]] = segment
                elif wanted != segment:
                    break
            else:
                return handlers, parameters
        return None


def _exchange(scope: Any) -> Exchange | None:
    exchange: Exchange | None = (scope.get("state") or {}).get(EXCHANGE)
    return exchange


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers[request.method](request)

    return handle
