"""A control node with a router of others: its session as people see and change it, and restarts."""

import json
import signal
import sys
import xml.etree.ElementTree as ET

import msgspec
import pytest

from filament.base.net import format_ipv4
from filament.cli.main import run as cli
from filament.testing.lab.lab import CONTROL_NAME
from filament.testing.lab.scenario import build_scenario
from filament.testing.peers.frr import configure
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Neighbour, PeerSettings, Vrf

from .logs import shown
from .waiting import until

pytestmark = pytest.mark.interop

ASN = 64512
FAMILIES = ("route-target", "inet-vpn", "e-vpn")
PASSWORD = "of-the-session"
RESTART_TIME_S = 120  # longer than anything here takes on a slow machine
LLGR_STALE = "65535:6"


@pytest.fixture(scope="module")
def lab(run_directory):
    with shown(run_directory):
        lab = build_scenario(run_directory, print)
        yield lab
        lab.close()


@pytest.fixture(scope="module")
def target(lab):
    """The own one of red."""
    client = lab.intent.client
    red = client.uuid_of("virtual-network", ["default-domain", "demo", "red"])
    [instance] = client.get("virtual-network", red)["routing_instances"]
    found = client.get("routing-instance", instance["uuid"])
    return found["route_target_refs"][0]["to"][0]


@pytest.fixture(scope="module")
def gobgp(lab, target):
    number = lab.add_router("gw").address
    address, control = format_ipv4(number), format_ipv4(lab.plan.control_address)
    auth = {"key_type": "md5", "key_items": [{"key_id": 0, "key": PASSWORD}]}
    lab.intent.create_bgp_router(
        CONTROL_NAME, lab.plan.control_address, ASN, FAMILIES, router_type="control-node"
    )
    lab.intent.create_bgp_router("gw", number, ASN, FAMILIES, vendor="gobgp", auth_data=auth)
    settings = PeerSettings(
        name="gw",
        address=address,
        asn=ASN,
        neighbours=(
            Neighbour(
                address=control,
                asn=ASN,
                families=FAMILIES,
                password=PASSWORD,
                restart_time_s=RESTART_TIME_S,
            ),
        ),
        vrfs=(Vrf(name="red", rd=f"{address}:5", targets=(target,), label=205),),
        encapsulations=("udp",),
    )
    directory = lab.directories.run / "gobgp"
    with GoBgp(settings, lab.directories.namespace("gw"), directory) as peer:
        peer.wait_established()
        yield peer


def route_of(gobgp, prefix):
    address = gobgp.settings.address
    return PeerRoute(
        family="inet-vpn",
        prefix=prefix,
        rd=f"{address}:5",
        label=205,
        targets=frozenset(gobgp.settings.vrfs[0].targets),
        next_hop=address,
    )


def neighbour(lab):
    [row] = lab.ask("control", "/filament/bgp-neighbors")["neighbors"]
    return row


class Asked:
    """What `filament show` prints about the lab."""

    def __init__(self, lab, capsys):
        self._run = str(lab.directories.run)
        self._capsys = capsys

    def show(self, *words):
        assert cli(["--run-dir", self._run, "show", *words]) == 0
        return self._capsys.readouterr().out

    def next_hops(self, prefix):
        """Of the route on both hosts; [] when neither has it."""
        cli(["--run-dir", self._run, "show", "route", prefix, "--vrf", "red", "--json"])
        return [row["next_hop"] for row in json.loads(self._capsys.readouterr().out)]


@pytest.fixture
def asked(lab, capsys):
    return Asked(lab, capsys)


@pytest.fixture
def routed(gobgp, asked):
    """A route of the router that both hosts have."""
    route = route_of(gobgp, "192.0.2.0/24")
    gobgp.announce(route)
    address = gobgp.settings.address
    until(lambda: asked.next_hops(route.prefix) == [address, address], "on both hosts")
    yield route
    gobgp.withdraw(route)
    until(lambda: asked.next_hops(route.prefix) == [], "withdrawn")


