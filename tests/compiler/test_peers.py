"""Sessions of a control node out of bgp-router objects."""

import uuid

import pytest

from filament.base.net import Address, parse_ipv4
from filament.base.origin import Origin
from filament.compiler.peers import (
    FABRIC,
    PeerPlan,
    PrefixLimit,
    RestartPlan,
    SpeakerPlan,
    concerns,
    plan_speaker,
)
from filament.model.change import Commit, Object, Ref
from filament.model.snapshot import Snapshot
from filament.wire.bgp.family import AddressFamily

INET, VPN = AddressFamily.INET, AddressFamily.INET_VPN
EVPN, TARGET = AddressFamily.E_VPN, AddressFamily.ROUTE_TARGET
SYSTEM = ("default-global-system-config",)
FAMILIES = {"family": ["route-target", "inet-vpn", "e-vpn", "erm-vpn", "inet6-vpn"]}


def uuid_of(name):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def router(name, address, *, refs=(), parent=FABRIC, **parameters):
    parameters = {"address": address, "autonomous_system": 64512} | parameters
    parameters = {"router_type": "control-node", "address_families": FAMILIES} | parameters
    return Object(
        "bgp-router",
        uuid_of(name),
        (*parent, name),
        props={"bgp_router_parameters": parameters},
        refs=tuple(refs),
    )


def ref(name, **attributes):
    return Ref("bgp-router", uuid_of(name), session(attributes))


def session(*attributes):
    return {"session": [{"attributes": list(attributes)}]}


def system(**props):
    return Object("global-system-config", uuid_of("system"), SYSTEM, props=props)


def speaker(*objects, name="ctl1"):
    return plan_speaker(Snapshot(1, objects), name)


def address(text):
    return Address(parse_ipv4(text), 4)


CTL1, CTL2 = router("ctl1", "10.0.0.1"), router("ctl2", "10.0.0.2")


def test_control_nodes_mesh_by_themselves():
    assert speaker(system(), CTL1, CTL2) == SpeakerPlan(
        name="ctl1",
        identifier=parse_ipv4("10.0.0.1"),
        address=address("10.0.0.1"),
        peers={
            "ctl2": PeerPlan(
                name="ctl2",
                address=address("10.0.0.2"),
                port=179,
                local_as=64512,
                peer_as=64512,
                families=(TARGET, VPN, EVPN, AddressFamily.ERM_VPN, AddressFamily.INET6_VPN),
                router_type="control-node",
                origin=Origin(f"bgp-router {':'.join(FABRIC)}:ctl2", "ibgp-auto-mesh", 0),
            )
        },
    )


def test_a_node_without_a_router_of_its_own_has_no_peers():
    found = speaker(system(autonomous_system=65000), CTL2)
    assert (found.name, found.asn, found.peers) == ("", 65000, {})


def test_no_mesh_when_it_is_switched_off():
    assert speaker(system(ibgp_auto_mesh=False), CTL1, CTL2).peers == {}


@pytest.mark.parametrize(
    "other",
    [
        router("gw", "10.0.0.9", autonomous_system=64999),
        router("gw", "10.0.0.9", router_type="bgpaas-client"),
        router("gw", "10.0.0.9", parent=("default-domain", "demo", "red", "red")),
        router("gw", "10.0.0.9", refs=[Ref("sub-cluster", uuid_of("edge"))]),
    ],
)
def test_who_is_left_out_of_the_mesh(other):
    assert speaker(system(), CTL1, other).peers == {}


def test_attributes_that_rule_over_routes():
    attributes = {
        "as_override": True,
        "private_as_action": "remove-all",
        "loop_count": 2,
        "route_origin_override": {"origin_override": True, "origin": "INCOMPLETE"},
        "family_attributes": [
            {"address_family": "inet-vpn", "loop_count": 5, "default_tunnel_encap": ["udp"]},
            {"address_family": "e-vpn", "default_tunnel_encap": ["vxlan", "mpls"]},
            {"address_family": "inet-mvpn", "default_tunnel_encap": ["gre"]},
        ],
    }
    ours = router("ctl1", "10.0.0.1", refs=[ref("gw", **attributes)])
    peer = speaker(system(), ours, router("gw", "10.0.0.9")).peers["gw"]
    assert (peer.has_as_override, peer.private_as_action) == (True, "remove-all")
    assert peer.origin_override == 2
    assert dict(peer.loops) == dict.fromkeys(AddressFamily, 2) | {AddressFamily.INET_VPN: 5}
    assert peer.encapsulations == (
        (AddressFamily.INET_VPN, (13,)),
        (AddressFamily.E_VPN, (8, 10)),
    )


