"""Draft mode of the firewall: what is proposed is not enforced, and is committed at once."""

import pytest
from tests.api.office import Office

from filament.api.draft_action import SettleDraft
from filament.api.request import Create
from filament.api.transaction import Operation, Transaction
from filament.base.errors import ConflictError, InputError
from filament.compiler.firewall_view import is_draft
from filament.model.body import convert_body
from filament.model.kinds import KINDS

MANAGEMENT = "default-policy-management"
DRAFTS = "draft-policy-management"
SET = (MANAGEMENT, "default-application-policy-set")
SYSTEM = ("default-global-system-config",)


@pytest.fixture
def office():
    made = Office()
    for name in ("tier=web", "tier=db"):
        kind, value = name.split("=")
        made.create("tag", name, tag_type_name=kind, tag_value=value)
    return made


def draft_mode(office, *, on, scope=None):
    item = scope or office.view.named("global-system-config", SYSTEM)
    office.update(office.view.get(item.uuid), enable_security_policy_draft=on)


def settle(office, action, scope=None):
    scope = scope or office.view.named("global-system-config", SYSTEM)
    return office.do(SettleDraft(scope.uuid, action))


def rule(office, name, passes=True, parent=(MANAGEMENT,), kind="policy-management", **fields):
    given = {
        "endpoint_1": {"tags": ["global:tier=web"]},
        "endpoint_2": {"tags": ["global:tier=db"]},
        "service": {"protocol": "tcp"},
        "direction": ">",
        "action_list": {"simple_action": "pass" if passes else "deny"},
        **fields,
    }
    return office.create("firewall-rule", *parent, name, parent_type=kind, **given)


def policy(office, name, *rules, parent=(MANAGEMENT,), kind="policy-management"):
    refs = [{"to": [*parent, one], "attr": {"sequence": "1.0"}} for one in rules]
    return office.create(
        "firewall-policy", *parent, name, parent_type=kind, firewall_rule_refs=refs
    )


def use(office, *policies):
    refs = [{"to": [MANAGEMENT, one], "attr": {"sequence": "1.0"}} for one in policies]
    office.update(office.view.named("application-policy-set", SET), firewall_policy_refs=refs)


def named(office, kind, name, parent=(MANAGEMENT,)):
    return office.view.named(kind, (*parent, name))


def test_without_draft_mode_nothing_is_drafted(office):
    assert not is_draft(rule(office, "one"))
    with pytest.raises(InputError, match="draft mode is not enabled on the global-system-config"):
        settle(office, "commit")


def test_what_is_made_in_draft_mode_is_a_draft_until_it_is_committed(office):
    draft_mode(office, on=True)
    made = rule(office, "one")
    assert made.fq_name == (DRAFTS, "one")
    assert made.props["draft_mode_state"] == "created"
    assert named(office, "firewall-rule", "one") is None
    policy(office, "tiers", "one")  # by the name that it will have
    use(office, "tiers")
    assert office.view.named("application-policy-set", SET).refs_to("firewall-policy") == []

    before = office.view.revision
    settle(office, "commit")
    assert office.view.revision == before + 1
    enforced = named(office, "firewall-rule", "one")
    assert enforced.uuid == made.uuid
    assert enforced.parent_kind == "policy-management"
    assert "draft_mode_state" not in enforced.props
    tiers = named(office, "firewall-policy", "tiers")
    [ref] = tiers.refs_to("firewall-rule")
    assert (ref.uuid, ref.attr) == (enforced.uuid, {"sequence": "1.0"})
    [ref] = office.view.named("application-policy-set", SET).refs_to("firewall-policy")
    assert ref.uuid == tiers.uuid
    assert not [one for one in office.view.of_kind("firewall-rule") if is_draft(one)]


def test_a_change_in_draft_mode_leaves_what_is_enforced(office):
    one = rule(office, "one")
    draft_mode(office, on=True)
    office.update(one, action_list={"simple_action": "deny"})
    office.update(one, direction="<>")
    enforced = office.view.get(one.uuid)
    assert enforced.props["action_list"]["simple_action"] == "pass"
    draft = named(office, "firewall-rule", "one", (DRAFTS,))
    assert draft.props["draft_mode_state"] == "updated"
    settle(office, "commit")
    enforced = office.view.get(one.uuid)
    assert enforced.props["action_list"]["simple_action"] == "deny"
    assert enforced.props["direction"] == "<>"
    assert enforced.props["id_perms"]["uuid"] == one.props["id_perms"]["uuid"]
    assert named(office, "firewall-rule", "one", (DRAFTS,)) is None


