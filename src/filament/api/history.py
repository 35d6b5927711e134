"""The change log over HTTP, and the whole configuration replaced at once."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from filament.api.auth import caller_of
from filament.api.engine import ConfigEngine
from filament.api.writer import Writer
from filament.base import limits
from filament.base.errors import InputError
from filament.model.content import decode_content
from filament.model.invariants import check
from filament.runtime.web import json_response, read_body

MAX_COMMITS = 1000  # in one answer
_NEWEST = 1 << 60  # beyond every revision


class HistoryRoutes:
    """Handlers of /filament/log and /filament/restore."""

    def __init__(self, engine: ConfigEngine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    async def change_log(self, request: Request) -> Response:
        """GET /filament/log?after=REV[&limit=N]: commits after a revision, in order.

        With `uuid=` the newest commits that changed that object, newest first, below `before`.
        """
        query = request.query_params
        limit = min(_number(query, "limit", 100), MAX_COMMITS)
        if "uuid" in query:
            before = _number(query, "before", _NEWEST)
            commits = await self._writer.touching(query["uuid"], before, limit)
        else:
            commits = await self._writer.history(_number(query, "after", 0), limit)
        answer = {"revision": self._engine.snapshot.revision, "commits": commits}
        return json_response(answer)

    async def restore(self, request: Request) -> Response:
        """POST /filament/restore: make the configuration that of the body, in one commit."""
        body = await read_body(request, limits.MAX_RESTORE_BYTES)
        content = await asyncio.to_thread(decode_content, body, "the body")
        problems = await asyncio.to_thread(
            check, content.revision, content.objects, content.allocations
        )
        if problems:
            raise InputError(
                "bad-content",
                f"what is to be restored breaks {len(problems)} rules: {problems[0].of}:"
                f" {problems[0].text}",
                hint="`filament db check` lists them all",
            )
        who = caller_of(request).user
        commit = (await self._writer.replace(content, f"restore by {who}")).commit
        revision = self._engine.snapshot.revision if commit is None else commit.revision
        answer: dict[str, Any] = {
            "revision": revision,
            "puts": len(commit.puts) if commit is not None else 0,
            "deletes": len(commit.deletes) if commit is not None else 0,
        }
        return json_response(answer, headers={"X-Filament-Revision": str(revision)})


def _number(query: Any, name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError("bad-number", f"'{text}' is no number", path=name, hint="write digits")
    return int(text)
