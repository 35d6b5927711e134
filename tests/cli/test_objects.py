import json

import pytest

from filament.cli.main import run
from filament.cli.objects import leaves, rules, summary

PROJECT = "default-domain:demo"


@pytest.fixture
def demo(api):
    """A run directory with an API that has a project, a network, a workload and a policy."""
    for arguments in (
        ["create", "project", "default-domain:demo"],
        ["create", "virtual-network", f"{PROJECT}:red", "--subnet", "10.1.1.0/24"],
        ["create", "network-policy", f"{PROJECT}:open"],
        ["create", "virtual-machine", "red-1"],
        [
            *("create", "virtual-machine-interface", f"{PROJECT}:red-1-port"),
            *("virtual_network_refs=red", "virtual_machine_refs=red-1"),
        ],
        [
            *("create", "instance-ip", "red-1", "virtual_network_refs=red"),
            "virtual_machine_interface_refs=red-1-port",
        ],
    ):
        assert api(*arguments) == 0
    return api


def answer(capsys):
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def test_ls_counts_kinds(demo, capsys):
    answer(capsys)
    assert demo("ls") == 0
    lines = answer(capsys).splitlines()
    assert lines[0].split() == ["KIND", "COUNT"]
    assert ["virtual-machine", "1"] in [line.split() for line in lines]


def test_ls_counts_in_one_request(role, run_in, ok, tmp_path, capsys):
    answers = {("GET", "/filament/counts"): ok({"project": 2, "domain": 1, "tag": 0})}
    with role(tmp_path / "api.sock", answers) as server:
        assert run_in(tmp_path)("ls", "--json") == 0
        assert run_in(tmp_path)("ls") == 0
    assert [asked[:2] for asked in server.asked] == [("GET", "/filament/counts")] * 2
    said = answer(capsys)
    assert json.loads(said[: said.index("]") + 1])[1] == {"kind": "project", "count": 2}
    assert [line.split() for line in said[said.index("]") + 1 :].split("\n")[1:-1]] == [
        ["KIND", "COUNT"],
        ["domain", "1"],
        ["project", "2"],
    ]


@pytest.mark.parametrize("words", [["red-1"], ["virtual-machine", "red-1"]])
def test_a_name_is_found_in_one_request_however_much_there_is(
    role, run_in, ok, tmp_path, capsys, words
):
    uuid = "0f0f0f0f-0000-4000-8000-000000000001"
    found = {"type": "virtual-machine", "uuid": uuid, "fq_name": ["red-1"], "display_name": ""}
    kinds = {"virtual-machine": {"parents": [], "references": [], "columns": []}}
    answers = {
        ("GET", "/filament/kinds"): ok(kinds),
        ("GET", "/filament/called"): ok({"objects": [found]}),
        ("GET", f"/virtual-machine/{uuid}"): ok({"virtual-machine": found | {"name": "red-1"}}),
    }
    with role(tmp_path / "api.sock", answers) as server:
        assert run_in(tmp_path)("cat", *words) == 0
    paths = [asked[1] for asked in server.asked]
    kind = "virtual-machine" if len(words) == 2 else ""
    called = "/filament/called?name=red-1" + (f"&type={kind}" if kind else "")
    assert paths == ["/filament/kinds", called, f"/virtual-machine/{uuid}?exclude_hrefs=1"]


def test_ls_lists_names_and_uuids(demo, capsys):
    answer(capsys)
    assert demo("ls", "virtual-machine-interfaces", "--json") == 0
    (found,) = json.loads(answer(capsys))
    assert found["name"] == f"{PROJECT}:red-1-port"
    assert demo("ls", "virtual-machine-interface") == 0
    lines = answer(capsys).splitlines()
    assert lines[0].split() == ["NAME", "UUID"]
    assert lines[1].split() == [found["name"], found["uuid"]]


def test_ls_long_shows_what_the_registry_says(demo, capsys):
    answer(capsys)
    assert demo("ls", "-l", "virtual-network") == 0
    titles, *lines = answer(capsys).splitlines()
    assert titles.split() == ["NAME", "NETWORK", "IPAM", "NETWORK", "ID", "NETWORK", "POLICY"]
    assert any(line.startswith(f"{PROJECT}:red  ") and "10.1.1.0/24" in line for line in lines)
    assert demo("ls", "-l", "instance-ip") == 0
    assert "10.1.1.3" in answer(capsys)


def test_a_long_json_listing_says_all_that_a_short_one_does(demo, capsys):
    shown = []
    for options in ([], ["-l"]):
        assert demo("ls", *options, "virtual-network", "--json") == 0
        shown.append(json.loads(capsys.readouterr().out))
    short, long = shown
    assert short
    assert [{field: each[field] for field in short[0]} for each in long] == short
    assert "id_perms" in long[0]


def test_ls_says_when_there_is_nothing(demo, capsys):
    answer(capsys)
    assert demo("ls", "virtual-router") == 0
    assert answer(capsys) == "no virtual-router\n"


