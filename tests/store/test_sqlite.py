"""The SQLite store's own promises: durability against kill -9, one owner, schema versions."""

import shutil
import sqlite3
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.base.errors import ConflictError, NotFoundError, PermanentError, TransientError
from filament.model.change import Allocation, Commit, Object
from filament.store.memory import MemoryStore
from filament.store.sqlite import FOLD_COMMITS, STATEMENTS, SWEEPS, SqliteStore

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
    with pytest.raises(PermanentError, match="has schema version 9, this program reads up to 3"):
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
    assert store._connection.execute("pragma user_version").fetchone() == (3,)
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


def test_what_is_compacted_goes_with_the_next_commits_a_few_with_each(tmp_path):
    path = tmp_path / "f.db"
    store = SqliteStore(path)
    store.commit_all(machines(1, 300))
    store.compact(250)
    assert [commit.revision for commit in store.log(249, 1)] == [250]
    assert store.touching("u9", 300, 9) == []
    with pytest.raises(NotFoundError, match="the log holds 250-300"):
        store.log(248, 1)
    revision, left = 300, [300]
    while left[-1] > 51:
        revision += FOLD_COMMITS
        store.commit_all(machines(revision - FOLD_COMMITS + 1, revision))
        left.append(sum(one < 301 for (one,) in logged(store)))
    assert left == [300, 300, 236, 172, 108, 51]  # the first finds the tables complete
    for _ in range(5):  # what was touched is looked through a few rows at a time
        revision += FOLD_COMMITS
        store.commit_all(machines(revision - FOLD_COMMITS + 1, revision))
    assert touched_from(store) == 250
    # One that was killed meanwhile knows more than it was to know, but nothing that is not so.
    store.compact(300)
    shutil.copytree(tmp_path, tmp_path / "killed")
    again = SqliteStore(tmp_path / "killed" / "f.db")
    assert [commit.revision for commit in again.log(249, 999)] == [*range(250, revision + 1)]
    assert [commit.revision for commit in again.touching("u299", 999, 9)] == [299]
    again.close()
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("select min(revision) from log").fetchall() == [(300,)]
    assert connection.execute("select min(revision) from touched").fetchall() == [(300,)]
    connection.close()


def touched_from(store):
    return store._connection.execute("select min(revision) from touched").fetchone()[0]


def logged(store):
    return store._connection.execute("select revision from log").fetchall()


def machines(first, last):
    """A commit per revision: the machine of that number, which holds a value."""
    return [
        Commit(
            number,
            1.0,
            "x",
            puts=(Object("virtual-machine", f"u{number}", (f"vm{number}",), revision=number),),
            takes=(Allocation("pool", number, f"u{number}"),),
        )
        for number in range(first, last + 1)
    ]


def abandon(store):
    """End a store as its process's death would: the tables are not brought up."""
    store._connection.close()


def rows(path, table):
    connection = sqlite3.connect(path)
    (count,) = connection.execute(f"select count(*) from {table}").fetchone()
    connection.close()
    return count


def contents(store):
    revision, objects, allocations = store.load()
    return revision, list(objects), {(one.pool, one.value, one.owner) for one in allocations}


def test_tables_follow_the_log_a_portion_at_a_time_and_when_the_file_is_opened(tmp_path):
    path = tmp_path / "f.db"
    store = SqliteStore(path)
    commits = machines(1, FOLD_COMMITS + 1)
    store.commit_all(commits[:-1])
    assert len(store._behind) == FOLD_COMMITS
    store.commit_all(commits[-1:])
    assert store._behind == [
        (commits[-1], (msgspec.Raw(msgspec.json.encode(commits[-1].puts[0])),))
    ]
    abandon(store)
    assert [rows(path, table) for table in ("log", "objects", "allocations", "touched")] == [
        FOLD_COMMITS + 1,
        FOLD_COMMITS,
        FOLD_COMMITS,
        FOLD_COMMITS,
    ]
    store = SqliteStore(path)
    revision, objects, held = contents(store)
    assert (revision, len(objects), len(held)) == (FOLD_COMMITS + 1,) * 3
    assert objects == [item for commit in commits for item in commit.puts]
    assert store.touching(f"u{FOLD_COMMITS + 1}", 1000, 9) == commits[-1:]
    store.close()
    assert rows(path, "touched") == FOLD_COMMITS + 1


def test_of_an_object_that_changed_often_tables_are_given_the_last_version(tmp_path):
    """In the place of its first, unless it was deleted meanwhile."""
    path = tmp_path / "f.db"
    old, other = (Object("virtual-network", uuid, (uuid[0],)) for uuid in ("a1", "b1"))
    version = {number: msgspec.structs.replace(old, revision=number) for number in range(1, 9)}
    commits = [
        *(Commit(number, 1.0, "me", puts=(each,)) for number, each in version.items()),
        Commit(9, 1.0, "me", puts=(other,)),
        Commit(10, 1.0, "me", puts=(msgspec.structs.replace(old, revision=10),)),
    ]
    store = SqliteStore(path)
    store.load()
    for commit in commits:
        store.commit(commit)
    store.close()
    reopened = SqliteStore(path)
    _, objects, _ = reopened.load()
    assert [(item.uuid, item.revision) for item in objects] == [("a1", 10), ("b1", 0)]
    last = version[8]
    reopened.commit(Commit(11, 1.0, "me", puts=(last,)))
    reopened.commit(Commit(12, 1.0, "me", deletes=(last,)))
    reopened.commit(Commit(13, 1.0, "me", puts=(msgspec.structs.replace(old, revision=13),)))
    reopened.close()
    again = SqliteStore(path)
    _, objects, _ = again.load()
    assert [(item.uuid, item.revision) for item in objects] == [("b1", 0), ("a1", 13)]
    again.close()


