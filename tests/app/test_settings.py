import pytest

from filament.app.settings import Settings, load_settings
from filament.base.errors import InputError
from filament.base.limits import MAX_FLOW_TABLE, MIN_FLOW_TABLE


def write(tmp_path, text):
    path = tmp_path / "filament.toml"
    path.write_text(text)
    return path


def test_everything_has_a_default(tmp_path):
    assert load_settings(write(tmp_path, ""), {}) == Settings()


def test_file_is_overridden_by_environment(tmp_path):
    path = write(tmp_path, 'run = "/r1"\nstate = "/s1"\n[control]\nname = "ctl2"\n')
    settings = load_settings(path, {"FILAMENT_RUN": "/r2", "FILAMENT_BPFFS": "/b2"})
    assert settings.run == "/r2"
    assert settings.state == "/s1"
    assert settings.bpffs == "/b2"
    assert settings.control_socket == "unix:/r2/control-ctl2.sock"
    assert str(settings.control_copy) == "/s1/control-ctl2.json"


def test_an_empty_variable_is_no_override():
    assert load_settings(None, {"FILAMENT_RUN": ""}).run == "/run/filament"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("runn = '/r'", "unknown field `runn`"),
        ("[api]\nlisten = 8082", "Expected `array`, got `int` - at `$.api.listen`"),
        ("[agent]\nname = ", "is not TOML"),
        ("[agent]\nflow_table = 100", "Expected `int` >= 1024 - at `$.agent.flow_table`"),
        (f"[agent]\nflow_table = {MAX_FLOW_TABLE + 1}", f"Expected `int` <= {MAX_FLOW_TABLE}"),
        ("[agent]\nmax_vm_flows = 101", "Expected `float` <= 100.0"),
        ("run = 'here'", "run = 'here' is no absolute path; processes may be started anywhere"),
    ],
)
def test_bad_settings_say_where_and_what(tmp_path, text, complaint):
    with pytest.raises(InputError) as caught:
        load_settings(write(tmp_path, text), {})
    assert complaint in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read settings from .*absent\.toml: No such file"):
        load_settings(tmp_path / "absent.toml", {})


def test_tls_with_agents_goes_by_tfs_names(tmp_path):
    file = tmp_path / "filament.toml"
    file.write_text(
        '[control]\nxmpp_auth_enable = true\nxmpp_server_cert = "/c"\n'
        '[agent]\nxmpp_auth_enable = true\nxmpp_ca_cert = "/a"\n'
    )
    settings = load_settings(file, {})
    assert (settings.control.xmpp_auth_enable, settings.control.xmpp_server_cert) == (True, "/c")
    assert (settings.agent.xmpp_auth_enable, settings.agent.xmpp_ca_cert) == (True, "/a")
    assert not load_settings(None, {}).control.xmpp_auth_enable


def test_a_host_may_have_few_flows(tmp_path):
    file = write(tmp_path, f"[agent]\nflow_table = {MIN_FLOW_TABLE}\nmax_vm_flows = 12.5\n")
    told = load_settings(file, {}).agent
    assert (told.flow_table, told.max_vm_flows) == (MIN_FLOW_TABLE, 12.5)
