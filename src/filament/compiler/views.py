"""What an agent may know, and which agents a commit concerns.

An agent sees what hangs on its virtual-router and on the virtual machines it subscribed to, as
Tungsten Fabric's configuration download shows it: nodes, and links named after TF's metadata. The
walk costs what it finds. Nothing is computed for an agent that a commit does not concern: see
`Audience`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from filament.base.splice import splice_of
from filament.compiler.firewall_view import POLICY_SET, FirewallWalk, touched_by_set
from filament.compiler.groups import GROUP_LISTS, SECURITY_GROUP
from filament.compiler.plan import AgentView, Plan, PlanDelta
from filament.compiler.render import (
    ACCESS_CONTROL_LIST,
    ACL_ENTRIES,
    ACL_HASH,
    ROUTING_INSTANCE,
    Rendered,
)
from filament.compiler.shown import NodeKey, Shown
from filament.compiler.targets import GLOBAL_SYSTEM_CONFIG
from filament.model.change import Commit, Object, Ref
from filament.model.view import View
from filament.wire.xmpp.stanza import ConfigSent, Node, RulesEdited

KeyT = TypeVar("KeyT")
_SYSTEM = "global-system-config"
_VROUTER = "global-vrouter-config"
_ROUTER = "virtual-router"
_MACHINE = "virtual-machine"
_INTERFACE = "virtual-machine-interface"
_ADDRESS = "instance-ip"
_NETWORK = "virtual-network"
_IPAM = "network-ipam"
_PROJECT = "project"
_GROUP_PROPS = frozenset(
    {"display_name", "id_perms", "security_group_id", "configured_security_group_id"}
)
_SHORT_LIST = 16  # rules; a shorter list is sent whole
_RULES_AT_ONCE = 1000  # of a longer one
NOTHING = AgentView({}, frozenset())


class Touched(msgspec.Struct, frozen=True):
    """What a commit can change in agents' views: those that hold one of `nodes`, that subscribed
    to one of `machines` (uuids and names), whose router is one of `routers` (fq names), or all.
    """

    nodes: frozenset[NodeKey] = frozenset()
    machines: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()
    is_everyone: bool = False


def router_fq_name(router_name: str) -> tuple[str, ...]:
    """Return a virtual-router's fq name from that in one string, or from the host's name alone."""
    parts = tuple(router_name.split(":"))
    return parts if len(parts) > 1 else (*GLOBAL_SYSTEM_CONFIG, router_name)


def agent_view(
    view: View, plan: Plan, rendered: Rendered, router_name: str, machines: Collection[str]
) -> AgentView:
    """Return everything the agent of a virtual-router may know.

    `machines` are the virtual machines it subscribed to, by uuid (or name, where they differ).
    Those that do not exist (yet) show nothing; a router that does not exist may know nothing.
    """
    router = view.named(_ROUTER, router_fq_name(router_name))
    if router is None:
        return NOTHING
    walk = _Walk(view, plan, rendered)
    walk.visit_router(router)
    for name in machines:
        machine = view.get(name) or view.named(_MACHINE, (name,))
        if machine is not None and machine.kind == _MACHINE:
            walk.visit_machine(router, machine)
    return walk.told()


class _Walk:
    """One walk of the configuration; every object is visited once."""

    def __init__(self, view: View, plan: Plan, rendered: Rendered) -> None:
        self._shown = Shown()
        self._firewall = FirewallWalk(view, self._shown)
        self._view = view
        self._plan = plan
        self._rendered = rendered

    def told(self) -> AgentView:
        """Return what the walk found."""
        return AgentView(self._shown.nodes, frozenset(self._shown.links))

    def visit_router(self, router: Object) -> None:
        self._shown.show(router)
        system = self._view.named(_SYSTEM, GLOBAL_SYSTEM_CONFIG)
        if system is None:
            return
        self._shown.show(system)
        self._shown.link(system, router, "global-system-config-virtual-router")
        for vrouter in self._view.children(system.uuid, _VROUTER):
            self._shown.show(vrouter)
            self._shown.link(system, vrouter, "global-system-config-global-vrouter-config")
            self._firewall.visit_referring_sets(vrouter)

    def visit_machine(self, router: Object, machine: Object) -> None:
        self._shown.show(machine)
        self._shown.link(router, machine, "virtual-router-virtual-machine")
        self._firewall.visit_tags(machine)
        for interface in (
            *self._view.referrers(machine.uuid, _INTERFACE),
            *self._view.children(machine.uuid, _INTERFACE),
        ):
            self._visit_interface(interface)
            self._shown.link(interface, machine, "virtual-machine-interface-virtual-machine")

    def _visit_interface(self, interface: Object) -> None:
        if not self._shown.show(interface):
            return
        for address in self._view.referrers(interface.uuid, _ADDRESS):
            self._shown.show(address)
            self._shown.link(address, interface, "instance-ip-virtual-machine-interface")
        for ref in interface.refs_to(_NETWORK):
            network = self._view.get(ref.uuid)
            if network is not None:
                self._visit_network(network)
                self._shown.link(interface, network, "virtual-machine-interface-virtual-network")
        for ref in interface.refs_to(SECURITY_GROUP):
            group = self._view.get(ref.uuid)
            if group is not None:
                self._visit_group(group)
                self._shown.link(interface, group, "virtual-machine-interface-security-group")
        self._firewall.visit_tags(interface)
        if interface.parent_kind == _PROJECT and interface.parent_uuid:
            project = self._view.get(interface.parent_uuid)
            if project is not None:
                self._firewall.visit_project(project)
                self._shown.link(project, interface, "project-virtual-machine-interface")

    def _visit_group(self, group: Object) -> None:
        """A group goes without its rules: agents read its lists."""
        kept = {key: group.props[key] for key in _GROUP_PROPS & group.props.keys()}
        if self._shown.show(group, kept):
            self._visit_lists(group)

    def _visit_network(self, network: Object) -> None:
        props = network.props
        default = self._plan.routing_instances.get(f"{network.name}:{network.fq_name[-1]}")
        if default is not None and default.network_id:
            props = {**props, "virtual_network_network_id": default.network_id}
        if not self._shown.show(network, props):
            return
        for instance in self._rendered.children(network.uuid, ROUTING_INSTANCE):
            self._shown.show(instance)
            self._shown.link(network, instance, "virtual-network-routing-instance")
        for instance in self._view.children(network.uuid, ROUTING_INSTANCE):
            self._shown.show(instance)
            self._shown.link(network, instance, "virtual-network-routing-instance")
        self._visit_lists(network)
        self._firewall.visit_tags(network)
        for ref in network.refs_to(_IPAM):
            self._visit_ipam(network, ref)

    def _visit_ipam(self, network: Object, ref: Ref) -> None:
        """Show an IPAM and, as a node of its own between the two, the network's subnets from it."""
        ipam = self._view.get(ref.uuid)
        if ipam is None:
            return
        self._shown.show(ipam)
        self._shown.attribute(network, ipam, ref)

    def _visit_lists(self, parent: Object) -> None:
        """Access control lists of a network or a security group, rendered and client-made."""
        metadata = f"{parent.kind}-access-control-list"
        for acl in self._rendered.explained_acls(parent.uuid):
            self._shown.show(acl)
            self._shown.link(parent, acl, metadata)
        for acl in self._view.children(parent.uuid, ACCESS_CONTROL_LIST):
            self._shown.show(acl)
            self._shown.link(parent, acl, metadata)


