"""Kinds of networks, ports, addresses, names and quality of service."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from filament.model import types_common as common
from filament.model import types_network as network
from filament.model import types_routed as routed
from filament.model import types_routing_policy as routing_policy
from filament.model.kind import ROOT, row

ROWS = (
    row(
        "network-ipam",
        ("project",),
        {
            "ipam_subnet_method": Literal["user-defined-subnet", "flat-subnet", "auto-subnet"],
            "ipam_subnets": network.IpamSubnets,
            "ipam_subnetting": bool,
            "network_ipam_mgmt": network.IpamType,
        },
        {
            "virtual-DNS": None,
        },
        lists={"ipam_subnets": "subnets"},
        columns=("ipam_subnet_method",),
    ),
    row(
        "virtual-network",
        ("project",),
        {
            "address_allocation_mode": Literal[
                "user-defined-subnet-preferred",
                "user-defined-subnet-only",
                "flat-subnet-preferred",
                "flat-subnet-only",
            ],
            "ecmp_hashing_include_fields": common.EcmpHashingIncludeFields,
            "export_route_target_list": common.RouteTargetList,
            "external_ipam": bool,
            "fabric_snat": bool,
            "flood_unknown_unicast": bool,
            "igmp_enable": bool,
            "import_route_target_list": common.RouteTargetList,
            "is_provider_network": bool,
            "is_shared": bool,
            "layer2_control_word": bool,
            "mac_aging_time": common.MacAgingTime,
            "mac_ip_learning_enable": bool,
            "mac_learning_enabled": bool,
            "mac_limit_control": common.MacLimitControlType,
            "mac_move_control": common.MacMoveLimitControlType,
            "mtu": network.NetworkMtu,
            "multi_policy_service_chains_enabled": bool,
            "pbb_etree_enable": bool,
            "pbb_evpn_enable": bool,
            "port_security_enabled": bool,
            "provider_properties": network.ProviderDetails,
            "route_target_list": common.RouteTargetList,
            "router_external": bool,
            "virtual_network_category": Literal["infra", "tenant", "internal", "routed"],
            "virtual_network_fat_flow_protocols": common.FatFlowProtocols,
            "virtual_network_network_id": int,
            "virtual_network_properties": network.VirtualNetworkType,
            "virtual_network_routed_properties": routed.VirtualNetworkRoutedPropertiesType,
        },
        {
            "bgpvpn": None,
            "intent-map": None,
            "multicast-policy": None,
            "network-ipam": network.VnSubnetsType,
            "network-policy": network.VirtualNetworkPolicyType,
            "qos-config": None,
            "route-table": None,
            "routing-policy": routing_policy.RoutingPolicyType,
            "security-logging-object": None,
            "service-health-check": None,
            "virtual-network": None,
        },
        lists={"virtual_network_fat_flow_protocols": "fat_flow_protocol"},
        derived_children=frozenset({"access-control-list", "routing-instance"}),
        columns=("network_ipam_refs", "virtual_network_network_id", "network_policy_refs"),
        allocates=("vn-id",),
        system_properties=frozenset({"virtual_network_network_id"}),
    ),
    row(
        "bridge-domain",
        ("virtual-network",),
        {
            "isid": Annotated[int, Meta(ge=1, le=16777215)],
            "mac_aging_time": common.MacAgingTime,
            "mac_learning_enabled": bool,
            "mac_limit_control": common.MacLimitControlType,
            "mac_move_control": common.MacMoveLimitControlType,
        },
    ),
    row(
        "subnet",
        (ROOT,),
        {
            "subnet_ip_prefix": common.SubnetType,
        },
        {
            "virtual-machine-interface": None,
        },
    ),
    row(
        "virtual-machine",
        (ROOT,),
        {
            "server_type": Literal["virtual-server", "baremetal-server", "container"],
        },
        {
            "service-instance": None,
        },
        derived_references=frozenset({"service-instance"}),
    ),
    row(
        "virtual-machine-interface",
        ("virtual-machine", "project", "virtual-router"),
        {
            "ecmp_hashing_include_fields": common.EcmpHashingIncludeFields,
            "igmp_enable": bool,
            "port_security_enabled": bool,
            "virtual_machine_interface_allowed_address_pairs": network.AllowedAddressPairs,
            "virtual_machine_interface_bindings": common.KeyValuePairs,
            "virtual_machine_interface_device_owner": str,
            "virtual_machine_interface_dhcp_option_list": common.DhcpOptionsListType,
            "virtual_machine_interface_disable_policy": bool,
            "virtual_machine_interface_fat_flow_protocols": common.FatFlowProtocols,
            "virtual_machine_interface_host_routes": common.RouteTableType,
            "virtual_machine_interface_mac_addresses": network.MacAddressesType,
            "virtual_machine_interface_properties": network.VirtualMachineInterfacePropertiesType,
            "vlan_tag_based_bridge_domain": bool,
            "vrf_assign_table": network.VrfAssignTableType,
        },
        {
            "bgp-router": None,
            "bridge-domain": network.BridgeDomainMembershipType,
            "interface-route-table": None,
            "physical-interface": None,
            "port-profile": None,
            "port-tuple": None,
            "qos-config": None,
            "routing-instance": network.PolicyBasedForwardingRuleType,
            "security-group": None,
            "security-logging-object": None,
            "service-endpoint": None,
            "service-health-check": None,
            "virtual-machine-interface": None,
            "virtual-machine": None,
            "virtual-network": None,
            "virtual-port-group": network.VmiVirtualPortGroupAttributes,
        },
        lists={"virtual_machine_interface_fat_flow_protocols": "fat_flow_protocol"},
        maps={"virtual_machine_interface_bindings": ("key_value_pair", "key")},
        columns=(
            "virtual_machine_interface_mac_addresses",
            "virtual_network_refs",
            "virtual_machine_refs",
        ),
    ),
    row(
        "instance-ip",
        (ROOT,),
        {
            "instance_ip_address": str,
            "instance_ip_family": network.IpAddressFamily,
            "instance_ip_local_ip": bool,
            "instance_ip_mode": common.AddressMode,
            "instance_ip_secondary": bool,
            "instance_ip_subnet": common.SubnetType,
            "instance_ip_subscriber_tag": str,
            "secondary_ip_tracking_ip": common.SubnetType,
            "service_health_check_ip": bool,
            "service_instance_ip": bool,
            "subnet_uuid": str,
        },
        {
            "flow-node": None,
            "logical-interface": None,
            "network-ipam": None,
            "physical-router": None,
            "virtual-machine-interface": None,
            "virtual-network": None,
            "virtual-router": None,
        },
        columns=("instance_ip_address", "virtual_network_refs", "virtual_machine_interface_refs"),
        allocates=("ip",),
    ),
    row(
        "floating-ip-pool",
        ("virtual-network",),
        {
            "floating_ip_pool_subnets": network.FloatingIpPoolSubnetType,
        },
    ),
    row(
        "floating-ip",
        ("floating-ip-pool", "instance-ip"),
        {
            "floating_ip_address": str,
            "floating_ip_address_family": network.IpAddressFamily,
            "floating_ip_fixed_ip_address": str,
            "floating_ip_is_virtual_ip": bool,
            "floating_ip_port_mappings": network.PortMappings,
            "floating_ip_port_mappings_enable": bool,
            "floating_ip_traffic_direction": common.TrafficDirection,
        },
        {
            "project": None,
            "virtual-machine-interface": None,
        },
        lists={"floating_ip_port_mappings": "port_mappings"},
        columns=("floating_ip_address", "virtual_machine_interface_refs"),
        allocates=("ip",),
    ),
    row(
        "alias-ip-pool",
        ("virtual-network",),
    ),
    row(
        "alias-ip",
        ("alias-ip-pool",),
        {
            "alias_ip_address": str,
            "alias_ip_address_family": network.IpAddressFamily,
        },
        {
            "project": None,
            "virtual-machine-interface": None,
        },
        columns=("alias_ip_address", "virtual_machine_interface_refs"),
        allocates=("ip",),
    ),
    row(
        "virtual-router",
        ("global-system-config",),
        {
            "virtual_router_dpdk_enabled": bool,
            "virtual_router_ip_address": str,
            "virtual_router_sriov_physical_networks": common.KeyValuePairs,
            "virtual_router_type": Literal["embedded", "tor-agent", "tor-service-node"],
        },
        {
            "network-ipam": network.VirtualRouterNetworkIpamType,
            "sub-cluster": None,
            "virtual-machine": None,
        },
        maps={"virtual_router_sriov_physical_networks": ("key_value_pair", "key")},
        columns=("virtual_router_ip_address", "virtual_machine_refs"),
    ),
    row(
        "logical-router",
        ("project",),
        {
            "configured_route_target_list": common.RouteTargetList,
            "logical_router_dhcp_relay_server": common.IpAddressesType,
            "logical_router_gateway_external": bool,
            "logical_router_type": Literal["snat-routing", "vxlan-routing"],
            "vxlan_network_identifier": str,
        },
        {
            "bgpvpn": None,
            "fabric": None,
            "physical-router": None,
            "route-table": None,
            "route-target": None,
            "service-instance": None,
            "virtual-machine-interface": None,
            "virtual-network": network.LogicalRouterVirtualNetworkType,
        },
        columns=("logical_router_type", "virtual_machine_interface_refs"),
    ),
    row(
        "multicast-policy",
        ("project",),
        {
            "multicast_source_groups": network.MulticastSourceGroups,
        },
        lists={"multicast_source_groups": "multicast_source_group"},
    ),
    row(
        "virtual-DNS",
        ("domain",),
        {
            "virtual_DNS_data": network.VirtualDnsType,
        },
        columns=("virtual_DNS_data",),
    ),
    row(
        "virtual-DNS-record",
        ("virtual-DNS",),
        {
            "virtual_DNS_record_data": network.VirtualDnsRecordType,
        },
        columns=("virtual_DNS_record_data",),
    ),
    row(
        "customer-attachment",
        (ROOT,),
        {
            "attachment_address": network.AttachmentAddressType,
        },
        {
            "floating-ip": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "provider-attachment",
        (ROOT,),
        {},
        {
            "virtual-router": None,
        },
    ),
    row(
        "global-qos-config",
        ("global-system-config",),
        {
            "control_traffic_dscp": network.ControlTrafficDscpType,
        },
    ),
    row(
        "qos-config",
        ("global-qos-config", "project"),
        {
            "default_forwarding_class_id": network.ForwardingClassId,
            "dscp_entries": network.QosIdForwardingClassPairs,
            "mpls_exp_entries": network.QosIdForwardingClassPairs,
            "qos_config_type": Literal["vhost", "fabric", "project"],
            "vlan_priority_entries": network.QosIdForwardingClassPairs,
        },
        {
            "global-system-config": None,
        },
        maps={
            "dscp_entries": ("qos_id_forwarding_class_pair", "key"),
            "mpls_exp_entries": ("qos_id_forwarding_class_pair", "key"),
            "vlan_priority_entries": ("qos_id_forwarding_class_pair", "key"),
        },
    ),
    row(
        "qos-queue",
        ("global-qos-config",),
        {
            "max_bandwidth": int,
            "min_bandwidth": int,
            "qos_queue_identifier": int,
        },
    ),
    row(
        "forwarding-class",
        ("global-qos-config",),
        {
            "forwarding_class_dscp": common.Dscp,
            "forwarding_class_id": network.ForwardingClassId,
            "forwarding_class_mpls_exp": Annotated[int, Meta(ge=0, le=7)],
            "forwarding_class_vlan_priority": Annotated[int, Meta(ge=0, le=7)],
        },
        {
            "qos-queue": None,
        },
    ),
)
