import asyncio
import json

import pytest
from starlette.applications import Starlette

from filament.agent.ports import port_routes
from filament.base.errors import TransientError
from filament.base.limits import MAX_REQUEST_BYTES
from filament.runtime.serve import parse_listen, serve_http


class Holder:
    """Keeps ports in memory."""

    def __init__(self):
        self.plugs = {}

    def plug(self, plug):
        if plug.device == "full":
            raise TransientError("no space left on device")
        self.plugs[plug.uuid] = plug

    def unplug(self, uuid):
        return self.plugs.pop(uuid, None) is not None

    def plugged(self, uuid):
        return self.plugs.get(uuid)


class Client:
    """Speaks HTTP to a unix socket."""

    def __init__(self, path):
        self.path = path

    async def __call__(self, method, target, body=None):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        raw = b"" if body is None else raw
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(self.path)
            head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), json.loads(content)


@pytest.fixture
async def served(tmp_path):
    holder, stop, started = Holder(), asyncio.Event(), asyncio.Event()
    app = Starlette(routes=port_routes(holder))
    path = tmp_path / "agent.sock"
    task = asyncio.create_task(
        serve_http(
            app,
            [parse_listen(f"unix:{path}")],
            stop=stop,
            started=lambda _: started.set(),
        )
    )
    await started.wait()
    yield Client(str(path)), holder
    stop.set()
    await task


async def test_plug_look_and_unplug(served, script):
    request, holder = served
    posted = script.plug().posted | {"ip-address": "10.1.1.3", "author": "nova"}
    assert await request("POST", "/port", posted) == (200, {})
    assert holder.plugs[script.uuid(3)].device == "tap3"
    assert await request("GET", f"/port/{script.uuid(3)}") == (200, posted)
    assert await request("DELETE", f"/port/{script.uuid(3)}") == (200, {})
    missing = (404, {"error": "{ Not Found }"})
    assert await request("GET", f"/port/{script.uuid(3)}") == missing
    assert await request("DELETE", f"/port/{script.uuid(3)}") == missing
    assert await request("GET", f"/port/{script.uuid(3).replace('-', '_')}") == missing


async def test_an_array_is_taken_whole_or_not_at_all(served, script):
    request, holder = served
    ports = [script.plug(3).posted, script.plug(4).posted]
    assert await request("POST", "/port", [*ports, {"id": "x"}]) == (
        500,
        {"error": "{ malformed port: Object missing required field `instance-id` }"},
    )
    assert holder.plugs == {}
    assert await request("POST", "/port", ports) == (200, {})
    assert len(holder.plugs) == 2


BAD = {
    "uuid": ({"id": "ABC"}, "id is 'ABC'; write a lower-case uuid"),
    "machine": ({"instance-id": ""}, "instance-id is ''; write a lower-case uuid"),
    "device": ({"system-name": "a/b"}, "system-name is 'a/b'; write the name of a device"),
    "long device": ({"system-name": "x" * 16}, "write the name of a device in this host, up to 15"),
    "type": ({"type": 2}, "type is 2; write 0 (virtual machine) or 1 (namespace)"),
    "vlan": ({"rx-vlan-id": 7}, "(rx-vlan-id 7, tx-vlan-id -1) are not served; write -1"),
    "shape": ({"type": []}, "malformed port: Expected `int`, got `array` - at `$.type`"),
}


@pytest.mark.parametrize("case", BAD)
async def test_malformed_ports_are_refused_in_tungstens_shape(served, script, case):
    request, holder = served
    change, text = BAD[case]
    status, answer = await request("POST", "/port", script.plug().posted | change)
    assert status == 500
    assert text in answer["error"]
    assert answer["error"].startswith("{ ")
    assert holder.plugs == {}


async def test_what_is_no_port_at_all(served):
    request, _ = served
    assert (await request("POST", "/port", b"{"))[1]["error"].startswith("{ the body is not JSON")
    assert await request("POST", "/port", "tap3") == (
        500,
        {"error": "{ a port is a JSON object, not 'tap3' }"},
    )
    status, answer = await request("POST", "/port", b" " * (MAX_REQUEST_BYTES + 1))
    assert (status, answer["error"]) == (
        413,
        f"{{ the request body exceeds {MAX_REQUEST_BYTES} bytes; send less at once }}",
    )


async def test_a_host_that_cannot_keep_it_says_so(served, script):
    request, _ = served
    posted = script.plug(3, device="full").posted
    assert await request("POST", "/port", posted) == (500, {"error": "{ no space left on device }"})
