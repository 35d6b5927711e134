"""Routes of the agent, with a path for everybody who told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from filament.agent.preference import Place
from filament.agent.sandesh.hops import Hops
from filament.agent.sandesh.look import VRF_BITS, Look, host_of
from filament.agent.sandesh.pages import Listed
from filament.base.errors import InputError
from filament.base.net import Prefix, bits_of, format_address, format_ipv4
from filament.forward.inputs import HIGH_PREFERENCE, Standby
from filament.forward.layout import ROUTE_PROXY_ARP
from filament.forward.tables import Key
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.stanza import NextHop, RouteItem

_LOCAL = "LocalVmPort"  # TF's name for what the agent knows from a port of its own
_SELF = "Local"  # and for what follows from the configuration
_LOCAL_PREFERENCE = 100
_TUNNELS = {"udp": "MPLSoUDP", "gre": "MPLSoGRE", "vxlan": "VXLAN"}


class _RouteKey(NamedTuple):
    """A route of one VRF, ordered by address."""

    address: int
    length: int
    vrf: int
    version: int

    @property
    def row_key(self) -> Key:
        return self.length + VRF_BITS, self.vrf, self.address

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.address, self.length, self.version)


def route_lists(look: Look) -> dict[str, Listed]:
    """Return the lists of unicast routes."""
    return {
        f"Inet{version}UcRouteReq": Listed(
            f"Inet{version}UcRouteResp",
            "route_list",
            _keys(look, version),
            lambda: _Routes(look).values,
            mark=lambda key: str(key.prefix),
            order=lambda key: (key.address, key.length),
            read_mark=_read_mark,
        )
        for version in (4, 6)
    }


def _read_mark(text: str) -> tuple[int, int]:
    prefix = Prefix.parse(text)
    return prefix.address, prefix.length


def _keys(look: Look, version: int) -> Any:
    def keys(query: Query) -> Sequence[_RouteKey]:
        vrf = int(query.get("vrf_index", 0))
        wanted = _wanted_prefix(query, version)
        found = [
            _RouteKey(key[2], key[0] - VRF_BITS, vrf, version)
            for key in look.route_keys(version, vrf)
        ]
        return found if wanted is None else [key for key in found if key.prefix == wanted]

    return keys


def _wanted_prefix(query: Query, version: int) -> Prefix | None:
    """Return the only prefix that is asked for; `/` and no address ask for all."""
    text = str(query.get("src_ip", ""))
    if text in ("", "/"):
        return None
    length = int(query.get("prefix_len", bits_of(version)))
    prefix = Prefix.parse(f"{text}/{length}")
    if prefix.version != version:
        raise InputError(
            "bad-prefix", f"{prefix} is not IPv{version}", hint="ask the other request for it"
        )
    return prefix


class _Routes:
    """Routes as RouteUcSandeshData. Short-lived, like `Hops`."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._hops = Hops(look)
        self._vrfs = look.names("vrf")
        self._networks = look.names("network")
        self._views = look.host.core.views
        # Of ports here that share an address: how the best of them stands.
        self._standings: dict[Place, Standby] = {}
        for one in look.host.core.preferences.views():
            place = one.contender.place
            best = max(one.standby, self._standings.get(place, one.standby))
            self._standings[place] = best
        self._labels = {
            row["next_hop"]: key[0]
            for key in look.keys("labels")
            if (row := look.row("labels", key)) is not None
        }

    def values(self, key: _RouteKey) -> Values | None:
        row = self._look.route(key.version, key.row_key)
        if row is None:
            return None
        hop = self._hops.describe(row["next_hop"])
        vrf = self._vrfs.get(key.vrf, "")
        network = self._networks.get(row["network"], "")
        paths: list[Values] = []
        if hop["type"] == "interface":
            label = self._labels.get(row["next_hop"], 0)
            path = path_values(_LOCAL, hop, label=label, network=network)
            paths.append({**path, **self._preference(Place(vrf, key.prefix))})
        for control, view in self._views.items():
            item = view.items_of(vrf).get(key.prefix)
            if item is not None:
                paths.append(told_path(self._hops, control, item, self._taken(item, hop)))
        if not paths:
            paths.append(path_values(_SELF, hop, label=row["label"], network=network))
        return {
            "src_ip": format_address(key.address, key.version),
            "src_plen": key.length,
            "src_vrf": vrf,
            "path_list": paths,
            "proxy_arp": bool(row["flags"] & ROUTE_PROXY_ARP),
            "ipam_subnet_route": hop["type"] == "discard",
            "intf_route_type": "interface" if hop["type"] == "interface" else "",
        }

    def _preference(self, place: Place) -> Values:
        """Return how the best port here stands with a place that one of several holds."""
        standing = self._standings.get(place)
        if standing is None:
            return {}
        return {
            "path_preference_data": {
                "sequence": standing.sequence,
                "preference": standing.preference,
                "ecmp": False,
                "wait_for_traffic": standing.preference != HIGH_PREFERENCE,
            }
        }

    def _taken(self, item: RouteItem, hop: Values) -> Values | None:
        """Return the kernel's next hop of a route where it is what the control node told of."""
        ways = {way.address for way in item.next_hops}
        if self._look.host.core.host.address in ways or hop["type"] != "tunnel":
            return hop
        return hop if hop["dip"] in {format_ipv4(one) for one in ways} else None


def told_path(hops: Hops, control: str, item: RouteItem, hop: Values | None) -> Values:
    """Return the path that a control node told of, by `hop` or else its own first way."""
    way = item.next_hops[0] if item.next_hops else NextHop(0, 0)
    encapsulation = next((one for one in way.encapsulations if one in _TUNNELS), "")
    if hop is None:
        hop = {
            "type": "tunnel",
            "valid": "true",
            "policy": "disabled",
            **hops.tunnel(way.address, is_vxlan=encapsulation == "vxlan"),
        }
    return {
        **path_values(
            host_of(control),
            hop,
            label=way.label,
            network=item.network or way.network,
        ),
        "vxlan_id": way.vni,
        "sg_list": list(item.security_groups),
        "tag_list": list(way.tags),
        "communities": list(item.communities),
        "supported_tunnel_type": " ".join(_TUNNELS.get(one, one) for one in way.encapsulations),
        "path_preference_data": {
            "sequence": item.sequence,
            "preference": item.local_preference,
            "ecmp": len(item.next_hops) > 1,
        },
    }


def path_values(peer: str, hop: Values, *, label: int, network: str) -> Values:
    """Return a path with what every path has."""
    return {
        "nh": hop,
        "label": label,
        "peer": peer,
        "dest_vn_list": [network] if network else [],
        "unresolved": "false",
        "sg_list": [],
        "active_tunnel_type": str(hop.get("tunnel_type") or "Native"),
        "path_preference_data": {"preference": _LOCAL_PREFERENCE},
        "active_label": label,
        "communities": [],
        "origin_vn": network,
    }
