"""Generated networks and packets: ordinary ones, and everything a hostile workload may send."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import msgspec

from filament.base.net import (
    ROUTER_MAC,
    Address,
    Prefix,
    bits_of,
    narrow_address,
    parse_ipv4,
    parse_ipv6,
)
from filament.base.origin import Origin
from filament.forward.flows import FlowKey
from filament.forward.inputs import (
    AddressPair,
    FatFlow,
    Filter,
    FilterMatch,
    FilterRule,
    FirewallEnd,
    FirewallPolicy,
    FirewallRule,
    Grouping,
    Hop,
    Host,
    Inputs,
    PolicySet,
    Port,
    Route,
    SecurityGroup,
    Service,
    Standby,
    Subnet,
    Vrf,
)
from filament.wire.packet.arp import REPLY, REQUEST, Arp, encode_arp
from filament.wire.packet.ethernet import BROADCAST_MAC, Ethernet, encode_ethernet
from filament.wire.packet.frames import (
    ipv4_frame,
    ipv4_packet,
    ipv6_frame,
    ipv6_packet,
    solicitation_frame,
    unsolicited_advertisement_frame,
)
from filament.wire.packet.icmp import Icmp, encode_icmp
from filament.wire.packet.ipv4 import ICMP, SCTP, TCP, UDP, Ipv4
from filament.wire.packet.ipv6 import ICMPV6, Ipv6, encode_fragment
from filament.wire.packet.mpls import LabelEntry, encode_label
from filament.wire.packet.tcp import Tcp, encode_tcp
from filament.wire.packet.udp import Udp, encode_udp
from filament.wire.packet.vxlan import Vxlan, encode_vxlan

from . import chance as st
from .twin import FAR, FAR_TOO, HOST, NEAR, NOWHERE, SILENT

RED, BLUE = "demo:red", "demo:blue"
MACS = [0x020000000000 + index for index in range(4)]
OTHER_MAC, STRANGER_MAC = 0x00005E000107, 0x020000000099
UUIDS = [f"port-{index}" for index in range(4)]
ADDRESSES = [
    parse_ipv4(text)
    for text in (
        "10.1.1.1",  # red's gateway
        "10.1.1.2",  # red's service address
        "10.1.1.3",  # port 0
        "10.1.1.4",  # port 1
        "10.1.1.5",  # port 1's second
        "10.1.1.10",  # near
        "10.1.1.11",  # silent
        "10.1.1.12",  # far
        "10.1.1.13",  # no underlay route
        "10.1.1.99",  # nobody
        "10.1.2.1",  # blue's gateway
        "10.1.2.3",  # port 2, in blue
        "10.1.2.10",  # blue, near
        "10.1.1.6",  # port 3
        "192.168.7.7",  # routed to port 1
        "198.51.100.1",  # only a default route
        "224.0.0.5",
        "255.255.255.255",
        "0.0.0.0",
        "10.1.1.255",
    )
]
OWN_BY_PORT = [
    [ADDRESSES[2]],
    [ADDRESSES[3], ADDRESSES[4], ADDRESSES[14]],
    [ADDRESSES[11]],
    [ADDRESSES[13]],
]
REACHABLE = [*ADDRESSES[2:8], ADDRESSES[9], ADDRESSES[11], ADDRESSES[12]]
REMOTE = [ADDRESSES[5], ADDRESSES[6], ADDRESSES[7], ADDRESSES[12], ADDRESSES[15]]
PORTS = [53, 80, 40000, 53, 80, 40000, 53, 80, 79, 60000]  # some are where ranges begin or end
RED_VNI, BLUE_VNI = 1000, 1001
WEB, DB, PROD, TEST, LABEL = 0x20001, 0x20002, 0x30001, 0x30002, 0x00007
TAG_SETS = [(), (WEB,), (WEB, PROD), (DB, PROD), (DB, TEST), (LABEL, DB, PROD), (LABEL, WEB, TEST)]
ADDRESSES6 = [
    parse_ipv6(text)
    for text in (
        "2001:db8:1::1",  # red's gateway
        "2001:db8:1::2",  # red's service address
        "2001:db8:1::3",  # port 0
        "2001:db8:1::4",  # port 1
        "2001:db8:1::5",  # port 1's second
        "2001:db8:1::10",  # near
        "2001:db8:1::11",  # silent
        "2001:db8:1::12",  # far
        "2001:db8:1::13",  # no underlay route
        "2001:db8:1::99",  # nobody
        "2001:db8:2::1",  # blue's gateway
        "2001:db8:2::3",  # port 2, in blue
        "2001:db8:2::10",  # blue, near
        "2001:db8:1::6",  # port 3
        "fd00:7::7",  # routed to port 1
        "2001:db8:99::1",  # only a default route
        "ff02::1",
        "fe80::5e00:100",  # the gateway's link-local address
        "::",
        "fe80::3",
    )
]
OWN6_BY_PORT = [
    [ADDRESSES6[2], ADDRESSES6[2], ADDRESSES6[19]],
    [ADDRESSES6[3], ADDRESSES6[4], ADDRESSES6[14]],
    [ADDRESSES6[11]],
    [ADDRESSES6[13]],
]
# Prefixes whose addresses fat flows do not tell apart any further.
GROUPED = [
    Prefix.parse(text)
    for text in ("10.0.0.0/8", "10.1.1.0/24", "10.1.1.0/28", "10.1.2.0/24", "198.51.100.0/24")
]
GROUPED6 = [
    Prefix.parse(text)
    for text in ("2001:db8::/32", "2001:db8:1::/64", "2001:db8::/48", "fd00:7::/64", "::/8")
]
# What ports may be allowed besides, which a packet's source may be in.
PAIRS = [
    AddressPair(Prefix.parse(text), mac)
    for text, mac in (
        ("10.1.1.99/32", 0),
        ("10.1.1.99/32", OTHER_MAC),
        ("10.1.1.0/28", 0),
        ("10.1.1.0/28", OTHER_MAC),
        ("0.0.0.0/0", 0),
        ("2001:db8:1::99/128", OTHER_MAC),
        ("2001:db8:1::/64", 0),
        ("::/0", OTHER_MAC),
        ("::/0", 0),
    )
]
HOPS = [
    Hop(NEAR, 31),
    Hop(NEAR, 30),
    Hop(FAR, 41),
    Hop(SILENT, RED_VNI, "vxlan"),
    Hop(NOWHERE, 33),
    Hop(HOST, 16),
    Hop(HOST, 17),
]
FIELDS = ("l3-source-address", "l3-destination-address", "l4-protocol", "l4-destination-port")
REACHABLE6 = [*ADDRESSES6[2:8], ADDRESSES6[9], ADDRESSES6[11], ADDRESSES6[12]]
REMOTE6 = [ADDRESSES6[5], ADDRESSES6[6], ADDRESSES6[7], ADDRESSES6[12], ADDRESSES6[15]]


parse_prefix = functools.cache(Prefix.parse)


def origin(rule: str) -> Origin:
    return Origin("test", rule, 1)


def route(
    vrf: str, prefix: str, next_hop: int, label: int, network: str, encapsulation: str = "udp"
) -> Route:
    found = parse_prefix(prefix)
    # Every third host is in a security group, or in two.
    groups = {0: (8,), 1: (8, 9)}.get(found.address % 3, ())
    tags = TAG_SETS[found.address % len(TAG_SETS)]
    made = Route(vrf, found, next_hop, label, network, origin("route"), encapsulation)
    return msgspec.structs.replace(made, security_groups=groups, tags=tags)


def mostly(usual: object, *rare: object) -> st.SearchStrategy:
    """The usual value nineteen times of twenty."""
    return st.integers(0, 19).flatmap(lambda n: st.sampled_from(rare) if n == 9 else st.just(usual))


@st.composite
def matches(draw: st.DrawFn) -> FilterMatch:
    some = ["10.1.1.0/24", "10.1.1.3/32", "10.1.1.10/32", "2001:db8:1::/64", "2001:db8:1::3/128"]
    usual = ["0.0.0.0/0", "0.0.0.0/0", "10.1.0.0/16", "2001:db8::/32", "10.0.0.0/8"]
    prefix = draw(st.sampled_from([*some, *usual, *usual, *usual]))
    some_ports = [(0, 0), (80, 80), (53, 80), (40000, 65535), (1, 79), (50, 60000), (53, 53)]
    ports = draw(st.sampled_from([(0, 65535)] * 7 + some_ports))
    network = draw(st.sampled_from(["", "", "", RED, RED, BLUE, "demo:green"]))
    return FilterMatch(network, parse_prefix(prefix), ports)


@st.composite
def rules(draw: st.DrawFn) -> FilterRule:
    return FilterRule(
        draw(matches()),
        draw(matches()),
        draw(st.sampled_from([None, None, ICMP, TCP, UDP, ICMPV6])),
        draw(st.sampled_from([True, True, False])),
        draw(st.booleans()),
        origin("rule"),
        draw(st.sampled_from([0, 0, 0, 4, 6])),
        draw(st.sampled_from([(None, None), (8, None), (8, 0), (128, 0), (13, 0)])),
    )


@st.composite
def group_rules(draw: st.DrawFn, *, is_egress: bool) -> FilterRule:
    """A rule of a security group: only the far end is said anything of."""
    rule = draw(rules())
    far = draw(matches())
    group = draw(st.sampled_from([0, 0, 7, 8, 9, 10]))
    far = msgspec.structs.replace(far, network="", security_group=group)
    sides = {"source": FilterMatch(), "destination": far}
    if not is_egress:
        port = FilterMatch(ports=draw(st.sampled_from([(0, 65535), (0, 65535), (53, 53), (1, 99)])))
        sides = {"source": msgspec.structs.replace(far, ports=(0, 65535)), "destination": port}
    return msgspec.structs.replace(rule, passes=True, both_ways=False, **sides)


@st.composite
def security_groups(draw: st.DrawFn) -> tuple[SecurityGroup, ...]:
    return tuple(
        SecurityGroup(
            f"group {number}",
            number,
            tuple(draw(st.lists(group_rules(is_egress=True), max_size=4))),
            tuple(draw(st.lists(group_rules(is_egress=False), max_size=4))),
            origin("group"),
        )
        for number in (7, 8)
    )


@st.composite
def firewall_ends(draw: st.DrawFn) -> tuple[FirewallEnd, ...]:
    """What an endpoint may be: anybody, tags, a network, a subnet, or an address group."""
    match = draw(matches())
    some = [
        (FirewallEnd(),),
        (FirewallEnd(tags=(WEB,)),),
        (FirewallEnd(tags=(DB,)),),
        (FirewallEnd(tags=(DB, PROD)),),
        (FirewallEnd(network=match.network),),
        (FirewallEnd(prefix=match.prefix),),
        (FirewallEnd(tags=(LABEL,)), FirewallEnd(prefix=match.prefix)),
        (),
    ]
    return draw(st.sampled_from([*some, *some[:4]]))


@st.composite
def firewall_rules(draw: st.DrawFn) -> FirewallRule:
    some = [Service(), Service(TCP), Service(TCP, ports=(80, 80)), Service(UDP, ports=(50, 99))]
    some += [Service(ICMP), Service(ICMPV6), Service(UDP, (53, 80))]
    return FirewallRule(
        draw(firewall_ends()),
        draw(firewall_ends()),
        tuple(draw(st.lists(st.sampled_from(some), max_size=3))),
        draw(st.sampled_from([True, True, False])),
        draw(st.booleans()),
        draw(st.sampled_from([(), (), (), (3,), (0, 3)])),
        "rule",
    )


@st.composite
def policy_sets(draw: st.DrawFn) -> tuple[PolicySet, ...]:
    made = []
    for name in ("global", "web"):
        policies = [
            FirewallPolicy(f"policy {index}", tuple(draw(st.lists(firewall_rules(), max_size=4))))
            for index in range(draw(st.sampled_from([0, 1, 2])))
        ]
        made.append(PolicySet(name, tuple(policies), origin("set")))
    return tuple(made)


def filters(name: str) -> st.SearchStrategy:
    short, long = st.lists(rules(), max_size=5), st.lists(rules(), max_size=16)
    found = st.sampled_from([short] * 5 + [long]).flatmap(lambda one: one)
    return found.map(lambda listed: Filter(name, tuple(listed)))


@st.composite
def fat_flows(draw: st.DrawFn) -> tuple[FatFlow, ...]:
    if draw(st.booleans()):
        return ()
    some = [
        FatFlow(protocol, port, *ignored)
        for protocol, ports in ((TCP, (0, 80)), (UDP, (53, 80, 0)), (ICMP, (0,)), (ICMPV6, (0,)))
        for port in ports
        for ignored in ((False, False), (True, False), (False, True), (False, True))
    ]
    grouped = [
        FatFlow(protocol, port, *ignored, *groupings)
        for protocol, ports in ((TCP, (0, 80)), (UDP, (53, 80, 0)))
        for port in ports
        for ignored in ((False, False), (False, False), (True, False), (False, True))
        for groupings in draw(st.lists(fat_groupings(), max_size=3))
        if not (ignored[0] and groupings[0]) and not (ignored[1] and groupings[1])
    ]
    # Those without a prefix come first: beside them the others would seldom count.
    some = draw(st.sampled_from([some, grouped, some + grouped])) or some
    return tuple(draw(st.lists(st.sampled_from(some), max_size=6)))


@st.composite
def fat_groupings(draw: st.DrawFn) -> tuple[Grouping | None, Grouping | None]:
    """Prefixes of one IP version: of the port's own addresses, far ones, or both."""
    version = draw(st.sampled_from([4, 4, 6]))
    prefixes = GROUPED if version == 4 else GROUPED6
    sides = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    found: list[Grouping | None] = []
    for is_remote, is_there in enumerate(sides):
        prefix = draw(st.sampled_from(prefixes))
        most = min(bits_of(version), 64) if is_remote else bits_of(version)
        length = draw(st.integers(min(prefix.length, most), most))
        found.append(Grouping(prefix, length) if is_there else None)
    return found[0], found[1]


