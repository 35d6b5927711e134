"""The flow table of a host as records with names. Reading it may take long: do it in a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from filament.agent.naming import Naming, PortName
from filament.agent.select import Wanted
from filament.base.net import Address, format_address, narrow_address
from filament.dataplane.maps import PinnedMaps
from filament.forward.flows import FarEnd, FlowKey
from filament.forward.layout import ACL_PASS, FAT_LOCAL, FAT_PORTS, FAT_REMOTE, FLOW_INBOUND
from filament.forward.parse import ICMP_BY_VERSION
from filament.forward.tables import Key, fields_of

Json = dict[str, Any]
_FIELDS = fields_of("flows")
_ICMPS = frozenset(ICMP_BY_VERSION.values())
_LEFT_OUT = {FAT_PORTS: "ports", FAT_LOCAL: "local", FAT_REMOTE: "remote"}
_PROTOCOL = FlowKey._fields.index("protocol")
_PORTS = slice(FlowKey._fields.index("local_port"), _PROTOCOL)
_LAST_SEEN = _FIELDS.index("last_seen_ns")


class FlowEnds(NamedTuple):
    """The ends of a flow, as its port sees them, and whether the far end started it.

    `fat` says what the key of a fat flow leaves out, all of an address but its first `..._length`
    bits; `far_end` who the far ones are then.
    """

    vif: int
    vrf: int
    local: Address
    remote: Address
    local_port: int
    remote_port: int
    is_inbound: bool
    fat: int = 0
    local_length: int = 0
    remote_length: int = 0
    far_end: FarEnd | None = None

    @property
    def ignored(self) -> list[str]:
        """What of its connections a fat flow does not tell apart: `ports`, `local`, `remote`; of
        addresses told apart in part (`local/24`) as much.
        """
        lengths = {FAT_LOCAL: self.local_length, FAT_REMOTE: self.remote_length}
        return [
            f"{name}/{length}" if (length := lengths.get(bit)) else name
            for bit, name in _LEFT_OUT.items()
            if self.fat & bit
        ]


def far_name(ends: FlowEnds, naming: Naming) -> PortName:
    """Name the far end; of a fat flow without its address only the network."""
    if ends.far_end is not None:
        return naming.far_class(ends.far_end)
    return naming.far_end(ends.vrf, *ends.remote)


def ends_record(ends: FlowEnds, naming: Naming) -> Json:
    """Name both ends of a flow, by who started it: `source` and `destination`."""
    near = naming.port(ends.vif)
    far = far_name(ends, naming)
    sides = (ends.local, ends.local_port, near), (ends.remote, ends.remote_port, far)
    record: Json = {"interface": near.name, "vif": ends.vif, "vrf": naming.vrf(ends.vrf)}
    names = ("destination", "source") if ends.is_inbound else ("source", "destination")
    for side, (address, port, name) in zip(names, sides, strict=True):
        record[side] = format_address(*address)
        record[f"{side}_port"] = port
        record[f"{side}_interface"] = name.name
        record[f"{side}_workload"] = name.workload
        record[f"{side}_network"] = name.network
        record[f"{side}_tags"] = [naming.tag(number) for number in name.tags]
    return record


def values_of(row: tuple[int, ...]) -> dict[str, int]:
    """Name the values of a row of the flow table."""
    return dict(zip(_FIELDS, row, strict=True))


def ends_of(key: FlowKey, flow: Mapping[str, int]) -> FlowEnds:
    """Return the ends of a row. An echo's identifier is the port of who started the flow."""
    is_inbound = bool(flow["flags"] & FLOW_INBOUND)
    ports = key.local_port, key.remote_port
    if is_inbound and key.protocol in _ICMPS:
        ports = ports[::-1]  # the key has what stands for ports the same way in both directions
    addresses = narrow_address(key.local), narrow_address(key.remote_address)
    return FlowEnds(
        key.vif,
        key.vrf,
        *addresses,
        *ports,
        is_inbound,
        key.fat,
        key.local_length,
        key.remote_length,
        key.far_end,
    )


def flow_record(key: FlowKey, flow: Mapping[str, int], naming: Naming) -> Json:
    """One flow: its ends as its port sees them and as who started it does, and its verdict."""
    ends = ends_of(key, flow)
    return {
        **ends_record(ends, naming),
        "local": format_address(*ends.local),
        "remote": format_address(*ends.remote),
        "local_port": key.local_port,
        "remote_port": key.remote_port,
        "protocol": key.protocol,
        "fat": ends.ignored,
        "inbound": ends.is_inbound,
        "denied": flow["action"] != ACL_PASS,
        "rules": naming.rules(flow),
        **flow,
    }


def read_flows(maps: PinnedMaps, naming: Naming, wanted: Wanted, limit: int) -> Json:
    """The flows that are wanted, the last seen first, at most `limit`; `count` is of all."""
    rows = maps.read_all("flows")
    chosen = [
        (key, row) for key, row in rows.items() if wanted.may_admit(key[_PROTOCOL], key[_PORTS])
    ]
    chosen.sort(key=lambda item: -item[1][_LAST_SEEN])
    return {
        "count": len(rows),
        "flows": [*islice(_records(chosen, naming, wanted), limit)],
    }


def _records(
    rows: list[tuple[Key, tuple[int, ...]]], naming: Naming, wanted: Wanted
) -> Iterator[Json]:
    for key, row in rows:
        record = flow_record(FlowKey(*key), values_of(row), naming)
        if wanted.admits(record):
            yield record
