"""Change streams as server-sent events: whole commits after a revision, or objects as TF tells
them. A watcher costs a cursor; the number of watchers and what is written at once are bounded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from filament.api.auth import caller_of
from filament.api.caller import Caller
from filament.api.engine import ConfigEngine
from filament.api.journal import RELIST, Journal, event_of
from filament.api.listing import check_fields
from filament.api.render import Include, Reader
from filament.api.writer import Writer
from filament.base import limits
from filament.base.errors import ForbiddenError, InputError, NotFoundError, TransientError
from filament.model.change import Commit, Object
from filament.model.kind import Kind
from filament.model.kinds import KINDS
from filament.runtime import clock

KEEP_ALIVE_S = 15.0
_CHUNK = 200  # commits per turn, so that one watcher does not hold the loop
_encode = msgspec.json.Encoder().encode
_commit = msgspec.json.Decoder(Commit)


class Watches:
    """Everybody who watches. One per API process."""

    def __init__(
        self,
        engine: ConfigEngine,
        writer: Writer,
        journal: Journal,
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`ended` hears the `incarnation` of whoever's stream has ended."""
        self._engine = engine
        self._ended = ended
        self._writer = writer
        self._journal = journal
        self.count = 0
        self._by_tenant: Counter[str] = Counter()

    async def open(self, request: Request, base: str) -> Response:
        """Answer GET /watch."""
        query = request.query_params
        caller = caller_of(request)
        if self.count >= limits.MAX_WATCHES:
            raise TransientError(
                f"{limits.MAX_WATCHES} watches are open already; try again later, or at another"
                " API process"
            )
        if self._by_tenant[_tenant(caller)] >= limits.MAX_WATCHES_OF_A_TENANT:
            raise TransientError(
                f"{limits.MAX_WATCHES_OF_A_TENANT} watches of this project are open already; close"
                " one, or watch several kinds with one"
            )
        if "resource_type" in query and "after" not in query:
            kinds = [KINDS.named(name) for name in query["resource_type"].split(",") if name]
            if not kinds:
                raise InputError("no-type", "watch of no resource_type", path="resource_type")
            access = self._engine.access(caller)
            for kind in kinds:
                access.require_rule(kind.name, "R")
            events = self._objects(
                {kind.name: _include(kind, query) for kind in kinds}, base, caller
            )
        else:
            if not caller.is_cloud_admin:
                raise ForbiddenError(
                    "Permission Denied: /watch?after= tells commits whole, hidden objects too:"
                    " only a cloud admin may read them; /watch?resource_type=KIND tells what you"
                    " may read"
                )
            text = query.get("after", "")
            if not (text.isascii() and text.isdigit() and len(text) <= 1000):
                raise InputError(
                    "bad-revision",
                    f"watch needs a revision to start after, not '{text}'",
                    path="after",
                    hint="GET /filament/snapshot and watch after its revision",
                )
            events = self._commits(int(text), edits=_flag(query, "edits"))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._counted(events, _tenant(caller), query.get("incarnation", "")),
            media_type="text/event-stream",
            headers=headers,
        )

    async def _counted(
        self, events: AsyncIterator[bytes], tenant: str, incarnation: str
    ) -> AsyncIterator[bytes]:
        self.count += 1
        if tenant:
            self._by_tenant[tenant] += 1
        try:
            async for event in events:
                yield event
        finally:
            self.count -= 1
            self._ended(incarnation)
            if tenant:
                self._by_tenant[tenant] -= 1
                self._by_tenant += Counter()  # forget who has none

    async def _commits(self, after: int, *, edits: bool) -> AsyncIterator[bytes]:
        yield b": watching\n\n"
        async for events in self._batches(after, edits=edits):
            yield b"".join(events) if events else b": keep-alive\n\n"
            if events is _END:
                return

    async def _batches(self, after: int, *, edits: bool = False) -> AsyncIterator[list[bytes]]:
        """Encoded commits after a revision, in order; nothing when time passed; _END at the end
        when the watcher must list again. With `edits`, of long objects where they are known.
        """
        journal = self._journal
        while not journal.is_closed:
            if not journal.last - limits.WATCH_BACKLOG_COMMITS <= after <= journal.last:
                yield _END
                return
            if after == journal.last:
                if not await journal.changed(after, KEEP_ALIVE_S) and not journal.is_closed:
                    yield []
                continue
            if after >= journal.first - 1:
                events = journal.after(after, _CHUNK, edits=edits)
            else:
                try:
                    commits = await self._writer.history(after, _CHUNK)
                except NotFoundError:
                    yield _END
                    return
                events = [event_of(commit) for commit in commits]
            whole = events.index(RELIST) if RELIST in events else len(events)
            events = _bounded(events[:whole])
            if not events:  # the next commit is too large to follow
                yield _END
                return
            after += len(events)
            yield events

    def _reader(self, caller: Caller) -> Reader:
        access = self._engine.access(caller)
        return Reader(self._engine.snapshot, self._engine.shown, access.sees)

    async def _objects(
        self, wanted: dict[str, Include], base: str, caller: Caller
    ) -> AsyncIterator[bytes]:
        """TF's form: every object of some kinds, then each as it changes, as far as the caller may
        read them. Who is no cloud admin comes again after a while: roles and tokens end.
        """
        engine = self._engine
        until = math.inf if caller.is_cloud_admin else clock.now() + limits.MAX_TENANT_WATCH_S
        after = engine.snapshot.revision
        known: dict[str, set[str]] = {}
        for name, include in wanted.items():
            reader = self._reader(caller)
            items = list(reader.of_kind(KINDS[name]))
            known[name] = {item.uuid for item in items}
            listed = [{name: reader.full(item, base, include)} for item in items]
            yield _event("init", {f"{name}s": listed})
        async for events in self._batches(after):
            if events is _END or clock.now() >= until:
                yield b"event: stop\ndata: {}\n\n"
                return
            if not events:
                yield b":\n\n"
            for event in events:
                commit = _commit.decode(event[event.index(b"data: ") + 6 :])
                for told in self._told(commit, wanted, known, base, caller):
                    yield told

    def _told(
        self,
        commit: Commit,
        wanted: dict[str, Include],
        known: dict[str, set[str]],
        base: str,
        caller: Caller,
    ) -> Iterator[bytes]:
        reader = self._reader(caller)
        for item in commit.deletes:
            if item.kind in wanted and item.uuid in known[item.kind]:
                known[item.kind].discard(item.uuid)
                yield _event("delete", _shown(reader, item, base, wanted[item.kind]))
        for item in commit.puts:
            if item.kind not in wanted:
                continue
            if not reader.sees(item):
                if item.uuid in known[item.kind]:  # from now on it is not there for the caller
                    known[item.kind].discard(item.uuid)
                    gone = {"uuid": item.uuid, "fq_name": list(item.fq_name)}
                    yield _event("delete", {item.kind: gone})
            else:
                word = "update" if item.uuid in known[item.kind] else "create"
                known[item.kind].add(item.uuid)
                yield _event(word, _shown(reader, item, base, wanted[item.kind]))


_END: list[bytes] = [RELIST]


def _flag(query: QueryParams, name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in {"true", "false", "1", "0", ""}:
        raise InputError(
            "bad-flag", f"{name} '{text}' is neither true nor false", path=name, hint="use true"
        )
    return text in {"true", "1"}


def _tenant(caller: Caller) -> str:
    """Whose watches are counted together; "" for cloud admins, of whom nobody is kept out."""
    return "" if caller.is_cloud_admin else caller.project or f"user {caller.user}"


def _bounded(events: list[bytes]) -> list[bytes]:
    """As many of the first events as may be written at once; at least one."""
    size = 0
    for index, event in enumerate(events):
        size += len(event)
        if size > limits.MAX_WATCH_CHUNK_BYTES:
            return events[: max(index, 1)]
    return events


def _include(kind: Kind, query: QueryParams) -> Include:
    given = query.get(f"{kind.field}_fields")
    fields = [one for one in (given or "").split(",") if one]
    check_fields(kind, fields)
    return Include(fields=frozenset(fields) if fields else None)


def _shown(reader: Reader, item: Object, base: str, include: Include) -> dict[str, object]:
    return {item.kind: reader.full(item, base, include)}


def _event(name: str, value: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(value))