@st.composite
def ports(draw: st.DrawFn, ifindexes: list[int]) -> tuple[Port, ...]:
    made = []
    for index, (vrf, addresses) in enumerate(
        [(RED, (2,)), (RED, (3, 4)), (BLUE, (11,)), (RED, (13,))]
    ):
        if index == 3 and draw(st.booleans()):
            continue
        pairs = tuple(draw(st.lists(st.sampled_from(PAIRS), max_size=2)))
        own = [Prefix.host(ADDRESSES[one]) for one in addresses]
        own += [Prefix.host(ADDRESSES6[one], 6) for one in addresses]
        shared = [pair.prefix for pair in pairs if pair.prefix.length] + own
        standbys = draw(st.lists(st.sampled_from(shared), max_size=2))
        made.append(
            Port(
                uuid=UUIDS[index],
                name=f"port {index}",
                device=f"p{index}",
                ifindex=ifindexes[index],
                is_veth=draw(st.booleans()),
                mac=MACS[index],
                addresses=tuple(ADDRESSES[one] for one in addresses),
                vrf=vrf,
                network=vrf,
                acl=draw(st.sampled_from([None, "acl", "acl", "other", "not received"])),
                has_policy=draw(st.sampled_from([True, True, True, False])),
                origin=origin("port"),
                addresses6=tuple(ADDRESSES6[one] for one in addresses),
                flow_limit=draw(mostly(0, 1, 2)),
                security_groups=draw(
                    st.sampled_from([(), (), ("group 7",), ("group 8", "group 7"), ("unknown",)])
                ),
                pairs=pairs,
                checks_mac=draw(st.sampled_from([True, True, False])),
                checks_source=draw(st.sampled_from([True, True, False])),
                tags=draw(st.sampled_from(TAG_SETS)),
                policy_sets=draw(st.sampled_from([(), (), ("global",), ("global", "web")])),
                fwaas_sets=draw(st.sampled_from([(), (), (), ("web",), ("web", "global")])),
                fat_flows=draw(fat_flows()),
                standbys=tuple(
                    Standby(prefix, draw(st.sampled_from([100, 200])), draw(st.integers(1, 3)))
                    for prefix in dict.fromkeys(standbys)
                ),
            )
        )
    return tuple(made)


