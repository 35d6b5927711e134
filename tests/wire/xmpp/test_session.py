import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_OUTPUT_QUEUE_BYTES
from filament.base.net import Prefix
from filament.wire.xmpp import session as session_module
from filament.wire.xmpp.session import (
    KEEPALIVE,
    TRANSITIONS,
    ClientSession,
    Input,
    ServerSession,
    SessionClosed,
    SessionOpened,
    StanzaReceived,
    State,
    Step,
    TraceEntry,
)
from filament.wire.xmpp.stanza import (
    ConfigSubscribed,
    EndOfRib,
    InstanceSubscribed,
    NextHop,
    RoutePublished,
    RouteRetracted,
    Sync,
)

CONTROL = "network-control@contrailsystems.com"


def events(machine):
    found = []
    while (event := machine.next_event()) is not None:
        found.append(event)
    return found


def carry(client, server, now=0.0):
    """Move bytes both ways until neither side says more."""
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(now):
                moved = True
                receiver.receive_data(data, now)


def pair(now=0.0):
    client, server = ClientSession("host1", now), ServerSession(now)
    carry(client, server, now)
    assert events(client) == [SessionOpened(CONTROL)]
    assert events(server) == [SessionOpened("host1")]
    return client, server


def test_both_headers_are_tfs():
    client, server = ClientSession("host1", 0), ServerSession(0)
    [header] = client.data_to_send(0)
    assert header.decode() == (
        "<?xml version='1.0'?><stream:stream from='host1'"
        " to='network-control@contrailsystems.com' version='1.0' xml:lang='en'"
        " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        " xmlns:f='urn:filament'>"
    )
    server.receive_data(header, 0)
    [answer] = server.data_to_send(0)
    assert b"from='network-control@contrailsystems.com' to='host1' id='++123'" in answer


def test_stanzas_go_both_ways_and_a_publish_pair_arrives_as_one():
    client, server = pair()
    route = RoutePublished("r", Prefix(1, 32), NextHop(1, 17))
    said = [InstanceSubscribed("r", 1), route, RouteRetracted("r", Prefix(1, 32)), EndOfRib()]
    for stanza in said:
        client.send(stanza, 1)
    server.send(Sync(1, 5, whole=True), 1)
    carry(client, server, 1)
    assert events(server) == [StanzaReceived(stanza) for stanza in said]
    assert events(client) == [StanzaReceived(Sync(1, 5, whole=True))]


def test_each_side_keeps_the_other_alive_for_an_hour_of_silence():
    client, server = pair()
    beats = 0
    now = 0.0
    while now < 3600:
        now = min(client.timer_at(), server.timer_at())
        for sender, receiver in ((client, server), (server, client)):
            sender.handle_timer(now)
            for data in sender.data_to_send(now):
                assert data == KEEPALIVE == b"\xc8\x80"
                beats += 1
                receiver.receive_data(data, now)
    assert beats == 2 * 3600 // 30
    assert events(client) == events(server) == []


def test_three_misses_close():
    _, server = pair()
    at = 0.0
    while not server.closed:
        at = server.timer_at()
        server.handle_timer(at)
    assert at == 90.0
    assert events(server) == [SessionClosed("nothing was heard for 90 seconds")]
    assert server.data_to_send(at) == [KEEPALIVE, KEEPALIVE, b"</stream:stream>"]
    assert server.timer_at() is None


def test_a_peer_that_never_finishes_its_header_is_given_up():
    server = ServerSession(0)
    for second in range(10):
        server.receive_data(b"<stream:stream "[second : second + 1] or b" ", second)
    assert server.timer_at() == 10
    server.handle_timer(10)
    assert events(server) == [SessionClosed("nothing was heard for 10 seconds")]


def test_an_orderly_close():
    client, server = pair()
    client.close("the agent stops", 2)
    carry(client, server, 2)
    assert events(client) == [SessionClosed("the agent stops")]
    assert events(server) == [SessionClosed("the peer closed the stream")]
    client.send(EndOfRib(), 3)
    assert client.data_to_send(3) == []


def test_a_truncated_stream_is_said_to_be_one():
    client, server = pair()
    client.send(InstanceSubscribed("r", 1), 1)
    [data] = client.data_to_send(1)
    server.receive_data(data[:-20], 1)
    server.receive_data(b"", 1)
    assert events(server) == [SessionClosed("the peer closed the connection inside a stanza")]


