"""Two hosts with two networks, as their agents would plan them, for walks and traces."""

import msgspec

from filament.base.net import Prefix, format_ipv4, format_mac, parse_ipv4
from filament.base.origin import Origin
from filament.doctor.trace import End
from filament.doctor.walk import HostFacts, PortFacts
from filament.doctor.words import Names, PortNames
from filament.forward.ids import Ids
from filament.forward.inputs import (
    Filter,
    FilterMatch,
    FilterRule,
    Host,
    Inputs,
    Port,
    Route,
    Subnet,
)
from filament.forward.plan import plan

HOSTS = {"host1": parse_ipv4("172.30.0.1"), "host2": parse_ipv4("172.30.0.2")}
SUBNETS = {"red": Prefix.parse("10.1.1.0/24"), "blue": Prefix.parse("10.1.2.0/24")}
# name -> host, network, address, label, ifindex
WORKLOADS = {
    "red-1": ("host1", "red", "10.1.1.3", 16, 11),
    "blue-1": ("host1", "blue", "10.1.2.3", 17, 12),
    "red-2": ("host2", "red", "10.1.1.4", 16, 21),
    "blue-2": ("host2", "blue", "10.1.2.4", 17, 22),
}


def network_name(network):
    return f"default-domain:demo:{network}"


def vrf_name(network):
    return f"{network_name(network)}:{network}"


def workload_of(port):
    return port.uuid.removeprefix("uuid-")


def port_of(name):
    _, network, address, _, ifindex = WORKLOADS[name]
    return Port(
        uuid=f"uuid-{name}",
        name=f"default-domain:demo:{name}-port",
        device=f"tap{ifindex}",
        ifindex=ifindex,
        is_veth=True,
        mac=0x0200_0000_0000 + ifindex,
        addresses=(parse_ipv4(address),),
        vrf=vrf_name(network),
        network=network_name(network),
        acl=None,
        origin=Origin(f"virtual-machine-interface default-domain:demo:{name}", "port", 7),
    )


def rule(source, destination, *, protocol=None, ports=(0, 65535), passes=True):
    return FilterRule(
        FilterMatch(network_name(source) if source else ""),
        FilterMatch(network_name(destination) if destination else "", ports=ports),
        protocol,
        passes,
        both_ways=True,
        origin=Origin("network-policy default-domain:demo:open", "rule 1", 9),
    )


def inputs_of(host, rules, leaks, revision):
    """What an agent has: `rules` are the filter's of both networks (None: no policy attached);
    `leaks` says whether the networks import each other's routes.
    """
    acls = {} if rules is None else {each: f"{network_name(each)}:{each}" for each in SUBNETS}
    ports = tuple(
        msgspec.structs.replace(port_of(name), acl=acls.get(facts[1]))
        for name, facts in WORKLOADS.items()
        if facts[0] == host
    )
    routes = []
    for name, (where, network, address, label, _) in WORKLOADS.items():
        for vrf in SUBNETS:
            if vrf == network or leaks:
                origin = Origin(f"virtual-machine-interface default-domain:demo:{name}", "route", 8)
                routes.append(
                    Route(
                        vrf_name(vrf),
                        Prefix(parse_ipv4(address), 32),
                        HOSTS[where],
                        label,
                        network_name(network),
                        origin,
                    )
                )
    subnets = tuple(
        Subnet(
            vrf_name(network),
            network_name(network),
            prefix,
            prefix.address + 1,
            prefix.address + 2,
            Origin(f"virtual-network {network_name(network)}", "subnet", 5),
        )
        for network, prefix in SUBNETS.items()
    )
    filters = tuple(Filter(name, tuple(rules or ())) for name in acls.values())
    return Inputs(Host(host, HOSTS[host]), revision, ports, subnets, tuple(routes), filters)


def facts_of_host(host, rules, leaks, revision=9):
    ids = Ids()
    # Labels are what WORKLOADS says: ports take them in this order.
    inputs = inputs_of(host, rules, leaks, revision)
    tables = plan(inputs, ids)
    for port in inputs.ports:
        assert ids.get("label", port.uuid) == WORKLOADS[workload_of(port)][3]
    names = Names(
        vrfs={number: name for name, number in ids.numbers("vrf").items()},
        networks={number: name for name, number in ids.numbers("network").items()},
        acls={number: name.split(" ")[0] for name, number in ids.numbers("list").items()},
        ports={port.ifindex: PortNames(workload_of(port), port.device) for port in inputs.ports},
        hosts={address: name for name, address in HOSTS.items()},
    )
    ports = tuple(
        PortFacts(
            port.uuid,
            port.name,
            workload_of(port),
            port.device,
            port.ifindex,
            port.mac,
            port.addresses,
        )
        for port in inputs.ports
    )
    return HostFacts(host, HOSTS[host], tables, names, ports, revision)


def plan_hosts(rules=None, *, leaks=False, revision=9):
    """Make the facts of both hosts: `rules` None is no policy, `leaks` joins the networks."""
    return {host: facts_of_host(host, rules, leaks, revision) for host in HOSTS}


def end(text):
    """Make the end of a trace from a workload's name or an address."""
    if text in WORKLOADS:
        return End(text, parse_ipv4(WORKLOADS[text][2]), f"uuid-{text}")
    return End(text, parse_ipv4(text))


def agent_json(facts, ids_by_space):
    """What the agent of a host answers, by path, in the shapes of `agent.introspect`."""
    interfaces = [
        {
            "uuid": port.uuid,
            "name": port.name,
            "display_name": port.display_name,
            "device": port.device,
            "ifindex": port.ifindex,
            "mac": format_mac(port.mac),
            "addresses": [format_ipv4(address) for address in port.addresses],
            "vrf": vrf_name(WORKLOADS[workload_of(port)][1]),
        }
        for port in facts.ports
    ]
    tables = {
        "revision": facts.tables.revision,
        "rows": {
            name: [
                {"key": key, "values": row.values, "origin": msgspec.to_builtins(row.origin)}
                for key, row in rows.items()
            ]
            for name, rows in facts.tables.rows.items()
        },
        "ids": ids_by_space,
    }
    status = {
        "name": facts.name,
        "address": format_ipv4(facts.address),
        "applied": facts.tables.revision,
        "problem": "",
    }
    return {"status": status, "interfaces": {"interfaces": interfaces}, "tables": tables}


def ids_of(facts):
    """The numbers behind a host's names, as an agent tells them."""
    return {
        "vrf": {name: number for number, name in facts.names.vrfs.items()},
        "network": {name: number for number, name in facts.names.networks.items()},
        "list": {f"{name} 0123": number for number, name in facts.names.acls.items()},
    }
