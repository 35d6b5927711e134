"""BGP peers over real sockets on loopback: routes, limits, restarts, configuration, hostility."""

import asyncio
import time

import msgspec
import pytest

from filament.base.limits import MAX_BGP_CONNECTIONS, MAX_BGP_PEER_ROUTES
from filament.base.net import RouteTarget, parse_address
from filament.compiler.peers import PrefixLimit, RestartPlan, SpeakerPlan
from filament.control import entrance
from filament.control import peering as peering_module
from filament.control.bgp_socket import connect
from filament.control.neighbour import Neighbour
from filament.control.peering import Peering
from filament.rib.rib import Rib
from filament.rib.rtc import membership_key
from filament.wire.bgp.capability import GracefulRestart
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import REFRESH_BEGINS, REFRESH_ENDS
from filament.wire.bgp.nlri import join, mpls_label
from filament.wire.bgp.session import Offer
from filament.wire.bgp.update import encode_updates

from .bgp_world import (
    EVPN,
    NODE,
    SPEAKERS,
    TARGET,
    TARGETS,
    VPN,
    attributes,
    free_port,
    peer,
    running,
    speaker,
    until,
    vpn_key,
)

OTHER = RouteTarget(64512, 2).encode()
RESTART = RestartPlan(True, True, 300, 0, 60)
PRESERVED = GracefulRestart(120, preserved=((VPN, True), (EVPN, True)))


@pytest.fixture(autouse=True)
async def _silence():
    yield
    while SPEAKERS:
        await SPEAKERS.pop().stop()


def up(node, *names):
    return lambda: all(node.neighbour(name).session for name in names)


async def connected(node, *speakers):
    for one in speakers:
        await one.connect()
    await until(lambda: all(one.session.is_established for one in speakers), "established")


async def test_routes_are_reflected_and_withdrawn():
    async with running(peer("a", 2), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a, b)
        await until(lambda: set(b.ended) == {VPN, EVPN}, "End-of-RIB")
        a.announce(range(500))
        await until(lambda: len(b.heard()) == 500, "all reflected")
        found, label = b.routes[VPN, vpn_key(7)]
        assert label == b"\x00\x01\x11"
        assert found.originator_id is not None
        assert found.cluster_list == (7,)
        assert not a.heard()  # split horizon
        a.withdraw(range(100))
        await until(lambda: len(b.heard()) == 400, "some withdrawn")
        await a.crash()
        await until(lambda: not b.heard(), "a crash withdraws the rest")
        assert node.neighbour("a").machine.lost_count == 1


async def test_a_late_peer_gets_the_whole_table():
    async with running(peer("a", 2), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a)
        a.announce(range(3000))
        await until(lambda: node.count("a") == 3000)
        await connected(node, b)
        await until(lambda: VPN in b.ended, "End-of-RIB")
        assert len(b.heard()) == 3000


