"""`filament verify`: whether intent, plan, routes, agents and kernels hold the same."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from urllib.parse import quote

import click
import msgspec

from filament.base.errors import FilamentError
from filament.cli import local
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines, print_note
from filament.cli.session import Session
from filament.client import http
from filament.doctor.verify import (
    LAYERS,
    Content,
    Difference,
    Evidence,
    Record,
    Repair,
    differences,
    lasting,
)
from filament.model.change import Allocation, Object

EXIT_DIFFERENT = 1
_ROUNDS = 3  # that must show the same
_MOST_ROUNDS = 8
_PAUSE_S = 0.5
_PATIENCE_S = 60.0
_SETTLE_S = 10.0


@click.command("verify")
@click.option(
    "--repair", "is_repairing", is_flag=True, help="Mend what can be proven to be wrong, once."
)
@json_option
@click.pass_context
@pass_session
def verify(session: Session, ctx: click.Context, is_repairing: bool, as_json: bool) -> None:
    """Compare intent, plan, routes, agents and kernels, and name differences.

    Everything that follows from the API's configuration is computed anew and compared with what
    every control node and agent of this machine holds, down to the rows in the kernel. Nothing is
    changed without --repair. While things change, only what several looks show is a difference.
    Exit code 1 when there are any.
    """
    found = _look(session)
    mended: list[str] = []
    if found and is_repairing:
        mended = _mend(session, found)
        deadline = time.monotonic() + _SETTLE_S
        found = _look(session)
        while found and time.monotonic() < deadline:
            found = _look(session)
    if as_json:
        print_json(
            {
                "differences": [
                    one._replace(repair=None)._asdict() | {"repairable": one.repair is not None}
                    for one in found
                ],
                "repairs": mended,
            }
        )
    else:
        print_lines([*(f"repaired: {text}" for text in mended), *_lines(found)])
        if not is_repairing and any(one.repair for one in found):
            print_note("`filament verify --repair` mends what is marked with *")
    ctx.exit(EXIT_DIFFERENT if found else 0)


def _lines(found: Sequence[Difference]) -> list[str]:
    counts = Counter(one.layer for one in found)
    lines = [f"{counts[layer] or 'ok':>6}  {layer}: {text}" for layer, text in LAYERS.items()]
    for one in found:
        mark = "*" if one.repair else "-"
        what = f" {one.what}:" if one.what else ""
        lines.append(f"{mark} {one.layer}, {one.where}:{what} {one.text}")
    return lines


def _look(session: Session) -> list[Difference]:
    """Return the differences that last; one look is enough where there are none."""
    rounds: deque[list[Difference]] = deque(maxlen=_ROUNDS)
    for _ in range(_MOST_ROUNDS):
        rounds.append(differences(gather(session)))
        found = lasting(rounds)
        if not rounds[-1] or (found and len(rounds) == _ROUNDS):
            return found
        time.sleep(_PAUSE_S)
    return lasting(rounds)


def gather(session: Session) -> Evidence:
    """Ask the API, every control node and every agent of this machine, in the order of the data."""
    content = _content(session)
    controls = _ask(session, "control", "/filament/audit")
    agents = _ask(session, "agent", "/filament/audit")
    told: dict[tuple[str, str], Record | str] = {}
    for name, control in controls.items():
        for agent in control["agents"] if not isinstance(control, str) else ():
            if agent in agents:
                target = f"/filament/told?agent={quote(agent)}"
                told[name, agent] = _ask(session, "control", target, name)[name]
    return Evidence(content, controls, told, agents)


def _content(session: Session) -> Content | str:
    try:
        value = session.get("/filament/snapshot")
    except FilamentError as error:
        return str(error)
    objects = msgspec.convert(value["objects"], list[Object])
    return Content(
        value["revision"], objects, msgspec.convert(value["allocations"], list[Allocation])
    )


def _ask(session: Session, role: str, target: str, *names: str) -> dict[str, Record | str]:
    answers = local.ask(session.run_dir, role, target, names=names, timeout_s=_PATIENCE_S)
    return {one.name: one.problem or one.value for one in answers}


def _mend(session: Session, found: Sequence[Difference]) -> list[str]:
    """Ask for every repair once; return what was done, or why not."""
    repairs = dict.fromkeys(one.repair for one in found if one.repair is not None)
    return [_ask_for(session, repair) for repair in repairs]


def _ask_for(session: Session, repair: Repair) -> str:
    path = local.sockets(session.run_dir, repair.role)[repair.name]
    what = f"{repair.role} {repair.name}: {repair.target.removeprefix('/filament/')}"
    try:
        reply = http.request(f"unix:{path}", "POST", repair.target, timeout_s=_PATIENCE_S)
    except http.NoAnswerError as error:
        return f"{what}: no, {error}"
    if reply.status != 200:
        return f"{what}: no, {reply.text.strip()}"
    return f"{what}: {reply.text.strip()}"
