"""Many watchers, TF's form of a watch, and resuming: nothing skipped, nothing unbounded."""

import asyncio
import json
import os
import resource
import socket
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request

from filament.api import watching
from filament.api.caller import Caller
from filament.api.journal import Journal, event_of
from filament.api.rbac import DEFAULT_NAME
from filament.api.render import Include
from filament.api.watching import Watches
from filament.base import limits
from filament.base.errors import ForbiddenError, InputError, NotFoundError, TransientError
from filament.client.sync import Client
from filament.client.watch import Relisted, WatchClient
from filament.model.change import Commit
from filament.model.snapshot import Snapshot

from .served import ServedApi, api_process

# All that are allowed (10,000): FILAMENT_WATCHES=10000, some ten seconds.
MANY = int(os.environ.get("FILAMENT_WATCHES", "2000"))
RSS_PER_WATCH_BYTES = 64 * 1024  # measured 2026-11-20: about 30 KiB


def resident_bytes(pid):
    with Path(f"/proc/{pid}/statm").open() as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_thousands_of_watches_cost_little_and_all_hear(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 3 * MANY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    watchers = []
    try:
        with api_process(tmp_path) as (process, address), Client(address) as client:
            revision = client.request("GET", "/filament/status").value["revision"]
            before = resident_bytes(process.pid)
            for _ in range(MANY):
                watcher = socket.socket(socket.AF_UNIX)
                watcher.settimeout(30)
                watcher.connect(address.removeprefix("unix:"))
                watcher.sendall(b"GET /watch?after=%d HTTP/1.1\r\nHost: x\r\n\r\n" % revision)
                watchers.append(watcher)
                read_until(watcher, b": watching")  # the backlog is short
            each = (resident_bytes(process.pid) - before) / MANY
            client.create("virtual-machine", ["heard"])
            for watcher in watchers:
                read_until(watcher, b'"heard"')
            assert each < RSS_PER_WATCH_BYTES, f"{each / 1024:.1f} KiB for each watch"
    finally:
        for watcher in watchers:
            watcher.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def read_until(watcher, mark):
    got = b""
    while mark not in got:
        chunk = watcher.recv(65536)
        assert chunk, got
        got += chunk


async def test_the_number_of_watches_is_limited(api, monkeypatch):
    monkeypatch.setattr(limits, "MAX_WATCHES", 2)
    async with WatchClient(api.socket) as watcher:
        start = (await watcher.load()).revision
        streams = [watcher.watch(start) for _ in range(2)]
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0.2)
        with pytest.raises(TransientError, match="2 watches are open already"):
            await anext(watcher.watch(start))
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


def test_what_is_written_at_once_is_bounded(monkeypatch):
    events = [event_of(Commit(number, 1.0, "x" * 100)) for number in range(10)]
    assert watching._bounded(events) == events
    monkeypatch.setattr(limits, "MAX_WATCH_CHUNK_BYTES", len(events[0]) * 3)
    assert watching._bounded(events) == events[:3]
    monkeypatch.setattr(limits, "MAX_WATCH_CHUNK_BYTES", 1)
    assert watching._bounded(events) == events[:1]


async def test_a_watch_cut_anywhere_resumes_where_it_was(tmp_path):
    """A follower that loses its connection after every few commits ends where the API is."""
    with ServedApi(tmp_path) as api, api.client() as client:
        async with WatchClient(api.socket) as watcher:
            start = await watcher.load()
            follower = Snapshot(start.revision, start.objects, start.allocations)
            for number in range(20):
                uuid = client.create("virtual-machine", [str(number)])
                if number % 3 == 0:
                    client.delete("virtual-machine", uuid)
            last = client.request("GET", "/filament/status").value["revision"]
            cut = 1
            async with asyncio.timeout(20):
                while follower.revision < last:
                    stream = watcher.watch(follower.revision)
                    for _ in range(min(cut, last - follower.revision)):
                        follower.apply(await anext(stream))  # asserts that none is skipped
                    await stream.aclose()
                    cut = cut % 4 + 1
            end = await watcher.load()
            assert end.objects == list(follower.objects())


async def test_a_watcher_too_far_behind_is_told_to_list_again(tmp_path, monkeypatch):
    monkeypatch.setattr("filament.base.limits.WATCH_BACKLOG_COMMITS", 5)
    monkeypatch.setattr("filament.store.sqlite.SqliteStore.compact_every", 1)
    monkeypatch.setattr("filament.api.journal.RECENT_COMMITS", 3)
    with ServedApi(tmp_path) as api, api.client() as client:
        for number in range(20):
            client.create("virtual-machine", [str(number)])
        async with WatchClient(api.socket) as watcher, asyncio.timeout(20):
            assert [event async for event in watcher.watch(1)] == [Relisted()]
            start = await watcher.load()  # and then it goes on
            stream = watcher.watch(start.revision)
            client.create("virtual-machine", ["after"])
            commit = await anext(stream)
            await stream.aclose()
            assert [item.fq_name for item in commit.puts] == [("after",)]


