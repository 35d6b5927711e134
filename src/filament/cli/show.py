"""`filament show`: what hosts and control nodes really hold, merged into one table.

A role that does not answer is a note below the table (a member of the JSON), never a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from filament.base.errors import InputError
from filament.base.net import Prefix
from filament.cli import (
    local,
    show_tables,  # noqa: F401 - adds commands to `show bgp`
)
from filament.cli.candidates import MOST_PREFIXES, candidate_rows, explain
from filament.cli.complete import complete_hosts, complete_workloads
from filament.cli.flows import flow_row, ports_named
from filament.cli.local import Answer
from filament.cli.options import json_option, pass_session
from filament.cli.output import columns, print_json, print_lines, print_records
from filament.cli.session import Session
from filament.cli.show_bgp import show_bgp
from filament.cli.suggest import suggestion
from filament.cli.why import ask_why, why_lines
from filament.doctor.words import short_instance, short_name

Record = dict[str, Any]
# How names are shortened for people; JSON has whole ones.
_SHORTENED = {
    "vrf": short_instance,
    "instance": short_instance,
    "network": short_name,
    "interface": short_name,
    "source": short_name,
    "from": short_instance,
}

host_option = click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_hosts,
    help="Only this host (may be repeated).",
)


@click.group("show")
def show() -> None:
    """Show what hosts and control nodes really hold."""


show.add_command(show_bgp)


def _ask(session: Session, role: str, target: str, names: Sequence[str]) -> list[Answer]:
    answers = local.ask(session.run_dir, role, target, names=names)
    local.require_some(answers, role, session.run_dir)
    return answers


def _silent(answers: Sequence[Answer]) -> list[Record]:
    """Make a row of each role that did not answer."""
    return [{"host": each.name, "problem": each.problem} for each in answers if each.problem]


def _print(records: list[Record], shown: str, *, as_json: bool, nothing: str) -> None:
    """Print merged rows; `shown` names the columns, of which empty ones are left out."""
    fields = [
        each
        for each in (*shown.split(), "problem")
        if any(row.get(each) not in (None, "") for row in records)
    ]
    print_records(records, columns(*fields), as_json=as_json, nothing=nothing)


def pick_vrf(wanted: str, known: Iterable[str]) -> str:
    """Find the VRF a person means: its whole name, or its unique short name."""
    names = sorted(set(known))
    if wanted in names:
        return wanted
    meant = [name for name in names if wanted in (short_instance(name), name.rpartition(":")[0])]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(
            "ambiguous-vrf", f"{wanted!r} is short for " + " and ".join(meant), hint="name one"
        )
    raise InputError(
        "unknown-vrf",
        f"no host here has a VRF {wanted!r}{suggestion(wanted, map(short_instance, names))}",
        hint="`filament show vrf` lists them",
    )


def prefix_filter(text: str | None) -> Callable[[str], bool]:
    """Return a test of route prefixes: an address asks who covers it, a prefix who lies in it."""
    if text is None:
        return lambda _: True
    wanted = Prefix.parse(text)
    if "/" in text:
        return lambda prefix: (
            Prefix.parse(prefix).length >= wanted.length and wanted.overlaps(Prefix.parse(prefix))
        )
    return lambda prefix: Prefix.parse(prefix).contains(wanted.address, wanted.version)


@show.command("route")
@click.argument("prefix", required=False)
@click.option("--vrf", metavar="VRF", help="Only this VRF; a network's short name will do.")
@click.option("--control", "from_control", is_flag=True, help="Ask control nodes, not hosts.")
@click.option(
    "--why", is_flag=True, help="Say why: every path, what decided, imports, and who is told."
)
@host_option
@json_option
@pass_session
def show_route(
    session: Session,
    prefix: str | None,
    vrf: str | None,
    from_control: bool,
    why: bool,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show routes; an address as PREFIX shows the routes that cover it.

    With --control and a PREFIX: every candidate path, the chosen ones marked, and why. With --why
    control nodes say all that they know of it.
    """
    if why:
        _print_why(session, prefix, vrf, hosts, as_json=as_json)
        return
    wanted = prefix_filter(prefix)
    role = "control" if from_control else "agent"
    answers = _ask(session, role, "/filament/routes", hosts)
    field = "instance" if from_control else "vrf"
    listed = list(local.rows(answers, "routes"))
    chosen = None
    if vrf is not None:
        known = [item[field] for _, item in listed]
        if from_control:
            instances = local.ask(session.run_dir, role, "/filament/instances", names=hosts)
            known += [item["name"] for _, item in local.rows(instances, "instances")]
        chosen = pick_vrf(vrf, known)
    rows = [
        {"host": name, **item}
        for name, item in listed
        if wanted(item["prefix"]) and chosen in (None, item[field])
    ]
    if from_control and prefix is not None:
        prefixes = [*dict.fromkeys(row["prefix"] for row in rows)] or [str(Prefix.parse(prefix))]
        if len(prefixes) <= MOST_PREFIXES:
            explained = explain(session.run_dir, hosts, chosen, prefixes)
            _print_candidates(explained, as_json=as_json)
            return
    if not as_json:
        # Label 0 is no label: only tunnels have one.
        rows = [_shortened(row) | {"label": row.get("label") or None} for row in rows]
    _print(
        rows + _silent(answers),
        f"host {field} prefix type next_hop label device network source",
        as_json=as_json,
        nothing="no such route",
    )


