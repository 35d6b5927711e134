"""Kinds of the cluster as a whole: roots, projects, the cluster's own nodes, operation."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from filament.model import types_common as common
from filament.model import types_operation as operation
from filament.model import types_system as system
from filament.model.kind import ROOT, row

ROWS = (
    row(
        ROOT,
        (),
    ),
    row(
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
            "rd_cluster_seed": Annotated[int, Meta(ge=1, le=65535)],
            "route_replication_threshold": Annotated[int, Meta(ge=0, le=60)],
            "supported_device_families": system.DeviceFamilyListType,
            "supported_fabric_annotations": common.KeyValuePairs,
            "supported_vendor_hardwares": system.VendorHardwaresType,
            "user_defined_log_statistics": system.UserDefinedLogStatList,
        },
        {
            "bgp-router": None,
        },
        maps={"user_defined_log_statistics": ("statlist", "name")},
        columns=("autonomous_system",),
    ),
    row(
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
        lists={
            "encryption_tunnel_endpoints": "endpoint",
            "port_translation_pools": "port_translation_pool",
        },
        columns=("encapsulation_priorities",),
    ),
    row(
        "global-analytics-config",
        ("global-system-config",),
    ),
    row(
        "domain",
        (ROOT,),
        {
            "domain_limits": system.DomainLimitsType,
        },
    ),
    row(
        "namespace",
        ("domain",),
        {
            "namespace_cidr": common.SubnetType,
        },
    ),
    row(
        "project",
        ("domain",),
        {
            "alarm_enable": bool,
            "enable_security_policy_draft": bool,
            "quota": system.QuotaType,
            "vxlan_routing": bool,
        },
        {
            "alias-ip-pool": None,
            "application-policy-set": None,
            "floating-ip-pool": None,
            "namespace": common.SubnetType,
        },
    ),
    row(
        "api-access-list",
        ("domain", "project", "global-system-config"),
        {
            "api_access_list_entries": operation.RbacRuleEntriesType,
        },
    ),
    row(
        "config-properties",
        ("global-system-config",),
        {
            "properties": common.KeyValuePairs,
        },
    ),
    row(
        "feature-flag",
        ("global-system-config",),
        {
            "enable_feature": bool,
            "feature_description": str,
            "feature_flag_version": str,
            "feature_id": Literal["default", "__test_feature_1__", "__test_feature_2__"],
            "feature_release": str,
            "feature_state": Literal["experimental", "alpha", "beta", "in-progress", "pre-retired"],
        },
    ),
    row(
        "alarm",
        ("global-system-config", "project"),
        {
            "alarm_rules": operation.AlarmOrList,
            "alarm_severity": Annotated[int, Meta(ge=0, le=2)],
            "uve_keys": operation.UveKeysType,
        },
        lists={"alarm_rules": "or_list"},
    ),
    row(
        "analytics-node",
        ("global-system-config",),
        {
            "analytics_node_ip_address": str,
        },
    ),
    row(
        "analytics-alarm-node",
        ("global-system-config",),
        {
            "analytics_alarm_node_ip_address": str,
        },
    ),
    row(
        "analytics-snmp-node",
        ("global-system-config",),
        {
            "analytics_snmp_node_ip_address": str,
        },
    ),
    row(
        "config-node",
        ("global-system-config",),
        {
            "config_node_ip_address": str,
        },
    ),
    row(
        "config-database-node",
        ("global-system-config",),
        {
            "config_database_node_ip_address": str,
        },
    ),
    row(
        "database-node",
        ("global-system-config",),
        {
            "database_node_ip_address": str,
        },
    ),
    row(
        "devicemgr-node",
        ("global-system-config",),
        {
            "devicemgr_node_ip_address": str,
        },
    ),
    row(
        "webui-node",
        ("global-system-config",),
        {
            "webui_node_ip_address": str,
        },
    ),
    row(
        "flow-node",
        ("global-system-config",),
        {
            "flow_node_inband_interface": str,
            "flow_node_ip_address": str,
            "flow_node_load_balancer_ip": str,
        },
        {
            "virtual-network": None,
        },
    ),
    row(
        "control-node-zone",
        ("global-system-config",),
    ),
    row(
        "sub-cluster",
        (ROOT,),
        {
            "sub_cluster_asn": common.AutonomousSystem,
            "sub_cluster_id": Annotated[int, Meta(ge=1, le=4294967295)],
        },
        columns=("sub_cluster_asn", "sub_cluster_id"),
        allocates=("sub-cluster",),
        system_properties=frozenset({"sub_cluster_id"}),
    ),
    row(
        "discovery-service-assignment",
        (ROOT,),
    ),
    row(
        "dsa-rule",
        ("discovery-service-assignment",),
        {
            "dsa_rule_entry": operation.DiscoveryServiceAssignmentType,
        },
    ),
    row(
        "structured-syslog-config",
        ("global-analytics-config", "project"),
    ),
    row(
        "structured-syslog-message",
        ("structured-syslog-config",),
        {
            "structured_syslog_message_forward": Literal[
                "do-not-forward", "forward-unprocessed", "forward-processed"
            ],
            "structured_syslog_message_int_fields": operation.FieldNamesList,
            "structured_syslog_message_process_and_store": bool,
            "structured_syslog_message_process_and_summarize": bool,
            "structured_syslog_message_process_and_summarize_user": bool,
            "structured_syslog_message_tagged_fields": operation.FieldNamesList,
        },
    ),
    row(
        "structured-syslog-application-record",
        ("structured-syslog-config",),
        {
            "structured_syslog_app_category": str,
            "structured_syslog_app_groups": str,
            "structured_syslog_app_risk": str,
            "structured_syslog_app_service_tags": str,
            "structured_syslog_app_subcategory": str,
        },
    ),
    row(
        "structured-syslog-hostname-record",
        ("structured-syslog-config",),
        {
            "structured_syslog_device": str,
            "structured_syslog_hostaddr": str,
            "structured_syslog_hostname_tags": str,
            "structured_syslog_lan_segment_list": operation.StructuredSyslogLanSegmentList,
            "structured_syslog_linkmap": operation.StructuredSyslogLinkmap,
            "structured_syslog_location": str,
            "structured_syslog_tenant": str,
        },
    ),
    row(
        "structured-syslog-sla-profile",
        ("structured-syslog-config",),
        {
            "structured_syslog_sla_params": str,
        },
    ),
    row(
        "structured-syslog-tenant-record",
        ("structured-syslog-config",),
        {
            "structured_syslog_dscpmap": operation.StructuredSyslogDscpMap,
            "structured_syslog_tenant": str,
            "structured_syslog_tenant_tags": str,
            "structured_syslog_tenantaddr": str,
        },
    ),
)
