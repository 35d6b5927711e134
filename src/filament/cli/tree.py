"""`filament tree`: how an object hangs together with others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from filament.cli import names
from filament.cli.complete import complete_names
from filament.cli.links import Links, links_of_all
from filament.cli.names import Found
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines
from filament.cli.session import Session

_MOST_OBJECTS = 1_000
_AT_ONCE = 50  # asked for in one request: the API does other work between two
_DEFAULT_DEPTH = 3
Branches = Callable[[Links], Iterable[Found]]


@click.command("tree")
@click.argument("words", metavar="[[KIND] NAME|UUID]...", nargs=-1, shell_complete=complete_names)
@click.option(
    "-r", "--referrers", "is_reverse", is_flag=True, help="Who refers to it, not whom it refers to."
)
@click.option("-P", "--parents", "is_upwards", is_flag=True, help="Its parents, up to the root.")
@click.option(
    "-c", "--children", "is_downwards", is_flag=True, help="Its children, and theirs in turn."
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=_DEFAULT_DEPTH,
    show_default=True,
    metavar="N",
    help="How many links to follow from an object.",
)
@json_option
@pass_session
def tree(
    session: Session,
    words: tuple[str, ...],
    is_reverse: bool,
    is_upwards: bool,
    is_downwards: bool,
    depth: int,
    as_json: bool,
) -> None:
    """Show how objects hang together, as trees.

    Without options: whom an object refers to, as contrail-api-cli shows it. Without an object: the
    domains, projects and what is in them. An object that was shown above is not unfolded again.
    """
    if sum((is_reverse, is_upwards, is_downwards)) > 1:
        raise click.UsageError("-r, -P and -c exclude each other")
    if not words:
        is_downwards = not (is_reverse or is_upwards)
    roots = names.find_all(session, words) if words else names.objects_of(session, "domain")
    if is_upwards:
        branches, depth = _parents, _MOST_OBJECTS
    else:
        branches = _referrers if is_reverse else _children if is_downwards else _references
    walk = _Walk(session, branches)
    shown = walk.unfold(roots, depth)
    if as_json:
        print_json(shown[0] if len(shown) == 1 else shown)
        return
    for one in shown:
        print_lines(format_branch(one))
    if walk.is_cut:
        print_lines([f"... more than {_MOST_OBJECTS} objects; name one of them"])


def _parents(links: Links) -> Iterable[Found]:
    return () if links.parent is None else (links.parent,)


def _referrers(links: Links) -> Iterable[Found]:
    return links.referrers


def _children(links: Links) -> Iterable[Found]:
    return links.children


def _references(links: Links) -> Iterable[Found]:
    return links.references


class _Walk:
    """One run of `tree`: follows links, asking for each object once, and for brothers together."""

    def __init__(self, session: Session, branches: Branches) -> None:
        self._session = session
        self._branches = branches
        self._links: dict[str, Links | None] = {}  # None: deleted since it was named
        self._unfolded: set[str] = set()
        self._shown = 0
        self.is_cut = False

    def unfold(self, roots: Sequence[Found], depth: int) -> list[dict[str, Any]]:
        """Return objects with what hangs on them, `depth` links far, as far as there is room.

        `again` marks what was unfolded before.
        """
        records = []
        for index, found in enumerate(roots):
            if self._shown >= _MOST_OBJECTS:
                self.is_cut = True
                break
            self._shown += 1
            record: dict[str, Any] = {
                "kind": found.kind,
                "name": found.name,
                "uuid": found.uuid,
                "display_name": found.display_name,
            }
            records.append(record)
            if found.uuid in self._unfolded:
                record["again"] = True
                continue
            if depth == 0:
                continue
            self._unfolded.add(found.uuid)
            links = self._links_of(found, roots[index:])
            if links is None:
                continue
            record["display_name"] = links.found.display_name
            ordered = sorted(self._branches(links), key=lambda each: (each.kind, each.fq_name))
            record["branches"] = self.unfold(ordered, depth - 1)
        return records

    def _links_of(self, found: Found, brothers: Sequence[Found]) -> Links | None:
        """The links of one; those of the brothers after it that will be asked for come along."""
        if found.uuid not in self._links:
            room = min(_AT_ONCE, _MOST_OBJECTS - self._shown + 1)
            together = [
                each
                for each in brothers
                if each.kind == found.kind and each.uuid not in self._links
            ][:room]
            links = links_of_all(
                self._session,
                found.kind,
                together,
                children=self._branches is _children,
                referrers=self._branches is _referrers,
            )
            self._links |= {each.uuid: links.get(each.uuid) for each in together}
        return self._links[found.uuid]


def format_branch(record: dict[str, Any]) -> list[str]:
    """Lay a tree out as lines, with the lines of `tree(1)`."""
    name, display_name = record["name"], record["display_name"]
    text = f"{record['kind']} {name}"
    if display_name and display_name != name.rpartition(":")[2]:
        text += f" ({display_name})"
    if record.get("again"):
        text += "  (above)"
    lines = [text]
    branches = record.get("branches", [])
    for index, branch in enumerate(branches):
        is_last = index == len(branches) - 1
        first, *rest = format_branch(branch)
        lines.append(("└── " if is_last else "├── ") + first)
        lines += [("    " if is_last else "│   ") + line for line in rest]
    return lines
