"""Addresses of flat-subnet IPAMs, shared by networks, and of the ranges of compute hosts."""

import contextlib
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ConflictError, FilamentError, InputError
from filament.base.net import parse_address
from filament.model.change import Allocation
from filament.model.invariants import check

from .office import PROJECT, Office, ipam_refs, subnet

OWN_POOL = {"start": "10.7.0.4", "end": "10.7.0.5"}
HOST_POOLS = [
    {"start": f"10.7.0.{first}", "end": f"10.7.0.{first + 1}", "vrouter_specific_pool": True}
    for first in (8, 10)
]
L3 = {"forwarding_mode": "l3"}


def flat_ipam(office, name="flat", *subnets, **fields):
    return office.create(
        "network-ipam",
        *PROJECT,
        name,
        ipam_subnet_method="flat-subnet",
        ipam_subnets={"subnets": list(subnets or [subnet("10.7.0.0", 28)])},
        **fields,
    )


def flat_network(office, ipam, name="red", *own, **fields):
    refs = [{"to": list(ipam.fq_name), "attr": {"ipam_subnets": []}}]
    refs += ipam_refs(*own) if own else []
    return office.create(
        "virtual-network",
        *PROJECT,
        name,
        network_ipam_refs=refs,
        virtual_network_properties=L3,
        **fields,
    )


def host(office, ipam, name="node1", *pools):
    attr = {"allocation_pools": [{"start": one["start"], "end": one["end"]} for one in pools]}
    return office.create(
        "virtual-router",
        "default-global-system-config",
        name,
        network_ipam_refs=[{"to": list(ipam.fq_name), "attr": attr}],
    )


def taken_from(office, source, name="ip", **fields):
    refs = {f"{source.kind.replace('-', '_')}_refs": [{"uuid": source.uuid}]}
    return office.create("instance-ip", name, **refs, **fields)


def text_of(address):
    return address.props["instance_ip_address"]


def require_sound(office):
    view = office.view
    assert check(view.revision, view.objects(), view.allocations()) == []


def test_networks_share_the_addresses_of_a_flat_ipam(office):
    ipam = flat_ipam(office)
    red, blue = flat_network(office, ipam), flat_network(office, ipam, "blue")
    link = red.refs_to("network-ipam")[0].attr["ipam_subnets"]
    assert [list(one) for one in link] == [["subnet_uuid"]]
    addresses = [office.address(red, "a"), office.address(blue, "b"), office.address(red, "c")]
    assert [text_of(one) for one in addresses] == ["10.7.0.3", "10.7.0.4", "10.7.0.5"]
    assert addresses[0].props["subnet_uuid"] == link[0]["subnet_uuid"]
    assert addresses[0].props["instance_ip_subnet"] == {
        "ip_prefix": "10.7.0.0",
        "ip_prefix_len": 28,
    }
    with pytest.raises(ConflictError, match=r"in use: 10\.7\.0\.4 of virtual-network .*:red is he"):
        office.address(red, "again", instance_ip_address="10.7.0.4")
    require_sound(office)
    office.delete(addresses[1])
    assert text_of(office.address(red, "next", instance_ip_address="10.7.0.4")) == "10.7.0.4"
    # The link keeps its number whatever a client writes over it.
    assert office.update(red, virtual_network_properties=L3, display_name="r").commit
    refs = [{"to": list(ipam.fq_name), "attr": {"ipam_subnets": []}}]
    office.update(red, network_ipam_refs=refs)
    assert office.get(red).refs_to("network-ipam")[0].attr["ipam_subnets"] == link


def test_the_ipam_is_completed_as_a_network_is(office):
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, addr_from_start=None))
    (only,) = ipam.props["ipam_subnets"]["subnets"]
    assert (only["default_gateway"], only["dns_server_address"]) == ("10.7.0.14", "10.7.0.13")
    bare = [subnet("10.7.0.0", 28, addr_from_start=None)]
    assert office.update(ipam, ipam_subnets={"subnets": bare}).commit is None
    cut = flat_ipam(office, "cut", subnet("10.8.0.0", 30), ipam_subnetting=True)
    assert "default_gateway" not in cut.props["ipam_subnets"]["subnets"][0]
    red = flat_network(office, cut)
    assert [text_of(office.address(red, name)) for name in "ab"] == ["10.8.0.1", "10.8.0.2"]
    with pytest.raises(InputError, match=r"has exhausted subnet\(\['10\.8\.0\.0/30'\]\)"):
        office.address(red, "c")


