"""Whom a restarted control node awaits before agents may forget: BGP peers beside agents."""

from filament.control.absence import RESTART_GRACE_S, UNENDED_S, Absences


def restarted(*peers):
    """A node whose previous process had sessions with these peers, and one agent."""
    absences = Absences(["host1"], peers)
    absences.begin(["host1"], [], 0.0)
    absences.peers_configured({"mx1", "mx2"})
    return absences


def test_whole_with_the_last_peer_complete_without():
    absences = restarted("mx1", "mx2")
    absences.published_again("host1")
    assert (absences.is_complete, absences.is_whole) == (True, False)
    absences.peer_up("mx1", 1.0, ends_rib=True)
    absences.peer_told_all("mx1")
    assert absences.awaited_peers == ["mx2"]
    absences.peer_told_all("mx2")
    assert absences.is_whole
    assert absences.timer_at() is None


def test_peers_first_then_agents():
    absences = restarted("mx1")
    absences.peer_told_all("mx1")
    assert not absences.is_whole
    absences.published_again("host1")
    assert absences.is_whole


def test_a_peer_that_ends_no_rib_is_awaited_a_little():
    absences = restarted("mx1")
    absences.published_again("host1")
    absences.peer_up("mx1", 5.0, ends_rib=False)
    assert absences.timer_at() == 5.0 + UNENDED_S
    absences.expire(5.0 + UNENDED_S / 2)
    assert not absences.is_whole
    absences.expire(5.0 + UNENDED_S)
    assert absences.is_whole


def test_a_peer_that_stays_away_is_awaited_no_longer_than_the_grace():
    absences = restarted("mx1")
    absences.published_again("host1")
    assert absences.timer_at() == RESTART_GRACE_S
    absences.expire(RESTART_GRACE_S)
    assert absences.is_whole


def test_a_peer_configured_no_more_is_not_awaited():
    absences = restarted("mx1", "gone")
    assert absences.awaited_peers == ["mx1"]


def test_the_first_start_awaits_no_peer():
    absences = restarted()
    absences.published_again("host1")
    assert absences.is_whole
