import json
import socket
from contextlib import ExitStack

import pytest
from tests.doctor.two_hosts import agent_json, ids_of, plan_hosts, rule


@pytest.fixture
def lab(tmp_path, role, ok, run_in):
    """Serve the agents of `hosts` in a run directory, and return its command line."""
    with ExitStack() as stack:

        def serve(hosts, *, dead=(), more=None):
            for name, facts in hosts.items():
                path = tmp_path / f"agent-{name}.sock"
                if name in dead:
                    with socket.socket(socket.AF_UNIX) as closed:
                        closed.bind(str(path))
                    continue
                answers = {
                    ("GET", f"/filament/{what}"): ok(value)
                    for what, value in agent_json(facts, ids_of(facts)).items()
                }
                stack.enter_context(role(path, answers | (more or {})))
            return run_in(tmp_path)

        yield serve


@pytest.fixture
def api_knows(tmp_path, role, ok):
    """An API with red-1, blue-2 and a workload of two ports, as the trace asks about them."""
    addresses = {"red-1": "10.1.1.3", "blue-2": "10.1.2.4"}
    machines = [*addresses, "two-ports", "no-address"]
    kinds = ("virtual-machine", "virtual-machine-interface", "virtual-network")
    of_machines = {"type": "virtual-machine", "display_name": ""}
    answers = {
        ("GET", "/filament/kinds"): ok(
            {kind: {"parents": [], "references": [], "columns": []} for kind in kinds}
        ),
        ("GET", "/filament/status"): ok({"revision": 9}),
        ("GET", "/virtual-routers"): ok(
            {
                "virtual-routers": [
                    {
                        "virtual-router": {
                            "fq_name": ["default-global-system-config", "host2"],
                            "virtual_router_ip_address": "172.30.0.2",
                        }
                    }
                ]
            }
        ),
        ("GET", "/filament/called"): lambda path, _: ok(
            {
                "objects": [
                    {"uuid": f"vm-{name}", "fq_name": [name]} | of_machines
                    for name in machines
                    if path == f"/filament/called?name={name}"
                ]
            }
        ),
        # A sample: more than those that are asked for by name are only compared with.
        ("GET", "/virtual-machines"): ok(
            {"virtual-machines": [{"uuid": "vm-red-1", "fq_name": ["red-1"]}]}
        ),
        ("GET", "/virtual-machine-interfaces"): ok({"virtual-machine-interfaces": []}),
    }
    for name in machines:
        ports = [f"uuid-{name}"] * (2 if name == "two-ports" else 1)
        refs = [{"uuid": port, "to": ["default-domain", "demo", name]} for port in ports]
        answers["GET", f"/virtual-machine/vm-{name}"] = ok(
            {"virtual-machine": {"virtual_machine_interface_back_refs": refs}}
        )
        back_refs = [{"uuid": f"ip-{name}"}] if name in addresses else []
        answers["GET", f"/virtual-machine-interface/uuid-{name}"] = ok(
            {"virtual-machine-interface": {"instance_ip_back_refs": back_refs}}
        )
        answers["GET", f"/instance-ip/ip-{name}"] = ok(
            {"instance-ip": {"instance_ip_address": addresses.get(name)}}
        )
    with role(tmp_path / "api.sock", answers):
        yield


def test_a_delivery_exits_0(lab, api_knows, capsys):
    command = lab(plan_hosts([rule("red", "blue")], leaks=True))
    assert command("trace", "red-1", "blue-2", "tcp", "443") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0] == "red-1 (10.1.1.3) sends a TCP SYN, port 49152 to 443, to blue-2 (10.1.2.4)"
    assert lines[-1] == "  => delivered to red-1 (tap11) on host1"


def test_a_drop_exits_3(lab, api_knows, capsys):
    assert lab(plan_hosts())("trace", "red-1", "blue-2") == 3
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  => dropped on host1: the VRF has no route to the destination (NO_ROUTE)",
        "     red and blue need a network-policy that joins them, attached to both",
    ]


def test_an_answer_that_is_dropped_exits_3_and_the_question_alone_0(lab, api_knows, capsys):
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    # blue-2's host has not heard of red's routes: the answer has nowhere to go.
    hosts["host2"] = plan_hosts(leaks=False)["host2"]
    command = lab(hosts)
    assert command("trace", "red-1", "blue-2", "udp", "53") == 3
    assert command("trace", "red-1", "blue-2", "udp", "53", "--no-reply") == 0
    assert "answers with" not in capsys.readouterr().out.split("=> dropped")[1]


def test_an_agent_that_is_away_exits_1_and_is_named(lab, api_knows, capsys):
    command = lab(plan_hosts([rule("red", "blue")], leaks=True), dead=["host2"])
    assert command("trace", "red-1", "blue-2") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "note: the agent of host2 does not answer: nobody listens there"
    assert lines[-1] == "  => followed as far as host2: its agent does not answer: nobody can tell"


