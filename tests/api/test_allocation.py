"""What the API fills in and refuses per kind: networks, ports, addresses, policies, groups."""

import re

import pytest

from filament.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from filament.model.change import Allocation
from filament.model.invariants import check

from .office import PROJECT, ipam_refs, rule, subnet


def targets(office):
    return {
        one.owner.rpartition(":")[2]: (one.pool, one.value)
        for one in office.view.allocations()
        if one.pool.startswith("route-target/")
    }


def test_networks_are_numbered_from_one_and_targets_from_8000000(office):
    ids = [
        item.props["virtual_network_network_id"] for item in office.view.of_kind("virtual-network")
    ]
    assert ids == [1, 2, 3, 4]
    red = office.network()
    assert red.props["virtual_network_network_id"] == 5
    assert targets(office)["red"] == ("route-target/64512", 8000003)
    office.delete(red)
    assert office.network("blue").props["virtual_network_network_id"] == 5


def test_a_network_id_cannot_be_chosen_but_may_be_echoed(office):
    with pytest.raises(ForbiddenError, match="virtual_network_network_id of a virtual-network is"):
        office.network(virtual_network_network_id=7)
    red = office.network()
    with pytest.raises(ForbiddenError):
        office.update(red, virtual_network_network_id=7)
    assert office.update(red, virtual_network_network_id=5).commit is None


def test_subnets_get_uuid_gateway_and_service_address(office):
    red = office.network("red", subnet(), subnet("10.9.0.0", 16, addr_from_start=None))
    first, second = red.refs[0].attr["ipam_subnets"]
    assert (first["default_gateway"], first["dns_server_address"]) == ("10.1.1.1", "10.1.1.2")
    assert second["default_gateway"] == "10.9.255.254"
    assert first["subnet_uuid"] != second["subnet_uuid"]
    # Sent again without them (a client that knows only prefixes), they stay.
    assert office.update(red, network_ipam_refs=ipam_refs(subnet(), second)).commit is None


@pytest.mark.parametrize(
    ("subnets", "text"),
    [
        ([subnet("10.1.1.5")], "prefix 10.1.1.5/24 has host bits set at"),
        (
            [subnet("10.1.0.0", 16), subnet("10.1.1.0")],
            (
                "subnet 10.1.1.0/24 overlaps 10.1.0.0/16 of the same network at"
                " $.virtual-network.network_ipam_refs[0].attr.ipam_subnets[1]"
            ),
        ),
        (
            [subnet(subnet_uuid="x"), subnet("10.2.0.0", subnet_uuid="x")],
            "subnets 10.1.1.0/24 and 10.2.0.0/24 have the same subnet_uuid",
        ),
    ],
)
def test_bad_subnets_are_refused(office, subnets, text):
    with pytest.raises(InputError, match=re.escape(text)):
        office.network("red", *subnets)


def test_a_subnet_in_use_stays(office):
    red = office.network("red", subnet(), subnet("10.2.0.0"))
    address = office.address(red)
    first, second = red.refs[0].attr["ipam_subnets"]
    text = "subnet 10.1.1.0/24 of virtual-network .* cannot be removed: 1 addresses of it are in"
    with pytest.raises(ConflictError, match=text):
        office.update(red, network_ipam_refs=ipam_refs(second))
    with pytest.raises(ConflictError, match="cannot become an address in use"):
        office.update(red, network_ipam_refs=ipam_refs({**first, "default_gateway": "10.1.1.3"}))
    office.update(red, network_ipam_refs=ipam_refs(first))
    office.delete(address)
    office.update(red, network_ipam_refs=[])


def test_listed_route_targets_stay_out_of_the_automatic_range(office):
    lists = {"route_target": ["target:64512:8000000"]}
    with pytest.raises(
        InputError, match=r"lies in the range allocated automatically at .*route_ta"
    ):
        office.network(import_route_target_list=lists)
    with pytest.raises(InputError, match="'target:1' is not a route target"):
        office.network(route_target_list={"route_target": ["target:1"]})
    office.network(route_target_list={"route_target": ["target:64512:7", "target:1:8000000"]})