def test_a_fault_is_explained_to_the_peer():
    client, server = pair()
    client.send(InstanceSubscribed("r", 1), 1)
    good = b"".join(client.data_to_send(1))
    server.receive_data(good + b"<iq></nonsense>", 1)
    carry(client, server, 1)
    opened, closed = events(server)
    assert opened == StanzaReceived(InstanceSubscribed("r", 1))
    assert closed.reason.startswith(
        "not-well-formed: the XML stream cannot be parsed: mismatched tag"
    )
    [refused] = events(client)
    assert refused.reason.startswith("the peer refused the stream: the XML stream cannot be parsed")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"from='a' to='elsewhere'", "host-unknown: the stream is to 'elsewhere'"),
        (f"from='' to='{CONTROL}'".encode(), "invalid-from: the stream is from ''"),
        (
            f"from='{'x' * 256}' to='{CONTROL}'".encode(),
            "expected an agent's host name of 1 to 255",
        ),
    ],
)
def test_headers_that_are_refused(header, reason):
    server = ServerSession(0)
    server.receive_data(
        b"<stream:stream " + header + b" xmlns:stream='http://etherx.jabber.org/streams'>", 0
    )
    [closed] = events(server)
    assert reason in closed.reason
    assert server.data_to_send(0)[-1] == b"</stream:stream>"


def test_refuse_drops_what_was_heard_and_not_told():
    client, server = pair()
    client.send(EndOfRib(), 1)
    for data in client.data_to_send(1):
        server.receive_data(data, 1)
    server.refuse(ProtocolError("conflict", "host1 is connected from elsewhere"), 1)
    carry(client, server, 1)
    assert events(server) == [SessionClosed("conflict: host1 is connected from elsewhere")]
    assert events(client) == [
        SessionClosed("the peer refused the stream: host1 is connected from elsewhere")
    ]


def test_output_is_bounded(monkeypatch):
    monkeypatch.setattr(session_module, "MAX_OUTPUT_QUEUE_BYTES", 10_000)
    client, _ = pair()
    while not client.closed:
        client.send(ConfigSubscribed("virtual-machine", "x" * 1000), 1)
    assert events(client) == [SessionClosed("more than 10000 bytes wait for the peer")]
    assert sum(map(len, client.data_to_send(1))) < 100
    assert MAX_OUTPUT_QUEUE_BYTES == 64 * 1024 * 1024


def test_the_trace_keeps_the_last_steps():
    client, server = pair(5.0)
    for _ in range(100):
        client.send(EndOfRib(), 6)
    carry(client, server, 6)
    assert len(server.trace) == 64
    assert server.trace[-1] == TraceEntry(6, "stanza", "established", "EndOfRib")


def in_state(state: State, side: str):
    machine = ClientSession("host1", 0) if side == "client" else ServerSession(0)
    if state in {State.ESTABLISHED, State.CLOSED}:
        client, server = pair()
        machine = client if side == "client" else server
        if state is State.CLOSED:
            machine.close("done", 0)
    events(machine)
    machine.data_to_send(0)
    return machine if machine.state is state else None


@pytest.mark.parametrize(
    ("side", "state", "happened"), list(itertools.product(["client", "server"], State, Input))
)
def test_every_state_answers_every_input(side, state, happened):
    machine = in_state(state, side)
    if machine is None:
        return  # the other side's state
    machine._header = {"from": "host1", "to": CONTROL}
    machine._step(happened, 1.0, "why")
    row = TRANSITIONS.get((state, happened))
    closings = [event for event in events(machine) if isinstance(event, SessionClosed)]
    if row is not None:
        assert isinstance(row, Step)
        assert machine.state is row.state
        assert len(closings) == (row.state is State.CLOSED and state is not State.CLOSED)
    elif state is State.CLOSED:
        assert (machine.state, closings) == (State.CLOSED, [])
    else:
        assert machine.state is State.CLOSED
        assert closings == [
            SessionClosed(f"{happened.value} is not expected in state {state.value}")
        ]


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([b"<iq>", b"</iq>", KEEPALIVE, b""]), max_size=8
    )
)
def test_whatever_arrives_a_session_ends_once_or_goes_on(pieces):
    client, server = ClientSession("host1", 0), ServerSession(0)
    carry(client, server)
    for machine in (client, server):
        for piece in pieces:
            machine.receive_data(piece, 1)
        found = events(machine)
        closings = [event for event in found if isinstance(event, SessionClosed)]
        assert len(closings) == machine.closed
        if closings:
            assert found[-1] is closings[0]
            assert closings[0].reason
