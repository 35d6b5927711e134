"""The flow tables of hosts as rows for people: who talks to whom, and what policy said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from filament.base.errors import NotFoundError
from filament.cli.suggest import suggestion
from filament.doctor.packet import format_protocol
from filament.doctor.words import short_name
from filament.forward.layout import ACL_PASS
from filament.wire.packet.ipv4 import ICMP, TCP, UDP
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


def flow_row(flow: Record) -> Record:
    """Say one entry of a flow table in words."""
    protocol, name = flow["protocol"], format_protocol(flow["protocol"])
    has_ports = protocol in (TCP, UDP)
    source, destination = flow["source"], flow["destination"]
    verdict = "passes" if flow["action"] == ACL_PASS else "denied"
    return {
        "interface": short_name(flow["interface"]),
        # The key of an ICMP flow has the echo's identifier in the place of the source port.
        "protocol": f"{name} id {flow['local_port']}" if protocol in (ICMP, ICMPV6) else name,
        "source": _end(source, flow["source_port"]) if has_ports else source,
        "destination": _end(destination, flow["destination_port"]) if has_ports else destination,
        "verdict": verdict if flow["acl"] else f"{verdict} (no policy)",
        "packets": flow["out_packets"] + flow["in_packets"],
        "bytes": flow["out_bytes"] + flow["in_bytes"],
        "idle_s": idle_s(flow["last_seen_ns"]),
    }


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def idle_s(last_seen_ns: int) -> float | None:
    """How long ago a packet was seen, by this machine's clock; None when it cannot be told."""
    idle = (time.monotonic_ns() - last_seen_ns) / 1e9
    return idle if last_seen_ns and idle >= 0 else None
