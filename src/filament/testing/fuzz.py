"""Coverage-guided fuzzing of everything that decodes what a peer sent: `make fuzz`.

    python -m filament.testing.fuzz TARGET [libFuzzer options]

A decoder may raise `ProtocolError`, a session nothing; what is decoded must survive being encoded.
libFuzzer keeps an input that breaks this in a file and says where; such a file as the only option
runs it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["filament.wire", "filament.base"]):
    from filament.base.errors import ProtocolError
    from filament.wire.bgp import message, nlri, routes, update
    from filament.wire.bgp.attributes import Attributes, prepend_as
    from filament.wire.bgp.capability import Capabilities, decode_capabilities, encode_capabilities
    from filament.wire.bgp.communities import format_extended
    from filament.wire.bgp.family import AddressFamily
    from filament.wire.bgp.session import BgpSession, Offer
    from filament.wire.xmpp.dialect import CONTROL_JID
    from filament.wire.xmpp.session import ClientSession, ServerSession

FAMILIES = list(AddressFamily)
_HOLD_S = 90.0


def fuzz_nlri(data: bytes) -> None:
    """An NLRI field; the first octet says of which family."""
    family = FAMILIES[data[0] % len(FAMILIES)]
    for key, label in nlri.split(family, data[1:]):
        route = routes.decode_route(family, key, label)
        assert routes.encode_route(family, route) == (key, label), route
        assert nlri.split(family, nlri.join(family, key, label)) == [(key, label)], route
        assert nlri.split(family, nlri.withdrawn(family, key))[0][0] == key, route
        routes.format_route(family, key)
        nlri.label_value(family, key, label)


def fuzz_update(data: bytes) -> None:
    """The body of an UPDATE; the first octet says what kind of session it came by."""
    is_as4, is_external = bool(data[0] & 1), bool(data[0] & 2)
    decoder = update.UpdateDecoder(frozenset(FAMILIES), is_as4=is_as4, is_external=is_external)
    found = decoder.decode(data[1:])
    for family, attributes, announced, field in found.announced:
        for community in attributes.extended_communities:
            format_extended(community)
        prepend_as(attributes.as_path, 64512)
        wire = [nlri.join(family, key, label) for key, label in announced]
        if field:
            assert nlri.cut(family, field) == wire, field
            wire = [field]
        messages = update.encode_updates(family, attributes, wire, limit=1 << 16)
        again = update.UpdateDecoder(frozenset(FAMILIES))
        for each in messages:
            for told in again.decode(each[message.HEADER_SIZE :]).announced:
                assert told.attributes == attributes, (told.attributes, attributes)
    for fault in found.faults:
        str(fault)


def fuzz_open(data: bytes) -> None:
    """The body of an OPEN, and capabilities by themselves."""
    with suppress(ProtocolError):
        capabilities = decode_capabilities(data)
        again = decode_capabilities(encode_capabilities(capabilities))
        assert again.graceful_restart == capabilities.graceful_restart, capabilities
        assert again.long_lived == capabilities.long_lived, capabilities
    message.decode_open(data.ljust(10, b"\x00"))


def fuzz_bgp(data: bytes) -> None:
    """A stream from a BGP peer, in two pieces; the first octet says in which state it begins."""
    session = BgpSession(Offer(64512, 1, tuple(FAMILIES)), 0.0)
    opened = message.Open(64513, 90, 2, Capabilities(tuple(FAMILIES), 64513))
    if data[0] & 3:
        session.receive_data(message.encode_open(opened), 0.0)
    if data[0] & 2:
        session.receive_data(message.KEEPALIVE, 0.0)
    middle = 1 + len(data) // 2
    for piece in (data[1:middle], data[middle:], b""):
        session.receive_data(piece, 1.0)
        while session.next_event() is not None:
            pass
    assert session.closed
    session.data_to_send(2.0)


def fuzz_xmpp_server(data: bytes) -> None:
    """A stream from an agent, after its header."""
    header = (
        f"<stream:stream from='host1' to='{CONTROL_JID}' version='1.0' xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    session = ServerSession(0.0, _HOLD_S)
    if data[0] & 1:
        session.receive_data(header.encode(), 0.0)
    session.receive_data(data[1:], 1.0)
    while session.next_event() is not None:
        pass


def fuzz_xmpp_client(data: bytes) -> None:
    """A stream from a control node, after its header."""
    header = (
        f"<stream:stream from='{CONTROL_JID}' to='host1' version='1.0' xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    session = ClientSession("host1", 0.0, _HOLD_S)
    if data[0] & 1:
        session.receive_data(header.encode(), 0.0)
    session.receive_data(data[1:], 1.0)
    while session.next_event() is not None:
        pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    "bgp": fuzz_bgp,
    "nlri": fuzz_nlri,
    "open": fuzz_open,
    "update": fuzz_update,
    "xmpp-client": fuzz_xmpp_client,
    "xmpp-server": fuzz_xmpp_server,
}


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield inputs to begin with: (target, octets)."""
    route = bytes.fromhex("7800011100010a00000100050a010103")
    mac = bytes.fromhex("022500010a0000010005" + "00" * 14 + "30020000000003200a010103000191")
    for family, wire in ((AddressFamily.INET_VPN, route), (AddressFamily.E_VPN, mac)):
        yield "nlri", bytes((FAMILIES.index(family),)) + wire
        [told] = update.encode_updates(
            family, Attributes(communities=(1,), extended_communities=(bytes(8),)), [wire]
        )
        yield "update", b"\x01" + told[message.HEADER_SIZE :]
        yield "bgp", b"\x02" + told
    capabilities = Capabilities(tuple(FAMILIES), 64512, can_refresh=True)
    opened = message.encode_open(message.Open(64512, 90, 7, capabilities))
    yield "open", opened[message.HEADER_SIZE :]
    yield "bgp", b"\x00" + opened + message.KEEPALIVE
    publish = (
        "<iq type='set' from='host1' to='network-control@contrailsystems.com/bgp-peer' id='p1'>"
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='1/1/red/10.1.1.3/32'>"
        "<item><entry><nlri><af>1</af><safi>1</safi><address>10.1.1.3/32</address></nlri>"
        "<next-hops><next-hop><af>1</af><address>172.30.0.1</address><label>17</label></next-hop>"
        "</next-hops><version>1</version></entry></item></publish></pubsub></iq>"
    )
    yield "xmpp-server", b"\x01" + publish.encode()
    items = (
        "<message from='network-control@contrailsystems.com' to='host1/bgp-peer'>"
        "<event xmlns='http://jabber.org/protocol/pubsub'><items node='1/1/red'>"
        "<retract id='10.1.1.3/32'/></items></event></message>"
    )
    yield "xmpp-client", b"\x01" + items.encode()


def main(arguments: list[str]) -> None:
    """Fuzz one target; `corpus` directories among the arguments are libFuzzer's."""
    if len(arguments) < 2 or arguments[1] not in TARGETS:
        sys.exit(f"usage: {arguments[0]} {'|'.join(TARGETS)} [libFuzzer options]")
    name, *options = arguments[1:]
    target = TARGETS[name]

    def run(data: bytes) -> None:
        if data:
            with suppress(ProtocolError):
                target(data)

    for option in options:
        corpus = Path(option)
        if corpus.is_dir():
            for number, (of_target, octets) in enumerate(seeds()):
                if of_target == name:
                    corpus.joinpath(f"seed-{number}").write_bytes(octets)
    atheris.Setup([arguments[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
