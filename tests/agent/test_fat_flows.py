"""Fat flows as they are configured, at a port and at its network."""

import msgspec
import pytest

from filament.agent.config import ConfigReader
from filament.agent.graph import Graph
from filament.base.limits import MAX_FAT_FLOWS
from filament.base.net import Prefix
from filament.forward.inputs import FatFlow, Grouping

AT_PORT = "virtual_machine_interface_fat_flow_protocols"
AT_NETWORK = "virtual_network_fat_flow_protocols"


def read(script, *, port=(), network=()):
    sent = script.network()
    props = {AT_NETWORK: {"fat_flow_protocol": list(network)}}
    nodes = tuple(
        msgspec.structs.replace(node, props={**node.props, **props})
        if node.kind == "virtual-network"
        else node
        for node in sent.nodes
    )
    graph = Graph()
    graph.receive(msgspec.structs.replace(sent, nodes=nodes))
    graph.receive(script.port(**{AT_PORT: {"fat_flow_protocol": list(port)}}))
    found = ConfigReader().read(graph)
    return found.ports[script.uuid(3)].fat_flows, [one.text for one in found.problems]


def fat(protocol, port=0, **more):
    return {"protocol": protocol, "port": port, **more}


def source(prefix, length, kept):
    return grouping("source", prefix, length, kept)


def destination(prefix, length, kept):
    return grouping("destination", prefix, length, kept)


def grouping(side, prefix, length, kept):
    return {
        f"{side}_prefix": {"ip_prefix": prefix, "ip_prefix_len": length},
        f"{side}_aggregate_prefix_length": kept,
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (fat("tcp", 80), FatFlow(6, 80)),
        (fat("UDP", 53, ignore_address="none"), FatFlow(17, 53)),
        (fat("sctp", 9), FatFlow(132, 9)),
        (fat("17", 0, ignore_address="source"), FatFlow(17, 0, ignores_local=True)),
        (fat("icmp", 0, ignore_address="destination"), FatFlow(1, 0, ignores_remote=True)),
        ({"protocol": "tcp"}, FatFlow(6, 0)),
        (fat("icmp", 8), FatFlow(1, 0)),
        (
            fat("udp", 53, **source("10.0.0.0", 8, 28)),
            FatFlow(17, 53, local=Grouping(Prefix.parse("10.0.0.0/8"), 28)),
        ),
        (
            fat("udp", 53, ignore_address="source", **source("10.0.0.0", 8, 28)),
            FatFlow(17, 53, ignores_local=True),
        ),
        (
            fat("tcp", **source("10.1.2.3", 8, 28), **destination("20.0.0.0", 8, 32)),
            FatFlow(
                6,
                0,
                local=Grouping(Prefix.parse("10.0.0.0/8"), 28),
                remote=Grouping(Prefix.parse("20.0.0.0/8"), 32),
            ),
        ),
        (
            fat("icmp", ignore_address="source", **destination("2001:db8::", 32, 56)),
            FatFlow(58, 0, True, remote=Grouping(Prefix.parse("2001:db8::/32"), 56)),
        ),
        # A prefix without an address is none (TF's clients send it so).
        (fat("tcp", 80, source_prefix={"ip_prefix": "", "ip_prefix_len": 0}), FatFlow(6, 80)),
    ],
)
def test_protocol_port_and_address_are_read(script, given, meant):
    assert read(script, port=[given]) == ((meant,), [])


def test_a_ports_own_fat_flow_comes_before_its_networks(script):
    found, problems = read(
        script,
        port=[fat("tcp", 80, ignore_address="destination")],
        network=[fat("tcp", 80), fat("udp", 53)],
    )
    assert found == (FatFlow(6, 80, ignores_remote=True), FatFlow(17, 53))
    assert problems == []


def test_fat_flows_of_other_prefixes_are_others(script):
    given = [fat("tcp", 80), *(fat("tcp", 80, **source("10.0.0.0", 8, kept)) for kept in (16, 24))]
    found, problems = read(script, port=given)
    assert found == (FatFlow(6, 80), FatFlow(6, 80, local=Grouping(Prefix.parse("10.0.0.0/8"), 16)))
    assert problems == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            fat("teecp", 80),
            "protocol 'teecp' is unknown; write tcp, udp, sctp, icmp, icmp6 or a number 1-255",
        ),
        (fat("tcp", 65536), "its port is 65536; write 0-65535"),
        (
            fat("tcp", 80, ignore_address="both"),
            "ignore_address is 'both'; write none, source, destination",
        ),
        (
            fat("tcp", 80, source_prefix={"ip_prefix": "10.0.0.0", "ip_prefix_len": 8}),
            "source_aggregate_prefix_length is missing; write 8-32 for 10.0.0.0/8",
        ),
        (
            fat("tcp", 80, **destination("10.0.0.0", 24, 16)),
            "destination_aggregate_prefix_length is 16; write 24-32 for 10.0.0.0/24",
        ),
        (
            fat("tcp", 80, **source("10.0.0.0", 24, 33)),
            "source_aggregate_prefix_length is 33; write 24-32 for 10.0.0.0/24",
        ),
        (
            fat("tcp", 80, **source("10.0.0.0", 7, 16)),
            "source_prefix is 10.0.0.0/7; write /8 to /32",
        ),
        (
            fat("tcp", 80, **destination("2001:db8::", 32, 65)),
            "destination_aggregate_prefix_length is 65; write 32-64 for 2001:db8::/32",
        ),
        (
            fat("tcp", 80, **destination("2001:db8::", 65, 65)),
            "destination_prefix is 2001:db8::/65; write /8 to /64",
        ),
        (
            fat("tcp", 80, **source("10.0.0.0", 8, 16), **destination("2001:db8::", 32, 48)),
            "its prefixes are of IPv4 and of IPv6",
        ),
        (
            fat("tcp", 80, **source("10.0.0", 8, 16)),
            "'10.0.0' is not an IP address; write it like 10.1.1.3 or 2001:db8::3",
        ),
    ],
)
def test_what_cannot_be_used_is_said_and_costs_no_other(script, given, problem):
    found, problems = read(script, port=[given, fat("udp", 53)])
    assert found == (FatFlow(17, 53),)
    start = f"fat flow of protocol {given['protocol']}, port {given['port']}: "
    assert problems == [f"{start}{problem}; its flows stay apart"]


def test_only_so_many_fat_flows_are_possible(script):
    found, problems = read(script, port=[fat("tcp", port) for port in range(1, MAX_FAT_FLOWS + 2)])
    assert len(found) == MAX_FAT_FLOWS
    (problem,) = problems
    assert problem == (
        f"fat flow of protocol tcp, port {MAX_FAT_FLOWS + 1}: only {MAX_FAT_FLOWS} fat flows are"
        " possible; its flows stay apart"
    )
