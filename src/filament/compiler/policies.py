"""Network policies: reading them, and which networks a network wants to be connected to.

A policy is read once however many networks it is attached to. Reading is total: the API refuses
what cannot be, and whatever an older store still holds matches nothing instead of stopping the
plan; what TF derives from such a rule (the connection, the denial of everything else) stays.
Source: TF schema-transformer, network policies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import product
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import Prefix, bits_of, mask_of, parse_address
from filament.base.origin import Origin
from filament.model.change import Object

ANY = "any"
LOCAL = "local"
ALL_PORTS = (0, 65535)
IMPOSSIBLE = -1  # a protocol that no packet has: for rules whose protocol or ports cannot be

# IANA protocol numbers under the names TF accepts (cfgm_common.protocols).
PROTOCOL_NUMBERS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6-encap": 41,
    "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58,
    "icmpv6": 58, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ospf": 89, "vrrp": 112,
    "pgm": 113, "sctp": 132, "udplite": 136,
}  # fmt: skip
# Destination ports of these are a type and a code (Neutron's way), not the bounds of a range.
TYPED = frozenset({PROTOCOL_NUMBERS["icmp"], PROTOCOL_NUMBERS["icmp6"]})
_MAX_TYPE = 255

Members = Callable[[str], Collection[str]]
"""From a policy's fq name to the fq names of the networks it is attached to, sorted."""


