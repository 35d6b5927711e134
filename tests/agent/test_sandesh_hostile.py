"""Whatever a query says, the agent answers well-formed or says what is wrong."""

import asyncio
import contextlib
import inspect
import xml.etree.ElementTree as ET
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.base.errors import InputError, NotFoundError
from filament.wire.sandesh.query import Cursor, format_cursor
from filament.wire.sandesh.vrouter import AGENT

from .looked_at import LookedAt

VALUES = st.one_of(
    st.text(max_size=30),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.sampled_from(["red", "10.1.1.3", "32", "1", "-1", "2:0:0:0:0:3", "enabled", "tunnel", "%"]),
)
CURSORS = st.builds(
    Cursor,
    st.dictionaries(st.sampled_from(["vrf_index", "name"]), st.integers(-2, 2) | st.text()),
    st.sampled_from(["Inet4UcRouteReq", "BridgeRouteReq", "NhListReq", "ItfReq", "Nobody"]),
    st.sampled_from(["", "*", "10.1.1.3/32", "2 10.1.1.3/32", "7"]) | st.text(max_size=8),
)


@st.composite
def queries(draw):
    request = AGENT.requests[draw(st.sampled_from(sorted(AGENT.requests)))]
    names = [one.name for one in request.parameters] or ["x"]
    given = draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=8), VALUES, max_size=4))
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in given.items())
    if request.name == "PageReq":
        text = f"x={format_cursor(draw(CURSORS))}"
    return f"{request.name}?{text}"


@pytest.fixture
def looked(running):
    return LookedAt(running)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(target=queries())
def test_any_query_is_answered_or_refused(looked, target):
    with contextlib.suppress(InputError, NotFoundError):
        name, messages = looked.messages(target)
        if inspect.isawaitable(messages):
            messages = asyncio.run(messages)
        assert isinstance(looked.written(name, messages), ET.Element)
