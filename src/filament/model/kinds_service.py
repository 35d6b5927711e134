"""Kinds of services: instances, chains, health checks and load balancers."""

from __future__ import annotations

from typing import Literal

from filament.model import types_common as common
from filament.model import types_service as service
from filament.model.kind import ROOT, row

ROWS = (
    row(
        "service-template",
        ("domain",),
        {
            "service_config_managed": bool,
            "service_template_properties": service.ServiceTemplateType,
        },
        {
            "service-appliance-set": None,
        },
    ),
    row(
        "service-instance",
        ("project",),
        {
            "service_instance_bgp_enabled": bool,
            "service_instance_bindings": common.KeyValuePairs,
            "service_instance_properties": service.ServiceInstanceType,
        },
        {
            "instance-ip": service.ServiceInterfaceTag,
            "service-template": None,
        },
        maps={"service_instance_bindings": ("key_value_pair", "key")},
        derived_children=frozenset({"port-tuple"}),
        columns=("service_template_refs",),
    ),
    row(
        "port-tuple",
        ("service-instance",),
        {},
        {
            "logical-router": None,
            "virtual-network": None,
        },
    ),
    row(
        "service-health-check",
        ("project",),
        {
            "service_health_check_properties": service.ServiceHealthCheckType,
        },
        {
            "service-instance": service.ServiceInterfaceTag,
        },
        derived_references=frozenset({"service-instance"}),
    ),
    row(
        "service-appliance-set",
        ("global-system-config",),
        {
            "service_appliance_driver": str,
            "service_appliance_ha_mode": str,
            "service_appliance_set_properties": common.KeyValuePairs,
            "service_appliance_set_virtualization_type": service.ServiceVirtualization,
        },
    ),
    row(
        "service-appliance",
        ("service-appliance-set",),
        {
            "service_appliance_ip_address": str,
            "service_appliance_properties": common.KeyValuePairs,
            "service_appliance_user_credentials": common.UserCredentials,
            "service_appliance_virtualization_type": service.ServiceVirtualization,
        },
        {
            "physical-interface": service.ServiceApplianceInterfaceType,
        },
    ),
    row(
        "host-based-service",
        ("project",),
        {
            "host_based_service_type": Literal["firewall"],
        },
        {
            "virtual-network": service.ServiceVirtualNetworkType,
        },
    ),
    row(
        "loadbalancer",
        ("project",),
        {
            "loadbalancer_properties": service.LoadbalancerType,
            "loadbalancer_provider": str,
        },
        {
            "service-appliance-set": None,
            "service-instance": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "loadbalancer-listener",
        ("project",),
        {
            "loadbalancer_listener_properties": service.LoadbalancerListenerType,
        },
        {
            "loadbalancer": None,
        },
    ),
    row(
        "loadbalancer-pool",
        ("project",),
        {
            "loadbalancer_pool_custom_attributes": common.KeyValuePairs,
            "loadbalancer_pool_properties": service.LoadbalancerPoolType,
            "loadbalancer_pool_provider": str,
        },
        {
            "loadbalancer-healthmonitor": None,
            "loadbalancer-listener": None,
            "service-appliance-set": None,
            "service-instance": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "loadbalancer-member",
        ("loadbalancer-pool",),
        {
            "loadbalancer_member_properties": service.LoadbalancerMemberType,
        },
    ),
    row(
        "loadbalancer-healthmonitor",
        ("project",),
        {
            "loadbalancer_healthmonitor_properties": service.LoadbalancerHealthmonitorType,
        },
    ),
    row(
        "virtual-ip",
        ("project",),
        {
            "virtual_ip_properties": service.VirtualIpType,
        },
        {
            "loadbalancer-pool": None,
            "virtual-machine-interface": None,
        },
    ),
    row(
        "service-object",
        (ROOT,),
    ),
    row(
        "service-connection-module",
        (ROOT,),
        {
            "e2_service": Literal["point-to-point", "point-to-list", "multi-point-to-multi-point"],
            "service_type": Literal["vpws-l2ckt", "vpws-l2vpn", "vpws-evpn", "fabric-interface"],
        },
        {
            "service-object": None,
        },
    ),
    row(
        "service-endpoint",
        (ROOT,),
        {},
        {
            "physical-router": None,
            "service-connection-module": None,
            "service-object": None,
        },
    ),
    row(
        "e2-service-provider",
        (ROOT,),
        {
            "e2_service_provider_promiscuous": bool,
        },
        {
            "peering-policy": None,
            "physical-router": None,
        },
    ),
)