def events_of(api, query, count, act):
    """Read TF's events; `act` is called once the stream has begun."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as watcher:
        watcher.sendall(f"GET /watch?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = b""
        while b"event: init" not in got:
            got += watcher.recv(65536)
        act()
        while got.count(b"event: ") < count:
            got += watcher.recv(65536)
    names = [line[7:].decode() for line in got.split(b"\n") if line.startswith(b"event: ")]
    values = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: ")]
    return list(zip(names, values, strict=False))


def test_objects_are_watched_as_tf_tells_them(api, client):
    old = client.create("virtual-machine", ["watched-before"])

    def act():
        uuid = client.create("virtual-machine", ["watched-now"])
        client.create("domain", ["not-watched"])
        client.update("virtual-machine", uuid, display_name="new")
        client.delete("virtual-machine", uuid)

    query = "resource_type=virtual-machine&virtual_machine_fields=display_name"
    events = events_of(api, query, 4, act)
    assert [name for name, _ in events] == ["init", "create", "update", "delete"]
    listed = events[0][1]["virtual-machines"]
    assert old in [item["virtual-machine"]["uuid"] for item in listed]
    assert events[2][1]["virtual-machine"]["display_name"] == "new"
    assert {value["virtual-machine"]["fq_name"][0] for _, value in events[1:]} == {"watched-now"}
    with pytest.raises(NotFoundError, match="'virtual-machin' not found"):
        client.request("GET", "/watch", resource_type="virtual-machin")
    with pytest.raises(InputError, match="no field 'displayname'"):
        client.request(
            "GET", "/watch", resource_type="virtual-machine",
            virtual_machine_fields="displayname",
        )  # fmt: skip


TESS = Caller("tess", frozenset({"member"}), project="aaaaaaaa-0000-4000-8000-000000000001")


def listen(watches, caller, kind="virtual-machine"):
    """A queue of what a caller is told, and the task that fills it."""
    events = asyncio.Queue()

    async def hear():
        async for event in watches._objects({kind: Include()}, "http://x", caller):
            name, _, data = event.decode().partition("\ndata: ")
            events.put_nowait((name.removeprefix("event: "), json.loads(data or "null")))

    return events, asyncio.create_task(hear())


async def test_a_tenant_watches_what_it_may_read_and_is_told_when_it_no_longer_may(office):
    journal = Journal(office.view.revision)
    watches = Watches(office.engine, None, journal)
    keep = office.keep
    office.keep = lambda commit: (keep(commit), journal.publish([commit]))
    mine = {"owner": TESS.project, "owner_access": 7, "global_access": 0}
    theirs = mine | {"owner": "cloud-admin"}
    office.create("virtual-machine", "secret", perms2=theirs)
    events, task = listen(watches, TESS)
    assert await events.get() == ("init", {"virtual-machines": []})
    office.create("virtual-machine", "hidden", perms2=mine, id_perms={"user_visible": False})
    machine = office.create("virtual-machine", "m", perms2=mine)
    office.update(machine, perms2=theirs, display_name="no longer hers")
    office.delete(office.get(machine))
    office.create("virtual-machine", "last", perms2=mine)
    word, value = await events.get()
    assert (word, value["virtual-machine"]["uuid"]) == ("create", machine.uuid)
    gone = {"uuid": machine.uuid, "fq_name": ["m"]}
    assert await events.get() == ("delete", {"virtual-machine": gone})
    assert (await events.get())[1]["virtual-machine"]["name"] == "last"
    journal.close()
    await task


async def test_a_tenants_watch_ends_so_that_it_shows_again_who_it_is(office, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TENANT_WATCH_S", 0.0)
    monkeypatch.setattr(watching, "KEEP_ALIVE_S", 0.01)
    journal = Journal(office.view.revision)
    watches = Watches(office.engine, None, journal)
    events, task = listen(watches, TESS)
    await asyncio.wait_for(task, 5)
    assert [events.get_nowait()[0] for _ in range(2)] == ["init", "stop"]
    events, task = listen(watches, msgspec.structs.replace(TESS, is_cloud_admin=True))
    words = [(await events.get())[0] for _ in range(3)]
    assert words == ["init", ":\n\n", ":\n\n"]  # it goes on
    journal.close()
    await task


async def test_watches_of_a_tenant_are_limited_and_counted_by_project(office, monkeypatch):
    monkeypatch.setattr(limits, "MAX_WATCHES_OF_A_TENANT", 1)
    rule = {"rule_object": "*", "rule_perms": [{"role_name": "*", "role_crud": "R"}]}
    rules = office.create(
        "api-access-list",
        *DEFAULT_NAME,
        parent_type="global-system-config",
        api_access_list_entries={"rbac_rule": [rule]},
    )
    journal = Journal(office.view.revision)
    watches = Watches(office.engine, None, journal)

    def request(caller, query="resource_type=virtual-machine"):
        scope = {"type": "http", "query_string": query.encode(), "headers": [], "method": "GET"}
        return Request(scope | {"filament.caller": caller})

    first = await watches.open(request(TESS), "http://x")
    stream = first.body_iterator
    await anext(stream)
    with pytest.raises(TransientError, match="1 watches of this project are open already"):
        await watches.open(request(TESS), "http://x")
    await watches.open(request(msgspec.structs.replace(TESS, project=None)), "http://x")
    await stream.aclose()
    assert watches.count == 0
    await watches.open(request(TESS), "http://x")
    with pytest.raises(ForbiddenError, match=r"/watch\?after= tells commits whole"):
        await watches.open(request(TESS, "after=0"), "http://x")
    rule["rule_perms"] = []
    office.update(rules, api_access_list_entries={"rbac_rule": [rule]})
    with pytest.raises(ForbiddenError, match="no api-access-list rule grants R on virtual-m"):
        await watches.open(request(TESS), "http://x")
