"""The sans-IO shape of every protocol endpoint: bytes and time in, bytes and events out."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

EventT = TypeVar("EventT", covariant=True)


class Machine(Protocol, Generic[EventT]):
    """A protocol endpoint driven by bytes, time and its owner; it never does I/O.

    `now` is seconds on one monotonic clock. `runtime.drive` is the only adapter to transports.
    """

    @property
    def closed(self) -> bool:
        """Whether the conversation is over: once data_to_send is written, the transport closes."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the transport; b"" means the peer closed it."""

    def data_to_send(self, now: float) -> list[bytes]:
        """Return and forget the bytes to write, in order."""

    def timer_at(self) -> float | None:
        """Return the absolute time of the next timer, or None."""

    def handle_timer(self, now: float) -> None:
        """Run every timer due at `now`."""

    def next_event(self) -> EventT | None:
        """Return and forget the next event (a frozen struct named as a past fact)."""

    def close(self, reason: str, now: float) -> None:
        """Say goodbye to the peer; nothing is accepted afterwards."""
