"""HTTP requests as most are: whole, small, plain. Read by one regular expression.

Whatever is anything else (in pieces, pipelined, chunked, with an escape in its path, through a
proxy) is left to the parser, which remains the judge of it: what is read here, it would read alike.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from filament.base.limits import MAX_HEADER_BYTES

# A request line and header lines of visible ASCII, as RFC 9112 writes them (no obsolete folding).
_HEAD = re.compile(
    rb"(GET|POST|PUT|DELETE) (/[A-Za-z0-9._~!$&'()*+,;=:@/-]*)"
    rb"(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?%-]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t ]*(?:[!-~](?:[\t -~]*[!-~])?)?\r\n)*)\r\n"
)
_HEADER = re.compile(rb"([^:]+):[\t ]*([^\r]*)\r\n")
# What changes how a request is read, answered or understood.
_OTHERS = frozenset(
    {b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"}
    | {b"x-forwarded-for", b"x-forwarded-proto", b"content-length"}
)
_LENGTH = re.compile(rb"[0-9]{1,9}")


class WholeRequest(NamedTuple):
    """A request with nothing before or after it; header names in lower case."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def read_whole(data: bytes) -> WholeRequest | None:
    """The request that `data` is, all of it; None when that is not so, or not plain."""
    found = _HEAD.match(data)
    if found is None or found.end() > MAX_HEADER_BYTES:
        return None
    method, path, query, block = found.groups(b"")
    body = data[found.end() :]
    headers: list[tuple[bytes, bytes]] = []
    length = -1
    for given, value in _HEADER.findall(block):
        name = given.lower()
        if name in _OTHERS:
            if name == b"content-length" and length < 0 and _LENGTH.fullmatch(value):
                length = int(value)
            elif name != b"connection" or value.lower() != b"keep-alive":
                return None
        headers.append((name, value))
    if len(body) != max(length, 0):
        return None
    return WholeRequest(method.decode(), path.decode(), query, headers, body)
