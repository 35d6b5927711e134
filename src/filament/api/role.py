"""The API process: store, engine, writer and HTTP server together, until told to stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filament.api.auth import OPEN, Authentication
from filament.api.barrier import Barrier
from filament.api.boot import boot_commit
from filament.api.engine import ConfigEngine
from filament.api.journal import Journal
from filament.api.routes import Api
from filament.api.writer import Writer
from filament.runtime import clock
from filament.runtime.log import logger
from filament.runtime.serve import Listen, TlsFiles, serve_http
from filament.store.contract import Store
from filament.store.sqlite import SqliteStore

_log = logger("api")


async def run_api(
    *,
    database: Path,
    listens: Sequence[Listen],
    stop: asyncio.Event,
    started: Callable[[list[Listen]], None] | None = None,
    authentication: Callable[[], Authentication] = lambda: OPEN,
    tls: TlsFiles | None = None,
) -> None:
    """Serve the configuration in `database` on `listens` until `stop`.

    `authentication` is made inside the event loop and closed at the end; `tls` is for the TCP
    addresses.

    Raises TransientError when the database or an address is taken.
    """
    loop = asyncio.get_running_loop()
    # The store belongs to this one thread: it opens, writes, reads and closes it.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="store") as executor:
        store: Store = await loop.run_in_executor(executor, SqliteStore, database)
        try:
            engine = ConfigEngine(lambda: str(uuid.uuid4()))
            known = authentication()
            try:
                await loop.run_in_executor(
                    executor, _start, engine, store, known.aaa_mode == "rbac"
                )
                await _serve(engine, store, executor, listens, stop, started, known, tls)
            finally:
                await known.close()
        finally:
            await loop.run_in_executor(executor, store.close)


def _start(engine: ConfigEngine, store: Store, has_rules: bool) -> None:
    engine.load(store)
    commit = boot_commit(engine, clock.wall(), has_rules=has_rules)
    if commit is not None:
        store.commit(commit)
        engine.apply(commit)
    _log.info("configuration-loaded", revision=engine.snapshot.revision)


async def _serve(
    engine: ConfigEngine,
    store: Store,
    executor: ThreadPoolExecutor,
    listens: Sequence[Listen],
    stop: asyncio.Event,
    started: Callable[[list[Listen]], None] | None,
    authentication: Authentication,
    tls: TlsFiles | None,
) -> None:
    journal = Journal(engine.snapshot.revision)
    barrier = Barrier(clock.now)
    writer = Writer(engine, store, journal, executor, clock.wall)
    since = clock.wall()

    def status() -> dict[str, Any]:
        return {"role": "api", "since": since, "objects": len(engine.snapshot)}

    api = Api(engine, writer, journal, barrier, status, authentication)

    async def close_streams() -> None:
        await stop.wait()
        journal.close()

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        closing = tasks.create_task(close_streams())
        await serve_http(api.application(), listens, stop=stop, started=started, tls=tls)
        journal.close()
        writing.cancel()
        closing.cancel()
