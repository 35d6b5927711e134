"""A small client of etcd 3.4's JSON gateway: transactions, ranges at one revision, waiting.

Requests go to one member and on to the next when it does not answer. Whatever is sent may be sent
again after a failure whose outcome is unknown, so callers send only what is safe to repeat:
reads, and transactions that compare something which they change.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import msgspec

from filament.base.errors import InputError, PermanentError, TransientError

REQUEST_S = 3.0  # one member's time to answer
PATIENCE_S = 12.0  # all members' time, for one request
_CONNECT_S = 1.0
_PAUSE_S = 0.05  # after every member has failed: an election takes about a second
_PAGE = 1000
_READERS = 4  # ranges read at a time
# gRPC codes of the gateway's error answers.
_INVALID, _TOO_LARGE, _OUT_OF_RANGE = 3, 8, 11


class CompactedError(TransientError):
    """A revision of etcd's own was asked for that it no longer keeps."""


class Pair(msgspec.Struct, frozen=True):
    """One key with its value; `changed` is etcd's revision of the last change."""

    key: bytes  # base64 in JSON, as msgspec decodes bytes
    value: bytes = b""
    changed: int = msgspec.field(default=0, name="mod_revision")


class _Header(msgspec.Struct):
    revision: int = 0


class _Range(msgspec.Struct):
    header: _Header = msgspec.field(default_factory=_Header)
    kvs: list[Pair] = []
    more: bool = False


class _Response(msgspec.Struct):
    response_range: _Range = msgspec.field(default_factory=_Range)


class _Txn(msgspec.Struct):
    header: _Header
    succeeded: bool = False
    responses: list[_Response] = []


class _Event(msgspec.Struct):
    kv: Pair


class _Events(msgspec.Struct):
    events: list[_Event] = []


class _Watch(msgspec.Struct):
    result: _Events = msgspec.field(default_factory=_Events)


class _Failure(msgspec.Struct):
    error: str = ""
    code: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What a transaction answered: `ranges` of the branch that ran, at etcd's `revision`."""

    succeeded: bool
    revision: int
    ranges: list[list[Pair]]


_range_answer = msgspec.json.Decoder(_Range, strict=False)  # numbers are texts there
_txn_answer = msgspec.json.Decoder(_Txn, strict=False)
_watch_answer = msgspec.json.Decoder(_Watch, strict=False)
_failure = msgspec.json.Decoder(_Failure)
_encode = msgspec.json.Encoder().encode
Op = dict[str, Any]


@cache
def _trusted() -> ssl.SSLContext:
    """What https:// members are checked against; reading it takes longer than connecting."""
    return ssl.create_default_context()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def unchanged(key: bytes, changed: int) -> Op:
    """Compare: the key was last changed at an etcd revision; 0 means that it does not exist."""
    return {"target": "MOD", "result": "EQUAL", "key": _text(key), "mod_revision": str(changed)}


def put(key: bytes, value: bytes) -> Op:
    """Write a key."""
    return {"request_put": {"key": _text(key), "value": _text(value)}}


def drop(first: bytes, end: bytes = b"") -> Op:
    """Delete a key, or all keys from `first` up to `end`."""
    given = {"key": _text(first)} | ({"range_end": _text(end)} if end else {})
    return {"request_delete_range": given}


def read(key: bytes) -> Op:
    """Read a key."""
    return {"request_range": {"key": _text(key)}}


