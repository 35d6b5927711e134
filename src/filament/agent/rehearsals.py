"""`POST /filament/rehearsals`: what this host's programs would do with packets, none of which is
sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.base.errors import InputError
from filament.base.limits import MAX_REHEARSED_BYTES, MAX_REHEARSED_PACKETS
from filament.dataplane.rehearse import Packet, Rehearsal, rehearse
from filament.runtime.web import answering_errors, json_response, read_body


class _Asked(msgspec.Struct):
    """One packet: `frame` is hexadecimal; `ifindex` is a port's device, unused of the underlay."""

    program: Literal["from_port", "from_fabric"]
    frame: str
    ifindex: int = 0


class _Rehearsed(msgspec.Struct):
    packets: list[_Asked]


class Rehearsals:
    """Runs packets through a second copy of the programs; one request at a time.

    `tags` are those of the programs that are attached, `underlay` says the underlay's device.
    """

    def __init__(
        self, directory: Path, tags: Mapping[str, str], underlay: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._tags = tags
        self._underlay = underlay
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Say what became of each packet, and whether the programs asked are those attached."""
        packets = self._read(await read_body(request))
        async with self._turn:
            # Loading takes the verifier some tens of milliseconds; packets need not wait for it.
            found = await asyncio.to_thread(rehearse, self._directory, packets)
        return json_response(self._told(found))

    def _read(self, body: bytes) -> list[Packet]:
        try:
            asked = msgspec.json.decode(body, type=_Rehearsed).packets
        except msgspec.DecodeError as error:
            raise InputError("bad-rehearsal", f"malformed packets: {error}") from None
        if len(asked) > MAX_REHEARSED_PACKETS:
            raise InputError(
                "too-many-packets",
                f"{len(asked)} packets",
                hint=f"ask for at most {MAX_REHEARSED_PACKETS} at once",
            )
        return [self._packet(index, one) for index, one in enumerate(asked)]

    def _packet(self, index: int, asked: _Asked) -> Packet:
        path = f"packets[{index}].frame"
        try:
            frame = bytes.fromhex(asked.frame)
        except ValueError:
            raise InputError("bad-frame", "it is not hexadecimal", path=path) from None
        # Shorter ones than an Ethernet header are refused by the kernel.
        if not 14 <= len(frame) <= MAX_REHEARSED_BYTES:
            raise InputError(
                "bad-frame",
                f"it has {len(frame)} bytes",
                path=path,
                hint=f"give a frame of 14 to {MAX_REHEARSED_BYTES} bytes",
            )
        ifindex = asked.ifindex if asked.program == "from_port" else self._underlay()
        if not 0 < ifindex < 1 << 31:
            raise InputError(
                "bad-device", f"there is no device {ifindex}", path=f"packets[{index}].ifindex"
            )
        return Packet(asked.program, ifindex, frame)

    def _told(self, found: Rehearsal) -> dict[str, Any]:
        return {
            "same_programs": found.tags == self._tags,
            "results": [
                {
                    "verdict": int(one.verdict),
                    "reason": one.reason.name,
                    "next_hop": one.next_hop,
                    "ifindex": one.ifindex,
                    "frame": one.frame.hex(),
                }
                for one in found.rulings
            ],
        }


def rehearsal_routes(rehearsals: Rehearsals) -> list[Route]:
    """Return the route of rehearsals."""
    handler = answering_errors(rehearsals.answer)
    return [Route("/filament/rehearsals", handler, methods=["POST"])]
