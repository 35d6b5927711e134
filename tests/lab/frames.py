"""Frames as a workload's own network card would send them, whatever is in them, and what became of
them: the counters of a host, which have to add up.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import NamedTuple

from filament.base.net import ROUTER_MAC
from filament.testing.lab.lab import Lab, agent_of
from filament.testing.lab.namespaces import inside
from filament.wire.packet.frames import ipv4_frame, ipv6_frame, tcp6_packet, tcp_packet
from filament.wire.packet.tcp import SYN, Tcp


class Counts(NamedTuple):
    """What hosts counted: frames that programs took, that they sent on or answered, and dropped."""

    taken: int
    sent: int
    dropped: int
    by_reason: dict[str, int]

    def since(self, before: Counts) -> Counts:
        """What came since then."""
        reasons = {
            name: count - before.by_reason.get(name, 0)
            for name, count in self.by_reason.items()
            if count != before.by_reason.get(name, 0)
        }
        return Counts(
            *(now - then for now, then in zip(self[:3], before[:3], strict=True)), reasons
        )


def count(lab: Lab, host: str) -> Counts:
    """Read a host's counters. Every frame taken is one sent on (or answered), or one dropped."""
    rows = lab.ask(agent_of(host), "/filament/counters")["counters"]
    drops = lab.ask(agent_of(host), "/filament/drops")["drops"]
    by_reason: dict[str, int] = {}
    for row in drops:
        by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["packets"]
    return Counts(
        sum(row["rx_packets"] for row in rows),
        sum(row["tx_packets"] for row in rows),
        sum(row["packets"] for row in drops),
        by_reason,
    )


@contextlib.contextmanager
def card(lab: Lab, workload: str):
    """A socket that sends whole frames from a workload's device."""
    with inside(lab.place(workload)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as made:
        made.bind(("eth0", 0))
        yield made


def send(card: socket.socket, frames: Iterable[bytes]) -> int:
    """Send as fast as it goes; returns how many the device took (it refuses some that are odd)."""
    taken = 0
    for frame in frames:
        with contextlib.suppress(OSError):
            taken += card.send(frame) > 0
    return taken


def syns(
    lab: Lab,
    source: str,
    target: str,
    ports: Iterable[tuple[int, int]],
    addresses6: tuple[int, int] | None = None,
) -> list[bytes]:
    """The first segments of connections by source and destination port; over IPv6 if both have an
    address of it.
    """
    here, there = lab.plan.workload(source), lab.plan.workload(target)
    segments = (Tcp(*pair, sequence=pair[0], flags=SYN) for pair in ports)
    if addresses6 is not None:
        return [ipv6_frame(here.mac, ROUTER_MAC, tcp6_packet(*addresses6, one)) for one in segments]
    ends = here.address, there.address
    return [ipv4_frame(here.mac, ROUTER_MAC, tcp_packet(*ends, one)) for one in segments]