def diff(old: AgentView, new: AgentView, *, edits: bool = False) -> ConfigSent:
    """Return what an agent that has `old` must be sent to have `new`, in a stable order; with
    `edits`, of long lists of rules only what changed in them.
    """
    nodes: list[Node] = []
    edited: list[RulesEdited] = []
    for key, node in new.nodes.items():
        before = old.nodes.get(key)
        if before == node:
            continue
        edit = _edit(before, node) if edits and before is not None else None
        if edit is not None:
            edited.append(edit)
        elif edits:
            bare, filling = _in_parts(node)
            nodes.append(bare)
            edited += filling
        else:
            nodes.append(node)
    return ConfigSent(
        nodes=tuple(nodes),
        links=tuple(sorted(new.links - old.links)),
        deleted_nodes=tuple(sorted(old.nodes.keys() - new.nodes.keys())),
        deleted_links=tuple(sorted(old.links - new.links)),
        edits=tuple(edited),
    )


def _edit(old: Node, new: Node) -> RulesEdited | None:
    """Return what leads from one state of a list of rules to another; None where it says more, or
    not much less.
    """
    if new.kind != ACCESS_CONTROL_LIST or old.props.keys() != new.props.keys():
        return None
    known, rules = _rules_of(old), _rules_of(new)
    if known is None or rules is None or len(rules) < _SHORT_LIST:
        return None
    if any(
        old.props[name] != value
        for name, value in new.props.items()
        if name not in (ACL_ENTRIES, ACL_HASH)
    ):
        return None
    start, old_end, new_end = splice_of(known, rules)
    if 2 * (new_end - start) > len(rules):
        return None
    before, now = old.props[ACL_HASH], new.props[ACL_HASH]
    assert isinstance(before, int)
    assert isinstance(now, int)
    put = tuple(rules[start:new_end])
    return RulesEdited(new.name, new.revision, before, now, start, old_end - start, put)


