"""What a tenant may do by way of actions, and what their refusals keep to themselves."""

import pytest

from filament.api.access import RelaxReference, SetTags, TagEdit
from filament.api.addresses import ReleaseAddresses, ReserveAddresses
from filament.api.caller import Caller
from filament.api.preview import preview
from filament.api.rbac import DEFAULT_NAME
from filament.api.request import Create, Update
from filament.api.stored import CreateIntPool, StoreValue
from filament.api.transaction import Expecting, Operation, Transaction
from filament.base.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PreconditionError,
    QuotaError,
)
from filament.compiler.render import uuid_of
from filament.model.body import convert_body
from filament.model.kinds import KINDS

from .office import NOW, PROJECT, Office, ipam_refs, rule, subnet

MINE, THEIRS = (f"aaaaaaaa-0000-4000-8000-00000000000{n}" for n in range(2))
TESS = Caller("tess", frozenset({"member"}), project=MINE)


def perms(owner, everybody=0):
    return {"owner": owner, "owner_access": 7, "global_access": everybody}


@pytest.fixture
def office():
    office = Office()
    for name, uuid in (("mine", MINE), ("theirs", THEIRS)):
        office.create("project", "default-domain", name, uuid=uuid)
    rule = {"rule_object": "*", "rule_perms": [{"role_name": "*", "role_crud": "CRUD"}]}
    office.create(
        "api-access-list",
        *DEFAULT_NAME,
        parent_type="global-system-config",
        api_access_list_entries={"rbac_rule": [rule]},
    )
    return office


def ask(office, request):
    prepared = office.engine.prepare(request, now=NOW, who=TESS)
    if prepared.commit is not None:
        office.keep(prepared.commit)
    return prepared


def network(office, project, name, prefix="10.1.1.0", everybody=0, **fields):
    owner = MINE if project == "mine" else THEIRS
    return office.create(
        "virtual-network",
        "default-domain",
        project,
        name,
        perms2=perms(owner, everybody),
        network_ipam_refs=ipam_refs(subnet(prefix)),
        **fields,
    )


def test_kinds_without_a_rule_are_not_counted(office):
    assert office.engine.access(TESS).may_list("virtual-network")
    assert not Office().engine.access(TESS).may_list("virtual-network")


def test_actions_on_no_object_are_for_cloud_admins(office):
    for action in (CreateIntPool("a", 1, 2), StoreValue("useragent", "a", 1)):
        with pytest.raises(ForbiddenError, match="only a cloud admin may do this"):
            ask(office, action)


def test_a_firewall_rule_links_what_it_names(office):
    office.create("address-group", "default-domain", "theirs", "secret", parent_type="project")
    shared = network(office, "theirs", "shared", everybody=1)

    def rule(name, endpoint):
        return Create(
            "firewall-rule",
            convert_body(
                KINDS["firewall-rule"],
                {
                    "fq_name": ["default-domain", "mine", name],
                    "parent_type": "project",
                    "service": {"protocol": "tcp"},
                    "direction": "<>",
                    "endpoint_1": endpoint,
                    "endpoint_2": {"any": True},
                },
            ),
            MINE,
        )

    with pytest.raises(ForbiddenError, match=r"link \(X\) access to address-group"):
        ask(office, rule("a", {"address_group": "default-domain:theirs:secret"}))
    made = ask(office, rule("b", {"virtual_network": shared.name})).object
    assert [ref.uuid for ref in made.refs_to("virtual-network")] == [shared.uuid]
    body = {"endpoint_2": {"address_group": "default-domain:theirs:secret"}}
    with pytest.raises(ForbiddenError, match=r"link \(X\) access to address-group"):
        ask(office, Update(made.kind, made.uuid, convert_body(KINDS[made.kind], body)))


def test_intent_in_the_place_of_what_is_rendered_has_its_own_rights(office):
    mine = network(office, "mine", "n")
    name = [*mine.fq_name, mine.fq_name[-1]]
    rendered = uuid_of("routing-instance", ":".join(name))
    assert office.engine.shown.objects.get(rendered) is not None
    access = office.engine.access(TESS)
    kind = KINDS["routing-instance"]
    assert access.require_own(kind, rendered, 4).uuid == rendered
    item = office.engine.shown.objects.get(rendered)
    stored = item.__class__(
        kind=item.kind,
        uuid="bbbbbbbb-0000-4000-8000-000000000000",
        fq_name=item.fq_name,
        parent_kind=item.parent_kind,
        parent_uuid=item.parent_uuid,
        props={"perms2": perms(THEIRS), "id_perms": {"user_visible": True}},
    )

    class View:
        def __getattr__(self, name):
            return getattr(office.view, name)

        def named(self, kind, fq_name):
            found = office.view.named(kind, fq_name)
            return stored if (kind, fq_name) == (item.kind, item.fq_name) else found

    with pytest.raises(ForbiddenError, match="write"):
        office.engine.access(TESS, View()).require_own(kind, rendered, 2)


