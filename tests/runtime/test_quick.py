"""Whole requests are read as the parser would read them, or left to it."""

import contextlib

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.limits import MAX_HEADER_BYTES
from filament.runtime.quick import read_whole

PLAIN = b"POST /ports?a=%31 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Judge:
    """What the parser makes of bytes."""

    def __init__(self, data):
        self.url, self.headers, self.body, self.begun, self.complete = b"", [], b"", 0, 0
        self.is_good = False
        parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            parser.feed_data(data)
            self.is_good = self.begun == self.complete == 1
        if self.is_good:
            self.method, self.keeps_alive = parser.get_method(), parser.should_keep_alive()
            self.version = parser.get_http_version()

    def on_message_begin(self):
        self.begun += 1

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.complete += 1


def require_alike(data):
    """Whether it was read; then the parser must agree about every part."""
    found = read_whole(data)
    if found is None:
        return False
    judge = Judge(data)
    assert judge.is_good
    assert (judge.version, judge.keeps_alive) == ("1.1", True)
    url = httptools.parse_url(judge.url)
    assert found.method.encode() == judge.method
    assert (found.path.encode(), found.query) == (url.path, url.query or b"")
    assert (found.headers, found.body) == (judge.headers, judge.body)
    return True


def test_a_plain_request_is_read():
    assert require_alike(PLAIN)
    found = read_whole(PLAIN)
    assert (found.method, found.path, found.query, found.body) == (
        "POST",
        "/ports",
        b"a=%31",
        b"{}",
    )
    assert require_alike(b"GET / HTTP/1.1\r\n\r\n")
    assert require_alike(b"GET /port/1 HTTP/1.1\r\nConnection: Keep-Alive\r\nA:\tb c\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"G",
        PLAIN + PLAIN,
        PLAIN.replace(b"Length: 2", b"Length: 2, 2"),
        PLAIN.replace(b"Host: x", b"Content-Length: 2"),
        PLAIN.replace(b"Length: 2", b"Length: +2"),
        PLAIN.replace(b"Length: 2", b"Length: " + b"0" * 5000 + b"2"),
        PLAIN.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        PLAIN.replace(b"Host: x", b"Expect: 100-continue"),
        PLAIN.replace(b"Host: x", b"Connection: close"),
        PLAIN.replace(b"Host: x", b"X-Forwarded-Proto: https"),
        PLAIN.replace(b"Host: x", b"Host: \xff"),
        PLAIN.replace(b"Host: x", b"Host : x"),
        PLAIN.replace(b"Host: x", b"Host: x "),
        PLAIN.replace(b"Host: x\r\n", b"Host: x\r\n folded\r\n"),
        PLAIN.replace(b"Host: x\r\n", b"Host: x\n"),
        PLAIN.replace(b"Host: x", b"Host: " + b"x" * MAX_HEADER_BYTES),
        PLAIN.replace(b"/ports", b"/p%6frts"),
        PLAIN.replace(b"/ports", b"http://x/ports"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"POST", b"HEAD"),
        PLAIN.replace(b"POST", b"post"),
    ],
)
def test_anything_else_is_left_to_the_parser(data):
    assert read_whole(data) is None


_pieces = st.sampled_from(
    [
        b"GET ", b"POST ", b"/", b"//", b"/a", b"?", b"a=b", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
        b"Host: x\r\n", b"Host:x\r\n", b"A: b: c\r\n", b"A:\r\n", b": x\r\n", b"A\tB: x\r\n",
        b"Content-Length: 2\r\n", b"content-length:0\r\n", b"Content-Length: -2\r\n",
        b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
        b"Transfer-Encoding: identity\r\n", b"\r\n", b"\n", b"\r", b" ", b"{}", b"@", b":", b"*",
    ]
)  # fmt: skip
_heads = st.tuples(
    st.sampled_from([b"GET ", b"PUT ", b"POST ", b"DELETE "]),
    st.lists(_pieces, max_size=3).map(lambda found: b"/" + b"".join(found)),
    st.just(b" HTTP/1.1\r\n"),
    st.lists(_pieces, max_size=4).map(b"".join),
    st.sampled_from([b"\r\n", b"\r\n{}"]),
).map(b"".join)


@given(_heads | st.lists(_pieces, max_size=12).map(b"".join))
def test_what_is_read_is_what_the_parser_reads(data):
    require_alike(data)


@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=2))
def test_so_is_a_plain_request_with_a_few_bytes_changed(at, changed):
    require_alike(PLAIN[:at] + changed + PLAIN[at + len(changed) :])
