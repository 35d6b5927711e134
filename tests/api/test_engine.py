"""Requests to commits: identity, references, updates, deletion. Status codes are TF's."""

import re

import pytest

from filament.api.render import Reader
from filament.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from filament.model.change import Allocation, Ref
from filament.model.kinds import KINDS

from .office import PROJECT, ipam_refs, rule, subnet


def test_the_first_start_creates_what_tungsten_fabric_starts_with(office):
    assert [(item.kind, item.name) for item in office.view.objects()] == [
        ("global-system-config", "default-global-system-config"),
        ("global-vrouter-config", "default-global-system-config:default-global-vrouter-config"),
        ("global-qos-config", "default-global-system-config:default-global-qos-config"),
        ("fabric", "default-global-system-config:default-fabric"),
        ("alarm", "default-global-system-config:system-defined-bottle-request-size-limit"),
        ("discovery-service-assignment", "default-discovery-service-assignment"),
        ("tag-type", "label"),
        ("tag-type", "application"),
        ("tag-type", "tier"),
        ("tag-type", "deployment"),
        ("tag-type", "site"),
        ("tag-type", "neutron_fwaas"),
        ("tag-type", "neutron_tag"),
        ("policy-management", "default-policy-management"),
        ("application-policy-set", "default-policy-management:default-application-policy-set"),
        ("domain", "default-domain"),
        ("namespace", "default-domain:default-namespace"),
        ("project", "default-domain:default-project"),
        (
            "application-policy-set",
            "default-domain:default-project:default-application-policy-set",
        ),
        ("virtual-network", "default-domain:default-project:ip-fabric"),
        ("virtual-network", "default-domain:default-project:__link_local__"),
        ("virtual-network", "default-domain:default-project:dci-network"),
        ("virtual-network", "default-domain:default-project:default-virtual-network"),
        ("network-ipam", "default-domain:default-project:default-network-ipam"),
        ("security-group", "default-domain:default-project:__no_rule__"),
        ("network-ipam", "default-domain:default-project:service-chain-flat-ipam"),
    ]
    assert office.view.revision == 1
    assert sorted(office.shown("routing-instance")) == [
        "default-domain:default-project:__link_local__:__link_local__",
        "default-domain:default-project:dci-network:dci-network",
        "default-domain:default-project:default-virtual-network:default-virtual-network",
        "default-domain:default-project:ip-fabric:__default__",
        "default-domain:default-project:ip-fabric:ip-fabric",
    ]
    system = office.named("global-system-config", "default-global-system-config")
    assert system.props["autonomous_system"] == 64512
    assert system.props["config_version"] == "1.0"


def test_a_new_object_gets_identity_times_and_owner(office):
    uuid = "12345678-9abc-4def-8123-456789abcdef"
    project = office.create("project", "default-domain", "demo", uuid=uuid)
    assert project.uuid == uuid
    assert project.props == {
        "display_name": "demo",
        "id_perms": {
            "enable": True,
            "uuid": {"uuid_mslong": 0x123456789ABC4DEF, "uuid_lslong": 0x8123456789ABCDEF},
            "created": "2026-11-20T14:30:00.500000",
            "last_modified": "2026-11-20T14:30:00.500000",
            "user_visible": True,
            "permissions": {
                "owner": "cloud-admin",
                "owner_access": 7,
                "group": "cloud-admin-group",
                "group_access": 7,
                "other_access": 7,
            },
        },
        "perms2": {
            "owner": "123456789abc4def8123456789abcdef",
            "owner_access": 7,
            "global_access": 0,
            "share": [],
        },
    }
    network = office.create("virtual-network", "default-domain", "demo", "red")
    assert network.props["perms2"]["owner"] == "123456789abc4def8123456789abcdef"
    assert (network.parent_kind, network.parent_uuid) == ("project", uuid)
    assert network.revision == office.view.revision == 3


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("project", {"fq_name": []}, "a new project needs an fq_name at $.project.fq_name"),
        ("project", {"fq_name": ["demo"]}, "fq_name ['demo'] of a project lacks its domain"),
        (
            "project",
            {"fq_name": ["nowhere", "demo"]},
            "Parent domain nowhere does not exist at $.project.fq_name; create the parent first",
        ),
        ("domain", {"fq_name": ["a:b"]}, "the name 'a:b' contains ':'"),
        ("domain", {"fq_name": ["a\x07"]}, "the name 'a\\x07' contains '\\x07'"),
        ("domain", {"fq_name": [""]}, "the name '' is empty"),
        ("domain", {"fq_name": ["a", "b"]}, "a domain without parent has a one-element fq_name"),
        (
            "virtual-machine-interface",
            {"fq_name": [*PROJECT, "p"]},
            "Missing parent type: a virtual-machine-interface may have several",
        ),
        (
            "virtual-machine-interface",
            {"fq_name": [*PROJECT, "p"], "parent_type": "domain"},
            (
                "Invalid parent type: domain for a virtual-machine-interface at"
                ' $.virtual-machine-interface.parent_type; write "virtual-machine" or "project"'
            ),
        ),
        (
            "virtual-network",
            {"fq_name": [*PROJECT, "n"], "parent_uuid": "12345678-9abc-4def-8123-456789abcdef"},
            "parent_uuid 12345678-9abc-4def-8123-456789abcdef is not the uuid of project",
        ),
    ],
)
def test_names_and_parents_are_checked(office, kind, fields, text):
    with pytest.raises(InputError, match=re.escape(text)):
        office.create(kind, *fields.pop("fq_name"), **fields)


