"""TLS between agents and a control node, over sockets, with certificates made by openssl."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.control.certificates import authority, certificate

from filament.agent.connection import Connections
from filament.agent.core import AgentCore
from filament.base.errors import InputError
from filament.base.limits import MAX_HALF_OPEN
from filament.control.copy import DiskCopy
from filament.control.node import ControlNode
from filament.runtime.tls import MutualTls


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("certificates")
    authority(place)
    authority(place, "other")
    certificate(place, "ctl1", "IP:127.0.0.1")
    certificate(place, "elsewhere", "DNS:ctl.example")
    certificate(place, "host1")
    certificate(place, "worker", "DNS:host2,DNS:host3")
    certificate(place, "stranger", ca="other")
    return place


def tls(files, name, ca="ca"):
    return MutualTls(
        str(files / f"{name}.crt"), str(files / f"{name}.key"), str(files / f"{ca}.crt")
    )


@asynccontextmanager
async def control(tmp_path, context=None):
    node = ControlNode("ctl1", "unix:/nowhere", DiskCopy(tmp_path / "copy.json"), tls=context)
    serving = set()

    def accept(reader, writer):
        serving.add(asyncio.ensure_future(node.serve_agent(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    flushing = asyncio.ensure_future(node.run())
    try:
        yield node, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        node.close()
        for task in (*serving, flushing):
            task.cancel()
        await asyncio.gather(*serving, flushing, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in the loop's next turns


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - events would have to be threaded through
            await asyncio.sleep(0.01)


@asynccontextmanager
async def agent(name, port, context=None):
    place = f"127.0.0.1:{port}"
    core = AgentCore(name, 1, [place])
    connections = Connections([place], core, lambda: None, context)
    task = asyncio.ensure_future(connections.run())
    try:
        yield connections.by_control[place]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("name", "certified"), [("host1", "host1"), ("host2", "worker")])
async def test_an_agent_that_proves_its_name_is_served(tmp_path, files, name, certified):
    async with (
        control(tmp_path, tls(files, "ctl1").server_context()) as (node, port),
        agent(name, port, tls(files, certified).client_context()) as connection,
    ):
        await until(lambda: connection.state == "established" and name in node.connections)
        await asyncio.sleep(0.1)
        assert connection.state == "established"
        transport = node.connections[name].driver
        assert transport is not None
        assert name in node.connections[name].names


async def test_an_agent_of_another_name_is_refused_and_told_why(tmp_path, files):
    async with (
        control(tmp_path, tls(files, "ctl1").server_context()) as (node, port),
        agent("host2", port, tls(files, "host1").client_context()) as connection,
    ):
        reason = "the certificate is of host1, not of 'host2'; give the agent one with its name"
        await until(lambda: reason in connection.problem)
        assert "host2" not in node.connections
        assert any(reason in each.reason for each in node.endings)


async def test_a_certificate_of_another_authority_is_refused(tmp_path, files):
    async with (
        control(tmp_path, tls(files, "ctl1").server_context()) as (node, port),
        agent("stranger", port, tls(files, "stranger").client_context()),
    ):
        await until(lambda: node.endings)
        assert "the peer's certificate is refused: " in node.endings[-1].reason
        assert node.endings[-1].agent == "stranger"
        assert not node.connections


@pytest.mark.parametrize(
    ("served", "ca", "text"),
    [
        ("elsewhere", "ca", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (
            "ctl1",
            "other",
            "the peer's certificate is refused: self-signed certificate in certificate chain",
        ),
    ],
)
async def test_a_control_node_that_is_not_who_it_should_be_is_left(
    tmp_path, files, served, ca, text
):
    async with (
        control(tmp_path, tls(files, served).server_context()) as (node, port),
        agent("host1", port, tls(files, "host1", ca).client_context()) as connection,
    ):
        await until(lambda: text in connection.problem)
        assert connection.state == "connecting"
        assert not node.connections


async def test_only_one_side_with_tls_is_said_on_the_side_that_waits(tmp_path, files, monkeypatch):
    async with (
        control(tmp_path, tls(files, "ctl1").server_context()) as (_, port),
        agent("host1", port) as connection,
    ):
        await until(lambda: "switch it on at the agent too" in connection.problem)
    monkeypatch.setattr("filament.agent.connection.OPEN_TIME_S", 0.2)
    async with (
        control(tmp_path) as (_, port),
        agent("host1", port, tls(files, "host1").client_context()) as connection,
    ):
        await until(lambda: "does the peer have xmpp_auth_enable?" in connection.problem)


@pytest.mark.parametrize("is_secure", [True, False])
async def test_half_open_floods_keep_nobody_out(tmp_path, files, monkeypatch, is_secure):
    assert MAX_HALF_OPEN >= 1000
    monkeypatch.setattr("filament.control.node.MAX_HALF_OPEN", 20)
    context = tls(files, "ctl1").server_context() if is_secure else None
    ours = tls(files, "host1").client_context() if is_secure else None
    async with control(tmp_path, context) as (node, port):
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        async with agent("host1", port, ours) as connection:
            await until(lambda: connection.state == "established")
            await until(lambda: "host1" in node.connections)
            # The oldest are gone: they read an end.
            async with asyncio.timeout(30):
                with pytest.raises((ConnectionError, AssertionError)):
                    assert await flood[0][0].read() != b""
        for _, writer in flood:
            writer.transport.abort()


def test_useless_files_are_named(files, tmp_path):
    with pytest.raises(InputError, match=r"cannot prove who we are with .*nobody.crt"):
        tls(files, "nobody").server_context()
    with pytest.raises(InputError, match=r"cannot believe the certificates of .*none.crt"):
        tls(files, "ctl1", "none").client_context()
