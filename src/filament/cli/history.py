"""`filament history` and `filament diff`: who changed what, from the change log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from filament.base.errors import InputError, NotFoundError
from filament.cli import names
from filament.cli.options import json_option, pass_session
from filament.cli.output import cell, print_json, print_lines
from filament.cli.session import Session

_PAGE = 1000
Json = dict[str, Any]
# Changes with every commit and says nothing that the line above does not.
_SILENT = ("revision", "props.id_perms.last_modified")


@click.command("history")
@click.argument("name", metavar="OBJECT")
@click.option(
    "--limit", type=click.IntRange(1, 999), default=20, show_default=True, help="Newest N changes."
)
@json_option
@pass_session
def history(session: Session, name: str, limit: int, as_json: bool) -> None:
    """Show who changed an object, when and how, newest first.

    A deleted object is found by its uuid.
    """
    uuid = _uuid_of(session, name)
    commits = session.get("/filament/log", uuid=uuid, limit=str(limit + 1))["commits"]
    if not commits:
        raise NotFoundError(
            f"the log knows no change of {name}: it is older than what --retain-commits keeps"
        )
    records = [
        _record(commit, uuid, commits[index + 1] if index + 1 < len(commits) else None)
        for index, commit in enumerate(commits[:limit])
    ]
    if as_json:
        print_json(records)
        return
    for record in records:
        print_lines(_lines(record))


def _uuid_of(session: Session, name: str) -> str:
    try:
        return names.find(session, name).uuid
    except NotFoundError:
        if names.is_uuid(name):
            return name.lower()
        raise


def _record(commit: Json, uuid: str, previous: Json | None) -> Json:
    after = _version(commit["puts"], uuid)
    deleted = _version(commit["deletes"], uuid)
    before = deleted or (_version(previous["puts"], uuid) if previous is not None else None)
    record = {key: commit[key] for key in ("revision", "at", "who")}
    if after is None:
        return record | {"what": "deleted", "changes": []}
    if before is None:
        # Nothing before it in the log: made here, or changed after the log forgot that.
        is_new = previous is not None or _is_new(after)
        return record | {"what": "created" if is_new else "changed", "changes": []}
    return record | {"what": "changed", "changes": list(differences(before, after))}


def _is_new(item: Json) -> bool:
    stamps = item["props"].get("id_perms") or {}
    return bool(stamps.get("created") == stamps.get("last_modified"))


def _version(objects: list[Json], uuid: str) -> Json | None:
    return next((each for each in objects if each["uuid"] == uuid), None)


def _lines(record: Json) -> list[str]:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["at"]))
    head = f"{record['revision']}  {moment}  {record['who'] or '-'}  {record['what']}"
    return [head, *(_line(each) for each in record["changes"])]


def _line(change: Json) -> str:
    return f"    {change['field']}: {cell(change['before'])} -> {cell(change['after'])}"


def differences(before: Any, after: Any, field: str = "") -> Iterator[Json]:
    """Fields in which two versions differ; None where a version lacks it."""
    if field in _SILENT:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            inner = f"{field}.{key}" if field else key
            if before.get(key) != after.get(key):
                yield from differences(before.get(key), after.get(key), inner)
    elif field == "refs":
        then = {(ref["kind"], ref["uuid"]): ref.get("attr") for ref in before or ()}
        now = {(ref["kind"], ref["uuid"]): ref.get("attr") for ref in after or ()}
        for key in dict.fromkeys((*then, *now)):
            if (key in then) != (key in now) or then.get(key) != now.get(key):
                yield {
                    "field": f"refs.{key[0]}.{key[1]}",
                    "before": (then[key] or {}) if key in then else None,
                    "after": (now[key] or {}) if key in now else None,
                }
    elif before != after:
        yield {"field": field, "before": before, "after": after}


@click.command("diff")
@click.argument("first", metavar="REV1", type=click.IntRange(min=0))
@click.argument("last", metavar="REV2", type=click.IntRange(min=0))
@json_option
@pass_session
def diff(session: Session, first: int, last: int, as_json: bool) -> None:
    """Show what changed between two revisions.

    Commits after REV1 up to and including REV2 count, object by object.
    """
    if first > last:
        raise InputError(
            "bad-revisions", f"{first} is later than {last}", hint=f"write diff {last} {first}"
        )
    records = list(_changed(session, first, last))
    if as_json:
        print_json(records)
        return
    for record in records:
        print_lines(
            [
                f"{record['sign']} {record['kind']} {record['name']}",
                *(_line(each) for each in record["changes"]),
            ]
        )


def _changed(session: Session, first: int, last: int) -> Iterator[Json]:
    """One record per object that is not what it was."""
    befores: dict[str, Json | None] = {}  # what the first of the commits shows of it
    afters: dict[str, Json | None] = {}
    made: set[str] = set()
    for commit in _commits(session, first, last):
        for item in commit["deletes"]:
            befores.setdefault(item["uuid"], item)
            afters[item["uuid"]] = None
        for item in commit["puts"]:
            if item["uuid"] not in befores:
                befores[item["uuid"]] = _before(session, item["uuid"], commit["revision"])
                if _is_new(item):
                    made.add(item["uuid"])
            afters[item["uuid"]] = item
    for uuid, after in afters.items():
        before = befores[uuid]
        if before is not None and after is not None:
            changes = list(differences(before, after))
            if changes:
                yield _entry("~", after, changes)
        elif after is not None:  # made since, or changed and the log has forgotten from what
            yield _entry("+" if uuid in made else "~", after, [])
        elif before is not None and before.get("revision", 0) <= first:
            yield _entry("-", before, [])


def _entry(sign: str, item: Json, changes: list[Json]) -> Json:
    named = {"kind": item["kind"], "name": ":".join(item["fq_name"]), "uuid": item["uuid"]}
    return {"sign": sign, **named, "changes": changes}


def _before(session: Session, uuid: str, revision: int) -> Json | None:
    """An object as it was before a commit, if the log still knows; None when it was not there."""
    found = session.get("/filament/log", uuid=uuid, before=str(revision), limit="1")["commits"]
    return _version(found[0]["puts"], uuid) if found else None


def _commits(session: Session, first: int, last: int) -> Iterator[Json]:
    after = first
    while after < last:
        page = session.get("/filament/log", after=str(after), limit=str(_PAGE))
        if last > page["revision"]:
            raise NotFoundError(f"there is no revision {last}; the last is {page['revision']}")
        for commit in page["commits"]:
            if commit["revision"] > last:
                return
            yield commit
            after = commit["revision"]
