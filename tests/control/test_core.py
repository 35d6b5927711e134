import msgspec
import pytest

from filament.base.errors import NotFoundError
from filament.base.net import Prefix, RouteTarget
from filament.control import core as core_module
from filament.control import fanout
from filament.control.absence import RESTART_GRACE_S, STALE_HOLD_S
from filament.control.core import IDLE_SYNC_S, ControlCore
from filament.rib.keys import EvpnInclusive
from filament.rib.peer import Peer, PeerKind
from filament.rib.rib import IMPORTS_AT_ONCE
from filament.wire.bgp.family import AddressFamily
from filament.wire.xmpp.stanza import (
    BROADCAST_MAC,
    ConfigSubscribed,
    ConfigUnsubscribed,
    InstanceSubscribed,
    InstanceUnsubscribed,
    MacKey,
    NextHop,
    RoutePublished,
    RouteRetracted,
    Synced,
)

from .bgp_world import attributes, vpn_key
from .control_world import BLUE, RED, SYSTEM, Cluster, FakeAgent, World, demo_world, machine_uuid

RED_1, RED_2 = (Prefix.parse(f"10.1.1.{n}/32") for n in (3, 4))
BLUE_1 = Prefix.parse("10.1.2.3/32")


@pytest.fixture
def cluster():
    agents = FakeAgent("host1", "red-1", "blue-1"), FakeAgent("host2", "red-2")
    return Cluster(demo_world(), *agents).start()


def routes(agent):
    return {
        key: [hop.address & 0xFF for hop in item.next_hops] for key, item in agent.routes.items()
    }


def test_agents_get_their_view_and_each_others_routes(cluster):
    host1, host2 = cluster.agents.values()
    assert routes(host1) == {(RED, RED_1): [1], (RED, RED_2): [2], (BLUE, BLUE_1): [1]}
    assert routes(host2) == {(RED, RED_1): [1], (RED, RED_2): [2]}
    assert ("virtual-router", f"{SYSTEM[0]}:host2") in host2.nodes
    assert ("virtual-machine", machine_uuid("red-2")) in host2.nodes
    assert ("virtual-machine", machine_uuid("red-1")) not in host2.nodes
    item = host2.routes[RED, RED_1]
    assert item.network == item.next_hops[0].network == "default-domain:demo:red"
    assert item.origin.object == "virtual-machine-interface default-domain:demo:red-1"
    assert item.origin.rule == "port"


def test_the_first_sync_is_not_whole_and_one_later_is_once(cluster):
    for agent in cluster.agents.values():
        assert [sync.sequence for sync in agent.syncs] == list(range(1, len(agent.syncs) + 1))
        assert not agent.syncs[0].whole
        assert sum(sync.whole for sync in agent.syncs) == 1
        assert agent.end_of_rib


def test_everything_is_settled_when_everyone_has_acknowledged(cluster):
    assert cluster.core.settled == cluster.core.revision == cluster.world.snapshot.revision
    assert [cluster.core.applied(each) for each in cluster.core.agents.values()] == [6, 6]


def test_a_policy_leaks_routes_both_ways_and_takes_them_back(cluster):
    world = cluster.world
    cluster.commit(world.policy("p", "red", "blue"))
    cluster.commit(world.network("red", "p"), world.network("blue", "p"))
    host1, host2 = cluster.agents.values()
    assert routes(host2) == {(RED, RED_1): [1], (RED, RED_2): [2], (RED, BLUE_1): [1]}
    item = host2.routes[RED, BLUE_1]
    assert item.network == "default-domain:demo:blue"
    assert item.origin.rule.startswith(f"port, imported from {BLUE} by target:64512:")
    assert routes(host1)[BLUE, RED_2] == [2]
    assert ("access-control-list", RED) in host2.nodes
    cluster.commit(world.network("red"), world.network("blue", "p"))
    assert routes(host2) == {(RED, RED_1): [1], (RED, RED_2): [2]}
    assert ("access-control-list", RED) not in host2.nodes
    assert cluster.core.settled == cluster.core.revision


def test_a_commit_waits_for_the_agents_it_concerns_and_for_what_they_publish(cluster):
    world, host2 = cluster.world, cluster.agents["host2"]
    host2.plug("red-3")
    cluster.run()
    before = cluster.core.settled
    host2.acknowledges = False
    cluster.commit(*world.port("red-3", "red", "10.1.1.5"))
    assert cluster.core.settled == before
    assert cluster.core.applied(cluster.core.agents["host2"]) == before
    assert routes(cluster.agents["host1"])[RED, Prefix.parse("10.1.1.5/32")] == [2]
    host2.outbox.append(Synced(host2.syncs[-1].sequence, host2.syncs[-1].revision))
    cluster.run()
    assert cluster.core.settled == cluster.core.revision


