"""Fan-out: one control node process, a thousand agents in this one, ten thousand routes.

The control node is the real process, started from the copy of a configuration on its disk (1,000
networks, 1,000 virtual-routers); no API takes part. Agents speak the real bytes over TCP but plan
nothing: they subscribe, acknowledge, publish what was encoded before, and count what they are sent,
route by route, by searching for the ids. Each is in 5 of the networks and publishes 10 of the
routes. Meanwhile a probe asks the control node every 50 ms for something that costs it next to
nothing: whatever it does for others may delay no keepalive by more than the longest answer.

Seconds of processor time, of the control node and of this process, are given beside those of the
clock: on a machine that does other things too they say more.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_DNS, uuid5

import msgspec
from bench.keepalives import ASN, BGP_HOLD_S, XMPP_HOLD_S

from filament.base.limits import MAX_CONTROL_STANZA_BYTES
from filament.base.net import Prefix, format_ipv4, parse_ipv4
from filament.client.watch import Loaded
from filament.model.change import Object
from filament.testing.sim.api import SimApi
from filament.testing.sim.schedule import Schedule
from filament.wire.xmpp.codec import decode_from_control, encode_from_agent
from filament.wire.xmpp.dialect import CONTROL_JID
from filament.wire.xmpp.entry import format_destination
from filament.wire.xmpp.session import KEEPALIVE
from filament.wire.xmpp.stanza import (
    ConfigSubscribed,
    EndOfRib,
    FromAgent,
    InstanceSubscribed,
    NextHop,
    RoutePublished,
    RouteRetracted,
    RoutesSent,
    Synced,
)
from filament.wire.xmpp.stream import (
    FILAMENT_NAMESPACE,
    STREAM_NAMESPACE,
    Element,
    XmlStream,
)

XMPP_PORT = 5269
CONTROL_ADDRESS = "127.0.0.1"
WITNESS_PEERS = tuple(f"127.0.0.{number}" for number in range(2, 6))
WITNESS_AGENTS = tuple(f"witness{number}" for number in range(20))
NETWORKS_PER_AGENT = 5
_SYNC = re.compile(rb'<sync [^>]*sequence="(\d+)" revision="(\d+)"( whole="true")?')
_ITEMS, _ITEMS_END = b'<items node="1/1/', b"</items>"
_ITEM, _RETRACT = b'<item id="', b'<retract id="'
_SAMPLE = 50  # one agent in so many parses all it is sent, to tell whether the search is right
_LIMIT_S = 60.0
_RETRY_S = 0.02  # between two attempts to connect, as agents do at first
_PIPE = asyncio.subprocess.PIPE

Json = dict[str, object]


def _instance(number: int) -> str:
    return f"default-domain:demo:net{number}:net{number}"


def _seed(state: Path, agents: int, networks: int) -> None:
    """Write the copy a control node starts from, and that it awaits nobody."""
    api = SimApi(Schedule(1))
    api.create("project", ["default-domain", "demo"], parent_type="domain")
    names = [*(f"host{number}" for number in range(agents)), *WITNESS_AGENTS]
    for number, name in enumerate(names):
        api.create(
            "virtual-router",
            ["default-global-system-config", name],
            virtual_router_ip_address=format_ipv4(parse_ipv4("172.20.0.1") + number),
        )
    for number in range(networks):
        api.create("virtual-network", ["default-domain", "demo", f"net{number}"])
    revision, objects, allocations = api.store.load()
    loaded = Loaded(revision, [*objects, *_speakers()], list(allocations))
    (state / "control-ctl1.json").write_bytes(msgspec.json.encode(loaded))
    (state / "control-ctl1-agents.json").write_text("[]")


def _speakers() -> list[Object]:
    """Return the bgp-routers of the control node and of the witnesses."""
    fabric = ("default-domain", "default-project", "ip-fabric", "__default__")
    found = []
    for name, address in (("ctl1", CONTROL_ADDRESS), *((each, each) for each in WITNESS_PEERS)):
        parameters = {
            "router_type": "control-node" if name == "ctl1" else "router",
            "address": address,
            "identifier": address,
            "autonomous_system": ASN,
            "hold_time": BGP_HOLD_S,
            "address_families": {"family": ["e-vpn"]},
        }
        uuid = str(uuid5(NAMESPACE_DNS, name))
        props = {"bgp_router_parameters": parameters}
        found.append(Object("bgp-router", uuid, (*fabric, name), props=props, revision=1))
    return found


class _Agent(asyncio.Protocol):
    """One simulated agent: `has` are the routes it was sent, `strangers` those it never asked."""

    def __init__(self, crowd: _Crowd, number: int, published: bytes = b"") -> None:
        self.name = f"host{number}"
        self.published = published  # in the sessions before, and to be said again
        self.is_whole = False
        self.address = parse_ipv4("172.20.0.1") + number
        self.instances = crowd.instances_of(number)
        self.has: set[tuple[bytes, bytes]] = set()
        self.messages = self.strangers = 0
        self._known = {one.encode() for one in self.instances}
        self._crowd = crowd
        self._buffer = b""
        self._serial = 0
        self._transport: asyncio.Transport | None = None
        self._parser = XmlStream(MAX_CONTROL_STANZA_BYTES) if number % _SAMPLE == 0 else None
        self._parsed: set[tuple[bytes, bytes]] = set()
        self.has_ended_rib = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        header = (
            f"<?xml version='1.0'?><stream:stream from='{self.name}' to='{CONTROL_JID}'"
            f" version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='{STREAM_NAMESPACE}'"
            f" xmlns:f='{FILAMENT_NAMESPACE}'>"
        )
        router = ConfigSubscribed("virtual-router", f"default-global-system-config:{self.name}")
        wanted = [InstanceSubscribed(name, n) for n, name in enumerate(self.instances, start=1)]
        self.write(header.encode() + self.encode(router, *wanted))

    def encode(self, *stanzas: FromAgent) -> bytes:
        self._serial += 1
        return b"".join(encode_from_agent(one, self.name, self._serial) for one in stanzas)

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._parser is not None:
            self._parse(self._parser, data)
        self._buffer += data
        end = max(self._buffer.rfind(b"</message>"), self._buffer.rfind(b"</iq>"))
        if end < 0:
            return
        whole, self._buffer = self._buffer[: end + 5], self._buffer[end + 5 :]
        whole += self._buffer[:5] if whole.endswith(b"</mes") else b""
        at = whole.find(_ITEMS)
        while at >= 0:
            end = whole.index(_ITEMS_END, at)
            instance, _, body = whole[at + len(_ITEMS) : end].partition(b'">')
            self._take(instance, body)
            at = whole.find(_ITEMS, end)
        syncs = _SYNC.findall(whole)
        if syncs:
            sequence, revision, _ = syncs[-1]
            answer: list[FromAgent] = [Synced(int(sequence), int(revision))]
            again = b""
            if not self.has_ended_rib:
                self.has_ended_rib = True
                answer.insert(0, EndOfRib())
                again = self.published
            self.write(again + self.encode(*answer))
            if not self.is_whole and any(whole for *_, whole in syncs):
                self.is_whole = True
                self._crowd.whole(self)
        self._crowd.note()

    def _take(self, instance: bytes, body: bytes) -> None:
        self.messages += 1
        if instance not in self._known:
            self.strangers += 1
            return
        count = len(self.has)
        self.has.update((instance, route) for route in _ids(body, _ITEM))
        self.has.difference_update((instance, route) for route in _ids(body, _RETRACT))
        self._crowd.count += len(self.has) - count

    def _parse(self, parser: XmlStream, data: bytes) -> None:
        """Read it as an agent does."""
        for event in parser.feed(data):
            stanza = decode_from_control(event) if isinstance(event, Element) else None
            if isinstance(stanza, RoutesSent):
                instance = stanza.instance.encode()
                new = (format_destination(item.destination) for item in stanza.items)
                self._parsed.update((instance, each.encode()) for each in new)
                gone = map(format_destination, stanza.retracted)
                self._parsed.difference_update((instance, each.encode()) for each in gone)

    def verify(self) -> None:
        """Compare what was found by searching with what a parser made of the same bytes."""
        if self._parser is not None and self._parsed != self.has:
            raise RuntimeError(
                f"{self.name} was sent {len(self._parsed)} routes; {len(self.has)} were found"
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._crowd.is_restarting:
            return
        self._crowd.lost.append(f"{self.name}: {exc or 'closed by the control node'}")
        self._crowd.note()


def _ids(body: bytes, start: bytes) -> Iterator[bytes]:
    """Yield the ids of the items, or retractions, in the body of a message."""
    for each in body.split(start)[1:]:
        yield each[: each.index(b'"')]


class _Crowd:
    """All agents; `count` is how many routes they hold altogether."""

    def __init__(self, agents: int, networks: int) -> None:
        self.agent_count, self.network_count = agents, networks
        self.count = 0
        self.lost: list[str] = []
        self.agents: list[_Agent] = []
        self.is_restarting = False
        self.held: dict[str, set[tuple[bytes, bytes]]] = {}  # before a restart, by agent
        self.forgotten = 0  # routes that agents had and were not told again
        self._news = asyncio.Event()

    def instances_of(self, agent: int) -> list[str]:
        return [
            _instance(
                (agent + step * self.network_count // NETWORKS_PER_AGENT) % self.network_count
            )
            for step in range(NETWORKS_PER_AGENT)
        ]

    def note(self) -> None:
        self._news.set()

    def whole(self, agent: _Agent) -> None:
        """An agent has been told that this was all: what it had before and lacks it forgets now."""
        self.forgotten += len(self.held.get(agent.name, set()) - agent.has)

    async def connect(self, published: list[bytes] | None = None) -> None:
        """Connect all agents, as soon as they are let in; they publish again what they had."""
        loop = asyncio.get_running_loop()
        for number in range(self.agent_count):
            again = published[number] if published else b""
            deadline = loop.time() + _LIMIT_S
            while True:
                try:
                    _, agent = await loop.create_connection(
                        lambda number=number, again=again: _Agent(self, number, again),
                        "127.0.0.1",
                        XMPP_PORT,
                    )
                    break
                except OSError:
                    if loop.time() > deadline:
                        raise
                    await asyncio.sleep(_RETRY_S)
            self.agents.append(agent)

    async def restart(self, control: _Control, published: list[bytes]) -> float:
        """Kill the control node and start it again; return after how many seconds everybody has
        been told all there is, and that it is all.
        """
        self.held = {agent.name: agent.has for agent in self.agents}
        self.is_restarting = True
        control.kill()
        began = time.monotonic()
        control.start()
        self.agents, self.count = [], 0
        await self.connect(published)
        await self.until(lambda: all(agent.is_whole for agent in self.agents))
        self.is_restarting = False
        return time.monotonic() - began

    async def keep_alive(self) -> None:
        """Say now and then that everybody lives, a hundred agents at a time, until cancelled."""
        at_once = 100
        pause_s = XMPP_HOLD_S / 3 * at_once / self.agent_count
        while True:
            for first in range(0, self.agent_count, at_once):
                for agent in self.agents[first : first + at_once]:
                    agent.write(KEEPALIVE)
                await asyncio.sleep(pause_s)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_LIMIT_S):
            while not condition():
                if self.lost:
                    raise RuntimeError(f"{len(self.lost)} agents lost: {self.lost[0]}")
                self._news.clear()
                await self._news.wait()

    def published(self, routes: int, *, withdrawn: bool) -> list[bytes]:
        """What each agent says to publish, or withdraw, its share of the routes."""
        share = routes // self.agent_count
        said = []
        for agent in self.agents:
            stanzas: list[FromAgent] = []
            for number in range(share):
                instance = agent.instances[number % NETWORKS_PER_AGENT]
                address = (10 << 24) + agent.address % (1 << 16) * 64 + number
                prefix = Prefix(address, 32)
                if withdrawn:
                    stanzas.append(RouteRetracted(instance, prefix))
                    continue
                network = instance.rpartition(":")[0]
                hop = NextHop(agent.address, 16 + number, network)
                stanzas.append(RoutePublished(instance, prefix, hop))
            said.append(agent.encode(*stanzas))
        return said

    async def say(self, said: list[bytes], expected: int) -> float:
        """Say it, and return after how many seconds everybody holds what they should."""
        began = time.monotonic()
        for agent, data in zip(self.agents, said, strict=True):
            agent.write(data)
        await self.until(lambda: self.count == expected)
        wall_s = time.monotonic() - began
        for agent in self.agents:
            agent.verify()
        return wall_s


# Asks for the BGP neighbours (there are none) again and again, on one connection, until its input
# ends; prints the longest time that took. A process of its own: this one is a thousand agents.
_PROBE = """
import http.client, select, socket, sys, time
longest = 0.0
asking = http.client.HTTPConnection("control")
asking.sock = socket.socket(socket.AF_UNIX)
asking.sock.connect(sys.argv[1])
while not select.select([sys.stdin], [], [], 0.05)[0]:
    began = time.monotonic()
    asking.request("GET", "/filament/bgp-neighbors")
    answer = asking.getresponse()
    assert answer.status == 200, answer.status
    answer.read()
    longest = max(longest, time.monotonic() - began)
