"""MAC addresses of VRFs: what control nodes told of them (EVPN), and the ports of this host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from filament.agent.sandesh.hops import Hops
from filament.agent.sandesh.look import Look
from filament.agent.sandesh.pages import Listed
from filament.agent.sandesh.routes import path_values, told_path
from filament.base.errors import InputError
from filament.base.net import Prefix, format_ipv4, parse_mac
from filament.forward.inputs import Port
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import format_short_mac
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.stanza import BROADCAST_MAC, NO_ADDRESS, MacKey, RouteItem

_LOCAL = "LocalVmPort"


class _MacRow(NamedTuple):
    """A MAC of a VRF; with `address` in the EVPN table, where it stands once per address."""

    mac: int
    address: Prefix
    vrf: str


def bridge_lists(look: Look) -> dict[str, Listed]:
    """Return the lists of MAC addresses."""
    return {
        **{
            request: Listed(
                response,
                "route_list",
                lambda query: _rows(look, query, with_addresses=False),
                lambda: _Macs(look).bridge_values,
                mark=_mark,
                order=lambda row: (row.mac, row.address),
                read_mark=_read_mark,
            )
            for request, response in (
                ("BridgeRouteReq", "BridgeRouteResp"),
                ("Layer2RouteReq", "Layer2RouteResp"),
            )
        },
        "EvpnRouteReq": Listed(
            "EvpnRouteResp",
            "route_list",
            lambda query: _rows(look, query, with_addresses=True),
            lambda: _Macs(look).evpn_values,
            mark=_mark,
            order=lambda row: (row.mac, row.address),
            read_mark=_read_mark,
        ),
    }


def _mark(row: _MacRow) -> str:
    return f"{row.mac:x} {row.address}"


def _read_mark(text: str) -> tuple[int, Prefix]:
    mac, _, address = text.partition(" ")
    try:
        return int(mac, 16), Prefix.parse(address)
    except ValueError:
        raise InputError("bad-cursor", f"{text!r:.64} is no place to continue from") from None


def _rows(look: Look, query: Query, *, with_addresses: bool) -> Sequence[_MacRow]:
    number, text = int(query.get("vrf_index", 0)), str(query.get("mac", ""))
    vrf = look.names("vrf").get(number)
    if vrf is None:
        return []
    wanted = parse_mac(text) if text else None
    rows: set[_MacRow] = set()
    for port in look.host.core.inputs().ports:
        if port.vrf == vrf:
            addresses = [
                *(Prefix.host(one) for one in port.addresses),
                *(Prefix.host(one, 6) for one in port.addresses6),
            ]
            rows |= {_MacRow(port.mac, one, vrf) for one in (*addresses, NO_ADDRESS)}
    for view in look.host.core.views.values():
        for destination in view.items_of(vrf):
            if isinstance(destination, MacKey):
                rows.add(_MacRow(destination.mac, destination.address, vrf))
    if not with_addresses:
        # A MAC of 0 is not one: EVPN type 5, a prefix.
        rows = {row._replace(address=NO_ADDRESS) for row in rows if row.mac}
    return [row for row in rows if wanted in (None, row.mac)]


class _Macs:
    """Rows of MAC addresses. Short-lived, like `Hops`."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._hops = Hops(look)
        self._views = look.host.core.views
        self._ports: dict[tuple[str, int], Port] = {
            (port.vrf, port.mac): port for port in look.host.core.inputs().ports
        }
        self._hop_by_ifindex = {
            key[0]: row["next_hop"]
            for key in look.keys("interfaces")
            if (row := look.row("interfaces", key)) is not None
        }
        self._own = look.host.core.host.address
        self._known: dict[tuple[str, str], dict[tuple[int, Prefix | None], RouteItem]] = {}

    def bridge_values(self, row: _MacRow) -> Values | None:
        """Return a MAC with every path to it."""
        paths = self._paths(row, None)
        if not paths:
            return None
        return {"mac": format_short_mac(row.mac), "src_vrf": row.vrf, "path_list": paths}

    def evpn_values(self, row: _MacRow) -> Values | None:
        """Return a MAC and address with every path to them."""
        paths = self._paths(row, row.address)
        if not paths:
            return None
        address = str(row.address) if row.address.length else "0.0.0.0"
        return {
            "mac": format_short_mac(row.mac),
            "src_vrf": row.vrf,
            "ip_addr": address.removesuffix("/32").removesuffix("/128"),
            "path_list": paths,
        }

    def _paths(self, row: _MacRow, address: Prefix | None) -> list[Values]:
        """Return the paths to a MAC with an address, or with any."""
        paths: list[Values] = []
        port = self._ports.get((row.vrf, row.mac))
        if port is not None:
            hop = self._hops.describe(self._hop_by_ifindex.get(port.ifindex, 0))
            paths.append(path_values(_LOCAL, hop, label=0, network=port.network))
        for control in self._views:
            found = self._items(control, row.vrf).get((row.mac, address))
            if found is not None:
                paths.append(self._told(control, found, paths))
        return paths

    def _items(self, control: str, vrf: str) -> dict[tuple[int, Prefix | None], RouteItem]:
        """Return what a control node told of a VRF's MACs: by address, and (None) the first."""
        known = self._known.get((control, vrf))
        if known is None:
            known = self._known[control, vrf] = {}
            for destination, item in self._views[control].items_of(vrf).items():
                if isinstance(destination, MacKey):
                    known.setdefault((destination.mac, destination.address), item)
                    known.setdefault((destination.mac, None), item)
        return known

    def _told(self, control: str, item: RouteItem, known: list[Values]) -> Values:
        destination = item.destination
        assert isinstance(destination, MacKey)
        if destination.mac == BROADCAST_MAC:
            return told_path(self._hops, control, item, self._flood(item))
        if any(way.address == self._own for way in item.next_hops) and known:
            return told_path(self._hops, control, item, known[0]["nh"])
        return told_path(self._hops, control, item, None)

    def _flood(self, item: RouteItem) -> Values:
        """Return the next hop of frames for everybody: all hosts that take them."""
        return {
            "type": "L2 Composite",
            "valid": "true",
            "mc_list": [
                {"type": "tunnel", "dip": format_ipv4(way.address), "label": way.label}
                for way in item.flood or item.next_hops
            ],
        }
