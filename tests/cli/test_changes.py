import io
import json

import pytest

from filament.base.errors import InputError
from filament.cli.changes import identity_of, properties_of, subnet_refs
from filament.model.kinds import KINDS


@pytest.fixture
def demo(api, capsys):
    assert api("create", "project", "default-domain:demo") == 0
    assert (
        api("create", "virtual-network", "default-domain:demo:red", "--subnet", "10.1.1.0/24") == 0
    )
    assert api("create", "network-policy", "default-domain:demo:open") == 0
    capsys.readouterr()
    return api


def show(api, capsys, *words):
    assert api("cat", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_create_says_what_and_in_which_revision(api, capsys):
    assert api("create", "virtual-machine", "red-1") == 0
    first = capsys.readouterr().out
    assert first.startswith("virtual-machine red-1 created in revision ")
    assert api("create", "virtual-machine", "red-2", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["object"] == "virtual-machine red-2"
    assert made["revision"] == int(first.split()[-1]) + 1


def test_create_takes_json_texts_members_and_names(demo, capsys):
    assert (
        demo(
            *("create", "virtual-network", "blue", "is_shared=true", "display_name=Blue sky"),
            *("virtual_network_properties.colour=1", "virtual_network_properties.rpf=disable"),
            "network_policy_refs=open",
        )
        == 2
    )  # colour is no member of it: the API says so
    capsys.readouterr()
    assert (
        demo(
            *("create", "virtual-network", "blue", "is_shared=true", "display_name=Blue sky"),
            *("virtual_network_properties.rpf=disable",),
        )
        == 0
    )
    capsys.readouterr()
    blue = show(demo, capsys, "virtual-network/blue")
    assert blue["fq_name"] == ["default-domain", "default-project", "blue"]
    assert blue["is_shared"] is True
    assert blue["display_name"] == "Blue sky"
    assert blue["virtual_network_properties"] == {"rpf": "disable"}


def test_create_reads_a_file_and_words_win(demo, capsys, tmp_path):
    file = tmp_path / "network.json"
    file.write_text('{"virtual-network": {"is_shared": false, "display_name": "from the file"}}')
    assert demo("create", "virtual-network", "blue", "--file", str(file), "is_shared=true") == 0
    capsys.readouterr()
    blue = show(demo, capsys, "virtual-network/blue")
    assert (blue["is_shared"], blue["display_name"]) == (True, "from the file")


def test_a_file_that_is_not_json_is_named(demo, capsys, tmp_path):
    file = tmp_path / "broken.json"
    file.write_text("{")
    assert demo("create", "virtual-network", "blue", "--file", str(file)) == 2
    assert f"filament: {file} is not JSON: " in capsys.readouterr().err
    file.write_text("[]")
    assert demo("create", "virtual-network", "blue", "--file", str(file)) == 2
    assert f"{file} holds no JSON object; write" in capsys.readouterr().err
    assert demo("create", "virtual-network", "blue", "--file", str(tmp_path / "none")) == 2
    assert "No such file" in capsys.readouterr().err


def test_what_the_api_refuses_is_the_callers_fault_in_its_words(demo, capsys):
    assert demo("create", "virtual-network", "default-domain:demo:red") == 2
    assert "already exists" in capsys.readouterr().err
    assert demo("create", "virtual-network", "x", "--subnet", "10.1.1.5/24") == 2
    assert capsys.readouterr().err == (
        "filament: prefix 10.1.1.5/24 has host bits set; did you mean 10.1.1.0/24?\n"
    )


def test_only_networks_have_subnets(demo, capsys):
    assert demo("create", "virtual-machine", "x", "--subnet", "10.1.1.0/24") == 2
    assert capsys.readouterr().err == (
        "filament: a virtual-machine has no subnets; --subnet is for a virtual-network\n"
    )


def test_set_changes_one_member_and_keeps_the_others(demo, capsys):
    for word in (
        "virtual_network_properties.rpf=disable",
        "virtual_network_properties.max_flows=5",
    ):
        assert demo("set", "virtual-network", "red", word) == 0
        assert "virtual-network default-domain:demo:red changed in revision" in (
            capsys.readouterr().out
        )
    red = show(demo, capsys, "virtual-network/red")
    assert red["virtual_network_properties"] == {"rpf": "disable", "max_flows": 5}


def test_a_network_is_meant_and_not_the_routing_instance_of_its_name(demo, capsys):
    assert demo("create", "virtual-network", "default-domain:demo:green") == 0
    assert demo("set", "green", "mtu=1400") == 0
    capsys.readouterr()
    assert show(demo, capsys, "virtual-network/green")["mtu"] == 1400
    assert demo("ln", "green", "open") == 0
    assert demo("rm", "green") == 0
    # One that somebody made, of the name of a network, is another.
    network = "default-domain:demo:green"
    assert demo("create", "virtual-network", network) == 0
    assert demo("create", "routing-instance", f"{network}:other") == 0
    assert demo("create", "virtual-network", "default-domain:demo:other") == 0
    capsys.readouterr()
    assert demo("rm", "other") == 2
    assert "is the name of 2 objects: routing-instance" in capsys.readouterr().err


def test_set_removes_with_nothing(demo, capsys):
    assert demo("set", "virtual-network", "red", "is_shared=true") == 0
    assert demo("set", "virtual-network", "red", "is_shared=") == 0
    capsys.readouterr()
    assert not show(demo, capsys, "virtual-network/red").get("is_shared")


def test_set_without_anything_to_set(demo, capsys):
    assert demo("set", "virtual-network", "red") == 2
    assert capsys.readouterr().err == (
        "filament: what shall virtual-network default-domain:demo:red have?; "
        "write PROPERTY=VALUE or --file\n"
    )


def test_a_policy_is_attached_and_detached_with_ln(demo, capsys):
    words = ["virtual-network", "red", "network-policy", "open"]
    assert demo("ln", *words) == 0
    assert capsys.readouterr().out.startswith(
        "virtual-network default-domain:demo:red refers to "
        "network-policy default-domain:demo:open in revision "
    )
    (ref,) = show(demo, capsys, "virtual-network/red")["network_policy_refs"]
    assert ref["attr"]["sequence"] == {"major": 0, "minor": 0}
    assert demo("ln", "--rm", *words) == 0
    assert "no longer refers to" in capsys.readouterr().out
    assert not show(demo, capsys, "virtual-network/red").get("network_policy_refs")


def test_ln_the_wrong_way_round_says_the_right_one(demo, capsys):
    assert demo("ln", "network-policy", "open", "virtual-network", "red") == 2
    assert capsys.readouterr().err == (
        "filament: a network-policy does not refer to a virtual-network; write virtual-network "
        "default-domain:demo:red network-policy default-domain:demo:open\n"
    )


def test_ln_between_strangers_says_what_may_be(demo, capsys):
    assert demo("create", "virtual-machine", "vm") == 0
    capsys.readouterr()
    assert demo("ln", "virtual-machine", "vm", "virtual-network", "red") == 2
    assert (
        "a virtual-machine does not refer to a virtual-network;"
        " it may refer to: service-instance, tag" in capsys.readouterr().err
    )


def test_ln_needs_two_objects(demo, capsys):
    assert demo("ln", "virtual-network", "red") == 2
    assert capsys.readouterr().err == (
        "filament: 1 objects are named where 2 must be; write `filament ln KIND NAME KIND NAME`\n"
    )


def test_rm_deletes_nothing_when_one_name_is_wrong(demo, capsys):
    assert demo("rm", "network-policy", "open", "network-policy", "opne") == 2
    assert capsys.readouterr().err == (
        "filament: there is no network-policy 'opne'; did you mean open?\n"
    )
    assert demo("rm", "network-policy", "open") == 0
    assert capsys.readouterr().out.startswith("network-policy default-domain:demo:open deleted in")


def test_rm_deletes_in_order(demo, capsys):
    assert demo("create", "virtual-machine", "vm") == 0
    capsys.readouterr()
    words = ("network-policy", "open", "virtual-machine", "vm")
    assert demo("rm", *words, "--wait", "control", "--timeout", "0.05") == 1
    said = capsys.readouterr()
    assert said.err.endswith("waiting for a control node (none is connected)\n")
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["network-policy", "default-domain:demo:open"],
        ["virtual-machine", "vm"],
    ]
    assert demo("ls", "virtual-machine", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_rm_of_what_is_referred_to_says_who_does(demo, capsys):
    assert demo("ln", "virtual-network", "red", "network-policy", "open") == 0
    capsys.readouterr()
    assert demo("rm", "network-policy", "open") == 2
    assert "still referred" in capsys.readouterr().err


def test_a_wait_that_times_out_says_who_lags(tmp_path, role, ok, capsys, run_in):
    answers = {
        ("GET", "/filament/kinds"): ok(
            {"virtual-machine": {"parents": [], "references": [], "columns": []}}
        ),
        ("POST", "/virtual-machines"): (
            202,
            {"X-Filament-Revision": "12", "X-Filament-Wait": "timeout; waiting for host2"},
            {"virtual-machine": {"fq_name": ["x"], "uuid": "u"}},
        ),
    }
    with role(tmp_path / "api.sock", answers) as server:
        command = run_in(tmp_path)
        code = command("create", "virtual-machine", "x", "--wait", "agents", "--timeout", "0.5")
    assert code == 1
    said = capsys.readouterr()
    assert said.out == "virtual-machine x created in revision 12\n"
    assert said.err == (
        "filament: revision 12 is committed, but after 0.5 s it is not applied by all agents; "
        "waiting for host2\n"
    )
    assert server.asked[-1][1] == "/virtual-machines?wait=agents&timeout_s=0.5"


def test_no_wait_asks_for_none(demo, capsys):
    assert demo("create", "virtual-machine", "x", "--wait", "sometimes") == 2
    assert "'sometimes' is not one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name", "identity"),
    [
        ("virtual-machine", "x", {"fq_name": ["x"]}),
        ("domain", "x", {"fq_name": ["x"]}),
        ("project", "x", {"fq_name": ["default-domain", "x"], "parent_type": "domain"}),
        ("project", "d:x", {"fq_name": ["d", "x"], "parent_type": "domain"}),
        (
            "virtual-machine-interface",
            "d:p:x",
            {"fq_name": ["d", "p", "x"], "parent_type": "project"},
        ),
        (
            "virtual-machine-interface",
            "vm:x",
            {"fq_name": ["vm", "x"], "parent_type": "virtual-machine"},
        ),
        (
            "virtual-router",
            "host1",
            {
                "fq_name": ["default-global-system-config", "host1"],
                "parent_type": "global-system-config",
            },
        ),
        ("route-target", "target:64512:1", {"fq_name": ["target:64512:1"]}),
    ],
)
def test_identities_are_completed_with_the_parent(kind, name, identity):
    kinds = {
        row.name: {"parents": row.parents, "references": [*row.references], "columns": row.columns}
        for row in KINDS.values()
    }
    assert identity_of(kinds, kind, name) == identity