def test_a_route_target_made_intent_stays_readable_by_who_has_it(office):
    target = office.create("route-target", "target:64512:77")
    assert not office.engine.access(TESS).sees(target)
    network(office, "mine", "n", route_target_list={"route_target": ["target:64512:77"]})
    access = office.engine.access(TESS)
    assert access.sees(target)
    assert not access.rights(target) & 2


def test_refusals_do_not_name_what_may_not_be_read(office):
    vxlan = {"virtual_network_properties": {"vxlan_network_identifier": 77}}
    network(office, "theirs", "secret", **vxlan)
    shared = network(office, "theirs", "shared", prefix="10.2.2.0", everybody=7)
    office.create(
        "instance-ip",
        "secret-address",
        instance_ip_address="10.2.2.9",
        virtual_network_refs=[{"uuid": shared.uuid}],
        perms2=perms(THEIRS),
    )

    def create(kind, fq_name, **fields):
        body = convert_body(KINDS[kind], {"fq_name": fq_name, **fields})
        return Create(kind, body, MINE)

    with pytest.raises(InputError, match="set on another virtual-network") as refused:
        ask(office, create("virtual-network", ["default-domain", "mine", "v"], **vxlan))
    assert "secret" not in str(refused.value)
    refs = [{"uuid": shared.uuid}]
    address = {"instance_ip_address": "10.2.2.9", "virtual_network_refs": refs}
    with pytest.raises(ConflictError, match="is held by another object"):
        ask(office, create("instance-ip", ["i"], **address))
    with pytest.raises(ConflictError, match="not reserved but held by another object"):
        ask(office, ReleaseAddresses(shared.uuid, ["10.2.2.9"]))
    office.update(office.view.get(THEIRS), quota={"instance_ip": 0})
    foreign = {"perms2": perms(THEIRS), "virtual_network_refs": refs}
    with pytest.raises(QuotaError) as refused:
        ask(office, create("instance-ip", ["j"], **foreign))
    assert str(refused.value) == "quota limit exceeded for resource instance_ip"
    # In a transaction, too.
    operation = Operation("create", "instance-ip", object={"fq_name": ["i"], **address})
    with pytest.raises(ConflictError, match=r"operation 0 .* is held by another object"):
        ask(office, Transaction([operation], MINE))


def test_addresses_of_a_network_are_taken_by_who_may_write_it(office):
    shared = network(office, "theirs", "shared", everybody=5)
    with pytest.raises(ForbiddenError, match=r"write \(W\) access to virtual-network"):
        ask(office, ReserveAddresses(shared.uuid))
    mine = network(office, "mine", "n", prefix="10.3.3.0")
    assert ask(office, ReserveAddresses(mine.uuid)).answer == ["10.3.3.3"]


def test_tags_are_linked_by_who_may_and_no_hint_names_the_others(office):
    mine = network(office, "mine", "n")
    office.create("tag-type", "secret-type")
    with pytest.raises(NotFoundError) as refused:
        ask(office, SetTags(mine.kind, mine.uuid, {"secret-typ": None}))
    assert "secret-type" not in str(refused.value)
    office.create("tag", "tier=web", tag_type_name="tier", tag_value="web")
    edit = {"tier": TagEdit(is_global=True, value="web")}
    with pytest.raises(ForbiddenError, match=r"link \(X\) access to tag tier=web"):
        ask(office, SetTags(mine.kind, mine.uuid, edit))


def test_a_relaxed_reference_is_one_that_may_be_seen(office):
    policy = office.create("network-policy", "default-domain", "theirs", "p", perms2=perms(THEIRS))
    refs = [{"uuid": policy.uuid, "attr": {"sequence": {}}}]
    mine = network(office, "mine", "n", network_policy_refs=refs)
    with pytest.raises(NotFoundError, match="has no reference to"):
        ask(office, RelaxReference(mine.uuid, policy.uuid))


def test_expectations_name_only_what_may_be_read(office):
    written = network(office, "theirs", "secret", everybody=2)
    body = convert_body(KINDS[written.kind], {"display_name": "new"})
    update = Update(written.kind, written.uuid, body)
    for expecting in (Expecting(update, revision=1), Expecting(update, tag="x")):
        with pytest.raises(PreconditionError) as refused:
            ask(office, expecting)
        assert "secret" not in str(refused.value)
    ask(office, update)
    answer = ask(office, Transaction([Operation("update", written.kind, written.uuid, None, {})]))
    assert answer.answer[0]["fq_name"] is None


def group_rule():
    return {
        "direction": ">",
        "protocol": "any",
        "src_addresses": [{"security_group": "local"}],
        "dst_addresses": [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}],
    }


def dry_run(office, request, who=TESS):
    commit = office.engine.prepare(request, now=NOW, who=who).commit
    access = office.engine.access(who)
    return preview(office.engine.snapshot, office.engine.shown, commit, access)


