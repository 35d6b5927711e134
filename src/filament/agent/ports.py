"""The local API with which Nova, CNI and the lab plug ports: TF's port IPC.

`POST /port` takes one port object or an array, `GET` and `DELETE /port/<uuid>` one port. Errors
have TF's shape and status: 500 `{"error": "{ text }"}`, 404 `{"error": "{ Not Found }"}`. An array
with one malformed port changes nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.agent.plug import UUID, Plug, parse_plug
from filament.base.errors import FilamentError, InputError
from filament.runtime.web import BodyTooLargeError, json_response, read_body


class PortHolder(Protocol):
    """Who plugs: changes are kept, and on their way to the data plane, on return."""

    def plug(self, plug: Plug) -> None:
        """Plug a port, or plug it again in another device."""

    def unplug(self, uuid: str) -> bool:
        """Unplug a port; False when there is none."""

    def plugged(self, uuid: str) -> Plug | None:
        """Return a plugged port."""


def port_routes(holder: PortHolder) -> list[Route]:
    """Return the routes of the port IPC."""

    async def post(request: Request) -> Response:
        try:
            for plug in _parse(await read_body(request)):
                holder.plug(plug)
        except FilamentError as error:
            status = 413 if isinstance(error, BodyTooLargeError) else 500
            return _error(str(error), status)
        return json_response({})

    async def get(request: Request) -> Response:
        plug = holder.plugged(_uuid(request))
        return json_response(plug.posted) if plug is not None else _not_found()

    async def delete(request: Request) -> Response:
        try:
            found = holder.unplug(_uuid(request))
        except FilamentError as error:
            return _error(str(error), 500)
        return json_response({}) if found else _not_found()

    return [
        Route("/port", post, methods=["POST"]),
        Route("/port/{uuid}", get, methods=["GET"]),
        Route("/port/{uuid}", delete, methods=["DELETE"]),
    ]


def _parse(body: bytes) -> list[Plug]:
    """Check a posted body whole, before anything is plugged."""
    try:
        posted: Any = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InputError("bad-json", f"the body is not JSON: {error}") from None
    return [parse_plug(one) for one in (posted if isinstance(posted, list) else [posted])]


def _uuid(request: Request) -> str:
    """Return the uuid of the path; one that TF would not match is no port's."""
    uuid = str(request.path_params["uuid"])
    return uuid if UUID.match(uuid) else ""


def _error(text: str, status: int) -> Response:
    return json_response({"error": f"{{ {text} }}"}, status=status)


def _not_found() -> Response:
    return _error("Not Found", 404)
