"""A peer between its connections: retries, damping, collisions."""

import itertools

import pytest

from filament.wire.bgp.capability import Capabilities, GracefulRestart
from filament.wire.bgp.errors import ADMIN_SHUTDOWN, REJECTED, Code
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import (
    KEEPALIVE,
    Framer,
    Kind,
    Notification,
    Open,
    encode_notification,
    encode_open,
)
from filament.wire.bgp.peer import (
    CONNECT_RETRY_S,
    CONNECT_TIMEOUT_S,
    MAX_HELD_S,
    STABLE_S,
    TRANSITIONS,
    Action,
    BgpPeer,
    Input,
    PeerRule,
    Phase,
)
from filament.wire.bgp.session import Offer
from filament.wire.bgp.transitions import State

VPN = AddressFamily.INET_VPN
LOW, HIGH = 0x0A000001, 0x0A000009


def make_peer(identifier=LOW, **rule):
    return BgpPeer(Offer(64512, identifier, (VPN,)), PeerRule(**rule), lambda: 0.5)


def hear(peer, session, data, now=0.0):
    session.receive_data(data, now)
    tell(peer, session, now)


def tell(peer, session, now=0.0):
    while (event := session.next_event()) is not None:
        peer.take_event(session, event, now)


def opened(identifier, restart=None):
    capabilities = Capabilities(families=(VPN,), asn=64512, graceful_restart=restart)
    return encode_open(Open(64512, 90, identifier, capabilities))


def establish(peer, session, identifier=HIGH, now=0.0, restart=None):
    hear(peer, session, opened(identifier, restart), now)
    hear(peer, session, KEEPALIVE, now)
    assert session.is_established


def in_phase(phase):
    peer = make_peer()
    if phase is not Phase.DOWN:
        peer.start(0.0)
        peer.take_wish()
    if phase is Phase.ACTIVE:
        peer.connect_failed("refused", 0.0)
    elif phase is Phase.CONNECTED:
        peer.connected(0.0)
    elif phase is Phase.HELD:
        for _ in range(2):
            hear(peer, peer.accepted(0.0), b"")
    assert peer.phase is phase
    return peer


def happen(peer, happened, now=500.0):
    if happened is Input.START:
        return peer.start(now)
    if happened is Input.STOP:
        return peer.stop(ADMIN_SHUTDOWN, "enough", now)
    if happened is Input.TIMER:
        return peer.handle_timer(now)
    if happened is Input.CONNECTED:
        return peer.connected(now)
    if happened is Input.CONNECT_FAILED:
        return peer.connect_failed("refused", now)
    if happened is Input.ACCEPTED:
        return peer.accepted(now)
    for connection in list(peer.connections):
        if happened is Input.LOST:
            hear(peer, connection.session, opened(HIGH), now)
        hear(peer, connection.session, b"", now)
    return None


@pytest.mark.parametrize(("phase", "happened"), list(itertools.product(Phase, Input)))
def test_the_whole_table(phase, happened):
    peer = in_phase(phase)
    had_connections = bool(peer.connections)
    session = happen(peer, happened)
    action, after = TRANSITIONS.get((phase, happened), (Action.ACCEPT, phase))
    if happened in (Input.LOST, Input.TURNED_AWAY) and not had_connections:
        assert peer.phase is phase
        return
    if phase is Phase.CONNECTED and happened is Input.CONNECTED:
        assert session is None  # we opened one already
        return
    assert peer.phase is after
    if happened in (Input.CONNECTED, Input.ACCEPTED):
        assert (session is None) is (action is Action.REFUSE)
    assert peer.take_wish() is (action is Action.SEEK)
    assert len(peer.history) > 0 or phase is Phase.DOWN


def test_states_have_the_names_of_the_rfc():
    assert [in_phase(phase).state for phase in Phase] == [
        "Idle",
        "Idle",
        "Connect",
        "Active",
        "OpenSent",
    ]
    peer = in_phase(Phase.CONNECTED)
    hear(peer, peer.connections[0].session, opened(HIGH))
    assert peer.state == "OpenConfirm"
    hear(peer, peer.connections[0].session, KEEPALIVE)
    assert peer.state == "Established"
    assert peer.established is peer.connections[0].session


def test_a_passive_peer_is_waited_for():
    peer = make_peer(is_passive=True)
    peer.start(0.0)
    assert peer.state == "Active"
    assert not peer.take_wish()
    assert peer.timer_at() is None
    session = peer.accepted(5.0)
    hear(peer, session, b"", 5.0)
    assert (peer.state, peer.timer_at()) == ("Active", None)


