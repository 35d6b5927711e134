"""Filament among real routers: what each of them learns of a workload, and packets both ways."""

import contextlib
import re
import signal
import subprocess

import pytest

from filament.base.net import Prefix
from filament.testing.lab import namespaces
from filament.testing.lab.dual import add_ipv6
from filament.testing.lab.lab import CONTROL_NAME
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.router import Router

from .filament_world import ASN, ASNS, BLUE, L3_VNI, LABELS, MACS, RED, FilamentWorld
from .logs import shown
from .packets import ping
from .waiting import Stopwatch, promptly, until

pytestmark = pytest.mark.interop

NAMES = tuple(ASNS)
# Peers whose VPN routes lead somewhere, and the number of the network behind each.
ROUTERS = {"gobgp": 201, "frr": 202, "edge": 203}
MPLS_FIRST = ("MPLSoUDP", "MPLSoGRE", "VXLAN")
VXLAN_FIRST = ("VXLAN", "MPLSoUDP", "MPLSoGRE")
ADDRESSES6 = {
    "red": {"red-1": "2001:db8:1::3", "red-2": "2001:db8:1::4"},
    "blue": {"blue-1": "2001:db8:2::3", "blue-2": "2001:db8:2::4"},
}


@pytest.fixture(scope="module")
def world(run_directory):
    """Whatever the tests did, tshark must find nothing wrong with what was said."""
    with shown(run_directory), contextlib.ExitStack() as stack:
        made = FilamentWorld(run_directory, stack)
        yield made
        made.capture.stop()
        made.capture.require_clean()


@pytest.fixture(autouse=True)
def preferred(world, request):
    """The encapsulations that a test asks for, whatever the one before it had."""
    world.prefer(VXLAN_FIRST if "vxlan_first" in request.fixturenames else MPLS_FIRST)


@pytest.fixture(scope="module")
def routers(world):
    """The stand-ins of every peer with a VRF red, and a host behind each."""
    made = {}
    try:
        for name, number in ROUTERS.items():
            peer = world.peers[name]
            # FRR's kernel has VXLAN of its own.
            vrfs = peer.settings.vrfs if name == "gobgp" else peer.settings.vrfs[:1]
            router = Router(peer, vrfs=vrfs, mac=MACS[name])
            router.make_vrfs()
            place = router.add_outside("red", f"10.{number}.0.1/24", f"10.{number}.0.9/24")
            router.add_addresses("red", f"fd00:{number}::1/64", f"fd00:{number}::9/64")
            router.start()
            made[name] = (router, place)
        yield made
    finally:
        for router, _ in made.values():
            router.stop()


@pytest.mark.parametrize("name", NAMES)
def test_a_workloads_route_is_on_every_peer(world, name):
    heard = world.peers[name].wait_received("inet-vpn", prefix=world.route_of("red-1"))
    assert heard.rd.startswith(f"{world.host_of('red-1')}:")
    assert heard.next_hop == world.host_of("red-1")
    assert RED in heard.targets
    assert len(heard.targets) == 2  # and the network's own
    assert "udp" in heard.encapsulations
    assert heard.label >= 16
    assert heard.as_path == (() if ASNS[name] == ASN else (ASN,))


def test_every_peer_is_told_the_same(world):
    said = {
        (heard.rd, heard.label, heard.next_hop, heard.targets, heard.encapsulations)
        for name in NAMES
        for heard in [world.peers[name].wait_received("inet-vpn", prefix=world.route_of("blue-2"))]
    }
    assert len(said) == 1


def network_of(name):
    return f"10.{ROUTERS[name]}.0.0/24"


@pytest.mark.parametrize("name", ROUTERS)
def test_packets_to_and_from_behind_a_router(world, routers, name):
    """A peer's route leads into the workload's VRF, and the workload's to the peer's."""
    peer, (router, outside) = world.peers[name], routers[name]
    address = f"10.{ROUTERS[name]}.0.9"
    if name == "gobgp":
        peer.announce(world.peer_route(name, network_of(name)))
    peer.wait_received("inet-vpn", prefix=world.route_of("red-1"))
    peer.wait_received("inet-vpn", prefix=world.route_of("red-2"))
    router.follow()
    wait_reached(world, "red-1", address)
    assert world.pings("red-1", address)
    assert world.pings("red-2", address)
    assert not world.pings("blue-1", address)
    assert ping(outside, world.route_of("red-1").partition("/")[0])


