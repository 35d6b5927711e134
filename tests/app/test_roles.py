import contextlib
import os
import signal
import sqlite3
import threading
import time

import pytest

from filament.app import roles
from filament.app.settings import ApiSettings, ControlSettings, Settings
from filament.base.errors import InputError, PermanentError, TransientError
from filament.client.sync import Client


async def waits(settings, stop):
    await stop.wait()


async def is_signalled(settings, stop):
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()


async def is_refused(settings, stop):
    raise PermanentError("the port is taken; choose another")


async def is_broken(settings, stop):
    raise ZeroDivisionError("by nothing")


async def ends(settings, stop):
    pass


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    known = {
        "waits": waits,
        "signalled": is_signalled,
        "refused": is_refused,
        "broken": is_broken,
        "ends": ends,
    }
    monkeypatch.setattr(roles, "ROLES", {**roles.ROLES, **known})
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    signal.signal(signal.SIGTERM, handlers[0])
    signal.signal(signal.SIGINT, handlers[1])


def test_a_signal_stops_every_role_and_is_no_failure(capsys):
    assert roles.serve(Settings(), ["waits", "signalled"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("role", "line"),
    [
        ("refused", "filament: refused stopped: the port is taken; choose another\n"),
        ("ends", "filament: ends ended by itself\n"),
    ],
)
def test_one_failure_stops_all_and_is_said_in_one_line(capsys, role, line):
    assert roles.serve(Settings(), ["waits", role]) == 1
    assert capsys.readouterr().err == line


def test_a_bug_is_told_with_where_it_happened(capsys):
    assert roles.serve(Settings(), ["broken", "waits"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("filament: broken failed: ZeroDivisionError: by nothing\n")
    assert "in is_broken" in said


@pytest.mark.parametrize(
    ("names", "message"),
    [(["apy"], "'apy' is no role; there are: "), ([], "no role to run; there are: ")],
)
def test_unknown_roles_are_refused(names, message):
    with pytest.raises(InputError) as caught:
        roles.serve(Settings(), names)
    assert message in str(caught.value)


def test_the_api_role_serves_its_unix_socket_and_listens_as_told(tmp_path, capsys):
    settings = Settings(
        run=f"{tmp_path}/r", state=f"{tmp_path}/s", api=ApiSettings(listen=("127.0.0.1:0",))
    )
    found = {}

    def ask_and_stop():
        deadline = time.monotonic() + 60
        with Client(settings.api_socket) as client:
            while "domains" not in found and time.monotonic() < deadline:
                with contextlib.suppress(TransientError):
                    found["domains"] = client.list("domain")
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_and_stop)
    asking.start()
    assert roles.serve(settings, ["api"]) == 0
    asking.join()
    assert found["domains"][0]["fq_name"] == ["default-domain"]
    with sqlite3.connect(settings.database) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_bad_address_for_bgp_is_said_with_its_setting(capsys):
    settings = Settings(control=ControlSettings(bgp=("10.0.0.300",)))
    assert roles.serve(settings, ["control"]) == 1
    assert "control.bgp = ['10.0.0.300']: '10.0.0.300' is not an IP address; give addresses" in (
        capsys.readouterr().err
    )
