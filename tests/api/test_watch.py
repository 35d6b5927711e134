"""The change stream, the snapshot it starts from, and barriers, over real HTTP."""

import asyncio
import json
import threading

import httpx2
import msgspec
import pytest

from filament.api.journal import RECENT_COMMITS, Journal, event_of
from filament.base.errors import InputError, PermanentError, TransientError
from filament.client.watch import Relisted, WatchClient
from filament.model.change import Commit
from filament.model.edit import MismatchError
from filament.model.snapshot import Snapshot
from filament.store.sqlite import SqliteStore

from .office import PROJECT, ipam_refs, subnet
from .served import ServedApi


async def collect(stream, until):
    commits = []
    async with asyncio.timeout(10):
        async for commit in stream:
            commits.append(commit)
            if commit.revision >= until:
                await stream.aclose()
                return commits
    raise AssertionError(f"the stream ended after {commits}")


async def test_a_follower_ends_where_the_api_is(api, client):
    async with WatchClient(api.socket) as watcher:
        start = await watcher.load()
        follower = Snapshot(start.revision, start.objects, start.allocations)
        network = client.create(
            "virtual-network", [*PROJECT, "followed"], network_ipam_refs=ipam_refs(subnet())
        )
        refs = [{"uuid": network}]
        address = client.create("instance-ip", ["followed"], virtual_network_refs=refs)
        client.update("virtual-network", network, mtu=1400)
        last = client.delete("instance-ip", address).revision
        commits = await collect(watcher.watch(start.revision), last)
        assert [commit.revision for commit in commits] == [*range(start.revision + 1, last + 1)]
        for commit in commits:
            follower.apply(commit)
        end = await watcher.load()
    assert end.revision == follower.revision
    assert end.objects == list(follower.objects())
    assert set(end.allocations) == set(follower.allocations())


def rules(numbers):
    local, base = [{"security_group": "local"}], {"ip_prefix": "10.0.0.0", "ip_prefix_len": 8}
    return [
        {
            "protocol": "tcp",
            "src_addresses": [{"subnet": base}],
            "dst_addresses": local,
            "dst_ports": [{"start_port": number, "end_port": number}],
        }
        for number in numbers
    ]


async def test_a_follower_with_objects_is_told_edits_and_ends_where_the_api_is(api, client):
    field = "security_group_entries"
    async with WatchClient(api.socket) as watcher:
        group = client.create(
            "security-group", [*PROJECT, "long"], **{field: {"policy_rule": rules(range(500))}}
        )
        start = await watcher.load()
        follower = Snapshot(start.revision, start.objects, start.allocations)
        listed = client.get("security-group", group)[field]["policy_rule"]
        update = {"field": field, "operation": "delete", "position": listed[250]["rule_uuid"]}
        body = {"uuid": group, "updates": [update]}
        client.request("POST", "/prop-collection-update", body)
        (added,) = rules([9000])
        update = {"field": field, "operation": "add", "value": added}
        client.request("POST", "/prop-collection-update", {"uuid": group, "updates": [update]})
        client.update("security-group", group, display_name="longer")
        bare = [{key: one[key] for key in one if key != "rule_uuid"} for one in listed]
        client.update("security-group", group, **{field: {"policy_rule": bare[:250]}})
        last = client.update("security-group", group, **{field: {"policy_rule": []}}).revision
        told = watcher.watch(start.revision, "", follower.get)
        async for commit in told:
            follower.apply(commit)
            if commit.revision == last:
                break
        await told.aclose()
        end = await watcher.load()
        assert end.objects == list(follower.objects())
        whole = await collect(watcher.watch(start.revision), last)
        sizes = [len(msgspec.json.encode(commit)) for commit in whole]
        lines = await lines_of(api, f"/watch?after={start.revision}&edits=true", last)
        assert [len(line) < 3000 for line in lines] == [True, True, True, True, True]
        assert [size < 3000 for size in sizes] == [False, False, False, False, True]
        assert [b'"edits":[{' in line for line in lines] == [True, True, True, True, False]
        other = msgspec.structs.replace(follower.get(group), fq_name=("other",))
        with pytest.raises(MismatchError, match="security-group other is not what an edit"):
            await anext(watcher.watch(start.revision, "", {group: other}.get))


