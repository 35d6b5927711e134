"""Shell completion: kinds, names of objects and hosts, asked from the running system.

Completion must never print an error nor make the person wait: a silent API completes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

import click

from filament.base.errors import FilamentError
from filament.cli import names
from filament.cli.local import sockets
from filament.cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
_PATIENCE_S = 0.5
# What people name on the command line; other kinds complete once the kind is written.
_NAMED_KINDS = (
    "virtual-machine",
    "virtual-network",
    "network-policy",
    "virtual-router",
)


def session_of(ctx: click.Context) -> Session:
    """Make the session that the (never invoked) main group would have made."""
    options = ctx.find_root().params
    session = Session(options.get("run_dir"), options.get("api_address"))
    session.timeout_s = _PATIENCE_S
    return session


def _items(
    session: Session, found: Callable[[], Iterable[str]], incomplete: str
) -> list[CompletionItem]:
    # Imported here, and below: every command names its completions, few runs complete.
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    with closing(session):
        try:
            return [CompletionItem(each) for each in found() if each.startswith(incomplete)]
        except FilamentError:
            return []


def complete_kinds(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a kind."""
    del param
    session = session_of(ctx)
    return _items(session, lambda: names.kinds(session), incomplete)


def complete_names(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a kind or a name; after a kind, the names of that kind."""
    session = session_of(ctx)
    given = ctx.params.get(param.name or "") or ()

    def found() -> list[str]:
        known = names.kinds(session)
        if given and given[-1] in known:
            return [each.name for each in names.objects_of(session, given[-1])]
        kind, slash, _ = incomplete.partition("/")
        if slash and kind in known:
            return [f"{kind}/{each.name}" for each in names.objects_of(session, kind)]
        short = [
            each.short
            for kind in _NAMED_KINDS
            if kind in known
            for each in names.objects_of(session, kind)
        ]
        return [*dict.fromkeys(short), *known]

    return _items(session, found, incomplete)


def complete_workloads(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a workload."""
    del param
    session = session_of(ctx)
    return _items(
        session,
        lambda: [each.short for each in names.objects_of(session, "virtual-machine")],
        incomplete,
    )


def complete_hosts(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a host with an agent."""
    del param
    session = session_of(ctx)
    return _items(session, lambda: sockets(session.run_dir, "agent"), incomplete)


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(filament completion bash)".
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    root = ctx.find_root()
    name = root.info_name or "filament"
    made = get_completion_class(shell)
    assert made is not None, shell
    click.echo(made(root.command, {}, name, "_FILAMENT_COMPLETE").source())
