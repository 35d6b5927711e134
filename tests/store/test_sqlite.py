"""The SQLite store's own promises: durability against kill -9, one owner, schema versions."""

import sqlite3
import subprocess
import sys

import pytest

from filament.base.errors import PermanentError, TransientError
from filament.model.change import Commit, Object
from filament.store.sqlite import SqliteStore

PARTS = 20  # objects and allocations per commit: most of the time is spent inside one
CHILD = """
import sys
from filament.model.change import Allocation, Commit, Object
from filament.store.sqlite import SqliteStore
parts = range(int(sys.argv[2]))
store = SqliteStore(sys.argv[1])
revision = store.load()[0]
while True:
    revision += 1
    puts = tuple(
        Object("virtual-machine", f"{revision}-{part}", (f"vm-{revision}-{part}",))
        for part in parts
    )
    takes = tuple(Allocation(f"pool-{part}", revision, f"{revision}-{part}") for part in parts)
    store.commit(Commit(revision, 1.0, "child", puts=puts, takes=takes))
    print(revision, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged_and_leaves_nothing_half(tmp_path):
    path = tmp_path / "f.db"
    acknowledged = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, path, str(PARTS)], stdout=subprocess.PIPE
        )
        with child.stdout:
            for line in child.stdout:
                acknowledged = int(line)
                if acknowledged % 40 == 0:
                    child.kill()  # it goes on committing until the signal arrives
        child.wait()
        store = SqliteStore(path)
        revision, objects, allocations = store.load()
        assert revision >= acknowledged
        assert {item.uuid for item in objects} == {
            f"{number}-{part}" for number in range(1, revision + 1) for part in range(PARTS)
        }
        assert {(one.pool, one.value) for one in allocations} == {
            (f"pool-{part}", number) for number in range(1, revision + 1) for part in range(PARTS)
        }
        assert [commit.revision for commit in store.log(0, 10_000)] == [*range(1, revision + 1)]
        store.close()
    assert acknowledged >= 160


def test_data_survives_closing(tmp_path):
    item = Object("virtual-machine", "u", ("vm",), revision=1)
    store = SqliteStore(tmp_path / "deep" / "f.db")
    store.commit(Commit(1, 1.0, "", puts=(item,)))
    store.close()
    again = SqliteStore(tmp_path / "deep" / "f.db")
    revision, objects, _ = again.load()
    assert (revision, list(objects)) == (1, [item])
    again.close()


def test_a_second_process_is_refused(tmp_path):
    store = SqliteStore(tmp_path / "f.db")
    with pytest.raises(TransientError, match="database is locked; is another process using it"):
        SqliteStore(tmp_path / "f.db")
    store.close()


def test_a_newer_schema_is_refused(tmp_path):
    SqliteStore(tmp_path / "f.db").close()
    connection = sqlite3.connect(tmp_path / "f.db")
    connection.execute("pragma user_version = 9")
    connection.close()
    with pytest.raises(PermanentError, match="has schema version 9, this program reads up to 2"):
        SqliteStore(tmp_path / "f.db")


def test_another_file_is_refused(tmp_path):
    (tmp_path / "f.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(PermanentError, match="is not a usable store"):
        SqliteStore(tmp_path / "f.db")


def test_a_full_disk_refuses_the_commit_and_keeps_the_rest(tmp_path):
    store = SqliteStore(tmp_path / "f.db")
    store.commit(Commit(1, 1.0, "", puts=(Object("virtual-machine", "u", ("vm",)),)))
    (pages,) = store._connection.execute("pragma page_count").fetchone()
    store._connection.execute(f"pragma max_page_count = {pages}")
    large = Object("virtual-machine", "v", ("large",), props={"display_name": "x" * 100_000})
    with pytest.raises(TransientError, match="refused to write: database or disk is full"):
        store.commit(Commit(2, 1.0, "", puts=(large,)))
    store._connection.execute("pragma max_page_count = 100000")
    store.commit(Commit(2, 1.0, "", puts=(large,)))
    assert store.load()[0] == 2
    store.close()


def test_a_file_of_version_1_is_upgraded(tmp_path):
    path = tmp_path / "f.db"
    store = SqliteStore(path)
    item = Object("virtual-machine", "u", ("vm",), revision=1)
    commits = [Commit(1, 1.0, "a", puts=(item,)), Commit(2, 2.0, "b", deletes=(item,))]
    store.commit_all(commits)
    store.close()
    connection = sqlite3.connect(path)  # what version 1 did not have
    connection.execute("drop table touched")
    connection.execute("pragma user_version = 1")
    connection.close()
    store = SqliteStore(path)
    assert store.touching("u", 9, 9) == commits[::-1]
    store.commit(Commit(3, 3.0, "c", puts=(item,)))
    assert [commit.revision for commit in store.touching("u", 9, 9)] == [3, 2, 1]
    assert store._connection.execute("pragma user_version").fetchone() == (2,)
    store.close()


def test_an_upgrade_that_fails_leaves_the_old_version(tmp_path):
    path = tmp_path / "f.db"
    SqliteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("drop table touched")
    connection.execute("insert into log values (1, x'00')")
    connection.execute("pragma user_version = 1")
    connection.commit()
    connection.close()
    with pytest.raises(PermanentError):
        SqliteStore(path)
    connection = sqlite3.connect(path)
    assert connection.execute("pragma user_version").fetchone() == (1,)
    tables = connection.execute("select name from sqlite_master").fetchall()
    assert ("touched",) not in tables
    connection.close()


def test_compacting_forgets_which_commits_touched_what(tmp_path):
    path = tmp_path / "f.db"
    store = SqliteStore(path)
    one, two = (Object("virtual-machine", f"u{n}", (f"vm{n}",)) for n in (1, 2))
    store.commit_all(
        [
            Commit(1, 0.0, "x", puts=(one, two)),
            Commit(2, 0.0, "x", deletes=(one,)),
            Commit(3, 0.0, "x", puts=(one,)),
        ]
    )
    store.compact(3)
    assert [commit.revision for commit in store.touching("u1", 9, 9)] == [3]
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("select uuid, revision from touched").fetchall() == [("u1", 3)]
    connection.close()
