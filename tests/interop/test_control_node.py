"""A control node with a router of others: sessions from configuration, routes both ways."""

import json
import signal
import sys
import time
import xml.etree.ElementTree as ET

import pytest

from filament.base.net import format_ipv4
from filament.cli.main import run as cli
from filament.compiler.peers import FABRIC
from filament.testing.lab.scenario import build_scenario
from filament.testing.peers.gobgp import GoBgp
from filament.testing.peers.route import PeerRoute
from filament.testing.peers.settings import Neighbour, PeerSettings, Vrf

pytestmark = pytest.mark.interop

FAMILIES = ("route-target", "inet-vpn", "e-vpn")
PASSWORD = "of-the-session"


def router_object(lab, name, address, **parameters):
    parameters = {
        "address": address,
        "identifier": address,
        "autonomous_system": 64512,
        "address_families": {"family": list(FAMILIES)},
    } | parameters
    return lab.intent.client.create(
        "bgp-router",
        [*FABRIC, name],
        parent_type="routing-instance",
        bgp_router_parameters=parameters,
    )


def until(condition, text, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {timeout_s} s: {text}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def lab(run_directory):
    lab = build_scenario(run_directory, print)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def target(lab):
    red = lab.intent.client.uuid_of("virtual-network", ["default-domain", "demo", "red"])
    [instance] = lab.intent.client.get("virtual-network", red)["routing_instances"]
    found = lab.intent.client.get("routing-instance", instance["uuid"])
    return found["route_target_refs"][0]["to"][0]


@pytest.fixture(scope="module")
def gobgp(lab, target):
    address = format_ipv4(lab.add_router("gw").address)
    control = format_ipv4(lab.plan.control_address)
    auth = {"key_type": "md5", "key_items": [{"key_id": 0, "key": PASSWORD}]}
    router_object(lab, "ctl1", control, router_type="control-node", vendor="contrail")
    router_object(lab, "gw", address, router_type="router", vendor="gobgp", auth_data=auth)
    settings = PeerSettings(
        name="gw",
        address=address,
        asn=64512,
        neighbours=(
            Neighbour(
                address=control,
                asn=64512,
                families=FAMILIES,
                password=PASSWORD,
                restart_time_s=60,
            ),
        ),
        vrfs=(Vrf(name="red", rd=f"{address}:5", targets=(target,), label=205),),
        encapsulations=("udp",),
    )
    place = lab.directories.namespace("gw")
    with GoBgp(settings, place, lab.directories.run / "gobgp") as peer:
        until(lambda: list(peer.sessions().values()) == ["established"], "established")
        yield peer


def shown(lab, capsys, *arguments):
    assert cli(["--run-dir", str(lab.directories.run), "show", "bgp", *arguments]) == 0
    return capsys.readouterr().out


def test_workloads_are_on_the_router(lab, gobgp, target):
    def found():
        routes = {route.prefix: route for route in gobgp.received("inet-vpn")}
        return routes if {"10.1.1.3/32", "10.1.1.4/32"} <= set(routes) else None

    routes = until(found, "both workloads of red")
    route = routes["10.1.1.3/32"]
    host = format_ipv4(lab.plan.hosts[0].address)
    assert route.rd.startswith(f"{host}:")
    assert route.targets == {target}
    assert route.next_hop == host
    assert route.label > 15
    assert "udp" in route.encapsulations
    assert not any(prefix.startswith("10.1.2.") for prefix in routes)  # blue: nobody asked


def test_the_routers_routes_reach_the_hosts(lab, gobgp, target, capsys):
    address = gobgp.settings.address
    route = PeerRoute(
        family="inet-vpn",
        prefix="192.0.2.0/24",
        rd=f"{address}:5",
        label=205,
        targets=frozenset({target}),
        next_hop=address,
    )
    gobgp.announce(route)

    def seen():
        run = str(lab.directories.run)
        cli(["--run-dir", run, "show", "route", "192.0.2.0/24", "--vrf", "red", "--json"])
        return [row["next_hop"] for row in json.loads(capsys.readouterr().out)]

    until(lambda: seen() == [address, address], "on both hosts")
    gobgp.withdraw(route)
    began = time.monotonic()
    until(lambda: seen() == [], "withdrawn")
    assert time.monotonic() - began < 2.0


def test_sessions_are_shown(lab, gobgp, capsys):
    [row] = json.loads(shown(lab, capsys, "neighbors", "--json"))
    assert (row["name"], row["state"], row["peer_as"]) == ("gw", "Established", 64512)
    assert row["has_password"]
    assert [each["family"] for each in row["families"] if each["agreed"]] == list(FAMILIES)
    lines = shown(lab, capsys, "neighbors").splitlines()
    assert "Established" in lines[1]
    details = shown(lab, capsys, "neighbor", "gw")
    assert "64512 (internal); ours is 64512" in details
    assert "inet-vpn: 0 of at most 1000000 routes, complete" in details
    history = shown(lab, capsys, "neighbor", "gw", "--history")
    assert "Established" in history
    assert "End-of-RIB inet-vpn" in history


def asked_why(lab, capsys, prefix):
    run = str(lab.directories.run)
    assert cli(["--run-dir", run, "show", "route", prefix, "--vrf", "red", "--why"]) == 0
    return capsys.readouterr().out


def introspect(lab, target):
    script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:8083/Snh_{target}"
    done = lab.run("ctl", [sys.executable, "-c", script, url])
    assert done.returncode == 0, done.stderr
    return ET.fromstring(done.stdout.strip())


def test_a_routers_route_and_whom_it_is_told_are_explained(lab, gobgp, target, capsys):
    address = gobgp.settings.address
    route = PeerRoute(
        family="inet-vpn",
        prefix="192.0.2.0/24",
        rd=f"{address}:5",
        label=205,
        targets=frozenset({target}),
        next_hop=address,
    )
    gobgp.announce(route)
    text = until(
        lambda: found if "gw (BGP)" in (found := asked_why(lab, capsys, "192.0.2.7")) else "",
        "the route is there",
    )
    assert f"gw (BGP): via {address}, label 205" in text
    assert "it is the network's own target" in text
    assert "not sent to gw: split horizon: it came from this peer" in text
    assert "sent to host1, host2" in text
    assert "sent to gw" in asked_why(lab, capsys, "10.1.1.3")
    rows = json.loads(shown(lab, capsys, "routes", "192.0.2.0/24", "--json"))
    assert {row["table"] for row in rows} >= {"bgp.l3vpn.0"}
    [row] = introspect(lab, "BgpNeighborReq?search_string=gw").iter("BgpNeighborResp")
    read = ("peer", "peer_address", "encoding", "peer_type", "state", "send_state")
    assert [row.find(one).text for one in read] == [
        *("gw", address, "BGP", "internal", "Established", "in sync")
    ]
    root = introspect(lab, "ShowRouteReq?routing_table=bgp.l3vpn.0&protocol=BGP")
    [path] = root.iter("ShowRoutePath")
    assert (path.find("source").text, path.find("label").text) == (address, "205")
    gobgp.withdraw(route)


def test_a_change_of_configuration_ends_and_renews_the_session(lab, gobgp, capsys):
    client = lab.intent.client
    uuid = client.uuid_of("bgp-router", [*FABRIC, "gw"])
    parameters = client.get("bgp-router", uuid)["bgp_router_parameters"]
    client.update("bgp-router", uuid, bgp_router_parameters=parameters | {"admin_down": True})
    until(lambda: list(gobgp.sessions().values()) != ["established"], "down")
    [row] = json.loads(shown(lab, capsys, "neighbors", "--json"))
    assert (row["state"], row["reason"]) == ("Idle", "admin_down is set for gw")
    client.update("bgp-router", uuid, bgp_router_parameters=parameters)
    until(lambda: list(gobgp.sessions().values()) == ["established"], "up again")


@pytest.fixture(scope="module")
def graceful(lab, gobgp):
    client = lab.intent.client
    system = client.uuid_of("global-system-config", ["default-global-system-config"])
    parameters = {
        "enable": True,
        "bgp_helper_enable": True,
        "restart_time": 60,
        "long_lived_restart_time": 0,
        "end_of_rib_timeout": 30,
    }
    client.update("global-system-config", system, graceful_restart_parameters=parameters)

    def is_agreed():
        found = gobgp._ask("neighbor")[0]
        return list(gobgp.sessions().values()) == ["established"] and found

    until(is_agreed, "up again")
    time.sleep(0.5)  # the session of before may not have ended yet
    until(is_agreed, "up again")


def workloads(gobgp):
    return {
        route.prefix: route.is_stale
        for route in gobgp.received("inet-vpn")
        if route.prefix in ("10.1.1.3/32", "10.1.1.4/32")
    }


def test_a_router_keeps_the_routes_of_a_control_node_that_restarts(lab, gobgp, graceful):
    until(lambda: len(workloads(gobgp)) == 2, "both workloads")
    lab.kill("control")
    until(lambda: list(workloads(gobgp).values()) == [True, True], "stale", timeout_s=5)
    lab.restart("control")
    deadline = time.monotonic() + 30
    while list(workloads(gobgp).values()) != [False, False]:
        assert len(workloads(gobgp)) == 2, "a route was forgotten meanwhile"
        assert time.monotonic() < deadline, "never fresh again"
        time.sleep(0.05)


def test_a_control_node_keeps_the_routes_of_a_router_that_restarts(
    lab, gobgp, graceful, target, capsys
):
    address = gobgp.settings.address
    kept, lost = (
        PeerRoute(
            family="inet-vpn",
            prefix=prefix,
            rd=f"{address}:5",
            label=205,
            targets=frozenset({target}),
            next_hop=address,
        )
        for prefix in ("192.0.2.0/24", "198.51.100.0/24")
    )

    def seen(route):
        run = str(lab.directories.run)
        cli(["--run-dir", run, "show", "route", route.prefix, "--vrf", "red", "--json"])
        return [row["next_hop"] for row in json.loads(capsys.readouterr().out)]

    for route in (kept, lost):
        gobgp.announce(route)
        until(lambda: seen(route) == [address, address], "on both hosts")  # noqa: B023
    gobgp.stop(signal.SIGKILL)
    until(lambda: "Established" not in shown(lab, capsys, "neighbors"), "noticed")
    assert seen(kept) == seen(lost) == [address, address]
    details = shown(lab, capsys, "neighbor", "gw")
    assert "inet-vpn: 2 of at most 1000000 routes, 2 stale (graceful restart, swept in" in details
    gobgp.has_restarted = True
    gobgp.start()
    gobgp.announce(kept)
    until(lambda: list(gobgp.sessions().values()) == ["established"], "established")
    until(lambda: seen(lost) == [], "what was not announced again goes with its End-of-RIB")
    assert seen(kept) == [address, address]
