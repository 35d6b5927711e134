import json
import socket

import pytest

from filament.cli.main import run
from filament.cli.show import pick_vrf, prefix_filter

RED = "default-domain:demo:red:red"
BLUE = "default-domain:demo:blue:blue"
ROUTES = {
    "host1": [
        {"vrf": RED, "prefix": "10.1.1.3/32", "type": "interface", "device": "tap1", "label": 17},
        {"vrf": RED, "prefix": "10.1.1.0/24", "type": "discard"},
        {"vrf": BLUE, "prefix": "10.1.2.3/32", "type": "interface", "device": "tap2"},
    ],
    "host2": [
        {"vrf": RED, "prefix": "10.1.1.3/32", "type": "tunnel", "next_hop": "172.30.0.1"},
    ],
}


@pytest.fixture
def hosts(tmp_path, role, ok):
    """A run directory with two agents that answer and one dead socket."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent-host3.sock"))
    servers = []
    for host, routes in ROUTES.items():
        answers = {
            ("GET", "/filament/routes"): ok(routes),
            ("GET", "/filament/drops"): ok(
                [{"interface": "red-1", "reason": "NO_ROUTE", "text": "no route", "packets": 3}]
                if host == "host1"
                else []
            ),
        }
        servers.append(role(tmp_path / f"agent-{host}.sock", answers))
    with servers[0], servers[1]:
        yield tmp_path


def test_routes_of_all_hosts_are_merged_and_the_dead_socket_is_a_row(hosts, capsys):
    assert run(["--run-dir", str(hosts), "show", "route", "--vrf", "red"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "HOST   VRF  PREFIX       TYPE       NEXT HOP    LABEL  DEVICE  PROBLEM",
        "host1  red  10.1.1.3/32  interface  -              17  tap1    -",
        "host1  red  10.1.1.0/24  discard    -               -  -       -",
        "host2  red  10.1.1.3/32  tunnel     172.30.0.1      -  -       -",
        "host3  -    -            -          -               -  -       nobody listens there",
    ]


def test_json_keeps_whole_names_and_the_problem(hosts, capsys):
    arguments = ["--run-dir", str(hosts), "show", "route", "10.1.2.3", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"host": "host1", **ROUTES["host1"][2]},
        {"host": "host3", "problem": "nobody listens there"},
    ]


def test_one_host_only(hosts, capsys):
    assert run(["--run-dir", str(hosts), "show", "route", "--host", "host2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"host": "host2", **ROUTES["host2"][0]}]


def test_an_unknown_host_is_named_with_the_nearest(hosts, capsys):
    assert run(["--run-dir", str(hosts), "show", "route", "--host", "host22"]) == 2
    assert "no agent 'host22' in" in capsys.readouterr().err


def test_an_unknown_vrf_is_named_with_the_nearest(hosts, capsys):
    assert run(["--run-dir", str(hosts), "show", "route", "--vrf", "reed"]) == 2
    assert capsys.readouterr().err == (
        "filament: no host here has a VRF 'reed'; did you mean red?; "
        "`filament show vrf` lists them\n"
    )


def test_drops(hosts, capsys):
    assert run(["--run-dir", str(hosts), "show", "drops"]) == 0
    assert "host1  red-1      NO_ROUTE        3" in capsys.readouterr().out


def test_no_agent_at_all(tmp_path, capsys):
    assert run(["--run-dir", str(tmp_path), "show", "interface"]) == 2
    assert capsys.readouterr().err == (
        f"filament: no agent has a socket in {tmp_path}; "
        "start one, or say where they are with --run-dir\n"
    )


def test_a_vrf_may_be_named_by_its_network():
    assert pick_vrf("default-domain:demo:red", [RED, BLUE]) == RED
    assert pick_vrf(BLUE, [RED, BLUE]) == BLUE


def test_a_prefix_asks_for_what_lies_in_it_and_an_address_for_what_covers_it():
    inside = prefix_filter("10.1.0.0/16")
    assert inside("10.1.1.3/32")
    assert not inside("10.0.0.0/8")
    covering = prefix_filter("10.1.1.3")
    assert covering("10.0.0.0/8")
    assert not covering("10.1.1.4/32")
