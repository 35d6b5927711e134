import json
import socket

import pytest

API = {"revision": 12}
CONTROL = {
    "revision": 12,
    "settled": 12,
    "api": {"connected": True},
    "agents": [{"name": "host1"}, {"name": "host2"}],
}
AGENT = {
    "applied": 11,
    "controls": [{"address": "172.30.0.10:5269", "state": "established"}],
}


@pytest.fixture
def system(tmp_path, role, ok, run_in):
    roles = {"api": API, "control-ctl1": CONTROL, "agent-host1": AGENT}
    running = [
        role(tmp_path / f"{name}.sock", {("GET", "/filament/status"): ok(value)})
        for name, value in roles.items()
    ]
    with running[0], running[1], running[2]:
        yield run_in(tmp_path)


def test_every_process_is_a_row_and_says_how_far_it_is(system, capsys):
    assert system("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "ROLE     NAME   STATE     REVISION  DETAILS",
        f"api      -      up              12  unix:{system.run_dir}/api.sock",
        "control  ctl1   up              12  agents: host1, host2",
        "agent    host1  1 behind        11  control: 172.30.0.10:5269 established",
    ]


def test_a_dead_socket_is_a_row_and_exit_1(system, capsys):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(system.run_dir / "agent-host2.sock"))
    assert system("status", "--json") == 1
    *_, last = json.loads(capsys.readouterr().out)
    assert last == {
        "role": "agent",
        "name": "host2",
        "state": "silent",
        "revision": None,
        "details": "nobody listens there",
    }


def test_a_control_node_away_from_the_api_says_so(tmp_path, role, ok, run_in, capsys):
    away = CONTROL | {"api": {"connected": False}, "agents": []}
    with role(tmp_path / "control-c.sock", {("GET", "/filament/status"): ok(away)}):
        assert run_in(tmp_path)("--api", f"unix:{tmp_path}/none", "status") == 1
    assert "agents: none; away from the API" in capsys.readouterr().out


def test_an_agent_whose_flow_table_is_nearly_full_says_so(tmp_path, role, ok, run_in, capsys):
    full = AGENT | {"flows": {"held": 950_000, "limit": 1_048_576, "pressed": True}}
    with role(tmp_path / "agent-host1.sock", {("GET", "/filament/status"): ok(full)}):
        run_in(tmp_path)("--api", f"unix:{tmp_path}/none", "status")
    assert "; the flow table is nearly full: 950000 of 1048576" in capsys.readouterr().out


def test_an_agent_whose_rules_do_not_fit_says_so(tmp_path, role, ok, run_in, capsys):
    misfit = AGENT | {"problem": "the 300 rules of ingress demo:web do not fit"}
    with role(tmp_path / "agent-host1.sock", {("GET", "/filament/status"): ok(misfit)}):
        run_in(tmp_path)("--api", f"unix:{tmp_path}/none", "status")
    assert "; the 300 rules of ingress demo:web do not fit" in capsys.readouterr().out
