import asyncio
import contextlib

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from filament.base.net import Prefix
from filament.client.watch import Loaded
from filament.control import follow as follow_module
from filament.control import node as node_module
from filament.control.copy import DiskCopy
from filament.control.node import ControlNode
from filament.control.role import run_control
from filament.runtime.clock import now
from filament.runtime.drive import Driver
from filament.runtime.serve import Listen, parse_listen, serve_http
from filament.runtime.web import json_response, read_body
from filament.wire.xmpp.session import ClientSession, SessionClosed, SessionOpened, StanzaReceived
from filament.wire.xmpp.stanza import InstanceSubscribed

from .control_world import RED, FakeAgent, demo_world

RED_1, RED_2 = (Prefix.parse(f"10.1.1.{n}/32") for n in (3, 4))


async def until(condition):
    """Wait for another task; events would have to be threaded through everything."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


class FakeApi:
    """Snapshot, change stream and reports, as the contract has them."""

    def __init__(self, world, path):
        self.world = world
        self.listen = Listen(path=str(path))
        self.reports = []
        self.loads = 0
        self.must_relist = False
        self.poisoned = 0  # the revision whose event nobody can read
        self._log = []
        self._news = asyncio.Event()
        self._running = None

    def commit(self, *puts, deletes=()):
        self._log.append(self.world.commit(*puts, deletes=deletes))
        self._news.set()

    async def start(self):
        self._stop, up = asyncio.Event(), asyncio.Event()
        self._running = asyncio.create_task(
            serve_http(
                Starlette(
                    routes=[
                        Route("/filament/snapshot", self._snapshot),
                        Route("/filament/report", self._report, methods=["POST"]),
                        Route("/watch", self._watch),
                    ]
                ),
                [self.listen],
                stop=self._stop,
                started=lambda _: up.set(),
            )
        )
        await up.wait()

    async def stop(self):
        if self._running is not None:
            self._stop.set()
            self._news.set()
            await self._running
            self._running = None

    async def _snapshot(self, request):
        self.loads += 1
        snapshot = self.world.snapshot
        return json_response(
            Loaded(snapshot.revision, list(snapshot.objects()), list(snapshot.allocations()))
        )

    async def _report(self, request):
        self.reports.append(msgspec.json.decode(await read_body(request)))
        return json_response({})

    async def _watch(self, request):
        after = int(request.query_params["after"])

        async def events():
            nonlocal after
            yield b": watching\n\n"
            while not self._stop.is_set():
                if self.must_relist:
                    self.must_relist = False
                    yield b"event: relist\ndata: {}\n\n"
                    return
                for commit in [each for each in self._log if each.revision > after]:
                    after = commit.revision
                    encoded = msgspec.json.encode(commit) if after != self.poisoned else b"{"
                    yield b"id: %d\nevent: commit\ndata: %b\n\n" % (after, encoded)
                await self._news.wait()
                self._news.clear()

        return StreamingResponse(events())


class AgentClient:
    """A fake agent on a real socket."""

    def __init__(self, agent, port):
        self.agent = agent
        self.port = port
        self.closed = None

    async def __aenter__(self):
        self.agent.begin()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.session = ClientSession(self.agent.name, now())
        self.driver = Driver(self.session, reader, writer, self._take)
        self._running = asyncio.create_task(self.driver.run())
        return self

    async def __aexit__(self, *_):
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def _take(self, event):
        match event:
            case SessionClosed(reason=reason):
                self.closed = reason
            case StanzaReceived(stanza=stanza):
                self.agent.receive(stanza)
                self.say()
            case SessionOpened():
                self.say()

    def say(self):
        for stanza in self.agent.outbox:
            self.session.send(stanza, now())
        self.agent.outbox = []
        self.driver.flush()


class Place:
    """One control node, its API and its disk."""

    def __init__(self, directory):
        self.directory = directory
        self.api = FakeApi(demo_world(), directory / "api.sock")
        self.http = Listen(path=str(directory / "control-ctl1.sock"))
        self._running = None
        self.port = 0

    async def start(self):
        self.stop_event, up = asyncio.Event(), asyncio.Event()

        def started(bound):
            self.port = bound.port
            up.set()

        self._running = asyncio.create_task(
            run_control(
                name="ctl1",
                api=str(self.api.listen),
                xmpp=parse_listen("127.0.0.1:0"),
                listens=[self.http],
                copy=self.directory / "control-ctl1.json",
                stop=self.stop_event,
                started=started,
            )
        )
        await up.wait()

    async def stop(self):
        if self._running is not None:
            self.stop_event.set()
            async with asyncio.timeout(5):
                await self._running
            self._running = None

    async def restart(self):
        await self.stop()
        await self.start()

    def client(self, agent):
        return AgentClient(agent, self.port)

    async def get(self, path):
        transport = httpx2.AsyncHTTPTransport(uds=self.http.path)
        async with httpx2.AsyncClient(transport=transport, base_url="http://c") as client:
            response = await client.get(f"/filament/{path}")
        return response.json() if response.status_code == 200 else response

    async def until_answer(self, path, condition):
        async with asyncio.timeout(5):
            while not condition(answer := await self.get(path)):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)
        return answer


@pytest.fixture
async def place(tmp_path):
    place = Place(tmp_path)
    (tmp_path / "control-ctl1-agents.json").write_text("[]")  # nobody is awaited
    await place.api.start()
    await place.start()
    await place.until_answer("status", lambda answer: answer["loaded"])
    yield place
    await place.stop()
    await place.api.stop()


async def test_from_commit_to_both_agents_and_back_to_the_api(place):
    host1, host2 = FakeAgent("host1", "red-1"), FakeAgent("host2", "red-2", "red-3")
    async with place.client(host1), place.client(host2):
        await until(lambda: (RED, RED_2) in host1.routes and (RED, RED_1) in host2.routes)
        place.api.commit(*place.api.world.port("red-3", "red", "10.1.1.5"))
        await until(lambda: (RED, Prefix.parse("10.1.1.5/32")) in host1.routes)
        revision = place.api.world.snapshot.revision
        await until(lambda: place.api.reports[-1]["settled"] == revision)
        report = place.api.reports[-1]
        assert {
            name: (each["applied"], each["connected"]) for name, each in report["agents"].items()
        } == {
            "host1": (revision, True),
            "host2": (revision, True),
        }
        assert (report["control"], report["revision"]) == ("ctl1", revision)
        status = await place.get("status")
        assert [each["name"] for each in status["agents"]] == ["host1", "host2"]
        assert status["agents"][0]["instances"] == [RED]
        assert status["api"]["connected"]
        assert host1.was_whole
    await until(
        lambda: not any(each["connected"] for each in place.api.reports[-1]["agents"].values())
    )


async def test_answers_over_http(place):
    host1, host2 = FakeAgent("host1", "red-1"), FakeAgent("host2", "red-2")
    async with place.client(host1):
        async with place.client(host2):
            await until(lambda: (RED, RED_2) in host1.routes)
            [red_1, _] = (await place.get(f"routes?instance={RED}"))["routes"]
            assert (red_1["prefix"], red_1["next_hop"], red_1["source"]) == (
                "10.1.1.3/32",
                "172.30.0.1",
                "host1",
            )
            [why] = (await place.get(f"routes?instance={RED}&prefix=10.1.1.4"))["routes"]
            assert [each["reason"] for each in why["candidates"]] == ["best"]
            blue, red = (await place.get("instances"))["instances"]
            assert (red["routes"], red["agents"], blue["agents"]) == (2, ["host1", "host2"], [])
        listed = await place.until_answer(
            "agents", lambda answer: answer["agents"][1]["state"] == "away"
        )
        assert listed["agents"][0]["history"][0]["input"] == "stream header"
        assert 55 < listed["agents"][1]["swept_in_s"] <= 60
    unknown = await place.get("routes?instance=nope")
    assert (unknown.status_code, "no routing instance is called 'nope'" in unknown.text) == (
        404,
        True,
    )
    bad = await place.get("routes?prefix=10.1.1.4/24")
    assert (bad.status_code, "did you mean 10.1.1.0/24?" in bad.text) == (400, True)


async def test_an_unknown_agent_is_told_and_shown_and_then_served(place):
    host9 = FakeAgent("host9")
    async with place.client(host9):
        await until(lambda: host9.refusals)
        assert "knows no virtual-router default-global-system-config:host9" in host9.refusals[0]
        [refused] = (await place.get("refused"))["refused"]
        assert (refused["agent"], refused["address"]) == ("host9", "127.0.0.1")
        assert refused["reason"] == host9.refusals[0]
        place.api.commit(place.api.world.router("host9"))
        await until(lambda: host9.was_whole)
        assert (await place.get("refused"))["refused"] == []


async def test_an_unknown_instance_is_no_error(place):
    host1 = FakeAgent("host1", "red-1")
    async with place.client(host1) as client:
        await until(lambda: host1.was_whole)
        host1.outbox.append(InstanceSubscribed("no:such:instance", 9))
        client.say()
        status = await place.until_answer(
            "status", lambda answer: "no:such:instance" in answer["agents"][0]["instances"]
        )
        assert status["agents"][0]["served"]
        assert client.closed is None


async def raw(place, *pieces):
    """Send bytes as an agent that does not know better; return what comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    if pieces[-1] == b"":
        writer.write_eof()
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            received = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return received.decode()