@st.composite
def inputs(draw: st.DrawFn, ifindexes: list[int], labels: dict[str, int]) -> Inputs:
    """A host with up to four ports in two networks; `labels` by port uuid, 0 if none yet."""
    routes = [
        route(RED, "10.1.1.10/32", NEAR, 30, RED),
        route(RED, "10.1.1.11/32", SILENT, 0xFFFFF, RED),
        route(RED, "10.1.1.12/32", FAR, 32, RED),
        route(RED, "10.1.1.13/32", NOWHERE, 33, RED),
        route(RED, "10.1.1.14/32", FAR_TOO, 35, RED),
        route(BLUE, "10.1.2.10/32", NEAR, 34, BLUE),
        route(RED, "192.168.7.0/24", HOST, labels.get(UUIDS[1], 0), RED),
        route(RED, "2001:db8:1::10/128", NEAR, 30, RED),
        route(RED, "2001:db8:1::11/128", SILENT, 0xFFFFF, RED),
        route(RED, "2001:db8:1::12/128", FAR, RED_VNI, RED, "vxlan"),
        route(RED, "2001:db8:1::13/128", NOWHERE, 33, RED),
        route(BLUE, "2001:db8:2::10/128", NEAR, BLUE_VNI, BLUE, "vxlan"),
        route(BLUE, "198.51.100.0/24", SILENT, BLUE_VNI, "demo:green", "vxlan"),
        route(RED, "fd00:7::/64", HOST, labels.get(UUIDS[1], 0), RED),
    ]
    if draw(st.booleans()):
        routes += [
            route(RED, "10.1.2.3/32", HOST, labels.get(UUIDS[2], 0), BLUE),
            route(RED, "10.1.2.10/32", NEAR, 34, BLUE),
            route(BLUE, "10.1.1.3/32", HOST, labels.get(UUIDS[0], 0), RED),
            route(BLUE, "10.1.1.10/32", NEAR, 30, RED),
        ]
    if draw(st.booleans()):
        encapsulation = draw(st.sampled_from(["udp", "vxlan"]))
        routes.append(route(RED, "0.0.0.0/0", FAR, 40, "demo:green", encapsulation))
        routes.append(route(RED, "::/0", FAR, 40, "demo:green"))
    if draw(st.booleans()):
        # Several ways, some of them through this host's own ports.
        shared, shared6 = "10.1.1.99/32", "2001:db8:1::/64"
        label = labels.get(f"shared {RED} {shared}", labels.get(UUIDS[0], 0))
        label6 = labels.get(f"shared {RED} {shared6}", labels.get(UUIDS[1], 0))
        for one in (
            route(RED, shared, draw(st.sampled_from([HOST, NEAR])), label, RED),
            route(RED, shared6, HOST, label6, RED),
            route(RED, "10.1.1.10/31", NEAR, 30, RED),
            route(RED, "2001:db8:1::12/127", FAR, RED_VNI, RED, "vxlan"),
        ):
            others = draw(st.lists(st.sampled_from(HOPS), max_size=3))
            fields = draw(st.sampled_from([None, None, (), ("l4-source-port",), FIELDS]))
            one = msgspec.structs.replace(one, others=tuple(others), load_balance=fields)
            routes.insert(draw(st.integers(0, len(routes))), one)
        if draw(st.booleans()):
            found = draw(st.integers(0, len(routes) - 1))
            others = draw(st.lists(st.sampled_from(HOPS), max_size=2))
            routes[found] = msgspec.structs.replace(routes[found], others=tuple(others))
    gateway, service, blue_gateway = ADDRESSES[0], ADDRESSES[1], ADDRESSES[10]
    return Inputs(
        host=Host("host1", HOST),
        revision=draw(st.integers(0, 5)),
        ports=draw(ports(ifindexes)),
        subnets=(
            Subnet(RED, RED, Prefix.parse("10.1.1.0/24"), gateway, service, origin("subnet")),
            Subnet(BLUE, BLUE, Prefix.parse("10.1.2.0/24"), blue_gateway, 0, origin("subnet")),
            Subnet(RED, RED, Prefix.parse("2001:db8:1::/64"), *ADDRESSES6[:2], origin("subnet")),
            Subnet(BLUE, BLUE, Prefix.parse("2001:db8:2::/64"), ADDRESSES6[10]),
        ),
        routes=tuple(routes),
        filters=(draw(filters("acl")), draw(filters("other"))),
        security_groups=draw(security_groups()),
        policy_sets=draw(policy_sets()),
        vrfs=(Vrf(RED, RED, RED_VNI), Vrf(BLUE, BLUE, draw(st.sampled_from([0, BLUE_VNI])))),
    )


