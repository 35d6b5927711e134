"""Kinds of servers and their ports, and of profiles that devices are set to."""

from __future__ import annotations

from typing import Literal

from filament.model import types_device as device
from filament.model.kind import row

ROWS = (
    row(
        "node",
        ("global-system-config",),
        {
            "bms_info": device.BaremetalServerInfo,
            "cloud_info": device.CloudInstanceInfo,
            "disk_partition": str,
            "esxi_info": device.EsxiHostInfo,
            "hostname": str,
            "interface_name": str,
            "ip_address": str,
            "mac_address": str,
            "node_type": Literal["private", "baremetal", "esxi", "ovs-compute", "sriov-compute"],
        },
        {
            "node-profile": None,
        },
    ),
    row(
        "port",
        ("node",),
        {
            "bms_port_info": device.BaremetalPortInfo,
            "esxi_port_info": device.EsxiProperties,
            "label": str,
            "port_group_uuid": str,
        },
    ),
    row(
        "port-group",
        ("node",),
        {
            "bms_port_group_info": device.BaremetalPortGroupInfo,
        },
        {
            "port": None,
        },
    ),
    row(
        "port-profile",
        ("project",),
        {
            "port_profile_params": device.PortProfileParameters,
        },
        {
            "storm-control-profile": None,
        },
    ),
    row(
        "storm-control-profile",
        ("project",),
        {
            "storm_control_parameters": device.StormControlParameters,
        },
    ),
    row(
        "telemetry-profile",
        ("project",),
        {
            "telemetry_profile_is_default": bool,
        },
        {
            "grpc-profile": None,
            "netconf-profile": None,
            "sflow-profile": None,
            "snmp-profile": None,
        },
    ),
    row(
        "grpc-profile",
        ("project",),
        {
            "grpc_parameters": device.GrpcParameters,
            "grpc_profile_is_default": bool,
        },
    ),
    row(
        "netconf-profile",
        ("project",),
        {
            "netconf_parameters": device.NetconfParameters,
            "netconf_profile_is_default": bool,
        },
    ),
    row(
        "sflow-profile",
        ("project",),
        {
            "sflow_parameters": device.SflowParameters,
            "sflow_profile_is_default": bool,
        },
    ),
    row(
        "snmp-profile",
        ("project",),
        {
            "snmp_parameters": device.SnmpParameters,
            "snmp_profile_is_default": bool,
        },
    ),
)
