"""`filament db`: the whole database at once, through the running API or, when it is down, itself.

One rule: without --store the API is asked, which is safe at any time; with --store the database is
opened directly. A SQLite file refuses a second owner, so that cannot be done behind the back of a
running API; on etcd it can, and what is read is one revision, what is written one commit.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from filament.base.errors import ConflictError, InputError, RevisionConflictError
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines
from filament.cli.session import Session

if TYPE_CHECKING:
    from filament.model.change import Commit
    from filament.model.content import Content
    from filament.store.contract import Store

_LOG_PAGE = 1000
_PATIENCE_S = 600.0  # a whole configuration may take its time
_ATTEMPTS = 10

_STORE = click.option(
    "--store",
    "address",
    metavar="ADDRESS",
    help="Open the database itself: sqlite:PATH or etcd:http://HOST:PORT[,...] "
    "[default: ask the API].",
)


@click.group("db")
def db() -> None:
    """Check, export, import, back up and restore the database."""


@db.command("check")
@_STORE
@json_option
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, address: str | None, as_json: bool) -> None:
    """Prove that the database agrees with itself; exit code 1 and a list when it does not."""
    from filament.model.invariants import CLASSES  # noqa: PLC0415
    from filament.model.invariants import check as check_content  # noqa: PLC0415

    if address is None:
        content = _ask(session)
        revisions: list[int] = []
    else:
        with _opened(address) as store:
            content = _read(store)
            revisions = [commit.revision for commit in _store_log(store, content.revision)]
    problems = check_content(content.revision, content.objects, content.allocations, revisions)
    if as_json:
        print_json(
            {
                "revision": content.revision,
                "objects": len(content.objects),
                "allocations": len(content.allocations),
                "problems": [{"of": each.of, "text": each.text} for each in problems],
            }
        )
    else:
        counts = Counter(each.of for each in problems)
        heading = (
            f"revision {content.revision}: {len(content.objects)} objects,"
            f" {len(content.allocations)} allocations"
        )
        if address is not None:
            heading += f", {len(revisions)} commits in the log"
        print_lines(
            [
                heading,
                *(f"{counts[of] or 'ok':>6}  {of}: {rule}" for of, rule in CLASSES.items()),
                *(f"{each.of}: {each.text}" for each in problems),
            ]
        )
    ctx.exit(1 if problems else 0)


@db.command("export")
@click.argument("file")
@_STORE
@click.option(
    "--log", "has_log", is_flag=True, help="The change log too, as far back as it is kept."
)
@pass_session
def export(session: Session, file: str, address: str | None, has_log: bool) -> None:
    """Write the whole database to FILE (- is stdout) as JSON; same content, same bytes.

    With --log, `history` and `diff` go on in the store that FILE is imported into.
    """
    if not has_log:
        _write(_content(session, address), file)
    elif address is None:
        content = _ask(session)
        _write(_with_log(content, _api_log(session, content.revision)), file)
    else:
        with _opened(address) as store:
            content = _read(store)
            _write(_with_log(content, _store_log(store, content.revision)), file)


@db.command("backup")
@click.argument("file")
@_STORE
@pass_session
def backup(session: Session, file: str, address: str | None) -> None:
    """Write a checked copy of the database to FILE, which appears whole or not at all."""
    content = _content(session, address)
    _require_sound(content)
    _write(content, file)
    _say(f"revision {content.revision}: {len(content.objects)} objects in {file}")


@db.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--store", "address", metavar="ADDRESS", required=True, help="An empty database.")
def import_(file: Path, address: str) -> None:
    """Fill an empty database from FILE, before an API is started on it."""
    content = _load(file)
    _require_sound(content)
    with _opened(address) as store:
        store.seed(content.revision, content.objects, content.allocations, content.commits)
    log = f", {len(content.commits)} commits in the log" if content.commits else ""
    _say(f"{address} holds {len(content.objects)} objects at revision {content.revision}{log}")


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@_STORE
@pass_session
def restore(session: Session, file: Path, address: str | None) -> None:
    """Make the database what FILE says, in one commit; revisions go on from where they are."""
    content = _load(file)
    if address is None:
        session.timeout_s = _PATIENCE_S
        body = msgspec.to_builtins(_with_log(content, ()))  # the log of a store stays its own
        answer = session.change("POST", "/filament/restore", body).value
        puts, deletes, revision = answer["puts"], answer["deletes"], answer["revision"]
    else:
        _require_sound(content)
        with _opened(address) as store:
            puts, deletes, revision = _restore(store, content)
    _say(f"revision {revision}: {puts} objects written, {deletes} deleted")


def _restore(store: Store, content: Content) -> tuple[int, int, int]:
    from filament.model.content import replacement  # noqa: PLC0415
    from filament.model.snapshot import Snapshot  # noqa: PLC0415

    for _ in range(_ATTEMPTS):
        view = Snapshot(*store.load())
        commit = replacement(view, content, time.time(), "restore by filament db")
        if commit is None:
            return 0, 0, view.revision
        try:
            store.commit(commit)
        except RevisionConflictError:
            continue
        return len(commit.puts), len(commit.deletes), commit.revision
    raise ConflictError("others commit all the time; restore through the API (without --store)")


def _content(session: Session, address: str | None) -> Content:
    if address is None:
        return _ask(session)
    with _opened(address) as store:
        return _read(store)


def _ask(session: Session) -> Content:
    from filament.model.content import Content  # noqa: PLC0415

    session.timeout_s = _PATIENCE_S
    return msgspec.convert(session.get("/filament/snapshot"), Content)


def _read(store: Store) -> Content:
    from filament.model.content import Content  # noqa: PLC0415

    revision, objects, allocations = store.load()
    return Content(revision, list(objects), list(allocations))


def _load(file: Path) -> Content:
    from filament.model.content import decode_content  # noqa: PLC0415

    return decode_content(file.read_bytes(), str(file))


@contextlib.contextmanager
def _opened(address: str) -> Iterator[Store]:
    from filament.store.open import open_store  # noqa: PLC0415

    store = open_store(address)
    try:
        yield store
    finally:
        store.close()


def _with_log(content: Content, commits: Iterable[Commit]) -> Content:
    return msgspec.structs.replace(content, commits=list(commits))


def _store_log(store: Store, last: int) -> Iterator[Commit]:
    """The kept commits of a store up to a revision."""
    return _log(store.log, last)


def _api_log(session: Session, last: int) -> Iterator[Commit]:
    """The same of the running API."""
    from filament.model.change import Commit  # noqa: PLC0415

    def page(after: int, limit: int) -> list[Commit]:
        answer = session.get("/filament/log", after=str(after), limit=str(limit))
        return msgspec.convert(answer["commits"], list[Commit])

    return _log(page, last)


def _log(page: Callable[[int, int], list[Commit]], last: int) -> Iterator[Commit]:
    """Commits up to a revision, from where the log begins; `page` is `Store.log`."""
    from filament.base.errors import NotFoundError  # noqa: PLC0415

    low, high = 0, last  # the log is kept after some revision between
    while low < high:
        middle = (low + high) // 2
        try:
            page(middle, 1)
        except NotFoundError:
            low = middle + 1
        else:
            high = middle
    while low < last:
        commits = [commit for commit in page(low, _LOG_PAGE) if commit.revision <= last]
        yield from commits
        low = commits[-1].revision


def _require_sound(content: Content) -> None:
    from filament.model.invariants import check as check_content  # noqa: PLC0415

    problems = check_content(content.revision, content.objects, content.allocations)
    if problems:
        raise InputError(
            "unsound",
            f"the configuration breaks {len(problems)} rules: {problems[0].of}: {problems[0].text}",
            hint="`filament db check` lists them all; `db export` copies what is there as it is",
        )


def _write(content: Content, file: str) -> None:
    from filament.model.content import encode_content  # noqa: PLC0415

    pieces: Iterable[bytes] = encode_content(
        content.revision, content.objects, content.allocations, content.commits
    )
    if file == "-":
        sys.stdout.flush()
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.buffer.flush()
        return
    beside = Path(f"{file}.new")
    with beside.open("wb") as written:
        written.writelines(pieces)
        written.flush()
        os.fsync(written.fileno())
    beside.replace(file)


def _say(text: str) -> None:
    print_lines([text])
