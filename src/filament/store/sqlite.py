"""A store in one SQLite file: write-ahead log, full synchronisation, one connection.

The log is the truth: a commit is a row in it, which is what its caller waits for. The tables of
objects and allocations follow, many commits at a time, since most of what they cost is finding and
writing pages. What they lack is in the log, and is added when the file is opened.

The connection belongs to the thread that opened it (the owner's writer thread) and holds the
file exclusively, so that two API processes can never number commits side by side.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from filament.base.errors import (
    PermanentError,
    RevisionConflictError,
    TransientError,
)
from filament.model.change import Allocation, Commit, Object
from filament.store.index import Index, Undo
from filament.store.memory import FOLLOW_COMMITS, not_empty, not_kept
from filament.store.migrate import migrate

SCHEMA_VERSION = 3
_TOUCHED = """
create table touched (         -- which commits of the log put or delete an object
    uuid text not null,
    revision integer not null,
    primary key (uuid, revision)
) strict, without rowid
"""
_SCHEMA = """
create table meta (key text primary key, value integer not null) strict;
create table objects (
    sequence integer primary key,  -- order of creation
    uuid text not null unique,
    kind text not null,
    fq_name text not null,
    body blob not null,            -- msgspec JSON of model.change.Object
    unique (kind, fq_name)
) strict;
create table allocations (
    pool text not null,
    value integer not null,
    owner text not null,
    primary key (pool, value)
) strict, without rowid;
create table log (revision integer primary key, body blob not null) strict;
"""
_PUT = """
insert into objects (uuid, kind, fq_name, body) values (?, ?, ?, ?)
on conflict (uuid) do update set body = excluded.body
where kind = excluded.kind and fq_name = excluded.fq_name
"""


class _Statement(NamedTuple):
    """A statement over several rows: `ROWS` in its text stands for `row` once for each of them."""

    text: str
    row: str
    between: str = ", "

    def over(self, count: int) -> str:
        return self.text.replace("ROWS", self.between.join([self.row] * count))


_DELETE_ROWS = _Statement("delete from objects where uuid in (ROWS)", "?")
# `(pool, value) in (values ...)` would read the whole table: SQLite finds no index for it.
_FREE_ROWS = _Statement("delete from allocations where ROWS", "(pool = ? and value = ?)", " or ")
_PUT_ROWS = _Statement(_PUT.replace("(?, ?, ?, ?)", "ROWS"), "(?, ?, ?, ?)")
_FOLLOWED = "update meta set value = ? where key = 'followed'"
_TAKE_ROWS = _Statement("insert into allocations values ROWS", "(?, ?, ?)")
_LOG_ROWS = _Statement("insert into log values ROWS", "(?, ?)")
_TOUCHED_ROWS = _Statement("insert into touched values ROWS", "(?, ?)")
_SWEEP_TO = """
select uuid, revision from touched where (uuid, revision) > (?, ?)
order by uuid, revision limit 1 offset ?
"""
_SWEEP = """
delete from touched
where (uuid, revision) > (?, ?) and (uuid, revision) <= (?, ?) and revision < ?
"""
STATEMENTS = (_DELETE_ROWS, _FREE_ROWS, _PUT_ROWS, _TAKE_ROWS, _LOG_ROWS, _TOUCHED_ROWS)
SWEEPS = (_SWEEP_TO, _SWEEP)
_ROWS_AT_ONCE = 64
FOLD_COMMITS = 16  # that the tables take over at once; they lack fewer, and a group
_FORGET_COMMITS = 4 * FOLD_COMMITS  # of the log at once: more than come in the same time
_SWEEP_ROWS = 8 * FOLD_COMMITS  # of `touched` at once: so many that few wait for their turn
_FIRST_KEY, _LAST_KEY = ("", 0), ("\U0010ffff", 0)  # around all uuids
# 64 MB of SQLite's own log: so seldom that those who wait for it are far less than 1 in 100.
_CHECKPOINT_PAGES = 16_000
_CACHE_KIB = 16 * 1024
# Prepared statements that are kept: one per kind of statement and number of rows.
_KEPT_STATEMENTS = len(STATEMENTS) * _ROWS_AT_ONCE + 20

_Row = TypeVar("_Row")

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(Object).decode
_decode_commit = msgspec.json.Decoder(Commit).decode


class _Written(msgspec.Struct, frozen=True):
    """A commit whose objects are JSON already; its own JSON is that of the `Commit`."""

    revision: int
    at: float
    who: str
    puts: tuple[msgspec.Raw, ...]
    deletes: tuple[Object, ...]
    takes: tuple[Allocation, ...]
    frees: tuple[Allocation, ...]


class SqliteStore:
    """See `store.contract.Store`. One per file and process; used from one thread only."""

    is_shared = False
    compact_every = 100

    def __init__(self, path: str | Path) -> None:
        """Open or create the file; TransientError when another process has it open."""
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._news = threading.Condition()
        self._index: Index | None = None  # read when first needed
        self._kept_from = 0  # what the log holds below is to go
        self._swept = _FIRST_KEY  # how far `touched` was looked through
        self._behind: list[tuple[Commit, tuple[msgspec.Raw, ...]]] = []  # the tables lack them
        self._connection = sqlite3.connect(
            # Serialised by SQLite itself: `follow` reads on a thread of its own.
            self._path,
            isolation_level=None,
            timeout=0.2,
            check_same_thread=False,
            cached_statements=_KEPT_STATEMENTS,
        )
        try:
            self._revision = self._open()
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise TransientError(
                f"cannot open the store {self._path}: {error}; is another process using it?"
            ) from error
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            self._connection.close()
            raise PermanentError(f"{self._path} is not a usable store: {error}") from error
        except PermanentError:
            self._connection.close()
            raise

    def load(self) -> tuple[int, Iterator[Object], Iterator[Allocation]]:
        """See Store."""
        self._fold()
        execute = self._connection.execute
        rows = execute("select body from objects order by sequence")
        objects = [_decode_object(body) for (body,) in rows]
        held = execute("select pool, value, owner from allocations")
        allocations = [Allocation(pool, value, owner) for pool, value, owner in held]
        self._index = Index()
        self._index.fill(self._revision, objects, allocations)
        return self._revision, iter(objects), iter(allocations)

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self.commit_all([commit])

    def commit_all(self, commits: Sequence[Commit]) -> list[bytes]:
        """See Store."""
        index = self._current()
        revision = index.revision
        undo: Undo = []
        written = []
        try:
            for commit in commits:
                index.require_applicable(commit)
                undo += index.apply(commit)
                written.append(_write(commit))
            some = list(self._behind) if len(self._behind) >= FOLD_COMMITS else []
            with self._writing():
                log = [(commit.revision, body) for commit, _, body in written]
                self._write_rows(_LOG_ROWS, log)
                # In this transaction, since most of what another costs is its end.
                self._follow(some)
                if some:
                    self._forget(some[-1][0].revision)
            del self._behind[: len(some)]
        except RevisionConflictError as error:
            index.revert(undo, revision)
            raise RevisionConflictError(str(error), revision) from None
        except BaseException:
            index.revert(undo, revision)
            raise
        self._behind += [(commit, puts) for commit, puts, _ in written]
        with self._news:
            self._revision = index.revision
            self._news.notify_all()
        return [body for _, _, body in written]

    def log(self, after: int, limit: int) -> list[Commit]:
        """See Store."""
        first = self._oldest()
        if not first - 1 <= after <= self._revision:
            raise not_kept(after, first, self._revision)
        rows = self._connection.execute(
            "select body from log where revision > ? and revision <= ? order by revision limit ?",
            (after, self._revision, limit),
        )
        return [_decode_commit(body) for (body,) in rows]

    def touching(self, uuid: str, before: int, limit: int) -> list[Commit]:
        """See Store."""
        self._fold()
        rows = self._connection.execute(
            "select log.body from touched join log using (revision)"
            " where uuid = ? and revision < ? and revision >= ? order by revision desc limit ?",
            (uuid, before, self._kept_from, limit),
        )
        return [_decode_commit(body) for (body,) in rows]

    def follow(self, after: int, timeout_s: float) -> list[Commit]:
        """See Store. Nobody else can commit, so it is only called where nobody does."""
        with self._news:
            self._news.wait_for(lambda: self._revision > after, timeout_s)
        return self.log(after, FOLLOW_COMMITS)

    def compact(self, before: int) -> None:
        """See Store. Its rows go with the next commits, a few with each: to delete many at once
        would keep everybody waiting.
        """
        self._kept_from = max(self._kept_from, min(before, self._revision + 1))

    def seed(
        self,
        revision: int,
        objects: Iterable[Object],
        allocations: Iterable[Allocation],
        commits: Sequence[Commit] = (),
    ) -> None:
        """See Store."""
        if self._revision:
            raise not_empty(self._revision)
        with self._writing():
            for items in _some(objects):
                self._write_rows(_PUT_ROWS, [_object_row(one, _encode(one)) for one in items])
            for some in _some(allocations):
                self._write_rows(_TAKE_ROWS, [(one.pool, one.value, one.owner) for one in some])
            for commit in commits:
                self._write_rows(_LOG_ROWS, [(commit.revision, _encode(commit))])
                self._touch(commit)
            self._connection.execute(_FOLLOWED, (revision,))
        self._revision, self._index = revision, None

    def close(self) -> None:
        """See Store."""
        try:
            self._fold()
            with self._writing():
                for table in ("log", "touched"):
                    self._connection.execute(
                        f"delete from {table} where revision < ?",  # noqa: S608 - one of the two
                        (self._kept_from,),
                    )
        except (TransientError, PermanentError):
            pass  # the log has it
        finally:
            self._connection.close()

    def _open(self) -> int:
        execute = self._connection.execute
        execute("pragma locking_mode = exclusive")
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = full")
        # Seldom: whoever writes meanwhile waits for it, and pages written often are moved once.
        execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        execute(f"pragma cache_size = -{_CACHE_KIB}")
        with self._transaction():  # takes the exclusive lock, or fails
            (version,) = execute("pragma user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    execute(statement)
                execute(_TOUCHED)
                execute("insert into meta values ('followed', 0)")
            else:
                steps = {1: self._index_log, 2: self._say_followed}
                migrate(str(self._path), version, SCHEMA_VERSION, steps)
            execute(f"pragma user_version = {SCHEMA_VERSION}")
        (revision,) = execute("select value from meta where key = 'followed'").fetchone()
        rows = execute("select body from log where revision > ? order by revision", (revision,))
        for (body,) in rows.fetchall():
            commit = _decode_commit(body)
            self._behind.append(_write(commit)[:2])
            revision = commit.revision
        self._fold()
        return int(revision)

    def _index_log(self) -> None:
        """Version 1 had no `touched`: history was a scan of the whole log."""
        self._connection.execute(_TOUCHED)
        for (body,) in self._connection.execute("select body from log").fetchall():
            self._touch(_decode_commit(body))

    def _say_followed(self) -> None:
        """In version 2 the tables were written with the log."""
        self._connection.execute("update meta set key = 'followed' where key = 'revision'")

    def _oldest(self) -> int:
        return max(self._oldest_row(), self._kept_from)

    def _oldest_row(self) -> int:
        (first,) = self._connection.execute("select min(revision) from log").fetchone()
        return self._revision + 1 if first is None else int(first)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
            self._connection.execute("commit")
        except BaseException:
            # Also after a commit that failed: some failures leave the transaction open.
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction whose failure is told in our own errors."""
        try:
            with self._transaction():
                yield
        except sqlite3.OperationalError as error:
            raise TransientError(f"the store {self._path} refused to write: {error}") from error

    def _current(self) -> Index:
        if self._index is None:
            self.load()
        assert self._index is not None
        return self._index

    def _fold(self) -> None:
        """Let the tables take over every commit that they lack."""
        while self._behind:
            some = self._behind[:FOLD_COMMITS]
            with self._writing():
                self._follow(some)
            del self._behind[: len(some)]

    def _follow(self, commits: Sequence[tuple[Commit, tuple[msgspec.Raw, ...]]]) -> None:
        """Write what commits change, in few statements: each hands the interpreter over and takes
        it back, which costs more than its row.
        """
        if not commits:
            return
        objects: list[tuple[_Statement, tuple[Any, ...]]] = []
        places: dict[str, int] = {}  # of objects that are put: the last of several puts counts
        allocations: list[tuple[_Statement, tuple[Any, ...]]] = []
        touched: list[tuple[Any, ...]] = []
        for commit, puts in commits:
            for item in commit.deletes:
                places.pop(item.uuid, None)
                objects.append((_DELETE_ROWS, (item.uuid,)))
            for item, body in zip(commit.puts, puts, strict=True):
                place = places.setdefault(item.uuid, len(objects))
                objects[place : place + 1] = [(_PUT_ROWS, _object_row(item, bytes(body)))]
            allocations += [(_FREE_ROWS, (one.pool, one.value)) for one in commit.frees]
            allocations += [(_TAKE_ROWS, (one.pool, one.value, one.owner)) for one in commit.takes]
            touched += [(uuid, commit.revision) for uuid in _touched(commit)]
        for changes in (objects, allocations):
            # Runs of one statement, in order: a name given up may be taken again.
            for statement, rows in groupby(changes, key=itemgetter(0)):
                self._write_rows(statement, [row for _, row in rows])
        self._write_rows(_TOUCHED_ROWS, touched)
        self._connection.execute(_FOLLOWED, (commits[-1][0].revision,))

    def _forget(self, followed: int) -> None:
        """Delete some of the oldest rows of the log that are to go, and look at the next few rows
        of `touched`, in the order of their keys, for those that speak of rows that went: to go for
        just these would take a page of its own for each. The tables must be at `followed`.
        """
        if not self._kept_from:
            return
        execute, first = self._connection.execute, self._oldest_row()
        end = max(first, min(self._kept_from, followed + 1, first + _FORGET_COMMITS))
        execute("delete from log where revision < ?", (end,))
        last = execute(_SWEEP_TO, (*self._swept, _SWEEP_ROWS - 1)).fetchone()
        execute(_SWEEP, (*self._swept, *(last or _LAST_KEY), end))
        self._swept = last or _FIRST_KEY

    def _write_rows(self, statement: _Statement, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows all of which must fit: what is written was checked against the index."""
        for some in _some(rows):
            try:
                done = self._connection.execute(
                    statement.over(len(some)), [value for row in some for value in row]
                )
            except sqlite3.IntegrityError as error:
                raise PermanentError(f"{self._path} contradicts its own log: {error}") from error
            if done.rowcount != len(some):
                raise PermanentError(
                    f"{self._path} contradicts its own log: {done.rowcount} rows of {len(some)}"
                    f" were there for: {statement.text}"
                )

    def _touch(self, commit: Commit) -> None:
        rows = [(uuid, commit.revision) for uuid in _touched(commit)]
        self._write_rows(_TOUCHED_ROWS, rows)


def _write(commit: Commit) -> tuple[Commit, tuple[msgspec.Raw, ...], bytes]:
    """A commit, its objects as JSON, and all of it as JSON: each object is encoded once."""
    puts = tuple(msgspec.Raw(_encode(item)) for item in commit.puts)
    deletes, takes, frees = commit.deletes, commit.takes, commit.frees
    body = _encode(_Written(commit.revision, commit.at, commit.who, puts, deletes, takes, frees))
    return commit, puts, body


def _touched(commit: Commit) -> set[str]:
    return {item.uuid for item in (*commit.puts, *commit.deletes)}


def _object_row(item: Object, body: bytes) -> tuple[str, str, str, bytes]:
    return item.uuid, item.kind, item.name, body


def _some(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows in portions that one statement takes."""
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        yield some
