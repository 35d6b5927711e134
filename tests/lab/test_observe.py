"""What a person sees of packets as they are judged: verdicts, drops and flows, with names."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from unittest.mock import ANY

import pytest

from filament.cli.main import run
from filament.dataplane.maps import PinnedMaps
from filament.forward.tables import Change
from filament.testing.lab.lab import agent_of

pytestmark = pytest.mark.lab

POLICY = "red-blue-tcp"
FILAMENT = (sys.executable, "-c", "from filament.cli.main import main; main()")


@pytest.fixture(scope="module")
def policed(lab):
    """Red and blue may speak TCP to port 443 and ICMP; a rule says no to port 80."""

    def rule(action, protocol, port=-1):
        def side(network):
            return [{"virtual_network": f"default-domain:demo:{network}"}]

        return {
            "direction": "<>",
            "protocol": protocol,
            "src_addresses": side("red"),
            "src_ports": [{"start_port": -1, "end_port": -1}],
            "dst_addresses": side("blue"),
            "dst_ports": [{"start_port": port, "end_port": port}],
            "action_list": {"simple_action": action},
        }

    lab.intent.client.create(
        "network-policy",
        ["default-domain", "demo", POLICY],
        parent_type="project",
        network_policy_entries={
            "policy_rule": [rule("deny", "tcp", 80), rule("pass", "tcp", 443), rule("pass", "icmp")]
        },
    )
    for network in ("red", "blue"):
        lab.intent.set_policies(network, [POLICY], wait="agents")
    return lab


@contextlib.contextmanager
def observing(lab, *options):
    """Run `filament observe` as people do; yields a function that returns its next JSON line."""
    argv = [*FILAMENT, "--run-dir", str(lab.directories.run), "observe"]
    with subprocess.Popen(
        [*argv, "--json", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(20, process.kill)
        timer.start()
        try:
            heard = {process.stderr.readline().strip() for _ in lab.plan.hosts}
            assert heard == {f"listening to {host.name}" for host in lab.plan.hosts}
            yield lambda: json.loads(process.stdout.readline())
        finally:
            timer.cancel()
            process.kill()


def connect(lab, source, address, port):
    """Try to open a TCP connection once, without waiting for it."""
    code = (
        "import socket;s=socket.socket();s.settimeout(0.2)\n"
        f"try:s.connect(({address!r},{port}))\n"
        "except OSError:pass"
    )
    lab.run(source, [sys.executable, "-c", code])


def test_a_drop_names_the_rule_that_denied_it(policed):
    with observing(policed, "--drop", "--from", "red-1", "--to", "blue-2") as following:
        connect(policed, "red-1", "10.1.2.4", 443)  # passes: not shown
        connect(policed, "red-1", "10.1.2.4", 80)
        record = following()
    assert (record["verdict"], record["reason"]) == ("dropped", "POLICY_FROM_PORT")
    assert (record["host"], record["outbound"]) == ("host1", True)
    assert (record["source"], record["source_workload"]) == ("10.1.1.3", "red-1")
    assert (record["destination"], record["destination_port"]) == ("10.1.2.4", 80)
    assert record["source_network"] == "default-domain:demo:red"
    assert record["destination_network"] == "default-domain:demo:blue"
    assert record["destination_interface"] == "default-domain:demo:blue-2-port"
    rule = record["rules"][-1]
    assert rule["object"] == f"network-policy default-domain:demo:{POLICY}"
    assert rule["rule"].startswith("policy-rule ")
    assert rule["position"] == 1
    assert record["tcp_flags"] == 2


def test_a_new_flow_is_seen_at_both_its_ports_and_once(policed):
    with observing(policed, "--from", "red-1", "--to", "blue-2", "--proto", "icmp") as following:
        policed.run("red-1", ["ping", "-nq", "-c5", "-i0.02", "10.1.2.4"])
        records = [following(), following()]
        policed.run("red-1", ["ping", "-nq", "-c1", "10.1.2.4"])  # another identifier
        records += [following(), following()]
    assert sorted((one["host"], one["outbound"], one["verdict"]) for one in records) == [
        ("host1", True, "forwarded"),
        ("host1", True, "forwarded"),
        ("host2", False, "forwarded"),
        ("host2", False, "forwarded"),
    ]
    assert len({one["source_port"] for one in records}) == 2
    assert {one["rules"][-1]["position"] for one in records} == {5}  # as directed: every rule twice


def test_lines_for_people_name_ends_and_rule(policed, capfd):
    arguments = ["--run-dir", str(policed.directories.run), "observe", "--drop", "--count", "1"]
    with subprocess.Popen(
        [*FILAMENT, *arguments, "--to", "10.1.2.0/24"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in policed.plan.hosts:
            process.stderr.readline()
        connect(policed, "red-1", "10.1.2.4", 80)
        line = process.communicate(timeout=10)[0]
    assert "host1 from red-1: red-1 10.1.1.3:" in line
    assert "-> blue-2-port 10.1.2.4:80 (blue) tcp SYN" in line or "-> blue-2 10.1.2.4:80" in line
    assert f"dropped POLICY_FROM_PORT: network-policy {POLICY}, policy-rule" in line


def show(lab, capsys, *arguments):
    capsys.readouterr()
    assert run(["--run-dir", str(lab.directories.run), "show", *arguments]) == 0
    return capsys.readouterr().out


def test_flows_are_found_by_their_ends_and_name_the_rule(policed, capsys):
    policed.run("red-1", ["ping", "-nq", "-c3", "-i0.02", "10.1.2.4"])
    connect(policed, "red-1", "10.1.2.4", 80)
    flows = json.loads(
        show(
            policed,
            capsys,
            "flows",
            "--from",
            "red-1",
            "--to",
            "blue-2",
            "--proto",
            "icmp",
            "--json",
        )
    )
    assert {flow["host"] for flow in flows} == {"host1", "host2"}
    for flow in flows:
        assert (flow["source"], flow["destination"]) == ("10.1.1.3", "10.1.2.4")
        assert (flow["in_packets"], flow["out_packets"]) in ((3, 3), (5, 5), (1, 1))
        assert flow["rules"][-1]["object"].endswith(POLICY)
    denied = json.loads(show(policed, capsys, "flows", "--denied", "--port", "80", "--json"))
    assert {(flow["host"], flow["destination_port"]) for flow in denied} == {("host1", 80)}
    assert show(policed, capsys, "flows", "--vrf", "blue", "--from", "blue-1") == "no such flow\n"
    assert f"network-policy {POLICY}" in show(policed, capsys, "flows", "--vrf", "red")


def test_drops_add_up_by_port_reason_and_vrf(policed, capsys):
    connect(policed, "red-1", "10.1.2.4", 80)
    for by, name in (("interface", "red-1-port"), ("vrf", "red"), ("reason", "POLICY_FROM_PORT")):
        assert name in show(policed, capsys, "drops", "--by", by)
    rows = {
        by: json.loads(show(policed, capsys, "drops", "--by", by, "--json"))
        for by in ("interface", "vrf", "reason")
    }
    assert len({sum(row["packets"] for row in found) for found in rows.values()}) == 1


def test_rates_of_drops_are_seen_while_they_last(policed):
    argv = [*FILAMENT, "--run-dir", str(policed.directories.run), "show", "drops", "--watch"]
    argv += ["--interval", "0.5", "--count", "1", "--by", "vrf", "--json"]
    pinging = policed.popen("red-1", ["ping", "-nq", "-i0.01", "192.0.2.9"])
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    finally:
        pinging.terminate()
        pinging.wait()
    (row,) = [row for row in json.loads(done.stdout)["drops"] if row["reason"] == "NO_ROUTE"]
    assert (row["host"], row["vrf"]) == ("host1", "default-domain:demo:red:red")
    assert 10 < row["per_s"] <= 110


def state_of(lab):
    """What packets leave behind in every host: drops, what ports and fabric counted, and flows."""
    names = [agent_of(host.name) for host in lab.plan.hosts]
    counted = [
        lab.ask(name, f"/filament/{path}") for name in names for path in ("drops", "counters")
    ]
    return counted, [flow for name in names for flow in lab.ask(name, "/filament/flows")["flows"]]


def trace_live(lab, capsys, *arguments):
    capsys.readouterr()
    code = run(["--run-dir", str(lab.directories.run), "trace", *arguments, "--live", "--json"])
    return code, json.loads(capsys.readouterr().out)["live"]


@pytest.mark.parametrize(
    ("arguments", "code", "hosts"),
    [
        (("red-1", "blue-2", "tcp", "443"), 0, ["host1", "host2", "host2", "host1"]),
        (("red-1", "blue-2", "tcp", "80"), 3, ["host1"]),
        (("red-1", "blue-1", "icmp"), 0, ["host1"] * 2),
        (("red-1", "10.1.1.1", "icmp"), 0, ["host1"]),
        (("red-1", "192.0.2.1", "udp", "53"), 3, ["host1"]),
    ],
)
def test_the_kernel_is_asked_and_agrees_and_nothing_is_left_behind(
    policed, capsys, arguments, code, hosts
):
    counted, flows = state_of(policed)
    assert trace_live(policed, capsys, *arguments) == (code, [ANY] * len(hosts))
    counted_after, flows_after = state_of(policed)
    assert counted_after == counted
    assert [flow for flow in flows_after if flow not in flows] == []  # some may have been swept out
    _, live = trace_live(policed, capsys, *arguments)
    assert [each["host"] for each in live] == hosts
    for each in live:
        assert (each["model"], each["differences"]) == (each["kernel"], [])


def test_a_kernel_that_says_something_else_is_shown(policed, capsys):
    pins = policed.directories.bpffs / "filament" / "host2" / "maps"
    with PinnedMaps(pins) as maps:
        labels = maps.read_all("labels")
        maps.write([Change("labels", key, None) for key in labels])
        try:
            code, live = trace_live(policed, capsys, "red-1", "blue-2", "tcp", "443")
        finally:
            maps.write([Change("labels", key, row) for key, row in labels.items()])
    assert code == 1
    assert [each["differences"] for each in live] == [[], ["verdict"], [], []]
    assert live[1]["kernel"] == "dropped: INVALID_LABEL"
    assert trace_live(policed, capsys, "red-1", "blue-2", "tcp", "443")[0] == 0


def logged(lab, wanted, timeout_s=40):
    """Sessions of the log that `wanted` admits, as soon as there are any."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        path = lab.directories.session_log
        lines = path.read_text().splitlines() if path.exists() else []
        found = [line for line in map(json.loads, lines) if wanted(line)]
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no such session among {len(lines)}")


