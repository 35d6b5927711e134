"""How every write is answered: dry runs, expected revisions, barriers, the revision header."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from filament.api.auth import caller_of
from filament.api.barrier import Barrier, Wait
from filament.api.engine import ConfigEngine
from filament.api.preview import preview
from filament.api.request import Prepared
from filament.api.request import Request as Write
from filament.api.transaction import Expecting
from filament.api.writer import Writer
from filament.base.errors import InputError
from filament.compiler.firewall_view import is_draft
from filament.model.kind import nearest
from filament.runtime import clock
from filament.runtime.web import header, json_response, text_response

MAX_WAIT_S = 300.0
_DEFAULT_WAIT_S = 10.0
_IF_MATCH = re.compile(r'"([^"]*)"')


class Writing:
    """Carries out writes of HTTP requests. One per API process."""

    def __init__(self, engine: ConfigEngine, writer: Writer, barrier: Barrier) -> None:
        self._engine = engine
        self._writer = writer
        self._barrier = barrier

    async def answer(
        self, request: Request, write: Write, shape: Callable[[Prepared], Any] | None = None
    ) -> Response:
        """Carry out a write and answer what `shape` makes of it (an empty text without).

        The query says more: see catalog.WRITE_QUERIES.
        """
        wait_of(request)  # refuse a bad query before anything is written
        write = _expecting(request, write)
        if _flag(request, "dry_run"):
            return self._dry_run(request, write)
        prepared = await self._writer.submit(write, caller_of(request))
        commit = prepared.commit
        revision = commit.revision if commit is not None else self._engine.snapshot.revision
        headers = {"X-Filament-Revision": str(revision)}
        status = await self.reached(request, revision, headers)
        if prepared.object is not None and is_draft(prepared.object):
            status = 202  # TF: noted, and not in force before its scope is committed
        if shape is None:
            return text_response("", status=status, headers=headers)
        return json_response(shape(prepared), status=status, headers=headers)

    async def reached(self, request: Request, revision: int, headers: dict[str, str]) -> int:
        """Wait for those the caller wants to have applied a revision; the status to answer."""
        wait, timeout_s = wait_of(request)
        if wait is None:
            return 200
        lagging = await self._barrier.reached(wait, revision, timeout_s)
        if not lagging:
            return 200
        names = ", ".join(lagging) if caller_of(request).is_cloud_admin else "the network"
        headers["X-Filament-Wait"] = f"timeout; waiting for {names}"
        return 202

    def _dry_run(self, request: Request, write: Write) -> Response:
        caller = caller_of(request)
        # No await from here on: what is told is of one revision.
        engine = self._engine
        prepared = engine.prepare(write, now=clock.wall(), who=caller)
        access = engine.access(caller)
        answer = preview(engine.snapshot, engine.shown, prepared.commit, access)
        headers = {"X-Filament-Revision": str(engine.snapshot.revision)}
        return json_response(answer, headers=headers)


def wait_of(request: Request) -> tuple[Wait | None, float]:
    """The barrier a request asks for, and for how many seconds."""
    if not request.scope["query_string"]:
        return None, _DEFAULT_WAIT_S
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


def revision_of(text: str, path: str) -> int:
    """Parse a revision of a query."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InputError(
            "bad-revision",
            f"'{text}' is not a revision",
            path=path,
            hint="answers carry theirs in X-Filament-Revision",
        )
    return int(text)


def _flag(request: Request, name: str) -> bool:
    if not request.scope["query_string"]:
        return False
    text = request.query_params.get(name, "false").lower()
    if text not in {"true", "false", "1", "0", ""}:
        raise InputError(
            "bad-flag", f"{name} '{text}' is neither true nor false", path=name, hint="use true"
        )
    return text in {"true", "1"}


def _expecting(request: Request, write: Write) -> Write:
    """The write on the condition that its caller set, if one."""
    text = request.query_params.get("revision") if request.scope["query_string"] else None
    condition = header(request.scope, b"if-match")
    if text is not None:
        return Expecting(write, revision_of(text, "revision"))
    if condition is None or condition == "*":
        return write
    tag = _IF_MATCH.fullmatch(condition.strip())
    if tag is None:
        raise InputError(
            "bad-condition",
            f"If-Match {condition} is no quoted tag",
            path="If-Match",
            hint='write the ETag of the object, or a revision as "123"',
        )
    if tag[1].isascii() and tag[1].isdigit():
        return Expecting(write, revision_of(tag[1], "If-Match"))
    return Expecting(write, None, tag[1])
