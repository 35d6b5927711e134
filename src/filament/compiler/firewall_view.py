"""What an agent is shown of tags and of the firewall: what hangs on its ports, as TF has it.

From a tagged object to its tags, from a tag to the application policy sets that refer to it, from a
set to its policies and their rules. Sets of all applications come with the cluster's vRouter
configuration and with the project of a port. Drafts are shown to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from filament.compiler.shown import NodeKey, Shown
from filament.model.change import Object, Ref
from filament.model.view import View

TAG, POLICY_SET = "tag", "application-policy-set"
_POLICY, _RULE = "firewall-policy", "firewall-rule"
_VROUTER = "global-vrouter-config"
_MANAGEMENT = "policy-management"
DRAFT_STATE = "draft_mode_state"
_PROJECT_PROPS = frozenset({"display_name", "id_perms"})


class FirewallWalk:
    """The part of a walk of the configuration that is about tags and policy sets."""

    def __init__(self, view: View, shown: Shown) -> None:
        self._view = view
        self._shown = shown
        self._tags: set[str] = set()  # whose policy sets were visited

    def visit_tags(self, item: Object) -> None:
        """Show an object's tags and what refers to them."""
        for tag in self._of(item, TAG):
            self._shown.show(tag)
            self._shown.link(item, tag, f"{item.kind}-{TAG}")
            if tag.uuid not in self._tags:
                self._tags.add(tag.uuid)
                self.visit_referring_sets(tag)

    def visit_project(self, project: Object) -> None:
        """Show a port's project: its tags and its policy sets."""
        kept = {key: project.props[key] for key in _PROJECT_PROPS & project.props.keys()}
        if not self._shown.show(project, kept):
            return
        self.visit_tags(project)
        for one in self._of(project, POLICY_SET):
            self._visit_set(one)
            self._shown.link(project, one, f"{project.kind}-{POLICY_SET}")

    def visit_referring_sets(self, item: Object) -> None:
        """Show the policy sets that refer to a tag, or to the cluster's vRouter configuration."""
        for one in self._view.referrers(item.uuid, POLICY_SET):
            if not is_draft(one):
                self._visit_set(one)
                self._shown.link(one, item, f"{POLICY_SET}-{item.kind}")

    def _visit_set(self, one: Object) -> None:
        if not self._shown.show(one):
            return
        if one.parent_kind == _MANAGEMENT and one.parent_uuid:
            management = self._view.get(one.parent_uuid)
            if management is not None:
                self._shown.show(management)
                self._shown.link(management, one, f"{_MANAGEMENT}-{POLICY_SET}")
        for policy, ref in self._refs(one, _POLICY):
            self._shown.attribute(one, policy, ref)
            if self._shown.show(policy):
                for rule, rule_ref in self._refs(policy, _RULE):
                    self._shown.attribute(policy, rule, rule_ref)
                    self._visit_rule(rule)

    def _visit_rule(self, rule: Object) -> None:
        if not self._shown.show(rule):
            return
        for service in self._of(rule, "service-group"):
            self._shown.show(service)
            self._shown.link(rule, service, f"{_RULE}-service-group")
        for group in self._of(rule, "address-group"):
            self._shown.show(group)
            self._shown.link(rule, group, f"{_RULE}-address-group")
            for label in self._of(group, TAG):
                self._shown.show(label)
                self._shown.link(group, label, f"address-group-{TAG}")

    def _of(self, item: Object, kind: str) -> Iterator[Object]:
        return (found for found, _ in self._refs(item, kind))

    def _refs(self, item: Object, kind: str) -> Iterator[tuple[Object, Ref]]:
        for ref in item.refs_to(kind):
            found = self._view.get(ref.uuid)
            if found is not None and not is_draft(found):
                yield found, ref


def is_draft(item: Object) -> bool:
    """Say whether an object is only proposed."""
    return bool(item.props.get(DRAFT_STATE))


def touched_by_set(view: View, one: Object) -> set[NodeKey]:
    """Return the nodes under which agents see a policy set that is new to them."""
    refs = (*one.refs_to(TAG), *one.refs_to(_VROUTER))
    found = (view.get(ref.uuid) for ref in refs)
    return {(each.kind, each.name) for each in found if each is not None}
