"""THE registry: one row per kind of configuration object.

Routes, client verbs, command line, checks of types and documentation are derived from it: adding
a kind is adding a row (and its types). Rows follow Tungsten Fabric's schema.
"""

from __future__ import annotations

from typing import Any, Literal

from filament.model import types_common as common
from filament.model import types_network as network
from filament.model import types_policy as policy
from filament.model import types_routing as routing
from filament.model import types_system as system
from filament.model.kind import COMMON_PROPERTIES, ROOT, Kind, Registry

__all__ = ["KINDS", "Kind", "kind_named"]


def _row(
    name: str,
    parents: tuple[str, ...],
    properties: dict[str, Any] | None = None,
    references: dict[str, Any] | None = None,
    **more: Any,
) -> Kind:
    return Kind(
        name=name,
        parents=parents,
        properties=COMMON_PROPERTIES | (properties or {}),
        references=references or {},
        **more,
    )


_GLOBAL = (
    _row(ROOT, ()),
    _row(
        "global-system-config",
        (ROOT,),
        {
            "alarm_enable": bool,
            "autonomous_system": common.AutonomousSystem,
            "bgp_always_compare_med": bool,
            "bgpaas_parameters": system.BgpAsAServiceParametersType,
            "config_version": str,
            "data_center_interconnect_asn_namespace": system.AsnRangeType,
            "data_center_interconnect_loopback_namespace": common.SubnetListType,
            "enable_4byte_as": bool,
            "enable_security_policy_draft": bool,
            "fast_convergence_parameters": system.FastConvergenceParametersType,
            "graceful_restart_parameters": system.GracefulRestartParametersType,
            "ibgp_auto_mesh": bool,
            "igmp_enable": bool,
            "ip_fabric_subnets": common.SubnetListType,
            "mac_aging_time": common.MacAgingTime,
            "mac_limit_control": common.MacLimitControlType,
            "mac_move_control": common.MacMoveLimitControlType,
            "plugin_tuning": system.PluginProperties,
            "rd_cluster_seed": int,
            "route_replication_threshold": int,
            "supported_device_families": system.DeviceFamilyListType,
            "supported_fabric_annotations": common.KeyValuePairs,
            "supported_vendor_hardwares": system.VendorHardwaresType,
            "user_defined_log_statistics": system.UserDefinedLogStatList,
        },
        {"bgp-router": None},
        columns=("autonomous_system",),
    ),
    _row(
        "global-vrouter-config",
        ("global-system-config",),
        {
            "ecmp_hashing_include_fields": common.EcmpHashingIncludeFields,
            "enable_security_logging": bool,
            "encapsulation_priorities": system.EncapsulationPrioritiesType,
            "encryption_mode": Literal["none", "all"],
            "encryption_tunnel_endpoints": system.EncryptionTunnelEndpointList,
            "flow_aging_timeout_list": system.FlowAgingTimeoutList,
            "flow_export_rate": int,
            "forwarding_mode": common.ForwardingMode,
            "linklocal_services": system.LinklocalServicesTypes,
            "port_translation_pools": system.PortTranslationPools,
            "vxlan_network_identifier_mode": Literal["configured", "automatic"],
        },
        columns=("encapsulation_priorities",),
    ),
    _row("domain", (ROOT,), {"domain_limits": system.DomainLimitsType}),
    _row(
        "api-access-list",
        ("domain", "project", "global-system-config"),
        {"api_access_list_entries": system.RbacRuleEntriesType},
    ),
    _row(
        "project",
        ("domain",),
        {
            "alarm_enable": bool,
            "enable_security_policy_draft": bool,
            "quota": system.QuotaType,
            "vxlan_routing": bool,
        },
    ),
)

