"""`filament status`: every process at a glance."""

from __future__ import annotations

from typing import Any

import click

from filament.base.errors import FilamentError
from filament.cli import local
from filament.cli.options import json_option, pass_session
from filament.cli.output import columns, print_records
from filament.cli.session import Session

EXIT_UNHEALTHY = 1


@click.command("status")
@json_option
@click.pass_context
@pass_session
def status(session: Session, ctx: click.Context, as_json: bool) -> None:
    """Show every process, and which revision it has reached; exit 1 when one does not answer."""
    rows = [_api_row(session)]
    rows += [_control_row(each) for each in local.ask(session.run_dir, "control", _TARGET)]
    rows += [_agent_row(each) for each in local.ask(session.run_dir, "agent", _TARGET)]
    newest = max(row["revision"] or 0 for row in rows)
    for row in rows:
        behind = newest - (row["revision"] or 0)
        if row["state"] == "up" and behind:
            row["state"] = f"{behind} behind"
    print_records(
        rows,
        columns("role", "name", "state", "revision", "details"),
        as_json=as_json,
        nothing="nothing runs",
    )
    if any(row["state"] == "silent" for row in rows):
        ctx.exit(EXIT_UNHEALTHY)


_TARGET = "/filament/status"


def _row(role: str, name: str, state: str, revision: int | None, details: str) -> dict[str, Any]:
    return {"role": role, "name": name, "state": state, "revision": revision, "details": details}


def _api_row(session: Session) -> dict[str, Any]:
    try:
        answer = session.get(_TARGET)
    except FilamentError as error:
        return _row("api", "", "silent", None, str(error))
    return _row("api", "", "up", answer["revision"], session.api_address)


def _control_row(answer: local.Answer) -> dict[str, Any]:
    if answer.problem:
        return _row("control", answer.name, "silent", None, answer.problem)
    value = answer.value
    agents = [each["name"] for each in value.get("agents", [])]
    details = f"agents: {', '.join(agents) or 'none'}"
    if not value.get("api", {}).get("connected", True):
        details += "; away from the API"
    return _row("control", answer.name, "up", value["settled"], details)


def _agent_row(answer: local.Answer) -> dict[str, Any]:
    if answer.problem:
        return _row("agent", answer.name, "silent", None, answer.problem)
    value = answer.value
    controls = [f"{each['address']} {each['state']}" for each in value.get("controls", [])]
    details = f"control: {', '.join(controls) or 'none'}"
    flows = value.get("flows", {})
    if flows.get("pressed"):
        details += f"; the flow table is nearly full: {flows['held']} of {flows['limit']}"
    if value.get("problem"):
        details += f"; {value['problem']}"
    return _row("agent", answer.name, "up", value["applied"], details)
