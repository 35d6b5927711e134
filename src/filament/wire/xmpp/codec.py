"""Stanza structs to and from TF's XML, both directions.

Encoders return whole XMPP stanzas as bytes, split as TF splits them (32 routes, 256 withdrawals or
16 configuration objects per message). Decoders raise only `ProtocolError` and answer None for
what TF's agents may say that Filament does not speak yet (other address families).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import assert_never

import msgspec

from filament.base.limits import MAX_CONTROL_STANZA_BYTES
from filament.wire.xmpp import dialect
from filament.wire.xmpp.dialect import CONTROL_JID, PUBSUB_NAMESPACE, attribute, bad, number
from filament.wire.xmpp.entry import (
    decode_item,
    decode_nlri,
    decode_published,
    encode_entry,
    encode_nlri,
    family_of,
    format_destination,
    parse_destination,
)
from filament.wire.xmpp.props import decode_members, encode_members
from filament.wire.xmpp.stanza import (
    ConfigRefused,
    ConfigSent,
    ConfigSubscribed,
    ConfigUnsubscribed,
    Destination,
    EndOfRib,
    FromAgent,
    FromControl,
    InstanceSubscribed,
    InstanceUnsubscribed,
    Link,
    MacKey,
    Node,
    RouteItem,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    RulesEdited,
    Sync,
    Synced,
    TableFamily,
)
from filament.wire.xmpp.stream import FILAMENT_NAMESPACE, Element, escape

MAX_ITEMS = 32
MAX_RETRACTS = 256
MAX_CONFIG_OBJECTS = 16
_EDIT_NUMBERS = ("revision", "before", "hash", "start", "count")
_MAX_NUMBER = (1 << 64) - 1
_SHARED_BODIES = 1024  # one is at most some 20 kB


# agent -> control -------------------------------------------------------------------------


def encode_from_agent(stanza: FromAgent, agent: str, serial: int) -> bytes:
    """Return the XML of what an agent says; `serial` makes the ids of its stanzas unique."""
    match stanza:
        case ConfigSubscribed(kind=kind, name=name, takes_edits=takes_edits):
            ability = ' f:edits="true"' if takes_edits else ""
            body = f'<subscribe node="{escape(kind)}:{escape(name)}"{ability}/>'
            return _agent_iq(agent, "config", f"config{serial}", _pubsub(body))
        case ConfigUnsubscribed(kind=kind, name=name):
            body = f'<unsubscribe node="{escape(kind)}:{escape(name)}"/>'
            return _agent_iq(agent, "config", f"config{serial}", _pubsub(body))
        case InstanceSubscribed(instance=instance, instance_id=instance_id):
            body = (
                f'<subscribe node="{escape(instance)}"><options>'
                f"<instance-id>{instance_id}</instance-id></options></subscribe>"
            )
            return _agent_iq(agent, "bgp-peer", f"subscribe{serial}", _pubsub(body))
        case InstanceUnsubscribed(instance=instance):
            body = f'<unsubscribe node="{escape(instance)}"/>'
            return _agent_iq(agent, "bgp-peer", f"unsubscribe{serial}", _pubsub(body))
        case RoutePublished(instance=instance, destination=destination):
            entry = encode_entry(stanza)
            return _publish_pair(agent, serial, instance, destination, entry, "associate")
        case RouteRetracted(instance=instance, destination=destination):
            entry = f"<entry>{encode_nlri(destination)}</entry>"
            return _publish_pair(agent, serial, instance, destination, entry, "dissociate")
        case EndOfRib():
            body = f'<publish node="{dialect.END_OF_RIB_NODE}"/>'
            return _agent_iq(agent, "bgp-peer", f"pubsub{serial}", _pubsub(body))
        case Synced(sequence=sequence, revision=revision):
            body = (
                f'<synced xmlns="{FILAMENT_NAMESPACE}" sequence="{sequence}"'
                f' revision="{revision}"/>'
            )
            return _agent_iq(agent, "config", f"synced{serial}", body)
        case _:
            assert_never(stanza)


def _publish_pair(
    agent: str, serial: int, instance: str, destination: Destination, entry: str, verb: str
) -> bytes:
    family = family_of(destination)
    # The node of an Ethernet route does not name the instance; the collection does.
    place = "" if family is TableFamily.ENET else f"{escape(instance)}/"
    node = f"{family.value}/{place}{_format_node_end(destination)}"
    publish = f'<publish node="{node}"><item>{entry}</item></publish>'
    collection = f'<collection node="{escape(instance)}"><{verb} node="{node}"/></collection>'
    return _agent_iq(agent, "bgp-peer", f"pubsub{serial}", _pubsub(publish)) + _agent_iq(
        agent, "bgp-peer", f"collection{serial}", _pubsub(collection)
    )


def _format_node_end(destination: Destination) -> str:
    if isinstance(destination, MacKey):
        return format_destination(msgspec.structs.replace(destination, tag=0))
    return str(destination)


def _pubsub(body: str) -> str:
    return f'<pubsub xmlns="{PUBSUB_NAMESPACE}">{body}</pubsub>'


def _agent_iq(agent: str, resource: str, stanza_id: str, body: str) -> bytes:
    return (
        f'<iq type="set" from="{escape(agent)}" to="{CONTROL_JID}/{resource}"'
        f' id="{stanza_id}">{body}</iq>'
    ).encode()


class AgentDecoder:
    """Reads what one agent says; remembers a publish until the collection that completes it."""

    def __init__(self) -> None:
        self._published: tuple[str, Element | None] | None = None

    def decode(self, element: Element) -> FromAgent | None:
        """Return what a stanza means, None when it is half of a pair or of an unknown family."""
        if element.name != "iq":
            raise bad(f"an agent sent <{element.name}>; expected <iq>")
        synced = element.find("synced")
        if synced is not None:
            return Synced(
                number(attribute(synced, "sequence"), "sequence"),
                number(attribute(synced, "revision"), "revision"),
            )
        pubsub = dialect.require(element, "pubsub")
        if len(pubsub.children) != 1:
            raise bad(f"<pubsub> has {len(pubsub.children)} children; expected one")
        verb = pubsub.children[0]
        resource = dialect.resource_of(attribute(element, "to"))
        match resource, verb.name:
            case "config", "subscribe":
                return ConfigSubscribed(*_config_node(verb), verb.ours("edits") == "true")
            case "config", "unsubscribe":
                return ConfigUnsubscribed(*_config_node(verb))
            case "bgp-peer", "subscribe":
                return InstanceSubscribed(attribute(verb, "node"), _instance_id(verb))
            case "bgp-peer", "unsubscribe":
                return InstanceUnsubscribed(attribute(verb, "node"))
            case "bgp-peer", "publish":
                return self._take_publish(verb)
            case "bgp-peer", "collection":
                return self._take_collection(verb)
            case _:
                raise bad(
                    f"<{verb.name[:64]}> to resource {resource[:64]!r} is not understood; expected"
                    " subscribe or unsubscribe to config, or subscribe, unsubscribe, publish or"
                    " collection to bgp-peer"
                )

    def _take_publish(self, publish: Element) -> EndOfRib | None:
        node = attribute(publish, "node")
        item = publish.find("item")
        if item is None:
            if node != dialect.END_OF_RIB_NODE:
                raise bad(f"publish of {node[:128]!r} has no <item>")
            return EndOfRib()
        family, _ = dialect.family_of_node(node)
        self._published = node, dialect.require(item, "entry") if family is not None else None
        return None

    def _take_collection(self, collection: Element) -> RoutePublished | RouteRetracted | None:
        published, self._published = self._published, None
        associate = collection.find("associate")
        verb = associate if associate is not None else collection.find("dissociate")
        if verb is None:
            raise bad("<collection> has neither <associate> nor <dissociate>")
        node = attribute(verb, "node")
        if published is None or published[0] != node:
            before = repr(published[0][:128]) if published else "nothing"
            raise bad(f"collection of {node[:128]!r} follows publish of {before}")
        family, place = dialect.family_of_node(node)
        entry = published[1]
        if family is None or entry is None:
            return None
        instance = attribute(collection, "node")
        destination = decode_nlri(entry, family)
        if destination is None:
            return None
        # TF may append a native VRF id to a prefix's node; it means nothing here.
        if family is not TableFamily.ENET and not f"{place}/".startswith(
            f"{instance}/{destination}/"
        ):
            raise bad(
                f"publish of {node[:128]!r} carries an entry for {destination} and is collected"
                f" into {instance[:128]!r}"
            )
        if associate is None:
            return RouteRetracted(instance, destination)
        return decode_published(entry, instance, decode_item(entry, destination))


def _config_node(verb: Element) -> tuple[str, str]:
    node = attribute(verb, "node")
    kind, colon, name = node.partition(":")
    if not (kind and colon and name):
        raise bad(f"{node[:128]!r} names no object; expected KIND:NAME")
    return kind, name


def _instance_id(subscribe: Element) -> int:
    options = dialect.require(subscribe, "options")
    return number(dialect.require(options, "instance-id").text, "instance-id", 0xFFFFFFFF)


# control -> agent -------------------------------------------------------------------------


def encode_from_control(stanza: FromControl, agent: str, serial: int) -> list[bytes]:
    """Return the stanzas that say it; `serial` makes the ids of its stanzas unique.

    A message that would be larger than an agent accepts is halved until it is not; a single
    object is never cut.
    """
    encoded: list[bytes] = []
    parts = list(split_stanza(stanza))
    while parts:
        part = parts.pop(0)
        xml = _encode_part(part, agent, serial)
        if len(xml) > MAX_CONTROL_STANZA_BYTES and isinstance(part, ConfigSent):
            count = len(part.nodes)
            if count > 1:
                parts.insert(0, ConfigSent(nodes=part.nodes[count // 2 :], links=part.links))
                parts.insert(
                    0,
                    msgspec.structs.replace(part, nodes=part.nodes[: count // 2], links=()),
                )
                continue
        encoded.append(xml)
    return encoded


def split_stanza(stanza: FromControl) -> Iterator[FromControl]:
    """Yield stanzas that say the same in the same order, each within TF's counts per message.

    Deletes go before updates, nodes before the links between them. One that says nothing yields
    nothing.
    """
    match stanza:
        case RoutesSent(instance=instance, items=items, retracted=retracted, family=family):
            if len(items) + len(retracted) <= MAX_ITEMS and not (items and retracted):
                if items or retracted:
                    yield stanza  # itself, see `_encode_routes`
                return
            for start in range(0, len(retracted), MAX_RETRACTS):
                yield RoutesSent(instance, (), retracted[start : start + MAX_RETRACTS], family)
            for start in range(0, len(items), MAX_ITEMS):
                yield RoutesSent(instance, items[start : start + MAX_ITEMS], (), family)
        case ConfigSent():
            yield from _split_config(stanza)
        case _:
            yield stanza


def _split_config(stanza: ConfigSent) -> Iterator[ConfigSent]:
    step = MAX_CONFIG_OBJECTS
    for start in range(0, len(stanza.deleted_links), step):
        yield ConfigSent(deleted_links=stanza.deleted_links[start : start + step])
    for start in range(0, len(stanza.deleted_nodes), step):
        yield ConfigSent(deleted_nodes=stanza.deleted_nodes[start : start + step])
    for start in range(0, len(stanza.nodes), step):
        yield ConfigSent(nodes=stanza.nodes[start : start + step])
    for edit in stanza.edits:
        yield ConfigSent(edits=(edit,))
    for start in range(0, len(stanza.links), step):
        yield ConfigSent(links=stanza.links[start : start + step])


def _encode_part(stanza: FromControl, agent: str, serial: int) -> bytes:
    match stanza:
        case RoutesSent(instance=instance, family=family):
            return _message(agent, f"{family.value}/{instance}", _encode_routes(stanza))
        case EndOfRib():
            return _message(agent, dialect.END_OF_RIB_NODE, "")
        case ConfigSent():
            return _config_iq(agent, f"config{serial}", _encode_config(stanza))
        case ConfigRefused(kind=kind, name=name, text=text):
            body = _pubsub(f'<subscribe node="{escape(kind)}:{escape(name)}"/>') + (
                '<error type="cancel">'
                '<item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>'
                '<text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">'
                f"{escape(text)}</text></error>"
            )
            return _config_iq(agent, f"config{serial}", body, "error")
        case Sync(sequence=sequence, revision=revision, whole=whole):
            flag = ' whole="true"' if whole else ""
            body = (
                f'<sync xmlns="{FILAMENT_NAMESPACE}" sequence="{sequence}"'
                f' revision="{revision}"{flag}/>'
            )
            return _config_iq(agent, f"sync{serial}", body)
        case _:
            assert_never(stanza)


def _message(agent: str, node: str, body: str) -> bytes:
    return (
        f'<message from="{CONTROL_JID}" to="{escape(agent)}/bgp-peer">'
        f'<event xmlns="{PUBSUB_NAMESPACE}"><items node="{escape(node)}">{body}</items>'
        "</event></message>"
    ).encode()


def _config_iq(agent: str, stanza_id: str, body: str, kind: str = "set") -> bytes:
    return (
        f'<iq type="{kind}" from="{CONTROL_JID}" to="{escape(agent)}/config"'
        f' id="{stanza_id}">{body}</iq>'
    ).encode()


@functools.lru_cache(maxsize=_SHARED_BODIES)
def _encode_routes(sent: RoutesSent) -> str:
    """Return what a message of routes holds: the same for every agent that is sent it."""
    parts = [f'<retract id="{format_destination(each)}"/>' for each in sent.retracted]
    parts += [
        f'<item id="{format_destination(item.destination)}">{encode_entry(item)}</item>'
        for item in sent.items
    ]
    return "".join(parts)


def _encode_config(stanza: ConfigSent) -> str:
    gone = "".join(_encode_link(link) for link in stanza.deleted_links) + "".join(
        _encode_node_name(kind, name) for kind, name in stanza.deleted_nodes
    )
    new = "".join(_encode_node(node) for node in stanza.nodes) + "".join(
        _encode_link(link) for link in stanza.links
    )
    return (
        "<config>"
        + (f"<delete>{gone}</delete>" if gone else "")
        + (f"<update>{new}</update>" if new else "")
        + "".join(map(_encode_edit, stanza.edits))
        + "</config>"
    )


def _encode_edit(edit: RulesEdited) -> str:
    attributes = "".join(f' {name}="{getattr(edit, name)}"' for name in _EDIT_NUMBERS)
    # As JSON: written as elements, long lists would take ten times as long to read. Its many quotes
    # may stand in a text as they are.
    rules = msgspec.json.encode(edit.rules).decode()
    if not rules.isascii():
        rules = json.dumps(edit.rules)
    rules = rules.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<edit xmlns="{FILAMENT_NAMESPACE}" name="{escape(edit.name)}"{attributes}>{rules}</edit>'
    )


def _encode_node(node: Node) -> str:
    revision = f' f:revision="{node.revision}"' if node.revision else ""
    return (
        f'<node type="{escape(node.kind)}"{revision}><name>{escape(node.name)}</name>'
        f"{encode_members(node.props, reserved=('name',))}</node>"
    )


def _encode_node_name(kind: str, name: str) -> str:
    return f'<node type="{escape(kind)}"><name>{escape(name)}</name></node>'


def _encode_link(link: Link) -> str:
    return (
        f"<link>{_encode_node_name(link.left_kind, link.left_name)}"
        f"{_encode_node_name(link.right_kind, link.right_name)}"
        f'<metadata type="{escape(link.metadata)}"/></link>'
    )


def decode_from_control(element: Element) -> FromControl | None:
    """Return what a control node's stanza means, None when it is of an unknown family."""
    if element.name == "message":
        return _decode_message(element)
    if element.name != "iq":
        raise bad(f"a control node sent <{element.name}>; expected <iq> or <message>")
    if element.attributes.get("type") == "error":
        return _decode_refused(element)
    sync = element.find("sync")
    if sync is not None:
        return Sync(
            number(attribute(sync, "sequence"), "sequence"),
            number(attribute(sync, "revision"), "revision"),
            sync.attributes.get("whole") == "true",
        )
    return _decode_config(dialect.require(element, "config"))


