"""What a lab asks of the configuration API, in TF's own words: nothing here knows the inside.

Every object a lab makes could as well be made with curl; these functions are the shortest way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from filament.base.errors import TransientError
from filament.base.net import Prefix, format_ipv4, format_mac, parse_ipv4, parse_mac
from filament.client.sync import Answer, Client

Json = dict[str, Any]

DOMAIN = "default-domain"
PROJECT = "demo"
# Where TF keeps its BGP speakers.
MASTER_INSTANCE = [DOMAIN, "default-project", "ip-fabric", "__default__"]
DEFAULT_IPAM = [DOMAIN, "default-project", "default-network-ipam"]


class Network(NamedTuple):
    """A network of the demo project as the API answered it."""

    uuid: str
    fq_name: list[str]
    prefix: Prefix
    gateway: int

    @property
    def name(self) -> str:
        """The fq name in one string."""
        return ":".join(self.fq_name)


class Interface(NamedTuple):
    """The objects behind a workload, and the numbers the API chose for it."""

    machine_uuid: str
    interface_uuid: str
    mac: int
    address: int


class Intent:
    """The demo project's objects through one API connection. Errors are the API's own."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def create_project(self) -> str:
        """Make the demo project; returns its uuid."""
        return self.client.create("project", [DOMAIN, PROJECT], parent_type="domain")

    def create_network(self, name: str, prefix: Prefix) -> Network:
        """Make a network with one subnet: gateway .1, addresses given from the start, as
        OpenStack asks of TF.
        """
        fq_name = [DOMAIN, PROJECT, name]
        gateway = prefix.address + 1
        subnet = {
            "subnet": {"ip_prefix": format_ipv4(prefix.address), "ip_prefix_len": prefix.length},
            "addr_from_start": True,
            "default_gateway": format_ipv4(gateway),
        }
        ipam = {"to": DEFAULT_IPAM, "attr": {"ipam_subnets": [subnet]}}
        uuid = self.client.create(
            "virtual-network", fq_name, parent_type="project", network_ipam_refs=[ipam]
        )
        return Network(uuid, fq_name, prefix, gateway)

    def find_network(self, fq_name: list[str]) -> Network:
        """Read a network's first subnet back."""
        uuid = self.client.uuid_of("virtual-network", fq_name)
        subnets = self.client.get("virtual-network", uuid)["network_ipam_refs"][0]["attr"]
        subnet = subnets["ipam_subnets"][0]
        address, length = subnet["subnet"]["ip_prefix"], subnet["subnet"]["ip_prefix_len"]
        gateway = parse_ipv4(subnet["default_gateway"])
        return Network(uuid, fq_name, Prefix(parse_ipv4(address), length), gateway)

    def create_host(self, name: str, address: int) -> str:
        """Register a compute host: the control node serves only agents it knows."""
        return self.client.create(
            "virtual-router",
            ["default-global-system-config", name],
            parent_type="global-system-config",
            virtual_router_ip_address=format_ipv4(address),
        )

    def create_workload(
        self, name: str, network: Network, *, address: int | None = None, mac: int | None = None
    ) -> Interface:
        """Make a virtual machine with one interface and one address of the network; the API
        chooses what is not asked for.
        """
        machine = self.client.create("virtual-machine", [name])
        interface_name = [DOMAIN, PROJECT, f"{name}-port"]
        asked: Json = {}
        if mac is not None:
            asked["virtual_machine_interface_mac_addresses"] = {"mac_address": [format_mac(mac)]}
        interface = self.client.create(
            "virtual-machine-interface",
            interface_name,
            parent_type="project",
            virtual_network_refs=[{"to": network.fq_name}],
            virtual_machine_refs=[{"to": [name]}],
            **asked,
        )
        wanted: Json = {} if address is None else {"instance_ip_address": format_ipv4(address)}
        address_uuid = self.client.create(
            "instance-ip",
            [name],
            virtual_network_refs=[{"to": network.fq_name}],
            virtual_machine_interface_refs=[{"to": interface_name}],
            **wanted,
        )
        if address is None:
            found = self.client.get("instance-ip", address_uuid)
            address = parse_ipv4(found["instance_ip_address"])
        if mac is None:
            macs = self.client.get("virtual-machine-interface", interface)
            mac = parse_mac(macs["virtual_machine_interface_mac_addresses"]["mac_address"][0])
        return Interface(machine, interface, mac, address)

    def delete_workload(self, name: str, machine_uuid: str, interface_uuid: str) -> None:
        """Delete the objects of `create_workload`, what refers before what is referred to."""
        self.client.delete("instance-ip", self.client.uuid_of("instance-ip", [name]))
        self.client.delete("virtual-machine-interface", interface_uuid)
        self.client.delete("virtual-machine", machine_uuid)

    def create_policy(self, name: str, left: str, right: str) -> str:
        """Make a policy that lets two networks (names in the demo project) talk, both ways."""

        def side(network: str) -> list[Json]:
            return [{"virtual_network": f"{DOMAIN}:{PROJECT}:{network}"}]

        anything = [{"start_port": -1, "end_port": -1}]
        rule = {
            "direction": "<>",
            "protocol": "any",
            "src_addresses": side(left),
            "src_ports": anything,
            "dst_addresses": side(right),
            "dst_ports": anything,
            "action_list": {"simple_action": "pass"},
        }
        return self.client.create(
            "network-policy",
            [DOMAIN, PROJECT, name],
            parent_type="project",
            network_policy_entries={"policy_rule": [rule]},
        )

    def set_policies(self, network: str, policies: list[str], *, wait: str = "") -> None:
        """Attach exactly these policies (names in the demo project) to a network, in order.

        `wait` is "control" or "agents"; raises TransientError when they have not followed in time.
        """
        refs = [
            {
                "to": [DOMAIN, PROJECT, policy],
                "attr": {"sequence": {"major": position, "minor": 0}},
            }
            for position, policy in enumerate(policies)
        ]
        uuid = self.client.uuid_of("virtual-network", [DOMAIN, PROJECT, network])
        require_followed(
            self.client.update("virtual-network", uuid, wait=wait, network_policy_refs=refs)
        )

    # routers -----------------------------------------------------------------------------

    def create_bgp_router(
        self,
        name: str,
        address: int,
        asn: int,
        families: Sequence[str],
        *,
        router_type: str = "router",
        vendor: str = "",
        wait: str = "",
        **parameters: Any,
    ) -> str:
        """Describe a BGP speaker, ours (`control-node`) or somebody's; returns its uuid.

        `parameters` are further members of `bgp_router_parameters`.
        """
        text = format_ipv4(address)
        asked = {
            "autonomous_system": asn,
            "identifier": text,
            "address": text,
            "port": 179,
            "router_type": router_type,
            "vendor": vendor or ("contrail" if router_type == "control-node" else "unknown"),
            "address_families": {"family": list(families)},
        }
        return self.client.create(
            "bgp-router",
            [*MASTER_INSTANCE, name],
            parent_type="routing-instance",
            wait=wait,
            bgp_router_parameters=asked | parameters,
        )

    def set_bgp_router(self, name: str, **parameters: Any) -> None:
        """Change members of a BGP speaker's parameters; None removes one."""
        uuid = self.client.uuid_of("bgp-router", [*MASTER_INSTANCE, name])
        now = self.client.get("bgp-router", uuid)["bgp_router_parameters"] | parameters
        wanted = {member: value for member, value in now.items() if value is not None}
        require_followed(
            self.client.update("bgp-router", uuid, wait="control", bgp_router_parameters=wanted)
        )

    def set_encapsulations(self, priorities: Sequence[str], *, wait: str = "") -> None:
        """Prefer encapsulations in this order: `MPLSoUDP`, `MPLSoGRE`, `VXLAN`."""
        uuid = self.client.uuid_of(
            "global-vrouter-config",
            ["default-global-system-config", "default-global-vrouter-config"],
        )
        wanted = {"encapsulation": list(priorities)}
        require_followed(
            self.client.update(
                "global-vrouter-config", uuid, wait=wait, encapsulation_priorities=wanted
            )
        )

    def set_graceful_restart(self, *, restart_time_s: int, long_lived_time_s: int = 0) -> None:
        """Let routes of BGP peers and agents outlive their sessions for so long (RFC 4724), and
        after that for longer as routes of last resort (RFC 9494).
        """
        uuid = self.client.uuid_of("global-system-config", ["default-global-system-config"])
        wanted = {
            "enable": True,
            "restart_time": restart_time_s,
            "long_lived_restart_time": long_lived_time_s,
            "end_of_rib_timeout": 30,
            "bgp_helper_enable": True,
            "xmpp_helper_enable": True,
        }
        self.client.update("global-system-config", uuid, graceful_restart_parameters=wanted)

    def peer(self, name: str, others: Sequence[str], **attributes: Any) -> None:
        """Give a speaker sessions with exactly these others, with these session attributes.

        Speakers of one AS peer by themselves (`ibgp_auto_mesh`).
        """
        session = {"attributes": [attributes]}
        refs = [
            {"to": [*MASTER_INSTANCE, other], "attr": {"session": [session]}} for other in others
        ]
        uuid = self.client.uuid_of("bgp-router", [*MASTER_INSTANCE, name])
        require_followed(
            self.client.update("bgp-router", uuid, wait="control", bgp_router_refs=refs)
        )

    def delete_bgp_router(self, name: str) -> None:
        """Forget a speaker, and its sessions with it."""
        uuid = self.client.uuid_of("bgp-router", [*MASTER_INSTANCE, name])
        self.client.update("bgp-router", uuid, bgp_router_refs=[])
        self.client.delete("bgp-router", uuid)

    def set_route_targets(self, network: str, targets: Sequence[str], *, wait: str = "") -> None:
        """Import and export exactly these targets (`target:A:B`) besides the network's own."""
        uuid = self.client.uuid_of("virtual-network", [DOMAIN, PROJECT, network])
        wanted = {"route_target": list(targets)}
        require_followed(
            self.client.update("virtual-network", uuid, wait=wait, route_target_list=wanted)
        )

    def touch(self, *, wait: str, timeout_s: float) -> None:
        """Make a change that means nothing (the demo project's description) and wait for it."""
        uuid = self.client.uuid_of("project", [DOMAIN, PROJECT])
        body = {"project": {"id_perms": {"description": f"touched at {time.time_ns()}"}}}
        require_followed(
            self.client.request(
                "PUT", f"/project/{uuid}", body, wait=wait, timeout_s=f"{timeout_s:g}"
            )
        )


def require_followed(answer: Answer) -> None:
    """Raise TransientError when somebody has not applied a change that was waited for."""
    if answer.lagging:
        raise TransientError(f"revision {answer.revision} is not applied by {answer.lagging}")
