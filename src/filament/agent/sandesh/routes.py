"""Routes of the agent, with a path for everybody who told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from filament.agent.sandesh.hops import Hops
from filament.agent.sandesh.look import VRF_BITS, Look
from filament.agent.sandesh.pages import Listed
from filament.base.errors import InputError
from filament.base.net import Prefix, bits_of, format_address, format_ipv4
from filament.forward.layout import ROUTE_PROXY_ARP
from filament.forward.tables import Key
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.stanza import NextHop, RouteItem

_LOCAL = "LocalVmPort"  # TF's name for what the agent knows from a port of its own
_SELF = "Local"  # and for what follows from the configuration
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
        paths = []
        if hop["type"] == "interface":
            paths.append(
                self._path(_LOCAL, hop, label=self._labels.get(row["next_hop"], 0), vn=network)
            )
        for control, view in self._views.items():
            item = view.items_of(vrf).get(key.prefix)
            if item is not None:
                paths.append(self._told(control, item, hop, network))
        if not paths:
            paths.append(self._path(_SELF, hop, label=row["label"], vn=network))
        return {
            "src_ip": format_address(key.address, key.version),
            "src_plen": key.length,
            "src_vrf": vrf,
            "path_list": paths,
            "proxy_arp": bool(row["flags"] & ROUTE_PROXY_ARP),
            "ipam_subnet_route": hop["type"] == "discard",
            "intf_route_type": "interface" if hop["type"] == "interface" else "",
        }

    def _told(self, control: str, item: RouteItem, hop: Values, network: str) -> Values:
        """Return the path that a control node told of; through a port of ours, its own next hop."""
        way = item.next_hops[0] if item.next_hops else NextHop(0, 0)
        is_own = way.address == self._look.host.core.host.address
        encapsulation = next((one for one in way.encapsulations if one in _TUNNELS), "")
        # With several ways the kernel's next hop is one of them, or one made of all of them.
        nh: Values = hop
        if not is_own and (hop["type"] != "tunnel" or hop.get("dip") != format_ipv4(way.address)):
            nh = {
                "type": "tunnel",
                "valid": "true",
                "policy": "disabled",
                **self._hops.tunnel(way.address, is_vxlan=encapsulation == "vxlan"),
            }
        return self._path(
            control.rpartition(":")[0],
            nh,
            label=way.label,
            vn=item.network or network,
            preference=item.local_preference,
            offered=way.encapsulations,
            is_ecmp=len(item.next_hops) > 1,
        )

    def _path(
        self,
        peer: str,
        hop: Values,
        *,
        label: int,
        vn: str,
        preference: int = 100,
        offered: Sequence[str] = (),
        is_ecmp: bool = False,
    ) -> Values:
        return {
            "nh": hop,
            "label": label,
            "peer": peer,
            "dest_vn_list": [vn] if vn else [],
            "unresolved": "false",
            "sg_list": [],
            "supported_tunnel_type": " ".join(_TUNNELS.get(one, one) for one in offered),
            "active_tunnel_type": str(hop.get("tunnel_type") or "Native"),
            "path_preference_data": {"preference": preference, "ecmp": is_ecmp},
            "active_label": label,
            "communities": [],
            "origin_vn": vn,
        }