async def test_no_step_is_long_enough_to_make_a_keepalive_late():
    """Measured in processor time: another process's work is not ours to answer for."""
    steps = []

    async def watch():
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            steps.append(time.thread_time() - began)

    async with running(peer("a", 2), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a, b)
        messages = [
            message
            for start in range(0, 40_000, 50)
            for message in encode_updates(
                VPN,
                attributes(med=start // 50 % 500),
                [join(VPN, vpn_key(number), mpls_label(17)) for number in range(start, start + 50)],
            )
        ]
        watching = asyncio.create_task(watch())
        a.send(messages)
        await until(lambda: len(b.heard()) == 40_000, "all reflected")
        await a.crash()
        await until(lambda: not b.heard(), "all withdrawn")
        watching.cancel()
    assert max(steps) < 0.5  # b's own decoding included


async def test_memberships_decide_who_hears():
    families = (TARGETS, VPN)
    async with running(
        peer("a", 2, families=families), peer("b", 3, families=families), peer("c", 4)
    ) as node:
        a, b = (speaker(number, node.port, families=families) for number in (2, 3))
        c = speaker(4, node.port)
        await connected(node, a, b, c)
        a.end(TARGETS)
        b.end(TARGETS)
        a.announce(range(10))
        await until(lambda: len(c.heard()) == 10, "a peer without the family hears all")
        assert not b.heard()


async def test_a_peer_that_will_not_end_its_memberships_is_not_waited_for():
    families = (TARGETS, VPN)
    async with running(peer("a", 2), peer("b", 3, families=families)) as node:
        a = speaker(2, node.port)
        b = speaker(3, node.port, families=families, restart=None)
        await connected(node, a, b)
        a.announce(range(10))
        b.send(encode_updates(TARGETS, attributes(), [membership_key(64512, TARGET)]))
        await until(lambda: len(b.heard()) == 10, "at once")


async def test_we_connect_to_a_peer_that_is_not_passive():
    port = free_port()
    accepted = asyncio.Queue()
    a = speaker(2, 0)

    def accept(reader, writer):
        a.writer = writer
        a.start(reader)
        accepted.put_nowait(writer.get_extra_info("peername")[0])

    server = await asyncio.start_server(accept, "127.0.1.2", port)
    async with running(peer("a", 2, port=port, is_passive=False)) as node:
        assert await asyncio.wait_for(accepted.get(), 5) == NODE  # from our own address
        await until(up(node, "a"), "established")
    server.close()


async def test_a_peer_that_is_not_there_is_tried_again():
    port = free_port()
    async with running(peer("a", 2, port=port, is_passive=False)) as node:
        machine = node.neighbour("a").machine
        await until(lambda: machine.state == "Active")
        assert machine.reason == f"cannot connect to 127.0.1.2 port {port}: Connection refused"


async def test_both_ends_connecting_is_one_session():
    port = free_port()
    a = speaker(2, 0)
    incoming = asyncio.Event()

    def accept(reader, writer):
        other = speaker(2, 0)
        other.writer = writer
        other.start(reader)
        a.other = other
        incoming.set()

    server = await asyncio.start_server(accept, "127.0.1.2", port)
    async with running(peer("a", 2, port=port, is_passive=False)) as node:
        await asyncio.wait_for(incoming.wait(), 5)
        a.port = node.port
        await a.connect()
        await until(lambda: node.neighbour("a").session and len(node.neighbour("a").drivers) == 1)
        assert sum(one.session.is_established for one in (a, a.other)) == 1
    server.close()


async def test_strangers_are_refused():
    async with running(peer("a", 2)) as node:
        stranger = speaker(9, node.port)
        await stranger.connect()
        await until(lambda: stranger.closed, "refused")
        assert stranger.closed.reason == "the peer said cease: connection rejected"
        [refused] = node.peering.entrance.refused
        assert refused.address == "127.0.1.9"
        assert refused.reason == "no bgp-router that we peer with has this address"


async def test_connections_are_bounded(monkeypatch):
    assert peering_module.MAX_BGP_CONNECTIONS == MAX_BGP_CONNECTIONS
    monkeypatch.setattr(peering_module, "MAX_BGP_CONNECTIONS", 1)
    async with running(peer("a", 2), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a)
        await b.connect()
        await until(lambda: b.closed, "refused")
        assert node.peering.entrance.refused[-1].reason == "there are 1 connections already"


async def test_a_flood_of_half_open_connections_costs_nobody():
    async with running(peer("a", 2), peer("b", 3)) as node:
        b = speaker(3, node.port)
        await connected(node, b)
        flood = [
            await asyncio.open_connection(NODE, node.port, local_addr=("127.0.1.2", 0))
            for _ in range(100)
        ]
        await until(lambda: len(node.neighbour("a").drivers) == 1, "only the newest is kept")
        a = speaker(2, node.port)
        await connected(node, a)
        a.announce(range(10))
        await until(lambda: len(b.heard()) == 10)
        for _, writer in flood:
            writer.close()


async def test_a_slow_reader_is_dropped_and_delays_nobody(monkeypatch):
    monkeypatch.setattr(peering_module, "MAX_BACKLOG_BYTES", 1 << 14)
    async with running(peer("a", 2), peer("slow", 3), peer("b", 4)) as node:
        node.peering._max_queue_bytes = 1 << 16
        a, slow, b = (speaker(number, node.port) for number in (2, 3, 4))
        slow.buffer_bytes = 4096
        await connected(node, a, slow, b)
        slow.is_reading.clear()
        for number in range(100):
            a.announce(range(2000), found=attributes(med=number))
            await until(lambda: {each.med for each, _ in b.routes.values()} == {number})  # noqa: B023
            if node.neighbour("slow").session is None:
                break
        assert node.neighbour("slow").machine.reason == (
            "it did not read: over 65536 bytes waited for it"
        )
        assert node.neighbour("b").session is not None


async def test_whole_tables_wait_for_those_who_read_slowly(monkeypatch):
    monkeypatch.setattr(peering_module, "MAX_BACKLOG_BYTES", 1 << 14)
    async with running(peer("a", 2), peer("slow", 3)) as node:
        a, slow = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a)
        for start in range(0, 50_000, 5000):
            a.announce(range(start, start + 5000))
        await until(lambda: node.count("a") == 50_000)
        slow.buffer_bytes = 4096
        await connected(node, slow)
        slow.is_reading.clear()
        await asyncio.sleep(0.2)
        backlog = node.neighbour("slow").driver.backlog_bytes
        assert backlog < 1 << 17  # not the whole table, of 750 kB
        slow.is_reading.set()
        await until(lambda: VPN in slow.ended, "End-of-RIB after all of it")
        assert len(slow.heard()) == 50_000


