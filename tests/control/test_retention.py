"""What is kept of a BGP peer that went away."""

import pytest

from filament.compiler.peers import RestartPlan
from filament.control.retention import Deed, Kept, Retention, Stage
from filament.wire.bgp.capability import Capabilities, GracefulRestart, LongLived
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.message import Notification, Open
from filament.wire.bgp.session import Offer, SessionClosed, agree

VPN, EVPN = AddressFamily.INET_VPN, AddressFamily.E_VPN
HELPER = RestartPlan(True, True, 300, 600, 50)


def agreement(restart=None, long_lived=()):
    capabilities = Capabilities((VPN, EVPN), 64512, graceful_restart=restart, long_lived=long_lived)
    return agree(Offer(64512, 1, (VPN, EVPN)), Open(64512, 90, 2, capabilities))


def restart(*families, n=False, time_s=120):
    return GracefulRestart(time_s, False, n, tuple((family, True) for family in families))


CRASH = SessionClosed("the peer closed the connection", was_established=True)


def closed(code, subcode, *, is_ours=False):
    said = Notification(code, subcode)
    return SessionClosed(
        "", True, sent=said if is_ours else None, received=None if is_ours else said
    )


@pytest.mark.parametrize(
    ("agreed", "plan", "event", "kept"),
    [
        (restart(VPN), HELPER, CRASH, {VPN}),
        (restart(VPN, EVPN), HELPER, CRASH, {VPN, EVPN}),
        (restart(VPN), RestartPlan(True, False), CRASH, set()),
        (None, HELPER, CRASH, set()),
        (restart(), HELPER, CRASH, set()),
        (restart(VPN, time_s=0), HELPER, CRASH, set()),
        (restart(VPN), HELPER, closed(6, 4), set()),
        (restart(VPN), HELPER, closed(4, 0, is_ours=True), set()),
        (restart(VPN, n=True), HELPER, closed(6, 4), {VPN}),
        (restart(VPN, n=True), HELPER, closed(4, 0, is_ours=True), {VPN}),
        (restart(VPN, n=True), HELPER, closed(6, 9), set()),
        (restart(VPN, n=True), HELPER, closed(6, 9, is_ours=True), set()),
    ],
)
def test_whose_routes_are_kept(agreed, plan, event, kept):
    assert Retention().lost(agreement(agreed), event, plan, 0.0) == kept


def test_a_peer_that_does_not_come_back_is_swept():
    retention = Retention()
    retention.lost(agreement(restart(VPN)), CRASH, HELPER, 10.0)
    assert retention.timer_at() == 130.0
    assert retention.expire(129.0) == []
    assert retention.expire(130.0) == [(VPN, Deed.SWEEP)]
    assert retention.timer_at() is None


def test_long_lived_routes_stay_longer():
    retention = Retention()
    long_lived = (LongLived(VPN, True, 3600),)
    retention.lost(agreement(restart(VPN, EVPN), long_lived), CRASH, HELPER, 0.0)
    assert retention.expire(120.0) == [(VPN, Deed.MAKE_LONG_LIVED), (EVPN, Deed.SWEEP)]
    assert retention.kept == {VPN: Kept(Stage.LONG_LIVED, 720.0)}  # ours is the shorter time
    assert retention.expire(720.0) == [(VPN, Deed.SWEEP)]


def test_without_restart_time_routes_are_long_lived_at_once():
    retention = Retention()
    agreed = agreement(restart(VPN, time_s=0), (LongLived(VPN, True, 60),))
    assert retention.lost(agreed, CRASH, HELPER, 5.0) == {VPN}
    assert retention.expire(5.0) == [(VPN, Deed.MAKE_LONG_LIVED)]


def test_a_peer_that_is_back_has_until_end_of_rib():
    retention = Retention()
    retention.lost(agreement(restart(VPN, EVPN)), CRASH, HELPER, 0.0)
    assert retention.back(agreement(restart(VPN)), HELPER, 30.0) == [EVPN]
    assert retention.kept == {VPN: Kept(Stage.REFRESHING, 80.0)}
    retention.end_of_rib(VPN)
    assert retention.timer_at() is None
    assert retention.expire(1000.0) == []


def test_a_peer_that_never_ends_its_rib_is_swept():
    retention = Retention()
    agreed = agreement(restart(VPN), (LongLived(VPN, True, 60),))
    retention.lost(agreed, CRASH, HELPER, 0.0)
    retention.back(agreed, HELPER, 30.0)
    assert retention.expire(80.0) == [(VPN, Deed.SWEEP)]


def test_what_was_not_preserved_goes_at_once():
    retention = Retention()
    retention.lost(agreement(restart(VPN)), CRASH, HELPER, 0.0)
    lost = GracefulRestart(120, True, False, ((VPN, False),))
    assert retention.back(agreement(lost), HELPER, 1.0) == [VPN]
    retention.lost(agreement(restart(VPN)), CRASH, HELPER, 2.0)
    assert retention.back(agreement(None), HELPER, 3.0) == [VPN]


def test_what_is_kept_can_be_given_up():
    retention = Retention()
    retention.lost(agreement(restart(VPN)), CRASH, HELPER, 0.0)
    assert retention.forget() == [VPN]
    assert retention.kept == {}


@pytest.mark.parametrize(
    ("again", "dropped"),
    [
        (agreement(restart(VPN), (LongLived(VPN, True, 3600),)), []),
        (agreement(restart(), (LongLived(VPN, True, 3600),)), []),
        (agreement(restart(VPN), (LongLived(VPN, False, 3600),)), [VPN]),
        (agreement(restart(VPN), (LongLived(EVPN, True, 3600),)), [VPN]),
        (agreement(restart(VPN)), [VPN]),
        (agreement(None, (LongLived(VPN, True, 3600),)), [VPN]),
    ],
)
def test_what_is_long_lived_stays_if_the_long_lived_capability_says_so(again, dropped):
    retention = Retention()
    retention.lost(agreement(restart(VPN), (LongLived(VPN, True, 3600),)), CRASH, HELPER, 0.0)
    assert retention.expire(120.0) == [(VPN, Deed.MAKE_LONG_LIVED)]
    assert retention.back(again, HELPER, 130.0) == dropped
