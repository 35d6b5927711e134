"""One connection: answers whole and in pieces, kept and closed, and whatever a server may send."""

import contextlib
import socket
import ssl
import subprocess
import threading
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.limits import MAX_HEADER_BYTES
from filament.client.connection import BrokenAnswerError, Connection
from filament.client.http import connection_to, quoted, with_query
from filament.client.trust import Trust

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Prepared(Connection):
    """A connection on which the server has said everything already; each opening says the next."""

    def __init__(self, *said, host="api.example"):
        super().__init__(host, 8082, 5)
        self.said = list(said)
        self.servers = []

    def _opened(self):
        ours, theirs = socket.socketpair()
        theirs.sendall(self.said.pop(0))
        theirs.shutdown(socket.SHUT_WR)
        self.servers.append(theirs)
        return ours

    def heard(self):
        """What the servers were sent."""
        self.close()
        texts = []
        for server in self.servers:
            with server:
                texts.append(b"".join(iter(lambda server=server: server.recv(1 << 16), b"")))
        return texts


def get(said):
    connection = Prepared(said)
    try:
        return connection.request("GET", "/", None, {})
    finally:
        connection.heard()


def test_a_request_as_it_is_sent():
    connection = Prepared(OK + EMPTY)
    connection.request("PUT", "/a?b=c", b"{}", {"Content-Type": "application/json"})
    (heard,) = connection.heard()
    assert heard == (
        b"PUT /a?b=c HTTP/1.1\r\nHost: api.example:8082\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("method", "content", "says"),
    [("GET", None, False), ("DELETE", None, False), ("POST", None, True), ("DELETE", b"{}", True)],
)
def test_a_body_is_announced_where_one_may_be(method, content, says):
    connection = Prepared(b"HTTP/1.1 204 No\r\n\r\n")
    connection.request(method, "/", content, {})
    assert (b"Content-Length" in connection.heard()[0]) is says


@pytest.mark.parametrize(
    ("said", "status", "content"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabcd", 200, b"abc"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length:2\r\n\r\nno", 404, b"no"),
        (CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", 200, b"abc"),
        (CHUNKED.lower().replace(b"http", b"HTTP") + b"A\r\n0123456789\r\n0\r\nX: x\r\n\r\n",
         200, b"0123456789"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", 200, b"x"),
    ],
)  # fmt: skip
def test_answers(said, status, content):
    response = get(said)
    assert (response.status, response.content) == (status, content)


def test_header_names_are_lower_case_and_repeated_ones_joined():
    assert get(OK + b"X-One: a\r\nx-one:b \r\n" + EMPTY).headers["x-one"] == "a, b"


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [
        (OK + EMPTY, True),
        (OK + b"Connection: Close\r\n" + EMPTY, False),
        (b"HTTP/1.0 200 OK\r\n" + EMPTY, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY, True),
        (OK + b"\r\n", False),
    ],
)
def test_a_connection_is_kept_as_long_as_the_server_keeps_it(said, is_kept):
    connection = Prepared(said)
    connection.request("GET", "/", None, {})
    assert connection.is_open is is_kept
    connection.heard()


def test_the_next_answer_begins_where_the_last_ended():
    one = OK + b"Content-Length: 1\r\n\r\n"
    connection = Prepared(one + b"a" + one + b"b", one + b"c")
    said = [connection.request("GET", "/", None, {}).content for _ in range(2)]
    with pytest.raises(ConnectionError):  # closed meanwhile: who asks decides what to do
        connection.request("GET", "/", None, {})
    said.append(connection.request("GET", "/", None, {}).content)
    assert said == [b"a", b"b", b"c"]
    connection.heard()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "what listens there does not speak HTTP"),
        (b"\r\n\r\n", "what listens there does not speak HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "what listens there does not speak HTTP"),
        (OK + b"Content-Len", "its answer is cut off"),
        (OK + b"Content-Length: 5\r\n\r\nabc", "its answer is cut off"),
        (CHUNKED + b"5\r\nabc", "its answer is cut off"),
        (CHUNKED + b"1\r\na\r\n", "its answer is cut off"),
        (CHUNKED + b"xyz\r\n", "'xyz' is no length"),
        (OK + b"Content-Length: -1\r\n\r\n", "'-1' is no length"),
        (OK + b"Content-Length: 9999999999999999\r\n\r\nx", "its answer is cut off"),
        (OK + b"nonsense\r\n\r\n", "a header line without a name"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(said, reason):
    with pytest.raises(BrokenAnswerError, match=reason):
        get(said)


def test_headers_without_an_end_are_given_up():
    line = b"X: " + b"y" * 1000 + b"\r\n"
    with pytest.raises(BrokenAnswerError, match="its headers have no end"):
        get(OK + line * (MAX_HEADER_BYTES // len(line) + 1))


ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [b"200", b"204 ", b"\r\n", b"\r\n\r\n", b"\r\nContent-Length: ", b"3", b"abc", b":",
             b"\r\nTransfer-Encoding: chunked", b"\r\nConnection: close", b"0\r\n\r\n", b"\xff"]
        ),
        max_size=30,
    ).map(b"".join),
)  # fmt: skip


@given(ANSWERS)
def test_whatever_comes_is_an_answer_or_an_error_of_the_connection(said):
    try:
        response = get(b"HTTP/1.1 " + said)
    except (OSError, BrokenAnswerError):
        return
    assert 200 <= response.status <= 999


def listening(tmp_path, serve):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "x.sock"))
    listener.listen()

    def accept():
        with listener:
            peer, _ = listener.accept()
            with peer:
                serve(peer)

    thread = threading.Thread(target=accept)
    thread.start()
    return thread


