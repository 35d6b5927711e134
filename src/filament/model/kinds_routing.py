"""Kinds of routing: instances, targets, speakers, tables and routing policies."""

from __future__ import annotations

from typing import Literal

from filament.model import types_common as common
from filament.model import types_routing as routing
from filament.model import types_routing_policy as routing_policy
from filament.model import types_service as service
from filament.model.kind import ROOT, row

ROWS = (
    row(
        "routing-instance",
        ("virtual-network",),
        {
            "default_ce_protocol": routing.DefaultProtocolType,
            "evpn_ipv6_service_chain_information": routing.ServiceChainInfo,
            "evpn_service_chain_information": routing.ServiceChainInfo,
            "ipv6_service_chain_information": routing.ServiceChainInfo,
            "routing_instance_fabric_snat": bool,
            "routing_instance_has_pnf": bool,
            "routing_instance_is_default": bool,
            "service_chain_information": routing.ServiceChainInfo,
            "static_route_entries": routing.StaticRouteEntriesType,
        },
        {
            "route-target": routing.InstanceTargetType,
            "routing-instance": routing.ConnectionType,
        },
        columns=("routing_instance_is_default", "route_target_refs"),
        rendered_from="change the virtual-network, its route target lists or its policies instead",
    ),
    row(
        "route-target",
        (ROOT,),
        columns=("routing_instance_back_refs",),
        rendered_from="name the target in a route_target_list of a virtual-network instead",
    ),
    row(
        "bgp-router",
        ("routing-instance",),
        {
            "bgp_router_parameters": routing.BgpRouterParams,
        },
        {
            "bgp-router": routing.BgpPeeringAttributes,
            "control-node-zone": None,
            "sub-cluster": None,
        },
        columns=("bgp_router_parameters",),
    ),
    row(
        "bgp-as-a-service",
        ("project",),
        {
            "autonomous_system": common.AutonomousSystem,
            "bgpaas_ip_address": str,
            "bgpaas_ipv4_mapped_ipv6_nexthop": bool,
            "bgpaas_session_attributes": routing.BgpSessionAttributes,
            "bgpaas_shared": bool,
            "bgpaas_suppress_route_advertisement": bool,
        },
        {
            "bgp-router": None,
            "control-node-zone": routing_policy.BgpaasControlNodeZoneAttributes,
            "service-health-check": None,
            "virtual-machine-interface": None,
        },
        columns=("autonomous_system", "bgpaas_ip_address"),
    ),
    row(
        "bgpvpn",
        ("project",),
        {
            "bgpvpn_type": Literal["l2", "l3"],
            "export_route_target_list": common.RouteTargetList,
            "import_route_target_list": common.RouteTargetList,
            "route_target_list": common.RouteTargetList,
        },
    ),
    row(
        "route-table",
        ("project",),
        {
            "routes": common.RouteTableType,
        },
        columns=("routes",),
    ),
    row(
        "interface-route-table",
        ("project",),
        {
            "interface_route_table_routes": common.RouteTableType,
        },
        {
            "service-instance": service.ServiceInterfaceTag,
        },
        derived_references=frozenset({"service-instance"}),
    ),
    row(
        "route-aggregate",
        ("project",),
        {
            "aggregate_route_entries": routing_policy.RouteListType,
            "aggregate_route_nexthop": str,
        },
        {
            "routing-instance": None,
            "service-instance": service.ServiceInterfaceTag,
        },
    ),
    row(
        "routing-policy",
        ("project",),
        {
            "routing_policy_entries": routing_policy.PolicyStatementType,
            "term_type": Literal["vrouter", "network-device"],
        },
        {
            "interface-route-table": None,
            "routing-instance": routing_policy.RoutingPolicyType,
            "service-instance": routing_policy.RoutingPolicyServiceInstanceType,
        },
    ),
    row(
        "peering-policy",
        (ROOT,),
        {
            "peering_service": Literal["public-peering"],
        },
    ),
)
