"""`filament show bgp`: the BGP peers of control nodes, their sessions and what happened to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from filament.base.errors import NotFoundError
from filament.cli import local
from filament.cli.local import Answer
from filament.cli.options import json_option, pass_session
from filament.cli.output import cell, columns, format_pairs, print_json, print_lines, print_records
from filament.cli.session import Session
from filament.cli.suggest import suggestion

Record = dict[str, Any]
_TARGET = "/filament/bgp-neighbors"

control_option = click.option(
    "--control",
    "controls",
    multiple=True,
    metavar="NAME",
    help="Only this control node (may be repeated).",
)


@click.group("bgp")
def show_bgp() -> None:
    """Show BGP: peers and routes of control nodes."""


def _ask(session: Session, controls: Sequence[str]) -> list[Answer]:
    answers = local.ask(session.run_dir, "control", _TARGET, names=controls)
    local.require_some(answers, "control", session.run_dir)
    return answers


def _told(answers: Sequence[Answer]) -> Iterator[tuple[str, Record]]:
    return ((each.name, each.value) for each in answers if not each.problem)


@show_bgp.command("neighbors")
@control_option
@json_option
@pass_session
def show_neighbors(session: Session, controls: tuple[str, ...], as_json: bool) -> None:
    """Show the BGP peers of control nodes."""
    answers = _ask(session, controls)
    rows: list[Record] = []
    for name, value in _told(answers):
        rows += [
            {"control": name, **peer} if as_json else _row(name, peer)
            for peer in value["neighbors"]
        ]
        rows += [{"control": name, "problem": problem} for problem in value["problems"]]
    rows += [{"control": each.name, "problem": each.problem} for each in answers if each.problem]
    shown = [each for each in _FIELDS if any(row.get(each) not in (None, "") for row in rows)]
    print_records(rows, columns(*shown), as_json=as_json, nothing=_NOTHING)


_FIELDS = (
    *("control", "name", "address", "as", "kind", "state", "up_s", "lost"),
    *("routes", "families", "reason", "problem"),
)
_NOTHING = (
    "no BGP peers: make a bgp-router named like the control node, and one for each peer that it"
    " refers to"
)


def _row(control: str, peer: Record) -> Record:
    is_up = peer["state"] == "Established"
    families = [each for each in peer["families"] if each["agreed"] or not is_up]
    return {
        "control": control,
        "name": peer["name"],
        "address": peer["address"],
        "as": peer["peer_as"],
        "kind": _kind(peer),
        "state": peer["state"],
        "up_s": round(time.time() - peer["since"]) if is_up else None,
        "lost": peer["lost_count"],
        "routes": sum(each["routes"] for each in peer["families"]),
        "families": " ".join(each["family"] for each in families),
        "reason": peer["reason"],
    }


def _kind(peer: Record) -> str:
    if not peer["is_internal"]:
        return "external"
    return "client" if peer["is_client"] else "internal"


@show_bgp.command("neighbor")
@click.argument("name")
@click.option("--history", is_flag=True, help="What happened to the session, the oldest first.")
@control_option
@json_option
@pass_session
def show_neighbor(
    session: Session, name: str, history: bool, controls: tuple[str, ...], as_json: bool
) -> None:
    """Show one BGP peer in full: session, families, counters; --history tells how it came so."""
    answers = _ask(session, controls)
    found = [
        (control, peer)
        for control, value in _told(answers)
        for peer in value["neighbors"]
        if name in (peer["name"], peer["address"])
    ]
    if not found:
        known = sorted({peer["name"] for _, value in _told(answers) for peer in value["neighbors"]})
        raise NotFoundError(
            f"no control node here has a BGP peer {name!r}{suggestion(name, known)};"
            " `filament show bgp neighbors` lists them"
        )
    records = []
    for control, peer in found:
        target = f"{_TARGET}?name={peer['name']}"
        [answer] = local.ask(session.run_dir, "control", target, names=[control])
        if not answer.problem:
            records += [{"control": control, **each} for each in answer.value["neighbors"]]
    if as_json:
        print_json(records)
        return
    for record in records:
        print_lines(_history(record) if history else _details(record))


def _history(record: Record) -> list[str]:
    lines = [f"{record['control']} with {record['name']} ({record['address']}):"]
    for entry in record["history"]:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"]))
        fraction = f"{entry['at'] % 1:.3f}"[1:]
        detail = f"  {entry['detail']}" if entry["detail"] else ""
        lines.append(f"  {moment}{fraction}  {entry['state']:<11}  {entry['input']}{detail}")
    return lines


def _details(record: Record) -> list[str]:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["since"]))
    pairs = [
        ("control node", record["control"]),
        ("peer", f"{record['name']} ({record['address']} port {record['port']})"),
        ("state", record["state"] + (f": {record['reason']}" if record["reason"] else "")),
        ("since", since if record["since"] else "never established"),
        ("AS", f"{record['peer_as']} ({_kind(record)}); ours is {record['local_as']}"),
        ("identifier", record["peer_identifier"]),
        ("hold time", f"{record['hold_time_s']} s"),
        ("capabilities", ", ".join(record["capabilities"])),
        ("TCP MD5", record["has_password"]),
        ("passive", record["is_passive"]),
        ("established", f"{record['established_count']} times, lost {record['lost_count']} times"),
        ("sent", _counts(record["sent"])),
        ("received", _counts(record["received"])),
        ("forgiven", f"{record['faults']} malformed attributes" if record["faults"] else ""),
        ("last forgiven", record["last_fault"]),
        ("configured by", f"{record['origin']['object']} ({record['origin']['rule']})"),
    ]
    lines = format_pairs((key, cell(value)) for key, value in pairs if value not in ("", None))
    for family in record["families"]:
        lines.append(f"{family['family']}: {_family(family)}")
    return lines


def _counts(counts: Record) -> str:
    return (
        f"{counts['total']} messages ({counts['updates']} UPDATE, {counts['keepalives']} KEEPALIVE,"
        f" {counts['refreshes']} ROUTE-REFRESH), {counts['octets']} octets"
    )


def _family(family: Record) -> str:
    if not family["agreed"] and not family["stage"]:
        return "not agreed on"
    parts = [f"{family['routes']} of at most {family['maximum']} routes"]
    if family["agreed"]:
        parts.append("complete" if family["ended"] else "End-of-RIB not seen")
    if family["stale"]:
        until = f", swept in {family['until_s']:.0f} s" if family["until_s"] is not None else ""
        parts.append(f"{family['stale']} stale ({family['stage'] or 'sweeping'}{until})")
    return ", ".join(parts)
