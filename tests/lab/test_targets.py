"""Route targets that clients give: networks meet by them, as far as policies let packets pass."""

import pytest
from tests.lab.test_forwarding import ping

pytestmark = pytest.mark.lab

TARGET = "target:65000:77"
LISTED = {"route_target": [TARGET]}
PROJECT = ["default-domain", "demo"]


def change(lab, network, **fields):
    client = lab.intent.client
    uuid = client.uuid_of("virtual-network", [*PROJECT, network])
    client.update("virtual-network", uuid, **fields)


def meets(lab):
    lab.settle()
    return ping(lab, "red-1", "blue-1"), ping(lab, "blue-2", "red-2")


APART, TOGETHER = ((3, 0), (3, 0)), ((3, 3), (3, 3))


@pytest.fixture
def target(lab):
    """A route-target that a client makes, and nothing listed before or after."""
    uuid = lab.intent.client.create("route-target", [TARGET])
    assert meets(lab) == APART
    yield
    for network in ("red", "blue"):
        fields = {f"{way}route_target_list": None for way in ("", "import_", "export_")}
        change(lab, network, network_policy_refs=[], bgpvpn_refs=[], **fields)
    lab.intent.client.delete("route-target", uuid)
    assert meets(lab) == APART


def test_networks_that_list_a_target_meet_unless_a_policy_denies(lab, target):
    change(lab, "red", route_target_list=LISTED)
    change(lab, "blue", import_route_target_list=LISTED)
    assert meets(lab) == APART  # there is a way back for neither
    change(lab, "blue", export_route_target_list=LISTED)
    assert meets(lab) == TOGETHER
    deny = {
        "direction": "<>",
        "protocol": "icmp",
        "src_addresses": [{"virtual_network": ":".join([*PROJECT, "red"])}],
        "dst_addresses": [{"virtual_network": ":".join([*PROJECT, "blue"])}],
        "src_ports": [{"start_port": -1, "end_port": -1}],
        "dst_ports": [{"start_port": -1, "end_port": -1}],
        "action_list": {"simple_action": "deny"},
    }
    policy = lab.intent.client.create(
        "network-policy",
        [*PROJECT, "no-pings"],
        parent_type="project",
        network_policy_entries={"policy_rule": [deny]},
    )
    attached = [{"uuid": policy, "attr": {"sequence": {"major": 0, "minor": 0}}}]
    change(lab, "red", network_policy_refs=attached)
    assert meets(lab) == APART
    change(lab, "red", network_policy_refs=[])
    lab.intent.client.delete("network-policy", policy)
    assert meets(lab) == TOGETHER


def test_networks_of_one_bgpvpn_meet(lab, target):
    client = lab.intent.client
    vpn = client.create(
        "bgpvpn", [*PROJECT, "vpn"], parent_type="project", route_target_list=LISTED
    )
    for network in ("red", "blue"):
        change(lab, network, bgpvpn_refs=[{"uuid": vpn}])
    assert meets(lab) == TOGETHER
    client.update("bgpvpn", vpn, route_target_list=None)
    assert meets(lab) == APART
    for network in ("red", "blue"):
        change(lab, network, bgpvpn_refs=[])
    client.delete("bgpvpn", vpn)