def test_a_new_autonomous_system_renames_targets_and_keeps_their_numbers(office):
    office.network()
    numbers = {owner: value for owner, (_, value) in targets(office).items()}
    system = office.named("global-system-config", "default-global-system-config")
    office.update(system, autonomous_system=65000)
    assert targets(office) == {
        owner: ("route-target/65000", value) for owner, value in numbers.items()
    }
    assert "target:65000:8000003" in office.shown("route-target")
    office.network("blue", route_target_list={"route_target": ["target:65001:8000009"]})
    with pytest.raises(InputError, match="target:65001:8000009 lies in the range"):
        office.update(system, autonomous_system=65001)
    office.update(system, autonomous_system=70000)  # 4 bytes: its own, smaller numbers
    assert {pool for pool, _ in targets(office).values()} == {"route-target/70000"}


def test_ports_get_a_mac_from_their_uuid_and_bindings(office):
    red = office.network()
    port = office.port(red, uuid="aabbccdd-ee11-4222-8333-444455556666")
    assert port.props["virtual_machine_interface_mac_addresses"] == {
        "mac_address": ["02:aa:bb:cc:dd:ee"]
    }
    assert port.props["virtual_machine_interface_bindings"] == {
        "key_value_pair": [
            {"key": "vnic_type", "value": "normal"},
            {"key": "vif_type", "value": "vrouter"},
        ]
    }
    macs = {"mac_address": ["02:00:00:00:00:07"]}
    bindings = {"key_value_pair": [{"key": "vnic_type", "value": "direct"}]}
    chosen = office.port(
        red,
        "chosen",
        virtual_machine_interface_mac_addresses=macs,
        virtual_machine_interface_bindings=bindings,
    )
    assert chosen.props["virtual_machine_interface_mac_addresses"] == macs
    pairs = chosen.props["virtual_machine_interface_bindings"]["key_value_pair"]
    assert pairs[0] == {"key": "vnic_type", "value": "direct"}
    with pytest.raises(InputError, match="'zz' is not a MAC address"):
        office.port(red, "bad", virtual_machine_interface_mac_addresses={"mac_address": ["zz"]})


def test_a_port_is_in_exactly_one_network(office):
    red, blue = office.network("red"), office.network("blue")
    with pytest.raises(InputError, match=r"refers to 0 virtual networks.*exactly one"):
        office.create("virtual-machine-interface", *PROJECT, "p", parent_type="project")
    port = office.port(red)
    both = [{"uuid": red.uuid}, {"uuid": blue.uuid}]
    with pytest.raises(InputError, match="refers to 2 virtual networks"):
        office.update(port, virtual_network_refs=both)
    address = office.address(red, virtual_machine_interface_refs=[{"uuid": port.uuid}])
    with pytest.raises(ConflictError, match="cannot change its network while instance-ip ip"):
        office.update(port, virtual_network_refs=[{"uuid": blue.uuid}])
    office.delete(address)
    office.update(port, virtual_network_refs=[{"uuid": blue.uuid}])


@pytest.mark.parametrize(("address", "shortest"), [("10.9.0.0", 24), ("fd00::", 120)])
def test_a_prefix_that_one_port_holds_is_not_wide(office, address, shortest):
    red = office.network()
    port = office.port(red)

    def pair(length, mode="active-standby"):
        ip = {"ip_prefix": address, "ip_prefix_len": length}
        pairs = {"allowed_address_pair": [{"ip": ip, "address_mode": mode}]}
        return {"virtual_machine_interface_allowed_address_pairs": pairs}

    office.update(port, **pair(shortest))
    office.update(port, **pair(shortest - 1, "active-active"))
    text = f"address pair {address}/{shortest - 1} .*; give a length of {shortest} or more, or"
    with pytest.raises(InputError, match=text):
        office.update(port, **pair(shortest - 1))