def test_sessions_are_logged_by_both_hosts_in_one_file(policed):
    connect(policed, "red-1", "10.1.2.4", 443)  # refused by the workload: closed, soon idle
    ended = []
    for address in ("172.30.0.1", "172.30.0.2"):
        ended += logged(
            policed,
            lambda line, address=address: (
                line["vrouter_ip"] == address
                and line["service_port"] == 443
                and "teardown_time" in line["forward_flow_info"]
            ),
        )[-1:]
    client, server = ended
    assert (client["vmi"], client["vm"], client["is_client_session"]) == (
        "default-domain:demo:red-1-port",
        "red-1",
        1,
    )
    assert (client["vn"], client["remote_vn"]) == (
        "default-domain:demo:red",
        "default-domain:demo:blue",
    )
    assert (client["local_ip"], client["ip"]) == (server["ip"], server["local_ip"])
    assert client["port"] == server["port"]
    assert (client["other_vrouter_ip"], server["is_client_session"]) == ("172.30.0.2", 0)
    for one in ended:
        forward, reverse = one["forward_flow_info"], one["reverse_flow_info"]
        assert (forward["teardown_pkts"], reverse["teardown_pkts"]) == (1, 1)
        assert (forward["action"], one["protocol"]) == ("pass", 6)
        assert one["rules"][-1]["object"].endswith(POLICY)
    status = policed.ask(agent_of("host1"), "/filament/status")["sessions"]
    assert status["written"] >= 1
    assert (status["failed"], status["sampled_out"]) == (0, 0)


