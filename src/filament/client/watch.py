"""The configuration's change stream, for control nodes: a snapshot, then every commit after it.

Reconnecting is the caller's: a stream ends by raising `TransientError` or by yielding `Relisted`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from filament.base.errors import InputError, PermanentError, TransientError
from filament.client.trust import NO_TRUST, Trust
from filament.model.change import Allocation, Commit, Object
from filament.model.edit import Find, TerseCommit, whole

# The API says something at least every 15 s; silence for longer means that it is gone.
_SILENCE_S = 40.0
_CONNECT_S = 5.0


class Loaded(msgspec.Struct, frozen=True):
    """The whole configuration at one revision."""

    revision: int
    objects: list[Object]
    allocations: list[Allocation]


class Relisted(msgspec.Struct, frozen=True):
    """The commits asked for are no longer kept: load again."""


_commit = msgspec.json.Decoder(Commit)
_terse = msgspec.json.Decoder(TerseCommit)
_loaded = msgspec.json.Decoder(Loaded)


class WatchClient:
    """Asynchronous access to one API. `address` is `http(s)://host:port` or `unix:/path`."""

    def __init__(self, address: str, trust: Trust = NO_TRUST) -> None:
        self._address = address
        if address.startswith("unix:"):
            transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"))
            base = "http://localhost"
        elif address.startswith("http://"):
            transport, base = httpx2.AsyncHTTPTransport(), address
        elif address.startswith("https://"):
            transport, base = httpx2.AsyncHTTPTransport(verify=trust.context()), address
        else:
            raise InputError(
                "bad-address",
                f"{address!r} is no address of an API",
                hint="write http(s)://HOST:PORT or unix:/PATH",
            )
        timeout = httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S)
        # No proxies from the environment: the API is on our own network.
        self._http = httpx2.AsyncClient(
            transport=transport,
            base_url=base,
            timeout=timeout,
            trust_env=False,
            headers=trust.headers(),
        )

    @property
    def address(self) -> str:
        """Whom it talks to."""
        return self._address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def load(self) -> Loaded:
        """Load the whole configuration."""
        try:
            response = await self._http.get("/filament/snapshot")
        except httpx2.HTTPError as error:
            raise self._gone(error) from error
        self._require_ok(response.status_code, response.text)
        try:
            return _loaded.decode(response.content)
        except msgspec.DecodeError as error:  # cut off in the middle, or not our API
            raise TransientError(
                f"the snapshot of {self._address} is not whole: {error}"
            ) from error

    async def watch(
        self, after: int, incarnation: str = "", find: Find | None = None
    ) -> AsyncIterator[Commit | Relisted]:
        """Yield every commit after a revision, in order; ends only by raising or `Relisted`.

        `incarnation` is that of the reports: when the stream breaks, they stand for nobody. With
        `find`, which gives objects as they are after the last commit that was yielded, long objects
        come as edits; MismatchError says that one is of another object.
        """
        wanted: dict[str, str | int] = {"after": after}
        if find is not None:
            wanted["edits"] = "true"
        if incarnation:
            wanted["incarnation"] = incarnation
        try:
            async with self._http.stream("GET", "/watch", params=wanted) as response:
                if response.status_code != httpx2.codes.OK:
                    text = (await response.aread()).decode(errors="replace")
                    self._require_ok(response.status_code, text)
                event = ""
                async for line in _lines(response.aiter_bytes()):
                    if line.startswith(b"event: "):
                        event = line.removeprefix(b"event: ").decode()
                    elif line.startswith(b"data: "):
                        if event == "relist":
                            yield Relisted()
                            return
                        data = line.removeprefix(b"data: ")
                        if find is None:
                            yield _commit.decode(data)
                        else:
                            yield whole(_terse.decode(data), find)
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise self._gone(error) from error
        raise TransientError(f"the API at {self._address} ended the stream")

    async def report(self, value: Any) -> None:
        """Post a control node's report."""
        try:
            response = await self._http.post("/filament/report", content=msgspec.json.encode(value))
        except httpx2.HTTPError as error:
            raise self._gone(error) from error
        self._require_ok(response.status_code, response.text)

    def _require_ok(self, status: int, text: str) -> None:
        if status >= 500:
            raise TransientError(f"the API at {self._address} answered {status}: {text.strip()}")
        if status != httpx2.codes.OK:
            raise PermanentError(f"the API at {self._address} answered {status}: {text.strip()}")

    def _gone(self, error: Exception) -> TransientError:
        return TransientError(
            f"the API at {self._address} does not answer ({error or type(error).__name__})"
        )


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at line feeds only: JSON may hold U+2028, which a text line reader takes for an end."""
    begun: list[bytes] = []  # joined once: a commit of megabytes comes in hundreds of pieces
    async for piece in pieces:
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            *lines, last = others
            for line in lines:
                yield line
            begun = [last]
