"""What the configuration means for one connection, said naively: whether it may be, and why.

A second opinion on policy, for tests. It reads API objects as a client posts or gets them and
nothing else: no compiler, no tables, no numbers; every question is answered from the start by
looking at everything. What it says follows docs/policy.md.

It speaks of connections by their first packet. Answers belong to their connection, and there is
always a way back, because routes leak both ways.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import product
from typing import Any, NamedTuple

Json = dict[str, Any]
Named = tuple[str, ...]

ICMP, TCP, UDP, SCTP, ICMPV6 = 1, 6, 17, 132, 58
_WITH_PORTS = {TCP, UDP, SCTP}
_ICMPS = {ICMP, ICMPV6}
_PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmp6": 58, "ipv6-icmp": 58,
    "icmpv6": 58, "sctp": 132,
}  # fmt: skip
_ANY = "any"
_LOCAL = "local"


class Flow(NamedTuple):
    """The first packet of a connection. Ports of protocols that have some; ICMP's type and code."""

    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return ip_address(self.source).version

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port, None where there are none."""
        return (self.source_port, self.destination_port) if self.protocol in _WITH_PORTS else None


class Answer(NamedTuple):
    """Whether a connection may be, and why."""

    allowed: bool
    reason: str


class _End(NamedTuple):
    """One end of a connection: an address, the port it belongs to, and that port's network."""

    address: str
    port: Json
    network: Json

    @property
    def name(self) -> str:
        return _name(self.network)


