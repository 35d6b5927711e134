"""Who is sent which routes, of all families: nobody anything that is not theirs."""

import pytest

from filament.base.net import Prefix, RouteDistinguisher
from filament.control import fanout
from filament.control.fanout import Fanout
from filament.control.translate import FLOOD, destination_of, key_of, path_of
from filament.rib.keys import EvpnEthernetSegment, EvpnInclusive, evpn, order_of, unicast
from filament.rib.rib import Instance, Rib
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    MacKey,
    NextHop,
    RouteItem,
    RoutePublished,
    RoutesSent,
    TableFamily,
)

HOST1, HOST2 = 0xAC1E0001, 0xAC1E0002
V4, V6 = Prefix.parse("10.1.1.3/32"), Prefix.parse("fd00::3/128")
MAC = MacKey(0x020000000003, V4)
EVERYBODY = MacKey(BROADCAST_MAC, Prefix(0, 32), 5)
BEHIND = MacKey(0, Prefix.parse("10.9.0.0/16"))


class World:
    def __init__(self):
        self.rib = Rib()
        self.fanout = Fanout(self.rib)
        for name in ("red", "blue"):
            self.rib.put_instance(
                Instance(
                    name,
                    f"d:{name}",
                    frozenset({f"target:1:{len(name)}"}),
                    frozenset({f"target:1:{len(name)}"}),
                )
            )

    def publish(self, agent, instance, destination, address=HOST1, label=17, number=1):
        stanza = RoutePublished(instance, destination, NextHop(address, label, f"d:{instance}"))
        key = key_of(destination, address, number)
        self.rib.publish(key, path_of(agent, number, stanza))
        return key

    def listen(self, *agents, instance="red"):
        for agent in agents:
            self.fanout.serve(agent, ())
            self.fanout.listen(agent, instance)


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize("destination", [V4, V6, MAC, MacKey(5), BEHIND])
def test_destinations_are_keys_and_back(destination):
    assert destination_of(key_of(destination, HOST1, 3)) == destination


def test_everybodys_key_is_whose_it_is_and_agents_see_one():
    keys = {key_of(EVERYBODY, host, number) for host in (HOST1, HOST2) for number in (1, 2)}
    assert len(keys) == 4
    assert {destination_of(key) for key in keys} == {FLOOD}
    segment = EvpnEthernetSegment(RouteDistinguisher(0, 0, 0), bytes(10), V4)
    assert destination_of(evpn(segment)) is None


def test_listeners_share_one_stanza_and_others_hear_nothing(world):
    world.listen("a", "b")
    world.listen("c", instance="blue")
    assert world.fanout.take() == {}
    world.publish("a", "red", V4)
    sent = world.fanout.take()
    assert set(sent) == {"a", "b"}
    assert sent["a"][0] is sent["b"][0]
    item = RouteItem(V4, (NextHop(HOST1, 17, "d:red"),), "d:red", 200)
    assert sent["a"] == [RoutesSent("red", (item,))]
    assert world.fanout.take() == {}
    world.rib.withdraw("a", "red", unicast(V4))
    assert world.fanout.take()["b"] == [RoutesSent("red", (), (V4,))]


def test_each_family_goes_in_its_own_table(world):
    world.listen("a")
    for destination in (MAC, V6, BEHIND, V4):
        world.publish("b", "red", destination)
    sent = world.fanout.take()["a"]
    assert [(one.family, [each.destination for each in one.items]) for one in sent] == [
        (TableFamily.INET, [V4]),
        (TableFamily.INET6, [V6]),
        (TableFamily.ENET, [MAC, BEHIND]),
    ]


def test_floods_of_an_instance_are_one_route_that_grows_and_shrinks(world):
    world.listen("a", "b")
    one = world.publish("a", "red", EVERYBODY, HOST1, 5)
    two = world.publish("b", "red", EVERYBODY, HOST2, 6)
    [[sent]] = {tuple(each) for each in world.fanout.take().values()}
    [item] = sent.items
    assert item.destination == FLOOD
    assert [(hop.address, hop.label) for hop in item.flood] == [(HOST1, 5), (HOST2, 6)]
    world.rib.withdraw("a", "red", one)
    [sent] = world.fanout.take()["a"]
    assert [hop.address for hop in sent.items[0].flood] == [HOST2]
    world.rib.withdraw("b", "red", two)
    assert world.fanout.take()["a"] == [RoutesSent("red", (), (FLOOD,), TableFamily.ENET)]


