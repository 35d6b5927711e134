"""What the kernel holds against what it should: rows against tables, flows against rules. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from filament.base.origin import NOWHERE, Origin
from filament.forward.flows import Flow, FlowKey, idle_s
from filament.forward.layout import ACL_PASS, INTERFACE_POLICY
from filament.forward.policy import Policy
from filament.forward.rows import ARRAYS, InterfaceValues, Rows
from filament.forward.tables import Key, Tables

# How long the agent may take to sweep an idle flow out before it counts as forgotten: a sweep of a
# full table takes a second, and the sweeper rests for 20 times as long.
SWEEP_GRACE_S = 60
_SECOND_NS = 1_000_000_000
Values = tuple[int, ...]


class RowDifference(msgspec.Struct, frozen=True):
    """A row that is not as it should be; None: it is not there, or should not be."""

    table: str
    key: Key
    wanted: Values | None
    found: Values | None
    origin: Origin = NOWHERE


class StaleFlow(msgspec.Struct, frozen=True):
    """A row of the flow table that should not be there, and why not."""

    key: Key
    why: str


def compare_rows(
    wanted: Tables, found: Mapping[str, Mapping[Key, Values]], *, finds_surplus: bool = True
) -> list[RowDifference]:
    """Return the rows in which `found` is not `wanted`, table by table, for the tables of `found`.

    Without `finds_surplus`, rows that nobody asks for are no difference.
    """
    differences = []
    for table, rows in found.items():
        asked = wanted.rows.get(table, {})
        keys = (asked.keys() | rows.keys()) if finds_surplus else asked.keys()
        for key in sorted(keys):
            row = asked.get(key)
            # A row of zeros in an array is none.
            is_there = row is not None and (table not in ARRAYS or any(row.values))
            values = row.values if row is not None and is_there else None
            if values != rows.get(key):
                origin = row.origin if row is not None else NOWHERE
                differences.append(RowDifference(table, key, values, rows.get(key), origin))
    return differences


def stale_flows(tables: Tables, flows: Mapping[Key, Values], now_ns: int) -> Iterator[StaleFlow]:
    """Yield the flows whose port is gone, that nobody swept out, or whose verdict is not what the
    rules of `tables` say although it is stamped with their generation.

    A flow of an older generation is judged again with its next packet: it is not stale.
    """
    rows = Rows(tables)
    policy = Policy(rows)
    generation = rows.host().generation
    interfaces = [InterfaceValues(*row.values) for row in tables.rows["interfaces"].values()]
    port_by_vif = {port.vif: port for port in interfaces}
    for raw, values in flows.items():
        key, flow = FlowKey(*raw), Flow(*values)
        port = port_by_vif.get(key.vif)
        if port is None:
            yield StaleFlow(raw, "its port is not here")
        elif port.vrf != key.vrf:
            yield StaleFlow(raw, "its port is in another VRF")
        elif _is_forgotten(flow, key.protocol, now_ns):
            yield StaleFlow(raw, f"idle for over {idle_s(flow, key.protocol)} s and not swept out")
        elif flow.generation == generation and port.flags & INTERFACE_POLICY:
            said = policy.judge_again(key, flow, port)
            if said is not None and (said == ACL_PASS) != (flow.action == ACL_PASS):
                verb = "passes" if flow.action == ACL_PASS else "is dropped"
                yield StaleFlow(raw, f"it {verb}, and the rules of its generation say otherwise")


def _is_forgotten(flow: Flow, protocol: int, now_ns: int) -> bool:
    return flow.is_idle(protocol, now_ns - SWEEP_GRACE_S * _SECOND_NS)