_NETWORK = (
    _row(
        "network-ipam",
        ("project",),
        {
            "ipam_subnet_method": Literal["user-defined-subnet", "flat-subnet", "auto-subnet"],
            "ipam_subnets": network.IpamSubnets,
            "ipam_subnetting": bool,
            "network_ipam_mgmt": network.IpamType,
        },
        columns=("ipam_subnet_method",),
    ),
    _row(
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
        },
        {
            "network-ipam": network.VnSubnetsType,
            "network-policy": network.VirtualNetworkPolicyType,
            "virtual-network": None,
        },
        derived_children=frozenset({"access-control-list", "routing-instance"}),
        columns=("network_ipam_refs", "virtual_network_network_id", "network_policy_refs"),
        allocates=("vn-id",),
        system_properties=frozenset({"virtual_network_network_id"}),
    ),
    _row(
        "virtual-machine",
        (ROOT,),
        {"server_type": Literal["virtual-server", "baremetal-server", "container"]},
    ),
    _row(
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
            "routing-instance": network.PolicyBasedForwardingRuleType,
            "security-group": None,
            "virtual-machine-interface": None,
            "virtual-machine": None,
            "virtual-network": None,
        },
        columns=(
            "virtual_machine_interface_mac_addresses",
            "virtual_network_refs",
            "virtual_machine_refs",
        ),
    ),
    _row(
        "instance-ip",
        (ROOT,),
        {
            "instance_ip_address": str,
            "instance_ip_family": Literal["v4", "v6"],
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
            "network-ipam": None,
            "virtual-machine-interface": None,
            "virtual-network": None,
            "virtual-router": None,
        },
        columns=("instance_ip_address", "virtual_network_refs", "virtual_machine_interface_refs"),
        allocates=("ip",),
    ),
    _row(
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
            "virtual-machine": None,
        },
        columns=("virtual_router_ip_address", "virtual_machine_refs"),
    ),
)

_POLICY = (
    _row(
        "network-policy",
        ("project",),
        {"network_policy_entries": policy.PolicyEntriesType},
        columns=("network_policy_entries",),
    ),
    _row(
        "security-group",
        ("project",),
        {
            "configured_security_group_id": policy.ConfiguredSecurityGroupId,
            "security_group_entries": policy.PolicyEntriesType,
            "security_group_id": int,
        },
        derived_children=frozenset({"access-control-list"}),
        columns=("security_group_id",),
        allocates=("security-group-id",),
        system_properties=frozenset({"security_group_id"}),
    ),
    _row(
        "access-control-list",
        ("virtual-network", "security-group"),
        {
            "access_control_list_entries": policy.AclEntriesType,
            "access_control_list_hash": policy.AclHash,
        },
        rendered_from="change the network-policy objects attached to the virtual-network instead",
    ),
)

_ROUTING = (
    _row(
        "bgp-router",
        ("routing-instance",),
        {"bgp_router_parameters": routing.BgpRouterParams},
        {"bgp-router": routing.BgpPeeringAttributes},
        columns=("bgp_router_parameters",),
    ),
    _row(
        "routing-instance",
        ("virtual-network",),
        {
            "default_ce_protocol": routing.DefaultProtocolType,
            "evpn_ipv6_service_chain_information": routing.ServiceChainInfo,
            "evpn_service_chain_information": routing.ServiceChainInfo,
            "ipv6_service_chain_information": routing.ServiceChainInfo,
            "routing_instance_fabric_snat": bool,
            "routing_instance_has_pnf": bool,
            "routing_instance_is_default": bool,
            "service_chain_information": routing.ServiceChainInfo,
            "static_route_entries": routing.StaticRouteEntriesType,
        },
        {"route-target": routing.InstanceTargetType, "routing-instance": routing.ConnectionType},
        columns=("routing_instance_is_default", "route_target_refs"),
        rendered_from="change the virtual-network, its route target lists or its policies instead",
    ),
    _row(
        "route-target",
        (ROOT,),
        columns=("routing_instance_back_refs",),
        rendered_from="name the target in a route_target_list of a virtual-network instead",
    ),
)

KINDS = Registry((*_GLOBAL, *_NETWORK, *_POLICY, *_ROUTING))


def kind_named(name: str) -> Kind:
    """The kind called `name` (dashed or underscored); NotFoundError names the nearest."""
    return KINDS.named(name)
