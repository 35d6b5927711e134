"""Intent to plan, as a graph of small tables, each a pure function of the ones before.

    objects, allocations ─> settings, policies ─> networks ─> stances ─> listers ─> partners
                                                     └──────────┴─> instances, acls <─┘
    objects ─> groups ─> quoted ─> acls
    objects, allocations, settings ─> extras ─> wanted ─> linked <─ rendered <─ networks
                                        └───────────────> linked ─> instances

Both roads give the same plan: `compile_plan` runs every node in full, `Compiler` only what a
commit touches (`verify` compares the two). A commit that has no network, policy, setting, route
target or VN id in it costs a glance at its objects: a port never makes anything look at another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from filament.base.graph import UNHANDLED, Change, Changes, Graph, Node, Rows, Tables, Unhandled
from filament.compiler.acls import Stance, judge
from filament.compiler.extras import ROUTING_INSTANCE, Extra, plan_extra, read_extra
from filament.compiler.groups import (
    SECURITY_GROUP,
    Group,
    acl_names,
    group_acls,
    read_group,
)
from filament.compiler.networks import (
    BGPVPN,
    Network,
    Partner,
    instance_names,
    network_of_instance,
    plan_instances,
    read_network,
)
from filament.compiler.plan import Acl, Plan, PlanDelta, RoutingInstance
from filament.compiler.policies import Policy, read_policy
from filament.compiler.render import uuid_of as rendered_uuid
from filament.compiler.targets import POOL_PREFIX, read_asn
from filament.model.change import Commit, Object
from filament.model.view import View

ASN = "autonomous-system"
_VN_ID_POOL = "vn-id"
# Whose changes nodes look at; what they read besides changes together with these.
_KINDS = frozenset(
    (
        BGPVPN,
        "global-system-config",
        "network-policy",
        "virtual-network",
        ROUTING_INSTANCE,
        SECURITY_GROUP,
    )
)


def compile_plan(view: View) -> Plan:
    """Compile the whole plan of a view."""
    compiler = Compiler()
    compiler.load(view)
    return compiler.plan


class Compiler:
    """A plan that follows a configuration. One per process that needs it; owned by one task.

    `plan` shares its tables with the compiler: rows are immutable, the tables change with the
    next `load` or `update`.
    """

    def __init__(self) -> None:
        self._graph: Graph[View] = Graph(("objects", "allocations"), _NODES)
        self._revision = 0

    @property
    def plan(self) -> Plan:
        """The plan at the revision last loaded or updated to."""
        return Plan(self._revision, self._graph.table("instances"), self._graph.table("acls"))

    def load(self, view: View) -> PlanDelta:
        """Compile from scratch; the delta is against what the plan was before."""
        return self._delta(view, self._graph.load(view))

    def update(self, view: View, commit: Commit) -> PlanDelta:
        """Follow one commit; `view` is the configuration after it.

        When it raises (a bug: plans are total), the plan is as it was before.
        """
        return self._delta(view, self._graph.update(view, _source_changes(commit)))

    def fork(self) -> Compiler:
        """Another compiler with the same plan, for a change that may not happen.

        Copies the tables, not the rows: its cost is that of the networks, not of their ports.
        """
        other = Compiler()
        other._graph = self._graph.fork()
        other._revision = self._revision
        return other

    def verify(self, view: View) -> None:
        """Recompute everything from `view`; raise AssertionError naming the rows that differ."""
        self._graph.verify(view)

    def _delta(self, view: View, changes: Mapping[str, Changes]) -> PlanDelta:
        self._revision = view.revision
        if not changes:
            return PlanDelta(view.revision)
        instances, acls = changes.get("instances", {}), changes.get("acls", {})
        return PlanDelta(
            revision=view.revision,
            instances_put=frozenset(name for name, row in instances.items() if row.new is not None),
            instances_deleted=frozenset(name for name, row in instances.items() if row.new is None),
            acls_put=frozenset(name for name, row in acls.items() if row.new is not None),
            acls_deleted=frozenset(name for name, row in acls.items() if row.new is None),
        )


def _source_changes(commit: Commit) -> dict[str, Changes]:
    """Return what the nodes read of a commit as changes of sources: objects by uuid, allocations
    by (pool, value). Ports and addresses are most of what ever changes, and no node reads them.
    """
    objects = {each.uuid: Change(each, None) for each in commit.deletes if each.kind in _KINDS}
    for each in commit.puts:
        if each.kind in _KINDS:
            old = objects[each.uuid].old if each.uuid in objects else None
            objects[each.uuid] = Change(old, each)
    allocations = {
        (each.pool, each.value): Change(each, None) for each in commit.frees if _is_read(each.pool)
    }
    for taken in commit.takes:
        if not _is_read(taken.pool):
            continue
        key = (taken.pool, taken.value)
        old = allocations[key].old if key in allocations else None
        allocations[key] = Change(old, taken)
    return {"objects": objects, "allocations": allocations}


def _is_read(pool: str) -> bool:
    return pool == _VN_ID_POOL or pool.startswith(POOL_PREFIX)


def _rows_of(change: Change) -> list[Any]:
    """Return the row before and the row after, those that are known."""
    return [row for row in change if row is not None]


def _changed_objects(changes: Changes, kind: str) -> list[Object]:
    assert kind in _KINDS, f"changes of {kind} do not reach the nodes: add it to _KINDS"
    return [row for change in changes.values() for row in _rows_of(change) if row.kind == kind]


# settings: what the whole cluster shares --------------------------------------------------


def _run_settings(view: View, _: Tables) -> Rows:
    return {ASN: read_asn(view)}


def _update_settings(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    if _changed_objects(changes["objects"], "global-system-config"):
        return {ASN: read_asn(view)}
    return {}


# policies: uuid -> Policy -----------------------------------------------------------------


def _run_policies(view: View, _: Tables) -> Rows:
    return {policy.uuid: read_policy(policy) for policy in view.of_kind("network-policy")}


def _update_policies(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for policy in _changed_objects(changes["objects"], "network-policy"):
        now = view.get(policy.uuid)
        rows[policy.uuid] = read_policy(now) if now else None
    return rows


# mentions: fq name of a policy -> uuids of the policies whose addresses stand for it -------


def _run_mentions(_: View, tables: Tables) -> Rows:
    return _invert(
        (name, uuid) for uuid, policy in tables["policies"].items() for name in policy.mentions
    )


def _update_mentions(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(name, uuid) for uuid, row in changes["policies"].items() for name in _mentions(row.old)}
    new = {(name, uuid) for uuid, row in changes["policies"].items() for name in _mentions(row.new)}
    return _amend(tables["mentions"], old - new, new - old)


def _mentions(policy: Policy | None) -> frozenset[str]:
    return policy.mentions if policy else frozenset()


# networks: fq name -> Network -------------------------------------------------------------


def _run_networks(view: View, tables: Tables) -> Rows:
    asn = tables["settings"][ASN]
    networks = (read_network(view, network, asn) for network in view.of_kind("virtual-network"))
    return {network.name: network for network in networks}


def _update_networks(
    view: View, tables: Tables, changes: Mapping[str, Changes]
) -> Rows | Unhandled:
    if changes["settings"]:
        return UNHANDLED  # a new AS number renames every automatic target
    names = {network.fq_name for network in _changed_objects(changes["objects"], "virtual-network")}
    for vpn in _changed_objects(changes["objects"], BGPVPN):
        names |= {network.fq_name for network in view.referrers(vpn.uuid, "virtual-network")}
    for change in changes["allocations"].values():
        for allocation in _rows_of(change):
            if allocation.pool.startswith(POOL_PREFIX):
                names.add(network_of_instance(allocation.owner))
            elif allocation.pool == _VN_ID_POOL:
                owner = view.get(allocation.owner)
                names |= {owner.fq_name} if owner else set()
    rows: Rows = {}
    for name in names:
        network = view.named("virtual-network", name)
        asn = tables["settings"][ASN]
        rows[":".join(name)] = read_network(view, network, asn) if network else None
    return rows


# stances: fq name of a network -> Stance --------------------------------------------------


def _run_stances(view: View, tables: Tables) -> Rows:
    return {name: _stance(view, tables, network) for name, network in tables["networks"].items()}


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
    networks = tables["networks"]
    return {
        name: _stance(view, tables, networks[name]) if name in networks else None for name in names
    }


def _stance(view: View, tables: Tables, network: Network) -> Stance:
    def members(policy_name: str) -> Iterable[str]:
        policy = view.named("network-policy", tuple(policy_name.split(":")))
        return sorted(_attached(view, policy.uuid)) if policy else ()

    policies = tables["policies"]
    attached = [(policies[u], timed) for u, timed in network.attachments if u in policies]
    return judge(network, attached, members)


def _attached(view: View, policy_uuid: str) -> set[str]:
    """Return the names of the networks a policy is attached to."""
    return {network.name for network in view.referrers(policy_uuid, "virtual-network")}


def _policies(network: Network | None) -> frozenset[str]:
    return frozenset(uuid for uuid, _ in network.attachments) if network else frozenset()


# listers: who wants to be connected to a network (its name), or to everybody in a project --


def _run_listers(_: View, tables: Tables) -> Rows:
    return _invert(
        (key, name) for name, stance in tables["stances"].items() for key in _listed(stance)
    )


def _update_listers(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(key, name) for name, row in changes["stances"].items() for key in _listed(row.old)}
    new = {(key, name) for name, row in changes["stances"].items() for key in _listed(row.new)}
    return _amend(tables["listers"], old - new, new - old)


def _listed(stance: Stance | None) -> set[tuple[str, str]]:
    """Return the keys under which `listers` holds a network."""
    if stance is None:
        return set()
    keys = {("network", name) for name in (*stance.wish.networks, *stance.providers)}
    if stance.wish.everybody:
        keys.add(("project", stance.project))
    return keys


# partners: fq name of a network -> the networks it leaks with, where there are any --------


def _run_partners(_: View, tables: Tables) -> Rows:
    found = ((name, _partners(tables, name)) for name in tables["stances"])
    return {name: partners for name, partners in found if partners}


def _update_partners(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = set()
    for name, change in changes["stances"].items():
        if change.old and change.new and _reach(change.old) == _reach(change.new):
            continue
        names |= {name, *tables["partners"].get(name, ())}
        for stance in _rows_of(change):
            names |= stance.wish.networks | set(stance.providers)
            if stance.wish.everybody:
                names |= tables["listers"].get(("project", stance.project), frozenset())
        names |= tables["listers"].get(("network", name), frozenset())
    return {name: _partners(tables, name) or None for name in names}


def _reach(stance: Stance) -> tuple[Any, ...]:
    """Return what partners depend on."""
    return stance.wish, stance.providers, stance.project


def _partners(tables: Tables, name: str) -> frozenset[str]:
    """Return the networks that `name` leaks with: both list each other (TF), or one is linked to
    the other as to its provider network. Wanting everybody lists every network that lists us and
    those of our project that want everybody too.
    """
    stances, listers = tables["stances"], tables["listers"]
    own = stances.get(name)
    if own is None:
        return frozenset()
    listing = listers.get(("network", name), frozenset())
    found = {other for other in own.providers if other in stances}
    found |= {other for other in listing if name in stances[other].providers}
    for other in own.wish.networks:
        theirs = stances.get(other)
        if theirs and (name in theirs.wish.networks or theirs.wish.everybody):
            found.add(other)
    if own.wish.everybody:
        found |= {other for other in listing if name in stances[other].wish.networks}
        found |= listers.get(("project", own.project), frozenset())
    return frozenset(found - {name})


# extras: fq name -> Extra, the routing instances that clients made --------------------------


def _run_extras(view: View, tables: Tables) -> Rows:
    asn = tables["settings"][ASN]
    return {each.name: read_extra(view, each, asn) for each in view.of_kind(ROUTING_INSTANCE)}


def _update_extras(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows | Unhandled:
    if changes["settings"]:
        return UNHANDLED
    names = {each.fq_name for each in _changed_objects(changes["objects"], ROUTING_INSTANCE)}
    for change in changes["allocations"].values():
        for allocation in _rows_of(change):
            if allocation.owner in tables["extras"]:
                names.add(tuple(allocation.owner.split(":")))
    rows: Rows = {}
    for name in names:
        extra = view.named(ROUTING_INSTANCE, name)
        rows[":".join(name)] = read_extra(view, extra, tables["settings"][ASN]) if extra else None
    return rows


# rendered: uuid of a network's default instance -> its fq name -------------------------------


def _run_rendered(_: View, tables: Tables) -> Rows:
    names = (network.default_instance for network in tables["networks"].values())
    return {rendered_uuid(ROUTING_INSTANCE, name): name for name in names}


def _update_rendered(_: View, __: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for change in changes["networks"].values():
        if change.old is None or change.new is None:
            name = (change.new or change.old).default_instance
            rows[rendered_uuid(ROUTING_INSTANCE, name)] = name if change.new else None
    return rows


# wanted: uuid of an instance -> the client-made instances that refer to it -------------------


def _run_wanted(_: View, tables: Tables) -> Rows:
    return _invert((uuid, row.name) for row in tables["extras"].values() for uuid in row.wants)


def _update_wanted(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(uuid, name) for name, row in changes["extras"].items() for uuid in _wants(row.old)}
    new = {(uuid, name) for name, row in changes["extras"].items() for uuid in _wants(row.new)}
    return _amend(tables["wanted"], old - new, new - old)


def _wants(extra: Extra | None) -> frozenset[str]:
    return extra.wants if extra else frozenset()


# linked: fq name of an instance -> those it leaks with because a client said so --------------


def _run_linked(view: View, tables: Tables) -> Rows:
    names = set(tables["extras"])
    for row in tables["extras"].values():
        names |= _resolved(view, tables, row.wants)
    return {name: linked for name in names if (linked := _linked(view, tables, name))}


def _update_linked(view: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = set()
    for name, change in changes["extras"].items():
        names |= {name, *tables["linked"].get(name, ())}
        for row in _rows_of(change):
            names |= _resolved(view, tables, row.wants) | tables["wanted"].get(
                row.uuid, frozenset()
            )
    for uuid, change in changes["rendered"].items():
        if uuid in tables["wanted"] or tables["linked"].get(change.old or change.new):
            names |= {*_rows_of(change), *tables["wanted"].get(uuid, ())}
    return {name: _linked(view, tables, name) or None for name in names}


def _linked(view: View, tables: Tables, name: str) -> frozenset[str]:
    """Return what an instance refers to and what refers to it."""
    extra = tables["extras"].get(name)
    uuid = extra.uuid if extra else rendered_uuid(ROUTING_INSTANCE, name)
    if extra is None and uuid not in tables["rendered"]:
        return frozenset()
    found = _resolved(view, tables, extra.wants) if extra else set()
    return frozenset(found | tables["wanted"].get(uuid, frozenset())) - {name}


def _resolved(view: View, tables: Tables, uuids: Iterable[str]) -> set[str]:
    """Return the names of instances, client-made or rendered; one that is gone has none."""
    found = set()
    for uuid in uuids:
        item = view.get(uuid)
        name = item.name if item is not None else tables["rendered"].get(uuid)
        if name is not None:
            found.add(name)
    return found


# instances: fq name -> RoutingInstance ----------------------------------------------------


def _run_instances(_: View, tables: Tables) -> Rows:
    rows: Rows = {}
    for network in tables["networks"].values():
        rows |= _instances(tables, network)
    for extra in tables["extras"].values():
        rows[extra.name] = plan_extra(extra, _linked_partners(tables, extra.name))
    return rows


def _update_instances(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    names = {*changes["networks"], *changes["partners"]}
    for name, change in changes["stances"].items():
        if not (change.old and change.new and change.old.revision == change.new.revision):
            names.add(name)
    for name, change in changes["networks"].items():
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            names |= tables["partners"].get(name, frozenset())
    extras = _touched_extras(tables, changes, names)
    rows: Rows = {}
    for name in extras:
        extra = tables["extras"].get(name)
        rows[name] = plan_extra(extra, _linked_partners(tables, name)) if extra else None
    for name in names:
        network = tables["networks"].get(name)
        if network is not None:
            rows |= _instances(tables, network)
        else:
            rows |= {instance: None for instance, _ in instance_names(tuple(name.split(":")))}
    return rows


def _instances(tables: Tables, network: Network) -> dict[str, RoutingInstance]:
    networks = tables["networks"]
    partners = _linked_partners(tables, network.default_instance)
    for name in tables["partners"].get(network.name, ()):
        partners[networks[name].default_instance] = networks[name]
    return plan_instances(network, partners, tables["stances"][network.name].revision)


def _linked_partners(tables: Tables, instance: str) -> dict[str, Partner]:
    """Return what client-made references connect an instance with, by name."""
    found: dict[str, Partner] = {}
    for name in sorted(tables["linked"].get(instance, ())):
        partner = tables["extras"].get(name) or tables["networks"].get(_network_name(name))
        if partner is not None:
            found[name] = partner
    return found


def _touched_extras(tables: Tables, changes: Mapping[str, Changes], networks: set[str]) -> set[str]:
    """Return the client-made instances to plan again; add to `networks` those to plan again."""
    instances = set(changes["linked"])
    for name, change in changes["extras"].items():
        instances.add(name)
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            instances |= tables["linked"].get(name, frozenset())
    for change in changes["networks"].values():
        if not (change.old and change.new and _offer(change.old) == _offer(change.new)):
            row = change.new or change.old
            instances |= tables["linked"].get(row.default_instance, frozenset())
    extras = {name for name in instances if name in tables["extras"] or name in changes["extras"]}
    networks |= {
        network for name in instances - extras if (network := _network_name(name))
    } & tables["networks"].keys()
    return extras


def _network_name(instance: str) -> str:
    return ":".join(network_of_instance(instance))


def _offer(network: Partner) -> tuple[Any, ...]:
    """Return what partners' instances hold of a network."""
    return network.exports, network.revision


