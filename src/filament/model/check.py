"""Rules between objects: what types alone cannot say. Each raises an error of the house.

`require_valid` looks only at the object and its neighbours in the view, never at everything.
Status codes are Tungsten Fabric's (InputError 400, ForbiddenError 403, ConflictError 409).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from filament.base.errors import ConflictError, ForbiddenError, InputError
from filament.base.net import Prefix, RouteTarget, parse_address, parse_ipv4, parse_mac
from filament.base.splice import splice_of
from filament.model.change import Object
from filament.model.check_bgpvpn import require_vpns_of_network, require_vpns_of_router
from filament.model.check_rules import (
    content_of,
    group_rules,
    policy_rules,
    require_fitting_group,
    require_fitting_network,
    require_fitting_policy,
    sum_of,
)
from filament.model.check_subnets import require_host, require_ipam, require_subnets
from filament.model.flat_subnet import subnets_of
from filament.model.kind import nearest
from filament.model.snapshot import Candidate

# What agents and the plan take for granted.
SYSTEM_NETWORKS = frozenset(
    ("default-domain", "default-project", name) for name in ("ip-fabric", "__link_local__")
)
# Networks that stand for others in a policy rule.
SPECIAL_NETWORKS = frozenset({"any", "local"})
PROTOCOLS = frozenset({"any", "icmp", "icmp6", "tcp", "udp", "sctp", "igmp", "gre", "esp", "ah"})
FIRST_ROUTE_TARGET = 8_000_000
FIRST_ROUTE_TARGET_4BYTE = 8_000  # with a 4-byte autonomous system
# Lists that a security group makes.
GROUP_LISTS = frozenset({"ingress-access-control-list", "egress-access-control-list"})
# What an instance-ip takes its address from, in TF's order.
_ADDRESS_SOURCES = {
    "virtual-network": "network",
    "virtual-router": "virtual-router",
    "network-ipam": "network-ipam",
}
_SHORTEST_STANDBY = {4: 24, 6: 120}  # prefix lengths by IP version, TF's
_MAX_HINT_NAMES = 1000  # a hint is not worth comparing with every network there is


def require_valid(view: Candidate, item: Object, before: Object | None) -> None:
    """Check `item` as it would be after the change; `before` is None when it is new."""
    check = _CHECKS.get(item.kind)
    if check is not None:
        check(view, item, before)


def cluster_asn(view: Candidate) -> int:
    """The cluster's autonomous system (global-system-config), 64512 unless configured."""
    for item in view.of_kind("global-system-config"):
        return int(item.props.get("autonomous_system") or 64512)
    return 64512


def _network(view: Candidate, item: Object, before: Object | None) -> None:
    require_subnets(view, item, before)
    require_vpns_of_network(view, item, before)
    _require_free_targets(item, before, cluster_asn(view))
    require_fitting_network(view, item, before)
    attached = {ref.uuid for ref in before.refs} if before is not None else set()
    for ref in item.refs_to("network-policy"):
        policy = view.get(ref.uuid)
        if ref.uuid not in attached and policy is not None:
            _require_known_networks(view, policy, {item.name})


def _system(view: Candidate, item: Object, before: Object | None) -> None:
    """A new autonomous system must not turn targets that users listed into automatic ones."""
    if before is None or before.props.get("autonomous_system") == item.props.get(
        "autonomous_system"
    ):
        return
    for network in view.of_kind("virtual-network"):
        _require_free_targets(network, None, cluster_asn(view))


def _require_free_targets(item: Object, before: Object | None, asn: int) -> None:
    for field in ("route_target_list", "import_route_target_list", "export_route_target_list"):
        if before is None or before.props.get(field) != item.props.get(field):
            for text in (item.props.get(field) or {}).get("route_target") or ():
                _require_free_target(text, asn, f"$.virtual-network.{field}")


def _require_free_target(text: str, asn: int, path: str) -> None:
    target = RouteTarget.parse(text)
    first = FIRST_ROUTE_TARGET if asn < 1 << 16 else FIRST_ROUTE_TARGET_4BYTE
    if target.admin == asn and not target.admin_is_ipv4 and target.number >= first:
        raise InputError(
            "reserved-route-target",
            f"route target {text} lies in the range allocated automatically",
            path=path,
            hint=f"use a number below {first}, or another autonomous system than {asn}",
        )


