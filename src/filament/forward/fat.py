"""From the fat flows of a port to rows. Pure.

`forward.flows` and `c/lib/flow.h` read them. Where addresses are left out in part, as many of their
bits stay as some rule of the port's lists looks at: what policy tells apart has rows of its own in
the flow table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from filament.base.net import Prefix, bits_of, narrow_address, wide_parts
from filament.base.origin import Origin
from filament.forward.flows import MAX_REMOTE_LENGTHS
from filament.forward.inputs import FatFlow, Grouping, Port
from filament.forward.layout import (
    FAT_BY_BOTH,
    FAT_BY_LOCAL,
    FAT_BY_REMOTE,
    FAT_BY_SECOND,
    FAT_LOCAL,
    FAT_PORTS,
    FAT_REMOTE,
)
from filament.forward.rows import FatFlowValues, FatSubnetValues, InterfaceValues, RuleValues
from filament.forward.tables import FAT_SUBNET_BITS, Key, Row

_IPV4_BEFORE = bits_of(6) - bits_of(4)  # bits that a wide IPv4 address has before its own


class FatRows(NamedTuple):
    """The two tables, as far as they are made."""

    flows: dict[Key, Row]
    subnets: dict[Key, Row]


def has_prefix(flow: FatFlow) -> bool:
    """Say whether a fat flow is about addresses of certain prefixes."""
    return flow.local is not None or flow.remote is not None


def prefixes_of(rules: Iterable[Row]) -> frozenset[Prefix]:
    """Return the prefixes of addresses that rows of `rules` look at."""
    found = set()
    for values in (RuleValues(*row.values) for row in rules):
        found.add((values.source, values.source_mask))
        found.add((values.destination, values.destination_mask))
    return frozenset(_narrow(address, mask.bit_count()) for address, mask in found if mask)


def _narrow(address: int, length: int) -> Prefix:
    plain = narrow_address(address)
    is_ipv4 = plain.version == 4 and length >= _IPV4_BEFORE
    return Prefix(plain.value, length - _IPV4_BEFORE) if is_ipv4 else Prefix(address, length, 6)


def plan_fat_flows(
    port: Port,
    interface: InterfaceValues,
    rows: FatRows,
    prefixes: Callable[[int], frozenset[Prefix]],
) -> None:
    """Add the rows of a port's fat flows; `prefixes` are those that the rules of a list look at."""
    origin = Origin(port.origin.object, "fat flow", port.origin.revision)
    asked: set[Prefix] = set()
    if any(map(has_prefix, port.fat_flows)):
        lists = (
            interface.acl,
            interface.egress,
            interface.ingress,
            interface.firewall_egress,
            interface.firewall_ingress,
        )
        asked = set().union(*map(prefixes, lists))
    pairs = []
    for one in port.fat_flows:
        values = _values(one, asked)
        if one.local is not None and one.remote is not None:
            pairs.append((one, one.local.prefix, one.remote.prefix, values))
        elif one.local is not None or one.remote is not None:
            by = FAT_BY_LOCAL if one.local is not None else FAT_BY_REMOTE
            grouping = one.local or one.remote
            assert grouping is not None
            row = Row(FatSubnetValues(*values), origin)
            _add(rows, (interface.vif, one.protocol, by, one.port), grouping.prefix, row)
        else:
            key = interface.vif, one.protocol, one.port
            rows.flows.setdefault(key, Row(values, origin))
    # Whose own address lies in two prefixes is of either, of the longer one first.
    pairs.sort(key=lambda pair: -pair[1].length)
    for number, local in enumerate(dict.fromkeys(pair[1] for pair in pairs)):
        then = FAT_BY_SECOND + number
        first = Row(FatSubnetValues(0, 0, 0, then), origin)
        for one, around, remote, values in pairs:
            scope = interface.vif, one.protocol
            if around == local:
                _add(rows, (*scope, FAT_BY_BOTH, one.port), local, first)
            if around.contains(local.address, local.version):
                row = Row(FatSubnetValues(*values), origin)
                _add(rows, (*scope, then, one.port), remote, row)


def _add(rows: FatRows, scope: Key, prefix: Prefix, row: Row) -> None:
    for part in wide_parts(prefix):
        rows.subnets.setdefault((FAT_SUBNET_BITS + part.length, *scope, part.address), row)


def _values(one: FatFlow, asked: Iterable[Prefix]) -> FatFlowValues:
    """Return what the keys of a fat flow leave out, and keep."""
    fat, local, remote = FAT_PORTS, 0, 0
    if one.ignores_local:
        fat |= FAT_LOCAL
    elif one.local is not None:
        local = _length(one.local, asked)
        fat |= FAT_LOCAL if local < bits_of(one.local.prefix.version) else 0
    if one.ignores_remote:
        fat |= FAT_REMOTE
    elif one.remote is not None:
        version = one.remote.prefix.version
        remote = _length(one.remote, asked)
        if remote <= MAX_REMOTE_LENGTHS[version] and remote < bits_of(version):
            fat |= FAT_REMOTE
    return FatFlowValues(fat, local if fat & FAT_LOCAL else 0, remote if fat & FAT_REMOTE else 0)


def _length(grouping: Grouping, asked: Iterable[Prefix]) -> int:
    """Return how many bits of its addresses to keep: more if a rule tells addresses of it apart."""
    whole = grouping.prefix
    inside = (
        one.length
        for one in asked
        if one.length > whole.length and whole.contains(one.address, one.version)
    )
    return max(grouping.length, max(inside, default=0))
