"""Fat flows as they are configured, at a port and at its network."""

import msgspec
import pytest

from filament.agent.config import ConfigReader
from filament.agent.graph import Graph
from filament.base.limits import MAX_FAT_FLOWS
from filament.forward.inputs import FatFlow

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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (fat("tcp", 80), FatFlow(6, 80)),
        (fat("UDP", 53, ignore_address="none"), FatFlow(17, 53)),
        (fat("sctp", 9), FatFlow(132, 9)),
        (fat("17", 0, ignore_address="source"), FatFlow(17, 0, ignores_local=True)),
        (fat("icmp", 0, ignore_address="destination"), FatFlow(1, 0, ignores_remote=True)),
        ({"protocol": "tcp"}, FatFlow(6, 0)),
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
            "aggregation by prefix is not there; ignore_address may do",
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
