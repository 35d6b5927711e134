import msgspec
import pytest

from filament.base.net import parse_ipv4
from filament.doctor.packet import Flow
from filament.doctor.walk import Outcome, Sender, Walker, next_address
from filament.forward.layout import DropReason
from filament.forward.tables import Tables

from .two_hosts import HOSTS, WORKLOADS, end, plan_hosts, rule

ICMP, TCP, UDP = 1, 6, 17


def walk(hosts, source, destination, protocol=ICMP, ports=(1, 0), *, answers=False, walker=None):
    host = WORKLOADS[source][0]
    sender = Sender(host, hosts[host].port(f"uuid-{source}"))
    flow = Flow(end(source).address, end(destination).address, protocol, *ports)
    return (walker or Walker(hosts)).walk(sender, flow, answers=answers)


def stages(journey):
    return [(step.host, step.stage) for step in journey.steps]


def test_across_hosts_every_table_is_met_in_order():
    journey = walk(plan_hosts(), "red-1", "red-2")
    assert stages(journey) == [
        ("host1", "arp"),
        ("host1", "interface"),
        ("host1", "route"),
        ("host1", "next hop"),
        ("host1", "policy"),
        ("host1", "tunnel"),
        ("host2", "label"),
        ("host2", "next hop"),
        ("host2", "interface"),
        ("host2", "source"),
        ("host2", "policy"),
        ("host2", "delivered"),
    ]
    assert (journey.outcome, journey.host, journey.ifindex) == (Outcome.DELIVERED, "host2", 21)
    assert journey.steps[-1].text == "to red-2 (tap21)"


def test_every_row_has_its_origin_and_revision():
    journey = walk(plan_hosts([rule("red", "blue")], leaks=True), "red-1", "blue-2")
    told = {
        (step.host, step.stage): (step.origin.object, step.origin.rule, step.origin.revision)
        for step in journey.steps
        if step.table
    }
    port = "virtual-machine-interface default-domain:demo"
    assert told == {
        ("host1", "interface"): (f"{port}:red-1", "port", 7),
        ("host1", "route"): (f"{port}:blue-2", "route", 8),
        ("host1", "next hop"): (f"{port}:blue-2", "tunnel", 8),
        ("host1", "policy"): ("network-policy default-domain:demo:open", "rule 1", 9),
        ("host2", "label"): (f"{port}:blue-2", "port", 7),
        ("host2", "next hop"): (f"{port}:blue-2", "port", 7),
        ("host2", "interface"): (f"{port}:blue-2", "port", 7),
        ("host2", "source"): (f"{port}:red-1", "route", 8),
        ("host2", "policy"): ("network-policy default-domain:demo:open", "rule 1", 9),
    }


def test_on_one_host_there_is_no_tunnel():
    journey = walk(plan_hosts([rule("red", "blue")], leaks=True), "red-1", "blue-1")
    assert (journey.outcome, journey.host, journey.ifindex) == (Outcome.DELIVERED, "host1", 12)
    assert "tunnel" not in [stage for _, stage in stages(journey)]


@pytest.mark.parametrize(
    ("destination", "rules", "leaks", "reason"),
    [
        ("blue-1", None, False, DropReason.NO_ROUTE),
        ("10.1.1.9", None, False, DropReason.UNASSIGNED),
        ("blue-1", [], True, DropReason.POLICY_FROM_PORT),
        ("blue-1", [rule("red", "blue", protocol=TCP)], True, DropReason.POLICY_FROM_PORT),
        ("blue-2", [rule("red", "blue", passes=False)], True, DropReason.POLICY_FROM_PORT),
        ("192.0.2.1", None, False, DropReason.NO_ROUTE),
        ("10.1.1.255", None, False, DropReason.UNASSIGNED),
    ],
)
def test_drops_have_their_reason(destination, rules, leaks, reason):
    journey = walk(plan_hosts(rules, leaks=leaks), "red-1", destination)
    assert (journey.outcome, journey.reason, journey.host) == (Outcome.DROPPED, reason, "host1")
    assert journey.steps[-1].stage == "drop"
    assert journey.steps[-1].text == reason.text


def test_the_destinations_policy_may_drop_on_the_other_host():
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    hosts["host2"] = plan_hosts([], leaks=True)["host2"]
    journey = walk(hosts, "red-1", "blue-2")
    assert journey.reason is DropReason.POLICY_TO_PORT
    assert journey.host == "host2"


