"""Options and argument shapes that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from filament.cli.session import Session

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

pass_session = click.make_pass_decorator(Session)


def json_option(command: CommandT) -> CommandT:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def wait_options(command: CommandT) -> CommandT:
    """Give a changing command `--wait` and `--timeout`."""
    command = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="How long --wait waits.",
    )(command)
    return click.option(
        "--wait",
        type=click.Choice(["none", "control", "agents"]),
        default="none",
        show_default=True,
        help="Return when the control nodes, or all agents too, have applied the change.",
    )(command)


def host_options(command: CommandT) -> CommandT:
    """Give a command that asks agents `--host`."""
    return click.option(
        "--host", "hosts", multiple=True, metavar="NAME", help="Only this host (may be repeated)."
    )(command)