class Intended:
    """The meaning of some API objects, given as (kind, body)."""

    def __init__(self, objects: Iterable[tuple[str, Json]]) -> None:
        self._by_kind: dict[str, dict[str, Json]] = {}
        for kind, body in objects:
            self._by_kind.setdefault(kind, {})[_name(body)] = body
        self._addresses = {
            (port, ip_address(item["instance_ip_address"]))
            for item in self._all("instance-ip").values()
            for port in _refs(item, "virtual_machine_interface_refs")
        }

    def judge(self, source: str, destination: str, flow: Flow) -> Answer:
        """Say whether a connection from one port (fq name) to another may be opened."""
        sender = self._end(source, flow.source)
        receiver = self._end(destination, flow.destination)
        if not self._has_address(sender):
            return Answer(False, f"{flow.source} is not an address of {source}")
        if not self._has_address(receiver):
            return Answer(False, f"{flow.destination} is not an address of {destination}")
        if not self.reaches(sender.name, receiver.name):
            return Answer(False, f"{sender.name} and {receiver.name} do not list each other")
        for end in (sender, receiver):
            if end.port.get("virtual_machine_interface_disable_policy"):
                continue
            answer = self._network_policy(end.name, sender, receiver, flow)
            if not answer.allowed:
                return answer
            answer = self._security_groups(end, sender, receiver, flow)
            if not answer.allowed:
                return answer
            answer = self._firewall(end, sender, receiver, flow)
            if not answer.allowed:
                return answer
        return Answer(True, "nothing denies it")

    # objects -----------------------------------------------------------------------------

    def _all(self, kind: str) -> dict[str, Json]:
        return self._by_kind.get(kind, {})

    def _end(self, port: str, address: str) -> _End:
        body = self._all("virtual-machine-interface")[port]
        (network,) = _refs(body, "virtual_network_refs")
        return _End(address, body, self._all("virtual-network")[network])

    def _has_address(self, end: _End) -> bool:
        return (_name(end.port), ip_address(end.address)) in self._addresses

    # routes ------------------------------------------------------------------------------

    def reaches(self, one: str, other: str) -> bool:
        """Say whether there are routes between two networks: both list each other."""
        return one == other or (self._lists(one, other) and self._lists(other, one))

    def _lists(self, network: str, other: str) -> bool:
        listed = self._listed(network)
        if other in listed:
            return True
        # Any is every network of the project, and every one that lists this one by name.
        of_one_project = network.rpartition(":")[0] == other.rpartition(":")[0]
        return _ANY in listed and (of_one_project or network in self._listed(other))

    def _listed(self, network: str) -> set[str]:
        """The networks, or any, that the rules attached to a network pass something to or from."""
        listed: set[str] = set()
        for _, rule in self._rules_of(network, with_timed=True):
            if rule["action_list"].get("simple_action") != "pass":
                continue
            for source, destination in self._pairs(rule, network):
                if network in source or _ANY in source:
                    listed |= destination
                if network in destination or _ANY in destination:
                    listed |= source
        return listed

    # network policy ----------------------------------------------------------------------

    def _attached(self, network: str) -> list[tuple[str, Json]]:
        """The policies of a network with the attributes of their attachment, in order."""
        refs = self._all("virtual-network")[network].get("network_policy_refs") or []

        def place(ref: Json) -> tuple[int, int]:
            sequence = (ref.get("attr") or {}).get("sequence")
            return (sequence["major"], sequence["minor"]) if sequence else (sys.maxsize, 0)

        return [(":".join(ref["to"]), ref.get("attr") or {}) for ref in sorted(refs, key=place)]

    def _rules_of(self, network: str, *, with_timed: bool = False) -> Iterator[tuple[str, Json]]:
        """The rules that hold in a network, first to last, each with its policy's name."""
        for policy, attributes in self._attached(network):
            if attributes.get("timer") is not None and not with_timed:
                continue
            for rule in _rules(self._all("network-policy")[policy], "network_policy_entries"):
                yield policy, rule

    def _networks_of(self, address: Json, network: str) -> set[str]:
        """The networks that one side of a rule stands for; none where it is only prefixes."""
        named = address.get("virtual_network")
        if named:
            return {network if named == _LOCAL else named}
        policy = address.get("network_policy")
        if not policy:
            return set()
        return {
            name
            for name in self._all("virtual-network")
            if any(attached == policy for attached, _ in self._attached(name))
        }

    def _pairs(self, rule: Json, network: str) -> Iterator[tuple[set[str], set[str]]]:
        for source, destination in product(rule["src_addresses"], rule["dst_addresses"]):
            yield self._networks_of(source, network), self._networks_of(destination, network)

    def _network_policy(self, network: str, sender: _End, receiver: _End, flow: Flow) -> Answer:
        """What the policies of one end's network say."""
        attached = self._attached(network)
        if all(attributes.get("timer") is not None for _, attributes in attached):
            return Answer(True, f"{network} has no policy")
        for policy, rule in self._rules_of(network):
            if self._matches(network, rule, sender, receiver, flow):
                verb = rule["action_list"]["simple_action"]
                return Answer(
                    verb == "pass", f"at {network}, {policy} {rule.get('rule_uuid')}: {verb}"
                )
        if sender.name == receiver.name:
            return Answer(True, "within one network")
        for policy, rule in self._rules_of(network):
            if self._concerns(network, rule, sender, receiver):
                reason = (
                    f"at {network}, {policy} {rule.get('rule_uuid')} is about the two, not this"
                )
                return Answer(False, reason)
        return Answer(True, f"no policy of {network} is about the two")

    def _matches(self, network: str, rule: Json, sender: _End, receiver: _End, flow: Flow) -> bool:
        """Say whether a rule is about this packet. `<>` is the same rule with its ends exchanged,
        ports included.
        """
        if not _is_protocol(rule, flow):
            return False
        ways = [("src", "dst")] + ([("dst", "src")] if rule["direction"] == "<>" else [])
        for source, destination in ways:
            if not _ports_match(rule, flow, f"{source}_ports", f"{destination}_ports"):
                continue
            for left, right in self._sides(network, rule, source, destination):
                if self._is_in(left, network, sender) and self._is_in(right, network, receiver):
                    return True
        return False

    def _concerns(self, network: str, rule: Json, sender: _End, receiver: _End) -> bool:
        """Say whether a rule is about the two networks at all: whatever it leaves out is denied,
        both ways.
        """
        for source, destination in (("src", "dst"), ("dst", "src")):
            for left, right in self._sides(network, rule, source, destination):
                if self._is_of(left, network, sender) and self._is_of(right, network, receiver):
                    return True
        return False

    def _sides(
        self, network: str, rule: Json, source: str, destination: str
    ) -> Iterator[tuple[Json, Json]]:
        """The pairs of addresses of a rule that mean something in a network: one is its own, or
        both are only prefixes.
        """
        own = {network, _ANY}
        for left, right in product(rule[f"{source}_addresses"], rule[f"{destination}_addresses"]):
            networks = self._networks_of(left, network), self._networks_of(right, network)
            if _is_bare(left) and _is_bare(right):
                yield left, right
            elif own & networks[0] or own & networks[1]:
                # Beside prefixes, a policy that stands for the network stands for nothing else.
                yield (
                    {**left, "virtual_network": network}
                    if _is_bare(right) and left.get("network_policy")
                    else left,
                    {**right, "virtual_network": network}
                    if _is_bare(left) and right.get("network_policy")
                    else right,
                )

    def _is_of(self, address: Json, network: str, end: _End) -> bool:
        """Say whether an end is in a side's networks; where it names none, in its prefixes."""
        if _is_bare(address):
            return _in_prefixes(address, end.address)
        return bool({end.name, _ANY} & self._networks_of(address, network))

    def _is_in(self, address: Json, network: str, end: _End) -> bool:
        return self._is_of(address, network, end) and _in_prefixes(address, end.address)

    # security groups ---------------------------------------------------------------------

    def _groups_of(self, port: Json) -> list[str]:
        if port.get("port_security_enabled") is False:
            return []
        return _refs(port, "security_group_refs")

    def _security_groups(self, end: _End, sender: _End, receiver: _End, flow: Flow) -> Answer:
        """What the security groups of one end's port say: one rule that allows is enough."""
        groups = self._groups_of(end.port)
        if not groups:
            return Answer(True, "in no security group")
        leaves = end is sender
        own, remote = ("src", "dst") if leaves else ("dst", "src")
        other = receiver if leaves else sender
        for group in groups:
            for rule in _rules(self._all("security-group")[group], "security_group_entries"):
                if (
                    any(one.get("security_group") == _LOCAL for one in rule[f"{own}_addresses"])
                    and _is_ethertype(rule, flow)
                    and _is_protocol(rule, flow)
                    and _ports_match(rule, flow, "src_ports", "dst_ports")
                    and any(
                        self._is_remote(one, other) and _in_prefixes(one, other.address)
                        for one in rule[f"{remote}_addresses"]
                    )
                ):
                    return Answer(True, _called(group, rule))
        verb = "leave" if leaves else "come in"
        return Answer(False, f"no group of {_name(end.port)} lets it {verb}")

    def _is_remote(self, address: Json, other: _End) -> bool:
        group = address.get("security_group")
        return group in (None, _ANY, _LOCAL) or group in self._groups_of(other.port)

    # tag firewall ------------------------------------------------------------------------

    def _levels(self, end: _End) -> Iterator[Json]:
        """What may have tags on behalf of a port, the nearest first."""
        yield end.port
        for machine in _refs(end.port, "virtual_machine_refs"):
            yield self._all("virtual-machine")[machine]
        yield end.network
        yield from self._project_of(end.port)

    def _project_of(self, body: Json) -> list[Json]:
        project = self._all("project").get(":".join(body["fq_name"][:-1]))
        return [project] if project else []

    def _tags_of(self, end: _End) -> dict[str, set[str]]:
        """The tags of a port by type: of each type those of the nearest level that has any."""
        chosen: dict[str, set[str]] = {}
        for body in self._levels(end):
            found: dict[str, set[str]] = {}
            for name in _refs(body, "tag_refs"):
                found.setdefault(self._all("tag")[name]["tag_type_name"], set()).add(name)
            for kind, names in found.items():
                chosen.setdefault(kind, names)
        return chosen

    def _policies_of(self, end: _End) -> Iterator[tuple[str, Json]]:
        """The firewall policies that hold for a port, in order, with their names."""
        sets = self._all("application-policy-set")
        listed = [name for name, body in sets.items() if body.get("global_vrouter_config_refs")] + [
            name
            for project in self._project_of(end.port)
            for name in _refs(project, "application_policy_set_refs")
        ]
        for name in listed:
            if sets[name].get("all_applications"):
                for policy in _in_order(sets[name], "firewall_policy_refs"):
                    yield policy, self._all("firewall-policy")[policy]

    def _firewall(self, end: _End, sender: _End, receiver: _End, flow: Flow) -> Answer:
        """What the firewall policies that hold for one end's port say; with any, one must pass."""
        policies = list(self._policies_of(end))
        for policy, body in policies:
            for name in _in_order(body, "firewall_rule_refs"):
                rule = self._all("firewall-rule")[name]
                if self._rule_matches(rule, sender, receiver, flow):
                    verb = rule["action_list"]["simple_action"]
                    return Answer(verb == "pass", f"{name} of {policy}: {verb}")
        if policies:
            return Answer(False, f"no firewall rule for {_name(end.port)} is about it")
        return Answer(True, "no firewall policy")

    def _rule_matches(self, rule: Json, sender: _End, receiver: _End, flow: Flow) -> bool:
        services = [rule["service"]] if rule.get("service") else []
        for group in _refs(rule, "service_group_refs"):
            body = self._all("service-group")[group]
            services += body["service_group_firewall_service_list"]["firewall_service"]
        if not any(_is_service(service, flow) for service in services):
            return False
        one, two = rule["endpoint_1"], rule["endpoint_2"]
        ways = {">": [(one, two)], "<": [(two, one)], "<>": [(one, two), (two, one)]}
        if not any(
            self._is_endpoint(rule, start, sender) and self._is_endpoint(rule, end, receiver)
            for start, end in ways[rule["direction"]]
        ):
            return False
        left, right = self._tags_of(sender), self._tags_of(receiver)
        return all(
            left.get(kind, set()) & right.get(kind, set())
            for kind in (rule.get("match_tags") or {}).get("tag_list") or []
        )

    def _is_endpoint(self, rule: Json, endpoint: Json, end: _End) -> bool:
        own = set().union(*self._tags_of(end).values())
        if endpoint.get("subnet"):
            return ip_address(end.address) in _prefix(endpoint["subnet"])
        if endpoint.get("virtual_network"):
            return endpoint["virtual_network"] in (_ANY, end.name)
        if endpoint.get("tags"):
            scope = ":".join(rule["fq_name"][:-1])
            # A tag without `global:` is one of the rule's own project.
            names = (
                name.removeprefix("global:") if name.startswith("global:") else f"{scope}:{name}"
                for name in endpoint["tags"]
            )
            return own.issuperset(names)
        if endpoint.get("address_group"):
            group = self._all("address-group")[endpoint["address_group"]]
            prefixes = (group.get("address_group_prefix") or {}).get("subnet") or []
            return bool(own & set(_refs(group, "tag_refs"))) or any(
                ip_address(end.address) in _prefix(each) for each in prefixes
            )
        return True


