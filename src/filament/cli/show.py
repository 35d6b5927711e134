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
from filament.cli.local import Answer
from filament.cli.merged import ask_role, host_option, print_merged, shortened, silent_rows
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines
from filament.cli.session import Session
from filament.cli.show_bgp import show_bgp
from filament.cli.show_drops import show_drops
from filament.cli.show_flows import show_flows
from filament.cli.show_kernel import (
    kernel_option,
    print_kernel_rows,
    show_label,
    show_nexthop,
)
from filament.cli.suggest import suggestion
from filament.cli.why import ask_why, why_lines
from filament.doctor.words import short_instance, short_name

Record = dict[str, Any]


@click.group("show")
def show() -> None:
    """Show what hosts and control nodes really hold."""


show.add_command(show_bgp)
show.add_command(show_drops)
show.add_command(show_flows)
show.add_command(show_flows, "flow")
show.add_command(show_label)
show.add_command(show_nexthop)


def pick_vrf(wanted: str, known: Iterable[str]) -> str:
    """Find the VRF a person means: its whole name, or its unique short name."""
    names = sorted(set(known))
    if wanted in names:
        return wanted
    meant = [name for name in names if is_called(name, wanted)]
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


def is_called(vrf: str, text: str) -> bool:
    """Say whether a person may call a VRF so: whole, shortened, or like its network."""
    return text in (vrf, short_instance(vrf), vrf.rpartition(":")[0])


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
@kernel_option
@host_option
@json_option
@pass_session
def show_route(
    session: Session,
    prefix: str | None,
    vrf: str | None,
    from_control: bool,
    why: bool,
    from_kernel: bool,
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
    if from_kernel:
        print_kernel_rows(
            session,
            "routes",
            hosts,
            "host vrf prefix id type next_hop interface label encapsulation network groups tags"
            " flags",
            as_json=as_json,
            wanted=lambda row: (
                wanted(row["prefix"]) and (vrf is None or is_called(row["vrf"], vrf))
            ),
        )
        return
    role = "control" if from_control else "agent"
    answers = ask_role(session, role, "/filament/routes", hosts)
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
        rows = [shortened(row) | {"label": row.get("label") or None} for row in rows]
    print_merged(
        rows + silent_rows(answers),
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
        rows = [shortened(row) for row in candidate_rows(answers)]
    print_merged(
        rows + silent_rows(answers),
        "host instance prefix chosen peer next_hop label preference from via reason source",
        as_json=as_json,
        nothing="no such route: no agent has published it",
    )


@show.command("vrf")
@host_option
@json_option
@pass_session
def show_vrf(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show the VRFs of hosts."""
    answers = ask_role(session, "agent", "/filament/vrfs", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, "vrfs")]
    if not as_json:
        rows = [shortened(row) | {"name": short_instance(row["name"])} for row in rows]
    print_merged(
        rows + silent_rows(answers),
        "host id name network routes interfaces",
        as_json=as_json,
        nothing="no VRF: no port is plugged",
    )


@show.command("interface")
@kernel_option
@host_option
@json_option
@pass_session
def show_interface(
    session: Session, from_kernel: bool, hosts: tuple[str, ...], as_json: bool
) -> None:
    """Show the ports plugged into hosts; with --kernel their rows, as TF's `vif`."""
    if from_kernel:
        shown = "host vif ifindex interface vrf address mac next_hop flags acl egress ingress"
        shown += " rx_packets rx_bytes tx_packets tx_bytes drops"
        print_kernel_rows(session, "interfaces", hosts, shown, as_json=as_json)
        return
    answers = ask_role(session, "agent", "/filament/interfaces", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, "interfaces")]
    if not as_json:
        rows = [
            shortened(row)
            | {"name": short_name(row["name"]), "shared": _shared(row.get("standbys", []))}
            for row in rows
        ]
    shown = "host vif name display_name device state vrf address mac label"
    for extra in ("tags", "shared"):
        if any(row.get(extra) for row in rows):
            shown += f" {extra}"
    print_merged(
        rows + silent_rows(answers),
        shown,
        as_json=as_json,
        nothing="no port is plugged",
    )


def _shared(standbys: Sequence[Record]) -> str:
    """Say how a port stands with the addresses that one of several ports holds."""
    return ", ".join(
        f"{one['prefix']} held"
        if one["holds"]
        else f"{one['prefix']} standby" + (f" of {one['holder']}" if one["holder"] else "")
        for one in standbys
    )


@show.command("agent")
@host_option
@json_option
@pass_session
def show_agent(session: Session, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show agents: which revision they have applied, and whom they are connected to."""
    answers = ask_role(session, "agent", "/filament/status", hosts)
    rows = [{"host": each.name, **each.value} for each in answers if not each.problem]
    if not as_json:
        rows = [
            row
            | {"controls": [f"{each['address']} {each['state']}" for each in row["controls"]]}
            | _flow_table(row.get("flows", {}))
            for row in rows
        ]
    print_merged(
        rows + silent_rows(answers),
        "host address revision applied whole ports flows flow_memory controls",
        as_json=as_json,
        nothing="no agent",
    )


def _flow_table(flows: Record) -> Record:
    """How full a host's flow table is, and what it takes."""
    if not flows:
        return {"flows": "", "flow_memory": ""}
    pressed = ", nearly full" if flows["pressed"] else ""
    return {
        "flows": f"{flows['held']} of {flows['limit']}{pressed}",
        "flow_memory": f"{flows['memory_bytes'] / 2**20:.0f} MiB",
    }


@show.command("control")
@json_option
@pass_session
def show_control(session: Session, as_json: bool) -> None:
    """Show control nodes: which revision they have settled, and their agents."""
    answers = ask_role(session, "control", "/filament/status", ())
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
    print_merged(
        rows + silent_rows(answers),
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
