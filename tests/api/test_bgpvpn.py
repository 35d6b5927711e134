"""BGP VPNs: what a network or a router may have, and what a network takes from them."""

import pytest

from filament.base.errors import InputError
from filament.compiler.compile import compile_plan

from .office import PROJECT, subnet

SHARED = {"route_target": ["target:65000:1"]}


def vpn(office, name, **fields):
    return office.create("bgpvpn", *PROJECT, name, **fields)


def router_with(office, network):
    port = office.port(
        network, "gateway", virtual_machine_interface_device_owner="network:router_interface"
    )
    return office.create(
        "logical-router", *PROJECT, "lr", virtual_machine_interface_refs=[{"uuid": port.uuid}]
    )


def test_two_vpns_may_share_a_target_and_the_networks_meet_by_it(office):
    one, two = (vpn(office, name, route_target_list=SHARED) for name in ("one", "two"))
    for name, each in (("red", one), ("blue", two)):
        office.add_ref(office.network(name, subnet(f"10.{len(name)}.0.0")), each)
    assert "target:65000:1" in office.shown("route-target")
    instances = compile_plan(office.view).routing_instances
    for name in ("red", "blue"):
        row = instances[":".join([*PROJECT, name, name])]
        assert "target:65000:1" in row.imports & row.exports
    office.update(two, route_target_list=None, export_route_target_list=SHARED)
    blue = compile_plan(office.view).routing_instances[":".join([*PROJECT, "blue", "blue"])]
    assert "target:65000:1" in blue.exports - blue.imports
    office.engine.shown.verify(office.view)


def test_a_network_forwards_what_its_vpns_carry(office):
    l2, l3 = vpn(office, "l2", bgpvpn_type="l2"), vpn(office, "l3")
    both = office.network("both")
    office.add_ref(both, l2)
    office.add_ref(both, l3)
    mode = {"forwarding_mode": "l3"}
    with pytest.raises(InputError, match=r"Cannot associate different bgpvpn types \(l2, l3\)"):
        office.update(both, virtual_network_properties=mode)
    routed = office.network("routed", virtual_network_properties=mode)
    with pytest.raises(
        InputError, match="Cannot associate bgpvpn type 'l2' with a virtual network"
    ):
        office.add_ref(routed, l2)
    office.add_ref(routed, l3)


def test_a_router_has_vpns_or_its_networks_have(office):
    l2, l3 = vpn(office, "l2", bgpvpn_type="l2"), vpn(office, "l3")
    red = office.network("red")
    router = router_with(office, red)
    with pytest.raises(
        InputError, match=r"Only bgpvpn type 'l3' can be .* router: bgpvpn .*:l2 is"
    ):
        office.add_ref(router, l2)
    office.add_ref(red, l3)
    with pytest.raises(
        InputError, match=r"Router .*:lr is linked to virtual network\(s\) which is"
    ):
        office.add_ref(router, l3)
    office.remove_ref(red, l3)
    office.add_ref(router, l3)
    with pytest.raises(InputError, match=r"Network .*:red is linked to a logical router which is"):
        office.add_ref(red, l3)
    assert office.update(red, display_name="still editable").commit is not None
