"""The routes of all control nodes as one: the same route learnt from two is one.

Pure. Of two routes to one destination the more preferred holds, then the newer claim, then the
first's: two control nodes
that are whole say the same, but for moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from filament.agent.usable import Usable
from filament.agent.view import View
from filament.base.net import Prefix
from filament.forward.inputs import Flood, MacRoute, Route
from filament.wire.xmpp.stanza import Destination


class Collected(msgspec.Struct, frozen=True):
    """What rows are made of, of all routes of some instances."""

    routes: tuple[Route, ...] = ()
    macs: tuple[MacRoute, ...] = ()
    floods: tuple[Flood, ...] = ()


def collect(instances: Iterable[str], views: Sequence[View]) -> Collected:
    """Return the usable routes of some instances over all views."""
    routes: list[Route] = []
    overlays: list[Route] = []  # of EVPN type 5: one of the same prefix in the IP table wins
    macs: list[MacRoute] = []
    floods: dict[Flood, None] = {}
    for instance in sorted(instances):
        for destination, one in _merge(instance, views).items():
            if isinstance(one, Route):
                (routes if isinstance(destination, Prefix) else overlays).append(one)
            elif isinstance(one, MacRoute):
                macs.append(one)
            else:
                floods.update(dict.fromkeys(one))
    return Collected((*routes, *overlays), tuple(macs), tuple(floods))


def _merge(instance: str, views: Sequence[View]) -> dict[Destination, Usable]:
    """Return one instance's routes over all views."""
    if len(views) == 1:
        return views[0].usable_of(instance)
    best: dict[Destination, tuple[tuple[int, int], Usable]] = {}
    for view in views:
        items = view.items_of(instance)
        for destination, usable in view.usable_of(instance).items():
            preference = (items[destination].local_preference, items[destination].sequence)
            if destination not in best or preference > best[destination][0]:
                best[destination] = preference, usable
    return {destination: usable for destination, (_, usable) in best.items()}


def order_of(destination: Destination) -> tuple[int, object]:
    """Return what to sort destinations by: IPv4, IPv6, then MAC addresses."""
    if isinstance(destination, Prefix):
        return destination.version, destination
    return 8, destination
