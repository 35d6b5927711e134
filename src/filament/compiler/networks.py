"""Virtual networks as the compiler sees them, and the routing instances each one has.

A `Network` holds what one virtual-network object and its allocations say, nothing about policies
or other networks: those are later nodes of the graph, so that a change here stays a small one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from filament.base.origin import Origin
from filament.compiler.plan import RoutingInstance
from filament.compiler.targets import listed_targets, own_target
from filament.model.change import Object, Ref
from filament.model.view import View

IP_FABRIC = ("default-domain", "default-project", "ip-fabric")
LINK_LOCAL = ("default-domain", "default-project", "__link_local__")
BGPVPN = "bgpvpn"
FABRIC_INSTANCE = "__default__"
NO_SEQUENCE = sys.maxsize  # a policy attached without a sequence comes last


class InstanceName(NamedTuple):
    """A routing instance a network has: its fq name and whether it takes an automatic target."""

    name: str
    has_target: bool


class Network(msgspec.Struct, frozen=True):
    """One virtual-network. `name` is its fq name in one string and never changes.

    `attachments` are the uuids of policies in the order they are judged (sequence, then order of
    the references) with whether the attachment has a timer. `target` is the automatic target (""
    until allocated); `imports` and `exports` are its own, complete, with those of its bgpvpns.
    `providers` names the provider networks it is linked to.
    """

    name: str
    uuid: str
    project: str
    network_id: int
    attachments: tuple[tuple[str, bool], ...]
    target: str
    imports: frozenset[str]
    exports: frozenset[str]
    providers: tuple[str, ...]
    is_provider: bool
    has_fabric_snat: bool
    revision: int

    @property
    def default_instance(self) -> str:
        """The fq name of the default routing instance."""
        return f"{self.name}:{self.name.rpartition(':')[2]}"


def instance_names(network: tuple[str, ...]) -> list[InstanceName]:
    """Return the routing instances of a network, the default one first.

    ip-fabric has the fabric's own instance `__default__` besides; it and `__link_local__` leak
    with nobody through an automatic target (TF: none allocated).
    """
    name = ":".join(network)
    names = [InstanceName(f"{name}:{network[-1]}", network != LINK_LOCAL)]
    if network == IP_FABRIC:
        names.append(InstanceName(f"{name}:{FABRIC_INSTANCE}", False))
    return names


def network_of_instance(instance: str) -> tuple[str, ...]:
    """Return the fq name of the network an instance belongs to."""
    return tuple(instance.split(":")[:-1])


def read_network(view: View, network: Object, asn: int) -> Network:
    """Read a virtual-network and its allocations."""
    default = instance_names(network.fq_name)[0]
    target = own_target(view, default.name, asn) if default.has_target else ""
    own = frozenset((target,)) if target else frozenset()
    listed = [listed_targets(network)]
    revision = network.revision
    for ref in network.refs_to(BGPVPN):
        vpn = view.get(ref.uuid)
        if vpn is not None:
            listed.append(listed_targets(vpn))
            revision = max(revision, vpn.revision)
    providers = (view.get(ref.uuid) for ref in network.refs_to("virtual-network"))
    return Network(
        name=network.name,
        uuid=network.uuid,
        project=network.parent_uuid or "",
        network_id=_network_id(view, network),
        attachments=_attachments(network),
        target=target,
        imports=own.union(*(imports for imports, _ in listed)),
        exports=own.union(*(exports for _, exports in listed)),
        providers=tuple(sorted(provider.name for provider in providers if provider)),
        is_provider=bool(network.props.get("is_provider_network")),
        has_fabric_snat=bool(network.props.get("fabric_snat")),
        revision=revision,
    )


class Partner(Protocol):
    """What an instance that leaks with another one shows of itself."""

    @property
    def exports(self) -> frozenset[str]:
        """Its export targets."""

    @property
    def revision(self) -> int:
        """The revision of the object behind it."""


def plan_instances(
    network: Network, partners: Mapping[str, Partner], policy_revision: int
) -> dict[str, RoutingInstance]:
    """Make the routing instances of a network whose default one leaks with `partners` (by name of
    the instance).

    `policy_revision` is the newest of the attached policies.
    """
    revisions = [partner.revision for partner in partners.values()]
    default, *others = instance_names(tuple(network.name.split(":")))
    described = f"virtual-network {network.name}"
    instance = RoutingInstance(
        name=default.name,
        network=network.name,
        network_uuid=network.uuid,
        network_id=network.network_id,
        target=network.target,
        imports=network.imports.union(*(partner.exports for partner in partners.values())),
        exports=network.exports,
        connections=tuple(sorted(partners)),
        origin=Origin(
            described, "default-instance", max(policy_revision, network.revision, *revisions)
        ),
        own_imports=network.imports,
    )
    instances = {instance.name: instance}
    for name, _ in others:
        instances[name] = RoutingInstance(
            name=name,
            network=network.name,
            network_uuid=network.uuid,
            network_id=network.network_id,
            target="",
            imports=frozenset(),
            exports=frozenset(),
            is_default=False,
            origin=Origin(described, "fabric-instance", network.revision),
        )
    return instances


def _network_id(view: View, network: Object) -> int:
    """Return the VN id: a property where the API writes it, else the allocation; 0 for none."""
    written = network.props.get("virtual_network_network_id")
    if isinstance(written, int):
        return written
    held = view.allocations_of(network.uuid)
    return next((allocation.value for allocation in held if allocation.pool == "vn-id"), 0)


def _attachments(network: Object) -> tuple[tuple[str, bool], ...]:
    refs = sorted(network.refs_to("network-policy"), key=_sequence)
    return tuple((ref.uuid, (ref.attr or {}).get("timer") is not None) for ref in refs)


def _sequence(ref: Ref) -> tuple[int, int]:
    sequence = (ref.attr or {}).get("sequence") or {}
    major, minor = sequence.get("major"), sequence.get("minor")
    return (
        major if isinstance(major, int) else NO_SEQUENCE,
        minor if isinstance(minor, int) else NO_SEQUENCE,
    )