def _policy(view: Candidate, item: Object, before: Object | None) -> None:
    rules, known_rules = policy_rules(item), policy_rules(before)
    start, _, end = splice_of(known_rules, rules)  # the others were checked when they came
    for index, rule in enumerate(rules[start:end], start):
        path = f"$.network-policy.network_policy_entries.policy_rule[{index}]"
        if not rule.get("action_list"):
            raise InputError(
                "missing-action",
                "a policy rule needs an action_list",
                path=path,
                hint='write "action_list": {"simple_action": "pass"}',
            )
        _require_protocol(rule, path)
        for side in ("src_addresses", "dst_addresses"):
            if any(address.get("security_group") for address in rule.get(side) or ()):
                raise InputError(
                    "security-group-in-policy",
                    f"{side} of a policy rule names a security group",
                    path=path,
                    hint="name a virtual_network, a subnet or a network_policy",
                )
    require_fitting_policy(view, item, before)
    known = set(_named_networks(before)) if before is not None else set()
    _require_known_networks(view, item, known)


def _require_protocol(rule: dict[str, Any], path: str) -> None:
    protocol = (rule.get("protocol") or "any").lower()
    if protocol in PROTOCOLS or (protocol.isascii() and protocol.isdigit() and int(protocol) < 256):
        return
    raise InputError(
        "bad-protocol",
        f"protocol '{protocol}' is neither a known name nor a number 0-255",
        path=path,
        hint=nearest(protocol, PROTOCOLS) or "use any, tcp, udp, icmp or a number",
    )


def _named_networks(policy: Object) -> Iterable[str]:
    entries = policy.props.get("network_policy_entries") or {}
    for rule in entries.get("policy_rule") or ():
        for side in ("src_addresses", "dst_addresses"):
            for address in rule.get(side) or ():
                name = address.get("virtual_network")
                if name and name not in SPECIAL_NETWORKS:
                    yield name


def _require_known_networks(view: Candidate, policy: Object, known: set[str]) -> None:
    """TF accepts rules naming networks that do not exist, which then silently match nothing."""
    for name in _named_networks(policy):
        if name in known or view.named("virtual-network", tuple(name.split(":"))) is not None:
            continue
        listed = islice(view.of_kind("virtual-network"), _MAX_HINT_NAMES)
        names = (item.name for item in listed)
        raise InputError(
            "unknown-network",
            f"network-policy {policy.name} names virtual-network '{name}', which does not exist",
            path="$.network-policy.network_policy_entries",
            hint=nearest(name, names) or 'create the network first, or write "any" or "local"',
        )


def _security_group(view: Candidate, item: Object, before: Object | None) -> None:
    del view
    require_fitting_group(item, before)
    rules, known = group_rules(item), group_rules(before)
    start, _, end = splice_of(known, rules)  # the others were checked when they came
    for index, rule in enumerate(rules[start:end], start):
        path = f"$.security-group.security_group_entries.policy_rule[{index}]"
        _require_protocol(rule, path)
        sides = [rule.get("src_addresses") or (), rule.get("dst_addresses") or ()]
        if not any(one.get("security_group") == "local" for side in sides for one in side):
            raise InputError(
                "no-local-side",
                "a security group rule needs 'local' on one side",
                path=path,
                hint='put {"security_group": "local"} into src_addresses or dst_addresses',
            )
        _require_one_version(rule, path)
    contents = sum_of(rules, known).contents
    for rule in rules[start:end]:
        content = content_of(rule)
        if contents[content] > 1:
            _, second, *_ = (at for at, one in enumerate(rules) if content_of(one) == content)
            raise ConflictError(f"rule {second} of security-group {item.name} repeats another rule")


def _access_control_list(view: Candidate, item: Object, before: Object | None) -> None:
    """The names of rendered lists stay free for them."""
    del view
    if before is not None or len(item.fq_name) < 2:
        return
    maker = ""
    if item.fq_name[-1] == item.fq_name[-2]:
        maker = "the policies of the network make"
    elif item.fq_name[-1] in GROUP_LISTS:
        maker = "a security group makes"
    if maker:
        raise ConflictError(
            f"the name {item.name} is that of the list which {maker}; choose another"
        )


def _require_one_version(rule: dict[str, Any], path: str) -> None:
    """TF refuses a rule whose prefixes are not of its ethertype, because it can match nothing."""
    ethertype = rule.get("ethertype")
    for side in ("src_addresses", "dst_addresses"):
        for address in rule.get(side) or ():
            subnet = address.get("subnet") or {}
            listed = [subnet] if subnet else []
            for one in (*listed, *(address.get("subnet_list") or ())):
                base, length = one.get("ip_prefix"), one.get("ip_prefix_len")
                prefix = Prefix.parse(f"{base}/{length}")
                if ethertype and ethertype != f"IPv{prefix.version}":
                    raise InputError(
                        "wrong-ethertype",
                        f"Rule subnet {prefix} doesn't match ethertype {ethertype}",
                        path=f"{path}.ethertype",
                        hint=f"write IPv{prefix.version}",
                    )


