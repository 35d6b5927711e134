"""Rows of the data plane in people's words: ids become names, numbers addresses.

One function per table; each says what the row means for the packet that met it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from filament.base.net import (
    Prefix,
    bits_of,
    format_address,
    format_ipv4,
    format_ipv6,
    format_mac,
    narrow_address,
)
from filament.doctor.packet import format_protocol
from filament.forward.classify import ANY_PORTS
from filament.forward.layout import (
    ACL_PASS,
    ASKS_GROUPS,
    ASKS_TAGS,
    FAT_BY_BOTH,
    FAT_BY_LOCAL,
    INTERFACE_POLICY,
    NEXT_HOP_VXLAN,
    PROTOCOL_ANY,
    TABLE_BY_NAME,
    NextHopType,
)
from filament.forward.tables import FAT_SUBNET_BITS, SENDER_BITS, VRF_BITS, Key
from filament.wire.packet.ipv4 import ICMP
from filament.wire.packet.ipv6 import ICMPV6

_ICMPS = (ICMP, ICMPV6)


class PortNames(NamedTuple):
    """What people call a port: its name, and its device in the host."""

    name: str
    device: str


class Names(msgspec.Struct, frozen=True):
    """What a host's ids mean: by vrf id, network id, acl id; ports by ifindex; hosts by address."""

    vrfs: Mapping[int, str] = {}
    networks: Mapping[int, str] = {}
    acls: Mapping[int, str] = {}
    ports: Mapping[int, PortNames] = {}
    hosts: Mapping[int, str] = {}

    def vrf(self, vrf: int) -> str:
        """A VRF's short name."""
        return short_instance(self.vrfs[vrf]) if vrf in self.vrfs else f"#{vrf}"

    def network(self, network: int) -> str:
        """A network's short name; 0 is none in particular."""
        if network == 0:
            return "any network"
        return short_name(self.networks[network]) if network in self.networks else f"#{network}"

    def acl(self, acl: int) -> str:
        """An access control list's short name."""
        return short_name(self.acls[acl]) if acl in self.acls else f"#{acl}"

    def port(self, ifindex: int) -> str:
        """A port's name and device."""
        port = self.ports.get(ifindex)
        return f"{port.name} ({port.device})" if port is not None else f"ifindex {ifindex}"

    def host(self, address: int) -> str:
        """A host's name and tunnel address."""
        name = self.hosts.get(address)
        return f"{name} ({format_ipv4(address)})" if name else format_ipv4(address)


class Phrase(NamedTuple):
    """One row in words: which stage of the path it decides, and what it says."""

    stage: str
    text: str


def short_name(name: str) -> str:
    """Return the last part of an fq name."""
    return name.rpartition(":")[2]


def short_instance(name: str) -> str:
    """Shorten a routing instance's name: a network's default one is called like the network."""
    *_, network, instance = ["", *name.split(":")]
    return instance if instance == network or not network else f"{network}:{instance}"


def value_by_field(table: str, values: tuple[int, ...]) -> dict[str, int]:
    """Name a row's values; pad fields have none."""
    fields = [field.name for field in TABLE_BY_NAME[table].value if field.name != "pad"]
    return dict(zip(fields, values, strict=True))


def phrase(table: str, key: Key, values: tuple[int, ...] | None, names: Names) -> Phrase:
    """Say what the row of `table` at `key` means; values None is a row that does not exist."""
    if values is None:
        return _absent(table, key, names)
    return _PRESENT[table](key, value_by_field(table, values), names)


def _interface(key: Key, row: dict[str, int], names: Names) -> Phrase:
    policy = "" if row["flags"] & INTERFACE_POLICY else ", policy off"
    addresses = [format_ipv4(row["address"])] if row["address"] or not row["address6"] else []
    addresses += [format_ipv6(row["address6"])] if row["address6"] else []
    word = "addresses" if len(addresses) > 1 else "address"
    return Phrase(
        "interface",
        f"{names.port(key[0])} in VRF {names.vrf(row['vrf'])}, "
        f"{word} {' and '.join(addresses)}{policy}",
    )


