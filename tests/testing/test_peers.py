"""What needs no daemon: reading what daemons said, tables of the stand-in, configurations."""

import pytest

from filament.base.errors import PermanentError
from filament.testing.peers import exabgp, frr, frr_config, gobgp, speaker
from filament.testing.peers.route import PeerRoute, normal_address, sort_communities
from filament.testing.peers.router import plan_tables
from filament.testing.peers.settings import Neighbour, PeerSettings, Segment, Vrf

TARGET = frozenset({"target:64512:5"})


def test_communities_are_sorted_by_what_they_say():
    found = sort_communities(
        [
            bytes.fromhex("0002fc0000000005"),
            bytes.fromhex("0102c000020a0007"),
            bytes.fromhex("0202000100000009"),
            bytes.fromhex("030c00000000000d"),
            bytes.fromhex("0603020000000001"),
            bytes.fromhex("8071fc0000000005"),
        ]
    )
    assert found.targets == {"target:64512:5", "target:192.0.2.10:7", "target:65536:9"}
    assert found.encapsulations == {"udp"}
    assert found.router_mac == "02:00:00:00:00:01"
    assert found.others == {"0x8071fc0000000005"}


def test_mapped_addresses_are_ipv4():
    assert normal_address("::ffff:ac1e:2") == "172.30.0.2"
    assert normal_address("fd00:0::1") == "fd00::1"


def test_gobgp_path():
    path = {
        "nlri": {
            "prefix": "10.1.0.0/24",
            "labels": [100],
            "rd": {"type": 1, "admin": "172.30.0.1", "assigned": 5},
        },
        "attrs": [
            {"type": 1, "value": 2},
            {"type": 2, "as_paths": [{"segment_type": 2, "num": 1, "asns": [65001]}]},
            {"type": 5, "value": 100},
            {
                "type": 16,
                "value": [
                    {"type": 0, "subtype": 2, "value": "64512:5"},
                    {"type": 3, "subtype": 12, "tunnel_type": 13},
                    {"type": 128, "subtype": 113, "value": "cfwAAAAABQ=="},
                ],
            },
            {"type": 14, "nexthop": "172.30.0.1", "afi": 1, "safi": 128},
        ],
        "stale": True,
    }
    assert gobgp.read_path("inet-vpn", path) == PeerRoute(
        family="inet-vpn",
        prefix="10.1.0.0/24",
        rd="172.30.0.1:5",
        label=100,
        targets=TARGET,
        encapsulations=frozenset({"udp"}),
        others=frozenset({"0x8071fc0000000005"}),
        next_hop="172.30.0.1",
        local_pref=100,
        as_path=(65001,),
        is_stale=True,
    )


def test_frr_path():
    path = {
        "vni": "4001",
        "aspath": {"segments": [{"type": "as-sequence", "list": [65001]}]},
        "locPrf": 200,
        "extendedCommunity": {"string": "RT:64512:5 ET:8 Rmac:02:00:00:00:00:bb"},
        "nexthops": [{"ip": "172.30.0.2"}],
        "peer": {"peerId": "172.30.0.2"},
    }
    identity = frr.evpn_identity({"routeType": 5, "ethTag": 0, "ipLen": 24, "ip": "10.7.0.0"})
    assert frr.is_received(path)
    assert frr.read_path(path, family="e-vpn", rd="1:1", **identity) == PeerRoute(
        family="e-vpn",
        evpn_type=5,
        prefix="10.7.0.0/24",
        rd="1:1",
        label=4001,
        targets=TARGET,
        encapsulations=frozenset({"vxlan"}),
        router_mac="02:00:00:00:00:bb",
        next_hop="172.30.0.2",
        local_pref=200,
        as_path=(65001,),
    )


def test_exabgp_route():
    nlri = {"nlri": "10.9.0.0/24", "label": [[77]], "rd": "1:2"}
    attributes = {
        "local-preference": 100,
        "extended-community": [{"value": 840026883620869, "string": "target:64512:5"}],
        "attribute-0x63-0xC0": "0xDEADBEEF",
    }
    assert exabgp.read_route("inet-vpn", nlri, "::ffff:10.0.0.1", attributes) == PeerRoute(
        family="inet-vpn",
        prefix="10.9.0.0/24",
        rd="1:2",
        label=77,
        targets=TARGET,
        next_hop="10.0.0.1",
        local_pref=100,
        raw_attributes=frozenset({"0x63 0xc0 0xdeadbeef"}),
    )