def test_connecting_is_tried_again_ever_less_often():
    peer = make_peer(connect_retry_s=4.0)
    peer.start(0.0)
    now, waits = 0.0, []
    for _ in range(6):
        assert peer.take_wish()
        peer.connect_failed("refused", now)
        assert peer.reason == "refused"
        waits.append(peer.timer_at() - now)
        now = peer.timer_at()
        peer.handle_timer(now)
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_peer_that_is_away_for_days_is_still_sought():
    peer = make_peer(connect_retry_s=10.0)
    peer.start(0.0)
    now = 0.0
    for _ in range(2000):
        assert peer.take_wish()
        peer.connect_failed("refused", now)
        now = peer.timer_at()
        peer.handle_timer(now)
    assert now > 19_000
    assert peer.state == "Connect"


@pytest.mark.parametrize("last", [b"", encode_notification(Notification(Code.CEASE, REJECTED))])
def test_a_peer_that_turns_us_away_is_not_flapping(last):
    """As GoBGP does for five seconds after a session failed, and a Filament that holds us."""
    peer = make_peer(connect_retry_s=4.0)
    peer.start(0.0)
    now, waits = 0.0, []
    for _ in range(6):
        assert peer.take_wish()
        hear(peer, peer.connected(now), last, now)
        assert peer.state == "Active"
        assert peer.reason.startswith("it let us in and said no OPEN: the peer ")
        waits.append(peer.timer_at() - now)
        now = peer.timer_at()
        peer.handle_timer(now)
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    hear(peer, peer.connected(now), last, now)
    session = peer.accepted(now)  # it is let in at once
    establish(peer, session, now=now)
    hear(peer, session, b"", now + 1.0)
    assert (peer.phase, peer.timer_at() - now) == (Phase.ACTIVE, 1.5)  # its first failure


def test_a_peer_that_connects_and_says_nothing_is_flapping():
    peer = make_peer()
    peer.start(0.0)
    for _ in range(2):
        hear(peer, peer.accepted(0.0), b"")
    assert peer.phase is Phase.HELD


def hold(peer, other_identifier, times):
    for _ in range(times):
        if peer.phase is Phase.HELD:
            peer.handle_timer(peer.timer_at())
        session = peer.accepted(0.0)
        establish(peer, session, other_identifier)
        hear(peer, session, b"")
    assert peer.phase is Phase.HELD


def connect(peer, other, now):
    ours, theirs = peer.connected(now), other.accepted(now)
    if theirs is None:
        hear(peer, ours, encode_notification(Notification(Code.CEASE, REJECTED)), now)
        return
    hear(other, theirs, b"".join(ours.data_to_send(now)), now)  # OPEN
    hear(peer, ours, b"".join(theirs.data_to_send(now)), now)  # OPEN, KEEPALIVE
    hear(other, theirs, b"".join(ours.data_to_send(now)), now)  # KEEPALIVE


def test_two_that_hold_each_other_meet():
    """Each refuses the other while it holds it, and must not be held longer for having asked."""
    peers = [make_peer(LOW), make_peer(HIGH)]
    for peer, times in zip(peers, (5, 6), strict=True):
        peer.start(0.0)
        hold(peer, LOW + HIGH - peer.offer.identifier, times)
    assert [peer.timer_at() for peer in peers] == [8.0, 16.0]
    now = 0.0
    while not all(peer.established for peer in peers):
        now = min(at for peer in peers if (at := peer.timer_at()) is not None)
        assert now <= 16.0 + CONNECT_RETRY_S, [peer.state for peer in peers]
        for peer, other in (peers, reversed(peers)):
            peer.handle_timer(now)
            if peer.take_wish():
                connect(peer, other, now)


def test_a_connection_that_does_not_come_about_is_not_waited_for_for_ever():
    peer = make_peer()
    peer.start(0.0)
    assert peer.timer_at() == CONNECT_TIMEOUT_S
    peer.handle_timer(CONNECT_TIMEOUT_S)
    assert peer.state == "Active"
    assert not peer.take_wish()


def test_a_flapping_peer_is_held_longer_each_time():
    peer = make_peer()
    peer.start(0.0)
    now, held = 0.0, []
    for _ in range(12):
        session = peer.accepted(now)
        establish(peer, session, now=now)
        hear(peer, session, b"", now + 1.0)
        if peer.phase is Phase.HELD:
            assert peer.accepted(now + 1.0) is None
            held.append(round(peer.timer_at() - now - 1.0))
        now = peer.timer_at()
        peer.handle_timer(now)
    assert held == [1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100]
    assert held[-1] == MAX_HELD_S
    session = peer.accepted(now)
    establish(peer, session, now=now)
    hear(peer, session, b"", now + STABLE_S)
    assert peer.phase is Phase.ACTIVE  # it had been stable: all is forgiven
    assert peer.lost_count == peer.established_count == 13


