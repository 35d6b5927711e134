"""What every HTTP role shares: JSON by msgspec, bounded bodies, errors as statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
    TransientError,
)
from filament.base.limits import MAX_REQUEST_BYTES

Handler = Callable[[Request], Awaitable[Response]]
_encoder = msgspec.json.Encoder()
_STATUS = (
    (InputError, 400),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TransientError, 503),
)


class BodyTooLargeError(InputError):
    """The request body exceeds the limit: HTTP 413."""


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode any msgspec-encodable value."""
    return Response(_encoder.encode(value), status, headers=headers, media_type="application/json")


def error_response(error: FilamentError) -> Response:
    """Answer an error as plain text with the status of its class, as TF's API does."""
    status = 413 if isinstance(error, BodyTooLargeError) else 500
    if status != 413:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    return PlainTextResponse(f"{error}\n", status)


async def read_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """Read a request body, refusing it as soon as it exceeds `limit` bytes."""
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
