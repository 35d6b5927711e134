"""What the session log says of flows, and of which."""

import json
import re

import pytest

from filament.agent.naming import Naming
from filament.agent.sessions import (
    ACTIVE_EVERY_NS,
    ALL_SESSIONS,
    DEFAULT_RATE,
    IMPLICIT_ALLOW,
    IMPLICIT_DENY,
    Moment,
    SessionLog,
    rule_of,
    rule_uuid,
)
from filament.base.limits import MAX_SESSIONS_HELD
from filament.base.net import parse_ipv4
from filament.doctor.packet import Flow
from filament.forward.tables import KEY_CODECS, VALUE_CODECS
from filament.wire.packet.ipv4 import ICMP, TCP

from .test_verdicts import FAR, PORT, Judged, host  # noqa: F401 - a fixture

SECOND_NS = 1_000_000_000
NOW = Moment(100 * SECOND_NS, 1_700_000_000.0)


class Lines:
    """A log in memory, which can be broken."""

    def __init__(self):
        self.lines = []
        self.error = None

    def append(self, batch):
        if self.error is not None:
            raise self.error
        self.lines += [json.loads(line) for line in batch.splitlines()]


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def rate():
    return [None]


@pytest.fixture
def log(host, lines, rate):  # noqa: F811
    made = SessionLog(lines, lambda: Naming(host.host), lambda: rate[0], parse_ipv4("172.30.0.1"))
    made.begin(0)
    made.end(Moment(0, 0.0))
    return made


@pytest.fixture
def rows(host):  # noqa: F811
    """Raw rows of flows: one passes, a rule denies the next, and none lets the last."""
    judged = Judged(host)
    judged.send(Flow(PORT, FAR, TCP, 40000, 443))
    judged.send(Flow(PORT, FAR, TCP, 40001, 80))
    judged.send(Flow(PORT, FAR, ICMP, 7))
    return [
        (KEY_CODECS["flows"].encode(key), VALUE_CODECS["flows"].encode(row))
        for key, row in judged.model.flows().items()
    ]


def write(log, *, ended=(), active=(), at_s=100):
    log.begin(at_s * SECOND_NS)
    for row in ended:
        log.ended(row)
    for row in active:
        log.active(row)
    log.end(Moment(at_s * SECOND_NS, 1_700_000_000.0))


def test_a_flow_that_ended_has_tfs_fields(log, lines, rows):
    write(log, ended=rows[:1])
    (line,) = lines.lines
    told = {name: value for name, value in line.items() if not name.endswith("_info")}
    rules = told.pop("rules")
    assert told == {
        "vmi": "default-domain:demo:port-3",
        "vm": "",
        "vn": "default-domain:demo:red",
        "remote_vmi": "",
        "remote_vn": "default-domain:demo:red",
        "remote_prefix": "10.1.1.4/32",
        "vrouter_ip": "172.30.0.1",
        "other_vrouter_ip": "172.30.0.2",
        "is_client_session": 1,
        "is_si": 0,
        "local_ip": "10.1.1.3",
        "service_port": 443,
        "protocol": 6,
        "ip": "10.1.1.4",
        "port": 40000,
        "security_policy_rule": "",
    }
    assert rules[-1]["position"] == 2
    forward, reverse = line["forward_flow_info"], line["reverse_flow_info"]
    assert (forward["sampled_pkts"], reverse["sampled_pkts"]) == (1, 0)
    assert forward["teardown_bytes"] == forward["sampled_bytes"] == 40
    assert (forward["tcp_flags"], forward["action"]) == (2, "pass")
    # It was seen at second 1 of the kernel's clock, 99 s ago.
    assert forward["setup_time"] == forward["teardown_time"] == (1_700_000_000 - 99) * 1_000_000
    assert forward["nw_ace_uuid"] == "00000000-0000-4000-8000-000000000443"
    assert forward["sg_rule_uuid"] == IMPLICIT_ALLOW
    assert forward["flow_uuid"] != reverse["flow_uuid"]
    assert re.fullmatch(r"[0-9a-f-]{36}", forward["flow_uuid"])


def test_a_flow_that_lasts_has_no_teardown_and_the_same_uuid_until_it_ends(log, lines, rows):
    write(log, active=rows[:1])
    write(log, ended=rows[:1], at_s=200)
    lasting, ended = lines.lines
    assert "teardown_time" not in lasting["forward_flow_info"]
    assert "teardown_time" in ended["forward_flow_info"]
    uuids = {one["forward_flow_info"]["flow_uuid"] for one in (lasting, ended)}
    assert len(uuids) == 1


def test_denied_flows_say_why_and_by_which_rule(log, lines, rows):
    write(log, ended=rows[1:])
    by_rule, by_none = (line["forward_flow_info"] for line in lines.lines)
    assert (by_rule["action"], by_rule["drop_reason"]) == ("deny", "POLICY_FROM_PORT")
    assert by_rule["nw_ace_uuid"] == "00000000-0000-4000-8000-000000000080"
    assert by_none["nw_ace_uuid"] == IMPLICIT_DENY


RULES = [
    {"object": f"o{n}", "rule": f"policy-rule {n * 8}-0000-4000-8000-000000000001", "position": n}
    for n in "123"
]


