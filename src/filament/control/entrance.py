"""Where BGP peers come in: listens as configured, and remembers whom it turned away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from filament.base.errors import TransientError
from filament.base.net import Address
from filament.compiler.peers import PeerPlan
from filament.control.bgp_socket import BgpListener
from filament.runtime.clock import now, wall
from filament.runtime.log import logger
from filament.wire.bgp.errors import REJECTED, Code
from filament.wire.bgp.message import Notification, encode_notification

_AGAIN_S = 5.0
_REFUSALS_KEPT = 64

_log = logger("bgp")


class Refused(msgspec.Struct, frozen=True):
    """A connection that was not accepted: from whom, and why. `at` is epoch seconds."""

    address: str
    reason: str
    at: float


class Entrance:
    """Hands connections to `accept`, which may `refuse` them.

    `problem` says why it does not listen, "" when it does; `reopen_at` when to `open` it (again).
    """

    def __init__(
        self,
        addresses: tuple[Address, ...],
        accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
    ) -> None:
        self.refused: deque[Refused] = deque(maxlen=_REFUSALS_KEPT)
        self.problem = ""
        self.reopen_at: float | None = None
        self._listener = BgpListener(addresses, accept)

    @property
    def port(self) -> int:
        """Where it listens; 0: it does not."""
        return self._listener.port

    async def open(self, port: int, peers: Iterable[PeerPlan]) -> None:
        """Listen by `port`, 0 for not at all; when that fails, say so and wish to try again."""
        self.reopen_at = None
        keys = {peer.address: peer.password for peer in peers if peer.password}
        try:
            await self._listener.listen(port)
            self._listener.sign(keys)
            self.problem = ""
        except TransientError as error:
            if str(error) != self.problem:
                _log.warning("bgp-not-listening", problem=str(error))
            self.problem = str(error)
            self.reopen_at = now() + _AGAIN_S

    def refuse(self, writer: asyncio.StreamWriter, address: Address, reason: str) -> None:
        """Close a connection at once, with a Cease."""
        self.refused.append(Refused(str(address), reason, wall()))
        _log.debug("bgp-refused", address=str(address), reason=reason)
        writer.write(encode_notification(Notification(Code.CEASE, REJECTED)))
        writer.close()

    async def close(self) -> None:
        """Listen no more."""
        await self._listener.close()