def test_who_refuses_a_large_body_early_is_heard(tmp_path):
    def refuse(peer):
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")

    thread = listening(tmp_path, refuse)
    connection = connection_to(f"unix:{tmp_path}/x.sock", 5)
    response = connection.request("POST", "/", b"x" * (8 << 20), {})
    assert (response.status, response.content) == (413, b"too large")
    connection.close()
    thread.join()


def test_a_silent_server_is_given_up(tmp_path):
    thread = listening(tmp_path, lambda peer: peer.recv(1000) and peer.recv(1000))
    connection = connection_to(f"unix:{tmp_path}/x.sock", 0.05)
    with pytest.raises(TimeoutError):
        connection.request("GET", "/", None, {})
    assert not connection.is_open
    thread.join()


def test_a_stream_comes_piece_by_piece(tmp_path):
    go_on = threading.Event()

    def serve(peer):
        peer.recv(1000)
        peer.sendall(CHUNKED + b"1\r\na\r\n")
        assert go_on.wait(5)
        peer.sendall(b"1\r\nb\r\n0\r\n\r\n")

    thread = listening(tmp_path, serve)
    connection = connection_to(f"unix:{tmp_path}/x.sock", 5)
    status, pieces = connection.stream("/", {})
    assert (status, next(pieces)) == (200, b"a")  # although the rest is not there yet
    go_on.set()
    assert list(pieces) == [b"b"]
    connection.close()
    thread.join()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://api.example", ("api.example", 8082)),
        ("http://api.example:80/", ("api.example", 80)),
        ("https://10.0.0.1:8443", ("10.0.0.1", 8443)),
        ("http://[2001:db8::1]", ("2001:db8::1", 8082)),
        ("http://[::1]:9/", ("::1", 9)),
    ],
)
def test_addresses(address, place):
    made = connection_to(address, 1)
    assert (made.host, made.port) == place


@pytest.mark.parametrize(
    ("host", "told"), [("api.example", b"api.example:8082"), ("::1", b"[::1]:8082")]
)
def test_the_server_is_told_its_name(host, told):
    connection = Prepared(OK + EMPTY, host=host)
    connection.request("GET", "/", None, {})
    assert connection.heard()[0].split(b"\r\n")[1] == b"Host: " + told


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS)
def test_queries_and_paths_are_read_as_they_were_meant(name, value):
    assert unquote(quoted(value)) == value
    target = with_query("/a", {name: value})
    assert target.isascii()
    assert parse_qsl(target.partition("?")[2], keep_blank_values=True) == [(name, value)]


def test_tls_believes_whom_it_is_told_to(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "crt.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve():
        for _ in range(2):
            peer, _ = listener.accept()
            # One client believes somebody else.
            with (
                peer,
                contextlib.suppress(OSError),
                context.wrap_socket(peer, server_side=True) as secured,
            ):
                secured.recv(1000)
                secured.sendall(OK + b"Content-Length: 2\r\n\r\nhi")

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        trusting = connection_to(f"https://localhost:{port}", 5, Trust(ca=str(certificate)))
        assert trusting.request("GET", "/", None, {}).content == b"hi"
        trusting.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            connection_to(f"https://localhost:{port}", 5).request("GET", "/", None, {})
        thread.join()