def test_a_tenants_dry_run_tells_only_what_it_may_read(office):
    """The policy is shared: attaching it connects the tenant's network with a stranger's."""
    mine = network(office, "mine", "n")
    theirs = network(office, "theirs", "secret", "10.2.0.0")
    policy = office.policy("p", rule(mine.name, theirs.name), perms2=perms(THEIRS, 5))
    office.add_ref(theirs, policy, {"sequence": {"major": 0}})
    host = office.create("virtual-router", "default-global-system-config", "host-7")
    machine = office.create("virtual-machine", "vm")
    office.port(mine, virtual_machine_refs=[{"uuid": machine.uuid}])
    office.add_ref(host, machine)
    refs = [{"uuid": policy.uuid, "attr": {"sequence": {"major": 0}}}]
    body = convert_body(KINDS["virtual-network"], {"network_policy_refs": refs})
    write = Update("virtual-network", mine.uuid, body)
    told = dry_run(office, write)
    (put,) = told["changes"]["puts"]
    assert (put["uuid"], "network_policy_refs" in put["fields"]) == (mine.uuid, True)
    assert [one["name"] for one in told["plan"]["access_control_lists"]["put"]] == [
        "default-domain:mine:n:n"
    ]
    assert "secret" not in str(told)
    assert told["plan"]["agents"] == []
    root = Caller("root", is_cloud_admin=True)
    everything = dry_run(office, write, root)
    assert everything["plan"]["agents"] == [host.name]
    instances = {one["name"]: one["diff"] for one in everything["plan"]["routing_instances"]["put"]}
    assert "+ connect default-domain:theirs:secret:secret" in instances["default-domain:mine:n:n"]
    assert "default-domain:theirs:secret:secret" in instances
    group = office.create("security-group", "default-domain", "mine", "g", perms2=perms(MINE))
    office.add_ref(office.named("virtual-machine-interface", *PROJECT, "port"), group)
    entries = {"policy_rule": [group_rule()]}
    body = convert_body(KINDS["security-group"], {"security_group_entries": entries})
    told = dry_run(office, Update("security-group", group.uuid, body))["plan"]
    assert told["agents"] == []
    (acl,) = told["access_control_lists"]["put"]
    assert acl["name"] == "default-domain:mine:g:egress-access-control-list"
    assert acl["diff"] == ["+ pass protocol any any > 0.0.0.0/0"]
    told = dry_run(office, Update("security-group", group.uuid, body), root)["plan"]
    assert told["agents"] == [host.name]
    made = dry_run(
        office,
        Create(
            "virtual-network",
            convert_body(KINDS["virtual-network"], {"fq_name": ["default-domain", "mine", "new"]}),
            MINE,
        ),
    )
    (taken,) = made["plan"]["route_targets"]["taken"]
    assert taken["routing_instance"] == "default-domain:mine:new:new"
    with pytest.raises(ForbiddenError, match="write"):
        dry_run(office, Update("virtual-network", theirs.uuid, body))


def targets(*names):
    return {"route_target": list(names)}


@pytest.mark.parametrize("field", ["route_target_list", "import_route_target_list"])
def test_a_tenant_may_not_list_a_route_target_of_a_network_that_it_may_not_link(office, field):
    theirs = network(office, "theirs", "n", route_target_list=targets("target:64512:7"))
    mine = network(office, "mine", "n", "10.2.0.0")
    body = convert_body(KINDS["virtual-network"], {field: targets("target:64512:7")})
    write = Update("virtual-network", mine.uuid, body)
    with pytest.raises(
        ForbiddenError, match=r"link \(X\) access to route-target target:64512:7 is"
    ):
        ask(office, write)
    made = {"fq_name": ["default-domain", "mine", "new"], field: targets("target:64512:7")}
    with pytest.raises(ForbiddenError, match="route-target target:64512:7"):
        ask(office, Create("virtual-network", convert_body(KINDS["virtual-network"], made), MINE))
    new = convert_body(KINDS["virtual-network"], {field: targets("target:64512:8")})
    ask(office, Update("virtual-network", mine.uuid, new))  # nobody's yet
    office.update(theirs, perms2=perms(THEIRS, 5))
    ask(office, write)  # its owner lets everybody link the network
    office.update(theirs, perms2=perms(THEIRS, 0))
    more = convert_body(
        KINDS["virtual-network"], {field: targets("target:64512:7"), "display_name": "kept"}
    )
    ask(office, Update("virtual-network", mine.uuid, more))  # what it lists already stays


@pytest.mark.parametrize(
    ("kind", "field"),
    [("logical-router", "configured_route_target_list"), ("bgpvpn", "import_route_target_list")],
)
def test_no_other_list_of_targets_is_a_way_around(office, kind, field):
    network(office, "theirs", "n", route_target_list=targets("target:64512:7"))
    fields = {"fq_name": ["default-domain", "mine", "r"], field: targets("target:64512:7")}
    with pytest.raises(ForbiddenError, match="route-target target:64512:7"):
        ask(office, Create(kind, convert_body(KINDS[kind], fields), MINE))
