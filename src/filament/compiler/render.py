"""The plan as Tungsten Fabric's objects: routing-instance, route-target, access-control-list.

Clients and agents expect to read these kinds; nobody writes them. They exist as rows of the plan
only and are rendered when asked for. Their uuids follow from kind and name, so every process that
compiles the same configuration renders the same objects. Shapes: TF's AclEntriesType,
InstanceTargetType, ConnectionType; AddressTypes carry network names, not references.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from filament.base.net import Prefix, format_address
from filament.base.splice import splice_of
from filament.compiler.acls import IMPLICIT_ALLOW, IMPLICIT_DENY
from filament.compiler.groups import SECURITY_GROUP
from filament.compiler.plan import Acl, AclMatch, AclRule, Plan, PlanDelta, RoutingInstance
from filament.model.change import Object, Ref

ROUTING_INSTANCE = "routing-instance"
ROUTE_TARGET = "route-target"
ACCESS_CONTROL_LIST = "access-control-list"
ACL_ENTRIES, ACL_HASH = "access_control_list_entries", "access_control_list_hash"
RENDERED_KINDS = (ROUTING_INSTANCE, ROUTE_TARGET, ACCESS_CONTROL_LIST)

_DIGEST_BYTES = 8  # TF's type has room for so many
_NAMESPACE = uuid.UUID("5b9d5e0c-7c0e-5a54-9d1f-3f6f7c0a8f11").bytes


def uuid_of(kind: str, name: str) -> str:
    """Return the uuid of a rendered object; `name` is its fq name in one string."""
    # As uuid.uuid5, in a third of its time: starting up asks for as many as there are rules.
    hashed = hashlib.sha1(_NAMESPACE + f"{kind} {name}".encode(), usedforsecurity=False)
    text = hashed.hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def fq_name_of(kind: str, name: str) -> tuple[str, ...]:
    """Split a rendered object's name; a route target's colons are its own."""
    return (name,) if kind == ROUTE_TARGET else tuple(name.split(":"))


class Rendered:
    """Every rendered object of one plan, by uuid, name, kind, parent and reference.

    Keeps keys, not objects: a lookup costs the objects it returns, `update` the rows of the delta.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._keys: dict[str, tuple[str, str]] = {}  # uuid -> (kind, name)
        self._children: dict[tuple[str, str], dict[str, None]] = {}  # (parent, kind) -> names
        self._targets: dict[str, frozenset[str]] = {}  # instance -> targets it refers to
        self._users: dict[str, dict[str, None]] = {}  # target -> instances that refer to it
        self._parents: dict[tuple[str, str], str] = {}  # (kind, name) -> parent uuid
        # Access control lists with origins, once asked: as they are, and as they were before.
        self._explained: dict[str, Explained] = {}
        self._stale: dict[str, Explained] = {}
        self.update(
            plan,
            PlanDelta(
                plan.revision,
                instances_put=frozenset(plan.routing_instances),
                acls_put=frozenset(plan.acls),
            ),
        )

    def update(self, plan: Plan, delta: PlanDelta) -> None:
        """Follow the plan; `delta` is what changed since the one before."""
        self._plan = plan
        if delta.is_empty:
            return
        for name in delta.instances_deleted:
            if uuid_of(ROUTING_INSTANCE, name) in self._keys:
                self._forget(ROUTING_INSTANCE, name)
            self._refer(name, frozenset())
        for name in delta.acls_put & self._explained.keys():
            self._stale[name] = self._explained.pop(name)
        for name in delta.acls_deleted:
            self._explained.pop(name, None)
            self._stale.pop(name, None)
            self._forget(ACCESS_CONTROL_LIST, name)
        for name in sorted(delta.instances_put):
            instance = plan.routing_instances[name]
            if not instance.intent_uuid:
                self._remember(ROUTING_INSTANCE, name, instance.network_uuid)
            self._refer(name, instance.own_imports | instance.exports)
        for name in sorted(delta.acls_put):
            self._remember(ACCESS_CONTROL_LIST, name, plan.acls[name].parent_uuid)

    def get(self, uuid: str) -> Object | None:
        """Return the object with this uuid."""
        key = self._keys.get(uuid)
        return self._render(*key) if key else None

    def named(self, kind: str, fq_name: tuple[str, ...]) -> Object | None:
        """Return the object of a kind with this fq name."""
        name = ":".join(fq_name)
        if kind in RENDERED_KINDS and name in self._names(kind) and not self._is_intent(kind, name):
            return self._render(kind, name)
        return None

    def of_kind(self, kind: str) -> Iterator[Object]:
        """Yield all objects of a kind, in order of their first appearance."""
        names = self._names(kind) if kind in RENDERED_KINDS else ()
        return (self._render(kind, name) for name in names if not self._is_intent(kind, name))

    def fq_names(self, kind: str) -> Iterator[tuple[str, ...]]:
        """Yield the names of all objects of a kind, rendering none."""
        names = self._names(kind) if kind in RENDERED_KINDS else ()
        return (fq_name_of(kind, name) for name in names if not self._is_intent(kind, name))

    def children(self, uuid: str, kind: str) -> Iterator[Object]:
        """Yield objects of a kind whose parent (a virtual-network or security-group) is `uuid`."""
        return (self._render(kind, name) for name in self._children.get((uuid, kind), ()))

    def referrers(self, uuid: str, kind: str) -> Iterator[Object]:
        """Yield rendered objects of a kind that refer to the rendered object `uuid`."""
        target_kind, name = self._keys.get(uuid, ("", ""))
        names: tuple[str, ...] = ()
        if kind == ROUTING_INSTANCE and target_kind == ROUTE_TARGET:
            names = tuple(self._users.get(name, ()))
        elif kind == ROUTING_INSTANCE and target_kind == ROUTING_INSTANCE:
            names = self._plan.routing_instances[name].connections  # they go both ways
        return (self._render(kind, each) for each in names if not self._is_intent(kind, each))

    def explained_acls(self, uuid: str) -> Iterator[Object]:
        """Yield the access control lists of a parent, explained."""
        for name in self._children.get((uuid, ACCESS_CONTROL_LIST), ()):
            explained = self.explained_acl(name)
            if explained is not None:
                yield explained

    def explained_acl(self, name: str) -> Object | None:
        """Return an access control list whose rules also tell their `origin`, for agents.

        Kept, because every agent with a port in the network gets it. Rules that did not change are
        the same objects as before.
        """
        known = self._explained.get(name)
        if known is None:
            acl = self._plan.acls.get(name)
            if acl is None:
                return None
            known = self._explained[name] = explain_acl(acl, self._stale.pop(name, None))
        return known.object

    def _is_intent(self, kind: str, name: str) -> bool:
        """Whether a client made the instance, so that it is read as intent and not rendered."""
        if kind != ROUTING_INSTANCE:
            return False
        return bool(self._plan.routing_instances[name].intent_uuid)

    def _names(self, kind: str) -> dict[str, Any]:
        if kind == ROUTE_TARGET:
            return self._users
        if kind == ROUTING_INSTANCE:
            return self._plan.routing_instances
        return self._plan.acls

    def _render(self, kind: str, name: str) -> Object:
        if kind == ROUTING_INSTANCE:
            instance = self._plan.routing_instances[name]
            others = (self._plan.routing_instances[each] for each in instance.connections)
            return render_instance(instance, [_instance_uuid(other) for other in others])
        if kind == ACCESS_CONTROL_LIST:
            return render_acl(self._plan.acls[name])
        instances = self._plan.routing_instances
        return render_target(name, max(instances[u].origin.revision for u in self._users[name]))

    def _remember(self, kind: str, name: str, parent_uuid: str | None = None) -> None:
        key = (kind, name)
        if parent_uuid != self._parents.get(key):
            self._orphan(key)
        self._keys[uuid_of(kind, name)] = key
        if parent_uuid is not None:
            self._parents[key] = parent_uuid
            self._children.setdefault((parent_uuid, kind), {})[name] = None

    def _forget(self, kind: str, name: str) -> None:
        del self._keys[uuid_of(kind, name)]
        self._orphan((kind, name))

    def _orphan(self, key: tuple[str, str]) -> None:
        parent = self._parents.pop(key, None)
        if parent is not None:
            siblings = self._children[parent, key[0]]
            del siblings[key[1]]
            if not siblings:
                del self._children[parent, key[0]]

    def _refer(self, instance: str, targets: frozenset[str]) -> None:
        """Note the targets an instance refers to; one that nobody refers to is gone (TF)."""
        before = self._targets.pop(instance, frozenset())
        for target in sorted(targets - before):
            if target not in self._users:
                self._remember(ROUTE_TARGET, target)
            self._users.setdefault(target, {})[instance] = None
        for target in before - targets:
            del self._users[target][instance]
            if not self._users[target]:
                del self._users[target]
                self._forget(ROUTE_TARGET, target)
        if targets:
            self._targets[instance] = targets


