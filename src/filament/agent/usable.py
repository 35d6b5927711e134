"""What this host makes of a received route: the ways it can use, in the order it prefers them.

Pure. A way that ends at this very host is a local port's: of a prefix it comes first, known here
by its label, also when it was imported from another instance; of a MAC address or a flood list it
says nothing that the ports do not say themselves.
"""

from __future__ import annotations

from filament.base.net import Prefix
from filament.forward.inputs import Abilities, Flood, Hop, MacRoute, Route
from filament.wire.xmpp.stanza import BROADCAST_MAC, NextHop, RouteItem

Usable = Route | MacRoute | tuple[Flood, ...]
# In our order: cheapest for both ends first. The end that publishes offers what its cluster wants.
_PREFERRED = ("udp", "gre", "vxlan")
_WORDS = {"udp": "MPLS over UDP", "gre": "MPLS over GRE", "vxlan": "VXLAN"}


def usable_of(
    instance: str, item: RouteItem, own_address: int, abilities: Abilities
) -> Usable | None:
    """Return what rows are made of for a route of an instance; None when nothing can be."""
    destination = item.destination
    if isinstance(destination, Prefix):
        hops = _hops(item.next_hops, abilities, is_mac=False)
        return _route(instance, item, destination, hops, own_address)
    if destination.mac == BROADCAST_MAC:
        return tuple(
            Flood(instance, hop, item.origin)
            for hop in _hops(item.flood or item.next_hops, abilities, is_mac=True)
            if hop.address != own_address
        )
    hops = [
        hop for hop in _hops(item.next_hops, abilities, is_mac=True) if hop.address != own_address
    ]
    if not destination.mac:
        return _route(instance, item, destination.address, hops, own_address)
    if not hops:
        return None
    return MacRoute(
        vrf=instance,
        mac=destination.mac,
        hops=tuple(sorted(hops)),
        network=item.network,
        address=destination.address if destination.address.length else None,
        origin=item.origin,
        security_groups=item.security_groups,
        tags=item.next_hops[0].tags,
    )


def why_unusable(item: RouteItem, abilities: Abilities) -> str:
    """Say why this host cannot use a route; "" when it can."""
    hops = item.flood or item.next_hops
    if any(_encapsulation(hop, abilities) for hop in hops):
        return ""
    known = " or ".join(_WORDS[name] for name in _PREFERRED if name in abilities.encapsulations)
    offered = {name for hop in hops for name in hop.encapsulations}
    return f"no next hop accepts {known} (offered: {', '.join(sorted(offered)) or 'nothing'})"


def _route(
    instance: str, item: RouteItem, prefix: Prefix, hops: list[Hop], own_address: int
) -> Route | None:
    if not hops:
        return None
    hops.sort(key=lambda hop: (hop.address != own_address, hop))
    first = hops[0]
    return Route(
        vrf=instance,
        prefix=prefix,
        next_hop=first.address,
        label=first.label,
        network=item.network or item.next_hops[0].network,
        origin=item.origin,
        encapsulation=first.encapsulation,
        others=tuple(hops[1:]),
        security_groups=item.security_groups,
        tags=item.next_hops[0].tags,
        router_mac=first.router_mac,
        load_balance=item.load_balance,
        preference=item.local_preference,
        sequence=item.sequence,
    )


def _hops(ways: tuple[NextHop, ...], abilities: Abilities, *, is_mac: bool) -> list[Hop]:
    """Return the usable ways, each once: two control nodes may tell of the same one."""
    found: dict[Hop, None] = {}
    for way in ways:
        encapsulation = _encapsulation(way, abilities)
        if encapsulation:
            is_vxlan = encapsulation == "vxlan"
            label = way.vni or way.label if is_vxlan else way.label
            router_mac = way.mac if is_vxlan and is_mac else 0
            found[Hop(way.address, label, encapsulation, router_mac)] = None
    return list(found)


def _encapsulation(way: NextHop, abilities: Abilities) -> str:
    for name in _PREFERRED:
        if name in abilities.encapsulations and name in way.encapsulations:
            return name
    return ""