def test_addresses_come_in_order_and_back(office):
    red = office.network()
    addresses = [office.address(red, f"ip{number}") for number in range(3)]
    texts = [address.props["instance_ip_address"] for address in addresses]
    assert texts == ["10.1.1.3", "10.1.1.4", "10.1.1.5"]
    assert addresses[0].props["subnet_uuid"] == red.refs[0].attr["ipam_subnets"][0]["subnet_uuid"]
    assert addresses[0].props["instance_ip_subnet"] == {
        "ip_prefix": "10.1.1.0",
        "ip_prefix_len": 24,
    }
    office.delete(addresses[1])
    assert office.address(red, "again").props["instance_ip_address"] == "10.1.1.4"


def test_an_address_can_be_asked_for_once(office):
    red = office.network()
    office.address(red, instance_ip_address="10.1.1.9")
    text = (
        "IP address already in use: 10.1.1.9 of virtual-network default-domain:default-project:red"
        " is held by instance-ip ip"
    )
    with pytest.raises(ConflictError, match=text):
        office.address(red, "other", instance_ip_address="10.1.1.9")
    for number in range(6):
        office.address(red, f"next{number}")
    assert office.named("instance-ip", "next5").props["instance_ip_address"] == "10.1.1.8"
    assert office.address(red, "after").props["instance_ip_address"] == "10.1.1.10"


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        (
            {"instance_ip_address": "10.2.0.1"},
            InputError,
            (
                "address 10.2.0.1 is in no subnet of virtual-network default-domain:default-project"
                ":red at $.instance-ip.instance_ip_address; its subnets are 10.1.1.0/24"
            ),
        ),
        ({"instance_ip_address": "10.1.1.255"}, InputError, "10.1.1.255 of subnet 10.1.1.0/24 is"),
        ({"instance_ip_address": "10.1.1.2"}, InputError, "is reserved (network, broadcast or s"),
        ({"instance_ip_address": "ten"}, InputError, "'ten' is not an IP address"),
        ({"instance_ip_family": "v6"}, InputError, "has no v6 subnet to take an address from"),
        ({"subnet_uuid": "nope"}, NotFoundError, "Subnet id nope not found in virtual-network"),
    ],
)
def test_addresses_that_cannot_be_had(office, fields, error, text):
    with pytest.raises(error, match=re.escape(text)):
        office.address(office.network(), **fields)


def test_an_exhausted_subnet_says_so(office):
    red = office.network("red", subnet(length=29))
    for number in range(4):
        office.address(red, f"ip{number}")
    text = (
        "Virtual-Network(['default-domain', 'default-project', 'red']) has exhausted"
        " subnet(['10.1.1.0/29'])"
    )
    with pytest.raises(InputError, match=re.escape(text)):
        office.address(red, "one-more")
    refs = ipam_refs(*red.refs[0].attr["ipam_subnets"], subnet("10.2.0.0"))
    office.update(red, network_ipam_refs=refs)
    assert office.address(red, "one-more").props["instance_ip_address"] == "10.2.0.3"


def test_a_network_without_subnet_has_no_addresses(office):
    bare = office.create("virtual-network", *PROJECT, "bare")
    with pytest.raises(InputError, match="has no subnet to take an address from"):
        office.address(bare)
    with pytest.raises(InputError, match="instance-ip lost refers to no virtual network"):
        office.create("instance-ip", "lost")
    fabric = office.named("virtual-network", *PROJECT, "ip-fabric")
    asked = office.address(fabric, "host", instance_ip_address="172.30.0.1")
    assert asked.props["instance_ip_address"] == "172.30.0.1"
    assert list(office.view.allocations_of(asked.uuid)) == []


def test_an_address_is_for_life(office):
    red, blue = office.network("red"), office.network("blue")
    address = office.address(red)
    with pytest.raises(InputError, match="instance_ip_address of instance-ip ip cannot be changed"):
        office.update(address, instance_ip_address="10.1.1.77")
    with pytest.raises(InputError, match="the network of instance-ip ip cannot be changed"):
        office.update(address, virtual_network_refs=[{"uuid": blue.uuid}])
    stranger = office.port(blue)
    with pytest.raises(InputError, match="is in another network than virtual-machine-interface"):
        office.add_ref(address, stranger)


