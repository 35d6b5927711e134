"""The session machine: the table walked whole, timers, negotiation, what ends a session and how."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.limits import MAX_OUTPUT_QUEUE_BYTES
from filament.wire.bgp import session as session_module
from filament.wire.bgp.attributes import Attributes
from filament.wire.bgp.capability import Capabilities, GracefulRestart, LongLived
from filament.wire.bgp.errors import ADMIN_SHUTDOWN
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import (
    KEEPALIVE,
    Framer,
    Kind,
    Notification,
    Open,
    decode_notification,
    decode_open,
    encode_notification,
    encode_open,
    encode_route_refresh,
)
from filament.wire.bgp.session import (
    BgpSession,
    Offer,
    OpenReceived,
    RefreshReceived,
    SessionClosed,
    SessionEstablished,
    UpdateReceived,
    keeps_ours,
)
from filament.wire.bgp.transitions import TRANSITIONS, Action, Input, State
from filament.wire.bgp.update import encode_end_of_rib, encode_message, encode_updates

INET, VPN, EVPN = AddressFamily.INET, AddressFamily.INET_VPN, AddressFamily.E_VPN
OURS = Offer(64512, 0x0A000001, (INET, VPN, EVPN), hold_time_s=90)
THEIRS = Open(
    64512,
    30,
    0x0A000002,
    Capabilities(families=(VPN, INET), asn=64512, can_refresh=True, can_refresh_enhanced=True),
)
HOST = b"\x20\x0a\x01\x01\x03"
UPDATE = encode_updates(INET, Attributes(), [HOST])[0]
MESSAGES = {
    Input.OPEN: encode_open(THEIRS),
    Input.KEEPALIVE: KEEPALIVE,
    Input.UPDATE: UPDATE,
    Input.NOTIFICATION: encode_notification(Notification(6, 4)),
    Input.ROUTE_REFRESH: encode_route_refresh(INET),
}


def events(session):
    found = []
    while (event := session.next_event()) is not None:
        found.append(event)
    return found


def sent(session, now=0.0):
    return Framer().feed(b"".join(session.data_to_send(now)))


def in_state(state, offer=OURS):
    session = BgpSession(offer, 0.0)
    if state is not State.OPEN_SENT:
        session.receive_data(MESSAGES[Input.OPEN], 0.0)
    if state is State.ESTABLISHED:
        session.receive_data(KEEPALIVE, 0.0)
    if state is State.CLOSED:
        session.receive_data(b"", 0.0)
    assert session.state is state
    sent(session)
    events(session)
    return session


def happen(session, happened):
    """Make an input happen; return when it did."""
    if happened in MESSAGES:
        session.receive_data(MESSAGES[happened], 1.0)
    elif happened is Input.TRANSPORT_END:
        session.receive_data(b"", 1.0)
    elif happened is Input.BROKEN:
        session.receive_data(b"\x00" * 19, 1.0)
    elif happened is Input.CLOSE:
        session.close("enough", 1.0)
    elif happened is Input.KEEPALIVE_DUE:
        session.handle_timer(11.0)
    else:
        session.handle_timer(241.0)


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(State, Input)))
def test_the_whole_table(state, happened):
    session = in_state(state)
    happen(session, happened)
    step = TRANSITIONS.get((state, happened))
    if state is State.CLOSED:
        assert session.state is State.CLOSED
        assert not sent(session)
        assert not events(session)
        return
    if happened is Input.KEEPALIVE_DUE and state is State.OPEN_SENT:
        assert session.state is state  # no timer runs for it: the table has no row
        assert step is None
        return
    messages, told = sent(session), events(session)
    if step is None:
        subcode = {State.OPEN_SENT: 1, State.OPEN_CONFIRM: 2, State.ESTABLISHED: 3}[state]
        assert [(kind, body) for kind, body in messages] == [
            (Kind.NOTIFICATION, bytes((5, subcode)))
        ]
        assert told[-1].reason == f"{happened.value} is not expected in state {state.value}"
        assert session.state is State.CLOSED
        return
    assert session.state is step.state
    if step.action is Action.NOTIFY:
        assert messages[-1][0] is Kind.NOTIFICATION
        code = {Input.HOLD_EXPIRED: 4, Input.BROKEN: 1, Input.CLOSE: 6}[happened]
        assert messages[-1][1][0] == code
    elif step.action is Action.END:
        assert not messages
    if step.state is State.CLOSED:
        assert isinstance(told[-1], SessionClosed)
        assert told[-1].was_established is (state is State.ESTABLISHED)
        assert told[-1].reason
    kinds = {
        Action.NEGOTIATE: OpenReceived,
        Action.ESTABLISH: SessionEstablished,
        Action.TAKE: UpdateReceived if happened is Input.UPDATE else RefreshReceived,
    }
    if step.action in kinds:
        assert [type(event) for event in told] == [kinds[step.action]]
    if step.action in (Action.KEEP_ALIVE, Action.NEGOTIATE):
        assert [kind for kind, _ in messages] == [Kind.KEEPALIVE]


@given(st.lists(st.sampled_from(list(Input)) | st.binary(max_size=40), max_size=12))
def test_no_sequence_of_inputs_breaks_it(inputs):
    session = BgpSession(OURS, 0.0)
    closings = 0
    for each in inputs:
        if isinstance(each, bytes):
            session.receive_data(each, 1.0)
        else:
            happen(session, each)
        closings += sum(isinstance(event, SessionClosed) for event in events(session))
        sent(session)
    assert closings == session.closed
    assert session.timer_at() is None or not session.closed


def test_our_open_says_what_we_can():
    restart = GracefulRestart(120, True, True, ((VPN, True),))
    offer = Offer(
        4200000000,
        1,
        (VPN,),
        hold_time_s=9,
        restart=restart,
        long_lived=(LongLived(VPN, True, 60),),
    )
    [(kind, body)] = sent(BgpSession(offer, 0.0))
    assert kind is Kind.OPEN
    opened = decode_open(body)
    assert body[1:3] == (23456).to_bytes(2, "big")
    assert (opened.asn, opened.hold_time_s, opened.identifier) == (4200000000, 9, 1)
    assert opened.capabilities.families == (VPN,)
    assert opened.capabilities.graceful_restart == restart
    assert opened.capabilities.long_lived == (LongLived(VPN, True, 60),)
    assert opened.capabilities.can_refresh
    assert opened.capabilities.can_refresh_enhanced


def test_what_both_can_is_agreed():
    session = in_state(State.OPEN_CONFIRM)
    agreement = session.agreement
    assert agreement.families == (INET, VPN)
    assert agreement.hold_time_s == 30
    assert agreement.is_as4
    assert not agreement.is_external
    assert not agreement.ends_rib


def test_without_the_capability_an_as_has_two_octets():
    opened = Open(64513, 90, 7)
    session = BgpSession(OURS, 0.0)
    session.receive_data(encode_open(opened), 0.0)
    assert not session.agreement.is_as4
    assert session.agreement.is_external
    assert session.agreement.families == (INET,)  # RFC 4760: without capability, inet


@pytest.mark.parametrize(
    ("opened", "offer", "code", "text"),
    [
        (Open(64513, 90, 7), {"peer_as": 64514}, (2, 2), "it is configured as of AS 64514"),
        (Open(0, 90, 7), {}, (2, 2), "the AS number is 0"),
        (Open(64513, 2, 7), {}, (2, 6), "a hold time of 2 s; 0, or at least 3, is right"),
        (Open(64513, 90, 0), {}, (2, 3), "the identifier is 0.0.0.0"),
        (Open(64512, 90, 0x0A000001), {}, (2, 3), "the peer has our identifier 10.0.0.1"),
        (
            Open(64513, 90, 7, Capabilities(families=(AddressFamily.INET6,))),
            {},
            (2, 7),
            "no common address family: the peer has inet6; we have inet, inet-vpn, e-vpn",
        ),
    ],
)
def test_an_open_that_is_not_accepted(opened, offer, code, text):
    session = BgpSession(Offer(64512, 0x0A000001, (INET, VPN, EVPN), **offer), 0.0)
    sent(session)
    session.receive_data(encode_open(opened), 1.0)
    [(kind, body)] = sent(session)
    assert kind is Kind.NOTIFICATION
    assert (body[0], body[1]) == code
    [closed] = events(session)
    assert text in closed.reason
    assert not closed.was_established


def test_another_version_is_told_ours():
    session = BgpSession(OURS, 0.0)
    sent(session)
    session.receive_data(encode_message(1, b"\x03" + bytes(9)), 1.0)
    assert sent(session) == [(Kind.NOTIFICATION, b"\x02\x01\x00\x04")]


def test_a_keepalive_goes_out_every_third_of_the_hold_time():
    session = in_state(State.ESTABLISHED)
    assert session.timer_at() == 10.0
    session.handle_timer(10.0)
    assert sent(session) == [(Kind.KEEPALIVE, b"")]
    session.receive_data(KEEPALIVE, 15.0)
    assert session.timer_at() == 20.0
    session.send_updates([UPDATE], 19.0)  # what is said counts
    assert session.timer_at() == 29.0
    for at in (29.0, 39.0):
        session.handle_timer(at)
    session.handle_timer(45.0)
    [closed] = events(session)
    assert closed.reason == "nothing was heard for 30 seconds"
    assert closed.sent == Notification(4, 0)


def test_a_hold_time_of_zero_means_no_timers():
    offer = Offer(64512, 0x0A000001, (INET,), hold_time_s=0)
    session = in_state(State.ESTABLISHED, offer)
    assert session.agreement.hold_time_s == 0
    assert session.timer_at() is None
    session.handle_timer(1e6)
    assert session.is_established
    assert not sent(session)


def test_a_silent_peer_is_given_up_before_its_open():
    session = BgpSession(OURS, 0.0)
    assert session.timer_at() == session_module.OPEN_SENT_HOLD_S
    session.handle_timer(session_module.OPEN_SENT_HOLD_S)
    assert session.closed


def test_what_came_before_a_break_is_told():
    session = in_state(State.ESTABLISHED)
    session.receive_data(UPDATE + b"\x00" * 19, 1.0)
    assert [type(event) for event in events(session)] == [UpdateReceived, SessionClosed]
    assert sent(session) == [(Kind.NOTIFICATION, b"\x01\x01")]


def test_messages_may_come_in_any_pieces():
    stream = MESSAGES[Input.OPEN] + KEEPALIVE + UPDATE + encode_end_of_rib(VPN)
    whole, pieces = BgpSession(OURS, 0.0), BgpSession(OURS, 0.0)
    whole.receive_data(stream, 1.0)
    for octet in stream:
        pieces.receive_data(bytes([octet]), 1.0)
    assert events(whole) == events(pieces)
    assert whole.is_established


def test_a_peer_says_why_it_goes():
    session = in_state(State.ESTABLISHED)
    octets = b"\x07good\x01by" + b"extra"
    session.receive_data(encode_notification(Notification(6, 2, octets)), 1.0)
    [closed] = events(session)
    assert closed.reason == "the peer said cease: administrative shutdown (good?by)"
    assert closed.received.subcode == 2


def test_we_say_why_we_go():
    session = in_state(State.ESTABLISHED)
    session.receive_data(UPDATE, 1.0)
    session.cease(ADMIN_SHUTDOWN, "maintenance é" + "x" * 300, 1.0)
    [(_, body)] = sent(session)
    said = decode_notification(body)
    assert (said.code, said.subcode, said.octets[0]) == (6, 2, 255)
    assert said.communication.startswith("maintenance é")
    assert [type(event) for event in events(session)] == [SessionClosed]  # the update is dropped


def test_an_abandoned_session_says_nothing():
    session = in_state(State.ESTABLISHED)
    session.abandon("replaced", 1.0)
    assert not sent(session)
    assert events(session) == [SessionClosed("replaced", was_established=True)]


def test_a_slow_reader_is_dropped(monkeypatch):
    assert session_module.MAX_OUTPUT_QUEUE_BYTES == MAX_OUTPUT_QUEUE_BYTES
    monkeypatch.setattr(session_module, "MAX_OUTPUT_QUEUE_BYTES", 1000)
    session = in_state(State.ESTABLISHED)
    session.send_updates([UPDATE] * 50, 1.0)
    assert session.closed
    assert sent(session) == [(Kind.NOTIFICATION, b"\x06\x08")]
    [closed] = events(session)
    assert closed.reason == "cease: out of resources: more than 1000 bytes wait for the peer"


def test_nothing_is_sent_before_the_session_is_established():
    session = in_state(State.OPEN_CONFIRM)
    session.send_updates([UPDATE], 1.0)
    assert not session.send_refresh(INET, 1.0)
    assert not sent(session)


def test_refreshes_go_both_ways():
    session = in_state(State.ESTABLISHED)
    assert session.send_refresh(VPN, 1.0)
    assert session.send_refresh(VPN, 1.0, 1)
    assert not session.send_refresh(EVPN, 1.0)  # not agreed on
    assert sent(session) == [
        (Kind.ROUTE_REFRESH, b"\0\1\0\x80"),
        (Kind.ROUTE_REFRESH, b"\0\1\1\x80"),
    ]
    for subtype in (0, 1, 2, 3):
        session.receive_data(encode_route_refresh(VPN, subtype), 1.0)
    session.receive_data(encode_route_refresh(EVPN), 1.0)
    session.receive_data(encode_message(5, b"\x40\x04\x00\x47"), 1.0)
    assert events(session) == [RefreshReceived(VPN, subtype) for subtype in (0, 1, 2)]
    session.receive_data(encode_message(5, b"\x00\x01\x00"), 1.0)
    assert sent(session)[0][1][:2] == b"\x07\x01"


def test_faults_are_counted_and_traced_once():
    session = in_state(State.ESTABLISHED)
    bad = UPDATE.replace(b"\x40\x01\x01\x00", b"\x40\x01\x01\x09")
    session.receive_data(bad * 3, 1.0)
    assert session.fault_count == 3
    assert session.is_established
    [entry] = [entry for entry in session.trace if "ORIGIN" in entry.detail]
    assert entry.detail == "ORIGIN: the value is 09; 00 to 02 exist (treated as withdraw)"


def test_the_history_tells_the_story():
    session = in_state(State.ESTABLISHED)
    session.receive_data(encode_end_of_rib(VPN), 2.0)
    session.receive_data(b"", 3.0)
    assert [(entry.input, entry.state) for entry in session.trace] == [
        ("sent OPEN", "OpenSent"),
        ("OPEN", "OpenConfirm"),
        ("KEEPALIVE", "Established"),
        ("End-of-RIB inet-vpn", "Established"),
        ("transport end", "Closed"),
    ]
    assert session.trace[1].detail == (
        "AS 64512, identifier 10.0.0.2, hold time 30 s, families inet, inet-vpn"
    )
    assert session.trace[-1].detail == "the peer closed the connection"


def test_the_higher_identifier_keeps_its_connection():
    assert keeps_ours((2, 1), (1, 9))
    assert not keeps_ours((1, 9), (2, 1))
    assert keeps_ours((1, 9), (1, 2))
