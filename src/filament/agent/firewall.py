"""Tags and application policy sets in an agent's configuration -> `forward.inputs`. Pure.

Source: TF agent 5.3 (oper/vm_interface, oper/tag, filter/policy_set, filter/acl).

- A port's tags: of each type those of the port, else of its machine, its network, its project. Of
  most types an object has one; labels (and Neutron's two types) may be many, all of one level.
- Its policy sets: those of all applications (the cluster's, then the project's), then by tag number
  those that refer to a tag of the port, global ones before the project's. Those that refer to a tag
  of type neutron_fwaas are asked apart, and both must allow.
- Policies in a set, and rules in a policy, stand in the order of their `sequence`, which is text:
  "10.0" comes before "9.0". What has no sequence does not count.

Fails closed: a rule that cannot be read denies, and so does everything after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from filament.agent.graph import Graph
from filament.base.errors import InputError
from filament.base.limits import MAX_ACL_RULES
from filament.base.net import Prefix, mask_of, parse_address
from filament.base.origin import Origin
from filament.forward.firewall import TAG_TYPE_SHIFT
from filament.forward.inputs import (
    FirewallEnd,
    FirewallPolicy,
    FirewallRule,
    PolicySet,
    Service,
)
from filament.wire.xmpp.stanza import Node

TAG, POLICY_SET = "tag", "application-policy-set"
POLICY, RULE = "firewall-policy", "firewall-rule"
_PROJECT = "project"
_INTERFACE = "virtual-machine-interface"
_LABEL, _FWAAS, _NEUTRON = 0, 5, 6  # TF's numbers of the types label, neutron_fwaas, neutron_tag
_MANY_VALUED = frozenset({_LABEL, _FWAAS, _NEUTRON})
_ANY_PORTS = (0, 65535)
_PROTOCOLS = {"any": None, "icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "icmpv6": 58, "sctp": 132}
# What policy sets are read from: nodes of these kinds, and links of this metadata.
_READ_FOR_SETS = (
    POLICY_SET,
    POLICY,
    RULE,
    TAG,
    "address-group",
    "service-group",
    f"{POLICY_SET}-{POLICY}",
    f"{POLICY}-{RULE}",
    f"{RULE}-address-group",
    f"{RULE}-service-group",
    f"address-group-{TAG}",
)
ItemT = TypeVar("ItemT")
Report = Callable[[Node, str], None]


class _Tag(Struct):
    tag_id: str | None = None


class _Set(Struct):
    all_applications: bool | None = None


class _Sequence(Struct):
    sequence: str | None = None


class _Attribute(Struct):
    value: _Sequence | None = None


class _Subnet(Struct):
    ip_prefix: str | None = None
    ip_prefix_len: int | None = None


class _End(Struct):
    subnet: _Subnet | None = None
    virtual_network: str | None = None
    address_group: str | None = None
    tags: list[str] | str | None = None
    tag_ids: list[int] | int | None = None


class _Ports(Struct):
    start_port: int | None = None
    end_port: int | None = None


class _Service(Struct):
    protocol: str | int | None = None
    src_ports: _Ports | None = None
    dst_ports: _Ports | None = None


class _MatchTags(Struct):
    tag_list: list[str] | str | None = None


class _MatchTypes(Struct):
    tag_type: list[int] | int | None = None


class _Actions(Struct):
    simple_action: str | None = None


class _Rule(Struct):
    action_list: _Actions | None = None
    direction: str | None = None
    endpoint_1: _End | None = None
    endpoint_2: _End | None = None
    service: _Service | None = None
    match_tags: _MatchTags | None = None
    match_tag_types: _MatchTypes | None = None


class _Prefixes(Struct):
    subnet: list[_Subnet] | _Subnet | None = None


class _AddressGroup(Struct):
    address_group_prefix: _Prefixes | None = None


class _Services(Struct):
    firewall_service: list[_Service] | _Service | None = None


class _ServiceGroup(Struct):
    service_group_firewall_service_list: _Services | None = None


class _ReadRule(NamedTuple):
    """A rule and the nodes that it was read from, all of them."""

    nodes: tuple[Node, ...]
    rule: FirewallRule
    fault: str


class FirewallMemory:
    """What an agent remembers of rules and sets between readings: what did not change stays the
    same object, which planners know it by.
    """

    def __init__(self) -> None:
        self.rules: dict[str, _ReadRule] = {}
        self.sets: dict[str, PolicySet] = {}
        self.faults: list[tuple[Node, str]] = []  # of the sets, as they were reported
        self.read_from: tuple[Graph, int] | None = None  # a graph, and how often it had changed


class FirewallReading:
    """One pass over the tags and policy sets of a graph."""

    def __init__(self, graph: Graph, memory: FirewallMemory, report: Report) -> None:
        self._graph = graph
        self._memory = memory
        self._report = report
        self._numbers: dict[str, int] = {}
        self._sets: dict[str, PolicySet] = {}
        self._rules: dict[str, _ReadRule] = {}

    def read_sets(self) -> tuple[PolicySet, ...]:
        """Return all policy sets, in order of their names."""
        memory = self._memory
        changes = self._graph.changes_of(_READ_FOR_SETS)
        if memory.read_from is None or memory.read_from != (self._graph, changes):
            memory.faults = []
            self._read_sets(memory.sets)
            memory.sets, memory.rules = dict(self._sets), self._rules
            memory.read_from = self._graph, changes
        for node, text in memory.faults:
            self._report(node, text)
        return tuple(memory.sets.values())

    def _read_sets(self, before: dict[str, PolicySet]) -> None:
        for node in sorted(self._graph.of_kind(POLICY_SET), key=lambda one: one.name):
            found = self._read_set(node)
            known = before.get(node.name)
            self._sets[node.name] = known if known == found and known is not None else found

    def _fault(self, node: Node, text: str) -> None:
        """Note what is wrong in a policy set."""
        self._memory.faults.append((node, text))

    def of_port(
        self, port: Node, network: Node
    ) -> tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]]:
        """Return a port's tags, by number, and the names of its policy sets in order, those that a
        tag of type neutron_fwaas selects apart.
        """
        graph = self._graph
        projects = graph.linked(port, f"{_PROJECT}-{_INTERFACE}", _PROJECT)
        machines = graph.linked(port, f"{_INTERFACE}-virtual-machine", "virtual-machine")
        levels = [[port], machines, [network], projects]
        by_number: dict[int, Node] = {}
        numbers = effective_tags(self._tags_of(one, by_number) for one in levels)
        sets: dict[str, None] = {}
        fwaas_sets: dict[str, None] = {}
        for node in (*graph.of_kind("global-vrouter-config"), *projects):
            sets.update(dict.fromkeys(self._of_all_applications(node)))
        for number in numbers:
            found = graph.linked(by_number[number], f"{POLICY_SET}-{TAG}", POLICY_SET)
            chosen = fwaas_sets if number >> TAG_TYPE_SHIFT == _FWAAS else sets
            chosen.update(dict.fromkeys(one.name for one in sorted(found, key=self._scope)))
        return numbers, tuple(sets), tuple(fwaas_sets)

    # tags ---------------------------------------------------------------------------------

    def _tags_of(self, nodes: Iterable[Node], by_number: dict[int, Node]) -> list[int]:
        """Return the numbers of the tags of some objects; note the nodes they are of."""
        numbers = []
        for node in nodes:
            for tag in self._graph.linked(node, f"{node.kind}-{TAG}", TAG):
                number = self._number(tag)
                if number:
                    by_number.setdefault(number, tag)
                    numbers.append(number)
        return numbers

    def _number(self, tag: Node) -> int:
        """Return a tag's number, 0 when it has none."""
        number = self._numbers.get(tag.name)
        if number is None:
            given = (self._shape(tag, _Tag) or _Tag()).tag_id
            number = 0
            try:
                number = int(given or "0", 16)
            except ValueError:
                self._report(tag, f"tag_id {given!r} is not hexadecimal; the tag does not count")
            if number >> 32:
                self._report(tag, f"tag_id {given} has more than 32 bits; the tag does not count")
                number = 0
            self._numbers[tag.name] = number
        return number

    # policy sets --------------------------------------------------------------------------

    def _of_all_applications(self, node: Node) -> Iterator[str]:
        """Yield the sets of all applications that go with the cluster or a project."""
        vrouter = f"{POLICY_SET}-global-vrouter-config"
        metadata = f"{_PROJECT}-{POLICY_SET}" if node.kind == _PROJECT else vrouter
        for one in self._graph.linked(node, metadata, POLICY_SET):
            shape = self._shape(one, _Set)
            if shape is not None and shape.all_applications:
                yield one.name

    def _scope(self, node: Node) -> tuple[bool, str]:
        """Order sets: global ones first."""
        metadata = f"policy-management-{POLICY_SET}"
        return not self._graph.linked(node, metadata, "policy-management"), node.name

    def _read_set(self, node: Node) -> PolicySet:
        return PolicySet(
            node.name,
            tuple(self._read_policy(one) for one in self._in_order(node, POLICY)),
            Origin(f"{POLICY_SET} {node.name}", "set", node.revision),
        )

    def _in_order(self, node: Node, kind: str) -> list[Node]:
        """Return what a node refers to with a sequence, in order."""
        metadata = f"{node.kind}-{kind}"
        found: list[tuple[str, str, Node]] = []
        for attribute in self._graph.linked(node, metadata, metadata):
            shape = self._shape(attribute, _Attribute)
            sequence = shape.value.sequence if shape is not None and shape.value else None
            if sequence:
                ends = self._graph.linked(attribute, metadata, kind)
                found += [(sequence, end.name, end) for end in ends]
        return [end for _, _, end in sorted(found, key=lambda one: one[:2])]

    def _read_policy(self, node: Node) -> FirewallPolicy:
        rules: list[FirewallRule] = []
        pieces = 0
        for one in self._in_order(node, RULE):
            read = self._rule_of(one)
            pieces += _pieces(read.rule)
            if pieces > MAX_ACL_RULES:
                self._fault(
                    node,
                    f"its rules, one by one for each end and service, are more than "
                    f"{MAX_ACL_RULES}; {one.name} and those after it are replaced by deny",
                )
                rules.append(_denial(one))
                break
            rules.append(read.rule)
            if read.fault:
                self._fault(one, f"{read.fault}; it and everything after it is denied")
                break
        revision = max([node.revision, *(rule.revision for rule in rules)])
        return FirewallPolicy(node.name, tuple(rules), revision)

    def _rule_of(self, node: Node) -> _ReadRule:
        """Return a rule, the one read before where nothing about it has changed."""
        groups = self._graph.linked(node, f"{RULE}-address-group", "address-group")
        services = self._graph.linked(node, f"{RULE}-service-group", "service-group")
        labels = {one.name: self._graph.linked(one, f"address-group-{TAG}", TAG) for one in groups}
        nodes = (node, *groups, *services, *(tag for tags in labels.values() for tag in tags))
        known = self._rules.get(node.name) or self._memory.rules.get(node.name)
        if (
            known is None
            or len(known.nodes) != len(nodes)
            or any(one is not other for one, other in zip(known.nodes, nodes, strict=True))
        ):
            try:
                known = _ReadRule(nodes, self._read_rule(node, groups, services, labels), "")
            except (InputError, msgspec.ValidationError) as error:
                known = _ReadRule(nodes, _denial(node), str(error))
        self._rules[node.name] = known
        return known

    def _read_rule(
        self,
        node: Node,
        groups: list[Node],
        service_groups: list[Node],
        labels: dict[str, list[Node]],
    ) -> FirewallRule:
        shape = msgspec.convert(node.props, _Rule, strict=False)
        action = (shape.action_list or _Actions()).simple_action
        if action not in ("pass", "deny"):
            raise InputError(
                "bad-action", f"simple_action is {action!r}", hint="write pass or deny"
            )
        if shape.direction not in ("<", ">", "<>"):
            raise InputError(
                "bad-direction", f"direction is {shape.direction!r}", hint="write <, > or <>"
            )
        by_name = {one.name: one for one in groups}
        sources = self._ends(shape.endpoint_1 or _End(), by_name, labels)
        destinations = self._ends(shape.endpoint_2 or _End(), by_name, labels)
        if shape.direction == "<":
            sources, destinations = destinations, sources
        services = [_service(shape.service)] if shape.service is not None else []
        for one in service_groups:
            group = msgspec.convert(one.props, _ServiceGroup, strict=False)
            listed = group.service_group_firewall_service_list or _Services()
            services += [_service(service) for service in _listed(listed.firewall_service)]
        # Without match_tags the API still fills in match_tag_types; TF's agent goes by the former.
        names = _listed((shape.match_tags or _MatchTags()).tag_list)
        types = _listed((shape.match_tag_types or _MatchTypes()).tag_type)
        if len(names) != len(types) and names:
            raise InputError("bad-match", f"match_tags has {len(names)} types, {len(types)} known")
        return FirewallRule(
            sources,
            destinations,
            tuple(dict.fromkeys(services)),
            passes=action == "pass",
            both_ways=shape.direction == "<>",
            match=tuple(sorted(types)) if names else (),
            name=node.name,
            revision=max(
                node.revision, *(one.revision for one in (node, *groups, *service_groups))
            ),
        )

    def _ends(
        self, end: _End, groups: dict[str, Node], labels: dict[str, list[Node]]
    ) -> tuple[FirewallEnd, ...]:
        """Return the ways of being what an endpoint names; TF's order where it names several."""
        if end.subnet is not None and end.subnet.ip_prefix:
            return (FirewallEnd(prefix=_prefix(end.subnet)),)
        if end.virtual_network:
            network = end.virtual_network
            return (FirewallEnd(network="" if network == "any" else network),)
        if _listed(end.tags):
            numbers = _listed(end.tag_ids)
            if len(numbers) != len(_listed(end.tags)):
                raise InputError("bad-tags", f"the numbers of {_listed(end.tags)} are {numbers}")
            return (FirewallEnd(tags=tuple(sorted(numbers))),)
        if end.address_group:
            group = groups.get(end.address_group)
            if group is None:
                raise InputError("no-address-group", f"there is no {end.address_group}")
            shape = msgspec.convert(group.props, _AddressGroup, strict=False)
            numbers = [self._number(tag) for tag in labels[group.name]]
            listed = (shape.address_group_prefix or _Prefixes()).subnet
            return (
                *(FirewallEnd(tags=(number,)) for number in sorted(numbers) if number),
                *(FirewallEnd(prefix=_prefix(one)) for one in _listed(listed)),
            )
        return (FirewallEnd(),)

    def _shape(self, node: Node, shape: type[ItemT]) -> ItemT | None:
        try:
            return msgspec.convert(node.props, shape, strict=False)
        except msgspec.ValidationError as error:
            self._report(node, str(error))
            return None


