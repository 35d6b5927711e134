"""The configuration API as its users meet it: a real process over HTTP, a database that grows.

    creates at 1 k, 10 k and 100 k objects: per second, latency, processor time each
    reads, lists of 1,000 with detail, reference updates, deletes at each size
    1,000 watchers: until the last has heard of a commit; none may miss one
    kill and restart at the largest size: seconds to the first answer
    the command line: seconds from a shell's point of view

Objects are made one request each, several at a time (`LANES` connections), with what a cloud has
(`estate`): the API checks them, allocates, compiles the plan and makes them durable before it
answers. What a create costs is told in processor time of the API process, which other work on the
machine disturbs less than the clock.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.api.estate import OBJECTS_PER_BLOCK, Estate
from bench.api.load import Connection, Lane, Run, ask, once, run
from bench.api.server import ApiProcess
from bench.api.watchers import Watchers

from filament.testing.etcd import EtcdCluster

LANES = 8  # requests in flight
WATCHERS = 1000
WATCHED_COMMITS = 50
LISTED = 1000
CLI_REPETITIONS = 7
# Smaller on etcd unless told otherwise: each group of commits is a round of its consensus, so
# that filling takes several times as long and measures etcd's disk rather than us.
SIZES = {"sqlite": (1_000, 10_000, 100_000), "etcd": (1_000, 10_000)}
FULL_SIZES = {"sqlite": (1_000, 10_000, 100_000), "etcd": (1_000, 10_000, 100_000)}

Say = Callable[[str], None]


def measure(*, is_full: bool, stores: Sequence[str], say: Say) -> dict[str, Any]:
    """Measure on each store; what to do with the figures is `bench.__main__`'s."""
    # On a disk: /run and /tmp may be memory, where being durable costs nothing.
    with TemporaryDirectory(prefix="filament-bench-", dir="/var/tmp") as directory:
        return _measure(Path(directory), is_full, stores, say)


def _measure(place: Path, is_full: bool, stores: Sequence[str], say: Say) -> dict[str, Any]:
    sizes = FULL_SIZES if is_full else SIZES
    result: dict[str, Any] = {}
    for store in stores:
        say("")
        if sizes[store] != FULL_SIZES[store]:
            say(f"{store} up to {sizes[store][-1]:,} objects only: --full goes on to 100,000")
        if store == "etcd":
            (place / "etcd").mkdir()
            with EtcdCluster(place / "etcd") as cluster:
                api = ApiProcess(place / "api", cluster.address)
                result[store] = _measure_store(api, store, sizes[store], is_full, say)
        else:
            api = ApiProcess(place / "api")
            result[store] = _measure_store(api, store, sizes[store], is_full, say)
    return result


def _measure_store(
    api: ApiProcess, store: str, sizes: Sequence[int], is_full: bool, say: Say
) -> dict[str, Any]:
    result: dict[str, Any] = {"lanes": LANES, "empty_start_s": api.start(), "sizes": {}}
    try:
        connections = api.connections(LANES)
        estate = Estate()
        run(connections, estate.fill(LANES, LANES))  # nothing cold in what is measured
        for size in sizes:
            found = _measure_size(api, connections, estate, size, is_full)
            result["sizes"][size] = found
            _say_size(store, size, found, say)
        result["watchers"] = _measure_watchers(api, connections, estate)
        _say_watchers(store, result["watchers"], say)
        for connection in connections:
            connection.close()
        api.kill()
        result["restart_s"] = api.start()
        result["restarted_objects"] = _status(api)["objects"]
        say(
            f"{store}: killed and restarted with {result['restarted_objects']:,} objects:"
            f" serving after {result['restart_s']:.2f} s, {api.rss_mib():.0f} MiB"
        )
        if store == "sqlite":
            result["cli"] = _measure_cli(api, say)
    finally:
        api.remove()
    return result


