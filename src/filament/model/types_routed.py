"""Types of virtual networks that physical routers route."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import BgpHoldTime, Maybe, Part
from filament.model.types_routing import AuthenticationData


class BfdParameters(Part):
    """Bidirectional forwarding detection of a routed network."""

    time_interval: Maybe[int] = UNSET
    detection_time_multiplier: Maybe[int] = UNSET


class BgpParameters(Part):
    """The BGP session of a routed network with its peer."""

    peer_autonomous_system: Maybe[int] = UNSET
    peer_ip_address: Maybe[str] = UNSET
    peer_ip_address_list: Maybe[list[str]] = UNSET
    hold_time: Maybe[BgpHoldTime] = UNSET
    auth_data: Maybe[AuthenticationData] = UNSET
    local_autonomous_system: Maybe[int] = UNSET
    multihop_ttl: Maybe[int] = UNSET


class OspfParameters(Part):
    """OSPF on a routed network."""

    auth_data: Maybe[AuthenticationData] = UNSET
    hello_interval: Maybe[int] = UNSET
    dead_interval: Maybe[int] = UNSET
    area_id: Maybe[str] = UNSET
    area_type: Maybe[Literal["nssa", "stub", "backbone"]] = UNSET
    advertise_loopback: Maybe[bool] = UNSET
    orignate_summary_lsa: Maybe[bool] = UNSET


class PimParameters(Part):
    """PIM on a routed network."""

    rp_ip_address: Maybe[list[str]] = UNSET
    mode: Maybe[Literal["sparse", "sparse-dense", "dense"]] = UNSET
    enable_all_interfaces: Maybe[bool] = UNSET


class StaticRouteParameters(Part):
    """Static routes of a routed network."""

    interface_route_table_uuid: Maybe[list[str]] = UNSET
    next_hop_ip_address: Maybe[list[str]] = UNSET


class RoutingPolicyParameters(Part):
    """The routing policies of a routed network, by uuid."""

    import_routing_policy_uuid: Maybe[list[str]] = UNSET
    export_routing_policy_uuid: Maybe[list[str]] = UNSET


class RoutedProperties(Part):
    """How one physical router takes part in a routed network."""

    physical_router_uuid: Maybe[str] = UNSET
    logical_router_uuid: Maybe[str] = UNSET
    routed_interface_ip_address: Maybe[str] = UNSET
    loopback_ip_address: Maybe[str] = UNSET
    routing_protocol: Maybe[Literal["static-routes", "bgp", "ospf", "pim"]] = UNSET
    bgp_params: Maybe[BgpParameters] = UNSET
    ospf_params: Maybe[OspfParameters] = UNSET
    pim_params: Maybe[PimParameters] = UNSET
    static_route_params: Maybe[StaticRouteParameters] = UNSET
    bfd_params: Maybe[BfdParameters] = UNSET
    routing_policy_params: Maybe[RoutingPolicyParameters] = UNSET


class VirtualNetworkRoutedPropertiesType(Part):
    """The physical routers of a routed network."""

    routed_properties: Maybe[list[RoutedProperties]] = UNSET
    shared_across_all_lrs: Maybe[bool] = UNSET