# groups: fq name -> Group ---------------------------------------------------------------------


def _run_groups(view: View, _: Tables) -> Rows:
    return {group.name: read_group(group) for group in view.of_kind(SECURITY_GROUP)}


def _update_groups(view: View, _: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    for group in _changed_objects(changes["objects"], SECURITY_GROUP):
        now = view.named(SECURITY_GROUP, group.fq_name)
        rows[group.name] = read_group(now) if now else None
    return rows


# quoted: fq name of a group -> the groups whose rules name it ----------------------------------


def _run_quoted(_: View, tables: Tables) -> Rows:
    return _invert(
        (name, group.name) for group in tables["groups"].values() for name in group.mentions
    )


def _update_quoted(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    old = {(name, group) for group, row in changes["groups"].items() for name in _quotes(row.old)}
    new = {(name, group) for group, row in changes["groups"].items() for name in _quotes(row.new)}
    return _amend(tables["quoted"], old - new, new - old)


def _quotes(group: Group | None) -> frozenset[str]:
    return group.mentions if group else frozenset()


# acls: fq name -> Acl ---------------------------------------------------------------------


def _run_acls(_: View, tables: Tables) -> Rows:
    found = (stance.acl for stance in tables["stances"].values())
    rows: Rows = {acl.name: acl for acl in found if acl}
    for group in tables["groups"].values():
        rows |= _group_acls(tables, group)
    return rows


def _group_acls(tables: Tables, group: Group) -> dict[str, Acl]:
    def number_of(name: str) -> int | None:
        other = tables["groups"].get(name)
        return other.number if other else None

    return {acl.name: acl for acl in group_acls(group, number_of)}


def _update_acls(_: View, tables: Tables, changes: Mapping[str, Changes]) -> Rows:
    rows: Rows = {}
    groups = set(changes["groups"])
    for name, change in changes["groups"].items():
        if not (change.old and change.new and change.old.number == change.new.number):
            groups |= tables["quoted"].get(name, frozenset())
    for name in groups:
        group = tables["groups"].get(name)
        rows |= _group_acls(tables, group) if group else dict.fromkeys(acl_names(name))
    for change in changes["stances"].values():
        if change.old and change.old.acl:
            rows[change.old.acl.name] = None
        if change.new and change.new.acl:
            rows[change.new.acl.name] = change.new.acl
    return rows


# reverse indexes --------------------------------------------------------------------------


def _invert(pairs: Iterable[tuple[Any, str]]) -> Rows:
    """Return key -> frozenset of everything paired with it."""
    index: dict[Any, set[str]] = {}
    for key, member in pairs:
        index.setdefault(key, set()).add(member)
    return {key: frozenset(members) for key, members in index.items()}


def _amend(
    index: Mapping[Any, frozenset[str]],
    gone: set[tuple[Any, str]],
    come: set[tuple[Any, str]],
) -> Rows:
    """Return the rows of a reverse index that pairs gone and come change; empty ones are gone."""
    removed, added = _invert(gone), _invert(come)
    nothing: frozenset[str] = frozenset()
    return {
        key: (index.get(key, nothing) - removed.get(key, nothing)) | added.get(key, nothing) or None
        for key in removed.keys() | added.keys()
    }


_NODES: tuple[Node[View], ...] = (
    Node("settings", ("objects",), _run_settings, _update_settings),
    Node("policies", ("objects",), _run_policies, _update_policies),
    Node("mentions", ("policies",), _run_mentions, _update_mentions),
    Node("networks", ("objects", "allocations", "settings"), _run_networks, _update_networks),
    Node("stances", ("networks", "policies", "mentions"), _run_stances, _update_stances),
    Node("listers", ("stances",), _run_listers, _update_listers),
    Node("partners", ("stances", "listers"), _run_partners, _update_partners),
    Node("extras", ("objects", "allocations", "settings"), _run_extras, _update_extras),
    Node("rendered", ("networks",), _run_rendered, _update_rendered),
    Node("wanted", ("extras",), _run_wanted, _update_wanted),
    Node("linked", ("extras", "rendered", "wanted"), _run_linked, _update_linked),
    Node(
        "instances",
        ("networks", "stances", "partners", "extras", "linked"),
        _run_instances,
        _update_instances,
    ),
    Node("groups", ("objects",), _run_groups, _update_groups),
    Node("quoted", ("groups",), _run_quoted, _update_quoted),
    Node("acls", ("stances", "groups", "quoted"), _run_acls, _update_acls),
)