@st.composite
def transports(draw: st.DrawFn, protocol: int) -> bytes:
    source, destination = draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))
    payload = bytes(draw(st.sampled_from([0, 1, 30, 1400, 1540, 1560])))
    if protocol in (UDP, SCTP):
        return encode_udp(Udp(source, destination, 8 + len(payload))) + payload
    if protocol == TCP:
        options = bytes(draw(st.sampled_from([0, 12])))
        flags = draw(st.sampled_from([2, 2, 18, 16, 17, 4]))
        return encode_tcp(Tcp(source, destination, flags=flags, options=options)) + payload
    if protocol in (ICMP, ICMPV6):
        kinds = [8, 0, 8, 0, 5, 13] if protocol == ICMP else [128, 129, 128, 129, 133, 136, 143]
        kind = draw(st.sampled_from(kinds))
        identifier = draw(st.sampled_from(PORTS))
        return encode_icmp(Icmp(kind, 0, 0x1234, identifier, 1)) + payload
    return payload


@st.composite
def packets(
    draw: st.DrawFn, sources: Sequence[int], destinations: Sequence[int], *, is_quoted: bool = False
) -> bytes:
    """An IPv4 packet, mostly between the given addresses."""
    protocol = draw(st.sampled_from([ICMP, TCP, UDP, UDP, ICMP, TCP, UDP, SCTP, 47]))
    if is_quoted and protocol == ICMP:
        transport = encode_icmp(Icmp(8, 0, 0, draw(st.sampled_from(PORTS)), 1))
    elif protocol == ICMP and draw(st.integers(0, 4)) == 0:
        # An error goes to whom it is about.
        quoted = draw(packets(destinations, sources, is_quoted=True))
        cut = draw(st.sampled_from([28, 2000, 48, 27, 20]))
        transport = encode_icmp(Icmp(draw(st.sampled_from([3, 11, 12])), 1)) + quoted[:cut]
    else:
        transport = draw(transports(protocol))
    header = Ipv4(
        draw(mostly(draw(st.sampled_from(sources)), *ADDRESSES)),
        draw(st.sampled_from(destinations)),
        protocol,
        0,
        draw(mostly(64, 0, 1, 2, 255)),
        draw(st.sampled_from([0, 0, 1, 2, 3, 0xB8, 0xBA])),
        draw(st.sampled_from([1, 2])),
        draw(st.booleans()),
        draw(mostly(False, True)),
        draw(mostly(0, 185)),
        bytes([1]) * draw(mostly(0, 4, 40)),
    )
    packet = ipv4_packet(header, transport)
    if draw(st.integers(0, 9)) == 0:  # a wrong checksum stays wrong
        packet = packet[:10] + b"\x12\x34" + packet[12:]
    return packet