@pytest.mark.parametrize(
    ("action", "acl", "security", "firewall"),
    [
        (1, "1", "2", "3"),
        (0, "1", None, None),
        (2, "1", "2", None),
        (3, "1", "2", "3"),
    ],
)
def test_each_list_that_was_asked_has_its_rule(action, acl, security, firewall):
    flow = {"acl": 1, "security": 2, "firewall": 3, "action": action}
    asked = [one for one in (acl, security, firewall) if one]
    rules = RULES[: len(asked)]
    for name, number in (("acl", acl), ("security", security), ("firewall", firewall)):
        rule = rule_of(rules, flow, name)
        assert (rule["position"] if rule else None) == number
        uuid = rule_uuid(rules, flow, name)
        assert uuid == (
            IMPLICIT_ALLOW if number is None else f"{number * 8}" + RULES[0]["rule"][20:]
        )


def test_a_list_that_there_is_not_has_no_rule():
    flow = {"acl": 0, "security": 2, "firewall": 0, "action": 2}
    none = {"object": "", "rule": "", "position": None}
    assert rule_of([none], flow, "acl") is None
    assert rule_of([none], flow, "firewall") is None
    assert rule_uuid([none], flow, "security") == IMPLICIT_DENY


def test_flows_that_last_are_told_of_now_and_then(log):
    assert log.begin(ACTIVE_EVERY_NS - 1) is None
    assert log.begin(ACTIVE_EVERY_NS) == 0
    assert log.begin(ACTIVE_EVERY_NS + 5) is None
    assert log.begin(2 * ACTIVE_EVERY_NS) == ACTIVE_EVERY_NS


@pytest.mark.parametrize(
    ("given", "seconds", "written"),
    [
        (10, 2, 20),
        (0, 2, 0),
        (-7, 2, 0),
        (ALL_SESSIONS, 2, 1200),
        (None, 2, 2 * DEFAULT_RATE),
        (1000, 100_000, 1200),
    ],
)
def test_no_more_are_written_than_the_cluster_wants(
    log, lines, rows, rate, given, seconds, written
):
    rate[0] = given
    write(log, ended=rows[:1] * 1200, at_s=seconds)
    assert len(lines.lines) == log.counts.written == written
    assert log.counts.sampled_out == 1200 - written


def test_those_that_ended_come_first(log, lines, rows, rate):
    rate[0] = 3
    write(log, ended=rows[:1] * 2, active=rows[1:2] * 50, at_s=1)
    assert [line["port"] for line in lines.lines] == [40000, 40000, 40001]
    assert log.counts.sampled_out == 49


def test_the_choice_is_of_all_that_were_due(log, lines, rows, rate):
    """Of 100 at the front and 100 at the back, both are drawn (but for one case in 10^60)."""
    rate[0] = 100
    write(log, ended=[*rows[:1] * 100, *rows[1:2] * 100], at_s=1)
    ports = [line["port"] for line in lines.lines]
    assert set(ports) == {40000, 40001}


def test_what_waits_is_bounded(log, lines, rows, rate):
    rate[0] = ALL_SESSIONS
    write(log, ended=rows[:1] * (MAX_SESSIONS_HELD + 5), at_s=1)
    assert (log.counts.written, log.counts.sampled_out) == (MAX_SESSIONS_HELD, 5)


def test_what_cannot_be_written_is_counted_with_the_reason(log, lines, rows):
    lines.error = OSError(28, "No space left on device", "/var/log/sessions")
    write(log, ended=rows)
    assert log.counts.failed == 3
    assert log.counts.problem == "/var/log/sessions: No space left on device"
    lines.error = None
    write(log, ended=rows, at_s=200)
    assert (log.counts.written, log.counts.failed) == (3, 3)


def test_flows_that_go_with_their_port_keep_its_names(log, lines, rows, host):  # noqa: F811
    log.left(rows, Naming(host.host))
    log.left([], Naming(host.host))
    log._naming = lambda: Naming(host.host, ports=())  # nobody of now is asked
    write(log, active=rows[:1], at_s=1)
    gone, lasting = lines.lines[:3], lines.lines[3:]
    (vif,) = {KEY_CODECS["flows"].decode(key)[0] for key, _ in rows}
    assert {line["vmi"] for line in gone} == {Naming(host.host).port(vif).name}
    assert all("teardown_time" in line["forward_flow_info"] for line in gone)
    assert [line["vmi"] for line in lasting] == [f"#{vif}"]
    write(log, at_s=2)
    assert len(lines.lines) == 4


def test_of_too_many_ports_that_left_some_are_counted_only(log, lines, rows, rate, host):  # noqa: F811
    rate[0] = ALL_SESSIONS
    for _ in range(103):
        log.left(rows, Naming(host.host))
    write(log, at_s=1)
    assert (log.counts.written, log.counts.sampled_out) == (300, 9)
    log.left(rows[:1] * MAX_SESSIONS_HELD, Naming(host.host))
    rate[0] = 7
    write(log, at_s=2)
    assert (log.counts.written, log.counts.sampled_out) == (307, 9 + MAX_SESSIONS_HELD - 7)
