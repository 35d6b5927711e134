"""Tungsten Fabric's rules of gateways, reserved addresses and the order of allocation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import InputError
from filament.base.net import format_ipv4, parse_ipv4
from filament.model import address as address_module
from filament.model.address import (
    choose_address,
    complete_subnet,
    own_subnets,
    parse_subnet,
    pool_of,
)
from filament.model.change import Object, Ref
from filament.model.snapshot import Candidate, Snapshot


def completed(prefix="10.1.1.0", length=24, before=(), **fields):
    value = {"subnet": {"ip_prefix": prefix, "ip_prefix_len": length}, **fields}
    return complete_subnet(value, before, lambda: "new-uuid", "$.here")


def handed_out(subnet, count):
    change = Candidate(Snapshot())
    addresses = []
    for _ in range(count):
        address = choose_address(change, subnet)
        if address is None:
            break
        change.take(pool_of("net", subnet.uuid), subnet.value_of(address), "x")
        addresses.append(subnet.format(address))
    return addresses


@pytest.mark.parametrize(
    ("fields", "gateway", "service"),
    [
        ({}, "10.1.1.254", "10.1.1.253"),
        ({"addr_from_start": True}, "10.1.1.1", "10.1.1.2"),
        ({"addr_from_start": True, "default_gateway": "10.1.1.2"}, "10.1.1.2", "10.1.1.1"),
        ({"default_gateway": "10.1.1.1"}, "10.1.1.1", "10.1.1.254"),
        ({"dns_server_address": "10.1.1.254"}, "10.1.1.253", "10.1.1.254"),
        ({"default_gateway": "0.0.0.0"}, "0.0.0.0", "10.1.1.254"),
    ],
)
def test_gateway_and_service_addresses_are_chosen_where_absent(fields, gateway, service):
    value = completed(**fields)
    assert (value["default_gateway"], value["dns_server_address"]) == (gateway, service)
    assert value["subnet_uuid"] == "new-uuid"


def test_a_subnet_sent_again_keeps_what_it_had():
    first = completed(addr_from_start=True, subnet_uuid="old-uuid", default_gateway="10.1.1.9")
    again = completed(before=[first], addr_from_start=True)
    assert again == first


def test_addresses_come_from_the_start_or_from_the_top():
    from_start = parse_subnet(completed(addr_from_start=True), "", "net")
    assert handed_out(from_start, 3) == ["10.1.1.3", "10.1.1.4", "10.1.1.5"]
    from_top = parse_subnet(completed(), "", "net")
    assert handed_out(from_top, 3) == ["10.1.1.252", "10.1.1.251", "10.1.1.250"]


def test_network_broadcast_gateway_and_service_are_never_handed_out():
    subnet = parse_subnet(completed(length=29, addr_from_start=True), "", "net")
    assert handed_out(subnet, 10) == ["10.1.1.3", "10.1.1.4", "10.1.1.5", "10.1.1.6"]
    middle = completed(length=29, default_gateway="10.1.1.4", dns_server_address="10.1.1.5")
    assert handed_out(parse_subnet(middle, "", "net"), 10) == [
        "10.1.1.6",
        "10.1.1.3",
        "10.1.1.2",
        "10.1.1.1",
    ]


def test_pools_restrict_and_order_what_is_handed_out():
    pools = [{"start": "10.1.1.20", "end": "10.1.1.21"}, {"start": "10.1.1.10", "end": "10.1.1.11"}]
    per_host = {"start": "10.1.1.30", "end": "10.1.1.39", "vrouter_specific_pool": True}
    value = completed(addr_from_start=True, allocation_pools=[*pools, per_host])
    assert handed_out(parse_subnet(value, "", "net"), 10) == [
        "10.1.1.20",
        "10.1.1.21",
        "10.1.1.10",
        "10.1.1.11",
    ]


def test_the_lowest_address_given_back_is_next():
    subnet = parse_subnet(completed(addr_from_start=True), "", "net")
    change = Candidate(Snapshot())
    pool = pool_of("net", subnet.uuid)
    for _ in range(5):
        change.take(pool, choose_address(change, subnet), "x")
    change.free(change.allocated(pool, parse_ipv4("10.1.1.4")))
    assert format_ipv4(choose_address(change, subnet)) == "10.1.1.4"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            {"subnet": {"ip_prefix": "10.1.1.5", "ip_prefix_len": 24}},
            "prefix 10.1.1.5/24 has host bits set at $.here; did you mean 10.1.1.0/24?",
        ),
        ({"subnet": {"ip_prefix": "10.1.1.0"}}, "a subnet needs ip_prefix and ip_prefix_len"),
        (
            {"subnet": {"ip_prefix": "10.1.1.0", "ip_prefix_len": 31}},
            "subnet 10.1.1.0/31 has no room for a gateway and a service address",
        ),
        ({"subnet": {"ip_prefix": "10.1.1.0", "ip_prefix_len": 64}}, "has no prefix length 0-32"),
        ({"subnet": {"ip_prefix": "fd00::", "ip_prefix_len": 129}}, "has no prefix length 0-128"),
        ({"subnet": {"ip_prefix": "fd00::1", "ip_prefix_len": 64}}, "did you mean fd00::/64?"),
        (
            {"subnet": {"ip_prefix": "fd00::", "ip_prefix_len": 127}},
            "subnet fd00::/127 has no room",
        ),
        (
            {"subnet": {"ip_prefix": "fd00::", "ip_prefix_len": 48}},
            "subnet fd00::/48 is larger than a link can be at $.here; use /64 or longer",
        ),
        ({"subnet": {"ip_prefix": "ten", "ip_prefix_len": 24}}, "'ten' is not an IP address"),
    ],
)
def test_bad_prefixes_say_what_would_be_right(value, text):
    with pytest.raises(InputError) as caught:
        complete_subnet(value, (), lambda: "u", "$.here")
    assert text in str(caught.value)
    assert caught.value.path == "$.here"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"default_gateway": "10.2.1.1"}, "default_gateway 10.2.1.1 is not in subnet 10.1.1.0/24"),
        (
            {"allocation_pools": [{"start": "10.1.1.9", "end": "10.1.1.3"}]},
            "allocation pool 10.1.1.9-10.1.1.3 is not a range inside subnet 10.1.1.0/24",
        ),
        ({"allocation_pools": [{"start": "10.1.1.9"}]}, "'' is not an IP address"),
        ({"default_gateway": "fd00::1"}, "default_gateway fd00::1 is not in subnet 10.1.1.0/24"),
    ],
)
def test_bad_subnets_say_what_would_be_right(fields, text):
    with pytest.raises(InputError) as caught:
        parse_subnet(completed(**fields), "$.here", "net")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("length", "is_from_start", "gateway", "service", "first"),
    [
        (64, True, "fd00::1", "fd00::2", ["fd00::3", "fd00::4"]),
        (
            64,
            False,
            "fd00::ffff:ffff:ffff:fffe",
            "fd00::ffff:ffff:ffff:fffd",
            ["fd00::ffff:ffff:ffff:fffc", "fd00::ffff:ffff:ffff:fffb"],
        ),
        (126, True, "fd00::1", "fd00::2", []),
    ],
)
def test_ipv6_subnets_go_by_the_same_rules(length, is_from_start, gateway, service, first):
    value = completed("fd00::", length, addr_from_start=is_from_start)
    assert (value["default_gateway"], value["dns_server_address"]) == (gateway, service)
    subnet = parse_subnet(value, "", "net")
    assert handed_out(subnet, 2) == first


@given(st.integers(0, (1 << 64) - 1))
def test_ipv6_addresses_are_held_by_numbers_that_stores_can_hold(offset):
    subnet = parse_subnet(completed("fd00:0:0:7::", 64), "", "net")
    address = subnet.prefix.address + offset
    value = subnet.value_of(address)
    assert -(1 << 63) <= value < 1 << 63
    assert subnet.address_of(value) == address


def network_of(uuid, *prefixes):
    subnets = [
        {
            "subnet": {"ip_prefix": prefix, "ip_prefix_len": 24},
            "default_gateway": prefix[:-1] + "1",
            "dns_server_address": prefix[:-1] + "2",
            "subnet_uuid": prefix,
        }
        for prefix in prefixes
    ]
    return Object(
        "virtual-network",
        uuid,
        ("net",),
        refs=(Ref("network-ipam", "i", {"ipam_subnets": subnets}),),
    )


def test_subnets_are_those_of_the_object_asked_whatever_its_uuid():
    one, other = network_of("n", "10.0.0.0"), network_of("n", "10.0.0.0", "10.1.0.0")
    for _ in range(2):
        assert [str(subnet.prefix) for subnet in own_subnets(one)] == ["10.0.0.0/24"]
        assert [subnet.uuid for subnet in own_subnets(other)] == ["10.0.0.0", "10.1.0.0"]
    own_subnets(one).clear()  # what the caller does with the list is its own affair
    assert len(own_subnets(one)) == 1


def test_few_networks_are_remembered():
    for number in range(300):
        assert len(own_subnets(network_of(f"n{number}", "10.0.0.0"))) == 1
    assert len(address_module._parsed) == 256