def test_a_peer_that_flaps_as_fast_as_it_can_has_few_sessions_in_an_hour():
    """It tries every tenth of a second; what its sessions cost is bounded by how many there are."""
    peer = make_peer()
    peer.start(0.0)
    for tenth in range(36_000):
        now = tenth / 10
        peer.handle_timer(now)
        session = peer.accepted(now)
        if session is not None:
            establish(peer, session, now=now)
            hear(peer, session, b"", now)
    assert peer.established_count == 43


def test_a_peer_that_flaps_faster_than_we_notice_is_held_as_well():
    """Its next connection is there before the end of the last one has been read."""
    peer = make_peer()
    peer.start(0.0)
    sessions = [peer.accepted(0.0)]
    for flaps in (1, 2):
        establish(peer, sessions[-1])
        sessions.append(peer.accepted(0.0))
        hear(peer, sessions[-2], b"")
        assert peer.phase is (Phase.CONNECTED if flaps == 1 else Phase.HELD)
    assert sessions[-1].closed
    said = Framer().feed(b"".join(sessions[-1].data_to_send(0.0)))
    assert said[-1] == (Kind.NOTIFICATION, bytes((Code.CEASE, REJECTED)))
    tell(peer, sessions[-1])
    assert (peer.phase, peer.timer_at(), peer.connections) == (Phase.HELD, 1.0, [])
    assert peer.reason == "the peer closed the connection"
    assert peer.accepted(0.5) is None


@pytest.mark.parametrize(("identifier", "ours_lives"), [(HIGH, False), (LOW - 1, True)])
@pytest.mark.parametrize("ours_first", [True, False])
def test_of_two_connections_the_one_of_the_higher_identifier_lives(
    identifier, ours_lives, ours_first
):
    peer = make_peer()
    peer.start(0.0)
    ours, theirs = peer.connected(0.0), peer.accepted(0.0)
    first, second = (ours, theirs) if ours_first else (theirs, ours)
    hear(peer, first, opened(identifier))
    hear(peer, second, opened(identifier))
    winner, loser = (ours, theirs) if ours_lives else (theirs, ours)
    assert (winner.state, loser.state) == (State.OPEN_CONFIRM, State.CLOSED)
    said = Framer().feed(b"".join(loser.data_to_send(0.0)))
    assert said[-1] == (Kind.NOTIFICATION, b"\x06\x07")
    tell(peer, loser)
    assert [each.session for each in peer.connections] == [winner]
    assert peer.phase is Phase.CONNECTED


def test_an_established_connection_is_not_replaced():
    peer = make_peer()
    peer.start(0.0)
    session = peer.connected(0.0)
    establish(peer, session)
    second = peer.accepted(1.0)
    hear(peer, second, opened(HIGH), 1.0)
    assert second.closed
    assert session.is_established


def test_a_peer_that_restarts_gracefully_replaces_its_connection():
    peer = make_peer()
    peer.start(0.0)
    restart = GracefulRestart(120, preserved=((VPN, True),))
    session = peer.accepted(0.0)
    establish(peer, session, restart=restart)
    sent_before = len(session.data_to_send(0.0))
    assert sent_before
    second = peer.accepted(1.0)
    hear(peer, second, opened(HIGH, restart), 1.0)
    assert session.closed
    assert not session.data_to_send(1.0)  # without a NOTIFICATION: RFC 4724 section 5
    tell(peer, session, 1.0)
    hear(peer, second, KEEPALIVE, 1.0)
    assert peer.established is second


def test_a_second_attempt_replaces_the_first():
    peer = make_peer()
    peer.start(0.0)
    first = peer.accepted(0.0)
    second = peer.accepted(1.0)
    assert first.closed
    tell(peer, first, 1.0)
    assert [each.session for each in peer.connections] == [second]


def test_a_stopped_peer_has_no_connections():
    peer = make_peer()
    peer.start(0.0)
    session = peer.connected(0.0)
    establish(peer, session)
    peer.stop(ADMIN_SHUTDOWN, "admin_down is set", 1.0)
    tell(peer, session, 1.0)
    assert (peer.state, peer.connections, peer.reason) == ("Idle", [], "admin_down is set")
    assert peer.accepted(2.0) is None
    peer.start(3.0)
    assert peer.take_wish()