def test_an_unknown_kind_names_the_nearest(demo, capsys):
    answer(capsys)
    assert demo("ls", "virtual-netwrok") == 2
    assert capsys.readouterr().err == (
        "filament: there is no kind 'virtual-netwrok'; did you mean virtual-network or "
        "virtual-DNS or virtual-router?; `filament ls` lists all kinds\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["red"],
        [f"{PROJECT}:red"],
        ["virtual-network", "red"],
        [f"virtual-network/{PROJECT}:red"],
        ["virtual_network/red"],
    ],
)
def test_names_are_understood_in_all_their_forms(demo, capsys, words):
    answer(capsys)
    assert demo("cat", *words, "--json") == 0
    found = json.loads(answer(capsys))
    assert (found["kind"], found["fq_name"][-1]) == ("virtual-network", "red")
    assert demo("cat", found["uuid"], "--json") == 0
    assert json.loads(answer(capsys)) == found


def test_a_short_name_means_the_workload_first(demo, capsys):
    answer(capsys)
    assert demo("cat", "red-1", "--json") == 0
    assert json.loads(answer(capsys))["kind"] == "virtual-machine"
    assert demo("cat", "instance-ip", "red-1", "--json") == 0
    assert json.loads(answer(capsys))["kind"] == "instance-ip"


def test_a_change_refuses_to_guess_between_kinds(demo, capsys):
    answer(capsys)
    assert demo("rm", "red-1") == 2
    assert capsys.readouterr().err == (
        "filament: 'red-1' is the name of 2 objects: instance-ip red-1, virtual-machine red-1; "
        "name one by KIND/NAME or by uuid\n"
    )


def test_an_unknown_name_names_the_nearest(demo, capsys):
    answer(capsys)
    assert demo("cat", "virtual-machine", "red-l") == 2
    assert capsys.readouterr().err == (
        "filament: there is no virtual-machine 'red-l'; did you mean red-1?\n"
    )


def test_a_kind_without_a_name_says_so(demo, capsys):
    answer(capsys)
    assert demo("cat", "virtual-machine") == 2
    assert capsys.readouterr().err == (
        "filament: which virtual-machine?; write virtual-machine NAME\n"
    )


def test_cat_prints_identity_properties_and_references(demo, capsys):
    answer(capsys)
    assert demo("cat", "virtual-machine-interface", "red-1-port") == 0
    lines = answer(capsys).splitlines()
    assert lines[0] == f"virtual-machine-interface {PROJECT}:red-1-port"
    assert any(line.split() == ["parent", "project", PROJECT] for line in lines)
    at = lines.index("  virtual_network_refs")
    assert lines[at + 1] == f"    - {PROJECT}:red"
    assert not any("id_perms" in line for line in lines)


def test_summaries_flatten_what_is_nested():
    value = {
        "fq_name": ["a", "b"],
        "uuid": "1",
        "id_perms": {"enable": True},
        "mac_addresses": {"mac_address": ["02:00"]},
        "network_ipam_refs": [
            {
                "to": ["d", "p", "ipam"],
                "attr": {
                    "ipam_subnets": [{"subnet": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 8}}]
                },
            },
            {"to": ["d", "p", "other"], "attr": None},
        ],
    }
    assert summary(value) == {
        "name": "a:b",
        "mac_addresses": "02:00",
        "network_ipam": ["10.0.0.0/8", "other"],
    }
    assert leaves({"a": [1, {"b": None}], "c": "x"}) == ["1", "x"]


def test_rules_are_said_in_a_few_words():
    def side(**address):
        return [address]

    rule = {
        "direction": "<>",
        "protocol": "tcp",
        "src_addresses": side(virtual_network="default-domain:demo:red"),
        "dst_addresses": side(subnet={"ip_prefix": "10.1.2.0", "ip_prefix_len": 24}),
        "action_list": {"simple_action": "pass"},
    }
    assert rules({"policy_rule": [rule, {}]}) == ["pass tcp red <> 10.1.2.0/24", "? any any > any"]
    assert rules({"other": 1}) == []


def test_a_run_directory_with_a_socket_is_where_the_api_is(demo, capsys):
    answer(capsys)
    assert run(["--run-dir", str(demo.run_dir), "ls", "project"]) == 0
    assert PROJECT in answer(capsys)


def test_a_kind_before_a_name_may_be_spelt_in_any_way(demo, capsys):
    answer(capsys)
    for kind in ("virtual-network", "virtual_network", "virtual-networks"):
        assert demo("cat", kind, "red") == 0
        assert answer(capsys).startswith(f"virtual-network {PROJECT}:red\n")
    assert demo("cat", "virtual-netwrok", "red") == 2
    said = capsys.readouterr().err
    assert said.startswith("filament: there is no kind 'virtual-netwrok'; did you mean virtual-net")
