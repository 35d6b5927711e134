"""A peer, or an agent, that comes and goes a thousand times, with other routes each time: nothing
of it stays, and it is held off.
"""

import asyncio
import contextlib
import gc
import socket
import sys

import pytest

from filament.base.net import Prefix, RouteTarget, parse_ipv4
from filament.client.watch import Loaded
from filament.compiler.peers import RestartPlan
from filament.control import damping, peering
from filament.control import node as node_module
from filament.control.copy import DiskCopy
from filament.control.node import ControlNode
from filament.rib.rtc import membership_key
from filament.wire.bgp import peer as peer_machine
from filament.wire.bgp.attributes import Attributes, encode_attributes
from filament.wire.bgp.capability import GracefulRestart
from filament.wire.bgp.message import KEEPALIVE
from filament.wire.bgp.nlri import join, mpls_label
from filament.wire.bgp.session import BgpSession, Offer
from filament.wire.bgp.update import encode_end_of_rib, encode_updates
from filament.wire.xmpp import codec
from filament.wire.xmpp.codec import encode_from_agent
from filament.wire.xmpp.session import ClientSession
from filament.wire.xmpp.stanza import (
    ConfigSubscribed,
    EndOfRib,
    InstanceSubscribed,
    NextHop,
    RoutePublished,
    Synced,
)

from .bgp_world import NODE, TARGETS, VPN, attributes, peer, running, speaker, until, vpn_key
from .control_world import RED, SYSTEM, demo_world

FLAPS, WARM = 1000, 300  # rings and caches are full by then
ROUTES = 5
FAMILIES = (VPN, TARGETS)
IDENTIFIER = parse_ipv4("127.0.1.2")


def said(flap, *, is_graceful):
    """All that the peer says in one session, at once: routes of this time only."""
    restart = GracefulRestart(120, is_restarting=True, preserved=((VPN, True), (TARGETS, True)))
    offer = Offer(
        64512, IDENTIFIER, FAMILIES, restart=restart if is_graceful else GracefulRestart()
    )
    target = RouteTarget(64512, 1000 + flap).encode()
    routes = [
        join(VPN, vpn_key(ROUTES * flap + number), mpls_label(17)) for number in range(ROUTES)
    ]
    mine = attributes(med=flap, extended_communities=(target,))
    wanted = Attributes(next_hop=mine.next_hop, local_preference=100)
    return b"".join(
        [
            *BgpSession(offer, 0.0).data_to_send(0.0),
            KEEPALIVE,
            *encode_updates(TARGETS, wanted, [membership_key(64512, target)]),
            encode_end_of_rib(TARGETS),
            *encode_updates(VPN, mine, routes),
            encode_end_of_rib(VPN),
        ]
    )


class Silence:
    """A log that keeps nothing: what pytest captures would look like a leak."""

    def info(self, *_, **__):
        pass