def _instance_uuid(instance: RoutingInstance) -> str:
    return instance.intent_uuid or uuid_of(ROUTING_INSTANCE, instance.name)


def render_instance(instance: RoutingInstance, connected: Iterable[str]) -> Object:
    """Render a routing instance: child of its network, with its own targets and its leaks, which
    go to the instances with the uuids `connected`.

    Targets learnt through connections are not references, as in TF: the control node follows
    `routing_instance_refs` for them.
    """
    refs = [
        Ref(ROUTE_TARGET, uuid_of(ROUTE_TARGET, target), {"import_export": direction})
        for target, direction in sorted(_directions(instance).items())
    ]
    refs += [Ref(ROUTING_INSTANCE, other, {}) for other in connected]
    return _child(
        ROUTING_INSTANCE,
        instance.name,
        instance.network_uuid,
        {"routing_instance_is_default": instance.is_default},
        refs=tuple(refs),
        revision=instance.origin.revision,
    )


class Explained(NamedTuple):
    """An access control list and its object; `digests` are of its rules, one by one."""

    acl: Acl
    object: Object
    digests: list[bytes]


def render_acl(acl: Acl) -> Object:
    """Render an access control list: AclEntriesType and a hash that changes with it."""
    rules = [_render_rule(rule, acl) for rule in acl.rules]
    return _list_of(acl, rules, [_digest(rule) for rule in rules])


