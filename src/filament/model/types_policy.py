"""Types of network policies, security groups and access control lists."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from filament.model.types_common import (
    L4Port,
    Maybe,
    Part,
    SequenceType,
    SubnetType,
    Unsigned64,
    VlanId,
    VxlanNetworkIdentifier,
)

EtherType = Literal["IPv4", "IPv6"]
Direction = Literal[">", "<>"]
ConfiguredSecurityGroupId = Annotated[int, Meta(ge=0, le=7_999_999)]


class AddressType(Part):
    """One side of a rule; a network is an fq_name in one string, "any" or "local"."""

    subnet: Maybe[SubnetType] = UNSET
    virtual_network: Maybe[str] = UNSET
    security_group: Maybe[str] = UNSET
    network_policy: Maybe[str] = UNSET
    subnet_list: Maybe[list[SubnetType]] = UNSET


class PortType(Part):
    """An inclusive range of ports; -1 stands for any."""

    start_port: Maybe[L4Port] = UNSET
    end_port: Maybe[L4Port] = UNSET


class StaticMirrorNhType(Part):
    """A fixed mirror destination."""

    vtep_dst_ip_address: Maybe[str] = UNSET
    vtep_dst_mac_address: Maybe[str] = UNSET
    vni: Maybe[VxlanNetworkIdentifier] = UNSET


class MirrorActionType(Part):
    """Where matching traffic is mirrored to."""

    analyzer_name: Maybe[str] = UNSET
    encapsulation: Maybe[str] = UNSET
    analyzer_ip_address: Maybe[str] = UNSET
    analyzer_mac_address: Maybe[str] = UNSET
    routing_instance: Maybe[str] = UNSET
    udp_port: Maybe[int] = UNSET
    juniper_header: Maybe[bool] = UNSET
    nh_mode: Maybe[Literal["dynamic", "static"]] = UNSET
    static_nh_header: Maybe[StaticMirrorNhType] = UNSET
    nic_assisted_mirroring: Maybe[bool] = UNSET
    nic_assisted_mirroring_vlan: Maybe[VlanId] = UNSET


class ServicePropertiesType(Part):
    """How a service chain keeps paths."""

    retain_as_path: Maybe[bool] = UNSET


class ActionListType(Part):
    """What happens to matching traffic."""

    simple_action: Maybe[Literal["deny", "pass"]] = UNSET
    gateway_name: Maybe[str] = UNSET
    apply_service: Maybe[list[str]] = UNSET
    service_properties: Maybe[ServicePropertiesType] = UNSET
    mirror_to: Maybe[MirrorActionType] = UNSET
    assign_routing_instance: Maybe[str] = UNSET
    log: Maybe[bool] = UNSET
    alert: Maybe[bool] = UNSET
    qos_action: Maybe[str] = UNSET
    host_based_service: Maybe[bool] = UNSET


class PolicyRuleType(Part):
    """One rule of a policy or security group."""

    rule_sequence: Maybe[SequenceType] = UNSET
    rule_uuid: Maybe[str] = UNSET
    direction: Maybe[Direction] = UNSET
    protocol: Maybe[str] = UNSET
    src_addresses: Maybe[list[AddressType]] = UNSET
    src_ports: Maybe[list[PortType]] = UNSET
    application: Maybe[list[str]] = UNSET
    dst_addresses: Maybe[list[AddressType]] = UNSET
    dst_ports: Maybe[list[PortType]] = UNSET
    action_list: Maybe[ActionListType] = UNSET
    ethertype: Maybe[EtherType] = UNSET
    created: Maybe[str] = UNSET
    last_modified: Maybe[str] = UNSET
    description: Maybe[str] = UNSET


class PolicyEntriesType(Part):
    """Rules in TF's wrapper."""

    policy_rule: Maybe[list[PolicyRuleType]] = UNSET


class MatchConditionType(Part):
    """What an ACL rule matches."""

    protocol: Maybe[str] = UNSET
    src_address: Maybe[AddressType] = UNSET
    src_port: Maybe[PortType] = UNSET
    dst_address: Maybe[AddressType] = UNSET
    dst_port: Maybe[PortType] = UNSET
    ethertype: Maybe[EtherType] = UNSET


class AclRuleType(Part):
    """One rule of an access control list."""

    match_condition: Maybe[MatchConditionType] = UNSET
    action_list: Maybe[ActionListType] = UNSET
    rule_uuid: Maybe[str] = UNSET
    direction: Maybe[Direction] = UNSET


class AclEntriesType(Part):
    """ACL rules in TF's wrapper."""

    dynamic: Maybe[bool] = UNSET
    acl_rule: Maybe[list[AclRuleType]] = UNSET


AclHash = Unsigned64
