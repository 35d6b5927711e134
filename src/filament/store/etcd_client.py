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
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import httpx2
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
_failure = msgspec.json.Decoder(_Failure)
_encode = msgspec.json.Encoder().encode
Op = dict[str, Any]


@cache
def _trusted() -> ssl.SSLContext:
    """What https:// members are checked against; reading it takes longer than connecting."""
    return httpx2.create_ssl_context(trust_env=False)


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


class EtcdClient:
    """Connections to the members of one cluster. Used from one thread."""

    def __init__(self, endpoints: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        for endpoint in endpoints:
            if not endpoint.startswith(("http://", "https://")):
                raise InputError(
                    "bad-store",
                    f"{endpoint!r} is no address of an etcd member",
                    hint="write etcd:http://HOST:PORT,http://HOST:PORT",
                )
        timeout = httpx2.Timeout(REQUEST_S, connect=_CONNECT_S)
        self._members = [
            httpx2.Client(
                base_url=endpoint.rstrip("/"),
                timeout=timeout,
                trust_env=False,
                verify=_trusted(),
            )
            for endpoint in endpoints
        ]
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

    def wait(self, key: bytes, after: int, timeout_s: float) -> None:
        """Return when a key changes after an etcd revision, when the member goes away, or when
        time is up.
        """
        body = {"create_request": {"key": _text(key), "start_revision": str(after + 1)}}
        timeout = httpx2.Timeout(timeout_s, connect=_CONNECT_S)
        member = self._members[self._first]
        try:
            with member.stream("POST", "/v3/watch", content=_encode(body), timeout=timeout) as said:
                for line in said.iter_lines():
                    if '"events"' in line or '"canceled"' in line or '"error"' in line:
                        return
        except httpx2.TimeoutException:
            return
        except httpx2.HTTPError:
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
                    response = member.post(path, content=content)
                except httpx2.HTTPError as error:
                    reason = f"{member.base_url}: {error or type(error).__name__}"
                else:
                    if response.status_code == httpx2.codes.OK:
                        return response.content
                    reason = f"{member.base_url}: {_raise_final(response)}"
                self._first = (self._first + 1) % len(self._members)
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"etcd does not answer (last: {reason}); whether it did what it was asked"
                        " is unknown"
                    )
            time.sleep(_PAUSE_S)


class _TooLargeError(PermanentError):
    """The answer does not fit into one message."""


def _raise_final(response: httpx2.Response) -> str:
    """Raise when another member would say the same; else return what was wrong."""
    try:
        failure = _failure.decode(response.content)
    except msgspec.DecodeError:
        return f"HTTP status {response.status_code}"
    if failure.code == _OUT_OF_RANGE and "compacted" in failure.error:
        raise CompactedError(failure.error)
    if failure.code == _TOO_LARGE and "larger than max" in failure.error:
        raise _TooLargeError(failure.error)
    if failure.code == _TOO_LARGE and "space" in failure.error:
        raise TransientError(f"etcd refused to write: {failure.error}")
    if failure.code == _INVALID:
        raise PermanentError(f"etcd refused: {failure.error}")
    return failure.error or f"HTTP status {response.status_code}"


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
