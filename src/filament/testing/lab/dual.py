"""IPv6 beside IPv4: a second subnet of a lab's network, and addresses of it on workloads.

The lab's hosts speak IPv4 to each other; this is about what workloads say inside of tunnels.
"""

from __future__ import annotations

from collections.abc import Mapping

from filament.base.net import Address, Prefix
from filament.testing.lab.intent import DOMAIN, PROJECT, Json
from filament.testing.lab.lab import Lab

LINK_LOCAL_GATEWAY = "fe80::5e00:100"


def add_ipv6(lab: Lab, network: str, prefix: Prefix, addresses: Mapping[str, str]) -> None:
    """Give a network (name in the demo project) an IPv6 subnet, and workloads (by name) addresses
    of it and a way out; returns once agents have applied it. The subnet's gateway is its ::1.
    """
    client = lab.intent.client
    fq_name = [DOMAIN, PROJECT, network]
    uuid = client.uuid_of("virtual-network", fq_name)
    ref = client.get("virtual-network", uuid)["network_ipam_refs"][0]
    first = Address(prefix.address, 6)
    subnet: Json = {
        "subnet": {"ip_prefix": str(first), "ip_prefix_len": prefix.length},
        "default_gateway": str(Address(prefix.address + 1, 6)),
        "addr_from_start": True,
    }
    attr = ref["attr"] | {"ipam_subnets": [*ref["attr"]["ipam_subnets"], subnet]}
    client.update("virtual-network", uuid, network_ipam_refs=[{"to": ref["to"], "attr": attr}])
    for name, address in addresses.items():
        client.create(
            "instance-ip",
            [f"{name}-v6"],
            instance_ip_address=address,
            instance_ip_family="v6",
            virtual_network_refs=[{"to": fq_name}],
            virtual_machine_interface_refs=[{"to": [DOMAIN, PROJECT, f"{name}-port"]}],
        )
        for scope in ("all", "eth0"):
            lab.run(name, ["sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=0"])
        own = [f"{address}/{prefix.length}", "dev", "eth0", "nodad"]
        lab.run(name, ["ip", "addr", "add", *own])
        way = ["default", "via", LINK_LOCAL_GATEWAY, "dev", "eth0"]
        lab.run(name, ["ip", "-6", "route", "add", *way])
    lab.settle()
