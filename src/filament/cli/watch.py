"""`filament watch`: commits as they happen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import click

from filament.base.errors import ConflictError, PermanentError
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json_line, print_lines
from filament.cli.session import Session
from filament.client import http
from filament.client.trust import trust_of

# The API sends a comment when there is nothing to say, more often than this.
_SILENCE_S = 90.0


@click.command("watch")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="REV",
    help="Start with the commit after REV [default: the current revision].",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N commits.")
@json_option
@pass_session
def watch(session: Session, after: int | None, count: int | None, as_json: bool) -> None:
    """Print commits as they happen, until interrupted."""
    if after is None:
        after = session.get("/filament/status")["revision"]
    for number, commit in enumerate(commits(session, after), 1):
        if as_json:
            print_json_line(commit)
        else:
            print_lines(format_commit(commit))
        if number == count:
            return


def commits(session: Session, after: int) -> Iterator[dict[str, Any]]:
    """Follow the API's change stream from the commit after `after`; never ends by itself."""
    event, content = "", ""
    try:
        trust = trust_of(os.environ)
        target = f"/watch?after={after}"
        for line in http.stream(session.api_address, target, _SILENCE_S, trust):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                content += value
            elif line == "":
                if event == "relist":
                    raise ConflictError(
                        f"the API no longer keeps the commits after revision {after}"
                        "; start without --after, from the current one"
                    )
                if event == "commit" and content:
                    yield json.loads(content)
                event, content = "", ""
    except http.NoAnswerError as error:
        raise PermanentError(
            f"the API at {session.api_address} stopped answering ({error})"
        ) from error
    raise PermanentError(f"the API at {session.api_address} closed the stream")


def format_commit(commit: dict[str, Any]) -> list[str]:
    """Lay one commit out: revision, time and who, then one line per object."""
    moment = time.strftime("%H:%M:%S", time.localtime(commit["at"]))
    lines = [f"{commit['revision']}  {moment}  {commit.get('who') or '-'}"]
    for sign, objects in (("+", commit["puts"]), ("-", commit["deletes"])):
        lines += [f"  {sign} {each['kind']} {':'.join(each['fq_name'])}" for each in objects]
    return lines