async def lines_of(api, target, until):
    """The data of a stream up to a revision, as it is."""
    transport = httpx2.AsyncHTTPTransport(uds=api.socket.removeprefix("unix:"))
    found = []
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http,
        http.stream("GET", target) as response,
    ):
        text = b""
        async for piece in response.aiter_bytes():
            text += piece
            found = [line for line in text.split(b"\n")[:-1] if line.startswith(b"data: ")]
            if found and b'"revision":%d,"at"' % until in found[-1]:
                return found
    raise AssertionError(found)


async def test_a_commit_arrives_as_it_happens_with_who_and_when(api, client):
    async with WatchClient(api.url) as watcher:
        after = client.request("GET", "/filament/status").value["revision"]
        stream = watcher.watch(after)
        arriving = asyncio.ensure_future(anext(stream))
        body = {"virtual-machine": {"fq_name": ["watched"]}}
        headers = client._headers | {"X-Contrail-Useragent": "a-test"}
        client._headers = headers
        await asyncio.to_thread(client.request, "POST", "/virtual-machines", body)
        async with asyncio.timeout(10):
            commit = await arriving
        await stream.aclose()
    assert (commit.revision, commit.who) == (after + 1, "a-test")
    assert [item.fq_name for item in commit.puts] == [("watched",)]
    assert commit.at > 1_700_000_000


@pytest.mark.parametrize("after", [10**9, 10**30])
async def test_a_revision_from_another_life_means_list_again(api, after):
    async with WatchClient(api.socket) as watcher, asyncio.timeout(10):
        assert [event async for event in watcher.watch(after)] == [Relisted()]


async def test_history_from_before_a_restart_is_told_until_it_is_forgotten(tmp_path):
    with ServedApi(tmp_path) as before, before.client() as client:
        for name in "abc":
            client.create("virtual-machine", [name])
        last = client.request("GET", "/filament/status").value["revision"]
    with ServedApi(tmp_path) as again:
        async with WatchClient(again.socket) as watcher:
            commits = await collect(watcher.watch(0), last)
            assert [commit.revision for commit in commits] == [*range(1, last + 1)]
            with again.client() as client:
                last = client.delete("virtual-machine", commits[-1].puts[0].uuid).revision
            commits = await collect(watcher.watch(2), last)  # from the store, then from memory
            assert [commit.revision for commit in commits] == [*range(3, last + 1)]
    store = SqliteStore(tmp_path / "filament.db")
    store.compact(last)
    store.close()
    with ServedApi(tmp_path) as again:
        async with WatchClient(again.socket) as watcher, asyncio.timeout(10):
            assert [event async for event in watcher.watch(last - 2)] == [Relisted()]
            assert len(await collect(watcher.watch(last - 1), last)) == 1


async def test_a_stream_ends_when_the_api_stops(tmp_path):
    async with WatchClient(f"unix:{tmp_path}/api.sock") as watcher:
        with ServedApi(tmp_path):
            stream = watcher.watch(0)
            assert (await anext(stream)).revision == 1
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            with pytest.raises(TransientError, match="ended the stream"):
                await waiting


async def test_errors_of_the_watch_are_told(api, tmp_path):
    async with WatchClient(api.socket) as watcher:
        with pytest.raises(PermanentError, match="answered 400: watch needs a revision"):
            await anext(watcher.watch(-1))
    async with WatchClient(f"unix:{tmp_path}/none.sock") as nobody:
        with pytest.raises(TransientError, match="does not answer"):
            await nobody.load()
        with pytest.raises(TransientError, match="does not answer"):
            await anext(nobody.watch(0))
    with pytest.raises(InputError, match="'ftp://x' is no address of an API"):
        WatchClient("ftp://x")


