"""Access control lists as TF writes them (schema_transformer 5.2) -> `forward.inputs.Filter`.

Fails closed: first match decides and none denies, so a rule that cannot be read ends its list;
passing over it might let through what it denies.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from filament.base.errors import InputError
from filament.base.limits import MAX_ACL_RULES
from filament.base.net import Prefix, parse_address
from filament.base.origin import Origin
from filament.base.splice import splice_of
from filament.forward.inputs import Filter, FilterMatch, FilterRule
from filament.wire.xmpp.stanza import Node

_ANY_PORTS = (0, 65535)
_ICMPS = (1, 58)
_VERSION_BY_ETHERTYPE = {None: 0, "": 0, "IPv4": 4, "IPv6": 6}


class _Prefix(Struct):
    ip_prefix: str | None = None
    ip_prefix_len: int | None = None


class _Address(Struct):
    subnet: _Prefix | None = None
    subnet_list: list[_Prefix] | _Prefix | None = None
    virtual_network: str | None = None
    security_group: str | None = None
    network_policy: str | None = None


class _Ports(Struct):
    start_port: int | None = None
    end_port: int | None = None


class _Match(Struct):
    protocol: str | int | None = None
    src_address: _Address | None = None
    src_port: _Ports | None = None
    dst_address: _Address | None = None
    dst_port: _Ports | None = None
    ethertype: str | None = None


class _Actions(Struct):
    simple_action: str | None = None


class _Rule(Struct):
    """One rule; `origin` is Filament's addition: the policy's rule that it was made from. One
    without a revision has its list's.
    """

    match_condition: _Match | None = None
    action_list: _Actions | None = None
    rule_uuid: str | None = None
    direction: str | None = None
    origin: Origin | None = None


def is_dynamic(node: Node) -> bool:
    """Say whether an access-control-list is TF's second one of a network, which decides nothing."""
    entries = node.props.get("access_control_list_entries")
    given = entries.get("dynamic") if isinstance(entries, dict) else None
    return str(given).lower() == "true"


class ReadFilter(NamedTuple):
    """What a node was read as: its filter, and what is wrong with it. `read` are the rules as they
    were given, with what they mean; None is what no packet can match. `have_origins` says that
    no rule of these is called by its place.
    """

    filter: Filter
    faults: list[str]
    given: list[object]
    read: tuple[FilterRule | None, ...]
    have_origins: bool


def read_filter(node: Node, before: ReadFilter | None = None) -> ReadFilter:
    """Read an access-control-list node. A malformed rule, and every rule after it, is left out.

    Of rules that `before` had too, the reading of then is taken; all of it where now there are too
    many.
    """
    name = f"access-control-list {node.name}"
    read: list[FilterRule | None] = []
    faults: list[str] = []
    entries = node.props.get("access_control_list_entries") or {}
    given = entries.get("acl_rule") if isinstance(entries, dict) else entries
    if isinstance(given, dict):  # TF's XML does not tell a list of one from its only member
        given = [given]
    if not isinstance(given, list | None):
        faults.append(
            f"access_control_list_entries is {given!r:.64}, not a list of rules: denies all"
        )
        given = None
    given = given or []
    rest: tuple[FilterRule | None, ...] = ()
    if before is not None and len(given) > MAX_ACL_RULES:
        faults.append(
            f"it has {len(given)} rules, and only {MAX_ACL_RULES} are evaluated: those that it had"
            " before stay"
        )
        return before._replace(faults=faults)
    have_origins = False
    count = 0
    if before is not None and not before.faults and before.have_origins:
        start, old_end, end = splice_of(before.given, given)
        have_origins = all(map(_has_origin, given[start:end]))
    if before is not None and have_origins:
        read, rest = list(before.read[:start]), before.read[old_end:]
        gone = sum(rule is not None for rule in before.read[start:old_end])
        count = len(before.filter.rules) - gone
    else:
        start, end = 0, len(given)
        have_origins = all(map(_has_origin, given))
    for index, value in enumerate(given[start:end], start):
        try:
            if count == MAX_ACL_RULES:
                raise InputError("too-many-rules", f"only {MAX_ACL_RULES} rules are evaluated")
            rule = _rule(value, name, index, node.revision)
            count += rule is not None
            read.append(rule)
        except (InputError, msgspec.ValidationError) as error:
            faults.append(
                f"access_control_list_entries.acl_rule[{index}]: {error}; "
                "this rule and those after it are replaced by deny"
            )
            rest = ()
            break
    read += rest
    rules = tuple(rule for rule in read if rule is not None)
    made = Filter(node.name, rules, Origin(name, "filter", node.revision))
    return ReadFilter(made, faults, given, tuple(read), have_origins)


