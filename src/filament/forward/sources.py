"""Whom a port may send as: MAC and address go together. `c/lib/source.h` says the same in C."""

from __future__ import annotations

from typing import NamedTuple

from filament.base.net import widen_address
from filament.forward.layout import (
    INTERFACE_CHECK_MAC,
    INTERFACE_CHECK_SOURCE,
    INTERFACE_STANDBY,
    DropReason,
)
from filament.forward.members import leads_to
from filament.forward.parse import is_link_local, is_unicast
from filament.forward.rows import InterfaceValues, RouteValues, Rows, SourceValues
from filament.forward.steps import Trail
from filament.forward.tables import ROUTES_BY_VERSION


class Sender(NamedTuple):
    """Who a port's frame says it is from."""

    mac: int
    address: int
    version: int


def refuse_source(rows: Rows, port: InterfaceValues, sender: Sender, trail: Trail) -> DropReason:
    """Say why the port may not send packets from a MAC and address (NONE: it may).

    From its own MAC it may use its addresses and what is routed to it; allowed address pairs add
    others. Where addresses are not checked (the network's RPF is off), the MAC decides alone.
    """
    address, version = sender.address, sender.version
    is_own_mac = not port.flags & INTERFACE_CHECK_MAC or sender.mac == port.mac
    checks_address = bool(port.flags & INTERFACE_CHECK_SOURCE)
    refusal = DropReason.SOURCE_SPOOFED if is_own_mac else DropReason.SOURCE_MAC_SPOOFED
    if not is_unicast(address, version):
        return refusal
    if is_own_mac:
        primary = port.address if version == 4 else port.address6
        if not checks_address or address == primary:
            return DropReason.NONE
        found = rows.find_route(port.vrf, address, version)
        if found is not None and leads_to(rows, RouteValues(*found.row.values), port):
            trail.meet("source", ROUTES_BY_VERSION[version], found.key, found.row)
            return DropReason.NONE
    asked = widen_address(address, version) if checks_address else 0
    return DropReason.NONE if _is_allowed(rows, port, sender.mac, asked, trail) else refusal


def refuse_sender(rows: Rows, port: InterfaceValues, sender: Sender, trail: Trail) -> DropReason:
    """The same for ARP and neighbour discovery, whose sender may have no address yet, or one that
    means nothing beyond the link: then only the MAC counts.
    """
    if sender.address and not is_link_local(sender.address, sender.version):
        return refuse_source(rows, port, sender, trail)
    if (
        not port.flags & INTERFACE_CHECK_MAC
        or sender.mac == port.mac
        or _is_allowed(rows, port, sender.mac, 0, trail)
    ):
        return DropReason.NONE
    return DropReason.SOURCE_MAC_SPOOFED


def find_claim(rows: Rows, port: InterfaceValues, sender: Sender) -> int:
    """Return what the port claims by sending from a MAC and address; 0 for nothing.

    `c/lib/claim.h` says the same in C.
    """
    if not port.flags & INTERFACE_STANDBY:
        return 0
    wide = widen_address(sender.address, sender.version)
    found = rows.find_source(port.vif, sender.mac, wide)
    return SourceValues(*found.row.values).claim if found is not None else 0


def _is_allowed(rows: Rows, port: InterfaceValues, mac: int, address: int, trail: Trail) -> bool:
    found = rows.find_source(port.vif, mac, address)
    if found is not None:
        trail.meet("source", "sources", found.key, found.row)
    return found is not None
