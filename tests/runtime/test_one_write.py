"""Answers leave in one piece, routes are found by look-up, and the heap is settled."""

import asyncio
import contextlib
import gc

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse

from filament.base.limits import MAX_HEADER_BYTES
from filament.runtime import heap
from filament.runtime.serve import Listen, serve_http
from filament.runtime.web import Routes, read_body


async def named(request):
    return PlainTextResponse(f"{request.method} {dict(request.path_params)}")


async def exact(request):
    return PlainTextResponse(f"exact {request.url.path}")


async def echo(request):
    return PlainTextResponse(await read_body(request))


async def split(request):
    return PlainTextResponse("x", headers={"X-Name": "a\r\nX-Other: b"})


async def slow(request):
    async def parts():
        await asyncio.sleep(0.2)
        yield b"late"

    return StreamingResponse(parts())


ROUTES = Routes(
    {
        "/": {"GET": exact},
        "/watch": {"GET": exact},
        "/slow": {"GET": slow},
        "/echo": {"POST": echo},
        "/split": {"GET": split},
        "/net/{uuid}/alloc": {"POST": named},
        "/{name}": {"GET": named, "POST": named},
        "/{name}/{uuid}": {"GET": named},
    }
)


async def asked(method, path):
    """Status, headers and body that the application answers."""
    said = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        said.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"x")],
        "scheme": "http",
        "server": ("x", 80),
    }
    await ROUTES(scope, receive, send)
    body = b"".join(one.get("body", b"") for one in said[1:])
    return said[0]["status"], dict(said[0]["headers"]), body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/", 200, "exact /"),
        ("GET", "/watch", 200, "exact /watch"),
        ("GET", "/ports", 200, "GET {'name': 'ports'}"),
        ("HEAD", "/ports", 200, ""),
        ("GET", "/port/1", 200, "GET {'name': 'port', 'uuid': '1'}"),
        ("POST", "/net/7/alloc", 200, "POST {'uuid': '7'}"),
        ("POST", "/watch", 200, "POST {'name': 'watch'}"),  # the first that takes the method
        ("GET", "/net/7/alloc", 405, "Method Not Allowed"),
        ("GET", "/net//alloc", 404, "Not Found"),
        ("GET", "/a/b/c", 404, "Not Found"),
    ],
)
async def test_routes(method, path, status, text):
    found, headers, body = await asked(method, path)
    assert (found, body if method != "HEAD" else "") == (status, text)
    assert (b"allow" in headers) == (status == 405)


async def test_a_slash_too_many_is_redirected():
    status, headers, _ = await asked("GET", "/ports/")
    assert (status, headers[b"location"]) == (307, b"http://x/ports")


@contextlib.asynccontextmanager
async def connected():
    stop, bound = asyncio.Event(), asyncio.Future()
    serving = serve_http(ROUTES, [Listen("127.0.0.1", 0)], stop=stop, started=bound.set_result)
    task = asyncio.ensure_future(serving)
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", (await bound)[0].port)
        yield reader, writer
        writer.close()
        stop.set()
        await task


@pytest.fixture
def writes(monkeypatch):
    """What is handed to the socket, write by write."""
    seen = []
    transport = asyncio.selector_events._SelectorSocketTransport
    write = transport.write

    def noted(self, data):
        if data.startswith((b"HTTP/1.1", b"late", b"exact", b"4\r\nlate")):
            seen.append(bytes(data))
        write(self, data)

    monkeypatch.setattr(transport, "write", noted)
    return seen


async def test_head_and_body_of_an_answer_are_one_write(writes):
    async with connected() as (reader, writer):
        writer.write(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"exact /watch")
    assert len(writes) == 1
    assert writes[0].endswith(b"\r\n\r\nexact /watch")


async def test_a_head_whose_body_is_late_does_not_wait_for_it(writes):
    async with connected() as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert len(writes) == 1
        await reader.readuntil(b"late")


async def test_pipelined_requests_are_answered_in_order():
    async with connected() as (reader, writer):
        request = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(b"".join(request % name for name in (b"one", b"two", b"three")))
        for name in (b"one", b"two", b"three"):
            assert name in await reader.readuntil(b"}")


async def test_a_head_that_comes_at_once_has_a_bounded_size_too():
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_large_body_is_not_taken_for_a_head():
    async with connected() as (reader, writer):
        body = b"x" * (3 * MAX_HEADER_BYTES)
        head = b"POST /ports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        assert b"200 OK" in await reader.readuntil(b"}")
        writer.write(b"GET / HT")
        writer.write(b"TP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"exact /")


async def test_garbage_is_400():
    async with connected() as (reader, writer):
        writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


def test_what_grew_is_out_of_the_collectors_sight():
    before = gc.get_threshold()
    try:
        with heap.growing():
            assert not gc.isenabled()
            kept = [[number] for number in range(1000)]
        assert gc.isenabled()
        assert not any(one is kept for one in gc.get_objects())
        frozen = gc.get_freeze_count()
        later = [[number] for number in range(1000)]
        heap.settle()
        assert gc.get_freeze_count() >= frozen + 1000
        assert not any(one is later for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@pytest.mark.parametrize("pieces", [1, 2, 12])
async def test_bodies_arrive_whole_however_they_are_cut(pieces):
    body = b"0123456789ab"
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with connected() as (reader, writer):
        size = len(body) // pieces
        for start in range(0, len(body), size):
            writer.write(head * (start == 0) + body[start : start + size])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert (await reader.readuntil(body)).startswith(b"HTTP/1.1 200 ")
        # And again on the same connection: nothing is left over.
        writer.write(head + body[::-1])
        await reader.readuntil(body[::-1])


async def test_a_client_that_waits_for_100_continue_gets_it():
    async with connected() as (reader, writer):
        head = (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")


async def test_a_header_cannot_smuggle_another():
    async with connected() as (reader, writer):
        writer.write(b"GET /split HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read(10_000)
        assert b"X-Other" not in answer
        assert answer.startswith(b"HTTP/1.1 500 ") or answer == b""


async def test_connection_close_is_heeded():
    async with connected() as (reader, writer):
        writer.write(b"GET /watch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        assert answer.endswith(b"exact /watch")
        assert b"connection: close" in answer.lower()


async def test_head_has_no_body():
    async with connected() as (reader, writer):
        writer.write(b"HEAD /watch HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 12" in first
        assert (await reader.readuntil(b"exact /")).startswith(b"HTTP/1.1 200 OK")
