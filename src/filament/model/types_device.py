"""Types of servers, their ports, and what devices report."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from filament.model.types_common import Maybe, Part, SubnetListType


class LocalLinkConnection(Part):
    """The switch port that a server's port is plugged into."""

    switch_info: Maybe[str] = UNSET
    port_index: Maybe[str] = UNSET
    port_id: Maybe[str] = UNSET
    switch_id: Maybe[str] = UNSET


class BaremetalPortInfo(Part):
    """A server's port as the bare-metal service knows it."""

    pxe_enabled: Maybe[bool] = UNSET
    local_link_connection: Maybe[LocalLinkConnection] = UNSET
    node_uuid: Maybe[str] = UNSET
    address: Maybe[str] = UNSET


class PortGroupProperties(Part):
    """How a bond works."""

    miimon: Maybe[int] = UNSET
    xmit_hash_policy: Maybe[str] = UNSET


class BaremetalPortGroupInfo(Part):
    """A server's bond as the bare-metal service knows it."""

    standalone_ports_supported: Maybe[bool] = UNSET
    node_uuid: Maybe[str] = UNSET
    properties: Maybe[PortGroupProperties] = UNSET
    address: Maybe[str] = UNSET
    mode: Maybe[str] = UNSET


class DriverInfo(Part):
    """How a server is managed out of band."""

    ipmi_address: Maybe[str] = UNSET
    deploy_ramdisk: Maybe[str] = UNSET
    ipmi_password: Maybe[str] = UNSET
    ipmi_port: Maybe[str] = UNSET
    ipmi_username: Maybe[str] = UNSET
    deploy_kernel: Maybe[str] = UNSET


class BaremetalProperties(Part):
    """The size of a server."""

    memory_mb: Maybe[int] = UNSET
    cpu_arch: Maybe[str] = UNSET
    local_gb: Maybe[int] = UNSET
    cpus: Maybe[int] = UNSET
    capabilities: Maybe[str] = UNSET


class BaremetalServerInfo(Part):
    """A server as the bare-metal service knows it."""

    network_interface: Maybe[str] = UNSET
    driver: Maybe[str] = UNSET
    properties: Maybe[BaremetalProperties] = UNSET
    driver_info: Maybe[DriverInfo] = UNSET
    name: Maybe[str] = UNSET


class EsxiHostInfo(Part):
    """A hypervisor of vCenter."""

    username: Maybe[str] = UNSET
    datacenter: Maybe[str] = UNSET
    esxi_name: Maybe[str] = UNSET
    cluster: Maybe[str] = UNSET
    mac: Maybe[str] = UNSET
    datastore: Maybe[str] = UNSET
    password: Maybe[str] = UNSET
    vcenter_server: Maybe[str] = UNSET


class EsxiProperties(Part):
    """A distributed switch of vCenter."""

    dvs_name: Maybe[str] = UNSET
    dvs_id: Maybe[str] = UNSET


class CloudInstanceInfo(Part):
    """A machine in a public cloud."""

    os_version: Maybe[str] = UNSET
    operating_system: Maybe[str] = UNSET
    roles: Maybe[list[str]] = UNSET
    availability_zone: Maybe[str] = UNSET
    instance_type: Maybe[str] = UNSET
    machine_id: Maybe[str] = UNSET
    volume_size: Maybe[int] = UNSET


class LacpParams(Part):
    """Link aggregation control of a port."""

    lacp_enable: Maybe[bool] = UNSET
    lacp_interval: Maybe[Literal["fast", "slow"]] = UNSET
    lacp_mode: Maybe[Literal["active", "passive"]] = UNSET


class PortParameters(Part):
    """State, MTU and description of a port."""

    port_disable: Maybe[bool] = UNSET
    port_mtu: Maybe[Annotated[int, Meta(ge=256, le=9216)]] = UNSET
    port_description: Maybe[str] = UNSET


class PortProfileParameters(Part):
    """What ports of a profile are set to."""

    port_params: Maybe[PortParameters] = UNSET
    flow_control: Maybe[bool] = UNSET
    lacp_params: Maybe[LacpParams] = UNSET
    bpdu_loop_protection: Maybe[bool] = UNSET
    port_cos_untrust: Maybe[bool] = UNSET


class StormControlParameters(Part):
    """What happens when a port floods."""

    storm_control_actions: Maybe[list[Literal["interface-shutdown"]]] = UNSET
    recovery_timeout: Maybe[int] = UNSET
    no_unregistered_multicast: Maybe[bool] = UNSET
    no_registered_multicast: Maybe[bool] = UNSET
    no_unknown_unicast: Maybe[bool] = UNSET
    no_multicast: Maybe[bool] = UNSET
    no_broadcast: Maybe[bool] = UNSET
    bandwidth_percent: Maybe[int] = UNSET


class EnabledSensorParams(Part):
    """Which sensors of a device report."""

    physical_health: Maybe[bool] = UNSET
    interface_health: Maybe[bool] = UNSET
    control_plane_health: Maybe[bool] = UNSET
    service_layer_health: Maybe[bool] = UNSET


class GrpcParameters(Part):
    """Telemetry over gRPC."""

    allow_clients: Maybe[SubnetListType] = UNSET
    enabled_sensor_params: Maybe[EnabledSensorParams] = UNSET
    secure_mode: Maybe[Literal["cleartext", "ssl"]] = UNSET


class NetconfParameters(Part):
    """Telemetry over NETCONF."""

    enabled_sensor_params: Maybe[EnabledSensorParams] = UNSET


class SnmpParameters(Part):
    """Telemetry over SNMP."""

    enabled_sensor_params: Maybe[EnabledSensorParams] = UNSET


class StatsCollectionFrequency(Part):
    """How often and how densely a device samples."""

    sample_rate: Maybe[Annotated[int, Meta(ge=1, le=16777215)]] = UNSET
    polling_interval: Maybe[Annotated[int, Meta(ge=0, le=3600)]] = UNSET
    direction: Maybe[Literal["ingress", "egress"]] = UNSET


class EnabledInterfaceParams(Part):
    """Sampling of one interface."""

    name: Maybe[str] = UNSET
    stats_collection_frequency: Maybe[StatsCollectionFrequency] = UNSET


class SflowParameters(Part):
    """Telemetry by sampled flows."""

    stats_collection_frequency: Maybe[StatsCollectionFrequency] = UNSET
    agent_id: Maybe[str] = UNSET
    adaptive_sample_rate: Maybe[Annotated[int, Meta(ge=300, le=900)]] = UNSET
    enabled_interface_type: Maybe[Literal["all", "fabric", "service", "access", "custom"]] = UNSET
    enabled_interface_params: Maybe[list[EnabledInterfaceParams]] = UNSET


class TelemetryResourceInfo(Part):
    """One resource that a device reports."""

    name: Maybe[str] = UNSET
    path: Maybe[str] = UNSET
    rate: Maybe[str] = UNSET


class TelemetryStateInfo(Part):
    """Where a device reports to, and what."""

    resource: Maybe[list[TelemetryResourceInfo]] = UNSET
    server_ip: Maybe[str] = UNSET
    server_port: Maybe[int] = UNSET