def test_a_config_root_parent_is_no_parent(office):
    machine = office.create("virtual-machine", "vm", parent_type="config-root")
    assert machine.parent_kind is None


def test_duplicates_are_conflicts(office):
    first = office.create("virtual-machine", "vm")
    text = f"virtual-machine vm already exists with uuid: {first.uuid}"
    with pytest.raises(ConflictError, match=text):
        office.create("virtual-machine", "vm")
    with pytest.raises(ConflictError, match=f"uuid {first.uuid} already exists: virtual-machine"):
        office.create("virtual-machine", "other", uuid=first.uuid)


def test_a_reference_must_lead_somewhere(office):
    with pytest.raises(NotFoundError, match=re.escape("Name ['vm'] not found: there is no such")):
        office.port(office.network(), virtual_machine_refs=[{"to": ["vm"]}])
    wrong = office.create("virtual-machine", "vm")
    text = f"No virtual_network object found for id {wrong.uuid}; it is the uuid of a virtual-m"
    with pytest.raises(NotFoundError, match=text):
        office.address(wrong)


def test_an_update_changes_what_it_names_and_nothing_else(office):
    network = office.network(mtu=1500, router_external=True)
    before = office.get(network)
    office.now += 60
    office.update(network, mtu=9000, router_external=None, display_name="Red")
    after = office.get(network)
    id_perms = before.props["id_perms"] | {"last_modified": "2026-11-20T14:31:00.500000"}
    expected = before.props | {"mtu": 9000, "display_name": "Red", "id_perms": id_perms}
    del expected["router_external"]
    expected["perms2"] = before.props["perms2"] | {"global_access": 0}
    assert after.props == expected
    assert after.refs == before.refs
    assert after.revision == before.revision + 1


def test_an_update_that_changes_nothing_is_no_commit(office):
    network = office.network(mtu=1500)
    assert office.update(network).commit is None
    office.now += 60
    assert office.update(network, mtu=1500, fq_name=list(network.fq_name)).commit is None
    assert office.get(network) == network


def test_identity_cannot_be_changed(office):
    network = office.network()
    with pytest.raises(InputError, match=r"fq_name of virtual-network .* cannot be changed"):
        office.update(network, fq_name=[*PROJECT, "blue"])
    with pytest.raises(InputError, match="parent_type of virtual-network"):
        office.update(network, parent_type="domain")
    id_perms = {
        "enable": False,
        "description": "why",
        "created": "1999-01-01",
        "user_visible": False,
    }
    office.update(network, id_perms=id_perms)
    after = office.get(network).props["id_perms"]
    assert (after["enable"], after["description"]) == (False, "why")
    assert (after["created"], after["user_visible"]) == ("2026-11-20T14:30:00.500000", True)


def test_perms2_needs_its_owner(office):
    network = office.network()
    with pytest.raises(InputError, match="perms2 without owner"):
        office.update(network, perms2={"global_access": 7})
    office.update(network, perms2={"owner": "me", "global_access": 7})
    perms2 = {"owner": "me", "owner_access": 7, "global_access": 7, "share": []}
    assert office.get(network).props["perms2"] == perms2


def test_a_reference_list_replaces_references_of_its_kind_only(office):
    red, one, two = office.network(), office.policy("one"), office.policy("two")
    first, last = {"sequence": {"major": 1, "minor": 0}}, {"sequence": {"major": 2, "minor": 0}}
    refs = [{"uuid": one.uuid, "attr": first}, {"uuid": two.uuid, "attr": last}]
    office.update(red, network_policy_refs=refs)
    policies = (Ref("network-policy", one.uuid, first), Ref("network-policy", two.uuid, last))
    assert office.get(red).refs == (*red.refs, *policies)
    office.update(red, network_policy_refs=[{"to": list(two.fq_name), "attr": first}])
    assert office.get(red).refs == (*red.refs, Ref("network-policy", two.uuid, first))
    office.update(red, network_policy_refs=[])
    assert office.get(red).refs == red.refs


