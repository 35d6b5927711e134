"""With any policy set, no packet crosses VRFs without an allowing rule at both ends.

A host with a port of each network, planned straight from the compiled configuration: routes by
route targets, lists of rules as they are rendered. Whatever Hypothesis attaches, a packet that
comes out in another network than it went in was let through by a rule that passes, in policies of
both.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.universe import Universe, address, rule

from filament.agent.filters import read_filter
from filament.base.net import ROUTER_MAC, Prefix, parse_ipv4
from filament.compiler.compile import compile_plan
from filament.compiler.render import Rendered
from filament.forward.ids import Ids
from filament.forward.inputs import Host, Inputs, Port, Route, Vrf
from filament.forward.model import Model
from filament.forward.plan import plan
from filament.wire.packet.frames import ipv4_frame, tcp_packet, udp_packet
from filament.wire.packet.tcp import SYN, Tcp
from filament.wire.xmpp.stanza import Node

PROJECT = "default-domain:demo"
NETWORKS = {f"{PROJECT}:{name}": number for number, name in enumerate(("red", "blue", "green"))}
HOST = Host("host1", parse_ipv4("172.30.0.1"))
TIMED = {"timer": {"start_time": "now"}}
POLICIES = ("p0", "p1", "p2")

networks = st.sampled_from(sorted(NETWORKS))
sides = st.one_of(
    networks,
    networks,
    st.sampled_from(("any", "local")),
    st.builds(lambda name: address(policy=f"{PROJECT}:{name}"), st.sampled_from(POLICIES)),
    st.just(address(subnet="10.1.0.0/16")),
)
rules = st.builds(
    lambda source, destination, fields: rule(source, destination, **fields),
    sides,
    sides,
    st.fixed_dictionaries(
        {
            "protocol": st.sampled_from(("any", "tcp", "udp")),
            "action": st.sampled_from(("pass", "pass", "deny")),
            "direction": st.sampled_from(("<>", ">")),
            "destination_ports": st.sampled_from((((-1, -1),), ((80, 80),))),
        }
    ),
)
attachments = st.lists(
    st.tuples(st.sampled_from(POLICIES), st.booleans()), unique_by=lambda a: a[0]
)


def configured(rules_by_policy, attached):
    universe = Universe()
    for name, listed in rules_by_policy.items():
        universe.policy(name, *listed)
    for network, listed in attached.items():
        refs = [
            (name, {"sequence": {"major": at, "minor": 0}} | (TIMED if is_timed else {}))
            for at, (name, is_timed) in enumerate(listed)
        ]
        universe.network(network.rpartition(":")[2], refs)
    universe.commit()
    return compile_plan(universe.snapshot)


def host_of(compiled):
    """A data plane with port N of network N."""
    instances = {one.network: one for one in compiled.routing_instances.values()}
    rendered = Rendered(compiled)
    filters, acl_by_network = [], {}
    for network, instance in instances.items():
        for acl in rendered.children(instance.network_uuid, "access-control-list"):
            made, faults, *_ = read_filter(Node(acl.kind, acl.name, acl.props, 1))
            assert not faults
            filters.append(made)
            acl_by_network[network] = made.name
    ports = tuple(
        Port(
            uuid=f"port-{number}",
            name=f"port-{number}",
            device=f"tap{number}",
            ifindex=number + 1,
            is_veth=False,
            mac=0x020000000000 + number,
            addresses=(address_of(number),),
            vrf=instances[network].name,
            network=network,
            acl=acl_by_network.get(network),
        )
        for network, number in NETWORKS.items()
    )
    vrfs = tuple(Vrf(one.name, one.network) for one in instances.values())
    ids = Ids()
    inputs = Inputs(HOST, 1, ports, filters=tuple(filters), vrfs=vrfs)
    plan(inputs, ids)
    labels = ids.numbers("label")
    routes = tuple(
        Route(mine.name, Prefix.host(port.addresses[0]), HOST.address, labels[port.uuid], network)
        for mine in instances.values()
        for port in ports
        if (network := port.network) != mine.network and mine.imports & instances[network].exports
    )
    inputs = Inputs(HOST, 1, ports, routes=routes, filters=tuple(filters), vrfs=vrfs)
    return Model(plan(inputs, ids), lambda: 1000.0)


def address_of(number):
    return parse_ipv4(f"10.1.{number}.3")


def frames(source, destination):
    ends = address_of(source), address_of(destination)
    mac = 0x020000000000 + source
    yield "tcp", ipv4_frame(mac, ROUTER_MAC, tcp_packet(*ends, Tcp(1024, 80, flags=SYN)))
    yield "tcp", ipv4_frame(mac, ROUTER_MAC, tcp_packet(*ends, Tcp(80, 1025, flags=SYN)))
    yield "udp", ipv4_frame(mac, ROUTER_MAC, udp_packet(*ends, (1026, 80)))
    yield "udp", ipv4_frame(mac, ROUTER_MAC, udp_packet(*ends, (80, 1027)))


def allows(network, source, destination, protocol, rules_by_policy, attached):
    """Whether some rule in a network's policies passes the protocol between two networks. Timed
    policies filter nothing: their rules allow either way and any protocol.
    """
    for name, is_timed in attached.get(network, []):
        for one in rules_by_policy[name]:
            if one["action_list"]["simple_action"] != "pass":
                continue
            if not is_timed and one["protocol"] not in ("any", protocol):
                continue
            ends = [(source, destination)]
            if one["direction"] == "<>" or is_timed:
                ends.append((destination, source))
            if any(
                stands_for(one["src_addresses"][0], here, network, attached)
                and stands_for(one["dst_addresses"][0], there, network, attached)
                for here, there in ends
            ):
                return True
    return False


def stands_for(side, network, own, attached):
    if side["network_policy"]:
        policy = side["network_policy"].rpartition(":")[2]
        return any(name == policy for name, _ in attached.get(network, []))
    if side["virtual_network"]:
        return side["virtual_network"] in ("any", network) or (
            side["virtual_network"] == "local" and network == own
        )
    return True


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({name: st.lists(rules, max_size=3) for name in POLICIES}),
    st.fixed_dictionaries(dict.fromkeys(NETWORKS, attachments)),
)
def test_nothing_crosses_without_an_allowing_rule_at_both_ends(rules_by_policy, attached):
    model = host_of(configured(rules_by_policy, attached))
    for source, here in NETWORKS.items():
        for destination, there in NETWORKS.items():
            if source == destination:
                continue
            for protocol, frame in frames(here, there):
                output = model.from_port(here + 1, frame).output
                if output is None:
                    continue
                assert output.ifindex == there + 1
                for network in (source, destination):
                    assert allows(
                        network, source, destination, protocol, rules_by_policy, attached
                    ), f"{protocol} crossed from {source} to {destination}, unknown to {network}"


def test_what_is_allowed_does_cross():
    one, other, third = sorted(NETWORKS)
    attached = {one: [("p0", False)], other: [("p0", False)], third: []}
    model = host_of(configured({"p0": [rule(one, other)]}, attached))
    here, there = NETWORKS[one], NETWORKS[other]
    for _, frame in frames(here, there):
        output = model.from_port(here + 1, frame).output
        assert output is not None
        assert output.ifindex == there + 1