def test_the_gateway_answers_echo_and_serves_nothing_else():
    hosts = plan_hosts()
    assert walk(hosts, "red-1", "10.1.1.1").outcome is Outcome.ANSWERED
    journey = walk(hosts, "red-1", "10.1.1.1", TCP, (50000, 80))
    assert journey.reason is DropReason.NOT_SERVED


def test_the_own_address_is_not_answered_by_arp():
    journey = walk(plan_hosts(), "red-1", "red-1")
    assert journey.reason is DropReason.ARP_UNANSWERED
    assert journey.steps[0].text == "who has 10.1.1.3?"


def test_an_answer_meets_the_state_that_its_question_left():
    only_there = [rule("red", "blue", protocol=TCP, ports=(80, 80))]
    one_way = [msgspec.structs.replace(each, both_ways=False) for each in only_there]
    hosts = plan_hosts(one_way, leaks=True)
    asked = walk(hosts, "blue-2", "red-1", TCP, (80, 50000))
    assert asked.reason is DropReason.POLICY_FROM_PORT
    walker = Walker(hosts)
    assert walk(hosts, "red-1", "blue-2", TCP, (50000, 80), walker=walker).outcome is (
        Outcome.DELIVERED
    )
    answer = walk(hosts, "blue-2", "red-1", TCP, (80, 50000), answers=True, walker=walker)
    assert answer.outcome is Outcome.DELIVERED
    assert "answers a flow that may pass" in [step.text for step in answer.steps]


def test_a_host_that_is_away_is_where_the_walk_ends():
    hosts = plan_hosts()
    del hosts["host2"]
    journey = walk(hosts, "red-1", "red-2")
    assert (journey.outcome, journey.host) == (Outcome.LOST, "host2")
    assert journey.steps[-1].text == "its agent does not answer: nobody can tell"


def test_a_host_whose_rows_have_another_address_does_not_take_the_packet():
    hosts = plan_hosts()
    row = hosts["host2"].tables.rows["host"][0,]
    moved = msgspec.structs.replace(row, values=(parse_ipv4("172.30.0.9"), *row.values[1:]))
    hosts["host2"].tables.rows["host"][0,] = moved
    journey = walk(hosts, "red-1", "red-2")
    assert (journey.outcome, journey.host) == (Outcome.LOST, "host2")


def test_a_port_without_rows_is_not_plugged():
    hosts = plan_hosts()
    nothing = {name: {} for name in hosts["host1"].tables.rows}
    hosts["host1"] = msgspec.structs.replace(hosts["host1"], tables=Tables(0, nothing))
    journey = walk(hosts, "red-1", "red-2")
    assert journey.reason is DropReason.UNKNOWN_INTERFACE
    assert journey.steps[1].text == "red-1 (tap11) is not plugged"


@pytest.mark.parametrize(
    ("destination", "asked"),
    [("10.1.1.4", "10.1.1.4"), ("10.1.2.4", "10.1.1.1"), ("8.8.8.8", "10.1.1.1")],
)
def test_workloads_ask_neighbours_directly_and_the_gateway_for_the_rest(destination, asked):
    host = plan_hosts()["host1"]
    port = host.port("uuid-red-1")
    assert next_address(host, port, parse_ipv4(destination)) == parse_ipv4(asked)


def test_any_pair_ends_somewhere_with_a_reason():
    for leaks in (False, True):
        for rules in (None, [], [rule("red", "blue")], [rule("", "", passes=True)]):
            hosts = plan_hosts(rules, leaks=leaks)
            for source in WORKLOADS:
                for destination in WORKLOADS:
                    if source == destination:
                        continue
                    journey = walk(hosts, source, destination, UDP, (5000, 53))
                    dropped = journey.outcome is Outcome.DROPPED
                    assert dropped == bool(journey.reason)
                    if journey.outcome is Outcome.DELIVERED:
                        assert journey.ifindex == WORKLOADS[destination][4]
                        assert journey.host == WORKLOADS[destination][0]
                    same = WORKLOADS[source][1] == WORKLOADS[destination][1]
                    if same and rules is None:
                        assert journey.outcome is Outcome.DELIVERED
    assert set(HOSTS) == {"host1", "host2"}