HEADER = (
    b"<stream:stream from='host2' to='network-control@contrailsystems.com'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)


async def test_bad_streams_end_with_a_reason_and_disturb_nobody(place):
    host1 = FakeAgent("host1", "red-1")
    async with place.client(host1) as client:
        await until(lambda: host1.was_whole)
        await raw(place, HEADER + b"<iq><pubsub", b"")
        answer = await raw(place, HEADER + b"<iq>", *[b"x" * 65536] * 1600)
        assert answer == "" or "a stanza is larger than 1048576 bytes" in answer
        answer = await raw(place, b"GET / HTTP/1.1\r\n\r\n")
        assert "<not-well-formed" in answer
        answer = await raw(place, HEADER + b"<!DOCTYPE x>")
        assert "stream:error" in answer
        ended = (await place.get("refused"))["ended"]
        reasons = [each["reason"] for each in ended]
        assert reasons[3] == "the peer closed the connection inside a stanza"
        assert reasons[2] == (
            "policy-violation: a stanza is larger than 1048576 bytes; send it as several smaller"
            " ones"
        )
        assert reasons[1].startswith("not-well-formed: the XML stream cannot be parsed")
        assert [each["agent"] for each in ended] == ["host2", "", "host2", "host2"]
        assert client.closed is None
        assert not client.session.closed


async def test_abuse_by_an_agent_is_told_to_it(place):
    host1 = FakeAgent("host1", "red-1")
    async with place.client(host1) as client:
        await until(lambda: host1.was_whole)
        host1.outbox.append(InstanceSubscribed(RED, 9))
        client.say()
        await until(lambda: client.closed)
        assert client.closed == (
            f"the peer refused the stream: {RED} is subscribed already; unsubscribe it first"
        )


async def test_the_newer_session_of_an_agent_takes_over(place):
    host1, host2, again = (
        FakeAgent("host1"),
        FakeAgent("host2", "red-2"),
        FakeAgent("host2", "red-2"),
    )
    async with place.client(host1), place.client(host2) as older:
        await until(lambda: host2.was_whole)
        async with place.client(again):
            await until(lambda: again.was_whole)
            assert "a newer session of agent 'host2' took over" in older.closed
            [_, agent] = (await place.get("status"))["agents"]
            assert agent["name"] == "host2"


async def test_the_same_name_from_elsewhere_is_refused(place):
    host1, other = FakeAgent("host1", "red-1"), FakeAgent("host1", "red-1")
    async with place.client(host1) as first:
        await until(lambda: host1.was_whole)
        elsewhere = place.client(other)
        other.begin()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", place.port, local_addr=("127.0.0.2", 0)
        )
        elsewhere.session = ClientSession("host1", now())
        elsewhere.driver = Driver(elsewhere.session, reader, writer, elsewhere._take)
        async with asyncio.timeout(5):
            await elsewhere.driver.run()
        assert elsewhere.closed == (
            "the peer refused the stream: an agent 'host1' is connected from 127.0.0.1; give the"
            " one at 127.0.0.2 a name of its own"
        )
        assert first.closed is None
        assert (await place.get("refused"))["ended"][0]["agent"] == "host1"