def _decode_message(element: Element) -> FromControl | None:
    items = dialect.require(dialect.require(element, "event"), "items")
    node = attribute(items, "node")
    if node == dialect.END_OF_RIB_NODE:
        return EndOfRib()
    family, instance = dialect.family_of_node(node)
    if family is None:
        return None
    routes: list[RouteItem] = []
    retracted: list[Destination] = []
    for child in items.children:
        if child.name == "retract":
            destination = parse_destination(attribute(child, "id"), family)
            if destination is not None:
                retracted.append(destination)
        elif child.name == "item":
            entry = dialect.require(child, "entry")
            destination = decode_nlri(entry, family)
            if destination is not None:
                routes.append(decode_item(entry, destination))
        else:
            raise bad(f"<items> holds <{child.name[:64]}>; expected <item> or <retract>")
    return RoutesSent(instance, tuple(routes), tuple(retracted), family)


def _decode_refused(element: Element) -> ConfigRefused:
    subscribe = dialect.require(dialect.require(element, "pubsub"), "subscribe")
    kind, name = _config_node(subscribe)
    return ConfigRefused(kind, name, dialect.require(element, "error").text_of("text"))


def _decode_config(config: Element) -> ConfigSent:
    nodes: list[Node] = []
    links: list[Link] = []
    deleted_nodes: list[tuple[str, str]] = []
    deleted_links: list[Link] = []
    edits: list[RulesEdited] = []
    for change in config.children:
        if change.name == "edit":
            edits.append(_decode_edit(change))
            continue
        if change.name not in {"update", "delete"}:
            raise bad(f"<config> holds <{change.name[:64]}>; expected <update> or <delete>")
        for child in change.children:
            if child.name == "link":
                (links if change.name == "update" else deleted_links).append(_decode_link(child))
            elif child.name == "node" and change.name == "update":
                nodes.append(_decode_node(child))
            elif child.name == "node":
                deleted_nodes.append(_decode_node_name(child))
            else:
                raise bad(f"<{change.name}> holds <{child.name[:64]}>; expected <node> or <link>")
    return ConfigSent(
        tuple(nodes), tuple(links), tuple(deleted_nodes), tuple(deleted_links), tuple(edits)
    )


def _decode_edit(element: Element) -> RulesEdited:
    try:
        rules = msgspec.json.decode(element.text, type=list)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad(f"<edit> does not hold a list of rules: {error}") from None
    revision, before, digest, start, count = (
        number(attribute(element, name), name, _MAX_NUMBER) for name in _EDIT_NUMBERS
    )
    name = attribute(element, "name")
    return RulesEdited(name, revision, before, digest, start, count, tuple(rules))


def _decode_node_name(element: Element) -> tuple[str, str]:
    return attribute(element, "type"), dialect.require(element, "name").text


def _decode_node(element: Element) -> Node:
    kind, name = _decode_node_name(element)
    members = [child for child in element.children if child.name != "name"]
    revision = number(element.ours("revision") or "0", "f:revision")
    return Node(kind, name, decode_members(members), revision)


def _decode_link(element: Element) -> Link:
    ends = [_decode_node_name(child) for child in element.children if child.name == "node"]
    if len(ends) != 2:
        raise bad(f"<link> joins {len(ends)} nodes; expected two")
    metadata = attribute(dialect.require(element, "metadata"), "type")
    return Link(*ends[0], *ends[1], metadata)
