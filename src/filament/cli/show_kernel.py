"""`filament show nexthop` and `label`, and what `--kernel` shows: the rows of hosts' own maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from filament.cli import local
from filament.cli.merged import ask_role, host_option, print_merged, shortened, silent_rows
from filament.cli.options import json_option, pass_session
from filament.cli.session import Session

Record = dict[str, Any]
kernel_option = click.option(
    "--kernel",
    "from_kernel",
    is_flag=True,
    help="Read the kernel's own maps, whatever the agent believes to be in them.",
)


def print_kernel_rows(
    session: Session,
    table: str,
    hosts: Sequence[str],
    shown: str,
    *,
    as_json: bool,
    wanted: Callable[[Record], bool] = lambda _: True,
) -> None:
    """Print the wanted rows of a table of hosts' kernels; `shown` names the columns."""
    answers = ask_role(session, "agent", f"/filament/kernel/{table}", hosts)
    rows = [{"host": name, **item} for name, item in local.rows(answers, table) if wanted(item)]
    if not as_json:
        rows = [_for_people(row) for row in rows]
    print_merged(rows + silent_rows(answers), shown, as_json=as_json, nothing="no such row")


def _for_people(row: Record) -> Record:
    """Shorten names, and leave out numbers that mean nothing: 0 is no list, no label, no set."""
    absent = ("acl", "egress", "ingress", "label", "groups", "tags", "ifindex", "next_hop")
    return shortened(row) | {name: None for name in absent if row.get(name) == 0}


@click.command("nexthop")
@click.argument("number", metavar="[ID]", required=False, type=click.IntRange(min=0))
@host_option
@json_option
@pass_session
def show_nexthop(
    session: Session, number: int | None, hosts: tuple[str, ...], as_json: bool
) -> None:
    """Show the next hops in hosts' kernels (TF's `nh`), and how many routes and labels use each."""
    print_kernel_rows(
        session,
        "next-hops",
        hosts,
        "host id type interface remote encapsulation destination_mac flags routes labels",
        as_json=as_json,
        wanted=lambda row: number in (None, row["id"]),
    )


@click.command("label")
@click.argument("number", metavar="[LABEL]", required=False, type=click.IntRange(min=0))
@host_option
@json_option
@pass_session
def show_label(session: Session, number: int | None, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show what comes in by which MPLS label or VNI in hosts' kernels (TF's `mpls`, `vxlan`)."""
    print_kernel_rows(
        session,
        "labels",
        hosts,
        "host label kind next_hop type interface vrf",
        as_json=as_json,
        wanted=lambda row: number in (None, row["label"]),
    )
