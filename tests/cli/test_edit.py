import json
import os
import sys
from pathlib import Path

import pytest

from filament.base.errors import InputError
from filament.cli.edit import changes_between, editor, read_object

# As in TF's documentation of contrail-api-cli: the file is the first argument.
SCRIPT = """#!{python}
import sys
import json
filename=sys.argv[1]

with open (filename) as f:
 js=json.load(f)

{change}

with open (filename, 'w') as f:
 json.dump(js, f)
"""


@pytest.fixture
def red(api, capsys):
    assert api("create", "virtual-network", "red", "display_name=Red") == 0
    capsys.readouterr()
    return api


@pytest.fixture
def edit_with(red, tmp_path, monkeypatch):
    """Edit the network with a script that makes one change to `js`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("VISUAL", raising=False)

    def run(change, *words):
        script = tmp_path / "editor.py"
        script.write_text(SCRIPT.format(python=sys.executable, change=change))
        script.chmod(0o755)
        monkeypatch.setenv("EDITOR", str(script))
        return red("edit", "virtual-network/red", *words)

    return run


def kept(tmp_path):
    return list(tmp_path.glob("virtual-network-*.json"))


def shown(red, capsys):
    assert red("cat", "virtual-network/red", "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_script_as_editor_changes_one_property(red, edit_with, capsys, tmp_path):
    assert edit_with('js["flood_unknown_unicast"]=True ### edit json data here') == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "virtual-network default-domain:default-project:red changed (flood_unknown_unicast) in "
    )
    value = shown(red, capsys)
    assert (value["flood_unknown_unicast"], value["display_name"]) == (True, "Red")
    assert kept(tmp_path) == []


def test_nothing_changed_nothing_sent(red, edit_with, capsys, tmp_path):
    assert red("ls", "--json") == 0
    capsys.readouterr()
    before = shown(red, capsys)
    assert edit_with("pass") == 0
    assert capsys.readouterr().out.endswith("red unchanged: nothing was sent\n")
    assert shown(red, capsys) == before
    assert edit_with("pass", "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == "unchanged"
    assert kept(tmp_path) == []


def test_a_removed_property_is_removed(red, edit_with, capsys):
    assert edit_with('js["is_shared"] = True') == 0
    assert edit_with('del js["is_shared"]') == 0
    capsys.readouterr()
    assert not shown(red, capsys).get("is_shared")


def test_what_is_not_json_is_kept_and_located(red, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("EDITOR", "sh -c 'printf \"{\\n  oops\\n}\" > $0'")
    assert red("edit", "virtual-network/red") == 2
    said = capsys.readouterr().err
    assert "line 2, column 3 is not JSON" in said
    assert "it reads: oops" in said
    (path,) = kept(tmp_path)
    assert f"filament: your version is kept in {path}" in said


def test_what_the_api_refuses_is_kept(edit_with, capsys, tmp_path):
    assert edit_with('js["is_shared"] = "perhaps"') == 2
    assert "your version is kept in" in capsys.readouterr().err
    assert len(kept(tmp_path)) == 1


def test_somebody_elses_change_is_not_overwritten(red, edit_with, capsys, tmp_path):
    other = f"""import os
os.system('''{sys.executable} -c "from filament.cli.main import run; run(['--run-dir', \
'{red.run_dir}', 'set', 'virtual-network/red', 'display_name=Theirs'])" >/dev/null''')
js["display_name"] = "Mine" """
    assert edit_with(other) == 2
    said = capsys.readouterr().err
    assert "red was changed meanwhile (display_name); nothing was sent" in said
    assert shown(red, capsys)["display_name"] == "Theirs"
    assert json.loads(kept(tmp_path)[0].read_text())["display_name"] == "Mine"


def test_an_editor_that_fails_or_is_missing(red, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("EDITOR", "false")
    assert red("edit", "virtual-network/red") == 1
    assert capsys.readouterr().err == (
        "filament: the editor false ended with status 1; nothing was sent\n"
    )
    monkeypatch.setenv("EDITOR", "no-such-editor")
    assert red("edit", "virtual-network/red") == 2
    assert "there is no editor 'no-such-editor'; set EDITOR to a command" in capsys.readouterr().err
    assert kept(tmp_path) == []


def test_identity_cannot_be_changed_but_may_be_left_out():
    before = {"uuid": "u", "fq_name": ["a"], "x": 1, "y_refs": [{"to": ["z"]}]}
    assert changes_between(before, {"x": 1}) == {"y_refs": []}
    with pytest.raises(InputError, match=r'uuid cannot be changed at \$.uuid; it is "u"'):
        changes_between(before, before | {"uuid": "v"})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": }'])
def test_only_objects_are_read(text):
    with pytest.raises(InputError):
        read_object(text)


def test_the_editor_may_have_options(monkeypatch):
    monkeypatch.setenv("EDITOR", "code --wait")
    monkeypatch.delenv("VISUAL", raising=False)
    assert editor() == ["code", "--wait"]
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", str(Path(os.devnull)))
    assert editor() == ["vim"]
