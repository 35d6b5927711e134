"""Random configurations of policy, and what to send through them, all from a seed.

A world has the same networks and ports all its life; what may talk changes from round to round, by
requests that a simulated and a real API take alike. Networks of the world are small and many things
are said about them, so that rules meet: most are about few networks, prefixes and ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from random import Random
from typing import Any, NamedTuple

from filament.testing.intended import ICMP, ICMPV6, SCTP, TCP, UDP, Flow

Json = dict[str, Any]
DOMAIN = "default-domain"
PROJECTS = ("demo", "other")
NETWORKS = {
    f"{DOMAIN}:demo:red": 1,
    f"{DOMAIN}:demo:blue": 2,
    f"{DOMAIN}:demo:green": 3,
    f"{DOMAIN}:other:red": 4,
}
HOSTS = ("host1", "host2")
PORT = "virtual-machine-interface"
SERVICES = (22, 80, 81, 443)
CLIENTS = (1022, 1080)
ANY_PORTS = {"start_port": -1, "end_port": -1}
# Protocols without ports, one for each of a few rounds: their packets between two addresses are one
# flow, which would be a thing of the past in the next round.
PORTLESS = (47, 50, 89, 103)
PROTOCOLS = ("any", "any", "any", "tcp", "udp", "icmp", "6", "sctp", "icmp6")


class Place(NamedTuple):
    """A port: its object's fq name, machine, network, host and addresses."""

    machine: str
    network: str
    host: str
    addresses: tuple[str, str]

    @property
    def port(self) -> str:
        return f"{DOMAIN}:demo:{self.machine}-port"


class Request(NamedTuple):
    """A write: `verb` is create, update or delete."""

    verb: str
    kind: str
    fq_name: list[str]
    fields: Json


class Probe(NamedTuple):
    """A connection that is tried."""

    source: Place
    destination: Place
    flow: Flow


def places() -> list[Place]:
    """One port of every network on every host."""
    return [
        Place(
            f"{'far-' if ':other:' in network else ''}{network.rpartition(':')[2]}-{index}",
            network,
            host,
            (f"10.1.{number}.{index + 2}", f"fd00:0:0:{number}::{index + 2:x}"),
        )
        for index, host in enumerate(HOSTS, start=1)
        for network, number in NETWORKS.items()
    ]


def subnets(number: int) -> list[Json]:
    """The two subnets of a network."""
    return [
        {
            "subnet": {"ip_prefix": f"10.1.{number}.0", "ip_prefix_len": 24},
            "default_gateway": f"10.1.{number}.1",
            "addr_from_start": True,
        },
        {
            "subnet": {"ip_prefix": f"fd00:0:0:{number}::", "ip_prefix_len": 64},
            "default_gateway": f"fd00:0:0:{number}::1",
            "addr_from_start": True,
        },
    ]