def test_no_statement_reads_a_whole_table(tmp_path):
    """Or it takes longer the more there is: only what it was given may be scanned."""
    SqliteStore(tmp_path / "f.db").close()
    with sqlite3.connect(tmp_path / "f.db") as connection:
        for statement in (*(one.over(3) for one in STATEMENTS), *SWEEPS):
            text = f"explain query plan {statement}"
            steps = connection.execute(text, ["1"] * text.count("?")).fetchall()
            scans = [step for *_, step in steps if step.startswith("SCAN")]
            assert scans in ([], ["SCAN 3 CONSTANT ROWS"]), statement


def test_what_the_tables_lack_can_be_asked_for_and_built_on(tmp_path):
    store = SqliteStore(tmp_path / "f.db")
    commits = machines(1, 3)
    store.commit_all(commits)
    assert store.log(0, 9) == commits
    (item,) = commits[1].puts
    with pytest.raises(ConflictError, match="virtual-machine vm2 already exists"):
        store.commit(Commit(4, 1.0, "x", puts=(msgspec.structs.replace(item, uuid="other"),)))
    with pytest.raises(ConflictError, match="value 2 of pool pool is already held"):
        store.commit(Commit(4, 1.0, "x", takes=(Allocation("pool", 2, "other"),)))
    gone = Commit(4, 1.0, "x", deletes=(item,), frees=commits[1].takes)
    store.commit(gone)
    assert store.touching("u2", 9, 9) == [gone, commits[1]]
    store.commit_all(machines(5, 6))
    store.compact(6)
    assert [commit.revision for commit in store.log(5, 9)] == [6]
    assert [item.uuid for item in contents(store)[1]] == ["u1", "u3", "u5", "u6"]
    store.close()


def test_a_commit_that_tables_cannot_follow_is_refused_whole(tmp_path, monkeypatch):
    path = tmp_path / "f.db"
    store = SqliteStore(path)

    def refuse(self, commits):
        if commits:
            raise sqlite3.OperationalError("disk I/O error")

    store.commit_all(machines(1, FOLD_COMMITS))
    monkeypatch.setattr(SqliteStore, "_follow", refuse)
    next_one = machines(FOLD_COMMITS + 1, FOLD_COMMITS + 1)
    for _ in range(2):
        with pytest.raises(TransientError, match="refused to write: disk I/O error"):
            store.commit_all(next_one)
    assert store.log(FOLD_COMMITS, 9) == []
    monkeypatch.undo()
    store.commit_all(next_one)
    abandon(store)
    assert rows(path, "objects") == FOLD_COMMITS
    store = SqliteStore(path)
    assert len(contents(store)[1]) == FOLD_COMMITS + 1
    store.close()


class FailsToCommit:
    """A connection whose next commit fails and, as SQLite may, leaves its transaction open."""

    def __init__(self, connection):
        self.connection = connection
        self.is_ill = True

    def execute(self, statement, *values):
        if statement == "commit" and self.is_ill:
            self.is_ill = False
            raise sqlite3.OperationalError("disk I/O error")
        return self.connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self.connection, name)


def test_after_a_commit_that_failed_the_next_is_stored(tmp_path):
    store = SqliteStore(tmp_path / "f.db")
    store.commit_all(machines(1, 1))
    store._connection = FailsToCommit(store._connection)
    with pytest.raises(TransientError, match="refused to write: disk I/O error"):
        store.commit_all(machines(2, 2))
    assert store.log(1, 9) == []
    store.commit_all(machines(2, 2))
    assert store.log(1, 9) == machines(2, 2)
    store.close()


def test_tables_that_contradict_the_log_are_not_used(tmp_path):
    path = tmp_path / "f.db"
    store = SqliteStore(path)
    store.commit_all(machines(1, 2))
    abandon(store)
    connection = sqlite3.connect(path)
    connection.execute("insert into allocations values ('pool', 2, 'somebody')")
    connection.commit()
    connection.close()
    with pytest.raises(PermanentError, match="contradicts its own log: UNIQUE constraint"):
        SqliteStore(path)


_steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "again", "crash"]), st.integers(0, 5)),
    max_size=30,
)


@given(_steps, st.integers(1, 5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_often_it_is_killed_it_holds_what_was_committed(
    tmp_path_factory, monkeypatch, steps, portion
):
    """The same as a store that has no tables; the order of creation included."""
    path = tmp_path_factory.mktemp("random") / "f.db"
    monkeypatch.setattr("filament.store.sqlite.FOLD_COMMITS", portion)
    store, right = SqliteStore(path), MemoryStore()
    there, revision = {}, 0
    for verb, number in steps:
        if verb == "crash":
            abandon(store)
            store = SqliteStore(path)
            continue
        old, revision = there.pop(f"u{number}", None), revision + 1
        made = Object("virtual-machine", f"u{number}", (f"vm{number}",), revision=revision)
        holds = (Allocation("pool", number, made.uuid),)
        if verb == "put":
            commit = Commit(revision, 1.0, "x", puts=(made,), takes=() if old else holds)
        elif old is None:
            commit = Commit(revision, 1.0, "x")
        elif verb == "delete":
            commit = Commit(revision, 1.0, "x", deletes=(old,), frees=holds)
        else:  # deleted and made anew in one commit
            commit = Commit(revision, 1.0, "x", (made,), (old,), holds, holds)
        there |= {item.uuid: item for item in commit.puts}
        for one in (store, right):
            one.commit(commit)
    for uuid in (f"u{number}" for number in range(6)):
        assert store.touching(uuid, 99, 99) == right.touching(uuid, 99, 99)
    assert contents(store) == contents(right)
    store.close()
