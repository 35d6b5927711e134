"""Who is asked for `filament verify`, how often, and what is done about what differs."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from filament.base.errors import FilamentError
from filament.cli import local
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

_ROUNDS = 3  # that must show the same
_MOST_ROUNDS = 8
_PAUSE_S = 0.5
_PATIENCE_S = 60.0
_SETTLE_S = 10.0


def lines(found: Sequence[Difference]) -> list[str]:
    """Lay out how each layer fares, and every difference."""
    counts = Counter(one.layer for one in found)
    laid_out = [f"{counts[layer] or 'ok':>6}  {layer}: {text}" for layer, text in LAYERS.items()]
    for one in found:
        mark = "*" if one.repair else "-"
        what = f" {one.what}:" if one.what else ""
        laid_out.append(f"{mark} {one.layer}, {one.where}:{what} {one.text}")
    return laid_out


def look(session: Session) -> list[Difference]:
    """Return the differences that last; one look is enough where there are none."""
    rounds: deque[list[Difference]] = deque(maxlen=_ROUNDS)
    for _ in range(_MOST_ROUNDS):
        rounds.append(differences(gather(session)))
        found = lasting(rounds)
        if not rounds[-1] or (found and len(rounds) == _ROUNDS):
            return found
        time.sleep(_PAUSE_S)
    return lasting(rounds)


def look_until_settled(session: Session) -> list[Difference]:
    """Return the differences that are left some seconds after repairs were asked for."""
    deadline = time.monotonic() + _SETTLE_S
    found = look(session)
    while found and time.monotonic() < deadline:
        found = look(session)
    return found


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


def mend(session: Session, found: Sequence[Difference]) -> list[str]:
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
