"""Rules that fit: how many rules of an access control list those of a client become.

Hosts evaluate `MAX_ACL_RULES` of a list. A change that makes more of them is refused while the old
rules hold; one that leaves too many fewer than they were is not.

What is asked of a list can be added up rule by rule (`Sum`). Of the long lists asked for last the
sums are remembered, so that a change of one rule costs that rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

import msgspec

from filament.base.errors import InputError
from filament.base.limits import MAX_ACL_RULES, MAX_RULE_SHAPES
from filament.base.recent import Recent
from filament.base.splice import splice_of
from filament.model.change import Object
from filament.model.view import View

Rule = dict[str, Any]
_LOCAL = "local"  # a security group's own side
_POLICY, _NETWORK = "network-policy", "virtual-network"
_LONG_LIST = 64  # rules; the sums of shorter lists are not remembered
_REMEMBERED = 16  # long lists


class Sum(NamedTuple):
    """What the rules of a list come to: how many of them have each shape and each content, and how
    many rules they are in a list of hosts, at most.
    """

    shapes: Counter[object]
    contents: Counter[bytes]
    at_most: int


_sums: Recent[list[Rule], Sum] = Recent(_REMEMBERED)


def sum_of(rules: list[Rule], before: list[Rule] | None = None) -> Sum:
    """Return the sum of a list. Objects never change in place, nor do their rules: where that of
    `before` is remembered, only what differs is looked at.
    """
    known = _sums.get(rules)
    if known is not None:
        return known
    old = _sums.get(before) if before is not None else None
    shapes: Counter[object] = Counter()
    contents: Counter[bytes] = Counter()
    at_most = 0
    gone: list[Rule] = []
    come = rules
    if before is not None and old is not None:
        start, old_end, new_end = splice_of(before, rules)
        gone, come = before[start:old_end], rules[start:new_end]
        shapes, contents = Counter(old.shapes), Counter(old.contents)
        at_most = old.at_most
    for rule in gone:
        _take_away(shapes, _shapes(rule))
        _take_away(contents, (content_of(rule),))
    for rule in come:
        shapes.update(_shapes(rule))
    contents.update(map(content_of, come))
    at_most += sum(map(_at_most, come)) - sum(map(_at_most, gone))
    found = Sum(shapes, contents, at_most)
    if len(rules) >= _LONG_LIST:
        _sums.put(rules, found)
    return found


def content_of(rule: Rule) -> bytes:
    """Return what is the same for rules that say the same."""
    return msgspec.json.encode(
        {key: value for key, value in rule.items() if key != "rule_uuid"}, order="sorted"
    )


def _take_away(counts: Counter[Any], keys: Iterable[object]) -> None:
    for key in keys:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]


def group_rules(group: Object | None) -> list[Rule]:
    """Return the rules of a security group."""
    return _listed(group, "security_group_entries")


def policy_rules(policy: Object | None) -> list[Rule]:
    """Return the rules of a network policy."""
    return _listed(policy, "network_policy_entries")


def require_fitting_group(group: Object, before: Object | None) -> None:
    """Require that both lists of a security group fit, or have become shorter."""
    rules, known = group_rules(group), group_rules(before)
    summed = sum_of(rules, known)
    _require_few_shapes(group, rules, summed, known)
    if summed.at_most <= MAX_ACL_RULES:
        return
    for side, way in (("src_addresses", "egress"), ("dst_addresses", "ingress")):
        counts = [_in_group(rule, side) for rule in rules]
        if sum(counts) <= MAX_ACL_RULES:
            continue
        if sum(counts) <= sum(_in_group(rule, side) for rule in known):
            continue
        fitting = _fitting(counts)
        raise InputError(
            "too-many-rules",
            f"the {len(counts)} rules of security-group {group.name} make {sum(counts)} rules of"
            f" its {way} list, and hosts have room for {MAX_ACL_RULES}: the first {fitting} of its"
            " rules would fit",
            path="$.security-group.security_group_entries.policy_rule",
            hint=f"leave out {len(counts) - fitting} rules, or put them into another group that"
            " ports are in besides",
        )


def require_fitting_policy(view: View, policy: Object, before: Object | None) -> None:
    """Require the same of a policy, and of each network that it hangs on."""
    rules, known = policy_rules(policy), policy_rules(before)
    summed = sum_of(rules, known)
    _require_few_shapes(policy, rules, summed, known)
    if rules == known:
        return
    others = 0
    where = ""
    for network in view.referrers(policy.uuid, _NETWORK):
        beside = sum(_count(view, ref.uuid) for ref in network.refs_to(_POLICY))
        beside -= _count(view, policy.uuid)
        if beside > others:
            others, where = beside, f" in virtual-network {network.name}, beside {beside} of others"
    if summed.at_most + others <= MAX_ACL_RULES:
        return
    counts = [_in_policy(rule) for rule in rules]
    if sum(counts) + others <= MAX_ACL_RULES or sum(counts) <= sum(map(_in_policy, known)):
        return
    fitting = _fitting(counts, others)
    raise InputError(
        "too-many-rules",
        f"the {len(counts)} rules of network-policy {policy.name} make {sum(counts)} rules of an"
        f" access control list{where}, and hosts have room for {MAX_ACL_RULES}: the first {fitting}"
        " of its rules would fit",
        path="$.network-policy.network_policy_entries.policy_rule",
        hint=f"leave out {len(counts) - fitting} rules",
    )


def require_fitting_network(view: View, network: Object, before: Object | None) -> None:
    """Require the same of all policies of a network together."""
    policies = {ref.uuid for ref in network.refs_to(_POLICY)}
    if before is not None and policies <= {ref.uuid for ref in before.refs_to(_POLICY)}:
        return
    count = sum(_count(view, uuid) for uuid in policies)
    if count <= MAX_ACL_RULES:
        return
    raise InputError(
        "too-many-rules",
        f"the {len(policies)} network-policies of virtual-network {network.name} make {count} rules"
        f" of its access control list, and hosts have room for {MAX_ACL_RULES}",
        path="$.virtual-network.network_policy_refs",
        hint="attach fewer of them, or such as say the same with fewer rules",
    )


def _require_few_shapes(item: Object, rules: list[Rule], summed: Sum, before: list[Rule]) -> None:
    """Require that few shapes have to be tried for a packet (`forward.classify`), about as hosts
    will count them, or not more than before.
    """
    count = len(summed.shapes)
    if count <= MAX_RULE_SHAPES or count <= len(sum_of(before).shapes):
        return
    shapes: set[object] = set()
    fitting = 0
    for rule in rules:
        shapes |= _shapes(rule)
        if len(shapes) > MAX_RULE_SHAPES:
            break
        fitting += 1
    raise InputError(
        "too-many-shapes",
        f"the {len(rules)} rules of {item.kind} {item.name} look at packets in {count} ways (prefix"
        f" lengths, source ports), and hosts try {MAX_RULE_SHAPES} for one packet: the first"
        f" {fitting} of its rules would fit",
        path=f"$.{item.kind}.{item.kind.replace('-', '_')}_entries.policy_rule",
        hint="use fewer lengths of prefixes, and fewer ranges of source ports",
    )


def _shapes(rule: Rule) -> set[object]:
    """Return what tells a rule from those that are looked up with it."""
    lengths = [_lengths(rule.get(side) or ()) for side in ("src_addresses", "dst_addresses")]
    sources = {
        (one.get("start_port"), one.get("end_port")) for one in rule.get("src_ports") or [{}]
    }
    kinds = {_kind(one) for one in rule.get("dst_ports") or [{}]}
    has_protocol = (rule.get("protocol") or "any") != "any"
    return set(product(*lengths, sources, kinds, (has_protocol,), (rule.get("ethertype"),)))


def _lengths(addresses: Iterable[dict[str, Any]]) -> set[object]:
    """Return what is looked at of a side: lengths of prefixes, and whether a group or a network."""
    found: set[object] = set()
    for one in addresses:
        other = tuple(sorted(key for key, value in one.items() if value and "subnet" not in key))
        subnets = [one["subnet"]] if one.get("subnet") else []
        listed = [*subnets, *(one.get("subnet_list") or ())]
        found |= {(other, ":" in each["ip_prefix"], each.get("ip_prefix_len")) for each in listed}
        if not listed:
            found.add((other,))
    return found


def _kind(ports: dict[str, Any]) -> str:
    """Return how destination ports are looked up."""
    start, end = ports.get("start_port"), ports.get("end_port")
    if (start, end) in ((None, None), (-1, -1), (0, 65535)):
        return "any"
    return "one" if start == end else "range"


def _listed(item: Object | None, field: str) -> list[Rule]:
    if item is None:
        return []
    return (item.props.get(field) or {}).get("policy_rule") or []


def _count(view: View, uuid: str) -> int:
    return sum(map(_in_policy, policy_rules(view.get(uuid))))


def _fitting(counts: Iterable[int], taken: int = 0) -> int:
    """How many of the first rules fit."""
    fitting = 0
    for count in counts:
        taken += count
        if taken > MAX_ACL_RULES:
            break
        fitting += 1
    return fitting


def _in_group(rule: Rule, own_side: str) -> int:
    """How many rules of the list of one direction a rule of a group is."""
    count = _ports(rule)
    for side in ("src_addresses", "dst_addresses"):
        addresses = rule.get(side) or ()
        count *= sum(
            _prefixes(one)
            for one in addresses
            if side != own_side or one.get("security_group") == _LOCAL
        )
    return count


def _at_most(rule: Rule) -> int:
    """How many rules a rule can be in any list; as a rule it is one, which is told fast."""
    sources, destinations = rule.get("src_addresses") or (), rule.get("dst_addresses") or ()
    if (
        len(sources) <= 1
        and len(destinations) <= 1
        and len(rule.get("src_ports") or ()) <= 1
        and len(rule.get("dst_ports") or ()) <= 1
        and not any("subnet_list" in one for one in sources)
        and not any("subnet_list" in one for one in destinations)
    ):
        return 1
    return _in_policy(rule)


def _in_policy(rule: Rule) -> int:
    """How many rules of a list a rule of a policy is; networks named by a policy count as one."""
    count = _ports(rule)
    for side in ("src_addresses", "dst_addresses"):
        count *= sum(map(_prefixes, rule.get(side) or ()))
    return count


def _ports(rule: Rule) -> int:
    return max(1, len(rule.get("src_ports") or ())) * max(1, len(rule.get("dst_ports") or ()))


def _prefixes(address: dict[str, Any]) -> int:
    return max(1, bool(address.get("subnet")) + len(address.get("subnet_list") or ()))
