"""`filament db`, `history` and `diff`, against a running API and against the stores themselves."""

import json

import pytest

from filament.model.change import Allocation, Commit, Object
from filament.store.open import open_store
from filament.testing.etcd import EtcdCluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


def made(api, capsys, *names):
    for name in names:
        assert api("create", "virtual-network", f"default-domain:default-project:{name}") == 0
    capsys.readouterr()


def test_export_and_import_keep_every_byte_whatever_the_store(api, tmp_path, capsys, etcd):
    made(api, capsys, "red", "blue")
    first = tmp_path / "first.json"
    assert api("db", "export", str(first)) == 0
    assert first.read_bytes().startswith(b'{"format":1,"revision":3,"objects":[\n{')
    for number, place in enumerate((f"sqlite:{tmp_path}/new.db", etcd.address)):
        assert api("db", "import", str(first), "--store", place) == 0
        assert f"{place} holds" in capsys.readouterr().out
        again = tmp_path / f"again-{number}.json"
        assert api("db", "export", str(again), "--store", place) == 0
        assert again.read_bytes() == first.read_bytes()
        assert api("db", "check", "--store", place) == 0
        assert api("db", "import", str(first), "--store", place) == 2
        assert "the store is not empty: it is at revision 3" in capsys.readouterr().err


def test_an_export_with_the_log_takes_history_along(api, tmp_path, capsys, etcd):
    made(api, capsys, "red")
    assert api("set", "virtual-network/red", "display_name=Red") == 0
    assert api("rm", "virtual-network", "red") == 0
    first = tmp_path / "first.json"
    assert api("db", "export", str(first), "--log") == 0
    content = json.loads(first.read_text())
    last = content["revision"]
    assert [commit["revision"] for commit in content["commits"]] == list(range(1, last + 1))
    etcd.wipe()
    for number, place in enumerate((f"sqlite:{tmp_path}/new.db", etcd.address)):
        assert api("db", "import", str(first), "--store", place) == 0
        assert f", {last} commits in the log" in capsys.readouterr().out
        again = tmp_path / f"again-{number}.json"
        assert api("db", "export", str(again), "--store", place, "--log") == 0
        assert again.read_bytes() == first.read_bytes()
        assert api("db", "check", "--store", place) == 0
        assert f", {last} commits in the log" in capsys.readouterr().out
        store = open_store(place)
        deleted = store.touching(content["commits"][-1]["deletes"][0]["uuid"], last + 1, 9)
        store.close()
        assert [commit.revision for commit in deleted] == [last, last - 1, last - 2]


def test_a_log_with_a_gap_is_refused(api, tmp_path, capsys):
    made(api, capsys, "red", "blue")
    file = tmp_path / "gap.json"
    assert api("db", "export", str(file), "--log") == 0
    content = json.loads(file.read_text())
    del content["commits"][-2]
    file.write_text(json.dumps(content))
    assert api("db", "import", str(file), "--store", f"sqlite:{tmp_path}/new.db") == 2
    assert "the log in" in capsys.readouterr().err


def test_check_reports_by_class_and_says_so_to_scripts(api, tmp_path, capsys):
    assert api("db", "check") == 0
    assert "ok  leaked-allocation: every allocation has an owner" in capsys.readouterr().out
    place = f"sqlite:{tmp_path}/bad.db"
    store = open_store(place)
    item = Object("virtual-machine", "u", ("vm",), revision=1)
    store.commit(Commit(1, 1.0, "", puts=(item,), takes=(Allocation("vn-id", 1, "gone"),)))
    store.close()
    assert api("db", "check", "--store", place) == 1
    said = capsys.readouterr().out
    assert "     1  leaked-allocation:" in said
    assert "leaked-allocation: value 1 of pool vn-id is held by gone, which is not there" in said
    assert api("db", "check", "--store", place, "--json") == 1
    assert [one["of"] for one in json.loads(capsys.readouterr().out)["problems"]] == [
        "leaked-allocation"
    ]
    assert api("db", "backup", str(tmp_path / "bad.json"), "--store", place) == 2
    assert not (tmp_path / "bad.json").exists()