@pytest.mark.parametrize(
    ("mode", "texts"),
    [
        (None, ["10.1.1.3", "10.1.1.4", "10.7.0.3"]),
        ("user-defined-subnet-preferred", ["10.1.1.3", "10.1.1.4", "10.7.0.3"]),
        ("flat-subnet-preferred", ["10.7.0.3", "10.7.0.4", "10.1.1.3"]),
        ("user-defined-subnet-only", ["10.1.1.3", "10.1.1.4", None]),
        ("flat-subnet-only", ["10.7.0.3", "10.7.0.4", None]),
    ],
)
def test_the_allocation_mode_says_which_subnets_come_first(office, mode, texts):
    pool = [{"start": "10.7.0.3", "end": "10.7.0.4"}]
    own_pool = [{"start": "10.1.1.3", "end": "10.1.1.4"}]
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, allocation_pools=pool))
    fields = {"address_allocation_mode": mode} if mode else {}
    own = subnet(allocation_pools=own_pool)
    red = flat_network(office, ipam, "red", own, **fields)
    found = []
    for name in "abc":
        with contextlib.suppress(InputError):
            found.append(text_of(office.address(red, name)))
    assert found == [text for text in texts if text]
    if None in texts:
        with pytest.raises(InputError, match="has exhausted subnet"):
            office.address(red, "more")
    # One asked for is given whatever the network prefers (TF).
    assert text_of(office.address(red, "asked", instance_ip_address="10.7.0.9")) == "10.7.0.9"
    assert text_of(office.address(red, "own", instance_ip_address="10.1.1.9")) == "10.1.1.9"


def test_an_ipam_gives_addresses_without_a_network(office):
    internal = office.named("network-ipam", *PROJECT, "service-chain-flat-ipam")
    address = taken_from(office, internal, service_instance_ip=True)
    assert text_of(address) == "0.255.255.252"
    assert "subnet_uuid" not in address.props
    six = taken_from(office, internal, "six", instance_ip_family="v6")
    assert text_of(six) == "::ff:fffc"
    require_sound(office)
    office.delete(address)
    assert text_of(taken_from(office, internal, "again")) == "0.255.255.252"
    default = office.named("network-ipam", *PROJECT, "default-network-ipam")
    with pytest.raises(
        InputError, match=r"has no subnet to take .* ipam_subnet_method flat-subnet"
    ):
        taken_from(office, default, "none")
    with pytest.raises(
        InputError, match="instance_ip_address cannot be asked for in the addresses"
    ):
        taken_from(office, internal, "asked", instance_ip_address="0.0.0.9")


