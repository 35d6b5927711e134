"""Tables of policies and of where a network stands by them: policies, mentions, stances."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache

from filament.base.graph import Changes, Node, Rows, Tables
from filament.compiler.acls import Stance, judge
from filament.compiler.networks import Network
from filament.compiler.nodes.rows import amend, changed_objects, invert
from filament.compiler.policies import Members, Policy, read_policy
from filament.model.view import View

# policies: uuid -> Policy -----------------------------------------------------------------


def _run_policies(view: View, _: Tables) -> Rows:
    return {policy.uuid: read_policy(policy) for policy in view.of_kind("network-policy")}


def _update_policies(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for policy in changed_objects(changes["objects"], "network-policy"):
        now = view.get(policy.uuid)
        rows[policy.uuid] = read_policy(now) if now else None
    return rows


# mentions: fq name of a policy -> uuids of the policies whose addresses stand for it -------


def _run_mentions(_: View, tables: Tables) -> Rows:
    return invert(
        (name, uuid) for uuid, policy in tables["policies"].items() for name in policy.mentions
    )


def _update_mentions(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(name, uuid) for uuid, row in changes["policies"].items() for name in _mentions(row.old)}
    new = {(name, uuid) for uuid, row in changes["policies"].items() for name in _mentions(row.new)}
    return amend(tables["mentions"], old - new, new - old)


def _mentions(policy: Policy | None) -> frozenset[str]:
    return policy.mentions if policy else frozenset()


# stances: fq name of a network -> Stance --------------------------------------------------


def _run_stances(view: View, tables: Tables) -> Rows:
    members = _members_in(view)
    return {name: _stance(tables, network, members) for name, network in tables["networks"].items()}


def _update_stances(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = set(changes["networks"])
    # Policies whose set of networks, or whose existence, changed: rules elsewhere may name them.
    regrouped = set()
    for uuid, change in changes["policies"].items():
        names |= _attached(view, uuid)
        if change.old is None or change.new is None:
            regrouped.add((change.new or change.old).name)
    for change in changes["networks"].values():
        for uuid in _policies(change.old) ^ _policies(change.new):
            policy = tables["policies"].get(uuid)
            if policy is not None:
                regrouped.add(policy.name)
    for name in regrouped:
        for uuid in tables["mentions"].get(name, ()):
            names |= _attached(view, uuid)
    networks, members = tables["networks"], _members_in(view)
    return {
        name: _stance(tables, networks[name], members) if name in networks else None
        for name in names
    }


def _stance(tables: Tables, network: Network, members: Members) -> Stance:
    policies = tables["policies"]
    attached = [(policies[u], timed) for u, timed in network.attachments if u in policies]
    return judge(network, attached, members)


def _members_in(view: View) -> Members:
    """Return how to find the members of a policy, each found once: all of them ask for it."""

    @cache
    def members(policy_name: str) -> Collection[str]:
        policy = view.named("network-policy", tuple(policy_name.split(":")))
        return dict.fromkeys(sorted(_attached(view, policy.uuid))) if policy else ()

    return members


def _attached(view: View, policy_uuid: str) -> set[str]:
    """Return the names of the networks a policy is attached to."""
    return {network.name for network in view.referrers(policy_uuid, "virtual-network")}


def _policies(network: Network | None) -> frozenset[str]:
    return frozenset(uuid for uuid, _ in network.attachments) if network else frozenset()


NODES: tuple[Node[View], ...] = (
    Node("policies", ("objects",), _run_policies, _update_policies),
    Node("mentions", ("policies",), _run_mentions, _update_mentions),
    Node("stances", ("networks", "policies", "mentions"), _run_stances, _update_stances),
)