@pytest.fixture(scope="module")
def dual(world):
    """Networks with an IPv6 subnet each, and addresses of it on all workloads."""
    for network, addresses in ADDRESSES6.items():
        first = next(iter(addresses.values()))
        add_ipv6(world.lab, network, Prefix.parse(f"{first.rpartition('::')[0]}::/64"), addresses)


@pytest.mark.parametrize("name", NAMES)
def test_a_workloads_ipv6_route_is_on_every_peer(world, dual, name):
    """The tunnel's end is IPv4, so the next hop is a mapped address (RFC 4659 section 3.2.1)."""
    prefix = f"{ADDRESSES6['red']['red-1']}/128"
    heard = world.peers[name].wait_received("inet6-vpn", prefix=prefix)
    assert heard.rd.startswith(f"{world.host_of('red-1')}:")
    assert heard.next_hop == world.host_of("red-1")
    assert RED in heard.targets
    assert "udp" in heard.encapsulations
    assert heard.label >= 16


@pytest.mark.parametrize("name", ROUTERS)
def test_ipv6_packets_to_and_from_behind_a_router(world, routers, dual, name):
    """The same by inet6-vpn: MPLS over UDP to the router's label, and to the workload's."""
    peer, (router, outside) = world.peers[name], routers[name]
    number, addresses = ROUTERS[name], ADDRESSES6["red"]
    address = f"fd00:{number}::9"
    if name == "gobgp":
        peer.announce(world.peer_route(name, f"fd00:{number}::/64"))
    for each in addresses.values():
        peer.wait_received("inet6-vpn", prefix=f"{each}/128")
    router.follow()
    wait_reached(world, "red-1", address)
    before = router.refresh_counts()
    assert world.pings("red-1", address)
    assert world.pings("red-2", address)
    assert not world.pings("blue-1", address)
    assert ping(outside, addresses["red-1"])
    after = router.refresh_counts()
    assert after["udp in"] - before["udp in"] >= 9
    assert after["udp out"] - before["udp out"] >= 9
    if name == "gobgp":
        peer.withdraw(world.peer_route(name, f"fd00:{number}::/64"))
        until(lambda: not world.pings("red-1", address, 1), "the way is gone")


def wait_reached(world, source, address):
    until(lambda: world.pings(source, address, 1), f"{source} reaches {address}")


def test_a_withdrawn_route_is_gone_within_two_seconds(world, routers):
    route = world.peer_route("gobgp", "10.211.0.0/24")

    def attempt():
        world.peers["gobgp"].announce(route)
        wait_routed(world, route.prefix)
        clock = Stopwatch()
        world.peers["gobgp"].withdraw(route)
        wait_routed(world, route.prefix, present=False)
        return clock()

    promptly(attempt)


def routes_of(world, host="host1"):
    return world.lab.ask(f"agent-{host}", "/filament/routes")


def wait_routed(world, prefix, *, present=True):
    until(
        lambda: (prefix in str(routes_of(world))) == present,
        f"{prefix} is {'there' if present else 'gone'}",
    )


def test_a_workload_removed_is_gone_from_every_peer_within_two_seconds(world):
    network = world.intent.find_network(["default-domain", "demo", "red"])

    def attempt():
        world.lab.add_workload("red-9", "host2", network)
        prefix = world.route_of("red-9")
        for peer in world.peers.values():
            peer.wait_received("inet-vpn", prefix=prefix)
        world.lab.remove_workload("red-9")
        clock = Stopwatch()
        for peer in world.peers.values():
            peer.wait_gone("inet-vpn", prefix=prefix)
        return clock()

    promptly(attempt)


def test_what_a_peer_did_not_ask_for_is_not_sent(world):
    """Route-target constraint towards GoBGP; FRR, which does not have it, hears everything."""
    gobgp, frr = world.peers["gobgp"], world.peers["frr"]
    prefix = world.route_of("red-1")
    gobgp.wait_received("inet-vpn", prefix=prefix)
    gobgp.remove_vrf("red")
    gobgp.wait_gone("inet-vpn", prefix=prefix)
    assert frr.find("inet-vpn", prefix=prefix)
    assert gobgp.find("inet-vpn", prefix=world.route_of("blue-1"))
    red = gobgp.settings.vrfs[0]
    gobgp.add_vrf(red.name, red.rd, red.targets)
    gobgp.wait_received("inet-vpn", prefix=prefix)


