"""`filament edit`: an object as a JSON file in the person's own editor.

The file holds the object's fields themselves, without its kind around them, as contrail-api-cli
writes it: scripts that are given as EDITOR read `sys.argv[1]`, change the JSON and write it back.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from filament.base.errors import ConflictError, FilamentError, InputError, PermanentError
from filament.cli import names
from filament.cli.complete import complete_names
from filament.cli.options import json_option, pass_session, wait_options
from filament.cli.output import print_json, print_lines
from filament.cli.session import Session
from filament.cli.written import require_applied

_DEFAULT_EDITORS = ("vim", "vi", "nano")
_HIDDEN = ("id_perms",)  # the API's own notes
# What the file shows so that scripts can read it, and what cannot be changed in it.
_FIXED = ("uuid", "name", "fq_name", "parent_type", "parent_uuid", "href", "parent_href")
Record = dict[str, Any]


@click.command("edit")
@click.argument(
    "words", metavar="[KIND] NAME|UUID", nargs=-1, required=True, shell_complete=complete_names
)
@wait_options
@json_option
@pass_session
def edit(
    session: Session, words: tuple[str, ...], wait: str, timeout_s: float, as_json: bool
) -> None:
    """Edit an object in $EDITOR, and send what changed.

    EDITOR may be any command: it gets a JSON file as its last argument. Removing a property from
    the file removes it from the object. Nothing changed: nothing is sent.
    """
    found = _only(names.find_all(session, words, strict=True))
    # The revision first: what changes after it, or between the two, is noticed.
    revision = session.get("/filament/status")["revision"]
    before = _read(session, found)
    original = editable(before)
    path = _write_file(found, original)
    session.close()  # people edit for longer than the API keeps a silent connection open
    try:
        edited = _edited(path)
        body = changes_between(original, edited)
        if not body:
            _say(found, None, as_json=as_json)
            path.unlink()
            return
        _require_unchanged(session, found, before)
        written = session.change(
            "PUT",
            f"/{found.kind}/{found.uuid}",
            {found.kind: body},
            wait=wait,
            timeout_s=timeout_s,
            revision=str(revision),
        )
    except FilamentError as error:
        _note_place(error, path, original)
        raise
    path.unlink()
    _say(found, written.revision, as_json=as_json, fields=sorted(body))
    require_applied(written, wait, timeout_s)


def _only(found: list[names.Found]) -> names.Found:
    if len(found) != 1:
        raise InputError(
            "bad-arguments",
            f"{len(found)} objects are named where 1 must be",
            hint="write `filament edit [KIND] NAME`",
        )
    return found[0]


def _read(session: Session, found: names.Found) -> Record:
    value: Record = session.get(
        f"/{found.kind}/{found.uuid}",
        exclude_hrefs="1",
        exclude_children="1",
        exclude_back_refs="1",
    )[found.kind]
    return value


def editable(value: Record) -> Record:
    """Return what the file shows of an object: its identity is there to be read."""
    return {name: item for name, item in value.items() if name not in _HIDDEN}


def changes_between(before: Record, after: Record) -> Record:
    """Return the fields to send: changed ones, and None (no references: []) for removed ones.

    Raises InputError when the object's identity was changed; it may be left out.
    """
    changed = {
        name: item for name, item in after.items() if name not in before or before[name] != item
    }
    for name in _FIXED:
        if name in changed:
            raise InputError(
                "fixed-field",
                f"{name} cannot be changed",
                path=f"$.{name}",
                hint=f"it is {json.dumps(before.get(name))}",
            )
    removed: Record = {
        name: [] if name.endswith("_refs") else None
        for name in before
        if name not in after and name not in _FIXED and before[name] not in (None, [])
    }
    return changed | removed


def _write_file(found: names.Found, value: Record) -> Path:
    handle, name = tempfile.mkstemp(prefix=f"{found.kind}-", suffix=".json")
    with os.fdopen(handle, "wb") as file:
        file.write(_content(value))
    return Path(name)


def _content(value: Record) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _edited(path: Path) -> Record:
    """Run the editor until the file holds a JSON object; a script gets one try."""
    while True:
        _run_editor(path)
        try:
            return read_object(path.read_text(encoding="utf-8"))
        except (InputError, UnicodeDecodeError) as error:
            if not sys.stdin.isatty():
                raise InputError("bad-json", f"the edited file: {error}") from error
            click.echo(f"filament: the file: {error}", err=True)
            if not click.confirm("Edit it again?", default=True, err=True):
                raise InputError("bad-json", f"the edited file: {error}") from error


def read_object(text: str) -> Record:
    """Read a JSON object. Raises InputError that says in which line and column it breaks off."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1].strip() if text.strip() else ""
        raise InputError(
            "bad-json",
            f"line {error.lineno}, column {error.colno} is not JSON: {error.msg}",
            hint=f"it reads: {line}" if line else "it is empty",
        ) from error
    if not isinstance(value, dict):
        raise InputError("bad-json", "it holds no JSON object", hint='write {"PROPERTY": VALUE}')
    return value


def _run_editor(path: Path) -> None:
    command = editor()
    try:
        result = subprocess.run([*command, str(path)], check=False)
    except FileNotFoundError as error:
        raise InputError(
            "no-editor",
            f"there is no editor {command[0]!r}",
            hint="set EDITOR to a command that edits the file it is given",
        ) from error
    except OSError as error:
        raise InputError(
            "no-editor",
            f"the editor {command[0]} cannot be run: {error.strerror}",
            hint="a script needs chmod +x and a first line like #!/usr/bin/env python3",
        ) from error
    if result.returncode != 0:
        raise PermanentError(
            f"the editor {command[0]} ended with status {result.returncode}; nothing was sent"
        )


def editor() -> list[str]:
    """Return the editor's command: VISUAL or EDITOR with their options, else one that is here."""
    for variable in ("VISUAL", "EDITOR"):
        words = shlex.split(os.environ.get(variable, ""))
        if words:
            return words
    return [next((each for each in _DEFAULT_EDITORS if shutil.which(each)), _DEFAULT_EDITORS[0])]


def _require_unchanged(session: Session, found: names.Found, before: Record) -> None:
    """Refuse to overwrite what somebody else wrote while the editor was open."""
    now = _read(session, found)
    if now.get("id_perms") == before.get("id_perms"):
        return
    fields = sorted(changes_between(editable(before), editable(now)))
    what = f" ({', '.join(fields)})" if fields else ""
    raise ConflictError(f"{found} was changed meanwhile{what}; nothing was sent")


def _note_place(error: FilamentError, path: Path, original: Record) -> None:
    """Add where the person's work is kept to an error; without any work, keep nothing."""
    if path.exists() and path.read_bytes() != _content(original):
        error.add_note(f"your version is kept in {path}")
    else:
        path.unlink(missing_ok=True)


def _say(
    found: names.Found, revision: int | None, *, as_json: bool, fields: list[str] | None = None
) -> None:
    if as_json:
        done = "changed" if revision else "unchanged"
        record = {"object": str(found), "uuid": found.uuid, "done": done, "fields": fields or []}
        print_json(record | ({"revision": revision} if revision else {}))
    elif revision is None:
        print_lines([f"{found} unchanged: nothing was sent"])
    else:
        print_lines([f"{found} changed ({', '.join(fields or [])}) in revision {revision}"])
