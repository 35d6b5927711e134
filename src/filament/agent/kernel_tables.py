"""Rows of the kernel's own maps with names: what TF's `vif`, `nh`, `rt` and `mpls` print.

Read anew from the maps each time, whatever the agent believes to be in them; in a thread, since a
table may be long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from filament.agent.naming import Naming
from filament.base.net import Prefix, format_ipv4, format_ipv6, format_mac
from filament.dataplane.maps import PinnedMaps
from filament.forward.layout import (
    INTERFACE_CHECK_MAC,
    INTERFACE_CHECK_SOURCE,
    INTERFACE_FAT_FLOWS,
    INTERFACE_FAT_SUBNETS,
    INTERFACE_POLICY,
    NEXT_HOP_PEER,
    NEXT_HOP_VXLAN,
    ROUTE_PROXY_ARP,
    NextHopType,
)
from filament.forward.rows import (
    InterfaceValues,
    LabelValues,
    NextHopValues,
    RouteValues,
    VniValues,
)
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS

Json = dict[str, Any]
_COUNTED = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
_INTERFACE_FLAGS = (
    (INTERFACE_POLICY, "policy"),
    (INTERFACE_CHECK_MAC, "check-mac"),
    (INTERFACE_CHECK_SOURCE, "check-source"),
    (INTERFACE_FAT_FLOWS, "fat-flows"),
    (INTERFACE_FAT_SUBNETS, "fat-subnets"),
)
_TYPES = {kind.value: kind.name.lower() for kind in NextHopType}


def kernel_interfaces(maps: PinnedMaps, naming: Naming) -> Iterator[Json]:
    """Ports, as TF's `vif --list`: their numbers, lists of rules, and what they counted."""
    counters = maps.read_all("counters")
    dropped: dict[int, int] = {}
    for (vif, _), (packets,) in maps.read_all("drops").items():
        dropped[vif] = dropped.get(vif, 0) + packets
    for (ifindex,), values in sorted(maps.read_all("interfaces").items()):
        row = InterfaceValues(*values)
        counted = counters.get((row.vif,), (0, 0, 0, 0))
        yield {
            "vif": row.vif,
            "ifindex": ifindex,
            "interface": naming.port(row.vif).name,
            "workload": naming.port(row.vif).workload,
            "vrf": naming.vrf(row.vrf),
            "network": naming.network(row.network),
            "address": format_ipv4(row.address) if row.address else "",
            "address6": format_ipv6(row.address6) if row.address6 else "",
            "mac": format_mac(row.mac),
            "next_hop": row.next_hop,
            "flags": _words(row.flags, _INTERFACE_FLAGS),
            "flow_limit": row.flow_limit,
            "acl": row.acl,
            "egress": row.egress,
            "ingress": row.ingress,
            "firewall_egress": row.firewall_egress,
            "firewall_ingress": row.firewall_ingress,
            **dict(zip(_COUNTED, counted, strict=True)),
            "drops": dropped.get(row.vif, 0),
        }


def kernel_next_hops(maps: PinnedMaps, naming: Naming) -> Iterator[Json]:
    """Next hops, as TF's `nh --list`; `routes` and `labels` say how many rows lead there."""
    routes: dict[int, int] = {}
    for table in ROUTES_BY_VERSION.values():
        for values in maps.read_all(table).values():
            number = RouteValues(*values).next_hop
            routes[number] = routes.get(number, 0) + 1
    labels: dict[int, int] = {}
    for values in maps.read_all("labels").values():
        number = LabelValues(*values).next_hop
        labels[number] = labels.get(number, 0) + 1
    for (number,), values in sorted(maps.read_all("next_hops").items()):
        yield {
            "id": number,
            **_hop(NextHopValues(*values), naming),
            "routes": routes.get(number, 0),
            "labels": labels.get(number, 0),
        }


def _hop(row: NextHopValues, naming: Naming) -> Json:
    vif = naming.vif_by_ifindex.get(row.ifindex, 0)
    return {
        "type": _TYPES.get(row.type, f"#{row.type}"),
        "interface": naming.port(vif).name if vif else "",
        "ifindex": row.ifindex,
        "remote": format_ipv4(row.remote) if row.remote else "",
        "encapsulation": _encapsulation(row),
        "destination_mac": format_mac(row.destination_mac) if row.destination_mac else "",
        "source_mac": format_mac(row.source_mac) if row.source_mac else "",
        "flags": _words(row.flags, ((NEXT_HOP_PEER, "peer"), (NEXT_HOP_VXLAN, "vxlan"))),
    }


def _encapsulation(row: NextHopValues) -> str:
    if row.type != NextHopType.TUNNEL:
        return ""
    return "VXLAN" if row.flags & NEXT_HOP_VXLAN else "MPLSoUDP"


def kernel_routes(maps: PinnedMaps, naming: Naming) -> Iterator[Json]:
    """Routes of all VRFs, as TF's `rt --dump`, with the next hop that each leads to."""
    hops = {key[0]: NextHopValues(*row) for key, row in maps.read_all("next_hops").items()}
    for version, table in ROUTES_BY_VERSION.items():
        for (length, vrf, address), values in sorted(
            maps.read_all(table).items(), key=lambda item: (item[0][1], item[0][2], item[0][0])
        ):
            row = RouteValues(*values)
            hop = _hop(hops[row.next_hop], naming) if row.next_hop in hops else {}
            yield {
                "vrf": naming.vrf(vrf),
                "prefix": str(Prefix(address, length - VRF_BITS, version)),
                "id": row.next_hop,
                "type": hop.get("type", "missing"),
                "interface": hop.get("interface", ""),
                "next_hop": hop.get("remote", ""),
                "label": row.label,
                "encapsulation": hop.get("encapsulation", ""),
                "network": naming.network(row.network),
                "groups": row.groups,
                "tags": row.tags,
                "flags": _words(row.flags, ((ROUTE_PROXY_ARP, "proxy"),)),
            }


def kernel_labels(maps: PinnedMaps, naming: Naming) -> Iterator[Json]:
    """What comes in by which label or VNI, as TF's `mpls --dump` and `vxlan --dump`."""
    hops = {key[0]: NextHopValues(*row) for key, row in maps.read_all("next_hops").items()}
    for (label,), values in sorted(maps.read_all("labels").items()):
        number = LabelValues(*values).next_hop
        hop = _hop(hops[number], naming) if number in hops else {}
        yield {
            "label": label,
            "kind": "MPLS",
            "next_hop": number,
            "type": hop.get("type", "missing"),
            "interface": hop.get("interface", ""),
            "vrf": "",
        }
    for (vni,), values in sorted(maps.read_all("vnis").items()):
        vrf = naming.vrf(VniValues(*values).vrf)
        yield {"label": vni, "kind": "VNI", "next_hop": 0, "type": "", "interface": "", "vrf": vrf}


def _words(flags: int, names: tuple[tuple[int, str], ...]) -> list[str]:
    """Name the flags that are set; one without a name keeps its number."""
    words = [name for bit, name in names if flags & bit]
    rest = flags & ~sum(bit for bit, _ in names)
    return [*words, f"#{rest:x}"] if rest else words


KERNEL_TABLES: Mapping[str, Callable[[PinnedMaps, Naming], Iterator[Json]]] = {
    "interfaces": kernel_interfaces,
    "next-hops": kernel_next_hops,
    "routes": kernel_routes,
    "labels": kernel_labels,
}