@st.composite
def packets6(
    draw: st.DrawFn, sources: Sequence[int], destinations: Sequence[int], *, is_quoted: bool = False
) -> bytes:
    """An IPv6 packet, mostly between the given addresses."""
    protocol = draw(st.sampled_from([ICMPV6, TCP, UDP, UDP, ICMPV6, TCP, UDP, SCTP, 47, 59]))
    if is_quoted and protocol == ICMPV6:
        transport = encode_icmp(Icmp(128, 0, 0, draw(st.sampled_from(PORTS)), 1))
    elif protocol == ICMPV6 and draw(st.integers(0, 4)) == 0:
        quoted = draw(packets6(destinations, sources, is_quoted=True))
        cut = draw(st.sampled_from([48, 2000, 68, 47, 40]))
        transport = encode_icmp(Icmp(draw(st.sampled_from([1, 2, 3, 4, 127])), 1)) + quoted[:cut]
    else:
        transport = draw(transports(protocol))
    for kind in reversed(draw(st.lists(st.sampled_from([0, 43, 44, 44, 60]), max_size=5))):
        if draw(st.integers(0, 3)):
            continue
        if kind == 44:
            offset = draw(st.sampled_from([0, 0, 185]))
            extension = encode_fragment(protocol, offset, more_fragments=draw(st.booleans()))
        else:
            units = draw(st.sampled_from([0, 0, 1, 4, 17, 30]))
            extension = bytes([protocol, units]) + bytes(6 + 8 * draw(mostly(units, 0)))
        protocol, transport = kind, extension + transport
    header = Ipv6(
        draw(mostly(draw(st.sampled_from(sources)), *ADDRESSES6)),
        draw(st.sampled_from(destinations)),
        protocol,
        0,
        draw(mostly(64, 0, 1, 2, 255)),
        draw(st.sampled_from([0, 0, 1, 2, 3, 0xB8, 0xBA])),
        draw(st.sampled_from([0, 0xFFFFF])),
    )
    return ipv6_packet(header, transport)


