"""`filament rm`: delete objects, with `-r` also what depends on them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from filament.base.errors import FilamentError, InputError, NotFoundError
from filament.cli import names
from filament.cli.complete import complete_names
from filament.cli.links import Links, links_of
from filament.cli.names import Found
from filament.cli.options import json_option, pass_session, wait_options
from filament.cli.output import print_json, print_lines
from filament.cli.session import Session, Written
from filament.cli.written import report, require_applied

# Referrers that live on without what they refer to: they lose the reference only. All others are
# there for its sake, as a port is for its network's.
KEPT_REFERRERS = frozenset(
    (
        *("virtual-network", "virtual-router", "project", "domain", "bgp-router"),
        *("global-system-config", "global-vrouter-config", "physical-router", "network-ipam"),
    )
)


class Step(NamedTuple):
    """One thing to do: delete `found`, or (`target` given) take its reference to the target away.

    `reason` says why, for what the person did not name.
    """

    found: Found
    target: Found | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.target is not None:
            return f"{self.found} no longer refers to {self.target}"
        return f"{self.found} deleted"


@click.command("rm")
@click.argument(
    "words", metavar="[KIND] NAME|UUID...", nargs=-1, required=True, shell_complete=complete_names
)
@click.option(
    "-r", "--recursive", "is_recursive", is_flag=True, help="Also their children and referrers."
)
@click.option("-y", "--yes", "is_agreed", is_flag=True, help="Do not ask (with -r).")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only list what would be done.")
@wait_options
@json_option
@pass_session
def rm(
    session: Session,
    words: tuple[str, ...],
    is_recursive: bool,
    is_agreed: bool,
    is_dry: bool,
    wait: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Delete objects, in the order given. The API refuses what others still refer to.

    With -r, children and referrers go first, and theirs before them; networks, projects and hosts
    that refer to what is deleted lose the reference only. All is listed before anything is done.
    """
    # Each is found before the first is deleted: a mistyped last name deletes nothing.
    found = names.find_all(session, words, strict=True)
    steps = _Plan(session).steps_for(found) if is_recursive else [Step(each) for each in found]
    if is_dry:
        _list(steps, "would be done", as_json=as_json)
        return
    if is_recursive and not is_agreed and len(steps) > len(found):
        # People think for longer than the API keeps a silent connection open.
        session.close()
        _ask(steps, as_json=as_json)
    for step in steps[:-1]:
        _carry_out(session, step, is_recursive=is_recursive, as_json=as_json)
    # Revisions are applied in order: who has the last one has them all.
    last = _carry_out(
        session,
        steps[-1],
        is_recursive=is_recursive,
        as_json=as_json,
        wait=wait,
        timeout_s=timeout_s,
    )
    if last is not None:
        require_applied(last, wait, timeout_s)


class _Plan:
    """Puts what must go first in front: a depth-first walk over children and referrers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._steps: list[Step] = []
        self._begun: set[str] = set()
        self._planned: set[str] = set()

    def steps_for(self, named: Sequence[Found]) -> list[Step]:
        """Return the steps, in the order that the API accepts."""
        for found in named:
            self._visit(found, "")
        return self._steps

    def _visit(self, found: Found, reason: str) -> None:
        if found.uuid in self._begun:
            return
        self._begun.add(found.uuid)
        try:
            links = links_of(self._session, found)
        except NotFoundError:
            return  # deleted since it was listed
        if reason and links.is_derived:
            # The plan's own: it goes with the intent it was made from, and nobody deletes it.
            return
        self._visit_dependents(found, links)
        self._planned.add(found.uuid)
        self._steps.append(Step(found, reason=reason))

    def _visit_dependents(self, found: Found, links: Links) -> None:
        for child in links.children:
            self._visit(child, f"its parent is {found}")
        for referrer in links.referrers:
            if referrer.kind not in KEPT_REFERRERS:
                self._visit(referrer, f"it refers to {found}")
            if referrer.uuid in self._planned:
                continue
            is_going = referrer.uuid in self._begun
            if referrer.kind in KEPT_REFERRERS or is_going:
                # Of two that refer to each other, one has to let go first.
                self._steps.append(Step(referrer, found, f"{found} goes"))


def _ask(steps: Sequence[Step], *, as_json: bool) -> None:
    """List everything and ask. Raises InputError where nobody can answer."""
    if as_json or not sys.stdin.isatty():
        raise InputError(
            "not-agreed",
            f"{len(steps)} changes would be made",
            hint="say --yes to make them, --dry-run to list them",
        )
    _list(steps, "will be done", as_json=False)
    click.confirm(f"Make these {len(steps)} changes?", abort=True)


def _list(steps: Sequence[Step], title: str, *, as_json: bool) -> None:
    if as_json:
        print_json([_record(step) for step in steps])
        return
    lines = [f"  {step}" + (f"  ({step.reason})" if step.reason else "") for step in steps]
    print_lines([f"This {title}, in this order:", *lines])


def _record(step: Step) -> dict[str, Any]:
    record: dict[str, Any] = {
        "object": str(step.found),
        "uuid": step.found.uuid,
        "does": "unlink" if step.target is not None else "delete",
        "reason": step.reason,
    }
    return record | ({"target": str(step.target)} if step.target is not None else {})


def _carry_out(
    session: Session,
    step: Step,
    *,
    is_recursive: bool,
    as_json: bool,
    wait: str = "none",
    timeout_s: float = 10.0,
) -> Written | None:
    """Do one step and say so; None when it was done already, by somebody else."""
    found, target = step.found, step.target
    try:
        if target is not None:
            body = {
                "type": found.kind,
                "uuid": found.uuid,
                "ref-type": target.kind,
                "ref-uuid": target.uuid,
                "operation": "DELETE",
                "attr": None,
            }
            written = session.change("POST", "/ref-update", body, wait=wait, timeout_s=timeout_s)
        else:
            path = f"/{found.kind}/{found.uuid}"
            written = session.change("DELETE", path, None, wait=wait, timeout_s=timeout_s)
    except NotFoundError:
        if not is_recursive:
            raise
        return None
    except FilamentError as error:
        if is_recursive:
            error.add_note(f"stopped before: {step}")
        raise
    what = f"{found} no longer refers to {target}" if target is not None else str(found)
    verb = "" if target is not None else "deleted"
    report([(what, found.uuid)], verb, written, as_json=as_json)
    return written
