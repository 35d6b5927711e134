"""What a write would do, told without doing it: objects, numbers, the plan, the hosts concerned.

Who may not read everything is told of what it may read, before the write or (what is new) after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from filament.api.permission import READ, Access
from filament.api.shown import ShownPlan
from filament.compiler.groups import GROUP_LISTS, SECURITY_GROUP
from filament.compiler.plan import ANY_GROUP, Acl, AclMatch, AclRule, Plan, RoutingInstance
from filament.compiler.render import fq_name_of
from filament.compiler.views import Touched, touched
from filament.model.change import Allocation, Commit, Object
from filament.model.kind import field_of
from filament.model.snapshot import Snapshot, Staged
from filament.model.stored import STORED_VALUE
from filament.model.view import View

_TARGETS = "route-target/"
_NETWORK = "virtual-network"


class Sight:
    """What of a change its author may be told of. Lives for one dry run."""

    def __init__(self, access: Access, before: View, after: View) -> None:
        self._access = access
        self._views = (before, after)

    def has(self, item: Object) -> bool:
        """Whether the author may read an object: as it was, or as it is made."""
        was = self._views[0].get(item.uuid)
        return not self._access.is_restricted or self._access.sees(was or item)

    def has_uuid(self, uuid: str) -> bool:
        """The same of the object with a uuid; nobody is told of one that is nowhere."""
        found = (view.get(uuid) for view in self._views)
        item = next((one for one in found if one is not None), None)
        return not self._access.is_restricted or (item is not None and self._access.sees(item))

    def has_named(self, kind: str, name: str) -> bool:
        """The same of the object of a kind with a name in one string."""
        fq_name = fq_name_of(kind, name)
        found = (view.named(kind, fq_name) for view in self._views)
        item = next((one for one in found if one is not None), None)
        return not self._access.is_restricted or (item is not None and self._access.sees(item))

    def has_instance(self, name: str) -> bool:
        """The same of a routing instance: as its network."""
        return self.has_named(_NETWORK, name.rpartition(":")[0])

    def has_list(self, name: str) -> bool:
        """The same of a rendered access control list: as its network or security group."""
        above, _, own = name.rpartition(":")
        return self.has_named(SECURITY_GROUP if own in GROUP_LISTS else _NETWORK, above)

    def has_owner(self, allocation: Allocation) -> bool:
        """The same of whoever holds a number: an object, or a routing instance."""
        owner = allocation.owner
        return self.has_instance(owner) if ":" in owner else self.has_uuid(owner)

    def targets(self, own: frozenset[str]) -> Callable[[str], bool]:
        """Whether the author may know a target: one of the instance itself, or one it may read."""
        access = self._access
        return lambda target: (
            target in own or not access.is_restricted or access.knows_target(target, READ)
        )

    def has_match(self, match: AclMatch) -> bool:
        """Whether the author may read the network that a rule is about."""
        return match.network in {"", "any"} or self.has_named(_NETWORK, match.network)


def preview(
    snapshot: Snapshot, shown: ShownPlan, commit: Commit | None, access: Access
) -> dict[str, Any]:
    """Describe a commit that is not to happen; None is a write that changes nothing."""
    if commit is None:
        nothing = Commit(snapshot.revision, 0.0, "")
        return {
            "revision_would_be": snapshot.revision,
            "changes": _changes(snapshot, nothing, Sight(access, snapshot, snapshot)),
            "plan": {
                "routing_instances": {"put": [], "deleted": []},
                "route_targets": {"taken": [], "freed": []},
                "access_control_lists": {"put": [], "deleted": []},
                "agents": [],
            },
        }
    after = Staged(snapshot)
    after.absorb(commit)
    old, new, delta = shown.preview(after, commit)
    sight = Sight(access, snapshot, after)
    return {
        "revision_would_be": commit.revision,
        "changes": _changes(snapshot, commit, sight),
        "plan": {
            "routing_instances": {
                "put": _different(
                    _instance(old, new.routing_instances[name], sight)
                    for name in sorted(filter(sight.has_instance, delta.instances_put))
                ),
                "deleted": sorted(filter(sight.has_instance, delta.instances_deleted)),
            },
            "route_targets": {
                "taken": list(_targets(commit.takes, sight)),
                "freed": list(_targets(commit.frees, sight)),
            },
            "access_control_lists": {
                "put": _different(
                    _acl(old.acls.get(name), new.acls[name], sight)
                    for name in sorted(filter(sight.has_list, delta.acls_put))
                ),
                "deleted": sorted(filter(sight.has_list, delta.acls_deleted)),
            },
            "agents": sorted(
                {
                    name
                    for view in (snapshot, after)
                    for name in _routers(view, touched(view, commit, delta))
                    if sight.has_named("virtual-router", name)
                }
            ),
        },
    }


def _different(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without rows of which only the provenance is new."""
    return [row for row in rows if row["is_new"] or row["diff"]]


def _changes(snapshot: Snapshot, commit: Commit, sight: Sight) -> dict[str, Any]:
    puts = (item for item in commit.puts if item.kind != STORED_VALUE)
    deletes = (item for item in commit.deletes if item.kind != STORED_VALUE)
    return {
        "puts": [_put(snapshot, item, sight) for item in puts if sight.has(item)],
        "deletes": [_identity(item) for item in deletes if sight.has(item)],
        "takes": list(filter(sight.has_owner, commit.takes)),
        "frees": list(filter(sight.has_owner, commit.frees)),
    }


