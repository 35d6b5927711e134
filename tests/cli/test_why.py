"""What `filament show route --why` and `filament show bgp tables|routes|rejected` print."""

import json

import pytest

RED = "default-domain:demo:red:red"
BLUE = "default-domain:demo:blue:blue"
OWN = {
    "chosen": True,
    "reason": "best",
    "peer": "host1",
    "protocol": "XMPP",
    "source": RED,
    "next_hop": "172.30.0.1",
    "label": 16,
    "encapsulations": ["udp"],
    "local_preference": 200,
    "as_path": "",
    "origin": {
        "object": "virtual-machine-interface default-domain:demo:red-1",
        "rule": "port",
        "revision": 7,
    },
    "stale": False,
    "import": None,
    "vpn": {
        "table": "bgp.l3vpn.0",
        "route": "172.30.0.1:1:10.1.1.3/32",
        "imports": [],
        "not_imported": "",
        "told": [
            {"peer": "d:p:gw1", "is_sent": True, "reason": ""},
            {
                "peer": "d:p:gw2",
                "is_sent": False,
                "reason": "the peer did not ask for target:64512:1",
            },
        ],
        "others": [
            {
                "peer": "d:p:gw3",
                "next_hop": "10.9.9.3",
                "as_path": "65001",
                "reason": "not usable: AS path loop",
            }
        ],
    },
}
LOSER = {
    **OWN,
    "chosen": False,
    "reason": "local preference: 100, best has 200",
    "peer": "d:p:gw1",
    "protocol": "BGP",
    "source": "bgp.l3vpn.0",
    "next_hop": "10.9.9.9",
    "as_path": "64999",
    "local_preference": 100,
    "origin": {"object": "", "rule": "", "revision": 0},
    "import": {
        "target": "target:64512:1",
        "from": BLUE,
        "because": "network-policy d:p:p joins the two networks",
    },
    "vpn": {"not_exported": "its routing instance exports no target"},
}
ROUTE = {
    "instance": RED,
    "network": "default-domain:demo:red",
    "prefix": "10.1.1.3/32",
    "candidates": [OWN, LOSER],
    "agents": ["host1", "host2"],
}
UNIMPORTED = {
    "table": "bgp.l3vpn.0",
    "route": "10.9.9.9:7:192.0.2.0/24",
    "imports": [],
    "not_imported": "no routing instance here imports target:64512:9",
    "told": [],
    "candidates": [
        {
            "chosen": True,
            "reason": "best",
            "peer": "d:p:gw1",
            "next_hop": "10.9.9.9",
            "as_path": "64999",
        }
    ],
}
REFUSED = {
    "peer": "d:p:gw1",
    "table": "bgp.l3vpn.0",
    "first": "10.9.9.9:7:10.8.0.0/16",
    "count": 1,
    "reason": "malformed attributes: ORIGIN: it is missing (treated as withdraw)",
}
SILENT = {"peer": "d:p:gw2", "state": "Idle", "reason": "admin_down is set for gw2"}


@pytest.fixture
def asked(tmp_path, role, ok, run_in):
    def why(path, _):
        answer = {"routes": [], "unimported": [], "rejected": [], "silent": []}
        if "192.0.2" in path:
            answer["unimported"] = [UNIMPORTED]
        elif "10.1.1.3" in path:
            answer["routes"] = [ROUTE]
        elif "10.8" in path:
            answer |= {"rejected": [REFUSED], "silent": [SILENT]}
        return ok(answer)

    def routes(path, _):
        number = 2 if "next=" in path else 1
        paths = [
            {
                "protocol": "XMPP (interface)",
                "source": "host1",
                "next_hop": "172.30.0.1",
                "label": 16,
                "as_path": "",
                "local_preference": 200,
                "tunnel_encap": ["udp"],
                "flags": [],
            }
        ]
        if number == 2:
            paths.append({**paths[0], "source": "10.9.9.1", "flags": ["AsPathLooped"]})
        return ok(
            {
                "routes": [
                    {"table": f"{RED}.inet.0", "prefix": f"10.1.1.{number}/32", "paths": paths}
                ],
                "next": "abc" if number == 1 else "",
            }
        )

    tables = [
        {
            "name": "bgp.l3vpn.0",
            "prefixes": 2,
            "paths": 3,
            "primary": 1,
            "secondary": 2,
            "infeasible": 0,
            "stale": 0,
        },
        {"name": "empty.inet.0", "prefixes": 0, "paths": 0},
    ]
    rejected = [
        {
            "peer": "gw1",
            "table": "bgp.l3vpn.0",
            "first": "1:1:10.0.0.0/8",
            "count": 2,
            "reason": "AS path loop",
        }
    ]
    answers = {
        ("GET", "/filament/why"): why,
        ("GET", "/filament/table-routes"): routes,
        ("GET", "/filament/tables"): ok({"tables": tables}),
        ("GET", "/filament/rejected"): ok({"rejected": rejected}),
        ("GET", "/filament/instances"): ok({"instances": [{"name": RED}]}),
    }
    with role(tmp_path / "control-ctl1.sock", answers) as server:
        command = run_in(tmp_path)
        command.server = server
        yield command