def commits(first, last):
    return [Commit(number, 1.0, "test") for number in range(first, last + 1)]


async def test_the_journal_keeps_recent_commits_and_wakes_who_waits():
    journal = Journal(10)
    assert (journal.first, journal.last) == (11, 10)
    assert not await journal.changed(10, 0.01)
    waiting = asyncio.ensure_future(journal.changed(10, 30))
    await asyncio.sleep(0)
    journal.publish(commits(11, 13))
    assert await waiting
    assert (journal.first, journal.last) == (11, 13)
    assert journal.after(11, 1) == [event_of(one) for one in commits(12, 12)]
    assert journal.after(10, 99) == [event_of(one) for one in commits(11, 13)]
    journal.publish(commits(14, 13 + RECENT_COMMITS))
    assert journal.first == 14
    with pytest.raises(AssertionError):
        journal.after(12, 1)


async def test_closing_the_journal_ends_the_waiting():
    journal = Journal(3)
    waiting = asyncio.ensure_future(journal.changed(3, 30))
    await asyncio.sleep(0)
    journal.close()
    assert not await waiting


def test_an_event_is_a_server_sent_event():
    commit = Commit(7, 2.5, "me")
    identity, name, data, *rest = event_of(commit).split(b"\n")
    assert (identity, name, rest) == (b"id: 7", b"event: commit", [b"", b""])
    assert msgspec.json.decode(data.removeprefix(b"data: "), type=Commit) == commit
    assert json.loads(data.removeprefix(b"data: ")).keys() == {
        "revision",
        "at",
        "who",
        "puts",
        "deletes",
        "takes",
        "frees",
    }


def test_a_write_waits_for_agents_until_they_report(api, client):
    answered = []

    def create():
        with api.client() as other:
            body = {"virtual-machine": {"fq_name": ["awaited"]}}
            answered.append(other.request("POST", "/virtual-machines", body, wait="agents"))

    with api.client() as reporter:
        start = reporter.request("GET", "/filament/status").value["revision"]
        writing = threading.Thread(target=create)
        writing.start()
        revision = 0
        while revision <= start:  # each report answers the API's revision
            behind = {"control": "ctl1", "revision": start, "settled": start}
            revision = reporter.request("POST", "/filament/report", behind).value["revision"]
        agents = {"host1": {"applied": revision, "connected": True, "since": 1.0}}
        done = {"control": "ctl1", "revision": revision, "settled": revision, "agents": agents}
        reporter.request("POST", "/filament/report", done)
        writing.join(60)
        assert [(one.revision, one.lagging) for one in answered] == [(revision, "")]
        status = reporter.request("GET", "/filament/status", wait="agents").value
        assert status["controls"]["ctl1"]["agents"] == agents

    behind = {"host2": {"applied": revision, "connected": True, "since": 1.0}}
    with api.client() as reporter:
        reporter.request("POST", "/filament/report", {**done, "agents": behind})
        uuid = reporter.uuid_of("virtual-machine", ["awaited"])
        answer = reporter.request(
            "DELETE", f"/virtual-machine/{uuid}", wait="agents", timeout_s="0.01"
        )
        assert answer.lagging == "ctl1"  # it has not even compiled it
        newer = {**done, "revision": revision + 1, "agents": behind}
        reporter.request("POST", "/filament/report", newer)
        answer = reporter.request("GET", "/filament/status", wait="agents", timeout_s="0.01")
        assert answer.lagging == "host2"
        answer = reporter.request("GET", "/filament/status", wait="control")
        assert answer.lagging == ""
        with pytest.raises(InputError, match=r"object missing required field `settled`"):
            reporter.request("POST", "/filament/report", {"control": "x", "revision": 1})
