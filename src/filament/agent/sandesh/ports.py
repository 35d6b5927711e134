"""Interfaces, networks, VRFs, machines, and what the configuration hangs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from filament.agent.config import PortConfig
from filament.agent.firewall import POLICY_SET, TAG
from filament.agent.sandesh.look import Look, uuid_of
from filament.agent.sandesh.pages import Listed
from filament.base.net import format_address, format_ipv4, parse_mac
from filament.forward.inputs import FatFlow, Filter, FilterMatch, FilterRule, Subnet
from filament.runtime.introspect.serve import Answer, answer_with
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import format_short_mac
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.stanza import Node

Json = Mapping[str, Any]
_ACTIVE = "active"


def port_lists(look: Look) -> dict[str, Listed]:
    """Return the lists of ports and of what they are in."""
    return {
        "ItfReq": Listed(
            "ItfResp",
            "itf_list",
            lambda query: _interfaces(look, query),
            lambda: _interface_maker(look),
        ),
        "VnListReq": Listed(
            "VnListResp",
            "vn_list",
            lambda query: _networks(look, query),
            lambda: _network_maker(look),
        ),
        "VrfListReq": Listed(
            "VrfListResp", "vrf_list", lambda query: _vrfs(look, query), lambda: _vrf_maker(look)
        ),
        "VmListReq": Listed(
            "VmListResp",
            "vm_list",
            lambda query: _machines(look, query),
            lambda: lambda uuid: {"uuid": uuid},
        ),
        "AclReq": Listed(
            "AclResp", "acl_list", lambda query: _acls(look, query), lambda: _acl_maker(look)
        ),
        "SgListReq": Listed(
            "SgListResp",
            "sg_list",
            lambda query: [
                name for name in look.nodes("security-group") if str(query.get("name", "")) in name
            ],
            lambda: lambda name: _security_group(look, name),
        ),
    }


# interfaces -----------------------------------------------------------------------------------


def _listed(look: Look) -> list[Json]:
    listed: list[Json] = look.view.interfaces()["interfaces"]
    return listed


def _interfaces(look: Look, query: Query) -> Sequence[str]:
    """Return the uuids of the ports that a query asks for; "" is the underlay's device."""
    wanted = {name: str(value) for name, value in query.items()}
    mac = _mac(wanted.get("mac", ""))
    uuids = []
    for port in _listed(look):
        addresses = port["addresses"]
        network_uuid = look.uuid("virtual-network", port["network"])
        if (
            wanted.get("name", port["device"]) in (port["device"], port["name"])
            and wanted.get("type", "vport") == "vport"
            and wanted.get("uuid", port["uuid"]) == port["uuid"]
            and wanted.get("vn", port["network"]) in (port["network"], network_uuid)
            and mac in (None, port["mac"] and parse_mac(port["mac"]))
            and all(
                wanted[name] in addresses
                for name in ("ipv4_address", "ipv6_address")
                if name in wanted
            )
        ):
            uuids.append(port["uuid"])
    underlay = look.host.devices.underlay
    if wanted.keys() <= {"name", "type"} and (
        wanted.get("name", underlay) == underlay and wanted.get("type", "eport") == "eport"
    ):
        uuids.append("")
    return uuids


def _mac(text: str) -> int | None:
    """Read a MAC of a query, padded or not."""
    return parse_mac(text) if text else None


def _interface_maker(look: Look) -> Callable[[str], Values | None]:
    by_uuid = {port["uuid"]: port for port in _listed(look)}
    configs = {port.plug.uuid: port.config for port in look.host.core.ports()}
    policies = _policies_by_set(look)

    def make(uuid: str) -> Values | None:
        if not uuid:
            return _underlay(look)
        port = by_uuid.get(uuid)
        if port is None:
            return None
        config = configs.get(uuid)
        found = _firewalled(look, config, policies) if config is not None else {}
        return {**_interface(look, port), **found}

    return make


