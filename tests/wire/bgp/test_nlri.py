"""NLRI: what is identity and what is not, and that bulk and single splitting agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.wire.bgp.errors import BgpError
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import (
    join,
    join_all,
    label_value,
    mpls_label,
    split,
    withdrawn,
    withdrawn_all,
)
from filament.wire.bgp.routes import decode_route, encode_route, format_route

from .samples import families, families_with_routes

VPN = AddressFamily.INET_VPN
EVPN = AddressFamily.E_VPN

RD = "0001 0a000001 0005"
MAC_ROUTE = f"02 25 {RD} {'00' * 10} 00000000 30 020000000003 20 0a010103 000191"


def octets(text):
    return bytes.fromhex(text.replace(" ", ""))


@given(families_with_routes())
def test_routes_survive_the_wire(sample):
    family, routes = sample
    encoded = [encode_route(family, route) for route in routes]
    field = b"".join(join(family, key, label) for key, label in encoded)
    assert split(family, field) == encoded
    assert [decode_route(family, key, label) for key, label in encoded] == routes


@given(families_with_routes())
def test_in_bulk_routes_come_out_as_single_ones_do(sample):
    family, routes = sample
    label_by_key = dict(encode_route(family, route) for route in routes)
    keys = list(label_by_key)
    assert join_all(family, keys, label_by_key) == [
        join(family, key, label_by_key[key]) for key in keys
    ]
    assert withdrawn_all(family, keys) == [withdrawn(family, key) for key in keys]


@given(families_with_routes(min_size=1), st.integers(2, 40))
def test_alike_routes_split_as_single_ones_do(sample, count):
    family, routes = sample
    one = join(family, *encode_route(family, routes[0]))
    assert split(family, one * count) == split(family, one) * count


@given(families_with_routes(min_size=1))
def test_a_withdrawal_has_the_key_of_its_route(sample):
    family, routes = sample
    for route in routes:
        key, _ = encode_route(family, route)
        assert [each for each, _ in split(family, withdrawn(family, key))] == [key]


@given(families_with_routes(min_size=1))
def test_every_key_has_a_text(sample):
    family, routes = sample
    for route in routes:
        assert format_route(family, encode_route(family, route)[0])


@given(families, st.binary(max_size=200))
def test_splitting_is_total(family, field):
    try:
        found = split(family, field)
    except ProtocolError:
        return
    for key, label in found:
        route = decode_route(family, key, label)
        assert encode_route(family, route) == (key, label)
        format_route(family, key)
        label_value(family, key, label)
        assert split(family, join(family, key, label)) == [(key, label)]


def test_a_label_is_no_part_of_a_vpn_route():
    field = octets(f"78 000111 {RD} 0a010103 78 000121 {RD} 0a010103")
    first, second = split(VPN, field)
    assert first == (octets(f"60 {RD} 0a010103"), octets("000111"))
    assert second[0] == first[0]
    assert second[1] == mpls_label(0x12) == octets("000121")
    assert label_value(VPN, *first) >> 4 == 0x11


def test_host_bits_are_no_part_of_a_route():
    clean, dirty = octets(f"77 000111 {RD} 0a010102"), octets(f"77 000111 {RD} 0a010103")
    assert split(VPN, dirty) == split(VPN, clean)
    assert split(AddressFamily.INET, octets("11 0a01ff")) == [(octets("11 0a0180"), b"")]


def test_segment_and_labels_are_no_part_of_a_mac_route():
    plain = octets(MAC_ROUTE)
    segment = octets(f"02 28 {RD} {'01' * 10} 00000000 30 020000000003 20 0a010103 000191 0000c1")
    (key, label), (other_key, other_label) = split(EVPN, plain + segment)
    assert key == other_key
    assert label == octets("000191")
    assert other_label == b"\x01" * 10 + octets("000191 0000c1")
    assert join(EVPN, other_key, other_label) == segment
    assert format_route(EVPN, key) == "2-10.0.0.1:5-0-02:00:00:00:00:03,10.1.1.3"
    assert label_value(EVPN, key, label) == 0x191


def test_gateway_and_segment_are_no_part_of_an_ip_prefix_route():
    one = octets(f"05 22 {RD} {'00' * 10} 00000000 18 0a010100 00000000 000191")
    two = octets(f"05 22 {RD} {'02' * 10} 00000000 18 0a0101ff 0a000001 000192")
    (key, label), (other_key, other_label) = split(EVPN, one + two)
    assert key == other_key
    assert label != other_label
    assert format_route(EVPN, key) == "5-10.0.0.1:5-0-10.1.1.0/24"
    assert label_value(EVPN, other_key, other_label) == 0x192


def test_unknown_evpn_types_pass_untouched():
    raw = octets("0b 05 0102030405")
    [(key, label)] = split(EVPN, raw)
    assert join(EVPN, key, label) == raw


@pytest.mark.parametrize(
    ("family", "field", "text"),
    [
        (AddressFamily.INET, "21 0a010101 01", "33 bits where at most 32 make sense"),
        (AddressFamily.INET, "20 0a0101", "32 bits in the 3 octets that remain"),
        (VPN, "57 000111 0001 0a000001 00", "87 bits do not hold the 88 before the prefix"),
        (VPN, f"79 000111 {RD} 0a010103 00", "121 bits where at most 120 make sense"),
        (VPN, f"78 000111 {RD} 0a0101", "120 bits in the 14 octets that remain"),
        (AddressFamily.ROUTE_TARGET, "18 000000", "24 bits; 0, or 32 to 96"),
        (AddressFamily.ERM_VPN, "01 04 00000000", "a tree route of 4 octets; it has 22"),
        (AddressFamily.ERM_VPN, "03 04 000000", "longer than what remains"),
        (EVPN, "02 21 00", "33 octets in the 1 that remain"),
        (EVPN, "03", "a single octet remains"),
        (EVPN, f"03 11 {RD} 00000000 21 0a000001", "a type 3 route of 17 octets"),
        (EVPN, MAC_ROUTE.replace(" 30 ", " 31 "), "a type 2 route of 37 octets"),
        (EVPN, f"05 21 {'00' * 33}", "a type 5 route of 33 octets"),
        (EVPN, f"06 10 {RD} 00000000 00 00 20 00", "a type 6 route of 16 octets"),
    ],
)
def test_broken_nlri_says_what_is_wrong(family, field, text):
    with pytest.raises(BgpError) as raised:
        split(family, octets(field))
    assert text in str(raised.value)
    assert raised.value.code == 3
    assert raised.value.subcode == (10 if family is AddressFamily.INET else 9)