async def test_a_restart_while_the_api_is_away_serves_from_the_copy(place):
    host1, host2 = FakeAgent("host1", "red-1"), FakeAgent("host2", "red-2")
    async with place.client(host1), place.client(host2):
        await until(lambda: host1.was_whole and host2.was_whole)
    await place.api.stop()
    await place.restart()
    status = await place.get("status")
    assert status["revision"] == 6
    assert not status["api"]["connected"]
    assert status["awaited"] == ["host1", "host2"]
    async with place.client(host1):
        await until(lambda: (RED, RED_1) in host1.routes)
        assert not host1.was_whole
        async with place.client(host2):
            await until(lambda: host1.was_whole and (RED, RED_2) in host1.routes)
            place.api.commit(*place.api.world.port("red-9", "red", "10.1.1.9"))
            loads = place.api.loads
            await place.api.start()
            await place.until_answer("status", lambda answer: answer["revision"] == 7)
            assert place.api.loads == loads
            assert (await place.get("status"))["api"]["connected"]


async def test_a_relist_loads_again(place):
    host1 = FakeAgent("host1", "red-1")
    async with place.client(host1):
        await until(lambda: host1.was_whole)
        loads = place.api.loads
        place.api.must_relist = True
        place.api.commit(place.api.world.network("red"))
        await until(lambda: place.api.loads > loads)
        await place.until_answer("status", lambda answer: answer["settled"] == 7)