def _interface(view: Candidate, item: Object, before: Object | None) -> None:
    networks = item.refs_to("virtual-network")
    if len(networks) != 1:
        raise InputError(
            "no-network",
            f"virtual-machine-interface {item.name} refers to {len(networks)} virtual networks",
            path="$.virtual-machine-interface.virtual_network_refs",
            hint="it needs exactly one",
        )
    if before is not None and before.refs_to("virtual-network")[0].uuid != networks[0].uuid:
        for address in view.referrers(item.uuid, "instance-ip"):
            said = f"virtual-machine-interface {item.name} cannot change its network while"
            end = "holds an address of the old one; delete it first"
            raise ConflictError(f"{said} instance-ip {address.name} {end}").naming(
                address.uuid, ConflictError(f"{said} an instance-ip {end}")
            )
    macs = item.props.get("virtual_machine_interface_mac_addresses") or {}
    for text in macs.get("mac_address") or ():
        parse_mac(text)
    _require_narrow_standbys(item)
    if item.refs_to("virtual-machine"):
        for address in view.referrers(item.uuid, "instance-ip"):
            _require_not_gateway(view, address)


def _require_narrow_standbys(item: Object) -> None:
    """Ports share an active-standby pair as one; TF refuses shorter prefixes."""
    pairs = item.props.get("virtual_machine_interface_allowed_address_pairs") or {}
    for index, pair in enumerate(pairs.get("allowed_address_pair") or ()):
        subnet = pair.get("ip") or {}
        address, length = subnet.get("ip_prefix"), subnet.get("ip_prefix_len")
        if pair.get("address_mode") != "active-standby" or address is None or length is None:
            continue
        shortest = _SHORTEST_STANDBY[parse_address(address).version]
        if length < shortest:
            raise InputError(
                "wide-pair",
                f"the active-standby address pair {address}/{length} of virtual-machine-interface"
                f" {item.name} is held as a whole by one port at a time",
                path="$.virtual-machine-interface.virtual_machine_interface_allowed_address_pairs"
                f".allowed_address_pair[{index}].ip.ip_prefix_len",
                hint=f"give a length of {shortest} or more, or address_mode active-active",
            )


def _targets(item: Object, kind: str) -> set[str]:
    return {ref.uuid for ref in item.refs_to(kind)}


def _instance_ip(view: Candidate, item: Object, before: Object | None) -> None:
    if before is not None:
        for field in ("instance_ip_address", "subnet_uuid"):
            if before.props.get(field) != item.props.get(field):
                raise InputError(
                    "immutable",
                    f"{field} of instance-ip {item.name} cannot be changed",
                    path=f"$.instance-ip.{field}",
                    hint="delete the instance-ip and create another",
                )
        for kind, word in _ADDRESS_SOURCES.items():
            if _targets(before, kind) != _targets(item, kind):
                raise InputError(
                    "immutable",
                    f"the {word} of instance-ip {item.name} cannot be changed",
                    path=f"$.instance-ip.{kind.replace('-', '_')}_refs",
                    hint="delete the instance-ip and create another",
                )
    for ref in item.refs_to("virtual-machine-interface"):
        interface = view.get(ref.uuid)
        if interface is None:
            continue
        mine, its = item.refs_to("virtual-network"), interface.refs_to("virtual-network")
        if mine and its and mine[0].uuid != its[0].uuid:
            raise _other_network(item, interface.name).naming(
                interface.uuid, _other_network(item, interface.uuid)
            )
        if interface.refs_to("virtual-machine"):
            _require_not_gateway(view, item)


def _other_network(item: Object, interface: str) -> InputError:
    return InputError(
        "other-network",
        f"instance-ip {item.name} is in another network than virtual-machine-interface {interface}",
        path="$.instance-ip.virtual_machine_interface_refs",
        hint="both must refer to the same virtual-network",
    )


def _require_not_gateway(view: Candidate, address: Object) -> None:
    text = address.props.get("instance_ip_address")
    for ref in address.refs_to("virtual-network"):
        network = view.get(ref.uuid)
        if network is None or network.fq_name in SYSTEM_NETWORKS or not text:
            continue
        wanted = parse_address(text)
        for subnet in subnets_of(network, view.get):
            if wanted == (subnet.gateway, subnet.prefix.version):
                raise InputError(
                    "gateway-address",
                    f"Gateway IP cannot be used by VM port: {text} is the gateway of subnet"
                    f" {subnet.prefix}",
                    path="$.instance-ip.instance_ip_address",
                    hint="ask for another address or leave it out",
                )


