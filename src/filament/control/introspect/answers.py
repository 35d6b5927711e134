"""Every request of the control node's introspect with who answers it."""

from __future__ import annotations

from collections.abc import Iterable

from filament import __version__
from filament.compiler.targets import read_asn
from filament.control.introspect.bgp import BgpPeers
from filament.control.introspect.configuration import ConfigurationAnswers
from filament.control.introspect.instances import instance_answers
from filament.control.introspect.listing import nothing
from filament.control.introspect.peers import PeerAnswers, format_identifier
from filament.control.introspect.routes import RouteAnswers
from filament.control.node import ControlNode
from filament.rib.keys import Family, table_name
from filament.runtime.clock import wall
from filament.runtime.introspect.process import LISTS, process_answers
from filament.runtime.introspect.serve import Answer, Introspect
from filament.wire.sandesh.routing import CONTROL
from filament.wire.sandesh.xml import Values

_MODULE = "contrail-control"
# Of what these ask for there is nothing here (yet): TF's answer with nothing configured.
_NOTHING = {
    "ShowServiceChainReq": "ShowServiceChainResp",
    "ShowStaticRouteReq": "ShowStaticRouteResp",
    "ShowRouteAggregateReq": "ShowRouteAggregateResp",
    "ShowBgpRoutingPolicyConfigReq": "ShowBgpRoutingPolicyConfigResp",
    "ShowMulticastManagerReq": "ShowMulticastManagerResp",
    "ShowMulticastManagerDetailReq": "ShowMulticastManagerDetailResp",
}


def control_introspect(node: ControlNode) -> Introspect:
    """Return the introspect of a control node; to be called from the task that owns it."""
    peers, bgp = PeerAnswers(node), BgpPeers(node)
    started = wall()

    def connections() -> list[Values]:
        api = node.api
        return [
            {
                "type": "ApiServer",
                "name": "",
                "server_addrs": [api.address],
                "status": "Up" if api.connected else "Down",
                "description": api.error or f"revision {node.core.revision}",
            }
        ]

    def router() -> Iterable[Values]:
        return [_router_state(node, wall() - started)]

    answers: dict[str, Answer] = {
        **RouteAnswers(node).answers(),
        **instance_answers(node),
        **ConfigurationAnswers(node).answers(),
        **peers.answers(),
        **process_answers(
            _MODULE,
            node.core.name,
            connections,
            {
                "BgpRouterState": ("BGPRouterInfo", router),
                "XmppPeerInfoData": ("XMPPPeerInfo", lambda: _peers(node)),
                "BgpPeerInfoData": ("BGPPeerInfo", bgp.observations),
            },
            {"XmppMessageTrace": peers.trace, "BgpTraceBuf": bgp.trace, "IFMapTraceBuf": list},
        ),
    }
    for request, response in _NOTHING.items():
        answers.update(nothing(request, response))
    title = f"control node {node.core.name}"
    return Introspect(title, CONTROL, answers, lists=LISTS)


def _router_state(node: ControlNode, alive_s: float) -> Values:
    core = node.core
    return {
        "name": core.name,
        "router_id": format_identifier(node),
        "local_asn": read_asn(core.snapshot),
        "global_asn": read_asn(core.snapshot),
        "uptime": round(alive_s * 1_000_000),
        "num_bgp_peer": len(node.peering.neighbours),
        "num_up_bgp_peer": sum(
            each.session is not None for each in node.peering.neighbours.values()
        ),
        "num_xmpp_peer": len(core.agents),
        "num_up_xmpp_peer": sum(each.is_served for each in core.agents.values()),
        "num_routing_instance": len(core.rib.instances),
        "build_info": f"Filament {__version__}",
    }


def _peers(node: ControlNode) -> Iterable[Values]:
    for session in list(node.core.agents.values()):
        flaps = node.flaps.get(session.name)
        yield {
            "name": f"{node.core.name}:{session.address}",
            "identifier": session.name,
            "routing_tables": [
                table_name(instance, Family.INET) for instance in sorted(session.instances)
            ],
            "flap_info": {"flap_count": flaps.count} if flaps is not None else {},
            "state_info": {
                "state": "Established",
                "last_state_at": round(node.since(session.name) * 1_000_000),
            },
        }
