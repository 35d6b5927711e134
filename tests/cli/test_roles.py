import pytest

from filament.app import roles


@pytest.fixture
def served(monkeypatch):
    """What the command line would run, instead of running it."""
    seen = []

    def serve(settings, names):
        seen.append((settings, names))
        return 0

    monkeypatch.setattr(roles, "serve", serve)
    return seen


def test_options_become_settings(tmp_path, run_in, served):
    arguments = (
        *("serve", "--role", "api", "--role", "control", "--listen", "127.0.0.1:0"),
        *("--name", "ctl9", "--api", "unix:/x", "--xmpp", "127.0.0.1:5"),
    )
    assert run_in(tmp_path)(*arguments) == 0
    ((settings, names),) = served
    assert names == ["api", "control"]
    assert settings.run == str(tmp_path)
    assert settings.api.listen == ("127.0.0.1:0",)
    control = settings.control
    assert (control.name, control.api, control.xmpp) == ("ctl9", "unix:/x", "127.0.0.1:5")


def test_options_of_the_agent_become_settings(tmp_path, run_in, served):
    arguments = (
        *("agent", "--name", "host1", "--address", "172.30.0.1", "--underlay", "eth7"),
        *("--control", "172.30.0.10:5269", "--control", "172.30.0.11:5269"),
    )
    assert run_in(tmp_path)(*arguments) == 0
    ((settings, names),) = served
    assert names == ["agent"]
    agent = settings.agent
    assert (agent.name, agent.address, agent.underlay) == ("host1", "172.30.0.1", "eth7")
    assert agent.controls == ("172.30.0.10:5269", "172.30.0.11:5269")


def test_options_win_over_the_settings_file(tmp_path, run_in, served):
    file = tmp_path / "filament.toml"
    file.write_text('[control]\nname = "from-file"\nxmpp = "10.0.0.1:5269"\n')
    assert run_in(tmp_path)("serve", "--role", "control", "--config", str(file)) == 0
    assert run_in(tmp_path)("serve", "--role", "control", "--config", str(file), "--name", "n") == 0
    controls = [(settings.control.name, settings.control.xmpp) for settings, _ in served]
    assert controls == [("from-file", "10.0.0.1:5269"), ("n", "10.0.0.1:5269")]


def test_the_exit_code_is_the_roles(tmp_path, run_in, monkeypatch):
    monkeypatch.setattr(roles, "serve", lambda *_: 1)
    assert run_in(tmp_path)("serve", "--role", "api") == 1


def test_an_unknown_role_is_the_callers_fault(tmp_path, run_in, capsys):
    assert run_in(tmp_path)("serve", "--role", "apy") == 2
    assert capsys.readouterr().err.startswith("filament: 'apy' is no role; there are: ")


def test_no_role_is_the_callers_fault(tmp_path, run_in, capsys):
    assert run_in(tmp_path)("serve") == 2
    assert "Missing option '--role'" in capsys.readouterr().err


def test_a_broken_settings_file_is_the_callers_fault(tmp_path, run_in, capsys):
    file = tmp_path / "filament.toml"
    file.write_text("[control]\nnaem = 1\n")
    assert run_in(tmp_path)("serve", "--role", "control", "--config", str(file)) == 2
    assert str(file) in capsys.readouterr().err
