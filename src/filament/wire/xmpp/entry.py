"""The `<entry>` of a route in TF's XMPP dialect: unicast (inet, inet6) and Ethernet (e-vpn).

Shapes from `tf-api-client` schema/xmpp_unicast.xsd and xmpp_enet.xsd. Optional elements that would
only repeat their default are left out, as the schemas allow. Decoders raise only `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Iterable

from filament.base.errors import InputError, ProtocolError
from filament.base.net import Prefix, bits_of, format_ipv4, format_mac, parse_ipv4, parse_mac
from filament.wire.xmpp.dialect import (
    UNRESOLVED_NETWORK,
    bad,
    decode_origin,
    encode_origin,
    number,
    parse_prefix,
    require,
)
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    NO_ADDRESS,
    Destination,
    MacKey,
    NextHop,
    RouteItem,
    RoutePublished,
    TableFamily,
)
from filament.wire.xmpp.stream import Element, escape

MAX_LABEL = 0xFFFFFF  # an MPLS label has 20 bits, a VNI in its place 24
_MAX_U32 = 0xFFFFFFFF
# Bounds of the lists in an entry; a stanza's size bounds the rest.
MAX_LISTED = 1024


def family_of(destination: Destination) -> TableFamily:
    """Return the table a destination belongs in."""
    if isinstance(destination, MacKey):
        return TableFamily.ENET
    return TableFamily.INET if destination.version == 4 else TableFamily.INET6


def format_destination(destination: Destination) -> str:
    """Format the id of an item: `10.0.0.3/32`, `2001:db8::3/128` or `[TAG-]MAC,IP/LEN`."""
    if isinstance(destination, MacKey):
        tag = f"{destination.tag}-" if destination.tag else ""
        return f"{tag}{format_mac(destination.mac)},{destination.address}"
    return str(destination)


def parse_destination(text: str, family: TableFamily) -> Destination | None:
    """Parse the id of an item; None for a route of a kind we do not speak (EVPN type 6)."""
    if family is not TableFamily.ENET:
        return _of_family(parse_prefix(text), family)
    tag, dash, rest = text.rpartition("-")
    mac, comma, rest = rest.partition(",")
    address, _, group = rest.partition(",")
    if not comma:
        raise bad(f"{text[:128]!r} names no MAC route; expected [TAG-]MAC,IP/LENGTH")
    if group and not group.startswith("0.0.0.0"):
        return None
    return _mac_key(mac, address, number(tag, "ethernet tag", _MAX_U32) if dash else 0)


def _of_family(prefix: Prefix, family: TableFamily) -> Prefix:
    if family_of(prefix) is not family:
        raise bad(f"{prefix} is in a table of family {family.value}")
    return prefix


def _mac_key(mac_text: str, address_text: str, tag: int) -> MacKey:
    try:
        mac = parse_mac(mac_text.strip())
    except InputError as error:
        raise bad(str(error)) from None
    address = parse_prefix(address_text.strip() or "0.0.0.0/0")
    if 0 < mac < BROADCAST_MAC and address.length != bits_of(address.version):
        if address.length or address.address:
            raise bad(f"{format_mac(mac)} goes with {address}; expected one address or 0.0.0.0/0")
        address = NO_ADDRESS
    return MacKey(mac, address, tag)


# encoding ---------------------------------------------------------------------------------


def encode_entry(route: RouteItem | RoutePublished) -> str:
    """Return the XML of a route's entry."""
    if isinstance(route, RoutePublished):
        hops: tuple[NextHop, ...] = (route.next_hop,)
        flood: tuple[NextHop, ...] = ()
        network = route.next_hop.network
    else:
        hops, flood, network = route.next_hops, route.flood, route.network
    destination = route.destination
    is_mac = isinstance(destination, MacKey)
    listed = "".join([_encode_next_hop(hop, is_mac=is_mac) for hop in hops])
    head = f"<entry{encode_origin(route.origin)}>{encode_nlri(destination)}"
    parts = [f"{head}<next-hops>{listed}</next-hops>"]
    if flood:
        olist = "".join([_encode_next_hop(hop, is_mac=True) for hop in flood])
        parts.append(f"<olist>{olist}</olist>")
    parts.append(
        f"{'' if is_mac else '<version>1</version>'}"
        f"<virtual-network>{escape(network or UNRESOLVED_NETWORK)}</virtual-network>"
    )
    if route.is_sticky:
        parts.append(f'<mobility seqno="{route.sequence}" sticky="true"/>')
    parts.append(f"<sequence-number>{route.sequence}</sequence-number>")
    if route.security_groups:
        parts.append(_list("security-group", route.security_groups))
    if route.communities:
        parts.append(_list("community-tag", map(escape, route.communities)))
    parts.append(
        f"<local-preference>{route.local_preference}</local-preference><med>{route.med}</med>"
    )
    if route.load_balance is not None:
        fields = "".join(
            f"<load-balance-field-list>{escape(field)}</load-balance-field-list>"
            for field in route.load_balance
        )
        parts.append(
            f"<load-balance><load-balance-fields>{fields}</load-balance-fields>"
            "<load-balance-decision>field-hash</load-balance-decision></load-balance>"
        )
    if isinstance(route, RoutePublished):
        if route.sub_protocol:
            parts.append(f"<sub-protocol>{escape(route.sub_protocol)}</sub-protocol>")
        if isinstance(destination, MacKey) and destination.mac == BROADCAST_MAC:
            # We replicate at the ingress; TF's trees of replicating hosts are not for us.
            parts.append("<edge-replication-not-supported>true</edge-replication-not-supported>")
    parts.append("</entry>")
    return "".join(parts)