def test_the_gateway_address_is_for_router_ports_only(office):
    red, machine = office.network(), office.create("virtual-machine", "vm")
    gateway = office.address(red, instance_ip_address="10.1.1.1")
    office.address(red, "shared", instance_ip_address="10.1.1.1")
    assert list(office.view.allocations_of(gateway.uuid)) == []
    router = office.port(red, "router")
    office.add_ref(gateway, router)
    with pytest.raises(InputError, match="Gateway IP cannot be used by VM port"):
        office.add_ref(router, machine)
    workload = office.port(red, "workload", virtual_machine_refs=[{"uuid": machine.uuid}])
    with pytest.raises(InputError, match="Gateway IP cannot be used by VM port"):
        office.add_ref(gateway, workload)


def test_policy_rules_get_uuids_and_are_checked(office):
    red = office.network()
    policy = office.policy("p", rule(red.name, "any"), rule("local", red.name, rule_uuid="mine"))
    uuids = [one["rule_uuid"] for one in policy.props["network_policy_entries"]["policy_rule"]]
    assert uuids[1] == "mine"
    assert len(uuids[0]) == 36
    for bad, text in (
        (rule("any", "any", action_list=None), "a policy rule needs an action_list at"),
        (rule("any", "any", protocol="tpc"), "protocol 'tpc' is neither a known name nor a num"),
        (rule("any", "any", protocol="256"), "protocol '256' is neither"),
        (
            rule("any", "any", src_addresses=[{"security_group": "d:p:sg"}]),
            "src_addresses of a policy rule names a security group",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(text)):
            office.policy("bad", bad)


def test_a_policy_names_networks_that_exist(office):
    red = office.network()
    text = (
        "network-policy default-domain:default-project:p names virtual-network"
        " 'default-domain:default-project:rad', which does not exist at"
        " $.network-policy.network_policy_entries; did you mean default-domain:default-project:red?"
    )
    with pytest.raises(InputError, match=re.escape(text)):
        office.policy("p", rule(red.name, "default-domain:default-project:rad"))
    blue = office.network("blue")
    policy = office.policy("p", rule(red.name, blue.name))
    office.delete(blue)  # as in TF: rules hold names, not references
    entries = policy.props["network_policy_entries"]
    assert office.update(policy, display_name="still editable").commit is not None
    with pytest.raises(InputError, match=r"names virtual-network '.*:blue', which does not exist"):
        office.add_ref(red, policy)
    rules = [*entries["policy_rule"], rule("default-domain:default-project:green", "any")]
    with pytest.raises(InputError, match=r"names virtual-network '.*:green'"):
        office.update(policy, network_policy_entries={"policy_rule": rules})
    office.network("blue")
    office.add_ref(red, policy)
    office.update(policy, network_policy_entries=None)


def test_security_groups_are_numbered_and_checked(office):
    first = office.create("security-group", *PROJECT, "web")
    assert first.props["security_group_id"] == 8000001
    local = {
        "direction": ">",
        "protocol": "tcp",
        "src_addresses": [{"security_group": "local"}],
        "dst_addresses": [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}],
    }
    entries = {"policy_rule": [local]}
    chosen = office.create(
        "security-group",
        *PROJECT,
        "db",
        configured_security_group_id=77,
        security_group_entries=entries,
    )
    assert chosen.props["security_group_id"] == 77
    assert len(chosen.props["security_group_entries"]["policy_rule"][0]["rule_uuid"]) == 36
    office.update(chosen, configured_security_group_id=0)
    assert office.get(chosen).props["security_group_id"] == 8000002
    lost = {**local, "src_addresses": []}
    with pytest.raises(InputError, match="a security group rule needs 'local' on one side"):
        office.update(first, security_group_entries={"policy_rule": [lost]})
    with pytest.raises(ConflictError, match=r"rule 1 of security-group .* repeats another rule"):
        office.update(first, security_group_entries={"policy_rule": [local, local]})
    office.delete(chosen)
    assert Allocation("security-group-id", 8000002, chosen.uuid) not in set(
        office.view.allocations()
    )


