"""Types of the global objects, projects and compute hosts."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from filament.model.types_common import L4Port, Maybe, Part
from filament.model.types_policy import PortType

RestartTime = Annotated[int, Meta(ge=0, le=4095)]


class BgpAsAServiceParametersType(Part):
    """The source ports of BGP as a service."""

    port_start: Maybe[L4Port] = UNSET
    port_end: Maybe[L4Port] = UNSET


class AsnRangeType(Part):
    """An inclusive range of autonomous systems."""

    asn_min: Maybe[int] = UNSET
    asn_max: Maybe[int] = UNSET


class FastConvergenceParametersType(Part):
    """Quicker detection of lost sessions and next hops."""

    enable: Maybe[bool] = UNSET
    nh_reachability_check: Maybe[bool] = UNSET
    xmpp_hold_time: Maybe[Annotated[int, Meta(ge=1, le=90)]] = UNSET


class GracefulRestartParametersType(Part):
    """How long routes of a restarting peer are kept, in seconds."""

    enable: Maybe[bool] = UNSET
    restart_time: Maybe[RestartTime] = UNSET
    long_lived_restart_time: Maybe[Annotated[int, Meta(ge=0, le=16_777_215)]] = UNSET
    end_of_rib_timeout: Maybe[RestartTime] = UNSET
    bgp_helper_enable: Maybe[bool] = UNSET
    xmpp_helper_enable: Maybe[bool] = UNSET


class PluginProperty(Part):
    """One tuning value of an orchestrator plugin."""

    property: Maybe[str] = UNSET
    value: Maybe[str] = UNSET


class PluginProperties(Part):
    """Plugin tuning in TF's wrapper."""

    plugin_property: Maybe[list[PluginProperty]] = UNSET


class DeviceFamilyListType(Part):
    """Device families in TF's wrapper."""

    device_family: Maybe[list[str]] = UNSET


class VendorHardwaresType(Part):
    """Vendor hardware in TF's wrapper."""

    vendor_hardware: Maybe[list[str]] = UNSET


class UserDefinedLogStat(Part):
    """A log pattern that is counted."""

    name: Maybe[str] = UNSET
    pattern: Maybe[str] = UNSET


class UserDefinedLogStatList(Part):
    """Counted log patterns in TF's wrapper."""

    statlist: Maybe[list[UserDefinedLogStat]] = UNSET


class EncapsulationPrioritiesType(Part):
    """Encapsulations, the most wanted first."""

    encapsulation: Maybe[list[Literal["MPLSoGRE", "MPLSoUDP", "VXLAN"]]] = UNSET


class EncryptionTunnelEndpoint(Part):
    """A peer to which traffic is encrypted."""

    tunnel_remote_ip_address: Maybe[str] = UNSET


class EncryptionTunnelEndpointList(Part):
    """Encryption peers in TF's wrapper."""

    endpoint: Maybe[list[EncryptionTunnelEndpoint]] = UNSET


class FlowAgingTimeout(Part):
    """How long an idle flow of a protocol and port is kept."""

    protocol: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    timeout_in_seconds: Maybe[int] = UNSET


class FlowAgingTimeoutList(Part):
    """Flow ageing in TF's wrapper."""

    flow_aging_timeout: Maybe[list[FlowAgingTimeout]] = UNSET


class LinklocalServiceEntryType(Part):
    """A link-local address and port that lead to a service of the fabric."""

    linklocal_service_name: Maybe[str] = UNSET
    linklocal_service_ip: Maybe[str] = UNSET
    linklocal_service_port: Maybe[int] = UNSET
    ip_fabric_DNS_service_name: Maybe[str] = UNSET  # noqa: N815 - the schema's spelling
    ip_fabric_service_port: Maybe[int] = UNSET
    ip_fabric_service_ip: Maybe[list[str]] = UNSET


class LinklocalServicesTypes(Part):
    """Link-local services in TF's wrapper."""

    linklocal_service_entry: Maybe[list[LinklocalServiceEntryType]] = UNSET


class PortTranslationPool(Part):
    """Ports of the host that address translation may use."""

    protocol: Maybe[str] = UNSET
    port_range: Maybe[PortType] = UNSET
    port_count: Maybe[Annotated[int, Meta(ge=0, le=65535)]] = UNSET


class PortTranslationPools(Part):
    """Port translation pools in TF's wrapper."""

    port_translation_pool: Maybe[list[PortTranslationPool]] = UNSET


class DomainLimitsType(Part):
    """How much a domain may hold."""

    project_limit: Maybe[int] = UNSET
    virtual_network_limit: Maybe[int] = UNSET
    security_group_limit: Maybe[int] = UNSET


class QuotaType(Part):
    """How many objects of each kind a project may hold; -1 is unlimited."""

    defaults: Maybe[int] = UNSET
    floating_ip: Maybe[int] = UNSET
    instance_ip: Maybe[int] = UNSET
    virtual_machine_interface: Maybe[int] = UNSET
    virtual_network: Maybe[int] = UNSET
    virtual_router: Maybe[int] = UNSET
    virtual_DNS: Maybe[int] = UNSET  # noqa: N815 - the schema's spelling
    virtual_DNS_record: Maybe[int] = UNSET  # noqa: N815 - the schema's spelling
    bgp_router: Maybe[int] = UNSET
    network_ipam: Maybe[int] = UNSET
    access_control_list: Maybe[int] = UNSET
    network_policy: Maybe[int] = UNSET
    floating_ip_pool: Maybe[int] = UNSET
    service_template: Maybe[int] = UNSET
    service_instance: Maybe[int] = UNSET
    logical_router: Maybe[int] = UNSET
    security_group: Maybe[int] = UNSET
    security_group_rule: Maybe[int] = UNSET
    subnet: Maybe[int] = UNSET
    global_vrouter_config: Maybe[int] = UNSET
    loadbalancer: Maybe[int] = UNSET
    loadbalancer_listener: Maybe[int] = UNSET
    loadbalancer_pool: Maybe[int] = UNSET
    loadbalancer_member: Maybe[int] = UNSET
    loadbalancer_healthmonitor: Maybe[int] = UNSET
    virtual_ip: Maybe[int] = UNSET
    security_logging_object: Maybe[int] = UNSET
    route_table: Maybe[int] = UNSET
    firewall_group: Maybe[int] = UNSET
    firewall_policy: Maybe[int] = UNSET
    firewall_rule: Maybe[int] = UNSET
    host_based_service: Maybe[Annotated[int, Meta(ge=0, le=1)]] = UNSET
