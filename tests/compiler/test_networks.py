"""Routing instances of a network, and its targets: allocated and listed."""

from __future__ import annotations

import pytest

from filament.base.origin import Origin
from filament.compiler.compile import compile_plan
from filament.compiler.plan import RoutingInstance
from filament.model.change import Allocation, Commit

from .universe import Universe, rule

BOOT = ("default-domain", "default-project")


@pytest.fixture
def universe():
    return Universe()


def instances(universe):
    return compile_plan(universe.snapshot).routing_instances


def test_a_network_has_one_default_instance_with_its_own_target(universe):
    red = universe.network("red", virtual_network_network_id=7)
    universe.commit()
    assert instances(universe) == {
        "default-domain:demo:red:red": RoutingInstance(
            name="default-domain:demo:red:red",
            network="default-domain:demo:red",
            network_uuid=red.uuid,
            network_id=7,
            target="target:64512:8000000",
            imports=frozenset({"target:64512:8000000"}),
            exports=frozenset({"target:64512:8000000"}),
            origin=Origin("virtual-network default-domain:demo:red", "default-instance", 1),
            own_imports=frozenset({"target:64512:8000000"}),
        )
    }


def test_the_fabric_has_an_instance_of_its_own_and_link_local_no_target(universe):
    universe.network("ip-fabric", project=BOOT)
    universe.network("__link_local__", project=BOOT)
    universe.network("default-virtual-network", project=BOOT)
    universe.commit()
    found = {name: (i.is_default, i.target) for name, i in instances(universe).items()}
    assert found == {
        "default-domain:default-project:ip-fabric:ip-fabric": (True, "target:64512:8000000"),
        "default-domain:default-project:ip-fabric:__default__": (False, ""),
        "default-domain:default-project:__link_local__:__link_local__": (True, ""),
        "default-domain:default-project:default-virtual-network:default-virtual-network": (
            True,
            "target:64512:8000001",
        ),
    }


def test_another_projects_network_may_have_the_fabrics_name(universe):
    universe.network("ip-fabric")
    universe.commit()
    assert list(instances(universe)) == ["default-domain:demo:ip-fabric:ip-fabric"]


def test_target_lists_add_to_both_sides_or_one(universe):
    universe.network(
        "red",
        route_target_list={"route_target": ["target:64512:1", "not a target"]},
        import_route_target_list={"route_target": ["target:64512:2", "target:64512:4"]},
        export_route_target_list={"route_target": ["target:64512:3", "target:64512:4"]},
    )
    universe.commit()
    red = instances(universe)["default-domain:demo:red:red"]
    own = "target:64512:8000000"
    assert red.imports == {own, "target:64512:1", "target:64512:2", "target:64512:4"}
    assert red.exports == {own, "target:64512:1", "target:64512:3", "target:64512:4"}


def test_the_targets_of_bgpvpns_are_its_networks_targets(universe):
    """TF: route_target_list both ways, the others one; two bgpvpns may share a target."""
    universe.vpn("x", both=["target:1:1"], imports=["target:1:2"])
    universe.vpn("y", both=["target:1:1"], exports=["target:1:3"])
    universe.network("red", vpns=["x", "y"], route_target_list={"route_target": ["target:64512:1"]})
    universe.network("blue", vpns=["x"])
    universe.commit()
    plan = instances(universe)
    red, blue = plan["default-domain:demo:red:red"], plan["default-domain:demo:blue:blue"]
    assert red.imports == {red.target, "target:64512:1", "target:1:1", "target:1:2"}
    assert red.exports == {red.target, "target:64512:1", "target:1:1", "target:1:3"}
    assert blue.imports == {blue.target, "target:1:1", "target:1:2"}
    assert blue.exports == {blue.target, "target:1:1"}
    universe.vpn("x", imports=["target:1:4"])
    universe.commit()
    plan = instances(universe)
    blue = plan["default-domain:demo:blue:blue"]
    assert (blue.imports, blue.exports) == ({blue.target, "target:1:4"}, {blue.target})
    assert blue.origin.revision == 2
    assert plan["default-domain:demo:red:red"].exports == red.exports  # by way of y


def test_without_an_allocation_there_is_no_target(universe):
    universe.network("red")
    staged = Commit(1, 0.0, "test", puts=tuple(universe.puts.values()))
    universe.snapshot.apply(staged)
    red = instances(universe)["default-domain:demo:red:red"]
    assert (red.target, red.imports, red.exports) == ("", frozenset(), frozenset())


def test_the_vn_id_comes_from_the_allocation_when_the_object_has_none(universe):
    red = universe.network("red")
    universe.commit()
    taken = Commit(2, 0.0, "test", takes=(Allocation("vn-id", 9, red.uuid),))
    universe.snapshot.apply(taken)
    assert instances(universe)["default-domain:demo:red:red"].network_id == 9


def test_a_new_as_number_renames_targets_once_their_numbers_are_allocated(universe):
    universe.global_system_config(64512)
    universe.network("red")
    universe.commit()
    universe.global_system_config(65000)
    commit = universe.commit()
    assert commit.takes == (
        Allocation("route-target/65000", 8000001, "default-domain:demo:red:red"),
    )
    assert instances(universe)["default-domain:demo:red:red"].target == "target:65000:8000001"


def test_an_instance_leaks_with_its_partners_and_says_since_when(universe):
    universe.policy("talk", {"action_list": None})
    universe.commit()
    universe.policy("talk", rule("default-domain:demo:red", "default-domain:demo:blue"))
    universe.network("red", ["talk"], export_route_target_list={"route_target": ["target:1:1"]})
    universe.commit()
    universe.network("blue", ["talk"])
    universe.commit()
    plan = instances(universe)
    red, blue = plan["default-domain:demo:red:red"], plan["default-domain:demo:blue:blue"]
    assert red.connections == (blue.name,)
    assert blue.connections == (red.name,)
    assert red.imports == {red.target, blue.target}
    assert red.own_imports == {red.target}
    assert blue.imports == {red.target, blue.target, "target:1:1"}
    assert blue.exports == {blue.target}
    assert red.origin.revision == blue.origin.revision == 3
