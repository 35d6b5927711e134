"""`filament passwd`: users of an API that knows its callers by a file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("passwd")
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/filament/users.json"),
    show_default=True,
    help="The users file, api.auth.users of the settings.",
)
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role (may be repeated).")
@click.option("--project", metavar="UUID", help="The project the user acts for.")
@click.option("--domain", metavar="UUID", help="The domain of that project.")
@click.password_option(help="The password; asked for when it is not given.")
def passwd(
    name: str,
    path: Path,
    roles: tuple[str, ...],
    project: str | None,
    domain: str | None,
    password: str,
) -> None:
    """Add a local user of the API, or change its password."""
    from msgspec.structs import replace  # noqa: PLC0415 - only what is run is imported

    from filament.api.users import User, hash_password, read_users, write_user  # noqa: PLC0415

    before = read_users(path).get(name) if path.exists() else None
    user = replace(before or User(""), password=hash_password(password))
    given = {"roles": roles or None, "project": project, "domain": domain}
    user = replace(user, **{key: value for key, value in given.items() if value is not None})
    write_user(path, name, user)
    click.echo(f"{name} is in {path} with roles: {', '.join(user.roles) or 'none'}")