def test_without_attributes_routes_are_as_they_are():
    ours = router("ctl1", "10.0.0.1", refs=[ref("gw")])
    peer = speaker(system(), ours, router("gw", "10.0.0.9")).peers["gw"]
    assert (peer.has_as_override, peer.private_as_action, peer.loops) == (False, "", ())
    assert (peer.origin_override, peer.encapsulations) == (None, ())


@pytest.mark.parametrize("holder", ["ours", "theirs"])
def test_a_reference_makes_a_session_whoever_holds_it(holder):
    ours = router("ctl1", "10.0.0.1", refs=[ref("gw")] if holder == "ours" else [])
    gateway = router(
        "gw",
        "10.0.0.9",
        autonomous_system=64999,
        router_type="router",
        refs=[ref("ctl1")] if holder == "theirs" else [],
    )
    peer = speaker(system(), ours, gateway).peers["gw"]
    assert (peer.local_as, peer.peer_as, peer.is_internal) == (64512, 64999, False)
    assert peer.origin.rule == "bgp-router-refs"


ROUTERS = {"ctl1": "control-node", "ctl2": "control-node", "gw": "router", "rr": "router"}


def routers(**cluster_ids):
    return [
        router(name, f"10.0.0.{number}", router_type=kind, cluster_id=cluster_ids.get(name, 0))
        for number, (name, kind) in enumerate(
            [
                ("ctl1", "control-node"),
                ("ctl2", "control-node"),
                ("gw", "router"),
                ("rr", "router"),
            ],
            1,
        )
    ]


@pytest.mark.parametrize(
    ("cluster_ids", "name", "peers"),
    [
        ({}, "ctl1", {"ctl2", "gw", "rr"}),
        ({"rr": 7}, "ctl1", {"ctl2", "rr"}),
        ({"ctl2": 7}, "ctl1", {"ctl2"}),
        ({"ctl1": 7}, "ctl1", {"ctl2", "gw", "rr"}),
    ],
)
def test_a_reflector_saves_sessions(cluster_ids, name, peers):
    assert set(speaker(system(), *routers(**cluster_ids), name=name).peers) == peers


def test_a_reflector_has_clients_but_not_other_reflectors():
    peers = speaker(system(), *routers(ctl1=7, rr=8)).peers
    assert {name: each.is_client for name, each in peers.items()} == {
        "ctl2": True,
        "gw": True,
        "rr": False,
    }
    assert speaker(system(), *routers(ctl1=7)).cluster_id == 7