def test_why_says_everything_of_a_route(asked, capsys):
    assert asked("show", "route", "10.1.1.3", "--why", "--vrf", "red") == 0
    assert capsys.readouterr().out.splitlines() == [
        "10.1.1.3/32 in red, as ctl1 sees it",
        "  * host1 (XMPP): via 172.30.0.1, label 16, udp, preference 200",
        "      chosen: best",
        "      made by virtual-machine-interface red-1, revision 7",
        "      bgp.l3vpn.0 has it as 172.30.0.1:1:10.1.1.3/32",
        "        and from gw3: via 10.9.9.3, AS path 65001: not usable: AS path loop",
        "        sent to gw1",
        "        not sent to gw2: the peer did not ask for target:64512:1",
        "    gw1 (BGP): via 10.9.9.9, label 16, udp, AS path 64999, preference 100",
        "      not chosen: local preference: 100, best has 200",
        "      imported from blue by target:64512:1: network-policy d:p:p joins the two networks",
        "      not told to other routers: its routing instance exports no target",
        "  sent to host1, host2",
    ]
    assert f"instance={RED.replace(':', '%3A')}" in asked.server.asked[-1][1]


def test_why_a_route_is_imported_by_nobody(asked, capsys):
    assert asked("show", "route", "192.0.2.0/24", "--why") == 0
    assert capsys.readouterr().out.splitlines() == [
        "10.9.9.9:7:192.0.2.0/24 in bgp.l3vpn.0 only, as ctl1 sees it",
        "  * gw1: via 10.9.9.9, AS path 64999: best",
        "      bgp.l3vpn.0 has it as 10.9.9.9:7:192.0.2.0/24",
        "        imported by nobody: no routing instance here imports target:64512:9",
    ]


def test_why_there_is_no_route(asked, capsys):
    assert asked("show", "route", "10.7.7.7", "--why") == 0
    assert capsys.readouterr().out == (
        "ctl1 has no route to 10.7.7.7: no agent published one and no router announced one that is"
        " held\n"
    )


def test_why_a_route_is_not_held(asked, capsys):
    assert asked("show", "route", "10.8.0.0/16", "--why") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"10.9.9.9:7:10.8.0.0/16 from gw1 was refused by ctl1: {REFUSED['reason']}",
        "  gw2, which is Idle, tells nothing: admin_down is set for gw2",
    ]


def test_why_of_nothing_is_refused(asked, capsys):
    assert asked("show", "route", "--why") == 2
    assert "--why of which route?; give a prefix or an address" in capsys.readouterr().err
    assert asked("show", "route", "10.1.1.3/24", "--why") == 2
    assert "did you mean 10.1.1.0/24?" in capsys.readouterr().err


def test_why_as_json(asked, capsys):
    assert asked("show", "route", "10.1.1.3", "--why", "--json") == 0
    [answer] = json.loads(capsys.readouterr().out)
    assert (answer["control"], answer["routes"]) == ("ctl1", [ROUTE])


def test_tables(asked, capsys):
    assert asked("show", "bgp", "tables") == 0
    assert capsys.readouterr().out.splitlines() == [
        "CONTROL  NAME         PREFIXES  PATHS  PRIMARY  SECONDARY  INFEASIBLE  STALE",
        "ctl1     bgp.l3vpn.0         2      3        1          2           0      0",
    ]
    assert asked("show", "bgp", "tables", "--all", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_routes_of_all_pages_with_every_path(asked, capsys):
    assert asked("show", "bgp", "routes", "10.1.1.0/24", "--longer", "--peer", "host1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("CONTROL", "TABLE", "PREFIX", "BEST", "PROTOCOL", "PEER", "NEXT", "HOP", "LABEL"),
        *("PREFERENCE", "ENCAP", "FLAGS"),
    ]
    assert [line.split()[0] for line in lines[1:]] == ["ctl1", "ctl1", "-"]
    assert "10.1.1.2/32" in lines[2]
    assert lines[3].split()[-1] == "AsPathLooped"
    asked_for = asked.server.asked[0][1]
    assert "longer_match=1" in asked_for
    assert "source=host1" in asked_for


def test_more_routes_than_asked_for_are_noted(asked, capsys):
    assert asked("show", "bgp", "routes", "--limit", "1", "--json") == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 1
    assert printed.err == "ctl1 has more than 1 such routes; see --limit\n"


def test_rejected_routes(asked, capsys):
    assert asked("show", "bgp", "rejected") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["ctl1", "gw1", "bgp.l3vpn.0"]
