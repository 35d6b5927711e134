"""Long security groups and many of them: right verdicts, and a change of one rule is soon enforced.

`FILAMENT_GROUPS` is how many groups there are, if not the 1,000 that hosts are to take.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from filament.base.limits import MAX_TRANSACTION_OPERATIONS
from filament.testing.lab.intent import DOMAIN, PROJECT, require_followed
from filament.testing.lab.lab import agent_of

pytestmark = pytest.mark.lab

RULES = 10_000
GROUPS = int(os.environ.get("FILAMENT_GROUPS", "1000"))
CHANGES = 20
PATIENCE_S = "60"
SOURCE, TARGET = "10.1.1.3", "10.1.1.4"
ALL_PORTS = [{"start_port": 0, "end_port": 65535}]
LOCAL = [{"security_group": "local"}]
# Connects to each port in turn: a refusal is an answer, silence is a verdict.
PROBE = """
import json, socket, sys
answers = {}
for port in json.loads(sys.argv[2]):
    with socket.socket() as one:
        one.settimeout(0.3)
        answers[port] = one.connect_ex((sys.argv[1], port)) == 111
print(json.dumps(answers))
"""
# Connects until somebody answers, and says when: monotonic time is the same everywhere.
WATCH = """
import socket, sys, time
end = time.monotonic() + 20
while time.monotonic() < end:
    with socket.socket() as one:
        one.settimeout(0.005)
        if one.connect_ex((sys.argv[1], int(sys.argv[2]))) == 111:
            print(time.monotonic())
            break
"""


def rule(number: int) -> dict[str, Any]:
    """Distinct prefixes of several lengths, ports and ranges of them."""
    length = (32, 28, 24)[number % 3]
    base = ip_address("10.0.0.0") + (number << 8)
    low = 1000 + number % 50
    return match(f"{base}/{length}", low, low + (number % 5 == 0) * 100)


def match(prefix: str, low: int, high: int) -> dict[str, Any]:
    base, length = prefix.split("/")
    subnet = {"ip_prefix": base, "ip_prefix_len": int(length)}
    return {
        "direction": ">",
        "protocol": "tcp",
        "ethertype": "IPv4",
        "src_addresses": [{"subnet": subnet}],
        "src_ports": ALL_PORTS,
        "dst_addresses": LOCAL,
        "dst_ports": [{"start_port": low, "end_port": high}],
    }


def passes(rules: list[dict[str, Any]], source: str, port: int) -> bool:
    """The verdict by each rule in turn."""
    for one in rules:
        subnet, ports = one["src_addresses"][0]["subnet"], one["dst_ports"][0]
        network = ip_network(f"{subnet['ip_prefix']}/{subnet['ip_prefix_len']}")
        if ip_address(source) in network and ports["start_port"] <= port <= ports["end_port"]:
            return True
    return False


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def create_group(lab: Any, name: str, rules: list[dict[str, Any]]) -> str:
    uuid: str = lab.intent.client.create(
        "security-group",
        [DOMAIN, PROJECT, name],
        parent_type="project",
        security_group_entries={"policy_rule": rules},
    )
    return uuid


def create_groups(lab: Any, rules_by_name: dict[str, list[dict[str, Any]]]) -> None:
    """Make groups as many at once as may be."""
    operations = [
        {
            "op": "create",
            "type": "security-group",
            "object": {
                "fq_name": [DOMAIN, PROJECT, name],
                "parent_type": "project",
                "security_group_entries": {"policy_rule": rules},
            },
        }
        for name, rules in rules_by_name.items()
    ]
    for start in range(0, len(operations), MAX_TRANSACTION_OPERATIONS):
        some = operations[start : start + MAX_TRANSACTION_OPERATIONS]
        lab.intent.client.request("POST", "/transaction", {"operations": some})


def put(lab: Any, kind: str, uuid: str, **fields: Any) -> None:
    path, body = f"/{kind}/{uuid}", {kind: fields}
    answer = lab.intent.client.request("PUT", path, body, wait="agents", timeout_s=PATIENCE_S)
    require_followed(answer)


def put_rules(lab: Any, uuid: str, rules: list[dict[str, Any]]) -> None:
    put(lab, "security-group", uuid, security_group_entries={"policy_rule": rules})


def put_into(lab: Any, workload: str, *groups: str) -> None:
    uuid = lab.plan.workload(workload).interface_uuid
    refs = [{"to": [DOMAIN, PROJECT, group]} for group in groups]
    put(lab, "virtual-machine-interface", uuid, security_group_refs=refs)


def answered(lab: Any, ports: list[int]) -> dict[int, bool]:
    run = lab.run("red-1", ["python3", "-c", PROBE, TARGET, json.dumps(ports)])
    return {int(port): answer for port, answer in json.loads(run.stdout).items()}


def test_ten_thousand_rules_in_one_group_and_one_that_changes(lab):
    rules = [rule(number) for number in range(RULES)]
    rules[500] = match(f"{SOURCE}/32", 2000, 2000)
    rules[5000] = match("10.1.1.0/24", 3000, 3100)
    rules[9999] = match("10.1.0.0/16", 4000, 4000)
    began = time.monotonic()
    uuid = create_group(lab, "long", rules)
    put_into(lab, "red-2", "long")
    loaded_s = time.monotonic() - began
    ports = [80, 1000, 1049, 1999, 2000, 2001, 2999, 3000, 3100, 3101, 4000, 4001]
    wanted = {port: passes(rules, SOURCE, port) for port in ports}
    assert set(wanted.values()) == {True, False}
    assert answered(lab, ports) == wanted
    delays_s = []
    for number in range(CHANGES):
        port = 20_000 + number
        rules[7000] = match(f"{SOURCE}/32", port, port)
        argv = ["python3", "-c", WATCH, TARGET, str(port)]
        with lab.popen("red-1", argv, stdout=subprocess.PIPE) as watch:
            time.sleep(0.1)  # until it runs
            began = time.monotonic()
            put_rules(lab, uuid, rules)
            seen, _ = watch.communicate(timeout=30)
        assert seen, f"port {port} is not open"
        delays_s.append(float(seen) - began)
        if number:
            assert not answered(lab, [port - 1])[port - 1]  # and what was is no more
    delays_s.sort()
    agent = lab._process(agent_of("host2"))
    print(
        f"{RULES} rules: loaded in {loaded_s:.1f} s; one changed is enforced after"
        f" {1000 * delays_s[len(delays_s) // 2]:.0f} ms (half), {1000 * delays_s[-1]:.0f} ms"
        f" (all of {CHANGES}); agent {memory_kib(agent.pid)} KiB"
    )
    assert delays_s[len(delays_s) // 2] < 10.0  # of a machine that does much else
    put_into(lab, "red-2")


def test_many_groups(lab):
    began = time.monotonic()
    names = [f"many-{number}" for number in range(GROUPS)]
    ports = [10_000 + 10 * number for number in range(GROUPS)]
    rules = ([match("10.1.1.0/24", port, port + 1)] for port in ports)
    create_groups(lab, dict(zip(names, rules, strict=True)))
    put_into(lab, "red-2", *names)
    loaded_s = time.monotonic() - began
    asked = [ports[0], ports[0] + 1, ports[0] + 2, ports[len(ports) // 2], ports[-1], ports[-1] + 2]
    assert answered(lab, asked) == dict(
        zip(asked, [True, True, False, True, True, False], strict=True)
    )
    print(f"{GROUPS} groups: loaded in {loaded_s:.1f} s")
    put_into(lab, "red-2")
