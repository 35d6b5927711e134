"""HTTP to engine and back: contrail-api's routes, derived from the registry, and Filament's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from filament.api import links
from filament.api.auth import OPEN, Authentication, Guard, caller_of
from filament.api.barrier import Barrier, Report, Wait
from filament.api.engine import ConfigEngine, Create, Delete, Prepared, RefUpdate, Update
from filament.api.engine import Request as Write
from filament.api.journal import Journal, event_of
from filament.api.listing import answer_list, check_fields, parse_query
from filament.api.permission import READ, Access
from filament.api.render import Include, Reader
from filament.api.writer import Writer
from filament.base.errors import InputError, NotFoundError
from filament.model.body import RefBody, decode, decode_body
from filament.model.kind import nearest
from filament.model.kinds import KINDS
from filament.runtime.web import answering_errors, json_response, read_body

KEEP_ALIVE_S = 15.0
MAX_WAIT_S = 300.0
_DEFAULT_WAIT_S = 10.0
_WATCH_CHUNK = 200  # commits per turn, so that one watcher does not hold the loop
_SNAPSHOT_CHUNK = 500
_JSON = "application/json"


class _RefUpdateBody(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    type: str
    uuid: str
    ref_type: str
    operation: Literal["ADD", "DELETE"]
    ref_uuid: str | None = None
    ref_fq_name: list[str] | None = None
    attr: dict[str, Any] | None = None


class _NameBody(msgspec.Struct):
    type: str
    fq_name: list[str]


class _UuidBody(msgspec.Struct):
    uuid: str


_ref_update = msgspec.json.Decoder(_RefUpdateBody)
_name = msgspec.json.Decoder(_NameBody)
_uuid = msgspec.json.Decoder(_UuidBody)
_report = msgspec.json.Decoder(Report)
_any_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


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
        self._writer = writer
        self._journal = journal
        self._barrier = barrier
        self._status = status
        self._authentication = authentication

    def application(self) -> Guard:
        """The ASGI application."""
        listed: list[tuple[str, list[str], Callable[[Request], Any]]] = [
            ("/", ["GET"], self.home),
            ("/config-root", ["GET"], self.home),
            ("/fqname-to-id", ["POST"], self.name_to_id),
            ("/id-to-fqname", ["POST"], self.id_to_name),
            ("/ref-update", ["POST"], self.ref_update),
            ("/list-bulk-collection", ["POST"], self.list_bulk),
            ("/watch", ["GET"], self.watch),
            ("/filament/snapshot", ["GET"], self.snapshot),
            ("/filament/status", ["GET"], self.status),
            ("/filament/report", ["POST"], self.report),
            ("/{collection}", ["GET"], self.list),
            ("/{collection}", ["POST"], self.create),
            ("/{kind}/{uuid}", ["GET"], self.read),
            ("/{kind}/{uuid}", ["PUT"], self.update),
            ("/{kind}/{uuid}", ["DELETE"], self.delete),
        ]
        routes: dict[str, dict[str, Callable[[Request], Any]]] = {}
        for path, methods, handler in listed:
            shape = path.replace("{collection}", "{name}").replace("{kind}", "{name}")
            routes.setdefault(shape, {}).update(dict.fromkeys(methods, handler))
        application = Starlette(
            routes=[
                Route(path, answering_errors(_by_method(handlers)), methods=list(handlers))
                for path, handlers in routes.items()
            ]
        )
        return Guard(application, self._authentication, self._engine)

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
        query = parse_query(reader, kind, request.query_params)
        return json_response(answer_list(reader, kind, query, _base(request)))

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
        query = parse_query(reader, kind, wanted)
        return json_response(answer_list(reader, kind, query, _base(request)))

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
        caller = caller_of(request)
        tenant = caller.project or request.headers.get("x-project-id")
        if not caller.is_cloud_admin:
            tenant = caller.project  # the header is the caller's own word
        prepared = await self._write(request, Create(kind.name, body, tenant))
        answer = self._reader(request).identity(prepared.object, _base(request), Include())
        return await self._written(request, prepared, {kind.name: answer})

    async def update(self, request: Request) -> Response:
        """PUT /<kind>/<uuid>."""
        kind = KINDS.named(request.path_params["name"])
        uuid = request.path_params["uuid"]
        body = decode_body(kind, await read_body(request))
        prepared = await self._write(request, Update(kind.name, uuid, body))
        answer = {"uuid": uuid, "href": f"{_base(request)}/{kind.name}/{uuid}"}
        return await self._written(request, prepared, {kind.name: answer})

    async def delete(self, request: Request) -> Response:
        """DELETE /<kind>/<uuid>."""
        kind = KINDS.named(request.path_params["name"])
        prepared = await self._write(request, Delete(kind.name, request.path_params["uuid"]))
        return await self._written(request, prepared, None)

    async def ref_update(self, request: Request) -> Response:
        """POST /ref-update."""
        given = decode(_ref_update, await read_body(request))
        kind, target = KINDS.named(given.type), KINDS.named(given.ref_type)
        if not given.ref_uuid and not given.ref_fq_name:
            raise InputError(
                "no-reference",
                "ref-update names no object to refer to",
                path="$.ref-uuid",
                hint="give ref-uuid or ref-fq-name",
            )
        ref = RefBody(
            target.name, tuple(given.ref_fq_name or ()) or None, given.ref_uuid or None, given.attr
        )
        write = RefUpdate(kind.name, given.uuid, ref, given.operation)
        prepared = await self._write(request, write)
        return await self._written(request, prepared, {"uuid": given.uuid})

    async def _write(self, request: Request, write: Write) -> Prepared:
        _wait_of(request)  # refuse a bad query before anything is written
        return await self._writer.submit(write, caller_of(request))

    async def _written(self, request: Request, prepared: Prepared, answer: Any) -> Response:
        """Answer a write that is durable; wait for those the caller wants to have applied it."""
        commit = prepared.commit
        revision = commit.revision if commit is not None else self._engine.snapshot.revision
        headers = {"X-Filament-Revision": str(revision)}
        status = 200
        wait, timeout_s = _wait_of(request)
        if wait is not None:
            lagging = await self._barrier.reached(wait, revision, timeout_s)
            if lagging:
                status = 202
                headers["X-Filament-Wait"] = f"timeout; waiting for {', '.join(lagging)}"
        if answer is None:
            return PlainTextResponse("", status, headers=headers)
        return json_response(answer, status=status, headers=headers)

    # -- Filament's own ----------------------------------------------------------------------

    async def watch(self, request: Request) -> Response:
        """GET /watch?after=REV: every later commit as a server-sent event."""
        text = request.query_params.get("after", "")
        if not (text.isascii() and text.isdigit()):
            raise InputError(
                "bad-revision",
                f"watch needs a revision to start after, not '{text}'",
                path="after",
                hint="GET /filament/snapshot and watch after its revision",
            )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._events(int(text)), media_type="text/event-stream", headers=headers
        )

    async def _events(self, after: int) -> AsyncIterator[bytes]:
        journal = self._journal
        yield b": watching\n\n"
        while not journal.is_closed:
            if after > journal.last:
                yield b"event: relist\ndata: {}\n\n"
                return
            if after == journal.last:
                if not await journal.changed(after, KEEP_ALIVE_S) and not journal.is_closed:
                    yield b": keep-alive\n\n"
                continue
            if after >= journal.first - 1:
                events = journal.after(after, _WATCH_CHUNK)
            else:
                try:
                    commits = await self._writer.history(after, _WATCH_CHUNK)
                except NotFoundError:
                    yield b"event: relist\ndata: {}\n\n"
                    return
                events = [event_of(commit) for commit in commits]
            after += len(events)
            yield b"".join(events)

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
        wait, timeout_s = _wait_of(request)
        code, headers = 200, {}
        if wait is not None:
            text = request.query_params.get("revision") or str(self._engine.snapshot.revision)
            if not (text.isascii() and text.isdigit()):
                raise InputError("bad-revision", f"'{text}' is not a revision", path="revision")
            lagging = await self._barrier.reached(wait, int(text), timeout_s)
            if lagging:
                code = 202
                headers["X-Filament-Wait"] = f"timeout; waiting for {', '.join(lagging)}"
        answer = self._status() | {
            "revision": self._engine.snapshot.revision,
            "controls": {report.control: report for report in self._barrier.live()},
        }
        return json_response(answer, status=code, headers=headers)

    async def report(self, request: Request) -> Response:
        """POST /filament/report: a control node tells how far it and its agents are."""
        self._barrier.take(decode(_report, await read_body(request)))
        return json_response({"revision": self._engine.snapshot.revision})


def _by_method(handlers: dict[str, Callable[[Request], Any]]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        response: Response = await handlers[method](request)
        return response

    return handle


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _wait_of(request: Request) -> tuple[Wait | None, float]:
    query = request.query_params
    wait = query.get("wait")
    text = query.get("timeout_s") or str(_DEFAULT_WAIT_S)
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = -1.0
    if not 0 <= timeout_s <= MAX_WAIT_S:
        raise InputError(
            "bad-timeout",
            f"timeout_s '{text}' is not a number of seconds",
            path="timeout_s",
            hint=f"use 0 to {MAX_WAIT_S:.0f}",
        )
    if wait == "control":
        return "control", timeout_s
    if wait == "agents":
        return "agents", timeout_s
    if wait not in {None, "", "none"}:
        raise InputError(
            "bad-wait",
            f"wait '{wait}' is not known",
            path="wait",
            hint=nearest(wait or "", ("control", "agents")) or "use control or agents",
        )
    return None, timeout_s
