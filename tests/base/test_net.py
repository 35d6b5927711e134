import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import InputError
from filament.base.net import (
    Address,
    Prefix,
    RouteDistinguisher,
    RouteTarget,
    format_address,
    format_ipv6,
    mask_of,
    parse_address,
    parse_ipv6,
)

v4 = st.integers(0, (1 << 32) - 1)
# Runs of zeros are where the text forms differ.
v6 = st.lists(st.sampled_from([0, 0, 0, 1, 0xAB, 0xFFFF]), min_size=8, max_size=8).map(
    lambda groups: sum(group << 16 * index for index, group in enumerate(groups))
)


@given(v6)
def test_ipv6_text_agrees_with_the_standard_library(address):
    text = format_ipv6(address)
    assert parse_ipv6(text) == address == int(ipaddress.IPv6Address(text))
    assert parse_ipv6(ipaddress.IPv6Address(address).exploded.upper()) == address
    if address >> 32 != 0xFFFF:
        assert text == str(ipaddress.IPv6Address(address))


@given(st.text("0123456789abfg:./%_ -", max_size=24))
def test_what_the_standard_library_refuses_is_refused(text):
    try:
        expected = int(ipaddress.IPv6Address(text)) if "%" not in text else None
    except ValueError:
        expected = None
    if expected is not None:
        assert parse_ipv6(text) == expected
        return
    with pytest.raises(InputError) as caught:
        parse_ipv6(text)
    assert str(caught.value) == f"{text!r} is not an IPv6 address; write it like 2001:db8::3"


def test_mapped_addresses_are_written_mixed():
    assert format_ipv6(0xFFFF0A000001) == "::ffff:10.0.0.1"
    assert parse_ipv6("::ffff:10.0.0.1") == 0xFFFF0A000001


@given(st.sampled_from([4, 6]), st.data())
def test_prefixes_agree_with_the_standard_library(version, data):
    bits = 32 if version == 4 else 128
    length = data.draw(st.integers(0, bits))
    address = data.draw(v4 if version == 4 else v6)
    prefix = Prefix(address & mask_of(length, version), length, version)
    kind = ipaddress.ip_network((prefix.address, length))
    if version == 6 and prefix.address < 1 << 32:  # the library takes small ints for IPv4
        kind = ipaddress.IPv6Network((prefix.address, length))
    assert Prefix.parse(str(kind)) == prefix
    assert Prefix.parse(str(prefix)) == prefix
    assert prefix.contains(address, version)
    assert not prefix.contains(address, 10 - version)
    assert prefix.overlaps(Prefix.host(address, version))
    assert not prefix.overlaps(Prefix(0, 0, 10 - version))


def test_addresses_of_both_versions():
    assert parse_address("10.0.0.1") == Address(0x0A000001, 4)
    assert parse_address("::1") == Address(1, 6)
    assert format_address(1, 6) == "::1"
    assert str(Address(0x0A000001, 4)) == "10.0.0.1"
    with pytest.raises(InputError, match=r"'10\.0\.0' is not an IP address"):
        parse_address("10.0.0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "2001:db8::1/64",
            "prefix 2001:db8::1/64 has host bits set; did you mean 2001:db8::/64?",
        ),
        ("10.0.0.5/24", "prefix 10.0.0.5/24 has host bits set; did you mean 10.0.0.0/24?"),
        ("::/129", "'::/129' has no prefix length 0-128; write ::/64"),
        ("10.0.0.0/33", "'10.0.0.0/33' has no prefix length 0-32; write 10.0.0.0/24"),
    ],
)
def test_bad_prefixes_say_what_would_be_right(text, said):
    with pytest.raises(InputError) as caught:
        Prefix.parse(text)
    assert str(caught.value) == said


def test_where_only_ipv4_will_do():
    assert Prefix.parse_ipv4("10.0.0.0/8") == Prefix(10 << 24, 8)
    with pytest.raises(InputError, match="'::/0' is not an IPv4 prefix"):
        Prefix.parse_ipv4("::/0")


@given(st.binary(min_size=8, max_size=8))
def test_every_distinguisher_comes_back(octets):
    assert RouteDistinguisher.decode(octets).encode() == octets


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("10.0.0.1:5", "00010a0000010005"),
        ("64512:100", "0000fc0000000064"),
        ("4200000000:7", "0002fa56ea000007"),
        ("0:0", "0000000000000000"),
    ],
)
def test_distinguishers_as_text(text, octets):
    assert RouteDistinguisher.parse(text).encode().hex() == octets
    assert str(RouteDistinguisher.decode(bytes.fromhex(octets))) == text


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "1.2.3:4", "1.2.3.4:65536", "70000:65536"])
def test_bad_distinguishers(text):
    with pytest.raises(InputError):
        RouteDistinguisher.parse(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("target:64512:8000000", "0002fc00007a1200"),
        ("target:10.0.0.1:5", "01020a0000010005"),
        ("target:4200000000:7", "0202fa56ea000007"),
    ],
)
def test_route_targets_as_communities(text, octets):
    target = RouteTarget.parse(text)
    assert target.encode().hex() == octets
    assert RouteTarget.decode(bytes.fromhex(octets)) == target
    assert str(target) == text


@pytest.mark.parametrize("octets", ["0003fc00007a1200", "4002fc00007a1200", "0002", ""])
def test_other_communities_are_no_targets(octets):
    assert RouteTarget.decode(bytes.fromhex(octets)) is None
