"""A control node that is killed while its agents hold 10,000 routes: nobody forgets one of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from filament.base.net import format_ipv4
from filament.testing.lab import namespaces
from filament.testing.lab.lab import agent_of
from filament.testing.lab.plan import CONTROL_NAMESPACE, XMPP_PORT
from filament.testing.lab.probes import Probe

pytestmark = pytest.mark.lab

ROUTES = 10_000
RED = "default-domain:demo:red:red"
PROCESSOR_S = 5.0
HOSTS = ("host1", "host2")


@pytest.fixture(scope="module")
def published(lab):
    """The routes are of a third host, which is a process that speaks XMPP and no more."""
    address = lab.plan.control_address + 60
    lab.intent.create_host("host9", address)
    control = f"{format_ipv4(lab.plan.control_address)}:{XMPP_PORT}"
    argv = ["-m", "tests.lab.publisher", control, "host9", format_ipv4(address), RED, str(ROUTES)]
    with namespaces.inside(lab.place(CONTROL_NAMESPACE)):
        publisher = subprocess.Popen([sys.executable, *argv], cwd=Path(__file__).parents[2])
    try:
        until(lambda: all(held(lab, host) for host in HOSTS), 60.0)
        yield lab
    finally:
        publisher.kill()
        publisher.wait()


def until(condition, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s} s"
        time.sleep(0.05)


def held(lab, host):
    """Whether a host has all of them in its kernel's tables."""
    rows = lab.ask(agent_of(host), "/filament/status")["rows"]
    return rows["routes"] >= ROUTES


def is_converged(lab):
    """Everybody is back, has published again, and has been told that this is all; meanwhile
    nobody has forgotten anything.
    """
    hosts = [lab.ask(agent_of(host), "/filament/status") for host in HOSTS]
    rows = [host["rows"]["routes"] for host in hosts]
    assert min(rows) >= ROUTES, f"forgotten: {rows} of {ROUTES} and some are left"
    status = lab.ask("control", "/filament/status")
    return (
        status["complete"]
        and not status["awaited"]
        and status["settled"] == status["revision"]
        and len(status["agents"]) == len(HOSTS) + 1
        and all(
            control["state"] == "established" and control["whole"]
            for host in hosts
            for control in host["controls"]
        )
    )


def processor_s(lab):
    """Return how long the processes of the lab have computed, by name."""
    return {
        process.program.name: cpu_s(process.pid) for process, is_alive in lab.status() if is_alive
    }


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_restart_with_ten_thousand_routes_costs_neither_a_route_nor_a_packet(published):
    """How soon it has converged the bench measures, on a machine that does nothing else. Here it is
    what the control node and the slower agent compute for it, one after the other.
    """
    lab = published
    with Probe(lab, "red-1", "red-2") as probe:
        time.sleep(0.3)
        lab.kill("control")
        assert all(held(lab, host) for host in HOSTS), "forgotten without a control node"
        began, before = time.monotonic(), processor_s(lab)
        lab.restart("control")
        lab.wait_for("control")
        until(lambda: is_converged(lab), 60.0)
        took_s, after = time.monotonic() - began, processor_s(lab)
        time.sleep(0.3)
    computed = {name: round(after[name] - before.get(name, 0.0), 2) for name in after}
    print(f"converged after {took_s:.2f} s; computed {computed}")
    assert computed["control"] + max(computed[agent_of(host)] for host in HOSTS) <= PROCESSOR_S
    outcome = probe.outcome
    assert (outcome.lost, outcome.refused, outcome.duplicates) == (0, 0, 0), outcome
    rows = lab.ask("control", "/filament/tables?name=red.inet.0")["tables"]
    assert rows[0]["prefixes"] >= ROUTES