@st.composite
def discoveries(draw: st.DrawFn, index: int) -> bytes:
    """A neighbour solicitation or advertisement, multicast or not, whole or not."""
    own = OWN6_BY_PORT[index]
    source = draw(st.sampled_from([0, ADDRESSES6[2], ADDRESSES6[9], ADDRESSES6[19], own[0]]))
    make = draw(st.sampled_from([solicitation_frame, unsolicited_advertisement_frame]))
    target = draw(st.sampled_from([*ADDRESSES6, *own * 2, *[ADDRESSES6[9]] * 6]))
    frame = make(draw(macs(index)), source, target)
    if draw(st.booleans()):
        to = draw(st.sampled_from(ADDRESSES6)).to_bytes(16, "big")
        frame = ROUTER_MAC.to_bytes(6, "big") + frame[6:38] + to + frame[54:]
    how = draw(mostly("not", "hops", "code", "longer"))
    if how == "hops":
        frame = frame[:21] + b"\x40" + frame[22:]
    elif how == "code":
        frame = frame[:55] + b"\x01" + frame[56:]
    elif how == "longer":
        frame = frame[:19] + bytes([frame[19] + 8]) + frame[20:] + bytes(8)
    return frame


# What BPF_PROG_TEST_RUN refuses to run: shorter frames never get to a program.
_LEAST_BYTES = {b"\x08\x00": 34, b"\x86\xdd": 54}


