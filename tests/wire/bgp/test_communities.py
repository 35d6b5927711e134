"""Communities: octets as TF and the RFCs lay them out, and their texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import InputError
from filament.base.net import RouteTarget
from filament.wire.bgp import communities as codes
from filament.wire.bgp.communities import (
    Encapsulation,
    LoadBalance,
    Mobility,
    Numbered,
    format_community,
    format_extended,
    parse_community,
    parse_extended,
)

SPELT = [
    (RouteTarget(64512, 8000000).encode(), "0002fc00007a1200", "target:64512:8000000"),
    (RouteTarget(0x0A000001, 5, True).encode(), "01020a0000010005", "target:10.0.0.1:5"),
    (RouteTarget(4200000000, 7).encode(), "0202fa56ea000007", "target:4200000000:7"),
    (codes.encode_site(64512, 1), "0003fc0000000001", "soo:64512:1"),
    (codes.encode_encapsulation(Encapsulation.GRE), "030c000000000002", "encapsulation:gre"),
    (codes.encode_encapsulation(Encapsulation.MPLS_O_UDP), "030c00000000000d", "encapsulation:udp"),
    (codes.encode_encapsulation(77), "030c00000000004d", "encapsulation:77"),
    (codes.DEFAULT_GATEWAY, "030d000000000000", "defaultgw:0"),
    (codes.encode_mobility(Mobility(9, True)), "0600010000000009", "mobility:sticky:9"),
    (codes.encode_mobility(Mobility(9)), "0600000000000009", "mobility:non-sticky:9"),
    (codes.encode_router_mac(0x02AABBCCDDEE), "060302aabbccddee", "rtrmac:02:aa:bb:cc:dd:ee"),
    (codes.encode_segment_import(1), "0602000000000001", "esimport:00:00:00:00:00:01"),
    (codes.encode_segment_label(16), "0601000000000010", "esilabel:all-active:16"),
    (
        codes.encode_segment_label(16, is_single_active=True),
        "0601010000000010",
        "esilabel:single-active:16",
    ),
    (codes.encode_tree_leaf(3, is_leaf=True), "0605010000000003", "etree:leaf:3"),
    (codes.encode_multicast_flags(3), "0609000300000000", "multicast-flags:3"),
    (codes.encode_load_balance(LoadBalance()), "03aaf80000000000", "load-balance:f80000000000"),
    (codes.encode_local_sequence(5), "c000000000050000", "local_sequence_number:5"),
    (codes.encode_security_groups(64512, [4])[0], "8004fc0000000004", "secgroup:64512:4"),
    (codes.encode_tags(64512, [4])[0], "8084fc0000000004", "tag:64512:4"),
    (codes.encode_origin_vn(64512, 6), "8071fc0000000006", "originvn:64512:6"),
    (codes.encode_origin_vn(4200000000, 6), "8271fa56ea000006", "originvn:4200000000:6"),
    (codes.encode_sub_cluster(64512, 2), "8085fc0000000002", "subcluster:64512:2"),
    (bytes.fromhex("4321000000000001"), "4321000000000001", "4321000000000001"),
]


@pytest.mark.parametrize(("community", "octets", "text"), SPELT)
def test_octets_and_texts(community, octets, text):
    assert community.hex() == octets
    assert format_extended(community) == text


@given(st.binary(min_size=8, max_size=8))
def test_every_community_has_a_text(community):
    assert format_extended(community)
    every = (community,)
    codes.encapsulations_of(every)
    codes.mobility_of(every)
    codes.router_mac_of(every)
    codes.load_balance_of(every)
    codes.security_groups_of(every)
    codes.tags_of(every)
    codes.origin_vn_of(every)
    codes.is_tree_leaf(every)


def test_what_a_set_of_communities_says():
    every = tuple(community for community, _, _ in SPELT)
    assert codes.targets_of(every) == list(every[:3])
    assert codes.encapsulations_of(every) == [2, 13, 77]
    assert codes.mobility_of(every) == Mobility(9, True)
    assert codes.router_mac_of(every) == 0x02AABBCCDDEE
    assert codes.is_tree_leaf(every)
    assert codes.security_groups_of(every) == [Numbered(64512, 4)]
    assert codes.tags_of(every) == [Numbered(64512, 4)]
    assert codes.origin_vn_of(every) == Numbered(64512, 6)
    nothing = ()
    assert codes.mobility_of(nothing) is None
    assert codes.router_mac_of(nothing) is None
    assert codes.origin_vn_of(nothing) is None
    assert codes.load_balance_of(nothing) == LoadBalance()
    assert not codes.is_tree_leaf(nothing)


@given(st.integers(1, 0xFFFFFFFF), st.lists(st.integers(0, 0xFFFFFFFF), max_size=20))
def test_numbers_survive_whatever_the_as(asn, numbers):
    wanted = [Numbered(asn, number) for number in numbers]
    assert codes.security_groups_of(codes.encode_security_groups(asn, numbers)) == wanted
    assert codes.tags_of(codes.encode_tags(asn, numbers)) == wanted


@given(st.builds(LoadBalance, *[st.booleans()] * 6))
def test_load_balances_survive(balance):
    assert codes.load_balance_of((codes.encode_load_balance(balance),)) == balance


@pytest.mark.parametrize(
    "text",
    [
        *("target:64512:8000000", "target:10.0.0.1:5", "soo:64512:1", "encapsulation:udp"),
        *("encapsulation:vxlan", "rtrmac:02:aa:bb:cc:dd:ee", "mobility:sticky:9"),
        "4321000000000001",
    ],
)
def test_what_people_write_is_what_is_printed(text):
    assert format_extended(parse_extended(text)) == text


@pytest.mark.parametrize(
    "text", ["target:1", "soo:x:y", "encapsulation:smoke", "mobility:often:1", "zz" * 8, "12"]
)
def test_what_is_no_extended_community(text):
    with pytest.raises(InputError) as raised:
        parse_extended(text)
    assert raised.value.code == "bad-extended-community"
    assert raised.value.hint


@given(st.integers(0, 0xFFFFFFFF))
def test_communities_have_texts(value):
    assert parse_community(format_community(value)) == value


def test_communities_of_note():
    assert format_community(0xFFFF0006) == "llgr-stale"
    assert parse_community("no-advertise") == 0xFFFFFF02
    assert format_community(0xFC000064) == "64512:100"
    with pytest.raises(InputError, match="'64512' is not a community; write AS:NUMBER"):
        parse_community("64512")
    with pytest.raises(InputError, match="'1:99999' is not a community"):
        parse_community("1:99999")