class Address(msgspec.Struct, frozen=True):
    """One side of a policy rule: a network (fq name, `any`, `local` or ""), or the networks of a
    policy, and subnets (empty: every address). `is_foreign`: only subnets that cannot be read.
    """

    network: str = ""
    policy: str = ""
    subnets: tuple[Prefix, ...] = ()
    is_foreign: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every address there is matches."""
        return not self.subnets and not self.is_foreign

    @property
    def is_bare(self) -> bool:
        """Whether only subnets say what matches."""
        return not self.network and not self.policy and (bool(self.subnets) or self.is_foreign)


class PolicyRule(msgspec.Struct, frozen=True):
    """One rule of a network-policy. `protocol` None is any; `connects` tells whether it makes the
    networks reach each other (a plain pass), not only filters between them.
    """

    sources: tuple[Address, ...]
    destinations: tuple[Address, ...]
    source_ports: tuple[tuple[int, int], ...]
    destination_ports: tuple[tuple[int, int], ...]
    protocol: int | None
    both_ways: bool
    passes: bool
    connects: bool
    rule_uuid: str


class Policy(msgspec.Struct, frozen=True):
    """A network-policy, read. `mentions` are fq names of policies its addresses stand for."""

    name: str
    rules: tuple[PolicyRule, ...]
    mentions: frozenset[str]
    revision: int

    def origin(self, rule: str, rule_uuid: str) -> Origin:
        """Provenance of what one rule makes."""
        return Origin(f"network-policy {self.name}", f"{rule} {rule_uuid}".rstrip(), self.revision)


class Wish(msgspec.Struct, frozen=True):
    """What a network's policies want it connected to: networks by name, and every network that
    lists it or, in its project, also wants all (TF's `*` connection).
    """

    networks: frozenset[str] = frozenset()
    everybody: bool = False


def parse_protocol(text: str | None, *, ipv6: bool = False) -> int | None:
    """Parse a rule's protocol (name or number) to an IP protocol number, None for any.

    Raises `InputError` for a name that is not known and a number above 255.
    """
    if text is None or text.lower() == ANY:
        return None
    word = text.lower()
    if word == "icmp" and ipv6:
        return PROTOCOL_NUMBERS["icmp6"]
    if word in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[word]
    if word.isascii() and word.isdigit() and int(word) <= 255:
        return int(word)
    raise InputError(
        "bad-protocol",
        f"{text!r} is not an IP protocol",
        hint=f"write any, a number 0-255 or one of {', '.join(sorted(PROTOCOL_NUMBERS))}",
    )


def read_policy(policy: Object) -> Policy:
    """Read a network-policy; rules without an action are left out, as in TF."""
    entries = policy.props.get("network_policy_entries") or {}
    rules = tuple(
        _read_rule(rule) for rule in entries.get("policy_rule") or () if rule.get("action_list")
    )
    mentions = frozenset(
        address.policy
        for rule in rules
        for address in (*rule.sources, *rule.destinations)
        if address.policy
    )
    return Policy(policy.name, rules, mentions, policy.revision)


def sides(rule: PolicyRule, network: str, members: Members) -> Iterator[tuple[Address, Address]]:
    """Yield the (source, destination) pairs that a rule means for a network it is attached to.

    `local` is replaced by the network, an address standing for a policy by that policy's
    networks. Rules with the network on neither side mean nothing to it, unless both sides are
    only subnets.
    """
    me = (network, ANY)
    for raw_source, raw_destination in product(rule.sources, rule.destinations):
        source, destination = _localized(raw_source, network), _localized(raw_destination, network)
        if source.network in me or destination.network in me:
            yield from product(_expanded(source, members), _expanded(destination, members))
            continue
        if destination.policy and network in members(destination.policy):
            mine = msgspec.structs.replace(destination, policy="", network=network)
            yield from product(_expanded(source, members), (mine,))
        if source.policy and network in members(source.policy):
            mine = msgspec.structs.replace(source, policy="", network=network)
            yield from product((mine,), _expanded(destination, members))
        if source.is_bare and destination.is_bare:
            yield source, destination


def wish(network: str, pairs: Iterable[tuple[Address, Address]]) -> Wish:
    """Return what the pairs of connecting rules want `network` to be connected to."""
    me = (network, ANY)
    remotes = set()
    for source, destination in pairs:
        if destination.network in me:
            remotes.add(source.network)
        if source.network in me:
            remotes.add(destination.network)
    return Wish(frozenset(remotes - {ANY, "", network}), ANY in remotes)


def _localized(address: Address, network: str) -> Address:
    if address.network == LOCAL:
        return msgspec.structs.replace(address, network=network)
    return address


def _expanded(address: Address, members: Members) -> list[Address]:
    if not address.policy:
        return [address]
    subnets, is_foreign = address.subnets, address.is_foreign
    return [Address(member, "", subnets, is_foreign) for member in members(address.policy)]


def _read_rule(rule: dict[str, Any]) -> PolicyRule:
    action = rule["action_list"]
    source_ports = read_ports(rule.get("src_ports"))
    destination_ports = read_ports(rule.get("dst_ports"))
    try:
        protocol = parse_protocol(rule.get("protocol"), ipv6=rule.get("ethertype") == "IPv6")
    except InputError:
        protocol = IMPOSSIBLE
    if not are_possible(protocol, source_ports + destination_ports):
        protocol = IMPOSSIBLE
    return PolicyRule(
        sources=tuple(_read_address(address) for address in rule.get("src_addresses") or ()),
        destinations=tuple(_read_address(address) for address in rule.get("dst_addresses") or ()),
        source_ports=source_ports,
        destination_ports=destination_ports,
        protocol=protocol,
        both_ways=rule.get("direction") == "<>",
        passes=action.get("simple_action") != "deny",
        connects=action.get("simple_action") == "pass" and not action.get("apply_service"),
        rule_uuid=rule.get("rule_uuid") or "",
    )


def _read_address(address: dict[str, Any]) -> Address:
    network = address.get("virtual_network") or ""
    listed = [address["subnet"]] if address.get("subnet") else []
    listed += address.get("subnet_list") or []
    subnets = tuple(prefix for prefix in map(_read_subnet, listed) if prefix is not None)
    return Address(
        network=network,
        policy="" if network else address.get("network_policy") or "",
        subnets=subnets,
        is_foreign=bool(listed) and not subnets,
    )


def _read_subnet(subnet: dict[str, Any]) -> Prefix | None:
    """Read a SubnetType; None where it is none. Host bits are dropped, as TF does."""
    try:
        address, version = parse_address(subnet["ip_prefix"])
        length = int(subnet["ip_prefix_len"])
    except (InputError, KeyError, TypeError, ValueError):
        return None
    if not 0 <= length <= bits_of(version):
        return None
    return Prefix(address & mask_of(length, version), length, version)


def read_ports(ports: list[dict[str, Any]] | None) -> tuple[tuple[int, int], ...]:
    """Read PortTypes: -1 means no bound, no entry at all means every port."""
    ranges = []
    for port in ports or ():
        start, end = port.get("start_port"), port.get("end_port")
        ranges.append(
            (
                start if isinstance(start, int) and start > 0 else 0,
                end if isinstance(end, int) and end >= 0 else ALL_PORTS[1],
            )
        )
    return tuple(ranges) or (ALL_PORTS,)


def are_possible(protocol: int | None, ranges: Iterable[tuple[int, int]]) -> bool:
    """Say whether packets can have the ports of a rule, or the ICMP type and code."""
    if protocol in TYPED:
        return all(
            kind <= _MAX_TYPE and (code <= _MAX_TYPE or code == ALL_PORTS[1])
            for kind, code in ranges
        )
    return all(0 <= start <= end <= ALL_PORTS[1] for start, end in ranges)
