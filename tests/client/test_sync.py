"""The synchronous client: errors of the house, kept connections, addresses."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from filament.base.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from filament.client.sync import Client


class Handler(BaseHTTPRequestHandler):
    """Answers /<status>; counts requests; /0 is not answered."""

    protocol_version = "HTTP/1.1"
    counted = 0

    def log_message(self, *arguments):
        pass

    def answer(self):
        type(self).counted += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = int(self.path.strip("/").partition("?")[0] or 200)
        if not status:
            self.close_connection = True
            return
        content = b"what is wrong\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Filament-Revision", "7")
        self.send_header("X-Filament-Wait", "timeout; waiting for host2")
        self.end_headers()
        self.wfile.write(content)
        if self.headers.get("X-Contrail-Useragent") == "cut me off":
            self.close_connection = True  # without saying so: as a server that is killed

    do_GET = do_POST = answer


@pytest.fixture
def server():
    Handler.counted = 0
    made = HTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=made.serve_forever, args=(0.01,))
    serving.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    serving.join()
    made.server_close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InputError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, InputError),
        (500, PermanentError),
        (502, PermanentError),
        (503, TransientError),
    ],
)
def test_statuses_become_errors_of_the_house(server, status, error):
    with Client(server) as client, pytest.raises(error, match="what is wrong") as caught:
        client.request("GET", f"/{status}")
    assert type(caught.value) is error


def test_answers_carry_revision_and_who_lags(server):
    with Client(server) as client:
        assert client.request("GET", "/202") == ("what is wrong\n", 7, "host2")


def until_ended(client):
    deadline = time.monotonic() + 10
    while not client._connection.has_ended:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_connection_closed_meanwhile_is_opened_again(server):
    """Nothing was sent on it yet: writes are safe, too."""
    with Client(server, who="cut me off", timeout_s=100) as client:
        for method in ("GET", "POST", "POST"):
            client.request(method, "/200", {})
            until_ended(client)
    assert Handler.counted == 3


def test_to_look_whether_a_connection_has_ended_takes_no_time(server):
    with Client(server, timeout_s=100) as client:
        began = time.monotonic()
        for _ in range(3):
            client.request("POST", "/200", {})
        assert time.monotonic() - began < 50


def test_a_write_that_is_not_answered_is_not_repeated(server):
    with Client(server) as client:
        client.request("GET", "/200")
        with pytest.raises(TransientError, match="does not answer"):
            client.request("POST", "/0", {})
        assert Handler.counted == 2  # it may have been carried out


def test_nobody_there_is_a_transient_error(tmp_path):
    text = r"does not answer \(there is no such socket\); is it running\?"
    with Client(f"unix:{tmp_path}/none.sock") as client, pytest.raises(TransientError, match=text):
        client.request("GET", "/")
    with (
        Client("http://127.0.0.1:1") as client,
        pytest.raises(TransientError, match="nobody listens there"),
    ):
        client.request("GET", "/")


@pytest.mark.parametrize("address", ["127.0.0.1:8082", "ftp://x", "https://"])
def test_bad_addresses_are_explained(address):
    with pytest.raises(
        InputError, match=r"is no address of an API.*write http\(s\)://HOST:PORT or unix"
    ):
        Client(address)