def test_a_host_has_its_own_range_and_nobody_elses(office):
    pools = [OWN_POOL, *HOST_POOLS]
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, allocation_pools=pools))
    node1 = host(office, ipam, "node1", HOST_POOLS[0])
    node2 = host(office, ipam, "node2", HOST_POOLS[1])
    red = flat_network(office, ipam)
    mine = [text_of(taken_from(office, node1, name)) for name in "ab"]
    assert mine == ["10.7.0.8", "10.7.0.9"]
    assert text_of(taken_from(office, node2, "c")) == "10.7.0.10"
    assert [text_of(office.address(red, name)) for name in "de"] == ["10.7.0.4", "10.7.0.5"]
    require_sound(office)
    for source, name in ((node1, "node1"), (red, "red")):
        with pytest.raises(InputError, match=rf"{name}'\]\) has exhausted subnet"):
            taken_from(office, source, "more")
    text = "Cannot Delete allocation pool, 10.7.0.8 in use by instance-ip a"
    with pytest.raises(InputError, match=text):
        office.update(node1, network_ipam_refs=[])
    with pytest.raises(ConflictError, match="refer"):
        office.delete(node1)
    for name in "ab":
        office.delete(office.named("instance-ip", name))
    office.update(node1, network_ipam_refs=[])
    assert (
        text_of(taken_from(office, host(office, ipam, "node3", HOST_POOLS[0]), "f")) == "10.7.0.8"
    )


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        (("virtual-router", "virtual-network"), "virtual_router_refs and network_refs are not all"),
        (("virtual-router", "network-ipam"), "virtual_router_refs and ipam_refs are not allowed"),
        (("virtual-router", "virtual-router"), "Instance IP cannot refer to multiple vrouters"),
    ],
)
def test_an_address_has_one_source(office, sources, text):
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, allocation_pools=HOST_POOLS))
    made = {
        "virtual-network": [flat_network(office, ipam)],
        "network-ipam": [ipam],
        "virtual-router": [host(office, ipam, f"n{i}", one) for i, one in enumerate(HOST_POOLS)],
    }
    refs = {}
    for kind in sources:
        refs.setdefault(f"{kind.replace('-', '_')}_refs", []).append(
            {"uuid": made[kind].pop().uuid}
        )
    with pytest.raises(InputError, match=text):
        office.create("instance-ip", "ip", **refs)


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        ([], "No allocation-pools for this vrouter in its reference to"),
        (
            [{"start": "10.7.0.8", "end": "10.7.0.8"}],
            (
                "vrouter allocation-pool start:10.7.0.8, end:10.7.0.8 not in ipam default-domain:"
                "default-project:flat at $.virtual-router.network_ipam_refs; its pools with"
                " vrouter_specific_pool true are: 10.7.0.10-10.7.0.11, 10.7.0.8-10.7.0.9"
            ),
        ),
        (
            HOST_POOLS[:1],
            "end:10.7.0.9 is used in other vrouter: default-global-system-config:node1",
        ),
    ],
)
def test_a_hosts_range_is_one_that_the_ipam_keeps_for_it(office, pools, text):
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, allocation_pools=HOST_POOLS))
    host(office, ipam, "node1", HOST_POOLS[0])
    with pytest.raises(InputError, match=re.escape(text)):
        host(office, ipam, "node2", *pools)


def test_a_host_takes_from_flat_ipams_only(office):
    default = office.named("network-ipam", *PROJECT, "default-network-ipam")
    with pytest.raises(InputError, match="Only flat-subnet ipam can be attached to vrouter"):
        host(office, default, "node1", HOST_POOLS[0])


def test_what_an_ipam_may_not_be_or_become(office):
    with pytest.raises(InputError, match="ipam-subnets are allowed only with flat-subnet"):
        office.create("network-ipam", *PROJECT, "i", ipam_subnets={"subnets": [subnet()]})
    with pytest.raises(InputError, match="subnetting is allowed only with flat-subnet"):
        office.create("network-ipam", *PROJECT, "i", ipam_subnetting=True)
    with pytest.raises(InputError, match=r"subnet 10\.7\.0\.0/28 overlaps 10\.7\.0\.0/24"):
        flat_ipam(office, "i", subnet("10.7.0.0", 24), subnet("10.7.0.0", 28))
    ipam = flat_ipam(office)
    with pytest.raises(InputError, match="ipam_subnet_method can not be changed"):
        office.update(ipam, ipam_subnet_method="user-defined-subnet")
    red = flat_network(office, ipam, "red", subnet("10.1.1.0"))
    with pytest.raises(InputError, match=r"10\.1\.0\.0/16 overlaps 10\.1\.1\.0/24"):
        office.update(ipam, ipam_subnets={"subnets": [subnet("10.1.0.0", 16)]})
    with pytest.raises(InputError, match=r"overlaps 10\.7\.0\.0/24 of the same network"):
        flat_network(office, ipam, "blue", subnet("10.7.0.0", 24))
    refs = [{"to": list(ipam.fq_name), "attr": {"ipam_subnets": [subnet("10.9.0.0")]}}]
    with pytest.raises(InputError, match="with flat-subnet, network can not have user-defined"):
        office.update(red, network_ipam_refs=refs)