def _policies_by_set(look: Look) -> dict[str, list[str]]:
    """Return the uuids of the firewall policies of each policy set that holds for some port."""
    return {
        one.name: [look.uuid("firewall-policy", policy.name) for policy in one.policies]
        for one in look.host.core.inputs().policy_sets
    }


def _firewalled(look: Look, config: PortConfig, policies: Mapping[str, list[str]]) -> Values:
    """Return what TF says of a port's tags and policy sets, and of its fat flows."""
    tags: list[Values] = []
    by_number = {_tag_number(node): node for node in look.graph.of_kind(TAG)}
    for number in config.tags:
        node = by_number.get(number)
        metadata = f"{POLICY_SET}-{TAG}"
        sets = look.graph.linked(node, metadata, POLICY_SET) if node is not None else []
        links = [{"application_policy_set": uuid_of(one)} for one in sets]
        name = node.name if node is not None else ""
        tags.append({"name": name, "id": number, "application_policy_set_list": links})
    return {
        "vmi_tag_list": tags,
        "policy_set_acl_list": [
            uuid for name in config.policy_sets for uuid in policies.get(name, ())
        ],
        "policy_set_fwaas_list": [
            uuid for name in config.fwaas_sets for uuid in policies.get(name, ())
        ],
        "fat_flow_list": [f"{one.protocol}:{one.port}:{_ignored(one)}" for one in config.fat_flows],
        "max_flows": config.flow_limit,
    }


def _tag_number(node: Node) -> int:
    try:
        return int(str(node.props.get("tag_id")), 16)
    except ValueError:
        return 0


def _ignored(flow: FatFlow) -> int:
    """TF's number of what address a fat flow ignores: of its own, of the far one, of none."""
    return 1 if flow.ignores_local else 2 if flow.ignores_remote else 3


def _interface(look: Look, port: Json) -> Values:
    is_active = port["state"] == _ACTIVE
    state = "Active" if is_active else f"Inactive < {port['state']} >"
    fixed4 = [one for one in port["addresses"] if ":" not in one]
    fixed6 = [one for one in port["addresses"] if ":" in one]
    groups = [
        {"sg_uuid": uuid_of(node)}
        for node in _linked(look, "virtual-machine-interface", port["name"], "security-group")
    ]
    return {
        "index": port["vif"],
        "name": port["device"],
        "uuid": port["uuid"],
        "vrf_name": port["vrf"],
        "active": state,
        "ipv4_active": "Active" if is_active and fixed4 else "Ipv4_Inactive",
        "l2_active": "L2 Active" if is_active else "L2 Inactive",
        "ip6_active": "Active" if is_active and fixed6 else "Ipv6_Inactive",
        "health_check_active": "Active",
        "dhcp_service": "Disable",
        "dns_service": "Disable",
        "type": "vport",
        "label": port["label"],
        "l2_label": port["label"],
        "vn_name": port["network"],
        "vm_uuid": port["machine"],
        "vm_name": port["display_name"],
        "ip_addr": fixed4[0] if fixed4 else "",
        "ip6_addr": fixed6[0] if fixed6 else "",
        "mac_addr": format_short_mac(parse_mac(port["mac"])) if port["mac"] else "",
        "policy": "Enable" if port["policy"] else "Disable",
        "os_ifindex": port["ifindex"],
        "fabric_port": "NotFabricPort",
        "alloc_linklocal_ip": "LL-Disable",
        "config_name": port["name"],
        "sg_uuid_list": groups,
        "admin_state": "Enabled" if port["up"] else "Disabled",
        "tx_vlan_id": -1,
        "rx_vlan_id": -1,
        "sub_type": "Tap",
        "vmi_type": "Virtual Machine",
        "transport": "Ethernet",
        "fixed_ip4_list": fixed4,
        "fixed_ip6_list": fixed6,
    }


