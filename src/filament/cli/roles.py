"""`filament serve` and `filament agent`: the processes of the controller and of compute hosts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filament.base.limits import MAX_FLOW_TABLE, MIN_FLOW_TABLE
from filament.cli.options import pass_session
from filament.cli.session import Session

if TYPE_CHECKING:
    from filament.app.settings import Settings

_INTROSPECT = click.option(
    "--introspect",
    metavar="HOST:PORT",
    help='Where Sandesh introspect is served, "" for nowhere '
    "[default: 127.0.0.1:8083 (control), 127.0.0.1:8085 (agent)].",
)
_CONFIG = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings (TOML) [default: /etc/filament/filament.toml if it exists].",
)


def _settings(session: Session, file: Path | None) -> Settings:
    """Read settings; the run directory is the command line's own unless it is the default."""
    from filament.app.settings import load_settings  # noqa: PLC0415

    environment = dict(os.environ)
    if session.run_dir_is_given:
        environment["FILAMENT_RUN"] = str(session.run_dir.absolute())
    return load_settings(file, environment)


def _run(ctx: click.Context, settings: Settings, roles: list[str]) -> None:
    # Imported here: roles bring the event loop and the servers with them.
    from filament.app.roles import serve as serve_roles  # noqa: PLC0415

    ctx.exit(serve_roles(settings, roles))


@click.command("serve")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    metavar="ROLE",
    help="api, control or agent; may be repeated: all run in this process.",
)
@click.option("--name", help="The control node's name.")
@click.option(
    "--api",
    "api",
    metavar="ADDRESS[,...]",
    help="The API a control node follows; give all its processes where there are several.",
)
@click.option("--xmpp", metavar="HOST:PORT", help="Where a control node listens for agents.")
@click.option(
    "--listen",
    "listens",
    multiple=True,
    metavar="HOST:PORT",
    help="Where the API listens besides RUN/api.sock (may be repeated).",
)
@click.option(
    "--store",
    metavar="ADDRESS",
    help="The API's database: sqlite:PATH or etcd:http://HOST:PORT[,...] "
    "[default: sqlite:STATE/filament.db].",
)
@click.option(
    "--retain-commits",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many commits the API keeps for `filament history` [default: 100000].",
)
@_INTROSPECT
@_CONFIG
@click.pass_context
@pass_session
def serve(
    session: Session,
    ctx: click.Context,
    roles: tuple[str, ...],
    name: str | None,
    api: str | None,
    xmpp: str | None,
    listens: tuple[str, ...],
    store: str | None,
    retain_commits: int | None,
    introspect: str | None,
    file: Path | None,
) -> None:
    """Run controller roles in the foreground, until a signal or the first failure."""
    from msgspec.structs import replace  # noqa: PLC0415

    settings = _settings(session, file)
    control = {"name": name, "api": api, "xmpp": xmpp, "introspect": introspect}
    of_api = {"listen": listens, "store": store, "retain_commits": retain_commits}
    settings = replace(
        settings,
        api=replace(settings.api, **{key: value for key, value in of_api.items() if value}),
        control=replace(
            settings.control, **{key: value for key, value in control.items() if value is not None}
        ),
    )
    _run(ctx, settings, list(roles))


@click.command("agent")
@click.option("--name", help="This host's name, as its virtual-router is called.")
@click.option("--address", metavar="IPV4", help="Where tunnels to this host end.")
@click.option(
    "--control",
    "controls",
    multiple=True,
    metavar="HOST:PORT",
    help="A control node (may be repeated; two of them are used).",
)
@click.option("--underlay", metavar="DEVICE", help="The device that tunnels go through.")
@click.option(
    "--session-log", metavar="FILE", help="Where to write what flows were, as lines of JSON."
)
@click.option(
    "--flow-table",
    type=click.IntRange(MIN_FLOW_TABLE, MAX_FLOW_TABLE),
    metavar="FLOWS",
    help="How many flows this host may have.",
)
@click.option(
    "--max-vm-flows",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="How many of them one port may have; 0 for no limit.",
)
@_INTROSPECT
@_CONFIG
@click.pass_context
@pass_session
def agent(
    session: Session,
    ctx: click.Context,
    name: str | None,
    address: str | None,
    controls: tuple[str, ...],
    underlay: str | None,
    session_log: str | None,
    flow_table: int | None,
    max_vm_flows: float | None,
    introspect: str | None,
    file: Path | None,
) -> None:
    """Run the agent of this compute host in the foreground."""
    from msgspec.structs import replace  # noqa: PLC0415

    settings = _settings(session, file)
    given = {
        "name": name,
        "address": address,
        "controls": controls or None,
        "underlay": underlay,
        "session_log": session_log,
        "flow_table": flow_table,
        "max_vm_flows": max_vm_flows,
        "introspect": introspect,
    }
    settings = replace(
        settings,
        agent=replace(
            settings.agent, **{key: value for key, value in given.items() if value is not None}
        ),
    )
    _run(ctx, settings, ["agent"])
