"""`filament lab`: hosts, processes and workloads on this machine, for trying and for tests.

The lab is test kit and stands above the command line; it is imported only inside its commands.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from filament.base.errors import FilamentError
from filament.base.net import format_ipv4
from filament.cli.complete import session_of
from filament.cli.options import json_option, pass_session
from filament.cli.output import columns, print_lines, print_records
from filament.cli.session import Session

if TYPE_CHECKING:
    from filament.testing.lab.lab import Lab

# Options after the NAME belong to the command that is run, not to us.
_PASS_ARGUMENTS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
SIGNALS = {name: getattr(signal, f"SIG{name}") for name in ("KILL", "TERM")}


def _open(session: Session) -> Lab:
    from filament.testing.lab.lab import Lab  # noqa: PLC0415

    return Lab.open(session.run_dir)


def _say(line: str) -> None:
    print_lines([line or " "])


def complete_places(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a workload or host of the lab."""
    del param
    try:
        places = _open(session_of(ctx)).plan.places()
    except FilamentError:
        return []
    return [CompletionItem(place) for place in places if place.startswith(incomplete)]


def complete_processes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a process of the lab."""
    del param
    try:
        found = [process.program.name for process, _ in _open(session_of(ctx)).status()]
    except FilamentError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


@click.group("lab")
def lab() -> None:
    """Run a lab of hosts and workloads on this machine."""


@lab.command("up")
@click.option(
    "--underlay",
    type=click.Choice(["bridge", "direct"]),
    default="bridge",
    show_default=True,
    help="How the hosts are joined: by a switch, or by one bare cable.",
)
@click.option("--hosts", default=2, show_default=True, help="How many compute hosts.")
@click.option(
    "--controls",
    default=1,
    show_default=True,
    help="How many control nodes; each agent talks to two of them.",
)
@pass_session
def up(session: Session, underlay: str, hosts: int, controls: int) -> None:
    """Build the lab, start everything, and show what reaches what; harmless when it is up."""
    from filament.testing.lab import scenario  # noqa: PLC0415

    scenario.up(
        session.run_dir,
        _say,
        underlay="direct" if underlay == "direct" else "bridge",
        host_count=hosts,
        control_count=controls,
    )


@lab.command("down")
@pass_session
def down(session: Session) -> None:
    """Remove the lab and everything it made; harmless when there is none."""
    from filament.testing.lab import scenario  # noqa: PLC0415

    scenario.down(session.run_dir, _say)


@lab.command("exec", context_settings=_PASS_ARGUMENTS)
@click.argument("name", shell_complete=complete_places)
@click.argument("argv", metavar="[--] COMMAND...", nargs=-1, required=True)
@pass_session
def exec_(session: Session, name: str, argv: tuple[str, ...]) -> None:
    """Run a COMMAND inside a workload or host.

    For example: filament lab exec red-1 -- ping -c3 10.1.1.4
    """
    # With interspersed arguments off, click leaves the separator in place.
    words = argv[1:] if argv[0] == "--" else argv
    _open(session).exec(name, words)


@lab.command("router")
@click.argument("name")
@pass_session
def router(session: Session, name: str) -> None:
    """Make a namespace on the underlay for a router of somebody else's.

    Nothing runs in it: start FRR, GoBGP or what you have with filament lab exec.
    """
    made = _open(session).add_router(name)
    print_lines([f"{name} is {format_ipv4(made.address)}"])


@lab.command("status")
@json_option
@click.pass_context
@pass_session
def lab_status(session: Session, ctx: click.Context, as_json: bool) -> None:
    """Show the lab's processes; exit 1 when one does not run."""
    found = _open(session).status()
    records = [
        {"name": process.program.name, "pid": process.pid, "running": alive}
        for process, alive in found
    ]
    print_records(
        records, columns("name", "pid", "running"), as_json=as_json, nothing="no processes"
    )
    if not all(alive for _, alive in found):
        ctx.exit(1)


@lab.command("kill")
@click.argument("name", shell_complete=complete_processes)
@click.option(
    "--signal",
    "signal_name",
    type=click.Choice(sorted(SIGNALS)),
    default="KILL",
    show_default=True,
    help="The signal to send.",
)
@pass_session
def kill(session: Session, name: str, signal_name: str) -> None:
    """Kill a process (api, control, control-ctl2, a host's agent, ...); nobody restarts it."""
    _open(session).kill(name, SIGNALS[signal_name])


@lab.command("restart")
@click.argument("name", shell_complete=complete_processes)
@pass_session
def restart(session: Session, name: str) -> None:
    """Start a process that has ended, exactly as before."""
    process = _open(session).restart(name)
    print_lines([f"{name} runs again (pid {process.pid})"])