def _underlay(look: Look) -> Values:
    name = look.host.devices.underlay
    state = look.host.devices.state(name)
    is_active = bool(state.is_attached and state.link and state.link.is_up)
    return {
        "index": 0,
        "name": name,
        "active": "Active" if is_active else f"Inactive < {state.problem or 'down'} >",
        "l2_active": "L2 Active" if is_active else "L2 Inactive",
        "type": "eport",
        "vn_name": "",
        "vm_name": "",
        "ip_addr": format_ipv4(look.host.core.host.address),
        "policy": "Disable",
        "os_ifindex": state.link.ifindex if state.link else 0,
        "fabric_port": "FabricPort",
        "admin_state": "Enabled",
        "transport": "Ethernet",
        "tx_vlan_id": -1,
        "rx_vlan_id": -1,
    }


def _machines(look: Look, query: Query) -> Sequence[str]:
    found = {port.plug.machine for port in look.host.core.ports()}
    wanted = query.get("uuid")
    return [uuid for uuid in found if wanted in (None, uuid)]


# networks and VRFs ----------------------------------------------------------------------------


def _networks(look: Look, query: Query) -> Sequence[str]:
    name, uuid = str(query.get("name", "")), query.get("uuid")
    return [
        node.name
        for node in look.graph.of_kind("virtual-network")
        if name in node.name and uuid in (None, uuid_of(node))
    ]


def _network_maker(look: Look) -> Callable[[str], Values | None]:
    inputs = look.host.core.inputs()
    subnets: dict[str, list[Subnet]] = {}
    for subnet in inputs.subnets:
        subnets.setdefault(subnet.network, []).append(subnet)
    vrfs = {vrf.network: vrf for vrf in inputs.vrfs}
    names = {port.network: port.vrf for port in inputs.ports}

    def make(name: str) -> Values | None:
        node = look.graph.node("virtual-network", name)
        if node is None:
            return None
        acls = _linked(look, "virtual-network", name, "access-control-list")
        vrf = vrfs.get(name)
        return {
            "name": name,
            "uuid": uuid_of(node),
            "acl_uuid": uuid_of(acls[0]) if acls else "",
            "vrf_name": vrf.name if vrf is not None else names.get(name, ""),
            "ipam_data": [_ipam(one) for one in subnets.get(name, ())],
            "layer2_forwarding": vrf.is_layer2 if vrf is not None else False,
            "ipv4_forwarding": vrf.is_layer3 if vrf is not None else True,
            "admin_state": True,
            "vxlan_id": vrf.vni if vrf is not None else 0,
            "vn_id": _number(node.props.get("virtual_network_network_id")),
            "enable_rpf": True,
            "bridging": vrf.is_layer2 if vrf is not None else False,
            "flood_unknown_unicast": vrf.floods_unknown if vrf is not None else False,
        }

    return make


def _ipam(subnet: Subnet) -> Values:
    version = subnet.prefix.version
    return {
        "ip_prefix": format_address(subnet.prefix.address, version),
        "prefix_len": subnet.prefix.length,
        "gateway": format_address(subnet.gateway, version) if subnet.gateway else "",
        "dhcp_enable": "false",
        "dns_server": format_address(subnet.service, version) if subnet.service else "",
        "dhcp_enable_v6": "false",
    }


def _vrfs(look: Look, query: Query) -> Sequence[str]:
    wanted = str(query.get("name", ""))
    return [name for name in look.numbers("vrf") if wanted in name]


def _vrf_maker(look: Look) -> Callable[[str], Values | None]:
    numbers = look.numbers("vrf")
    vnis = {vrf.name: vrf.vni for vrf in look.host.core.inputs().vrfs}
    address = format_ipv4(look.host.core.host.address)

    def make(name: str) -> Values | None:
        number = numbers.get(name)
        if number is None:
            return None
        tables = ("ucindex", "mcindex", "l2index", "uc6index", "evpnindex", "brindex", "mplsindex")
        return {
            "name": name,
            **dict.fromkeys(tables, number),
            "source": "Config",
            "vn": name.rpartition(":")[0],
            "vxlan_id": vnis.get(name, 0),
            "RD": f"{address}:{number}",
        }

    return make


# policy ---------------------------------------------------------------------------------------


def _acls(look: Look, query: Query) -> Sequence[str]:
    wanted = query.get("uuid")
    return [
        one.name
        for one in look.host.core.inputs().filters
        if wanted in (None, look.uuid("access-control-list", one.name), one.name)
    ]


