import json

import pytest
from structlog.testing import capture_logs

from filament.agent.state import State
from filament.base.errors import PermanentError


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "agent-host1")


def test_ports_come_back_as_they_were_posted(state, tmp_path, script):
    plugs = [script.plug(3), script.plug(4)]
    for plug in plugs:
        state.save_plug(plug)
    assert State(tmp_path / "agent-host1").load_plugs() == plugs
    state.forget_plug(plugs[0].uuid)
    state.forget_plug(plugs[0].uuid)
    assert state.load_plugs() == plugs[1:]
    kept = json.loads((tmp_path / "agent-host1" / "ports" / plugs[1].uuid).read_text())
    assert kept == plugs[1].posted


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"id": 5}', b'{"id": "x", "instance-id": "y"}', b"\xff\0"]
)
def test_an_unreadable_port_is_moved_aside_and_costs_nobody_else(state, tmp_path, script, content):
    good, bad = script.plug(3), script.plug(4)
    state.save_plug(good)
    path = tmp_path / "agent-host1" / "ports" / bad.uuid
    path.write_bytes(content)
    with capture_logs() as logs:
        assert state.load_plugs() == [good]
    assert [one["event"] for one in logs] == ["state-file-moved-aside"]
    assert path.with_name(f"{bad.uuid}.unreadable-1").read_bytes() == content
    path.write_bytes(content)
    state.load_plugs()
    assert path.with_name(f"{bad.uuid}.unreadable-2").exists()


def test_a_port_in_the_wrong_file_is_unreadable(state, tmp_path, script):
    state.save_plug(script.plug(3))
    ports = tmp_path / "agent-host1" / "ports"
    (ports / script.uuid(3)).rename(ports / script.uuid(4))
    assert state.load_plugs() == []


def test_views_come_back(state, running, tmp_path):
    views = running.core.saved_views()
    state.save_views(views)
    assert State(tmp_path / "agent-host1").load_views() == views


def test_numbers_come_back(state):
    assert state.load_ids(dict[str, int]) is None
    state.save_ids({"red": 1})
    assert state.load_ids(dict[str, int]) == {"red": 1}


@pytest.mark.parametrize(
    "content", ['{"version": 1', '{"version": 2, "value": []}', '{"version": 1, "value": 3}', "[]"]
)
def test_unreadable_state_is_moved_aside(state, tmp_path, content):
    path = tmp_path / "agent-host1" / "views.json"
    path.write_text(content)
    with capture_logs() as logs:
        assert state.load_views() == []
    assert [one["event"] for one in logs] == ["state-file-moved-aside"]
    assert not path.exists()
    assert path.with_name("views.json.unreadable-1").read_text() == content


def test_a_crash_while_writing_leaves_the_old_state(state, tmp_path):
    state.save_ids({"red": 1})
    (tmp_path / "agent-host1" / ".ids.json.new").write_text('{"version"')
    assert state.load_ids(dict[str, int]) == {"red": 1}
    state.save_ids({"red": 2})
    assert state.load_ids(dict[str, int]) == {"red": 2}


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="give a directory that can be written"):
        State(tmp_path / "file" / "agent-host1")
