import importlib.metadata
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from filament.base.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from filament.cli.main import COMMANDS, exit_code, filament, run
from filament.client.http import error_of


def test_every_command_can_be_imported_and_explains_itself():
    for name in COMMANDS:
        result = CliRunner().invoke(filament, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        assert result.output.startswith(f"Usage: filament {name}")


def test_the_short_help_in_the_table_is_that_of_the_command():
    for name, (_, text) in COMMANDS.items():
        command = filament.get_command(None, name)
        assert command.get_short_help_str(200).startswith(text.rstrip(".")), name


def test_help_lists_all_commands_and_imports_none():
    script = (
        "import sys; from filament.cli.main import run; run(['--help']); "
        "print(sorted(m for m in sys.modules if m.startswith('filament.cli')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for name, (module, _) in COMMANDS.items():
        assert f"  {name} " in said.stdout
        assert f"filament.cli.{module}'" not in said.stdout


# Others read settings, types of properties or packets with msgspec, which costs a third of click.
LIGHT = {"cat", "completion", "diff", "edit", "history", "ls", "rm", "status", "tree", "watch"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_command_imports_what_takes_long_to_start(name):
    heavy = {
        *("asyncio", "httpx2", "anyio", "starlette", "uvicorn", "pyroute2", "structlog", "sqlite3"),
        *(
            "filament.api",
            "filament.agent",
            "filament.control",
            "filament.store",
            "filament.runtime",
        ),
        *("filament.compiler", "filament.dataplane", "filament.testing"),
        *(("msgspec",) if name in LIGHT else ()),
    }
    script = (
        f"import sys; from filament.cli.main import run; run([{name!r}, '--help']); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.endswith("[]\n")


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"filament {importlib.metadata.version('filament-sdn')}\n"


def test_no_command_shows_the_help(capsys):
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys):
    assert run(["stauts"]) == 2
    assert capsys.readouterr().err == (
        "filament: there is no command 'stauts'; did you mean status?\nSee: filament --help\n"
    )


def test_an_unknown_option_is_the_callers_fault(capsys):
    assert run(["ls", "--jsno"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_a_silent_api_is_the_worlds_fault(tmp_path, capsys):
    assert run(["--api", f"unix:{tmp_path}/api.sock", "ls"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"filament: the API at unix:{tmp_path}/api.sock does not answer (")
    assert said.err.endswith("is it running?\n")


def test_what_is_not_an_api_is_the_worlds_fault(tmp_path, capsys):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "api.sock"))
    assert run(["--run-dir", str(tmp_path), "ls"]) == 1
    assert "does not answer (nobody listens there); is it running?" in capsys.readouterr().err


def test_a_bad_api_address_is_the_callers_fault(capsys):
    assert run(["--api", "here", "ls"]) == 2
    assert "'here' is no address of an API; write http(s)://HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x", "y"), 2),
        (NotFoundError("x"), 2),
        (ConflictError("x"), 2),
        (ForbiddenError("x"), 2),
        (TransientError("x"), 1),
        (PermanentError("x"), 1),
    ],
)
def test_exit_codes_say_whose_fault_it_was(error, code):
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (401, ForbiddenError),
        (412, ConflictError),
        (413, InputError),
        (500, PermanentError),
        (503, TransientError),
    ],
)
def test_http_statuses_become_the_errors_that_made_them(status, kind):
    error = error_of(status, "because\n")
    assert type(error) is kind
    assert str(error) == "because"
    assert str(error_of(status, "")) == f"the server answered HTTP status {status}"


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--no-such-option", 2)])
def test_the_process_ends_at_once_and_has_said_everything(argument, code):
    script = (
        "import atexit; atexit.register(print, 'taken down');"
        f"from filament.cli.main import main; main(['{argument}'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    said = ended.stdout or ended.stderr
    assert said.startswith("filament")
    assert "taken down" not in ended.stdout