def _identity(item: Object) -> dict[str, Any]:
    return {"type": item.kind, "uuid": item.uuid, "fq_name": list(item.fq_name)}


def _put(snapshot: Snapshot, item: Object, sight: Sight) -> dict[str, Any]:
    """An object with the fields that are new or different, null for those that are gone."""
    before = snapshot.get(item.uuid)
    old = _fields(snapshot, before, sight) if before is not None else {}
    new = _fields(snapshot, item, sight)
    fields = {name: new.get(name) for name in (*old, *new) if old.get(name) != new.get(name)}
    return _identity(item) | {"is_new": before is None, "fields": fields}


def _fields(snapshot: Snapshot, item: Object, sight: Sight) -> dict[str, Any]:
    fields = dict(item.props)
    for ref in item.refs:
        if not sight.has_uuid(ref.uuid):
            continue
        target = snapshot.get(ref.uuid)
        named = list(target.fq_name) if target is not None else None
        listed = fields.setdefault(f"{field_of(ref.kind)}_refs", [])
        listed.append({"to": named, "uuid": ref.uuid, "attr": ref.attr})
    return fields


def _targets(allocations: tuple[Allocation, ...], sight: Sight) -> Iterator[dict[str, str]]:
    for one in allocations:
        if one.pool.startswith(_TARGETS) and sight.has_owner(one):
            asn = one.pool.removeprefix(_TARGETS)
            yield {"target": f"target:{asn}:{one.value}", "routing_instance": one.owner}


def _instance(plan: Plan, new: RoutingInstance, sight: Sight) -> dict[str, Any]:
    """A routing instance as it would be, and line by line what is different."""
    old = plan.routing_instances.get(new.name)
    lines = []
    for field in ("network_id", "target", "is_default"):
        was, now = getattr(old, field, None), getattr(new, field)
        if was != now:
            lines += [f"- {field} {was}"] if old is not None else []
            lines.append(f"+ {field} {now}")
    own = new.own_imports | new.exports
    if old is not None:
        own |= old.own_imports | old.exports
    for word, field in (("import", "imports"), ("export", "exports"), ("connect", "connections")):
        had, has = set(getattr(old, field, ())), set(getattr(new, field))
        may_know = sight.has_instance if word == "connect" else sight.targets(own)
        had, has = set(filter(may_know, had)), set(filter(may_know, has))
        lines += [f"- {word} {one}" for one in sorted(had - has)]
        lines += [f"+ {word} {one}" for one in sorted(has - had)]
    return {"name": new.name, "is_new": old is None, "diff": lines}


def _acl(old: Acl | None, new: Acl, sight: Sight) -> dict[str, Any]:
    had = _rules(old, sight) if old is not None else []
    has = _rules(new, sight)
    lines = [f"- {one}" for one in had if one not in has]
    lines += [f"+ {one}" for one in has if one not in had]
    return {"name": new.name, "is_new": old is None, "diff": lines}


def _rules(acl: Acl, sight: Sight) -> list[str]:
    return [
        _rule(rule)
        for rule in acl.rules
        if sight.has_match(rule.source) and sight.has_match(rule.destination)
    ]


def _rule(rule: AclRule) -> str:
    verdict = "pass" if rule.passes else "deny"
    protocol = "any" if rule.protocol is None else str(rule.protocol)
    arrow = "<>" if rule.both_ways else ">"
    if rule.version is not None:
        protocol += f" IPv{rule.version}"
    return f"{verdict} protocol {protocol} {_side(rule.source)} {arrow} {_side(rule.destination)}"


def _side(match: AclMatch) -> str:
    what = str(match.prefix) if match.prefix is not None else match.network or "any"
    if match.group is not None:
        what = "any group" if match.group == ANY_GROUP else f"group {match.group}"
    first, last = match.ports
    return what if (first, last) == (0, 65535) else f"{what} ports {first}-{last}"


def _routers(view: View, change: Touched) -> Iterator[str]:
    """Virtual routers whose machines a change concerns, as far as configuration places them."""
    if change.is_everyone:
        yield from (router.name for router in view.of_kind("virtual-router"))
        return
    yield from change.routers
    machines = {uuid for uuid in change.machines if view.get(uuid) is not None}
    for kind, name in change.nodes:
        item = view.named(kind, tuple(name.split(":")))
        if item is not None:
            machines |= set(_machines(view, item))
    for uuid in machines:
        yield from (router.name for router in view.referrers(uuid, "virtual-router"))


def _machines(view: View, item: Object) -> Iterator[str]:
    if item.kind == "virtual-machine-interface":
        yield from (ref.uuid for ref in item.refs_to("virtual-machine"))
        if item.parent_kind == "virtual-machine" and item.parent_uuid:
            yield item.parent_uuid
    elif item.kind in {_NETWORK, SECURITY_GROUP}:
        for interface in view.referrers(item.uuid, "virtual-machine-interface"):
            yield from _machines(view, interface)
    elif item.kind == "network-ipam":
        for network in view.referrers(item.uuid, "virtual-network"):
            yield from _machines(view, network)