def accepted(frame: bytes) -> bytes:
    """The frame, padded to what a test run accepts."""
    return frame.ljust(_LEAST_BYTES.get(frame[12:14], 15), b"\0")


@st.composite
def mangled(draw: st.DrawFn, frame: bytes) -> bytes:
    """The frame, sometimes cut short, padded, or with bytes changed."""
    how = draw(mostly("not", "cut", "pad", "flip"))
    if how == "cut":
        frame = frame[: draw(st.integers(14, max(14, len(frame))))]
    elif how == "pad":
        frame += bytes(draw(st.integers(1, 60)))
    elif how == "flip":
        changed = bytearray(frame)
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(0, min(len(frame), 120) - 1))] = draw(st.integers(0, 255))
        frame = bytes(changed)
    return accepted(frame)


def macs(index: int) -> st.SearchStrategy:
    """Whom the frames of a port are from: mostly itself."""
    return st.sampled_from([MACS[index]] * 8 + [OTHER_MAC, OTHER_MAC, STRANGER_MAC])


@st.composite
def arp_frames(draw: st.DrawFn, index: int) -> bytes:
    mac = draw(macs(index))
    source = draw(st.sampled_from([*ADDRESSES, *[*OWN_BY_PORT[index], ADDRESSES[9], 0] * 4]))
    arp = Arp(
        draw(st.sampled_from([REQUEST, REQUEST, REQUEST, REPLY])),
        draw(mostly(mac, OTHER_MAC)),
        source,
        0,
        draw(st.sampled_from([*ADDRESSES, *[source, ADDRESSES[9]] * 3])),
    )
    to = draw(st.sampled_from([BROADCAST_MAC, ROUTER_MAC]))
    return encode_ethernet(Ethernet(to, mac, 0x0806)) + encode_arp(arp)


@st.composite
def port_frames(draw: st.DrawFn, index: int) -> bytes:
    """What may come from the port of a number."""
    how = draw(mostly("ip", "arp", "arp", "nd", "nd", "other", "noise"))
    if how == "arp":
        return draw(mangled(draw(arp_frames(index))))
    if how == "noise":
        return accepted(draw(st.binary(min_size=14, max_size=100)))
    if how == "nd":
        return draw(mangled(draw(discoveries(index))))
    mac = draw(macs(index))
    to = draw(mostly(ROUTER_MAC, MACS[1], BROADCAST_MAC, 0x01005E000005))
    if draw(st.booleans()):
        own = [*OWN6_BY_PORT[index] * 3, ADDRESSES6[9]]
        packet = draw(packets6(own, [*ADDRESSES6, *REACHABLE6, *REACHABLE6]))
        return draw(mangled(ipv6_frame(mac, to, packet)))
    own = [*OWN_BY_PORT[index] * 6, ADDRESSES[9]]
    packet = draw(packets(own, [*ADDRESSES, *REACHABLE, *REACHABLE]))
    if how == "other":
        ethertype = draw(st.sampled_from([0x86DD, 0x8100, 0x88A8, 0x8847, 0x0064]))
        return accepted(encode_ethernet(Ethernet(to, mac, ethertype)) + packet)
    return draw(mangled(ipv4_frame(mac, to, packet)))


@st.composite
def link_frames(draw: st.DrawFn, index: int) -> bytes:
    """What a port has to do with its gateway only: ARP, neighbour discovery, and echoes."""
    how = draw(st.sampled_from(["arp", "arp", "nd", "nd", "echo"]))
    if how == "arp":
        return draw(mangled(draw(arp_frames(index))))
    if how == "nd":
        return draw(mangled(draw(discoveries(index))))
    mac = draw(macs(index))
    if draw(st.booleans()):
        asked = draw(packets6([*OWN6_BY_PORT[index]], [ADDRESSES6[0], ADDRESSES6[10]]))
        return draw(mangled(ipv6_frame(mac, ROUTER_MAC, asked)))
    header = Ipv4(
        draw(st.sampled_from(OWN_BY_PORT[index])),
        draw(st.sampled_from([ADDRESSES[0], ADDRESSES[10]])),
        ICMP,
        0,
        draw(mostly(64, 1, 255)),
        0,
        1,
        False,
        draw(mostly(False, True)),
        draw(mostly(0, 185)),
    )
    echo = encode_icmp(Icmp(draw(mostly(8, 0)), 0, 0, draw(st.sampled_from(PORTS)), 1))
    return draw(mangled(ipv4_frame(mac, ROUTER_MAC, ipv4_packet(header, echo))))


