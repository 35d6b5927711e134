"""Introspect over real sockets: what is answered, in which form, and at what cost to others."""

import asyncio
import contextlib
import itertools
import xml.etree.ElementTree as ET

import pytest

from filament.base.errors import NotFoundError
from filament.base.limits import INTROSPECT_TIMEOUT_S, MAX_INTROSPECT_ANSWERS
from filament.runtime.introspect import serve
from filament.runtime.introspect.process import LISTS, process_answers
from filament.runtime.introspect.serve import Introspect, answer_with
from filament.runtime.serve import Listen, serve_http
from filament.wire.sandesh.common import COMMON
from filament.wire.sandesh.schema import Schema
from filament.wire.sandesh.xml import Message

SCHEMA = Schema(
    """
module zoo: animals
request RowsReq(count u32): as many rows as asked for
request SlowReq: never ends
request LostReq: there is nothing
request LateReq(count u32): fails late
response RowsResp(1 rows list<Row>)
struct Row(1 text string)
response UveZoo(1 data Row2)
struct Row2(1 name string)
""",
    COMMON,
)


def rows(query):
    return answer_with("RowsResp", {"rows": ({"text": "x" * 100} for _ in range(query["count"]))})


def slow(query):
    while True:
        yield None


def lost(query):
    raise NotFoundError("nothing here; look there")


def late(query):
    for _ in range(4):
        yield from rows(query)
    raise NotFoundError("gone meanwhile")


def introspect():
    common = process_answers(
        "contrail-zoo",
        "host",
        lambda: [{"type": "ApiServer", "name": "api", "status": "Up", "description": ""}],
        {"Row2": ("UveZoo", lambda: [{"name": "a"}, {"name": "b"}])},
        {"Zoo": lambda: ["one", "two", "three"]},
    )
    answers = {"RowsReq": rows, "SlowReq": slow, "LostReq": lost, "LateReq": late, **common}
    return Introspect("a zoo", SCHEMA, answers, lists=LISTS)


@contextlib.asynccontextmanager
async def serving():
    stop, bound = asyncio.Event(), asyncio.Future()
    app = introspect().application()
    listens = [Listen("127.0.0.1", 0)]
    task = asyncio.ensure_future(serve_http(app, listens, stop=stop, started=bound.set_result))
    async with asyncio.timeout(20):
        yield (await bound)[0].port
        stop.set()
        await task


