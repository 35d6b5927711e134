"""What commands import: to start is most of what a person waits for.

Timings depend on the machine, and modules do not: these are those that took longest to import, and
that no command needs that asks the API over a unix socket or plain TCP.
"""

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "email",
    "filament.doctor",
    "filament.model",
    "filament.runtime",
    "hashlib",
    "http",
    "logging",
    "msgspec",
    "ssl",
    "urllib.request",
)
# Runs commands one after the other; says what the first that imported something heavy imported.
_RUN = """
import json, sys
from filament.cli.main import run
heavy = json.loads(sys.argv[1])
for words in json.loads(sys.argv[2]):
    assert run(words) == 0, words
    for name in list(sys.modules):
        if any(name == each or name.startswith(each + ".") for each in heavy):
            sys.exit(f"{words} imports {name}")
"""


def imported(*commands, heavy=HEAVY):
    """Run commands in a process of their own; what is wrong with what they import, or nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(heavy), json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EDITOR": "true"},
        timeout=60,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stderr.strip()


@pytest.fixture
def commands(api):
    """Every verb of the configuration, in an order that succeeds."""
    at = ["--run-dir", str(api.run_dir)]
    red = ["virtual-network", "red"]
    verbs = [
        ["ls"],
        ["create", "virtual-network", "red", "--subnet", "10.1.1.0/24"],
        ["create", "network-policy", "open"],
        ["ls", "virtual-network"],
        ["ls", "-l", "virtual-network"],
        ["cat", *red],
        ["cat", "red", "--json"],
        ["set", *red, "mtu=1400"],
        ["set", *red, "virtual_network_properties.rpf=disable"],
        ["ln", *red, "network-policy", "open"],
        ["tree"],
        ["tree", *red],
        ["tree", "-r", "network-policy", "open"],
        ["tree", "-P", *red],
        ["edit", *red],
        ["history", "red"],
        ["diff", "1", "2"],
        ["watch", "--after", "1", "--count", "1"],
        ["status"],
        ["rm", *red],
        ["rm", "-r", "network-policy", "open"],
        ["completion", "bash"],
    ]
    return [[*at, *words] for words in verbs]


def test_no_command_imports_what_takes_long(commands):
    assert imported(*commands) == ""


def test_what_is_imported_is_noticed(commands):
    assert "imports click" in imported(commands[0], heavy=("click",))
