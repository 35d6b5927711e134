"""Packets of the README's lab: who reaches whom, how, and what is counted when not."""

import json
import re
import struct
import subprocess
import time

import pytest

from filament.base.net import format_ipv4
from filament.testing.lab import reach
from filament.testing.lab.lab import agent_of

pytestmark = pytest.mark.lab

ADDRESSES = {
    "red-1": "10.1.1.3",
    "red-2": "10.1.1.4",
    "blue-1": "10.1.2.3",
    "blue-2": "10.1.2.4",
}
GATEWAY_MAC = "00:00:5e:00:01:00"


def ping(lab, source, target, *options):
    """Return (sent, received) of a ping; `target` is a workload or an address."""
    argv = ["ping", "-nq", "-c3", "-i0.02", "-W0.5", *options, ADDRESSES.get(target, target)]
    text = lab.run(source, argv).stdout
    found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    return int(found[1]), int(found[2])


@pytest.fixture(scope="module")
def red_3(lab):
    """A third red workload, on the host of red-1."""
    workload = lab.add_workload(
        "red-3", "host1", lab.intent.find_network(["default-domain", "demo", "red"])
    )
    lab.wait_plugged()
    yield workload
    lab.remove_workload("red-3")
    lab.settle()


def test_addresses_are_the_readmes(lab):
    found = {workload.name: format_ipv4(workload.address) for workload in lab.plan.workloads}
    assert {name: found[name] for name in ADDRESSES} == ADDRESSES


def test_networks_reach_themselves_and_no_other(lab):
    assert reach.measure(lab) == reach.expected(lab.plan)


def test_ping_across_hosts_loses_nothing(lab):
    assert ping(lab, "red-1", "red-2", "-c50") == (50, 50)
    assert ping(lab, "blue-2", "blue-1", "-c50") == (50, 50)


def test_ping_on_the_same_host(lab, red_3):
    assert ping(lab, "red-1", format_ipv4(red_3.address), "-c20") == (20, 20)
    assert ping(lab, "red-2", format_ipv4(red_3.address), "-c20") == (20, 20)


def test_a_tenants_full_frame_crosses_whole(lab):
    assert ping(lab, "red-1", "red-2", "-Mdo", "-s1472") == (3, 3)


