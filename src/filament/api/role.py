"""The API process: store, engine, writer and HTTP server together, until told to stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from filament.api.auth import OPEN, Authentication
from filament.api.barrier import Barrier
from filament.api.boot import boot_commit
from filament.api.engine import ConfigEngine
from filament.api.journal import Journal
from filament.api.routes import Api
from filament.api.writer import RETAIN_COMMITS, Writer
from filament.base.errors import RevisionConflictError
from filament.runtime import clock, heap
from filament.runtime.log import logger
from filament.runtime.serve import Listen, TlsFiles, serve_http
from filament.store.contract import Store
from filament.store.open import open_store

_BOOT_COMMITS = 1000  # read from the log at once while another process boots too
_log = logger("api")


class _Served(NamedTuple):
    engine: ConfigEngine
    writer: Writer
    journal: Journal
    authentication: Authentication
    is_shared: bool


async def run_api(
    *,
    database: Path,
    listens: Sequence[Listen],
    stop: asyncio.Event,
    started: Callable[[list[Listen]], None] | None = None,
    authentication: Callable[[], Authentication] = lambda: OPEN,
    tls: TlsFiles | None = None,
    store_address: str = "",
    retain_commits: int = RETAIN_COMMITS,
) -> None:
    """Serve the configuration in the store at `store_address` (default: the SQLite file
    `database`) on `listens` until `stop`. The log keeps about the last `retain_commits`.

    `authentication` is made inside the event loop and closed at the end; `tls` is for the TCP
    addresses.

    Raises TransientError when the store or an address is taken or away.
    """
    loop = asyncio.get_running_loop()
    # The store belongs to this one thread: it opens, writes, reads and closes it.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="store") as executor:
        store: Store = await loop.run_in_executor(
            executor, open_store, store_address or f"sqlite:{database}"
        )
        try:
            engine = ConfigEngine(lambda: str(uuid.uuid4()))
            known = authentication()
            try:
                await loop.run_in_executor(
                    executor, _start, engine, store, known.aaa_mode == "rbac"
                )
                journal = Journal(engine.snapshot.revision)
                writer = Writer(
                    engine, store, journal, executor, clock.wall, retain_commits=retain_commits
                )
                served = _Served(engine, writer, journal, known, store.is_shared)
                await _serve(served, listens, stop, started, tls)
            finally:
                await known.close()
        finally:
            await loop.run_in_executor(executor, store.close)


def _start(engine: ConfigEngine, store: Store, has_rules: bool) -> None:
    with heap.growing():
        engine.load(store)
    while (commit := boot_commit(engine, clock.wall(), has_rules=has_rules)) is not None:
        try:
            store.commit(commit)
        except RevisionConflictError:  # another process boots too
            if not store.is_shared:
                raise
            for foreign in store.log(engine.snapshot.revision, _BOOT_COMMITS):
                engine.apply(foreign)
        else:
            engine.apply(commit)
    _log.info("configuration-loaded", revision=engine.snapshot.revision)


async def _serve(
    served: _Served,
    listens: Sequence[Listen],
    stop: asyncio.Event,
    started: Callable[[list[Listen]], None] | None,
    tls: TlsFiles | None,
) -> None:
    engine, writer, journal = served.engine, served.writer, served.journal
    barrier = Barrier(clock.now)
    since = clock.wall()

    def status() -> dict[str, Any]:
        return {"role": "api", "since": since, "objects": len(engine.snapshot)}

    api = Api(engine, writer, journal, barrier, status, served.authentication)

    async def close_streams() -> None:
        await stop.wait()
        journal.close()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="follow") as follow:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(writer.run()), tasks.create_task(close_streams())]
            if served.is_shared:
                background.append(tasks.create_task(writer.follow(follow)))
            await serve_http(api.application(), listens, stop=stop, started=started, tls=tls)
            journal.close()
            for task in background:
                task.cancel()