def test_what_no_network_imports_is_not_drawn(world):
    """Route-target constraint from us: GoBGP sends only what a network with members imports."""
    gobgp = world.peers["gobgp"]
    wanted = "target:64512:777"
    route = world.peer_route("gobgp", "10.212.0.0/24", target=RED, targets=frozenset({wanted}))
    gobgp.announce(route)
    heard = {each.prefix for each in gobgp.received("route-target")}
    assert f"{ASN}:{RED}" in heard
    assert f"{ASN}:{wanted}" not in heard
    assert route.prefix not in gobgp.advertised_prefixes(world.control, "inet-vpn")
    world.intent.set_route_targets("red", [RED, wanted], wait="agents")
    gobgp.wait_received("route-target", prefix=f"{ASN}:{wanted}")
    wait_routed(world, route.prefix)
    world.intent.set_route_targets("red", [RED], wait="agents")
    gobgp.wait_gone("route-target", prefix=f"{ASN}:{wanted}")
    wait_routed(world, route.prefix, present=False)
    gobgp.withdraw(route)


@pytest.mark.parametrize("prefix", ["10.213.0.0/24", "fd00:213::/64"])
def test_an_external_peers_route_goes_on_to_internal_ones(world, prefix):
    family = "inet6-vpn" if ":" in prefix else "inet-vpn"
    route = PeerRoute(
        family=family,
        prefix=prefix,
        rd="65003:1",
        label=99,
        targets=frozenset({RED}),
        encapsulations=frozenset({"udp"}),
        communities=frozenset({"65003:7"}),
        med=17,
    )
    world.peers["exabgp"].announce(route)
    wait_routed(world, prefix)
    for name in ("gobgp", "frr"):
        heard = world.peers[name].wait_received(family, prefix=route.prefix)
        assert (heard.rd, heard.label, heard.targets) == (route.rd, 99, route.targets)
        assert heard.as_path == (65003,)
        assert heard.local_pref == 100
        assert heard.med == 17
        assert heard.next_hop == world.address["exabgp"]
        assert heard.communities == route.communities
    heard = world.peers["edge"].wait_received(family, prefix=route.prefix)
    assert heard.as_path == (ASN, 65003)
    assert heard.med is None
    world.peers["exabgp"].withdraw(route)
    for name in ("gobgp", "frr", "edge"):
        world.peers[name].wait_gone(family, prefix=route.prefix)


def test_an_external_route_through_our_own_as_is_refused(world):
    route = world.peer_route("exabgp", "10.214.0.0/24", as_path=(65003, ASN, 65009))
    world.peers["exabgp"].announce(route)
    sentinel = world.peer_route("exabgp", "10.215.0.0/24")
    world.peers["exabgp"].announce(sentinel)
    world.peers["frr"].wait_received("inet-vpn", prefix=sentinel.prefix)
    assert not world.peers["frr"].find("inet-vpn", prefix=route.prefix)
    for each in (route, sentinel):
        world.peers["exabgp"].withdraw(each)


def test_reflection_begins_and_ends_with_the_cluster_id(world):
    """Between internal peers only a reflector passes routes on (RFC 4456)."""
    gobgp, frr = world.peers["gobgp"], world.peers["frr"]
    route = world.peer_route("gobgp", "10.216.0.0/24")
    gobgp.announce(route)
    wait_routed(world, route.prefix)
    assert not frr.find("inet-vpn", prefix=route.prefix)
    world.intent.set_bgp_router(CONTROL_NAME, cluster_id=0x0A0B0C0D)
    heard = frr.wait_received("inet-vpn", prefix=route.prefix)
    assert heard.originator_id == world.address["gobgp"]
    assert heard.cluster_list == ("10.11.12.13",)
    assert heard.next_hop == world.address["gobgp"]
    assert heard.label == LABELS["gobgp"]
    world.intent.set_bgp_router(CONTROL_NAME, cluster_id=None)
    frr.wait_gone("inet-vpn", prefix=route.prefix)
    gobgp.withdraw(route)
    # Who we are has changed for all of them.
    for peer in world.peers.values():
        peer.wait_established()
        peer.wait_received("inet-vpn", prefix=world.route_of("red-1"))


