"""`filament observe`: what the data planes of all hosts decide, as it happens."""

from __future__ import annotations

import functools
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import click

from filament.base.errors import PermanentError
from filament.cli import local
from filament.cli.complete import complete_workloads
from filament.cli.merged import ask_role, host_option
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json_line, print_lines, print_note
from filament.cli.session import Session
from filament.cli.verdicts import alternatives, loss_text, verdict_line, workloads_of
from filament.client import http

Record = dict[str, Any]
# An agent sends an empty line when there is nothing to say, more often than this.
_SILENCE_S = 60.0
_TRY_AGAIN_S = 1.0
_MOST_WAITING = 10_000  # records that agents sent and nobody has printed


class Ends(NamedTuple):
    """Which flows are asked for, by their ends and protocol, and at the agents of which hosts."""

    vrf: str | None
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[int, ...]
    protocols: tuple[str, ...]
    hosts: tuple[str, ...]

    def query(self, workloads: dict[str, str], *, is_denied: bool) -> list[tuple[str, str]]:
        """Write what is asked for as the parameters that agents know."""
        query = [("vrf", self.vrf)] if self.vrf else []
        for name, texts in (("from", self.sources), ("to", self.destinations)):
            query += [(name, one) for text in texts for one in alternatives(text, workloads)]
        query += [("port", str(port)) for port in self.ports]
        query += [("proto", protocol) for protocol in self.protocols]
        return query + ([("denied", "1")] if is_denied else [])


def end_options(command: Callable[..., None]) -> Any:
    """Add the options that choose flows by their ends and protocol, and hosts; the command gets
    them as `ends`.
    """

    @functools.wraps(command)
    def with_ends(*args: Any, **options: Any) -> None:
        ends = Ends(*(options.pop(name) for name in Ends._fields))
        command(*args, ends=ends, **options)

    options = (
        click.option("--vrf", metavar="VRF", help="Only in this VRF; a network's name will do."),
        click.option(
            "--from",
            "sources",
            multiple=True,
            metavar="X",
            shell_complete=complete_workloads,
            help="Only from this workload, port, network, address or prefix (may be repeated).",
        ),
        click.option(
            "--to",
            "destinations",
            multiple=True,
            metavar="Y",
            shell_complete=complete_workloads,
            help="Only to this workload, port, network, address or prefix (may be repeated).",
        ),
        click.option(
            "--port",
            "ports",
            multiple=True,
            type=click.IntRange(0, 65535),
            metavar="N",
            help="Only with this port at either end (may be repeated).",
        ),
        click.option(
            "--proto",
            "protocols",
            multiple=True,
            metavar="P",
            help="Only icmp, tcp, udp, or a number (may be repeated).",
        ),
        host_option,
    )
    made: Any = with_ends
    for option in reversed(options):
        made = option(made)
    return made


@click.command("observe")
@click.option("--drop", "only_drops", is_flag=True, help="Only packets that are dropped.")
@end_options
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N verdicts.")
@json_option
@pass_session
def observe(
    session: Session, ends: Ends, only_drops: bool, count: int | None, as_json: bool
) -> None:
    """Print what data planes decide, as it happens.

    That is the first packet of every flow that passes at a port, and packets that are dropped,
    each with the rule that decided, on all hosts, until interrupted.

    A busy host shows a part of them, and how many it did not. For example:
    filament observe --drop --to blue-1
    """
    interfaces = ask_role(session, "agent", "/filament/interfaces", ends.hosts)
    workloads = workloads_of(list(local.rows(interfaces, "interfaces")))
    query = urlencode(ends.query(workloads, is_denied=only_drops))
    found = local.sockets(session.run_dir, "agent")
    chosen = {name: found[name] for name in (ends.hosts or found)}
    number = 0
    for record in _joined(chosen, f"/filament/verdicts?{query}"):
        match record["verdict"]:
            case "listening":
                print_note(f"listening to {record['host']}")
                continue
            case "silent":
                print_note(f"{record['host']}: {record['problem']}")
                continue
        if as_json:
            print_json_line(record)
        elif record["verdict"] == "lost":
            print_note(loss_text(record))
        else:
            print_lines([verdict_line(record, workloads)])
        number += record["verdict"] != "lost"
        if number == count:
            return


def _joined(sockets: dict[str, Path], target: str) -> Iterator[Record]:
    """Yield what all agents say, as it comes; one that falls silent is asked again.

    Raises PermanentError when an agent refuses, as for a mistake in the query.
    """
    waiting: queue.Queue[Record] = queue.Queue(_MOST_WAITING)

    def follow(host: str, path: Path) -> None:
        problem = ""
        while True:
            try:
                for line in http.stream(f"unix:{path}", target, _SILENCE_S):
                    problem = ""
                    if line:
                        waiting.put(json.loads(line))
                reason = "it closed the stream"
            except http.RefusedError as error:
                waiting.put({"verdict": "refused", "host": host, "problem": str(error)})
                return
            except http.NoAnswerError as error:
                reason = str(error)
            if reason != problem:
                waiting.put({"verdict": "silent", "host": host, "problem": reason})
                problem = reason
            time.sleep(_TRY_AGAIN_S)

    for host, path in sockets.items():
        threading.Thread(target=follow, args=(host, path), daemon=True).start()
    while True:
        record = waiting.get()
        if record["verdict"] == "refused":
            raise PermanentError(f"{record['host']}: {record['problem']}")
        yield record
