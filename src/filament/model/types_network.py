"""Types of networks, address management, interfaces and addresses."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from filament.model.types_common import (
    AddressMode,
    DhcpOptionsListType,
    Dscp,
    ForwardingMode,
    IpAddressesType,
    MaxFlows,
    Maybe,
    Part,
    RouteTableType,
    SequenceType,
    SubnetType,
    TimerType,
    TrafficDirection,
    VlanId,
    VxlanNetworkIdentifier,
)
from filament.model.types_policy import MatchConditionType, MirrorActionType

NetworkMtu = Annotated[int, Meta(ge=0, le=9216)]

IpAddressFamily = Literal["v4", "v6"]
ForwardingClassId = Annotated[int, Meta(ge=0, le=255)]


class AllocationPoolType(Part):
    """An inclusive range of addresses to allocate from."""

    start: Maybe[str] = UNSET
    end: Maybe[str] = UNSET
    vrouter_specific_pool: Maybe[bool] = UNSET


class IpamSubnetType(Part):
    """One subnet of a network, or of a flat IPAM."""

    subnet: Maybe[SubnetType] = UNSET
    default_gateway: Maybe[str] = UNSET
    dns_server_address: Maybe[str] = UNSET
    subnet_uuid: Maybe[str] = UNSET
    enable_dhcp: Maybe[bool] = UNSET
    dns_nameservers: Maybe[list[str]] = UNSET
    allocation_pools: Maybe[list[AllocationPoolType]] = UNSET
    addr_from_start: Maybe[bool] = UNSET
    dhcp_option_list: Maybe[DhcpOptionsListType] = UNSET
    host_routes: Maybe[RouteTableType] = UNSET
    subnet_name: Maybe[str] = UNSET
    alloc_unit: Maybe[int] = UNSET
    created: Maybe[str] = UNSET
    last_modified: Maybe[str] = UNSET
    subscriber_tag: Maybe[str] = UNSET
    vlan_tag: Maybe[int] = UNSET
    dhcp_relay_server: Maybe[list[str]] = UNSET


class IpamSubnets(Part):
    """Subnets of a flat IPAM in TF's wrapper."""

    subnets: Maybe[list[IpamSubnetType]] = UNSET


class VnSubnetsType(Part):
    """Attribute of virtual-network -> network-ipam: the network's subnets."""

    ipam_subnets: Maybe[list[IpamSubnetType]] = UNSET
    host_routes: Maybe[RouteTableType] = UNSET


class IpamDnsAddressType(Part):
    """Where a tenant's DNS queries go."""

    tenant_dns_server_address: Maybe[IpAddressesType] = UNSET
    virtual_dns_server_name: Maybe[str] = UNSET


class IpamType(Part):
    """How an IPAM answers DHCP and DNS."""

    ipam_method: Maybe[Literal["dhcp", "fixed"]] = UNSET
    ipam_dns_method: Maybe[
        Literal["none", "default-dns-server", "tenant-dns-server", "virtual-dns-server"]
    ] = UNSET
    ipam_dns_server: Maybe[IpamDnsAddressType] = UNSET
    dhcp_option_list: Maybe[DhcpOptionsListType] = UNSET
    cidr_block: Maybe[SubnetType] = UNSET
    host_routes: Maybe[RouteTableType] = UNSET


class VirtualNetworkPolicyType(Part):
    """Attribute of virtual-network -> network-policy: order of the attachment."""

    sequence: Maybe[SequenceType] = UNSET
    timer: Maybe[TimerType] = UNSET


class VirtualNetworkType(Part):
    """How a network forwards."""

    allow_transit: Maybe[bool] = UNSET
    network_id: Maybe[int] = UNSET
    vxlan_network_identifier: Maybe[VxlanNetworkIdentifier] = UNSET
    forwarding_mode: Maybe[ForwardingMode] = UNSET
    rpf: Maybe[Literal["enable", "disable"]] = UNSET
    mirror_destination: Maybe[bool] = UNSET
    max_flows: Maybe[MaxFlows] = UNSET
    mtu: Maybe[NetworkMtu] = UNSET


class ProviderDetails(Part):
    """The physical network and segment behind a provider network."""

    segmentation_id: Maybe[VlanId] = UNSET
    physical_network: Maybe[str] = UNSET


class MacAddressesType(Part):
    """MAC addresses in TF's wrapper."""

    mac_address: Maybe[list[str]] = UNSET


class AllowedAddressPair(Part):
    """An extra address a port may use."""

    ip: Maybe[SubnetType] = UNSET
    mac: Maybe[str] = UNSET
    address_mode: Maybe[AddressMode] = UNSET


class AllowedAddressPairs(Part):
    """Allowed address pairs in TF's wrapper."""

    allowed_address_pair: Maybe[list[AllowedAddressPair]] = UNSET


class InterfaceMirrorType(Part):
    """Where an interface's traffic is mirrored to."""

    traffic_direction: Maybe[TrafficDirection] = UNSET
    mirror_to: Maybe[MirrorActionType] = UNSET


class VirtualMachineInterfacePropertiesType(Part):
    """How an interface forwards."""

    service_interface_type: Maybe[str] = UNSET
    interface_mirror: Maybe[InterfaceMirrorType] = UNSET
    local_preference: Maybe[int] = UNSET
    sub_interface_vlan_tag: Maybe[int] = UNSET
    max_flows: Maybe[MaxFlows] = UNSET


