"""Kinds of policies, security groups, firewalls and tags."""

from __future__ import annotations

from typing import Literal

from filament.model import types_common as common
from filament.model import types_policy as policy
from filament.model import types_security as security
from filament.model.kind import ROOT, row

ROWS = (
    row(
        "network-policy",
        ("project",),
        {
            "network_policy_entries": policy.PolicyEntriesType,
        },
        keyed_lists={"network_policy_entries": ("policy_rule", "rule_uuid")},
        columns=("network_policy_entries",),
    ),
    row(
        "security-group",
        ("project",),
        {
            "configured_security_group_id": policy.ConfiguredSecurityGroupId,
            "security_group_entries": policy.PolicyEntriesType,
            "security_group_id": int,
        },
        keyed_lists={"security_group_entries": ("policy_rule", "rule_uuid")},
        derived_children=frozenset({"access-control-list"}),
        columns=("security_group_id",),
        allocates=("security-group-id",),
        system_properties=frozenset({"security_group_id"}),
    ),
    row(
        "access-control-list",
        ("virtual-network", "security-group"),
        {
            "access_control_list_entries": policy.AclEntriesType,
            "access_control_list_hash": common.Unsigned64,
        },
        rendered_from="change the network-policy objects attached to the virtual-network, or the"
        " rules of the security-group, instead",
    ),
    row(
        "policy-management",
        (ROOT, "project"),
    ),
    row(
        "application-policy-set",
        ("policy-management", "project"),
        {
            "all_applications": bool,
            "draft_mode_state": security.DraftModeState,
        },
        {
            "firewall-policy": security.FirewallSequence,
            "global-vrouter-config": None,
        },
        columns=("all_applications", "firewall_policy_refs"),
    ),
    row(
        "firewall-policy",
        ("policy-management", "project"),
        {
            "draft_mode_state": security.DraftModeState,
        },
        {
            "firewall-rule": security.FirewallSequence,
            "security-logging-object": security.SloRateType,
        },
        columns=("firewall_rule_refs",),
    ),
    row(
        "firewall-rule",
        ("policy-management", "project"),
        {
            "action_list": policy.ActionListType,
            "direction": Literal["<", ">", "<>"],
            "draft_mode_state": security.DraftModeState,
            "endpoint_1": security.FirewallRuleEndpointType,
            "endpoint_2": security.FirewallRuleEndpointType,
            "match_tag_types": security.FirewallRuleMatchTagsTypeIdList,
            "match_tags": security.FirewallRuleMatchTagsType,
            "service": security.FirewallServiceType,
        },
        {
            "address-group": None,
            "security-logging-object": security.SloRateType,
            "service-group": None,
            "virtual-network": None,
        },
        lists={"match_tags": "tag_list"},
        columns=("action_list", "endpoint_1", "direction", "endpoint_2", "service"),
    ),
    row(
        "address-group",
        ("policy-management", "project"),
        {
            "address_group_prefix": common.SubnetListType,
            "draft_mode_state": security.DraftModeState,
        },
        lists={"address_group_prefix": "subnet"},
    ),
    row(
        "service-group",
        ("policy-management", "project"),
        {
            "draft_mode_state": security.DraftModeState,
            "service_group_firewall_service_list": security.FirewallServiceGroupType,
        },
        lists={"service_group_firewall_service_list": "firewall_service"},
    ),
    row(
        "security-logging-object",
        ("global-vrouter-config", "project"),
        {
            "security_logging_object_rate": int,
            "security_logging_object_rules": security.SecurityLoggingObjectRuleListType,
        },
        {
            "network-policy": security.SecurityLoggingObjectRuleListType,
            "security-group": security.SecurityLoggingObjectRuleListType,
        },
    ),
    row(
        "tag-type",
        (ROOT,),
        {
            "tag_type_id": str,
        },
        columns=("tag_type_id",),
        allocates=("tag-type",),
    ),
    row(
        "tag",
        (ROOT, "project"),
        {
            "tag_id": str,
            "tag_predefined": bool,
            "tag_type_name": str,
            "tag_value": str,
        },
        {
            "tag-type": None,
        },
        columns=("tag_type_name", "tag_value", "tag_id"),
        allocates=("tag-value",),
    ),
)
