"""BGP peers as TF's control node shows its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

from filament.base.net import format_ipv4
from filament.compiler.peers import FABRIC
from filament.control.introspect.configuration import changed_at
from filament.control.introspect.listing import listing
from filament.control.node import ControlNode
from filament.control.peer_state import HistoryEntry, PeerState, peer_history, peer_state
from filament.model.change import Object
from filament.rib.keys import MASTER
from filament.runtime.introspect.serve import Answer, Messages, answer_with
from filament.wire.bgp.session import Counts
from filament.wire.sandesh.text import NEVER, format_time
from filament.wire.sandesh.xml import Values

_ESTABLISHED = "Established"
_OF_TENANTS = "bgpaas"


class BgpPeers:
    """BGP peers, looked at; changes nothing."""

    def __init__(self, node: ControlNode) -> None:
        self._node = node

    def answers(self) -> dict[str, Answer]:
        """Return the answers that are about BGP only."""
        return {
            "ShowBgpServerReq": lambda _: self._server(),
            **listing(
                "ShowBgpNeighborConfigReq",
                "ShowBgpNeighborConfigResp",
                "neighbors",
                lambda query: self.names(str(query.get("search_string", ""))),
                self._configured,
            ),
        }

    def names(self, text: str) -> list[str]:
        """Return the names of peers whose name or address contains a text."""
        return [
            name
            for name, each in self._node.peering.neighbours.items()
            if text in name or text in str(each.plan.address)
        ]

    def short(self, name: str) -> Values | None:
        """Return a peer as BgpNeighborResp, None when there is none of that name."""
        neighbour = self._node.peering.neighbours.get(name)
        if neighbour is None:
            return None
        state = peer_state(neighbour, self._node.core.rib)
        history = peer_history(neighbour)
        flapped_at = _lost_at(history)
        speaker = self._node.peering.speaker
        return {
            "instance_name": MASTER,
            "peer": name,
            "peer_address": state.address,
            "peer_id": state.peer_identifier,
            "peer_asn": state.peer_as,
            "encoding": "BGP",
            "peer_type": "internal" if state.is_internal else "external",
            "state": state.state,
            "router_type": state.router_type,
            "admin_down": state.is_admin_down,
            "passive": state.is_passive,
            "as4_supported": state.is_four_octet_as,
            "peer_port": state.port,
            "local_id": format_ipv4(speaker.identifier),
            "local_asn": state.local_as,
            "cluster_id": format_ipv4(speaker.cluster_id) if speaker.cluster_id else "",
            "send_ready": state.is_established,
            "send_state": self._send_state(name, state),
            "last_error": state.reason,
            "flap_count": state.lost_count,
            "flap_time": format_time(flapped_at) if flapped_at is not None else NEVER,
        }

    def full(self, name: str) -> Values | None:
        """Return a peer in full, None when there is none of that name."""
        values = self.short(name)
        if values is None:
            return None
        neighbour = self._node.peering.neighbours[name]
        state = peer_state(neighbour, self._node.core.rib)
        history = peer_history(neighbour)
        return {
            **values,
            "last_event": history[-1].input if history else "",
            "last_state": _state_before(history),
            "last_state_at": format_time(history[-1].at) if history else "",
            "auth_type": _auth(state),
            "configured_address_families": [each.family for each in state.families],
            "negotiated_address_families": [each.family for each in state.families if each.agreed],
            "family_attributes_list": [
                {"family": each.family, "prefix_limit": each.maximum} for each in state.families
            ],
            "configured_hold_time": neighbour.plan.hold_time_s,
            "negotiated_hold_time": state.hold_time_s if state.is_established else 0,
            "primary_path_count": sum(each.routes for each in state.families),
            "rx_proto_stats": _counted(state.received),
            "tx_proto_stats": _counted(state.sent),
        }

    def trace(self) -> list[str]:
        """Return what happened to peers lately, oldest first."""
        entries = [
            (each.at, f"{name}: {each.input}{_detail(each)} -> {each.state}")
            for name, neighbour in self._node.peering.neighbours.items()
            for each in peer_history(neighbour)
        ]
        return [f"{format_time(at)} {text}" for at, text in sorted(entries, key=itemgetter(0))]

    def observations(self) -> Iterable[Values]:
        """Return the peers as BgpPeerInfoData."""
        for name, neighbour in list(self._node.peering.neighbours.items()):
            state = peer_state(neighbour, self._node.core.rib)
            history = peer_history(neighbour)
            yield {
                "name": f"{MASTER}:{self._node.core.name}:{MASTER}:{name}",
                "admin_down": state.is_admin_down,
                "passive": state.is_passive,
                "router_type": state.router_type,
                "peer_type": "internal" if state.is_internal else "external",
                "peer_address": state.address,
                "local_asn": state.local_as,
                "peer_asn": state.peer_as,
                "hold_time": state.hold_time_s,
                "configured_families": [each.family for each in state.families],
                "negotiated_families": [each.family for each in state.families if each.agreed],
                "flap_info": {"flap_count": state.lost_count},
                "state_info": {
                    "state": state.state,
                    "last_state": _state_before(history),
                    "last_state_at": round(history[-1].at * 1_000_000) if history else 0,
                },
                "close_reason": state.reason,
            }

    def _send_state(self, name: str, state: PeerState) -> str:
        member = self._node.core.rib.bgp.out.members.get(name)
        if not state.is_established or member is None:
            return "not advertising"
        return "not in sync" if member.work else "in sync"

    def _server(self) -> Messages:
        sessions = [
            each.session
            for each in self._node.peering.neighbours.values()
            if each.session is not None
        ]
        return answer_with(
            "ShowBgpServerResp",
            {
                "rx_socket_stats": _octets(each.received for each in sessions),
                "tx_socket_stats": _octets(each.sent for each in sessions),
            },
        )

    def _configured(self, name: str) -> Values | None:
        neighbour = self._node.peering.neighbours.get(name)
        if neighbour is None:
            return None
        plan, speaker = neighbour.plan, self._node.peering.speaker
        return {
            "instance_name": MASTER,
            "name": name,
            "admin_down": plan.is_admin_down,
            "passive": plan.is_passive,
            # TF has a type only for those of tenants here, and readers tell the others by that.
            "router_type": plan.router_type if plan.router_type.startswith(_OF_TENANTS) else "",
            "local_identifier": format_ipv4(speaker.identifier),
            "local_as": plan.local_as,
            "vendor": plan.vendor,
            "autonomous_system": plan.peer_as,
            "address": str(plan.address),
            "cluster_id": format_ipv4(speaker.cluster_id) if speaker.cluster_id else "",
            "source_port": 0,
            "hold_time": plan.hold_time_s,
            "last_change_at": changed_at(self._router(name)),
            "auth_type": "md5" if plan.password else "NIL",
            "address_families": [str(each) for each in plan.families],
            "family_attributes_list": [
                {"family": str(family), "prefix_limit": neighbour.limit(family).maximum}
                for family in plan.families
            ],
        }

    def _router(self, name: str) -> Object | None:
        return self._node.core.snapshot.named("bgp-router", (*FABRIC, name))


def _auth(state: PeerState) -> str:
    return "md5" if state.has_password else "NIL"


def _detail(entry: HistoryEntry) -> str:
    return f" ({entry.detail})" if entry.detail else ""


def _lost_at(history: Sequence[HistoryEntry]) -> float | None:
    """Return when a session was last lost, as far as the ring goes back."""
    for before, after in zip(reversed(history[:-1]), reversed(history[1:]), strict=True):
        if before.state == _ESTABLISHED and after.state != _ESTABLISHED:
            return after.at
    return None


def _state_before(history: Sequence[HistoryEntry]) -> str:
    states = [each.state for each in history]
    earlier = [state for state in states if state != states[-1]]
    return earlier[-1] if earlier else ""


def _counted(counts: Counts) -> Values:
    return {
        "total": counts.total,
        "keepalive": counts.keepalives,
        "update": counts.updates,
    }


def _octets(counts: Iterable[Counts]) -> Values:
    total = calls = 0
    for each in counts:
        total += each.octets
        calls += each.total
    return {
        "bytes": total,
        "calls": calls,
        "average_bytes": round(total / calls, 1) if calls else 0,
    }