def test_without_an_api_the_names_of_agents_do(lab, capsys):
    command = lab(plan_hosts())
    assert command("trace", "red-1", "red-2", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["delivered"] is True
    (note,) = value["notes"]
    assert "does not answer" in note
    assert note.endswith("; names are those that agents know")


@pytest.mark.parametrize(
    "name", ["red-1", "red-1-port", "default-domain:demo:red-1-port", "uuid-red-1"]
)
def test_agents_know_ports_by_all_their_names(lab, capsys, name):
    assert lab(plan_hosts())("trace", name, "10.1.1.1") == 0
    assert f"{name} (10.1.1.3) sends an ICMP echo request to 10.1.1.1" in capsys.readouterr().out


def test_addresses_need_no_names(lab, capsys):
    command = lab(plan_hosts())
    assert command("trace", "10.1.1.3", "10.1.1.1") == 0
    assert "10.1.1.3 sends an ICMP echo request to 10.1.1.1" in capsys.readouterr().out
    assert command("trace", "10.1.1.3", "10.1.1.77", "47") == 3
    assert "(UNASSIGNED)" in capsys.readouterr().out


def test_a_source_address_must_be_a_ports(lab, capsys):
    assert lab(plan_hosts())("trace", "10.1.1.77", "red-1") == 2
    assert capsys.readouterr().err == (
        "filament: no port on a host that answers has the address 10.1.1.77\n"
    )


def test_an_unknown_workload_names_the_nearest(lab, api_knows, capsys):
    command = lab(plan_hosts())
    assert command("trace", "red-l", "blue-2") == 2
    assert capsys.readouterr().err == (
        "filament: there is no workload 'red-l'; did you mean red-1?\n"
    )


def test_an_unknown_port_is_named_by_agents_too(lab, capsys):
    assert lab(plan_hosts())("trace", "red-1", "red-9") == 2
    assert capsys.readouterr().err == (
        "filament: no host that answers has a port 'red-9'; did you mean red-2 or red-1? "
        "(the API does not answer: agents know less)\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("two-ports", "has 2 ports; name one of them: default-domain:demo:two-ports, "),
        ("no-address", "has no address; create an instance-ip that refers to it"),
    ],
)
def test_a_workload_must_have_one_port_and_an_address(lab, api_knows, capsys, name, text):
    assert lab(plan_hosts())("trace", name, "blue-2") == 2
    assert f"filament: virtual-machine {name} {text}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tcp"], "to which port?; write SRC DST tcp|udp PORT, for example tcp 443"),
        (["icmp", "80"], "only tcp and udp have ports; leave the port out"),
        (["ping"], "'ping' is no IP protocol; write icmp, tcp, udp or a number 0-255"),
        (["tcp", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["tcp", "http"], "'http' is not a valid integer range"),
    ],
)
def test_protocols_and_ports_are_checked(lab, api_knows, capsys, words, text):
    assert lab(plan_hosts())("trace", "red-1", "blue-2", *words) == 2
    assert text in capsys.readouterr().err


def test_no_agents_at_all(tmp_path, run_in, capsys):
    assert run_in(tmp_path)("trace", "red-1", "red-2") == 2
    assert "no agent has a socket in" in capsys.readouterr().err


def test_rows_are_shown_when_asked(lab, capsys):
    assert lab(plan_hosts())("trace", "red-1", "red-2", "--rows") == 0
    assert "  interfaces[11]" in capsys.readouterr().out


def rehearse(same):
    """An agent whose kernel delivers nothing."""
    dropped = {"verdict": 2, "reason": "INVALID_LABEL", "next_hop": 0, "ifindex": 0, "frame": ""}
    return lambda target, body: (
        200,
        {},
        {"same_programs": same, "results": [dropped] * len(body["packets"])},
    )


def test_live_shows_what_the_kernel_says_beside_it(lab, api_knows, capsys):
    hosts = plan_hosts([rule("red", "blue")], leaks=True)
    command = lab(hosts, more={("POST", "/filament/rehearsals"): rehearse(same=False)})
    assert command("trace", "red-1", "blue-2", "tcp", "443", "--live") == 1
    said = capsys.readouterr()
    assert "host2  question  to blue-2 (tap22)" in said.out
    assert said.out.count("dropped: INVALID_LABEL") == 4
    assert said.out.count("<- differs: verdict") == 4
    assert "host1: the programs on its disk are not those that are attached" in said.err
    assert command("trace", "red-1", "blue-2", "tcp", "443", "--live", "--json") == 1
    live = json.loads(capsys.readouterr().out)["live"]
    assert [each["differences"] for each in live] == [["verdict"]] * 4


def test_a_kernel_that_cannot_be_asked_is_a_note(lab, api_knows, capsys):
    command = lab(plan_hosts([rule("red", "blue")], leaks=True))
    assert command("trace", "red-1", "blue-2", "tcp", "443", "--live") == 0
    said = capsys.readouterr()
    assert "host1: its kernel was not asked: nothing here" in said.err
