"""The words of TF's XMPP dialect: addresses, node strings, numbers and provenance.

Shapes from `tf-controller` src/bgp/bgp_xmpp_channel.cc as described in TF's documentation; every
decoder raises only `ProtocolError`.
"""

from __future__ import annotations

from filament.base.errors import InputError, ProtocolError
from filament.base.net import Prefix
from filament.base.origin import NOWHERE, Origin
from filament.wire.xmpp.stanza import TableFamily
from filament.wire.xmpp.stream import Element, escape

CONTROL_JID = "network-control@contrailsystems.com"
CONFIG_RESOURCE = "config"
ROUTE_RESOURCE = "bgp-peer"
PUBSUB_NAMESPACE = "http://jabber.org/protocol/pubsub"
END_OF_RIB_NODE = "0/0/EndOfRib"
UNRESOLVED_NETWORK = "unresolved"

_MAX_NUMBER = (1 << 63) - 1
_FAMILIES = {family.value: family for family in TableFamily}


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


def family_of_node(node: str) -> tuple[TableFamily | None, str]:
    """Split `AFI/SAFI/REST` into the family and the rest; None for one we do not speak."""
    afi, _, rest = node.partition("/")
    safi, _, rest = rest.partition("/")
    if not (afi.isdigit() and safi.isdigit() and rest):
        raise bad(f"{node[:128]!r} is no table or route; expected AFI/SAFI/INSTANCE[/PREFIX]")
    return _FAMILIES.get(f"{afi}/{safi}"), rest


def parse_prefix(text: str) -> Prefix:
    """Parse a prefix that came from a peer."""
    try:
        return Prefix.parse(text)
    except InputError as error:
        raise bad(str(error)) from None


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
