"""Reading the routes that our own control nodes tell, without an XML parser: whole messages by
pattern, as `quick` does for what agents say.

The pattern accepts exactly what `codec.encode_from_control` writes for unicast IPv4 routes, in
printable ASCII without references; it reads as `codec.decode_from_control` would. Everything else
is for the parser. It costs a ninth of that.
"""

from __future__ import annotations

import re

from filament.base.errors import InputError
from filament.base.net import Prefix, parse_ipv4, parse_mac
from filament.base.origin import NOWHERE, Origin
from filament.wire.xmpp.dialect import CONTROL_JID, PUBSUB_NAMESPACE, UNRESOLVED_NETWORK
from filament.wire.xmpp.entry import MAX_LABEL
from filament.wire.xmpp.quick import GROUP, TAG, WORD, number_of, texts_of
from filament.wire.xmpp.stanza import NextHop, RouteItem, RoutesSent

# Every message of a control node of ours begins like this; only there is a pattern tried.
START, END = f'<message from="{CONTROL_JID}" to="'.encode(), b"</message>"
_MOST_HOPS = 64  # of a route that is read here

_HEAD = re.compile(
    (
        rf'<message from="{re.escape(CONTROL_JID)}" to="{WORD}/bgp-peer">'
        rf'<event xmlns="{re.escape(PUBSUB_NAMESPACE)}"><items node="1/1/(?P<instance>{WORD})">'
    ).encode()
)
_TAIL = b"</items></event></message>"
_ADDRESS = r"[0-9.]+"
_HOP_TEXT = (
    rf"<next-hop><af>1</af><address>{_ADDRESS}</address>(?:<mac>[0-9a-f:]+</mac>)?"
    r"<label>[0-9]{1,8}</label>(?:<vni>[0-9]{1,8}</vni>)?<tunnel-encapsulation-list>"
    r"(?:<tunnel-encapsulation>[a-z-]+</tunnel-encapsulation>)*</tunnel-encapsulation-list>"
    rf"(?:<virtual-network>{WORD}</virtual-network>)?"
    r"(?:<tag-list>(?:<tag>[0-9]{1,10}</tag>){1,64}</tag-list>)?</next-hop>"
)
_HOP = re.compile(
    (
        rf"<next-hop><af>1</af><address>({_ADDRESS})</address>(?:<mac>([0-9a-f:]+)</mac>)?"
        r"<label>([0-9]+)</label>(?:<vni>([0-9]+)</vni>)?<tunnel-encapsulation-list>"
        r"(.*?)</tunnel-encapsulation-list>(?:<virtual-network>(.*?)</virtual-network>)?"
        r"(?:<tag-list>(.*?)</tag-list>)?</next-hop>"
    ).encode()
)
_ITEM = re.compile(
    (
        rf'<item id="(?P<prefix>{_ADDRESS}/[0-9]+)">'
        rf'<entry(?: f:object="(?P<object>{WORD})" f:rule="(?P<rule>{WORD})"'
        r' f:revision="(?P<revision>[0-9]{1,18})")?>'
        r"<nlri><af>1</af><safi>1</safi><address>(?P=prefix)</address></nlri>"
        rf"<next-hops>(?P<hops>(?:{_HOP_TEXT}){{0,{_MOST_HOPS}}})</next-hops><version>1</version>"
        rf"<virtual-network>(?P<network>{WORD})</virtual-network>"
        r"<sequence-number>(?P<sequence>[0-9]{1,10})</sequence-number>"
        r"(?:<security-group-list>(?P<groups>(?:<security-group>[0-9]{1,10}</security-group>)"
        r"{1,64})</security-group-list>)?"
        r"<local-preference>(?P<preference>[0-9]{1,10})</local-preference>"
        r"<med>(?P<med>[0-9]{1,10})</med></entry></item>"
    ).encode()
)
_RETRACT = re.compile(rf'<retract id="({_ADDRESS}/[0-9]+)"/>'.encode())


def read_routes(data: bytes, start: int) -> tuple[RoutesSent, int] | None:
    """Return the routes told at `start`, and where the message ends; None when the parser must
    read it.
    """
    head = _HEAD.match(data, start)
    if head is None:
        return None
    at = head.end()
    items: list[RouteItem] = []
    retracted: list[Prefix] = []
    try:
        while not data.startswith(_TAIL, at):
            found = _ITEM.match(data, at)
            if found is not None:
                items.append(_item(found))
            else:
                found = _RETRACT.match(data, at)
                if found is None:
                    return None
                retracted.append(Prefix.parse(found[1].decode()))
            at = found.end()
    except InputError:
        return None
    sent = RoutesSent(head["instance"].decode(), tuple(items), tuple(retracted))
    return sent, at + len(_TAIL)


def _item(found: re.Match[bytes]) -> RouteItem:
    (
        prefix, object_, rule, revision, hops, network, sequence, groups, preference, med,
    ) = found.groups()  # fmt: skip
    named = network.decode()
    return RouteItem(
        destination=Prefix.parse(prefix.decode()),
        next_hops=tuple(map(_hop, _HOP.finditer(hops))),
        network="" if named == UNRESOLVED_NETWORK else named,
        local_preference=number_of(preference),
        origin=(
            Origin(object_.decode(), rule.decode(), int(revision))
            if object_ is not None
            else NOWHERE
        ),
        med=number_of(med),
        sequence=number_of(sequence),
        security_groups=tuple(map(number_of, GROUP.findall(groups))) if groups else (),
    )


def _hop(found: re.Match[bytes]) -> NextHop:
    address, mac, label, vni, encapsulations, network, tags = found.groups()
    return NextHop(
        address=parse_ipv4(address.decode()),
        label=number_of(label, MAX_LABEL),
        network=network.decode() if network is not None else "",
        encapsulations=texts_of(encapsulations),
        mac=parse_mac(mac.decode()) if mac is not None else 0,
        vni=number_of(vni, MAX_LABEL) if vni is not None else 0,
        tags=tuple(map(number_of, TAG.findall(tags))) if tags else (),
    )
