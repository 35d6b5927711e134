"""Many connections of real packets in one entry of a port's flow table."""

import json
import subprocess
import sys

import pytest

from filament.cli.main import run
from filament.testing.lab.intent import DOMAIN, PROJECT, require_followed

pytestmark = pytest.mark.lab

SERVER = "blue-2"
PORT = 7777
CONNECTIONS = 30
SERVE = (
    "import socket\n"
    f"s = socket.create_server(('0.0.0.0', {PORT}))\n"
    "print('listening', flush=True)\n"
    "while True:\n"
    "    c, _ = s.accept()\n"
    "    c.sendall(c.recv(100))\n"
    "    c.close()\n"
)
CONNECT = (
    "import socket, sys\n"
    "for n in range(int(sys.argv[2])):\n"
    f"    with socket.create_connection((sys.argv[1], {PORT}), timeout=5) as c:\n"
    "        c.sendall(b'x' * 10)\n"
    "        assert c.recv(100) == b'x' * 10\n"
)


@pytest.fixture(scope="module")
def served(lab):
    """Red may speak to blue, where a server listens."""
    lab.intent.create_policy("red-blue", "red", "blue")
    for network in ("red", "blue"):
        lab.intent.set_policies(network, ["red-blue"], wait="agents")
    with lab.popen(SERVER, [sys.executable, "-c", SERVE], stdout=subprocess.PIPE) as server:
        assert server.stdout.readline().strip() == "listening"
        yield lab
        server.terminate()


def aggregate(lab, **fat):
    """Make the server's port count connections together, or (nothing given) apart."""
    protocols = [{"protocol": "tcp", "port": PORT, **fat}] if fat else []
    uuid = lab.plan.workload(SERVER).interface_uuid
    require_followed(
        lab.intent.client.update(
            "virtual-machine-interface",
            uuid,
            wait="agents",
            virtual_machine_interface_fat_flow_protocols={"fat_flow_protocol": protocols},
        )
    )


def set_rules(lab, policy, rules):
    entries = {"policy_rule": rules}
    require_followed(
        lab.intent.client.update(
            "network-policy", policy, wait="agents", network_policy_entries=entries
        )
    )


def connect(lab, source):
    done = lab.run(source, [sys.executable, "-c", CONNECT, "10.1.2.4", str(CONNECTIONS)])
    assert done.returncode == 0, done.stderr


def flows_at_server(lab, capsys):
    """The entries of the server's port, and what `show flows` prints of them."""
    asked = ["--run-dir", str(lab.directories.run), "show", "flows", "--port", str(PORT)]
    capsys.readouterr()
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert run(asked) == 0
    here = [flow for flow in found if flow["host"] == "host2" and "blue-2" in flow["interface"]]
    return here, capsys.readouterr().out


def test_connections_of_a_fat_flow_are_one_entry(served, capsys):
    connect(served, "red-1")
    apart, _ = flows_at_server(served, capsys)
    assert len(apart) == CONNECTIONS
    assert {tuple(flow["fat"]) for flow in apart} == {()}

    aggregate(served, ignore_address="none")
    connect(served, "red-1")
    connect(served, "red-2")
    found, text = flows_at_server(served, capsys)
    together = [flow for flow in found if flow["fat"]]
    assert {(flow["source"], flow["source_port"]) for flow in together} == {
        ("10.1.1.3", 0),
        ("10.1.1.4", 0),
    }
    assert len(together) == 2
    for flow in together:
        assert flow["fat"] == ["ports"]
        assert flow["destination_port"] == PORT
        # Three packets at least of each connection, in each direction.
        assert flow["in_packets"] >= 3 * CONNECTIONS
        assert flow["out_packets"] >= 3 * CONNECTIONS
        assert flow["rules"][-1]["object"].endswith("red-blue")
    assert "tcp fat (ports)" in text

    aggregate(served, ignore_address="destination")
    connect(served, "red-1")
    connect(served, "red-2")
    found, _ = flows_at_server(served, capsys)
    (one,) = [flow for flow in found if "remote" in flow["fat"]]
    assert one["in_packets"] >= 2 * 3 * CONNECTIONS
    assert one["source_network"] == "default-domain:demo:red"
    assert one["rules"][-1]["object"].endswith("red-blue")


def test_addresses_of_a_prefix_are_one_entry_as_far_as_no_rule_tells_them_apart(served, capsys):
    grouped = {
        "destination_prefix": {"ip_prefix": "10.1.1.0", "ip_prefix_len": 24},
        "destination_aggregate_prefix_length": 24,
    }
    aggregate(served, **grouped)
    connect(served, "red-1")
    connect(served, "red-2")
    found, text = flows_at_server(served, capsys)
    (one,) = [flow for flow in found if "remote/24" in flow["fat"]]
    assert (one["source"], one["source_network"]) == ("10.1.1.0", "default-domain:demo:red")
    assert one["in_packets"] >= 2 * 3 * CONNECTIONS
    assert "tcp fat (ports, remote/24)" in text

    # A rule about one of them: it is told apart, whoever comes first, and the other goes on.
    policy = served.intent.client.uuid_of("network-policy", [DOMAIN, PROJECT, "red-blue"])
    entries = served.intent.client.get("network-policy", policy)["network_policy_entries"]
    (passing,) = entries["policy_rule"]
    denying = passing | {
        "src_addresses": [{"subnet": {"ip_prefix": "10.1.1.4", "ip_prefix_len": 32}}],
        "action_list": {"simple_action": "deny"},
        "rule_uuid": None,
    }
    set_rules(served, policy, [denying, passing])
    connect(served, "red-1")
    refused = [sys.executable, "-c", CONNECT.replace("timeout=5", "timeout=0.5"), "10.1.2.4", "1"]
    assert served.run("red-2", refused).returncode != 0
    connect(served, "red-1")
    found, _ = flows_at_server(served, capsys)
    apart = {flow["source"]: flow["denied"] for flow in found if flow["fat"] == ["ports"]}
    assert apart["10.1.1.3"] is False
    capsys.readouterr()
    assert run(["--run-dir", str(served.directories.run), "verify"]) == 0, capsys.readouterr().out
    set_rules(served, policy, [passing])
    connect(served, "red-2")


def test_what_a_changed_policy_denies_stops_in_a_fat_flow_too(served):
    aggregate(served, ignore_address="destination")
    connect(served, "red-1")
    served.intent.set_policies("blue", [], wait="agents")
    done = served.run(
        "red-1",
        [sys.executable, "-c", CONNECT.replace("timeout=5", "timeout=0.5"), "10.1.2.4", "1"],
    )
    assert done.returncode != 0
    served.intent.set_policies("blue", ["red-blue"], wait="agents")
    connect(served, "red-1")
