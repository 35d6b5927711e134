"""Kinds of the physical fabric: devices, their interfaces, roles, images and jobs."""

from __future__ import annotations

from typing import Literal

from filament.model import types_common as common
from filament.model import types_device as device
from filament.model import types_fabric as fabric
from filament.model import types_network as network
from filament.model import types_routing as routing
from filament.model.kind import ROOT, row

ROWS = (
    row(
        "fabric",
        ("global-system-config",),
        {
            "disable_vlan_vn_uniqueness_check": bool,
            "fabric_credentials": fabric.DeviceCredentialList,
            "fabric_enterprise_style": bool,
            "fabric_os_version": str,
            "fabric_ztp": bool,
        },
        {
            "intent-map": None,
            "node-profile": fabric.SerialNumListType,
            "virtual-network": fabric.FabricNetworkTag,
        },
        lists={"fabric_credentials": "device_credential"},
    ),
    row(
        "fabric-namespace",
        ("fabric",),
        {
            "fabric_namespace_type": Literal[
                "IPV4-CIDR", "ASN", "ASN_RANGE", "MAC_ADDR", "SERIAL_NUM"
            ],
            "fabric_namespace_value": fabric.NamespaceValue,
        },
    ),
    row(
        "physical-router",
        ("global-system-config",),
        {
            "physical_router_autonomous_system": common.AutonomousSystemsType,
            "physical_router_cli_commit_state": Literal["in_sync", "out_of_sync"],
            "physical_router_dataplane_ip": str,
            "physical_router_device_family": str,
            "physical_router_dhcp_parameters": fabric.DnsmasqLeaseParameters,
            "physical_router_encryption_type": Literal["none", "local"],
            "physical_router_hostname": str,
            "physical_router_junos_service_ports": fabric.JunosServicePorts,
            "physical_router_lldp": bool,
            "physical_router_loopback_ip": str,
            "physical_router_managed_state": Literal[
                "dhcp", "rma", "activating", "active", "maintenance", "error"
            ],
            "physical_router_management_ip": str,
            "physical_router_management_mac": str,
            "physical_router_onboarding_state": Literal[
                "discovered",
                "interfaces_onboarded",
                "topology_discovered",
                "role_discovered",
                "underlay_configured",
            ],
            "physical_router_os_version": str,
            "physical_router_product_name": str,
            "physical_router_replicator_loopback_ip": str,
            "physical_router_role": Literal[
                "spine",
                "leaf",
                "e2-access",
                "e2-provider",
                "e2-internet",
                "e2-vrr",
                "pnf",
                "superspine",
            ],
            "physical_router_serial_number": str,
            "physical_router_snmp": bool,
            "physical_router_snmp_credentials": fabric.SnmpCredentials,
            "physical_router_supplemental_config": str,
            "physical_router_underlay_config": str,
            "physical_router_underlay_managed": bool,
            "physical_router_user_credentials": common.UserCredentials,
            "physical_router_vendor_name": str,
            "physical_router_vnc_managed": bool,
            "routing_bridging_roles": fabric.RoutingBridgingRolesType,
            "telemetry_info": device.TelemetryStateInfo,
        },
        {
            "bgp-router": None,
            "device-chassis": None,
            "device-functional-group": None,
            "device-image": None,
            "fabric": None,
            "intent-map": None,
            "node-profile": None,
            "overlay-role": None,
            "physical-role": None,
            "telemetry-profile": None,
            "virtual-network": None,
            "virtual-router": None,
        },
        columns=("physical_router_management_ip", "physical_router_product_name"),
    ),
    row(
        "physical-interface",
        ("physical-router",),
        {
            "ethernet_segment_identifier": str,
            "physical_interface_flow_control": bool,
            "physical_interface_lacp_force_up": bool,
            "physical_interface_mac_addresses": network.MacAddressesType,
            "physical_interface_port_id": str,
            "physical_interface_port_params": device.PortParameters,
            "physical_interface_type": Literal["regular", "lag", "service", "fabric", "access"],
        },
        {
            "physical-interface": None,
            "port": None,
        },
    ),
    row(
        "logical-interface",
        ("physical-router", "physical-interface"),
        {
            "logical_interface_port_params": device.PortParameters,
            "logical_interface_type": Literal["l2", "l3"],
            "logical_interface_vlan_tag": int,
        },
        {
            "virtual-machine-interface": None,
        },
    ),
    row(
        "link-aggregation-group",
        ("physical-router",),
        {
            "link_aggregation_group_lacp_enabled": bool,
        },
        {
            "physical-interface": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "virtual-port-group",
        ("fabric", "project"),
        {
            "virtual_port_group_lacp_enabled": bool,
            "virtual_port_group_trunk_port_id": str,
            "virtual_port_group_type": Literal["access", "routed"],
            "virtual_port_group_user_created": bool,
        },
        {
            "physical-interface": fabric.VpgInterfaceParametersType,
            "port-profile": None,
            "security-group": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "data-center-interconnect",
        ("global-system-config",),
        {
            "data_center_interconnect_bgp_address_families": routing.AddressFamilies,
            "data_center_interconnect_bgp_hold_time": common.BgpHoldTime,
            "data_center_interconnect_configured_route_target_list": common.RouteTargetList,
            "data_center_interconnect_mode": Literal["l3", "l2"],
            "data_center_interconnect_type": Literal["inter_fabric", "intra_fabric"],
            "destination_physical_router_list": fabric.LogicalRouterPrListType,
        },
        {
            "fabric": None,
            "logical-router": None,
            "routing-policy": None,
            "virtual-network": None,
        },
    ),
    row(
        "network-device-config",
        (ROOT,),
        {},
        {
            "physical-router": None,
        },
    ),
    row(
        "cli-config",
        ("physical-router",),
        {
            "accepted_cli_config": str,
            "commit_diff_list": fabric.CliDiffListType,
        },
        lists={"commit_diff_list": "commit_diff_info"},
    ),
    row(
        "hardware",
        (ROOT,),
        {},
        {
            "card": None,
        },
    ),
    row(
        "hardware-inventory",
        ("physical-router",),
        {
            "hardware_inventory_inventory_info": str,
        },
    ),
    row(
        "card",
        (ROOT,),
        {
            "interface_map": fabric.InterfaceMapType,
        },
    ),
    row(
        "device-chassis",
        (ROOT,),
        {
            "device_chassis_type": str,
        },
    ),
    row(
        "device-functional-group",
        ("project",),
        {
            "device_functional_group_description": str,
            "device_functional_group_os_version": str,
            "device_functional_group_routing_bridging_roles": fabric.RoutingBridgingRolesType,
        },
        {
            "physical-role": None,
        },
    ),
    row(
        "device-image",
        ("global-system-config",),
        {
            "device_image_device_family": str,
            "device_image_file_name": str,
            "device_image_file_uri": str,
            "device_image_md5": str,
            "device_image_os_version": str,
            "device_image_sha1": str,
            "device_image_size": int,
            "device_image_supported_platforms": fabric.DevicePlatformListType,
            "device_image_vendor_name": str,
        },
        {
            "hardware": None,
        },
    ),
    row(
        "physical-role",
        ("global-system-config",),
    ),
    row(
        "overlay-role",
        ("global-system-config",),
    ),
    row(
        "role-definition",
        ("global-system-config",),
        {},
        {
            "feature": None,
            "overlay-role": None,
            "physical-role": None,
        },
    ),
    row(
        "role-config",
        ("node-profile",),
        {
            "role_config_config": str,
        },
    ),
    row(
        "feature",
        ("global-system-config",),
        {},
        {
            "feature": None,
        },
    ),
    row(
        "feature-config",
        ("role-definition",),
        {
            "feature_config_additional_params": common.KeyValuePairs,
            "feature_config_vendor_config": common.KeyValuePairs,
        },
    ),
    row(
        "intent-map",
        ("global-system-config",),
        {
            "intent_map_intent_type": Literal["assisted-replicator"],
        },
    ),
    row(
        "job-template",
        ("global-system-config",),
        {
            "job_template_concurrency_level": Literal["fabric", "device"],
            "job_template_description": str,
            "job_template_executables": fabric.ExecutableInfoListType,
            "job_template_input_schema": str,
            "job_template_input_ui_schema": str,
            "job_template_output_schema": str,
            "job_template_output_ui_schema": str,
            "job_template_playbooks": fabric.PlaybookInfoListType,
            "job_template_recovery_playbooks": fabric.PlaybookInfoListType,
            "job_template_synchronous_job": bool,
            "job_template_type": Literal["workflow", "device_operation", "config", "executable"],
        },
        lists={
            "job_template_executables": "executable_info",
            "job_template_playbooks": "playbook_info",
            "job_template_recovery_playbooks": "playbook_info",
        },
    ),
    row(
        "node-profile",
        ("global-system-config",),
        {
            "node_profile_device_family": str,
            "node_profile_hitless_upgrade": bool,
            "node_profile_roles": fabric.NodeProfileRolesType,
            "node_profile_type": Literal["physical-router", "end-system"],
            "node_profile_vendor": str,
        },
        {
            "hardware": None,
            "job-template": None,
            "role-definition": None,
        },
    ),
)