async def test_more_agents_than_the_limit_are_refused(place, monkeypatch):
    monkeypatch.setattr(node_module, "MAX_AGENTS", 1)
    host1 = FakeAgent("host1", "red-1")
    async with place.client(host1):
        await until(lambda: host1.was_whole)
        answer = await raw(place, HEADER)
        assert "control node ctl1 serves 1 agents, not more" in answer
        assert "<resource-constraint" in answer


async def test_line_ends_of_unicode_do_not_end_a_line(place):
    loads = place.api.loads
    system = place.api.world.object(
        "global-system-config", ("default-global-system-config",), {"display_name": "a\u2028b\x85c"}
    )
    place.api.commit(system)
    await place.until_answer("status", lambda answer: answer["revision"] == 7)
    assert place.api.loads == loads


async def test_an_unreadable_commit_is_gone_round(place, monkeypatch):
    monkeypatch.setattr(follow_module, "LONGEST_WAIT_S", 0.01)
    place.api.poisoned = 7
    place.api.commit(place.api.world.network("red"))
    loads = place.api.loads
    await place.until_answer("status", lambda answer: answer["revision"] == 7)
    assert place.api.loads == loads + 1


async def test_a_disk_that_cannot_be_written_stops_nobody(place):
    host1 = FakeAgent("host1", "red-1")
    for name in ("control-ctl1.json", "control-ctl1-agents.json"):
        (place.directory / f"{name}.new").mkdir()
    place.api.commit(place.api.world.network("red"))
    async with place.client(host1):
        await until(lambda: host1.was_whole)
        await place.until_answer("status", lambda answer: answer["settled"] == 7)


async def test_an_unusable_copy_is_no_obstacle(place):
    await place.stop()
    (place.directory / "control-ctl1.json").write_text("{")
    (place.directory / "control-ctl1-agents.json").write_bytes(b"\xff")
    await place.start()
    await place.until_answer("status", lambda answer: answer["loaded"])


async def test_an_agent_that_does_not_read_is_dropped_and_others_are_not_delayed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(node_module, "_ENDINGS_KEPT", 4)
    world = demo_world()
    node = ControlNode(
        "ctl1", "unix:/nowhere", DiskCopy(tmp_path / "copy.json"), max_queue_bytes=50_000
    )
    world.load_into(node.core, now())
    serving = set()

    def accept(reader, writer):
        serving.add(asyncio.create_task(node.serve_agent(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    running = asyncio.create_task(node.run())
    host1, host2 = FakeAgent("host1", "red-1"), FakeAgent("host2", "red-2")
    deaf = AgentClient(host2, port)
    async with AgentClient(host1, port) as reading, deaf:
        await until(lambda: host1.was_whole and host2.was_whole)
        deaf.driver._reader._transport.pause_reading()
        count = 0
        async with asyncio.timeout(20):
            while "host2" in node.connections:
                count += 1
                node.take_commit(
                    world.commit(
                        world.object(
                            "global-system-config",
                            ("default-global-system-config",),
                            {"x": "y" * 20_000, "n": count},
                        )
                    )
                )
                await asyncio.sleep(0)
        [ended] = node.endings
        assert (ended.agent, ended.reason) == (
            "host2",
            "it did not read: over 50000 bytes waited for it",
        )
        await until(lambda: host1.syncs[-1].revision == world.snapshot.revision)
        assert reading.closed is None
        deaf.driver._reader._transport.abort()
    node.close()
    server.close()
    running.cancel()
    await asyncio.gather(running, *serving, return_exceptions=True)
