"""`filament verify`: whether intent, plan, routes, agents and kernels hold the same."""

from __future__ import annotations

import click

from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines, print_note
from filament.cli.session import Session

EXIT_DIFFERENT = 1


@click.command("verify")
@click.option(
    "--repair", "is_repairing", is_flag=True, help="Mend what can be proven to be wrong, once."
)
@json_option
@click.pass_context
@pass_session
def verify(session: Session, ctx: click.Context, is_repairing: bool, as_json: bool) -> None:
    """Compare intent, plan, routes, agents and kernels, and name differences.

    Everything that follows from the API's configuration is computed anew and compared with what
    every control node and agent of this machine holds, down to the rows in the kernel. Nothing is
    changed without --repair. While things change, only what several looks show is a difference.
    Exit code 1 when there are any.
    """
    from filament.cli import witnesses  # noqa: PLC0415 - computes a plan: long to start

    found = witnesses.look(session)
    mended: list[str] = []
    if found and is_repairing:
        mended = witnesses.mend(session, found)
        found = witnesses.look_until_settled(session)
    if as_json:
        print_json(
            {
                "differences": [
                    one._replace(repair=None)._asdict() | {"repairable": one.repair is not None}
                    for one in found
                ],
                "repairs": mended,
            }
        )
    else:
        print_lines([*(f"repaired: {text}" for text in mended), *witnesses.lines(found)])
        if not is_repairing and any(one.repair for one in found):
            print_note("`filament verify --repair` mends what is marked with *")
    ctx.exit(EXIT_DIFFERENT if found else 0)
