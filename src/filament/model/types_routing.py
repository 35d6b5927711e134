"""Types of routing instances and BGP routers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from filament.model.types_common import BgpHoldTime, Maybe, Part

AddressFamily = Literal[
    "inet",
    "inet-labeled",
    "inet-vpn",
    "e-vpn",
    "erm-vpn",
    "route-target",
    "inet6",
    "inet-mvpn",
    "inet6-vpn",
]
LoopCount = Annotated[int, Meta(ge=0, le=16)]


class AddressFamilies(Part):
    """Address families in TF's wrapper."""

    family: Maybe[list[AddressFamily]] = UNSET


class AuthenticationKeyItem(Part):
    """One key of a key chain."""

    key_id: Maybe[Annotated[int, Meta(ge=0, le=63)]] = UNSET
    key: Maybe[str] = UNSET


class AuthenticationData(Part):
    """Session authentication."""

    key_type: Maybe[Literal["md5"]] = UNSET
    key_items: Maybe[list[AuthenticationKeyItem]] = UNSET


class BgpRouterParams(Part):
    """A BGP speaker."""

    admin_down: Maybe[bool] = UNSET
    vendor: Maybe[str] = UNSET
    cluster_id: Maybe[int] = UNSET
    autonomous_system: Maybe[int] = UNSET
    identifier: Maybe[str] = UNSET
    address: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    source_port: Maybe[int] = UNSET
    hold_time: Maybe[BgpHoldTime] = UNSET
    address_families: Maybe[AddressFamilies] = UNSET
    auth_data: Maybe[AuthenticationData] = UNSET
    local_autonomous_system: Maybe[int] = UNSET
    router_type: Maybe[
        Literal["control-node", "external-control-node", "router", "bgpaas-server", "bgpaas-client"]
    ] = UNSET
    gateway_address: Maybe[str] = UNSET
    ipv6_gateway_address: Maybe[str] = UNSET


class BgpPrefixLimit(Part):
    """How many prefixes a peer may send."""

    maximum: Maybe[int] = UNSET
    idle_timeout: Maybe[Annotated[int, Meta(ge=0, le=86400)]] = UNSET


class BgpFamilyAttributes(Part):
    """Session attributes of one address family."""

    address_family: Maybe[AddressFamily] = UNSET
    loop_count: Maybe[LoopCount] = UNSET
    prefix_limit: Maybe[BgpPrefixLimit] = UNSET
    default_tunnel_encap: Maybe[list[Literal["gre", "mpls", "udp", "vxlan"]]] = UNSET


class RouteOriginOverride(Part):
    """Rewrites the ORIGIN attribute."""

    origin_override: Maybe[bool] = UNSET
    origin: Maybe[Literal["IGP", "EGP", "INCOMPLETE"]] = UNSET


class BgpSessionAttributes(Part):
    """One direction of a session, or both when `bgp_router` is absent."""

    bgp_router: Maybe[str] = UNSET
    admin_down: Maybe[bool] = UNSET
    passive: Maybe[bool] = UNSET
    as_override: Maybe[bool] = UNSET
    hold_time: Maybe[BgpHoldTime] = UNSET
    loop_count: Maybe[LoopCount] = UNSET
    local_autonomous_system: Maybe[int] = UNSET
    address_families: Maybe[AddressFamilies] = UNSET
    auth_data: Maybe[AuthenticationData] = UNSET
    family_attributes: Maybe[list[BgpFamilyAttributes]] = UNSET
    private_as_action: Maybe[Literal["remove", "remove-all", "replace-all"]] = UNSET
    route_origin_override: Maybe[RouteOriginOverride] = UNSET


class BgpSession(Part):
    """One session between two routers."""

    uuid: Maybe[str] = UNSET
    attributes: Maybe[list[BgpSessionAttributes]] = UNSET


class BgpPeeringAttributes(Part):
    """Attribute of bgp-router -> bgp-router."""

    session: Maybe[list[BgpSession]] = UNSET


class InstanceTargetType(Part):
    """Attribute of routing-instance -> route-target; absent means both."""

    import_export: Maybe[Literal["import", "export"]] = UNSET


class ConnectionType(Part):
    """Attribute of routing-instance -> routing-instance."""

    destination_instance: Maybe[str] = UNSET


class ProtocolBgpType(Part):
    """BGP with a customer edge."""

    autonomous_system: Maybe[int] = UNSET


class ProtocolOspfType(Part):
    """OSPF with a customer edge."""

    area: Maybe[int] = UNSET


class DefaultProtocolType(Part):
    """The protocol with a customer edge."""

    bgp: Maybe[ProtocolBgpType] = UNSET
    ospf: Maybe[ProtocolOspfType] = UNSET


class ServiceChainInfo(Part):
    """A service chain as the control node sees it."""

    routing_instance: Maybe[str] = UNSET
    prefix: Maybe[list[str]] = UNSET
    service_chain_address: Maybe[str] = UNSET
    service_instance: Maybe[str] = UNSET
    source_routing_instance: Maybe[str] = UNSET
    service_chain_id: Maybe[str] = UNSET
    sc_head: Maybe[bool] = UNSET
    retain_as_path: Maybe[bool] = UNSET


class StaticRouteType(Part):
    """A static route of a routing instance."""

    prefix: Maybe[str] = UNSET
    next_hop: Maybe[str] = UNSET
    route_target: Maybe[list[str]] = UNSET
    community: Maybe[list[str]] = UNSET


class StaticRouteEntriesType(Part):
    """Static routes of a routing instance in TF's wrapper."""

    route: Maybe[list[StaticRouteType]] = UNSET
