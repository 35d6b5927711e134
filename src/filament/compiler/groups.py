"""Security groups: each makes two access control lists, for what may leave a port and may come in.

Source: TF schema-transformer 5.3. A rule belongs to the egress list when its source is the group
itself (`local`), to the ingress list when its destination is; both lists exist, empty ones too,
and what no rule passes is dropped. Rules only pass. A remote group stands as its number, `any`
as -1. Which address may use which group is not decided here: groups go with ports and routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, product
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import Prefix, mask_of, parse_address
from filament.base.origin import Origin
from filament.base.splice import splice_of
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
    """One rule as read. `protocol` None is any; `version` None is both. `mentions` are the fq names
    of the groups it is about.
    """

    sources: tuple[Peer, ...]
    destinations: tuple[Peer, ...]
    source_ports: tuple[tuple[int, int], ...]
    destination_ports: tuple[tuple[int, int], ...]
    protocol: int | None
    version: int | None
    rule_uuid: str
    mentions: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """One security-group. `number` is what routes and rules call it, 0 until it has one;
    `mentions` are the fq names of other groups in its rules. `rules` are those of `entries`, None
    where nothing can be understood.
    """

    name: str
    uuid: str
    number: int
    rules: tuple[GroupRule | None, ...]
    mentions: frozenset[str]
    revision: int
    entries: list[dict[str, Any]]


class Pieces(msgspec.Struct, frozen=True):
    """What the rules of a group become, one by one, in its egress and in its ingress list."""

    egress: tuple[tuple[AclRule, ...], ...]
    ingress: tuple[tuple[AclRule, ...], ...]


def acl_names(group: str) -> tuple[str, str]:
    """The fq names of the two lists of a group."""
    return f"{group}:{EGRESS}", f"{group}:{INGRESS}"


def read_group(item: Object, before: Group | None = None) -> Group:
    """Read a security-group. Of rules that `before` had too, the reading of then is taken."""
    entries = (item.props.get("security_group_entries") or {}).get("policy_rule") or []
    number = item.props.get("security_group_id")
    if before is None:
        rules = tuple(map(_read_rule, entries))
    else:
        start, old_end, new_end = splice_of(before.entries, entries)
        known = before.rules
        rules = (*known[:start], *map(_read_rule, entries[start:new_end]), *known[old_end:])
    return Group(
        name=item.name,
        uuid=item.uuid,
        number=number if isinstance(number, int) else 0,
        rules=rules,
        mentions=frozenset(name for rule in rules if rule is not None for name in rule.mentions),
        revision=item.revision,
        entries=entries,
    )


def group_pieces(
    group: Group, number_of: NumberOf, before: tuple[Group, Pieces] | None = None
) -> Pieces:
    """Return what a group's rules become. `before` are the group and its pieces of some time when
    `number_of` gave the same numbers: what rules became then that are still there is taken.
    """
    if before is None:
        made = [_piece(group, rule, number_of) for rule in group.rules]
        return Pieces(tuple(one[0] for one in made), tuple(one[1] for one in made))
    was, known = before
    start, old_end, new_end = splice_of(was.rules, group.rules)
    made = [_piece(group, rule, number_of) for rule in group.rules[start:new_end]]
    return Pieces(
        (*known.egress[:start], *(one[0] for one in made), *known.egress[old_end:]),
        (*known.ingress[:start], *(one[1] for one in made), *known.ingress[old_end:]),
    )


def group_acls(group: Group, pieces: Pieces) -> tuple[Acl, Acl]:
    """Make the egress and the ingress list of a group.

    Its rules have the revision of their list, which is not repeated in each: what did not change is
    the same from one revision to the next.
    """
    egress, ingress = (
        Acl(
            name=name,
            network="",
            parent_uuid=group.uuid,
            rules=tuple(chain.from_iterable(rules)),
            origin=Origin(f"{SECURITY_GROUP} {group.name}", direction, group.revision),
            parent_kind=SECURITY_GROUP,
        )
        for name, direction, rules in zip(
            acl_names(group.name),
            (EGRESS, INGRESS),
            (pieces.egress, pieces.ingress),
            strict=True,
        )
    )
    return egress, ingress


def _piece(
    group: Group, rule: GroupRule | None, number_of: NumberOf
) -> tuple[tuple[AclRule, ...], tuple[AclRule, ...]]:
    """Return what a rule becomes in the egress and in the ingress list."""
    if rule is None:
        return (), ()
    made = list(_expanded(group, rule, number_of))
    return (
        tuple(one for direction, one in made if direction == EGRESS),
        tuple(one for direction, one in made if direction == INGRESS),
    )


def _expanded(group: Group, rule: GroupRule, number_of: NumberOf) -> Iterator[tuple[str, AclRule]]:
    origin = Origin(f"{SECURITY_GROUP} {group.name}", f"group-rule {rule.rule_uuid}".rstrip())
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
                        origin=origin,
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
    sources = tuple(map(_read_peer, rule.get("src_addresses") or ()))
    destinations = tuple(map(_read_peer, rule.get("dst_addresses") or ()))
    return GroupRule(
        sources=sources,
        destinations=destinations,
        source_ports=ports[0],
        destination_ports=ports[1],
        protocol=protocol,
        version=version,
        rule_uuid=rule.get("rule_uuid") or "",
        mentions=tuple(peer.group for peer in (*sources, *destinations) if ":" in peer.group),
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
