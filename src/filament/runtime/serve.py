"""HTTP servers inside our own event loop, on TCP addresses and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from filament.base.errors import InputError, TransientError
from filament.base.limits import MAX_HEADER_BYTES, REQUEST_HEAD_TIMEOUT_S
from filament.runtime.quick import WholeRequest, read_whole
from filament.runtime.web import EXCHANGE

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
KEEP_ALIVE_S = 75  # that a connection without a request stays open
_BACKLOG = 1024
_READ_BUFFER = memoryview(bytearray(1 << 16))
_JOINED_BYTES = 1 << 16  # larger bodies are not worth a copy
_PEER_CREDENTIALS = struct.Struct("3i")  # Linux's struct ucred: pid, uid, gid


class Listen(NamedTuple):
    """Where to listen: a unix socket `path`, or `host` and `port` (0 picks a free one)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


class TlsFiles(NamedTuple):
    """What the TCP addresses are served with: PEM files of our certificates and the key."""

    certificate: str
    key: str


def parse_listen(text: str) -> Listen:
    """Parse `127.0.0.1:8082`, `[::1]:8082` or `unix:/run/filament/api.sock`."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Listen(path=text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16:
        return Listen(host=host.strip("[]"), port=int(port))
    raise InputError(
        "bad-listen", f"{text!r} is no address to listen on", hint="write HOST:PORT or unix:PATH"
    )


def open_listener(listen: Listen) -> socket.socket:
    """Bind and listen; a stale unix socket file is replaced. Raises TransientError when taken."""
    try:
        if listen.path:
            path = Path(listen.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            if _is_served(listen.path):
                raise TransientError(f"{listen.path} is served by another process")
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(listen.path)
            path.chmod(0o660)
        else:
            family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
            # asyncio switches Nagle's algorithm off only where the protocol is named, and
            # otherwise every answer waits 40 ms for the caller's delayed acknowledgement.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((listen.host, listen.port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        raise TransientError(
            f"cannot listen on {listen}: {os.strerror(error.errno or 0)}"
        ) from error
    return listener


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


class _Exchange:
    """See `web.Exchange`."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def whole_body(self) -> bytes | None:
        cycle = self._cycle
        if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected:
            return None
        return bytes(cycle.body)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        return _answer(self._cycle, status, headers, body)


