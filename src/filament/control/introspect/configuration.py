"""The configuration database and what of it agents were sent, as TF's IF-MAP pages show it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from filament.base.errors import InputError, NotFoundError
from filament.compiler.plan import AgentView
from filament.control.introspect.listing import listing
from filament.control.node import ControlNode
from filament.model.change import Object
from filament.runtime.clock import now, wall
from filament.runtime.introspect.serve import Answer, Messages, answer_with
from filament.wire.sandesh.query import Query
from filament.wire.sandesh.text import NEVER, format_ago, format_time
from filament.wire.sandesh.xml import Values
from filament.wire.xmpp.stanza import Link

_SOURCE = "API"
_MOST_NAMED = 16


def changed_at(item: Object | None) -> str:
    """Return when an object was last changed, by its own record of that; "" when it has none."""
    props = item.props.get("id_perms") if item is not None else None
    text = props.get("last_modified") if isinstance(props, dict) else None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return format_time(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())


class ConfigurationAnswers:
    """The answers; reads the node, changes nothing."""

    def __init__(self, node: ControlNode) -> None:
        self._node = node

    def answers(self) -> dict[str, Answer]:
        """Return them by request."""
        return {
            "IFMapPeerServerInfoReq": lambda _: self._source(),
            "IFMapNodeTableListShowReq": lambda _: self._kinds(),
            "IFMapNodeShowReq": self._one,
            "IFMapXmppClientInfoShowReq": lambda _: self._clients(),
            "IFMapServerClientShowReq": self._client_maps,
            "IFMapXmppShowReq": lambda _: self._channels(),
            "IFMapPendingVmRegReq": lambda _: self._pending(),
            **listing(
                "IFMapTableShowReq",
                "IFMapTableShowResp",
                "ifmap_db",
                self._node_names,
                self._node_values,
            ),
            **listing(
                "IFMapLinkTableShowReq",
                "IFMapLinkTableShowResp",
                "ifmap_db",
                self._link_names,
                self._link_values,
                lambda query: {"table_size": len(self._link_names(query))},
            ),
            **listing(
                "IFMapPerClientNodesShowReq",
                "IFMapPerClientNodesShowResp",
                "node_db",
                self._told_nodes,
                lambda name: {"node_name": name, **_TOLD},
            ),
            **listing(
                "IFMapPerClientLinksShowReq",
                "IFMapPerClientLinksShowResp",
                "link_db",
                self._told_links,
                _told_link,
            ),
        }

    # where it comes from --------------------------------------------------------------------

    def _source(self) -> Messages:
        api = self._node.api
        status = "Up" if api.connected else "Down"
        since = format_time(api.since)
        return answer_with(
            "IFMapPeerServerInfoResp",
            {
                "server_info": {
                    "url": api.address,
                    "connection_status": status,
                    "connection_status_change_at": since,
                },
                "server_conn_info": {
                    "connection_count": int(api.connected),
                    "connection_status": status,
                    "connection_status_change_at": since,
                },
                "stats_info": {"rx_msgs": self._node.core.revision},
                "sm_info": {
                    "state": "following" if api.connected else "connecting",
                    "last_state_change_at": since,
                    "last_event": api.error,
                },
                "ds_peer_info": {
                    "num_peers": 1,
                    "static_peer": api.address,
                    "current_peer": api.address if api.connected else "",
                },
            },
        )

    # objects --------------------------------------------------------------------------------

    def _kinds(self) -> Messages:
        count_by_kind: dict[str, int] = {}
        for number, item in enumerate(list(self._node.core.snapshot.objects())):
            count_by_kind[item.kind] = count_by_kind.get(item.kind, 0) + 1
            if number % 1000 == 0:
                yield None
        yield from answer_with(
            "IFMapNodeTableListShowResp",
            {
                "table_list": [
                    {"table_name": kind, "size": count_by_kind[kind]}
                    for kind in sorted(count_by_kind)
                ]
            },
        )

    def _node_names(self, query: Query) -> list[str]:
        snapshot = self._node.core.snapshot
        table, text = query.get("table_name"), str(query.get("search_string", ""))
        items = snapshot.objects() if table is None else snapshot.of_kind(str(table))
        return [name for item in items if text in (name := f"{item.kind}:{item.name}")]

    def _object(self, name: str) -> Object | None:
        kind, _, rest = name.partition(":")
        return self._node.core.snapshot.named(kind, tuple(rest.split(":")))

    def _node_values(self, name: str) -> Values | None:
        item = self._object(name)
        if item is None:
            return None
        held = self._holders(item)
        return {
            "node_name": name,
            "interests": held,
            "advertised": held,
            "obj_info": [
                {
                    "sequence_number": item.revision,
                    "origin": _SOURCE,
                    "data": msgspec.json.format(msgspec.json.encode(item.props)).decode(),
                }
            ],
            "neighbors": [f"{each.kind}:{each.name}" for each in self._neighbours(item)],
            "last_modified": changed_at(item) or NEVER,
        }

    def _holders(self, item: Object) -> str:
        """Name the agents that were sent an object."""
        names = self._node.core.holders(item.kind, item.name)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return ", ".join(names[:_MOST_NAMED]) + more

    def _neighbours(self, item: Object) -> Iterator[Object]:
        """Yield what an object refers to and what it stands under."""
        snapshot = self._node.core.snapshot
        uuids = [ref.uuid for ref in item.refs]
        if item.parent_uuid:
            uuids.append(item.parent_uuid)
        return (found for uuid in uuids if (found := snapshot.get(uuid)) is not None)

    def _one(self, query: Query) -> Messages:
        name = str(query.get("fq_node_name", ""))
        values = self._node_values(name)
        if values is None:
            raise NotFoundError(
                f"there is no object {name!r:.256}; write KIND:FQ_NAME, as"
                " virtual-network:default-domain:demo:red"
            )
        return answer_with("IFMapNodeShowResp", {"node_info": values})

    # links ----------------------------------------------------------------------------------

    def _link_names(self, query: Query) -> list[str]:
        """Return metadata, left and right of every link between objects, joined."""
        text, metadata = str(query.get("search_string", "")), str(query.get("metadata", ""))
        return [
            name
            for item in self._node.core.snapshot.objects()
            for other in self._neighbours(item)
            if text in (name := _link_name(item, other)) and metadata in f"{item.kind}-{other.kind}"
        ]

    def _link_values(self, name: str) -> Values | None:
        metadata, left, right = name.split(_SEPARATOR, 2)
        item = self._object(left)
        held = self._holders(item) if item is not None else ""
        return {
            "metadata": metadata,
            "left": left,
            "right": right,
            "interests": held,
            "advertised": held,
            "last_modified": changed_at(item) or NEVER,
            "origins": [
                {"sequence_number": item.revision if item is not None else 0, "origin": _SOURCE}
            ],
        }

    # agents ---------------------------------------------------------------------------------

    def _clients(self) -> Messages:
        core = self._node.core
        rows = []
        for index, session in enumerate(core.agents.values()):
            connection = self._node.connections.get(session.name)
            view = core.told(session.name)
            machines = sorted(session.machines)
            rows.append(
                {
                    "client_name": session.name,
                    "client_index": index,
                    "vm_reg_info": {"vm_count": len(machines), "vm_list": machines},
                    "msgs_sent": connection.session.sent_count if connection else 0,
                    "update_nodes_sent": len(view.nodes),
                    "update_links_sent": len(view.links),
                }
            )
        return answer_with("IFMapXmppClientInfoShowResp", {"client_stats": rows})

    def _client_maps(self, query: Query) -> Messages:
        core = self._node.core
        text = str(query.get("search_string", ""))
        names = [name for name in core.agents if text in name]
        ended = [each for each in self._node.endings if each.agent and text in each.agent]
        return answer_with(
            "IFMapServerClientShowResp",
            {
                "name_list": {
                    "table_count": len(core.agents),
                    "print_count": len(names),
                    "clients": [
                        {
                            "client_name": name,
                            "interest_tracker_entries": len(view.nodes) + len(view.links),
                            "advertised_tracker_entries": len(view.nodes) + len(view.links),
                        }
                        for name in names
                        for view in (core.told(name),)
                    ],
                },
                "index_list": {
                    "table_count": len(core.agents),
                    "print_count": len(names),
                    "clients": [
                        {"client_index": index, "client_name": name}
                        for index, name in enumerate(core.agents)
                        if name in names
                    ],
                },
                "history_list": {
                    "table_count": len(names) + len(ended),
                    "print_count": len(names) + len(ended),
                    "clients": [
                        *(
                            {
                                "client_name": name,
                                "client_index": index,
                                "creation_time_ago": format_ago(
                                    now() - core.agents[name].connected_at
                                ),
                                "deletion_time_ago": "-",
                            }
                            for index, name in enumerate(core.agents)
                            if name in names
                        ),
                        *(
                            {
                                "client_name": each.agent,
                                "client_index": -1,
                                "creation_time_ago": "-",
                                "deletion_time_ago": format_ago(wall() - each.at),
                            }
                            for each in ended
                        ),
                    ],
                },
            },
        )

    def _told(self, query: Query) -> AgentView:
        """Return what the agent that a query names was told. Raises InputError."""
        asked = str(query.get("client_index_or_name", ""))
        names = list(self._node.core.agents)
        if asked.isascii() and asked.isdigit() and int(asked) < len(names):
            asked = names[int(asked)]
        if asked not in names:
            raise InputError(
                "unknown-agent",
                f"no agent {asked!r:.64} is connected",
                hint="IFMapServerClientShowReq lists names and numbers",
            )
        return self._node.core.told(asked)

    def _told_nodes(self, query: Query) -> list[str]:
        text = str(query.get("search_string", ""))
        return [
            name for kind, rest in self._told(query).nodes if text in (name := f"{kind}:{rest}")
        ]

    def _told_links(self, query: Query) -> list[str]:
        text = str(query.get("search_string", ""))
        return [name for link in self._told(query).links if text in (name := _told_name(link))]

    def _channels(self) -> Messages:
        listed = [
            {
                "client_name": session.name,
                "host_name": session.name,
                "channel_name": session.address,
                "client_added": session.is_served,
            }
            for session in self._node.core.agents.values()
        ]
        unknown = len(self._node.core.refusals)
        return answer_with(
            "IFMapXmppShowResp",
            {
                "channel_manager_info": {
                    "channel_manager_stats": {"unknown_subscribe_messages": unknown},
                    "channel_manager_map": {"channel_count": len(listed), "channel_list": listed},
                }
            },
        )

    def _pending(self) -> Messages:
        """Answer with subscriptions to machines that the configuration does not have (yet)."""
        snapshot = self._node.core.snapshot
        waiting = [
            {"vm_uuid": machine, "vr_name": session.name}
            for session in self._node.core.agents.values()
            for machine in sorted(session.machines)
            if snapshot.get(machine) is None
            and snapshot.named("virtual-machine", (machine,)) is None
        ]
        return answer_with(
            "IFMapPendingVmRegResp", {"map_count": len(waiting), "vm_reg_map": waiting}
        )


_TOLD = {"sent": "Yes", "interest_tracked": "Yes", "advertised_tracked": "Yes"}
_SEPARATOR = "\x1f"  # ASCII's own for this: in no name


def _link_name(left: Object, right: Object) -> str:
    ends = f"{left.kind}:{left.name}", f"{right.kind}:{right.name}"
    return _SEPARATOR.join((f"{left.kind}-{right.kind}", *ends))


def _told_name(link: Link) -> str:
    ends = f"{link.left_kind}:{link.left_name}", f"{link.right_kind}:{link.right_name}"
    return _SEPARATOR.join((link.metadata, *ends))


def _told_link(name: str) -> Values:
    metadata, left, right = name.split(_SEPARATOR, 2)
    return {"metadata": metadata, "left": left, "right": right, **_TOLD}