def encode_nlri(destination: Destination) -> str:
    """Return the XML that says what a route leads to."""
    if isinstance(destination, MacKey):
        return (
            f"<nlri><af>25</af><safi>242</safi><ethernet-tag>{destination.tag}</ethernet-tag>"
            f"<mac>{format_mac(destination.mac)}</mac><address>{destination.address}</address>"
            "</nlri>"
        )
    afi = 1 if destination.version == 4 else 2
    return f"<nlri><af>{afi}</af><safi>1</safi><address>{destination}</address></nlri>"


def _list(name: str, values: Iterable[object]) -> str:
    listed = "".join([f"<{name}>{value}</{name}>" for value in values])
    return f"<{name}-list>{listed}</{name}-list>"


def _encode_next_hop(hop: NextHop, *, is_mac: bool) -> str:
    encapsulations = "".join(
        [
            f"<tunnel-encapsulation>{escape(name)}</tunnel-encapsulation>"
            for name in hop.encapsulations
        ]
    )
    mac = f"<mac>{format_mac(hop.mac)}</mac>" if hop.mac else ""
    vni = f"<vni>{hop.vni}</vni>" if hop.vni else ""
    l3_label = f"<l3-label>{hop.l3_label}</l3-label>" if hop.l3_label and is_mac else ""
    network = f"<virtual-network>{escape(hop.network)}</virtual-network>" if hop.network else ""
    tags = _list("tag", hop.tags) if hop.tags else ""
    return (
        f"<next-hop><af>1</af><address>{format_ipv4(hop.address)}</address>{mac}"
        f"<label>{hop.label}</label>{vni}{l3_label}"
        f"<tunnel-encapsulation-list>{encapsulations}</tunnel-encapsulation-list>"
        f"{network}{tags}</next-hop>"
    )


# decoding ---------------------------------------------------------------------------------


def decode_nlri(entry: Element, family: TableFamily) -> Destination | None:
    """Return what an entry leads to; None for a kind we do not speak (EVPN type 6)."""
    nlri = require(entry, "nlri")
    if family is not TableFamily.ENET:
        return _of_family(parse_prefix(require(nlri, "address").text.strip()), family)
    if nlri.text_of("group").strip() not in {"", "0.0.0.0", "::"}:
        return None
    tag = number(nlri.text_of("ethernet-tag") or "0", "ethernet-tag", _MAX_U32)
    return _mac_key(require(nlri, "mac").text, nlri.text_of("address"), tag)