def test_rules_that_are_written_again_keep_their_uuids(office):
    def rule(port):
        ports = [{"start_port": port, "end_port": port}]
        return {
            "direction": ">",
            "protocol": "tcp",
            "src_addresses": [{"security_group": "local"}],
            "dst_addresses": [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}],
            "dst_ports": ports,
        }

    def uuids(*ports):
        entries = {"policy_rule": [rule(port) for port in ports]}
        office.update(group, security_group_entries=entries)
        found = office.get(group).props["security_group_entries"]["policy_rule"]
        assert [one["dst_ports"][0]["start_port"] for one in found] == list(ports)
        return [one["rule_uuid"] for one in found]

    group = office.create("security-group", *PROJECT, "web")
    first = uuids(1, 2, 3, 4)
    second = uuids(1, 2, 9, 4)
    assert [one in first for one in second] == [True, True, False, True]
    assert uuids(1, 2, 9, 4) == second
    assert len(set(uuids(1, 2, 4, 5))) == 4


def test_flat_subnets_need_l3_forwarding(office):
    flat = [{"to": [*PROJECT, "service-chain-flat-ipam"], "attr": {"ipam_subnets": []}}]
    with pytest.raises(InputError, match="allowed only on networks forwarding in l3 mode"):
        office.create("virtual-network", *PROJECT, "flat", network_ipam_refs=flat)
    properties = {"forwarding_mode": "l3"}
    office.create(
        "virtual-network",
        *PROJECT,
        "flat",
        network_ipam_refs=flat,
        virtual_network_properties=properties,
    )


def test_filling_a_large_subnet_stays_cheap(office):
    """Every address is found by search, not by walking: a /20 fills in moments."""
    red = office.network("red", subnet("10.0.0.0", 20))
    view = office.view
    pool = f"ip/{red.uuid}/{red.refs[0].attr['ipam_subnets'][0]['subnet_uuid']}"
    for number in range(1000):
        office.address(red, f"ip{number}")
    assert view.held_count(pool) == 1000
    assert office.named("instance-ip", "ip999").props["instance_ip_address"] == "10.0.3.234"


def test_a_network_of_both_versions_gives_addresses_of_both(office):
    red = office.network("red", subnet("fd00:1::", 64), subnet())
    assert office.address(red).props["instance_ip_address"] == "10.1.1.3"
    six = office.address(red, "six", instance_ip_family="v6")
    assert six.props["instance_ip_address"] == "fd00:1::3"
    assert six.props["instance_ip_subnet"] == {"ip_prefix": "fd00:1::", "ip_prefix_len": 64}
    asked = office.address(red, "asked", instance_ip_address="fd00:1:0:0:f::9")
    assert asked.props["instance_ip_address"] == "fd00:1::f:0:0:9"
    with pytest.raises(ConflictError, match="IP address already in use: fd00:1::f:0:0:9 of"):
        office.address(red, "again", instance_ip_address="fd00:1::f:0:0:9")
    office.delete(six)
    assert office.address(red, "s2", instance_ip_family="v6").props["instance_ip_address"] == (
        "fd00:1::3"
    )
    assert check(office.view.revision, office.view.objects(), office.view.allocations()) == []
    with pytest.raises(
        ConflictError, match=r"subnet fd00:1::/64 of virtual-network .* cannot be re"
    ):
        office.update(red, network_ipam_refs=ipam_refs(subnet()))


def test_a_floating_ip_takes_its_family(office):
    public = office.network("public", subnet(), subnet("fd00:2::", 64))
    pool = office.create("floating-ip-pool", *public.fq_name, "pool")
    made = [
        office.create(
            "floating-ip",
            *pool.fq_name,
            f"f{family}",
            parent_type="floating-ip-pool",
            floating_ip_address_family=family,
        )
        for family in ("v4", "v6")
    ]
    assert [one.props["floating_ip_address"] for one in made] == ["10.1.1.3", "fd00:2::3"]


