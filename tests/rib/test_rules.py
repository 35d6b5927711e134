"""What the configuration of a session asks of its routes: AS paths, ORIGIN, encapsulations."""

import msgspec
import pytest

from filament.rib.bundle import problem_of
from filament.rib.exchange import import_path
from filament.rib.peer import PeerKind, PrivateAs, Rules
from filament.wire.bgp.attributes import OriginCode
from filament.wire.bgp.communities import encapsulations_of
from filament.wire.bgp.family import AddressFamily as AF

from .bgp_world import GRE, UDP, US, VXLAN, World, as_path, attributes, client, target, vpn

KEY, LABEL = vpn("10.1.1.3/32")
PUBLIC, OTHER_PUBLIC = 3320, 1299
PRIVATE, OTHER_PRIVATE = 64999, 4_200_000_000


def told(rules, path, kind=PeerKind.EXTERNAL, asn=65002, us=US):
    """What a peer with these rules is sent of a route of peer1, which is of the path's first AS."""
    world = World(us)
    world.up(client(1, PeerKind.EXTERNAL, path[0]) if path else client(1))
    world.up(msgspec.structs.replace(client(2, kind, asn), rules=rules))
    announced = attributes(1, as_path=as_path(*path))
    world.bgp.announce("peer1", AF.INET_VPN, announced, [(KEY, LABEL)])
    return world.drain().heard["peer2"][AF.INET_VPN].get(KEY, (None,))[0]


def path_of(found):
    return [asn for segment in found.as_path for asn in segment.ases]


def test_as_override_puts_our_as_in_the_peers_place():
    path = (PUBLIC, 65002, 65002, OTHER_PUBLIC)
    assert told(Rules(), path) is None
    found = told(Rules(has_as_override=True), path)
    assert path_of(found) == [US.asn, PUBLIC, US.asn, US.asn, OTHER_PUBLIC]
    assert path_of(told(Rules(has_as_override=True), (PUBLIC,))) == [US.asn, PUBLIC]


@pytest.mark.parametrize(
    ("action", "path", "expected"),
    [
        (PrivateAs.KEEP, (PRIVATE, PUBLIC, PRIVATE), [PRIVATE, PUBLIC, PRIVATE]),
        (PrivateAs.REMOVE, (PRIVATE, PUBLIC, PRIVATE), [PUBLIC, PRIVATE]),
        (PrivateAs.REMOVE, (PUBLIC, PRIVATE), [PUBLIC, PRIVATE]),
        (PrivateAs.REMOVE_ALL, (PRIVATE, PUBLIC, OTHER_PRIVATE), [PUBLIC]),
        (PrivateAs.REMOVE_ALL, (PRIVATE, OTHER_PRIVATE), []),
        (
            PrivateAs.REPLACE_ALL,
            (PRIVATE, PUBLIC, OTHER_PRIVATE, OTHER_PUBLIC),
            [US.asn, PUBLIC, PUBLIC, OTHER_PUBLIC],
        ),
    ],
)
def test_private_ases_go(action, path, expected):
    assert path_of(told(Rules(private_as=action), path)) == [US.asn, *expected]


def test_a_peers_own_private_as_stays():
    """The peer shall see the loop. TF's remove_private_peer_loop_check."""
    rules = Rules(private_as=PrivateAs.REMOVE_ALL, has_as_override=False)
    assert told(rules, (PRIVATE, 65002)) is None
    found = told(rules, (PRIVATE, US.asn + 1, PUBLIC), kind=PeerKind.CLIENT, asn=US.asn)
    assert path_of(found) == [PUBLIC]


def test_among_our_own_the_first_public_as_takes_the_place_of_private_ones():
    rules = Rules(private_as=PrivateAs.REPLACE_ALL)
    path = (PRIVATE, PUBLIC, OTHER_PRIVATE)
    found = told(rules, path, kind=PeerKind.CLIENT, asn=US.asn)
    assert path_of(found) == [PUBLIC, PUBLIC, PUBLIC]
    assert path_of(told(rules, (PRIVATE,), kind=PeerKind.CLIENT, asn=US.asn)) == []