def iperf(lab, source, target, address, *options):
    """Run one second of TCP and return iperf3's report."""
    server = lab.popen(target, ["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE)
    try:
        while "listening" not in server.stdout.readline():
            assert server.poll() is None
        argv = ["iperf3", "-J", "-t1", "-c", address, *options]
        report = json.loads(lab.run(source, argv).stdout)
        assert "error" not in report, report["error"]
        return report["end"]
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("options", [[], ["-R"]], ids=["forth", "back"])
def test_tcp_across_hosts(lab, options):
    end = iperf(lab, "red-1", "red-2", ADDRESSES["red-2"], *options)
    assert end["sum_received"]["bits_per_second"] > 100e6


def test_tcp_on_the_same_host(lab, red_3):
    end = iperf(lab, "red-1", "red-3", format_ipv4(red_3.address))
    assert end["sum_received"]["bits_per_second"] > 100e6


def test_the_underlay_carries_mpls_over_udp(lab, tmp_path):
    capture = tmp_path / "underlay.pcap"
    tcpdump = lab.popen(
        "host1",
        ["tcpdump", "-ni", "eth0", "-U", "-c2", "-w", str(capture), "udp", "port", "6635"],
        stderr=subprocess.PIPE,
    )
    while "listening on" not in tcpdump.stderr.readline():
        assert tcpdump.poll() is None
    assert ping(lab, "red-1", "red-2", "-c1") == (1, 1)
    assert tcpdump.wait(timeout=5) == 0
    tcpdump.stderr.close()
    request, reply = packets_of(capture.read_bytes())
    assert outer_of(request) == ("172.30.0.1", "172.30.0.2", "10.1.1.3", "10.1.1.4")
    assert outer_of(reply) == ("172.30.0.2", "172.30.0.1", "10.1.1.4", "10.1.1.3")


def packets_of(pcap):
    """Split a capture file into frames."""
    frames, offset = [], 24
    while offset < len(pcap):
        length = struct.unpack_from("<8xI4x", pcap, offset)[0]
        frames.append(pcap[offset + 16 : offset + 16 + length])
        offset += 16 + length
    return frames


def outer_of(frame):
    """Check a frame's MPLS-over-UDP headers (RFC 7510) and return outer and inner addresses."""
    outer = frame[14:34]
    source_port, port, length, checksum = struct.unpack_from("!4H", frame, 34)
    label = struct.unpack_from("!I", frame, 42)[0]
    inner = frame[46:66]
    assert outer[0] == 0x45
    assert outer[9] == 17
    assert outer[6] & 0x40  # do not fragment
    assert source_port >= 49152
    assert (port, checksum) == (6635, 0)
    assert length == len(frame) - 34
    assert label & 0x100  # bottom of the stack: nothing but the packet follows
    assert label >> 12 >= 16  # below are reserved labels (RFC 3032)
    assert inner[0] == 0x45
    assert inner[8] == label & 0xFF == 63  # one hop, uniform with the label's TTL

    def dotted(octets):
        return ".".join(map(str, octets))

    return dotted(outer[12:16]), dotted(outer[16:20]), dotted(inner[12:16]), dotted(inner[16:20])


@pytest.mark.parametrize(
    ("workload", "gateway"),
    [("red-1", "10.1.1.1"), ("red-2", "10.1.1.1"), ("blue-1", "10.1.2.1"), ("blue-2", "10.1.2.1")],
)
def test_the_gateway_is_the_same_on_every_host(lab, workload, gateway):
    lab.run(workload, ["ip", "neigh", "flush", "dev", "eth0"])
    assert ping(lab, workload, gateway) == (3, 3)
    neighbour = lab.run(workload, ["ip", "neigh", "show", gateway]).stdout
    assert GATEWAY_MAC in neighbour


def drops(lab, host):
    """Return packets by (interface, reason) of a host."""
    return {
        (row["interface"], row["reason"]): row["packets"]
        for row in lab.ask(agent_of(host), "/filament/drops")["drops"]
        if row["packets"]
    }


def test_what_no_policy_allows_is_dropped_and_counted(lab):
    before = {host: drops(lab, host) for host in ("host1", "host2")}
    assert ping(lab, "red-1", "blue-2", "-c7") == (7, 0)
    assert ping(lab, "red-1", "blue-1", "-c5") == (5, 0)
    after = {host: drops(lab, host) for host in ("host1", "host2")}
    new = {
        (host, *key): count - before[host].get(key, 0)
        for host in after
        for key, count in after[host].items()
        if count != before[host].get(key, 0)
    }
    assert sum(new.values()) == 12, new
    assert {host for host, _, _ in new} == {"host1"}, new


@pytest.fixture
def policy(lab):
    """A policy red <-> blue, any protocol, pass; not attached, and detached afterwards."""
    uuid = lab.intent.create_policy("red-blue", "red", "blue")
    yield "red-blue"
    for network in ("red", "blue"):
        lab.intent.set_policies(network, [], wait="agents")
    lab.intent.client.delete("network-policy", uuid)


class RunningPing:
    """A ping every 10 ms whose replies are timed."""

    def __init__(self, lab, source, address):
        argv = ["ping", "-nDO", "-i0.01", "-W0.1", address]
        self._ping = lab.popen(source, argv, stdout=subprocess.PIPE)

    def stop(self):
        self._ping.terminate()
        text, _ = self._ping.communicate(timeout=5)
        return [float(at) for at in re.findall(r"^\[([\d.]+)\] \d+ bytes from", text, re.MULTILINE)]


def test_attaching_a_policy_passes_within_a_second_and_detaching_stops_a_running_ping(lab, policy):
    pinging = RunningPing(lab, "red-1", ADDRESSES["blue-2"])
    time.sleep(0.2)
    attached = time.time()
    lab.intent.set_policies("red", [policy])
    lab.intent.set_policies("blue", [policy])
    time.sleep(1.5)
    detached = time.time()
    lab.intent.set_policies("red", [])
    lab.intent.set_policies("blue", [])
    time.sleep(1.5)
    replies = pinging.stop()
    assert replies, "never passed"
    assert attached < replies[0] < attached + 1
    assert detached - 0.1 < replies[-1] < detached + 1


def test_barrier_says_when_a_policy_holds_everywhere(lab, policy):
    for _ in range(3):
        lab.intent.set_policies("red", [policy])
        lab.intent.set_policies("blue", [policy], wait="agents")
        assert ping(lab, "red-1", "blue-2") == (3, 3)
        assert ping(lab, "blue-1", "red-2") == (3, 3)
        assert ping(lab, "red-1", "blue-1") == (3, 3)
        lab.intent.set_policies("red", [])
        lab.intent.set_policies("blue", [], wait="agents")
        assert ping(lab, "red-1", "blue-2") == (3, 0)
        assert ping(lab, "blue-1", "red-2") == (3, 0)
        assert ping(lab, "red-1", "blue-1") == (3, 0)


def test_tcp_between_networks_under_policy(lab, policy):
    lab.intent.set_policies("red", [policy])
    lab.intent.set_policies("blue", [policy], wait="agents")
    end = iperf(lab, "red-1", "blue-2", ADDRESSES["blue-2"])
    assert end["sum_received"]["bits_per_second"] > 100e6


def test_a_removed_workload_is_gone_everywhere(lab):
    network = lab.intent.find_network(["default-domain", "demo", "red"])
    workload = lab.add_workload("red-9", "host2", network)
    lab.wait_plugged()
    address = format_ipv4(workload.address)
    assert ping(lab, "red-1", address) == (3, 3)
    lab.remove_workload("red-9")
    lab.settle()
    assert ping(lab, "red-1", address) == (3, 0)
    interfaces = lab.ask("agent-host2", "/filament/interfaces")["interfaces"]
    assert workload.interface_uuid not in {port["uuid"] for port in interfaces}
    again = lab.add_workload("red-9", "host1", network)
    lab.wait_plugged()
    assert again.address == workload.address
    assert ping(lab, "red-2", address) == (3, 3)
    lab.remove_workload("red-9")


def spoofed(lab):
    """How many of red-1's packets were dropped for their source address."""
    return sum(
        count for (_, reason), count in drops(lab, "host1").items() if reason == "SOURCE_SPOOFED"
    )


def test_pretending_to_be_somebody_else_is_dropped_and_counted(lab):
    assert ping(lab, "red-1", "red-2") == (3, 3)  # the neighbour is known
    before = spoofed(lab)
    lab.run("red-1", ["ip", "address", "add", "10.1.1.99/32", "dev", "eth0"])
    try:
        assert ping(lab, "red-1", "red-2", "-I10.1.1.99") == (3, 0)
    finally:
        lab.run("red-1", ["ip", "address", "del", "10.1.1.99/32", "dev", "eth0"])
    assert spoofed(lab) >= before + 3  # packets, and ARP from that address


def client_rule(protocol, action):
    return {
        "match_condition": {
            "protocol": protocol,
            "src_address": {"virtual_network": "any"},
            "src_port": {"start_port": 0, "end_port": 65535},
            "dst_address": {"virtual_network": "any"},
            "dst_port": {"start_port": 0, "end_port": 65535},
        },
        "action_list": {"simple_action": action},
        "direction": "<>",
    }


def test_an_access_list_that_a_client_made_is_enforced_before_those_of_policies(lab, policy):
    client = lab.intent.client
    lab.intent.set_policies("red", [policy])
    lab.intent.set_policies("blue", [policy], wait="agents")
    assert ping(lab, "red-1", "blue-2") == (3, 3)
    rules = [client_rule("1", "deny"), client_rule("any", "pass")]
    made = [
        client.create(
            "access-control-list",
            ["default-domain", "demo", network, "no-ping"],
            parent_type="virtual-network",
            access_control_list_entries={"acl_rule": rules},
        )
        for network in ("red", "blue")
    ]
    lab.settle()
    for source, target in (("red-1", "red-2"), ("red-1", "blue-2"), ("blue-1", "blue-2")):
        assert ping(lab, source, target) == (3, 0)
    end = iperf(lab, "red-1", "blue-2", ADDRESSES["blue-2"])
    assert end["sum_received"]["bits_per_second"] > 100e6
    entries = {"acl_rule": [client_rule("6", "deny")]}
    client.update("access-control-list", made[0], access_control_list_entries=entries)
    client.delete("access-control-list", made[1])
    lab.settle()
    assert ping(lab, "red-1", "blue-2") == (3, 3)  # left to what the policy says
    with pytest.raises(AssertionError):
        iperf(lab, "red-1", "blue-2", ADDRESSES["blue-2"], "--connect-timeout", "300")
    client.delete("access-control-list", made[0])
    lab.settle()
    assert ping(lab, "red-1", "red-2") == (3, 3)
