"""Who has an address: the ports that it is routed to, and which of several gets its packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from filament.base.net import Prefix
from filament.forward.inputs import HIGH_PREFERENCE, Port, Standby


def local_prefixes(port: Port) -> Iterator[tuple[Prefix, str]]:
    """Yield what is routed to a port: its addresses, and its allowed address pairs but for those
    of any address, which say whom it may be and not where anybody is. With each, the reason.
    """
    for address in port.addresses:
        yield Prefix.host(address), "local-address"
    for address in port.addresses6:
        yield Prefix.host(address, 6), "local-address"
    for number, pair in enumerate(port.pairs, 1):
        if pair.prefix.length:
            yield pair.prefix, f"allowed-address-pair {number}"


def standing_of(port: Port, prefix: Prefix) -> Standby:
    """Return how a port stands with an address: those that it shares with no standby it holds."""
    for one in port.standbys:
        if one.prefix == prefix:
            return one
    return Standby(prefix, HIGH_PREFERENCE, 0)


def active_holders(prefix: Prefix, holders: Sequence[Port]) -> Sequence[Port]:
    """Return which of the ports here that have an address get its packets: all of them, or the one
    whose claim is the newest.
    """
    standings = [standing_of(port, prefix) for port in holders]
    best = max(standings)
    active = [port for port, one in zip(holders, standings, strict=True) if one == best]
    return [min(active, key=lambda port: port.uuid)] if best.sequence else active


def shared_label(vrf: str, prefix: Prefix) -> str:
    """Return the name of the label that leads to all ports here that have an address."""
    return f"shared {vrf} {prefix}"


def claim_name(port: str, prefix: Prefix) -> str:
    """Return the name of what a port (uuid) claims by sending from a prefix."""
    return f"{port} {prefix}"
