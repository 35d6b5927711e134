"""What a walk needs to know of one packet's passage through one host."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from filament.base.origin import Origin
from filament.forward.layout import DropReason
from filament.forward.tables import Key


class Met(NamedTuple):
    """A row the packet met; `values` None: it looked for the row and there is none."""

    table: str
    key: Key
    values: tuple[int, ...] | None
    origin: Origin


class Passage(NamedTuple):
    """What one host did with a packet: the rows it met, then what left and where to.

    `to_ports` are frames by the ifindex of the port that gets them, `to_underlay` whole IPv4
    packets; with neither, the packet was dropped for `reason`.
    """

    met: tuple[Met, ...]
    to_ports: tuple[tuple[int, bytes], ...]
    to_underlay: tuple[bytes, ...]
    reason: DropReason


class Pipeline(Protocol):
    """One host's packet processing, which remembers flows from one packet to the next."""

    def from_port(self, ifindex: int, frame: bytes) -> Passage:
        """Process a frame that a workload sends."""

    def from_underlay(self, packet: bytes) -> Passage:
        """Process an IPv4 packet (without Ethernet header) addressed to this host."""
