"""HTTP to engine and back: contrail-api's routes, derived from the registry, and Filament's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from filament.api import links
from filament.api.action_routes import ActionRoutes
from filament.api.auth import OPEN, Authentication, Guard, caller_of, tenant_of
from filament.api.barrier import Barrier, Report
from filament.api.catalog import (
    CATALOG,
    REFUSED,
    CalledAnswer,
    CalledObject,
    KindAnswer,
    NameBody,
    UuidBody,
)
from filament.api.engine import ConfigEngine
from filament.api.history import HistoryRoutes
from filament.api.journal import Journal
from filament.api.listing import answer_list, check_fields, parse_query
from filament.api.openapi import document
from filament.api.permission import READ, Access
from filament.api.render import Include, Reader, href
from filament.api.request import Create, Delete, Prepared, Update
from filament.api.watching import Watches
from filament.api.writer import Writer
from filament.api.writing import Writing, revision_of
from filament.base.errors import InputError, NotFoundError
from filament.model.body import decode, decode_body
from filament.model.kinds import KINDS
from filament.runtime.web import Handler, Routes, header, json_response, read_body

_SNAPSHOT_CHUNK = 500
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_JSON = "application/json"


_name = msgspec.json.Decoder(NameBody)
_uuid = msgspec.json.Decoder(UuidBody)
_report = msgspec.json.Decoder(Report)
_any_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode
_OF_KINDS = (
    ("/{name}", "GET", "list"),
    ("/{name}", "POST", "create"),
    ("/{name}/{uuid}", "GET", "read"),
    ("/{name}/{uuid}", "PUT", "update"),
    ("/{name}/{uuid}", "DELETE", "delete"),
)


class Api:
    """The HTTP face of one configuration engine."""

    def __init__(
        self,
        engine: ConfigEngine,
        writer: Writer,
        journal: Journal,
        barrier: Barrier,
        status: Callable[[], dict[str, Any]],
        authentication: Authentication = OPEN,
    ) -> None:
        self._engine = engine
        self._barrier = barrier
        self._status = status
        self._authentication = authentication
        self._writing = Writing(engine, writer, barrier)
        self._actions = ActionRoutes(engine, self._writing, authentication)
        self.watches = Watches(engine, writer, journal, barrier.gone)
        self._owners = (self, self._actions, HistoryRoutes(engine, writer))

    def application(self) -> Guard:
        """The ASGI application."""
        routes: dict[str, dict[str, Handler]] = {}
        for entry in CATALOG:
            owner = next(one for one in self._owners if hasattr(one, entry.handler))
            routes.setdefault(entry.path, {})[entry.method] = getattr(owner, entry.handler)
        for path, method, _ in REFUSED.values():
            routes.setdefault(path, {})[method] = self._actions.refused
        for path, method, handler in _OF_KINDS:
            routes.setdefault(path, {})[method] = getattr(self, handler)
        return Guard(Routes(routes), self._authentication, self._engine)

    def _access(self, request: Request) -> Access:
        return self._engine.access(caller_of(request))

    def _reader(self, request: Request) -> Reader:
        access = self._access(request)
        sees = access.sees if access.is_restricted else None
        return Reader(self._engine.snapshot, self._engine.shown, sees)

    # -- reading -----------------------------------------------------------------------------

    async def home(self, request: Request) -> Response:
        """GET /."""
        return json_response(links.home_page(_base(request)))

    async def list(self, request: Request) -> Response:
        """GET /<kind>s."""
        kind = KINDS.collected(request.path_params["name"])
        self._access(request).require_rule(kind.name, "R")
        reader = self._reader(request)
        query = parse_query(reader, kind, request.query_params, tenant_of(request) or "")
        return json_response(await answer_list(reader, kind, query, _base(request)))

    async def list_bulk(self, request: Request) -> Response:
        """POST /list-bulk-collection: a list whose query is too long for a URL."""
        given = decode(_any_object, await read_body(request))
        if not isinstance(given.get("type"), str):
            raise InputError(
                "no-type", "list-bulk-collection needs a type", path="$.type", hint="name a kind"
            )
        kind = KINDS.named(given["type"])
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted.get("exclude_hrefs", True):
            del wanted["exclude_hrefs"]
        self._access(request).require_rule(kind.name, "R")
        reader = self._reader(request)
        query = parse_query(reader, kind, wanted, tenant_of(request) or "")
        return json_response(await answer_list(reader, kind, query, _base(request)))

    async def read(self, request: Request) -> Response:
        """GET /<kind>/<uuid>."""
        kind = KINDS.named(request.path_params["name"])
        uuid = request.path_params["uuid"]
        access = self._access(request)
        access.require_rule(kind.name, "R")
        access.require_own(kind, uuid, READ)
        item = self._engine.find(self._engine.snapshot, kind, uuid)
        query = request.query_params
        fields = [one for one in query.get("fields", "").split(",") if one]
        check_fields(kind, fields)
        modified = item.props.get("id_perms", {}).get("last_modified")
        tags = {"ETag": f'"{modified}"'} if modified else {}  # objects from the plan have none
        if modified and request.headers.get("if-none-match") == tags["ETag"]:
            return Response(status_code=304)
        include = Include(
            fields=frozenset(fields) if fields else None,
            children="exclude_children" not in query,
            back_references="exclude_back_refs" not in query,
            links="exclude_hrefs" not in query,
        )
        answer = {kind.name: self._reader(request).full(item, _base(request), include)}
        return json_response(answer, headers=tags)

    async def name_to_id(self, request: Request) -> Response:
        """POST /fqname-to-id."""
        given = decode(_name, await read_body(request))
        kind = KINDS.named(given.type)
        access = self._access(request)
        access.require_action("fqname-to-id")
        item = self._engine.find_named(self._engine.snapshot, kind, tuple(given.fq_name))
        if access.is_hidden(item):
            raise NotFoundError(f"Name {given.fq_name} not found: there is no such {kind.name}")
        access.require(item, READ, item.name)
        return json_response({"uuid": item.uuid})

    async def id_to_name(self, request: Request) -> Response:
        """POST /id-to-fqname."""
        given = decode(_uuid, await read_body(request))
        access = self._access(request)
        access.require_action("id-to-fqname")
        item = self._reader(request).get(given.uuid)
        if item is None:
            raise NotFoundError(f"UUID {given.uuid} not found: no object has it")
        return json_response({"fq_name": list(item.fq_name), "type": item.kind})

    # -- writing -----------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """POST /<kind>s."""
        kind = KINDS.collected(request.path_params["name"])
        body = decode_body(kind, await read_body(request))
        write = Create(kind.name, body, tenant_of(request))
        reader = self._reader(request)

        def shape(prepared: Prepared) -> Any:
            assert prepared.object is not None
            return {kind.name: reader.identity(prepared.object, _base(request), Include())}

        return await self._writing.answer(request, write, shape)

    async def update(self, request: Request) -> Response:
        """PUT /<kind>/<uuid>."""
        kind = KINDS.named(request.path_params["name"])
        uuid = request.path_params["uuid"]
        body = decode_body(kind, await read_body(request))
        answer = {kind.name: {"uuid": uuid, "href": href(_base(request), kind.name, uuid)}}
        write = Update(kind.name, uuid, body)
        return await self._writing.answer(request, write, lambda _: answer)

    async def delete(self, request: Request) -> Response:
        """DELETE /<kind>/<uuid>."""
        kind = KINDS.named(request.path_params["name"])
        write = Delete(kind.name, request.path_params["uuid"])
        return await self._writing.answer(request, write)

    # -- Filament's own ----------------------------------------------------------------------

    async def watch(self, request: Request) -> Response:
        """GET /watch."""
        return await self.watches.open(request, _base(request))

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return json_response(document(_base(request)))

    async def snapshot(self, request: Request) -> Response:
        """GET /filament/snapshot: what a control node starts from."""
        del request
        view = self._engine.snapshot
        # Taken now, written later: the lists are of this revision, whatever is committed since.
        revision, objects, allocations = (
            view.revision,
            list(view.objects()),
            list(view.allocations()),
        )

        async def parts() -> AsyncIterator[bytes]:
            yield b'{"revision":%d,"objects":[' % revision
            for start in range(0, len(objects), _SNAPSHOT_CHUNK):
                chunk = objects[start : start + _SNAPSHOT_CHUNK]
                yield (b"," if start else b"") + b",".join(map(_encode, chunk))
                await asyncio.sleep(0)
            yield b'],"allocations":'
            yield _encode(allocations) + b"}"

        return StreamingResponse(parts(), media_type=_JSON)

    async def status(self, request: Request) -> Response:
        """GET /filament/status[?wait=control|agents[&revision=N][&timeout_s=S]]."""
        headers: dict[str, str] = {}
        given = request.query_params.get("revision")
        current = self._engine.snapshot.revision
        revision = revision_of(given, "revision") if given else current
        code = await self._writing.reached(request, revision, headers)
        answer = self._status() | {
            "revision": self._engine.snapshot.revision,
            "controls": {report.control: report for report in self._barrier.live()},
        }
        return json_response(answer, status=code, headers=headers)

    async def counts(self, request: Request) -> Response:
        """GET /filament/counts."""
        access, reader = self._access(request), self._reader(request)
        kinds = [kind for kind in KINDS.values() if access.may_list(kind.name)]
        return json_response({kind.name: reader.count(kind) for kind in kinds})

    async def kinds(self, request: Request) -> Response:
        """GET /filament/kinds."""
        del request
        return json_response(
            {
                kind.name: KindAnswer(kind.parents, tuple(kind.references), kind.columns)
                for kind in KINDS.values()
            }
        )

    async def called(self, request: Request) -> Response:
        """GET /filament/called?name=NAME[&type=KIND]."""
        query = request.query_params
        name, wanted = query.get("name", ""), query.get("type", "")
        access = self._access(request)
        if not name:
            raise InputError("no-name", "called by no name", path="name", hint="give a name")
        if wanted:
            access.require_rule(KINDS.named(wanted).name, "R")
        kinds = {
            kind.name: kind
            for kind in ([KINDS.named(wanted)] if wanted else KINDS.values())
            if access.may_list(kind.name)
        }
        reader = self._reader(request)
        found = [
            item for item in self._engine.called(name) if item.kind in kinds and reader.sees(item)
        ]
        for kind in kinds.values():
            if kind.rendered_from:
                found += reader.rendered_called(kind, name)
        return json_response(
            CalledAnswer(
                [
                    CalledObject(
                        item.kind,
                        item.uuid,
                        list(item.fq_name),
                        item.props.get("display_name") or "",
                    )
                    for item in found
                ]
            )
        )

    async def report(self, request: Request) -> Response:
        """POST /filament/report: a control node tells how far it and its agents are."""
        self._barrier.take(decode(_report, await read_body(request)))
        return json_response({"revision": self._engine.snapshot.revision})


def _base(request: Request) -> str:
    host = header(request.scope, b"host")
    if host is None or not _HOST.fullmatch(host):
        return f"{request.url.scheme}://{request.url.netloc}"  # as Starlette makes of it
    return f"{request.scope['scheme']}://{host}"
