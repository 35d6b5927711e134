"""The real keepalived on two ports: whoever is master gets the packets."""

import contextlib
import subprocess
import time

import pytest
from tests.lab.kit import lab_of
from tests.lab.test_ports import change_port

from filament.base.net import format_ipv4
from filament.testing.lab.namespaces import inside

pytestmark = pytest.mark.lab

SHARED = "10.1.1.50"
SENDER, FIRST, SECOND = "red-1", "red-2", "red-3"  # who asks, and who is master rather
PRIORITY = {FIRST: 200, SECOND: 100}
TAKEN_OVER_WITHIN_S = 5
ASKED_AGAIN = 10  # each time by another flow: a half of them would go astray if both had it
CONFIGURATION = """
global_defs {{
    vrrp_version 3
}}
vrrp_instance web {{
    state BACKUP
    interface eth0
    virtual_router_id 50
    priority {priority}
    advert_int 0.2
    unicast_src_ip {own}
    unicast_peer {{ {other} }}
    virtual_ipaddress {{ {shared}/32 }}
}}
"""


@pytest.fixture(scope="module")
def lab():
    """Three hosts, with a workload of red on each; two of them share an address."""
    with lab_of(host_count=3) as built:
        pair = {"ip": {"ip_prefix": SHARED, "ip_prefix_len": 32}, "address_mode": "active-standby"}
        for workload in PRIORITY:
            change_port(
                built,
                workload,
                virtual_machine_interface_allowed_address_pairs={"allowed_address_pair": [pair]},
            )
        yield built


@contextlib.contextmanager
def keepalived(lab, workload, directory):
    """Run it in a workload until the end of the block, when it says goodbye to the other."""
    (other,) = PRIORITY.keys() - {workload}
    own, theirs = (format_ipv4(lab.plan.workload(name).address) for name in (workload, other))
    file = directory / f"{workload}.conf"
    file.write_text(
        CONFIGURATION.format(
            priority=PRIORITY[workload],
            own=own,
            other=theirs,
            shared=SHARED,
        )
    )
    pids = [f"--{name}={directory}/{workload}.{name}" for name in ("pid", "vrrp_pid")]
    argv = ["keepalived", "--dont-fork", "--vrrp", "--log-console", f"--use-file={file}", *pids]
    with inside(lab.place(workload)), (directory / f"{workload}.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def master(lab):
    """Who answers for the shared address; None: nobody, or more than one has it."""
    shown = {name: lab.run(name, ["ip", "address", "show", "eth0"]).stdout for name in PRIORITY}
    holders = [name for name, text in shown.items() if f" {SHARED}/32" in text]
    answered = lab.run(SENDER, ["ping", "-c1", "-W1", SHARED]).returncode == 0
    return holders[0] if answered and len(holders) == 1 else None


def wait_for(lab, holder):
    deadline = time.monotonic() + TAKEN_OVER_WITHIN_S
    while (found := master(lab)) != holder:
        assert time.monotonic() < deadline, f"{found} answers, not {holder}"
    assert [master(lab) for _ in range(ASKED_AGAIN)] == [holder] * ASKED_AGAIN


def test_packets_follow_the_master(lab, tmp_path):
    with keepalived(lab, SECOND, tmp_path):
        with keepalived(lab, FIRST, tmp_path):
            wait_for(lab, FIRST)
        wait_for(lab, SECOND)
        with keepalived(lab, FIRST, tmp_path):
            wait_for(lab, FIRST)
