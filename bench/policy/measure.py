"""Packets, round trips and connections with policy: peers in turns, then what only we scale.

packets/s, round trip      one flow and a thousand, every one of them known after its first packet
connections/s              connect, request, answer, close: every one is judged anew
rules                      the same with 10 and with 10,000 rules in one group
change                     one rule of 10,000 withdrawn and given again by a request that holds that
                           rule, until packets feel it
put                        the same by a request that holds all rules, as TF's clients send them
flows                      a million connections held, and what they take
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.peers import Peer, Veth, Vxlan
from bench.policy.load import Load, compiled, prepare
from bench.policy.peers import FEW, MANY, WANTED, Groups, OvsCt, Routing, VxlanNft, rules

Json = dict[str, Any]
Say = Callable[[str], None]
_POLICED = (VxlanNft, OvsCt, Groups)
_FLOWS = (1, 1000)
_SECONDS = 1.0
_TRIP_SECONDS = 0.5
_CHANGES, _PUTS = 60, 15  # of each two: withdrawn, given
_ENOUGH_SHARE = 0.9
_PROBE_US = 200
_LOST_MS = 50
_CHANGES_S = 60.0  # no further change after so long
_FILL_PORTS, _FILL_SOURCES = 62, 16_384  # a little more than a million
_FILL_SECONDS = 90.0


def measure(run: Path, *, repetitions: int, say: Say) -> Json:
    """Build everybody, let them take turns, then scale ours."""
    load = Load(compiled(run))
    peers: list[Peer] = []
    try:
        for make in (Veth, Routing, Vxlan, *_POLICED):
            if make is OvsCt and shutil.which("ovs-vswitchd") is None:
                say("Open vSwitch is not installed: not compared (package openvswitch-switch)")
                continue
            peers.append(make(run))
            prepare(peers[-1])
            if make in _POLICED and not load.is_refused(peers[-1]):
                raise RuntimeError(f"{peers[-1].name} lets in what no rule allows")
            say(f"built {peers[-1].name}: {peers[-1].what}")
        found: Json = {"peers": _take_turns(load, peers, repetitions, say)}
        ours = peers[-1]
        assert isinstance(ours, Groups)
        found["rules"] = _scale_rules(load, ours, repetitions, say)
        found["change"] = _change(load, ours, say)
        found["put"] = _put(load, ours, say)
        found["flows"] = _hold_flows(load, ours, say)
        found["least_share"] = load.least_share
        if load.least_share < _ENOUGH_SHARE:
            say(
                f"  this machine did other work: a sender had {load.least_share:.0%} of its"
                " processor; compare nothing of this run"
            )
    finally:
        for peer in peers:
            peer.close()
    return found


def _take_turns(load: Load, peers: Iterable[Peer], repetitions: int, say: Say) -> Json:
    samples: dict[str, dict[str, list[float]]] = {}
    say(f"{'':<14} packets/s (1, 1000 flows)   round trip us (1, 1000)   connections/s")
    for _ in range(repetitions):
        for peer in peers:
            now = _measure_one(load, peer)
            for name, value in now.items():
                samples.setdefault(peer.name, {}).setdefault(name, []).append(value)
            say(
                f"  {peer.name:<12} {now['pps_1']:>10.0f} {now['pps_1000']:>10.0f}"
                f" {now['trip_us_1']:>15.1f} {now['trip_us_1000']:>9.1f} {now['crr']:>18.0f}"
            )
    return {
        peer.name: {
            "what": peer.what,
            **{name: _spread(values) for name, values in samples[peer.name].items()},
        }
        for peer in peers
    }


def _measure_one(load: Load, peer: Peer) -> dict[str, float]:
    found = {}
    for flows in _FLOWS:
        found[f"pps_{flows}"] = load.packets(peer, flows, _SECONDS)
        found[f"trip_us_{flows}"] = load.trip_us(peer, flows, _TRIP_SECONDS)
    connections = load.connections(peer, _SECONDS)
    found["crr"], found["crr_p99_us"] = connections["per_s"], connections["p99_us"]
    return found


def _spread(values: list[float]) -> Json:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "samples": values,
    }


def _scale_rules(load: Load, ours: Groups, repetitions: int, say: Say) -> Json:
    """The same with few rules and with many, in turns."""
    prepare(ours.many)
    began = time.monotonic()
    ours.set_many(rules(MANY))
    enforced_s = time.monotonic() - began
    say(f"  {MANY} rules enforced {enforced_s:.2f} s after they were asked for")
    samples: dict[str, dict[str, list[float]]] = {str(FEW): {}, str(MANY): {}}
    for _ in range(repetitions):
        for count, peer in ((FEW, ours), (MANY, ours.many)):
            now = {
                "pps": load.packets(peer, 1, _SECONDS),
                "crr": load.connections(peer, _SECONDS)["per_s"],
            }
            for name, value in now.items():
                samples[str(count)].setdefault(name, []).append(value)
            say(
                f"  {count:>6} rules  {now['pps']:>10.0f} packets/s"
                f" {now['crr']:>8.0f} connections/s"
            )
    return {
        "enforced_s": enforced_s,
        "by_count": {
            count: {name: _spread(values) for name, values in found.items()}
            for count, found in samples.items()
        },
    }


def _change(load: Load, ours: Groups, say: Say) -> Json:
    """One rule of many, by requests that hold only that rule."""
    wanted = WANTED[-1]
    uuid = ours.rule_uuid_of(wanted)
    return _until_felt(
        (load, ours, say),
        (lambda: ours.withdraw(uuid), lambda: ours.give(wanted, uuid)),
        _CHANGES,
        f"one rule of {MANY} changed",
    )


def _put(load: Load, ours: Groups, say: Say) -> Json:
    """One rule of many, by requests that hold them all."""
    every = rules(MANY)
    without = [rule for rule in every if rule is not WANTED[-1]]
    return _until_felt(
        (load, ours, say),
        (lambda: ours.set_many(without, wait=""), lambda: ours.set_many(every, wait="")),
        _PUTS,
        f"all of {MANY} rules sent for one",
    )


def _until_felt(
    what: tuple[Load, Groups, Say],
    change: tuple[Callable[[], None], Callable[[], None]],
    times: int,
    text: str,
) -> Json:
    """Withdraw and give the rule that a stream of packets needs, beside 9,999 others: from the
    start of the request to the last packet that passed before, or the first that passed after.
    """
    load, ours, say = what
    withdraw, give = change
    withdrawn: list[float] = []
    given: list[float] = []
    began = time.monotonic()
    with load.watching(ours.many, _PROBE_US, _LOST_MS) as watching:
        watching.began_ns(0)
        while len(given) < times and (not given or time.monotonic() - began < _CHANGES_S):
            asked_ns = time.monotonic_ns()
            withdraw()
            withdrawn.append(max(0.0, (watching.ended_ns() - asked_ns) / 1e6))
            asked_ns = time.monotonic_ns()
            give()
            given.append((watching.began_ns(asked_ns) - asked_ns) / 1e6)
    both = sorted(withdrawn + given)
    result = {
        "count": len(both),
        "p50_ms": statistics.median(both),
        "p99_ms": both[max(0, -(-len(both) * 99 // 100) - 1)],
        "withdrawn_ms": withdrawn,
        "given_ms": given,
    }
    say(
        f"  {text}, {len(both)} times, enforced after"
        f" p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms"
    )
    return result


def _hold_flows(load: Load, ours: Groups, say: Say) -> Json:
    """A million connections that both ends speak in, each in the tables of both hosts."""
    before = _flow_table(ours)
    empty = load.packets(ours, 1, _SECONDS)
    made = load.fill(ours, _FILL_PORTS, _FILL_SOURCES, _FILL_SECONDS)
    now = _flow_table(ours)
    full = load.packets(ours, 1, _SECONDS)
    grown = now["memory_bytes"] - before["memory_bytes"]
    result = {
        "made": made["flows"],
        "made_per_s": made["flows"] / (made["ns"] / 1e9),
        "held": now["held"],
        "limit": now["limit"],
        "memory_mib": now["memory_bytes"] / 2**20,
        "bytes_per_flow": grown / max(1, now["held"] - before["held"]),
        "pps_before": empty,
        "pps_with_them": full,
    }
    say(
        f"  {result['held']} flows held of {result['limit']}, {result['memory_mib']:.0f} MiB"
        f" ({result['bytes_per_flow']:.0f} bytes each), made {result['made_per_s']:.0f} a second;"
        f" {full:.0f} packets/s with them, {empty:.0f} before"
    )
    return result


def _flow_table(ours: Groups) -> Json:
    found: Json = ours.lab.ask("agent-host2", "/filament/status")["flows"]
    return found


def verdicts(found: Json) -> list[tuple[str, float, bool]]:
    """What is promised: name, measured, and whether more is better."""
    peers = found["peers"]

    def ratio(name: str, peer: str) -> float:
        return float(peers["filament"][name]["median"] / peers[peer][name]["median"])

    judged = [
        ("policy_pps_of_veth", ratio("pps_1", "veth"), True),
        ("policy_pps_1000_of_veth", ratio("pps_1000", "veth"), True),
        ("policy_pps_of_vxlan", ratio("pps_1", "vxlan"), True),
        ("policy_trip_of_veth", ratio("trip_us_1", "veth"), False),
        ("policy_trip_1000_of_veth", ratio("trip_us_1000", "veth"), False),
        ("policy_crr_of_veth", ratio("crr", "veth"), True),
        ("policy_pps_of_routing", ratio("pps_1", "routing"), True),
        ("policy_pps_1000_of_routing", ratio("pps_1000", "routing"), True),
        ("policy_crr_of_routing", ratio("crr", "routing"), True),
    ]
    for other in ("vxlan-nft", "ovs-ct"):
        if other in peers:
            short = other.partition("-")[2]
            judged += [
                (f"policy_pps_of_{short}", ratio("pps_1", other), True),
                (f"policy_crr_of_{short}", ratio("crr", other), True),
            ]
    few, many = (found["rules"]["by_count"][str(count)] for count in (FEW, MANY))
    judged += [
        ("policy_rules_pps", many["pps"]["median"] / few["pps"]["median"], True),
        ("policy_rules_crr", many["crr"]["median"] / few["crr"]["median"], True),
        ("policy_change_p99_ms", found["change"]["p99_ms"], False),
        ("policy_flows_held", found["flows"]["held"], True),
    ]
    return judged
