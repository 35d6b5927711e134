"""From filters, security groups and policy sets to the rows of lists of rules. Pure.

A list has a name, and by it a number, of its own content. As a rule changed content is another
number, so a port goes from one list to the next by one row, and never sees half of each. Lists of
security groups are long and only pass: they are changed where they stand (`forward.growing`), and
keep the number under another name. Ports in the same security groups share
their two lists; ports with the same policy sets and tags share two more. A set of security groups,
as routes carry them, has a number, and so has a set of tags; a rule about members of one group is
about every set on this host that the group is in.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from filament.base.limits import MAX_RULE_SHAPES
from filament.base.net import Prefix, mask_of, widen_address
from filament.base.origin import Origin
from filament.base.splice import splice_of
from filament.forward.classify import ANY_PORTS, Rule, compile_halves, compile_rules
from filament.forward.fat import prefixes_of
from filament.forward.firewall import Mentions, piece_rules
from filament.forward.growing import Grown, Numbering, lay_out
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    FirewallPolicy,
    PolicySet,
    SecurityGroup,
)
from filament.forward.layout import (
    ACL_DENY,
    ACL_PASS,
    ASKS_GROUPS,
    ASKS_TAGS,
    PROTOCOL_ANY,
    TABLE_BY_NAME,
)
from filament.forward.list_rows import LONG_TABLES, rewrite_list, rule_rows, write_list
from filament.forward.parse import ICMP_BY_VERSION
from filament.forward.sets import Numbers, Sets
from filament.forward.tables import Delta, Key, Row

LIST_TABLES = ("rules", "ranges", "buckets", "shapes", "lists")
_KERNEL_TABLES = LIST_TABLES[1:]
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


Halves = tuple[list[Directed], ...]  # of a list: one, or two of which each must let a packet pass


class _Known(NamedTuple):
    """A list made before, and what it was made from: the same things make the same rows."""

    made_from: tuple[object, ...]
    far_sets: frozenset[tuple[int, ...]] | None  # those there were, None when no rule asks
    name: str
    number: int
    networks: dict[str, int]
    rows: dict[str, dict[Key, Row]]
    rules: tuple[FilterRule, ...] = ()  # of a list that can be edited, and what it became
    grown: Grown | None = None


class Edition(NamedTuple):
    """What edits leave of a list besides its rules: its name, the numbers of its rules and what
    else its rows are called.
    """

    name: str
    positions: tuple[int, ...]
    numbering: Numbering


class Memo:
    """What a planner remembers of lists between plans, by name; one per agent.

    Making the rows of ten thousand rules takes long, and few changes touch them.
    """

    def __init__(self, editions: Mapping[str, Edition] | None = None) -> None:
        self.known: dict[str, _Known] = {}
        self.given = dict(editions or {})
        # Lists that did not fit: what they were to be made from, what was taken then, and what was
        # said of it.
        self.refused: dict[str, tuple[tuple[object, ...], dict[str, int], str]] = {}
        self._mentions: dict[str, tuple[FirewallPolicy, Mentions]] = {}
        self.plan: object = None  # stands for the last plan; None while one is made
        self.prefixes: dict[str, frozenset[Prefix]] = {}  # that rules look at, by list and content

    def editions(self) -> dict[str, Edition]:
        """Return what it takes to make the same rows again from the same inputs, and nothing of
        the rows: another planner proves them by it.
        """
        return {
            name: Edition(
                one.name,
                tuple(rule.position for rule in one.grown.rules),
                one.grown.numbering,
            )
            for name, one in self.known.items()
            if one.grown is not None
        }

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


class ListPlanner:
    """Makes the rows of one plan's lists, into `rows`.

    With `may_edit`, lists may change where they stand: only if rows that are not asked for any more
    are sure to be deleted.
    """

    def __init__(
        self,
        numbers: Numbers,
        rows: dict[str, dict[Key, Row]],
        memo: Memo | None = None,
        *,
        may_edit: bool = False,
    ) -> None:
        self._may_edit = may_edit
        self._numbers = numbers
        self._rows = rows
        self._memo = memo or Memo()
        self._before = self._memo.known
        self._memo.known = {}
        self._plan_before, self._memo.plan = self._memo.plan, None
        # Of lists that were edited: what came of it, and the keys of rows that are not as before.
        self._edited: dict[str, tuple[_Known, dict[str, set[Key]]]] = {}
        names = {one.name for one in self._before.values()}
        self._memo.prefixes = {
            name: found for name, found in self._memo.prefixes.items() if name in names
        }
        # Rows that there are, and those that there will be besides: old lists go after new ones.
        self._taken = {
            table: sum(len(one.rows[table]) for one in self._before.values())
            for table in _KERNEL_TABLES
        }
        self.misfits: list[str] = []
        self.groups = Sets(numbers, "groups", ASKS_GROUPS)
        self.tags = Sets(numbers, "tags", ASKS_TAGS)

    def of_filter(self, one: Filter) -> int:
        """Return the list of a filter."""
        return self._list(
            one.name, (one,), lambda: (_both_ways(one.rules),), one.origin, self.groups
        )

    def of_groups(self, groups: Sequence[SecurityGroup], *, is_egress: bool) -> int:
        """Return the list of what some security groups let out, or in."""
        way = "egress" if is_egress else "ingress"
        name = f"{way} {','.join(one.name for one in groups)}"
        made_from = tuple(groups)
        known = self._memo.known.get(name) or self._reusable(name, made_from, self.groups)
        origin = min((one.origin for one in groups), key=lambda one: (one.revision, one.object))
        if known is None and not self._is_refused(name, made_from):
            rules = tuple(
                rule for one in groups for rule in (one.egress if is_egress else one.ingress)
            )
            known = self._edit(name, made_from, rules) or self._grow(name, made_from, rules, origin)
        return self._take(name, known, self.groups, origin)

    def _edit(
        self, name: str, made_from: tuple[SecurityGroup, ...], rules: tuple[FilterRule, ...]
    ) -> _Known | None:
        """Return the list that was made before, changed to what its rules are now; None when it has
        to be made anew.
        """
        before = self._before.get(name)
        if (
            not self._may_edit
            or before is None
            or before.grown is None
            or before.far_sets not in (None, frozenset(self.groups.by_members))
            or self._numbers.number("list", before.name) != before.number
        ):
            return None
        splice = splice_of(before.rules, rules)
        new = rules[splice.start : splice.new_end]
        gone = before.grown.rules[splice.start : splice.old_end]
        if not all(_can_grow(rule) for rule in new) or 2 * (len(new) + len(gone)) > len(rules):
            return None
        first = before.grown.numbering.next_rule
        numeric = [
            self._rule(first + index, self._of_far_group(rule), {})
            for index, rule in enumerate(new)
        ]
        grown = before.grown.edited(splice, numeric)
        if grown is None:
            return None
        full_name = before.name
        if new or gone:
            full_name = f"{name} {_fingerprint((before.name, gone, numeric))}"
            self._numbers.rename("list", before.name, full_name)
        number = self._numbers.number("list", full_name)
        rows = {table: dict(known) for table, known in before.rows.items()}
        origin = before.rows["lists"][number,].origin
        for rule in gone:
            del rows["rules"][number, rule.position]
        rows["rules"] |= rule_rows(number, numeric, self._origins(made_from, new))
        keys = rewrite_list(rows, number, before.grown.rows, grown, origin)
        asks = before.far_sets is not None or any(rule.groups is not None for rule in numeric)
        far_sets = frozenset(self.groups.by_members) if asks else None
        known = _Known(made_from, far_sets, full_name, number, {}, rows, rules, grown)
        self._edited[name] = known, keys
        return known

    def _grow(
        self,
        name: str,
        made_from: tuple[SecurityGroup, ...],
        rules: tuple[FilterRule, ...],
        origin: Origin,
    ) -> _Known:
        """Make a list that may be edited later; one that cannot be is made like others."""
        if not all(map(_can_grow, rules)):
            origins = self._origins(made_from, rules)
            directed = [
                self._of_far_group(rule)._replace(origin=one)
                for rule, one in zip(rules, origins, strict=True)
            ]
            return self._make(name, made_from, (directed,), origin, self.groups)
        given = self._memo.given.get(name)
        if given is not None and len(given.positions) != len(rules):
            given = None
        numeric = [
            self._rule(index, self._of_far_group(rule), {})
            for index, rule in zip(
                given.positions if given is not None else range(len(rules)), rules, strict=True
            )
        ]
        grown = lay_out(numeric, given.numbering if given is not None else None)
        full_name = given.name if given is not None else f"{name} {_fingerprint(numeric)}"
        number = self._numbers.number("list", full_name)
        rows: dict[str, dict[Key, Row]] = {table: {} for table in LIST_TABLES}
        rows["rules"] = rule_rows(number, numeric, self._origins(made_from, rules))
        write_list(rows, number, grown.rows, origin)
        asks = any(rule.groups is not None for rule in numeric)
        far_sets = frozenset(self.groups.by_members) if asks else None
        return _Known(made_from, far_sets, full_name, number, {}, rows, rules, grown)

    @staticmethod
    def _origins(
        groups: tuple[SecurityGroup, ...], rules: Sequence[FilterRule]
    ) -> Iterator[Origin]:
        """Yield where rules of these groups come from; that they left out a revision says that it
        is their group's.
        """
        revisions = {one.origin.object: one.origin.revision for one in groups}
        for rule in rules:
            source, text, revision = msgspec.structs.astuple(rule.origin)
            yield Origin(source, text, revision or revisions.get(source, 0))

    def _of_far_group(self, rule: FilterRule) -> Directed:
        group = rule.source.security_group or rule.destination.security_group
        far_sets = self.groups.having(group) if group else None
        return Directed(rule.source, rule.destination, rule, rule.origin, far_sets)

    def of_policy_sets(
        self, halves: Iterable[Sequence[PolicySet]], tags: frozenset[int], *, is_egress: bool
    ) -> int:
        """Return the list of what policy sets, in order, let out of a port with `tags`, or in; 0
        when they have no policy. Which far ends there are must be known by now (`self.tags`).

        Of two `halves` each must let it pass; one without any policy asks nothing.
        """
        asked = [sets for sets in halves if any(one.policies for one in sets)]
        if not asked:
            return 0
        flat = [one for sets in asked for one in sets]
        policies = [policy for one in flat for policy in one.policies]
        tags = self._memo.mentions(policies).relevant(tags)
        way = "egress" if is_egress else "ingress"
        way += f"-after-{len(asked[0])}" if len(asked) > 1 else ""
        names = ",".join(one.name for one in flat)
        name = f"firewall-{way} {','.join(map(str, sorted(tags))) or '-'} {names}"

        def rules() -> Halves:
            return tuple(
                [
                    Directed(*piece)
                    for piece in piece_rules(sets, tags, self.tags.by_members, is_egress=is_egress)
                ]
                for sets in asked
            )

        first = flat[0].origin
        origin = Origin(first.object, "implicit-deny", first.revision)
        return self._list(name, (*flat, *policies), rules, origin, self.tags)

    def empty(self, name: str, origin: Origin) -> int:
        """Return a list without rules, which denies everything."""
        number = self._numbers.number("list", name)
        self._rows["lists"].setdefault((number,), Row((0, 0), origin))
        return number

    def _list(
        self,
        name: str,
        made_from: tuple[object, ...],
        halves: Callable[[], Halves],
        origin: Origin,
        sets: Sets,
    ) -> int:
        # A list's name has no blanks in it but those that separate its parts here.
        known = self._memo.known.get(name) or self._reusable(name, made_from, sets)
        if known is None and not self._is_refused(name, made_from):
            known = self._make(name, made_from, halves(), origin, sets)
        return self._take(name, known, sets, origin)

    def _take(self, name: str, known: _Known | None, sets: Sets, origin: Origin) -> int:
        """Add the rows of a list, once, and return its number. Of one that does not fit (None: nor
        did it before) those that it had stay; without any it denies everything.
        """
        if known is None or name not in self._memo.known:
            before = self._before.get(name)
            if known is None or (known is not before and not self._has_room(name, known, before)):
                if before is None:
                    return self.empty(f"{name} too-large", origin)
                known = self._keep(before, known, sets)
            self._memo.known[name] = known
            sets.is_asked |= known.far_sets is not None
            for table in LIST_TABLES:
                self._rows[table].update(known.rows[table])
        return known.number

    def _is_refused(self, name: str, made_from: tuple[object, ...]) -> bool:
        """Say whether a list did not fit, when there was as much room as there is."""
        refused = self._memo.refused.get(name)
        if refused is None or not _are_same(refused[0], made_from):
            return False
        if any(self._taken[table] < count for table, count in refused[1].items()):
            return False
        self.misfits.append(refused[2])
        return True

    def _has_room(self, name: str, known: _Known, before: _Known | None) -> bool:
        """Take room for the rows of a list, beside those of all lists that there are; say whether
        there was enough.
        """
        stays = "those it had before stay" if before is not None else "it denies everything"
        shape_count = len(known.rows["shapes"])
        if shape_count > MAX_RULE_SHAPES:
            self._refuse(
                name,
                known,
                f"the {len(known.rows['rules'])} rules of {name} look at packets in {shape_count}"
                f" ways (prefix lengths, source ports), at most {MAX_RULE_SHAPES} are tried for one"
                f" packet; {stays}",
            )
            return False
        more = {table: len(known.rows[table]) for table in _KERNEL_TABLES}
        if before is not None and before.number == known.number:
            more = {table: count - len(before.rows[table]) for table, count in more.items()}
        for table, count in more.items():
            most = TABLE_BY_NAME[table].max_entries
            if count > 0 and self._taken[table] + count > most:
                self._refuse(
                    name,
                    known,
                    f"the {len(known.rows['rules'])} rules of {name} do not fit: they need {count}"
                    f" more rows of {table}, of {most} there are {most - self._taken[table]} left;"
                    f" {stays}",
                )
                return False
        for table, count in more.items():
            self._taken[table] += count
        self._memo.refused.pop(name, None)
        return True

    def _refuse(self, name: str, known: _Known, text: str) -> None:
        """Note that a list is not made known to the kernel, and why."""
        self._memo.refused[name] = known.made_from, dict(self._taken), text
        self.misfits.append(text)

    def _keep(self, before: _Known, refused: _Known | None, sets: Sets) -> _Known:
        """Keep a list that there was, and the numbers that it speaks of."""
        if refused is not None and refused.number == before.number:
            self._numbers.rename("list", refused.name, before.name)
        self._numbers.number("list", before.name)
        for network in before.networks:
            self._numbers.number("network", network)
        for members in before.far_sets or ():
            sets.keep(members)
        return before

    def delta(self) -> Delta:
        """Return how the rows of lists differ from those of the plan before; when there is nothing
        more to plan.
        """
        self._memo.plan = object()
        keys: dict[str, set[Key]] = {table: set() for table in LONG_TABLES}
        known = self._memo.known
        for name in self._before.keys() | known.keys():
            old, new = self._before.get(name), known.get(name)
            edited = self._edited.get(name)
            if old is new:
                continue
            if edited is not None and edited[0] is new:
                for table, some in edited[1].items():
                    keys[table] |= some
                continue
            for one in (old, new):
                if one is not None:
                    for table in LONG_TABLES:
                        keys[table] |= one.rows[table].keys()
        return Delta(self._memo.plan, self._plan_before, keys)

    def prefixes(self, number: int) -> frozenset[Prefix]:
        """Return the prefixes that the rules of a list look at."""
        known = next((one for one in self._memo.known.values() if one.number == number), None)
        if known is None:
            return frozenset()
        found = self._memo.prefixes.get(known.name)
        if found is None:
            found = self._memo.prefixes[known.name] = prefixes_of(known.rows["rules"].values())
        return found

    @property
    def names(self) -> list[str]:
        """The names of all lists, which stand for what is in them, sorted."""
        return sorted(one.name for one in self._memo.known.values())

    def _reusable(self, name: str, made_from: tuple[object, ...], sets: Sets) -> _Known | None:
        """Return what was made of the very same things, with the same numbers, before."""
        known = self._before.get(name)
        if (
            known is None
            or not _are_same(known.made_from, made_from)
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
        halves: Halves,
        origin: Origin,
        sets: Sets,
    ) -> _Known:
        networks: dict[str, int] = {}
        rules = [one for half in halves for one in half]
        numeric = [self._rule(index, one, networks) for index, one in enumerate(rules)]
        full_name = f"{name} {_fingerprint(numeric)}"
        number = self._numbers.number("list", full_name)
        begun = len(halves[0])
        compiled = (
            compile_rules(numeric)
            if len(halves) == 1
            else compile_halves(numeric[:begun], numeric[begun:])
        )
        rows: dict[str, dict[Key, Row]] = {table: {} for table in LIST_TABLES}
        rows["rules"] = rule_rows(number, numeric, (one.origin for one in rules), sets.asked_as)
        write_list(rows, number, compiled, origin)
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


def _are_same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    """Say whether these are the same objects."""
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _fingerprint(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _can_grow(rule: FilterRule) -> bool:
    """Say whether a rule passes, and asks for nothing that has numbers of this host but groups."""
    return rule.passes and not (rule.source.network or rule.destination.network)


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
