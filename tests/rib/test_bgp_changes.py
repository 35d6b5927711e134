"""Any order of what peers, agents and configuration do: everybody hears what follows from it."""

import itertools

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from filament.base.net import Prefix
from filament.rib.bundle import ordered
from filament.rib.keys import inet
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.rib.rib import Instance
from filament.wire.bgp.family import AddressFamily as AF

from .bgp_world import (
    EVERYTHING,
    FAMILIES,
    US,
    WITH_TARGETS,
    World,
    arriving,
    as_path,
    attributes,
    client,
    mac,
    membership,
    vpn,
)

PEERS = {
    "peer1": client(1),
    "peer2": client(2),
    "peer3": client(3, PeerKind.INTERNAL),
    "peer4": client(4, PeerKind.EXTERNAL, 65004),
    "peer5": client(5, PeerKind.EXTERNAL, 65004),
}
ROUTES = {
    AF.INET_VPN: [
        vpn("10.1.1.3/32"),
        vpn("10.1.1.3/32", 18),
        vpn("10.1.1.4/32"),
        vpn("10.1.1.5/32"),
        vpn("10.1.1.0/24"),
    ],
    AF.E_VPN: [mac(5), mac(6), mac(7)],
}
MEMBERSHIPS = [membership(1), membership(2), EVERYTHING, (membership(1)[0][:1], b"")]
MEMBERSHIPS[3] = (bytes((95,)) + membership(2)[0][1:], b"")

names = st.sampled_from(sorted(PEERS))
families = st.sampled_from([AF.INET_VPN, AF.E_VPN])
instances = st.sampled_from(["d:p:red:red", "d:p:blue:blue"])
several = st.lists(st.integers(0, 4), min_size=1, max_size=5)
numbers = st.lists(st.sampled_from([1, 2, 3]), max_size=2, unique=True)


