"""Types that properties of many kinds share, and the base of every property type.

Shapes and names are those of Tungsten Fabric's schema. Every field may be absent or null (null
means absent and is dropped when stored); a field the type does not have is an error.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

ValueT = TypeVar("ValueT")
Maybe: TypeAlias = ValueT | UnsetType | None

Access = Annotated[int, Meta(ge=0, le=7)]
AutonomousSystem = Annotated[int, Meta(ge=1, le=4_294_967_295)]
BgpHoldTime = Annotated[int, Meta(ge=0, le=65535)]
Dscp = Annotated[int, Meta(ge=0, le=63)]
L4Port = Annotated[int, Meta(ge=-1, le=65535)]
MacAgingTime = Annotated[int, Meta(ge=0, le=86400)]
MaxFlows = Annotated[int, Meta(ge=0, le=4_294_967_296)]
PrefixLength = Annotated[int, Meta(ge=0, le=128)]
VlanId = Annotated[int, Meta(ge=0, le=4094)]
VxlanNetworkIdentifier = Annotated[int, Meta(ge=1, le=16_777_215)]
Unsigned64 = Annotated[int, Meta(ge=0)]

ForwardingMode = Literal["l2_l3", "l2", "l3"]
TrafficDirection = Literal["ingress", "egress", "both"]
AddressMode = Literal["active-active", "active-standby"]


class Part(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every property and attribute type."""


class KeyValuePair(Part):
    """One annotation or binding."""

    key: Maybe[str] = UNSET
    value: Maybe[str] = UNSET


class KeyValuePairs(Part):
    """A map property in TF's wrapper."""

    key_value_pair: Maybe[list[KeyValuePair]] = UNSET


class PermType(Part):
    """The legacy permissions inside id_perms."""

    owner: Maybe[str] = UNSET
    owner_access: Maybe[Access] = UNSET
    group: Maybe[str] = UNSET
    group_access: Maybe[Access] = UNSET
    other_access: Maybe[Access] = UNSET


class UuidType(Part):
    """A uuid as two unsigned 64-bit halves."""

    uuid_mslong: Maybe[Unsigned64] = UNSET
    uuid_lslong: Maybe[Unsigned64] = UNSET


class IdPermsType(Part):
    """Identity and life dates of an object; a client sets only the descriptive fields."""

    permissions: Maybe[PermType] = UNSET
    uuid: Maybe[UuidType] = UNSET
    enable: Maybe[bool] = UNSET
    created: Maybe[str] = UNSET
    last_modified: Maybe[str] = UNSET
    description: Maybe[str] = UNSET
    user_visible: Maybe[bool] = UNSET
    creator: Maybe[str] = UNSET


class ShareType(Part):
    """Access granted to one tenant."""

    tenant: Maybe[str] = UNSET
    tenant_access: Maybe[Access] = UNSET


class PermType2(Part):
    """Owner and sharing of an object (role-based access)."""

    owner: Maybe[str] = UNSET
    owner_access: Maybe[Access] = UNSET
    global_access: Maybe[Access] = UNSET
    share: Maybe[list[ShareType]] = UNSET


class SubnetType(Part):
    """A prefix in two fields."""

    ip_prefix: Maybe[str] = UNSET
    ip_prefix_len: Maybe[PrefixLength] = UNSET


class SubnetListType(Part):
    """A list of prefixes in TF's wrapper."""

    subnet: Maybe[list[SubnetType]] = UNSET


class SequenceType(Part):
    """A two-level order."""

    major: Maybe[int] = UNSET
    minor: Maybe[int] = UNSET


class TimerType(Part):
    """A validity window; its presence on a policy attachment makes the policy dynamic."""

    start_time: Maybe[str] = UNSET
    on_interval: Maybe[str] = UNSET
    off_interval: Maybe[str] = UNSET
    end_time: Maybe[str] = UNSET


class IpAddressesType(Part):
    """A list of addresses in TF's wrapper."""

    ip_address: Maybe[list[str]] = UNSET


class MacLimitControlType(Part):
    """How many MAC addresses may be learnt, and what happens beyond."""

    mac_limit: Maybe[int] = UNSET
    mac_limit_action: Maybe[Literal["log", "alarm", "shutdown", "drop"]] = UNSET


class MacMoveLimitControlType(Part):
    """How often a MAC address may move, and what happens beyond."""

    mac_move_limit: Maybe[int] = UNSET
    mac_move_time_window: Maybe[Annotated[int, Meta(ge=1, le=60)]] = UNSET
    mac_move_limit_action: Maybe[Literal["log", "alarm", "shutdown", "drop"]] = UNSET


class EcmpHashingIncludeFields(Part):
    """Which packet fields choose among equal-cost next hops."""

    hashing_configured: Maybe[bool] = UNSET
    source_ip: Maybe[bool] = UNSET
    destination_ip: Maybe[bool] = UNSET
    ip_protocol: Maybe[bool] = UNSET
    source_port: Maybe[bool] = UNSET
    destination_port: Maybe[bool] = UNSET


class CommunityAttributes(Part):
    """BGP communities in TF's wrapper."""

    community_attribute: Maybe[list[str]] = UNSET


class RouteType(Part):
    """A static route: prefix and next hop (an address or a service instance's name)."""

    prefix: Maybe[str] = UNSET
    next_hop: Maybe[str] = UNSET
    next_hop_type: Maybe[Literal["service-instance", "ip-address"]] = UNSET
    community_attributes: Maybe[CommunityAttributes] = UNSET


class RouteTableType(Part):
    """Static routes in TF's wrapper."""

    route: Maybe[list[RouteType]] = UNSET


class DhcpOptionType(Part):
    """One DHCP option, by name or number."""

    dhcp_option_name: Maybe[str] = UNSET
    dhcp_option_value: Maybe[str] = UNSET
    dhcp_option_value_bytes: Maybe[str] = UNSET


class DhcpOptionsListType(Part):
    """DHCP options in TF's wrapper."""

    dhcp_option: Maybe[list[DhcpOptionType]] = UNSET


class ProtocolType(Part):
    """A protocol and port whose flows are aggregated (fat flow)."""

    protocol: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    ignore_address: Maybe[Literal["none", "source", "destination"]] = UNSET
    source_prefix: Maybe[SubnetType] = UNSET
    source_aggregate_prefix_length: Maybe[int] = UNSET
    destination_prefix: Maybe[SubnetType] = UNSET
    destination_aggregate_prefix_length: Maybe[int] = UNSET


class FatFlowProtocols(Part):
    """Fat-flow protocols in TF's wrapper."""

    fat_flow_protocol: Maybe[list[ProtocolType]] = UNSET


class RouteTargetList(Part):
    """Route targets in TF's wrapper."""

    route_target: Maybe[list[str]] = UNSET


class AutonomousSystemsType(Part):
    """Autonomous systems in TF's wrapper."""

    asn: Maybe[list[AutonomousSystem]] = UNSET


class UserCredentials(Part):
    """A user and password of a device or appliance."""

    username: Maybe[str] = UNSET
    password: Maybe[str] = UNSET
