"""Cases of the bpf oracle: tables and a sequence of packets, with changes between them.

All of a case follows from its seed. What the programs and the model did is told by `Tally`: what
never happens there is not tested.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import NamedTuple, Self

import msgspec

from filament.base.net import ROUTER_MAC, Address
from filament.forward.flows import Flow, FlowKey
from filament.forward.ids import Ids, IdsState
from filament.forward.inputs import Filter, FilterMatch, FilterRule, Inputs
from filament.forward.layout import (
    FLOW_BOTH_DENIED,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_ICMP_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_TCP_S,
    FLOW_INBOUND,
    FLOW_PASSED,
    FRAGMENT_IDLE_S,
    INTERFACE_CHECK_SOURCE,
    INTERFACE_POLICY,
    TABLES,
    DropReason,
    NextHopType,
    Verdict,
)
from filament.forward.lists import Memo
from filament.forward.plan import plan
from filament.forward.rows import InterfaceValues, NextHopValues, RouteValues
from filament.forward.tables import ROUTES_BY_VERSION, Change, Key, Tables
from filament.wire.packet.frames import ipv4_frame, ipv6_frame
from filament.wire.packet.ipv4 import ICMP, TCP, UDP
from filament.wire.packet.ipv6 import ICMPV6

from . import universe
from .talk import Ends, error_about, packet_in, pieces
from .twin import FAR, MOST_FLOWS, NEAR, SILENT, Twin

Tally = Counter[str]

IDLE_S = (
    FRAGMENT_IDLE_S,
    FLOW_IDLE_TCP_CLOSED_S,
    FLOW_IDLE_DENIED_S,
    FLOW_IDLE_TCP_OPENING_S,
    FLOW_IDLE_ICMP_S,
    FLOW_IDLE_S,
    FLOW_IDLE_TCP_S,
)
_ACTIONS = ("denied by policy", "passes", "denied by security groups", "denied by firewall")
_NO_LIST = 9_999  # a number without rows: denies everything
_LISTS = ("acl", "egress", "ingress", "firewall_egress", "firewall_ingress")
# Where the ranges of rules begin and end, and beside.
_SCANNED = [0, 1, 49, 50, 52, 53, 54, 79, 80, 81, 98, 99, 100, 39999, 40000, 60000, 60001, 65535]
# Not any number can be in their keys.
_KEYS_STAY = {"host", *(table.name for table in TABLES if table.map_type == "LPM_TRIE")}
_TRIES = 3
# Plans take most of the time: so many cases begin with the same tables.
CASES_OF_WORLD = 4


def _some_range(random: Random) -> tuple[int, int]:
    low, high = sorted(random.choices(_SCANNED, k=2))
    return low, high


def _some_port(random: Random) -> tuple[int, int]:
    port = random.choice(universe.PORTS)
    return port, port


def _any_port(_: Random) -> tuple[int, int]:
    return 0, 65535


def _crowded(random: Random, name: str) -> Filter:
    """A filter of many rules of few shapes, by ranges of ports: several match a packet."""
    nobody, red = FilterMatch(), FilterMatch(network=universe.RED)
    inside = FilterMatch(prefix=universe.parse_prefix("10.1.0.0/16"))
    kinds = [
        FilterRule(
            random.choice((nobody, nobody, red, inside)),
            random.choice((nobody, nobody, red, inside)),
            random.choice((None, TCP, TCP, UDP)),
            passes=True,
            both_ways=random.random() < 0.2,
        )
        for _ in range(2)
    ]
    ports = random.choice(([_some_range], [_some_range, _some_port, _any_port]))
    rules = []
    for _ in range(random.randint(5, 12)):
        kind = random.choice(kinds)
        to = msgspec.structs.replace(kind.destination, ports=random.choice(ports)(random))
        protocol = random.choice((TCP, UDP)) if kind.protocol is not None else None
        passes = random.random() < 0.6
        one = msgspec.structs.replace(kind, destination=to, protocol=protocol, passes=passes)
        rules.append(one)
        if random.random() < 0.15:
            rules.append(universe.rules().make(random))
    return Filter(name, tuple(rules))


def _pings(random: Random) -> Filter:
    """Who may ask with ICMP is not who may answer."""
    nobody = FilterMatch()
    rules = [
        FilterRule(nobody, nobody, protocol, passes=True, both_ways=False, icmp=(kind, code))
        for protocol, kinds in ((ICMP, (8, 0, 13)), (ICMPV6, (128, 129)))
        for kind in kinds
        for code in (None, 0)
        if random.random() < 0.4
    ]
    return Filter("pings", tuple(rules))


class World(NamedTuple):
    """Tables to begin with, and what a later plan has to know of how they were made."""

    inputs: Inputs
    tables: Tables
    ids: IdsState
    memo: Memo | None

    @classmethod
    def of(cls, number: int, ports: tuple[int, ...]) -> Self:
        """Return the one of a number, for ports by their ifindexes."""
        random = Random(f"world {number}")
        ids, memo = Ids(), Memo() if random.random() < 0.5 else None
        for uuid in universe.UUIDS:
            ids.get("label", uuid)
        inputs = universe.inputs(list(ports), ids.numbers("label")).make(random)
        filters = inputs.filters
        if random.random() < 0.4:
            filters = tuple(_crowded(random, one.name) for one in filters)
        inputs = msgspec.structs.replace(inputs, filters=(*filters, _pings(random)))
        tables = plan(inputs, ids, memo=memo)
        return cls(inputs, tables, ids.export(), memo)


def _copied(memo: Memo) -> Memo:
    made = copy.copy(memo)
    for name, value in vars(memo).items():
        if isinstance(value, dict):
            setattr(made, name, value.copy())
    return made


_world = functools.lru_cache(1)(World.of)


class Sequence:
    """One case, on its way."""

    def __init__(self, pair: Twin, world: World, random: Random, tally: Tally) -> None:
        self.pair = pair
        self.random = random
        self.tally = tally
        self.rows = pair.model.rows.by_table
        self.inputs = world.inputs
        self.ids = Ids(world.ids)
        self.memo = _copied(world.memo) if world.memo is not None else None
        self.former = [world.tables]

    def run(self) -> None:
        self.pair.reset()
        self.pair.write(self.former[0])
        if self.random.random() < 0.6:
            self._open()
        for _ in range(self.random.choice((0, 1, 1, 2, 2, 3))):
            self._send()
            self._change()
        self._send()
        self.pair.take_state()

    def _any_inputs(self) -> Inputs:
        labels = self.ids.numbers("label")
        return universe.inputs(self.pair.ports, labels).make(self.random)

    def _plan(self) -> None:
        tables = plan(self.inputs, self.ids, memo=self.memo)
        self.former.append(tables)
        self.pair.write(tables)

    # --- changes ---

    def _change(self) -> None:
        """Change something between packets."""
        change = self.random.choice(_CHANGES)
        self.tally[f"change: {change.__name__.removeprefix('_')}"] += 1
        change(self)

    def _new_world(self) -> None:
        self.inputs = self._any_inputs()
        self._plan()

    def _other_intent(self) -> None:
        """Some of what was asked for is something else, the rest as it was."""
        draw = {
            "filters": lambda: (
                universe.filters("acl").make(self.random),
                _crowded(self.random, "other"),
                _pings(self.random),
            ),
            "security_groups": lambda: universe.security_groups().make(self.random),
            "policy_sets": lambda: universe.policy_sets().make(self.random),
            "ports": lambda: universe.ports(self.pair.ports).make(self.random),
            "routes": lambda: self._any_inputs().routes,
        }
        names = self.random.sample(list(draw), self.random.choice((1, 1, 2)))
        self.inputs = msgspec.structs.replace(
            self.inputs, revision=self.inputs.revision + 1, **{name: draw[name]() for name in names}
        )
        self._plan()

    def _former_tables(self) -> None:
        """All is again as it was before some changes, also the generation."""
        self.pair.write(self.random.choice(self.former))

    def _generation(self) -> None:
        host = self.rows["host"].get((0,))
        if host is not None:
            address, generation, revision = host.values
            # None: as before the host is programmed.
            generation = generation + 1 if self.random.random() < 0.9 else 0
            self._write(Change("host", (0,), (address, generation, revision)))

    def _port(self) -> None:
        """A port gets other lists, or none, or other flags: so it denies, and lets pass again."""
        if not self.rows["interfaces"]:
            return
        key = self.random.choice(sorted(self.rows["interfaces"]))
        how = self.random.random()
        if how < 0.7:
            self._other_lists(key)
            return
        port = InterfaceValues(*self.rows["interfaces"][key].values)
        if how < 0.8:
            port = port._replace(flow_limit=self.random.choice((0, 1, 2, 3, 4)))
        else:
            flag = self.random.choice((INTERFACE_POLICY, INTERFACE_CHECK_SOURCE))
            port = port._replace(flags=port.flags ^ flag)
        self._write(Change("interfaces", key, tuple(port)))

    def _other_lists(self, key: Key) -> None:
        port = InterfaceValues(*self.rows["interfaces"][key].values)
        lists = [0, 0, _NO_LIST, *(number for (number,) in self.rows["lists"])]
        names = self.random.sample(_LISTS, self.random.choice((1, 1, 2)))
        port = port._replace(**{name: self.random.choice(lists) for name in names})
        self._write(Change("interfaces", key, tuple(port)))

    def _judge_again(self, index: int) -> None:
        """Verdicts do not hold any more: the same rules, or other lists of a port."""
        key = (self.pair.ports[index],)
        if self.random.random() < 0.5 or key not in self.rows["interfaces"]:
            self._generation()
        else:
            self._other_lists(key)

    def _half_list(self) -> None:
        """Some of a list's rows are missing, while a port is judged by it."""
        table = self.random.choice(("shapes", "shapes", "shapes", "buckets", "ranges"))
        if self.rows[table] and self.rows["interfaces"]:
            key = self.random.choice(sorted(self.rows[table]))
            self._write(Change(table, key, None))
            self._only_list(self.random.choice(sorted(self.rows["interfaces"])), key[0])
            self._generation()

    def _only_list(self, key: Key, number: int) -> None:
        port = InterfaceValues(*self.rows["interfaces"][key].values)
        none = dict.fromkeys(_LISTS, 0)
        name = self.random.choice(("acl", "acl", "egress", "firewall_ingress"))
        self._write(Change("interfaces", key, tuple(port._replace(**none | {name: number}))))

    def _open(self) -> None:
        """Ports without any list: they let everything pass."""
        for key in sorted(self.rows["interfaces"]):
            if self.random.random() < 0.8:
                port = InterfaceValues(*self.rows["interfaces"][key].values)
                none = port._replace(**dict.fromkeys(_LISTS, 0))
                self._write(Change("interfaces", key, tuple(none)))

    def _route(self) -> None:
        """A route leads elsewhere, or is another network's, or its members change."""
        how = self.random.random()
        table = self.random.choice(("routes", "routes6"))
        if how < 0.6:
            if self.rows[table]:
                key = self.random.choice(sorted(self.rows[table]))
                route = RouteValues(*self.rows[table][key].values)
                if self.random.random() < 0.7:
                    hops = [0, *(number for (number,) in self.rows["next_hops"])]
                    route = route._replace(next_hop=self.random.choice(hops))
                else:
                    name = self.random.choice(("network", "groups", "tags"))
                    route = route._replace(**{name: self.random.choice((0, 1, 2, 3))})
                self._write(Change(table, key, tuple(route)))
            return
        composites = [
            (key, NextHopValues(*row.values))
            for key, row in sorted(self.rows["next_hops"].items())
            if row.values[0] == NextHopType.COMPOSITE
        ]
        if not composites:
            return
        key, composite = self.random.choice(composites)
        if how < 0.8:
            members = max(0, composite.members + self.random.choice((-1, 1)))
            local = max(0, composite.local_members + self.random.choice((-1, 0, 1)))
            composite = composite._replace(members=members, local_members=min(local, members))
            self._write(Change("next_hops", key, tuple(composite)))
        else:
            places = [place for place in sorted(self.rows["places"]) if place[0] == key[0]]
            if places:
                self._write(Change("places", self.random.choice(places), None))

    def _broken_rows(self) -> None:
        """Rows that point at nothing, or at something odd, as no plan has them."""
        tables = [name for name, rows in sorted(self.rows.items()) if rows and name != "rules"]
        for _ in range(self.random.randint(1, 4)):
            name = self.random.choice(tables)
            if not self.rows[name]:
                continue
            key = self.random.choice(sorted(self.rows[name]))
            values = list(self.rows[name][key].values)
            how = self.random.random()
            if how < 0.2 and name not in _KEYS_STAY:
                place = self.random.randrange(len(key))
                odd = self.random.choice((0, 1, 2, 3, 4, 7, 53, 80))
                self._write(Change(name, (*key[:place], odd, *key[place + 1 :]), tuple(values)))
            elif how < 0.6:
                values[self.random.randrange(len(values))] = self.random.choice((0, 1, 2, 3, 4, 7))
                self._write(Change(name, key, tuple(values)))
            else:
                self._write(Change(name, key, None))
        if self.random.random() < 0.5:
            self._generation()

    def _time(self) -> None:
        """As long as something may be idle, or a second more or less, since it was last seen; or no
        time, but the kernel's clock is behind.
        """
        seconds = self.random.choice(IDLE_S) + self.random.choice((-1, 0, 1))
        self.pair.pass_time(seconds if self.random.random() < 0.9 else 0)

    def _sweep(self) -> None:
        """The agent takes out flows."""
        flows = [key for key in sorted(self.pair.model.flows()) if key.vif < MOST_FLOWS]
        for key in self.random.sample(flows, min(len(flows), self.random.choice((1, 2)))):
            self.pair.sweep(key)

    def _fill(self) -> None:
        """Others leave little room in the flow table."""
        self.pair.fill(self.random.choice((0, 0, 1, 2)))

    def _write(self, change: Change) -> None:
        self.pair.write_rows([change])

    # --- packets ---

    def _send(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.random.choice(_ACTS)(self)

    def _from_port(self, index: int, frame: bytes) -> None:
        self.pair.from_port(self.pair.ports[index], frame)
        self._note("from port")

    def _from_fabric(self, frame: bytes) -> None:
        self.pair.from_fabric(frame)
        self._note("from fabric")

    def _note(self, program: str) -> None:
        result = self.pair.result
        what = result.reason.name if result.verdict == Verdict.SHOT else result.verdict.name
        self.tally[f"{program}: {what}"] += 1
        self.tally.update(_met(result.trail))

    def _any_from_port(self) -> None:
        index = self._any_port()
        self._from_port(index, universe.port_frames(index).make(self.random))

    def _ask_gateway(self) -> None:
        index = self._any_port()
        for _ in range(self.random.randint(1, 3)):
            self._from_port(index, universe.link_frames(index).make(self.random))

    def _any_from_fabric(self) -> None:
        frames = universe.fabric_frames(self.ids.numbers("label"))
        self._from_fabric(frames.make(self.random))

    def _any_port(self) -> int:
        """The number of a port, mostly of one there is."""
        index = self.random.randint(0, 3)
        if (self.pair.ports[index],) not in self.rows["interfaces"] and self.random.random() < 0.9:
            index = 0
        return index

    def _any_connection(self) -> tuple[int, Ends]:
        """A port's number, and a connection that it may have with somebody there is."""
        index = self._any_port()
        if self.random.random() < 0.5:
            own, others = universe.OWN_BY_PORT[index], universe.REACHABLE
            version, icmp = 4, ICMP
        else:
            own, others = universe.OWN6_BY_PORT[index][:2], universe.REACHABLE6
            version, icmp = 6, ICMPV6
        remote = self.random.choice(others)
        protocol = self.random.choice((TCP, TCP, TCP, UDP, UDP, icmp))
        local_port = self.random.choice(universe.PORTS)
        remote_port = self.random.choice(universe.PORTS)
        if protocol == icmp:
            remote_port = self.random.choice((0, 0, 0, 13))
            local_port = 0 if remote_port else local_port
        local = Address(self.random.choice(own), version)
        return index, Ends(local, Address(remote, version), protocol, local_port, remote_port)

    def _known_connection(self) -> tuple[int, Ends] | None:
        """The same of a flow there is."""
        index_by_vif = {
            row.values[0]: self.pair.ports.index(key[0])
            for key, row in self.rows["interfaces"].items()
            if key[0] in self.pair.ports
        }
        flows = [key for key in sorted(self.pair.model.flows()) if key.vif in index_by_vif]
        if not flows:
            return None
        if self.random.random() < 0.6:  # of those that ever passed
            model = self.pair.model._policy.flows
            flows = [key for key in flows if model[key].flags & FLOW_PASSED] or flows
        key = self.random.choice(flows)
        index = index_by_vif[key.vif]
        local, remote, ports = universe.narrow_ends(key, index).make(self.random)
        return index, Ends(local, remote, key.protocol, *ports)

    def _connection(self) -> tuple[int, Ends]:
        """Mostly one that there is."""
        known = self._known_connection() if self.random.random() < 0.75 else None
        return known or self._any_connection()

    def _talk(self) -> None:
        """Some packets of one connection, from either end."""
        index, ends = self._connection()
        is_from_port = self.random.random() < 0.5
        for _ in range(self.random.choice((1, 2, 2, 3, 5))):
            packet = packet_in(self.random, ends, is_from_port=is_from_port)
            self._carry(index, ends, packet, is_from_port=is_from_port)
            if self.random.random() < 0.6:
                is_from_port = not is_from_port
            if self.random.random() < 0.25:
                self._judge_again(index)

    def _fragments(self) -> None:
        index, ends = self._connection()
        is_from_port = self.random.random() < 0.5
        for packet in pieces(self.random, ends, is_from_port=is_from_port):
            self._carry(index, ends, packet, is_from_port=is_from_port)
            if self.random.random() < 0.15:
                self.pair.pass_time(self.random.choice((1, 2, 3)))
            if self.random.random() < 0.15:
                self._judge_again(index)

    def _error(self) -> None:
        index, ends = self._connection()
        is_from_port = self.random.random() < 0.5
        if self.random.random() < 0.15:
            self._time()
        to = ends
        if self.random.random() < 0.2:  # not to whom it is about
            own, others = universe.OWN_BY_PORT[index], universe.REACHABLE
            if ends.local.version == 6:
                own, others = universe.OWN6_BY_PORT[index], universe.REACHABLE6
            version = ends.local.version
            if is_from_port:
                to = ends._replace(remote=Address(self.random.choice(others), version))
            else:
                to = ends._replace(local=Address(self.random.choice(own), version))
        packet = error_about(self.random, ends, to, is_from_port=is_from_port)
        self._carry(index, to, packet, is_from_port=is_from_port)

    def _scan(self) -> None:
        """Many connections, one after the other."""
        index, ends = self._any_connection()
        is_from_port = self.random.random() < 0.5
        for port in self.random.sample(_SCANNED, self.random.randint(2, 6)):
            if ends.protocol in (TCP, UDP):
                scanned = ends._replace(remote_port=port)
                if self.random.random() < 0.5:
                    scanned = ends._replace(local_port=port)
            else:
                scanned = ends._replace(local_port=port)
            packet = packet_in(self.random, scanned, is_from_port=is_from_port)
            self._carry(index, scanned, packet, is_from_port=is_from_port)

    def _ask_ranges(self) -> None:
        """Connections to where ranges of a list's ports begin and end."""
        if not self.rows["ranges"]:
            return
        number, _ = self.random.choice(sorted(self.rows["ranges"]))
        index, ends = self._any_connection()
        key = (self.pair.ports[index],)
        if ends.protocol not in (TCP, UDP) or key not in self.rows["interfaces"]:
            return
        self._only_list(key, number)
        found = [row.values[:2] for (one, _), row in self.rows["ranges"].items() if one == number]
        edges = sorted({edge for low, high in found for edge in (low, high)})
        is_from_port = self.random.random() < 0.7
        for edge in self.random.sample(edges, min(len(edges), 8)):
            port = min(65535, max(0, edge + self.random.choice((0, 0, 0, -1, 1))))
            asked = ends._replace(**{"remote_port" if is_from_port else "local_port": port})
            packet = packet_in(self.random, asked, is_from_port=is_from_port)
            self._carry(index, asked, packet, is_from_port=is_from_port)

    def _shared(self) -> None:
        """What another host sends to an address that several ports here have."""
        names = [name for name in self.ids.numbers("label") if name.startswith("shared ")]
        if not names:
            return
        name = self.random.choice(sorted(names))
        prefix = universe.parse_prefix(name.rpartition(" ")[2])
        index, ends = self._connection()
        if ends.local.version != prefix.version:
            return
        ends = ends._replace(local=Address(prefix.address, prefix.version))
        for _ in range(self.random.choice((2, 3, 4))):
            packets = [packet_in(self.random, ends, is_from_port=False)]
            if self.random.random() < 0.3:
                packets = list(pieces(self.random, ends, is_from_port=False))
            for packet in packets:
                label = self.ids.numbers("label")[name]
                source = self.random.choice((NEAR, FAR))
                frame = universe.tunnelled(packet, label=label, vni=0, source=source)
                self._from_fabric(self._perhaps_mangled(frame))
            if self.random.random() < 0.4:
                self._judge_again(index)

    def _detour(self) -> None:
        """One connection's packets from the port, while the route to its far end changes."""
        index, ends = self._connection()
        for _ in range(self.random.choice((2, 3, 4))):
            packet = packet_in(self.random, ends, is_from_port=True)
            self._carry(index, ends, packet, is_from_port=True)
            port = self.rows["interfaces"].get((self.pair.ports[index],))
            if port is None:
                return
            vrf = InterfaceValues(*port.values).vrf
            version = ends.remote.version
            found = self.pair.model.rows.find_route(vrf, ends.remote.value, version)
            if found is not None:
                hops = [number for (number,) in self.rows["next_hops"]] or [0]
                route = RouteValues(*found.row.values)._replace(next_hop=self.random.choice(hops))
                self._write(Change(ROUTES_BY_VERSION[version], found.key, tuple(route)))

    def _carry(self, index: int, ends: Ends, packet: bytes, *, is_from_port: bool) -> None:
        """Bring a packet to the port's device, or to the port from wherever it may come."""
        make = ipv4_frame if ends.local.version == 4 else ipv6_frame
        if is_from_port:
            mac = universe.MACS[index]
            if self.random.random() < 0.1:
                mac = self.random.choice((universe.OTHER_MAC, universe.STRANGER_MAC))
            frame = make(mac, ROUTER_MAC, packet)
            self._from_port(index, self._perhaps_mangled(frame))
            return
        own = universe.OWN_BY_PORT if ends.local.version == 4 else universe.OWN6_BY_PORT
        senders = [other for other in range(4) if ends.remote.value in own[other]]
        if senders and self.random.random() < 0.7:
            frame = make(universe.MACS[senders[0]], ROUTER_MAC, packet)
            self._from_port(senders[0], self._perhaps_mangled(frame))
            return
        by_vxlan = self.random.random() < 0.3
        labels = self.ids.numbers("label")
        label = labels.get(universe.UUIDS[index], 16)
        if self.random.random() < 0.15:
            label = self.random.choice(list(labels.values()))
        vni = universe.BLUE_VNI if index == 2 else universe.RED_VNI
        frame = universe.tunnelled(
            packet,
            label=None if by_vxlan else label,
            vni=vni,
            source=self.random.choice((NEAR, NEAR, FAR, SILENT)),
            tos=self.random.choice((0, 0, 1, 2, 3)),
        )
        self._from_fabric(self._perhaps_mangled(frame))

    def _perhaps_mangled(self, frame: bytes) -> bytes:
        how = self.random.random()
        if how < 0.03:
            return universe.mangled(frame).make(self.random)
        if how < 0.05:  # a length, a version or a port that is one off
            at = self.random.randrange(12, min(len(frame), 110))
            off = (frame[at] + self.random.choice((-1, 1))) % 256
            return universe.accepted(frame[:at] + bytes([off]) + frame[at + 1 :])
        return universe.accepted(frame)


def _met(trail: Iterable) -> Iterator[str]:
    """In words, the states of flows that a packet met or left behind."""
    for step in trail:
        if step.table == "flows" and step.row is not None:
            flow = Flow(*step.row.values)
            states = [_ACTIONS[flow.action & 3]]
            states += [
                word
                for flag, word in (
                    (FLOW_INBOUND, "inbound"),
                    (FLOW_PASSED, "passed"),
                    (FLOW_BOTH_DENIED, "both denied"),
                )
                if flow.flags & flag
            ]
            yield f"{step.stage}: {', '.join(states)}"
            key = FlowKey(*step.key)
            yield f"flow of protocol {key.protocol}{', fat' if key.fat else ''}"
            if flow.is_closed:
                yield f"{step.stage}: of closed TCP"
            if flow.member:
                yield f"{step.stage}: with a member"


def _weighted(*weights: tuple[Callable[[Sequence], None], int]) -> list[Callable[[Sequence], None]]:
    return [one for one, weight in weights for _ in range(weight)]


_CHANGES = _weighted(
    (Sequence._new_world, 1),
    (Sequence._other_intent, 5),
    (Sequence._former_tables, 4),
    (Sequence._generation, 6),
    (Sequence._port, 12),
    (Sequence._open, 5),
    (Sequence._route, 6),
    (Sequence._broken_rows, 5),
    (Sequence._half_list, 4),
    (Sequence._time, 12),
    (Sequence._sweep, 3),
    (Sequence._fill, 1),
)
_ACTS = _weighted(
    (Sequence._any_from_port, 6),
    (Sequence._ask_gateway, 4),
    (Sequence._any_from_fabric, 6),
    (Sequence._talk, 14),
    (Sequence._fragments, 2),
    (Sequence._error, 3),
    (Sequence._scan, 2),
    (Sequence._ask_ranges, 3),
    (Sequence._shared, 1),
    (Sequence._detour, 3),
)


def run_case(pair: Twin, seed: int, tally: Tally) -> None:
    """Run a seed's case. Raises AssertionError that names the seed where the two do not agree."""
    for left in reversed(range(_TRIES)):
        try:
            world = _world(seed // CASES_OF_WORLD, tuple(pair.ports))
            Sequence(pair, world, Random(seed), tally).run()
        except AssertionError as found:
            # The machine stood still so long that the kernel's flows are older than the model's.
            if pair.is_late and left:
                continue
            raise AssertionError(f"FILAMENT_SEED={seed}\n{found}") from found
        except Exception as problem:
            problem.add_note(f"FILAMENT_SEED={seed}")
            raise
        else:
            return


def told(tally: Tally) -> str:
    """What happened how often, and which reasons to drop a packet never came up."""
    lines = [f"{count:10}  {what}" for what, count in sorted(tally.items())]
    dropped = {what.rpartition(": ")[2] for what in tally}
    never = [one.name for one in DropReason if one and one.name not in dropped]
    return "\n".join([*lines, f"never dropped for: {', '.join(never) or '-'}"])
