"""The control node process: API follower, XMPP server, HTTP server, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from filament.base.net import Address
from filament.client.trust import NO_TRUST, Trust
from filament.client.watch import Loaded, WatchClient
from filament.control.copy import DiskCopy
from filament.control.follow import follow
from filament.control.introspect import control_introspect
from filament.control.node import ControlNode
from filament.control.web import application
from filament.runtime import heap
from filament.runtime.log import logger
from filament.runtime.serve import Listen, open_listener, serve_http
from filament.runtime.tls import MutualTls
from filament.wire.xmpp.session import HOLD_TIME_S

_log = logger("control")


async def run_control(
    *,
    name: str,
    api: str,
    xmpp: Listen,
    listens: Sequence[Listen],
    copy: Path,
    stop: asyncio.Event,
    introspects: Sequence[Listen] = (),
    trust: Trust = NO_TRUST,
    bgp: tuple[Address, ...] = (),
    tls: MutualTls | None = None,
    hold_time_s: float = HOLD_TIME_S,
    started: Callable[[Listen], None] | None = None,
) -> None:
    """Serve agents on `xmpp` and people on `listens`, following the API at `api`, until `stop`.

    `api` may be several addresses with commas between: processes of one API. One is followed, all
    are reported to, so that each can tell its callers when their changes have arrived.
    `bgp` are the addresses to listen on for BGP peers, once there is a bgp-router of our name.
    `introspects` is where Sandesh introspect is served, `copy` the file that keeps the last
    configuration. `started` hears where agents are really listened to. `trust` is how the API and
    we prove ourselves to one another, `tls` how agents and we do; without it they need not. Agents
    that are silent for `hold_time_s` are given up. Raises TransientError when an address is taken,
    InputError for useless certificates.
    """
    disk = DiskCopy(copy)
    addresses = [address for address in api.replace(" ", "").split(",") if address]
    context = tls.server_context() if tls is not None else None
    with heap.growing():
        node = ControlNode(name, addresses[0], disk, hold_time_s=hold_time_s, bgp=bgp, tls=context)
    listener = open_listener(xmpp)
    bound = Listen(xmpp.host, listener.getsockname()[1])
    _log.info("control-started", name=name, xmpp=str(bound), api=api, revision=node.revision)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        clients = [
            await stack.enter_async_context(WatchClient(address, trust)) for address in addresses
        ]

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if stop.is_set():
                writer.close()
                return
            serving.add(task := tasks.create_task(node.serve_agent(reader, writer)))
            task.add_done_callback(serving.discard)

        serving: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(accept, sock=listener)
        running = [
            tasks.create_task(node.run()),
            tasks.create_task(node.peering.run()),
            tasks.create_task(follow(clients, node.api, node)),
            *(tasks.create_task(node.run_reports(client)) for client in clients),
            tasks.create_task(disk.keep(node.configuration)),
        ]
        if introspects:
            pages = control_introspect(node).application()
            running.append(tasks.create_task(serve_http(pages, introspects, stop=stop)))
        if started is not None:
            started(bound)
        try:
            by_address = {client.address: client for client in clients}

            async def load() -> Loaded:
                return await by_address[node.api.address].load()

            web = application(node, load)
            await serve_http(web, listens, stop=stop)
        finally:
            server.close()
            node.close()
            for task in (*running, *serving):
                task.cancel()