def _has_origin(value: object) -> bool:
    return isinstance(value, dict) and "origin" in value


def _rule(value: object, name: str, index: int, revision: int) -> FilterRule | None:
    """Read one rule; None when no packet can match it, being of both IP versions."""
    rule = msgspec.convert(value, _Rule, strict=False)
    match = rule.match_condition or _Match()
    action = (rule.action_list or _Actions()).simple_action
    if action not in ("pass", "deny"):
        raise InputError("bad-action", f"simple_action is {action!r}", hint="write pass or deny")
    if rule.direction not in (None, ">", "<>"):
        raise InputError("bad-direction", f"direction is {rule.direction!r}", hint="write > or <>")
    if match.ethertype not in _VERSION_BY_ETHERTYPE:
        raise InputError(
            "bad-ethertype", f"ethertype is {match.ethertype!r}", hint="write IPv4 or IPv6"
        )
    versions = _versions_of(match)
    if len(versions) > 1:
        return None
    protocol = _protocol(match.protocol)
    is_icmp = protocol in _ICMPS
    return FilterRule(
        source=_side(match.src_address, match.src_port),
        destination=_side(match.dst_address, None if is_icmp else match.dst_port),
        protocol=protocol,
        version=min(versions, default=0),
        icmp=_icmp(match.dst_port) if is_icmp else (None, None),
        passes=action == "pass",
        both_ways=rule.direction == "<>",
        origin=rule.origin
        or Origin(name, f"rule {index + 1} {rule.rule_uuid or ''}".rstrip(), revision),
    )


def _versions_of(match: _Match) -> set[int]:
    """The IP versions that a rule names: `::/0` is every address, but of IPv6 only."""
    sides = (match.src_address, match.dst_address)
    subnets = [side.subnet for side in sides if side is not None and side.subnet is not None]
    bases = [subnet.ip_prefix for subnet in subnets if subnet.ip_prefix is not None]
    versions = {parse_address(base).version for base in bases}
    return (versions | {_VERSION_BY_ETHERTYPE[match.ethertype]}) - {0}


def _protocol(given: str | int | None) -> int | None:
    if given in (None, "", "any"):
        return None
    text = str(given)
    if not (text.isascii() and text.isdigit() and int(text) <= 255):
        raise InputError(
            "bad-protocol", f"protocol is {given!r}", hint="write a number 0-255 or any"
        )
    return int(text)


def _icmp(ports: _Ports | None) -> tuple[int | None, int | None]:
    """Read ICMP type and code out of destination ports: Neutron's words for them. One number, or
    one without an upper bound, is a type with any code.
    """
    kind, code = (ports.start_port, ports.end_port) if ports is not None else (None, None)
    if kind in (None, -1) or (kind, code) in ((0, 0xFF), _ANY_PORTS):
        return None, None
    assert kind is not None
    if code is None or code in (-1, _ANY_PORTS[1]):
        code = kind
    if not (0 <= kind <= 0xFF and 0 <= code <= 0xFF):
        raise InputError(
            "bad-icmp", f"ICMP type {kind} and code {code}", hint="write numbers 0-255"
        )
    return kind, None if code == kind else code


def _side(address: _Address | None, ports: _Ports | None) -> FilterMatch:
    given = address or _Address()
    if given.network_policy or given.subnet_list:
        raise InputError("bad-address", "network_policy and subnet_list must be expanded by now")
    network = given.virtual_network or ""
    prefix = Prefix(0, 0)
    if given.subnet is not None and given.subnet.ip_prefix is not None:
        length = given.subnet.ip_prefix_len
        suffix = "" if length is None else f"/{length}"
        prefix = Prefix.parse(f"{given.subnet.ip_prefix}{suffix}")
    return FilterMatch(
        "" if network == "any" else network,
        prefix,
        _port_range(ports),
        _group(given.security_group),
    )


def _group(given: str | None) -> int:
    """Read the number of a security group; 0 for none, and for any (-1 in TF)."""
    if given in (None, "", "any", "-1"):
        return 0
    text = str(given)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 32):
        raise InputError(
            "bad-address", f"security_group is {given!r}", hint="write a group's number or any"
        )
    return int(text)


def _port_range(ports: _Ports | None) -> tuple[int, int]:
    if ports is None or ports.start_port in (None, -1):  # -1 is TF's any
        return _ANY_PORTS
    start = ports.start_port
    end = start if ports.end_port is None else ports.end_port
    assert start is not None
    if not 0 <= start <= end <= 65535:
        raise InputError(
            "bad-ports", f"ports are {start} to {end}", hint="write 0 <= start <= end <= 65535"
        )
    return start, end
