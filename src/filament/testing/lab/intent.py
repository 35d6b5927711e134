"""What a lab asks of the configuration API, in TF's own words: nothing here knows the inside.

Every object a lab makes could as well be made with curl; these functions are the shortest way.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from filament.base.net import Prefix, format_ipv4, format_mac, parse_ipv4, parse_mac
from filament.cli.session import Session

Wait = Literal["none", "control", "agents"]
Json = dict[str, Any]

DOMAIN = "default-domain"
PROJECT = "demo"
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
    """The demo project's objects through one API. Errors are the API's own."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def create(self, kind: str, fq_name: list[str], wait: Wait = "none", **fields: Any) -> Json:
        """POST one object and return the API's answer about it."""
        body = {kind: {"fq_name": fq_name, **fields}}
        answer = self.session.change("POST", f"/{kind}s", body, wait=wait).value
        created: Json = answer[kind]
        return created

    def read(self, kind: str, uuid: str) -> Json:
        """GET one object."""
        found: Json = self.session.get(f"/{kind}/{uuid}")[kind]
        return found

    def update(self, kind: str, uuid: str, wait: Wait = "none", **fields: Any) -> None:
        """PUT some fields of one object."""
        self.session.change("PUT", f"/{kind}/{uuid}", {kind: fields}, wait=wait)

    def delete(self, kind: str, uuid: str, wait: Wait = "none") -> None:
        """DELETE one object."""
        self.session.change("DELETE", f"/{kind}/{uuid}", None, wait=wait)

    def uuid_of(self, kind: str, fq_name: list[str]) -> str:
        """Resolve an fq name; NotFoundError when there is none."""
        body = {"type": kind, "fq_name": fq_name}
        return str(self.session.change("POST", "/fqname-to-id", body).value["uuid"])

    def create_project(self) -> str:
        """Make the demo project; returns its uuid."""
        return str(self.create("project", [DOMAIN, PROJECT], parent_type="domain")["uuid"])

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
        created = self.create(
            "virtual-network", fq_name, parent_type="project", network_ipam_refs=[ipam]
        )
        return Network(str(created["uuid"]), fq_name, prefix, gateway)

    def find_network(self, fq_name: list[str]) -> Network:
        """Read a network's first subnet back."""
        uuid = self.uuid_of("virtual-network", fq_name)
        subnets = self.read("virtual-network", uuid)["network_ipam_refs"][0]["attr"]
        subnet = subnets["ipam_subnets"][0]
        address, length = subnet["subnet"]["ip_prefix"], subnet["subnet"]["ip_prefix_len"]
        gateway = parse_ipv4(subnet["default_gateway"])
        return Network(uuid, fq_name, Prefix(parse_ipv4(address), length), gateway)

    def create_host(self, name: str, address: int) -> str:
        """Register a compute host: the control node serves only agents it knows."""
        created = self.create(
            "virtual-router",
            ["default-global-system-config", name],
            parent_type="global-system-config",
            virtual_router_ip_address=format_ipv4(address),
        )
        return str(created["uuid"])

    def create_workload(
        self, name: str, network: Network, *, address: int | None = None, mac: int | None = None
    ) -> Interface:
        """Make a virtual machine with one interface and one address of the network; the API
        chooses what is not asked for.
        """
        machine = str(self.create("virtual-machine", [name])["uuid"])
        interface_name = [DOMAIN, PROJECT, f"{name}-port"]
        asked: Json = {}
        if mac is not None:
            asked["virtual_machine_interface_mac_addresses"] = {"mac_address": [format_mac(mac)]}
        interface = str(
            self.create(
                "virtual-machine-interface",
                interface_name,
                parent_type="project",
                virtual_network_refs=[{"to": network.fq_name}],
                virtual_machine_refs=[{"to": [name]}],
                **asked,
            )["uuid"]
        )
        wanted: Json = {} if address is None else {"instance_ip_address": format_ipv4(address)}
        created = self.create(
            "instance-ip",
            [name],
            virtual_network_refs=[{"to": network.fq_name}],
            virtual_machine_interface_refs=[{"to": interface_name}],
            **wanted,
        )
        if address is None:
            found = self.read("instance-ip", str(created["uuid"]))
            address = parse_ipv4(found["instance_ip_address"])
        if mac is None:
            macs = self.read("virtual-machine-interface", interface)
            mac = parse_mac(macs["virtual_machine_interface_mac_addresses"]["mac_address"][0])
        return Interface(machine, interface, mac, address)

    def delete_workload(self, name: str, machine_uuid: str, interface_uuid: str) -> None:
        """Delete the objects of `create_workload`, what refers before what is referred to."""
        self.delete("instance-ip", self.uuid_of("instance-ip", [name]))
        self.delete("virtual-machine-interface", interface_uuid)
        self.delete("virtual-machine", machine_uuid)

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
        created = self.create(
            "network-policy",
            [DOMAIN, PROJECT, name],
            parent_type="project",
            network_policy_entries={"policy_rule": [rule]},
        )
        return str(created["uuid"])

    def set_policies(self, network: str, policies: list[str], wait: Wait = "none") -> None:
        """Attach exactly these policies (names in the demo project) to a network, in order."""
        refs = [
            {
                "to": [DOMAIN, PROJECT, policy],
                "attr": {"sequence": {"major": position, "minor": 0}},
            }
            for position, policy in enumerate(policies)
        ]
        uuid = self.uuid_of("virtual-network", [DOMAIN, PROJECT, network])
        self.update("virtual-network", uuid, wait, network_policy_refs=refs)
