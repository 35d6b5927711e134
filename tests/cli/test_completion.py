import subprocess

import pytest
from click.shell_completion import ShellComplete

from filament.cli.main import COMMANDS, filament, run


def complete(run_dir, *words):
    """What a shell is offered after `words`, the last of which is incomplete."""
    *given, incomplete = words
    options = ["--run-dir", str(run_dir)]
    found = ShellComplete(filament, {}, "filament", "_FILAMENT_COMPLETE").get_completions(
        [*options, *given], incomplete
    )
    return sorted(item.value for item in found)


@pytest.fixture
def demo(api, capsys):
    assert api("create", "virtual-machine", "red-1") == 0
    assert api("create", "virtual-network", "red", "--subnet", "10.1.1.0/24") == 0
    capsys.readouterr()
    return api.run_dir


def test_commands_are_completed(tmp_path):
    assert complete(tmp_path, "") == sorted(COMMANDS)
    assert complete(tmp_path, "sh") == ["show"]
    assert complete(tmp_path, "show", "r") == ["route"]


def test_kinds_are_completed(demo):
    assert complete(demo, "ls", "virtual-m") == ["virtual-machine", "virtual-machine-interface"]
    assert complete(demo, "create", "virtual-ne") == ["virtual-network"]


def test_names_are_completed(demo):
    assert complete(demo, "cat", "red") == ["red", "red-1"]
    assert complete(demo, "cat", "virtual-network", "default-domain:default-project:r") == [
        "default-domain:default-project:red"
    ]
    assert complete(demo, "cat", "virtual-machine/") == ["virtual-machine/red-1"]
    assert complete(demo, "trace", "r") == ["red-1"]
    assert complete(demo, "trace", "red-1", "red") == ["red-1"]


def test_hosts_are_completed(tmp_path):
    (tmp_path / "agent-host1.sock").touch()
    assert complete(tmp_path, "show", "route", "--host", "") == ["host1"]


def test_a_silent_api_or_no_lab_completes_nothing_and_says_nothing(tmp_path, capsys):
    assert complete(tmp_path, "--api", f"unix:{tmp_path}/none", "ls", "") == []
    assert complete(tmp_path, "--api", f"unix:{tmp_path}/none", "cat", "x") == []
    assert complete(tmp_path, "lab", "exec", "") == []
    assert complete(tmp_path, "lab", "kill", "") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(shell, capsys):
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_FILAMENT_COMPLETE" in script
    assert "filament" in script


def test_bash_takes_the_script(capsys):
    assert run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_an_unknown_shell_is_refused(capsys):
    assert run(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of" in capsys.readouterr().err
