"""Every request of the agent's introspect with who answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from filament import __version__
from filament.agent.connection import Connection
from filament.agent.host import AgentHost
from filament.agent.sandesh.bridges import bridge_lists
from filament.agent.sandesh.control import connection_infos, control_answers, trace
from filament.agent.sandesh.hops import hop_lists, vxlan_configs
from filament.agent.sandesh.kernel import kernel_answers
from filament.agent.sandesh.look import Look, host_of
from filament.agent.sandesh.pages import Pages
from filament.agent.sandesh.ports import configured_answers, port_lists
from filament.agent.sandesh.routes import route_lists
from filament.base.net import format_ipv4
from filament.runtime.clock import now, wall
from filament.runtime.introspect.process import LISTS, process_answers
from filament.runtime.introspect.serve import Answer, Introspect, Messages
from filament.wire.sandesh.text import format_time
from filament.wire.sandesh.vrouter import AGENT
from filament.wire.sandesh.xml import Message, Values

_MODULE = "contrail-vrouter-agent"
_ALL_SERVICES = ("PktStats", "DhcpStats", "ArpStats", "DnsStats", "IcmpStats", "MetadataResponse")
# Of what these ask for there is nothing here (yet), or nobody counts it: packets that the agent
# would answer are answered by the programs in the kernel.
_NOTHING = {
    "Inet4McRouteReq": ("Inet4McRouteResp",),
    "VrfAssignReq": ("VrfAssignResp",),
    "ServiceInstanceReq": ("ServiceInstanceResp",),
    "HealthCheckSandeshReq": ("HealthCheckSandeshResp",),
    "BgpAsAServiceSandeshReq": ("BgpAsAServiceSandeshResp",),
    "MirrorCfgVnInfoReq": ("MirrorCfgVnInfoResp",),
    "IntfMirrorCfgDisplayReq": ("IntfMirrorCfgDisplayResp",),
    "IcmpInfo": ("IcmpStats",),
    "Icmpv6Info": ("Icmpv6Stats",),
    "DhcpInfo": ("DhcpStats",),
    "Dhcpv6Info": ("Dhcpv6Stats",),
    "DnsInfo": ("DnsStats",),
    "ArpInfo": ("ArpStats",),
    "MetadataInfo": ("MetadataResponse",),
    "ShowAllInfo": _ALL_SERVICES,
    "InterfaceArpStatsReq": ("InterfaceArpStatsResponse",),
    "InterfaceIcmpv6StatsReq": ("InterfaceIcmpv6StatsResponse",),
    "VmVdnsListReq": ("VmVdnsListResponse",),
    "ShowArpCache": ("ArpCacheResp",),
    "ShowGratuitousArpCache": ("ArpCacheResp",),
}


def agent_introspect(host: AgentHost, connections: Mapping[str, Connection]) -> Introspect:
    """Return the introspect of an agent; to be called from the task that owns the host."""
    look = Look(host, connections)

    def nothing(responses: tuple[str, ...]) -> Answer:
        def answer(_: object) -> Messages:
            return tuple(Message(one, {}) for one in responses)

        return answer

    answers: dict[str, Answer] = {
        **Pages(
            {**port_lists(look), **hop_lists(look), **route_lists(look), **bridge_lists(look)}
        ).answers(),
        **kernel_answers(look),
        **control_answers(look),
        **configured_answers(look),
        "VxLanConfigReq": vxlan_configs(look),
        **{name: nothing(responses) for name, responses in _NOTHING.items()},
        **process_answers(
            _MODULE,
            host.core.host.name,
            lambda: connection_infos(look),
            {
                "VrouterAgent": ("VrouterAgentUVE", lambda: [_vrouter(look)]),
                "UveVMInterfaceAgent": ("UveVMInterfaceAgentTrace", lambda: _interfaces(look)),
            },
            {"Controller": lambda: trace(look), "Flow": list, "Oper DB": list},
        ),
    }
    return Introspect(f"agent of {host.core.host.name}", AGENT, answers, lists=LISTS)


def _vrouter(look: Look) -> Values:
    host = look.host
    listed = look.view.interfaces()["interfaces"]
    address = format_ipv4(host.core.host.address)
    return {
        "name": host.core.host.name,
        "connected_networks": sorted({one["network"] for one in listed if one["network"]}),
        "interface_list": [one["name"] or one["uuid"] for one in listed],
        "virtual_machine_list": sorted({one["machine"] for one in listed}),
        "xmpp_peer_list": [
            {
                "ip": host_of(one.control),
                "status": one.state == "established",
                "setup_time": format_time(round(wall() - (now() - one.since), 3)),
                "primary": one.control == host.core.believed,
            }
            for one in look.connections.values()
        ],
        "self_ip_list": [address],
        "build_info": f"Filament {__version__}",
        "error_intf_list": [one["name"] for one in listed if one["state"] != "active"],
        "control_ip": address,
        "control_node_list_cfg": list(look.connections),
        "hostname_cfg": host.core.host.name,
        "mode": "VROUTER",
        "vn_count": len(look.nodes("virtual-network")),
        "platform": "HOST",
    }


def _interfaces(look: Look) -> Iterable[Values]:
    for port in look.view.interfaces()["interfaces"]:
        is_active = port["state"] == "active"
        yield {
            "name": port["name"] or port["uuid"],
            "ip_address": port["address"],
            "virtual_network": port["network"],
            "mac_address": port["mac"],
            "label": port["label"],
            "active": is_active,
            "vm_name": port["display_name"],
            "uuid": port["uuid"],
            "vm_uuid": port["machine"],
            "ip4_active": is_active,
        }