def test_the_second_round_waits_for_those_who_only_hear_the_consequences(cluster):
    world, host1 = cluster.world, cluster.agents["host1"]
    cluster.agents["host2"].plug("red-3")
    cluster.run()
    before = cluster.core.settled
    host1.acknowledges = False
    cluster.commit(*world.port("red-3", "red", "10.1.1.5"))
    assert cluster.core.settled == before
    cluster.lose("host1")
    cluster.run()
    assert cluster.core.settled == cluster.core.revision


def test_a_revision_waits_for_all_that_an_instance_gains_by_it(cluster):
    """What BGP peers said is followed in portions, and is a consequence like any other."""
    rib, host2 = cluster.core.rib, cluster.agents["host2"]
    rib.bgp.peer_up(Peer("router", PeerKind.CLIENT, 64512, 9), [AddressFamily.INET_VPN], 0.0)
    target = (RouteTarget(64512, 777).encode(),)
    told = [(vpn_key(n), b"\x00\x01\x11") for n in range(2 * IMPORTS_AT_ONCE + 1)]
    rib.bgp.announce(
        "router", AddressFamily.INET_VPN, attributes(extended_communities=target), told
    )
    cluster.run()
    before, had = cluster.core.settled, len(routes(host2))
    red = rib.instances[RED]
    rib.put_instance(msgspec.structs.replace(red, imports=red.imports | {"target:64512:777"}))
    cluster.core.apply_commit(cluster.world.commit(*cluster.world.port("x", "red", "10.1.1.9")), 0)
    for agent, stanza in cluster.core.take_outbox():
        cluster.wires[agent][1].send(stanza, cluster.now)
    assert rib.has_changes
    assert cluster.core.settled == before
    cluster.run()
    assert cluster.core.settled == cluster.core.revision
    assert len(routes(host2)) == had + len(told)


def test_a_revision_waits_for_all_that_one_who_subscribes_is_to_be_told(cluster, monkeypatch):
    """Meanwhile others are told of it, and nobody that what it was told is whole."""
    monkeypatch.setattr(fanout, "FRESH_AT_ONCE", 10)
    for number in range(3 * 10):
        prefix = Prefix(0x0A020000 + number, 32)
        cluster.core.receive("host2", RoutePublished(RED, prefix, NextHop(0xAC1E0002, 20)))
    cluster.run()
    core, host1 = cluster.core, cluster.agents["host1"]
    before, take, noted = core.settled, core.take_outbox, []

    def noting():
        outbox = take()
        if core.has_more:
            if not noted:  # a commit while host1 is being told
                port = cluster.world.port("x", "red", "10.1.1.9")
                core.apply_commit(cluster.world.commit(*port), 0)
            noted.append(core.settled)
        return outbox

    monkeypatch.setattr(core, "take_outbox", noting)
    cluster.lose("host1")
    cluster.connect("host1")
    cluster.run()
    assert len(noted) >= 3
    assert set(noted) == {before}
    assert core.settled == core.revision > before
    assert [sync.whole for sync in host1.syncs].index(True) >= 3


def test_an_unconcerned_agent_hears_of_the_revision_a_little_later(cluster):
    host2 = cluster.agents["host2"]
    count = len(host2.syncs)
    cluster.commit(*cluster.world.port("blue-9", "blue", "10.1.2.9"))
    assert len(host2.syncs) == count
    assert cluster.core.settled == cluster.core.revision
    cluster.advance(IDLE_SYNC_S)
    assert host2.syncs[-1].revision == cluster.core.revision
    assert len(host2.syncs) == count + 1
    cluster.advance(60)
    assert len(host2.syncs) == count + 1


def test_changes_between_flushes_are_told_once(cluster):
    core, host1 = cluster.core, cluster.agents["host1"]
    count = len(host1.syncs)
    for _ in range(5):
        core.apply_commit(cluster.world.commit(*cluster.world.port("x", "red", "10.1.1.9")), 0)
    for label in (20, 21, 22):
        core.receive("host2", RoutePublished(RED, RED_2, NextHop(0xAC1E0002, label)))
    outbox = [stanza for agent, stanza in core.take_outbox() if agent == "host1"]
    [sent, sync] = outbox
    assert [item.next_hops[0].label for item in sent.items] == [22]
    assert (sync.sequence, sync.revision) == (count + 1, core.revision)