def _in_order(body: Json, field: str) -> list[str]:
    """What a set or a policy refers to, by sequence, which is text."""
    refs = sorted(body.get(field) or [], key=lambda ref: ref["attr"]["sequence"])
    return [":".join(ref["to"]) for ref in refs]


def _is_service(service: Json, flow: Flow) -> bool:
    """Say whether a flow is of a service; ports count where it names a protocol that has some."""
    if not _is_protocol(service, flow):
        return False
    if (service.get("protocol") or _ANY).lower() == _ANY or flow.ports is None:
        return True
    return all(
        service.get(field) is None or _in_range(service[field], port)
        for field, port in zip(("src_ports", "dst_ports"), flow.ports, strict=True)
    )


def _name(body: Json) -> str:
    return ":".join(body["fq_name"])


def _refs(body: Json, field: str) -> list[str]:
    return [":".join(ref["to"]) for ref in body.get(field) or []]


def _rules(body: Json, field: str) -> list[Json]:
    rules: list[Json] = (body.get(field) or {}).get("policy_rule") or []
    return rules


def _called(owner: str, rule: Json) -> str:
    return f"rule {rule.get('rule_uuid')} of {owner}"


def _is_bare(address: Json) -> bool:
    """Say whether one side of a rule is about prefixes and no network."""
    return not address.get("virtual_network") and not address.get("network_policy")


