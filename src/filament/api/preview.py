"""What a write would do, told without doing it: objects, numbers, the plan, the hosts concerned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from filament.api.shown import ShownPlan
from filament.compiler.plan import Acl, AclMatch, AclRule, Plan, RoutingInstance
from filament.compiler.views import Touched, touched
from filament.model.change import Allocation, Commit, Object
from filament.model.kind import field_of
from filament.model.snapshot import Snapshot, Staged
from filament.model.stored import STORED_VALUE
from filament.model.view import View

_TARGETS = "route-target/"


def preview(snapshot: Snapshot, shown: ShownPlan, commit: Commit | None) -> dict[str, Any]:
    """Describe a commit that is not to happen; None is a write that changes nothing."""
    if commit is None:
        return {
            "revision_would_be": snapshot.revision,
            "changes": _changes(snapshot, Commit(snapshot.revision, 0.0, "")),
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
    return {
        "revision_would_be": commit.revision,
        "changes": _changes(snapshot, commit),
        "plan": {
            "routing_instances": {
                "put": _different(
                    _instance(old, new.routing_instances[name])
                    for name in sorted(delta.instances_put)
                ),
                "deleted": sorted(delta.instances_deleted),
            },
            "route_targets": {
                "taken": list(_targets(commit.takes)),
                "freed": list(_targets(commit.frees)),
            },
            "access_control_lists": {
                "put": _different(
                    _acl(old.acls.get(name), new.acls[name]) for name in sorted(delta.acls_put)
                ),
                "deleted": sorted(delta.acls_deleted),
            },
            "agents": sorted(
                {
                    name
                    for view in (snapshot, after)
                    for name in _routers(view, touched(view, commit, delta))
                }
            ),
        },
    }


def _different(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without rows of which only the provenance is new."""
    return [row for row in rows if row["is_new"] or row["diff"]]


def _changes(snapshot: Snapshot, commit: Commit) -> dict[str, Any]:
    return {
        "puts": [_put(snapshot, item) for item in commit.puts if item.kind != STORED_VALUE],
        "deletes": [_identity(item) for item in commit.deletes if item.kind != STORED_VALUE],
        "takes": commit.takes,
        "frees": commit.frees,
    }


def _identity(item: Object) -> dict[str, Any]:
    return {"type": item.kind, "uuid": item.uuid, "fq_name": list(item.fq_name)}


def _put(snapshot: Snapshot, item: Object) -> dict[str, Any]:
    """An object with the fields that are new or different, null for those that are gone."""
    before = snapshot.get(item.uuid)
    old = _fields(snapshot, before) if before is not None else {}
    new = _fields(snapshot, item)
    fields = {name: new.get(name) for name in (*old, *new) if old.get(name) != new.get(name)}
    return _identity(item) | {"is_new": before is None, "fields": fields}


def _fields(snapshot: Snapshot, item: Object) -> dict[str, Any]:
    fields = dict(item.props)
    for ref in item.refs:
        target = snapshot.get(ref.uuid)
        named = list(target.fq_name) if target is not None else None
        listed = fields.setdefault(f"{field_of(ref.kind)}_refs", [])
        listed.append({"to": named, "uuid": ref.uuid, "attr": ref.attr})
    return fields


def _targets(allocations: tuple[Allocation, ...]) -> Iterator[dict[str, str]]:
    for one in allocations:
        if one.pool.startswith(_TARGETS):
            asn = one.pool.removeprefix(_TARGETS)
            yield {"target": f"target:{asn}:{one.value}", "routing_instance": one.owner}


def _instance(plan: Plan, new: RoutingInstance) -> dict[str, Any]:
    """A routing instance as it would be, and line by line what is different."""
    old = plan.routing_instances.get(new.name)
    lines = []
    for field in ("network_id", "target", "is_default"):
        was, now = getattr(old, field, None), getattr(new, field)
        if was != now:
            lines += [f"- {field} {was}"] if old is not None else []
            lines.append(f"+ {field} {now}")
    for word, field in (("import", "imports"), ("export", "exports"), ("connect", "connections")):
        had, has = set(getattr(old, field, ())), set(getattr(new, field))
        lines += [f"- {word} {one}" for one in sorted(had - has)]
        lines += [f"+ {word} {one}" for one in sorted(has - had)]
    return {"name": new.name, "is_new": old is None, "diff": lines}


def _acl(old: Acl | None, new: Acl) -> dict[str, Any]:
    had = [_rule(one) for one in old.rules] if old is not None else []
    has = [_rule(one) for one in new.rules]
    lines = [f"- {one}" for one in had if one not in has]
    lines += [f"+ {one}" for one in has if one not in had]
    return {"name": new.name, "is_new": old is None, "diff": lines}


def _rule(rule: AclRule) -> str:
    verdict = "pass" if rule.passes else "deny"
    protocol = "any" if rule.protocol is None else str(rule.protocol)
    arrow = "<>" if rule.both_ways else ">"
    return f"{verdict} protocol {protocol} {_side(rule.source)} {arrow} {_side(rule.destination)}"


def _side(match: AclMatch) -> str:
    what = str(match.prefix) if match.prefix is not None else match.network or "any"
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
    elif item.kind == "virtual-network":
        for interface in view.referrers(item.uuid, "virtual-machine-interface"):
            yield from _machines(view, interface)
    elif item.kind == "network-ipam":
        for network in view.referrers(item.uuid, "virtual-network"):
            yield from _machines(view, network)
