"""Types of the physical fabric: roles, images, credentials, jobs."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import (
    AutonomousSystemsType,
    Maybe,
    Part,
    SubnetListType,
    UserCredentials,
)
from filament.model.types_network import MacAddressesType
from filament.model.types_system import AsnRangeType

PortSpeed = Literal["1G", "10G", "40G", "100G"]


class FabricNetworkTag(Part):
    """Attribute of fabric -> virtual-network: what the network is for."""

    network_type: Maybe[
        Literal["management", "loopback", "ip-fabric", "pnf-servicechain", "overlay-loopback"]
    ] = UNSET


class SerialNumListType(Part):
    """Attribute of fabric -> node-profile: devices by serial number."""

    serial_num: Maybe[list[str]] = UNSET


class NamespaceValue(Part):
    """The addresses, numbers or names that a fabric may hand out."""

    ipv4_cidr: Maybe[SubnetListType] = UNSET
    asn: Maybe[AutonomousSystemsType] = UNSET
    mac_addr: Maybe[MacAddressesType] = UNSET
    asn_ranges: Maybe[list[AsnRangeType]] = UNSET
    serial_nums: Maybe[list[str]] = UNSET


class DeviceCredential(Part):
    """The credentials of a family of devices."""

    credential: Maybe[UserCredentials] = UNSET
    vendor: Maybe[str] = UNSET
    device_family: Maybe[str] = UNSET


class DeviceCredentialList(Part):
    """Device credentials in TF's wrapper."""

    device_credential: Maybe[list[DeviceCredential]] = UNSET


class DevicePlatformListType(Part):
    """Platforms that an image runs on, in TF's wrapper."""

    platform_name: Maybe[list[str]] = UNSET


class RoutingBridgingRolesType(Part):
    """Routing and bridging roles in TF's wrapper."""

    rb_roles: Maybe[list[str]] = UNSET


class NodeProfileRoleType(Part):
    """The roles that devices of one physical role may take."""

    physical_role: Maybe[str] = UNSET
    rb_roles: Maybe[list[str]] = UNSET


class NodeProfileRolesType(Part):
    """Roles of a node profile in TF's wrapper."""

    role_mappings: Maybe[list[NodeProfileRoleType]] = UNSET


class JunosServicePorts(Part):
    """Service ports of a Junos device in TF's wrapper."""

    service_port: Maybe[list[str]] = UNSET


class SnmpCredentials(Part):
    """How a device is asked over SNMP."""

    version: Maybe[int] = UNSET
    local_port: Maybe[int] = UNSET
    retries: Maybe[int] = UNSET
    timeout: Maybe[int] = UNSET
    v2_community: Maybe[str] = UNSET
    v3_security_name: Maybe[str] = UNSET
    v3_security_level: Maybe[str] = UNSET
    v3_security_engine_id: Maybe[str] = UNSET
    v3_context: Maybe[str] = UNSET
    v3_context_engine_id: Maybe[str] = UNSET
    v3_authentication_protocol: Maybe[str] = UNSET
    v3_authentication_password: Maybe[str] = UNSET
    v3_privacy_protocol: Maybe[str] = UNSET
    v3_privacy_password: Maybe[str] = UNSET
    v3_engine_id: Maybe[str] = UNSET
    v3_engine_boots: Maybe[int] = UNSET
    v3_engine_time: Maybe[int] = UNSET


class DnsmasqLeaseParameters(Part):
    """The DHCP lease of a device being onboarded."""

    lease_expiry_time: Maybe[int] = UNSET
    client_id: Maybe[str] = UNSET


class LogicalRouterPrListParams(Part):
    """The physical routers that carry one logical router."""

    logical_router_uuid: Maybe[str] = UNSET
    physical_router_uuid_list: Maybe[list[str]] = UNSET


class LogicalRouterPrListType(Part):
    """Logical routers and their physical routers in TF's wrapper."""

    logical_router_list: Maybe[list[LogicalRouterPrListParams]] = UNSET


class PortInfoType(Part):
    """One port of a card; on the wire the schema's `type` is `type_`, as TF's classes have it."""

    name: Maybe[str] = UNSET
    type_: Maybe[Literal["fc", "ge", "xe", "xle", "et", "fte", "me", "em"]] = UNSET
    port_speed: Maybe[PortSpeed] = UNSET
    channelized: Maybe[bool] = UNSET
    channelized_port_speed: Maybe[PortSpeed] = UNSET
    port_group: Maybe[str] = UNSET
    labels: Maybe[list[str]] = UNSET


class InterfaceMapType(Part):
    """The ports of a card in TF's wrapper."""

    port_info: Maybe[list[PortInfoType]] = UNSET


class CliDiffInfoType(Part):
    """One change made on a device by hand."""

    username: Maybe[str] = UNSET
    time: Maybe[str] = UNSET
    config_changes: Maybe[str] = UNSET


class CliDiffListType(Part):
    """Changes made on a device by hand, in TF's wrapper."""

    commit_diff_info: Maybe[list[CliDiffInfoType]] = UNSET


class ExecutableInfoType(Part):
    """One program of a job."""

    executable_path: Maybe[str] = UNSET
    executable_args: Maybe[str] = UNSET
    job_completion_weightage: Maybe[int] = UNSET


class ExecutableInfoListType(Part):
    """Programs of a job in TF's wrapper."""

    executable_info: Maybe[list[ExecutableInfoType]] = UNSET


class PlaybookInfoType(Part):
    """One playbook of a job."""

    playbook_uri: Maybe[str] = UNSET
    multi_device_playbook: Maybe[bool] = UNSET
    refresh_token: Maybe[bool] = UNSET
    vendor: Maybe[str] = UNSET
    device_family: Maybe[str] = UNSET
    job_completion_weightage: Maybe[int] = UNSET
    sequence_no: Maybe[int] = UNSET


class PlaybookInfoListType(Part):
    """Playbooks of a job in TF's wrapper."""

    playbook_info: Maybe[list[PlaybookInfoType]] = UNSET


class VpgInterfaceParametersType(Part):
    """Attribute of virtual-port-group -> physical-interface: its aggregate."""

    ae_num: Maybe[int] = UNSET
