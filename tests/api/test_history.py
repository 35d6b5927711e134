"""The change log over HTTP, and how far back it goes."""

import pytest
from starlette.requests import Request

from filament.api.history import HistoryRoutes
from filament.base.errors import InputError, NotFoundError
from filament.client.sync import Client
from filament.runtime.web import BodyTooLargeError

from .office import Office
from .served import api_process


async def test_a_body_to_restore_is_bounded(monkeypatch):
    monkeypatch.setattr("filament.base.limits.MAX_RESTORE_BYTES", 10)
    parts = [b"12345", b"678901"]

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    routes = HistoryRoutes(Office().engine, None)
    with pytest.raises(BodyTooLargeError, match="exceeds 10 bytes"):
        await routes.restore(Request({"type": "http", "method": "POST", "headers": []}, receive))


def test_the_log_forgets_what_is_older_than_asked_for(tmp_path):
    with api_process(tmp_path, retain_commits=20) as (_, address), Client(address) as client:
        uuid = client.create("virtual-machine", ["first"])
        for number in range(40):
            client.update("virtual-machine", uuid, display_name=f"name-{number}")
        last = client.request("GET", "/filament/status").value["revision"]
        with pytest.raises(NotFoundError, match="commits after revision 1 are not kept; the log"):
            client.request("GET", "/filament/log", after="1")
        answer = client.request("GET", "/filament/log", after=str(last - 20)).value
        assert [commit["revision"] for commit in answer["commits"]] == [*range(last - 19, last + 1)]
        newest = client.request("GET", "/filament/log", uuid=uuid, limit="3").value["commits"]
        assert [commit["revision"] for commit in newest] == [last, last - 1, last - 2]
        assert 20 <= len(client.request("GET", "/filament/log", uuid=uuid).value["commits"]) < 24
        older = client.request("GET", "/filament/log", uuid=uuid, before=str(last), limit="1").value
        assert [commit["revision"] for commit in older["commits"]] == [last - 1]
        for name in ("after", "limit", "before"):
            query = {name: "x"} | ({"uuid": uuid} if name == "before" else {})
            with pytest.raises(InputError, match=f"'x' is no number at {name}; write digits"):
                client.request("GET", "/filament/log", **query)
