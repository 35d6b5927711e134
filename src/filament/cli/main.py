"""The `filament` command: options for all, subcommands found lazily, errors as texts and codes.

Start-up is part of the design: a command imports only what it runs, so that typing `filament ls`
feels like a local tool. Exit codes: 0 done, 1 the world said no, 2 the caller asked for something
impossible, 3 `trace` found that the packet is dropped, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
)
from filament.cli.output import print_note
from filament.cli.session import Session
from filament.cli.suggest import suggestion

EXIT_WORLD = 1
EXIT_CALLER = 2
EXIT_INTERRUPTED = 130
CALLERS_FAULTS = (InputError, NotFoundError, ConflictError, ForbiddenError)

# Command -> (module below filament.cli, short help). The help stands here too so that
# `filament --help` imports nothing.
COMMANDS = {
    "agent": ("roles", "Run the agent of this compute host."),
    "cat": ("objects", "Print whole objects."),
    "completion": ("complete", "Print the completion script of a shell."),
    "create": ("changes", "Create an object."),
    "db": ("db", "Check, export, import, back up and restore the database."),
    "diff": ("history", "Show what changed between two revisions."),
    "edit": ("edit", "Edit an object in $EDITOR, and send what changed."),
    "history": ("history", "Show who changed an object, when and how."),
    "lab": ("lab", "Run a lab of hosts and workloads on this machine."),
    "ln": ("changes", "Make one object refer to another, or no longer (--rm)."),
    "ls": ("objects", "List kinds, or the objects of a kind."),
    "observe": ("observe", "Print what data planes decide, as it happens."),
    "passwd": ("passwd", "Add a local user of the API, or change its password."),
    "rm": ("remove", "Delete objects."),
    "serve": ("roles", "Run controller roles."),
    "set": ("changes", "Change properties of an object."),
    "show": ("show", "Show what hosts and control nodes really hold."),
    "status": ("status", "Show every process, and which revision it has reached."),
    "trace": ("trace", "Explain table by table what happens to a packet."),
    "tree": ("tree", "Show how objects hang together, as trees."),
    "verify": ("verify", "Compare intent, plan, routes, agents and kernels, and name differences."),
    "watch": ("watch", "Print commits as they happen."),
}


class LazyGroup(click.Group):
    """The group of all commands; each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"filament.cli.{COMMANDS[cmd_name][0]}")
        # `set` is a builtin's name: the function has an underscore.
        command: click.Command = getattr(module, "set_" if cmd_name == "set" else cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`, or say which one may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(
                f"there is no command {args[0]!r}{suggestion(args[0], COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands with their short help, importing none."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--api",
    "api_address",
    metavar="ADDRESS",
    envvar="FILAMENT_API",
    help="The API: unix:PATH or http://HOST:PORT "
    "[default: RUN/api.sock if it exists, else http://127.0.0.1:8082; env FILAMENT_API].",
)
@click.option(
    "--run-dir",
    metavar="RUN",
    envvar="FILAMENT_RUN",
    help="Where the sockets of this machine's roles are "
    "[default: /run/filament; env FILAMENT_RUN].",
)
@click.version_option(package_name="filament-sdn", message="filament %(version)s")
@click.pass_context
def filament(ctx: click.Context, api_address: str | None, run_dir: str | None) -> None:
    """Networks for workloads: one package, one command, from the API to the packet."""
    session = Session(run_dir, api_address)
    ctx.obj = session
    ctx.call_on_close(session.close)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process; the only place where errors become texts and exit
    codes.

    What is to be closed is closed by now. The interpreter is not taken down: to free what a control
    node holds, object by object, takes seconds of a busy machine, longer than whoever told it to
    end may wait before killing it.
    """
    code = run(arguments)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        result: Any = filament.main(arguments, prog_name="filament", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        _say(error.format_message(), _usage_of(error))
        return EXIT_CALLER
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except FilamentError as error:
        _say("\n".join((str(error), *getattr(error, "__notes__", ()))))
        return exit_code(error)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _say(f"{what}{error.strerror or error}")
        return EXIT_WORLD
    # click returns the code of ctx.exit(), or what the command returned.
    return result if isinstance(result, int) else 0


def exit_code(error: FilamentError) -> int:
    """Return whose fault an error is, as an exit code."""
    return EXIT_CALLER if isinstance(error, CALLERS_FAULTS) else EXIT_WORLD


def _say(message: str, usage: str = "") -> None:
    for line in message.splitlines():
        print_note(f"filament: {line}")
    if usage:
        print_note(usage)


def _usage_of(error: click.ClickException) -> str:
    """Return where to read on after a usage error."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"See: {ctx.command_path} --help" if ctx is not None else ""