class Changes(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World()
        self.rib, self.bgp = self.world.rib, self.world.bgp
        self.joined = []

    def is_up(self, name):
        return name in self.bgp.peers

    @rule(name=names, with_targets=st.booleans())
    def up(self, name, with_targets):
        if not self.is_up(name):
            self.world.up(PEERS[name], WITH_TARGETS if with_targets else FAMILIES)

    @rule(name=names, keep=st.booleans())
    def down(self, name, keep):
        if self.is_up(name):
            self.world.down(name, FAMILIES if keep else ())

    @rule(
        name=names,
        family=families,
        carried=numbers,
        preference=st.sampled_from([100, 200]),
        med=st.sampled_from([None, 5]),
        which=several,
        loops=st.booleans(),
    )
    def announce(self, name, family, carried, preference, med, which, loops):
        if not self.is_up(name):
            return
        peer = PEERS[name]
        path = as_path(peer.asn) if peer.kind is PeerKind.EXTERNAL else ()
        routes = [ROUTES[family][each % len(ROUTES[family])] for each in which]
        self.bgp.announce(
            name,
            family,
            attributes(
                *carried,
                local_preference=preference,
                med=med,
                as_path=path,
                cluster_list=(US.cluster_id,) if loops else (),
            ),
            *arriving(family, routes),
        )

    @rule(name=names, family=families, which=several)
    def withdraw(self, name, family, which):
        if self.is_up(name):
            routes = [ROUTES[family][each % len(ROUTES[family])] for each in which]
            self.bgp.withdraw(name, family, [key for key, _ in routes])

    @rule(name=names, which=st.integers(0, 3), asks=st.booleans())
    def ask(self, name, which, asks):
        if not self.is_up(name) or AF.ROUTE_TARGET not in self.world.heard[name]:
            return
        key, label = MEMBERSHIPS[which]
        if asks:
            self.bgp.announce(name, AF.ROUTE_TARGET, attributes(), [(key, label)])
        else:
            self.bgp.withdraw(name, AF.ROUTE_TARGET, [key])

    @rule(name=names, family=st.sampled_from([AF.INET_VPN, AF.E_VPN, AF.ROUTE_TARGET]))
    def end(self, name, family):
        if self.is_up(name):
            self.bgp.end_of_rib(name, family)

    @rule(name=names, family=families)
    def refresh(self, name, family):
        if self.is_up(name):
            self.bgp.refresh(name, family)

    @rule(name=names, family=families)
    def stay_away(self, name, family):
        if not self.is_up(name):
            self.bgp.make_long_lived(name, family)

    @rule(name=names, family=families)
    def sweep(self, name, family):
        self.bgp.sweep(name, family)

    @rule(limit=st.sampled_from([1, 3, 100]), stuck=names)
    def take(self, limit, stuck):
        self.world.take(limit, lambda name: name != stuck)

    @rule(name=instances, imports=numbers, exports=numbers)
    def configure(self, name, imports, exports):
        self.rib.put_instance(
            Instance(
                name,
                name.rpartition(":")[0],
                frozenset(f"target:64512:{each}" for each in imports),
                frozenset(f"target:64512:{each}" for each in exports),
            )
        )

    @rule(name=instances)
    def forget(self, name):
        self.rib.forget_instance(name)

    @rule(name=instances)
    def join(self, name):
        self.rib.join(name)
        self.joined.append(name)

    @precondition(lambda self: self.joined)
    @rule()
    def leave(self):
        self.rib.leave(self.joined.pop())

    @rule(name=instances, label=st.sampled_from([0, 17, 18]))
    def publish(self, name, label):
        key = inet(Prefix.parse("10.1.1.3/32"))
        number = 1 if "red" in name else 2
        self.rib.publish(key, Path("host1", name, 0xAC1E0001, label, instance_id=number))

    @rule()
    def lose_agent(self):
        self.rib.withdraw_peer("host1")

    @rule()
    def settle(self):
        self.world.drain()

    def teardown(self):
        self.world.drain()


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


# Small worlds, all of them: every order of four events on one route and one peer that asks.
EVENTS = {
    "announce 1": lambda world: say(world, 1),
    "announce 2": lambda world: say(world, 2),
    "withdraw": lambda world: world.bgp.withdraw("peer1", AF.INET_VPN, [ROUTES[AF.INET_VPN][0][0]]),
    "ask": lambda world: world.bgp.announce(
        "peer2", AF.ROUTE_TARGET, attributes(), [membership(1)]
    ),
    "unask": lambda world: world.bgp.withdraw("peer2", AF.ROUTE_TARGET, [membership(1)[0]]),
    "ask all": lambda world: world.bgp.announce(
        "peer2", AF.ROUTE_TARGET, attributes(), [EVERYTHING]
    ),
    "unask all": lambda world: world.bgp.withdraw("peer2", AF.ROUTE_TARGET, [EVERYTHING[0]]),
    "end": lambda world: world.bgp.end_of_rib("peer2", AF.ROUTE_TARGET),
    "take": lambda world: world.take(1),
}


def say(world, number):
    world.bgp.announce("peer1", AF.INET_VPN, attributes(number), [ROUTES[AF.INET_VPN][0]])


def small_world(*events):
    world = World()
    world.up(PEERS["peer1"])
    world.up(PEERS["peer2"], WITH_TARGETS)
    for event in events:
        EVENTS[event](world)
    return world


@pytest.mark.parametrize("first", sorted(EVENTS))
def test_every_small_world_of_memberships_from_nothing(first):
    for rest in itertools.product(sorted(EVENTS), repeat=2):
        small_world(first, *rest).drain()


@pytest.mark.parametrize("first", sorted(EVENTS))
def test_every_small_world_of_memberships_from_one_that_has_settled(first):
    for rest in itertools.product(sorted(EVENTS), repeat=2):
        world = small_world("announce 1", "ask", "end").drain()
        for event in (first, *rest):
            EVENTS[event](world)
        world.drain()


# What comes and goes in bulk is noted in runs: every order of three events on two routes.
BULK = ROUTES[AF.INET_VPN][0], ROUTES[AF.INET_VPN][2]
BULK_EVENTS = {
    "announce": lambda world: say_both(world, "peer1", 1),
    "announce otherwise": lambda world: say_both(world, "peer1", 2),
    "announce from another": lambda world: say_both(world, "peer2", 1),
    "announce a third with one": lambda world: say_both(
        world, "peer1", 1, ROUTES[AF.INET_VPN][3], BULK[0]
    ),
    "announce a label": lambda world: say_both(world, "peer1", 1, ROUTES[AF.INET_VPN][1], BULK[1]),
    "withdraw": lambda world: world.bgp.withdraw("peer1", AF.INET_VPN, [key for key, _ in BULK]),
    "withdraw one": lambda world: world.bgp.withdraw("peer1", AF.INET_VPN, [BULK[1][0]]),
    "take one": lambda world: world.take(1),
    "take all": lambda world: world.take(),
}


def say_both(world, peer, number, *routes):
    routes = list(routes or BULK)
    arrived = arriving(AF.INET_VPN, routes)
    world.bgp.announce(peer, AF.INET_VPN, attributes(number), *arrived)


@pytest.mark.parametrize("first", [(), ("announce", "take all")])
def test_every_small_world_of_routes_in_bulk(first):
    for rest in itertools.product(BULK_EVENTS, repeat=3):
        world = World()
        for name in ("peer1", "peer2", "peer3"):
            world.up(PEERS[name])
        for event in (*first, *rest):
            BULK_EVENTS[event](world)
        world.drain()


def test_announcing_and_withdrawing_leaves_nothing():
    world = World()
    for peer in PEERS.values():
        world.up(peer)
    world.drain()
    before = world.bgp.tables[AF.INET_VPN].routes.copy()
    world.messages.clear()
    for name in ("peer1", "peer2", "peer4"):
        path = as_path(65004) if name == "peer4" else ()
        world.bgp.announce(
            name, AF.INET_VPN, attributes(1, 2, as_path=path), ROUTES[AF.INET_VPN][1:]
        )
    world.drain()
    for name in ("peer4", "peer1", "peer2"):
        world.bgp.withdraw(name, AF.INET_VPN, [key for key, _ in ROUTES[AF.INET_VPN]])
    world.drain()
    assert world.bgp.tables[AF.INET_VPN].routes == before == {}
    assert list(world.rib.target_sets) == []
    assert all(not heard[AF.INET_VPN] for heard in world.heard.values())


def test_the_order_of_paths_does_not_depend_on_arrival():
    world = World()
    table = world.bgp.tables[AF.INET_VPN]
    key = ROUTES[AF.INET_VPN][0]
    for name, med, neighbour in (
        ("peer1", 10, 65004),
        ("peer2", 5, 65004),
        ("peer3", 7, 65005),
        ("peer4", 1, 65004),
    ):
        peer = msgspec.structs.replace(PEERS[name], asn=neighbour)
        path = as_path(neighbour)
        table.announce(peer, attributes(1, med=med, as_path=path), [key])
    paths = table.paths(key[0])
    assert [each.peer.name for each in paths] == ["peer4", "peer3", "peer1", "peer2"]
    assert [each.peer.name for each in table.equal_paths(key[0])] == ["peer4", "peer3"]
    for order in itertools.permutations(paths):
        assert ordered(order) == paths
