"""Types of firewall policies and logged rules."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import Maybe, Part, SubnetType
from filament.model.types_policy import PortType

DraftModeState = Literal["created", "updated", "deleted"]


class FirewallRuleEndpointType(Part):
    """One side of a firewall rule: exactly one way of naming it."""

    subnet: Maybe[SubnetType] = UNSET
    virtual_network: Maybe[str] = UNSET
    address_group: Maybe[str] = UNSET
    tags: Maybe[list[str]] = UNSET
    tag_ids: Maybe[list[int]] = UNSET
    any: Maybe[bool] = UNSET


class FirewallServiceType(Part):
    """A protocol and its ports."""

    protocol: Maybe[str] = UNSET
    protocol_id: Maybe[int] = UNSET
    src_ports: Maybe[PortType] = UNSET
    dst_ports: Maybe[PortType] = UNSET


class FirewallServiceGroupType(Part):
    """Services in TF's wrapper."""

    firewall_service: Maybe[list[FirewallServiceType]] = UNSET


class FirewallRuleMatchTagsType(Part):
    """The tag types whose values must agree on both sides, by name."""

    tag_list: Maybe[list[str]] = UNSET


class FirewallRuleMatchTagsTypeIdList(Part):
    """The same tag types by number."""

    tag_type: Maybe[list[int]] = UNSET


class FirewallSequence(Part):
    """Attribute of an ordered reference: a place such as "1.0"."""

    sequence: Maybe[str] = UNSET


class SloRateType(Part):
    """Attribute of a reference to a security-logging-object: how many sessions per logged one."""

    rate: Maybe[int | list[int]] = UNSET


class SecurityLoggingObjectRuleEntryType(Part):
    """One logged rule and its rate."""

    rule_uuid: Maybe[str] = UNSET
    rate: Maybe[int] = UNSET


class SecurityLoggingObjectRuleListType(Part):
    """Logged rules in TF's wrapper."""

    rule: Maybe[list[SecurityLoggingObjectRuleEntryType]] = UNSET
