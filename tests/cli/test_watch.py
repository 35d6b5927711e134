import json

import pytest

from filament.cli.watch import format_commit


def test_commits_are_printed_from_the_one_after(api, capsys):
    assert api("create", "virtual-machine", "vm-1") == 0
    assert api("rm", "virtual-machine", "vm-1") == 0
    created = int(capsys.readouterr().out.splitlines()[-2].split()[-1])
    assert api("watch", "--after", str(created - 1), "--count", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(created), "+", str(created + 1), "-"]
    assert lines[0].endswith("  filament")
    assert (lines[1], lines[3]) == ("  + virtual-machine vm-1", "  - virtual-machine vm-1")


def test_json_commits_are_one_per_line(api, capsys):
    assert api("create", "virtual-machine", "vm-1") == 0
    capsys.readouterr()
    assert api("watch", "--after", "0", "--count", "2", "--json") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["revision"], second["revision"]) == (1, 2)
    assert second["puts"][0]["kind"] == "virtual-machine"


def sse(*events):
    return "".join(f"{line}\n" for event in events for line in (*event, ""))


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (
            sse([": keep-alive"], ["event: relist", "data: {}"]),
            2,
            "no longer keeps the commits after revision 3; start without --after",
        ),
        (sse([": keep-alive"]), 1, "closed the stream"),
    ],
)
def test_a_stream_that_ends_says_why(tmp_path, role, run_in, capsys, body, code, text):
    with role(tmp_path / "api.sock", {("GET", "/watch"): (200, {}, body)}):
        assert run_in(tmp_path)("watch", "--after", "3") == code
    assert text in capsys.readouterr().err


def test_a_silent_api_is_the_worlds_fault(tmp_path, run_in, capsys):
    assert run_in(tmp_path)("--api", f"unix:{tmp_path}/none", "watch", "--after", "3") == 1
    assert "stopped answering (there is no such socket)" in capsys.readouterr().err


def test_a_refusal_is_shown_in_the_apis_words(tmp_path, role, run_in, capsys):
    with role(tmp_path / "api.sock", {("GET", "/watch"): (400, {}, "'x' is not a revision\n")}):
        assert run_in(tmp_path)("watch", "--after", "3") == 1
    assert "'x' is not a revision" in capsys.readouterr().err


def test_a_commit_says_revision_time_who_and_what():
    commit = {
        "revision": 7,
        "at": 0.0,
        "who": "",
        "puts": [{"kind": "domain", "fq_name": ["a"]}],
        "deletes": [],
    }
    head, line = format_commit(commit)
    assert head.startswith("7  ")
    assert head.endswith("  -")
    assert line == "  + domain a"
