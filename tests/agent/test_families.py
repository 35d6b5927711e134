"""What an agent publishes and uses beyond IPv4: IPv6, MAC addresses, floods, several ways."""

import msgspec

from filament.agent.announce import published_routes
from filament.agent.collect import Collected, collect, order_of
from filament.agent.usable import usable_of, why_unusable
from filament.agent.view import SavedView, View
from filament.base.net import Prefix
from filament.base.origin import Origin
from filament.forward.inputs import Abilities, Flood, Hop, MacRoute, Port, Route, Vrf
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    MacKey,
    NextHop,
    RouteItem,
    RoutesSent,
    Sync,
    TableFamily,
)

HERE, THERE, ELSEWHERE = 0xAC1E0001, 0xAC1E0002, 0xAC1E0003
MAC = 0x020000000003
ALL = Abilities(frozenset({"udp", "gre", "vxlan"}), frozenset({4, 6}))
MPLS_ONLY = Abilities(frozenset({"udp"}), frozenset({4}))
V4, V6 = Prefix.parse("10.1.1.3/32"), Prefix.parse("fd00::3/128")
RED = Vrf("red:red", "red", vni=5, origin=Origin("virtual-network red", "vrf", 4))


def port(uuid="u1", vrf="red:red", v4=(V4.address,), v6=()):
    return Port(uuid, "p", "tap0", 7, True, MAC, v4, vrf, "red", None, addresses6=v6)


def published(vrfs, ports, labels, encapsulations):
    found = published_routes(HERE, vrfs, ports, labels, encapsulations)
    return {
        (route.instance, str(route.destination)): (
            route.next_hop.label,
            route.next_hop.encapsulations,
        )
        for route in found
    }


def test_ports_publish_addresses_by_mpls_and_macs_by_vxlan_where_that_comes_first():
    both = port(v6=(V6.address,))
    assert published([RED], [both], {"u1": 17}, ("vxlan", "udp")) == {
        ("red:red", "10.1.1.3/32"): (17, ("udp",)),
        ("red:red", "fd00::3/128"): (17, ("udp",)),
        ("red:red", str(MacKey(MAC, V4))): (5, ("vxlan",)),
        ("red:red", str(MacKey(MAC, V6))): (5, ("vxlan",)),
        ("red:red", str(MacKey(BROADCAST_MAC, Prefix(0, 32), 5))): (5, ("vxlan",)),
    }


def test_macs_go_by_mpls_where_that_comes_first_and_there_are_labels():
    assert published([RED], [port()], {"u1": 17}, ("udp", "vxlan")) == {
        ("red:red", "10.1.1.3/32"): (17, ("udp",))
    }
    labels = {"u1": 17, "bridge u1": 18, "flood red:red": 19}
    assert published([RED], [port()], labels, ("udp", "gre", "vxlan")) == {
        ("red:red", "10.1.1.3/32"): (17, ("udp", "gre")),
        ("red:red", str(MacKey(MAC, V4))): (18, ("udp", "gre")),
        ("red:red", str(MacKey(BROADCAST_MAC, Prefix(0, 32)))): (19, ("udp", "gre")),
    }


def test_the_forwarding_mode_says_what_is_published():
    l3 = msgspec.structs.replace(RED, is_layer2=False)
    l2 = msgspec.structs.replace(RED, is_layer3=False)
    assert list(published([l3], [port()], {"u1": 17}, ("vxlan", "udp"))) == [
        ("red:red", "10.1.1.3/32")
    ]
    assert list(published([l2], [port(v4=())], {"u1": 17}, ("vxlan",))) == [
        ("red:red", str(MacKey(MAC))),
        ("red:red", str(MacKey(BROADCAST_MAC, Prefix(0, 32), 5))),
    ]


def test_two_ports_of_an_instance_flood_once():
    ports = [port("u1"), port("u2", v4=(V4.address + 1,))]
    found = list(published_routes(HERE, [RED], ports, {"u1": 1, "u2": 2}, ("vxlan", "udp")))
    floods = [one for one in found if getattr(one.destination, "mac", 0) == BROADCAST_MAC]
    assert [(one.local_preference, one.origin) for one in floods] == [
        (100, Origin("virtual-network red", "flood", 4))
    ]


def item(destination, *hops, **more):
    return RouteItem(destination, hops, "red", **({"local_preference": 200} | more))


def test_ways_that_cannot_be_used_are_left_out_and_the_rest_are_in_order():
    ways = (
        NextHop(ELSEWHERE, 30, "red", ("gre", "udp")),
        NextHop(THERE, 5, "red", ("vxlan",), mac=9),
        NextHop(THERE, 20, "red", ("nvgre",)),
    )
    route = item(V4, *ways, security_groups=(8,))
    assert usable_of("r", route, HERE, ALL) == Route(
        "r", V4, THERE, 5, "red", encapsulation="vxlan",
        others=(Hop(ELSEWHERE, 30, "udp"),), security_groups=(8,),
    )  # fmt: skip
    assert usable_of("r", route, HERE, MPLS_ONLY) == Route(
        "r", V4, ELSEWHERE, 30, "red", security_groups=(8,)
    )
    here = item(V4, *ways, NextHop(HERE, 9))
    assert usable_of("r", here, HERE, ALL).next_hop == HERE
    assert usable_of("r", item(V4, ways[2]), HERE, ALL) is None
    assert why_unusable(item(V4, ways[2]), ALL) == (
        "no next hop accepts MPLS over UDP or MPLS over GRE or VXLAN (offered: nvgre)"
    )
    assert why_unusable(item(V4, ways[1]), MPLS_ONLY) == (
        "no next hop accepts MPLS over UDP (offered: vxlan)"
    )
    assert why_unusable(route, MPLS_ONLY) == ""