def _print_why(
    session: Session, prefix: str | None, vrf: str | None, controls: Sequence[str], *, as_json: bool
) -> None:
    if prefix is None:
        raise InputError(
            "no-prefix", "--why of which route?", hint="give a prefix or an address: 10.1.1.3"
        )
    Prefix.parse(prefix)
    instance = vrf
    if vrf is not None:
        instances = local.ask(session.run_dir, "control", "/filament/instances", names=controls)
        instance = pick_vrf(vrf, [item["name"] for _, item in local.rows(instances, "instances")])
    answers = ask_why(session.run_dir, controls, prefix, instance)
    local.require_some(answers, "control", session.run_dir)
    if as_json:
        print_json(
            [
                {"control": each.name, **(each.value or {"problem": each.problem})}
                for each in answers
            ]
        )
    else:
        print_lines(why_lines(answers, prefix))


def _print_candidates(answers: Sequence[Answer], *, as_json: bool) -> None:
    if as_json:
        rows = [{"host": name, **route} for name, route in local.rows(answers, "routes")]
    else:
        rows = [_shortened(row) for row in candidate_rows(answers)]
    _print(
        rows + _silent(answers),
        "host instance prefix chosen peer next_hop label preference from via reason source",
        as_json=as_json,
        nothing="no such route: no agent has published it",
    )


def _shortened(row: Record) -> Record:
    return row | {
        field: shorten(row[field]) for field, shorten in _SHORTENED.items() if row.get(field)
    }


@show.command("vrf")
@host_option
@json_option
@pass_session
def show_vrf(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show the VRFs of hosts."""
    answers = _ask(session, "agent", "/filament/vrfs", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, "vrfs")]
    if not as_json:
        rows = [_shortened(row) | {"name": short_instance(row["name"])} for row in rows]
    _print(
        rows + _silent(answers),
        "host id name network routes interfaces",
        as_json=as_json,
        nothing="no VRF: no port is plugged",
    )


@show.command("interface")
@host_option
@json_option
@pass_session
def show_interface(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show the ports plugged into hosts."""
    answers = _ask(session, "agent", "/filament/interfaces", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, "interfaces")]
    if not as_json:
        rows = [_shortened(row) | {"name": short_name(row["name"])} for row in rows]
    _print(
        rows + _silent(answers),
        "host vif name display_name device state vrf address mac label",
        as_json=as_json,
        nothing="no port is plugged",
    )


@show.command("drops")
@host_option
@json_option
@pass_session
def show_drops(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show discarded packets by port and reason."""
    answers = _ask(session, "agent", "/filament/drops", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, "drops")]
    if not as_json:
        rows = [_shortened(row) for row in rows]
    _print(
        rows + _silent(answers),
        "host interface reason packets text",
        as_json=as_json,
        nothing="nothing was dropped",
    )


@show.command("flow")
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_workloads,
    help="Only this port, by its name or uuid, its workload's name, or its address.",
)
@host_option
@json_option
@pass_session
def show_flow(
    session: Session, ports: tuple[str, ...], hosts: tuple[str, ...], as_json: bool
) -> None:
    """Show the flows that hosts have judged, newest first."""
    answers = _ask(session, "agent", "/filament/flows", hosts)
    flows = list(local.rows(answers, "flows"))
    if ports:
        interfaces = local.ask(session.run_dir, "agent", "/filament/interfaces", names=hosts)
        wanted = ports_named(ports, local.rows(interfaces, "interfaces"))
        flows = [(host, flow) for host, flow in flows if (host, flow["vif"]) in wanted]
    rows = [{"host": host, **flow} for host, flow in flows]
    if not as_json:
        rows = [{"host": host, **flow_row(flow)} for host, flow in flows]
    _print(
        rows + _silent(answers),
        "host interface protocol source destination verdict packets bytes idle_s",
        as_json=as_json,
        nothing="no flow",
    )


@show.command("agent")
@host_option
@json_option
@pass_session
def show_agent(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show agents: which revision they have applied, and whom they are connected to."""
    answers = _ask(session, "agent", "/filament/status", hosts)
    rows = [{"host": each.name, **each.value} for each in answers if not each.problem]
    if not as_json:
        rows = [
            row | {"controls": [f"{each['address']} {each['state']}" for each in row["controls"]]}
            for row in rows
        ]
    _print(
        rows + _silent(answers),
        "host address revision applied whole ports controls",
        as_json=as_json,
        nothing="no agent",
    )


@show.command("control")
@json_option
@pass_session
def show_control(session: Session, as_json: bool) -> None:
    """Show control nodes: which revision they have settled, and their agents."""
    answers = _ask(session, "control", "/filament/status", ())
    refusals = local.ask(session.run_dir, "control", "/filament/refused")
    refused: dict[str, list[Record]] = {}
    for name, item in local.rows(refusals, "refused"):
        refused.setdefault(name, []).append(item)
    rows = [
        {"host": each.name, **each.value, "refused": refused.get(each.name, [])}
        for each in answers
        if not each.problem
    ]
    if not as_json:
        rows = [_control_summary(row) for row in rows]
    _print(
        rows + _silent(answers),
        "host revision settled api agents refused",
        as_json=as_json,
        nothing="no control node",
    )


def _control_summary(row: Record) -> Record:
    """Put a control node's lists into cells."""
    return row | {
        "api": "connected" if row["api"]["connected"] else "away",
        "agents": [agent["name"] for agent in row["agents"]],
        "refused": [f"{each['agent']} ({each['reason']})" for each in row["refused"]],
    }
