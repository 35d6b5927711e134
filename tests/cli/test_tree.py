import json
from importlib import import_module

import pytest

from filament.cli.session import Session


@pytest.fixture
def demo(api, capsys):
    for words in (
        ("project", "default-domain:demo"),
        ("virtual-network", "default-domain:demo:red", "--subnet", "10.1.1.0/24"),
        ("network-policy", "default-domain:demo:open"),
    ):
        assert api("create", *words) == 0
    assert api("ln", "virtual-network", "red", "network-policy", "open") == 0
    capsys.readouterr()
    return api


RED = "virtual-network default-domain:demo:red"


def test_references_are_what_an_object_refers_to(demo, capsys):
    assert demo("tree", "virtual-network/red") == 0
    assert capsys.readouterr().out.splitlines() == [
        RED,
        "├── network-ipam default-domain:default-project:default-network-ipam",
        "└── network-policy default-domain:demo:open",
    ]


def test_referrers_parents_and_children(demo, capsys):
    assert demo("tree", "-r", "network-policy", "open") == 0
    assert capsys.readouterr().out.splitlines() == [
        "network-policy default-domain:demo:open",
        f"└── {RED}",
    ]
    assert demo("tree", "-P", "virtual-network/red") == 0
    assert capsys.readouterr().out.splitlines() == [
        RED,
        "└── project default-domain:demo",
        "    └── domain default-domain",
    ]
    assert demo("tree", "-c", "project", "demo", "--depth", "1") == 0
    said = capsys.readouterr().out
    assert "├── network-policy default-domain:demo:open\n" in said
    assert f"└── {RED}\n" in said


def test_without_an_object_everything_below_the_domains(demo, capsys):
    assert demo("tree") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "domain default-domain"
    assert f"    └── {RED}" in lines


def test_json_has_the_same_tree_and_says_what_was_above(demo, capsys):
    assert demo("tree", "virtual-network/red", "network-policy/open", "--json") == 0
    red, policy = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in red["branches"]] == [
        "default-domain:default-project:default-network-ipam",
        "default-domain:demo:open",
    ]
    assert policy["again"] is True


def test_one_direction_at_a_time_and_names_are_suggested(demo, capsys):
    assert demo("tree", "-r", "-P", "virtual-network/red") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert demo("tree", "virtual-network/redd") == 2
    assert "there is no virtual-network 'redd'; did you mean red" in capsys.readouterr().err


def test_a_tree_stops_where_nobody_reads_on_and_asks_for_brothers_together(
    demo, capsys, monkeypatch
):
    for number in range(6):
        assert demo("create", "virtual-network", f"default-domain:demo:blue-{number}") == 0
    capsys.readouterr()
    asked = []
    request = Session.change
    monkeypatch.setattr(
        Session, "change", lambda self, *words, **more: asked.append(words) or request(self, *words)
    )
    assert demo("tree", "-c", "project", "demo") == 0
    networks = [body for _, path, body in asked if body["type"] == "virtual-network"]
    assert [len(body["obj_uuids"]) for body in networks] == [7]
    whole = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(import_module("filament.cli.tree"), "_MOST_OBJECTS", 5)
    assert demo("tree", "-c", "project", "demo") == 0
    lines = [line.lstrip("│├└─ ") for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        *(line.lstrip("│├└─ ") for line in whole[:5]),
        "... more than 5 objects; name one of them",
    ]