def effective_tags(levels: Iterable[Iterable[int]]) -> tuple[int, ...]:
    """Return whose tags hold, from those of the port, its machine, its network and its project: of
    each type those of the first level that has any.
    """
    chosen: dict[int, list[int]] = {}
    for level in levels:
        found: dict[int, set[int]] = {}
        for number in level:
            found.setdefault(number >> TAG_TYPE_SHIFT, set()).add(number)
        for kind, numbers in found.items():
            kept = sorted(numbers)
            chosen.setdefault(kind, kept if kind in _MANY_VALUED else kept[:1])
    return tuple(sorted(number for numbers in chosen.values() for number in numbers))


def _denial(node: Node) -> FirewallRule:
    """What stands for a rule that cannot be read: nothing passes here."""
    anybody = (FirewallEnd(),)
    return FirewallRule(
        anybody,
        anybody,
        (Service(),),
        passes=False,
        both_ways=False,
        name=node.name,
        revision=node.revision,
    )


def _pieces(rule: FirewallRule) -> int:
    """How many rules of a list a firewall rule can become."""
    ways = 2 if rule.both_ways else 1
    return ways * len(rule.sources) * len(rule.destinations) * len(rule.services)


def _service(given: _Service) -> Service:
    text = str(given.protocol if given.protocol not in (None, "") else "any").lower()
    if text in _PROTOCOLS:
        protocol = _PROTOCOLS[text]
    elif text.isascii() and text.isdigit() and int(text) <= 255:
        protocol = int(text)
    else:
        raise InputError(
            "bad-protocol", f"protocol is {text!r}", hint="write a number 0-255, a name or any"
        )
    if protocol is None:
        return Service()  # TF: ports of any protocol do not count
    return Service(protocol, _ports(given.src_ports), _ports(given.dst_ports))


def _ports(given: _Ports | None) -> tuple[int, int]:
    if given is None or given.start_port in (None, -1):
        return _ANY_PORTS
    start = given.start_port
    end = start if given.end_port in (None, -1) else given.end_port
    assert start is not None
    assert end is not None
    if not 0 <= start <= end <= _ANY_PORTS[1]:
        raise InputError(
            "bad-ports", f"ports are {start} to {end}", hint="write 0 <= start <= end <= 65535"
        )
    return start, end


def _prefix(given: _Subnet) -> Prefix:
    """Read a subnet; host bits are dropped, as TF does."""
    address, version = parse_address(given.ip_prefix or "")
    length = given.ip_prefix_len
    if length is None:
        length = 32 if version == 4 else 128
    return Prefix(address & mask_of(length, version), length, version)


def _listed(value: list[ItemT] | ItemT | None) -> list[ItemT]:
    """TF's XML does not tell a list of one from its only member."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