def test_a_forgotten_peer_is_let_go_and_comes_back(world):
    edge = world.peers["edge"]
    others = [peer for name, peer in world.peers.items() if name != "edge"]
    world.intent.delete_bgp_router("edge")
    edge.wait_for(lambda: set(edge.sessions().values()) != {"established"}, "is let go")
    assert all(set(peer.sessions().values()) == {"established"} for peer in others)
    world.describe("edge", world.lab.plan.routers[NAMES.index("edge")].address)
    edge.wait_established()
    edge.wait_received("inet-vpn", prefix=world.route_of("red-1"))


class RunningPing:
    """An echo every 20 ms, from a workload or from a namespace, and how many were lost."""

    def __init__(self, place, address):
        command = ["ping", "-nq", "-i0.02", "-W1", address]
        with namespaces.inside(place):
            self._ping = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        self._counts = None

    def stop(self):
        if self._counts is None:
            self._ping.send_signal(signal.SIGINT)
            text, _ = self._ping.communicate(timeout=60)
            found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
            self._counts = int(found[1]), int(found[2])
        return self._counts


@pytest.fixture
def pings_behind_frr(world, routers):
    """Echoes both ways between a workload and the host behind FRR."""
    router, outside = routers["frr"]
    router.follow()
    address = f"10.{ROUTERS['frr']}.0.9"
    wait_reached(world, "red-1", address)
    workload = world.route_of("red-1").partition("/")[0]
    pings = [RunningPing(world.lab.place("red-1"), address), RunningPing(outside, workload)]
    yield pings
    for each in pings:
        each.stop()


def test_a_crash_of_the_control_node_costs_no_packet(world, routers, pings_behind_frr):
    """FRR keeps what it learnt while the control node is away (RFC 4724, FRR the helper)."""
    frr, (router, _) = world.peers["frr"], routers["frr"]
    prefix = world.route_of("red-1")
    world.lab.kill("control")
    frr.wait_for(lambda: set(frr.sessions().values()) != {"established"}, "misses the control node")
    assert [route.is_stale for route in frr.find("inet-vpn", prefix=prefix)] == [True]
    router.follow()
    world.lab.restart("control")
    frr.wait_established()
    frr.wait_received("inet-vpn", prefix=prefix, is_stale=False)
    router.follow()
    for peer in world.peers.values():
        peer.wait_established()
        peer.wait_received("inet-vpn", prefix=prefix)
    for sent, received in [each.stop() for each in pings_behind_frr]:
        assert sent > 50
        assert received >= sent - 1  # the last may be on its way


def test_a_crash_of_a_peer_costs_no_packet(world, pings_behind_frr):
    """We keep FRR's routes while its bgpd comes back (RFC 4724, we the helper)."""
    frr = world.peers["frr"]
    prefix = network_of("frr")
    frr.kill("bgpd")
    until(lambda: "stale" in world.shown("bgp", "neighbor", "frr"), "the session has ended")
    assert world.pings("red-1", f"10.{ROUTERS['frr']}.0.9", 5)  # and still
    assert prefix in str(routes_of(world))
    frr.revive("bgpd")
    frr.wait_for(frr.is_ready, "takes commands")
    frr.wait_established()
    frr.wait_received("inet-vpn", prefix=world.route_of("red-1"))
    wait_routed(world, prefix)
    for sent, received in [each.stop() for each in pings_behind_frr]:
        assert sent > 50
        assert received >= sent - 1


@pytest.fixture
def vxlan_first():
    """The cluster prefers VXLAN: what MAC routes are announced by (as in TF). See `preferred`."""


@pytest.mark.parametrize("name", NAMES)
def test_a_workloads_mac_is_on_every_peer(world, vxlan_first, name):
    """EVPN type 2, and type 3 of its host."""
    peer, host = world.peers[name], world.host_of("blue-1")
    heard = peer.wait_received(
        "e-vpn", evpn_type=2, mac=world.mac_of("blue-1"), prefix=world.route_of("blue-1")
    )
    assert heard.rd.startswith(f"{host}:")
    assert (heard.label, heard.next_hop) == (world.vni, host)
    assert heard.encapsulations == {"vxlan"}
    assert BLUE in heard.targets
    heard = peer.wait_received(
        "e-vpn", evpn_type=3, prefix=f"{host}/32", rd=heard.rd, label=world.vni
    )
    assert (heard.tag, heard.next_hop) == (world.vni, host)
    assert heard.encapsulations == {"vxlan"}
    assert BLUE in heard.targets


