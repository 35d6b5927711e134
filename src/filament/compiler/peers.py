"""Who a control node speaks BGP with, from bgp-router objects: sessions as configured, both ends.

A session exists between two bgp-routers when one refers to the other, or when auto-mesh joins them
(TF's schema-transformer, chapter 9): all routers of the cluster's AS and of one sub-cluster, but
with a route reflector among them only those pairs that need not be reflected. Nothing is stored:
every control node reads its own sessions out of the same configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from filament.base.errors import InputError
from filament.base.net import Address, parse_address, parse_ipv4
from filament.base.origin import NOWHERE, Origin
from filament.compiler.targets import GLOBAL_SYSTEM_CONFIG, read_asn
from filament.model.change import Commit, Object
from filament.model.view import View
from filament.wire.bgp.attributes import OriginCode
from filament.wire.bgp.communities import Encapsulation
from filament.wire.bgp.family import BY_TITLE, AddressFamily

BGP_ROUTER = "bgp-router"
FABRIC = ("default-domain", "default-project", "ip-fabric", "__default__")
BGP_PORT = 179
DEFAULT_HOLD_TIME_S = 90
DEFAULT_FAMILIES = (AddressFamily.INET, AddressFamily.INET_VPN)
_CONTROL_TYPES = frozenset({"control-node", "external-control-node"})
_CUSTOMER_TYPES = frozenset({"bgpaas-server", "bgpaas-client"})
# Tunnel types by the names of `default_tunnel_encap` (TF's TunnelEncapFromString).
_TUNNELS = {
    "gre": Encapsulation.GRE,
    "mpls": Encapsulation.MPLS,
    "udp": Encapsulation.MPLS_O_UDP,
    "vxlan": Encapsulation.VXLAN,
}
_KINDS = frozenset({BGP_ROUTER, "global-system-config"})


class PrefixLimit(msgspec.Struct, frozen=True):
    """How many routes of a family a peer may announce, and how long it is kept away after more.

    `idle_s` 0 means as long as any other failure keeps it.
    """

    family: AddressFamily
    maximum: int
    idle_s: int = 0


class RestartPlan(msgspec.Struct, frozen=True):
    """Graceful restart: how long peers are to keep our routes, and whether we keep theirs."""

    is_enabled: bool = False
    is_helper: bool = False
    restart_time_s: int = 300
    long_lived_time_s: int = 300
    end_of_rib_timeout_s: int = 300


class PeerPlan(msgspec.Struct, frozen=True):
    """One session as one end sees it. `is_client`: we reflect to it.

    `local_as` is ours for this session, `peer_as` the peer's; `password` "" is none. `loops` is how
    often our AS may be in a path, by family; `origin_override` an ORIGIN for all that is heard;
    `encapsulations` are tunnel types by family. What each does, `rib.peer.Rules` says.
    """

    name: str
    address: Address
    port: int
    local_as: int
    peer_as: int
    families: tuple[AddressFamily, ...]
    hold_time_s: int = DEFAULT_HOLD_TIME_S
    password: str = ""
    is_passive: bool = False
    is_admin_down: bool = False
    is_client: bool = False
    prefix_limits: tuple[PrefixLimit, ...] = ()
    has_as_override: bool = False
    private_as_action: str = ""
    loops: tuple[tuple[AddressFamily, int], ...] = ()
    origin_override: int | None = None
    encapsulations: tuple[tuple[AddressFamily, tuple[int, ...]], ...] = ()
    vendor: str = ""
    router_type: str = ""
    origin: Origin = NOWHERE

    @property
    def is_internal(self) -> bool:
        """Whether it is of our AS."""
        return self.local_as == self.peer_as


class SpeakerPlan(msgspec.Struct, frozen=True):
    """A control node as a BGP speaker, with its peers by name.

    A node without a bgp-router of its own has `name` "" and no peers. `problems` says which
    sessions cannot be, and why.
    """

    name: str = ""
    asn: int = 64512
    identifier: int = 0
    address: Address = Address(0, 4)
    port: int = BGP_PORT
    cluster_id: int | None = None
    restart: RestartPlan = RestartPlan()
    peers: dict[str, PeerPlan] = {}
    problems: tuple[str, ...] = ()


def concerns(commit: Commit) -> bool:
    """Say whether a commit may change anybody's sessions."""
    return any(each.kind in _KINDS for each in (*commit.puts, *commit.deletes))