class VrfAssignRuleType(Part):
    """Sends matching traffic of an interface to another routing instance."""

    match_condition: Maybe[MatchConditionType] = UNSET
    vlan_tag: Maybe[int] = UNSET
    routing_instance: Maybe[str] = UNSET
    ignore_acl: Maybe[bool] = UNSET


class VrfAssignTableType(Part):
    """VRF assignment rules in TF's wrapper."""

    vrf_assign_rule: Maybe[list[VrfAssignRuleType]] = UNSET


class PolicyBasedForwardingRuleType(Part):
    """Attribute of virtual-machine-interface -> routing-instance."""

    direction: Maybe[TrafficDirection] = UNSET
    vlan_tag: Maybe[int] = UNSET
    src_mac: Maybe[str] = UNSET
    dst_mac: Maybe[str] = UNSET
    mpls_label: Maybe[int] = UNSET
    service_chain_address: Maybe[str] = UNSET
    ipv6_service_chain_address: Maybe[str] = UNSET
    protocol: Maybe[str] = UNSET


class VirtualRouterNetworkIpamType(Part):
    """Attribute of virtual-router -> network-ipam: the compute host's own address pools."""

    allocation_pools: Maybe[list[AllocationPoolType]] = UNSET
    subnet: Maybe[list[SubnetType]] = UNSET


class PortMap(Part):
    """One translated port of a floating address."""

    protocol: Maybe[str] = UNSET
    src_port: Maybe[int] = UNSET
    dst_port: Maybe[int] = UNSET


class PortMappings(Part):
    """Port translations of a floating address in TF's wrapper."""

    port_mappings: Maybe[list[PortMap]] = UNSET


class FloatingIpPoolSubnetType(Part):
    """The subnets a floating-ip pool takes its addresses from."""

    subnet_uuid: Maybe[list[str]] = UNSET


class BridgeDomainMembershipType(Part):
    """Attribute of virtual-machine-interface -> bridge-domain: the VLAN it is reached by."""

    vlan_tag: Maybe[VlanId] = UNSET


class VmiVirtualPortGroupAttributes(Part):
    """Attribute of virtual-machine-interface -> virtual-port-group: its VLANs there."""

    vlan_tag: Maybe[VlanId] = UNSET
    native_vlan_tag: Maybe[VlanId] = UNSET


class LogicalRouterVirtualNetworkType(Part):
    """Attribute of logical-router -> virtual-network: what the network is to the router."""

    logical_router_virtual_network_type: Maybe[
        Literal["ExternalGateway", "InternalVirtualNetwork", "NAPTSourcePool"]
    ] = UNSET


class MulticastSourceGroup(Part):
    """One multicast flow and whether it may pass."""

    source_address: Maybe[str] = UNSET
    group_address: Maybe[str] = UNSET
    action: Maybe[Literal["deny", "pass"]] = UNSET


class MulticastSourceGroups(Part):
    """Multicast flows in TF's wrapper."""

    multicast_source_group: Maybe[list[MulticastSourceGroup]] = UNSET


class AttachmentAddressType(Part):
    """The address of a customer attachment; the schema leaves it empty."""


class DnsSoaRecordType(Part):
    """The zone's start of authority."""

    negative_cache_ttl_seconds: Maybe[int] = UNSET


class VirtualDnsType(Part):
    """A virtual DNS zone and how it answers."""

    domain_name: Maybe[str] = UNSET
    dynamic_records_from_client: Maybe[bool] = UNSET
    record_order: Maybe[Literal["fixed", "random", "round-robin"]] = UNSET
    default_ttl_seconds: Maybe[int] = UNSET
    next_virtual_DNS: Maybe[str] = UNSET  # noqa: N815 - the schema's spelling
    floating_ip_record: Maybe[
        Literal["dashed-ip", "dashed-ip-tenant-name", "vm-name", "vm-name-tenant-name"]
    ] = UNSET
    external_visible: Maybe[bool] = UNSET
    reverse_resolution: Maybe[bool] = UNSET
    soa_record: Maybe[DnsSoaRecordType] = UNSET


class VirtualDnsRecordType(Part):
    """One record of a virtual DNS zone."""

    record_name: Maybe[str] = UNSET
    record_type: Maybe[Literal["A", "AAAA", "CNAME", "PTR", "NS", "MX"]] = UNSET
    record_class: Maybe[Literal["IN"]] = UNSET
    record_data: Maybe[str] = UNSET
    record_ttl_seconds: Maybe[int] = UNSET
    record_mx_preference: Maybe[int] = UNSET
    record_source_name: Maybe[str] = UNSET


class QosIdForwardingClassPair(Part):
    """A marking and the forwarding class it leads to."""

    key: Maybe[int] = UNSET
    forwarding_class_id: Maybe[ForwardingClassId] = UNSET


class QosIdForwardingClassPairs(Part):
    """Markings and forwarding classes in TF's wrapper."""

    qos_id_forwarding_class_pair: Maybe[list[QosIdForwardingClassPair]] = UNSET


class ControlTrafficDscpType(Part):
    """The markings of the cluster's own traffic."""

    control: Maybe[Dscp] = UNSET
    analytics: Maybe[Dscp] = UNSET
    dns: Maybe[Dscp] = UNSET