def test_the_stand_in_forwards_only_what_its_targets_import():
    vrf = Vrf(name="red", rd="1:1", targets=("target:64512:5",), label=100)
    segment = Segment(vni=4000, rd="1:2", targets=("target:64512:5",))

    def route(**fields):
        return PeerRoute(**{"targets": TARGET, "next_hop": "10.0.0.1", "label": 7, **fields})

    inet = {"family": "inet-vpn", "rd": "2:2"}
    tables = plan_tables(
        (vrf,),
        (segment,),
        [
            route(**inet, prefix="10.1.0.0/24", encapsulations=frozenset({"udp", "gre"})),
            route(**inet, prefix="10.2.0.0/24"),
            route(**inet, prefix="10.3.0.0/24", targets=frozenset({"target:64512:6"})),
            route(**inet, prefix="10.4.0.0/24", encapsulations=frozenset({"vxlan"})),
            route(
                family="e-vpn", evpn_type=5, prefix="10.5.0.0/24", router_mac="02:00:00:00:00:01"
            ),
            route(family="e-vpn", evpn_type=2, mac="02:00:00:00:00:09"),
            route(family="e-vpn", evpn_type=3, label=None),
        ],
    )
    assert tables == {
        "labels": {"100": "red"},
        "vnis": {},
        "routes": {
            "red": [
                ["10.1.0.0/24", "udp", "10.0.0.1", 7, ""],
                ["10.2.0.0/24", "gre", "10.0.0.1", 7, ""],
                ["10.5.0.0/24", "vxlan", "10.0.0.1", 7, "020000000001"],
            ]
        },
        "macs": {"4000": {"020000000009": ["10.0.0.1", 7]}},
        "floods": {"4000": [["10.0.0.1", 4000]]},
    }


def settings(**more):
    neighbour = Neighbour(address="10.0.0.2", asn=65001, families=("inet-vpn", "e-vpn"), **more)
    return PeerSettings(name="r1", address="10.0.0.1", asn=64512, neighbours=(neighbour,))


def test_configurations_say_what_was_asked():
    toml = gobgp.GoBgp(settings(password="secret", is_passive=True), None, None).configuration()
    assert 'auth-password = "secret"' in toml
    assert "passive-mode = true" in toml
    assert toml.count("afi-safi-name") == 2
    assert "multihop-ttl = 8" in toml
    conf = frr_config.bgpd(settings(password="secret", restart_time_s=60))
    assert " neighbor 10.0.0.2 password secret\n" in conf
    assert " bgp graceful-restart restart-time 60\n" in conf
    assert " address-family ipv4 vpn\n  neighbor 10.0.0.2 activate\n" in conf
    assert "ipv6 vpn" not in conf
    assert "md5-password" not in exabgp.ExaBgp(settings(), None, "/d").configuration()


def test_a_peer_says_what_it_cannot_announce():
    with pytest.raises(PermanentError, match=r"exabgp 4\.2 has no words for e-vpn"):
        exabgp.ExaBgp(settings(), None, None).announce(PeerRoute(family="e-vpn"))
    with pytest.raises(PermanentError, match="r1 has no VRF with rd 9:9; it has "):
        frr.Frr(settings(), None, None).announce(
            PeerRoute(family="inet-vpn", rd="9:9", prefix="10.0.0.0/8")
        )


def test_raw_messages_are_taken_apart_again():
    attributes = speaker.base_attributes(speaker.target(64512, 5)) + speaker.attribute(
        0xC0, 99, bytes(300)
    )
    body = speaker.update(attributes)[19:]
    assert [
        (found.flags, found.code, len(found.value)) for found in speaker.split_attributes(body)
    ] == [
        (0x40, 1, 1),
        (0x40, 2, 0),
        (0x40, 5, 4),
        (0xC0, 16, 8),
        (0xD0, 99, 300),
    ]
    assert speaker.vpn_nlri(16, speaker.rd("10.0.0.1", 2), "10.9.0.0/20").hex() == (
        "6c00010100010a00000100020a0900"
    )
