"""Two API processes on one etcd and a control node that knows both: a barrier asked of either."""

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from filament.client.http import request
from filament.client.sync import Client
from filament.testing.etcd import EtcdCluster

from .served import start_api, stop_api


@contextlib.contextmanager
def control_process(directory, apis):
    """A control node as people run it; yields where it answers."""
    command = [
        *(sys.executable, "-c", "from filament.cli.main import main; main()"),
        *("--run-dir", str(directory), "serve", "--role", "control", "--name", "ctl"),
        *("--api", ",".join(apis), "--xmpp", "127.0.0.1:0"),
    ]
    (directory / "settings.toml").write_text(f'state = "{directory}"\n')
    with (directory / "control.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--config", str(directory / "settings.toml")], stderr=log, stdout=log
        )
    try:
        yield f"unix:{directory}/control-ctl.sock"
    finally:
        process.terminate()
        process.wait(60)


def within(seconds, what):
    """Wait for another process to be so far."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.fixture
def apis(tmp_path):
    with EtcdCluster(tmp_path) as etcd:
        processes = {}
        addresses = []
        for name in ("one", "two"):
            processes[name], address = start_api(tmp_path, etcd.address, name)
            addresses.append(address)

        def restart(name):
            processes[name], _ = start_api(tmp_path, etcd.address, name)

        def kill(name):
            stop_api(processes.pop(name))

        try:
            yield addresses, kill, restart
        finally:
            for name in list(processes):
                kill(name)


def reached(address, name):
    """Make a project and wait for the control node, all by way of one API process."""
    with Client(address) as client:
        fields = {"project": {"fq_name": ["default-domain", name], "parent_type": "domain"}}
        return client.request("POST", "/projects", fields, wait="control", timeout_s="5").lagging


def controls(address):
    """Who reports to an API process."""
    return request(address, "GET", "/filament/status").value()["controls"]


def test_each_api_process_knows_how_far_the_control_node_is(apis, tmp_path):
    addresses, kill, restart = apis
    with control_process(tmp_path, addresses) as control:
        for address in addresses:
            within(60, lambda address=address: "ctl" in controls(address))
        for number in range(3):
            for index, address in enumerate(addresses):
                assert reached(address, f"p-{number}-{index}") == ""
        # The one that is followed dies: the other is followed, and answers as before.
        followed = request(control, "GET", "/filament/status").value()["api"]["address"]
        first = addresses.index(followed)
        names = ["one", "two"]
        kill(names[first])
        assert reached(addresses[1 - first], "after-the-kill") == ""
        # It comes back, knowing nothing: it is told.
        restart(names[first])
        within(60, lambda: "ctl" in controls(followed))
        assert reached(followed, "after-the-restart") == ""
        state = request(control, "GET", "/filament/status").value()["api"]
        assert (state["connected"], state["address"]) == (True, addresses[1 - first])
