"""Real traffic between two hosts: what only a kernel with sockets and devices can show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from filament.base.net import format_ipv4, parse_ipv4

from .hosts import (
    TENANT_MTU,
    ComputeHost,
    Workload,
    announce,
    route_default,
    run_in,
    serving,
    two_hosts,
)

pytestmark = pytest.mark.bpf

RED_1 = Workload("red1", "eth0", "red", parse_ipv4("10.1.1.3"))
RED_2 = Workload("red2", "eth0", "red", parse_ipv4("10.1.1.4"))
RED_3 = Workload("red3", "eth0", "red", parse_ipv4("10.1.1.5"))
BLUE_1 = Workload("blue1", "eth0", "blue", parse_ipv4("10.1.2.3"))
LEFT = Workload("vnf", "left", "red", parse_ipv4("10.1.1.9"))
RIGHT = Workload("vnf", "right", "blue", parse_ipv4("10.1.2.9"))


@pytest.fixture(scope="module")
def hosts(bpffs: Path) -> Iterator[tuple[ComputeHost, ComputeHost]]:
    """red1, red3 and blue1 on h1; red2 and a router between red and blue on h2."""
    with two_hosts(bpffs) as (one, two):
        both = [one, two]
        for host, workload in ((one, RED_1), (two, RED_2), (one, RED_3), (one, BLUE_1)):
            port = host.plug(workload, is_veth=workload is not RED_3)
            route_default(workload.namespace, workload.device)
            announce(both, workload.vrf, format_ipv4(workload.address), host, port)
        left, right = two.plug(LEFT), two.plug(RIGHT)
        # Through the router: red's way to blue's workload and back.
        announce(both, "red", "10.1.2.3/32", two, left)
        announce(both, "blue", "10.1.1.3/32", two, right)
        run_in("vnf", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for scope in ("all", "left", "right"):
            run_in("vnf", "sysctl", "-qw", f"net.ipv4.conf.{scope}.rp_filter=0")
        route_default("vnf", "right")
        neighbour = ("169.254.0.1", "lladdr", "00:00:5e:00:01:00", "dev", "left")
        run_in("vnf", "ip", "neigh", "add", *neighbour, "nud", "permanent")
        run_in(
            "vnf",
            "ip",
            "route",
            "add",
            "10.1.1.3/32",
            "via",
            "169.254.0.1",
            "dev",
            "left",
            "onlink",
        )
        for host in both:
            host.apply()
        yield one, two


def ping(workload: Workload, address: int, *options: str) -> str:
    target = format_ipv4(address)
    return run_in(workload.namespace, "ping", "-n", "-i", "0.05", "-W", "1", *options, target)


def bulk_tcp(client: Workload, server: Workload) -> None:
    """Send 64 MB by TCP; a stalled connection fails."""
    command = ("iperf3", "-s", "-1", "--forceflush")
    with serving(server.namespace, *command):
        address = format_ipv4(server.address)
        said = run_in(client.namespace, "timeout", "20", "iperf3", "-c", address, "-n", "64M", "-J")
    assert json.loads(said)["end"]["sum_received"]["bytes"] > 50_000_000


def test_ping_crosses_hosts_and_loses_one_ttl(hosts) -> None:
    said = ping(RED_1, RED_2.address, "-c", "3")
    assert "3 received" in said
    assert "ttl=63" in said


def test_ping_on_the_same_host_by_either_delivery(hosts) -> None:
    assert "3 received" in ping(RED_1, RED_3.address, "-c", "3")
    assert "3 received" in ping(RED_3, RED_1.address, "-c", "3")


def test_packets_of_the_workloads_full_size_cross_unfragmented(hosts) -> None:
    full = str(TENANT_MTU - 28)
    assert "3 received" in ping(RED_1, RED_2.address, "-c", "3", "-M", "do", "-s", full)


def test_bigger_ones_are_fragmented_by_the_workload_and_cross(hosts) -> None:
    assert "3 received" in ping(RED_1, RED_2.address, "-c", "3", "-M", "dont", "-s", "4000")


def test_segmentation_offload_survives_the_tunnel(hosts) -> None:
    one, _ = hosts
    before = one.tunnelled()
    bulk_tcp(RED_1, RED_2)
    after = one.tunnelled()
    packets, sent = after[2] - before[2], after[3] - before[3]
    assert sent / packets > 5 * TENANT_MTU, "super-packets were cut before the tunnel"


def test_the_kernel_cuts_tunnelled_super_packets_to_the_right_size(hosts) -> None:
    """With tunnel offload off on the underlay every packet on the wire fits."""
    _, two = hosts
    flags = [
        word
        for name in ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
        for word in (name, "off")
    ]
    run_in("h1", "ethtool", "-K", "u0", *flags)
    try:
        before = two.tunnelled()
        bulk_tcp(RED_1, RED_2)
        after = two.tunnelled()
    finally:
        run_in("h1", "ethtool", "-K", "u0", *(word.replace("off", "on") for word in flags))
    packets, received = after[0] - before[0], after[1] - before[1]
    full_frame = 14 + 32 + TENANT_MTU
    assert 0.9 * full_frame < received / packets <= full_frame


def test_without_any_offload_in_the_workload(hosts) -> None:
    _, two = hosts
    flags = ("tso", "gso", "gro", "tx", "rx")
    for workload in (RED_1, RED_2):
        options = [word for name in flags for word in (name, "off")]
        run_in(workload.namespace, "ethtool", "-K", workload.device, *options)
    try:
        before = two.tunnelled()
        bulk_tcp(RED_1, RED_2)
        after = two.tunnelled()
    finally:
        for workload in (RED_1, RED_2):
            options = [word for name in flags for word in (name, "on")]
            run_in(workload.namespace, "ethtool", "-K", workload.device, *options)
    assert (after[1] - before[1]) / (after[0] - before[0]) <= 14 + 32 + TENANT_MTU


def test_a_router_in_a_container_forwards_what_came_by_tunnel(hosts) -> None:
    """Decapsulated packets stay marked as encapsulated; pushing must cope (-EALREADY)."""
    said = ping(RED_1, BLUE_1.address, "-c", "3")
    assert "3 received" in said
    # Three routers: two vRouters that send, and the container between them.
    assert "ttl=61" in said
    before = [host.drops() for host in hosts]
    bulk_tcp(RED_1, BLUE_1)
    assert [host.drops() for host in hosts] == before


def test_the_same_with_the_underlay_cutting(hosts) -> None:
    names = ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
    off = [word for name in names for word in (name, "off")]
    for host in hosts:
        run_in(host.name, "ethtool", "-K", "u0", *off)
    try:
        bulk_tcp(RED_1, BLUE_1)
    finally:
        for host in hosts:
            run_in(host.name, "ethtool", "-K", "u0", *(word.replace("off", "on") for word in off))


def test_an_unknown_neighbour_is_asked_for_and_no_packet_is_lost(hosts) -> None:
    run_in("h1", "ip", "neigh", "flush", "dev", "u0")
    assert "2 received" in ping(RED_1, RED_2.address, "-c", "2")


def test_a_workload_may_not_use_an_address_of_others(hosts) -> None:
    one, _ = hosts
    vif = one.ids.numbers("vif")["h1-1"]
    before = one.drops().get((vif, 4), (0,))[0]
    run_in("red1", "ip", "addr", "add", "10.9.9.9/32", "dev", "lo")
    with pytest.raises(AssertionError):
        ping(RED_1, RED_2.address, "-c", "1", "-I", "10.9.9.9")
    assert one.drops()[vif, 4][0] > before
