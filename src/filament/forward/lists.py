"""From filters, security groups and policy sets to the rows of lists of rules. Pure.

A list has a number of its own content: changed content is another number, so a port goes from one
list to the next by one row, and never sees half of each. Ports in the same security groups share
their two lists; ports with the same policy sets and tags share two more. A set of security groups,
as routes carry them, has a number, and so has a set of tags; a rule about members of one group is
about every set on this host that the group is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from filament.base.net import Prefix, mask_of, widen_address
from filament.base.origin import Origin
from filament.forward.classify import ANY_PORTS, Rule, compile_rules
from filament.forward.firewall import Mentions, piece_rules
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    FirewallPolicy,
    PolicySet,
    SecurityGroup,
)
from filament.forward.layout import ACL_DENY, ACL_PASS, ASKS_GROUPS, ASKS_TAGS, PROTOCOL_ANY
from filament.forward.parse import ICMP_BY_VERSION
from filament.forward.tables import Key, Row

LIST_TABLES = ("rules", "ranges", "buckets", "shapes", "lists")
_WIDE_BITS = 96  # that a wide IPv4 address has before its own
_ICMPS = frozenset(ICMP_BY_VERSION.values())


class Directed(NamedTuple):
    """A rule in one direction, and whom it is there for.

    `far_sets` are the sets (of security groups, or of tags) that the far end may have, None any.
    """

    source: FilterMatch
    destination: FilterMatch
    rule: FilterRule
    origin: Origin
    far_sets: tuple[int, ...] | None = None


class _Known(NamedTuple):
    """A list made before, and what it was made from: the same things make the same rows."""

    made_from: tuple[object, ...]
    far_sets: frozenset[tuple[int, ...]] | None  # those there were, None when no rule asks
    name: str
    number: int
    networks: dict[str, int]
    rows: dict[str, dict[Key, Row]]


class Memo:
    """What a planner remembers of lists between plans, by name; one per agent.

    Making the rows of ten thousand rules takes long, and few changes touch them.
    """

    def __init__(self) -> None:
        self.known: dict[str, _Known] = {}
        self._mentions: dict[str, tuple[FirewallPolicy, Mentions]] = {}

    def mentions(self, policies: Iterable[FirewallPolicy]) -> Mentions:
        """Return what the rules of policies ask of tags."""
        found = []
        for policy in policies:
            known = self._mentions.get(policy.name)
            if known is None or known[0] is not policy:
                known = self._mentions[policy.name] = policy, Mentions.of((policy,))
            found.append(known[1])
        return Mentions.union(found)

    def forget_policies_but(self, names: set[str]) -> None:
        """Forget policies that are gone."""
        for name in self._mentions.keys() - names:
            del self._mentions[name]


class Numbers(NamedTuple):
    """Where numbers come from: `(space, name) -> number`, noting that it is used."""

    number: Callable[[str, str], int]

    def network(self, name: str) -> int:
        """The number of a network, 0 of any."""
        return self.number("network", name) if name else 0


class Sets:
    """The sets of security groups, or of tags, that addresses here or heard of have, by number."""

    def __init__(self, numbers: Numbers, space: str, asked_as: int) -> None:
        self.asked_as = asked_as  # in rules.groups
        self._numbers = numbers
        self._space = space
        self.by_members: dict[tuple[int, ...], int] = {}
        self.is_asked = False  # whether some rule asks which set an address has

    def number(self, members: Iterable[int]) -> int:
        """Return the number of a set, 0 of the empty one."""
        listed = tuple(sorted(set(members)))
        if not listed:
            return 0
        number = self.by_members.get(listed)
        if number is None:
            name = ",".join(map(str, listed))
            number = self.by_members[listed] = self._numbers.number(self._space, name)
        return number

    def having(self, member: int) -> tuple[int, ...]:
        """Return the numbers of the sets that one is a member of."""
        return tuple(
            sorted(number for members, number in self.by_members.items() if member in members)
        )


class ListPlanner:
    """Makes the rows of one plan's lists, into `rows`."""

    def __init__(
        self, numbers: Numbers, rows: dict[str, dict[Key, Row]], memo: Memo | None = None
    ) -> None:
        self._numbers = numbers
        self._rows = rows
        self._memo = memo or Memo()
        self._before = self._memo.known
        self._memo.known = {}
        self.groups = Sets(numbers, "groups", ASKS_GROUPS)
        self.tags = Sets(numbers, "tags", ASKS_TAGS)

    def of_filter(self, one: Filter) -> int:
        """Return the list of a filter."""
        return self._list(one.name, (one,), lambda: _both_ways(one.rules), one.origin, self.groups)

    def of_groups(self, groups: Sequence[SecurityGroup], *, is_egress: bool) -> int:
        """Return the list of what some security groups let out, or in."""
        way = "egress" if is_egress else "ingress"
        names = ",".join(one.name for one in groups)

        def rules() -> list[Directed]:
            return [
                self._of_far_group(rule)
                for one in groups
                for rule in (one.egress if is_egress else one.ingress)
            ]

        origin = min((one.origin for one in groups), key=lambda one: (one.revision, one.object))
        return self._list(f"{way} {names}", tuple(groups), rules, origin, self.groups)

    def _of_far_group(self, rule: FilterRule) -> Directed:
        group = rule.source.security_group or rule.destination.security_group
        far_sets = self.groups.having(group) if group else None
        return Directed(rule.source, rule.destination, rule, rule.origin, far_sets)

    def of_policy_sets(
        self, sets: Sequence[PolicySet], tags: frozenset[int], *, is_egress: bool
    ) -> int:
        """Return the list of what policy sets, in order, let out of a port with `tags`, or in; 0
        when they have no policy. Which far ends there are must be known by now (`self.tags`).
        """
        policies = [policy for one in sets for policy in one.policies]
        if not policies:
            return 0
        tags = self._memo.mentions(policies).relevant(tags)
        way = "egress" if is_egress else "ingress"
        names = ",".join(one.name for one in sets)
        name = f"firewall-{way} {','.join(map(str, sorted(tags))) or '-'} {names}"

        def rules() -> list[Directed]:
            return [
                Directed(*piece)
                for piece in piece_rules(sets, tags, self.tags.by_members, is_egress=is_egress)
            ]

        first = sets[0].origin
        origin = Origin(first.object, "implicit-deny", first.revision)
        return self._list(name, (*sets, *policies), rules, origin, self.tags)

    def empty(self, name: str, origin: Origin) -> int:
        """Return a list without rules, which denies everything."""
        number = self._numbers.number("list", name)
        self._rows["lists"].setdefault((number,), Row((0,), origin))
        return number

    def _list(
        self,
        name: str,
        made_from: tuple[object, ...],
        rules: Callable[[], list[Directed]],
        origin: Origin,
        sets: Sets,
    ) -> int:
        # A list's name has no blanks in it but those that separate its parts here.
        known = self._memo.known.get(name) or self._reusable(name, made_from, sets)
        if known is None:
            known = self._make(name, made_from, rules(), origin, sets)
        if name not in self._memo.known:
            self._memo.known[name] = known
            sets.is_asked |= known.far_sets is not None
            for table in LIST_TABLES:
                self._rows[table].update(known.rows[table])
        return known.number

    def _reusable(self, name: str, made_from: tuple[object, ...], sets: Sets) -> _Known | None:
        """Return what was made of the very same things, with the same numbers, before."""
        known = self._before.get(name)
        if (
            known is None
            or len(known.made_from) != len(made_from)
            or any(one is not other for one, other in zip(known.made_from, made_from, strict=True))
            or known.far_sets not in (None, frozenset(sets.by_members))
            or any(
                self._numbers.number("network", network) != number
                for network, number in known.networks.items()
            )
            or self._numbers.number("list", known.name) != known.number
        ):
            return None
        return known

    def _make(
        self,
        name: str,
        made_from: tuple[object, ...],
        rules: list[Directed],
        origin: Origin,
        sets: Sets,
    ) -> _Known:
        networks: dict[str, int] = {}
        numeric = [self._rule(index, one, networks) for index, one in enumerate(rules)]
        fingerprint = hashlib.sha256(repr(numeric).encode()).hexdigest()[:16]
        full_name = f"{name} {fingerprint}"
        number = self._numbers.number("list", full_name)
        compiled = compile_rules(numeric)
        rows: dict[str, dict[Key, Row]] = {table: {} for table in LIST_TABLES}
        for index, (rule, one) in enumerate(zip(numeric, rules, strict=True)):
            asked = 0 if rule.groups is None else sets.asked_as
            rows["rules"][number, index] = Row(_rule_values(rule, asked), one.origin)
        for table, values_by_key in (
            ("ranges", compiled.ranges),
            ("buckets", compiled.buckets),
            ("shapes", compiled.shapes),
        ):
            made = rows[table]
            for key, values in values_by_key.items():
                made[number, *key] = Row(values, origin)
        rows["lists"][number,] = Row((len(compiled.shapes),), origin)
        asks = any(rule.groups is not None for rule in numeric)
        far_sets = frozenset(sets.by_members) if asks else None
        return _Known(made_from, far_sets, full_name, number, networks, rows)

    def _rule(self, index: int, one: Directed, networks: dict[str, int]) -> Rule:
        rule = one.rule
        for network in (one.source.network, one.destination.network):
            if network:
                networks[network] = self._numbers.network(network)
        versions = {
            side.prefix.version for side in (one.source, one.destination) if side.prefix.length
        }
        return Rule(
            index,
            ACL_PASS if rule.passes else ACL_DENY,
            networks.get(one.source.network, 0),
            networks.get(one.destination.network, 0),
            one.far_sets,
            *_wide(one.source.prefix),
            *_wide(one.destination.prefix),
            one.source.ports,
            _icmp_ports(rule) if rule.protocol in _ICMPS else one.destination.ports,
            PROTOCOL_ANY if rule.protocol is None else rule.protocol,
            rule.version or min(versions, default=0),
        )


