import asyncio
import http.client
import socket

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.base.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    TransientError,
)
from filament.runtime.serve import Listen, open_listener, parse_listen, serve_http
from filament.runtime.web import answering_errors, error_response, json_response, read_body


def test_parse_listen():
    assert parse_listen("127.0.0.1:8082") == Listen("127.0.0.1", 8082)
    assert parse_listen("[::1]:1") == Listen("::1", 1)
    assert parse_listen("unix:/run/x.sock") == Listen(path="/run/x.sock")
    for bad in ("", "8082", "a:b", "unix:", "h:70000"):
        with pytest.raises(InputError, match="write HOST:PORT or unix:PATH"):
            parse_listen(bad)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x", "bad", hint="good"), 400),
        (ForbiddenError("no"), 403),
        (NotFoundError("none"), 404),
        (ConflictError("twice"), 409),
        (TransientError("later"), 503),
    ],
)
def test_errors_have_the_status_of_their_class(error, status):
    assert error_response(error).status_code == status


async def _echo(request: Request) -> Response:
    return json_response({"size": len(await read_body(request, limit=10))})


def _get(connect, body=b"x"):
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = connect()
    try:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_serves_tcp_and_unix_and_stops(tmp_path):
    app = Starlette(routes=[Route("/", answering_errors(_echo), methods=["POST"])])
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    path = str(tmp_path / "a.sock")
    # A stale socket file of a killed process is replaced.
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    serving = asyncio.create_task(
        serve_http(
            app, [Listen("127.0.0.1", 0), Listen(path=path)], stop=stop, started=bound.set_result
        )
    )
    tcp, unix = await bound

    def connect_unix():
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(unix.path)
        return sock

    assert await asyncio.to_thread(_get, connect_unix) == (200, b'{"size":1}')
    status, text = await asyncio.to_thread(
        _get, lambda: socket.create_connection((tcp.host, tcp.port)), b"y" * 11
    )
    assert status == 413
    assert text == b"the request body exceeds 10 bytes; send less at once\n"
    with pytest.raises(TransientError, match="is served by another process"):
        open_listener(Listen(path=path))
    stop.set()
    await serving
    assert not (tmp_path / "a.sock").exists()