async def get(port, target, accept="*/*"):
    """Return status, headers and body; a body that is cut off is an error."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = (
            f"GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        body = b""
        if "chunked" in head:
            while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
                body += (await reader.readexactly(size + 2))[:-2]
        else:
            body = await reader.read()
        return status, head, body.decode()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_an_answer_is_xml_and_a_browser_gets_a_page():
    async with serving() as port:
        status, head, body = await get(port, "/Snh_RowsReq?x=2")
        assert status == 200
        assert "content-type: text/xml" in head
        assert len(ET.fromstring(body).findall("rows/list/Row")) == 2
        accept = "text/html,application/xhtml+xml,application/xml;q=0.9"
        status, head, body = await get(port, "/Snh_RowsReq?x=2", accept)
        assert status == 200
        assert "content-type: text/html" in head
        assert 'href="xml/Snh_RowsReq?x=2"' in body
        status, head, body = await get(port, "/xml/Snh_RowsReq?x=2", accept)
        assert "content-type: text/xml" in head


async def test_index_modules_and_stylesheet():
    async with serving() as port:
        for target, part in (
            ("/", 'href="zoo.xml"'),
            ("/zoo.xml", '<form action="Snh_RowsReq">'),
            ("/universal_parse.xsl", "xsl:stylesheet"),
        ):
            status, _, body = await get(port, target)
            assert status == 200
            assert part in body


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("/Snh_RowReq", 404, "there is no request 'RowReq'; did you mean RowsReq"),
        ("/Snh_RowsReq?count=few", 400, "count of RowsReq is 'few'; write a whole number"),
        ("/Snh_LostReq", 404, "nothing here; look there"),
        ("/Snh_LateReq?count=3", 404, "gone meanwhile"),
        ("/moo.xml", 404, "no module 'moo'; there are zoo, sandesh_uve, cpuinfo, sandesh_trace"),
        ("/favicon.ico", 404, "no page '/favicon.ico'; / lists the modules"),
        ("/Snh_SandeshTraceRequest?x=Zo", 400, "there is no trace buffer 'Zo'; there are Zoo"),
    ],
)
async def test_errors_say_what_is_right_in_either_form(target, status, text):
    async with serving() as port:
        found, _, body = await get(port, target)
        assert (found, text in body) == (status, True), body
        found, head, body = await get(port, target, "text/html")
        assert found == status
        if "LateReq" not in target:
            assert "content-type: text/html" in head
            assert "<h1>a zoo</h1>" in body


async def test_only_get_is_answered():
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /Snh_RowsReq HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"405"
        writer.close()


async def test_a_long_answer_delays_nobody(monkeypatch):
    """Whatever a row costs, others have a turn as soon as a slice of time is over."""
    clock = 0.0

    def ticking():
        nonlocal clock
        clock += serve.SLICE_S / 4
        return clock

    monkeypatch.setattr(serve, "now", ticking)
    turns = []

    async def others():
        while True:
            turns.append(clock)
            await asyncio.sleep(0)

    async with serving() as port:
        other = asyncio.create_task(others())
        _, _, body = await get(port, "/Snh_RowsReq?count=400")
        other.cancel()
    assert body.count("<Row>") == 400
    gaps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(gaps) <= 2 * serve.SLICE_S
    assert clock > 50 * serve.SLICE_S


async def test_an_answer_that_breaks_off_can_be_told_from_one_that_ends():
    async with serving() as port:
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):
            await get(port, "/Snh_LateReq?count=2000")


async def test_an_answer_may_take_only_so_long(monkeypatch):
    assert INTROSPECT_TIMEOUT_S == 60
    monkeypatch.setattr(serve, "INTROSPECT_TIMEOUT_S", 0.05)
    async with serving() as port:
        status, _, body = await get(port, "/Snh_SlowReq")
        assert status == 503
        assert body == "no answer within 0.05 s; ask for less\n"


async def test_only_so_many_are_answered_at_once(monkeypatch):
    monkeypatch.setattr(serve, "INTROSPECT_TIMEOUT_S", 0.5)
    async with serving() as port:
        slow_ones = [
            asyncio.create_task(get(port, "/Snh_SlowReq")) for _ in range(MAX_INTROSPECT_ANSWERS)
        ]
        status = 200
        while status == 200:
            status, _, body = await get(port, "/Snh_RowsReq?x=1")
        assert status == 503
        assert body.startswith(f"{MAX_INTROSPECT_ANSWERS} questions are being answered")
        await asyncio.gather(*slow_ones)
        status, _, _ = await get(port, "/Snh_RowsReq?x=1")
        assert status == 200


async def test_what_every_process_answers():
    async with serving() as port:
        _, _, body = await get(port, "/Snh_SandeshUVECacheReq?tname=NodeStatus")
        root = ET.fromstring(body)
        assert root.tag == "__NodeStatusUVE_list"
        [status] = root.iter("ProcessStatus")
        assert status.find("module_id").text == "contrail-zoo"
        assert status.find("state").text == "Functional"
        assert [one.find("type").text for one in root.iter("ConnectionInfo")] == ["ApiServer"]
        assert [one.find("process_name").text for one in root.iter("ProcessInfo")]
        _, _, body = await get(port, "/Snh_SandeshUVECacheReq?x=Row2&key=b")
        root = ET.fromstring(body)
        assert [one.text for one in root.findall("*[@type='sandesh']/data/Row2/name")] == ["b"]
        _, _, body = await get(port, "/Snh_SandeshUVECacheReq?x=Nobody")
        assert ET.fromstring(body).find("SandeshUVECacheResp/returned").text == "0"
        _, _, body = await get(port, "/Snh_SandeshUVETypesReq")
        assert [one.text for one in ET.fromstring(body).iter("type_name")] == ["NodeStatus", "Row2"]
        _, _, body = await get(port, "/Snh_CpuLoadInfoReq")
        assert int(ET.fromstring(body).find(".//meminfo/MemInfo/res").text) > 1000
        _, _, body = await get(port, "/Snh_SandeshTraceBufferListRequest")
        assert [one.text for one in ET.fromstring(body).iter("trace_buf_name")] == ["Zoo"]
        _, _, body = await get(port, "/Snh_SandeshTraceRequest?x=Zoo&count=2")
        assert [one.text for one in ET.fromstring(body).iter("element")] == ["two", "three"]


def test_a_connection_that_is_down_makes_a_process_non_functional():
    answers = process_answers(
        "contrail-zoo", "host", lambda: [{"type": "XMPP", "name": "c", "status": "Down"}], {}, {}
    )
    first = next(iter(answers["SandeshUVECacheReq"]({"tname": "NodeStatus"})))
    assert isinstance(first, Message)
    [status] = first.values["data"]["process_status"]
    assert status["state"] == "Non-Functional"
    assert status["description"] == "XMPP:c connection down"


def test_every_request_has_an_answer():
    with pytest.raises(AssertionError, match=r"\['CpuLoadInfoReq'"):
        Introspect("a zoo", Schema(COMMON), {})
