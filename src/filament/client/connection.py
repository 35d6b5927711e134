"""One HTTP/1.1 connection, blocking (RFC 9112): requests out, whole answers or streams in.

The standard library's client would do, but to import it takes longer than most commands of the
command line: it brings the parsers of e-mail, and TLS. Whatever the server sends, what comes out
is an answer, an OSError or a BrokenAnswerError; a header block is bounded, a body is not: who asks
knows what for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any, NamedTuple

from filament.base.limits import MAX_HEADER_BYTES

_NO_BODY = frozenset((204, 304))
_PIECE_BYTES = 1 << 20
_NOT_HTTP = "what listens there does not speak HTTP"


class BrokenAnswerError(Exception):
    """What came is no whole HTTP answer; the text says to a person what is wrong with it."""


class Response(NamedTuple):
    """A whole answer as it came; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection:
    """One connection, opened by the first request and kept as long as the server keeps it.

    Raises OSError and BrokenAnswerError; after either it is closed. One request at a time.
    """

    def __init__(self, host: str, port: int, timeout_s: float, *, path: str = "") -> None:
        """`path` is a unix socket's; `host` is then only what the server is told."""
        self.host = host
        self.port = port
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._reader: BufferedReader | None = None

    @property
    def is_open(self) -> bool:
        """Whether the next request uses a connection that was there before."""
        return self._socket is not None

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed the connection since the last answer (without TLS, where
        it cannot be told beforehand).
        """
        if self._socket is None:
            return False
        self._socket.settimeout(0)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, ValueError):
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(self._timeout_s)

    def close(self) -> None:
        """Close; the next request opens another."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Response:
        """Send one request and read the whole answer."""
        try:
            status, found, is_last = self._ask(method, target, content, headers)
            response = Response(status, found, b"".join(self._body(status, found)))
        except BaseException:
            self.close()
            raise
        if is_last:
            self.close()
        return response

    def stream(self, target: str, headers: Mapping[str, str]) -> tuple[int, Iterator[bytes]]:
        """GET an answer that may never end: its status, and its body in pieces as they come."""
        status, found, _ = self._ask("GET", target, None, headers)
        return status, self._body(status, found)

    def _ask(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bool]:
        """Send one request; the answer's status, headers, and whether the connection ends then."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if content is not None or method in {"POST", "PUT"}:
            lines.append(f"Content-Length: {len(content or b'')}")
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        if self._socket is None:
            self._socket = self._opened()
            self._socket.settimeout(self._timeout_s)
            self._reader = self._socket.makefile("rb")
        try:
            self._socket.sendall(head + (content or b""))
        except ConnectionError as error:
            # Who refuses a body that is too large may have said so before all of it was sent.
            try:
                return self._head()
            except (OSError, BrokenAnswerError):
                raise error from None
        return self._head()

    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self._path else f"{host}:{self.port}"

    def _opened(self) -> socket.socket:
        if self._path:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(self._timeout_s)
            try:
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            return made
        # As bytes: a text would be prepared as an international name, which brings Unicode's
        # tables with it.
        host: Any = self.host.encode() if self.host.isascii() else self.host
        made = socket.create_connection((host, self.port), self._timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _head(self) -> tuple[int, dict[str, str], bool]:
        """Read status and headers, those of preliminary answers passed over."""
        while True:
            lines = self._head_lines()
            version, _, rest = lines[0].partition(" ")
            code = rest[:3]
            if version not in {"HTTP/1.1", "HTTP/1.0"} or not (code.isascii() and code.isdigit()):
                raise BrokenAnswerError(_NOT_HTTP)
            headers: dict[str, str] = {}
            for line in lines[1:]:
                name, colon, value = line.partition(":")
                if not colon:
                    raise BrokenAnswerError("its answer is broken: a header line without a name")
                name, value = name.strip().lower(), value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            if int(code) >= 200:
                said = headers.get("connection", "").lower()
                is_last = said != "keep-alive" if version == "HTTP/1.0" else "close" in said
                return int(code), headers, is_last or not _is_framed(int(code), headers)

    def _head_lines(self) -> list[str]:
        """Read up to the empty line after the headers."""
        lines: list[str] = []
        size = 0
        while True:
            line = self._line()
            if not line and not lines:
                raise ConnectionResetError("closed without an answer")
            size += len(line)
            if size > MAX_HEADER_BYTES:
                raise BrokenAnswerError("its answer is broken: its headers have no end")
            if not lines and not line.startswith(b"HTTP/1."):
                raise BrokenAnswerError(_NOT_HTTP)
            if not line.endswith(b"\n"):
                raise _cut_off()
            text = line.decode("latin-1").rstrip("\r\n")
            if not text:
                return lines
            lines.append(text)

    def _line(self) -> bytes:
        assert self._reader is not None
        return self._reader.readline(MAX_HEADER_BYTES + 1)

    def _body(self, status: int, headers: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the body in pieces, as they come. Raises BrokenAnswerError when it is cut off."""
        assert self._reader is not None
        if not _is_framed(status, headers):
            while piece := self._reader.read1(1 << 16):
                yield piece
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
        elif status not in _NO_BODY:
            yield from self._exactly(_size_of(headers.get("content-length", ""), 10))

    def _exactly(self, size: int) -> Iterator[bytes]:
        """Yield so many bytes, in pieces: a length that lies reserves no memory."""
        assert self._reader is not None
        while size:
            piece = self._reader.read(min(size, _PIECE_BYTES))
            if not piece:
                raise _cut_off()
            size -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := _size_of(self._line().partition(b";")[0].decode("latin-1").strip(), 16):
            yield from self._exactly(size)
            self._line()
        while self._line() not in {b"\r\n", b"\n", b""}:  # trailers say nothing that we ask for
            pass


def _cut_off() -> BrokenAnswerError:
    return BrokenAnswerError("its answer is cut off")


def _is_framed(status: int, headers: Mapping[str, str]) -> bool:
    """Say whether an answer tells where it ends, other than by closing the connection."""
    if status in _NO_BODY:
        return True
    return "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()


def _size_of(text: str, base: int) -> int:
    digits = "0123456789abcdef"[:base]
    if not text:
        raise _cut_off()
    if len(text) > 16 or text.lower().strip(digits):
        raise BrokenAnswerError(f"its answer is broken: {text[:16]!r} is no length")
    return int(text, base)
