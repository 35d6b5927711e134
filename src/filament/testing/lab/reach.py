"""Who reaches whom, found out by pinging, and the tables that show a lab to a person."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping

from filament.base.net import format_ipv4
from filament.cli.output import columns, format_table
from filament.testing.lab.lab import Lab
from filament.testing.lab.plan import LabPlan

Reach = Mapping[tuple[str, str], bool]
_PING = ("ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "0.5")


def measure(lab: Lab) -> dict[tuple[str, str], bool]:
    """Ping every workload from every other, all at once; True where any echo came back."""
    pings = {
        (source.name, target.name): lab.popen(
            source.name,
            [*_PING, format_ipv4(target.address)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for source in lab.plan.workloads
        for target in lab.plan.workloads
        if source.name != target.name
    }
    return {pair: ping.wait() == 0 for pair, ping in pings.items()}


def expected(plan: LabPlan) -> dict[tuple[str, str], bool]:
    """What a lab without policies must show: a network's own workloads and no others."""
    return {
        (source.name, target.name): source.network == target.network
        for source in plan.workloads
        for target in plan.workloads
        if source.name != target.name
    }


def format_workloads(plan: LabPlan) -> list[str]:
    """The table of workloads: name, network, address, host."""
    records = [
        {
            "name": workload.name,
            "network": workload.network.rpartition(":")[2],
            "address": format_ipv4(workload.address),
            "host": workload.host,
        }
        for workload in plan.workloads
    ]
    return format_table(records, columns("name", "network", "address", "host"))


def format_reach(names: Iterable[str], reach: Reach) -> list[str]:
    """The reachability matrix: rows ping columns."""
    names = list(names)
    records = []
    for source in names:
        record: dict[str, str] = {"from": source}
        for target in names:
            if source != target:
                record[target] = "reaches" if reach[source, target] else "no"
        records.append(record)
    return format_table(records, columns("from", *names))