@pytest.mark.parametrize("word", ["x", "=1", ".a=1", "a..b=1"])
def test_a_word_that_sets_nothing_is_refused(word):
    with pytest.raises(InputError, match="sets no property; write PROPERTY=VALUE"):
        properties_of(None, [word], None)


def test_members_need_an_owner_that_has_members():
    with pytest.raises(InputError, match=r"a holds 1, which has no member 'b'; set all of it"):
        properties_of(None, ["a=1", "a.b=2"], None)
    assert properties_of(None, ["a.b.c=2", "a.b.d=x"], None) == {"a": {"b": {"c": 2, "d": "x"}}}
    assert properties_of(None, ["a.b=2"], None, {"a": {"c": 1}, "z": 1}) == {"a": {"b": 2, "c": 1}}


def test_properties_come_from_stdin_too():
    assert properties_of(None, ["b=2"], io.StringIO('{"a": 1, "b": 1}')) == {"a": 1, "b": 2}


def test_subnets_are_from_the_start():
    (ref,) = subnet_refs(["10.1.1.0/24", "10.2.0.0/16"])
    assert ref["to"] == ["default-domain", "default-project", "default-network-ipam"]
    assert ref["attr"]["ipam_subnets"][1] == {
        "subnet": {"ip_prefix": "10.2.0.0", "ip_prefix_len": 16},
        "addr_from_start": True,
    }