def _in_parts(node: Node) -> tuple[Node, list[RulesEdited]]:
    """Return a node, of a long list one without rules, and the edits that bring them."""
    rules = _rules_of(node)
    if node.kind != ACCESS_CONTROL_LIST or rules is None or len(rules) < _SHORT_LIST:
        return node, []
    last = node.props[ACL_HASH]
    assert isinstance(last, int)
    bare: dict[str, object] = {"dynamic": None, "acl_rule": []}
    props = {**node.props, ACL_ENTRIES: bare, ACL_HASH: 0}
    edits: list[RulesEdited] = []
    for start in range(0, len(rules), _RULES_AT_ONCE):
        end = min(start + _RULES_AT_ONCE, len(rules))
        # Of a list that is not whole, how many rules it has serves as its hash.
        now = last if end == len(rules) else end
        part = tuple(rules[start:end])
        edits.append(RulesEdited(node.name, node.revision, start, now, start, 0, part))
    return Node(node.kind, node.name, props, node.revision), edits


def _rules_of(node: Node) -> list[object] | None:
    """Return the rules of a list that the plan made; those that clients made are not edited."""
    entries = node.props.get(ACL_ENTRIES)
    if not isinstance(entries, dict) or not isinstance(node.props.get(ACL_HASH), int):
        return None
    rules = entries.get("acl_rule")
    return rules if entries == {"dynamic": None, "acl_rule": rules} and rules else None


def is_empty(sent: ConfigSent) -> bool:
    """Say whether a difference is none, and need not be sent."""
    return not (sent.nodes or sent.links or sent.deleted_nodes or sent.deleted_links or sent.edits)


def touched(view: View, commit: Commit, delta: PlanDelta) -> Touched:
    """Return what a commit, with `delta` the plan's part of it, can change in agents' views.

    `view` is the configuration after the commit. Costs a glance at each object of the commit:
    what an object used to hang on is known from the nodes that agents hold, not from the past.
    """
    nodes: set[NodeKey] = set()
    machines: set[str] = set()
    routers: set[str] = set()
    is_everyone = False
    for each in (*commit.puts, *commit.deletes):
        nodes.add((each.kind, each.name))
        if each.kind in (_SYSTEM, _VROUTER):
            is_everyone = True
        elif each.kind == _ROUTER:
            routers.add(each.name)
        elif each.kind == _MACHINE:
            machines |= {each.uuid, each.name}
        elif each.kind == _INTERFACE:
            machines |= _machines_of(view, each)
        elif each.kind in (ROUTING_INSTANCE, ACCESS_CONTROL_LIST):  # those that clients made
            nodes.add((each.parent_kind or _NETWORK, each.name.rpartition(":")[0]))
        elif each.kind == _ADDRESS:
            nodes |= _keys(view, each.refs_to(_INTERFACE))
        elif each.kind == POLICY_SET:
            nodes |= touched_by_set(view, each)
    for kind, names in (
        (ROUTING_INSTANCE, delta.instances_put | delta.instances_deleted),
        (ACCESS_CONTROL_LIST, delta.acls_put | delta.acls_deleted),
    ):
        nodes |= {(kind, name) for name in names}
        nodes |= {_parent_of(name) for name in names}
    return Touched(frozenset(nodes), frozenset(machines), frozenset(routers), is_everyone)


