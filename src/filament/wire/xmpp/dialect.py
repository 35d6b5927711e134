"""The words of TF's XMPP dialect: addresses, node strings and the unicast `<entry>`.

Shapes from `tf-api-client` schema/xmpp_unicast.xsd and `tf-controller` src/bgp/bgp_xmpp_channel.cc
as described in TF's documentation; every decoder raises only `ProtocolError`.
"""

from __future__ import annotations

import msgspec

from filament.base.errors import InputError, ProtocolError
from filament.base.net import Prefix, format_ipv4, format_mac, parse_ipv4, parse_mac
from filament.base.origin import NOWHERE, Origin
from filament.wire.xmpp.stanza import NextHop
from filament.wire.xmpp.stream import Element, escape

CONTROL_JID = "network-control@contrailsystems.com"
CONFIG_RESOURCE = "config"
ROUTE_RESOURCE = "bgp-peer"
PUBSUB_NAMESPACE = "http://jabber.org/protocol/pubsub"
END_OF_RIB_NODE = "0/0/EndOfRib"
INET_FAMILY = "1/1"  # AFI/SAFI of unicast IPv4; the only family of this dialect we speak so far
UNRESOLVED_NETWORK = "unresolved"

MAX_LABEL = 0xFFFFFF  # an MPLS label has 20 bits, a VNI in its place 24
_MAX_U32 = 0xFFFFFFFF
_MAX_NUMBER = (1 << 63) - 1


def bad(message: str) -> ProtocolError:
    """Return the error for a stanza that is well-formed XML but means nothing to us."""
    return ProtocolError("bad-format", message)


def require(parent: Element, name: str) -> Element:
    """Return the child called `name`, which must be there."""
    child = parent.find(name)
    if child is None:
        raise bad(f"<{parent.name}> has no <{name}>")
    return child


def attribute(element: Element, name: str) -> str:
    """Return an attribute that must be there."""
    value = element.attributes.get(name)
    if value is None:
        raise bad(f"<{element.name}> has no attribute {name!r}")
    return value


def number(text: str, what: str, highest: int = _MAX_NUMBER) -> int:
    """Parse a decimal number 0..highest."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) <= 20:
        value = int(stripped)
        if value <= highest:
            return value
    raise bad(f"{what} is {text[:64]!r}; expected a number 0 to {highest}")


def resource_of(address: str) -> str:
    """Return the resource of a JID (`config` of `a@b/config`), "" when it has none."""
    return address.rpartition("/")[2] if "/" in address else ""


def format_route_node(instance: str, prefix: Prefix) -> str:
    """Format the node string of a published unicast route: `1/1/<instance>/<prefix>`."""
    return f"{INET_FAMILY}/{instance}/{prefix}"


def parse_route_node(node: str) -> tuple[str, Prefix] | None:
    """Parse a published route's node string; None when it is of a family we do not speak.

    TF may append a native VRF id after the prefix; it is ignored.
    """
    parts = node.split("/")
    if "/".join(parts[:2]) != INET_FAMILY:
        if len(parts) >= 3 and parts[0].isdigit() and parts[1].isdigit():
            return None
        raise bad(f"{node[:128]!r} is no route node; expected AFI/SAFI/INSTANCE/PREFIX")
    for end in (len(parts), len(parts) - 1):
        if end >= 5 and parts[end - 2].count(".") == 3:
            return "/".join(parts[2 : end - 2]), parse_prefix("/".join(parts[end - 2 : end]))
    raise bad(f"{node[:128]!r} names no prefix; expected {INET_FAMILY}/INSTANCE/10.0.0.3/32")


def parse_prefix(text: str) -> Prefix:
    """Parse a prefix that came from a peer."""
    try:
        return Prefix.parse_ipv4(text)
    except InputError as error:
        raise bad(str(error)) from None


def _address(text: str, what: str) -> int:
    try:
        return parse_ipv4(text.strip())
    except InputError as error:
        raise bad(f"{what}: {error}") from None


def _mac(text: str) -> int:
    try:
        return parse_mac(text.strip()) if text.strip() else 0
    except InputError as error:
        raise bad(f"next hop: {error}") from None


def encode_origin(origin: Origin) -> str:
    """Return the attributes of our namespace that carry a row's provenance."""
    if origin == NOWHERE:
        return ""
    return (
        f' f:object="{escape(origin.object)}" f:rule="{escape(origin.rule)}"'
        f' f:revision="{origin.revision}"'
    )


