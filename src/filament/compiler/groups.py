"""Security groups: each makes two access control lists, for what may leave a port and may come in.

Source: TF schema-transformer 5.3. A rule belongs to the egress list when its source is the group
itself (`local`), to the ingress list when its destination is; both lists exist, empty ones too,
and what no rule passes is dropped. Rules only pass. A remote group stands as its number, `any`
as -1. Which address may use which group is not decided here: groups go with ports and routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import Prefix, mask_of, parse_address
from filament.base.origin import Origin
from filament.compiler.plan import ANY_GROUP, Acl, AclMatch, AclRule
from filament.compiler.policies import (
    LOCAL,
    PROTOCOL_NUMBERS,
    are_possible,
    parse_protocol,
    read_ports,
)
from filament.model.change import Object

SECURITY_GROUP = "security-group"
INGRESS, EGRESS = "ingress-access-control-list", "egress-access-control-list"
GROUP_LISTS = frozenset((INGRESS, EGRESS))
_VERSIONS = {"IPv4": 4, "IPv6": 6}
# Finds the number of a group by its fq name; None when there is none.
NumberOf = Callable[[str], int | None]


class Peer(msgspec.Struct, frozen=True):
    """One side of a rule: the group itself, another group by name, `any` group, or prefixes.

    `prefixes` empty means every address, unless `is_empty`: prefixes were given, none is usable.
    """

    group: str = ""
    prefixes: tuple[Prefix, ...] = ()
    is_empty: bool = False


class GroupRule(msgspec.Struct, frozen=True):
    """One rule as read. `protocol` None is any; `version` None is both."""

    sources: tuple[Peer, ...]
    destinations: tuple[Peer, ...]
    source_ports: tuple[tuple[int, int], ...]
    destination_ports: tuple[tuple[int, int], ...]
    protocol: int | None
    version: int | None
    rule_uuid: str


class Group(msgspec.Struct, frozen=True):
    """One security-group. `number` is what routes and rules call it, 0 until it has one;
    `mentions` are the fq names of other groups in its rules.
    """

    name: str
    uuid: str
    number: int
    rules: tuple[GroupRule, ...]
    mentions: frozenset[str]
    revision: int


def acl_names(group: str) -> tuple[str, str]:
    """The fq names of the two lists of a group."""
    return f"{group}:{EGRESS}", f"{group}:{INGRESS}"


def read_group(item: Object) -> Group:
    """Read a security-group; rules of which nothing can be understood are left out."""
    entries = item.props.get("security_group_entries") or {}
    read = (_read_rule(rule) for rule in entries.get("policy_rule") or ())
    rules = tuple(rule for rule in read if rule is not None)
    named = (peer.group for rule in rules for peer in (*rule.sources, *rule.destinations))
    number = item.props.get("security_group_id")
    return Group(
        name=item.name,
        uuid=item.uuid,
        number=number if isinstance(number, int) else 0,
        rules=rules,
        mentions=frozenset(name for name in named if ":" in name),
        revision=item.revision,
    )


def group_acls(group: Group, number_of: NumberOf) -> tuple[Acl, Acl]:
    """Make the egress and the ingress list of a group."""
    rules: dict[str, list[AclRule]] = {EGRESS: [], INGRESS: []}
    for rule in group.rules:
        for direction, made in _expanded(group, rule, number_of):
            rules[direction].append(made)
    egress, ingress = (
        Acl(
            name=name,
            network="",
            parent_uuid=group.uuid,
            rules=tuple(rules[direction]),
            origin=Origin(f"{SECURITY_GROUP} {group.name}", direction, group.revision),
            parent_kind=SECURITY_GROUP,
        )
        for name, direction in zip(acl_names(group.name), (EGRESS, INGRESS), strict=True)
    )
    return egress, ingress


def _expanded(group: Group, rule: GroupRule, number_of: NumberOf) -> Iterator[tuple[str, AclRule]]:
    sides = product(rule.sources, rule.source_ports, rule.destinations, rule.destination_ports)
    for source, source_ports, destination, destination_ports in sides:
        directions = [EGRESS] if source.group == LOCAL else []
        directions += [INGRESS] if destination.group == LOCAL else []
        for direction in directions:
            for left, right in product(
                _matches(source, source_ports, number_of),
                _matches(destination, destination_ports, number_of),
            ):
                yield (
                    direction,
                    AclRule(
                        source=left,
                        destination=right,
                        protocol=rule.protocol,
                        passes=True,
                        both_ways=False,
                        rule_uuid=rule.rule_uuid,
                        origin=Origin(
                            f"{SECURITY_GROUP} {group.name}",
                            f"group-rule {rule.rule_uuid}".rstrip(),
                            group.revision,
                        ),
                        version=rule.version,
                    ),
                )


def _matches(peer: Peer, ports: tuple[int, int], number_of: NumberOf) -> Iterator[AclMatch]:
    """What a side means: nothing where its group or its prefixes are not there."""
    if peer.is_empty:
        return
    number: int | None = None
    if peer.group not in {"", LOCAL}:
        number = _number(peer.group, number_of)
        if not number:
            return
    for prefix in peer.prefixes or (None,):
        yield AclMatch("", prefix, ports, number)


def _number(group: str, number_of: NumberOf) -> int | None:
    if group == "any":
        return ANY_GROUP
    if ":" not in group and group.isascii() and group.isdigit():
        return int(group)
    return number_of(group)


def _read_rule(rule: dict[str, Any]) -> GroupRule | None:
    version = _VERSIONS.get(rule.get("ethertype") or "")
    try:
        protocol = parse_protocol(rule.get("protocol"), ipv6=version == 6)
    except InputError:
        return None  # the API refuses these; a plan is total
    if protocol == PROTOCOL_NUMBERS["icmp6"] and version is None:
        version = 6
    ports = [read_ports(rule.get(side)) for side in ("src_ports", "dst_ports")]
    if not are_possible(protocol, (*ports[0], *ports[1])):
        return None
    return GroupRule(
        sources=tuple(map(_read_peer, rule.get("src_addresses") or ())),
        destinations=tuple(map(_read_peer, rule.get("dst_addresses") or ())),
        source_ports=ports[0],
        destination_ports=ports[1],
        protocol=protocol,
        version=version,
        rule_uuid=rule.get("rule_uuid") or "",
    )


def _read_peer(address: dict[str, Any]) -> Peer:
    listed = [address["subnet"]] if address.get("subnet") else []
    listed += address.get("subnet_list") or []
    found = (_read_prefix(subnet) for subnet in listed)
    prefixes = tuple(prefix for prefix in found if prefix is not None)
    return Peer(address.get("security_group") or "", prefixes, bool(listed) and not prefixes)


def _read_prefix(subnet: dict[str, Any]) -> Prefix | None:
    """Read a SubnetType; host bits are dropped, as TF does."""
    try:
        address, version = parse_address(subnet["ip_prefix"])
        length = int(subnet["ip_prefix_len"])
        return Prefix(address & mask_of(length, version), length, version)
    except (InputError, KeyError, TypeError, ValueError):
        return None
