"""Who is sent which routes, of all families: nobody anything that is not theirs."""

import pytest

from filament.base.net import Prefix, RouteDistinguisher
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
