"""HTTP introspect: `/Snh_<Request>?x=...` as Sandesh XML, or as HTML for those who prefer that.

An answer is written in slices between which everybody else has a turn: a curious person must not
delay a keepalive, however long the table. How many are written at once and how long one may take
is bounded. GET only; nothing here changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from filament.base.errors import FilamentError, NotFoundError, TransientError
from filament.base.limits import INTROSPECT_TIMEOUT_S, MAX_INTROSPECT_ANSWERS
from filament.runtime.clock import now
from filament.runtime.log import logger
from filament.runtime.web import error_response
from filament.wire.sandesh import page
from filament.wire.sandesh.query import Query, find_request, read_query
from filament.wire.sandesh.schema import Schema
from filament.wire.sandesh.xml import MEDIA_TYPE, STYLESHEET, Message, Values, write

Messages = Iterable["Message | None"]
Answer = Callable[[Query], "Messages | Awaitable[Messages]"]

SLICE_S = 0.002  # of writing; then others have as long before it goes on
_CHUNK_BYTES = 65_536
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}
_log = logger("introspect")


def answer_with(name: str, values: Values) -> Messages:
    """Make an answer of one message."""
    return (Message(name, values),)


class Introspect:
    """The introspect of one process: what may be asked (`schema`) and who answers.

    `answers` has a function for every request of the schema; those in `lists` answer with a
    list of messages even when there is one. Called from the task that owns what is looked at.
    """

    def __init__(
        self,
        title: str,
        schema: Schema,
        answers: Mapping[str, Answer],
        *,
        lists: frozenset[str] = frozenset(),
    ) -> None:
        assert answers.keys() == schema.requests.keys(), (
            f"{sorted(answers.keys() ^ schema.requests.keys())}: requests and answers differ"
        )
        self.title = title
        self.schema = schema
        self.answers = answers
        self.lists = lists
        self._writing = 0

    def application(self) -> Starlette:
        """Return the web application."""
        return Starlette(
            routes=[
                Route("/", self._index),
                Route(f"/{STYLESHEET}", _stylesheet),
                Route("/{module}.xml", self._module),
                Route("/Snh_{name}", self._ask),
                Route("/xml/Snh_{name}", self._ask_xml),
                Route("/{path:path}", self._lost),
            ]
        )

    async def _index(self, request: Request) -> Response:
        del request
        return HTMLResponse(page.index_page(self.schema, self.title), headers=_HEADERS)

    async def _module(self, request: Request) -> Response:
        name = str(request.path_params["module"])
        module = self.schema.modules.get(name)
        if module is None:
            known = ", ".join(self.schema.modules)
            return self._error(request, NotFoundError(f"no module {name!r:.64}; there are {known}"))
        text = page.module_page(self.schema, module, self.title)
        return HTMLResponse(text, headers=_HEADERS)

    async def _lost(self, request: Request) -> Response:
        path = request.url.path
        error = NotFoundError(
            f"no page {path!r:.64}; / lists the modules, /Snh_NAME?... asks a request"
        )
        return self._error(request, error)

    async def _ask(self, request: Request) -> Response:
        return await self._respond(request, as_page=_wants_page(request))

    async def _ask_xml(self, request: Request) -> Response:
        return await self._respond(request, as_page=False)

    async def _respond(self, request: Request, *, as_page: bool) -> Response:
        name, text = str(request.path_params["name"]), request.url.query
        try:
            if self._writing >= MAX_INTROSPECT_ANSWERS:
                raise TransientError(
                    f"{self._writing} questions are being answered, which is the most at once;"
                    " ask again in a moment"
                )
            asked = find_request(self.schema, name)
            query = read_query(asked, text)
            made = self.answers[name](query)
            messages = await made if isinstance(made, Awaitable) else made
        except FilamentError as error:
            return self._error(request, error)
        pieces: Iterator[str]
        if as_page:
            pieces = page.answer_page(self.schema, asked, text, messages, self.title)
        else:
            pieces = write(self.schema, messages, is_list=name in self.lists)
        return _Written(self, request, pieces, page.MEDIA_TYPE if as_page else MEDIA_TYPE)

    def _error(self, request: Request, error: FilamentError) -> Response:
        response = error_response(error)
        if not _wants_page(request):
            return response
        text = page.error_page(self.title, str(error))
        return HTMLResponse(text, response.status_code, headers=_HEADERS)

    async def write(self, pieces: Iterator[str], response: _Written) -> None:
        """Write an answer to its end, or as far as time and the reader allow."""
        self._writing += 1
        try:
            async with asyncio.timeout(INTROSPECT_TIMEOUT_S):
                await response.send_pieces(_chunks(pieces))
        except TimeoutError:
            await response.give_up(
                TransientError(f"no answer within {INTROSPECT_TIMEOUT_S:g} s; ask for less")
            )
        except FilamentError as error:
            await response.give_up(error)
        finally:
            self._writing -= 1


class _Written(Response):
    """Sends an answer as it is written; errors before its first chunk become error answers.

    A client that is told no length and not told the end knows that something is missing.
    """

    def __init__(
        self, owner: Introspect, request: Request, pieces: Iterator[str], media_type: str
    ) -> None:
        self.media_type = media_type
        super().__init__(headers=_HEADERS)
        self._owner = owner
        self._request = request
        self._pieces = pieces
        self._send: Send | None = None
        self._to: tuple[Scope, Receive] | None = None
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send, self._to = send, (scope, receive)
        await self._owner.write(self._pieces, self)

    async def send_pieces(self, chunks: AsyncIterator[str]) -> None:
        assert self._send is not None
        assert self._to is not None
        send = self._send
        waiting = await anext(chunks)
        following = await anext(chunks, None)
        self._has_begun = True
        if following is None:
            whole = Response(waiting, headers=_HEADERS, media_type=self.media_type)
            await whole(*self._to, send)
            return
        headers = [one for one in self.raw_headers if one[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = {"type": "http.response.body", "more_body": True}
        while following is not None:
            await send({**body, "body": waiting.encode()})
            if await self._request.is_disconnected():
                return
            waiting, following = following, await anext(chunks, None)
        await send({**body, "body": waiting.encode(), "more_body": False})

    async def give_up(self, error: FilamentError) -> None:
        """Answer with an error, or, when it is too late for that, break off."""
        assert self._send is not None
        assert self._to is not None
        if self._has_begun:
            _log.warning("answer-cut-off", asked=str(self._request.url)[:256], reason=str(error))
        else:
            await error_response(error)(*self._to, self._send)


async def _chunks(pieces: Iterator[str]) -> AsyncIterator[str]:
    """Join pieces to chunks, giving way to others whenever a slice of time is over."""
    kept: list[str] = []
    size = 0
    began = now()
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if now() - began > SLICE_S:
            await asyncio.sleep(SLICE_S)
            began = now()
        if size >= _CHUNK_BYTES:
            yield "".join(kept)
            kept.clear()
            size = 0
    yield "".join(kept)


async def _stylesheet(request: Request) -> Response:
    del request
    return PlainTextResponse(page.STYLESHEET_TEXT, headers=_HEADERS, media_type="text/xsl")


def _wants_page(request: Request) -> bool:
    return page.MEDIA_TYPE in request.headers.get("accept", "")