def test_single_references_are_added_overwritten_and_removed(office):
    red, policy = office.network(), office.policy("one")
    office.add_ref(red, policy, {"sequence": {"major": 1}})
    office.add_ref(red, policy, {"sequence": {"major": 2}})
    added = Ref("network-policy", policy.uuid, {"sequence": {"major": 2}})
    assert office.get(red).refs == (*red.refs, added)
    office.remove_ref(red, policy)
    assert office.get(red).refs == red.refs
    assert office.remove_ref(red, policy).commit is None
    with pytest.raises(InputError, match="a virtual-network cannot refer to a virtual-machine"):
        office.add_ref(red, office.create("virtual-machine", "vm"))


def test_references_between_objects_of_one_kind_are_kept_on_both_sides(office):
    red, blue = office.network("red"), office.network("blue")
    office.add_ref(red, blue)
    assert office.get(blue).refs_to("virtual-network") == [Ref("virtual-network", red.uuid)]
    office.update(blue, virtual_network_refs=[])
    assert office.get(red).refs_to("virtual-network") == []
    office.add_ref(red, blue)
    office.delete(red)  # such references do not block, and leave nothing behind
    assert office.get(blue).refs_to("virtual-network") == []


def test_what_is_used_cannot_be_deleted(office):
    red = office.network()
    address = office.address(red)
    text = (
        f"Delete when resource still referred: ['/instance-ip/{address.uuid}']; virtual-network"
        " default-domain:default-project:red is still used by instance-ip ip"
    )
    with pytest.raises(ConflictError, match=re.escape(text)):
        office.delete(red)
    with pytest.raises(ConflictError, match=r"Delete when children still present: .*virtual-netw"):
        office.delete(office.named("project", *PROJECT))
    office.delete(address)
    office.delete(red)
    assert office.get(red) is None
    with pytest.raises(NotFoundError, match=f"No virtual_network object found for id {red.uuid}"):
        office.delete(red)


def test_default_children_go_with_their_parent(office):
    office.create("project", "default-domain", "demo")
    office.create("network-ipam", "default-domain", "demo", "default-network-ipam")
    office.delete(office.named("project", "default-domain", "demo"))
    assert office.named("network-ipam", "default-domain", "demo", "default-network-ipam") is None


def test_what_the_system_stands_on_cannot_be_deleted(office):
    for name in ("ip-fabric", "__link_local__"):
        with pytest.raises(ConflictError, match="belongs to the system"):
            office.delete(office.named("virtual-network", *PROJECT, name))


def test_objects_of_the_plan_are_read_only_and_say_what_to_change(office):
    office.network()
    text = "change the virtual-network, its route target lists or its policies instead"
    with pytest.raises(ConflictError, match=r":red:red already exists with uuid: "):
        office.create("routing-instance", *PROJECT, "red", "red")
    shown = office.engine.shown.objects.named("routing-instance", (*PROJECT, "red", "red"))
    with pytest.raises(ForbiddenError, match=rf"routing-instance .*:red:red cannot be .*{text}"):
        office.update(shown, display_name="x")
    with pytest.raises(ForbiddenError, match="derived from other objects"):
        office.delete(shown)
    with pytest.raises(
        ConflictError, match=r"the name .*:red:red is that of the list which the pol"
    ):
        office.create("access-control-list", *PROJECT, "red", "red", parent_type="virtual-network")


def test_a_client_may_make_instances_and_targets_which_take_effect(office):
    red = office.network()
    blue = office.network("blue", subnet("10.2.0.0"))
    target = office.create("route-target", "target:64512:7")
    shown = office.engine.shown.objects.named("routing-instance", (*PROJECT, "blue", "blue"))
    extra = office.create(
        "routing-instance",
        *PROJECT,
        "red",
        "extra",
        route_target_refs=[{"uuid": target.uuid, "attr": {"import_export": "import"}}],
        routing_instance_refs=[{"uuid": shown.uuid}],
    )
    plan = office.engine.shown._compiler.plan.routing_instances
    row = plan[extra.name]
    assert row.own_imports == {row.target, "target:64512:7"}
    assert row.connections == (shown.name,)
    assert row.target in plan[shown.name].imports
    reader = Reader(office.view, office.engine.shown)
    listed = [each.name for each in reader.children(red.uuid, KINDS["routing-instance"])]
    assert listed == [extra.name, f"{red.name}:red"]
    assert [each.name for each in reader.referrers(target.uuid, KINDS["routing-instance"])] == [
        extra.name
    ]
    assert extra.name not in office.shown("routing-instance")
    with pytest.raises(ConflictError, match=r"still used by routing-instance .*:red:extra"):
        office.delete(target)
    with pytest.raises(ConflictError, match=r"still used by routing-instance .*:red:extra"):
        office.delete(blue)
    office.delete(red)  # and its instances with it
    office.delete(blue)
    office.delete(target)
    assert office.view.allocations_of(extra.name) == []