class Round:
    """One state of a world's policy: objects named after its number, and who uses them."""

    def __init__(self, random: Random, number: int) -> None:
        self._random = random
        self.number = number
        self._groups = [f"{DOMAIN}:demo:group{number}-{n}" for n in range(random.randint(0, 4))]
        self._policies = [f"{DOMAIN}:demo:policy{number}-{n}" for n in range(random.randint(1, 6))]
        self.creates = [
            *(self._create("security-group", name, self._group_rule) for name in self._groups),
            *(self._create("network-policy", name, self._policy_rule) for name in self._policies),
        ]
        self.updates = [*map(self._attachments, NETWORKS), *map(self._memberships, places())]
        self.deletes = [
            Request("delete", one.kind, one.fq_name, {}) for one in reversed(self.creates)
        ]

    def _create(self, kind: str, name: str, rule: Any) -> Request:
        rules: list[Json] = []
        for _ in range(self._random.randint(0 if kind == "security-group" else 1, 4)):
            made = rule()
            if made not in rules:  # a group refuses a rule that it has
                rules.append(made)
        for number, made in enumerate(rules):
            made["rule_uuid"] = f"{name.rpartition(':')[2]}-rule{number}"
        field = f"{kind.replace('-', '_')}_entries"
        fields = {"parent_type": "project", field: {"policy_rule": rules}}
        return Request("create", kind, name.split(":"), fields)

    # rules -------------------------------------------------------------------------------

    def _policy_rule(self) -> Json:
        random = self._random
        one, other = random.sample(sorted(NETWORKS), 2)
        sides = [self._address(one), self._address(other)]
        if random.random() < 0.08:
            sides = [self._bare(), self._bare()]
        protocol = random.choice((*PROTOCOLS, str(random.choice(PORTLESS))))
        return {
            "direction": random.choice(("<>", "<>", ">")),
            "protocol": protocol,
            "src_addresses": [sides[0]] + ([self._address(one)] if random.random() < 0.1 else []),
            "src_ports": self._source_ports(protocol),
            "dst_addresses": [sides[1]],
            "dst_ports": self._destination_ports(protocol),
            "action_list": {
                "simple_action": random.choice(("pass", "pass", "pass", "deny")),
                "log": random.random() < 0.1,
            },
        }

    def _address(self, network: str) -> Json:
        random = self._random
        chance = random.random()
        if chance < 0.12:
            return {"virtual_network": "any"}
        if chance < 0.25:
            return {"virtual_network": "local"}
        if chance < 0.33 and self._policies:
            return {"network_policy": random.choice(self._policies)}
        if chance < 0.45:
            return {"virtual_network": network, **self._prefixes(NETWORKS[network])}
        return {"virtual_network": network}

    def _bare(self) -> Json:
        return self._prefixes(self._random.choice(list(NETWORKS.values())))

    def _prefixes(self, number: int) -> Json:
        random = self._random
        choices = [
            (f"10.1.{number}.0", 24),
            (f"10.1.{number}.2", 31),
            (f"10.1.{number}.4", 32),
            ("10.1.0.0", 16),
            (f"fd00:0:0:{number}::", 64),
            (f"fd00:0:0:{number}::3", 128),
            ("0.0.0.0", 0),
            ("::", 0),
        ]
        picked = random.sample(choices, random.randint(1, 2))
        made = [{"ip_prefix": base, "ip_prefix_len": length} for base, length in picked]
        return {"subnet": made[0]} if len(made) == 1 else {"subnet_list": made}

    def _source_ports(self, protocol: str) -> list[Json]:
        if protocol.startswith("icmp") or self._random.random() < 0.85:
            return [ANY_PORTS]
        return [{"start_port": self._random.choice(CLIENTS), "end_port": 65535}]

    def _destination_ports(self, protocol: str) -> list[Json]:
        random = self._random
        if protocol.startswith("icmp"):
            request = 128 if protocol == "icmp6" else 8
            return random.choice(
                (
                    [ANY_PORTS],
                    [{"start_port": request, "end_port": request}],
                    [{"start_port": request, "end_port": 0}],
                    [{"start_port": request, "end_port": -1}],
                    [{"start_port": 3, "end_port": 1}],
                )
            )
        if random.random() < 0.5:
            return [ANY_PORTS]
        ranges = []
        for _ in range(random.randint(1, 2)):
            start = random.choice(SERVICES)
            end = random.choice([port for port in SERVICES if port >= start])
            ranges.append({"start_port": start, "end_port": end})
        return ranges

    def _group_rule(self) -> Json:
        random = self._random
        ethertype = random.choice((None, "IPv4", "IPv4", "IPv6"))
        protocol = random.choice(PROTOCOLS)
        if ethertype == "IPv6" and protocol == "icmp":
            ports = self._destination_ports("icmp6")
        else:
            ports = self._destination_ports(protocol)
        local, remote = {"security_group": "local"}, self._remote(ethertype)
        leaves = random.random() < 0.5
        rule = {
            "direction": ">",
            "protocol": protocol,
            "src_addresses": [local if leaves else remote],
            "src_ports": self._source_ports(protocol),
            "dst_addresses": [remote if leaves else local],
            "dst_ports": ports,
        }
        return rule if ethertype is None else {**rule, "ethertype": ethertype}

    def _remote(self, ethertype: str | None) -> Json:
        random = self._random
        chance = random.random()
        if chance < 0.05:
            return {"security_group": "local"}
        if chance < 0.35:
            return {"security_group": random.choice([*self._groups, "any"])}
        if chance < 0.7:
            everybody = "::" if ethertype == "IPv6" else "0.0.0.0"
            return {"subnet": {"ip_prefix": everybody, "ip_prefix_len": 0}}
        while True:
            prefixes = self._prefixes(random.choice(list(NETWORKS.values())))
            listed = prefixes.get("subnet_list") or [prefixes["subnet"]]
            versions = {ip_address(each["ip_prefix"]).version for each in listed}
            if ethertype is None or versions == {int(ethertype[-1])}:
                return prefixes

    # who uses them -----------------------------------------------------------------------

    def _attachments(self, network: str) -> Request:
        random = self._random
        refs = []
        for policy in self._policies:
            if random.random() < 0.9:
                sequence = {"major": random.randint(0, 2), "minor": random.randint(0, 1)}
                timer = {"timer": {"start_time": "now"}} if random.random() < 0.05 else {}
                refs.append({"to": policy.split(":"), "attr": {"sequence": sequence, **timer}})
        fields = {"network_policy_refs": refs}
        return Request("update", "virtual-network", network.split(":"), fields)

    def _memberships(self, place: Place) -> Request:
        random = self._random
        count = min(len(self._groups), random.choice((0, 0, 1, 1, 2)))
        groups = random.sample(self._groups, count)
        fields = {
            "security_group_refs": [{"to": group.split(":")} for group in groups],
            "port_security_enabled": random.random() > 0.1,
            "virtual_machine_interface_disable_policy": random.random() < 0.05,
        }
        return Request("update", PORT, place.port.split(":"), fields)

    # probes ------------------------------------------------------------------------------

    def probes(self, *, per_pair: int, protocols: Sequence[int]) -> list[Probe]:
        """Connections between all pairs, none of which is another one's answer."""
        random = self._random
        found = []
        taken: set[object] = set()
        everybody = places()
        for source in everybody:
            for destination in everybody:
                if source is destination:
                    continue
                for version in (0, 1):
                    for _ in range(per_pair):
                        flow = self._flow(source, destination, version, random.choice(protocols))
                        key = _connection(flow)
                        if key not in taken:
                            taken.add(key)
                            found.append(Probe(source, destination, flow))
        return found

    def _flow(self, source: Place, destination: Place, version: int, protocol: int) -> Flow:
        random = self._random
        addresses = source.addresses[version], destination.addresses[version]
        if protocol == ICMP:
            return (
                Flow(*addresses, ICMPV6, icmp_type=128)
                if version
                else Flow(*addresses, ICMP, icmp_type=8)
            )
        if protocol not in (TCP, UDP, SCTP):
            return Flow(*addresses, PORTLESS[self.number % len(PORTLESS)])
        # Ports of the rules, in this round's own range where any will do.
        client = random.choice(
            (*CLIENTS, 20000 + 100 * (self.number % 400) + random.randrange(100))
        )
        return Flow(*addresses, protocol, client, random.choice(SERVICES))


def _connection(flow: Flow) -> object:
    """What two packets of one connection have in common; pings of one are told apart by number."""
    if flow.protocol in (ICMP, ICMPV6):
        return flow
    ends = (flow.source, flow.source_port), (flow.destination, flow.destination_port)
    return frozenset(ends), flow.protocol
