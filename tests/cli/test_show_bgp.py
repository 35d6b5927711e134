import json
import time

import pytest

from filament.cli.main import run

NOW = 1_795_831_294.5


def peer(**given):
    return {
        "name": "gw",
        "address": "172.30.0.201",
        "port": 179,
        "state": "Established",
        "reason": "",
        "peer_as": 64999,
        "local_as": 64512,
        "is_internal": False,
        "is_client": False,
        "router_type": "router",
        "vendor": "",
        "is_passive": False,
        "is_admin_down": False,
        "has_password": True,
        "since": NOW,
        "established_count": 2,
        "lost_count": 1,
        "peer_identifier": "172.30.0.201",
        "hold_time_s": 90,
        "is_four_octet_as": True,
        "capabilities": ["multiprotocol", "graceful-restart"],
        "families": [
            family("inet-vpn", routes=3, ended=True),
            family("e-vpn", routes=2, stale=2, stage="graceful restart", until_s=41.4),
            family("inet6-vpn", agreed=False),
        ],
        "sent": counts(9),
        "received": counts(7),
        "faults": 1,
        "last_fault": "ORIGIN: the value is 09; 00 to 02 exist (treated as withdraw)",
        "origin": {"object": "bgp-router fabric:gw", "rule": "bgp-router-refs", "revision": 7},
        **given,
    }


def family(name, **given):
    return {
        "family": name,
        "agreed": True,
        "routes": 0,
        "maximum": 1000,
        "ended": False,
        "stale": 0,
        "stage": "",
        "until_s": None,
        **given,
    }


def counts(total):
    return {"total": total, "updates": 2, "keepalives": 1, "refreshes": 0, "octets": 400}


DOWN = peer(
    name="ctl2",
    address="172.30.0.11",
    state="Active",
    reason="cannot connect to 172.30.0.11 port 179: Connection refused",
    peer_as=64512,
    is_internal=True,
    families=[family("inet-vpn", agreed=False)],
    lost_count=0,
)
STALE = (
    "e-vpn: 2 of at most 1000 routes, End-of-RIB not seen,"
    " 2 stale (graceful restart, swept in 41 s)"
)
HISTORY = [
    {"at": NOW, "input": "start", "state": "Connect", "detail": ""},
    {"at": NOW + 0.25, "input": "KEEPALIVE", "state": "Established", "detail": ""},
    {"at": NOW + 9, "input": "NOTIFICATION", "state": "Closed", "detail": "the peer said cease"},
]


@pytest.fixture
def control(tmp_path, role, ok, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW + 75)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    base = {"name": "ctl1", "asn": 64512, "identifier": "172.30.0.10", "cluster_id": None}
    problem = "bgp-router old: it has no address; there is no session with it"

    def answer(target, _):
        neighbours = [peer(history=HISTORY)] if target.endswith("?name=gw") else [DOWN, peer()]
        return ok(base | {"problems": [problem], "neighbors": neighbours, "refused": []})

    answers = {("GET", "/filament/bgp-neighbors"): answer}
    with role(tmp_path / "control-ctl1.sock", answers):
        yield tmp_path


def shown(control, capsys, *arguments):
    assert run(["--run-dir", str(control), "show", "bgp", *arguments]) == 0
    return capsys.readouterr().out


def test_neighbours_in_a_table(control, capsys):
    lines = [line.rstrip() for line in shown(control, capsys, "neighbors").splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "CONTROL NAME ADDRESS AS KIND STATE UP S LOST ROUTES FAMILIES REASON PROBLEM",
        f"ctl1 ctl2 172.30.0.11 64512 internal Active - 0 0 inet-vpn {DOWN['reason']} -",
        "ctl1 gw 172.30.0.201 64999 external Established 75 1 5 inet-vpn e-vpn - -",
        "ctl1 - - - - - - - - - - bgp-router old: it has no address; there is no session with it",
    ]


def test_neighbours_as_json(control, capsys):
    rows = json.loads(shown(control, capsys, "neighbors", "--json"))
    assert rows[1] == {"control": "ctl1", **peer()}


@pytest.mark.parametrize("name", ["gw", "172.30.0.201"])
def test_one_neighbour_in_full(control, capsys, name):
    lines = shown(control, capsys, "neighbor", name).splitlines()
    assert "state          Established" in lines
    assert "AS             64999 (external); ours is 64512" in lines
    assert "forgiven       1 malformed attributes" in lines
    assert lines[-3:] == [
        "inet-vpn: 3 of at most 1000 routes, complete",
        STALE,
        "inet6-vpn: not agreed on",
    ]


def test_history(control, capsys):
    assert shown(control, capsys, "neighbor", "gw", "--history").splitlines() == [
        "ctl1 with gw (172.30.0.201):",
        "  2026-11-28 02:01:34.500  Connect      start",
        "  2026-11-28 02:01:34.750  Established  KEEPALIVE",
        "  2026-11-28 02:01:43.500  Closed       NOTIFICATION  the peer said cease",
    ]


def test_an_unknown_neighbour_is_guessed(control, capsys):
    assert run(["--run-dir", str(control), "show", "bgp", "neighbor", "gww"]) != 0
    told = capsys.readouterr().err
    assert "no control node here has a BGP peer 'gww'" in told
    assert "gw" in told.split("'gww'")[1]
