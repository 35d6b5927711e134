"""Ask every role of this machine at once, over its unix socket.

Unix sockets do not belong to network namespaces: from the root namespace the command line reaches
the agents of a whole lab. A role that does not answer is an answer too, never a failure of the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filament.base.errors import InputError, NotFoundError
from filament.cli.suggest import suggestion
from filament.client import http

ANSWER_TIMEOUT_S = 3.0
ROLES_WITH_NAMES = ("agent", "control")


class Answer(NamedTuple):
    """What one role answered: a JSON value, or `problem` says why there is none."""

    role: str
    name: str
    value: Any
    problem: str = ""


def sockets(run_dir: Path, role: str) -> dict[str, Path]:
    """Find the sockets of a role: name -> path, sorted by name."""
    prefix = f"{role}-"
    return {
        path.name.removeprefix(prefix).removesuffix(".sock"): path
        for path in sorted(run_dir.glob(f"{prefix}*.sock"))
    }


def ask(
    run_dir: Path,
    role: str,
    target: str,
    *,
    names: Sequence[str] = (),
    timeout_s: float = ANSWER_TIMEOUT_S,
    bodies: Mapping[str, object] | None = None,
) -> list[Answer]:
    """GET `target` from every `role` here (or those of `names`) in parallel, sorted by name.

    With `bodies` by name, POST these to those that have one.
    Raises NotFoundError when a name of `names` has no socket.
    """
    found = sockets(run_dir, role)
    for name in names:
        if name not in found:
            raise NotFoundError(f"no {role} {name!r} in {run_dir}{suggestion(name, found)}")
    chosen = [(name, path) for name, path in found.items() if not names or name in names]
    if bodies is not None:
        chosen = [(name, path) for name, path in chosen if name in bodies]
    if not chosen:
        return []

    def ask_one(item: tuple[str, Path]) -> Answer:
        name, path = item
        try:
            method, body = ("GET", None) if bodies is None else ("POST", bodies[name])
            reply = http.request(f"unix:{path}", method, target, body, timeout_s=timeout_s)
            if reply.status == 200:
                return Answer(role, name, reply.value())
            text = reply.text.strip().split("\n", 1)[0]
            return Answer(role, name, None, text or f"HTTP status {reply.status}")
        except http.NoAnswerError as error:
            return Answer(role, name, None, str(error))

    if len(chosen) == 1:
        return [ask_one(chosen[0])]
    # Imported here: one role is the common case of small machines, and threads cost a start-up.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(max_workers=min(len(chosen), 32)) as pool:
        return list(pool.map(ask_one, chosen))


def require_some(answers: Sequence[Answer], role: str, run_dir: Path) -> None:
    """Raise when no role was found at all: the caller looks in the wrong place."""
    if not answers:
        raise InputError(
            "no-roles",
            f"no {role} has a socket in {run_dir}",
            hint="start one, or say where they are with --run-dir",
        )


def rows(answers: Iterable[Answer], field: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (name, item) for every item of every answer's list; silent roles yield nothing.

    The list is the answer itself, or its member `field`.
    """
    for answer in answers:
        if answer.problem:
            continue
        value = answer.value
        if field is not None and isinstance(value, dict):
            value = value.get(field, [])
        for item in value:
            yield answer.name, item