def test_an_agent_that_crashes_costs_others_nothing(cluster):
    host1, host2 = cluster.agents.values()
    before, syncs = routes(host2), len(host2.syncs)
    cluster.lose("host1")
    cluster.advance(STALE_HOLD_S - 1)
    assert routes(host2) == before
    assert cluster.core.absences.stale == ["host1"]
    cluster.connect("host1")
    cluster.run()
    assert routes(host2) == before
    assert len(host2.syncs) == syncs
    assert cluster.core.absences.stale == []
    cluster.advance(2 * STALE_HOLD_S)
    assert routes(host2) == before
    assert host1.was_whole


def test_what_a_returned_agent_does_not_publish_again_is_swept(cluster):
    host1, host2 = cluster.agents.values()
    cluster.lose("host1")
    host1.machines.remove(machine_uuid("red-1"))
    cluster.connect("host1")
    cluster.run()
    assert routes(host2) == {(RED, RED_2): [2]}
    assert (BLUE, BLUE_1) in routes(host1)


def test_an_agent_that_does_not_return_is_swept_when_the_time_is_up(cluster):
    host2 = cluster.agents["host2"]
    cluster.lose("host1")
    cluster.run().advance(STALE_HOLD_S)
    assert routes(host2) == {(RED, RED_2): [2]}
    assert cluster.core.absences.stale == []
    assert cluster.core.known_agents == ["host2"]


def test_a_returned_agent_that_never_finishes_is_swept_too(cluster):
    host1, host2 = cluster.agents.values()
    cluster.lose("host1")
    cluster.advance(50)
    host1.receive = lambda _: None
    cluster.connect("host1")
    cluster.run().advance(STALE_HOLD_S - 1)
    assert (RED, RED_1) in routes(host2)
    cluster.advance(1)
    assert (RED, RED_1) not in routes(host2)


def test_after_a_restart_nobody_is_whole_until_everyone_has_published_again(cluster):
    host1, host2 = cluster.agents.values()
    assert cluster.core.known_agents == ["host1", "host2"]
    cluster.restart_control(expected=["host1", "host2"])
    cluster.connect("host1")
    cluster.run()
    assert host1.syncs
    assert not host1.was_whole
    assert not host1.end_of_rib
    assert cluster.core.absences.awaited == ["host2"]
    assert cluster.core.settled == 0
    assert cluster.core.known_agents == ["host1", "host2"]
    cluster.connect("host2")
    cluster.run()
    assert host1.was_whole
    assert host2.was_whole
    assert routes(host1)[RED, RED_2] == [2]
    whole_at = next(each for each in host1.syncs if each.whole)
    assert whole_at is host1.syncs[-1]
    assert cluster.core.settled == cluster.core.revision


def test_the_restart_grace_ends(cluster):
    host1 = cluster.agents["host1"]
    cluster.restart_control(expected=["host1", "host2"])
    cluster.connect("host1")
    cluster.run().advance(RESTART_GRACE_S - 1)
    assert not host1.was_whole
    cluster.advance(1)
    assert host1.was_whole
    assert cluster.core.settled == cluster.core.revision
    assert cluster.core.known_agents == ["host1"]


def test_without_a_record_every_virtual_router_is_awaited(cluster):
    cluster.restart_control(expected=None)
    assert cluster.core.absences.awaited == ["host1", "host2"]


def test_agents_that_are_configured_no_more_are_not_awaited(cluster):
    cluster.restart_control(expected=["host1", "host2", "gone"])
    assert cluster.core.absences.awaited == ["host1", "host2"]
    cluster.connect("host1")
    cluster.run()
    cluster.commit(deletes=[cluster.world.router("host2")])
    assert cluster.agents["host1"].was_whole


def test_whole_waits_for_the_end_of_rib(cluster):
    host1 = cluster.agents["host1"]
    cluster.lose("host1")
    cluster.connect("host1")
    host1.ended_rib = True  # so that it never says so
    cluster.run()
    assert host1.syncs
    assert not host1.was_whole


def test_an_unknown_agent_is_refused_and_served_once_it_exists(cluster):
    host9 = cluster.agents["host9"] = FakeAgent("host9", "red-9")
    cluster.connect("host9")
    cluster.run()
    text = (
        "control node ctl1 knows no virtual-router default-global-system-config:host9; create one"
        " named 'host9', or start the agent with the name of one that exists"
    )
    assert host9.refusals == [text]
    assert host9.syncs == []
    [refusal] = cluster.core.refusals.values()
    assert (refusal.agent, refusal.address, refusal.text) == ("host9", "172.30.0.1", text)
    assert cluster.core.settled == cluster.core.revision
    cluster.commit(cluster.world.router("host9"), *cluster.world.port("red-9", "red", "10.1.1.9"))
    assert cluster.core.refusals == {}
    assert host9.was_whole
    assert routes(cluster.agents["host2"])[RED, Prefix.parse("10.1.1.9/32")] == [9]
    assert routes(host9)[RED, RED_1] == [1]


