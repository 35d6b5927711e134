"""From asking the API for a port to the first reply of the workload behind it.

Each port is made on the second host of a two-host lab with a prober on the first. The workload's
namespace and veth are there before, as a hypervisor's would be; the clock runs from the first
request to the API until the prober hears its first reply: objects created, configuration compiled,
sent and applied, port plugged, route published, reflected and programmed on the other host. Both
ends have permanent neighbours: ARP retries of a second would hide everything else.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from filament.base.net import ROUTER_MAC, format_ipv4
from filament.testing.lab import links, namespaces
from filament.testing.lab.intent import Network
from filament.testing.lab.lab import Lab
from filament.testing.lab.links import End
from filament.testing.lab.plan import TENANT_MTU_BYTES, Workload
from filament.testing.lab.probes import PROBE_PORT, compiled
from filament.testing.lab.scenario import build_scenario
from filament.testing.lab.teardown import tear_down

PROBE_INTERVAL_US = 250
TIMEOUT_MS = 10_000
FIRST_NUMBER = 100  # addresses 10.1.1.100 and up: the scenario's own come from the start


def measure(run: Path, count: int, *, say: Callable[[str], None]) -> dict[str, object]:
    """Make `count` ports one after another; milliseconds, medians and 99th percentiles."""
    say("")
    say(f"building a lab for {count} ports")
    lab = build_scenario(run, lambda _: None)
    try:
        network = lab.intent.find_network(["default-domain", "demo", "red"])
        samples = [_measure_one(lab, network, number) for number in range(count)]
    finally:
        tear_down(run, lambda _: None)
    total = sorted(sample["first_reply_ms"] for sample in samples)
    result: dict[str, object] = {"count": count}
    for part in ("objects_ms", "plugged_ms", "first_reply_ms"):
        values = sorted(sample[part] for sample in samples)
        result[part] = {"p50": statistics.median(values), "p99": _percentile(values, 99)}
    result["samples_ms"] = [sample["first_reply_ms"] for sample in samples]
    say(
        f"port-create to first reply: p50 {statistics.median(total):.1f} ms,"
        f" p99 {_percentile(total, 99):.1f} ms (objects by"
        f" {result['objects_ms']['p50']:.1f} ms, plugged by {result['plugged_ms']['p50']:.1f} ms)"
    )
    return result


def _percentile(values: list[float], percent: int) -> float:
    """Nearest rank in sorted values."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def _measure_one(lab: Lab, network: Network, number: int) -> dict[str, float]:
    name = f"port-{number}"
    address = network.prefix.address + FIRST_NUMBER + number
    mac = 0x020000000000 + address
    device = f"tapport{number}"
    host = lab.directories.namespace("host2")
    place = lab.directories.namespace(name)
    namespaces.create_namespace(place)
    links.prepare_namespace(place)
    links.add_veth(End(place, "eth0", mac), End(host, device), mtu_bytes=TENANT_MTU_BYTES)
    links.add_address(place, "eth0", address, network.prefix.length)
    prober = lab.plan.workload("red-1")
    links.add_neighbour(place, "eth0", prober.address, ROUTER_MAC)
    links.add_neighbour(lab.place(prober.name), "eth0", address, ROUTER_MAC)
    program = str(compiled(lab.directories.run))
    reflector = _start(place, [program, "reflect", str(PROBE_PORT)])
    argv = [program, "first", format_ipv4(address), str(PROBE_PORT)]
    probe = _start(lab.place(prober.name), [*argv, str(PROBE_INTERVAL_US), str(TIMEOUT_MS)])
    began = time.monotonic_ns()
    interface = lab.intent.create_workload(name, network, address=address, mac=mac)
    made = time.monotonic_ns()
    lab.plug(
        Workload(
            name=name,
            host="host2",
            network=network.name,
            machine_uuid=interface.machine_uuid,
            interface_uuid=interface.interface_uuid,
            device=device,
            mac=mac,
            address=address,
            length=network.prefix.length,
            gateway=network.gateway,
        )
    )
    plugged = time.monotonic_ns()
    text, _ = probe.communicate(timeout=TIMEOUT_MS / 1000 + 5)
    reflector.terminate()
    reflector.communicate(timeout=5)
    replied = json.loads(text.splitlines()[-1])["replied_ns"]
    if replied is None:
        raise RuntimeError(f"{name} did not reply within {TIMEOUT_MS} ms")
    return {
        "objects_ms": (made - began) / 1e6,
        "plugged_ms": (plugged - began) / 1e6,
        "first_reply_ms": (replied - began) / 1e6,
    }


def _start(place: Path, argv: list[str]) -> subprocess.Popen[str]:
    """Start a probe and wait for its word that it is ready."""
    with namespaces.inside(place):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process
