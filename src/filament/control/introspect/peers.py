"""Neighbours and their sessions: agents, and (as BGP peers) routers."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

from filament.compiler.targets import read_asn
from filament.control.introspect.bgp import BgpPeers
from filament.control.introspect.listing import listing
from filament.control.node import ControlNode, SessionEnded
from filament.model.change import Object
from filament.rib.keys import MASTER, Family, table_name
from filament.runtime.clock import now, wall
from filament.runtime.introspect.serve import Answer, Messages, answer_with
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import NEVER, format_time
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.session import TraceEntry

# TF's names of the states of a session: it has one state machine for BGP and XMPP.
_STATES = {"waiting": "Active", "established": "Established", "closed": "Idle"}
_XMPP_FAMILIES = ["inet", "inet6", "e-vpn", "erm-vpn"]


class PeerAnswers:
    """The answers; reads the node, changes nothing."""

    def __init__(self, node: ControlNode) -> None:
        self._node = node
        self._bgp = BgpPeers(node)

    def answers(self) -> dict[str, Answer]:
        """Return them by request."""
        return {
            **listing(
                "BgpNeighborReq", "BgpNeighborListResp", "neighbors", self._names, self._full
            ),
            **listing(
                "ShowBgpNeighborSummaryReq",
                "ShowBgpNeighborSummaryResp",
                "neighbors",
                self._names,
                self._short,
            ),
            **self._bgp.answers(),
            "ShowXmppServerReq": lambda _: self._xmpp_server(),
            "ShowXmppConnectionReq": lambda _: self._xmpp_connections(),
        }

    def trace(self) -> list[str]:
        """Return what happened in sessions with agents lately, oldest first."""
        entries: list[tuple[float, str]] = []
        at = now()
        for connection in self._node.connections.values():
            who = f"{connection.claimed} ({connection.address})"
            entries += [
                (round(wall() - (at - one.at), 3), f"XmppMessage: {who}: {_step(one)}")
                for one in connection.session.trace
            ]
        for ended in self._node.endings:
            who = f"{ended.agent or 'somebody'} ({ended.address})"
            entries.append((ended.at, f"XmppMessage: {who}: closed: {ended.reason}"))
        return [f"{format_time(when)} {text}" for when, text in sorted(entries, key=itemgetter(0))]

    # neighbours -----------------------------------------------------------------------------

    def _names(self, query: Query) -> list[str]:
        """Return the names of neighbours, those found by an address included."""
        text = str(query.get("search_string", ""))
        core = self._node.core
        found = [each.name for each in core.agents.values() if text in (each.name + each.address)]
        away = [name for name in core.absences.stale if name not in core.agents and text in name]
        return [*found, *away, *self._bgp.names(text)]

    def _short(self, name: str) -> Values | None:
        return self._bgp.short(name) or self._agent(name)

    def _agent(self, name: str) -> Values:
        core = self._node.core
        session = core.agents.get(name)
        flaps = self._node.flaps.get(name)
        values: dict[str, object] = {
            "instance_name": MASTER,
            "peer": name,
            "encoding": "XMPP",
            "peer_type": "internal",
            "local_id": format_identifier(self._node),
            "local_asn": read_asn(core.snapshot),
            "flap_count": flaps.count if flaps is not None else 0,
            "flap_time": format_time(flaps.at) if flaps is not None else NEVER,
            "last_error": self._last_error(name),
        }
        if session is None:
            return {**values, "state": "Active", "send_state": "not advertising"}
        is_in_sync = core.applied(session) == core.revision
        return {
            **values,
            "peer_address": session.address,
            "peer_id": session.address,
            "state": "Established",
            "send_ready": True,
            "send_state": _send_state(is_served=session.is_served, is_in_sync=is_in_sync),
        }

    def _full(self, name: str) -> Values | None:
        of_bgp = self._bgp.full(name)
        if of_bgp is not None:
            return of_bgp
        values = self._agent(name)
        session = self._node.core.agents.get(name)
        connection = self._node.connections.get(name)
        if session is None or connection is None:
            return values
        trace = connection.session.trace
        last = trace[-1] if trace else None
        imports = {
            instance: sorted(found.imports)
            for instance in session.instances
            if (found := self._node.core.rib.instances.get(instance)) is not None
        }
        return {
            **values,
            "last_event": last.input if last is not None else "",
            "last_state": _last_state(trace),
            "last_state_at": format_time(self._node.since(name)),
            "auth_type": "NIL",
            "configured_address_families": _XMPP_FAMILIES,
            "negotiated_address_families": _XMPP_FAMILIES,
            "configured_hold_time": round(self._node.hold_time_s),
            "negotiated_hold_time": round(self._node.hold_time_s),
            "primary_path_count": self._node.core.rib.count_of_peer(name),
            "routing_instances": [
                {
                    "name": instance,
                    "state": "subscribed",
                    "index": number,
                    "import_targets": imports.get(instance, []),
                }
                for instance, number in sorted(session.instances.items())
            ],
            "routing_tables": [
                {"name": table_name(instance, Family.INET), "current_state": "subscribed"}
                for instance in sorted(session.instances)
            ],
            "rx_proto_stats": {"total": connection.session.received_count},
            "tx_proto_stats": {"total": connection.session.sent_count},
        }

    def _last_error(self, name: str) -> str:
        ended = self._ended(name)
        refusal = self._node.core.refusals.get(name)
        return refusal.text if refusal is not None else ended.reason if ended is not None else ""

    def _ended(self, name: str) -> SessionEnded | None:
        return next((each for each in reversed(self._node.endings) if each.agent == name), None)

    # sessions -------------------------------------------------------------------------------

    def _xmpp_server(self) -> Messages:
        sessions = [each.session for each in self._node.connections.values()]
        return answer_with(
            "ShowXmppServerResp",
            {
                "current_connections": len(sessions),
                "max_connections": self._node.most_connections,
                "rx_socket_stats": {
                    "bytes": sum(each.received_bytes for each in sessions),
                    "calls": sum(each.received_count for each in sessions),
                },
                "tx_socket_stats": {
                    "bytes": sum(each.sent_bytes for each in sessions),
                    "calls": sum(each.sent_count for each in sessions),
                },
            },
        )

    def _xmpp_connections(self) -> Messages:
        listed = []
        for name in sorted(self._node.connections):
            connection = self._node.connections[name]
            trace = connection.session.trace
            last = trace[-1] if trace else None
            listed.append(
                {
                    "name": name,
                    "remote_endpoint": connection.remote,
                    "local_endpoint": connection.local,
                    "state": _STATES[connection.session.state.value],
                    "last_event": last.input if last is not None else "",
                    "last_state": _last_state(trace),
                    "last_state_at": format_time(self._node.since(name)),
                    "receivers": ["BGP", "IFMap"],
                    "server_auth_type": "NIL",
                }
            )
        return answer_with("ShowXmppConnectionResp", {"connections": listed})


def format_identifier(node: ControlNode) -> str:
    """Return the BGP identifier of this control node; "" while it has none."""
    router = own_router(node)
    params = router.props.get("bgp_router_parameters") if router is not None else None
    if not isinstance(params, dict):
        return ""
    return str(params.get("identifier") or params.get("address") or "")


def own_router(node: ControlNode) -> Object | None:
    """Return the bgp-router object of this control node, the one that has its name."""
    for router in node.core.snapshot.of_kind("bgp-router"):
        if router.fq_name[-1] == node.core.name:
            return router
    return None


def _send_state(*, is_served: bool, is_in_sync: bool) -> str:
    if not is_served:
        return "not advertising"
    return "in sync" if is_in_sync else "not in sync"


def _step(entry: TraceEntry) -> str:
    return f"{entry.input}{': ' if entry.detail else ''}{entry.detail} -> {entry.state}"


def _last_state(trace: Iterable[TraceEntry]) -> str:
    """Return the state before the one now, as far as the trace goes back."""
    states = [one.state for one in trace]
    earlier = [state for state in states if state != states[-1]]
    return _STATES[earlier[-1]] if earlier else ""
