"""The rows of one data plane, for reading: typed values, longest-prefix match, maps' semantics.

What the kernel's maps are to the BPF programs this is to `forward.model`: it is written like them
(`dataplane.maps.PinnedMaps` has the same verbs) and looked up like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from filament.base.net import mask_of
from filament.base.origin import NOWHERE
from filament.forward.layout import PLANNED, RULES, TABLES
from filament.forward.tables import (
    FAT_SUBNET_BITS,
    ROUTES_BY_VERSION,
    SENDER_BITS,
    VRF_BITS,
    Change,
    Key,
    Row,
    Tables,
)

# One named tuple per planned table, with the layout's fields in order (a test compares them).


class RuleValues(NamedTuple):
    """A row of `rules`."""

    source_network: int
    destination_network: int
    source: int
    source_mask: int
    destination: int
    destination_mask: int
    source_port_low: int
    source_port_high: int
    port_low: int
    port_high: int
    protocol: int
    version: int
    groups: int
    action: int


class RangeValues(NamedTuple):
    """A row of `ranges`."""

    low: int
    high: int
    rule: int
    action: int


class BucketValues(NamedTuple):
    """A row of `buckets`."""

    rule: int
    action: int
    first_range: int
    range_count: int


class ShapeValues(NamedTuple):
    """A row of `shapes`."""

    first_rule: int
    version: int
    source_port_low: int
    source_port_high: int
    flags: int
    protocol: int
    source_mask: int
    destination_mask: int


class ListValues(NamedTuple):
    """A row of `lists`."""

    shape_count: int
    second_count: int


class InterfaceValues(NamedTuple):
    """A row of `interfaces`."""

    vif: int
    vrf: int
    network: int
    acl: int
    egress: int
    ingress: int
    firewall_egress: int
    firewall_ingress: int
    next_hop: int
    flags: int
    address: int
    flow_limit: int
    address6: int
    mac: int


class FatFlowValues(NamedTuple):
    """A row of `fat_flows`."""

    fat: int
    local_length: int = 0
    remote_length: int = 0


class FatSubnetValues(NamedTuple):
    """A row of `fat_subnets`."""

    fat: int
    local_length: int
    remote_length: int
    then: int = 0


class SourceValues(NamedTuple):
    """A row of `sources`."""

    pair: int
    claim: int


class MemberValues(NamedTuple):
    """A row of `members`."""

    member: int


class PlaceValues(NamedTuple):
    """A row of `places`."""

    position: int


class NextHopValues(NamedTuple):
    """A row of `next_hops`."""

    type: int
    flags: int
    ifindex: int
    remote: int
    destination_mac: int
    source_mac: int
    label: int = 0
    members: int = 0
    local_members: int = 0


class LabelValues(NamedTuple):
    """A row of `labels`."""

    next_hop: int


class VniValues(NamedTuple):
    """A row of `vnis`."""

    vrf: int


class RouteValues(NamedTuple):
    """A row of `routes` or `routes6`."""

    next_hop: int
    label: int
    network: int
    groups: int
    tags: int
    flags: int


class HostValues(NamedTuple):
    """The row of `host`."""

    address: int
    generation: int
    revision: int


class Found(NamedTuple):
    """A row that a lookup found, with the key it stands under."""

    key: Key
    row: Row


class _Trie:
    """Longest-prefix match: per scope (a VRF) and prefix length a dict by address.

    Keys are (prefix length with the scope's bits, scope, ..., address).
    """

    def __init__(self, version: int, scope_bits: int) -> None:
        self.version = version
        self.scope_bits = scope_bits
        self._by_scope: dict[Key, dict[int, dict[int, Found]]] = {}
        # With masks, in the order they are looked at; of scopes without rows nothing is kept.
        self._longest_first: dict[Key, list[tuple[int, dict[int, Found]]]] = {}

    def put(self, key: Key, row: Row) -> None:
        length, *scope, address = key
        levels = self._by_scope.setdefault(tuple(scope), {})
        level = levels.get(length)
        if level is None:
            level = levels[length] = {}
            self._longest_first.pop(tuple(scope), None)
        level[address] = Found(key, row)

    def remove(self, key: Key) -> None:
        length, *scope, address = key
        levels = self._by_scope.get(tuple(scope), {})
        level = levels.get(length, {})
        level.pop(address, None)
        if not level:
            levels.pop(length, None)
            self._longest_first.pop(tuple(scope), None)

    def find(self, scope: Key, address: int) -> Found | None:
        levels = self._longest_first.get(scope)
        if levels is None:
            found_by_length = self._by_scope.get(scope)
            if not found_by_length:
                return None
            levels = self._longest_first[scope] = [
                (mask_of(length - self.scope_bits, self.version), found_by_length[length])
                for length in sorted(found_by_length, reverse=True)
            ]
        for mask, found_by_address in levels:
            found = found_by_address.get(address & mask)
            if found is not None:
                return found
        return None


ARRAYS = frozenset(table.name for table in TABLES if table.map_type.endswith("ARRAY"))


class Rows:
    """The planned tables of one data plane. As in the kernel a row of zeros in an array is none."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.by_table: dict[str, dict[Key, Row]] = {name: {} for name in PLANNED}
        self._tries = {
            name: _Trie(version, VRF_BITS) for version, name in ROUTES_BY_VERSION.items()
        }
        self._tries["sources"] = _Trie(6, SENDER_BITS)
        self._tries["fat_subnets"] = _Trie(6, FAT_SUBNET_BITS)
        if tables is not None:
            self.replace(tables)

    def replace(self, tables: Tables) -> None:
        """Make the rows those of `tables`, with their origins."""
        for name, wanted in tables.rows.items():
            known = self.by_table[name]
            for key in known.keys() - wanted.keys():
                self._remove(name, key)
            for key, row in wanted.items():
                if known.get(key) != row:
                    self._put(name, key, row)

    def write(self, changes: Iterable[Change]) -> None:
        """Apply changes, whose rows have no origins."""
        for name, key, values in changes:
            if values is None:
                self._remove(name, key)
            else:
                self._put(name, key, Row(values, NOWHERE))

    def read_planned(self) -> dict[str, dict[Key, tuple[int, ...]]]:
        """Return the values of all rows that a kernel has."""
        return {
            name: {key: row.values for key, row in rows.items()}
            for name, rows in self.by_table.items()
            if name != RULES.name
        }

    def _put(self, name: str, key: Key, row: Row) -> None:
        if name in ARRAYS and not any(row.values):
            self._remove(name, key)
            return
        self.by_table[name][key] = row
        if name in self._tries:
            self._tries[name].put(key, row)

    def _remove(self, name: str, key: Key) -> None:
        self.by_table[name].pop(key, None)
        if name in self._tries:
            self._tries[name].remove(key)

    def find(self, name: str, key: Key) -> Row | None:
        """Look a row up by its key."""
        return self.by_table[name].get(key)

    def find_route(self, vrf: int, address: int, version: int = 4) -> Found | None:
        """Return the longest prefix of the VRF that holds `address`."""
        return self._tries[ROUTES_BY_VERSION[version]].find((vrf,), address)

    def find_source(self, vif: int, mac: int, address: int) -> Found | None:
        """Return the longest prefix that a port may use with a MAC and that holds a wide address.

        0 is the address of senders without one.
        """
        return self._tries["sources"].find((vif, mac), address)

    def find_fat_subnet(self, scope: Key, address: int) -> Found | None:
        """Return the longest prefix among a port's fat flows that holds a wide address; `scope` is
        its number, the protocol, which address it is (FAT_BY_*) and a port.
        """
        return self._tries["fat_subnets"].find(scope, address)

    def host(self) -> HostValues:
        """Return the host's row; zeros before it is written."""
        row = self.by_table["host"].get((0,))
        return HostValues(*row.values) if row is not None else HostValues(0, 0, 0)


VALUES_BY_TABLE: Mapping[str, type[tuple[int, ...]]] = {
    "rules": RuleValues,
    "ranges": RangeValues,
    "buckets": BucketValues,
    "shapes": ShapeValues,
    "lists": ListValues,
    "sources": SourceValues,
    "interfaces": InterfaceValues,
    "fat_flows": FatFlowValues,
    "fat_subnets": FatSubnetValues,
    "members": MemberValues,
    "places": PlaceValues,
    "next_hops": NextHopValues,
    "labels": LabelValues,
    "vnis": VniValues,
    "routes": RouteValues,
    "routes6": RouteValues,
    "host": HostValues,
}