def test_sessions_are_shown(lab, gobgp, asked):
    until(lambda: all(each["ended"] for each in neighbour(lab)["families"]), "each End-of-RIB")
    [row] = json.loads(asked.show("bgp", "neighbors", "--json"))
    assert (row["name"], row["state"], row["peer_as"]) == ("gw", "Established", ASN)
    assert row["has_password"]
    assert [each["family"] for each in row["families"] if each["agreed"]] == list(FAMILIES)
    lines = asked.show("bgp", "neighbors").splitlines()
    assert "Established" in lines[1]
    details = asked.show("bgp", "neighbor", "gw")
    assert "64512 (internal); ours is 64512" in details
    assert "inet-vpn: 0 of at most 1000000 routes, complete" in details
    history = asked.show("bgp", "neighbor", "gw", "--history")
    assert "Established" in history
    assert "End-of-RIB inet-vpn" in history


def introspect(lab, target):
    script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:8083/Snh_{target}"
    done = lab.run("ctl", [sys.executable, "-c", script, url])
    assert done.returncode == 0, done.stderr
    return ET.fromstring(done.stdout.strip())


def test_a_routers_route_and_whom_it_is_told_are_explained(lab, gobgp, asked, routed):
    address = gobgp.settings.address
    text = asked.show("route", "192.0.2.7", "--vrf", "red", "--why")
    assert f"gw (BGP): via {address}, label 205" in text
    assert "it is the network's own target" in text
    assert "not sent to gw: split horizon: it came from this peer" in text
    assert "sent to host1, host2" in text
    assert "sent to gw" in asked.show("route", "10.1.1.3", "--vrf", "red", "--why")
    rows = json.loads(asked.show("bgp", "routes", routed.prefix, "--json"))
    assert {row["table"] for row in rows} >= {"bgp.l3vpn.0"}
    [row] = introspect(lab, "BgpNeighborReq?search_string=gw").iter("BgpNeighborResp")
    read = ("peer", "peer_address", "encoding", "peer_type", "state", "send_state")
    assert [row.find(one).text for one in read] == [
        *("gw", address, "BGP", "internal", "Established", "in sync")
    ]
    root = introspect(lab, "ShowRouteReq?routing_table=bgp.l3vpn.0&protocol=BGP")
    [path] = root.iter("ShowRoutePath")
    assert (path.find("source").text, path.find("label").text) == (address, "205")


def test_a_change_of_configuration_ends_and_renews_the_session(lab, gobgp):
    lab.intent.set_bgp_router("gw", admin_down=True)
    until(lambda: list(gobgp.sessions().values()) != ["established"], "down")
    row = neighbour(lab)
    assert (row["state"], row["reason"]) == ("Idle", "admin_down is set for gw")
    lab.intent.set_bgp_router("gw", admin_down=None)
    gobgp.wait_established()


# restarts ------------------------------------------------------------------------------------


def in_another_session(lab, gobgp, change):
    """Make a change that ends the session, and wait for the next one at both ends."""
    before = neighbour(lab)["since"]
    change()

    def is_another():
        row = neighbour(lab)
        return row["state"] == "Established" and row["since"] > before

    until(is_another, "another session")
    gobgp.wait_established()


class Restarts:
    """How long both ends keep what the other told, and the way from any such state to another."""

    def __init__(self, lab, gobgp):
        self._lab, self._gobgp = lab, gobgp
        self._now = None

    def set(self, restart_time_s, long_lived_time_s=0):
        wanted = {"restart_time_s": restart_time_s, "long_lived_time_s": long_lived_time_s}
        if self._now == wanted:
            return
        lab, gobgp, self._now = self._lab, self._gobgp, wanted
        (before,) = gobgp.settings.neighbours
        session = msgspec.structs.replace(before, **wanted)
        if session == before:
            in_another_session(lab, gobgp, lambda: lab.intent.set_graceful_restart(**wanted))
            return
        gobgp.settings = msgspec.structs.replace(gobgp.settings, neighbours=(session,))
        gobgp.has_restarted = False
        gobgp.stop()
        until(lambda: neighbour(lab)["state"] != "Established", "gobgp has ended")
        lab.intent.set_graceful_restart(**wanted)
        gobgp.start()
        gobgp.wait_established()


@pytest.fixture(scope="module")
def restarts(lab, gobgp):
    return Restarts(lab, gobgp)


@pytest.fixture
def graceful(restarts):
    """Sessions are kept over restarts."""
    restarts.set(RESTART_TIME_S)