def test_a_store_in_use_is_refused(api, tmp_path, capsys):
    assert api("db", "export", "-", "--store", f"sqlite:{tmp_path}/filament.db") == 1
    assert "is another process using it?" in capsys.readouterr().err


def test_backup_and_restore_while_running(api, tmp_path, capsys):
    made(api, capsys, "red")
    file = tmp_path / "backup.json"
    assert api("db", "backup", str(file)) == 0
    assert "revision 2:" in capsys.readouterr().out
    made(api, capsys, "blue")
    assert api("set", "virtual-network/red", "display_name=changed") == 0
    assert api("rm", "virtual-network", "red") == 0
    capsys.readouterr()
    assert api("db", "restore", str(file)) == 0
    assert capsys.readouterr().out == "revision 6: 1 objects written, 1 deleted\n"
    assert api("ls", "virtual-network") == 0
    listed = capsys.readouterr().out
    assert "red" in listed
    assert "blue" not in listed
    assert api("db", "restore", str(file)) == 0
    assert capsys.readouterr().out == "revision 6: 0 objects written, 0 deleted\n"
    assert api("db", "check") == 0
    made(api, capsys, "blue")  # and it goes on


def test_nonsense_is_not_restored(api, tmp_path, capsys):
    file = tmp_path / "nonsense.json"
    file.write_text('{"revision": 3}')
    assert api("db", "restore", str(file)) == 2
    assert "is no export of a configuration" in capsys.readouterr().err
    leaked = {"pool": "vn-id", "value": 9, "owner": "gone"}
    file.write_text(json.dumps({"revision": 3, "objects": [], "allocations": [leaked]}))
    assert api("db", "restore", str(file)) == 2
    assert "breaks 1 rules: leaked-allocation: value 9 of pool vn-id" in capsys.readouterr().err


def test_history_says_who_changed_what(api, capsys):
    made(api, capsys, "red")
    assert api("set", "virtual-network/red", "display_name=Rouge") == 0
    capsys.readouterr()
    assert api("history", "red") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3  ")
    assert said[0].endswith("  filament  changed")
    assert said[1] == "    props.display_name: red -> Rouge"
    assert said[2].endswith("  filament  created")
    assert len(said) == 3
    assert api("history", "red", "--limit", "1", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["what"] == "changed"
    assert record["changes"] == [{"field": "props.display_name", "before": "red", "after": "Rouge"}]


def test_a_deleted_object_has_a_history_by_its_uuid(api, capsys):
    made(api, capsys, "red")
    assert api("ls", "virtual-network", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    uuid = next(item["uuid"] for item in listed if item["name"].endswith(":red"))
    assert api("rm", "virtual-network", "red") == 0
    capsys.readouterr()
    assert api("history", uuid) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition("  ")[2] for line in said] == ["deleted", "created"]
    assert api("history", "00000000-0000-4000-8000-000000000001") == 2
    assert "the log knows no change of 0000" in capsys.readouterr().err


def test_diff_shows_the_net_change(api, capsys):
    made(api, capsys, "red", "blue", "green")
    assert api("set", "virtual-network/red", "display_name=Rouge") == 0
    assert api("rm", "virtual-network", "blue") == 0
    assert api("rm", "virtual-network", "green") == 0
    capsys.readouterr()
    prefix = "virtual-network default-domain:default-project"
    assert api("diff", "3", "7") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"~ {prefix}:red",
        "    props.display_name: red -> Rouge",
        f"- {prefix}:blue",
    ]
    assert api("diff", "1", "2") == 0
    assert capsys.readouterr().out == f"+ {prefix}:red\n"
    assert api("diff", "5", "5") == 0
    assert capsys.readouterr().out == ""
    assert api("diff", "3", "99") == 2
    assert "there is no revision 99; the last is 7" in capsys.readouterr().err
    assert api("diff", "4", "3") == 2
    assert "write diff 3 4" in capsys.readouterr().err
