"""The flow tables of hosts as rows for people: who talks to whom, and what policy said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from filament.base.errors import NotFoundError
from filament.cli.suggest import suggestion
from filament.cli.verdicts import Workloads, deciding_text, end_text
from filament.doctor.packet import format_protocol
from filament.doctor.words import short_name
from filament.wire.packet.ipv4 import ICMP
from filament.wire.packet.ipv6 import ICMPV6

Record = dict[str, Any]
Named = tuple[str, Record]  # (host, what it said)


def ports_named(wanted: Sequence[str], interfaces: Iterable[Named]) -> set[tuple[str, int]]:
    """Find ports by name (the workload's will do), uuid or address: (host, vif) of each.

    Raises NotFoundError that suggests the nearest name.
    """
    names = [(host, item, _names_of(item)) for host, item in interfaces]
    chosen: set[tuple[str, int]] = set()
    for text in wanted:
        found = {(host, item["vif"]) for host, item, called in names if text in called}
        if not found:
            known = dict.fromkeys(name for _, _, called in names for name in called)
            raise NotFoundError(f"no host here has a port {text!r}{suggestion(text, known)}")
        chosen |= found
    return chosen


def _names_of(item: Record) -> list[str]:
    name = item["name"]
    called = (item["display_name"], name.rpartition(":")[2], name, item["uuid"], item["address"])
    return [each for each in called if each]


def flow_row(flow: Record, workloads: Workloads) -> Record:
    """Say one entry of a flow table in words."""
    name = format_protocol(flow["protocol"])
    fat = flow.get("fat", ())  # agents of before do not say
    if fat:
        name += f" fat ({', '.join(fat)})"
    return {
        "interface": workloads.get(flow["interface"]) or short_name(flow["interface"]),
        # The key of an ICMP flow has the echo's identifier in the place of the source port.
        "protocol": f"{name} id {flow['local_port']}"
        if flow["protocol"] in (ICMP, ICMPV6) and not fat
        else name,
        "source": end_text(flow, "source", workloads),
        "destination": end_text(flow, "destination", workloads),
        "verdict": "denied" if flow["denied"] else "passes",
        "rule": deciding_text(flow["rules"]) or "no policy",
        "out_packets": flow["out_packets"],
        "out_bytes": flow["out_bytes"],
        "in_packets": flow["in_packets"],
        "in_bytes": flow["in_bytes"],
        "age_s": idle_s(flow["started_ns"]),
        "idle_s": idle_s(flow["last_seen_ns"]),
    }


def idle_s(last_seen_ns: int) -> float | None:
    """How long ago a packet was seen, by this machine's clock; None when it cannot be told."""
    idle = (time.monotonic_ns() - last_seen_ns) / 1e9
    return idle if last_seen_ns and idle >= 0 else None
