"""Types of alarms, access rules, service discovery and structured syslog."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import Maybe, Part, SubnetType


class AlarmOperand2(Part):
    """What an alarm compares with: another attribute or a constant."""

    uve_attribute: Maybe[str] = UNSET
    json_value: Maybe[str] = UNSET


class AlarmExpression(Part):
    """One comparison of an alarm."""

    operation: Maybe[
        Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "range", "size==", "size!="]
    ] = UNSET
    operand1: Maybe[str] = UNSET
    operand2: Maybe[AlarmOperand2] = UNSET
    variables: Maybe[list[str]] = UNSET


class AlarmAndList(Part):
    """Comparisons that must all hold."""

    and_list: Maybe[list[AlarmExpression]] = UNSET


class AlarmOrList(Part):
    """Alternatives, any of which raises the alarm."""

    or_list: Maybe[list[AlarmAndList]] = UNSET


class UveKeysType(Part):
    """The operational tables that an alarm watches."""

    uve_key: Maybe[list[str]] = UNSET


class RbacPermType(Part):
    """What one role may do: letters of CRUD."""

    role_name: Maybe[str] = UNSET
    role_crud: Maybe[str] = UNSET


class RbacRuleType(Part):
    """Who may do what with one kind of object, or one field of it."""

    rule_object: Maybe[str] = UNSET
    rule_field: Maybe[str | list[str]] = UNSET
    rule_perms: Maybe[list[RbacPermType]] = UNSET


class RbacRuleEntriesType(Part):
    """Access rules in TF's wrapper."""

    rbac_rule: Maybe[list[RbacRuleType]] = UNSET


class DiscoveryPubSubEndPointType(Part):
    """Endpoints of the discovery service, by type, name, prefix or version."""

    ep_type: Maybe[str] = UNSET
    ep_id: Maybe[str] = UNSET
    ep_prefix: Maybe[SubnetType] = UNSET
    ep_version: Maybe[str] = UNSET


class DiscoveryServiceAssignmentType(Part):
    """Which publisher serves which subscribers."""

    publisher: Maybe[DiscoveryPubSubEndPointType] = UNSET
    subscriber: Maybe[list[DiscoveryPubSubEndPointType]] = UNSET


class FieldNamesList(Part):
    """Field names in TF's wrapper."""

    field_names: Maybe[list[str]] = UNSET


class StructuredSyslogDscpType(Part):
    """A marking and its name."""

    dscp_value: Maybe[str] = UNSET
    alias_code: Maybe[str] = UNSET


class StructuredSyslogDscpMap(Part):
    """The names of markings, per address family."""

    dscpListIPv4: Maybe[list[StructuredSyslogDscpType]] = UNSET  # noqa: N815 - the schema's spelling
    dscpListIPv6: Maybe[list[StructuredSyslogDscpType]] = UNSET  # noqa: N815 - the schema's spelling


class StructuredSyslogLanSegmentType(Part):
    """The networks of one VPN."""

    vpn: Maybe[str] = UNSET
    network_ranges: Maybe[str] = UNSET


class StructuredSyslogLanSegmentList(Part):
    """LAN segments in TF's wrapper."""

    LANSegmentList: Maybe[list[StructuredSyslogLanSegmentType]] = UNSET


class StructuredSyslogLinkType(Part):
    """One link of a site."""

    overlay: Maybe[str] = UNSET
    underlay: Maybe[str] = UNSET
    link_type: Maybe[str] = UNSET
    traffic_destination: Maybe[str] = UNSET
    metadata: Maybe[str] = UNSET


class StructuredSyslogLinkmap(Part):
    """Links of a site in TF's wrapper."""

    links: Maybe[list[StructuredSyslogLinkType]] = UNSET
