"""Hypothesis strategies of everything that wire.bgp encodes."""

from hypothesis import strategies as st

from filament.base.net import Address, Prefix, RouteDistinguisher, mask_of
from filament.wire.bgp.attributes import (
    PARTIAL,
    Aggregator,
    Attributes,
    EdgeDiscovery,
    EdgeForwarding,
    PmsiTunnel,
    Segment,
    Unknown,
)
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.routes import (
    AutoDiscoveryRoute,
    EvpnPrefixRoute,
    MacRoute,
    MulticastRoute,
    OpaqueRoute,
    PrefixRoute,
    SegmentRoute,
    SelectiveMulticastRoute,
    TargetRoute,
    TreeRoute,
)

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u24 = st.integers(0, 0xFFFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u48 = st.integers(0, (1 << 48) - 1)
u128 = st.integers(0, (1 << 128) - 1)

distinguishers = st.one_of(
    st.builds(RouteDistinguisher, st.just(0), u16, u32),
    st.builds(RouteDistinguisher, st.just(1), u32, u16),
    st.builds(RouteDistinguisher, st.just(2), u32, u16),
)


def prefixes(version):
    bits = 32 if version == 4 else 128
    return st.builds(
        lambda address, length: Prefix(address & mask_of(length, version), length, version),
        st.integers(0, (1 << bits) - 1),
        st.integers(0, bits),
    )


hosts = st.one_of(u32.map(Prefix.host), u128.map(lambda address: Prefix.host(address, 6)))
segments = st.binary(min_size=10, max_size=10)


def _targets(bits, asn, target):
    whole = int.from_bytes(asn.to_bytes(4, "big") + target, "big") >> (96 - bits) << (96 - bits)
    octets = whole.to_bytes(12, "big")
    return TargetRoute(bits, int.from_bytes(octets[:4], "big"), octets[4:])


def _evpn_prefixes(version):
    width = u32 if version == 4 else u128
    return st.builds(EvpnPrefixRoute, distinguishers, u32, prefixes(version), u24, width, segments)


evpn_routes = st.one_of(
    st.builds(AutoDiscoveryRoute, distinguishers, segments, u32, u24),
    st.builds(
        MacRoute,
        distinguishers,
        u32,
        u48,
        st.none() | hosts,
        u24,
        st.none() | u24,
        segments,
    ),
    st.builds(MulticastRoute, distinguishers, u32, hosts),
    st.builds(SegmentRoute, distinguishers, segments, hosts),
    _evpn_prefixes(4),
    _evpn_prefixes(6),
    st.builds(
        SelectiveMulticastRoute,
        distinguishers,
        u32,
        st.none() | hosts,
        st.none() | hosts,
        hosts,
        u8,
    ),
    st.builds(OpaqueRoute, st.integers(7, 255), st.binary(max_size=80)),
)

routes_by_family = {
    AddressFamily.INET: prefixes(4).map(PrefixRoute),
    AddressFamily.INET6: prefixes(6).map(PrefixRoute),
    AddressFamily.INET_LABELED: st.builds(PrefixRoute, prefixes(4), st.none(), u24),
    AddressFamily.INET6_LABELED: st.builds(PrefixRoute, prefixes(6), st.none(), u24),
    AddressFamily.INET_VPN: st.builds(PrefixRoute, prefixes(4), distinguishers, u24),
    AddressFamily.INET6_VPN: st.builds(PrefixRoute, prefixes(6), distinguishers, u24),
    AddressFamily.ROUTE_TARGET: st.builds(
        _targets,
        st.just(0) | st.integers(32, 96),
        u32,
        st.binary(min_size=8, max_size=8),
    ),
    AddressFamily.ERM_VPN: st.one_of(
        st.builds(TreeRoute, st.integers(1, 2), distinguishers, u32, u32, u32),
        st.builds(OpaqueRoute, st.just(0) | st.integers(3, 255), st.binary(max_size=40)),
    ),
    AddressFamily.E_VPN: evpn_routes,
}

families = st.sampled_from(list(AddressFamily))


@st.composite
def families_with_routes(draw, min_size=0):
    """A family and some of its routes, as they come: different, or all of one shape."""
    family = draw(families)
    return family, draw(st.lists(routes_by_family[family], min_size=min_size, max_size=30))


numbers = st.none() | u32
ases = st.integers(1, 0xFFFFFFFF)
as_paths = st.lists(
    st.builds(
        Segment,
        st.sampled_from([1, 2]),
        st.lists(ases, min_size=1, max_size=20).map(tuple),
    ),
    max_size=4,
).map(tuple)
extended = st.lists(st.binary(min_size=8, max_size=8), max_size=40).map(tuple)
next_hops = st.one_of(
    u32.map(lambda value: Address(value, 4)),
    u128.filter(lambda value: value >> 32 != 0xFFFF).map(lambda value: Address(value, 6)),
)
unknown_codes = st.sampled_from([11, 25, 35, 40, 99, 200, 255])

attribute_sets = st.builds(
    Attributes,
    origin=st.integers(0, 2),
    as_path=as_paths,
    next_hop=next_hops,
    link_local=st.just(0),
    med=numbers,
    local_preference=numbers,
    is_atomic_aggregate=st.booleans(),
    aggregator=st.none() | st.builds(Aggregator, ases, u32),
    communities=st.lists(u32, max_size=70).map(tuple),
    originator_id=numbers,
    cluster_list=st.lists(u32, max_size=5).map(tuple),
    extended_communities=extended,
    large_communities=st.lists(st.tuples(u32, u32, u32), max_size=5).map(tuple),
    pmsi_tunnel=st.none()
    | st.builds(PmsiTunnel, u8, st.just(6), u24, st.binary(min_size=4, max_size=4))
    | st.builds(PmsiTunnel, u8, st.just(252), u24, st.binary(max_size=20)),
    tunnel_encapsulation=st.sampled_from([b"", b"\x00\x08\x00\x00", b"\x00\x0d\x00\x02\x01\x00"]),
    edge_discovery=st.lists(
        st.builds(EdgeDiscovery, u32, st.lists(st.tuples(u32, u32), max_size=3).map(tuple)),
        max_size=3,
    ).map(tuple),
    edge_forwarding=st.lists(st.builds(EdgeForwarding, u32, u32, u32, u32), max_size=3).map(tuple),
    origin_vn_path=st.lists(st.binary(min_size=8, max_size=8), max_size=3).map(tuple),
    unknown=st.dictionaries(unknown_codes, st.binary(max_size=300), max_size=3).map(
        lambda values: tuple(Unknown(0xC0 | PARTIAL, code, values[code]) for code in sorted(values))
    ),
)
