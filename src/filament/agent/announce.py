"""What this host publishes: the addresses and MACs of its ports, and where to flood to reach them.

Pure. A port's IPv4 and IPv6 addresses, and its allowed address pairs, go out as unicast routes by
MPLS; those it shares with ports that stand by with its preference and sequence. In a network with
layer 2, its MAC goes out too (EVPN type 2, once per address), and this host as a receiver of frames
for everybody (type 3): by VXLAN when the cluster prefers it, else by MPLS, as far as there are
labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin
from filament.forward.holders import active_holders, local_prefixes, shared_label, standing_of
from filament.forward.inputs import Port, Vrf
from filament.wire.xmpp.stanza import BROADCAST_MAC, NO_ADDRESS, MacKey, NextHop, RoutePublished

_EVERYBODY = Prefix(0, 32)
_VXLAN = "vxlan"


def published_routes(
    address: int,
    vrfs: Iterable[Vrf],
    ports: Iterable[Port],
    labels: Mapping[str, int],
    encapsulations: tuple[str, ...],
    groups: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[RoutePublished]:
    """Yield what the host at `address` (its tunnel end) publishes for ports that are forwarded to.

    `labels` are as `AgentCore.applied` has them; `encapsulations` what packets may come in, best
    first. `groups` are the numbers of security groups by name; routes carry those of their port,
    and its tags.
    """
    by_name = {vrf.name: vrf for vrf in vrfs}
    mpls = tuple(one for one in encapsulations if one != _VXLAN)
    prefers_vxlan = encapsulations[0] == _VXLAN
    flooded: dict[str, Origin] = {}
    ports = tuple(ports)
    holders: dict[tuple[str, Prefix], list[Port]] = {}
    for port in ports:
        for prefix, _ in local_prefixes(port):
            holders.setdefault((port.vrf, prefix), []).append(port)
    for port in ports:
        vrf = by_name.get(port.vrf, Vrf(port.vrf, port.network, is_layer2=False))
        members = tuple(sorted(groups[one] for one in port.security_groups if groups.get(one)))
        prefixes = [
            *(Prefix.host(one) for one in port.addresses),
            *(Prefix.host(one, 6) for one in port.addresses6),
        ]
        if vrf.is_layer3 and mpls:
            for prefix, _ in local_prefixes(port):
                if active_holders(prefix, holders[port.vrf, prefix])[0] is not port:
                    continue  # several ports here have it, and one label leads to all of them
                standing = standing_of(port, prefix)
                label = labels.get(shared_label(port.vrf, prefix), labels[port.uuid])
                yield RoutePublished(
                    port.vrf,
                    prefix,
                    NextHop(address, label, port.network, mpls, port.mac, tags=port.tags),
                    local_preference=standing.preference,
                    sequence=standing.sequence,
                    origin=port.origin,
                    security_groups=members,
                    load_balance=port.load_balance,
                )
        if not vrf.is_layer2:
            continue
        way = _layer2_hop(vrf, address, labels.get(f"bridge {port.uuid}", 0), mpls, prefers_vxlan)
        if way is not None:
            flooded.setdefault(vrf.name, port.origin)
            way = msgspec.structs.replace(way, tags=port.tags)
            for prefix in prefixes or [NO_ADDRESS]:
                key = MacKey(port.mac, prefix)
                yield RoutePublished(
                    port.vrf, key, way, origin=port.origin, security_groups=members
                )
    for name in flooded:
        vrf = by_name[name]
        way = _layer2_hop(vrf, address, labels.get(f"flood {name}", 0), mpls, prefers_vxlan)
        if way is not None:
            tag = vrf.vni if _VXLAN in way.encapsulations else 0
            origin = Origin(vrf.origin.object, "flood", vrf.origin.revision)
            yield RoutePublished(
                name,
                MacKey(BROADCAST_MAC, _EVERYBODY, tag),
                way,
                local_preference=100,  # as TF's agents
                sub_protocol="",
                origin=origin if vrf.origin != NOWHERE else NOWHERE,
            )


def _layer2_hop(
    vrf: Vrf, address: int, label: int, mpls: tuple[str, ...], prefers_vxlan: bool
) -> NextHop | None:
    """Return the way for frames into an instance; None when there is none to offer."""
    if prefers_vxlan and vrf.vni:
        return NextHop(address, vrf.vni, vrf.network, (_VXLAN,))
    if label and mpls:
        return NextHop(address, label, vrf.network, mpls)
    return None