def _measure_size(
    api: ApiProcess, connections: list[Connection], estate: Estate, size: int, is_full: bool
) -> dict[str, Any]:
    filling = Run()
    while (lacking := size // OBJECTS_PER_BLOCK - estate.spare) > 0:
        filling.add(run(connections, estate.fill(min(lacking, 100), LANES)))
    before = _objects(api)
    cpu = api.cpu_s()
    creating = run(connections, estate.fill(LANES * (4 if is_full else 2), LANES))
    cpu = api.cpu_s() - cpu
    creates = sum(len(values) for values in creating.latencies.values())
    found: dict[str, Any] = {
        "objects": before,
        "creates_per_s": creates / creating.wall_s,
        "create_cpu_us": cpu / creates * 1e6,
        "create_ms": _latencies(creating),
        "client_share": creating.client_share,
        "rss_mib": api.rss_mib(),
    }
    if filling.wall_s:
        found["filled_per_s"] = filling.count / filling.wall_s
        found["filling_ms"] = _latencies(filling)
    count = 250 if is_full else 100
    for name, lanes in (
        ("read", [_reads(estate, count) for _ in range(LANES)]),
        ("reference_update", [_updates(estate, count // 4) for _ in range(LANES)]),
        ("delete", _deletes(estate)),
    ):
        done = run(connections, lanes)
        found[f"{name}_ms"] = _latencies(done)
        found[f"{name}s_per_s"] = done.count / done.wall_s
    uuids = estate.interfaces(LISTED)
    done = run(connections[:1], [_lists(uuids, 5)])
    found["list"] = {"objects": len(uuids), "ms": _latencies(done)}
    return found


def _reads(estate: Estate, count: int) -> Lane:
    for _ in range(count):
        _, interface = estate.any_port()
        yield ask("read", "GET", f"/virtual-machine-interface/{interface}")


def _updates(estate: Estate, count: int) -> Lane:
    """Take a port out of its security group and put it back."""
    for _ in range(count):
        block, interface = estate.any_port()
        for operation in ("DELETE", "ADD"):
            yield ask(
                "reference update",
                "POST",
                "/ref-update",
                {
                    "type": "virtual-machine-interface",
                    "uuid": interface,
                    "ref-type": "security-group",
                    "ref-uuid": block.security_group,
                    "operation": operation,
                },
            )


def _deletes(estate: Estate) -> list[Lane]:
    """Delete the ports of a block per lane; the block goes out of the estate."""

    def lane(ports: list[tuple[str, str]]) -> Lane:
        for interface, address in ports:
            yield ask("delete", "DELETE", f"/instance-ip/{address}")
            yield ask("delete", "DELETE", f"/virtual-machine-interface/{interface}")

    blocks = [estate.blocks.pop() for _ in range(min(LANES, len(estate.blocks) - 1))]
    return [lane(block.ports) for block in blocks]


def _lists(uuids: list[str], count: int) -> Lane:
    for _ in range(count):
        body = {"type": "virtual-machine-interface", "detail": True, "obj_uuids": uuids}
        reply = yield ask("list", "POST", "/list-bulk-collection", body)
        if len(reply.value()["virtual-machine-interfaces"]) != len(uuids):
            raise RuntimeError("a list lacks objects")


def _measure_watchers(
    api: ApiProcess, connections: list[Connection], estate: Estate
) -> dict[str, Any]:
    revision = _status(api)["revision"]
    watchers = Watchers(lambda: Connection(api.address), WATCHERS, revision)
    latencies: list[float] = []
    block = estate.blocks[-1]
    try:
        cpu, began = api.cpu_s(), time.perf_counter()
        for request in _ports(estate, WATCHED_COMMITS // 2):
            asked = time.perf_counter()
            once(connections[0], request)
            revision += 1
            latencies += [at - asked for at in watchers.read_until(revision)]
        wall, cpu = time.perf_counter() - began, api.cpu_s() - cpu
        # All at once: a burst that every watcher must get whole.
        began = time.perf_counter()
        burst = run(connections[:1], [_port_lane(estate, block, 100)])
        watchers.read_until(revision + burst.count)
        burst_s = time.perf_counter() - began
    finally:
        watchers.close()
    return {
        "count": WATCHERS,
        "commits": WATCHED_COMMITS,
        "delivery_ms": _spread([value * 1000 for value in latencies]),
        "cpu_us_per_delivery": cpu / (WATCHED_COMMITS * WATCHERS) * 1e6,
        "commits_per_s": WATCHED_COMMITS / wall,
        "burst": {"commits": burst.count, "s": burst_s},
        "wrong": watchers.wrong,
    }


def _ports(estate: Estate, count: int) -> Iterator[Any]:
    block = estate.blocks[-1]
    for number in range(count):
        yield from estate.port(block, f"watched-{number}")


def _port_lane(estate: Estate, block: Any, count: int) -> Lane:
    for number in range(count):
        yield from estate.port(block, f"burst-{number}")


def _measure_cli(api: ApiProcess, say: Say) -> dict[str, float]:
    """What a person waits for, the interpreter's start included; medians of a few."""
    verbs = {
        "ls": ["ls"],
        "ls -l": ["ls", "-l", "network-ipam"],
        "cat": ["cat", "virtual-network", "default-domain:project-0:net-0"],
        "tree": ["tree", "virtual-network", "default-domain:project-0:net-0"],
        "status": ["status"],
        "set": ["set", "virtual-network", "default-domain:project-0:net-0", "mtu=1400"],
    }
    found: dict[str, float] = {}
    for name, arguments in verbs.items():
        code = "from filament.cli.main import main; main()"
        argv = [sys.executable, "-c", code, "--run-dir", str(api.directory), *arguments]
        taken = []
        for _ in range(CLI_REPETITIONS):
            began = time.perf_counter()
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            taken.append(time.perf_counter() - began)
            if done.returncode:
                raise RuntimeError(f"filament {' '.join(arguments)}: {done.stderr}")
        found[name] = statistics.median(taken)
    slowest = max(found, key=lambda name: found[name])
    say(
        "filament "
        + ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in found.items())
        + f" (slowest: {slowest})"
    )
    return found


def _status(api: ApiProcess) -> dict[str, Any]:
    connection = Connection(api.address)
    status: dict[str, Any] = once(connection, ask("status", "GET", "/filament/status")).value()
    connection.close()
    return status


def _objects(api: ApiProcess) -> int:
    count: int = _status(api)["objects"]
    return count


def _latencies(done: Run) -> dict[str, float]:
    return _spread([value * 1000 for values in done.latencies.values() for value in values])


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[max(0, -(-len(ordered) * 99 // 100) - 1)],
        "max": ordered[-1],
    }


def _say_size(store: str, size: int, found: dict[str, Any], say: Say) -> None:
    def shown(name: str) -> str:
        value = found[name]
        return f"{value['p50']:.1f}/{value['p99']:.1f}"

    say(
        f"{store} at {size:>7,} objects: {found['creates_per_s']:.0f} creates/s,"
        f" {found['create_cpu_us']:.0f} us processor time each"
        f" (generator: {found['client_share']:.0%} of one); {found['rss_mib']:.0f} MiB"
    )
    listed = found["list"]
    say(
        f"{'':>12} ms p50/p99: create {shown('create_ms')}, read {shown('read_ms')},"
        f" reference update {shown('reference_update_ms')}, delete {shown('delete_ms')},"
        f" list of {listed['objects']} with detail {listed['ms']['p50']:.0f}"
    )


def _say_watchers(store: str, found: dict[str, Any], say: Say) -> None:
    delivery = found["delivery_ms"]
    say(
        f"{store}: {found['count']} watchers hear of a commit after {delivery['p50']:.0f} ms,"
        f" the last of them (p99) {delivery['p99']:.0f} ms;"
        f" {found['cpu_us_per_delivery']:.0f} us processor time each;"
        f" {found['burst']['commits']} commits at once to all in {found['burst']['s']:.1f} s;"
        f" {found['wrong']} skipped or out of order"
    )
