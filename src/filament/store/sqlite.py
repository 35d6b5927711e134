"""A store in one SQLite file: write-ahead log, full synchronisation, one connection.

The connection belongs to the thread that opened it (the owner's writer thread) and holds the
file exclusively, so that two API processes can never number commits side by side.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from filament.base.errors import (
    ConflictError,
    PermanentError,
    RevisionConflictError,
    TransientError,
)
from filament.model.change import Allocation, Commit, Object
from filament.store.memory import FOLLOW_COMMITS, not_empty, not_kept
from filament.store.migrate import migrate

SCHEMA_VERSION = 2
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

_DELETE_ROWS = "delete from objects where uuid in (values ROWS)"
_FREE_ROWS = "delete from allocations where (pool, value) in (values ROWS)"
_PUT_ROWS = _PUT.replace("(?, ?, ?, ?)", "ROWS")
_TAKE_ROWS = "insert into allocations values ROWS"
_LOG_ROWS = "insert into log values ROWS"
_TOUCHED_ROWS = "insert into touched values ROWS"
_ROWS_AT_ONCE = 64
# 64 MB of log, some 2,400 writes: so seldom that those who wait for it are less than 1 in 100.
_CHECKPOINT_PAGES = 16_000
# Prepared statements that are kept: one per kind of statement and number of rows.
_STATEMENTS = 6 * _ROWS_AT_ONCE + 20

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(Object).decode
_decode_commit = msgspec.json.Decoder(Commit).decode


class _NotTogetherError(Exception):
    """A group was refused; which of its rows, only the slow way tells."""


class SqliteStore:
    """See `store.contract.Store`. One per file and process; used from one thread only."""

    is_shared = False

    def __init__(self, path: str | Path) -> None:
        """Open or create the file; TransientError when another process has it open."""
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._news = threading.Condition()
        self._connection = sqlite3.connect(
            # Serialised by SQLite itself: `follow` reads on a thread of its own.
            self._path,
            isolation_level=None,
            timeout=0.2,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
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
        objects = self._connection.execute("select body from objects order by sequence")
        allocations = self._connection.execute("select pool, value, owner from allocations")
        return (
            self._revision,
            (_decode_object(body) for (body,) in objects),
            (Allocation(pool, value, owner) for pool, value, owner in allocations),
        )

    def commit(self, commit: Commit) -> None:
        """See Store."""
        self.commit_all([commit])

    def commit_all(self, commits: Sequence[Commit]) -> None:
        """See Store."""
        revision = self._revision
        for commit in commits:
            if commit.revision != revision + 1:
                raise RevisionConflictError(
                    f"commit {commit.revision} does not follow revision {revision}",
                    self._revision,
                )
            revision = commit.revision
        try:
            try:
                with self._transaction():
                    self._write_together(commits)
                    self._write_revision(revision)
            except _NotTogetherError:
                with self._transaction():
                    for commit in commits:
                        self._write(commit)  # says what is wrong with which
                    self._write_revision(revision)
        except sqlite3.OperationalError as error:
            raise TransientError(f"the store {self._path} refused to write: {error}") from error
        with self._news:
            self._revision = revision
            self._news.notify_all()

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
        rows = self._connection.execute(
            "select log.body from touched join log using (revision)"
            " where uuid = ? and revision < ? order by revision desc limit ?",
            (uuid, before, limit),
        )
        return [_decode_commit(body) for (body,) in rows]

    def follow(self, after: int, timeout_s: float) -> list[Commit]:
        """See Store. Nobody else can commit, so it is only called where nobody does."""
        with self._news:
            self._news.wait_for(lambda: self._revision > after, timeout_s)
        return self.log(after, FOLLOW_COMMITS)

    def compact(self, before: int) -> None:
        """See Store."""
        forgotten = self._connection.execute(
            "select revision, body from log where revision < ?", (before,)
        ).fetchall()
        # By their keys: `touched` has no other index, and to look through all of it takes longer
        # the more there is.
        touched = [
            (item.uuid, revision)
            for revision, body in forgotten
            for commit in (_decode_commit(body),)
            for item in (*commit.puts, *commit.deletes)
        ]
        with self._transaction():
            self._connection.executemany(
                "delete from touched where uuid = ? and revision = ?", touched
            )
            self._connection.execute("delete from log where revision < ?", (before,))

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
        try:
            with self._transaction():
                for item in objects:
                    self._put(item)
                for one in allocations:
                    self._take(one)
                for commit in commits:
                    self._log_commit(commit)
                self._connection.execute(
                    "update meta set value = ? where key = 'revision'", (revision,)
                )
        except sqlite3.OperationalError as error:
            raise TransientError(f"the store {self._path} refused to write: {error}") from error
        self._revision = revision

    def close(self) -> None:
        """See Store."""
        self._connection.close()

    def _open(self) -> int:
        execute = self._connection.execute
        execute("pragma locking_mode = exclusive")
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = full")
        # Seldom: whoever writes meanwhile waits for it, and pages written often are moved once.
        execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        with self._transaction():  # takes the exclusive lock, or fails
            (version,) = execute("pragma user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    execute(statement)
                execute(_TOUCHED)
                execute("insert into meta values ('revision', 0)")
            else:
                migrate(str(self._path), version, SCHEMA_VERSION, {1: self._index_log})
            execute(f"pragma user_version = {SCHEMA_VERSION}")
        (revision,) = execute("select value from meta where key = 'revision'").fetchone()
        return int(revision)

    def _index_log(self) -> None:
        """Version 1 had no `touched`: history was a scan of the whole log."""
        self._connection.execute(_TOUCHED)
        for (body,) in self._connection.execute("select body from log").fetchall():
            self._touch(_decode_commit(body))

    def _oldest(self) -> int:
        (first,) = self._connection.execute("select min(revision) from log").fetchone()
        return self._revision + 1 if first is None else first

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def _write_revision(self, revision: int) -> None:
        self._connection.execute("update meta set value = ? where key = 'revision'", (revision,))

    def _write_together(self, commits: Sequence[Commit]) -> None:
        """Write commits in few statements: each hands the interpreter over and takes it back,
        which costs more than its row. Raises _NotTogetherError when a row is refused.
        """
        objects: list[tuple[str, tuple[Any, ...]]] = []
        allocations: list[tuple[str, tuple[Any, ...]]] = []
        log: list[tuple[Any, ...]] = []
        touched: list[tuple[Any, ...]] = []
        for commit in commits:
            objects += [(_DELETE_ROWS, (item.uuid,)) for item in commit.deletes]
            objects += [
                (_PUT_ROWS, (item.uuid, item.kind, item.name, _encode(item)))
                for item in commit.puts
            ]
            allocations += [(_FREE_ROWS, (one.pool, one.value)) for one in commit.frees]
            allocations += [(_TAKE_ROWS, (one.pool, one.value, one.owner)) for one in commit.takes]
            log.append((commit.revision, _encode(commit)))
            uuids = {item.uuid for item in (*commit.puts, *commit.deletes)}
            touched += [(uuid, commit.revision) for uuid in uuids]
        try:
            for changes in (objects, allocations):
                # Runs of one statement, in order: a name given up may be taken again.
                for statement, rows in groupby(changes, key=itemgetter(0)):
                    self._write_rows(statement, [row for _, row in rows])
            self._write_rows(_LOG_ROWS, log)
            self._write_rows(_TOUCHED_ROWS, touched)
        except sqlite3.IntegrityError as error:
            raise _NotTogetherError from error

    def _write_rows(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            marks = f"({','.join('?' * len(some[0]))})"
            text = statement.replace("ROWS", ",".join([marks] * len(some)))
            done = self._connection.execute(text, [value for row in some for value in row])
            if done.rowcount != len(some):
                raise _NotTogetherError

    def _write(self, commit: Commit) -> None:
        execute = self._connection.execute
        for item in commit.deletes:
            if not execute("delete from objects where uuid = ?", (item.uuid,)).rowcount:
                raise ConflictError(f"{item.kind} {item.name} to delete does not exist")
        for one in commit.frees:
            freed = execute(
                "delete from allocations where pool = ? and value = ?", (one.pool, one.value)
            )
            if not freed.rowcount:
                raise ConflictError(f"value {one.value} of pool {one.pool} is not held")
        for item in commit.puts:
            self._put(item)
        for one in commit.takes:
            self._take(one)
        self._log_commit(commit)

    def _log_commit(self, commit: Commit) -> None:
        row = (commit.revision, _encode(commit))
        self._connection.execute("insert into log values (?, ?)", row)
        self._touch(commit)

    def _touch(self, commit: Commit) -> None:
        uuids = {item.uuid for item in (*commit.puts, *commit.deletes)}
        self._connection.executemany(
            "insert into touched values (?, ?)", [(uuid, commit.revision) for uuid in uuids]
        )

    def _take(self, one: Allocation) -> None:
        try:
            self._connection.execute(
                "insert into allocations values (?, ?, ?)", (one.pool, one.value, one.owner)
            )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"value {one.value} of pool {one.pool} is already held") from error

    def _put(self, item: Object) -> None:
        try:
            put = self._connection.execute(_PUT, (item.uuid, item.kind, item.name, _encode(item)))
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"{item.kind} {item.name} already exists") from error
        if not put.rowcount:
            raise ConflictError(f"uuid {item.uuid} already belongs to another object")
