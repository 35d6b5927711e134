import socket

import pytest

from filament.base.errors import InputError, NotFoundError
from filament.cli.local import ask, require_some, rows
from filament.client import http


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path


def test_answers_come_from_every_role_sorted_by_name(run_dir, role, ok):
    with (
        role(run_dir / "agent-host2.sock", {("GET", "/x"): ok([{"v": 2}])}),
        role(run_dir / "agent-host1.sock", {("GET", "/x"): ok([{"v": 1}])}),
        role(run_dir / "control-ctl1.sock", {("GET", "/x"): ok([])}),
    ):
        answers = ask(run_dir, "agent", "/x")
    assert [(each.name, each.problem) for each in answers] == [("host1", ""), ("host2", "")]
    assert list(rows(answers)) == [("host1", {"v": 1}), ("host2", {"v": 2})]


def test_a_dead_socket_is_an_answer_and_no_failure_of_the_others(run_dir, role, ok):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(run_dir / "agent-host1.sock"))
    dead.close()
    with role(run_dir / "agent-host2.sock", {("GET", "/x"): ok({"items": [1]})}):
        answers = ask(run_dir, "agent", "/x")
    assert [(each.name, each.problem) for each in answers] == [
        ("host1", "nobody listens there"),
        ("host2", ""),
    ]
    assert list(rows(answers, "items")) == [("host2", 1)]


def test_a_role_that_never_answers_is_silent_after_the_timeout(run_dir, role, ok):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(run_dir / "agent-host1.sock"))
        mute.listen()
        (answer,) = ask(run_dir, "agent", "/x", timeout_s=0.05)
    assert answer.problem == "no answer within 0.05 s"


def test_a_role_that_refuses_says_why(run_dir, role, ok):
    with role(run_dir / "agent-a.sock", {("GET", "/x"): (400, {}, "no vrf 'x'\nmore\n")}):
        (answer,) = ask(run_dir, "agent", "/x")
    assert answer.problem == "no vrf 'x'"


def test_what_is_not_json_is_said_to_be_so(run_dir, role, ok):
    with role(run_dir / "agent-a.sock", {("GET", "/x"): (200, {}, "<html>")}):
        (answer,) = ask(run_dir, "agent", "/x")
    assert answer.problem.startswith("it answered something that is not JSON")


def test_only_named_roles_are_asked(run_dir, role, ok):
    with (
        role(run_dir / "agent-host1.sock", {("GET", "/x"): ok([])}) as one,
        role(run_dir / "agent-host2.sock", {("GET", "/x"): ok([])}) as two,
    ):
        ask(run_dir, "agent", "/x", names=["host2"])
        assert (len(one.asked), len(two.asked)) == (0, 1)
        with pytest.raises(NotFoundError, match=r"no agent 'hots1' in .*; did you mean host1"):
            ask(run_dir, "agent", "/x", names=["hots1"])


def test_no_role_at_all_is_the_wrong_place(run_dir, role, ok):
    with pytest.raises(InputError, match=r"no agent has a socket in .*; start one, or say where"):
        require_some(ask(run_dir, "agent", "/x"), "agent", run_dir)


@pytest.mark.parametrize("address", ["nonsense", "http://", "ftp://x:1/y", ":80"])
def test_a_bad_address_says_what_would_be_right(address):
    with pytest.raises(InputError, match=r"write http\(s\)://HOST:PORT or unix:/PATH"):
        http.request(address, "GET", "/")


def test_a_missing_socket_and_a_closed_port_are_told_apart(run_dir, role, ok):
    with pytest.raises(http.NoAnswerError, match="there is no such socket"):
        http.request(f"unix:{run_dir}/none.sock", "GET", "/")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(http.NoAnswerError, match="nobody listens there"):
            http.request(f"http://127.0.0.1:{port}", "GET", "/")