def test_an_agent_whose_router_is_deleted_is_stripped_and_refused(cluster):
    host1, host2 = cluster.agents.values()
    cluster.commit(deletes=[cluster.world.router("host1")])
    assert "knows no virtual-router" in host1.refusals[0]
    assert routes(host2) == {(RED, RED_2): [2]}
    assert cluster.core.settled == cluster.core.revision
    cluster.commit(cluster.world.router("host1"))
    assert "connect and publish again" in cluster.closed["host1"]
    cluster.connect("host1")
    cluster.run()
    assert routes(host2) == {(RED, RED_1): [1], (RED, RED_2): [2]}


def test_an_unknown_instance_is_remembered_until_it_exists():
    world = World()
    world.commit(world.router("host1"), world.router("host2"))
    cluster = Cluster(world, FakeAgent("host1"), FakeAgent("host2")).start()
    host1, host2 = cluster.agents.values()
    host1.outbox.append(InstanceSubscribed(RED, 1))
    host2.outbox += [
        InstanceSubscribed(RED, 1),
        RoutePublished(RED, RED_2, NextHop(0xAC1E0002, 20)),
    ]
    cluster.run()
    assert host1.routes == {}
    cluster.commit(world.network("red"))
    assert routes(host1) == routes(host2) == {(RED, RED_2): [2]}
    cluster.commit(deletes=[world.network("red")])
    assert host1.routes == {}
    cluster.commit(world.network("red"))
    assert routes(host1) == {(RED, RED_2): [2]}


def test_leaving_an_instance_withdraws_and_silences(cluster):
    host1, host2 = cluster.agents.values()
    host1.outbox.append(InstanceUnsubscribed(RED))
    cluster.run()
    assert routes(host2) == {(RED, RED_2): [2]}
    count = len(host1.syncs)
    cluster.core.receive("host2", RoutePublished(RED, RED_2, NextHop(0xAC1E0002, 99)))
    cluster.run()
    assert len(host1.syncs) == count


def test_an_unplugged_machine_leaves_the_view(cluster):
    host1 = cluster.agents["host1"]
    host1.outbox.append(ConfigUnsubscribed("virtual-machine", machine_uuid("blue-1")))
    cluster.run()
    assert ("virtual-machine", machine_uuid("blue-1")) not in host1.nodes
    assert (BLUE, BLUE_1) not in host1.published


def test_loading_again_sends_only_the_difference(cluster):
    host1 = cluster.agents["host1"]
    core, world = cluster.core, cluster.world
    world.commit(world.policy("p", "red", "blue"))
    world.commit(world.network("red", "p"), world.network("blue", "p"))
    world.load_into(core, 0)
    [*sent, sync] = [stanza for agent, stanza in core.take_outbox() if agent == "host1"]
    kinds = {node.kind for stanza in sent for node in getattr(stanza, "nodes", ())}
    assert kinds == {"virtual-network", "routing-instance", "access-control-list"}
    assert (sync.revision, sync.whole) == (world.snapshot.revision, False)
    assert host1.was_whole


def test_a_restored_store_goes_back_in_time(cluster):
    world = World()
    world.commit(world.router("host1"), world.router("host2"))
    world.commit(world.network("red"))
    cluster.world = world
    world.load_into(cluster.core, 0)
    cluster.run()
    assert cluster.agents["host1"].syncs[-1].revision == 3
    assert cluster.core.settled == cluster.core.revision == 3
    assert cluster.agents["host1"].routes == {}


@pytest.mark.parametrize(
    ("stanzas", "reason"),
    [
        ([InstanceSubscribed(RED, 1)] * 2, f"{RED} is subscribed already; unsubscribe it first"),
        ([InstanceUnsubscribed("x")], "x is not subscribed, so it cannot be left"),
        (
            [RoutePublished("x", RED_1, NextHop(1, 20))],
            "10.1.1.3/32 is published in x, which is not subscribed; subscribe it first",
        ),
        ([Synced(99, 1)], "Sync 99 is acknowledged; expected"),
    ],
)
def test_abuse_closes_the_session_with_a_reason(cluster, stanzas, reason):
    cluster.agents["host2"].outbox += stanzas
    cluster.run()
    assert reason in cluster.closed["host2"]
    assert "host2" not in cluster.core.agents
    assert routes(cluster.agents["host1"])[RED, RED_2] == [2]


