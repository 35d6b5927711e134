"""Reading what our own agents say all day, without an XML parser: whole stanzas by pattern.

A pattern accepts exactly what `codec.encode_from_agent` writes for a unicast IPv4 route or an
acknowledgement, in printable ASCII without references; it reads as `codec.AgentDecoder` would.
Everything else, be it right or wrong, is for the parser, which also says what is wrong. It costs a
tenth of that.
"""

from __future__ import annotations

import re

from filament.base.errors import InputError
from filament.base.net import Prefix, parse_ipv4, parse_mac
from filament.base.origin import NOWHERE, Origin
from filament.wire.xmpp.dialect import CONTROL_JID, PUBSUB_NAMESPACE
from filament.wire.xmpp.entry import MAX_LABEL
from filament.wire.xmpp.stanza import NextHop, RoutePublished, RouteRetracted, Synced
from filament.wire.xmpp.stream import FILAMENT_NAMESPACE

# Every stanza of an agent of ours begins like this; only there is a pattern tried.
START = b'<iq type="set" from="'
_MAX_U32 = 0xFFFFFFFF

WORD = r"[ !#-%(-;=?-~]{0,1024}"  # printable, none of & < > " '
_END = "</pubsub></iq>"


def _iq(name: str) -> str:
    return (
        rf'<iq type="set" from="{WORD}" to="{re.escape(CONTROL_JID)}/bgp-peer" id="{name}[0-9]+">'
        rf'<pubsub xmlns="{re.escape(PUBSUB_NAMESPACE)}">'
    )


_HEAD = (
    _iq("pubsub")
    + rf'<publish node="(?P<node>1/1/(?P<instance>{WORD})/(?P<prefix>[0-9.]+/[0-9]+))"><item>'
)
_NLRI = r"<nlri><af>1</af><safi>1</safi><address>(?P=prefix)</address></nlri>"


def _tail(verb: str) -> str:
    return (
        "</entry></item></publish>"
        + _END
        + _iq("collection")
        + rf'<collection node="(?P=instance)"><{verb} node="(?P=node)"/></collection>'
        + _END
    )


_PUBLISHED = re.compile(
    (
        _HEAD
        + rf'<entry(?: f:object="(?P<object>{WORD})" f:rule="(?P<rule>{WORD})"'
        + r' f:revision="(?P<revision>[0-9]{1,18})")?>'
        + _NLRI
        + r"<next-hops><next-hop><af>1</af><address>(?P<hop>[0-9.]+)</address>"
        + r"(?:<mac>(?P<mac>[0-9a-f:]+)</mac>)?<label>(?P<label>[0-9]{1,8})</label>"
        + r"<tunnel-encapsulation-list>"
        + r"(?P<encapsulations>(?:<tunnel-encapsulation>[a-z-]+</tunnel-encapsulation>)*)"
        + r"</tunnel-encapsulation-list>"
        + rf"(?:<virtual-network>(?P<network>{WORD})</virtual-network>)?"
        + r"(?:<tag-list>(?P<tags>(?:<tag>[0-9]{1,10}</tag>){1,64})</tag-list>)?"
        + rf"</next-hop></next-hops><version>1</version><virtual-network>{WORD}</virtual-network>"
        + r"<sequence-number>(?P<sequence>[0-9]{1,10})</sequence-number>"
        + r"(?:<security-group-list>(?P<groups>(?:<security-group>[0-9]{1,10}</security-group>)*)"
        + r"</security-group-list>)?"
        + r"<local-preference>(?P<preference>[0-9]{1,10})</local-preference>"
        + r"<med>(?P<med>[0-9]{1,10})</med>"
        + r"(?:<sub-protocol>(?P<protocol>[a-z-]+)</sub-protocol>)?"
        + _tail("associate")
    ).encode()
)
_RETRACTED = re.compile((_HEAD + "<entry>" + _NLRI + _tail("dissociate")).encode())
_SYNCED = re.compile(
    (
        rf'<iq type="set" from="{WORD}" to="{re.escape(CONTROL_JID)}/config" id="synced[0-9]+">'
        rf'<synced xmlns="{re.escape(FILAMENT_NAMESPACE)}" sequence="([0-9]{{1,18}})"'
        r' revision="([0-9]{1,18})"/></iq>'
    ).encode()
)
_ENCAPSULATION = re.compile(rb"<tunnel-encapsulation>([a-z-]+)<")
GROUP = re.compile(rb"<security-group>([0-9]+)<")
TAG = re.compile(rb"<tag>([0-9]+)<")


def read_quickly(
    data: bytes, start: int
) -> tuple[RoutePublished | RouteRetracted | Synced, int] | None:
    """Return what is said at `start`, and where it ends; None when the parser must read it.

    A route that is published or retracted is two stanzas, an acknowledgement is one.
    """
    found = _PUBLISHED.match(data, start)
    try:
        if found is not None:
            return _published(found), found.end()
        found = _RETRACTED.match(data, start)
        if found is not None:
            instance = found["instance"].decode()
            return RouteRetracted(instance, Prefix.parse(found["prefix"].decode())), found.end()
        found = _SYNCED.match(data, start)
        if found is not None:
            return Synced(int(found[1]), int(found[2])), found.end()
    except InputError:
        pass
    return None


def _published(found: re.Match[bytes]) -> RoutePublished:
    (
        _, instance, prefix, object_, rule, revision, hop, mac, label, encapsulations, network,
        tags, sequence, groups, preference, med, protocol,
    ) = found.groups()  # fmt: skip
    numbers = (number_of(sequence), number_of(preference), number_of(med))
    way = NextHop(
        address=parse_ipv4(hop.decode()),
        label=number_of(label, MAX_LABEL),
        network=network.decode() if network is not None else "",
        encapsulations=texts_of(encapsulations),
        mac=parse_mac(mac.decode()) if mac is not None else 0,
        tags=tuple(map(number_of, TAG.findall(tags))) if tags else (),
    )
    return RoutePublished(
        instance=instance.decode(),
        destination=Prefix.parse(prefix.decode()),
        next_hop=way,
        local_preference=numbers[1],
        sequence=numbers[0],
        sub_protocol=protocol.decode() if protocol is not None else "",
        origin=(
            Origin(object_.decode(), rule.decode(), int(revision))
            if object_ is not None
            else NOWHERE
        ),
        med=numbers[2],
        security_groups=tuple(map(number_of, GROUP.findall(groups))) if groups else (),
    )


_KNOWN_TEXTS: dict[bytes, tuple[str, ...]] = {}
_MAX_KNOWN_TEXTS = 64


def texts_of(listed: bytes) -> tuple[str, ...]:
    """Return the encapsulations listed; there are few lists in a cluster."""
    known = _KNOWN_TEXTS.get(listed)
    if known is None:
        known = tuple(one.decode() for one in _ENCAPSULATION.findall(listed))
        if len(_KNOWN_TEXTS) < _MAX_KNOWN_TEXTS:
            _KNOWN_TEXTS[listed] = known
    return known


def number_of(digits: bytes, highest: int = _MAX_U32) -> int:
    """Return a number; raises InputError when it is over `highest`."""
    value = int(digits)
    if value > highest:
        raise InputError("bad-number", f"{value} is over {highest}")
    return value
