"""`filament show bgp tables|routes|targets|rejected`: what control nodes hold, table by table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from filament.cli import local
from filament.cli.local import Answer
from filament.cli.options import json_option, pass_session
from filament.cli.output import columns, print_note, print_records
from filament.cli.session import Session
from filament.cli.show_bgp import control_option, show_bgp
from filament.client.http import with_query

Record = dict[str, Any]
_DEFAULT_LIMIT = 1000


def _ask(session: Session, target: str, controls: Sequence[str]) -> list[Answer]:
    answers = local.ask(session.run_dir, "control", target, names=controls)
    local.require_some(answers, "control", session.run_dir)
    return answers


def _print(
    answers: Sequence[Answer], rows: list[Record], shown: str, *, as_json: bool, nothing: str
) -> None:
    rows += [{"control": each.name, "problem": each.problem} for each in answers if each.problem]
    fields = [
        each
        for each in (*shown.split(), "problem")
        if any(row.get(each) not in (None, "", []) for row in rows)
    ]
    print_records(rows, columns(*fields), as_json=as_json, nothing=nothing)


@show_bgp.command("tables")
@click.argument("text", required=False, default="")
@click.option("--all", "is_all", is_flag=True, help="Also tables without routes.")
@control_option
@json_option
@pass_session
def show_tables(
    session: Session, text: str, is_all: bool, controls: tuple[str, ...], as_json: bool
) -> None:
    """Show tables and how many routes they have; TEXT is part of a table's name."""
    answers = _ask(session, with_query("/filament/tables", {"name": text}), controls)
    rows = [
        {"control": name, **table}
        for name, table in local.rows(answers, "tables")
        if is_all or table["paths"]
    ]
    shown = "control name prefixes paths primary secondary infeasible stale"
    _print(answers, rows, shown, as_json=as_json, nothing="no table has routes")


@show_bgp.command("routes")
@click.argument("prefix", required=False)
@click.option("--table", metavar="TABLE", help="Only this table, as bgp.l3vpn.0.")
@click.option("--instance", metavar="NAME", help="Only this routing instance's tables.")
@click.option(
    "--family", metavar="FAMILY", help="Only inet, inet6, evpn, ermvpn, inetvpn, rtarget."
)
@click.option("--peer", metavar="PEER", help="Only paths of this agent (name) or router (address).")
@click.option("--longer", is_flag=True, help="Routes inside PREFIX, too.")
@click.option("--shorter", is_flag=True, help="Routes around PREFIX, too; always of an address.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_DEFAULT_LIMIT,
    show_default=True,
    help="How many routes of each control node.",
)
@control_option
@json_option
@pass_session
def show_routes(
    session: Session,
    prefix: str | None,
    table: str | None,
    instance: str | None,
    family: str | None,
    peer: str | None,
    longer: bool,
    shorter: bool,
    limit: int,
    controls: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show routes of control nodes with every path, the best first."""
    asked = {
        "routing_table": table,
        "routing_instance": instance,
        "prefix": prefix,
        "family": family,
        "source": peer,
        "longer_match": "1" if longer else None,
        "shorter_match": "1" if shorter or (prefix and "/" not in prefix) else None,
    }
    query = {name: value for name, value in asked.items() if value}
    answers = _ask(session, with_query("/filament/table-routes", query), controls)
    rows: list[Record] = []
    for answer in answers:
        if not answer.problem:
            rows += _pages(session, answer, limit, as_json=as_json)
    shown = "control table prefix best protocol peer next_hop label as_path preference encap flags"
    _print(answers, rows, shown, as_json=as_json, nothing="no such route")


def _pages(session: Session, answer: Answer, limit: int, *, as_json: bool) -> list[Record]:
    """Return rows of one control node, asking for more pages as long as there may be more."""
    routes: list[Record] = list(answer.value["routes"])
    following = answer.value["next"]
    while following and len(routes) < limit:
        target = with_query("/filament/table-routes", {"next": following})
        [more] = local.ask(session.run_dir, "control", target, names=[answer.name])
        if more.problem:
            return [{"control": answer.name, "problem": more.problem}]
        routes += more.value["routes"]
        following = more.value["next"]
    if following or len(routes) > limit:
        print_note(f"{answer.name} has more than {limit} such routes; see --limit")
    kept = routes[:limit]
    if as_json:
        return [{"control": answer.name, **route} for route in kept]
    return [row for route in kept for row in _path_rows(answer.name, route)]


def _path_rows(control: str, route: Record) -> list[Record]:
    """Make a row of each path; the route's own columns stand once."""
    rows = []
    for index, path in enumerate(route["paths"]):
        place = {"control": control, "table": route["table"], "prefix": route["prefix"]}
        usable = not any(flag != "Stale" for flag in path["flags"])
        rows.append(
            {
                **(place if index == 0 else {}),
                "best": "*" if index == 0 and usable else "",
                "protocol": path["protocol"],
                "peer": path["source"],
                "next_hop": path["next_hop"],
                "label": path["label"] or None,
                "as_path": path["as_path"],
                "preference": path["local_preference"],
                "encap": "/".join(path["tunnel_encap"]),
                "flags": path["flags"],
            }
        )
    return rows


@show_bgp.command("rejected")
@control_option
@json_option
@pass_session
def show_rejected(session: Session, controls: tuple[str, ...], as_json: bool) -> None:
    """Show routes that were received and cannot be used, with the reason; the newest last."""
    answers = _ask(session, "/filament/rejected", controls)
    rows = [{"control": name, **each} for name, each in local.rows(answers, "rejected")]
    shown = "control peer table first count reason"
    _print(answers, rows, shown, as_json=as_json, nothing="every route received can be used")
