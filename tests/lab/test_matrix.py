"""Random policy, real processes, real packets: who gets through is who was meant to.

The rounds follow from a seed, which is printed: `FILAMENT_SEED=N` begins with that one,
`FILAMENT_ROUNDS=N` runs so many (with `-o faulthandler_timeout=0`).
"""

import os
import re
import time
from random import Random

import pytest
from tests.lab.kit import lab_of
from tests.lab.sockets import Sockets
from tests.policy.worlds import (
    DOMAIN,
    NETWORKS,
    PORTLESS,
    PROJECTS,
    READ,
    Round,
    foundation,
    places,
    subnets,
)

from filament.testing.intended import ICMP, TCP, UDP, Intended
from filament.testing.lab.intent import DEFAULT_IPAM
from filament.testing.lab.lab import Lab

pytestmark = pytest.mark.lab

FIRST_SEED = int(os.environ.get("FILAMENT_SEED", "1"))
ROUNDS = int(os.environ.get("FILAMENT_ROUNDS", "4"))
PROTOCOLS = (TCP, TCP, UDP, UDP, ICMP, PORTLESS[0])
GATEWAY6 = "fe80::5e00:100"


def build_world(run, say):
    """Two hosts with the networks and ports of a world, through the API only."""
    del say
    lab = Lab.build(run, host_count=2)
    lab.start()
    lab.wait_for("api")
    intent = lab.intent
    for project in PROJECTS:
        intent.client.create("project", [DOMAIN, project], parent_type="domain")
    for host in lab.plan.hosts:
        intent.create_host(host.name, host.address)
    for network, number in NETWORKS.items():
        ipam = {"to": DEFAULT_IPAM, "attr": {"ipam_subnets": subnets(number)}}
        intent.client.create(
            "virtual-network",
            network.split(":"),
            parent_type="project",
            network_ipam_refs=[ipam],
        )
    found = {name: intent.find_network(name.split(":")) for name in NETWORKS}
    workloads = [
        lab.prepare_workload(place.machine, place.host, found[place.network]) for place in places()
    ]
    for place in places():
        give_ipv6(lab, place)
    for request in foundation():
        carry_out(intent.client, request)
    for name in lab.process_names:
        lab.wait_for(name)
    for workload in workloads:
        lab.plug(workload)
    lab.wait_plugged()
    lab.mark_ready()
    return lab


def give_ipv6(lab, place):
    lab.intent.client.create(
        "instance-ip",
        [f"{place.machine}-v6"],
        instance_ip_address=place.addresses[1],
        instance_ip_family="v6",
        virtual_network_refs=[{"to": place.network.split(":")}],
        virtual_machine_interface_refs=[{"to": place.port.split(":")}],
    )
    address = f"{place.addresses[1]}/64"
    lab.run(place.machine, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"])
    lab.run(place.machine, ["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"])
    lab.run(place.machine, ["ip", "addr", "add", address, "dev", "eth0", "nodad"])
    way = ["default", "via", GATEWAY6, "dev", "eth0"]
    lab.run(place.machine, ["ip", "-6", "route", "add", *way])


@pytest.fixture(scope="module")
def lab():
    with lab_of(build_world) as built:
        for place in places():  # so that no probe waits for the gateway's MAC address
            for gateway in ("10.1.{}.1", "fd00:0:0:{}::1"):
                address = gateway.format(NETWORKS[place.network])
                ping = built.run(place.machine, ["ping", "-nqc1", "-W2", address])
                assert re.search(r" 0% packet loss", ping.stdout), (place, ping.stdout)
        yield built


def carry_out(client, request):
    if request.verb == "create":
        client.create(request.kind, request.fq_name, **request.fields)
        return
    uuid = client.uuid_of(request.kind, request.fq_name)
    if request.verb == "update":
        client.update(request.kind, uuid, **request.fields)
    else:
        client.delete(request.kind, uuid)


def intended(client):
    """The meaning of what the API holds."""
    return Intended((kind, body) for kind in READ for body in client.list(kind, detail="true"))


def run_round(lab, seed, before):
    """Change everything, then compare; return how to take it back and how many may talk."""
    client = lab.intent.client
    now = Round(Random(seed), seed)
    for request in (*now.creates, *now.updates, *before):
        carry_out(client, request)
    lab.settle()
    meant = intended(client)
    probes = now.probes(per_pair=2, protocols=PROTOCOLS)
    answers = [meant.judge(each.source.port, each.destination.port, each.flow) for each in probes]
    expected = {number for number, answer in enumerate(answers) if answer.allowed}
    with Sockets(lab, probes) as sockets:
        answered = sockets.exchange(expected, timeout_s=6, quiet_s=0.5)
    wrong = [
        f"{each.source.machine} to {each.destination.machine} {each.flow}: {answers[number]},"
        f" but it was {'' if number in answered else 'not '}answered"
        for number, each in enumerate(probes)
        if number in expected ^ answered
    ]
    assert not wrong, "\n".join([f"FILAMENT_SEED={seed}, {len(wrong)} of {len(probes)}:", *wrong])
    return now.deletes, len(expected), len(probes)


def test_who_gets_through_is_who_was_meant_to(lab):
    before, allowed, sent = [], 0, 0
    began = time.monotonic()
    for seed in range(FIRST_SEED, FIRST_SEED + ROUNDS):
        before, more, count = run_round(lab, seed, before)
        allowed, sent = allowed + more, sent + count
        print(f"seed {seed}: {more} of {count} may talk, {time.monotonic() - began:.1f} s")
    assert 0 < allowed < sent
