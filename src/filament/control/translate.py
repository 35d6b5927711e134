"""Between what agents say and the RIB: destinations to keys, published routes to paths, and back.

Pure. Agents know of unicast prefixes and of Ethernet routes of types 2, 3 and 5; keys of other
kinds are not for them. Type 3 routes of an instance become one for the agent, with all hosts to
flood to (the one that is told included: which is itself, everybody knows best).
"""

from __future__ import annotations

from collections.abc import Iterable

from filament.base.errors import InputError, ProtocolError
from filament.base.net import Prefix, RouteDistinguisher
from filament.base.origin import Origin
from filament.rib.keys import EvpnInclusive, EvpnMac, EvpnPrefix, RouteKey, evpn, unicast
from filament.rib.path import Path, Selection
from filament.rib.rib import Rib
from filament.wire.bgp.communities import format_community, parse_community
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    NO_ADDRESS,
    Destination,
    MacKey,
    NextHop,
    RouteItem,
    RoutePublished,
)

FLOOD = MacKey(BROADCAST_MAC, Prefix(0, 32))


def key_of(destination: Destination, next_hop: int, instance_id: int) -> RouteKey:
    """Return the RIB's key of what an agent publishes; `next_hop` and `instance_id` make the RD."""
    if isinstance(destination, Prefix):
        return unicast(destination)
    if destination.mac == BROADCAST_MAC:
        distinguisher = RouteDistinguisher.of_address(next_hop, instance_id)
        return evpn(EvpnInclusive(distinguisher, destination.tag, Prefix.host(next_hop)))
    if destination.mac == 0:
        return evpn(EvpnPrefix(destination.tag, destination.address))
    address = destination.address
    return evpn(
        EvpnMac(destination.tag, destination.mac, address if address != NO_ADDRESS else None)
    )


def destination_of(key: RouteKey) -> Destination | None:
    """Return what agents are told of a key; None for one that is not for them."""
    match key.nlri:
        case Prefix() as prefix:
            return prefix
        case EvpnMac(tag=tag, mac=mac, address=address):
            return MacKey(mac, address if address is not None else NO_ADDRESS, tag)
        case EvpnPrefix(tag=tag, prefix=prefix):
            return MacKey(0, prefix, tag)
        case EvpnInclusive():
            return FLOOD
        case _:
            return None


def path_of(agent: str, instance_id: int, stanza: RoutePublished) -> Path:
    """Return the path that an agent publishes."""
    hop = stanza.next_hop
    return Path(
        peer=agent,
        source=stanza.instance,
        next_hop=hop.address,
        label=hop.label,
        network=hop.network,
        encapsulations=hop.encapsulations,
        mac=hop.mac,
        local_preference=stanza.local_preference,
        sequence=stanza.sequence,
        sub_protocol=stanza.sub_protocol,
        instance_id=instance_id,
        origin=stanza.origin,
        med=stanza.med,
        is_sticky=stanza.is_sticky,
        security_groups=stanza.security_groups,
        tags=hop.tags,
        communities=_communities(stanza.communities),
        load_balance=stanza.load_balance,
        vni=hop.vni,
        l3_label=hop.l3_label,
    )


def _communities(texts: Iterable[str]) -> tuple[int, ...]:
    try:
        return tuple(map(parse_community, texts))
    except InputError as error:
        raise ProtocolError("policy-violation", str(error)) from None


def next_hops_of(rib: Rib, paths: Iterable[Path]) -> tuple[NextHop, ...]:
    """Return where paths lead, each way once: peers that tell of the same one are one."""
    found: dict[tuple[int, int, tuple[str, ...]], NextHop] = {}
    for path in paths:
        way = (path.next_hop, path.label, path.encapsulations)
        if way not in found:
            found[way] = NextHop(
                address=path.next_hop,
                label=path.label,
                network=rib.network_of(path),
                encapsulations=path.encapsulations,
                mac=path.mac,
                vni=path.vni,
                l3_label=path.l3_label,
                tags=path.tags,
            )
    return tuple(found.values())


def origin_of(rib: Rib, instance: str, path: Path) -> Origin:
    """Return where a path comes from, and by which target an instance has it."""
    origin = path.origin
    target = rib.import_target(instance, path)
    if target:
        rule = f"{origin.rule}, imported from {path.source} by {target}"
        origin = Origin(origin.object, rule, origin.revision)
    return origin


def item_of(rib: Rib, instance: str, destination: Destination, selection: Selection) -> RouteItem:
    """Return a route as agents are sent it."""
    best = selection.best
    return RouteItem(
        destination=destination,
        next_hops=next_hops_of(rib, selection.paths),
        network=rib.network_of(best),
        local_preference=best.local_preference,
        sequence=best.sequence,
        origin=origin_of(rib, instance, best),
        med=best.med,
        is_sticky=best.is_sticky,
        security_groups=best.security_groups,
        communities=tuple(map(format_community, best.communities)),
        load_balance=best.load_balance,
    )


def flood_of(rib: Rib, instance: str) -> RouteItem | None:
    """Return the route for frames to everybody in an instance; None when nobody takes them."""
    paths = [
        path
        for key, selection in rib.selections(instance).items()
        if isinstance(key.nlri, EvpnInclusive)
        for path in selection.paths
    ]
    if not paths:
        return None
    ways = sorted(next_hops_of(rib, paths), key=lambda hop: (hop.address, hop.label))
    return RouteItem(
        destination=FLOOD,
        network=rib.network_of(paths[0]),
        origin=min((path.origin for path in paths), key=lambda one: (one.revision, one.object)),
        flood=tuple(ways),
    )