def test_mac_routes_prefixes_behind_routers_and_floods():
    way = NextHop(THERE, 5, "red", ("vxlan",), mac=0x0A)
    key = MacKey(MAC, V4)
    assert usable_of("r", item(key, way), HERE, ALL) == MacRoute(
        "r", MAC, (Hop(THERE, 5, "vxlan", 0x0A),), "red", V4
    )
    assert usable_of("r", item(MacKey(MAC), way), HERE, ALL).address is None
    assert usable_of("r", item(key, NextHop(HERE, 5, "red", ("vxlan",))), HERE, ALL) is None
    net = Prefix.parse("10.9.0.0/16")
    routed = usable_of("r", item(MacKey(0, net), way), HERE, ALL)
    assert (routed.prefix, routed.encapsulation, routed.router_mac) == (net, "vxlan", 0x0A)
    flood = RouteItem(
        MacKey(BROADCAST_MAC, Prefix(0, 32)),
        flood=(NextHop(HERE, 5, "", ("vxlan",)), NextHop(THERE, 6, "", ("vxlan",))),
    )
    assert usable_of("r", flood, HERE, ALL) == (Flood("r", Hop(THERE, 6, "vxlan")),)
    assert why_unusable(flood, MPLS_ONLY) == "no next hop accepts MPLS over UDP (offered: vxlan)"


def view(*items, retracted=(), family=TableFamily.INET):
    one = View(HERE, None, ALL)
    one.begin_session()
    one.receive(RoutesSent("r", items, retracted, family))
    one.complete(Sync(1, 1, True), is_whole=True)
    return one


def test_the_same_routes_from_two_control_nodes_are_one():
    way = NextHop(THERE, 5, "red", ("udp",))
    mac, everybody = MacKey(MAC, V4), MacKey(BROADCAST_MAC, Prefix(0, 32))
    items = (
        item(V4, way), item(V6, way), item(mac, way), RouteItem(everybody, flood=(way,)),
        item(MacKey(0, V4), NextHop(ELSEWHERE, 7, "red", ("vxlan",))),
    )  # fmt: skip
    one, two = view(*items), view(*items)
    both = collect({"r"}, [one, two])
    assert both == collect({"r"}, [one]) == collect({"r"}, [two])
    assert [(str(each.prefix), each.next_hop) for each in both.routes] == [
        ("10.1.1.3/32", THERE), ("fd00::3/128", THERE),
        ("10.1.1.3/32", ELSEWHERE),  # type 5 comes after the same prefix of the IP table
    ]  # fmt: skip
    assert len(both.macs) == len(both.floods) == 1
    # What only one of them has counts, and the better of two.
    better = view(item(V4, NextHop(ELSEWHERE, 8, "red"), local_preference=201))
    [first] = [each for each in collect({"r"}, [one, better]).routes if each.prefix == V4][:1]
    assert first.next_hop == ELSEWHERE
    assert collect({"other"}, [one, two]) == Collected()
    assert sorted([mac, V6, V4], key=order_of) == [V4, V6, mac]


def test_views_of_all_families_survive_the_disk():
    way = NextHop(THERE, 5, "red", ("vxlan",), tags=(1,))
    one = view(item(V4, way), item(V6, way), item(MacKey(MAC, V6, 7), way, med=3))
    saved = msgspec.json.decode(msgspec.json.encode(one.save("ctl1")), type=SavedView)
    again = View(HERE, saved, ALL)
    assert collect({"r"}, [again]) == collect({"r"}, [one])
    assert again.save("ctl1") == one.save("ctl1")


def test_what_a_new_session_tells_again_as_it_was_changes_nothing():
    """Ten thousand routes need not be planned again because a control node was restarted."""
    way = NextHop(THERE, 5, "red", ("udp",))
    one = view(item(V4, way), item(V6, way))
    before, routes = one.route_changes, collect({"r"}, [one])
    one.begin_session()
    one.receive(RoutesSent("r", (item(V4, way), item(V6, way)), (), TableFamily.INET))
    one.complete(Sync(1, 1, True), is_whole=True)
    assert one.route_changes == before
    assert collect({"r"}, [one]) == routes
    one.begin_session()
    one.receive(RoutesSent("r", (item(V4, way),), (), TableFamily.INET))
    one.complete(Sync(1, 1, True), is_whole=True)
    assert one.route_changes == before + 1
    assert [each.prefix for each in collect({"r"}, [one]).routes] == [V4]