@pytest.fixture
def long_lived(restarts):
    """Sessions are kept for longer than restarts take."""
    restarts.set(1, 600)


def workloads(gobgp):
    """The workloads' routes on the router, by prefix."""
    return {
        route.prefix: route
        for route in gobgp.received("inet-vpn")
        if route.prefix in ("10.1.1.3/32", "10.1.1.4/32")
    }


def wait_workloads(gobgp, holds, what):
    """Wait until `holds` is true of both workloads' routes, which must be there meanwhile."""

    def is_so():
        found = workloads(gobgp)
        assert len(found) == 2, f"a route was forgotten meanwhile, there is {sorted(found)}"
        return all(holds(route) for route in found.values())

    until(is_so, what)


def test_a_router_keeps_the_routes_of_a_control_node_that_restarts(lab, gobgp, graceful):
    until(lambda: len(workloads(gobgp)) == 2, "both workloads")
    lab.kill("control")
    wait_workloads(gobgp, lambda route: route.is_stale, "stale")
    lab.restart("control")
    wait_workloads(gobgp, lambda route: not route.is_stale, "fresh again")


def crash(lab, gobgp):
    gobgp.stop(signal.SIGKILL)
    until(lambda: neighbour(lab)["state"] != "Established", "noticed")


def come_back(gobgp, kept):
    """Start it again, with routes it announces before its session is there."""
    gobgp.has_restarted = True
    configure(gobgp.place, ["link set eth0 down"])
    gobgp.start()
    for route in kept:
        gobgp.announce(route)
    configure(gobgp.place, ["link set eth0 up"])
    gobgp.wait_established()


@pytest.fixture
def two_routes(gobgp, asked):
    """Two routes of the router that both hosts have, and the next hops of one."""
    address = gobgp.settings.address
    routes = [route_of(gobgp, prefix) for prefix in ("192.0.2.0/24", "198.51.100.0/24")]
    for route in routes:
        gobgp.announce(route)
    for route in routes:
        until(lambda: asked.next_hops(route.prefix) == [address, address], "on both hosts")  # noqa: B023
    yield routes
    gobgp.withdraw(routes[0])
    until(lambda: asked.next_hops(routes[0].prefix) == [], "withdrawn")


def require_kept(asked, gobgp, routes):
    address = gobgp.settings.address
    for route in routes:
        assert asked.next_hops(route.prefix) == [address, address]


def test_a_control_node_keeps_the_routes_of_a_router_that_restarts(
    lab, gobgp, graceful, two_routes, asked
):
    kept, lost = two_routes
    crash(lab, gobgp)
    require_kept(asked, gobgp, two_routes)
    details = asked.show("bgp", "neighbor", "gw")
    assert "inet-vpn: 2 of at most 1000000 routes, 2 stale (graceful restart, swept in" in details
    come_back(gobgp, [kept])
    until(
        lambda: asked.next_hops(lost.prefix) == [],
        "what was not announced again goes with its End-of-RIB",
    )
    require_kept(asked, gobgp, [kept])


def test_a_control_node_keeps_them_for_long_after_the_restart_time(
    lab, gobgp, long_lived, two_routes, asked
):
    kept, lost = two_routes
    crash(lab, gobgp)
    line = "2 stale (long-lived stale, swept in"
    until(lambda: line in asked.show("bgp", "neighbor", "gw"), "the restart time is over")
    require_kept(asked, gobgp, two_routes)
    rows = json.loads(asked.show("bgp", "routes", kept.prefix, "--json"))
    assert any("llgr-stale" in str(row) for row in rows)
    come_back(gobgp, [kept])
    until(lambda: asked.next_hops(lost.prefix) == [], "swept")
    require_kept(asked, gobgp, [kept])


def test_a_router_keeps_them_for_long_after_the_restart_time(lab, gobgp, long_lived):
    until(lambda: len(workloads(gobgp)) == 2, "both workloads")
    lab.kill("control")
    wait_workloads(gobgp, lambda route: LLGR_STALE in route.communities, "long-lived")
    lab.restart("control")
    wait_workloads(
        gobgp, lambda route: not route.is_stale and LLGR_STALE not in route.communities, "fresh"
    )