print(longest)
"""


class _Phase(NamedTuple):
    """What it took until everybody held what they should, in seconds."""

    wall_s: float
    control_s: float  # of processor time
    agents_s: float


async def _timed(crowd: _Crowd, pid: int, said: list[bytes], expected: int) -> _Phase:
    before = _cpu_s(pid), time.process_time()
    wall_s = await crowd.say(said, expected)
    return _Phase(wall_s, _cpu_s(pid) - before[0], time.process_time() - before[1])


class _Control:
    """The control node's process."""

    def __init__(self, run: Path, state: Path) -> None:
        self._argv = [sys.executable, "-m", "bench.control", run, state, str(XMPP_PORT)]
        self._argv.append(CONTROL_ADDRESS)
        self._run = run
        self.start()

    def start(self) -> None:
        """Start it; its log goes on where it ended."""
        with (self._run / "control.log").open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        self._process.send_signal(number)
        self._process.wait(10)


async def _rounds(
    crowd: _Crowd, run: Path, control: _Control, routes: int, repetitions: int
) -> Json:
    began = time.monotonic()
    await crowd.connect()
    await crowd.until(lambda: all(agent.has_ended_rib for agent in crowd.agents))
    connected_s = time.monotonic() - began
    expected = routes * NETWORKS_PER_AGENT * crowd.agent_count // crowd.network_count
    living = asyncio.create_task(crowd.keep_alive())
    said = crowd.published(routes, withdrawn=False)
    await crowd.say(said, expected)
    restart_s = await crowd.restart(control, said)
    pid = control.pid
    restart_cpu_s = round(_cpu_s(pid), 2)
    await crowd.say(crowd.published(routes, withdrawn=True), 0)
    added: list[_Phase] = []
    withdrawn: list[_Phase] = []
    watchers = [
        await asyncio.create_subprocess_exec(sys.executable, *argv, stdin=_PIPE, stdout=_PIPE)
        for argv in (
            ("-c", _PROBE, str(run / "control-ctl1.sock")),
            (
                *("-m", "bench.keepalives", str(XMPP_PORT), CONTROL_ADDRESS),
                *(",".join(WITNESS_PEERS), ",".join(WITNESS_AGENTS)),
            ),
        )
    ]
    probe, witnesses = watchers
    assert witnesses.stdout is not None
    assert await witnesses.stdout.readline() == b"up\n", "the witnesses say why not"
    for _ in range(repetitions):
        said = crowd.published(routes, withdrawn=False)
        added.append(await _timed(crowd, pid, said, expected))
        await asyncio.sleep(0.5)
        assert crowd.count == expected
        said = crowd.published(routes, withdrawn=True)
        withdrawn.append(await _timed(crowd, pid, said, 0))
        await asyncio.sleep(0.5)
    longest, _ = await probe.communicate(b"end")
    kept, _ = await witnesses.communicate(b"end")
    living.cancel()
    return {
        "control_rss_mb": _peak_mb(pid),
        "control_cpu_s": round(_cpu_s(pid), 2),
        "restart_s": round(restart_s, 3),
        "restart_cpu_s": restart_cpu_s,
        "forgotten": crowd.forgotten,
        "agents": crowd.agent_count,
        "networks": crowd.network_count,
        "routes": routes,
        "connected_s": round(connected_s, 3),
        "added_s": [round(one.wall_s, 3) for one in added],
        "withdrawn_s": [round(one.wall_s, 3) for one in withdrawn],
        "added_cpu_s": [(round(one.control_s, 2), round(one.agents_s, 2)) for one in added],
        "withdrawn_cpu_s": [(round(one.control_s, 2), round(one.agents_s, 2)) for one in withdrawn],
        "messages": sum(agent.messages for agent in crowd.agents),
        "messages_to_others": sum(agent.strangers for agent in crowd.agents),
        "longest_answer_s": round(float(longest), 3),
        "keepalives": msgspec.json.decode(kept),
    }