def test_session_attributes_of_either_end_and_of_both():
    attributes = session(
        {"bgp_router": "ctl1", "hold_time": 9, "passive": True, "local_autonomous_system": 65001},
        {
            "hold_time": 30,
            "address_families": {"family": ["inet-vpn", "inet"]},
            "auth_data": {"key_type": "md5", "key_items": [{"key_id": 0, "key": "secret"}]},
            "family_attributes": [
                {
                    "address_family": "inet-vpn",
                    "prefix_limit": {"maximum": 100, "idle_timeout": 60},
                }
            ],
        },
        {"bgp_router": "gw", "local_autonomous_system": 65009, "passive": False},
    )
    ours = router("ctl1", "10.0.0.1", refs=[Ref("bgp-router", uuid_of("gw"), attributes)])
    gateway = router("gw", "10.0.0.9", port=1790, vendor="acme")
    peer = speaker(system(), ours, gateway).peers["gw"]
    assert (peer.hold_time_s, peer.is_passive, peer.password) == (9, True, "secret")
    assert (peer.local_as, peer.peer_as, peer.port, peer.vendor) == (65001, 65009, 1790, "acme")
    assert peer.families == (VPN, INET)
    assert peer.prefix_limits == (PrefixLimit(VPN, 100, 60),)
    back = speaker(system(), ours, gateway, name="gw").peers["ctl1"]
    assert (back.hold_time_s, back.is_passive) == (30, False)
    assert (back.local_as, back.peer_as) == (65009, 65001)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (["inet-vpn", "e-vpn"], ["e-vpn", "inet-vpn", "inet"], (VPN, EVPN)),
        ([], ["e-vpn"], (EVPN,)),
        (["e-vpn"], [], (EVPN,)),
        ([], [], (INET, VPN)),
        (["inet-mvpn", "inet"], ["inet-mvpn", "inet"], (INET,)),
    ],
)
def test_families_are_those_of_both_ends(ours, theirs, expected):
    found = speaker(
        system(),
        router("ctl1", "10.0.0.1", address_families={"family": ours}),
        router("ctl2", "10.0.0.2", address_families={"family": theirs}),
    )
    assert found.peers["ctl2"].families == expected


@pytest.mark.parametrize(("hold_time", "expected"), [(0, 0), (1, 3), (3, 3), (600, 600)])
def test_hold_times(hold_time, expected):
    found = speaker(system(), router("ctl1", "10.0.0.1", hold_time=hold_time), CTL2)
    assert found.peers["ctl2"].hold_time_s == expected


@pytest.mark.parametrize("name", ["ctl1", "ctl2"])
def test_admin_down_at_either_end_is_down(name):
    down = router(name, "10.0.0.7", admin_down=True)
    other = CTL2 if name == "ctl1" else CTL1
    assert speaker(system(), down, other).peers["ctl2"].is_admin_down


def test_an_identifier_need_not_be_the_address():
    found = speaker(system(), router("ctl1", "2001:db8::1", identifier="1.2.3.4"))
    assert (found.identifier, found.address.version) == (0x01020304, 6)


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        (
            (CTL1, router("ctl2", "")),
            "bgp-router ctl2: it has no address; set its address; there is no session with it",
        ),
        (
            (CTL1, router("ctl2", "10.0.0.300")),
            (
                "bgp-router ctl2: '10.0.0.300' is not an IP address; write it like 10.1.1.3 or"
                " 2001:db8::3; there is no session with it"
            ),
        ),
        (
            (router("ctl1", "2001:db8::1"), CTL2),
            (
                "bgp-router ctl1: its address is IPv6 and it has no identifier; set an identifier,"
                " written like an IPv4 address; it has no sessions"
            ),
        ),
        (
            (CTL1, router("ctl2", "10.0.0.2", address_families={"family": ["inet"]})),
            (
                "bgp-router ctl2: no address family that we know is configured at both ends:"
                " route-target, inet-vpn, e-vpn, erm-vpn, inet6-vpn and inet; there are: inet,"
                " inet-labeled, inet-vpn, route-target, erm-vpn, inet6, inet6-labeled, inet6-vpn,"
                " e-vpn; there is no session with it"
            ),
        ),
    ],
)
def test_what_cannot_be_is_said(objects, problem):
    found = speaker(system(), *objects)
    assert found.problems == (problem,)
    assert found.peers == {}


def test_graceful_restart_is_the_clusters():
    parameters = {
        "enable": True,
        "bgp_helper_enable": True,
        "restart_time": 60,
        "long_lived_restart_time": 600,
        "end_of_rib_timeout": 30,
    }
    found = speaker(system(graceful_restart_parameters=parameters), CTL1).restart
    assert found == RestartPlan(True, True, 60, 600, 30)
    off = speaker(system(graceful_restart_parameters=parameters | {"enable": False}), CTL1)
    assert not off.restart.is_helper


def test_which_commits_matter():
    assert concerns(Commit(2, 0.0, "", puts=(CTL1,)))
    assert concerns(Commit(2, 0.0, "", deletes=(system(),)))
    assert not concerns(Commit(2, 0.0, "", puts=(Object("project", "u", ("a", "b")),)))