async def test_a_prefix_limit_warns_and_ends_the_session(capsys):
    limited = peer("a", 2, prefix_limits=(PrefixLimit(VPN, 100, 3600),))
    async with running(limited, peer("b", 3)) as node:
        a = speaker(2, node.port)
        await connected(node, a)
        for _ in range(3):
            a.announce(range(70))  # the same again is no more
        await until(lambda: node.count("a") == 70)
        a.announce(range(70, 90))
        a.announce(range(90))
        await until(lambda: node.count("a") == 90)
        assert "".join(capsys.readouterr()).count("bgp-prefix-limit-near") == 1
        a.announce(range(90, 101))
        await until(lambda: a.closed, "told to stop")
        assert a.closed.reason == "the peer said cease: maximum number of prefixes reached"
        await until(lambda: node.count("a") == 0, "its routes go")
        neighbour = node.neighbour("a")
        assert neighbour.machine.reason == (
            "more than 100 inet-vpn routes, the most that a may have"
        )
        again = speaker(2, node.port)
        await again.connect()
        await until(lambda: again.closed, "kept away")
        neighbour.kept_away_until = 0.0
        node.peering.wake()
        await until(lambda: neighbour.machine.state == "Active")
        await connected(node, speaker(2, node.port))


def test_a_peer_without_a_limit_has_one():
    neighbour = Neighbour(peer("a", 2), Offer(64512, 1, (VPN,)), lambda: 0.5)
    assert neighbour.limit(VPN).maximum == MAX_BGP_PEER_ROUTES


async def test_a_helper_keeps_routes_until_the_peer_has_told_all_again():
    async with running(peer("a", 2), peer("b", 3), restart=RESTART) as node:
        a, b = speaker(2, node.port, restart=PRESERVED), speaker(3, node.port)
        await connected(node, a, b)
        a.announce(range(100))
        await until(lambda: len(b.heard()) == 100)
        await a.crash()
        await until(lambda: node.neighbour("a").session is None)
        assert set(node.neighbour("a").retention.kept) == {VPN, EVPN}
        a = speaker(2, node.port, restart=PRESERVED)
        await connected(node, a)
        a.announce(range(50))
        await until(lambda: node.rib.bgp.stale_count("a", VPN) == 50)
        assert len(b.heard()) == 100
        a.end(VPN, EVPN)
        await until(lambda: len(b.heard()) == 50, "what was not told again goes")
        assert node.neighbour("a").retention.kept == {}


async def test_what_a_restarting_peer_asked_for_still_counts():
    families = (TARGETS, VPN)
    preserved = GracefulRestart(120, preserved=((TARGETS, True), (VPN, True)))
    restarting = msgspec.structs.replace(preserved, is_restarting=True)
    keys = [membership_key(64512, TARGET), membership_key(64512, OTHER)]
    async with running(peer("a", 2), peer("b", 3, families=families), restart=RESTART) as node:
        a, b = speaker(2, node.port), speaker(3, node.port, families=families, restart=preserved)
        await connected(node, a, b)
        a.announce(range(10))
        a.announce(range(10, 20), found=attributes(extended_communities=(OTHER,)))
        b.send(encode_updates(TARGETS, attributes(), keys))
        b.end(TARGETS)
        await until(lambda: len(b.heard()) == 20)
        await b.crash()
        await until(lambda: node.neighbour("b").session is None)
        b = speaker(3, node.port, families=families, restart=restarting)
        await connected(node, b)
        await until(lambda: VPN in b.ended, "it need not say anything for that")
        assert len(b.heard()) == 20
        b.send(encode_updates(TARGETS, attributes(), keys[:1]))
        b.end(TARGETS, VPN)
        await until(lambda: len(b.heard()) == 10, "what it did not ask for again goes")


async def test_a_peer_that_shuts_down_is_not_waited_for():
    async with running(peer("a", 2), peer("b", 3), restart=RESTART) as node:
        a, b = speaker(2, node.port, restart=PRESERVED), speaker(3, node.port)
        await connected(node, a, b)
        a.announce(range(10))
        await until(lambda: len(b.heard()) == 10)
        a.session.close("maintenance", 0.0)
        a.flush()
        await until(lambda: not b.heard())


