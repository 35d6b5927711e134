"""`filament show flows`: the flow tables of hosts, both directions of each, and who allowed it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from filament.cli import local
from filament.cli.complete import complete_workloads
from filament.cli.flows import flow_row, ports_named
from filament.cli.merged import ask_role, print_merged, silent_rows
from filament.cli.observe import Ends, end_options
from filament.cli.options import json_option, pass_session
from filament.cli.session import Session
from filament.cli.verdicts import workloads_of

Record = dict[str, Any]
_DEFAULT_LIMIT = 1000


@click.command("flows")
@end_options
@click.option("--denied", "only_denied", is_flag=True, help="Only flows that may not pass.")
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_workloads,
    help="Only at this port, by its name or uuid, its workload's name, or its address.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="At most so many of each host, the last seen.",
)
@json_option
@pass_session
def show_flows(
    session: Session,
    ends: Ends,
    only_denied: bool,
    interfaces: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Show the flows that hosts have judged, the last seen first: at each port both directions of
    a connection (out and in are the port's), what policy said, and which rule.
    """
    held = ask_role(session, "agent", "/filament/interfaces", ends.hosts)
    known = list(local.rows(held, "interfaces"))
    workloads = workloads_of(known)
    query = ends.query(workloads, is_denied=only_denied)
    query += [("limit", str(limit))]
    if interfaces:
        vifs = sorted({vif for _, vif in ports_named(interfaces, known)})
        query += [("vif", str(vif)) for vif in vifs]
    answers = ask_role(session, "agent", f"/filament/flows?{urlencode(query)}", ends.hosts)
    flows = list(local.rows(answers, "flows"))
    if interfaces:
        wanted = ports_named(interfaces, known)
        flows = [(host, flow) for host, flow in flows if (host, flow["vif"]) in wanted]
    rows = [{"host": host, **flow} for host, flow in flows]
    if not as_json:
        rows = [{"host": host, **flow_row(flow, workloads)} for host, flow in flows]
    print_merged(
        rows + silent_rows(answers),
        "host interface protocol source destination verdict rule out_packets out_bytes in_packets"
        " in_bytes age_s idle_s",
        as_json=as_json,
        nothing="no such flow" if query[:-1] else "no flow",
    )