def _next_hop(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del key
    match NextHopType(row["type"]):
        case NextHopType.RECEIVE:
            text = "the gateway itself, here on this host"
        case NextHopType.INTERFACE:
            text = f"port {names.port(row['ifindex'])}, MAC {format_mac(row['destination_mac'])}"
        case NextHopType.TUNNEL:
            kind = "VXLAN tunnel" if row["flags"] & NEXT_HOP_VXLAN else "tunnel"
            text = f"{kind} to {names.host(row['remote'])}"
        case NextHopType.DISCARD:
            text = "nobody: no port has this address"
        case NextHopType.COMPOSITE:
            text = f"one of {row['members']}, by flow"
    return Phrase("next hop", text)


def _route6(key: Key, row: dict[str, int], names: Names) -> Phrase:
    return _route(key, row, names, 6)


def _vni(key: Key, row: dict[str, int], names: Names) -> Phrase:
    return Phrase("label", f"VNI {key[0]} is VRF {names.vrf(row['vrf'])}")


def _route(key: Key, row: dict[str, int], names: Names, version: int = 4) -> Phrase:
    length, vrf, address = key
    label = f", label {row['label']}" if row["label"] else ""
    network = f", network {names.network(row['network'])}" if row["network"] else ""
    return Phrase(
        "route",
        f"{Prefix(address, length - VRF_BITS, version)} in VRF {names.vrf(vrf)}{network}{label}",
    )


def _label(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del names
    return Phrase("label", f"{key[0]} is next hop {row['next_hop']}")


def _acl(key: Key, row: dict[str, int], names: Names) -> Phrase:
    # Rules that the port's own tags never match are not in its list.
    is_firewall = names.acls.get(key[0], "").startswith("firewall-")
    if not row["shape_count"] and not is_firewall:
        return Phrase("policy", f"{names.acl(key[0])} has no rules: denied")
    return Phrase("policy", f"no rule of {names.acl(key[0])} matches: denied")


def _inner(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del row
    return Phrase("policy", f"part of {names.acl(key[0])}")


def _rule(key: Key, row: dict[str, int], names: Names) -> Phrase:
    verb = "passes" if row["action"] == ACL_PASS else "denies"
    version = f"IPv{row['version']} " if row["version"] else ""
    return Phrase(
        "policy",
        f"rule {key[1] + 1} {verb} {version}{_content(row)} from {_side(row, 'source', names)} "
        f"to {_side(row, 'destination', names)}{_members(row)}",
    )


def _content(row: dict[str, int]) -> str:
    if row["protocol"] == PROTOCOL_ANY:
        return "any protocol"
    text = format_protocol(row["protocol"])
    low, high = row["port_low"], row["port_high"]
    if row["protocol"] not in _ICMPS or (low, high) == ANY_PORTS:
        return text
    code = f" code {low & 255}" if low == high else ""
    return f"{text} type {low >> 8}{code}"


def _members(row: dict[str, int]) -> str:
    return {
        ASKS_GROUPS: ", members of a security group only",
        ASKS_TAGS: ", a far end with the rule's tags only",
    }.get(row["groups"], "")


def _side(row: dict[str, int], side: str, names: Names) -> str:
    """Say what one side of a rule matches, leaving out what is any."""
    mask, network = row[f"{side}_mask"], row[f"{side}_network"]
    ports = (
        ("port_low", "port_high")
        if side == "destination"
        else (
            "source_port_low",
            "source_port_high",
        )
    )
    low, high = (row[name] for name in ports)
    parts = [names.network(network)] if network or not mask else []
    if mask:
        address, length = narrow_address(row[side]), mask.bit_count()
        if address.version == 4:
            length -= 96
        parts.append(str(Prefix(address.value, length, address.version)))
    if (low, high) != ANY_PORTS and row["protocol"] not in _ICMPS:
        parts.append(f"port {low}" if low == high else f"ports {low}-{high}")
    return " ".join(parts)


def has_lists(flow: dict[str, int]) -> bool:
    """Say whether a flow was judged by any list."""
    return bool(flow["acl"] or flow["security"] or flow["firewall"])


def _flow(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del key, names
    if not has_lists(row):
        return Phrase("policy", "none attached here: passes")
    verb = "may pass" if row["action"] == ACL_PASS else "may no longer pass"
    return Phrase("policy", f"a flow that {verb}")


def _host(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del key
    return Phrase("host", f"{names.host(row['address'])}, rows of revision {row['revision']}")


def _source(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del names
    length, _, mac, wide = key
    pair = f"its allowed address pair {row['pair']}" if row["pair"] else "its own address"
    if not wide:
        return Phrase("source", f"{pair} has MAC {format_mac(mac)}")
    found = narrow_address(wide)
    shorter = SENDER_BITS + bits_of(6) - bits_of(found.version)
    prefix = Prefix(found.value, length - shorter, found.version)
    shared = ", held by one" if row["claim"] else ""
    return Phrase("source", f"{pair} is {prefix} with MAC {format_mac(mac)}{shared}")


def _member(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del names
    return Phrase("next hop", f"member {key[1] + 1} is next hop {row['member']}")


def _fat_flow(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del row, names
    return Phrase("flow", f"protocol {key[1]} port {key[2]} of port {key[0]} is a fat flow")


def _fat_subnet(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del row, names
    length, vif, protocol, by, port, wide = key
    found = narrow_address(wide)
    shorter = FAT_SUBNET_BITS + bits_of(6) - bits_of(found.version)
    prefix = Prefix(found.value, length - shorter, found.version)
    side = "own" if by in (FAT_BY_LOCAL, FAT_BY_BOTH) else "far"
    return Phrase(
        "flow",
        f"protocol {protocol} port {port} of port {vif} is a fat flow where the {side} address is"
        f" in {prefix}",
    )


def _place(key: Key, row: dict[str, int], names: Names) -> Phrase:
    del names
    return Phrase("next hop", f"next hop {key[1]} is member {row['position'] + 1}")


_PRESENT: dict[str, Callable[[Key, dict[str, int], Names], Phrase]] = {
    "sources": _source,
    "interfaces": _interface,
    "fat_flows": _fat_flow,
    "fat_subnets": _fat_subnet,
    "members": _member,
    "places": _place,
    "next_hops": _next_hop,
    "routes": _route,
    "routes6": _route6,
    "vnis": _vni,
    "labels": _label,
    "lists": _acl,
    "rules": _rule,
    "shapes": _inner,
    "buckets": _inner,
    "ranges": _inner,
    "flows": _flow,
    "host": _host,
}


def _absent(table: str, key: Key, names: Names) -> Phrase:
    """Say what it means that there is no row."""
    match table:
        case "interfaces":
            return Phrase("interface", f"{names.port(key[0])} is not plugged")
        case "next_hops":
            return Phrase("next hop", f"{key[0]} does not exist")
        case "routes" | "routes6":
            address = format_address(key[2], 4 if table == "routes" else 6)
            return Phrase("route", f"VRF {names.vrf(key[1])} has none to {address}")
        case "vnis":
            return Phrase("label", f"VNI {key[0]} is nobody's")
        case "labels":
            return Phrase("label", f"{key[0]} is nobody's")
        case "lists":
            return Phrase("policy", f"{names.acl(key[0])} does not exist: denied")
        case "rules":
            return Phrase("policy", f"rule {key[1] + 1} of {names.acl(key[0])}")
        case "flows":
            return Phrase("policy", "no earlier packet of this flow")
        case _:
            return Phrase(table, "no such row")