def test_one_who_subscribes_later_is_sent_all_and_the_others_nothing_twice(world):
    world.listen("a")
    world.publish("a", "red", V4)
    world.fanout.take()
    world.listen("b")
    world.publish("a", "red", V6)
    sent = world.fanout.take()
    assert [one.family for one in sent["a"]] == [TableFamily.INET6]
    assert [one.family for one in sent["b"]] == [TableFamily.INET, TableFamily.INET6]


def told(sent, agent):
    return [str(item.destination) for one in sent.get(agent, ()) for item in one.items]


def test_an_instance_of_any_size_is_told_in_portions_with_what_changes_meanwhile(
    world, monkeypatch
):
    monkeypatch.setattr(fanout, "FRESH_AT_ONCE", 4)
    prefixes = [Prefix(0x0A020000 + number, 32) for number in range(10)]
    for prefix in prefixes:
        world.publish("x", "red", prefix)
    world.publish("x", "blue", V4)
    world.listen("a", "b")
    world.listen("c", instance="blue")
    first = world.fanout.take()
    assert told(first, "a") == told(first, "b") == [str(each) for each in prefixes[:4]]
    assert world.fanout.has_work
    # A new route, one that changes after and one before it was told, one that goes before.
    world.publish("x", "red", V4)
    world.publish("x", "red", prefixes[5], label=18)
    world.publish("x", "red", prefixes[0], label=18)
    world.rib.withdraw("x", "red", unicast(prefixes[9]))
    world.fanout.leave("b", "red")
    world.listen("d")
    second = world.fanout.take()
    assert told(second, "a") == [
        *map(str, (V4, prefixes[5], prefixes[0])),
        *map(str, prefixes[4:8]),
    ]
    assert second["a"][0].retracted == (prefixes[9],)
    assert set(second) == {"a"}
    third = world.fanout.take()
    assert told(third, "a") == [str(prefixes[8])]
    assert told(third, "c") == [str(V4)]
    last = [world.fanout.take() for _ in range(3)]
    assert sorted(each for one in last for each in told(one, "d")) == sorted(
        map(str, (V4, *prefixes[:9]))
    )
    assert all(set(one) == {"d"} for one in last)
    assert not world.fanout.has_work
    assert world.fanout.take() == {}


def test_one_who_is_served_no_more_is_told_no_rest(world, monkeypatch):
    monkeypatch.setattr(fanout, "FRESH_AT_ONCE", 1)
    for prefix in (V4, V6):
        world.publish("x", "red", prefix)
    world.listen("a")
    world.fanout.take()
    world.fanout.stop_serving("a")
    assert not world.fanout.has_work
    assert world.fanout.take() == {}
    world.fanout.serve("a", ["red"])
    world.fanout.serve("b", ["red"])
    world.fanout.stop_serving("b")
    assert {agent for _ in range(3) for agent in world.fanout.take()} == {"a"}


def test_one_who_left_or_is_not_served_hears_nothing(world):
    world.listen("a", "b")
    world.fanout.listen("c", "red")  # never served
    world.fanout.leave("a", "red")
    world.fanout.stop_serving("b")
    world.publish("x", "red", V4)
    assert world.fanout.take() == {}
    world.fanout.serve("b", ["red"])
    assert set(world.fanout.take()) == {"b"}
    world.listen("d", instance="gone")
    assert world.fanout.take() == {}


def test_the_same_way_told_by_two_peers_is_one(world):
    world.listen("a")
    world.publish("b", "red", V4)
    world.publish("c", "red", V4)
    world.publish("d", "red", V4, HOST2)
    [sent] = world.fanout.take()["a"]
    assert [hop.address for hop in sent.items[0].next_hops] == [HOST1, HOST2]


def test_keys_of_all_kinds_can_be_sorted():
    keys = [
        evpn(EvpnInclusive(RouteDistinguisher(0, 0, 1), 0, V4)),
        key_of(MAC, 1, 1),
        unicast(V6),
        unicast(V4),
    ]
    assert [str(key.nlri) for key in sorted(keys, key=order_of)] == [
        "3-0:1-0-10.1.1.3",
        "2-0:0-0-02:00:00:00:00:03,10.1.1.3",
        "10.1.1.3/32",
        "fd00::3/128",
    ]
