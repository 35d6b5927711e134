"""IPv6 and VXLAN between two hosts with real stacks: neighbours, TCP and its offloads, tunnels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from filament.base.net import Prefix, format_ipv6, parse_ipv4, parse_ipv6
from filament.forward.inputs import Port, Route, Subnet, Vrf
from filament.forward.layout import DropReason

from .hosts import ComputeHost, Workload, run_in, serving, two_hosts
from .kernel import run

pytestmark = pytest.mark.bpf

SUBNET = Prefix.parse("2001:db8:1::/64")
GATEWAY = parse_ipv6("2001:db8:1::1")
LINK_LOCAL_GATEWAY = "fe80::5e00:100"
VNI = 1000
RED_1, RED_2 = parse_ipv6("2001:db8:1::3"), parse_ipv6("2001:db8:1::4")
BLUE_2 = parse_ipv6("2001:db8:2::4")


def connect(host: ComputeHost, namespace: str, vrf: str, address4: str, address6: int) -> Port:
    """Plug a workload of both versions; its device has its address at once, without detection."""
    port = host.plug(Workload(namespace, "eth0", vrf, parse_ipv4(address4)))
    run_in(namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
    run_in(namespace, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
    run_in(namespace, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    run_in(namespace, "ip", "addr", "add", f"{format_ipv6(address6)}/64", "dev", "eth0", "nodad")
    way = ("default", "via", LINK_LOCAL_GATEWAY, "dev", "eth0")
    run_in(namespace, "ip", "-6", "route", "add", *way)
    host.ports[-1] = msgspec.structs.replace(port, addresses6=(address6,))
    return host.ports[-1]


@pytest.fixture(scope="module", params=["udp", "vxlan"])
def hosts(bpffs: Path, request) -> Iterator[tuple[ComputeHost, ComputeHost]]:
    """red1 on h1; red2 and blue2 on h2. A policy leaks the networks' routes into each other."""
    place = bpffs / request.param
    place.mkdir()
    with two_hosts(place) as (one, two):
        subnet = Subnet("red", "red", SUBNET, GATEWAY)
        ports = {
            RED_1: (one, connect(one, "red1", "red", "10.1.1.3", RED_1)),
            RED_2: (two, connect(two, "red2", "red", "10.1.1.4", RED_2)),
            BLUE_2: (two, connect(two, "blue2", "blue", "10.1.2.4", BLUE_2)),
        }
        is_vxlan = request.param == "vxlan"
        for address, (at, port) in ports.items():
            for host in (one, two):
                for vrf in ("red", "blue"):
                    vni = VNI + (port.vrf == "blue")
                    label = vni if is_vxlan else at.label(port)
                    prefix = Prefix.host(address, 6)
                    route = Route(vrf, prefix, at.address, label, port.network)
                    if host is not at or port.vrf != vrf:
                        route = msgspec.structs.replace(route, encapsulation=request.param)
                        host.routes.append(route)
        for host in (one, two):
            host.subnets = (subnet,)
            host.vrfs = (Vrf("red", "red", VNI), Vrf("blue", "blue", VNI + 1))
            host.apply()
        yield one, two
    for namespace in Path("/run/netns").iterdir():
        run("ip", "netns", "del", namespace.name)


def ping(namespace: str, address: str) -> str:
    return run_in(namespace, "ping", "-6", "-c", "3", "-i", "0.01", "-W", "2", address)


def test_the_gateway_is_found_by_both_its_addresses(hosts) -> None:
    assert "3 received" in ping("red1", format_ipv6(GATEWAY))
    assert "3 received" in ping("red1", f"{LINK_LOCAL_GATEWAY}%eth0")
    found = run_in("red1", "ip", "-6", "neigh", "show", "dev", "eth0")
    assert f"{LINK_LOCAL_GATEWAY} lladdr 00:00:5e:00:01:00 router" in found


@pytest.mark.parametrize("destination", [RED_2, BLUE_2])
def test_workloads_reach_each_other(hosts, destination: int) -> None:
    said = ping("red1", format_ipv6(destination))
    assert "3 received" in said
    # One hop: the sending host's router.
    assert "ttl=63" in said


@pytest.mark.parametrize("is_segmented", [False, True])
def test_tcp_keeps_its_segments_big(hosts, is_segmented: bool) -> None:
    _, two = hosts
    state = "off" if is_segmented else "on"
    for name in ("h1", "h2"):
        for feature in ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"):
            run_in(name, "ethtool", "-K", "u0", feature, state)
    before, dropped = two.tunnelled(), two.drops()
    with serving("red2", "iperf3", "-s", "-1", "--forceflush"):
        run_in("red1", "iperf3", "-6", "-c", format_ipv6(RED_2), "-n", "64M", "-M", "1300")
    after = two.tunnelled()
    packets, size = after[0] - before[0], after[1] - before[1]
    # The last window may still be on its way when the client counts its bytes as sent.
    assert size > 60_000_000
    assert size / packets < 1500 if is_segmented else size / packets > 5000
    lost = {DropReason(key[1]) for key, count in two.drops().items() if count != dropped.get(key)}
    # The stacks' own chatter: multicast, and whether somebody else has a link-local address.
    assert lost <= {DropReason.NOT_UNICAST, DropReason.ARP_UNANSWERED}