def test_references_added_in_draft_mode_are_the_drafts(office):
    one, other = rule(office, "one"), rule(office, "other")
    tiers = policy(office, "tiers", "one")
    draft_mode(office, on=True)
    office.add_ref(tiers, other, {"sequence": "2.0"})
    office.remove_ref(tiers, one)
    assert [ref.uuid for ref in office.view.get(tiers.uuid).refs_to("firewall-rule")] == [one.uuid]
    settle(office, "commit")
    refs = office.view.get(tiers.uuid).refs_to("firewall-rule")
    assert [ref.uuid for ref in refs] == [other.uuid]


def test_discarded_drafts_are_gone_and_what_was_is_as_it_was(office):
    one = rule(office, "one")
    tiers = policy(office, "tiers", "one")
    draft_mode(office, on=True)
    rule(office, "two")
    office.update(one, direction="<>")
    office.delete(tiers)
    before = {item.uuid: item for item in (office.view.get(one.uuid), office.view.get(tiers.uuid))}
    settle(office, "discard")
    assert {uuid: office.view.get(uuid) for uuid in before} == before
    assert named(office, "firewall-rule", "two", (DRAFTS,)) is None


def test_a_deletion_waits_for_the_commit_and_is_refused_while_it_is_used(office):
    one = rule(office, "one")
    tiers = policy(office, "tiers", "one")
    draft_mode(office, on=True)
    office.delete(one)
    assert office.view.get(one.uuid) is not None
    with pytest.raises(ConflictError, match="still used by firewall-policy"):
        settle(office, "commit")
    with pytest.raises(InputError, match="pending delete"):
        office.update(one, direction="<>")
    office.delete(tiers)
    settle(office, "commit")
    assert office.view.get(one.uuid) is None
    assert office.view.get(tiers.uuid) is None


def test_a_draft_cannot_be_made_twice(office):
    draft_mode(office, on=True)
    rule(office, "one")
    with pytest.raises(InputError, match="was already created and waits to be committed"):
        rule(office, "one")


def test_draft_mode_does_not_end_with_drafts(office):
    draft_mode(office, on=True)
    rule(office, "one")
    with pytest.raises(ConflictError, match="1 pending, firewall-rule one"):
        draft_mode(office, on=False)
    settle(office, "discard")
    draft_mode(office, on=False)
    assert office.view.named("policy-management", (DRAFTS,)) is None
    assert not is_draft(rule(office, "one"))


def test_nobody_else_sets_the_state(office):
    body = convert_body(
        KINDS["address-group"],
        {
            "fq_name": [MANAGEMENT, "g"],
            "parent_type": "policy-management",
            "draft_mode_state": "created",
        },
    )
    with pytest.raises(InputError, match="'draft_mode_state' is only readable"):
        office.do(Create("address-group", body))


def test_a_project_has_a_draft_mode_of_its_own_and_its_tags(office):
    demo = office.create("project", "default-domain", "demo")
    office.create(
        "tag", "default-domain", "demo", "tier=app", tag_type_name="tier", tag_value="app",
        parent_type="project",
    )  # fmt: skip
    draft_mode(office, on=True, scope=demo)
    inside = {"parent": demo.fq_name, "kind": "project"}
    draft = rule(office, "one", endpoint_1={"tags": ["tier=app"]}, **inside)
    assert draft.fq_name == (*demo.fq_name, DRAFTS, "one")
    assert not is_draft(rule(office, "global"))
    settle(office, "commit", demo)
    one = named(office, "firewall-rule", "one", demo.fq_name)
    assert (one.parent_kind, one.parent_uuid) == ("project", demo.uuid)
    assert one.props["endpoint_1"]["tag_ids"] == [0x20003]


def test_a_rule_may_name_an_address_group_that_is_drafted(office):
    draft_mode(office, on=True)
    office.create("address-group", MANAGEMENT, "lan", parent_type="policy-management")
    made = rule(office, "one", endpoint_1={"address_group": f"{MANAGEMENT}:lan"})
    assert made.props["endpoint_1"]["address_group"] == f"{DRAFTS}:lan"
    settle(office, "commit")
    one = named(office, "firewall-rule", "one")
    assert one.props["endpoint_1"]["address_group"] == f"{MANAGEMENT}:lan"
    [ref] = one.refs_to("address-group")
    assert ref.uuid == named(office, "address-group", "lan").uuid


def test_a_project_goes_with_its_empty_draft_mode(office):
    demo = office.create("project", "default-domain", "demo")
    draft_mode(office, on=True, scope=demo)
    office.delete(office.view.get(demo.uuid))
    assert office.view.get(demo.uuid) is None


def test_a_transaction_is_drafted_like_single_writes(office):
    draft_mode(office, on=True)
    made = {"fq_name": [MANAGEMENT, "lan"], "parent_type": "policy-management"}
    office.do(Transaction([Operation("create", "address-group", object=made)]))
    assert named(office, "address-group", "lan") is None
    assert named(office, "address-group", "lan", (DRAFTS,)) is not None


def test_an_action_that_is_neither(office):
    with pytest.raises(InputError, match="Only 'commit' or 'discard'"):
        settle(office, "keep")