def _both_ways(rules: Iterable[FilterRule]) -> list[Directed]:
    found = []
    for rule in rules:
        found.append(Directed(rule.source, rule.destination, rule, rule.origin))
        if rule.both_ways and rule.source != rule.destination:
            origin = rule.origin
            reverse = Origin(origin.object, f"{origin.rule} reversed", origin.revision)
            found.append(Directed(rule.destination, rule.source, rule, reverse))
    return found


def _icmp_ports(rule: FilterRule) -> tuple[int, int]:
    kind, code = rule.icmp
    if kind is None:
        return ANY_PORTS
    if code is None:
        return kind << 8, kind << 8 | 255
    return kind << 8 | code, kind << 8 | code


def _wide(prefix: Prefix) -> tuple[int, int]:
    """Return a prefix as wide address and mask; one of length 0 is any address."""
    if not prefix.length:
        return 0, 0
    length = prefix.length + (_WIDE_BITS if prefix.version == 4 else 0)
    return widen_address(prefix.address, prefix.version), mask_of(length, 6)


def _rule_values(rule: Rule, asked: int) -> tuple[int, ...]:
    return (
        rule.source_network,
        rule.destination_network,
        rule.source,
        rule.source_mask,
        rule.destination,
        rule.destination_mask,
        *rule.source_ports,
        *rule.ports,
        rule.protocol,
        rule.version,
        asked,
        rule.action,
    )