def test_a_rule_of_a_group_is_of_one_ip_version(office):
    wrong = {
        "direction": ">",
        "ethertype": "IPv6",
        "src_addresses": [{"security_group": "local"}],
        "dst_addresses": [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}],
    }
    text = r"Rule subnet 0\.0\.0\.0/0 doesn't match ethertype IPv6 at .*ethertype; write IPv4"
    with pytest.raises(InputError, match=text):
        office.create(
            "security-group", *PROJECT, "g", security_group_entries={"policy_rule": [wrong]}
        )


def test_only_the_systems_own_networks_are_special(office):
    office.create("project", "default-domain", "other")
    refs = ipam_refs(subnet())
    name = ("default-domain", "other", "ip-fabric")
    mine = office.create("virtual-network", *name, network_ipam_refs=refs)
    address = office.address(mine)
    assert address.props["instance_ip_address"] == "10.1.1.3"
    office.delete(address)
    office.delete(mine)
    with pytest.raises(ConflictError, match="belongs to the system: not deletable"):
        office.delete(office.named("virtual-network", *PROJECT, "ip-fabric"))


def test_addresses_come_in_blocks(office):
    red = office.network("red", subnet("10.1.1.0", 28, alloc_unit=4))
    # Network, gateway and service address are in the first block, broadcast in the last.
    taken = [office.address(red, f"ip{n}") for n in range(2)]
    assert [one.props["instance_ip_address"] for one in taken] == ["10.1.1.4", "10.1.1.8"]
    with pytest.raises(InputError, match="has exhausted"):
        office.address(red, "one-more")
    for text in ("10.1.1.5", "10.1.1.7"):
        with pytest.raises(InputError, match=r"hands out 4 at a time.*; ask for 10\.1\.1\.4"):
            office.address(red, "inside", instance_ip_address=text)
    with pytest.raises(ConflictError, match=r"already in use: 10\.1\.1\.8"):
        office.address(red, "again", instance_ip_address="10.1.1.8")
    with pytest.raises(InputError, match="is reserved"):
        office.address(red, "last", instance_ip_address="10.1.1.12")
    stored = red.refs[0].attr["ipam_subnets"][0]
    with pytest.raises(ConflictError, match=r"alloc_unit of subnet .* cannot be changed: 2 addr"):
        office.update(red, network_ipam_refs=ipam_refs(stored | {"alloc_unit": 2}))
    office.delete(taken[0])
    assert office.address(red, "new").props["instance_ip_address"] == "10.1.1.4"
    assert check(office.view.revision, office.view.objects(), office.view.allocations()) == []


def test_blocks_from_the_top_within_pools_and_of_ipv6(office):
    pools = [{"start": "10.1.1.16", "end": "10.1.1.31"}]
    down = subnet("10.1.1.0", 24, alloc_unit=8, addr_from_start=False, allocation_pools=pools)
    red = office.network("red", down, subnet("2001:db8::", 64, alloc_unit=16))
    taken = [office.address(red, f"ip{n}").props["instance_ip_address"] for n in range(2)]
    assert taken == ["10.1.1.24", "10.1.1.16"]
    six = [office.address(red, f"six{n}", instance_ip_family="v6") for n in range(2)]
    assert [one.props["instance_ip_address"] for one in six] == ["2001:db8::10", "2001:db8::20"]
    assert check(office.view.revision, office.view.objects(), office.view.allocations()) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"alloc_unit": 3}, "; write 1, 2, 4"),
        ({"alloc_unit": -4}, "alloc_unit -4 is no power of 2"),
        ({"alloc_unit": 256}, "every block of 10.1.1.0-10.1.1.255 has an address that is kept"),
        ({"alloc_unit": 512}, "10.1.1.0-10.1.1.255 is not made of blocks of 512"),
        (
            {"alloc_unit": 4, "allocation_pools": [{"start": "10.1.1.10", "end": "10.1.1.31"}]},
            "; let allocation pools begin and end where blocks do",
        ),
    ],
)
def test_a_unit_that_does_not_divide_its_subnet_is_refused(office, fields, text):
    with pytest.raises(InputError, match=re.escape(text)):
        office.network("red", subnet(**fields))
