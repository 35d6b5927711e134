import json
from urllib.parse import parse_qs, urlsplit

import pytest

from filament.cli.main import run
from filament.cli.verdicts import list_name, loss_text, rule_text, verdict_line

PORT = {
    "vif": 1,
    "name": "default-domain:demo:red-1-port",
    "display_name": "red-1",
    "uuid": "u-1",
    "address": "10.1.1.3",
}
RULE = {
    "list": "default-domain:demo:red:red",
    "position": 2,
    "object": "network-policy default-domain:demo:red-blue",
    "rule": "policy-rule ff1f4f22-0000-4000-8000-000000000001",
    "revision": 21,
}
VERDICT = {
    "host": "host1",
    "at": 0.25,
    "verdict": "dropped",
    "denied": True,
    "reason": "POLICY_FROM_PORT",
    "text": "the source network's policy denies it",
    "outbound": True,
    "bytes": 74,
    "protocol": 6,
    "tcp_flags": 2,
    "icmp": None,
    "rules": [RULE],
    "interface": PORT["name"],
    "vif": 1,
    "vrf": "default-domain:demo:red:red",
    "source": "10.1.1.3",
    "source_port": 40000,
    "source_interface": PORT["name"],
    "source_workload": "red-1",
    "source_network": "default-domain:demo:red",
    "destination": "10.1.2.4",
    "destination_port": 443,
    "destination_interface": "default-domain:demo:blue-2-port",
    "destination_workload": "",
    "destination_network": "default-domain:demo:blue",
}
LISTENING = {"verdict": "listening", "host": "host1"}


def stream(*records):
    return (200, {}, "".join(json.dumps(record) + "\n" for record in records) + "\n")


@pytest.fixture
def host(tmp_path, role, ok):
    """Serve one agent; returns a function that says what it answers with."""

    def answering(*records):
        answers[("GET", "/filament/verdicts")] = stream(LISTENING, *records)
        return server

    answers = {("GET", "/filament/interfaces"): ok({"interfaces": [PORT]})}
    with role(tmp_path / "agent-host1.sock", answers) as server:
        yield answering


def test_verdicts_are_lines_with_names_and_losses_are_notes(tmp_path, host, capsys):
    host(VERDICT, {"verdict": "lost", "host": "host1", "drop": 7, "flow": 0}, VERDICT)
    assert run(["--run-dir", str(tmp_path), "observe", "--count", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split(" ", 1)[1] == (
        "host1 from red-1: red-1 10.1.1.3:40000 (red) -> blue-2-port 10.1.2.4:443 (blue) tcp SYN"
        " dropped POLICY_FROM_PORT: network-policy red-blue, policy-rule ff1f4f22, r21"
    )
    assert shown.err.splitlines()[:2] == [
        "listening to host1",
        "host1: 7 drops were not shown: more than the kernel may show",
    ]


def test_json_has_losses_in_the_stream(tmp_path, host, capsys):
    lost = {"verdict": "lost", "host": "host1", "unread": 3}
    host(lost, VERDICT)
    assert run(["--run-dir", str(tmp_path), "observe", "--json", "--count", "1"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [lost, VERDICT]


def test_agents_are_asked_for_what_is_wanted(tmp_path, host, capsys):
    server = host(VERDICT)
    wanted = ["--drop", "--from", "red-1", "--to", "blue", "--port", "443", "--count", "1"]
    assert run(["--run-dir", str(tmp_path), "observe", *wanted]) == 0
    targets = [target for _, target, _ in server.asked if "verdicts" in target]
    assert parse_qs(urlsplit(targets[0]).query) == {
        "from": ["red-1", PORT["name"]],
        "to": ["blue"],
        "port": ["443"],
        "denied": ["1"],
    }


def test_an_agent_that_refuses_ends_it(tmp_path, role, ok, capsys):
    answers = {
        ("GET", "/filament/interfaces"): ok({"interfaces": []}),
        ("GET", "/filament/verdicts"): (400, {}, "proto is 'tpc'; write icmp, tcp\n"),
    }
    with role(tmp_path / "agent-host1.sock", answers):
        assert run(["--run-dir", str(tmp_path), "observe", "--proto", "tpc"]) == 1
    assert "host1: proto is 'tpc'; write icmp, tcp" in capsys.readouterr().err


def test_what_cannot_be_read_and_who_is_nobody_are_said_plainly():
    packet = VERDICT | {"source": "", "destination": "", "protocol": -1, "rules": []}
    packet |= {"reason": "UNSUPPORTED_PROTOCOL", "text": "it is neither"}
    line = verdict_line(packet, {}).split(" ", 1)[1]
    assert (
        line == "host1 from red-1-port: - -> - not IP dropped UNSUPPORTED_PROTOCOL: it is neither"
    )
    passing = VERDICT | {"denied": False, "vif": 0, "rules": [], "protocol": 1, "icmp": [8, 0]}
    line = verdict_line(passing, {}).split(" ", 1)[1]
    assert line == (
        "host1 underlay: red-1 10.1.1.3 (red) -> blue-2-port 10.1.2.4 (blue) icmp type 8 passes"
    )


def test_a_list_whose_rules_do_not_match_is_named():
    none = RULE | {"position": None, "object": "", "rule": "", "revision": 0}
    assert rule_text(none) == "no rule of red"
    groups = "ingress default-domain:demo:web,default-domain:demo:db"
    assert rule_text(none | {"list": groups}) == "no rule of ingress of web, db"
    assert list_name("default-domain:demo:red:other") == "red:other"
    assert rule_text(none | {"position": 3}) == "rule 3 of red"


def test_losses_say_whose_fault_they_are():
    assert loss_text({"host": "h", "drop": 0, "flow": 2, "unread": 5}) == (
        "h: 2 new flows were not shown: more than the kernel may show; "
        "5 verdicts were not shown: this end read too slowly"
    )
