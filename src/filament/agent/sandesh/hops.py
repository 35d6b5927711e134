"""Next hops, labels and VXLAN identifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from filament.agent.sandesh.look import Look, hop_type
from filament.agent.sandesh.pages import Listed
from filament.base.errors import InputError
from filament.base.net import format_ipv4
from filament.forward.layout import NEXT_HOP_VXLAN
from filament.runtime.introspect.serve import Answer
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import format_short_mac
from filament.wire.sandesh.xml import Message, Values


class Hops:
    """Next hops as NhSandeshData. Short-lived: what it knows is of the moment it was made."""

    def __init__(self, look: Look, *, with_references: bool = False) -> None:
        self._look = look
        self._devices = look.devices()
        self._policies = look.policies()
        self._own = format_ipv4(look.host.core.host.address)
        self._references = look.references() if with_references else {}
        self._vrf_by_hop = {
            row["next_hop"]: look.names("vrf").get(row["vrf"], "")
            for key in look.keys("interfaces")
            if (row := look.row("interfaces", key)) is not None
        }

    def values(self, number: int) -> Values | None:
        """Return one next hop; None when it is not in the kernel."""
        row = self._look.row("next_hops", (number,))
        if row is None:
            return None
        kind = hop_type(row)
        values: dict[str, Any] = {
            "type": kind,
            "nh_index": number,
            "ref_count": self._references.get(number, 1),
            "valid": "true",
            "policy": "enabled" if self._policies.get(number) else "disabled",
        }
        if kind == "interface":
            values["itf"] = self._devices.get(row["ifindex"], f"#{row['ifindex']}")
            values["mac"] = format_short_mac(row["destination_mac"])
            values["vrf"] = self._vrf_by_hop.get(number, "")
        elif kind == "tunnel":
            values |= self.tunnel(row["remote"], is_vxlan=bool(row["flags"] & NEXT_HOP_VXLAN))
        elif kind == "receive":
            values["itf"] = "gateway"
            values["mac"] = format_short_mac(row["source_mac"])
        return values

    def tunnel(self, remote: int, *, is_vxlan: bool) -> Values:
        """Return what a tunnel has besides what all next hops have."""
        return {
            "sip": self._own,
            "dip": format_ipv4(remote),
            "tunnel_type": "VXLAN" if is_vxlan else "MPLSoUDP",
        }

    def describe(self, number: int) -> Values:
        """Return one next hop; a discarding one when it is not in the kernel (any more)."""
        return self.values(number) or {"type": "discard", "nh_index": number, "valid": "false"}


def read_number(text: str) -> int:
    """Read a number of an index. Raises InputError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise InputError("bad-number", f"{text!r:.64} is no number", hint="write one like 16")
    return int(text)


def hop_lists(look: Look) -> dict[str, Listed]:
    """Return the lists of next hops and labels."""
    return {
        "NhListReq": Listed(
            "NhListResp",
            "nh_list",
            lambda query: _hops(look, query),
            lambda: Hops(look, with_references=True).values,
            read_mark=read_number,
        ),
        "MplsReq": Listed(
            "MplsResp",
            "mpls_list",
            lambda query: _labels(look, query),
            lambda: _label_maker(look),
            read_mark=read_number,
        ),
        "VxLanReq": Listed(
            "VxLanResp",
            "vxlan_list",
            lambda query: _numbers(look, "vnis", query, "vxlan_id"),
            lambda: lambda number: _vxlan(look, number),
            read_mark=read_number,
        ),
    }


def _hops(look: Look, query: Query) -> Sequence[int]:
    hops = _numbers(look, "next_hops", query, "nh_index")
    kind, policy = query.get("type"), query.get("policy_enabled")
    if kind is not None:
        wanted = str(kind)
        hops = [one for one in hops if _kind_of(look, one) == wanted]
    if policy is not None:
        policies = look.policies()
        is_wanted = str(policy).lower() in ("enabled", "true", "1")
        hops = [one for one in hops if policies.get(one, False) == is_wanted]
    return hops


def _labels(look: Look, query: Query) -> Sequence[int]:
    labels = _numbers(look, "labels", query, "label")
    kind = query.get("type")
    if kind is None:
        return labels
    return [
        one
        for one in labels
        if (row := look.row("labels", (one,))) is not None
        and _kind_of(look, row["next_hop"]) == str(kind)
    ]


def _numbers(look: Look, table: str, query: Query, parameter: str) -> list[int]:
    """Return the keys of a table of numbers: the one that is asked for, or all."""
    wanted = query.get(parameter)
    numbers = [key[0] for key in look.keys(table)]
    if wanted is None:
        return numbers
    number = read_number(str(wanted))
    return [number] if number in numbers else []


def _kind_of(look: Look, number: int) -> str:
    row = look.row("next_hops", (number,))
    return hop_type(row) if row is not None else ""


def _label_maker(look: Look) -> Callable[[int], Values | None]:
    hops = Hops(look, with_references=True)

    def make(label: int) -> Values | None:
        row = look.row("labels", (label,))
        if row is None:
            return None
        hop = hops.describe(row["next_hop"])
        return {"label": label, "type": hop["type"], "nh": hop}

    return make


def _vxlan(look: Look, number: int) -> Values | None:
    row = look.row("vnis", (number,))
    if row is None:
        return None
    vrf = look.names("vrf").get(row.get("vrf", 0), "")
    return {"vxlan_id": number, "vrf_name": vrf, "nh": {"type": "vrf", "vrf": vrf}}


def vxlan_configs(look: Look) -> Answer:
    """Return the answer to what identifiers networks have."""

    def answer(query: Query) -> Any:
        wanted, network = query.get("vxlan_id"), query.get("vn")
        known = {key[0] for key in look.keys("vnis")}
        entries = [
            {
                "vxlan_id": vrf.vni,
                "vn_uuid": look.uuid("virtual-network", vrf.network),
                "vrf": vrf.name,
                "flood_unknown_unicast": vrf.floods_unknown,
                "active": vrf.vni in known,
            }
            for vrf in look.host.core.inputs().vrfs
            if vrf.vni
            and wanted in (None, "None", str(vrf.vni))
            and network in (None, vrf.network, look.uuid("virtual-network", vrf.network))
        ]
        return (Message("VxLanConfigResp", {"vxlan_config_entries": entries}),)

    return answer