def _acl_maker(look: Look) -> Callable[[str], Values | None]:
    filters = {one.name: one for one in look.host.core.inputs().filters}

    def make(name: str) -> Values | None:
        one = filters.get(name)
        return _acl(look, one) if one is not None else None

    return make


def _acl(look: Look, one: Filter) -> Values:
    return {
        "uuid": look.uuid("access-control-list", one.name) or one.name,
        "name": one.name,
        "dynamic_acl": True,
        "entries": [_entry(index, rule) for index, rule in enumerate(one.rules, start=1)],
    }


def _entry(index: int, rule: FilterRule) -> Values:
    low, high = (0, 255) if rule.protocol is None else (rule.protocol, rule.protocol)
    return {
        "ace_id": str(index),
        "rule_type": "Terminal",
        "src": _end(rule.source),
        "dst": _end(rule.destination),
        "src_port_l": [_ports(rule.source)],
        "dst_port_l": [_ports(rule.destination)],
        "proto_l": [{"min": low, "max": high}],
        "action_l": [{"action": "pass" if rule.passes else "deny"}],
        "src_type": _end_type(rule.source),
        "dst_type": _end_type(rule.destination),
        "uuid": rule.origin.object,
    }


def _end(match: FilterMatch) -> str:
    parts = [match.network] if match.network else []
    if match.prefix.length:
        parts.append(str(match.prefix))
    return " ".join(parts) or "any"


def _end_type(match: FilterMatch) -> str:
    return "network" if match.network else "ip" if match.prefix.length else "any"


def _ports(match: FilterMatch) -> Values:
    return {"min": match.ports[0], "max": match.ports[1]}


def _security_group(look: Look, name: str) -> Values | None:
    node = look.graph.node("security-group", name)
    if node is None:
        return None
    acls = _linked(look, "security-group", name, "access-control-list")
    by_direction = {one.name.rpartition(":")[2].partition("-")[0]: uuid_of(one) for one in acls}
    return {
        "ref_count": 1,
        "sg_id": _number(node.props.get("security_group_id")),
        "sg_uuid": uuid_of(node),
        "acl_uuid": uuid_of(acls[0]) if acls else "",
        "egress_acl_uuid": by_direction.get("egress", ""),
        "ingress_acl_uuid": by_direction.get("ingress", ""),
    }


# what is only configured ----------------------------------------------------------------------


def configured_answers(look: Look) -> dict[str, Answer]:
    """Return the answers about what the configuration says and nothing here acts on (yet)."""
    return {
        "LinkLocalServiceInfo": lambda _: answer_with(
            "LinkLocalServiceResponse", {"service_list": _link_local(look)}
        ),
    }


def _link_local(look: Look) -> list[Values]:
    found: list[Values] = []
    for node in look.graph.of_kind("global-vrouter-config"):
        services = node.props.get("linklocal_services")
        entries = services.get("linklocal_service_entry") if isinstance(services, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict):
                addresses = entry.get("ip_fabric_service_ip")
                found.append(
                    {
                        "linklocal_service_name": entry.get("linklocal_service_name"),
                        "linklocal_service_ip": entry.get("linklocal_service_ip"),
                        "linklocal_service_port": _number(entry.get("linklocal_service_port")),
                        "ipfabric_dns_name": entry.get("ip_fabric_DNS_service_name"),
                        "ipfabric_ip": addresses if isinstance(addresses, list) else [],
                        "ipfabric_port": _number(entry.get("ip_fabric_service_port")),
                    }
                )
    return found


def _linked(look: Look, kind: str, name: str, other: str) -> list[Node]:
    """Return the objects of a kind that are linked to one by TF's metadata for the two."""
    node = look.graph.node(kind, name)
    return look.graph.linked(node, f"{kind}-{other}", other) if node is not None else []


def _number(value: object) -> int:
    """Read a number that XML may have made a text."""
    try:
        return int(str(value)) if value is not None else 0
    except ValueError:
        return 0
