"""What the numbers of flows and samples stand for: ports, workloads, networks, rules.

A picture of one moment that nothing changes: it may be read in another thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from filament.agent.core import PortState
from filament.agent.graph import Graph
from filament.agent.host import AgentHost
from filament.base.net import Prefix, bits_of, format_ipv4, mask_of
from filament.base.origin import NOWHERE, Origin
from filament.forward.flows import FarEnd
from filament.forward.layout import ACL_DENY, ACL_PASS, FABRIC_VIF, FIREWALL_DENY, RULE_NONE
from filament.forward.rows import InterfaceValues, NextHopValues, RouteValues
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS, Key, Row

Json = dict[str, Any]
FABRIC = "fabric"
UNDERLAY_VRF = "-"  # of packets that belong to no VRF
_PORT = "virtual-machine-interface "


class PortName(NamedTuple):
    """A port: its name, its workload's as far as it was told, its network and its tags."""

    name: str = ""
    workload: str = ""
    network: str = ""
    tags: tuple[int, ...] = ()


class Way(NamedTuple):
    """Where a VRF's route to an address leads: its prefix, and the other host's tunnel address (""
    on this host).
    """

    prefix: str = ""
    host: str = ""


class Naming:
    """Names for the numbers of one host, as they are now; of `ports`, if not those of now."""

    def __init__(self, host: AgentHost, ports: Iterable[PortState] | None = None) -> None:
        self._rows = host.tables.rows
        actual = host.reconciler.actual["interfaces"]
        values = {key[0]: InterfaceValues(*row) for key, row in actual.items()}
        self.interface_by_vif = {row.vif: row for row in values.values()}
        self.vif_by_ifindex = {ifindex: row.vif for ifindex, row in values.items()}
        self._vrfs = _by_number(host.ids.numbers("vrf"))
        self._networks = _by_number(host.ids.numbers("network"))
        self._lists = _by_number(host.ids.numbers("list"))
        self._tag_sets = {
            number: tuple(int(tag) for tag in name.split(","))
            for name, number in host.ids.numbers("tags").items()
        }
        self._tag_names = tag_names_of(host.core.graph)
        vifs = host.ids.numbers("vif")
        self._ports = {FABRIC_VIF: PortName(FABRIC)}
        self._workloads: dict[str, str] = {}
        for port in host.core.ports() if ports is None else ports:
            workload = str(port.plug.posted.get("display-name") or "")
            name = port.config.name if port.config else port.plug.device
            network = port.config.network if port.config else ""
            self._workloads[name] = workload
            if port.plug.uuid in vifs:
                tags = port.config.tags if port.config else ()
                self._ports[vifs[port.plug.uuid]] = PortName(name, workload, network, tags)

    def port(self, vif: int) -> PortName:
        """The port of a number; one that is gone is called `#N`."""
        return self._ports.get(vif) or PortName(f"#{vif}")

    def vrf(self, number: int) -> str:
        """A VRF's name; 0 is none."""
        return self._vrfs.get(number, f"#{number}") if number else UNDERLAY_VRF

    def network(self, number: int) -> str:
        """A network's name; 0 is none."""
        return self._networks.get(number, f"#{number}") if number else ""

    def far_end(self, vrf: int, address: int, version: int) -> PortName:
        """Who has an address, as the VRF's routes tell it: the port is named where one made the
        route, and the workload where it is on this host.
        """
        _, row = self._find_route(vrf, address, version)
        if row is None:
            return PortName()
        made_by = row.origin.object
        name = made_by.removeprefix(_PORT) if made_by.startswith(_PORT) else ""
        route = RouteValues(*row.values)
        tags = self._tag_sets.get(route.tags, ())
        return PortName(name, self._workloads.get(name, ""), self.network(route.network), tags)

    def far_class(self, far: FarEnd) -> PortName:
        """Who the far ends of a fat flow may be: those of a network, with its tags."""
        return PortName("", "", self.network(far.network), self._tag_sets.get(far.tags, ()))

    def tag(self, number: int) -> str:
        """A tag's name (`tier=web`); of one that no port here has, its number as TF writes it."""
        return tag_name(number, self._tag_names)

    def way_to(self, vrf: int, address: int, version: int) -> Way:
        """Which way packets to an address go; nowhere when there is no route."""
        (length, _, base), row = self._find_route(vrf, address, version)
        if row is None:
            return Way()
        hop = self._rows["next_hops"].get((RouteValues(*row.values).next_hop,))
        remote = NextHopValues(*hop.values).remote if hop is not None else 0
        prefix = str(Prefix(base, length - VRF_BITS, version))
        return Way(prefix, format_ipv4(remote) if remote else "")

    def _find_route(self, vrf: int, address: int, version: int) -> tuple[Key, Row | None]:
        table = self._rows[ROUTES_BY_VERSION[version]]
        for length in range(bits_of(version), -1, -1):
            key = VRF_BITS + length, vrf, address & mask_of(length, version)
            row = table.get(key)
            if row is not None:
                return key, row
        return (0, 0, 0), None

    def rules(self, flow: Mapping[str, int]) -> list[Json]:
        """The rules a flow's verdict comes from, the one that decided last; none without policy."""
        return [self._rule(number, rule) for number, rule in deciding_rules(flow)]

    def _rule(self, number: int, rule: int) -> Json:
        table, key = ("lists", (number,)) if rule == RULE_NONE else ("rules", (number, rule))
        row = self._rows[table].get(key)
        origin = row.origin if row is not None else NOWHERE
        return {
            # A list is numbered by name and content: the name alone is for people.
            "list": self._lists.get(number, f"#{number}").rpartition(" ")[0],
            "position": None if rule == RULE_NONE else rule + 1,
            **_origin(origin),
        }


def deciding_rules(flow: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Which rules (list, index; RULE_NONE when none matched) made a flow's verdict, in order."""
    if flow["acl"]:
        yield flow["acl"], flow["rule"]
    if flow["security"] and flow["action"] != ACL_DENY:
        yield flow["security"], flow["security_rule"]
    if flow["firewall"] and flow["action"] in (ACL_PASS, FIREWALL_DENY):
        yield flow["firewall"], flow["firewall_rule"]


def tag_name(number: int, names: Mapping[int, str]) -> str:
    """Name a tag; one that has no name here by its number, as TF writes it."""
    return names.get(number) or f"0x{number:08x}"


def tag_names_of(graph: Graph | None) -> dict[int, str]:
    """Return the names of the tags that a configuration speaks of (`tier=web`), by number."""
    names = {}
    for node in graph.of_kind("tag") if graph is not None else ():
        with suppress(KeyError, ValueError):
            names[int(str(node.props["tag_id"]), 16)] = node.name.rpartition(":")[2]
    return names


def _by_number(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: name for name, number in numbers.items()}


def _origin(origin: Origin) -> Json:
    return {"object": origin.object, "rule": origin.rule, "revision": origin.revision}