@pytest.mark.parametrize(
    ("loops", "times", "is_used"), [(0, 0, True), (0, 1, False), (2, 2, True), (2, 3, False)]
)
def test_our_as_may_be_in_a_path_as_often_as_its_loop_count_says(loops, times, is_used):
    rules = Rules(loops=((AF.INET_VPN, loops),))
    peer = msgspec.structs.replace(client(1, PeerKind.EXTERNAL, PUBLIC), rules=rules)
    announced = attributes(1, as_path=as_path(PUBLIC, *([US.asn] * times)))
    problem = problem_of(AF.INET_VPN, peer, announced, US)
    assert (problem == "") is is_used
    if loops and times > loops:
        assert problem == (
            "AS path loop: our AS 64512 is in its AS path 3 times, more than its loop_count of 2"
        )
    assert (problem_of(AF.E_VPN, peer, announced, US) == "") is (times == 0)


def test_the_as_a_peer_knows_us_by_is_ours_as_well():
    peer = msgspec.structs.replace(client(1, PeerKind.EXTERNAL, PUBLIC), local_as=65077)
    announced = attributes(1, as_path=as_path(PUBLIC, 65077))
    problem = "AS path loop: our AS 65077 is in its AS path"
    assert problem_of(AF.INET_VPN, peer, announced, US) == problem


def test_an_origin_is_overridden_where_routes_come_in():
    world = World()
    world.up(msgspec.structs.replace(client(1), rules=Rules(origin=OriginCode.INCOMPLETE)))
    world.up(client(2))
    world.up(client(3))
    world.bgp.announce("peer1", AF.INET_VPN, attributes(1), [(KEY, LABEL)])
    world.bgp.announce("peer2", AF.INET_VPN, attributes(1), [(KEY, LABEL)])
    world.drain()
    sent = world.heard["peer3"][AF.INET_VPN][KEY][0]
    assert (sent.originator_id, sent.origin) == (client(2).identifier, OriginCode.IGP)
    world.bgp.withdraw("peer2", AF.INET_VPN, [KEY])
    sent = world.drain().heard["peer3"][AF.INET_VPN][KEY][0]
    assert (sent.originator_id, sent.origin) == (client(1).identifier, OriginCode.INCOMPLETE)


def test_routes_are_sent_with_the_configured_encapsulations():
    rules = Rules(encapsulations=((AF.INET_VPN, (VXLAN, GRE)),))
    found = told(rules, (), kind=PeerKind.CLIENT, asn=US.asn)
    assert encapsulations_of(found.extended_communities) == [VXLAN, GRE]
    assert target(1) in found.extended_communities
    other = Rules(encapsulations=((AF.E_VPN, (VXLAN,)),))
    found = told(other, (), kind=PeerKind.CLIENT, asn=US.asn)
    assert encapsulations_of(found.extended_communities) == [UDP]


@pytest.mark.parametrize(
    ("communities", "expected"), [((), ("vxlan", "udp")), (attributes().extended_communities, None)]
)
def test_routes_without_encapsulation_are_taken_for_the_configured_ones(communities, expected):
    rules = Rules(encapsulations=((AF.INET_VPN, (VXLAN, UDP)),))
    peer = msgspec.structs.replace(client(1), rules=rules)
    announced = msgspec.structs.replace(attributes(), extended_communities=communities)
    world = World()
    world.up(peer)
    world.bgp.announce(peer.name, AF.INET_VPN, announced, [(KEY, LABEL)])
    [bundle] = world.bgp.tables[AF.INET_VPN].bundles_of(peer.name)
    path = import_path(AF.INET_VPN, KEY, LABEL, bundle, US.asn)
    assert path.encapsulations == (expected or ("udp",))
