"""Types of service instances, health checks and load balancers."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import AddressMode, IpAddressesType, Maybe, Part, RouteTableType
from filament.model.types_network import AllowedAddressPairs

ServiceVirtualization = Literal[
    "virtual-machine", "network-namespace", "vrouter-instance", "physical-device"
]
LoadbalancerProtocol = Literal["HTTP", "HTTPS", "TCP", "UDP", "TERMINATED_HTTPS"]
SessionPersistence = Literal["SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"]


class ServiceInterfaceTag(Part):
    """Attribute of a reference to or from a service-instance: which of its interfaces."""

    interface_type: Maybe[str] = UNSET


class ServiceVirtualNetworkType(Part):
    """Attribute of host-based-service -> virtual-network: which side the network is."""

    virtual_network_type: Maybe[str] = UNSET


class ServiceApplianceInterfaceType(Part):
    """Attribute of service-appliance -> physical-interface: which side it is."""

    interface_type: Maybe[str] = UNSET


class ServiceScaleOutType(Part):
    """How many virtual machines a service instance has."""

    max_instances: Maybe[int] = UNSET
    auto_scale: Maybe[bool] = UNSET


class ServiceInstanceInterfaceType(Part):
    """One interface of a service instance."""

    virtual_network: Maybe[str] = UNSET
    ip_address: Maybe[str] = UNSET
    static_routes: Maybe[RouteTableType] = UNSET
    allowed_address_pairs: Maybe[AllowedAddressPairs] = UNSET


class ServiceInstanceType(Part):
    """A service instance: its networks, addresses and scale."""

    auto_policy: Maybe[bool] = UNSET
    availability_zone: Maybe[str] = UNSET
    management_virtual_network: Maybe[str] = UNSET
    left_virtual_network: Maybe[str] = UNSET
    left_ip_address: Maybe[str] = UNSET
    right_virtual_network: Maybe[str] = UNSET
    right_ip_address: Maybe[str] = UNSET
    interface_list: Maybe[list[ServiceInstanceInterfaceType]] = UNSET
    scale_out: Maybe[ServiceScaleOutType] = UNSET
    ha_mode: Maybe[AddressMode] = UNSET
    virtual_router_id: Maybe[str] = UNSET
    service_virtualization_type: Maybe[ServiceVirtualization] = UNSET


class ServiceTemplateInterfaceType(Part):
    """One kind of interface that instances of a template have."""

    service_interface_type: Maybe[str] = UNSET
    shared_ip: Maybe[bool] = UNSET
    static_route_enable: Maybe[bool] = UNSET


class ServiceTemplateType(Part):
    """What instances of a template are."""

    version: Maybe[int] = UNSET
    service_mode: Maybe[Literal["transparent", "in-network", "in-network-nat"]] = UNSET
    service_type: Maybe[Literal["firewall", "analyzer", "source-nat", "loadbalancer"]] = UNSET
    image_name: Maybe[str] = UNSET
    service_scaling: Maybe[bool] = UNSET
    interface_type: Maybe[list[ServiceTemplateInterfaceType]] = UNSET
    flavor: Maybe[str] = UNSET
    ordered_interfaces: Maybe[bool] = UNSET
    service_virtualization_type: Maybe[ServiceVirtualization] = UNSET
    availability_zone_enable: Maybe[bool] = UNSET
    vrouter_instance_type: Maybe[Literal["libvirt-qemu", "docker"]] = UNSET
    instance_data: Maybe[str] = UNSET


class ServiceHealthCheckType(Part):
    """How a port or service is probed."""

    enabled: Maybe[bool] = UNSET
    health_check_type: Maybe[Literal["link-local", "end-to-end", "segment", "vn-ip-list"]] = UNSET
    monitor_type: Maybe[Literal["PING", "HTTP", "BFD"]] = UNSET
    delay: Maybe[int] = UNSET
    delayUsecs: Maybe[int] = UNSET  # noqa: N815 - the schema's spelling
    timeout: Maybe[int] = UNSET
    timeoutUsecs: Maybe[int] = UNSET  # noqa: N815 - the schema's spelling
    max_retries: Maybe[int] = UNSET
    http_method: Maybe[str] = UNSET
    url_path: Maybe[str] = UNSET
    expected_codes: Maybe[str] = UNSET
    target_ip_all: Maybe[bool] = UNSET
    target_ip_list: Maybe[IpAddressesType] = UNSET


class LoadbalancerType(Part):
    """A load balancer: its virtual address and state."""

    status: Maybe[str] = UNSET
    provisioning_status: Maybe[str] = UNSET
    operating_status: Maybe[str] = UNSET
    vip_subnet_id: Maybe[str] = UNSET
    vip_address: Maybe[str] = UNSET
    admin_state: Maybe[bool] = UNSET


class LoadbalancerListenerType(Part):
    """The protocol and port a load balancer listens on."""

    protocol: Maybe[LoadbalancerProtocol] = UNSET
    protocol_port: Maybe[int] = UNSET
    admin_state: Maybe[bool] = UNSET
    connection_limit: Maybe[int] = UNSET
    default_tls_container: Maybe[str] = UNSET
    sni_containers: Maybe[list[str]] = UNSET


class LoadbalancerPoolType(Part):
    """How connections are spread over the members of a pool."""

    status: Maybe[str] = UNSET
    status_description: Maybe[str] = UNSET
    admin_state: Maybe[bool] = UNSET
    protocol: Maybe[LoadbalancerProtocol] = UNSET
    loadbalancer_method: Maybe[Literal["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"]] = UNSET
    subnet_id: Maybe[str] = UNSET
    session_persistence: Maybe[SessionPersistence] = UNSET
    persistence_cookie_name: Maybe[str] = UNSET


class LoadbalancerMemberType(Part):
    """One server behind a load balancer."""

    admin_state: Maybe[bool] = UNSET
    status: Maybe[str] = UNSET
    status_description: Maybe[str] = UNSET
    protocol_port: Maybe[int] = UNSET
    weight: Maybe[int] = UNSET
    address: Maybe[str] = UNSET
    subnet_id: Maybe[str] = UNSET


class LoadbalancerHealthmonitorType(Part):
    """How members of a pool are probed."""

    admin_state: Maybe[bool] = UNSET
    monitor_type: Maybe[Literal["PING", "TCP", "HTTP", "HTTPS"]] = UNSET
    delay: Maybe[int] = UNSET
    timeout: Maybe[int] = UNSET
    max_retries: Maybe[int] = UNSET
    http_method: Maybe[str] = UNSET
    url_path: Maybe[str] = UNSET
    expected_codes: Maybe[str] = UNSET


class VirtualIpType(Part):
    """The virtual address in front of a pool (the older load balancing)."""

    address: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    status_description: Maybe[str] = UNSET
    admin_state: Maybe[bool] = UNSET
    protocol: Maybe[LoadbalancerProtocol] = UNSET
    protocol_port: Maybe[int] = UNSET
    connection_limit: Maybe[int] = UNSET
    subnet_id: Maybe[str] = UNSET
    persistence_cookie_name: Maybe[str] = UNSET
    persistence_type: Maybe[SessionPersistence] = UNSET
