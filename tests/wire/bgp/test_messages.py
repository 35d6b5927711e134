"""Framing, OPEN, NOTIFICATION, ROUTE-REFRESH, capabilities: vectors, round trips, totality."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.wire.bgp.capability import (
    Capabilities,
    GracefulRestart,
    LongLived,
    decode_capabilities,
    encode_capabilities,
)
from filament.wire.bgp.errors import BgpError, name_of
from filament.wire.bgp.family import BY_TITLE, AddressFamily, describe
from filament.wire.bgp.message import (
    KEEPALIVE,
    BrokenStreamError,
    Framer,
    Kind,
    Notification,
    Open,
    RouteRefresh,
    decode_notification,
    decode_open,
    decode_route_refresh,
    encode_communication,
    encode_notification,
    encode_open,
    encode_route_refresh,
)

from .samples import families, u32

VPN, EVPN = AddressFamily.INET_VPN, AddressFamily.E_VPN
MARKER = b"\xff" * 16

restarts = st.builds(
    GracefulRestart,
    st.integers(0, 4095),
    st.booleans(),
    st.booleans(),
    st.dictionaries(families, st.booleans(), max_size=9).map(lambda each: tuple(each.items())),
)
capabilities = st.builds(
    Capabilities,
    families=st.lists(families, min_size=1, unique=True).map(tuple),
    asn=st.none() | st.integers(1, 0xFFFFFFFF),
    can_refresh=st.booleans(),
    can_refresh_enhanced=st.booleans(),
    can_extend_messages=st.booleans(),
    graceful_restart=st.none() | restarts,
    long_lived=st.lists(
        st.builds(LongLived, families, st.booleans(), st.integers(0, 0xFFFFFF)), max_size=9
    ).map(tuple),
    codes=st.just(()),
)


def plain(found):
    """Capabilities without the list of their codes."""
    return Capabilities(
        found.families,
        found.asn,
        found.can_refresh,
        found.can_refresh_enhanced,
        found.can_extend_messages,
        found.graceful_restart,
        found.long_lived,
    )


@given(capabilities)
def test_capabilities_survive_the_wire(sample):
    assert plain(decode_capabilities(encode_capabilities(sample))) == sample


@given(capabilities, st.integers(1, 0xFFFFFFFF), u32.filter(bool), st.sampled_from([0, 3, 65535]))
def test_opens_survive_the_wire(sample, asn, identifier, hold_time_s):
    if sample.asn is not None:
        sample = Capabilities(sample.families, asn, graceful_restart=sample.graceful_restart)
    elif asn >= 1 << 16:
        asn = 23456
    [(kind, body)] = Framer().feed(encode_open(Open(asn, hold_time_s, identifier, sample)))
    decoded = decode_open(body)
    assert kind is Kind.OPEN
    assert (decoded.asn, decoded.hold_time_s) == (asn, hold_time_s)
    assert decoded.identifier == identifier
    assert plain(decoded.capabilities) == plain(sample)


def test_many_capabilities_use_extended_lengths():
    """RFC 9072."""
    every = tuple(AddressFamily)
    sample = Capabilities(
        families=every,
        asn=64512,
        graceful_restart=GracefulRestart(1, preserved=tuple((each, True) for each in every)),
        long_lived=tuple(LongLived(each, True, 1) for each in every * 3),
    )
    [(_, body)] = Framer().feed(encode_open(Open(64512, 90, 1, sample)))
    assert body[9:11] == b"\xff\xff"
    assert plain(decode_open(body).capabilities) == sample


@given(st.binary(min_size=10, max_size=60))
def test_decoding_an_open_is_total(body):
    with contextlib.suppress(BgpError):
        decode_open(b"\x04" + body)


@given(st.binary(max_size=40))
def test_decoding_capabilities_is_total(field):
    with contextlib.suppress(BgpError):
        decode_capabilities(field)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_framing_is_total(pieces):
    framer = Framer()
    with contextlib.suppress(BgpError):
        for piece in pieces:
            framer.feed(MARKER + piece)


@given(st.binary(max_size=8))
def test_decoding_a_refresh_is_total(body):
    with contextlib.suppress(BgpError):
        decode_route_refresh(body)


def test_an_open_of_a_router():
    """As an IOS router sends it: each capability in a parameter of its own, unknown ones too."""
    body = bytes.fromhex(
        "04 fc00 00b4 0a000001 1e"
        "0206 0104 0001 0001"
        "0202 8000"
        "0202 0200"
        "0206 4104 fde80001"
        "0204 4602 0102".replace(" ", "").replace("fde80001", "0000fc00")
    )
    opened = decode_open(body[:-4] + b"\x63\x02\x01\x02")
    assert opened.asn == 64512
    assert opened.hold_time_s == 180
    assert opened.capabilities.families == (AddressFamily.INET,)
    assert opened.capabilities.can_refresh
    assert opened.capabilities.codes == (1, 128, 2, 65, 99)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("04 fc00 005a 0a000001 05 0206", (2, 0), "parameters of 5 octets in 2"),
        ("04 fc00 005a 0a000001 02 0206", (2, 0), "a parameter is cut off"),
        ("04 fc00 005a 0a000001 02 0100", (2, 4), "parameter 1; only 2, capabilities, is left"),
        ("04 fc00 005a 0a000001 04 0202 0105", (2, 7), "a capability is cut off"),
        ("04 fc00 005a 0a000001 05 0203 010100", (2, 7), "multiprotocol of 1 octets"),
        ("04 fc00 005a 0a000001 05 0203 400100", (2, 7), "graceful-restart of 1 octets"),
        ("04 fc00 005a 0a000001 05 0203 470100", (2, 7), "long-lived-graceful-restart of 1"),
        ("04 fc01 005a 0a000001 08 0206 41040000fc00", (2, 2), "64513, and 64512 in the"),
    ],
)
def test_an_open_that_cannot_be_read(body, code, text):
    with pytest.raises(BgpError) as raised:
        decode_open(bytes.fromhex(body.replace(" ", "")))
    assert text in str(raised.value)
    assert (raised.value.code, raised.value.subcode) == code


@pytest.mark.parametrize(
    ("header", "code", "octets", "text"),
    [
        ("00" * 16 + "001304", (1, 1), "", "the marker is not all ones"),
        ("ff" * 16 + "001306", (1, 3), "06", "there is no message type 6"),
        ("ff" * 16 + "001404" + "00", (1, 2), "0014", "KEEPALIVE of 20 octets; expected 19 to 19"),
        ("ff" * 16 + "001302", (1, 2), "0013", "UPDATE of 19 octets; expected 23 to 4096"),
        ("ff" * 16 + "100102", (1, 2), "1001", "UPDATE of 4097 octets; expected 23 to 4096"),
        ("ff" * 16 + "001401", (1, 2), "0014", "OPEN of 20 octets; expected 29 to 4096"),
    ],
)
def test_a_broken_header(header, code, octets, text):
    with pytest.raises(BrokenStreamError) as raised:
        Framer().feed(KEEPALIVE + bytes.fromhex(header))
    assert raised.value.complete == [(Kind.KEEPALIVE, b"")]
    assert (raised.value.code, raised.value.subcode) == code
    assert raised.value.octets == bytes.fromhex(octets)
    assert text in str(raised.value)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
def test_notifications_survive_the_wire(code, subcode, octets):
    message = Notification(code, subcode, octets)
    [(kind, body)] = Framer().feed(encode_notification(message))
    assert kind is Kind.NOTIFICATION
    assert decode_notification(body) == message
    assert str(message)
    assert message.communication.isprintable()


def test_notifications_have_names():
    assert name_of(6, 7) == "cease: connection collision resolution"
    assert name_of(4, 0) == "hold timer expired"
    assert name_of(3, 99) == "UPDATE error: subcode 99"
    assert name_of(99, 1) == "error code 99: subcode 1"
    assert Notification(6, 4, encode_communication("back soon")).communication == "back soon"
    assert Notification(6, 4, b"\x09short").communication == ""
    assert Notification(3, 1, b"\x01x").communication == ""


@given(families, st.integers(0, 255))
def test_refreshes_survive_the_wire(family, subtype):
    [(kind, body)] = Framer().feed(encode_route_refresh(family, subtype))
    assert kind is Kind.ROUTE_REFRESH
    assert decode_route_refresh(body) == RouteRefresh(family, subtype)


def test_families_have_names_and_numbers():
    assert EVPN.value == (25, 70)
    assert str(EVPN) == "e-vpn"
    assert EVPN.raw == b"\x00\x19\x46"
    assert BY_TITLE["erm-vpn"].safi == 243
    assert describe(1, 128) == "inet-vpn"
    assert describe(16388, 71) == "AFI 16388 SAFI 71"
