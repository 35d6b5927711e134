"""Random configurations of policy, and what to send through them, all from a seed.

A world has the same networks and ports all its life; what may talk changes from round to round, by
requests that a simulated and a real API take alike. Networks of the world are small and many things
are said about them, so that rules meet: most are about few networks, prefixes and ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
# What policy is made of.
READ = (
    "virtual-network", "network-policy", "security-group", PORT, "instance-ip", "virtual-machine",
    "project", "tag", "application-policy-set", "firewall-policy", "firewall-rule", "address-group",
    "service-group",
)  # fmt: skip
MANAGEMENT = "default-policy-management"
SHARED_TAGS = ("tier=web", "tier=db", "deployment=prod", "deployment=test", "label=x", "label=y")
OWN_TAGS = ("site=a", "site=b")
PREFIXES = "prefixes"
WEB = "web"
SET = "default-application-policy-set"
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


def foundation() -> list[Request]:
    """What rounds take for granted beside networks and ports: tags, and groups that rules name."""
    demo = [DOMAIN, PROJECTS[0]]
    tags = [([tag], {}) for tag in SHARED_TAGS]
    tags += [([*demo, tag], {"parent_type": "project"}) for tag in OWN_TAGS]
    creates = []
    for fq_name, fields in tags:
        kind, _, value = fq_name[-1].partition("=")
        creates.append(
            Request("create", "tag", fq_name, {**fields, "tag_type_name": kind, "tag_value": value})
        )
    prefixes = [
        {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24},
        {"ip_prefix": "fd00:0:0:2::", "ip_prefix_len": 64},
    ]
    services = [
        {"protocol": "tcp", "dst_ports": {"start_port": 80, "end_port": 81}},
        {"protocol": "icmp"},
    ]
    for scope in (MANAGEMENT,), demo:
        fields = {"parent_type": "project" if len(scope) > 1 else "policy-management"}
        creates += [
            Request("create", "address-group", [*scope, PREFIXES], {
                **fields,
                "address_group_prefix": {"subnet": prefixes},
                "tag_refs": [{"to": ["label=x"]}],
            }),
            Request("create", "service-group", [*scope, WEB], {
                **fields,
                "service_group_firewall_service_list": {"firewall_service": services},
            }),
        ]  # fmt: skip
    return creates


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
        firewall = [
            request
            for scope in ([MANAGEMENT], [DOMAIN, PROJECTS[0]])
            for request in self._firewall(scope)
        ]
        self.creates += [request for request in firewall if request.verb == "create"]
        self.updates = [
            *map(self._attachments, NETWORKS),
            *map(self._memberships, places()),
            *self._tags(),
            *(request for request in firewall if request.verb == "update"),
        ]
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
        if random.random() < 0.15:
            return _everything()
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

    # tag firewall ------------------------------------------------------------------------

    def _tags(self) -> list[Request]:
        """Tags for ports, machines, networks and projects: at most one of a type, but labels."""
        everybody = places()
        machines = [("virtual-machine", [place.machine]) for place in everybody]
        ports = [(PORT, place.port.split(":")) for place in everybody]
        networks = [("virtual-network", network.split(":")) for network in NETWORKS]
        projects = [("project", [DOMAIN, project]) for project in PROJECTS]
        chances = ((ports, 0.5), (machines, 0.3), (networks, 0.3), (projects, 0.3))
        return [
            Request("update", kind, fq_name, {"tag_refs": self._tag_refs(chance)})
            for listed, chance in chances
            for kind, fq_name in listed
        ]

    def _tag_refs(self, chance: float) -> list[Json]:
        random = self._random
        chosen: list[list[str]] = []
        for kind in ("tier", "deployment", "site"):
            if random.random() < chance:
                listed = [[tag] for tag in SHARED_TAGS] + [
                    [DOMAIN, PROJECTS[0], tag] for tag in OWN_TAGS
                ]
                chosen.append(random.choice([tag for tag in listed if tag[-1].startswith(kind)]))
        labels = [["label=x"], ["label=y"]]
        chosen += [label for label in labels if random.random() < chance / 2]
        return [{"to": tag} for tag in chosen]

    def _firewall(self, scope: list[str]) -> Iterator[Request]:
        """Rules and policies of the cluster or of the project, and its set that has them."""
        random = self._random
        policies = random.choice((0, 0, 0, 0, 0, 1, 2))
        parent = {"parent_type": "project" if len(scope) > 1 else "policy-management"}
        for number in range(policies):
            rules = [self._firewall_rule(scope) for _ in range(random.randint(1, 4))]
            if random.random() < 0.6:
                anybody = {"any": True}
                rules.append(
                    {
                        "direction": "<>",
                        "endpoint_1": anybody,
                        "endpoint_2": anybody,
                        "service": {"protocol": "any"},
                        "action_list": {"simple_action": "pass"},
                    }
                )
            refs = []
            for place, rule in enumerate(rules):
                fq_name = [*scope, f"rule{self.number}-{number}-{place}"]
                yield Request("create", "firewall-rule", fq_name, {**parent, **rule})
                refs.append({"to": fq_name, "attr": {"sequence": f"{place}.0"}})
            fields = {**parent, "firewall_rule_refs": refs}
            yield Request("create", "firewall-policy", self._policy_name(scope, number), fields)
        refs = [
            {"to": self._policy_name(scope, number), "attr": {"sequence": f"{number}.0"}}
            for number in range(policies)
        ]
        fields = {"firewall_policy_refs": refs}
        yield Request("update", "application-policy-set", [*scope, SET], fields)

    def _policy_name(self, scope: list[str], number: int) -> list[str]:
        return [*scope, f"firewall{self.number}-{number}"]

    def _firewall_rule(self, scope: list[str]) -> Json:
        random = self._random
        rule: Json = {
            "direction": random.choice(("<>", ">", "<")),
            "endpoint_1": self._endpoint(scope),
            "endpoint_2": self._endpoint(scope),
            "action_list": {"simple_action": random.choice(("pass", "pass", "deny"))},
        }
        if random.random() < 0.2:
            rule["service_group_refs"] = [{"to": [*scope, WEB]}]
        else:
            protocol = random.choice(("any", "any", "tcp", "udp", "icmp", "6"))
            rule["service"] = {"protocol": protocol}
            if protocol in ("tcp", "udp", "6"):
                port = random.choice(SERVICES)
                rule["service"]["dst_ports"] = {"start_port": port, "end_port": 443}
        if random.random() < 0.3:
            types = random.sample(("tier", "deployment", "site"), random.randint(1, 2))
            rule["match_tags"] = {"tag_list": types}
        return rule

    def _endpoint(self, scope: list[str]) -> Json:
        random = self._random
        chance = random.random()
        if chance < 0.3:
            return {"any": True}
        if chance < 0.4:
            return {"virtual_network": random.choice(sorted(NETWORKS))}
        if chance < 0.5:
            number = random.choice(list(NETWORKS.values()))
            return {"subnet": {"ip_prefix": f"10.1.{number}.0", "ip_prefix_len": 24}}
        if chance < 0.6:
            return {"address_group": ":".join((*scope, PREFIXES))}
        listed = [f"global:{tag}" for tag in SHARED_TAGS]
        if len(scope) > 1:
            listed += OWN_TAGS
        return {"tags": random.sample(listed, random.choice((1, 1, 2)))}

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
        count = min(len(self._groups), random.choice((0, 0, 0, 1, 2)))
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


def _everything() -> Json:
    """A rule that passes all that no rule before it denies."""
    return {
        "direction": "<>",
        "protocol": "any",
        "src_addresses": [{"virtual_network": "local"}],
        "src_ports": [ANY_PORTS],
        "dst_addresses": [{"virtual_network": "any"}],
        "dst_ports": [ANY_PORTS],
        "action_list": {"simple_action": "pass"},
    }


def _connection(flow: Flow) -> object:
    """What two packets of one connection have in common; pings of one are told apart by number."""
    if flow.protocol in (ICMP, ICMPV6):
        return flow
    ends = (flow.source, flow.source_port), (flow.destination, flow.destination_port)
    return frozenset(ends), flow.protocol
