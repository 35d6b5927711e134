import json

import pytest

from filament.cli.local import Answer
from filament.cli.main import run
from filament.cli.show_drops import VIEWS, added_up, picture_of, rates_of

RED = "default-domain:demo:red:red"


def drop(interface, reason, packets, vif=1):
    return {
        "interface": f"default-domain:demo:{interface}",
        "vif": vif,
        "reason": reason,
        "text": reason.lower(),
        "packets": packets,
    }


DROPS = {
    "drops": [
        drop("red-1", "NO_ROUTE", 3),
        drop("red-2", "NO_ROUTE", 4, 2),
        drop("red-2", "X", 9, 2),
    ],
    "vrfs": [
        {"vrf": RED, "id": 1, "reason": "NO_ROUTE", "text": "no route", "packets": 7},
        {"vrf": "-", "id": 0, "reason": "X", "text": "x", "packets": 9},
    ],
}


@pytest.fixture
def host(tmp_path, role, ok):
    with role(tmp_path / "agent-host1.sock", {("GET", "/filament/drops"): ok(DROPS)}):
        yield tmp_path


def shown(host, capsys, *arguments):
    assert run(["--run-dir", str(host), "show", "drops", *arguments]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_drops_by_reason_are_added_up_over_ports(host, capsys):
    assert [row[:3] for row in shown(host, capsys, "--by", "reason")] == [
        ["host1", "X", "9"],
        ["host1", "NO_ROUTE", "7"],
    ]


def test_drops_by_vrf_have_those_of_none(host, capsys):
    assert [row[:4] for row in shown(host, capsys, "--by", "vrf")] == [
        ["host1", "-", "X", "9"],
        ["host1", "red", "NO_ROUTE", "7"],
    ]


def test_json_by_reason_names_no_port(host, capsys):
    assert run(["--run-dir", str(host), "show", "drops", "--by", "reason", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first == {"host": "host1", "reason": "X", "text": "x", "packets": 9}


def pictures(view, *steps):
    """Pictures a second apart of what hosts said: None is silence."""
    for at, said in enumerate(steps):
        answers = [
            Answer("agent", name, drops, "" if drops is not None else "nobody listens there")
            for name, drops in said.items()
        ]
        yield picture_of(answers, VIEWS[view], lambda at=at: float(at))


def of(*drops):
    return {"drops": list(drops), "vrfs": []}


def rates(*steps):
    return [
        [(row["host"], row["reason"], row["dropped"], row["per_s"]) for row in found.rows]
        for found in rates_of(pictures("interface", *steps))
    ]


def test_rates_are_of_what_is_new_only():
    assert rates(
        {"a": of(drop("red-1", "X", 100))},
        {"a": of(drop("red-1", "X", 100))},
        {"a": of(drop("red-1", "X", 150), drop("red-1", "NO_ROUTE", 8))},
    ) == [[], [("a", "X", 50, 50.0), ("a", "NO_ROUTE", 8, 8.0)]]


def test_a_host_that_was_silent_is_compared_with_what_it_said_last():
    steps = [{"a": of(drop("red-1", "X", 10))}, {"a": None}, {"a": of(drop("red-1", "X", 30))}]
    assert rates(*steps) == [[], [("a", "X", 20, 10.0)]]
    silent = [found.silent for found in rates_of(pictures("interface", *steps))]
    assert silent == [{"a": "nobody listens there"}, {}]


def test_a_host_first_heard_later_has_no_rate_until_it_is_heard_again():
    steps = [{"a": None}, {"a": of(drop("red-1", "X", 10))}, {"a": of(drop("red-1", "X", 11))}]
    assert rates(*steps) == [[], [("a", "X", 1, 1.0)]]


def test_counters_that_fell_have_begun_anew():
    assert rates({"a": of(drop("red-1", "X", 10))}, {"a": of(drop("red-1", "X", 4))}) == [
        [("a", "X", 4, 4.0)]
    ]


def test_rows_of_one_key_are_added_and_the_answer_is_left_alone():
    items = [("a", drop("red-1", "X", 1)), ("a", drop("red-1", "X", 2))]
    assert [row["packets"] for row in added_up(items, VIEWS["interface"])] == [3]
    assert [item["packets"] for _, item in items] == [1, 2]


def test_watch_prints_a_line_a_time(host, capsys):
    arguments = ["--watch", "--interval", "0.1", "--count", "2"]
    assert run(["--run-dir", str(host), "show", "drops", *arguments]) == 0
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "nothing was dropped"
    ] * 2