def _parent_of(name: str) -> NodeKey:
    """What a rendered instance or list hangs on, by its name."""
    above, _, own = name.rpartition(":")
    return (SECURITY_GROUP if own in GROUP_LISTS else _NETWORK, above)


def _machines_of(view: View, interface: Object) -> set[str]:
    """Return uuids and names of the machines an interface belongs to."""
    uuids = {ref.uuid for ref in interface.refs_to(_MACHINE)}
    if interface.parent_kind == _MACHINE and interface.parent_uuid:
        uuids.add(interface.parent_uuid)
    found = (view.get(uuid) for uuid in uuids)
    return uuids | {machine.name for machine in found if machine is not None}


def _keys(view: View, refs: Iterable[Ref]) -> set[NodeKey]:
    found = (view.get(ref.uuid) for ref in refs)
    return {(each.kind, each.name) for each in found if each is not None}


class _Listener(msgspec.Struct):
    """What one agent asked for and was told."""

    router_name: str
    machines: set[str]
    told: AgentView = NOTHING


class Audience:
    """The agents of one control node and what each was told: who holds which node.

    Lives as long as the control node, owned by its task. After changing what an agent wants, and
    for every agent that `affected` names, call `tell` for what it must be sent.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, _Listener] = {}
        self._by_node: dict[NodeKey, set[str]] = {}
        self._by_machine: dict[str, set[str]] = {}
        self._by_router: dict[str, set[str]] = {}

    def join(self, agent: str, router_name: str) -> None:
        """Add an agent that was told nothing yet; one that is here starts anew."""
        self.leave(agent)
        name = ":".join(router_fq_name(router_name))
        self._listeners[agent] = _Listener(name, set())
        self._by_router.setdefault(name, set()).add(agent)

    def leave(self, agent: str) -> None:
        """Forget an agent; one that is not here is no error."""
        listener = self._listeners.pop(agent, None)
        if listener is not None:
            _drop(self._by_router, [listener.router_name], agent)
            _drop(self._by_machine, listener.machines, agent)
            _drop(self._by_node, listener.told.nodes, agent)

    def subscribe(self, agent: str, machine: str) -> None:
        """Note that an agent wants a virtual machine."""
        self._listeners[agent].machines.add(machine)
        self._by_machine.setdefault(machine, set()).add(agent)

    def unsubscribe(self, agent: str, machine: str) -> None:
        """Note that an agent no longer wants a virtual machine; it need not have wanted it."""
        wanted = self._listeners[agent].machines
        if machine in wanted:
            wanted.discard(machine)
            _drop(self._by_machine, [machine], agent)

    def told(self, agent: str) -> AgentView:
        """Return what an agent was told."""
        return self._listeners[agent].told

    def holders(self, kind: str, name: str) -> list[str]:
        """Return the agents that were told of a node, sorted."""
        return sorted(self._by_node.get((kind, name), ()))

    def tell(
        self, agent: str, view: View, plan: Plan, rendered: Rendered, *, edits: bool = False
    ) -> ConfigSent:
        """Return what an agent must be sent to be up to date, and take it as told; see `diff`."""
        listener = self._listeners[agent]
        now = agent_view(view, plan, rendered, listener.router_name, sorted(listener.machines))
        before, listener.told = listener.told, now
        _drop(self._by_node, before.nodes.keys() - now.nodes.keys(), agent)
        for key in now.nodes.keys() - before.nodes.keys():
            self._by_node.setdefault(key, set()).add(agent)
        return diff(before, now, edits=edits)

    def affected(self, view: View, commit: Commit, delta: PlanDelta) -> list[str]:
        """Return the agents whose view a commit may have changed, and few others, sorted."""
        change = touched(view, commit, delta)
        if change.is_everyone:
            return sorted(self._listeners)
        return sorted(
            _members(self._by_node, change.nodes)
            | _members(self._by_machine, change.machines)
            | _members(self._by_router, change.routers)
        )


def _members(index: dict[KeyT, set[str]], keys: Iterable[KeyT]) -> set[str]:
    return {agent for key in keys for agent in index.get(key, ())}


def _drop(index: dict[KeyT, set[str]], keys: Iterable[KeyT], agent: str) -> None:
    for key in list(keys):
        index[key].discard(agent)
        if not index[key]:
            del index[key]