class _Member:
    """One member and a kept connection to it. On the standard library: a client of many features
    takes longer over a request than etcd does.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            self._parts = urlsplit(self.address)
            is_known = self._parts.scheme in {"http", "https"} and bool(self._parts.hostname)
            self._port = self._parts.port
        except ValueError:  # a port that is no number
            is_known = False
        if not is_known:
            raise InputError(
                "bad-store",
                f"{address!r} is no address of an etcd member",
                hint="write etcd:http://HOST:PORT,http://HOST:PORT",
            )
        self._connection: HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """Ask, and read status and answer. Raises OSError or HTTPException."""
        was_open = self._connection is not None
        try:
            return self._post(path, content)
        except (ConnectionError, HTTPException):
            self.close()
            if not was_open:
                raise
            return self._post(path, content)  # it was closed while nobody used it
        except OSError:
            self.close()
            raise

    def stream(self, path: str, content: bytes, timeout_s: float) -> Iterator[bytes]:
        """Ask on a connection of its own and yield lines as they come. Raises as `post` does;
        TimeoutError when there is silence for `timeout_s`.
        """
        with closing(self._connect(timeout_s)) as connection:
            connection.request("POST", self._parts.path + path, content)
            yield from connection.getresponse()

    def _post(self, path: str, content: bytes) -> tuple[int, bytes]:
        if self._connection is None or self._connection.sock is None:
            self._connection = self._connect(REQUEST_S)
        self._connection.request("POST", self._parts.path + path, content)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            context = _trusted()
            connection: HTTPConnection = HTTPSConnection(
                host, self._port, timeout=_CONNECT_S, context=context
            )
        else:
            connection = HTTPConnection(host, self._port, timeout=_CONNECT_S)
        connection.connect()
        connection.sock.settimeout(timeout_s)
        return connection


class EtcdClient:
    """Connections to the members of one cluster. Used from one thread."""

    def __init__(self, endpoints: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        self._members = [_Member(endpoint) for endpoint in endpoints]
        self._first = 0  # the member that answered last
        self._patience_s = patience_s

    def close(self) -> None:
        """Close every connection."""
        for member in self._members:
            member.close()

    def transact(
        self, compare: Sequence[Op], success: Sequence[Op], failure: Sequence[Op] = ()
    ) -> Outcome:
        """Carry out one transaction; it must be safe to repeat."""
        body = {"compare": list(compare), "success": list(success), "failure": list(failure)}
        answer = _txn_answer.decode(self._ask("/v3/kv/txn", body))
        ranges = [each.response_range.kvs for each in answer.responses]
        return Outcome(answer.succeeded, answer.header.revision, ranges)

    def page(
        self, first: bytes, end: bytes, *, limit: int = _PAGE, revision: int = 0
    ) -> tuple[list[Pair], bool]:
        """Read up to `limit` keys from `first` up to `end`, in order, and whether there are more;
        at an etcd revision or (0) now.
        """
        while True:
            # Without an order: etcd has them in order anyway, and to sort it would read them all.
            body = {
                "key": _text(first),
                "range_end": _text(end),
                "limit": str(limit),
                "revision": str(revision),
            }
            try:
                answer = _range_answer.decode(self._ask("/v3/kv/range", body))
            except _TooLargeError:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            return answer.kvs, answer.more

    def pages(self, first: bytes, end: bytes, *, revision: int = 0) -> Iterator[Pair]:
        """Read all keys from `first` up to `end`."""
        more = True
        while more:
            found, more = self.page(first, end, revision=revision)
            yield from found
            if found:
                first = found[-1].key + b"\0"

    def wait(
        self, key: bytes, after: int, timeout_s: float, is_news: Callable[[bytes], bool]
    ) -> None:
        """Return when a key gets a value that is news, after an etcd revision; when the member
        goes away, or when time is up.
        """
        body = {"create_request": {"key": _text(key), "start_revision": str(after + 1)}}
        member = self._members[self._first]
        deadline = time.monotonic() + timeout_s
        try:
            for line in member.stream("/v3/watch", _encode(body), timeout_s):
                if b'"canceled"' in line or b'"error"' in line:
                    return
                told = _watch_answer.decode(line).result.events if b'"events"' in line else []
                if any(is_news(event.kv.value) for event in told) or time.monotonic() > deadline:
                    return
        except TimeoutError:
            return
        except (OSError, HTTPException):
            self._first = (self._first + 1) % len(self._members)

    def compact(self, revision: int) -> None:
        """Let etcd forget its own history below a revision."""
        try:
            self._ask("/v3/kv/compaction", {"revision": str(revision)})
        except CompactedError:
            return  # somebody else was here

    def _ask(self, path: str, body: Op) -> bytes:
        content = _encode(body)
        deadline = time.monotonic() + self._patience_s
        reason = ""
        while True:
            for _ in self._members:
                member = self._members[self._first]
                try:
                    status, answer = member.post(path, content)
                except (OSError, HTTPException) as error:
                    reason = f"{member.address}: {error or type(error).__name__}"
                else:
                    if status == HTTPStatus.OK:
                        return answer
                    reason = f"{member.address}: {_raise_final(status, answer)}"
                self._first = (self._first + 1) % len(self._members)
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"etcd does not answer (last: {reason}); whether it did what it was asked"
                        " is unknown"
                    )
            time.sleep(_PAUSE_S)


class _TooLargeError(PermanentError):
    """The answer does not fit into one message."""


def _raise_final(status: int, answer: bytes) -> str:
    """Raise when another member would say the same; else return what was wrong."""
    try:
        failure = _failure.decode(answer)
    except msgspec.DecodeError:
        return f"HTTP status {status}"
    if failure.code == _OUT_OF_RANGE and "compacted" in failure.error:
        raise CompactedError(failure.error)
    if failure.code == _TOO_LARGE and "larger than max" in failure.error:
        raise _TooLargeError(failure.error)
    if failure.code == _TOO_LARGE and "space" in failure.error:
        raise TransientError(f"etcd refused to write: {failure.error}")
    if failure.code == _INVALID:
        raise PermanentError(f"etcd refused: {failure.error}")
    return failure.error or f"HTTP status {status}"


def read_ranges(
    endpoints: Sequence[str], ranges: Sequence[tuple[bytes, bytes]], revision: int
) -> Generator[list[Pair]]:
    """Read ranges of keys at an etcd revision, several at a time, and yield each one's pairs in
    the order of `ranges`: a member makes JSON more slowly than we take it apart.
    """
    clients = [EtcdClient(endpoints) for _ in range(_READERS)]
    free = list(clients)  # its two methods are atomic, and there are as many threads as clients

    def fetch(bounds: tuple[bytes, bytes]) -> list[Pair]:
        client = free.pop()
        try:
            return list(client.pages(*bounds, revision=revision))
        finally:
            free.append(client)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="etcd") as readers:
        try:
            waiting = deque(readers.submit(fetch, bounds) for bounds in ranges)
            while waiting:
                yield waiting.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)
            for client in clients:
                client.close()
