"""Sessions with control nodes, what they sent, and counters."""

from __future__ import annotations

import asyncio
from operator import itemgetter

import msgspec

from filament.agent.connection import Connection
from filament.agent.sandesh.look import Look, host_of
from filament.runtime.clock import now, wall
from filament.runtime.introspect.serve import Answer, Messages, answer_with
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import NEVER, format_time
from filament.wire.sandesh.xml import Message, Values
from filament.wire.xmpp.dialect import CONTROL_JID

# TF's names of the states of a session.
_STATES = {"connecting": "Connect", "opening": "OpenSent", "established": "Established"}
_ESTABLISHED = "established"
# What the fourth parameter becomes where a client leaves out the `&` before its name.
_RUN_TOGETHER = "link_node_sub_string="


def control_answers(look: Look) -> dict[str, Answer]:
    """Return the answers about control nodes and what they sent."""
    return {
        "AgentXmppConnectionStatusReq": lambda _: answer_with(
            "AgentXmppConnectionStatus", {"peer": _sessions(look)}
        ),
        "AgentDnsXmppConnectionStatusReq": lambda _: answer_with(
            "AgentDnsXmppConnectionStatus", {}
        ),
        "ShowIFMapAgentReq": lambda query: _configuration(look, query),
        "ShowIFMapAgentStatsReq": lambda _: answer_with(
            "ShowIFMapAgentStatsResp",
            {
                "node_updates_processed": len(list(look.graph.nodes)),
                "link_updates_processed": len(list(look.graph.links)),
                "node_update_parse_errors": len(look.host.core.problems()),
            },
        ),
        "AgentStatsReq": lambda _: _stats(look),
    }


def connection_infos(look: Look) -> list[Values]:
    """Return what the agent should be connected to, as ConnectionInfo."""
    return [
        {
            "type": "XMPP",
            "name": f"control-node:{host_of(one.control)}",
            "server_addrs": [one.control],
            "status": "Up" if one.state == _ESTABLISHED else "Down",
            "description": one.problem or _STATES.get(one.state, one.state),
        }
        for one in look.connections.values()
    ]


def trace(look: Look) -> list[str]:
    """Return what happened in sessions with control nodes lately, oldest first."""
    at, clock = now(), wall()
    entries = [
        (round(clock - (at - when), 3), f"Controller: {one.control}: {text}")
        for one in look.connections.values()
        for when, text in one.history
    ]
    return [f"{format_time(when)} {text}" for when, text in sorted(entries, key=itemgetter(0))]


def _sessions(look: Look) -> list[Values]:
    rows: list[Values] = []
    believed = look.host.core.believed
    for one in look.connections.values():
        since = format_time(round(wall() - (now() - one.since), 3))
        is_up = one.state == _ESTABLISHED
        rows.append(
            {
                "controller_ip": host_of(one.control),
                "state": _STATES.get(one.state, one.state),
                "peer_name": CONTROL_JID,
                "peer_address": host_of(one.control),
                "cfg_controller": "Yes" if one.control == believed else "No",
                "mcast_controller": "No",
                "last_state": one.last_state and _STATES.get(one.last_state, one.last_state),
                "last_event": one.problem or one.state,
                "last_state_at": since,
                "flap_count": one.flap_count,
                "flap_time": _flap_time(one),
                "rx_proto_stats": {"update": one.received_count},
                "tx_proto_stats": {"update": one.sent_count},
                "xmpp_auth_type": "NIL",
                "last_ready_time": since if is_up else "",
            }
        )
    return rows


def _flap_time(one: Connection) -> str:
    if one.flapped_at is None:
        return NEVER
    return format_time(round(wall() - (now() - one.flapped_at), 3))


def _configuration(look: Look, query: Query) -> Messages:
    """Answer with the objects and links that a query asks for, each as a text."""
    table, node_text = str(query.get("table_name", "")), str(query.get("node_sub_string", ""))
    link_type, link_node = (
        str(query.get(f"link_{one}_sub_string", "")) for one in ("type", "node")
    )
    if _RUN_TOGETHER in link_type:
        link_type, _, link_node = link_type.partition(_RUN_TOGETHER)
    texts: list[str] = []
    for number, node in enumerate(sorted(look.graph.nodes, key=lambda one: (one.kind, one.name))):
        if table in ("", node.kind) and node_text in node.name and not (link_type or link_node):
            props = msgspec.json.format(msgspec.json.encode(node.props)).decode()
            texts.append(f"{node.kind} {node.name} revision {node.revision}\n{props}")
        if number % 100 == 0:
            yield None
    if (not node_text and not table) or link_type or link_node:
        texts += [
            f"{link.metadata}: {link.left_kind} {link.left_name} -- "
            f"{link.right_kind} {link.right_name}"
            for link in sorted(look.graph.links)
            if link_type in link.metadata
            and (link_node in link.left_name or link_node in link.right_name)
            and table in ("", link.left_kind, link.right_kind)
        ]
    yield Message("ShowIFMapAgentResp", {"table_data": texts})


async def _stats(look: Look) -> Messages:
    """Answer with counters; the flow table is read in a thread."""
    active, created, aged = await asyncio.to_thread(_count_flows, look)
    return (
        Message("IpcStatsResp", {"ipc_in_msgs": look.host.posted_count}),
        Message("PktTrapStatsResp", {}),
        Message(
            "FlowStatsResp",
            {"flow_active": active, "flow_created": created, "flow_aged": aged},
        ),
        Message(
            "XmppStatsResp",
            {
                "xmpp_list": [
                    {
                        "ip": host_of(one.control),
                        "in_msgs": one.received_count,
                        "out_msgs": one.sent_count,
                        "reconnect": one.flap_count,
                        "config_in_msgs": one.received_count,
                    }
                    for one in look.connections.values()
                ]
            },
        ),
        Message("SandeshStatsResp", {}),
    )


def _count_flows(look: Look) -> tuple[int, int, int]:
    """Count the flows there are, that were ever entered, and that were swept out."""
    maps = look.host.maps
    return (
        len(maps.read_all("flows")),
        sum(count for (count,) in maps.read_all("flows_entered").values()),
        sum(count for (count,) in maps.read_all("flows_swept").values()),
    )