async def test_a_restarted_node_ends_its_rib_when_it_knows_all_again():
    async with running(peer("a", 2, families=(TARGETS, VPN)), restart=RESTART) as node:
        node.is_complete = False
        a = speaker(2, node.port, families=(TARGETS, VPN))
        await connected(node, a)
        assert a.session.agreement.restart.is_restarting
        assert a.session.agreement.restart.restart_time_s == 300
        a.end(TARGETS)
        await until(lambda: TARGETS in a.ended, "memberships are not held back")
        await asyncio.sleep(0.1)
        assert a.ended == [TARGETS]
        node.is_complete = True
        node.peering.wake()
        await until(lambda: VPN in a.ended, "and now the rest")


async def test_a_node_that_stops_leaves_its_routes_with_those_who_keep_them():
    async with running(peer("a", 2), restart=RESTART) as node:
        a = speaker(2, node.port, restart=PRESERVED)
        await connected(node, a)
    await until(lambda: a.closed)
    assert a.closed.received is None


async def test_a_node_that_stops_says_so():
    async with running(peer("a", 2)) as node:
        a = speaker(2, node.port)
        await connected(node, a)
    await until(lambda: a.closed)
    assert a.closed.reason == (
        "the peer said cease: administrative shutdown (the control node stops)"
    )


async def test_a_change_touches_only_the_sessions_it_must():
    a_plan, b_plan, c_plan = peer("a", 2), peer("b", 3), peer("c", 4)
    async with running(a_plan, b_plan, c_plan) as node:
        a, b, c = (speaker(number, node.port) for number in (2, 3, 4))
        await connected(node, a, b, c)
        changed = msgspec.structs.replace
        node.configure(
            changed(a_plan, prefix_limits=(PrefixLimit(VPN, 9),), vendor="acme"),
            changed(b_plan, hold_time_s=30),
        )
        await until(lambda: b.closed and c.closed)
        assert b.closed.reason == "the peer said cease: other configuration change"
        assert c.closed.reason == "the peer said cease: peer de-configured"
        assert a.session.is_established
        assert set(node.peering.neighbours) == {"a", "b"}
        b = speaker(3, node.port)
        await connected(node, b)
        assert b.session.agreement.hold_time_s == 30
        node.configure(changed(a_plan, is_admin_down=True), changed(b_plan, hold_time_s=30))
        await until(lambda: a.closed)
        assert a.closed.reason == (
            "the peer said cease: administrative shutdown (admin_down is set for a)"
        )
        assert b.session.is_established
        node.configure(a_plan, changed(b_plan, hold_time_s=30))
        await connected(node, speaker(2, node.port))
        assert b.session.is_established


async def test_another_identifier_ends_all_sessions():
    async with running(peer("a", 2)) as node:
        a = speaker(2, node.port)
        await connected(node, a)
        node.configure(peer("a", 2), cluster_id=8)
        await until(lambda: a.closed)
        assert node.rib.bgp.us.cluster_id == 8


async def test_another_restart_time_needs_another_open():
    async with running(peer("a", 2), restart=RESTART) as node:
        a = speaker(2, node.port, restart=PRESERVED)
        await connected(node, a)
        changed = msgspec.structs.replace
        node.configure(peer("a", 2), restart=changed(RESTART, end_of_rib_timeout_s=5))
        await asyncio.sleep(0.05)
        assert a.session.is_established
        node.configure(peer("a", 2), restart=changed(RESTART, restart_time_s=9))
        await until(lambda: a.closed)
        a = speaker(2, node.port, restart=PRESERVED)
        await connected(node, a)
        assert a.session.agreement.restart.restart_time_s == 9


async def test_a_node_that_helps_no_more_keeps_nothing():
    async with running(peer("a", 2), restart=RESTART) as node:
        a = speaker(2, node.port, restart=PRESERVED)
        await connected(node, a)
        a.announce(range(10))
        await until(lambda: node.count("a") == 10)
        await a.crash()
        await until(lambda: node.rib.bgp.stale_count("a", VPN) == 10)
        node.configure(peer("a", 2), restart=msgspec.structs.replace(RESTART, is_helper=False))
        await until(lambda: node.count("a") == 0)


async def test_signed_sessions():
    async with running(peer("a", 2, password="secret"), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, b)
        connecting = asyncio.create_task(a.connect())
        await asyncio.sleep(0.3)
        assert not connecting.done()  # unsigned segments are dropped by the kernel
        connecting.cancel()
        node.configure(peer("a", 2), peer("b", 3))
        a = speaker(2, node.port)
        await connected(node, a)
        assert b.session.is_established


