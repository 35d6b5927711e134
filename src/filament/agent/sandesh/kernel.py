"""What is in the kernel's tables, as TF's kstate shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from filament.agent.sandesh.hops import read_number
from filament.agent.sandesh.look import VRF_BITS, Look, hop_type
from filament.base.limits import MAX_INTROSPECT_ROWS
from filament.base.net import format_address, format_ipv4, format_mac
from filament.forward.layout import FABRIC_VIF, INTERFACE_POLICY, ROUTE_PROXY_ARP, DropReason
from filament.runtime.introspect.serve import Answer, Messages
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.xml import Message, Values

# The counter of KDropStatsResp for each of TF's dropstats lines that drop reasons name.
DROP_FIELDS = {
    "Invalid IF": "ds_invalid_if",
    "Invalid Packets": "ds_invalid_packet",
    "Invalid Protocol": "ds_invalid_protocol",
    "Invalid Source": "ds_invalid_source",
    "Discards": "ds_discard",
    "Flow Action Drop": "ds_flow_action_drop",
    "TTL Exceeded": "ds_ttl_exceeded",
    "Invalid NH": "ds_invalid_nh",
    "Invalid Label": "ds_invalid_label",
    "Nowhere to go": "ds_nowhere_to_go",
    "Push Fails": "ds_push",
    "Pull Fails": "ds_pull",
    "Invalid ARP": "ds_invalid_arp",
    "Invalid Mcast Source": "ds_invalid_mcast_source",
    "New Flow Drops": "ds_drop_new_flow",
    "Flow Table Full": "ds_flow_table_full",
    "Invalid VNID": "ds_invalid_vnid",
    "No L2 Route": "ds_l2_no_route",
    "Fragment errors": "ds_frag_err",
    "Checksum errors": "ds_cksum_err",
    "No Memory": "ds_no_memory",
}
_OTHER_DROPS = "ds_misc"


def kernel_answers(look: Look) -> dict[str, Answer]:
    """Return the answers about the kernel's tables."""
    return {
        "KInterfaceReq": lambda query: _answer(
            "KInterfaceResp", "if_list", _interfaces(look, query)
        ),
        "KRouteReq": lambda query: _in_parts("KRouteResp", "rt_list", _routes(look, query)),
        "KNHReq": lambda query: _in_parts("KNHResp", "nh_list", _hops(look, query)),
        "KMplsReq": lambda query: _in_parts("KMplsResp", "mpls_list", _labels(look, query)),
        "KVxLanReq": lambda query: _in_parts("KVxLanResp", "vxlan_list", _vnis(look, query)),
        "KVrfReq": lambda query: _answer("KVrfResp", "vrf_list", _vrfs(look, query)),
        "KVrfAssignReq": lambda _: _answer("KVrfAssignResp", "vrf_assign_list", iter(())),
        "KDropStatsReq": lambda _: (Message("KDropStatsResp", _drops(look)),),
        "KFlowReq": lambda _: _flows(look, 0),
        "NextKFlowReq": lambda query: _flows(look, read_number(str(query.get("flow_handle", "0")))),
    }


def _answer(response: str, field: str, rows: Iterator[Values]) -> Messages:
    yield Message(response, {field: rows})


def _in_parts(response: str, field: str, rows: Iterator[Values]) -> Messages:
    """Answer with as many messages as it takes, at least one."""
    first = True
    while True:
        part: list[Values] = []
        for row in rows:
            part.append(row)
            if len(part) % 100 == 0:
                yield None
            if len(part) == MAX_INTROSPECT_ROWS:
                break
        if part or first:
            yield Message(response, {field: part})
        if len(part) < MAX_INTROSPECT_ROWS:
            return
        first = False


def _is_wanted(query: Query, name: str) -> Callable[[int], bool]:
    """Say which numbers a parameter asks for; -1, and none, ask for all."""
    wanted = int(query.get(name, -1))
    return lambda number: wanted in (-1, number)


def _interfaces(look: Look, query: Query) -> Iterator[Values]:
    is_wanted = _is_wanted(query, "if_id")
    counters = look.host.maps.read_all("counters")
    names = {port.device.ifindex: port for port in look.host.core.ports() if port.device}
    if is_wanted(FABRIC_VIF):
        yield _underlay(look, counters.get((FABRIC_VIF,), (0, 0, 0, 0)))
    for key in look.keys("interfaces"):
        row = look.row("interfaces", key)
        if row is None or not is_wanted(row["vif"]):
            continue
        port = names.get(key[0])
        device = look.host.devices.state(port.plug.device) if port is not None else None
        yield {
            "idx": row["vif"],
            "type": "VIRTUAL",
            "flags": "POLICY " if row["flags"] & INTERFACE_POLICY else "",
            "vrf": row["vrf"],
            "os_idx": key[0],
            "mtu": device.link.mtu_bytes if device is not None and device.link else 0,
            "name": port.plug.device if port is not None else f"#{key[0]}",
            **_counted(counters.get((row["vif"],), (0, 0, 0, 0))),
            "ref_cnt": 1,
            "mac": format_mac(row["mac"]),
            "ip": format_ipv4(row["address"]),
            "nh_id": row["next_hop"],
            "parent_vif_id": FABRIC_VIF,
            "status": "up" if device is not None and device.link and device.link.is_up else "down",
        }