def _is_ethertype(rule: Json, flow: Flow) -> bool:
    return rule.get("ethertype") in (None, f"IPv{flow.version}")


def _is_protocol(rule: Json, flow: Flow) -> bool:
    text = (rule.get("protocol") or _ANY).lower()
    if text == _ANY:
        return True
    if text == "icmp" and rule.get("ethertype") == "IPv6":
        text = "icmp6"
    number = int(text) if text.isdigit() else _PROTOCOLS[text]
    return number == flow.protocol


def _ports_match(rule: Json, flow: Flow, source: str, destination: str) -> bool:
    """Say whether a packet's ports, or its ICMP type and code, are those of a rule. A protocol
    without either is not narrowed by them.
    """
    if flow.protocol in _ICMPS:
        named = (rule.get("protocol") or _ANY).lower() != _ANY
        ranges = rule.get("dst_ports") or []
        return not named or not ranges or any(_is_icmp(each, flow) for each in ranges)
    if flow.ports is None:
        return True
    return all(
        not rule.get(field) or any(_in_range(each, port) for each in rule[field])
        for field, port in zip((source, destination), flow.ports, strict=True)
    )


def _in_range(ports: Json, port: int) -> bool:
    start, end = ports.get("start_port"), ports.get("end_port")
    return (start in (None, -1) or start <= port) and (end in (None, -1) or port <= end)


def _is_icmp(ports: Json, flow: Flow) -> bool:
    """Destination ports of a rule about ICMP are a type and a code, in Neutron's way. A code that
    repeats the type is any code, as is one that is not given.
    """
    kind, code = ports.get("start_port"), ports.get("end_port")
    if kind in (None, -1) or (kind, code) in ((0, 65535), (0, 255)):
        return True
    return flow.icmp_type == kind and (code in (None, -1, 65535) or code in (kind, flow.icmp_code))


def _in_prefixes(address: Json, text: str) -> bool:
    """Say whether an address is in the prefixes of one side of a rule, if it has any."""
    listed = [address["subnet"]] if address.get("subnet") else []
    listed += address.get("subnet_list") or []
    return not listed or any(ip_address(text) in _prefix(each) for each in listed)


def _prefix(subnet: Json) -> IPv4Network | IPv6Network:
    return ip_network(f"{subnet['ip_prefix']}/{subnet['ip_prefix_len']}", strict=False)