def test_flows_of_a_port_that_is_unplugged_are_logged_by_its_names(policed):
    network = policed.intent.find_network(["default-domain", "demo", "red"])
    policed.add_workload("guest", "host1", network)
    policed.wait_plugged()
    done = policed.run("guest", ["ping", "-nq", "-c2", "-i0.02", "10.1.2.4"])
    assert done.returncode == 0, done.stdout
    policed.remove_workload("guest")
    (line,) = logged(policed, lambda line: line["vm"] == "guest")
    assert line["vmi"] == "default-domain:demo:guest-port"
    assert (line["vn"], line["ip"]) == ("default-domain:demo:red", "10.1.2.4")
    forward, reverse = line["forward_flow_info"], line["reverse_flow_info"]
    assert (forward["teardown_pkts"], reverse["teardown_pkts"]) == (2, 2)
    assert line["rules"][-1]["object"].endswith(POLICY)


def test_rows_of_the_kernel_are_shown_as_they_are(policed, capsys):
    (tunnel,) = [
        hop
        for hop in json.loads(show(policed, capsys, "nexthop", "--host", "host1", "--json"))
        if hop["type"] == "tunnel"
    ]
    assert (tunnel["remote"], tunnel["encapsulation"]) == ("172.30.0.2", "MPLSoUDP")
    wanted = ("route", "10.1.2.4", "--vrf", "red", "--host", "host1", "--kernel", "--json")
    (route,) = [
        row for row in json.loads(show(policed, capsys, *wanted)) if row["prefix"].endswith("/32")
    ]
    assert (route["id"], route["network"]) == (tunnel["id"], "default-domain:demo:blue")
    labels = json.loads(show(policed, capsys, "label", str(route["label"]), "--json"))
    assert "default-domain:demo:blue-2-port" in {label["interface"] for label in labels}
    ports = json.loads(show(policed, capsys, "interface", "--kernel", "--json"))
    assert {port["address"] for port in ports} == {"10.1.1.3", "10.1.1.4", "10.1.2.3", "10.1.2.4"}
    assert all(port["rx_packets"] for port in ports if port["interface"].endswith("red-1-port"))