def test_frr_forwards_by_a_workloads_mac(world, vxlan_first):
    """FRR trusts what it hears enough to put it into its kernel: the MAC, and whom to flood to."""
    frr, device = world.peers["frr"], f"vx{world.vni}"
    for mac, name in ((world.mac_of("blue-1"), "blue-1"), ("00:00:00:00:00:00", "blue-2")):
        line = f"{mac} dst {world.host_of(name)} self"
        frr.wait_for(
            lambda line=line: line in frr.run(["bridge", "fdb", "show", "dev", device]),
            f"forwards {mac} to {name}",
        )


@pytest.mark.parametrize("name", ["frr", "edge"])
def test_a_routers_mac_and_prefix_are_in_the_networks_tables(world, vxlan_first, name):
    """Types 2, 3 and 5 of an FRR, in the network's own table and on another router."""
    peer, other = world.peers[name], world.peers["edge" if name == "frr" else "gobgp"]
    number = ROUTERS[name]
    mac = f"02:00:00:00:00:{number:02x}"
    blue, segment = peer.settings.vrfs[1], peer.settings.segments[0]
    bridged = PeerRoute(family="e-vpn", evpn_type=2, mac=mac, rd=segment.rd)
    routed = PeerRoute(family="e-vpn", evpn_type=5, prefix=f"10.{number}.8.0/24", rd=blue.rd)
    for route in (bridged, routed):
        peer.announce(route)
    heard = other.wait_received("e-vpn", evpn_type=2, mac=mac)
    assert (heard.rd, heard.label) == (segment.rd, world.vni)
    assert heard.next_hop == peer.settings.address
    heard = other.wait_received("e-vpn", evpn_type=3, rd=segment.rd)
    assert (heard.prefix, heard.label) == (f"{peer.settings.address}/32", world.vni)
    heard = other.wait_received("e-vpn", evpn_type=5, prefix=routed.prefix)
    assert (heard.rd, heard.label, heard.router_mac) == (blue.rd, L3_VNI, blue.router_mac)
    assert heard.targets == {BLUE}
    shown = world.shown("bgp", "routes", "--instance", "default-domain:demo:blue:blue")
    assert mac in shown
    assert f"5-0:0-0-{routed.prefix}" in shown
    for route in (bridged, routed):
        peer.withdraw(route)
    other.wait_gone("e-vpn", evpn_type=2, mac=mac)
    other.wait_gone("e-vpn", evpn_type=5, prefix=routed.prefix)


@pytest.mark.parametrize(
    ("gateway", "address"),
    [("10.218.0.1", "10.218.0.9"), ("fd00:218::1", "fd00:218::9")],
    ids=["ipv4", "ipv6"],
)
def test_packets_by_vxlan_to_a_prefix_of_evpn(world, routers, dual, vxlan_first, gateway, address):
    """Type 5 from GoBGP: out by VXLAN to the router's MAC, back by MPLS over UDP."""
    peer, (router, _) = world.peers["gobgp"], routers["gobgp"]
    blue = peer.settings.vrfs[1]
    is_ipv6 = ":" in address
    length = 64 if is_ipv6 else 24
    outside = router.outside("blue")
    router.add_addresses("blue", f"{gateway}/{length}", f"{address}/{length}")
    route = PeerRoute(
        family="e-vpn",
        evpn_type=5,
        prefix=f"{gateway[:-1]}{'' if is_ipv6 else '0'}/{length}",
        rd=blue.rd,
        label=L3_VNI,
        targets=frozenset({BLUE}),
        encapsulations=frozenset({"vxlan"}),
        router_mac=blue.router_mac,
    )
    peer.announce(route)
    own = f"{ADDRESSES6['blue']['blue-1']}/128" if is_ipv6 else world.route_of("blue-1")
    peer.wait_received("inet6-vpn" if is_ipv6 else "inet-vpn", prefix=own)
    router.follow()
    before = router.refresh_counts()
    wait_reached(world, "blue-1", address)
    assert world.pings("blue-1", address)
    assert ping(outside, own.partition("/")[0])
    after = router.refresh_counts()
    assert after["vxlan in"] - before.get("vxlan in", 0) >= 6
    assert after["udp out"] - before.get("udp out", 0) >= 6
    peer.withdraw(route)