@pytest.mark.parametrize(
    ("subscription", "text"),
    [
        (
            ConfigSubscribed("virtual-router", "default-global-system-config:host2"),
            (
                "agent 'host1' may subscribe only to the virtual-router of its own name, not to"
                " default-global-system-config:host2"
            ),
        ),
        (
            ConfigSubscribed("virtual-network", "a:b"),
            "virtual-network a:b cannot be subscribed to; virtual-router and virtual-machine can",
        ),
    ],
)
def test_other_subscriptions_are_refused(cluster, subscription, text):
    cluster.agents["host1"].outbox.append(subscription)
    cluster.run()
    assert cluster.agents["host1"].refusals == [text]


def test_one_agent_cannot_fill_our_memory(cluster, monkeypatch):
    monkeypatch.setattr(core_module, "MAX_AGENT_SUBSCRIPTIONS", 3)
    monkeypatch.setattr(core_module, "MAX_AGENT_ROUTES", 1)
    for n in range(4):
        cluster.agents["host1"].outbox.append(InstanceSubscribed(f"i{n}", n))
    # Its one route again, twice, is no more than one.
    cluster.agents["host2"].outbox += [
        RoutePublished(RED, RED_2, NextHop(2, label)) for label in (20, 21)
    ]
    cluster.run()
    assert "host2" not in cluster.closed
    cluster.agents["host2"].outbox.append(RoutePublished(RED, BLUE_1, NextHop(2, 20)))
    cluster.run()
    assert "may subscribe to 3 machines and instances, not more" in cluster.closed["host1"]
    assert "may publish 1 routes, not more" in cluster.closed["host2"]


def test_who_is_told_of_a_flood_at_another_address_is_told_of_one(cluster):
    everybody = MacKey(BROADCAST_MAC, Prefix(0, 32), 5)
    floods = [RoutePublished(RED, everybody, NextHop(address, 5)) for address in (2, 3)]
    cluster.agents["host2"].outbox += floods
    cluster.run()
    [key] = [key for key in cluster.core.rib.keys(RED) if isinstance(key.nlri, EvpnInclusive)]
    assert key.nlri.originator == Prefix.host(3)
    cluster.agents["host2"].outbox.append(RouteRetracted(RED, everybody))
    cluster.run()
    assert key not in cluster.core.rib.keys(RED)


def test_agents_that_come_before_the_configuration_are_served_with_it():
    world = demo_world()
    cluster = Cluster(world, FakeAgent("host1", "red-1"), FakeAgent("host9"))
    for name in cluster.agents:
        cluster.connect(name)
    cluster.run()
    assert cluster.core.refusals == {}
    assert cluster.core.timer_at() is None
    world.load_into(cluster.core, 0)
    cluster.run()
    assert cluster.agents["host1"].was_whole
    assert list(cluster.core.refusals) == ["host9"]


def test_unknown_instances_are_named():
    with pytest.raises(NotFoundError, match="no routing instance is called 'x'"):
        ControlCore("ctl1").instance("x")


def test_an_unknown_agent_that_published_must_publish_again(cluster):
    host9 = cluster.agents["host9"] = FakeAgent("host9")
    cluster.connect("host9")
    route = RoutePublished(RED, Prefix.parse("10.1.1.9/32"), NextHop(0xAC1E0009, 20))
    host9.outbox += [InstanceSubscribed(RED, 1), route]
    cluster.run()
    assert (RED, route.destination) not in cluster.agents["host1"].routes
    cluster.commit(cluster.world.router("host9"))
    assert cluster.closed["host9"] == (
        "virtual-router default-global-system-config:host9 exists now; connect and publish again"
    )


def test_routes_of_an_instance_left_before_the_flush_are_not_sent(cluster):
    core = cluster.core
    core.receive("host2", InstanceSubscribed(BLUE, 7))
    core.receive("host2", InstanceUnsubscribed(BLUE))
    assert core.take_outbox() == []


def test_the_last_awaited_agent_makes_others_whole_though_it_has_no_routes():
    world = demo_world()
    host1, host2 = FakeAgent("host1", "red-1"), FakeAgent("host2")
    cluster = Cluster(world, host1, host2, expected=["host1", "host2"])
    world.load_into(cluster.core)
    cluster.connect("host1")
    cluster.run()
    assert not host1.was_whole
    cluster.connect("host2")
    cluster.run()
    assert host1.was_whole
