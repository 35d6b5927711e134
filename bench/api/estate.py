"""The objects of the bench: what a cloud has, in the proportions in which it has them.

Per block, in a project of its own: a security group and a policy, 4 networks with a subnet each
and the policy attached, and 46 ports in them: a virtual-machine-interface and an instance-ip,
whose address the API chooses. 100 objects with the project and its application-policy-set.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.api.load import Ask, Lane, ask

OBJECTS_PER_BLOCK = 100
NETWORKS_PER_BLOCK = 4
PORTS_PER_BLOCK = 46
_DOMAIN = "default-domain"


@dataclass
class Block:
    """One project with what is in it, as far as it is made."""

    name: str
    project: str
    networks: list[str] = field(default_factory=list)
    security_group: str = ""
    ports: list[tuple[str, str]] = field(default_factory=list)  # interface, instance-ip


class Estate:
    """Everything made so far. Uuids are ours, so that nobody waits to learn one."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.blocks: list[Block] = []
        self.spare = 0  # blocks handed out

    def fill(self, blocks: int, lanes: int) -> list[Lane]:
        """Lanes that make so many blocks more between them."""
        names = iter([f"project-{self.spare + number}" for number in range(blocks)])
        self.spare += blocks
        return [self._fill_lane(names) for _ in range(lanes)]

    def _fill_lane(self, names: Iterator[str]) -> Lane:
        for name in names:
            block = Block(name, self._uuid())
            yield from self._block(block)
            self.blocks.append(block)

    def _block(self, block: Block) -> Iterator[Ask]:
        place = [_DOMAIN, block.name]
        yield ask(
            "project",
            "POST",
            "/projects",
            {"project": {"fq_name": place, "uuid": block.project, "parent_type": "domain"}},
        )
        block.security_group = self._uuid()
        yield ask("security-group", "POST", "/security-groups", self._group(block, place))
        policy = self._uuid()
        block.networks = [self._uuid() for _ in range(NETWORKS_PER_BLOCK)]
        for number, network in enumerate(block.networks):
            if number == 2:  # a policy may only name networks that are there
                yield ask("network-policy", "POST", "/network-policys", _policy(policy, place))
            value = _network(network, place, number, policy if number >= 2 else "")
            yield ask("virtual-network", "POST", "/virtual-networks", value)
        for network in block.networks[:2]:
            yield ask("attach", "POST", "/ref-update", _attachment(network, policy))
        for number in range(PORTS_PER_BLOCK):
            yield from self.port(block, f"port-{number}")

    def port(self, block: Block, name: str) -> Iterator[Ask]:
        """Make a port: an interface, then its address."""
        network = block.networks[len(block.ports) % NETWORKS_PER_BLOCK]
        interface, address = self._uuid(), self._uuid()
        yield ask(
            "virtual-machine-interface",
            "POST",
            "/virtual-machine-interfaces",
            {
                "virtual-machine-interface": {
                    "fq_name": [_DOMAIN, block.name, name],
                    "parent_type": "project",
                    "uuid": interface,
                    "virtual_network_refs": [{"uuid": network}],
                    "security_group_refs": [{"uuid": block.security_group}],
                }
            },
        )
        yield ask(
            "instance-ip",
            "POST",
            "/instance-ips",
            {
                "instance-ip": {
                    "fq_name": [f"{block.name}-{name}"],
                    "uuid": address,
                    "virtual_network_refs": [{"uuid": network}],
                    "virtual_machine_interface_refs": [{"uuid": interface}],
                }
            },
        )
        block.ports.append((interface, address))

    def any_port(self) -> tuple[Block, str]:
        """A block and one of its interfaces, at random."""
        block = self._random.choice(self.blocks)
        return block, self._random.choice(block.ports)[0]

    def interfaces(self, count: int) -> list[str]:
        """Up to `count` interfaces, of blocks at random."""
        blocks = self._random.sample(self.blocks, min(len(self.blocks), -(-count // 40)))
        return [interface for block in blocks for interface, _ in block.ports][:count]

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _group(self, block: Block, place: list[str]) -> dict[str, object]:
        rules = [
            _rule(">", {"security_group": "local"}, {"subnet": _ANY_PREFIX}),
            _rule(
                ">",
                {"security_group": f"{_DOMAIN}:{block.name}:group"},
                {"security_group": "local"},
            ),
            _rule(">", {"subnet": _ANY_PREFIX}, {"security_group": "local"}, ports=(22, 22)),
        ]
        return {
            "security-group": {
                "fq_name": [*place, "group"],
                "parent_type": "project",
                "uuid": block.security_group,
                "security_group_entries": {"policy_rule": rules},
            }
        }


_SEQUENCE = {"sequence": {"major": 0, "minor": 0}}
_ANY_PREFIX = {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}


def _rule(
    direction: str, source: object, destination: object, ports: tuple[int, int] = (0, 65535)
) -> dict[str, object]:
    anything = {"start_port": 0, "end_port": 65535}
    return {
        "direction": direction,
        "protocol": "tcp" if ports != (0, 65535) else "any",
        "ethertype": "IPv4",
        "src_addresses": [source],
        "src_ports": [anything],
        "dst_addresses": [destination],
        "dst_ports": [{"start_port": ports[0], "end_port": ports[1]}],
    }


def _policy(policy: str, place: list[str]) -> dict[str, object]:
    here = {"virtual_network": "local"}
    rules = [
        _rule("<>", here, {"virtual_network": ":".join([*place, "net-0"])}, ports=(443, 443)),
        _rule("<>", here, {"virtual_network": ":".join([*place, "net-1"])}),
    ]
    for rule in rules:
        del rule["ethertype"]
        rule["action_list"] = {"simple_action": "pass"}
    return {
        "network-policy": {
            "fq_name": [*place, "policy"],
            "parent_type": "project",
            "uuid": policy,
            "network_policy_entries": {"policy_rule": rules},
        }
    }


def _network(network: str, place: list[str], number: int, policy: str) -> dict[str, object]:
    subnet = {"subnet": {"ip_prefix": f"10.{number}.0.0", "ip_prefix_len": 22}}
    return {
        "virtual-network": {
            "fq_name": [*place, f"net-{number}"],
            "parent_type": "project",
            "uuid": network,
            "network_ipam_refs": [
                {
                    "to": [_DOMAIN, "default-project", "default-network-ipam"],
                    "attr": {"ipam_subnets": [subnet]},
                }
            ],
            "network_policy_refs": [{"uuid": policy, "attr": _SEQUENCE}] if policy else [],
        }
    }


def _attachment(network: str, policy: str) -> dict[str, object]:
    return {
        "type": "virtual-network",
        "uuid": network,
        "ref-type": "network-policy",
        "ref-uuid": policy,
        "operation": "ADD",
        "attr": _SEQUENCE,
    }
