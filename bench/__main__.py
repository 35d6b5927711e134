"""Measure Filament beside what it competes with, in one run: `make bench`.

    python -m bench [--repetitions 7] [--seconds 2] [--ports 100]
                    [--only packets|policy|ports|api|bgp|fanout]
                    [--store sqlite|etcd] [--full]

Runs in namespaces of its own (scripts/private). Peers take turns (A-B-C-A-B-C), so that a noisy
minute hits all of them; medians are compared, and only ratios mean anything on another machine.
Results go to bench/results/ as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import fanout, machine, packets, ports
from bench.api import measure as api
from bench.bgp import measure as bgp
from bench.peers import PEERS, Peer
from bench.policy import measure as policy

RUN = Path("/run/filament-bench")
RESULTS = Path(__file__).parent / "results"
# What the project promises (docs/architecture.md): ratios of packet rates, milliseconds, and of the
# API on SQLite at its largest size.
EXPECTED = {
    "of_veth": 0.7,
    "of_vxlan": 1.4,
    "policy_pps_of_veth": 0.75,
    "policy_pps_1000_of_veth": 0.75,
    "policy_pps_of_vxlan": 1.6,
    "policy_trip_of_veth": 1.2,
    "policy_trip_1000_of_veth": 1.2,
    "policy_crr_of_veth": 0.8,
    "policy_pps_of_routing": 0.9,
    "policy_pps_1000_of_routing": 0.75,
    "policy_crr_of_routing": 0.8,
    "policy_pps_of_nft": 1.0,
    "policy_crr_of_nft": 1.0,
    "policy_pps_of_ct": 1.0,
    "policy_crr_of_ct": 1.0,
    "policy_rules_pps": 0.9,
    "policy_rules_crr": 0.5,
    "policy_change_p99_ms": 100.0,
    "policy_flows_held": 1_000_000,
    "first_reply_p50_ms": 20.0,
    "api_creates_per_s": 1000.0,
    "api_create_p99_ms": 20.0,
    "api_create_growth": 1.2,
    "api_restart_s": 5.0,
    "api_watchers_wrong": 0,
    "cli_slowest_s": 0.25,
    "fanout_added_s": 2.0,
    "fanout_withdrawn_s": 2.0,
    "fanout_longest_answer_s": 1.0,
    "fanout_bgp_keepalive_late_s": 1.0,
    "fanout_bgp_keepalives": 10,
    "fanout_xmpp_keepalive_late_s": 1.0,
    "fanout_xmpp_keepalives": 10,
    "fanout_restart_s": 5.0,
    "fanout_forgotten": 0,
    "fanout_rss_mb": 600.0,
    "fanout_to_others": 0,
    "bgp_vpnv4_of_frr": 2.0,
    "bgp_evpn_of_frr": 2.0,
    "bgp_memory_of_frr": 1.0,
    "bgp_restart_s": 5.0,
}


def main() -> int:
    """Measure, print, record; exit 1 when a promise is not kept."""
    arguments = _parse()
    result: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "settings": vars(arguments),
    }
    before = machine.load()
    if arguments.only in {None, "packets"}:
        result["packets"] = _measure_packets(arguments.repetitions, arguments.seconds)
    if arguments.only in {None, "policy"}:
        result["policy"] = policy.measure(
            RUN / "policy",
            repetitions=arguments.repetitions,
            say=_say,
        )
    if arguments.only in {None, "api"}:
        stores = [arguments.store] if arguments.store else ["sqlite", "etcd"]
        result["api"] = api.measure(is_full=arguments.full, stores=stores, say=_say)
    if arguments.only in {None, "bgp"}:
        result["bgp"] = bgp.measure(
            RUN / "bgp",
            is_full=arguments.full,
            repetitions=min(arguments.repetitions, bgp.MOST_REPETITIONS),
            say=_say,
        )
    if arguments.only in {None, "ports"}:
        result["ports"] = ports.measure(RUN / "ports", arguments.ports, say=_say)
    if arguments.only in {None, "fanout"}:
        result["fanout"] = fanout.measure(
            RUN / "fanout", repetitions=min(arguments.repetitions, 3), say=_say
        )
    result["load"] = {"before": before, "after": machine.load()}
    verdicts = _judge(result)
    result["verdicts"] = verdicts
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    _say("")
    for name, verdict in verdicts.items():
        _say(
            f"{name:<28} {verdict['measured']:>10.2f}   expected {verdict['expected']}"
            f"   {'kept' if verdict['kept'] else 'NOT KEPT'}"
        )
    _say(f"recorded in {path}")
    return 0 if all(verdict["kept"] for verdict in verdicts.values()) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="length of each measurement")
    parser.add_argument("--ports", type=int, default=100)
    parser.add_argument("--only", choices=["packets", "policy", "ports", "api", "bgp", "fanout"])
    parser.add_argument("--store", choices=["sqlite", "etcd"], help="measure the API on one only")
    parser.add_argument("--full", action="store_true", help="larger sizes as well: etcd, BGP")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)


def _measure_packets(repetitions: int, seconds: int) -> dict[str, dict[str, object]]:
    peers: list[Peer] = []
    try:
        for make in PEERS:
            peers.append(make(RUN))
            _say(f"built {peers[-1].name}: {peers[-1].what}")
        samples = packets.measure(peers, repetitions=repetitions, seconds=seconds, say=_say)
    finally:
        for peer in peers:
            peer.close()
    _say("")
    _say(f"{'':<12} {'64 B UDP packets/s':>22} {'TCP round trip us':>22}")
    summary: dict[str, dict[str, object]] = {}
    for peer in peers:
        rates, trips = samples[peer.name]
        summary[peer.name] = {
            "what": peer.what,
            "udp_64b_pps": _spread(rates),
            "tcp_rtt_us": _spread(trips),
        }
        _say(f"{peer.name:<12} {_show(rates, '.0f'):>22} {_show(trips, '.1f'):>22}")
    return summary


def _spread(values: list[float]) -> dict[str, object]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "samples": values,
    }


def _show(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _judge(result: dict[str, object]) -> dict[str, dict[str, object]]:
    verdicts: dict[str, dict[str, object]] = {}

    def judge(name: str, measured: float, *, at_least: bool) -> None:
        expected = EXPECTED[name]
        kept = measured >= expected if at_least else measured <= expected
        verdicts[name] = {"measured": measured, "expected": expected, "kept": kept}

    packets_found = result.get("packets")
    if packets_found:
        rate = {name: found["udp_64b_pps"]["median"] for name, found in packets_found.items()}
        judge("of_veth", rate["filament"] / rate["veth"], at_least=True)
        judge("of_vxlan", rate["filament"] / rate["vxlan"], at_least=True)
    if result.get("policy"):
        for name, measured, at_least in policy.verdicts(result["policy"]):
            judge(name, measured, at_least=at_least)
    found = result.get("api", {}).get("sqlite")
    if found:
        smallest, *_, largest = found["sizes"].values()
        growth = largest["create_cpu_us"] / smallest["create_cpu_us"]
        judge("api_creates_per_s", largest["creates_per_s"], at_least=True)
        judge("api_create_p99_ms", largest["create_ms"]["p99"], at_least=False)
        judge("api_create_growth", growth, at_least=False)
        judge("api_restart_s", found["restart_s"], at_least=False)
        judge("api_watchers_wrong", found["watchers"]["wrong"], at_least=False)
        judge("cli_slowest_s", max(found["cli"].values()), at_least=False)
    found = result.get("bgp")
    if found:
        _judge_bgp(found, judge)
    if result.get("ports"):
        judge("first_reply_p50_ms", result["ports"]["first_reply_ms"]["p50"], at_least=False)
    fanned = result.get("fanout")
    if fanned:
        judge("fanout_added_s", statistics.median(fanned["added_s"]), at_least=False)
        judge("fanout_withdrawn_s", statistics.median(fanned["withdrawn_s"]), at_least=False)
        judge("fanout_longest_answer_s", fanned["longest_answer_s"], at_least=False)
        for kind, kept in fanned["keepalives"].items():
            judge(f"fanout_{kind}_keepalive_late_s", kept["latest_s"], at_least=False)
            judge(f"fanout_{kind}_keepalives", kept["count"], at_least=True)
        judge("fanout_restart_s", fanned["restart_s"], at_least=False)
        judge("fanout_forgotten", fanned["forgotten"], at_least=False)
        judge("fanout_rss_mb", fanned["control_rss_mb"], at_least=False)
        judge("fanout_to_others", fanned["messages_to_others"], at_least=False)
    return verdicts


def _judge_bgp(found: dict[str, Any], judge: Callable[..., None]) -> None:
    """The worst case counts; without FRR there is nothing to compare with."""
    cases = [
        (name, case["filament"], case["frr"])
        for name, case in found["cases"].items()
        if "frr" in case
    ]
    for family in ("vpnv4", "evpn"):
        ratios = [
            ours["routes_per_s"] / theirs["routes_per_s"]
            for name, ours, theirs in cases
            if name.startswith(family)
        ]
        if ratios:
            judge(f"bgp_{family}_of_frr", min(ratios), at_least=True)
    if cases:
        memory = max(ours["rss_mib"] / theirs["rss_mib"] for _, ours, theirs in cases)
        judge("bgp_memory_of_frr", memory, at_least=False)
    judge("bgp_restart_s", found["restart_s"], at_least=False)


sys.exit(main())
