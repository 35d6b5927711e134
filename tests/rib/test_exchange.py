"""Routes of instances as BGP has them, and back."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filament.base.net import Prefix, RouteDistinguisher
from filament.rib.exchange import default_med, export, import_path, instance_key
from filament.rib.keys import (
    ErmRoute,
    EvpnEthernetSegment,
    EvpnInclusive,
    EvpnMac,
    EvpnMulticast,
    EvpnPrefix,
    EvpnSegment,
    ermvpn,
    evpn,
    inet,
    unicast,
)
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.rib.rib import IMPORTS_AT_ONCE, Instance
from filament.wire.bgp.attributes import PmsiTunnel
from filament.wire.bgp.communities import (
    Mobility,
    encode_encapsulation,
    encode_mobility,
    encode_origin_vn,
    encode_router_mac,
    encode_security_groups,
    encode_tags,
)
from filament.wire.bgp.family import AddressFamily as AF
from filament.wire.bgp.routes import EvpnPrefixRoute, MacRoute, decode_route, encode_route

from .bgp_world import UDP, VXLAN, World, attributes, client, mac, membership, target, vpn

RED, BLUE = "d:p:red:red", "d:p:blue:blue"
HOST = Prefix.parse("10.1.1.3/32")
HOST6 = Prefix.parse("2001:db8::3/128")
KEY = inet(HOST)
RD = RouteDistinguisher.parse("172.30.0.1:1")
PATH = Path("host1", RED, 0xAC1E0001, 17, "d:p:red", ("udp", "gre"), instance_id=1)


def instance(name, imports=(), exports=(), network_id=0):
    return Instance(
        name,
        name.rpartition(":")[0],
        frozenset(f"target:64512:{each}" for each in imports),
        frozenset(f"target:64512:{each}" for each in exports),
        network_id,
    )


@pytest.fixture
def world():
    world = World()
    world.rib.put_instance(instance(RED, [1], [1], 7))
    world.rib.put_instance(instance(BLUE, [2], [2], 8))
    world.up(client(1))
    return world.drain()


def paths(world, name, key=KEY):
    world.drain()
    selection = world.rib.selection(name, key)
    return list(selection.paths) if selection is not None else []


def test_an_agents_route_reaches_bgp_with_all_that_tf_says(world):
    world.rib.publish(
        KEY,
        Path(
            "host1", RED, 0xAC1E0001, 17, "d:p:red", ("udp", "gre"), instance_id=3, sequence=4,
            security_groups=(8_000_001,), tags=(5,), communities=(99,), local_preference=100,
        ),
    )  # fmt: skip
    world.drain()
    [(key, (sent, label))] = world.heard["peer1"][AF.INET_VPN].items()
    assert decode_route(AF.INET_VPN, key, label) == (
        HOST, RouteDistinguisher.parse("172.30.0.1:3"), 17 << 4 | 1
    )  # fmt: skip
    assert str(sent.next_hop) == "172.30.0.1"
    assert (sent.local_preference, sent.med, sent.communities) == (100, 200, (99,))
    assert set(sent.extended_communities) == {
        target(1),
        encode_encapsulation(UDP),
        encode_encapsulation(2),
        *encode_security_groups(64512, [8_000_001]),
        *encode_tags(64512, [5]),
        encode_origin_vn(64512, 7),
        encode_mobility(Mobility(4)),
    }


def test_export_follows_configuration_and_withdrawal(world):
    world.rib.publish(KEY, PATH)
    world.drain()
    world.rib.put_instance(instance(RED, [1], [5], 7))
    world.drain()
    [(sent, _)] = world.heard["peer1"][AF.INET_VPN].values()
    assert target(5) in sent.extended_communities
    world.rib.put_instance(instance(RED, [1], [], 7))
    world.drain()
    assert world.heard["peer1"][AF.INET_VPN] == {}
    world.rib.put_instance(instance(RED, [1], [1], 7))
    world.drain()
    assert len(world.heard["peer1"][AF.INET_VPN]) == 1
    world.rib.withdraw("host1", RED, KEY)
    world.drain()
    assert world.heard["peer1"][AF.INET_VPN] == {}
    world.rib.publish(KEY, PATH)
    world.rib.forget_instance(RED)
    world.drain()
    assert world.heard["peer1"][AF.INET_VPN] == {}


def test_what_imports_alone_change_is_not_told_to_peers(world):
    world.rib.publish(KEY, PATH)
    world.drain()
    world.messages.clear()
    world.rib.put_instance(instance(RED, [1, 2], [1], 7))
    world.drain()
    assert world.messages == []


def test_a_bgp_route_appears_where_its_target_is_imported_and_goes(world):
    key, label = vpn("10.1.1.3/32", 300)
    world.bgp.announce("peer1", AF.INET_VPN, attributes(1), [(key, label)])
    [path] = paths(world, RED)
    assert (path.peer, path.source, path.next_hop, path.label) == (
        "peer1", "bgp.l3vpn.0", 0x0AFF0009, 300
    )  # fmt: skip
    assert path.encapsulations == ("udp",)
    assert str(path.distinguisher) == "10.255.0.9:1"
    assert world.rib.import_target(RED, path) == "target:64512:1"
    assert paths(world, BLUE) == []
    world.rib.put_instance(instance(BLUE, [1, 2], [2], 8))
    assert len(paths(world, BLUE)) == 1
    world.bgp.withdraw("peer1", AF.INET_VPN, [key])
    assert paths(world, RED) == paths(world, BLUE) == []


def test_instances_follow_in_portions(world):
    routes = [vpn(f"10.{n >> 8}.{n & 255}.0/24") for n in range(2000)]
    world.bgp.announce("peer1", AF.INET_VPN, attributes(1), routes)
    world.take()
    seen = [len(world.rib.keys(RED))]
    assert 0 < seen[0] < 2000  # and the rest at another turn
    while world.bgp.has_work:
        assert world.bgp.is_busy
        world.take()
        seen.append(len(world.rib.keys(RED)))
    assert seen[-1] == 2000
    assert max(after - before for before, after in itertools.pairwise(seen)) <= seen[0]
    world.drain()
    # An instance that gains a target gains as much at once, and may lose it before it has all.
    world.rib.put_instance(instance(BLUE, [1, 2], [2], 8))
    world.rib.take_changes()
    assert world.rib.has_changes
    assert len(world.rib.keys(BLUE)) == IMPORTS_AT_ONCE
    world.rib.forget_instance(BLUE)
    world.rib.put_instance(instance(BLUE, [1, 2], [2], 8))
    world.drain()
    assert len(world.rib.keys(BLUE)) == 2000
    world.rib.put_instance(instance(BLUE, [2], [2], 8))
    world.drain()
    assert not world.rib.keys(BLUE)


def test_routes_of_two_routers_share_the_load_and_of_two_reflectors_are_one(world):
    world.up(client(2))
    key, label = vpn("10.1.1.3/32")
    for name in ("peer1", "peer2"):
        world.bgp.announce(name, AF.INET_VPN, attributes(1), [(key, label)])
    assert len(paths(world, RED)) == 1
    other = vpn("10.1.1.3/32", rd="10.255.0.8:1")
    world.bgp.announce("peer1", AF.INET_VPN, attributes(1, hop=0x0AFF0008), [other])
    assert [path.next_hop for path in paths(world, RED)] == [0x0AFF0008, 0x0AFF0009]


def test_the_same_agent_by_xmpp_and_by_the_other_control_node_is_one_path(world):
    world.rib.publish(KEY, PATH)
    exported = export(KEY, PATH, frozenset({target(1)}), 64512, 7)
    world.bgp.announce("peer1", AF.INET_VPN, exported.attributes, [(exported.key, exported.label)])
    [path] = paths(world, RED)
    assert path.peer == "host1"
    twin = world.rib.why(RED, KEY).candidates[1]
    assert twin.reason == "the same next hop and label as the path from host1"
    world.rib.mark_stale("host1")
    [path] = paths(world, RED)
    assert path.peer == "peer1", "the other node's word counts while the agent is away"
    world.rib.withdraw_peer("host1")
    assert [each.peer for each in paths(world, RED)] == ["peer1"]
    assert world.heard["peer1"][AF.INET_VPN] == {}


def test_the_network_of_a_bgp_route(world):
    key, label = vpn("10.1.1.3/32")
    origin = encode_origin_vn(64512, 8)
    base = attributes(1)
    said = attributes(1).__class__(
        next_hop=base.next_hop,
        local_preference=100,
        extended_communities=(*base.extended_communities, origin),
    )
    world.bgp.announce("peer1", AF.INET_VPN, said, [(key, label)])
    [path] = paths(world, RED)
    assert world.rib.network_of(path) == "d:p:blue", "its origin VN says so"
    world.bgp.announce("peer1", AF.INET_VPN, base, [(key, label)])
    [path] = paths(world, RED)
    assert world.rib.network_of(path) == "d:p:red", "red alone exports its target"
    world.rib.put_instance(instance(BLUE, [2], [1, 2], 8))
    [path] = paths(world, RED)
    assert world.rib.network_of(path) == "d:p:red", "two export it; red alone imports it"
    world.rib.put_instance(instance(BLUE, [1, 2], [1, 2], 8))
    [path] = paths(world, RED)
    assert world.rib.network_of(path) == ""


def test_foreign_security_groups_count_only_when_global(world):
    key, label = vpn("10.1.1.3/32")
    base = attributes(1)
    foreign = encode_security_groups(65001, [8_000_009, 77])
    own = encode_security_groups(64512, [8_000_010])
    said = base.__class__(
        next_hop=base.next_hop,
        extended_communities=(*base.extended_communities, *foreign, *own),
    )
    world.bgp.announce("peer1", AF.INET_VPN, said, [(key, label)])
    [path] = paths(world, RED)
    assert path.security_groups == (77, 8_000_010)


def test_vxlan_carries_a_vni_where_mpls_has_a_label(world):
    key, label = mac(5, vni=70_000, address=HOST)
    world.bgp.announce("peer1", AF.E_VPN, attributes(1, encapsulation=VXLAN), [(key, label)])
    [path] = paths(world, RED, evpn(EvpnMac(0, 5, HOST)))
    assert (path.label, path.encapsulations, path.mac) == (70_000, ("vxlan",), 5)
    key, label = mac(6, vni=300 << 4 | 1)
    world.bgp.announce("peer1", AF.E_VPN, attributes(1), [(key, label)])
    [path] = paths(world, RED, evpn(EvpnMac(0, 6)))
    assert path.label == 300


def test_the_tag_is_the_vni_where_there_is_one(world):
    route = MacRoute(RD, 4000, 5, HOST, 0)
    base = attributes(1, encapsulation=VXLAN)
    world.bgp.announce("peer1", AF.E_VPN, base, [encode_route(AF.E_VPN, route)])
    [path] = paths(world, RED, evpn(EvpnMac(4000, 5, HOST)))
    assert path.label == 4000


def test_a_prefix_by_evpn_has_the_routers_mac(world):
    route = EvpnPrefixRoute(RD, 0, Prefix.parse("10.9.0.0/16"), 5000)
    base = attributes(1, encapsulation=VXLAN)
    said = base.__class__(
        next_hop=base.next_hop,
        extended_communities=(*base.extended_communities, encode_router_mac(0xAB)),
    )
    world.bgp.announce("peer1", AF.E_VPN, said, [encode_route(AF.E_VPN, route)])
    [path] = paths(world, RED, evpn(EvpnPrefix(0, Prefix.parse("10.9.0.0/16"))))
    assert (path.label, path.mac) == (5000, 0xAB)


def test_flooding_is_announced_with_its_tunnel(world):
    key = evpn(EvpnInclusive(RD, 0, Prefix.host(0xAC1E0001)))
    world.rib.publish(key, PATH)
    world.drain()
    [(sent, _)] = world.heard["peer1"][AF.E_VPN].values()
    assert sent.pmsi_tunnel == PmsiTunnel(0, 6, 17 << 4 | 1, bytes.fromhex("ac1e0001"))


def test_ipv6_next_hops_cannot_be_used(world):
    base = attributes(1)
    said = base.__class__(
        next_hop=base.next_hop._replace(version=6),
        extended_communities=base.extended_communities,
    )
    world.bgp.announce("peer1", AF.INET_VPN, said, [vpn("10.1.1.3/32")])
    world.drain()
    [candidate] = world.rib.why(RED, KEY).candidates
    assert candidate.reason == "not usable: its next hop is IPv6, and tunnels here are IPv4"


def test_members_draw_routes_and_their_leaving_stops_it(world):
    world.up(client(2), frozenset({AF.ROUTE_TARGET, AF.INET_VPN}))
    asked = world.heard["peer2"][AF.ROUTE_TARGET]
    world.drain()
    assert asked == {}, "an instance without a member here draws nothing"
    world.rib.join(RED)
    world.rib.join(RED)
    world.drain()
    assert set(asked) == {membership(1)[0]}
    world.rib.put_instance(instance(RED, [1, 2], [1], 7))
    world.rib.join(BLUE)
    world.drain()
    assert set(asked) == {membership(1)[0], membership(2)[0]}
    world.rib.leave(BLUE)
    world.rib.put_instance(instance(RED, [1], [1], 7))
    world.drain()
    assert set(asked) == {membership(1)[0]}
    world.rib.leave(RED)
    world.drain()
    assert set(asked) == {membership(1)[0]}
    world.rib.leave(RED)
    world.drain()
    assert asked == {}


def test_an_instance_may_have_members_before_it_exists(world):
    world.up(client(2), frozenset({AF.ROUTE_TARGET}))
    world.rib.join("d:p:green:green")
    world.drain()
    world.rib.put_instance(instance("d:p:green:green", [3], [3]))
    world.drain()
    assert set(world.heard["peer2"][AF.ROUTE_TARGET]) == {membership(3)[0]}
    world.rib.forget_instance("d:p:green:green")
    world.drain()
    assert world.heard["peer2"][AF.ROUTE_TARGET] == {}


def test_why_says_who_imports_and_why_nobody(world):
    key, label = vpn("10.1.1.3/32")
    world.bgp.announce("peer1", AF.INET_VPN, attributes(1), [(key, label)])
    world.drain()
    explained = world.bgp.why(AF.INET_VPN, key)
    assert explained.text == "10.255.0.9:1:10.1.1.3/32"
    assert explained.imports == ((RED, "target:64512:1"),)
    world.bgp.announce("peer1", AF.INET_VPN, attributes(9), [(key, label)])
    explained = world.bgp.why(AF.INET_VPN, key)
    assert explained.not_imported == "no routing instance here imports target:64512:9"
    world.bgp.announce("peer1", AF.INET_VPN, attributes(), [(key, label)])
    assert world.bgp.why(AF.INET_VPN, key).not_imported == "it has no route target"


@pytest.mark.parametrize(
    ("preference", "med"), [(100, 200), (200, 100), (300, (1 << 32) - 301), (0, (1 << 32) - 1)]
)
def test_med_mirrors_the_preference(preference, med):
    assert default_med(preference) == med


EVPN_KEYS = [
    EvpnMac(9, 5, HOST),
    EvpnMac(0, 5, HOST6),
    EvpnMac(0, 5),
    EvpnPrefix(0, Prefix.parse("10.9.0.0/16")),
    EvpnPrefix(0, HOST6),
    EvpnInclusive(RD, 7, HOST),
    EvpnSegment(RD, bytes(range(10)), 4),
    EvpnEthernetSegment(RD, bytes(range(10)), HOST),
    EvpnMulticast(RD, 0, None, Prefix.parse("225.0.0.1"), HOST),
    EvpnMulticast(RD, 0, HOST, Prefix.parse("225.0.0.1"), HOST),
]
KEYS = [
    KEY,
    unicast(HOST6),
    *map(evpn, EVPN_KEYS),
    ermvpn(ErmRoute(1, RD, 3, (1 << 32) - 1)),
]


@given(
    st.sampled_from(KEYS),
    st.integers(16, (1 << 20) - 1),
    st.sampled_from([("udp",), ("gre",), ("vxlan",), ("udp", "gre")]),
    st.sampled_from([(), (5, 8_000_002)]),
    st.sampled_from([None, ("l3-source-address",), ("l4-protocol", "source-bias")]),
    st.booleans(),
)
@settings(max_examples=60)
def test_what_is_exported_comes_back(key, label, encapsulations, groups, balance, sticky):
    path = Path(
        "host1", RED, 0xAC1E0001, label, "", encapsulations, instance_id=1, mac=0xAB,
        security_groups=groups, tags=groups, load_balance=balance, is_sticky=sticky,
        sequence=3, local_preference=100,
    )  # fmt: skip
    exported = export(key, path, frozenset({target(1)}), 64512, 7)
    assert instance_key(exported.family, exported.key) == key
    world = World()
    world.up(client(1, PeerKind.INTERNAL))
    world.bgp.announce(
        "peer1", exported.family, exported.attributes, [(exported.key, exported.label)]
    )
    table = world.bgp.tables[exported.family]
    bundle = table.best(exported.key)
    back = import_path(exported.family, exported.key, exported.label, bundle, 64512)
    for field in ("next_hop", "security_groups", "tags", "load_balance", "is_sticky", "sequence",
                  "local_preference"):  # fmt: skip
        assert getattr(back, field) == getattr(path, field), field
    assert set(back.encapsulations) == set(encapsulations)
    assert back.distinguisher == path.distinguisher
    if not isinstance(key.nlri, EvpnEthernetSegment | EvpnMulticast | ErmRoute):
        assert (back.vni if "vxlan" in encapsulations and isinstance(key.nlri, Prefix)
                else back.label) in (label, getattr(key.nlri, "tag", 0))  # fmt: skip
    assert back.origin_network == 7