@st.composite
def fabric_frames(draw: st.DrawFn, label_by_port: Mapping[str, int]) -> bytes:
    """What may come from the underlay."""
    index = draw(st.integers(0, 3))
    label = label_by_port.get(UUIDS[index], 16)
    label = draw(st.sampled_from([label, label, *label_by_port.values(), 16]))
    label = draw(mostly(label, 16, 17, 18, 19, 20, 3, 16383, 16384, 0xFFFFF))
    is_v6, is_vxlan = draw(st.booleans()), draw(st.booleans())
    packet = (
        draw(packets6(REMOTE6, [*OWN6_BY_PORT[index], ADDRESSES6[9]]))
        if is_v6
        else draw(packets(REMOTE, [*OWN_BY_PORT[index], ADDRESSES[9]]))
    )
    if is_vxlan:
        ethertype = draw(mostly(0x86DD if is_v6 else 0x0800, 0x0800, 0x86DD, 0x0806))
        vni = draw(mostly(BLUE_VNI if index == 2 else RED_VNI, RED_VNI, BLUE_VNI, 7, 0xFFFFFF))
        inner = encode_vxlan(Vxlan(vni, draw(mostly(True, False))))
        inner += encode_ethernet(Ethernet(ROUTER_MAC, ROUTER_MAC, ethertype)) + packet
    else:
        inner = encode_label(LabelEntry(label, is_bottom=draw(mostly(True, False)), ttl=63))
        inner += packet
    port = draw(mostly(4789 if is_vxlan else 6635, 6635, 4789, 53))
    udp = encode_udp(Udp(50000, port, 8 + len(inner))) + inner
    outer = Ipv4(
        draw(st.sampled_from([NEAR, NEAR, FAR, SILENT])),
        draw(mostly(HOST, FAR)),
        draw(mostly(UDP, TCP)),
        0,
        tos=draw(st.integers(0, 3)),
        more_fragments=draw(mostly(False, True)),
        # The second kind says, where UDP's port would be without options, that of MPLS over UDP.
        options=draw(mostly(b"", bytes([1]) * 4, bytes.fromhex("010119eb"))),
    )
    frame = ipv4_frame(0x021700000002, 0x021700000001, ipv4_packet(outer, udp))
    return draw(mangled(frame))


@st.composite
def narrow_ends(
    draw: st.DrawFn, key: FlowKey, index: int
) -> tuple[Address, Address, tuple[int, int]]:
    """Own address, far one, and ports of a connection in a flow; of a fat one any that it has."""
    local, remote = narrow_address(key.local), narrow_address(key.remote_address)
    if key.fat:
        own, others = (
            (OWN_BY_PORT, [*REACHABLE, *REMOTE])
            if key.version == 4
            else (OWN6_BY_PORT, [*REACHABLE6, *REMOTE6])
        )
        local = Address(draw(st.sampled_from(own[index])), key.version)
        remote = Address(draw(st.sampled_from(others)), key.version)
        port = draw(st.sampled_from(PORTS))
        remote_port = 0 if key.protocol in (ICMP, ICMPV6) else port
        return local, remote, (key.local_port or port, key.remote_port or remote_port)
    return local, remote, (key.local_port, key.remote_port)


def tunnelled(
    packet: bytes, *, label: int | None, vni: int, source: int = NEAR, tos: int = 0
) -> bytes:
    """The frame in which another host sends it: by a label, or (None) in VXLAN."""
    if label is None:
        ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        inner = encode_vxlan(Vxlan(vni))
        inner += encode_ethernet(Ethernet(ROUTER_MAC, ROUTER_MAC, ethertype)) + packet
    else:
        inner = encode_label(LabelEntry(label, ttl=63)) + packet
    udp = encode_udp(Udp(50000, 6635 if label is not None else 4789, 8 + len(inner))) + inner
    outer = ipv4_packet(Ipv4(source, HOST, UDP, 0, tos=tos), udp)
    return ipv4_frame(0x021700000002, 0x021700000001, outer)
