"""`filament show drops`: what hosts discard, by port, reason or VRF, once or as rates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from filament.cli import local
from filament.cli.local import Answer
from filament.cli.merged import ask_role, host_option, print_merged, shortened, silent_rows
from filament.cli.options import json_option, pass_session
from filament.cli.output import columns, format_table, print_json_line, print_lines, print_note
from filament.cli.session import Session

Record = dict[str, Any]
_BY = ("interface", "reason", "vrf")


class View(NamedTuple):
    """One way to add drops up: which list of the answer, by which fields, and what they hide."""

    field: str
    keys: tuple[str, ...]
    shown: str
    hidden: tuple[str, ...] = ()


VIEWS = {
    "interface": View("drops", ("host", "interface", "vif", "reason"), "host interface reason"),
    "reason": View("drops", ("host", "reason"), "host reason", ("interface", "vif")),
    "vrf": View("vrfs", ("host", "vrf", "reason"), "host vrf reason"),
}


@click.command("drops")
@click.option(
    "--by",
    type=click.Choice(_BY),
    default="interface",
    show_default=True,
    help="Add up by port and reason, by reason alone, or by VRF and reason.",
)
@click.option("--watch", "watches", is_flag=True, help="Go on, and print what is dropped a second.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often, with --watch.",
)
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="With --watch: stop after N times."
)
@host_option
@json_option
@pass_session
def show_drops(
    session: Session,
    by: str,
    watches: bool,
    interval_s: float,
    count: int | None,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show discarded packets, most first; with --watch, how many a second, until interrupted."""
    if watches:
        pictures = _pictures(session, hosts, VIEWS[by], interval_s)
        for number, rates in enumerate(rates_of(pictures), 1):
            _print_rates(rates, VIEWS[by], as_json=as_json)
            if number == count:
                return
        return
    answers = ask_role(session, "agent", "/filament/drops", hosts)
    rows = added_up(local.rows(answers, VIEWS[by].field), VIEWS[by])
    if not as_json:
        rows = [shortened(row) for row in rows]
    print_merged(
        rows + silent_rows(answers),
        f"{VIEWS[by].shown} packets text",
        as_json=as_json,
        nothing="nothing was dropped",
    )


def added_up(items: Iterable[tuple[str, Record]], view: View) -> list[Record]:
    """Add the drops of a view's fields up, by host, the most first."""
    rows: dict[tuple[object, ...], Record] = {}
    for host, item in items:
        row = {"host": host, **item}
        for name in view.hidden:
            row.pop(name, None)
        key = tuple(row.get(name) for name in view.keys)
        if key in rows:
            rows[key]["packets"] += row["packets"]
        else:
            rows[key] = row
    return sorted(rows.values(), key=lambda row: (row["host"], -row["packets"]))


class Picture(NamedTuple):
    """What hosts counted until a moment: rows by their keys (the host first), which hosts answered,
    and why others did not.
    """

    at: float
    rows: Mapping[tuple[object, ...], Record]
    heard: frozenset[str]
    silent: Mapping[str, str]


def _pictures(
    session: Session, hosts: Sequence[str], view: View, interval_s: float
) -> Iterator[Picture]:
    due = time.monotonic()
    while True:
        yield picture_of(ask_role(session, "agent", "/filament/drops", hosts), view)
        due = max(due + interval_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def picture_of(
    answers: Sequence[Answer], view: View, clock: Callable[[], float] = time.monotonic
) -> Picture:
    """Make a picture of what hosts answered just now."""
    rows = added_up(local.rows(answers, view.field), view)
    by_key = {tuple(row.get(name) for name in view.keys): row for row in rows}
    silent = {each.name: each.problem for each in answers if each.problem}
    heard = frozenset(each.name for each in answers if not each.problem)
    return Picture(clock(), by_key, heard, silent)


class Rates(NamedTuple):
    """What was dropped between two pictures, packets a second, the most first."""

    rows: list[Record]
    silent: Mapping[str, str]


def rates_of(pictures: Iterable[Picture]) -> Iterator[Rates]:
    """Compare each picture with the one before.

    A host that was silent in between is compared with what it said last; one whose counters fell
    has begun anew (a port's successor), and they count whole.
    """
    known: dict[tuple[object, ...], int] = {}
    heard_at: dict[object, float] = {}
    for number, picture in enumerate(pictures):
        rows = []
        for key, row in picture.rows.items():
            before = known.get(key, 0)
            more = row["packets"] - (before if before <= row["packets"] else 0)
            known[key] = row["packets"]
            seconds = picture.at - heard_at.get(key[0], picture.at)
            if more and seconds > 0:
                rows.append({**row, "dropped": more, "per_s": more / seconds})
        heard_at |= dict.fromkeys(picture.heard, picture.at)
        if number:
            yield Rates(sorted(rows, key=lambda row: -row["per_s"]), picture.silent)


def _print_rates(rates: Rates, view: View, *, as_json: bool) -> None:
    if as_json:
        print_json_line({"at": time.time(), "drops": rates.rows, "silent": dict(rates.silent)})
        return
    for host, problem in rates.silent.items():
        print_note(f"{host}: {problem}")
    moment = time.strftime("%H:%M:%S")
    if not rates.rows:
        print_lines([f"{moment}  nothing was dropped"])
        return
    rows = [shortened(row) for row in rates.rows]
    shown = columns(*view.shown.split(), "per_s", "packets", "text")
    first, *others = format_table(rows, shown)
    print_lines([f"{moment}  {first}", *(f"{' ' * len(moment)}  {line}" for line in others)])
