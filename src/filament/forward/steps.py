"""What a packet met on its way through the model: one step per lookup, in words when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from filament.base.net import Prefix, bits_of, format_ipv4, format_mac, narrow_address
from filament.base.origin import NOWHERE, Origin
from filament.forward.layout import (
    ACL_PASS,
    FAT_BY_BOTH,
    FAT_BY_LOCAL,
    NEXT_HOP_PEER,
    NEXT_HOP_VXLAN,
    TABLE_BY_NAME,
    NextHopType,
)
from filament.forward.tables import FAT_SUBNET_BITS, SENDER_BITS, VRF_BITS, Key, Row


class Step(NamedTuple):
    """One lookup: at which stage, in which table, under which key (in a trie: that of the row
    found), and the row, None when there is none. Steps without a table say something in `note`.
    """

    stage: str
    table: str
    key: Key
    row: Row | None
    note: str = ""

    @property
    def origin(self) -> Origin:
        """Where the row comes from."""
        return self.row.origin if self.row is not None else NOWHERE

    @property
    def text(self) -> str:
        """The step in words, with numbers instead of names."""
        if not self.table:
            return self.note
        if self.row is None:
            return f"no row in {self.table} for {_fields(self.table, 'key', self.key)}"
        return _WORDS[self.table](self.key, self.row.values)


class Trail(list[Step]):
    """The steps of one packet so far."""

    def meet(self, stage: str, table: str, key: Key, row: Row | None) -> None:
        """Add a lookup."""
        self.append(Step(stage, table, key, row))

    def note(self, stage: str, text: str) -> None:
        """Add something that no row did."""
        self.append(Step(stage, "", (), None, text))


def _fields(table: str, part: str, values: tuple[int, ...]) -> str:
    fields = TABLE_BY_NAME[table].key if part == "key" else TABLE_BY_NAME[table].value
    named = [field for field in fields if not field.type.startswith("pad")]
    return ", ".join(
        f"{field.name} {_value(field.type, value)}"
        for field, value in zip(named, values, strict=True)
    )


def _value(kind: str, value: int) -> str:
    if kind == "be128":
        return str(narrow_address(value))
    return format_ipv4(value) if kind == "be32" and value > 0xFFFF else str(value)


def _interface(key: Key, values: tuple[int, ...]) -> str:
    vif, vrf, network, acl, egress, ingress, firewall_egress, firewall_ingress, *_ = values
    groups = f", security groups {egress} and {ingress}" if egress or ingress else ""
    has_firewall = firewall_egress or firewall_ingress
    firewall = f", firewall {firewall_egress} and {firewall_ingress}" if has_firewall else ""
    lists = f"ACL {acl or 'none'}{groups}{firewall}"
    return f"device {key[0]} is port {vif} in VRF {vrf}, network {network}, {lists}"


def _route(key: Key, values: tuple[int, ...], version: int = 4) -> str:
    length, vrf, address = key
    next_hop, label, *_ = values
    pushed = f" with label {label}" if label else ""
    prefix = Prefix(address, length - VRF_BITS, version)
    return f"VRF {vrf}: {prefix} to next hop {next_hop}{pushed}"


def _next_hop(key: Key, values: tuple[int, ...]) -> str:
    kind, flags, ifindex, remote, mac, _, _, members, _ = values
    words = {
        NextHopType.RECEIVE: "the gateway itself",
        NextHopType.INTERFACE: f"device {ifindex}, MAC {format_mac(mac)}"
        + (" (veth)" if flags & NEXT_HOP_PEER else ""),
        NextHopType.TUNNEL: ("VXLAN" if flags & NEXT_HOP_VXLAN else "MPLS over UDP")
        + f" to {format_ipv4(remote)}",
        NextHopType.DISCARD: "nobody has the address",
        NextHopType.COMPOSITE: f"one of {members} by flow",
    }
    text = next((text for one, text in words.items() if one == kind), f"of type {kind}")
    return f"next hop {key[0]}: {text}"


def _rule(key: Key, values: tuple[int, ...]) -> str:
    action = "passes" if values[-1] == ACL_PASS else "denies"
    return f"list {key[0]} rule {key[1] + 1} {action}"


def _flow(_key: Key, values: tuple[int, ...]) -> str:
    _, _, out_packets, _, in_packets, _, generation, *_, action, _, _, _ = values
    word = "may pass" if action == ACL_PASS else "is denied"
    packets = out_packets + in_packets
    return f"flow {word}, packet {packets} of it, generation {generation}"


def _source(key: Key, values: tuple[int, ...]) -> str:
    length, vif, mac, address = key
    pair = f"allowed address pair {values[0]}" if values[0] else "its own"
    if not address and length == SENDER_BITS + bits_of(6):
        return f"port {vif} may send from {format_mac(mac)}: {pair}"
    found = narrow_address(address)
    version = found.version
    prefix = Prefix(found.value, length - SENDER_BITS - bits_of(6) + bits_of(version), version)
    return f"port {vif} may send from {prefix} and {format_mac(mac)}: {pair}"


def _fat_subnet(key: Key, values: tuple[int, ...]) -> str:
    del values
    length, vif, protocol, by, port, wide = key
    found = narrow_address(wide)
    prefix = Prefix(
        found.value, length - FAT_SUBNET_BITS - bits_of(6) + bits_of(found.version), found.version
    )
    side = "own address" if by in (FAT_BY_LOCAL, FAT_BY_BOTH) else "far address"
    return f"port {vif}: protocol {protocol} port {port} with {side} in {prefix} is a fat flow"


_WORDS: Mapping[str, Callable[[Key, tuple[int, ...]], str]] = {
    "rules": _rule,
    "lists": lambda key, _: f"list {key[0]}: no rule of it matches, so denied",
    "shapes": lambda key, values: f"list {key[0]} shape {key[1]}: first rule {values[0] + 1}",
    "buckets": lambda key, values: f"list {key[0]} shape {key[1]}: rule {values[0] + 1}",
    "ranges": lambda key, values: f"list {key[0]}: ports {values[0]} to {values[1]}",
    "interfaces": _interface,
    "fat_flows": lambda key, _: f"port {key[0]}: protocol {key[1]} port {key[2]} is a fat flow",
    "fat_subnets": _fat_subnet,
    "members": lambda key, values: f"next hop {key[0]}: member {key[1] + 1} is {values[0]}",
    "places": lambda key, values: f"next hop {key[0]}: {key[1]} is member {values[0] + 1}",
    "next_hops": _next_hop,
    "labels": lambda key, values: f"label {key[0]} is next hop {values[0]}",
    "vnis": lambda key, values: f"VNI {key[0]} is VRF {values[0]}",
    "sources": _source,
    "routes": _route,
    "routes6": lambda key, values: _route(key, values, 6),
    "host": lambda _, values: f"host {format_ipv4(values[0])}, generation {values[1]}",
    "flows": _flow,
}