async def test_refresh_both_ways():
    async with running(peer("a", 2), peer("b", 3)) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a, b)
        a.announce(range(10))
        await until(lambda: len(b.heard()) == 10)
        b.routes.clear()
        b.session.send_refresh(VPN, 0.0)
        b.flush()
        await until(lambda: (VPN, REFRESH_ENDS) in b.refreshes)
        assert b.refreshes == [(VPN, REFRESH_BEGINS), (VPN, REFRESH_ENDS)]
        assert len(b.heard()) == 10
        assert node.peering.ask_refresh("a", VPN)
        assert not node.peering.ask_refresh("nobody", VPN)
        await until(lambda: (VPN, 0) in a.refreshes)
        a.session.send_refresh(VPN, 0.0, REFRESH_BEGINS)
        a.announce(range(4))
        a.session.send_refresh(VPN, 0.0, REFRESH_ENDS)
        a.flush()
        await until(lambda: len(b.heard()) == 4, "what was not told again goes")


async def test_a_flapping_peer_is_damped():
    async with running(peer("a", 2)) as node:
        for _ in range(2):
            a = speaker(2, node.port)
            await connected(node, a)
            await until(up(node, "a"))
            await a.crash()
            await until(lambda: node.neighbour("a").session is None)
        assert node.neighbour("a").machine.state == "Idle"
        again = speaker(2, node.port)
        await again.connect()
        await until(lambda: again.closed)
        assert node.peering.entrance.refused[-1].reason == (
            "peer a is Idle: the peer closed the connection"
        )
        await until(lambda: node.neighbour("a").machine.state == "Active", "forgiven")


async def test_an_occupied_port_is_said_and_tried_again(monkeypatch, capsys):
    monkeypatch.setattr(entrance, "_AGAIN_S", 0.05)
    async with running(peer("a", 2)) as node:
        taken = free_port()
        server = await asyncio.start_server(lambda *_: None, NODE, taken)
        node.configure(peer("a", 2), port=taken)
        await until(lambda: node.peering.entrance.problem)
        assert node.peering.entrance.problem == (
            f"cannot listen for BGP on {NODE} port {taken}: Address already in use"
        )
        server.close()
        await until(lambda: node.peering.entrance.port == taken, "again")
        assert "".join(capsys.readouterr()).count("bgp-not-listening") == 1


@pytest.mark.parametrize("asn", [64999, 4200000001])
async def test_external_peers(asn):
    external = peer("x", 2, peer_as=asn, is_client=False)
    async with running(external, peer("b", 3)) as node:
        x, b = speaker(2, node.port, asn=asn), speaker(3, node.port)
        await connected(node, x, b)
        b.announce(range(3), found=attributes())
        await until(lambda: len(x.heard()) == 3)
        found, _ = x.routes[VPN, vpn_key(0)]
        assert [segment.ases for segment in found.as_path] == [(64512,)]
        assert (found.local_preference, found.cluster_list) == (None, ())
        assert found.next_hop == attributes().next_hop


async def test_a_peer_may_know_us_by_another_as():
    other = peer("x", 2, peer_as=64999, local_as=65001, is_client=False)
    async with running(other, peer("b", 3)) as node:
        x, b = speaker(2, node.port, asn=64999, peer_as=65001), speaker(3, node.port)
        await connected(node, x, b)
        b.announce(range(3))
        await until(lambda: len(x.heard()) == 3)
        found, _ = x.routes[VPN, vpn_key(0)]
        assert [segment.ases for segment in found.as_path] == [(65001,)]


async def test_sessions_over_ipv6():
    here = parse_address("::1")
    one = msgspec.structs.replace(peer("a", 2), address=here, password="secret")
    port = free_port()
    rib = Rib()
    peering = Peering(rib, listens=(here,))
    peering.configure(
        SpeakerPlan(name="ctl1", identifier=1, address=here, port=port, peers={"a": one})
    )
    task = asyncio.create_task(peering.run())
    await until(lambda: peering.entrance.port == port)
    streams = await connect(here, port, here, "secret")
    a = speaker(2, port)
    a.writer = streams[1]
    a.start(streams[0])
    await until(lambda: a.session.is_established)
    a.announce(range(3))
    await until(lambda: rib.bgp.tables[VPN].count_of("a") == 3)
    task.cancel()


async def test_families_not_agreed_on_are_not_told():
    async with running(peer("a", 2), peer("b", 3, families=(EVPN,))) as node:
        a, b = speaker(2, node.port), speaker(3, node.port)
        await connected(node, a, b)
        assert b.session.agreement.families == (EVPN,)
        a.announce(range(3))
        await until(lambda: node.count("a") == 3)
        assert not b.heard()
        assert AddressFamily.INET_VPN not in b.ended
