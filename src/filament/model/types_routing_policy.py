"""Types of routing policies and route aggregates."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from filament.model.types_common import Maybe, Part

PrefixMatch = Literal["exact", "longer", "orlonger"]
ExternalRoute = Literal["ospf-type-1", "ospf-type-2"]


class AsListType(Part):
    """Autonomous systems to prepend, in TF's wrapper."""

    asn_list: Maybe[list[int]] = UNSET


class ActionAsPathType(Part):
    """A change of the AS path."""

    expand: Maybe[AsListType] = UNSET


class CommunityListType(Part):
    """Communities in TF's wrapper."""

    community: Maybe[list[str]] = UNSET


class ExtCommunityListType(Part):
    """Extended communities in TF's wrapper."""

    community: Maybe[list[str]] = UNSET


class ActionCommunityType(Part):
    """A change of the communities."""

    add: Maybe[CommunityListType] = UNSET
    remove: Maybe[CommunityListType] = UNSET
    set: Maybe[CommunityListType] = UNSET


class ActionExtCommunityType(Part):
    """A change of the extended communities."""

    add: Maybe[ExtCommunityListType] = UNSET
    remove: Maybe[ExtCommunityListType] = UNSET
    set: Maybe[ExtCommunityListType] = UNSET


class ActionUpdateType(Part):
    """The attributes that a term rewrites."""

    as_path: Maybe[ActionAsPathType] = UNSET
    community: Maybe[ActionCommunityType] = UNSET
    extcommunity: Maybe[ActionExtCommunityType] = UNSET
    local_pref: Maybe[int] = UNSET
    med: Maybe[int] = UNSET


class TermActionListType(Part):
    """What happens to a route that a term matches."""

    update: Maybe[ActionUpdateType] = UNSET
    action: Maybe[Literal["reject", "accept", "next"]] = UNSET
    action_next_value: Maybe[Literal["term", "policy"]] = UNSET
    external: Maybe[ExternalRoute] = UNSET
    as_path_expand: Maybe[str] = UNSET
    as_path_prepend: Maybe[str] = UNSET


class PrefixMatchType(Part):
    """A prefix and how exactly it must match."""

    prefix: Maybe[str] = UNSET
    prefix_type: Maybe[PrefixMatch] = UNSET


class PrefixListMatchType(Part):
    """Prefixes of interface route tables, and how exactly they must match."""

    interface_route_table_uuid: Maybe[list[str]] = UNSET
    prefix_type: Maybe[PrefixMatch] = UNSET


class RouteFilterProperties(Part):
    """One route filter of a network device."""

    route: Maybe[str] = UNSET
    route_type: Maybe[
        Literal["exact", "longer", "orlonger", "prefix-length-range", "through", "upto"]
    ] = UNSET
    route_type_value: Maybe[str] = UNSET


class RouteFilterType(Part):
    """Route filters in TF's wrapper."""

    route_filter_properties: Maybe[list[RouteFilterProperties]] = UNSET


class TermMatchConditionType(Part):
    """Which routes a term matches."""

    protocol: Maybe[
        list[
            Literal[
                "xmpp",
                "service-chain",
                "interface",
                "interface-static",
                "service-interface",
                "bgpaas",
                "bgp",
                "static",
                "aggregate",
                "direct",
                "pim",
                "evpn",
                "ospf",
                "ospf3",
            ]
        ]
    ] = UNSET
    prefix: Maybe[list[PrefixMatchType]] = UNSET
    community: Maybe[str] = UNSET
    community_list: Maybe[list[str]] = UNSET
    community_match_all: Maybe[bool] = UNSET
    extcommunity_list: Maybe[list[str]] = UNSET
    extcommunity_match_all: Maybe[bool] = UNSET
    family: Maybe[Literal["inet", "inet-vpn", "evpn"]] = UNSET
    as_path: Maybe[list[int]] = UNSET
    external: Maybe[ExternalRoute] = UNSET
    local_pref: Maybe[int] = UNSET
    nlri_route_type: Maybe[list[int]] = UNSET
    prefix_list: Maybe[list[PrefixListMatchType]] = UNSET
    route_filter: Maybe[RouteFilterType] = UNSET


class PolicyTermType(Part):
    """One term: a match and an action."""

    term_match_condition: Maybe[TermMatchConditionType] = UNSET
    term_action_list: Maybe[TermActionListType] = UNSET


class PolicyStatementType(Part):
    """The terms of a routing policy, in order."""

    term: Maybe[list[PolicyTermType]] = UNSET


class RoutingPolicyType(Part):
    """Attribute of a reference to or from a routing-policy: its place in the order."""

    sequence: Maybe[str] = UNSET


class RoutingPolicyServiceInstanceType(Part):
    """Attribute of routing-policy -> service-instance: its place on either side."""

    left_sequence: Maybe[str] = UNSET
    right_sequence: Maybe[str] = UNSET


class RouteListType(Part):
    """Aggregated prefixes in TF's wrapper."""

    route: Maybe[list[str]] = UNSET


class BgpaasControlNodeZoneAttributes(Part):
    """Attribute of bgp-as-a-service -> control-node-zone: which of the two sessions."""

    bgpaas_control_node_zone_type: Maybe[Literal["primary", "secondary"]] = UNSET
