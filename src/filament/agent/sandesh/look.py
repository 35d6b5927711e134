"""What the agent's answers are made of: rows in the kernel by field name, and what numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filament.agent.connection import Connection
from filament.agent.graph import Graph
from filament.agent.host import AgentHost
from filament.agent.introspect import AgentView
from filament.forward.layout import INTERFACE_POLICY, TABLE_BY_NAME, NextHopType
from filament.forward.tables import Key
from filament.wire.xmpp.stanza import Node

Row = dict[str, int]
_FIELDS = {
    name: [field.name for field in table.value if not field.type.startswith("pad")]
    for name, table in TABLE_BY_NAME.items()
}
_ROUTES = {4: "routes", 6: "routes6"}
VRF_BITS = 32
_NO_GRAPH = Graph()


class Look:
    """One agent, looked at. Called from the task that owns the host."""

    def __init__(self, host: AgentHost, connections: Mapping[str, Connection]) -> None:
        self.host = host
        self.view = AgentView(host, connections)
        self.connections = connections

    @property
    def graph(self) -> Graph:
        """The configuration that holds; empty before there is one."""
        return self.host.core.graph or _NO_GRAPH

    # rows -----------------------------------------------------------------------------------

    def row(self, table: str, key: Key) -> Row | None:
        """Return a row that is in the kernel, by field name."""
        values = self.host.reconciler.actual.get(table, {}).get(key)
        return dict(zip(_FIELDS[table], values, strict=True)) if values is not None else None

    def keys(self, table: str) -> list[Key]:
        """Return the keys of the rows that are in the kernel; none of a table that is not there."""
        return list(self.host.reconciler.actual.get(table, ()))

    def route_keys(self, version: int, vrf: int) -> list[Key]:
        """Return the keys of a VRF's routes of one IP version."""
        return [key for key in self.keys(_ROUTES[version]) if key[1] == vrf]

    def route(self, version: int, key: Key) -> Row | None:
        """Return a route's row."""
        return self.row(_ROUTES[version], key)

    # names ----------------------------------------------------------------------------------

    def names(self, space: str) -> dict[int, str]:
        """Return names by number."""
        return {number: name for name, number in self.host.ids.numbers(space).items()}

    def numbers(self, space: str) -> dict[str, int]:
        """Return numbers by name."""
        return self.host.ids.numbers(space)

    def devices(self) -> dict[int, str]:
        """Return the devices of ports by their ifindex."""
        return {
            port.device.ifindex: port.plug.device
            for port in self.host.core.ports()
            if port.device is not None
        }

    def policies(self) -> dict[int, bool]:
        """Return, by next hop of a port, whether policy is applied to it."""
        rows = (self.row("interfaces", key) for key in self.keys("interfaces"))
        return {
            row["next_hop"]: bool(row["flags"] & INTERFACE_POLICY)
            for row in rows
            if row is not None
        }

    def references(self) -> dict[int, int]:
        """Return how many rows point at each next hop."""
        count_by_hop: dict[int, int] = {}
        for table in (*_ROUTES.values(), "labels", "interfaces"):
            if table not in TABLE_BY_NAME:
                continue
            place = _FIELDS[table].index("next_hop")
            for values in list(self.host.reconciler.actual.get(table, {}).values()):
                hop = values[place]
                count_by_hop[hop] = count_by_hop.get(hop, 0) + 1
        return count_by_hop

    # configuration --------------------------------------------------------------------------

    def nodes(self, kind: str) -> dict[str, Node]:
        """Return the objects of a kind that control nodes told of, by name."""
        return {node.name: node for node in self.graph.of_kind(kind)}

    def uuid(self, kind: str, name: str) -> str:
        """Return an object's uuid, "" when it is not known."""
        node = self.graph.node(kind, name)
        return uuid_of(node) if node is not None else ""


def uuid_of(node: Node) -> str:
    """Return a node's uuid."""
    return str(node.props.get("uuid") or "")


def hop_type(row: Mapping[str, Any]) -> str:
    """Return TF's word for the type of a next hop."""
    try:
        return NextHopType(row["type"]).name.lower()
    except ValueError:
        return f"type {row['type']}"


def host_of(control: str) -> str:
    """Return the host of a control node's `HOST:PORT`; TF shows them without ports."""
    return (control.rpartition(":")[0] or control).strip("[]")
