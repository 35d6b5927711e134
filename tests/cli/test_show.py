import json
import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from filament.cli.flows import flow_row
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


FLOW = {
    "interface": "default-domain:demo:red-1-port",
    "vif": 1,
    "source": "10.1.1.3",
    "destination": "10.1.1.4",
    "source_port": 49152,
    "destination_port": 443,
    "protocol": 6,
    "local_port": 49152,
    "out_packets": 2,
    "out_bytes": 168,
    "in_packets": 1,
    "in_bytes": 84,
    "last_seen_ns": 0,
    "started_ns": 0,
    "action": 1,
    "flags": 0,
    "acl": 7,
    "vrf": RED,
    "denied": False,
    "source_interface": "default-domain:demo:red-1-port",
    "source_workload": "red-1",
    "source_network": "default-domain:demo:red",
    "destination_interface": "default-domain:demo:red-2-port",
    "destination_workload": "",
    "destination_network": "default-domain:demo:red",
    "rules": [
        {
            "list": RED,
            "position": 1,
            "object": "network-policy default-domain:demo:open",
            "rule": "policy-rule ff1f4f22-0000-4000-8000-000000000001",
            "revision": 21,
        }
    ],
}
ECHO = FLOW | {
    "protocol": 1,
    "local_port": 26,
    "source_port": 0,
    "destination_port": 26,
    "rules": [],
}
DENIED = FLOW | {"vif": 2, "interface": "default-domain:demo:red-2-port", "denied": True}
PORT = {
    "vif": 1,
    "name": "default-domain:demo:red-1-port",
    "display_name": "red-1",
    "uuid": "u-1",
    "address": "10.1.1.3",
}


def words(text):
    return text.split()


@pytest.fixture
def flows(tmp_path, role, ok):
    answers = {
        ("GET", "/filament/flows"): ok({"count": 3, "flows": [FLOW, ECHO, DENIED]}),
        ("GET", "/filament/interfaces"): ok({"interfaces": [PORT]}),
    }
    with role(tmp_path / "agent-host1.sock", answers) as server:
        asked_of["host1"] = server
        yield tmp_path


@pytest.fixture
def asked():
    """What the agent was asked for so far."""
    return lambda: [target for _, target, _ in asked_of["host1"].asked]


asked_of = {}


def test_flows_say_who_talks_to_whom_and_what_policy_said(flows, capsys):
    assert run(["--run-dir", str(flows), "show", "flow"]) == 0
    titles, tcp, echo, denied = capsys.readouterr().out.splitlines()
    assert titles.split("  ")[0] == "HOST"
    ends = "red-1 10.1.1.3:49152 (red) red-2-port 10.1.1.4:443 (red)"
    rule = "network-policy open, policy-rule ff1f4f22, r21"
    assert tcp.split() == words(f"host1 red-1 tcp {ends} passes {rule} 2 168 1 84")
    ends = "red-1 10.1.1.3 (red) red-2-port 10.1.1.4 (red)"
    assert echo.split() == words(f"host1 red-1 icmp id 26 {ends} passes no policy 2 168 1 84")
    assert f"denied   {rule}" in denied


def test_a_fat_flow_says_what_it_does_not_tell_apart():
    fat = FLOW | {"fat": ["ports", "remote"], "source_port": 0}
    assert flow_row(fat, {})["protocol"] == "tcp fat (ports, remote)"
    assert flow_row(ECHO | {"fat": ["ports"]}, {})["protocol"] == "icmp fat (ports)"


def test_ends_are_shown_with_their_tags(hosts, capsys):
    tagged = FLOW | {"source_tags": ["tier=web"], "destination_tags": []}
    row = flow_row(tagged, {})
    assert row["source"] == "red-1 10.1.1.3:49152 (red, tier=web)"
    assert row["destination"].endswith("(red)")


def test_agents_are_asked_for_the_flows_of_a_workload_by_its_port_too(flows, capsys, asked):
    wanted = ["--from", "red-1", "--to", "10.1.1.0/24", "--port", "443", "--proto", "tcp"]
    assert run(["--run-dir", str(flows), "show", "flows", *wanted, "--denied", "--vrf", "red"]) == 0
    assert parse_qs(urlsplit(asked()[-1]).query) == {
        "vrf": ["red"],
        "from": ["red-1", PORT["name"]],
        "to": ["10.1.1.0/24"],
        "port": ["443"],
        "proto": ["tcp"],
        "denied": ["1"],
        "limit": ["1000"],
    }


@pytest.mark.parametrize("name", ["red-1", "red-1-port", "u-1", "10.1.1.3", PORT["name"]])
def test_the_flows_of_one_port_by_any_of_its_names(flows, capsys, name):
    assert run(["--run-dir", str(flows), "show", "flow", "--interface", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"host": "host1", **FLOW},
        {"host": "host1", **ECHO},
    ]


def test_an_unknown_port_is_named_with_the_nearest(flows, capsys):
    assert run(["--run-dir", str(flows), "show", "flows", "--interface", "red-11"]) == 2
    assert "no host here has a port 'red-11'; did you mean red-1" in capsys.readouterr().err


@pytest.fixture
def control(tmp_path, role, ok):
    path = {
        "peer": "host1",
        "source_instance": RED,
        "next_hop": "172.30.0.1",
        "label": 16,
        "local_preference": 200,
        "stale": False,
        "origin": {"object": "virtual-machine-interface default-domain:demo:red-1-port"},
        "chosen": True,
        "via": "",
        "reason": "best",
    }
    worse = path | {
        "peer": "host2",
        "local_preference": 100,
        "stale": True,
        "chosen": False,
        "reason": "lower local preference",
    }
    route = {"instance": RED, "prefix": "10.1.1.3/32"}

    def routes(target, body):
        query = parse_qs(urlsplit(target).query)
        if "prefix" not in query:
            return ok({"routes": [route | {"source": "host1"}]})
        candidates = [path, worse] if query.get("instance", [RED]) == [RED] else []
        instance = query.get("instance", [RED])[0]
        named = {"instance": instance, "prefix": query["prefix"][0], "candidates": candidates}
        return ok({"routes": [named]})

    answers = {
        ("GET", "/filament/routes"): routes,
        ("GET", "/filament/instances"): ok({"instances": [{"name": RED}, {"name": BLUE}]}),
    }
    with role(tmp_path / "control-ctl1.sock", answers):
        yield tmp_path


def test_candidates_and_why_one_was_chosen(control, capsys):
    assert run(["--run-dir", str(control), "show", "route", "--control", "10.1.1.3"]) == 0
    _, best, worse = capsys.readouterr().out.splitlines()
    assert best.split() == words(
        "ctl1 red 10.1.1.3/32 * host1 172.30.0.1 16 200 red best red-1-port"
    )
    assert worse.split() == words(
        "ctl1 red 10.1.1.3/32 - host2 172.30.0.1 16 100 red "
        "lower local preference, stale red-1-port"
    )


def test_an_instance_without_a_path_says_so(control, capsys):
    command = ["show", "route", "--control", "10.1.1.3", "--vrf", "blue"]
    assert run(["--run-dir", str(control), *command]) == 0
    assert "no path: neither published in it nor imported" in capsys.readouterr().out
    assert run(["--run-dir", str(control), *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["candidates"] == []


def test_without_a_prefix_control_lists_its_routes(control, capsys):
    assert run(["--run-dir", str(control), "show", "route", "--control", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"host": "ctl1", "instance": RED, "prefix": "10.1.1.3/32", "source": "host1"}
    ]


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