def _underlay(look: Look, counted: tuple[int, ...]) -> Values:
    devices = look.host.devices
    state = devices.state(devices.underlay)
    return {
        "idx": FABRIC_VIF,
        "type": "PHYSICAL",
        "flags": "PHYSICAL ",
        "vrf": 0,
        "os_idx": state.link.ifindex if state.link else 0,
        "mtu": state.link.mtu_bytes if state.link else 0,
        "name": devices.underlay,
        **_counted(counted),
        "ref_cnt": 1,
        "ip": format_ipv4(look.host.core.host.address),
        "status": "up" if state.link and state.link.is_up else "down",
    }


def _counted(values: tuple[int, ...]) -> Values:
    """Name a row of `counters`; TF's "i" is from the interface, as our rx."""
    rx_packets, rx_bytes, tx_packets, tx_bytes = values
    return {"ipackets": rx_packets, "ibytes": rx_bytes, "opackets": tx_packets, "obytes": tx_bytes}


def _routes(look: Look, query: Query) -> Iterator[Values]:
    vrf = int(query.get("vrf_id", 0))
    version = 6 if str(query.get("family", "inet")).lower() in ("inet6", "af_inet6") else 4
    for key in look.route_keys(version, vrf):
        row = look.route(version, key)
        if row is not None:
            yield {
                "vrf_id": vrf,
                "family": "AF_INET" if version == 4 else "AF_INET6",
                "prefix": format_address(key[2], version),
                "prefix_len": key[0] - VRF_BITS,
                "label_flags": "PROXY" if row["flags"] & ROUTE_PROXY_ARP else "",
                "label": row["label"],
                "nh_id": row["next_hop"],
            }


def _hops(look: Look, query: Query) -> Iterator[Values]:
    is_wanted = _is_wanted(query, "nh_id")
    references = look.references()
    own = format_ipv4(look.host.core.host.address)
    for (number,) in look.keys("next_hops"):
        row = look.row("next_hops", (number,))
        if row is None or not is_wanted(number):
            continue
        values: dict[str, Any] = {
            "id": number,
            "type": hop_type(row).upper(),
            "family": "AF_INET",
            "flags": "VALID",
            "ref_cnt": references.get(number, 0),
        }
        if row["ifindex"]:
            values["encap_oif_id"] = [row["ifindex"]]
            values["encap"] = format_mac(row["destination_mac"])
        if row["remote"]:
            values["tun_sip"], values["tun_dip"] = own, format_ipv4(row["remote"])
        yield values


def _labels(look: Look, query: Query) -> Iterator[Values]:
    is_wanted = _is_wanted(query, "mpls_label")
    for (label,) in look.keys("labels"):
        row = look.row("labels", (label,))
        if row is not None and is_wanted(label):
            yield {"label": label, "nhid": row["next_hop"]}


def _vnis(look: Look, query: Query) -> Iterator[Values]:
    wanted = int(query.get("vxlan_label", 0))
    return ({"vxlanid": vni} for (vni,) in look.keys("vnis") if wanted in (0, -1, vni))


def _vrfs(look: Look, query: Query) -> Iterator[Values]:
    is_wanted = _is_wanted(query, "vrf_idx")
    numbers = sorted(look.numbers("vrf").values())
    return ({"vrf_idx": number} for number in numbers if is_wanted(number))


def _drops(look: Look) -> Values:
    """Add up discarded packets by TF's counters."""
    counted: dict[str, int] = {}
    for drop in look.view.drops()["drops"]:
        field = DROP_FIELDS.get(DropReason[drop["reason"]].tf, _OTHER_DROPS)
        counted[field] = counted.get(field, 0) + drop["packets"]
    return counted


async def _flows(look: Look, start: int) -> Messages:
    """Answer with the flows, the newest first, a thousand at a time.

    The table is read in a thread: it may hold hundreds of thousands, and nobody need wait for it.
    """
    shown = await asyncio.to_thread(look.view.flows, start + MAX_INTROSPECT_ROWS)
    vrfs = {
        row["vif"]: row
        for key in look.keys("interfaces")
        if (row := look.row("interfaces", key)) is not None
    }
    rows = []
    for index, flow in enumerate(shown["flows"][start:], start=start):
        port = vrfs.get(flow["vif"], {})
        rows.append(
            {
                "index": index,
                "rflow": -1,
                "sip": flow["source"],
                "sport": flow["source_port"],
                "dip": flow["destination"],
                "dport": flow["destination_port"],
                "proto": flow["protocol"],
                "vrf_id": port.get("vrf", 0),
                "d_vrf_id": port.get("vrf", 0),
                "action": "FORWARD" if flow.get("action") else "DROP",
                "flags": "ACTIVE ",
                "bytes": _sum(flow, "bytes"),
                "pkts": _sum(flow, "packets"),
                "nhid": port.get("next_hop", 0),
            }
        )
    values: dict[str, Any] = {"flow_list": rows}
    if shown["count"] > start + len(rows):
        values["flow_handle"] = str(start + len(rows))
    return (Message("KFlowResp", values),)


def _sum(flow: dict[str, Any], name: str) -> int:
    """Add up a flow's counters of one name, whichever directions it is counted in."""
    return sum(value for key, value in flow.items() if key == name or key.endswith(f"_{name}"))


FlowAnswer = Callable[[Query], Awaitable[Messages]]
