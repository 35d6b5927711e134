"""A virtual network's access control list: its policies' rules, then TF's implicit ones.

The list decides between networks that have a route to each other. Policies attached with a timer
connect, but go to TF's separate dynamic list, which only mirrors; they are not in this one.
Source: TF schema-transformer, generated VN ACL (order, implicit rules and subset elimination), but
for directions: what a rule leaves out is denied both ways, and a rule is a subset of another one
only if it goes no other way (docs/policy.md says why).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import msgspec

from filament.base.net import Prefix
from filament.base.origin import Origin
from filament.compiler.networks import IP_FABRIC, Network
from filament.compiler.plan import Acl, AclMatch, AclRule
from filament.compiler.policies import (
    ALL_PORTS,
    ANY,
    IMPOSSIBLE,
    TYPED,
    Address,
    Members,
    Policy,
    PolicyRule,
    Wish,
    sides,
    wish,
)

IMPLICIT_ALLOW = "00000000-0000-0000-0000-100000000001"
IMPLICIT_DENY = "00000000-0000-0000-0000-100000000002"


class Stance(msgspec.Struct, frozen=True):
    """What a network's policies come to: whom it lists, its access control list, and the newest
    revision of the network and its policies. `project` and `providers` repeat the network's.
    """

    wish: Wish
    acl: Acl | None
    project: str
    providers: tuple[str, ...]
    revision: int


class _RuleList:
    """Rules in order, where one that is a subset of an earlier one is left out.

    The action is not compared (TF's rule): the earlier rule decides already.
    """

    def __init__(self) -> None:
        self.rules: list[AclRule] = []
        # By the two networks, so that long policies are not compared all with all.
        self._by_networks: dict[str, dict[str, list[AclRule]]] = {}

    def add(self, rule: AclRule) -> bool:
        """Append a rule and say whether it was kept."""
        source, destination = rule.source.network, rule.destination.network
        for one in {source, ANY, ""}:
            by_destination = self._by_networks.get(one)
            if by_destination is None:
                continue
            for other in {destination, ANY, ""}:
                for earlier in by_destination.get(other, ()):
                    if _covers(earlier, rule):
                        return False
        self.rules.append(rule)
        self._by_networks.setdefault(source, {}).setdefault(destination, []).append(rule)
        return True


def judge(network: Network, policies: Sequence[tuple[Policy, bool]], members: Members) -> Stance:
    """Work out a network's stance from its policies, in order, each with whether it is timed."""
    connecting: list[tuple[Address, Address]] = []
    rules = _RuleList()
    denials: list[AclRule] = []
    for policy, is_timed in policies:
        for rule in policy.rules:
            pairs = list(sides(rule, network.name, members))
            if rule.connects:
                connecting += pairs
            if not is_timed:
                denials += _add_policy_rule(rules, policy, rule, pairs)
    revision = max(network.revision, *(policy.revision for policy, _ in policies), 0)
    return Stance(
        wish=wish(network.name, connecting),
        acl=_finish(network, policies, rules, denials, revision),
        project=network.project,
        providers=network.providers,
        revision=revision,
    )


def _finish(
    network: Network,
    policies: Sequence[tuple[Policy, bool]],
    rules: _RuleList,
    denials: Iterable[AclRule],
    revision: int,
) -> Acl | None:
    """Add the implicit rules; None when nothing asks for a list."""
    is_restricted = network.is_provider or network.providers or network.has_fabric_snat
    if policies:
        if all(is_timed for _, is_timed in policies):
            return None
    elif not is_restricted:
        return None
    me = network.name

    def implicit(source: str, destination: str, *, passes: bool, both_ways: bool = False) -> None:
        rules.add(
            AclRule(
                source=AclMatch(source),
                destination=AclMatch(destination),
                protocol=None,
                passes=passes,
                both_ways=both_ways,
                rule_uuid=IMPLICIT_ALLOW if passes else IMPLICIT_DENY,
                origin=Origin(
                    f"virtual-network {me}",
                    "implicit-allow" if passes else "implicit-deny",
                    network.revision,
                ),
            )
        )

    implicit(me, me, passes=True)
    if network.has_fabric_snat:
        implicit(me, ":".join(IP_FABRIC), passes=True, both_ways=True)
        implicit(me, ANY, passes=False, both_ways=True)
    for denial in denials:
        rules.add(denial)
    if network.is_provider:
        implicit(me, ANY, passes=False, both_ways=True)
    else:
        for provider in network.providers:
            implicit(me, provider, passes=False, both_ways=True)
    implicit(ANY, ANY, passes=True)
    return Acl(
        name=network.default_instance,  # TF names both after the network
        network=me,
        parent_uuid=network.uuid,
        rules=tuple(rules.rules),
        origin=Origin(f"virtual-network {me}", "network-acl", revision),
    )


def _add_policy_rule(
    rules: _RuleList,
    policy: Policy,
    rule: PolicyRule,
    pairs: Iterable[tuple[Address, Address]],
) -> list[AclRule]:
    """Add what a policy rule says, and return the denials of what it leaves over.

    A rule about `tcp` between two networks denies them everything else (TF's copy of each rule
    with any protocol, any port, no subnets), and a rule about one way the other way too: in TF
    whoever may only be asked may ask anything, since the list ends in a rule that passes.
    """
    denials = []
    ports = list(product(rule.source_ports, rule.destination_ports))
    origin = policy.origin("policy-rule", rule.rule_uuid)
    rest = policy.origin("policy-rule-rest", rule.rule_uuid)
    is_whole = rule.protocol is None and rule.both_ways and ports == [(ALL_PORTS, ALL_PORTS)]
    for (source, destination), (source_ports, destination_ports) in product(pairs, ports):
        kept = rule.protocol == IMPOSSIBLE or source.is_foreign or destination.is_foreign
        if not kept:
            for source_prefix, destination_prefix in product(
                source.subnets or (None,), destination.subnets or (None,)
            ):
                kept |= rules.add(
                    AclRule(
                        source=AclMatch(source.network, source_prefix, source_ports),
                        destination=AclMatch(
                            destination.network, destination_prefix, destination_ports
                        ),
                        protocol=rule.protocol,
                        passes=rule.passes,
                        both_ways=rule.both_ways,
                        rule_uuid=rule.rule_uuid,
                        origin=origin,
                    )
                )
        if kept and not (is_whole and source.is_whole and destination.is_whole):
            denials += _denials(rule, source, destination, rest)
    return denials


def _denials(
    rule: PolicyRule, source: Address, destination: Address, origin: Origin
) -> list[AclRule]:
    """Return the denials that go with a kept rule: networks without their subnets."""
    return [
        AclRule(
            source=AclMatch(source.network, source_prefix),
            destination=AclMatch(destination.network, destination_prefix),
            protocol=None,
            passes=False,
            both_ways=True,
            rule_uuid=rule.rule_uuid,
            origin=origin,
        )
        for source_prefix, destination_prefix in product(
            _left_over(source), _left_over(destination)
        )
    ]


def _left_over(address: Address) -> tuple[Prefix | None, ...]:
    """Return the prefixes of an address in a denial: those of a network count as all of it."""
    if address.network:
        return (None,)
    return address.subnets if address.subnets or address.is_foreign else (None,)


def _covers(earlier: AclRule, later: AclRule) -> bool:
    """Say whether `later` matches nothing that `earlier` does not (networks already agree)."""
    return (
        earlier.protocol in (None, later.protocol)
        and earlier.both_ways >= later.both_ways
        and _covers_ports(earlier, later)
        and _covers_side(earlier.source, later.source)
        and _covers_side(earlier.destination, later.destination)
    )


def _covers_ports(earlier: AclRule, later: AclRule) -> bool:
    pairs = (
        (earlier.source.ports, later.source.ports),
        (earlier.destination.ports, later.destination.ports),
    )
    if earlier.protocol in TYPED:
        return all(one in (ALL_PORTS, other) for one, other in pairs)
    return all(one[0] <= other[0] and other[1] <= one[1] for one, other in pairs)


def _covers_side(earlier: AclMatch, later: AclMatch) -> bool:
    if earlier.prefix is None or earlier.prefix == later.prefix:
        return True
    if later.prefix is None or later.prefix.length < earlier.prefix.length:
        return False
    return earlier.prefix.contains(later.prefix.address, later.prefix.version)
