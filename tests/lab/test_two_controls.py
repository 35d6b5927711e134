"""Two control nodes, real processes: kill either, or both; a probe at 1 kHz loses nothing."""

import time

import pytest
from tests.lab.kit import lab_of

from filament.base.net import format_ipv4
from filament.testing.lab import reach
from filament.testing.lab.probes import Probe

pytestmark = pytest.mark.lab

BEFORE_S = 0.3
CONTROLS = ("control", "control-ctl2")


@pytest.fixture(scope="module")
def lab():
    """Three hosts, two control nodes."""
    with lab_of(host_count=3, control_count=2) as built:
        yield built


@pytest.fixture(autouse=True)
def whole(lab):
    """Leave a whole lab to the next test, also after a failed one."""
    yield
    for process, alive in lab.status():
        if not alive:
            lab.restart(process.program.name)
    for name in lab.process_names:
        lab.wait_for(name)
    lab.wait_plugged()


def states(lab, host="host1"):
    return {
        each["address"]: each["state"]
        for each in lab.ask(f"agent-{host}", "/filament/status")["controls"]
    }


def assert_nothing_lost(probes):
    for probe in probes:
        outcome = probe.outcome
        assert outcome.sent >= 1000 * 2 * BEFORE_S * 0.9, outcome
        assert (outcome.lost, outcome.refused, outcome.duplicates) == (0, 0, 0), outcome


def test_agents_talk_to_both_and_what_they_hear_is_one(lab):
    assert list(states(lab).values()) == ["established", "established"]
    asked = [lab.ask(name, "/filament/routes")["routes"] for name in CONTROLS]
    assert len(asked[0]) == 6
    keys = ("instance", "prefix", "next_hop", "label")
    one, two = ([[route[key] for key in keys] for route in routes] for routes in asked)
    assert one == two
    for host in ("host1", "host2", "host3"):
        routes = lab.ask(f"agent-{host}", "/filament/routes")["routes"]
        assert len({(each["vrf"], each["prefix"]) for each in routes}) == len(routes)
    assert reach.measure(lab) == reach.expected(lab.plan)


@pytest.mark.parametrize("victims", [[name] for name in CONTROLS] + [list(CONTROLS)], ids="+".join)
def test_control_nodes_killed_and_restarted_lose_no_packet(lab, victims):
    with Probe(lab, "red-1", "red-2") as near, Probe(lab, "blue-3", "blue-1") as far:
        time.sleep(BEFORE_S)
        for name in victims:
            lab.kill(name)
        time.sleep(2 * BEFORE_S)
        for name in victims:
            lab.restart(name)
        for name in lab.process_names:
            lab.wait_for(name)
        lab.wait_plugged()
        time.sleep(BEFORE_S)
    assert_nothing_lost([near, far])
    assert reach.measure(lab) == reach.expected(lab.plan)


@pytest.mark.parametrize("victim", CONTROLS)
def test_news_goes_on_while_one_is_away_and_nobody_waits_for_it(lab, victim):
    with Probe(lab, "red-1", "red-2") as probe:
        time.sleep(BEFORE_S)
        lab.kill(victim)
        began = time.monotonic()
        network = lab.intent.find_network(["default-domain", "demo", "red"])
        workload = lab.add_workload("red-9", "host3", network)
        lab.wait_plugged()
        assert time.monotonic() - began < 5, "the barrier waited for one that is gone"
        ping = ["ping", "-nqc1", "-W0.5", format_ipv4(workload.address)]
        assert lab.run("red-1", ping).returncode == 0
        lab.restart(victim)
        for name in lab.process_names:
            lab.wait_for(name)
        lab.wait_plugged()
        assert lab.run("red-1", ping).returncode == 0
        lab.remove_workload("red-9")
        lab.settle()
        assert lab.run("red-1", ping).returncode != 0
        time.sleep(BEFORE_S)
    assert_nothing_lost([probe])


def test_an_agent_restarted_while_one_is_away_loses_no_packet(lab):
    with Probe(lab, "red-1", "red-2") as probe:
        time.sleep(BEFORE_S)
        lab.kill("control")
        lab.kill("agent-host2")
        lab.restart("agent-host2")
        deadline = time.monotonic() + 10
        while sorted(answering(lab)) != ["connecting", "established"]:
            assert time.monotonic() < deadline, lab.log_tail("agent-host2")
            time.sleep(0.02)
        lab.settle()
        time.sleep(BEFORE_S)
    assert_nothing_lost([probe])
    assert reach.measure(lab) == reach.expected(lab.plan)


def answering(lab):
    try:
        return list(states(lab, "host2").values())
    except Exception:
        return []