def _pooled_address(view: Candidate, item: Object, before: Object | None) -> None:
    del view
    field = f"{item.kind.replace('-', '_')}_address"
    if before is not None and before.props.get(field) != item.props.get(field):
        raise InputError(
            "immutable",
            f"{field} of {item.kind} {item.name} cannot be changed",
            path=f"$.{item.kind}.{field}",
            hint=f"delete the {item.kind} and create another",
        )


def _require_router_ports(view: Candidate, item: Object) -> None:
    """Ports of a router are nobody else's, and not in the network that is its way out (TF)."""
    external = {
        ref.uuid
        for ref in item.refs_to("virtual-network")
        if (ref.attr or {}).get("logical_router_virtual_network_type", "ExternalGateway")
        == "ExternalGateway"
    }
    for ref in item.refs_to("virtual-machine-interface"):
        port = view.get(ref.uuid)
        if port is None:
            continue
        if port.refs_to("virtual-machine"):
            said = "is in use by a virtual machine: it cannot be a port of logical-router"
            raise ConflictError(f"Port {port.name} {said} {item.name}").naming(
                port.uuid, ConflictError(f"Port {port.uuid} {said} {item.name}")
            )
        if external & {one.uuid for one in port.refs_to("virtual-network")}:
            raise InputError(
                "gateway-network",
                f"logical-router {item.name} has a port in the network that is its external"
                " gateway",
                path="$.logical-router.virtual_network_refs",
                hint="use another network for one of the two",
            )


def _logical_router(view: Candidate, item: Object, before: Object | None) -> None:
    _require_router_ports(view, item)
    require_vpns_of_router(view, item)
    field = "logical_router_type"
    if before is not None and before.props.get(field) != item.props.get(field):
        raise InputError(
            "immutable",
            f"{field} of logical-router {item.name} cannot be changed",
            path=f"$.logical-router.{field}",
            hint="delete the logical-router and create another",
        )
    text = item.props.get("vxlan_network_identifier")
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 24):
        raise InputError(
            "bad-vxlan-id",
            f"vxlan_network_identifier '{text}' is not a number from 1 to 16777215",
            path="$.logical-router.vxlan_network_identifier",
            hint="write the number as a string, or leave it out",
        )


def _healthmonitor(view: Candidate, item: Object, before: Object | None) -> None:
    del view, before
    if not item.props.get("loadbalancer_healthmonitor_properties"):
        raise InputError(
            "missing-property",
            f"loadbalancer-healthmonitor {item.name} lacks loadbalancer_healthmonitor_properties",
            path="$.loadbalancer-healthmonitor.loadbalancer_healthmonitor_properties",
            hint='write for example {"monitor_type": "PING", "delay": 5}',
        )


def _virtual_router(view: Candidate, item: Object, before: Object | None) -> None:
    require_host(view, item, before)
    text = item.props.get("virtual_router_ip_address")
    if text and (before is None or before.props.get("virtual_router_ip_address") != text):
        parse_ipv4(text)


def require_deletable(item: Object) -> None:
    """Refuse to delete what the system itself stands on."""
    if item.kind == "virtual-network" and item.fq_name in SYSTEM_NETWORKS:
        raise ConflictError(f"virtual-network {item.name} belongs to the system: not deletable")
    if item.kind == "global-system-config" and item.name == "default-global-system-config":
        raise ConflictError(f"{item.kind} {item.name} belongs to the system: not deletable")


def require_unset_by_caller(kind_name: str, field: str) -> None:
    """Refuse a property that only the API sets."""
    raise ForbiddenError(
        f"{field} of a {kind_name} is allocated by the API and cannot be set; leave it out"
    )


_CHECKS: dict[str, Callable[[Candidate, Object, Object | None], None]] = {
    "access-control-list": _access_control_list,
    "global-system-config": _system,
    "network-ipam": require_ipam,
    "virtual-network": _network,
    "network-policy": _policy,
    "security-group": _security_group,
    "virtual-machine-interface": _interface,
    "instance-ip": _instance_ip,
    "virtual-router": _virtual_router,
    "floating-ip": _pooled_address,
    "alias-ip": _pooled_address,
    "logical-router": _logical_router,
    "loadbalancer-healthmonitor": _healthmonitor,
}
