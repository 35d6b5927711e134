import json

import pytest

from filament.cli.main import run

RED = "default-domain:demo:red:red"
HOP = {
    "id": 5,
    "type": "tunnel",
    "interface": "",
    "ifindex": 0,
    "remote": "172.30.0.2",
    "encapsulation": "MPLSoUDP",
    "destination_mac": "",
    "source_mac": "",
    "flags": [],
    "routes": 2,
    "labels": 0,
}
LABELS = [
    {
        "label": 16,
        "kind": "MPLS",
        "next_hop": 1,
        "type": "interface",
        "interface": "d:demo:r1",
        "vrf": "",
    },
    {"label": 900, "kind": "VNI", "next_hop": 0, "type": "", "interface": "", "vrf": RED},
]
ROUTES = [
    {
        "vrf": vrf,
        "prefix": prefix,
        "id": 5,
        "type": "tunnel",
        "next_hop": "172.30.0.2",
        "label": 17,
        "interface": "",
        "encapsulation": "MPLSoUDP",
        "network": "d:demo:red",
        "groups": 0,
        "tags": 3,
        "flags": ["proxy"],
    }
    for vrf, prefix in (
        (RED, "10.1.1.4/32"),
        ("d:demo:blue:blue", "10.1.1.4/32"),
        (RED, "10.9.0.0/16"),
    )
]
PORT = {
    "vif": 1,
    "ifindex": 7,
    "interface": "d:demo:r1",
    "vrf": RED,
    "address": "10.1.1.3",
    "acl": 0,
    "drops": 4,
    "flags": ["policy"],
}


@pytest.fixture
def show(tmp_path, role, ok, capsys):
    kernel = {
        "next-hops": [HOP, HOP | {"id": 6}],
        "labels": LABELS,
        "routes": ROUTES,
        "interfaces": [PORT],
    }
    answers = {
        ("GET", f"/filament/kernel/{name}"): ok({name: rows}) for name, rows in kernel.items()
    }
    with role(tmp_path / "agent-host1.sock", answers):

        def shown(*arguments):
            assert run(["--run-dir", str(tmp_path), "show", *arguments]) == 0
            return capsys.readouterr().out

        yield shown


def test_next_hops(show):
    titles, first, _second = show("nexthop").splitlines()
    assert titles.split() == [
        "HOST",
        "ID",
        "TYPE",
        "REMOTE",
        "ENCAPSULATION",
        "FLAGS",
        "ROUTES",
        "LABELS",
    ]
    assert first.split() == ["host1", "5", "tunnel", "172.30.0.2", "MPLSoUDP", "-", "2", "0"]
    assert json.loads(show("nexthop", "6", "--json")) == [{"host": "host1", **HOP, "id": 6}]
    assert show("nexthop", "7") == "no such row\n"


def test_labels_and_vnis(show):
    _, mpls, vni = show("label").splitlines()
    assert mpls.split() == ["host1", "16", "MPLS", "1", "interface", "r1", "-"]
    assert vni.split() == ["host1", "900", "VNI", "-", "-", "-", "red"]
    assert len(show("label", "900").splitlines()) == 2


def test_routes_of_the_kernel_by_prefix_and_vrf(show):
    (row,) = json.loads(show("route", "10.1.1.4", "--vrf", "red", "--kernel", "--json"))
    assert (row["vrf"], row["prefix"], row["tags"]) == (RED, "10.1.1.4/32", 3)
    _, line = show("route", "10.9.0.0/16", "--kernel").splitlines()
    assert line.split() == [
        "host1",
        "red",
        "10.9.0.0/16",
        "5",
        "tunnel",
        "172.30.0.2",
        "17",
        "MPLSoUDP",
        "red",
        "3",
        "proxy",
    ]


def test_ports_of_the_kernel(show):
    _, line = show("interface", "--kernel").splitlines()
    assert line.split() == ["host1", "1", "7", "r1", "red", "10.1.1.3", "policy", "4"]
