"""The control node's HTTP: read-only answers about itself, its agents and its routes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.base.errors import NotFoundError
from filament.base.net import Prefix, format_ipv4, format_mac
from filament.control.agents import AgentSession
from filament.control.audit import Load, audit_routes
from filament.control.explain import explain_routes
from filament.control.node import ControlNode
from filament.control.peer_state import peer_history, peer_states
from filament.control.translate import next_hops_of, origin_of
from filament.rib.explain import Explanation
from filament.rib.keys import RouteKey, order_of, unicast
from filament.rib.path import Path, Selection
from filament.runtime.clock import now, wall
from filament.runtime.web import answering_errors, json_response

MAX_ROUTES_SHOWN = 10_000  # answering takes the loop: agents must not wait for a curious person

Record = dict[str, Any]


def application(node: ControlNode, load: Load) -> Starlette:
    """Return the web application of a control node; `load` asks the API for the configuration."""
    answers = {
        "status": status,
        "agents": agents,
        "instances": instances,
        "routes": routes,
        "refused": refused,
        "bgp-neighbors": bgp_neighbors,
    }

    def route(name: str) -> Route:
        async def answer(request: Request) -> Response:
            return json_response(answers[name](node, request.query_params))

        return Route(f"/filament/{name}", answering_errors(answer), methods=["GET"])

    return Starlette(
        routes=[
            *(route(name) for name in answers),
            *explain_routes(node),
            *audit_routes(node, load),
        ]
    )


def status(node: ControlNode, query: Any) -> Record:
    """How far the node is, whether the API answers, and its agents in short."""
    del query
    core = node.core
    return {
        "role": "control",
        "name": core.name,
        "revision": core.revision,
        "settled": core.settled,
        "loaded": core.is_loaded,
        "complete": core.absences.is_complete,
        "awaited": core.absences.awaited,
        "awaited_peers": core.absences.awaited_peers,
        "api": node.api,
        "agents": [_agent(node, each) for each in _sessions(node)],
    }


def _sessions(node: ControlNode) -> list[AgentSession]:
    return sorted(node.core.agents.values(), key=lambda each: each.name)


def _agent(node: ControlNode, session: AgentSession) -> Record:
    return {
        "name": session.name,
        "address": session.address,
        "connected_since": node.since(session.name),
        "served": session.is_served,
        "whole": session.is_whole,
        "applied": node.core.applied(session),
        "sent_sequence": session.sent_sequence,
        "acked_sequence": session.acknowledged_sequence,
        "instances": sorted(session.instances),
    }


def agents(node: ControlNode, query: Any) -> Record:
    """Agents in full, those that are away included, with the last steps of their sessions."""
    del query
    core = node.core
    listed = []
    for session in _sessions(node):
        xmpp = node.connections[session.name].session
        listed.append(
            _agent(node, session)
            | {
                "state": "connected",
                "machines": sorted(session.machines),
                "routes": core.rib.count_of_peer(session.name),
                "stanzas_sent": xmpp.sent_count,
                "stanzas_received": xmpp.received_count,
                "history": [
                    {
                        "ago_s": round(now() - entry.at, 3),
                        "input": entry.input,
                        "state": entry.state,
                        "detail": entry.detail,
                    }
                    for entry in xmpp.trace
                ],
            }
        )
    for name in core.absences.stale:
        until = core.absences.stale_until(name)
        if name not in core.agents and until is not None:
            listed.append(
                {
                    "name": name,
                    "state": "away",
                    "routes": core.rib.count_of_peer(name),
                    "swept_in_s": round(until - now(), 3),
                }
            )
    return {"agents": listed}


def instances(node: ControlNode, query: Any) -> Record:
    """The routing instances, their targets, and who listens."""
    del query
    rib = node.core.rib
    return {
        "instances": [
            {
                "name": name,
                "network": rib.instances[name].network,
                "imports": sorted(rib.instances[name].imports),
                "exports": sorted(rib.instances[name].exports),
                "routes": len(rib.selections(name)),
                "agents": sorted(
                    each.name for each in node.core.agents.values() if name in each.instances
                ),
            }
            for name in sorted(rib.instances)
        ]
    }


def routes(node: ControlNode, query: Any) -> Record:
    """Routes of one instance or all; with `prefix` every candidate path and why it won or lost."""
    core = node.core
    wanted = query.get("instance")
    names = sorted(core.rib.instances) if not wanted else [core.instance(wanted).name]
    if query.get("prefix"):
        key = unicast(Prefix.parse(query["prefix"]))
        return {
            "routes": [
                _explained(node, core.rib.why(name, key))
                for name in names
                if wanted or core.rib.selection(name, key) is not None
            ]
        }
    shown: list[Record] = []
    for name in names:
        selections = core.rib.selections(name)
        keys = sorted(selections, key=order_of)[: MAX_ROUTES_SHOWN - len(shown)]
        shown += [_route(node, name, key, selections[key]) for key in keys]
    count = sum(len(core.rib.selections(name)) for name in names)
    return {"routes": shown, "count": count, "truncated": count > len(shown)}


def _route(node: ControlNode, instance: str, key: RouteKey, selection: Selection) -> Record:
    best = selection.best
    rib = node.core.rib
    return {
        "instance": instance,
        "prefix": str(key),
        "family": key.family.value,
        "next_hop": ", ".join(
            format_ipv4(hop.address) for hop in next_hops_of(rib, selection.paths)
        ),
        "label": best.label,
        "network": rib.network_of(best),
        "source": ", ".join(path.peer for path in selection.paths),
        "local_preference": best.local_preference,
        "paths": [_path(path) for path in selection.paths],
        "origin": origin_of(rib, instance, best),
    }


def _path(path: Path) -> Record:
    return {
        "peer": path.peer,
        "source_instance": path.source,
        "next_hop": format_ipv4(path.next_hop),
        "label": path.label,
        "encapsulations": path.encapsulations,
        "mac": format_mac(path.mac),
        "local_preference": path.local_preference,
        "sequence": path.sequence,
        "distinguisher": str(path.distinguisher),
        "stale": path.stale,
        "origin": path.origin,
    }


def _explained(node: ControlNode, explanation: Explanation) -> Record:
    selection = node.core.rib.selection(explanation.instance, explanation.key)
    route = (
        _route(node, explanation.instance, explanation.key, selection)
        if selection is not None
        else {"instance": explanation.instance, "prefix": str(explanation.key)}
    )
    return route | {
        "candidates": [
            _path(each.path) | {"chosen": each.chosen, "via": each.via, "reason": each.reason}
            for each in explanation.candidates
        ]
    }


def bgp_neighbors(node: ControlNode, query: Any) -> Record:
    """BGP peers and their sessions, of `name` (a bgp-router) alone with its history."""
    peering, rib = node.peering, node.core.rib
    speaker = peering.speaker
    wanted = query.get("name")
    if wanted and wanted not in peering.neighbours:
        known = ", ".join(sorted(peering.neighbours)) or "none"
        raise NotFoundError(f"{node.core.name} has no BGP peer {wanted!r}; there are: {known}")
    listed: list[Record] = []
    for state in peer_states(peering, rib):
        if wanted in (None, "", state.name):
            listed.append(msgspec.to_builtins(state))
        if wanted == state.name:
            neighbour = peering.neighbours[state.name]
            listed[-1]["history"] = msgspec.to_builtins(peer_history(neighbour))
    return {
        "name": speaker.name,
        "asn": speaker.asn,
        "identifier": format_ipv4(speaker.identifier),
        "cluster_id": speaker.cluster_id,
        "problems": [each for each in (*speaker.problems, peering.entrance.problem) if each],
        "neighbors": listed,
        "refused": msgspec.to_builtins(list(peering.entrance.refused)),
    }


def refused(node: ControlNode, query: Any) -> Record:
    """Agents that are connected and not served, and sessions that ended, each with the reason."""
    del query
    core = node.core
    return {
        "refused": [
            {
                "agent": each.agent,
                "address": each.address,
                "subscription": f"{each.kind} {each.name}",
                "reason": each.text,
                "connected_since": node.since(each.agent),
            }
            for each in core.refusals.values()
        ],
        "ended": [
            {
                "agent": each.agent,
                "address": each.address,
                "reason": each.reason,
                "ago_s": round(wall() - each.at, 3),
            }
            for each in reversed(node.endings)
        ],
    }