def decode_item(entry: Element, destination: Destination) -> RouteItem:
    """Return the route to `destination`, which is what `decode_nlri` says of the entry."""
    network = entry.text_of("virtual-network")
    sequence, is_sticky = _decode_mobility(entry)
    return RouteItem(
        destination=destination,
        next_hops=_decode_next_hops(entry, "next-hops"),
        network="" if network == UNRESOLVED_NETWORK else network,
        local_preference=number(
            entry.text_of("local-preference") or "100", "local-preference", _MAX_U32
        ),
        origin=decode_origin(entry),
        med=number(entry.text_of("med") or "0", "med", _MAX_U32),
        sequence=sequence,
        is_sticky=is_sticky,
        security_groups=_decode_numbers(entry, "security-group"),
        communities=tuple(_decode_texts(entry, "community-tag")),
        load_balance=_decode_load_balance(entry),
        flood=_decode_next_hops(entry, "olist"),
    )


def decode_published(entry: Element, instance: str, item: RouteItem) -> RoutePublished:
    """Return a published route from its decoded entry; it has exactly one next hop."""
    if len(item.next_hops) != 1:
        raise bad(
            f"{format_destination(item.destination)} is published with {len(item.next_hops)} next"
            " hops; expected one"
        )
    return RoutePublished(
        instance=instance,
        destination=item.destination,
        next_hop=item.next_hops[0],
        local_preference=item.local_preference,
        sequence=item.sequence,
        sub_protocol=entry.text_of("sub-protocol"),
        origin=item.origin,
        med=item.med,
        is_sticky=item.is_sticky,
        security_groups=item.security_groups,
        communities=item.communities,
        load_balance=item.load_balance,
    )


def _decode_mobility(entry: Element) -> tuple[int, bool]:
    sequence = number(entry.text_of("sequence-number") or "0", "sequence-number", _MAX_U32)
    mobility = entry.find("mobility")
    if mobility is None:
        return sequence, False
    said = number(mobility.attributes.get("seqno") or "0", "mobility seqno", _MAX_U32)
    return said or sequence, mobility.attributes.get("sticky") == "true"


def _decode_load_balance(entry: Element) -> tuple[str, ...] | None:
    element = entry.find("load-balance")
    fields = element.find("load-balance-fields") if element is not None else None
    if fields is None or not fields.children:
        return None
    return tuple(child.text.strip() for child in _bounded(fields))


def _decode_texts(parent: Element, name: str) -> list[str]:
    listed = parent.find(f"{name}-list")
    if listed is None:
        return []
    return [child.text.strip() for child in _bounded(listed) if child.name == name]


def _decode_numbers(parent: Element, name: str) -> tuple[int, ...]:
    return tuple(number(text, name, _MAX_U32) for text in _decode_texts(parent, name))


def _bounded(element: Element) -> list[Element]:
    if len(element.children) > MAX_LISTED:
        raise ProtocolError(
            "policy-violation",
            f"<{element.name}> lists {len(element.children)}; at most {MAX_LISTED} are accepted",
        )
    return element.children


def _decode_next_hops(entry: Element, name: str) -> tuple[NextHop, ...]:
    hops = entry.find(name)
    if hops is None:
        return ()
    return tuple(_decode_next_hop(hop) for hop in _bounded(hops) if hop.name == "next-hop")


def _decode_next_hop(element: Element) -> NextHop:
    try:
        address = parse_ipv4(require(element, "address").text.strip())
        mac_text = element.text_of("mac").strip()
        mac = parse_mac(mac_text) if mac_text else 0
    except InputError as error:
        raise bad(f"next hop: {error}") from None
    return NextHop(
        address=address,
        label=number(element.text_of("label") or "0", "label", MAX_LABEL),
        network=element.text_of("virtual-network"),
        encapsulations=tuple(_decode_texts(element, "tunnel-encapsulation")),
        mac=mac,
        vni=number(element.text_of("vni") or "0", "vni", MAX_LABEL),
        l3_label=number(element.text_of("l3-label") or "0", "l3-label", MAX_LABEL),
        tags=_decode_numbers(element, "tag"),
    )