def _answer(
    cycle: RequestResponseCycle,
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> bool:
    is_plain = cycle.keep_alive and not cycle.flow.write_paused
    if not is_plain or cycle.response_started or cycle.disconnected:
        return False
    if cycle.scope["method"] == "HEAD":
        return False
    listed = (*cycle.default_headers, *headers)
    lines = b"".join([b"%b: %b\r\n" % header for header in listed])
    if not len(listed) == lines.count(b"\r") == lines.count(b"\n"):
        return False  # a line end inside a header: uvicorn refuses it
    cycle.response_started = cycle.response_complete = True
    transport: Any = cycle.transport  # a _OneWrite
    transport.send(b"".join((STATUS_LINE[status], lines, b"\r\n", body)))
    if "message_event" in cycle.__dict__:  # else nobody waits: see _WholeCycle
        cycle.message_event.set()
    cycle.on_response()
    return True


class _WholeCycle(RequestResponseCycle):
    """A request that has arrived whole, with its answer: what uvicorn has for any, in a fraction
    of its time. See `web.Exchange`, too.
    """

    access_log = False
    disconnected = False
    keep_alive = True
    waiting_for_100_continue = False
    more_body = False
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0

    def __init__(self, protocol: PatientProtocol, scope: Any, body: bytes) -> None:
        # Not uvicorn's: most of what it sets is the same for all of these.
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.body = body  # type: ignore[assignment]  # nothing will be added

    @functools.cached_property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """Set when there is something to receive; few ask."""
        event = asyncio.Event()
        event.set()
        return event

    def whole_body(self) -> bytes | None:
        return None if self.disconnected else bytes(self.body)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        return _answer(self, status, headers, body)


class PatientProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """HTTP/1.1 whose request heads are bounded in size and must arrive in time.

    The server's own timeout ends with the first byte, so that a client sending one header byte a
    minute would hold its connection for ever. Bodies are timed by `web.read_body`.
    """

    head_timeout_s = REQUEST_HEAD_TIMEOUT_S
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = True  # the next bytes are of a head
    _has_begun = False  # some bytes of it are there
    _heads_begun = 0  # in the bytes just received
    _head_size = 0
    _read_size = 0  # of a head that ends in the bytes just received, at most
    _idle_since: float | None = None  # no request is in flight
    _idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock with the connection."""
        super().connection_made(_OneWrite(transport, self.loop))  # type: ignore[arg-type]
        self._start_clock()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to. One buffer for all connections: what is read is copied out at once.
        asyncio would ask for 256 KiB per read, which malloc maps and unmaps every time: that took
        more than to parse.
        """
        del sizehint
        return _READ_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(_READ_BUFFER[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that has become too large."""
        if self._is_in_head and not self._has_begun and self._is_answered():
            request = read_whole(data)
            if request is not None:
                self._start_whole(request)
                return
        was_in_head, self._heads_begun = self._is_in_head, 0
        self._read_size += len(data)
        super().data_received(data)
        if self._has_begun and self._head_timer is None and not self.transport.is_closing():
            self._start_clock()  # most heads are whole by now and need none
        # Bytes before a head that begins in the middle of `data` are not its own.
        if self._is_in_head and was_in_head and self._heads_begun <= 1:
            self._head_size += len(data)
            if self._head_size > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The request head exceeds {MAX_HEADER_BYTES} bytes.")
        if not self._has_begun:
            self._read_size = 0

    def _is_answered(self) -> bool:
        """Whether no request is in flight that a next one had to wait for."""
        return self.cycle is None or self.cycle.response_complete

    def _start_whole(self, request: WholeRequest) -> None:
        """Have a whole request answered: what the parser and its callbacks would do."""
        self._unset_keepalive_if_required()
        self._stop_clock()
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query,
            "headers": request.headers,
        }
        cycle = self.cycle = _WholeCycle(self, scope, request.body)
        scope["state"] = {**self.app_state, EXCHANGE: cycle}
        app: Any = self.config.app  # without uvicorn's layer that reads what proxies add
        self._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._heads_begun += 1
        self._has_begun = True

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._stop_clock()
        self._is_in_head = self._has_begun = False
        if self._read_size > MAX_HEADER_BYTES:  # else no head in it can be too large
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"a request head of {size} bytes")  # becomes an answer of 400
        super().on_headers_complete()
        self.scope["state"][EXCHANGE] = _Exchange(self.cycle)

    def on_message_complete(self) -> None:
        """A request is complete; the next bytes are another's head."""
        super().on_message_complete()
        self._is_in_head, self._head_size = True, 0

    def on_response_complete(self) -> None:
        """An answer is complete; the connection may now be idle. One timer per connection looks
        again from time to time, since one per answer costs more than parsing its request.
        """
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        self._stop_clock()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _look_if_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return  # whoever answers the request in flight starts it again
        until = self._idle_since + self.timeout_keep_alive
        if until <= self.loop.time():
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_at(until, self._look_if_idle)

    def _start_clock(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()


class _OneWrite:
    """A transport that sends the head of an answer together with the first of its body.

    Otherwise every answer is two system calls and wakes its client twice. A head that no body
    follows in the same turn of the loop goes alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send, or keep the head of an answer until something follows."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _JOINED_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Send something that is whole."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)


class _Protocol(PatientProtocol):
    """Tells the app who is at the other end of a unix socket: `scope["state"]["peer_uid"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        end = transport.get_extra_info("socket")
        if end is not None and end.family == socket.AF_UNIX:
            raw = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
            _, uid, _ = _PEER_CREDENTIALS.unpack(raw)
            self.app_state = {**self.app_state, "peer_uid": uid}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process's composition."""
        yield


async def serve_http(
    app: AsgiApp,
    listens: Sequence[Listen],
    *,
    stop: asyncio.Event,
    started: Callable[[list[Listen]], None] | None = None,
    tls: TlsFiles | None = None,
) -> None:
    """Serve an ASGI app on all addresses until `stop`; open requests get a second to finish.

    With `tls` the TCP addresses speak HTTPS only; unix sockets never do. `started` hears the
    addresses really bound (with port 0 resolved) once requests are accepted.
    """
    listeners = [open_listener(listen) for listen in listens]
    bound = [
        listen if listen.path else Listen(listen.host, listener.getsockname()[1])
        for listen, listener in zip(listens, listeners, strict=True)
    ]
    groups = [
        (files, sockets)
        for files, is_unix in ((tls, False), (None, True))
        if (sockets := [one for one in listeners if (one.family == socket.AF_UNIX) is is_unix])
    ]
    pending = len(groups)

    def one_started() -> None:
        nonlocal pending
        pending -= 1
        if pending == 0 and started is not None:
            started(bound)

    async def watch_stop() -> None:
        await stop.wait()
        for server in servers:
            server.should_exit = True

    try:
        servers = [_Server(_config(app, files), one_started) for files, _ in groups]
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watch_stop())
            async with asyncio.TaskGroup() as serving:
                for server, (_, sockets) in zip(servers, groups, strict=True):
                    serving.create_task(server.serve(sockets=sockets))
            watcher.cancel()
    finally:
        for listen, listener in zip(listens, listeners, strict=True):
            _close_listener(listen, listener)


def _config(app: AsgiApp, tls: TlsFiles | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        files = f"{tls.certificate} and {tls.key}" if tls is not None else "none"
        raise InputError(
            "bad-tls-files",
            f"cannot serve TLS with {files}: {error.strerror or error}",
            hint="give PEM files of a certificate and of its key",
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _close_listener(listen: Listen, listener: socket.socket) -> None:
    listener.close()
    if listen.path:
        Path(listen.path).unlink(missing_ok=True)
