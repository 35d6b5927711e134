"""A control node's BGP on loopback, and speakers that say what they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import msgspec

from filament.base.net import Address, RouteTarget, parse_address, parse_ipv4
from filament.compiler.peers import PeerPlan, SpeakerPlan
from filament.control.peering import Peering
from filament.rib.rib import Rib
from filament.runtime.clock import now
from filament.wire.bgp.attributes import Attributes
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.nlri import join, mpls_label, withdrawn
from filament.wire.bgp.session import (
    BgpSession,
    Offer,
    RefreshReceived,
    SessionClosed,
    SessionEstablished,
    UpdateReceived,
)
from filament.wire.bgp.update import encode_end_of_rib, encode_updates, encode_withdrawals

VPN, EVPN = AddressFamily.INET_VPN, AddressFamily.E_VPN
TARGETS = AddressFamily.ROUTE_TARGET
NODE = "127.0.1.1"
TARGET = RouteTarget(64512, 1).encode()


def free_port():
    with socket.socket() as probe:
        probe.bind((NODE, 0))
        return probe.getsockname()[1]


def vpn_key(number):
    return b"\x60\x00\x01\x7f\x00\x00\x09\x00\x01" + (0x0A000000 + number).to_bytes(4, "big")


def attributes(**given):
    given = {"local_preference": 100, "extended_communities": (TARGET,)} | given
    return Attributes(next_hop=Address(parse_ipv4("127.0.0.9"), 4), **given)


SPEAKERS = []


class Speaker:
    """A peer that speaks through a session machine of its own, and remembers what it hears."""

    def __init__(self, address, port, offer):
        self.address = address
        self.port = port
        self.offer = offer
        self.routes = {}
        self.ended = []
        self.refreshes = []
        self.closed = None
        self.session = None
        self.writer = None
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.buffer_bytes = 0
        SPEAKERS.append(self)

    async def connect(self):
        end = socket.socket()
        end.setblocking(False)
        if self.buffer_bytes:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        end.bind((self.address, 0))
        try:
            await asyncio.get_running_loop().sock_connect(end, (NODE, self.port))
        except BaseException:
            end.close()
            raise
        reader, self.writer = await asyncio.open_connection(sock=end)
        self.start(reader)

    def start(self, reader):
        self.session = BgpSession(self.offer, now())
        self.closed = None
        self.flush()
        self.task = asyncio.create_task(self._run(reader))

    async def _run(self, reader):
        while not self.session.closed:
            await self.is_reading.wait()
            try:
                octets = await reader.read(65536)
            except OSError:
                octets = b""
            self.session.receive_data(octets, now())
            self.flush()
        with contextlib.suppress(OSError):
            self.writer.close()

    def flush(self):
        while (event := self.session.next_event()) is not None:
            match event:
                case UpdateReceived(update=update):
                    for family, keys in update.withdrawn:
                        for key in keys:
                            self.routes.pop((family, key), None)
                    for family, found, routes, _ in update.announced:
                        for key, label in routes:
                            self.routes[family, key] = (found, label)
                    if update.end_of_rib is not None:
                        self.ended.append(update.end_of_rib)
                case RefreshReceived():
                    self.refreshes.append((event.family, event.subtype))
                case SessionClosed():
                    self.closed = event
                case SessionEstablished():
                    pass
        self.writer.write(b"".join(self.session.data_to_send(now())))

    def send(self, messages):
        self.session.send_updates(messages, now())
        self.flush()

    def announce(self, numbers, family=VPN, found=None):
        routes = [join(family, vpn_key(number), mpls_label(17)) for number in numbers]
        self.send(encode_updates(family, found or attributes(), routes))

    def withdraw(self, numbers, family=VPN):
        self.send(encode_withdrawals(family, [withdrawn(family, vpn_key(n)) for n in numbers]))

    def end(self, *families):
        self.send([encode_end_of_rib(family) for family in families])

    def heard(self, family=VPN):
        return {key for known, key in self.routes if known is family}

    async def stop(self):
        """Leave nothing behind."""
        self.is_reading.set()
        if self.writer is not None:
            self.writer.transport.abort()
            await self.task

    async def crash(self):
        self.writer.transport.abort()
        await self.task


class Node:
    """A control node's peering, configured by hand."""

    def __init__(self, port):
        self.port = port
        self.rib = Rib()
        self.is_complete = True
        self.changes = 0
        self.peering = Peering(
            self.rib,
            listens=(parse_address(NODE),),
            on_change=self._count,
            is_complete=lambda: self.is_complete,
        )
        self.plan = SpeakerPlan(
            name="ctl1",
            identifier=parse_ipv4(NODE),
            address=parse_address(NODE),
            port=port,
            cluster_id=7,
        )

    def _count(self):
        self.changes += 1

    def configure(self, *peers, **changes):
        self.plan = msgspec.structs.replace(
            self.plan, peers={peer.name: peer for peer in peers}, **changes
        )
        self.peering.configure(self.plan)

    def neighbour(self, name):
        return self.peering.neighbours[name]

    def count(self, name, family=VPN):
        return self.rib.bgp.tables[family].count_of(name)


def peer(name, number, **given):
    given = {"families": (VPN, EVPN), "is_passive": True, "is_client": True} | given
    return PeerPlan(
        name=name,
        address=parse_address(f"127.0.1.{number}"),
        port=given.pop("port", 1),
        local_as=given.pop("local_as", 64512),
        peer_as=given.pop("peer_as", 64512),
        **given,
    )


def speaker(number, port, **given):
    address = f"127.0.1.{number}"
    asn = given.pop("asn", 64512)
    given = {"families": (VPN, EVPN)} | given
    return Speaker(address, port, Offer(asn, parse_ipv4(address), **given))


async def until(condition, text="", timeout_s=30.0):
    """Let the loop run until something holds."""
    deadline = now() + timeout_s
    while not condition():
        assert now() < deadline, f"not so after {timeout_s} s: {text}"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def running(*peers, **changes):
    """A node that runs, and ends with its tables verified."""
    node = Node(free_port())
    node.configure(*peers, **changes)
    task = asyncio.create_task(node.peering.run())
    await until(lambda: node.peering.entrance.port == node.port, "listening")
    try:
        yield node
        assert not task.done() or task.result()
    finally:
        node.peering.close()
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    node.rib.bgp.verify()
