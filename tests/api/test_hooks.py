"""What the API fills in for tags, firewall rules, pooled addresses and routers."""

import pytest

from filament.base.errors import ConflictError, InputError, NotFoundError

from .office import PROJECT, subnet


def tag(office, kind="application", value="web", *scope):
    fields = {"parent_type": "project"} if scope else {}
    return office.create("tag", *scope, "any", tag_type_name=kind, tag_value=value, **fields)


def test_a_tag_is_named_and_numbered_after_its_type(office):
    web = tag(office)
    assert (web.name, web.props["tag_id"]) == ("application=web", "0x00010001")
    assert tag(office, "application", "db").props["tag_id"] == "0x00010002"
    assert tag(office, "tier", "db").props["tag_id"] == "0x00020001"
    with pytest.raises(ConflictError, match="tag application=web already exists"):
        tag(office)
    with pytest.raises(InputError, match="tag_value of tag application=web cannot be changed"):
        office.update(web, tag_value="x")
    office.delete(web)
    assert tag(office, "application", "new").props["tag_id"] == "0x00010001"


def test_an_unknown_tag_type_is_made_with_its_first_tag(office):
    red = tag(office, "colour", "red")
    kind = office.named("tag-type", "colour")
    assert (kind.props["tag_type_id"], red.props["tag_id"]) == ("0x00ff", "0x00ff0001")
    assert [ref.uuid for ref in red.refs_to("tag-type")] == [kind.uuid]
    chosen = office.create(
        "tag", "x", tag_type_name="colour", tag_value="blue", tag_id="0x00ff8001"
    )
    assert chosen.props["tag_id"] == "0x00ff8001"
    with pytest.raises(InputError, match="0x00ff8000 to 0x00ffffff, or leave it out"):
        office.create("tag", "x", tag_type_name="colour", tag_value="gr", tag_id="0x00010001")


def test_a_firewall_rule_is_numbered_and_refers_to_what_it_names(office):
    web = tag(office)
    own = tag(office, "tier", "db", *PROJECT)
    rule = office.create(
        "firewall-rule",
        *PROJECT,
        "allow",
        parent_type="project",
        service={"protocol": "TCP"},
        endpoint_1={"tags": ["global:application=web"]},
        endpoint_2={"tags": ["tier=db"]},
        match_tags={"tag_list": ["deployment", "application"]},
    )
    assert rule.props["service"] == {"protocol": "TCP", "protocol_id": 6}
    assert rule.props["endpoint_1"]["tag_ids"] == [0x10001]
    assert rule.props["match_tag_types"] == {"tag_type": [1, 3]}
    assert {ref.uuid for ref in rule.refs_to("tag")} == {web.uuid, own.uuid}
    with pytest.raises(ConflictError, match=r"still used by firewall-rule .*:allow"):
        office.delete(web)
    office.update(rule, endpoint_1={"any": True})
    office.delete(web)
    with pytest.raises(NotFoundError, match="tag application=web, named by a firewall rule"):
        office.update(rule, endpoint_1={"tags": ["global:application=web"]})
    with pytest.raises(InputError, match="given as virtual_network and as any"):
        office.update(rule, endpoint_1={"virtual_network": "any", "any": True})
    with pytest.raises(InputError, match="needs either a service or a service-group"):
        office.create("firewall-rule", *PROJECT, "bad", parent_type="project")


@pytest.mark.parametrize("kind", ["floating-ip", "alias-ip"])
def test_pooled_addresses_come_from_the_pools_network(office, kind):
    office.network("red", subnet("10.1.1.0", 29))
    field = f"{kind.replace('-', '_')}_address"
    office.create(f"{kind}-pool", *PROJECT, "red", "pool")

    def make(name, **fields):
        fields = {"parent_type": f"{kind}-pool", **fields}
        return office.create(kind, *PROJECT, "red", "pool", name, **fields)

    first = make("a")
    assert first.props[field] == "10.1.1.3"
    assert len(first.refs_to("project")) == 1
    with pytest.raises(ConflictError, match=rf"held by {kind} .*:pool:a; ask for another"):
        make("b", **{field: "10.1.1.3"})
    with pytest.raises(InputError, match=rf"{field} of {kind} .* cannot be changed"):
        office.update(first, **{field: "10.1.1.4"})
    with pytest.raises(ConflictError, match=r"10.1.1.0/29 of virtual-network .* cannot be removed"):
        office.update(office.named("virtual-network", *PROJECT, "red"), network_ipam_refs=[])
    office.delete(first)
    assert make("b", **{field: "10.1.1.3"}).props[field] == "10.1.1.3"


def test_a_router_is_for_snat_unless_it_says_otherwise(office):
    router = office.create("logical-router", *PROJECT, "r")
    assert router.props["logical_router_type"] == "snat-routing"
    with pytest.raises(InputError, match=r"logical_router_type of logical-router .* be changed"):
        office.update(router, logical_router_type="vxlan-routing")


def test_a_vxlan_router_has_a_network_of_its_own(office):
    router = office.create(
        "logical-router",
        *PROJECT,
        "r",
        logical_router_type="vxlan-routing",
        vxlan_network_identifier="77",
    )
    (ref,) = router.refs_to("virtual-network")
    assert ref.attr == {"logical_router_virtual_network_type": "InternalVirtualNetwork"}
    inside = office.view.get(ref.uuid)
    assert inside.fq_name[-1] == f"__contrail_lr_internal_vn_{router.uuid}__"
    assert inside.props["virtual_network_properties"]["vxlan_network_identifier"] == 77
    assert inside.props["id_perms"]["user_visible"] is False
    office.delete(router)
    assert office.get(inside) is None


def test_a_vxlan_id_belongs_to_one_network(office):
    red = office.network(virtual_network_properties={"vxlan_network_identifier": 5})
    with pytest.raises(InputError, match=r"Cannot set VXLAN_ID: 5, it has already been set"):
        office.network("blue", virtual_network_properties={"vxlan_network_identifier": 5})
    office.update(red, virtual_network_properties={"vxlan_network_identifier": 6})
    office.network("blue", virtual_network_properties={"vxlan_network_identifier": 5})


def test_sub_clusters_are_numbered(office):
    assert office.create("sub-cluster", "a").props["sub_cluster_id"] == 1
    assert office.create("sub-cluster", "b").props["sub_cluster_id"] == 2


def test_a_number_that_a_client_chose_means_one_security_group(office):
    office.create("security-group", *PROJECT, "a", configured_security_group_id=77)
    text = "configured_security_group_id 77 is another group's; choose another, or leave it out"
    with pytest.raises(ConflictError, match=text):
        office.create("security-group", *PROJECT, "b", configured_security_group_id=77)
    office.delete(office.named("security-group", *PROJECT, "a"))
    office.create("security-group", *PROJECT, "b", configured_security_group_id=77)


def test_ports_of_a_router_are_its_own_and_not_in_its_way_out(office):
    red, machine = office.network(), office.create("virtual-machine", "vm")
    router = office.create("logical-router", *PROJECT, "r")
    busy = office.port(red, "busy", virtual_machine_refs=[{"uuid": machine.uuid}])
    with pytest.raises(ConflictError, match=r"Port .*:busy is in use by a virtual machine"):
        office.add_ref(router, busy)
    port = office.port(red)
    office.add_ref(router, port)
    gateway = {"logical_router_virtual_network_type": "ExternalGateway"}
    with pytest.raises(InputError, match="a port in the network that is its external gateway"):
        office.add_ref(router, red, gateway)
    office.add_ref(router, office.network("blue", subnet("10.2.0.0")), gateway)