def test_a_target_of_the_plan_that_intent_names_outlives_the_network_that_used_it(office):
    red = office.network(route_target_list={"route_target": ["target:64512:7"]})
    office.network("blue", subnet("10.2.0.0"))
    shown = office.engine.shown.objects.named("route-target", ("target:64512:7",))
    with pytest.raises(ConflictError, match=f"7 already exists with uuid: {shown.uuid}"):
        office.create("route-target", "target:64512:7")
    extra = office.create(
        "routing-instance",
        *PROJECT,
        "blue",
        "extra",
        route_target_refs=[{"to": ["target:64512:7"]}],
    )
    assert extra.refs_to("route-target")[0].uuid == shown.uuid
    office.delete(red)
    assert office.view.get(shown.uuid).name == "target:64512:7"
    plan = office.engine.shown._compiler.plan.routing_instances
    assert "target:64512:7" in plan[extra.name].exports


def test_an_access_list_that_a_client_makes_is_its_own(office):
    red = office.network()
    acl = office.create(
        "access-control-list", *PROJECT, "red", "mine", parent_type="virtual-network"
    )
    office.update(acl, display_name="x")
    office.delete(red)
    assert office.get(acl) is None


def test_a_new_project_has_its_application_policy_set(office):
    project = office.create("project", "default-domain", "demo")
    (ref,) = project.refs_to("application-policy-set")
    made = office.view.get(ref.uuid)
    assert made.name == "default-domain:demo:default-application-policy-set"
    assert made.props["all_applications"] is True
    office.delete(project)
    assert office.get(made) is None


def test_a_deleted_service_instance_takes_references_along(office):
    instance = office.create("service-instance", *PROJECT, "fw")
    machine = office.create(
        "virtual-machine", "vm", service_instance_refs=[{"uuid": instance.uuid}]
    )
    office.delete(instance)
    assert office.get(machine).refs == ()


def test_objects_may_hang_on_objects_of_the_plan_which_then_stay(office):
    fabric = [*PROJECT, "ip-fabric", "__default__"]
    router = office.create(
        "bgp-router", *fabric, "ctl1", bgp_router_parameters={"vendor": "contrail"}
    )
    assert router.props["bgp_router_parameters"]["router_type"] == "control-node"
    red = office.network()
    instance = office.engine.shown.objects.named("routing-instance", (*PROJECT, "red", "red"))
    peer = office.create("bgp-router", *instance.fq_name, "peer")
    with pytest.raises(ConflictError, match=r"children still present.*bgp-router"):
        office.delete(red)
    office.delete(peer)
    blue = office.network("blue")
    port = office.port(blue, routing_instance_refs=[{"to": list(instance.fq_name)}])
    with pytest.raises(ConflictError, match=r"resource still referred.*virtual-machine-interface"):
        office.delete(red)
    office.delete(port)
    office.delete(red)


def test_a_refused_request_changes_nothing(office):
    before = (office.view.revision, list(office.view.objects()), set(office.view.allocations()))
    refs = ipam_refs(subnet("10.1.1.0"), subnet("10.1.1.128", 25))
    with pytest.raises(InputError):
        office.create("virtual-network", *PROJECT, "red", network_ipam_refs=refs)
    with pytest.raises(InputError):
        office.policy("p", rule("d:p:x", "any"))
    after = (office.view.revision, list(office.view.objects()), set(office.view.allocations()))
    assert after == before


def test_everything_a_network_takes_comes_back_when_it_is_deleted(office):
    before = set(office.view.allocations())
    red = office.network()
    name = "default-domain:default-project:red:red"
    assert set(office.view.allocations()) - before == {
        Allocation("vn-id", 5, red.uuid),
        Allocation("route-target/64512", 8000003, name),
    }
    address = office.address(red)
    pool = f"ip/{red.uuid}/{red.refs[0].attr['ipam_subnets'][0]['subnet_uuid']}"
    assert list(office.view.allocations_of(address.uuid)) == [
        Allocation(pool, 0x0A010103, address.uuid)
    ]
    office.delete(address)
    office.delete(red)
    assert set(office.view.allocations()) == before
