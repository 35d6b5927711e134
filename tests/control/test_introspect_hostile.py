"""Whatever a query says, the control node answers well-formed or says what is wrong."""

import contextlib
import xml.etree.ElementTree as ET
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filament.base.errors import InputError, NotFoundError
from filament.wire.sandesh.query import Cursor, format_cursor
from filament.wire.sandesh.routing import CONTROL

from .introspected import Introspected

VALUES = st.one_of(
    st.text(max_size=30),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.sampled_from(
        ["red", "inet", "bgp.l3vpn.0", "10.1.1.3/32", "10.1.1.3", "::/0", "0", "-1", "%", "host1"]
    ),
)
CURSORS = st.builds(
    Cursor,
    st.dictionaries(st.sampled_from(["search_string", "prefix", "routing_table"]), st.text()),
    st.sampled_from(["", "bgp.l3vpn.0", "inet.0"]) | st.text(max_size=8),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=8),
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return Introspected(tmp_path_factory.mktemp("node"))


@st.composite
def queries(draw):
    request = CONTROL.requests[draw(st.sampled_from(sorted(CONTROL.requests)))]
    names = [one.name for one in request.parameters] or ["x"]
    given = draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=8), VALUES, max_size=4))
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in given.items())
    if request.name.endswith("Iterate"):
        text = f"x={format_cursor(draw(CURSORS))}"
    return f"{request.name}?{text}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(queries())
def test_any_query_is_answered_or_refused(asked, target):
    with contextlib.suppress(InputError, NotFoundError):
        assert ET.fromstring(asked.text(target)).tag