def decode_origin(element: Element) -> Origin:
    """Return the provenance an element carries, `NOWHERE` when it carries none."""
    origin_object, rule = element.ours("object"), element.ours("rule")
    revision = element.ours("revision")
    if origin_object is None and rule is None and revision is None:
        return NOWHERE
    return Origin(origin_object or "", rule or "", number(revision or "0", "f:revision"))


class Entry(msgspec.Struct, frozen=True):
    """A unicast `<entry>`: the fields that published and sent routes share."""

    prefix: Prefix
    next_hops: tuple[NextHop, ...]
    network: str
    local_preference: int
    sequence: int
    sub_protocol: str
    origin: Origin


def encode_entry(entry: Entry) -> str:
    """Return the XML of a unicast entry."""
    hops = "".join(_encode_next_hop(hop) for hop in entry.next_hops)
    preference = entry.local_preference
    med = {100: 200, 200: 100}.get(preference, _MAX_U32 - preference)  # TF's default for agents
    sub_protocol = (
        f"<sub-protocol>{escape(entry.sub_protocol)}</sub-protocol>" if entry.sub_protocol else ""
    )
    return (
        f"<entry{encode_origin(entry.origin)}>"
        f"<nlri><af>1</af><safi>1</safi><address>{entry.prefix}</address></nlri>"
        f"<next-hops>{hops}</next-hops><version>1</version>"
        f"<virtual-network>{escape(entry.network or UNRESOLVED_NETWORK)}</virtual-network>"
        f"<sequence-number>{entry.sequence}</sequence-number>"
        f"<local-preference>{preference}</local-preference><med>{med}</med>"
        f"{sub_protocol}</entry>"
    )


def _encode_next_hop(hop: NextHop) -> str:
    encapsulations = "".join(
        f"<tunnel-encapsulation>{escape(name)}</tunnel-encapsulation>"
        for name in hop.encapsulations
    )
    mac = f"<mac>{format_mac(hop.mac)}</mac>" if hop.mac else ""
    network = f"<virtual-network>{escape(hop.network)}</virtual-network>" if hop.network else ""
    return (
        f"<next-hop><af>1</af><address>{format_ipv4(hop.address)}</address>{mac}"
        f"<label>{hop.label}</label>"
        f"<tunnel-encapsulation-list>{encapsulations}</tunnel-encapsulation-list>"
        f"{network}</next-hop>"
    )


def decode_entry(element: Element) -> Entry:
    """Return the entry an `<entry>` element carries."""
    nlri = require(element, "nlri")
    network = element.text_of("virtual-network")
    hops = element.find("next-hops")
    return Entry(
        prefix=parse_prefix(require(nlri, "address").text.strip()),
        next_hops=tuple(
            _decode_next_hop(hop)
            for hop in (hops.children if hops is not None else ())
            if hop.name == "next-hop"
        ),
        network="" if network == UNRESOLVED_NETWORK else network,
        local_preference=number(
            element.text_of("local-preference", "100"), "local-preference", _MAX_U32
        ),
        sequence=number(element.text_of("sequence-number", "0"), "sequence-number", _MAX_U32),
        sub_protocol=element.text_of("sub-protocol"),
        origin=decode_origin(element),
    )


def _decode_next_hop(element: Element) -> NextHop:
    encapsulations = element.find("tunnel-encapsulation-list")
    return NextHop(
        address=_address(require(element, "address").text, "next hop"),
        label=number(element.text_of("label", "0"), "label", MAX_LABEL),
        network=element.text_of("virtual-network"),
        encapsulations=tuple(
            child.text.strip()
            for child in (encapsulations.children if encapsulations is not None else ())
            if child.name == "tunnel-encapsulation"
        ),
        mac=_mac(element.text_of("mac")),
    )