async def flap(node, octets, number, *, is_graceful):
    """One session from SYN to RST, heard to its end."""
    loop = asyncio.get_running_loop()
    neighbour, table = node.neighbour("a"), node.rib.bgp.tables[VPN]
    last = vpn_key(ROUTES * number + ROUTES - 1)
    with socket.socket() as end:
        end.setblocking(False)
        end.bind(("127.0.1.2", 0))
        await loop.sock_connect(end, (NODE, node.port))
        await loop.sock_sendall(end, octets)
        while neighbour.session is None or last not in table.routes:  # noqa: ASYNC110
            await asyncio.sleep(0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    # Turns of the loop are what is waited for: two milliseconds each would be a minute.
    while neighbour.session is not None or neighbour.machine.state != "Active":  # noqa: ASYNC110
        await asyncio.sleep(0)
    while not is_graceful and node.count("a"):  # noqa: ASYNC110
        await asyncio.sleep(0)


def held_count():
    """How many pieces of memory Python holds, but for bounded caches that fill up more slowly."""
    for cached in (encode_attributes, codec._encode_routes, parse_ipv4):
        cached.cache_clear()
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("is_graceful", [False, True], ids=["forgotten", "kept"])
async def test_a_thousand_flaps_leave_nothing_behind(monkeypatch, is_graceful):
    monkeypatch.setattr(peer_machine, "MAX_HELD_S", 0.0)  # or it would take a day
    monkeypatch.setattr(peering, "_log", Silence())
    restart = RestartPlan(is_graceful, is_graceful, 300, 0, 60)
    plans = [peer(name, number, families=FAMILIES) for name, number in (("a", 2), ("b", 3))]
    async with running(*plans, restart=restart) as node:
        b = speaker(3, node.port, families=FAMILIES)
        try:
            await b.connect()
            await until(lambda: b.session.is_established)
            for number in range(FLAPS):
                octets = said(number, is_graceful=is_graceful)
                await flap(node, octets, number, is_graceful=is_graceful)
                if number == WARM:
                    before = held_count()
            left = held_count() - before
        finally:
            await b.stop()
        assert node.neighbour("a").machine.established_count == FLAPS
        assert left < (FLAPS - WARM) / 2, f"{left / (FLAPS - WARM):.1f} pieces of each flap stay"
        if is_graceful:
            node.configure(*plans, restart=RestartPlan(True, False, 300, 0, 60))  # helps no more
        await until(lambda: not node.count("a") and not node.count("a", TARGETS), "swept")
        assert not node.rib.bgp.tables[VPN].routes
        assert node.count("b") == 0


# agents ---------------------------------------------------------------------------------------


class Agents:
    """A control node on loopback, and what agents say to it byte by byte."""

    def __init__(self, node, port):
        self.node = node
        self.port = port

    async def begin(self, name):
        """Open a stream, subscribe, and wait for the first answer or the end."""
        said = ClientSession(name, 0.0).data_to_send(0.0)
        router = ConfigSubscribed("virtual-router", f"{SYSTEM[0]}:{name}")
        said += [encode_from_agent(each, name, 1) for each in (router, InstanceSubscribed(RED, 1))]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"".join(said))
        heard = b""
        while b"<sync" not in heard and b"</stream:stream>" not in heard:
            more = await reader.read(65536)
            heard += more
            if not more:
                break
        return writer, heard

    async def flap(self, number):
        """One session from its header to its loss, with routes that the next will not have."""
        core = self.node.core
        writer, _ = await self.begin("host1")
        stanzas = [
            RoutePublished(RED, Prefix(0x0A400000 + ROUTES * number + each, 32), NextHop(1, 16))
            for each in range(ROUTES)
        ]
        stanzas.append(EndOfRib())
        session = core.agents["host1"]
        stanzas.append(Synced(session.sent_sequence, session.sent_revision))
        writer.write(b"".join(encode_from_agent(each, "host1", 2) for each in stanzas))
        while not session.has_published_again:  # noqa: ASYNC110
            await asyncio.sleep(0)
        writer.transport.abort()
        while "host1" in core.agents:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
async def agents(tmp_path, monkeypatch):
    monkeypatch.setattr(node_module, "_log", Silence())
    world = demo_world()
    node = ControlNode("ctl1", "unix:/nowhere", DiskCopy(tmp_path / "copy.json"))
    snapshot = world.snapshot
    node.take_configuration(
        Loaded(snapshot.revision, list(snapshot.objects()), list(snapshot.allocations()))
    )

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await node.serve_agent(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running = asyncio.create_task(node.run())
    yield Agents(node, server.sockets[0].getsockname()[1])
    node.close()
    server.close()
    running.cancel()


async def test_a_thousand_flaps_of_an_agent_leave_nothing_behind(agents, monkeypatch):
    monkeypatch.setattr(damping, "EVERY_S", 0.0)
    for number in range(FLAPS):
        await agents.flap(number)
        if number == WARM:
            before = held_count()
    left = held_count() - before
    assert agents.node.flaps["host1"].count == FLAPS
    assert left < (FLAPS - WARM) / 2, f"{left / (FLAPS - WARM):.1f} pieces of each flap stay"
    assert agents.node.core.rib.count_of_peer("host1") <= 2 * ROUTES  # stale until it is back


async def test_an_agent_that_flaps_is_held_off_and_others_are_not(agents):
    heard = []
    for _ in range(damping.BURST + 5):
        writer, said = await agents.begin("host1")
        heard.append(said)
        writer.transport.abort()
        while "host1" in agents.node.core.agents:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert all(b"<sync" in each for each in heard[: damping.BURST])
    assert b"begins sessions too often; it may come back in" in heard[-1]
    writer, said = await agents.begin("host2")
    assert b"<sync" in said
    writer.transport.abort()


def test_sessions_to_begin_come_back_one_by_one():
    held = damping.Damping()
    assert [held.wait_s("a", 0.0) for _ in range(damping.BURST + 1)] == [0.0] * damping.BURST + [
        1.0
    ]
    assert held.wait_s("a", 0.5) == 0.5
    assert [held.wait_s("a", 1.0), held.wait_s("a", 1.0)] == [0.0, 1.0]
    assert held.wait_s("b", 1.0) == 0.0
    in_an_hour = sum(held.wait_s("a", 100.0 + second / 10) == 0.0 for second in range(36_000))
    assert in_an_hour <= 3600 + damping.BURST


def test_agents_that_came_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(damping, "MAX_AGENTS", 2)
    held = damping.Damping()
    for name in ("a", "a", "b", "a", "c"):
        held.wait_s(name, 0.0)
    assert list(held._restored_at) == ["a", "c"]