def explain_acl(acl: Acl, before: Explained | None = None) -> Explained:
    """Render an access control list with the `origin` of each rule, which TF's types have no field
    for, so that its API clients must not see it. The revision of an origin is left out where it is
    the list's own. Of rules that `before` had too, what was rendered then is taken.
    """
    if before is None:
        rules = [_explain_rule(rule, acl) for rule in acl.rules]
        digests = [_digest(rule) for rule in rules]
    else:
        start, old_end, new_end = splice_of(before.acl.rules, acl.rules)
        new = [_explain_rule(rule, acl) for rule in acl.rules[start:new_end]]
        known = before.object.props[ACL_ENTRIES]["acl_rule"]
        rules = [*known[:start], *new, *known[old_end:]]
        digests = [*before.digests[:start], *map(_digest, new), *before.digests[old_end:]]
    return Explained(acl, _list_of(acl, rules, digests), digests)


def _list_of(acl: Acl, rules: list[dict[str, Any]], digests: list[bytes]) -> Object:
    digest = hashlib.blake2b(b"".join(digests), digest_size=_DIGEST_BYTES).digest()
    return _child(
        ACCESS_CONTROL_LIST,
        acl.name,
        acl.parent_uuid,
        {
            ACL_ENTRIES: {"dynamic": None, "acl_rule": rules},
            ACL_HASH: int.from_bytes(digest, "big"),
        },
        revision=acl.origin.revision,
        parent_kind=acl.parent_kind,
    )


def _digest(rule: dict[str, Any]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(rule), digest_size=_DIGEST_BYTES).digest()


def _explain_rule(rule: AclRule, acl: Acl) -> dict[str, Any]:
    origin = msgspec.to_builtins(rule.origin)
    if not rule.origin.revision:
        del origin["revision"]
    return {**_render_rule(rule, acl), "origin": origin}


def render_target(name: str, revision: int) -> Object:
    """Render a route target, which stands under no parent and has only its name."""
    return Object(
        kind=ROUTE_TARGET,
        uuid=uuid_of(ROUTE_TARGET, name),
        fq_name=fq_name_of(ROUTE_TARGET, name),
        props={"display_name": name},
        revision=revision,
    )


def _child(
    kind: str,
    name: str,
    parent_uuid: str,
    props: dict[str, Any],
    *,
    refs: tuple[Ref, ...] = (),
    revision: int,
    parent_kind: str = "virtual-network",
) -> Object:
    fq_name = fq_name_of(kind, name)
    return Object(
        kind=kind,
        uuid=uuid_of(kind, name),
        fq_name=fq_name,
        parent_kind=parent_kind,
        parent_uuid=parent_uuid,
        props={"display_name": fq_name[-1], **props},
        refs=refs,
        revision=revision,
    )


def _directions(instance: RoutingInstance) -> dict[str, str | None]:
    """Return InstanceTargetType.import_export per target; None is both."""
    imports, exports = instance.own_imports, instance.exports
    return {
        target: None if target in imports and target in exports else direction
        for targets, direction in ((imports, "import"), (exports, "export"))
        for target in targets
    }


def _render_rule(rule: AclRule, acl: Acl) -> dict[str, Any]:
    """Return one AclRuleType. Implicit rules of one way, and those of security groups, have no
    direction, as TF writes them.
    """
    is_of_group = acl.parent_kind == SECURITY_GROUP
    direction = "<>" if rule.both_ways else ">"
    is_implicit = rule.rule_uuid in {IMPLICIT_ALLOW, IMPLICIT_DENY}
    if (is_implicit or is_of_group) and not rule.both_ways:
        direction = ""
    return {
        "match_condition": {
            "protocol": "any" if rule.protocol is None else str(rule.protocol),
            "src_address": _render_address(rule.source),
            "src_port": _render_ports(rule.source),
            "dst_address": _render_address(rule.destination),
            "dst_port": _render_ports(rule.destination),
            "ethertype": f"IPv{rule.version}" if rule.version else None,
        },
        "action_list": {
            "simple_action": "pass" if rule.passes else "deny",
            "gateway_name": None,
            "apply_service": [],
            "mirror_to": None,
            "assign_routing_instance": None,
            "log": False,
            "alert": False,
            "qos_action": None,
            "host_based_service": False,
        },
        "rule_uuid": rule.rule_uuid or None,
        "direction": direction or None,
    }


def _render_address(match: AclMatch) -> dict[str, Any]:
    return {
        "virtual_network": match.network or None,
        "subnet": None if match.prefix is None else _render_subnet(match.prefix),
        "subnet_list": [],
        "security_group": None if match.group is None else str(match.group),
        "network_policy": None,
    }


def _render_subnet(prefix: Prefix) -> dict[str, Any]:
    address = format_address(prefix.address, prefix.version)
    return {"ip_prefix": address, "ip_prefix_len": prefix.length}


def _render_ports(match: AclMatch) -> dict[str, int]:
    return {"start_port": match.ports[0], "end_port": match.ports[1]}