def plan_speaker(view: View, name: str) -> SpeakerPlan:
    """Return what the control node of this name is as a speaker."""
    asn = read_asn(view)
    config = view.named("global-system-config", GLOBAL_SYSTEM_CONFIG)
    settings = config.props if config is not None else {}
    restart = _read_restart(settings)
    ours = view.named(BGP_ROUTER, (*FABRIC, name))
    if ours is None:
        return SpeakerPlan(asn=asn, restart=restart)
    problems: list[str] = []
    us = _Router(ours, asn)
    try:
        address, identifier = us.address(), us.identifier()
    except InputError as error:
        problems.append(f"bgp-router {name}: {error}; it has no sessions")
        return SpeakerPlan(name=name, asn=us.asn, restart=restart, problems=tuple(problems))
    peers: dict[str, PeerPlan] = {}
    for other, attributes, rule in _partners(view, us, settings, asn):
        try:
            peers[other.name] = _plan_peer(us, other, attributes, rule)
        except InputError as error:
            problems.append(f"bgp-router {other.name}: {error}; there is no session with it")
    return SpeakerPlan(
        name=name,
        asn=us.asn,
        identifier=identifier,
        address=address,
        port=us.port,
        cluster_id=us.cluster_id,
        restart=restart,
        peers=peers,
        problems=tuple(problems),
    )


def _read_restart(settings: dict[str, Any]) -> RestartPlan:
    found = settings.get("graceful_restart_parameters") or {}
    return RestartPlan(
        is_enabled=bool(found.get("enable")),
        is_helper=bool(found.get("enable") and found.get("bgp_helper_enable")),
        restart_time_s=_number(found, "restart_time", 300),
        long_lived_time_s=_number(found, "long_lived_restart_time", 300),
        end_of_rib_timeout_s=_number(found, "end_of_rib_timeout", 300),
    )


def _number(record: dict[str, Any], name: str, default: int) -> int:
    value = record.get(name)
    return value if isinstance(value, int) else default


class _Router:
    """A bgp-router as configured."""

    def __init__(self, item: Object, cluster_as: int) -> None:
        self.item = item
        self.name = item.fq_name[-1]
        self.parameters: dict[str, Any] = item.props.get("bgp_router_parameters") or {}
        self.asn = _number(self.parameters, "autonomous_system", 0) or cluster_as
        self.local_as = _number(self.parameters, "local_autonomous_system", 0) or self.asn
        self.port = _number(self.parameters, "port", 0) or BGP_PORT
        self.kind = self.parameters.get("router_type") or "router"
        self.cluster_id = _number(self.parameters, "cluster_id", 0) or None

    @property
    def is_control(self) -> bool:
        return self.kind in _CONTROL_TYPES

    @property
    def sub_clusters(self) -> frozenset[str]:
        return frozenset(ref.uuid for ref in self.item.refs_to("sub-cluster"))

    def address(self) -> Address:
        text = self.parameters.get("address")
        if not text:
            raise InputError("no-address", "it has no address", hint="set its address")
        return parse_address(text)

    def identifier(self) -> int:
        text = self.parameters.get("identifier")
        if text:
            return parse_ipv4(text)
        address = self.address()
        if address.version != 4:
            raise InputError(
                "no-identifier",
                "its address is IPv6 and it has no identifier",
                hint="set an identifier, written like an IPv4 address",
            )
        return address.value


_Attributes = dict[str, Any]


def _partners(
    view: View, us: _Router, settings: dict[str, Any], cluster_as: int
) -> Iterator[tuple[_Router, list[_Attributes], str]]:
    """Yield the other end of each session, its attributes, and why there is one."""
    is_meshed = settings.get("ibgp_auto_mesh", True) and us.asn == cluster_as
    routers = {
        item.uuid: _Router(item, cluster_as)
        for item in view.of_kind(BGP_ROUTER)
        if item.fq_name[:-1] == FABRIC
    }
    reflectors = [each for each in routers.values() if each.cluster_id is not None]
    for uuid, other in routers.items():
        if uuid == us.item.uuid or other.kind in _CUSTOMER_TYPES:
            continue
        reference = _reference(us.item, other.item)
        if reference is not None:
            yield other, reference, "bgp-router-refs"
        elif is_meshed and _is_meshed(us, other, reflectors, cluster_as):
            yield other, [], "ibgp-auto-mesh"


def _reference(ours: Object, theirs: Object) -> list[_Attributes] | None:
    """Return the session attributes of a reference between two routers, None without one."""
    for holder, target in ((ours, theirs), (theirs, ours)):
        for ref in holder.refs_to(BGP_ROUTER):
            if ref.uuid == target.uuid:
                sessions = (ref.attr or {}).get("session") or [{}]
                return list(sessions[0].get("attributes") or [])
    return None


def _is_meshed(us: _Router, other: _Router, reflectors: list[_Router], cluster_as: int) -> bool:
    if other.asn != cluster_as or us.sub_clusters != other.sub_clusters:
        return False
    if not reflectors or us.cluster_id is not None or other.cluster_id is not None:
        return True
    has_control_reflector = any(each.is_control for each in reflectors)
    return us.is_control and other.is_control and not has_control_reflector


