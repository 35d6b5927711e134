import json

import click
import pytest

from filament.base.errors import TransientError
from filament.cli.session import Session


@pytest.fixture
def demo(api, capsys):
    """A network with a policy, and a port with an address on a machine that a host runs."""
    for words in (
        ("project", "default-domain:demo"),
        ("network-policy", "default-domain:demo:open"),
        ("virtual-network", "default-domain:demo:red", "--subnet", "10.1.1.0/24"),
        ("virtual-machine", "vm"),
        ("virtual-router", "host1", "virtual_router_ip_address=172.30.0.1"),
        (
            *("virtual-machine-interface", "default-domain:demo:port"),
            *("virtual_network_refs=red", "virtual_machine_refs=vm"),
        ),
        (
            *("instance-ip", "address"),
            *("virtual_network_refs=red", "virtual_machine_interface_refs=port"),
        ),
    ):
        assert api("create", *words) == 0, words
    for words in (
        ("virtual-network", "red", "network-policy", "open"),
        ("virtual-router", "host1", "virtual-machine", "vm"),
    ):
        assert api("ln", *words) == 0
    capsys.readouterr()
    return api


def steps(api, capsys, *words):
    assert api("rm", "-r", "--dry-run", "--json", *words) == 0
    return [
        (each["does"], each["object"].rpartition(":")[2].rpartition(" ")[2])
        for each in json.loads(capsys.readouterr().out)
    ]


def test_referrers_go_first_and_theirs_before_them(demo, capsys):
    assert steps(demo, capsys, "virtual-network", "red") == [
        ("delete", "address"),
        ("delete", "port"),
        ("delete", "red"),
    ]


def test_networks_and_hosts_only_let_go(demo, capsys):
    assert steps(demo, capsys, "network-policy", "open") == [("unlink", "red"), ("delete", "open")]
    assert set(steps(demo, capsys, "virtual-machine", "vm")) == {
        ("delete", "address"),
        ("delete", "port"),
        ("unlink", "host1"),
        ("delete", "vm"),
    }


def test_a_project_goes_with_everything_below(demo, capsys):
    assert demo("rm", "-r", "--yes", "project", "demo") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("project default-domain:demo deleted in revision ")
    assert any(line.startswith("virtual-network default-domain:demo:red deleted") for line in said)
    for kind in ("instance-ip", "virtual-machine-interface", "network-policy"):
        assert demo("ls", kind, "--json") == 0
        assert json.loads(capsys.readouterr().out) == []
    # The machine is nobody's child, and the port referred to it, not the other way round.
    assert demo("ls", "virtual-machine", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_nothing_goes_unasked(demo, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert demo("rm", "-r", "virtual-network", "red") == 2
    assert capsys.readouterr().err == (
        "filament: 3 changes would be made; say --yes to make them, --dry-run to list them\n"
    )
    assert demo("ls", "instance-ip", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [(True, 0, 0), (False, 130, 1)])
def test_everything_is_listed_before_the_question(demo, capsys, monkeypatch, answer, code, left):
    def confirm(text, abort):
        assert text == "Make these 3 changes?"
        assert abort
        if not answer:
            raise click.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", confirm)
    assert demo("rm", "-r", "virtual-network", "red") == code
    assert capsys.readouterr().out.startswith(
        "This will be done, in this order:\n  instance-ip address deleted  (it refers to "
    )
    assert demo("ls", "instance-ip", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == left


def test_an_object_alone_is_not_asked_about(demo, capsys):
    assert demo("create", "virtual-machine", "lonely") == 0
    assert demo("rm", "-r", "virtual-machine", "lonely") == 0


def test_a_dry_run_without_r_lists_what_was_named(demo, capsys):
    assert demo("rm", "--dry-run", "virtual-machine", "vm") == 0
    assert capsys.readouterr().out == (
        "This would be done, in this order:\n  virtual-machine vm deleted\n"
    )


def test_what_stops_half_way_says_where(demo, capsys, monkeypatch):
    change = Session.change

    def stop(self, method, path, *arguments, **options):
        if path.startswith("/virtual-network/"):
            raise TransientError("the API went away")
        return change(self, method, path, *arguments, **options)

    monkeypatch.setattr(Session, "change", stop)
    assert demo("rm", "-r", "-y", "virtual-network", "red") == 1
    assert capsys.readouterr().err == (
        "filament: the API went away\n"
        "filament: stopped before: virtual-network default-domain:demo:red deleted\n"
    )
