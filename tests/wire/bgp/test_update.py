"""UPDATE: round trips, what RFC 7606 forgives and how, and messages no longer than allowed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.limits import MAX_BGP_ATTRIBUTE_SETS_CACHED
from filament.base.net import Address
from filament.wire.bgp import update as update_module
from filament.wire.bgp.attributes import (
    ATTRIBUTES,
    Aggregator,
    Attributes,
    Segment,
    Unknown,
    encode_attribute,
    format_as_path,
    has_as,
    merge_as4_path,
    name_of,
    neighbour_as,
    path_length,
    prepend_as,
)
from filament.wire.bgp.errors import BgpError
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import join, withdrawn
from filament.wire.bgp.routes import encode_route
from filament.wire.bgp.update import (
    Announced,
    Update,
    UpdateDecoder,
    Withdrawn,
    encode_end_of_rib,
    encode_updates,
    encode_withdrawals,
)

from .samples import attribute_sets, families, families_with_routes

ALL = frozenset(AddressFamily)
INET = AddressFamily.INET
VPN = AddressFamily.INET_VPN
HOST = b"\x20\x0a\x01\x01\x03"
BASE = bytes.fromhex("400101004002004003040a000001400504000000c8")
VPN_ROUTE = bytes.fromhex("78000111 00010a0000010005 0a010103")
VPN_KEY = bytes.fromhex("60 00010a0000010005 0a010103")
REACH = encode_attribute(
    0x80, 14, bytes.fromhex("0001 80 0c 0000000000000000 0a000001 00") + VPN_ROUTE
)

V6 = "20010db8" + "00" * 11 + "01"


def body(message):
    assert message[:16] == b"\xff" * 16
    assert int.from_bytes(message[16:18], "big") == len(message)
    assert message[18] == 2
    return message[19:]


def decode(attributes, nlri=b"", *, withdrawn_field=b"", decoder=None, **options):
    raw = len(withdrawn_field).to_bytes(2, "big") + withdrawn_field
    raw += len(attributes).to_bytes(2, "big") + attributes + nlri
    return (decoder or UpdateDecoder(ALL, **options)).decode(raw)


def faults(update):
    return [str(fault) for fault in update.faults]


@given(families_with_routes(min_size=1), attribute_sets, st.integers(1200, 4096))
def test_announcements_survive_the_wire(sample, attributes, limit):
    family, routes = sample
    encoded = [encode_route(family, route) for route in routes]
    raw = [join(family, *each) for each in encoded]
    try:
        messages = encode_updates(family, attributes, raw, limit=limit)
    except ValueError:
        assert len(str(attributes)) > limit // 3
        return
    decoder = UpdateDecoder(ALL)
    decoded = [decoder.decode(body(message)) for message in messages]
    assert all(len(message) <= limit for message in messages)
    assert [each for one in decoded for each in one.announced[0].routes] == encoded
    for one in decoded:
        assert one.announced[0][:2] == (family, attributes)
        assert one.announced[0].attributes is decoded[0].announced[0].attributes
        assert not one.faults
        assert not one.withdrawn


@given(families_with_routes(min_size=1))
def test_withdrawals_survive_the_wire(sample):
    family, routes = sample
    keys = [encode_route(family, route)[0] for route in routes]
    messages = encode_withdrawals(family, [withdrawn(family, key) for key in keys], limit=200)
    decoder = UpdateDecoder(ALL)
    decoded = [decoder.decode(body(message)) for message in messages]
    assert [key for one in decoded for key in one.withdrawn[0].keys] == keys
    assert all(len(message) <= 200 for message in messages)
    assert not any(one.announced or one.faults or one.end_of_rib for one in decoded)


@given(families)
def test_end_of_rib_survives_the_wire(family):
    assert UpdateDecoder(ALL).decode(body(encode_end_of_rib(family))) == Update(end_of_rib=family)


@given(attribute_sets)
def test_a_peer_without_four_octets_gets_the_path_back(attributes):
    [message] = encode_updates(VPN, attributes, [VPN_ROUTE], is_as4=False, limit=65535)
    [announced] = UpdateDecoder(ALL, is_as4=False).decode(body(message)).announced
    got = announced.attributes
    assert path_length(got.as_path) == path_length(attributes.as_path)
    assert {asn for segment in got.as_path for asn in segment.ases} == {
        asn for segment in attributes.as_path for asn in segment.ases
    }
    assert got.aggregator == attributes.aggregator


@given(st.binary(max_size=120))
def test_decoding_is_total(octets):
    with contextlib.suppress(BgpError):
        UpdateDecoder(ALL).decode(octets)


@given(st.binary(max_size=60), st.binary(max_size=20), st.booleans(), st.booleans())
def test_decoding_attributes_is_total(attributes, nlri, is_as4, is_external):
    with contextlib.suppress(BgpError):
        decode(BASE + attributes, nlri, is_as4=is_as4, is_external=is_external)


@given(st.sampled_from(sorted(ATTRIBUTES)), st.binary(max_size=40))
def test_any_value_of_a_known_attribute_is_taken_or_forgiven(code, value):
    """RFC 7606: nothing in a known attribute but the MP ones ends a session."""
    decode(encode_attribute(ATTRIBUTES[code].flags, code, value), HOST)


def test_one_update_may_hold_everything():
    unreach = encode_attribute(0x80, 15, bytes.fromhex("000180") + VPN_ROUTE)
    got = decode(REACH + BASE + unreach, HOST, withdrawn_field=b"\x18\x0a\x02\x00")
    attributes = Attributes(next_hop=Address(0x0A000001, 4), local_preference=200)
    assert got == Update(
        (Withdrawn(INET, [b"\x18\x0a\x02\x00"]), Withdrawn(VPN, [VPN_KEY])),
        (
            Announced(VPN, attributes, [(VPN_KEY, b"\x00\x01\x11")]),
            Announced(INET, attributes, [(HOST, b"")]),
        ),
    )


FORGIVEN = [
    ("40010103", "ORIGIN: the value is 03; 00 to 02 exist (treated as withdraw)"),
    ("400200", None),
    ("40020402010000", "AS_PATH: a segment of 1 ASes in 2 octets (treated as withdraw)"),
    ("4002020200", "AS_PATH: a segment is empty (treated as withdraw)"),
    ("40020605010000fc00", "AS_PATH: there is no segment type 5 (treated as withdraw)"),
    ("400206020100000000", "AS_PATH: AS 0 is in it (RFC 7607) (treated as withdraw)"),
    (
        "40020603010000fc00",
        "AS_PATH: confederation segments, and we are in none (treated as withdraw)",
    ),
    ("400303010203", "NEXT_HOP: 3 octets; it has 4 (treated as withdraw)"),
    ("800403010203", "MULTI_EXIT_DISC: 3 octets; it has 4 (treated as withdraw)"),
    ("40050101", "LOCAL_PREF: 1 octets; it has 4 (treated as withdraw)"),
    ("40060101", "ATOMIC_AGGREGATE: 1 octets; it has none (discarded)"),
    ("c0070101", "AGGREGATOR: 1 octets; it has 8 (discarded)"),
    ("c00800", "COMMUNITIES: 0 octets; expected a multiple of 4, and not 0 (treated as withdraw)"),
    ("80090101", "ORIGINATOR_ID: 1 octets; it has 4 (treated as withdraw)"),
    (
        "800a0101",
        "CLUSTER_LIST: 1 octets; expected a multiple of 4, and not 0 (treated as withdraw)",
    ),
    ("c010040001fc00", "EXTENDED_COMMUNITIES: 4 octets; expected a multiple of 8, and not 0"),
    ("c0160100", "PMSI_TUNNEL: 1 octets; it has at least 5 (treated as withdraw)"),
    ("c01607000600000101 02", "PMSI_TUNNEL: ingress replication with 2 octets of address"),
    ("c017020008", "TUNNEL_ENCAPSULATION: a tunnel is cut off (treated as withdraw)"),
    ("c01704 0008 0001", "TUNNEL_ENCAPSULATION: a tunnel is longer than what remains"),
    ("c02004 00000001", "LARGE_COMMUNITIES: 4 octets; expected a multiple of 12, and not 0"),
    ("c0f10101", "EDGE_DISCOVERY: an edge is cut off or has no IPv4 address (discarded)"),
    ("c0f206 04 0a000001 07", "EDGE_FORWARDING: 6 octets; expected a multiple of 17, and not 0"),
    ("c0f30101", "ORIGIN_VN_PATH: 1 octets; expected a multiple of 8, and not 0 (discarded)"),
    ("80010100", "ORIGIN: the flags are 0x80; expected 0x40 (treated as withdraw)"),
    ("c00440 0000", "MULTI_EXIT_DISC: 64 octets in the 2 that remain (treated as withdraw)"),
    ("c0", "attribute 0: 1 octets after the attributes (treated as withdraw)"),
]


@pytest.mark.parametrize(("attribute", "text"), FORGIVEN)
def test_a_malformed_attribute_is_forgiven_as_rfc_7606_says(attribute, text):
    raw = bytes.fromhex(attribute.replace(" ", ""))
    rest = b"".join(
        BASE[at : at + size]
        for at, size, code in ((0, 4, 1), (4, 3, 2), (7, 7, 3), (14, 7, 5))
        if len(raw) < 2 or code != raw[1]
    )
    got = decode(rest + raw, HOST)
    if text is None:
        assert not got.faults
        assert got.announced
    else:
        assert any(fault.startswith(text) for fault in faults(got)), faults(got)
        discarded = all("(discarded)" in fault for fault in faults(got))
        assert bool(got.announced) is discarded
        assert bool(got.withdrawn) is not discarded
        if not discarded:
            assert got.withdrawn == (Withdrawn(INET, [HOST]),)


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_mandatory_attribute_that_is_missing_takes_the_routes_away(code):
    present = {1: BASE[:4], 2: BASE[4:7], 3: BASE[7:14]}
    del present[code]
    got = decode(b"".join(present.values()), HOST)
    assert faults(got) == [f"{name_of(code)}: it is missing (treated as withdraw)"]
    assert got.withdrawn == got.refused == (Withdrawn(INET, [HOST]),)


def test_the_first_of_two_counts():
    got = decode(BASE + bytes.fromhex("40050400000001"), HOST)
    assert faults(got) == ["LOCAL_PREF: it is there twice; the first counts (discarded)"]
    assert got.announced[0].attributes.local_preference == 200


def test_an_external_peer_has_no_say_in_internal_attributes():
    internal = bytes.fromhex("800904 0a000001 800a04 0a000002".replace(" ", ""))
    got = decode(BASE + internal, HOST, is_external=True).announced[0].attributes
    assert (got.local_preference, got.originator_id, got.cluster_list) == (None, None, ())
    got = decode(BASE + internal, HOST).announced[0].attributes
    assert (got.local_preference, got.originator_id, got.cluster_list) == (
        200,
        0x0A000001,
        (0x0A000002,),
    )


def test_unknown_attributes_are_passed_on_or_not():
    transitive, optional = bytes.fromhex("c063020102"), bytes.fromhex("8064020102")
    got = decode(BASE + transitive + optional, HOST).announced[0].attributes
    assert got.unknown == (Unknown(0xE0, 99, b"\x01\x02"),)
    [message] = encode_updates(INET, got, [HOST])
    assert bytes.fromhex("e063020102") in message
    other = bytes.fromhex("c0620103")
    assert decode(BASE + transitive + other, HOST) == decode(BASE + other + transitive, HOST)


@pytest.mark.parametrize(
    ("attributes", "nlri", "subcode", "text"),
    [
        (BASE.hex() + "4063020102", HOST, 2, "attribute 99 is not known, and not optional"),
        (BASE.hex() + REACH.hex() * 2, b"", 1, "MP_REACH_NLRI is there twice"),
        (BASE.hex() + "800e0100", b"", 9, "MP_REACH_NLRI: it ends before its routes begin"),
        (BASE.hex() + "800e09000180047f00000100", b"", 9, "a next hop of 4 octets for inet-vpn"),
        (BASE.hex() + "800f020001", b"", 9, "MP_UNREACH_NLRI: 2 octets; it has at least 3"),
        (BASE.hex(), b"\x21\x00", 10, "inet NLRI: a prefix of 33 bits"),
    ],
)
def test_what_ends_a_session(attributes, nlri, subcode, text):
    with pytest.raises(BgpError) as raised:
        decode(bytes.fromhex(attributes), nlri)
    assert text in str(raised.value)
    assert (raised.value.code, raised.value.subcode) == (3, subcode)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("0000", "shorter than its two lengths"),
        ("00050000", "withdrawn routes longer than the message"),
        ("00000005", "attributes longer than the message"),
    ],
)
def test_lengths_that_do_not_agree_end_a_session(octets, text):
    with pytest.raises(BgpError, match=text):
        UpdateDecoder(ALL).decode(bytes.fromhex(octets))


def test_a_family_that_was_not_agreed_on_is_ignored():
    got = decode(REACH + BASE, decoder=UpdateDecoder(frozenset({INET})))
    assert not got.announced
    assert faults(got) == ["MP_REACH_NLRI: inet-vpn was not agreed on (discarded)"]
    raw = encode_attribute(0x80, 15, b"\x00\x19\x41\x00\x00\x00")
    assert faults(decode(raw)) == ["MP_UNREACH_NLRI: AFI 25 SAFI 65 was not agreed on (discarded)"]


@pytest.mark.parametrize(
    ("family", "hop", "expected"),
    [
        (AddressFamily.INET6_VPN, "00" * 18 + "ffff0a000001", Address(0x0A000001, 4)),
        (
            AddressFamily.INET6_VPN,
            "00" * 8 + V6,
            Address(int(V6, 16), 6),
        ),
        (AddressFamily.INET6, "00" * 10 + "ffff0a000001", Address(0x0A000001, 4)),
        (AddressFamily.E_VPN, "0a000001", Address(0x0A000001, 4)),
        (VPN, "00" * 8 + V6, Address(int(V6, 16), 6)),
    ],
)
def test_next_hops(family, hop, expected):
    raw = bytes.fromhex(hop)
    reach = encode_attribute(0x80, 14, family.raw + bytes([len(raw)]) + raw + b"\x00")
    [announced] = decode(reach + BASE).announced
    assert announced.attributes.next_hop == expected
    route = {VPN: VPN_ROUTE, AddressFamily.INET6: b"\x00"}.get(family)
    if route is not None:
        [message] = encode_updates(family, announced.attributes, [route])
        assert bytes([len(raw)]) + raw + b"\x00" + route in message


def test_a_link_local_next_hop_is_kept():
    hop = bytes.fromhex("20010db8" + "00" * 11 + "01" + "fe80" + "00" * 13 + "02")
    reach = encode_attribute(0x80, 14, AddressFamily.INET6.raw + b"\x20" + hop + b"\x00\x00")
    [announced] = decode(reach + BASE).announced
    assert announced.attributes.link_local == (0xFE80 << 112) + 2
    [message] = encode_updates(AddressFamily.INET6, announced.attributes, [b"\x00"])
    assert b"\x20" + hop in message


def test_as_paths():
    path = prepend_as((), 64512)
    path = prepend_as(path, 4200000000)
    assert path == (Segment(2, (4200000000, 64512)),)
    assert neighbour_as(path) == 4200000000
    assert has_as(path, 64512)
    assert not has_as(path, 64513)
    mixed = (Segment(3, (1,)), Segment(2, (10, 20)), Segment(1, (30, 40)))
    assert path_length(mixed) == 3
    assert neighbour_as(mixed) == 10
    assert neighbour_as(mixed[2:]) == 0
    assert neighbour_as(()) == 0
    assert format_as_path(mixed) == "(1) 10 20 {30 40}"
    full = (Segment(2, tuple(range(1, 256))),)
    assert prepend_as(full, 7) == (Segment(2, (7,)), *full)


@pytest.mark.parametrize(
    ("path", "as4", "expected"),
    [
        ("2: 1 23456 3", "2: 100000 3", "2: 1 100000 3"),
        ("2: 23456 3", "2: 100000 3", "2: 100000 3"),
        ("2: 3", "2: 100000 3", "2: 3"),
        ("1: 5 6|2: 23456", "2: 100000", "1: 5 6|2: 100000"),
    ],
)
def test_paths_of_old_speakers_are_restored(path, as4, expected):
    def parse(text):
        return tuple(
            Segment(int(part[0]), tuple(int(each) for each in part[2:].split()))
            for part in text.split("|")
        )

    assert merge_as4_path(parse(path), parse(as4)) == parse(expected)


def test_an_aggregator_of_old_speakers():
    """RFC 6793 section 4.2.3: unless it is AS_TRANS, both AS4 attributes are ignored."""
    as4 = bytes.fromhex("c012080001000a0a000001") + encode_attribute(
        0xC0, 17, b"\x02\x01\x00\x01\x00\x00"
    )
    path = bytes.fromhex("40010100 400204 0201 5ba0 4003040a000001".replace(" ", ""))
    trans, real = bytes.fromhex("c007065ba00a000001"), bytes.fromhex("c00706fc000a000001")
    got = decode(path + trans + as4, HOST, is_as4=False).announced[0].attributes
    assert got.aggregator == Aggregator(0x1000A, 0x0A000001)
    assert got.as_path == (Segment(2, (65536,)),)
    got = decode(path + real + as4, HOST, is_as4=False).announced[0].attributes
    assert got.aggregator == Aggregator(0xFC00, 0x0A000001)
    assert got.as_path == (Segment(2, (23456,)),)


def test_attributes_without_room_for_a_route_are_refused():
    large = Attributes(communities=tuple(range(1100)))
    with pytest.raises(ValueError, match="a route of 5 octets where -"):
        encode_updates(INET, large, [HOST])


def test_the_memory_of_attribute_sets_is_bounded(monkeypatch):
    assert update_module.MAX_BGP_ATTRIBUTE_SETS_CACHED == MAX_BGP_ATTRIBUTE_SETS_CACHED
    monkeypatch.setattr(update_module, "MAX_BGP_ATTRIBUTE_SETS_CACHED", 10)
    decoder = UpdateDecoder(ALL)
    for number in range(100):
        med = encode_attribute(0x80, 4, number.to_bytes(4, "big"))
        assert decode(BASE + med, HOST, decoder=decoder).announced[0].attributes.med == number
        assert len(decoder._parsed) <= 10


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_decoded_before_changes_nothing(order):
    """Attributes are remembered by their octets: a faulty one among them is faulty each time."""
    origin, path = bytes.fromhex("40010100"), bytes.fromhex("400200")
    hop, preference = bytes.fromhex("4003040a000001"), bytes.fromhex("400504000000c8")
    several = [
        origin + path + hop + preference,
        origin + path + hop + bytes.fromhex("40050300c800"),  # of three octets
        origin + path + hop + bytes.fromhex("c00504000000c8"),  # optional, it says
        path + hop + preference,
        hop + preference + path + origin,
        origin + path + hop + preference + bytes.fromhex("40050400000001"),  # the first counts
    ][::order]
    decoder = UpdateDecoder(frozenset(AddressFamily))
    for raw in several * 2:
        assert decode(raw, HOST, decoder=decoder) == decode(raw, HOST), raw.hex()
    external = UpdateDecoder(frozenset(AddressFamily), is_external=True)
    for _ in range(2):
        got = decode(several[0] if order == 1 else several[-1], HOST, decoder=external)
        assert got.announced[0].attributes.local_preference is None
        assert [fault.code for fault in got.faults] == [5]
