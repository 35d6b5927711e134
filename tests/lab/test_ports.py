"""What a port may send as: its own addresses and MAC, and its allowed address pairs."""

import json
import re

import pytest

from filament.testing.lab.intent import require_followed
from filament.testing.lab.lab import agent_of

pytestmark = pytest.mark.lab

RED_1, RED_2 = "10.1.1.3", "10.1.1.4"
SHARED = "10.1.1.50"
VIRTUAL_MAC = "00:00:5e:00:01:07"


def received(lab, source, target, *options):
    """How many of three pings are answered."""
    argv = ["ping", "-nq", "-c3", "-i0.02", "-W0.5", *options, target]
    return int(re.search(r"(\d+) received", lab.run(source, argv).stdout)[1])


def change(lab, kind, uuid, **props):
    require_followed(lab.intent.client.update(kind, uuid, wait="agents", **props))


def change_port(lab, workload, **props):
    change(lab, "virtual-machine-interface", lab.plan.workload(workload).interface_uuid, **props)


def pairs(*pairs):
    return {
        "allowed_address_pair": [
            {
                "ip": {"ip_prefix": address, "ip_prefix_len": 32},
                "mac": mac,
                "address_mode": "active-active",
            }
            for address, mac in pairs
        ]
    }


def dropped(lab, reason):
    """Packets that the workloads' hosts dropped for a reason."""
    return sum(
        row["packets"]
        for host in ("host1", "host2")
        for row in lab.ask(agent_of(host), "/filament/drops")["drops"]
        if row["reason"] == reason
    )


@pytest.fixture
def second_address(lab):
    """Red-2 uses an address that nobody gave it; it knows the neighbour it sends to."""
    assert received(lab, "red-2", RED_1) == 3
    lab.run("red-2", ["ip", "addr", "add", f"{SHARED}/32", "dev", "eth0"])
    yield SHARED
    lab.run("red-2", ["ip", "addr", "del", f"{SHARED}/32", "dev", "eth0"])
    change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=pairs())


def test_an_address_pair_may_be_used_and_is_found(lab, second_address):
    assert received(lab, "red-2", RED_1, "-I", second_address) == 0
    assert received(lab, "red-1", second_address) == 0
    allowed = pairs((second_address, ""))
    change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=allowed)
    assert received(lab, "red-2", RED_1, "-I", second_address) == 3
    assert received(lab, "red-1", second_address) == 3
    change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=pairs())
    assert received(lab, "red-2", RED_1, "-I", second_address) == 0
    assert received(lab, "red-1", second_address) == 0


def test_a_network_without_rpf_asks_for_no_address(lab, second_address):
    client = lab.intent.client
    uuid = client.uuid_of("virtual-network", ["default-domain", "demo", "red"])

    def spoofed():
        """How many of three packets are refused for their source; answers find no way back."""
        before = dropped(lab, "SOURCE_SPOOFED")
        received(lab, "red-2", RED_1, "-I", second_address)
        return dropped(lab, "SOURCE_SPOOFED") - before

    assert spoofed() >= 3
    change(lab, "virtual-network", uuid, virtual_network_properties={"rpf": "disable"})
    assert spoofed() == 0
    change(lab, "virtual-network", uuid, virtual_network_properties={"rpf": "enable"})
    assert spoofed() >= 3


def test_frames_from_another_mac_are_dropped_unless_a_pair_has_it(lab):
    shown = lab.run("red-2", ["ip", "-j", "link", "show", "eth0"]).stdout
    own = json.loads(shown)[0]["address"]
    lab.run("red-2", ["ip", "link", "set", "eth0", "address", VIRTUAL_MAC])
    try:
        assert received(lab, "red-2", RED_1) == 0
        allowed = pairs((RED_2, VIRTUAL_MAC))
        change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=allowed)
        # What comes back is for the port's own MAC, which the workload's device does not have now.
        lab.run("red-2", ["ip", "link", "set", "eth0", "promisc", "on"])
        assert dropped(lab, "SOURCE_MAC_SPOOFED") > 0
        before = dropped(lab, "SOURCE_MAC_SPOOFED")
        received(lab, "red-2", RED_1)
        assert dropped(lab, "SOURCE_MAC_SPOOFED") == before
        change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=pairs())
        received(lab, "red-2", RED_1)
        assert dropped(lab, "SOURCE_MAC_SPOOFED") > before
        last = dropped(lab, "SOURCE_MAC_SPOOFED")
        change_port(lab, "red-2", port_security_enabled=False)
        received(lab, "red-2", RED_1)
        assert dropped(lab, "SOURCE_MAC_SPOOFED") == last
    finally:
        lab.run("red-2", ["ip", "link", "set", "eth0", "address", own])
        change_port(lab, "red-2", port_security_enabled=True)
    assert received(lab, "red-2", RED_1) == 3


def echoes(lab, workload):
    """How many echo requests a workload received."""
    lines = lab.run(workload, ["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


def test_two_ports_on_two_hosts_share_the_load_of_an_address(lab):
    network = lab.intent.find_network(["default-domain", "demo", "red"])
    lab.add_workload("red-3", "host1", network)
    holders = ("red-2", "red-3")
    try:
        for holder in holders:
            lab.run(holder, ["ip", "addr", "add", f"{SHARED}/32", "dev", "eth0"])
            allowed = pairs((SHARED, ""))
            change_port(lab, holder, virtual_machine_interface_allowed_address_pairs=allowed)
        before = {holder: echoes(lab, holder) for holder in holders}
        # Each ping is a flow of its own; all packets of one go to one holder, and come back.
        assert [received(lab, "red-1", SHARED) for _ in range(16)] == [3] * 16
        shares = {holder: echoes(lab, holder) - before[holder] for holder in holders}
        assert sum(shares.values()) == 48
        assert all(share and share % 3 == 0 for share in shares.values()), shares
        change_port(lab, "red-2", virtual_machine_interface_allowed_address_pairs=pairs())
        assert [received(lab, "red-1", SHARED) for _ in range(4)] == [3] * 4
    finally:
        lab.run("red-2", ["ip", "addr", "del", f"{SHARED}/32", "dev", "eth0"])
        lab.remove_workload("red-3")
