"""What several hosts or control nodes answered, as one table; a silent one is a row of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from filament.cli import local
from filament.cli.complete import complete_hosts
from filament.cli.local import Answer
from filament.cli.output import columns, print_records
from filament.cli.session import Session
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


def ask_role(session: Session, role: str, target: str, names: Sequence[str]) -> list[Answer]:
    """GET `target` from every role (or those of `names`). Raises InputError when there is none."""
    answers = local.ask(session.run_dir, role, target, names=names)
    local.require_some(answers, role, session.run_dir)
    return answers


def silent_rows(answers: Sequence[Answer]) -> list[Record]:
    """Make a row of each role that did not answer."""
    return [{"host": each.name, "problem": each.problem} for each in answers if each.problem]


def print_merged(records: list[Record], shown: str, *, as_json: bool, nothing: str) -> None:
    """Print merged rows; `shown` names the columns, of which empty ones are left out."""
    fields = [
        each
        for each in (*shown.split(), "problem")
        if any(row.get(each) not in (None, "") for row in records)
    ]
    print_records(records, columns(*fields), as_json=as_json, nothing=nothing)


def shortened(row: Record) -> Record:
    """Shorten the names in a row as people do."""
    return row | {
        field: shorten(row[field]) for field, shorten in _SHORTENED.items() if row.get(field)
    }