def _cpu_s(pid: int) -> float:
    """Return how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> int:
    """Return the most memory a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError(f"process {pid} has ended")


def measure(
    run: Path,
    *,
    agents: int = 1000,
    networks: int = 1000,
    routes: int = 10_000,
    repetitions: int = 3,
    say: Callable[[str], None],
) -> Json:
    """Run the rounds; raises when a route does not arrive, or an agent is lost."""
    state = run / "state"
    state.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _seed(state, agents, networks)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    control = _Control(run, state)
    try:
        deadline = time.monotonic() + _LIMIT_S
        while not (run / "control-ctl1.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        crowd = _Crowd(agents, networks)
        found = asyncio.run(_rounds(crowd, run, control, routes, repetitions))
    finally:
        control.kill(signal.SIGTERM)
    say(
        f"fan-out: {routes} routes to {agents} agents: added in {found['added_s']} s (processor:"
        f" control, agents {found['added_cpu_s']}), withdrawn in {found['withdrawn_s']} s"
        f" ({found['withdrawn_cpu_s']}), {found['messages']} messages, longest answer"
        f" {found['longest_answer_s']} s, keepalives {found['keepalives']},"
        f" {found['control_rss_mb']} MB, {found['messages_to_others']} messages to others;"
        f" restart {found['restart_s']} s (processor {found['restart_cpu_s']}),"
        f" {found['forgotten']} routes forgotten"
    )
    return found