def test_a_flat_subnet_in_use_stays(office):
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28), subnet("10.8.0.0", 28))
    red = flat_network(office, ipam)
    address = office.address(red)
    one, other = office.get(ipam).props["ipam_subnets"]["subnets"]
    with pytest.raises(
        ConflictError, match=r"subnet 10\.7\.0\.0/28 of network-ipam .* cannot be re"
    ):
        office.update(ipam, ipam_subnets={"subnets": [other]})
    moved = {**one, "default_gateway": "10.7.0.3"}
    with pytest.raises(
        ConflictError, match=r"gateway 10\.7\.0\.1 of .* cannot become an address in"
    ):
        office.update(ipam, ipam_subnets={"subnets": [moved, other]})
    with pytest.raises(ConflictError, match=r"addresses of it are in use by instance-ip ip"):
        office.update(red, network_ipam_refs=[])
    office.update(ipam, ipam_subnets={"subnets": [one]})
    office.delete(address)
    office.update(red, network_ipam_refs=[])
    office.update(ipam, ipam_subnets={"subnets": [other]})


def test_gateway_addresses_of_flat_subnets_are_router_ports(office):
    ipam = flat_ipam(office)
    red, machine = flat_network(office, ipam), office.create("virtual-machine", "vm")
    gateway = office.address(red, instance_ip_address="10.7.0.1")
    assert list(office.view.allocations_of(gateway.uuid)) == []
    port = office.port(red, "vm", virtual_machine_refs=[{"uuid": machine.uuid}])
    with pytest.raises(InputError, match=r"Gateway IP cannot be used by VM port: 10\.7\.0\.1 is"):
        office.add_ref(gateway, port)
    require_sound(office)


def test_floating_addresses_come_from_flat_subnets_too(office):
    public = flat_network(office, flat_ipam(office), "public")
    pool = office.create("floating-ip-pool", *public.fq_name, "pool")
    made = office.create("floating-ip", *pool.fq_name, "f", parent_type="floating-ip-pool")
    assert made.props["floating_ip_address"] == "10.7.0.3"
    with pytest.raises(ConflictError, match="in use by floating-ip"):
        office.update(public, network_ipam_refs=[])


def test_the_check_sees_an_address_that_is_not_held(office):
    ipam = flat_ipam(office)
    address = office.address(flat_network(office, ipam))
    held = [one for one in office.view.allocations() if one.owner != address.uuid]
    found = check(office.view.revision, office.view.objects(), held)
    assert [problem.of for problem in found] == ["missing-allocation"]
    doubled = [*office.view.allocations(), Allocation(f"ip/{ipam.uuid}/10.7.0.0/28", 0, "lost")]
    found = check(office.view.revision, office.view.objects(), doubled)
    assert [problem.of for problem in found] == ["leaked-allocation"]


_sources = st.sampled_from(["red", "blue", "flat", "node1", "node2"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from("abcdefgh"), _sources),
        st.tuples(st.just("ask"), st.sampled_from("abcdefgh"), st.integers(1, 14)),
        st.tuples(st.just("free"), st.sampled_from("abcdefgh"), st.none()),
    ),
    max_size=40,
)


@given(_steps)
def test_no_address_is_given_twice_and_all_come_back(steps):
    office = Office()
    pools = [OWN_POOL, *HOST_POOLS]
    ipam = flat_ipam(office, "flat", subnet("10.7.0.0", 28, allocation_pools=pools))
    sources = {
        "red": flat_network(office, ipam),
        "blue": flat_network(office, ipam, "blue", subnet("10.1.1.0", 29)),
        "flat": ipam,
        "node1": host(office, ipam, "node1", HOST_POOLS[0]),
        "node2": host(office, ipam, "node2", HOST_POOLS[1]),
    }
    start = set(office.view.allocations())
    for verb, name, what in steps:
        with contextlib.suppress(FilamentError):
            if verb == "take":
                taken_from(office, sources[what], name)
            elif verb == "ask":
                office.address(sources["red"], name, instance_ip_address=f"10.7.0.{what}")
            elif (address := office.named("instance-ip", name)) is not None:
                office.delete(address)
        require_sound(office)
    texts = Counter(text_of(one) for one in office.view.of_kind("instance-ip"))
    assert all(count == 1 or text == "10.7.0.1" for text, count in texts.items())
    for address in list(office.view.of_kind("instance-ip")):
        value = parse_address(text_of(address)).value
        pool = f"ip/{ipam.uuid}/10.7.0.0/28"
        if text_of(address).startswith("10.7.") and text_of(address) != "10.7.0.1":
            assert office.view.allocated(pool, value).owner == address.uuid
        office.delete(address)
    assert set(office.view.allocations()) == start
