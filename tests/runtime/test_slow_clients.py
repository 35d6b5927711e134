"""Clients that dawdle, and bodies that are too large: each costs a bounded time and memory."""

import asyncio
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from filament.base.limits import (
    MAX_HEADER_BYTES,
    MAX_REQUEST_BYTES,
    REQUEST_BODY_TIMEOUT_S,
    REQUEST_HEAD_TIMEOUT_S,
)
from filament.runtime import web
from filament.runtime.serve import Listen, PatientProtocol, serve_http

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def echo(request):
    timeout_s = float(request.query_params.get("timeout_s", REQUEST_BODY_TIMEOUT_S))
    body = await web.read_body(request, timeout_s=timeout_s)
    return PlainTextResponse(f"{len(body)}")


@contextlib.asynccontextmanager
async def serving():
    app = Starlette(routes=[Route("/", web.answering_errors(echo), methods=["GET", "POST"])])
    stop, bound = asyncio.Event(), asyncio.Future()
    listens = [Listen("127.0.0.1", 0)]
    task = asyncio.ensure_future(serve_http(app, listens, stop=stop, started=bound.set_result))
    async with asyncio.timeout(20):
        yield (await bound)[0].port
        stop.set()
        await task


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_the_limits_are_what_the_server_uses():
    assert PatientProtocol.head_timeout_s == REQUEST_HEAD_TIMEOUT_S == 20
    assert REQUEST_BODY_TIMEOUT_S == 60


@pytest.mark.parametrize("sent", [b"", b"GET / HT", POST])
async def test_a_head_that_does_not_end_closes_the_connection(monkeypatch, sent):
    monkeypatch.setattr(PatientProtocol, "head_timeout_s", 0.05)
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""


async def test_dripping_headers_does_not_extend_the_time(monkeypatch):
    monkeypatch.setattr(PatientProtocol, "head_timeout_s", 0.2)
    async with serving() as port, connected(port) as (reader, writer):
        begun = asyncio.get_running_loop().time()

        async def drip():
            writer.write(POST)
            while True:
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        dripping.cancel()
        assert asyncio.get_running_loop().time() - begun < 5


async def test_a_second_request_has_its_own_time(monkeypatch):
    monkeypatch.setattr(PatientProtocol, "head_timeout_s", 0.2)
    async with serving() as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(1) == b"0"
        # Idle between requests is no offence ...
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await reader.read(1)
        # ... but half a head is.
        writer.write(b"GET / HT")
        assert await reader.read() == b""


async def test_a_body_that_does_not_end_is_408_and_closes():
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(POST.replace(b"/ ", b"/?timeout_s=0.05 ", 1) + b"Content-Length: 9\r\n\r\n{")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive within 0.05 s; try again" in answer


async def test_ten_megabytes_are_refused_without_being_held():
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(POST + b"Content-Length: 10000000\r\n\r\n")
        sent = 0
        try:
            while sent < 10_000_000:
                writer.write(b"x" * 100_000)
                sent += 100_000
                await writer.drain()
        except ConnectionError:
            pass
        with contextlib.suppress(ConnectionError):
            answer = await reader.read(2000)
            assert answer.startswith(b"HTTP/1.1 413 "), answer
            assert f"exceeds {MAX_REQUEST_BYTES} bytes".encode() in answer
    async with serving() as port, connected(port) as (reader, writer):
        size = MAX_REQUEST_BYTES
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_headers_have_a_bounded_size():
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(POST + b"X: " + b"y" * (MAX_HEADER_BYTES + 1))
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_only_json_is_read():
    async with serving() as port, connected(port) as (reader, writer):
        writer.write(
            POST.replace(b"application/json", b"text/plain") + b"Content-Length: 2\r\n\r\n{}"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 415 ")