def _plan_peer(us: _Router, other: _Router, attributes: list[_Attributes], rule: str) -> PeerPlan:
    ours, theirs = _merged(attributes, us), _merged(attributes, other)
    both = (us.parameters, other.parameters)
    local_as = _number(ours, "local_autonomous_system", 0) or us.local_as
    return PeerPlan(
        name=other.name,
        address=other.address(),
        port=other.port,
        local_as=local_as,
        peer_as=_number(theirs, "local_autonomous_system", 0) or other.local_as,
        families=_families(_listed(ours, us), _listed(theirs, other)),
        hold_time_s=_hold_time(ours, us),
        password=_password(ours, theirs, *both),
        is_passive=bool(ours.get("passive")),
        is_admin_down=any(bool(each.get("admin_down")) for each in (ours, theirs, *both)),
        is_client=us.cluster_id is not None and other.cluster_id is None,
        prefix_limits=_prefix_limits(ours),
        has_as_override=bool(ours.get("as_override")),
        private_as_action=ours.get("private_as_action") or "",
        loops=_loops(ours),
        origin_override=_origin_override(ours),
        encapsulations=_encapsulations(ours),
        vendor=other.parameters.get("vendor") or "",
        router_type=other.kind,
        origin=other.item.origin(rule),
    )


def _merged(attributes: list[_Attributes], router: _Router) -> _Attributes:
    """Return what holds at one end: attributes of both ends, and over them its own."""
    merged: _Attributes = {}
    names = (router.name, router.item.name, router.item.uuid)
    for each in sorted(attributes, key=lambda one: bool(one.get("bgp_router"))):
        if not each.get("bgp_router") or each["bgp_router"] in names:
            merged |= {name: value for name, value in each.items() if value is not None}
    return merged


def _listed(attributes: _Attributes, router: _Router) -> list[str]:
    """Return the families configured at one end, [] for none: those of the session come first."""
    for holder in (attributes, router.parameters):
        found = (holder.get("address_families") or {}).get("family")
        if found:
            return list(found)
    return []


def _families(ours: list[str], theirs: list[str]) -> tuple[AddressFamily, ...]:
    """Return what both ends have; an end without any takes what the other has."""
    if not ours and not theirs:
        return DEFAULT_FAMILIES
    wanted = [name for name in ours or theirs if name in (theirs or ours)]
    families = tuple(dict.fromkeys(BY_TITLE[name] for name in wanted if name in BY_TITLE))
    if not families:
        shown = " and ".join(", ".join(each) or "any" for each in (ours, theirs))
        raise InputError(
            "no-family",
            f"no address family that we know is configured at both ends: {shown}",
            hint=f"there are: {', '.join(BY_TITLE)}",
        )
    return families


def _hold_time(attributes: _Attributes, router: _Router) -> int:
    for holder in (attributes, router.parameters):
        value = holder.get("hold_time")
        if isinstance(value, int):
            return value if value == 0 else max(3, value)
    return DEFAULT_HOLD_TIME_S


def _password(*holders: dict[str, Any]) -> str:
    for holder in holders:
        for item in (holder.get("auth_data") or {}).get("key_items") or []:
            if item.get("key"):
                return str(item["key"])
    return ""


def _family_attributes(attributes: _Attributes) -> Iterator[tuple[AddressFamily, _Attributes]]:
    for each in attributes.get("family_attributes") or []:
        family = BY_TITLE.get(each.get("address_family") or "")
        if family is not None:
            yield family, each


def _loops(attributes: _Attributes) -> tuple[tuple[AddressFamily, int], ...]:
    """Return every family's loop_count that is not 0: a family's own goes over the session's."""
    of_session = _number(attributes, "loop_count", 0)
    counts = dict.fromkeys(AddressFamily, of_session)
    for family, each in _family_attributes(attributes):
        counts[family] = _number(each, "loop_count", 0) or of_session
    return tuple((family, count) for family, count in counts.items() if count)


def _origin_override(attributes: _Attributes) -> int | None:
    found = attributes.get("route_origin_override") or {}
    if not found.get("origin_override"):
        return None
    return OriginCode[found.get("origin") or "IGP"].value


def _encapsulations(
    attributes: _Attributes,
) -> tuple[tuple[AddressFamily, tuple[int, ...]], ...]:
    return tuple(
        (family, tuple(_TUNNELS[name].value for name in each["default_tunnel_encap"]))
        for family, each in _family_attributes(attributes)
        if each.get("default_tunnel_encap")
    )


def _prefix_limits(attributes: _Attributes) -> tuple[PrefixLimit, ...]:
    limits = []
    for family, each in _family_attributes(attributes):
        limit = each.get("prefix_limit") or {}
        if _number(limit, "maximum", 0):
            limits.append(PrefixLimit(family, limit["maximum"], _number(limit, "idle_timeout", 0)))
    return tuple(limits)
