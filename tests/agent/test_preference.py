"""Who holds an address that several ports share: TF's path preference, and its damping."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from filament.agent.preference import (
    FIRST_WAIT_NS,
    FLAP_WINDOW_NS,
    LONGEST_WAIT_NS,
    MAX_FLAPS,
    SECOND_NS,
    Contender,
    Heard,
    Place,
    Preferences,
)
from filament.base.net import Prefix
from filament.forward.inputs import HIGH_PREFERENCE, LOW_PREFERENCE, Standby

PLACE = Place("demo:red:red", Prefix.parse("10.1.1.50/32"))
ONE, TWO = Contender("one", PLACE), Contender("two", PLACE)
HERE, BEFORE, BEHIND = 100, 99, 101  # hosts' addresses


def made(*contenders: Contender) -> Preferences:
    preferences = Preferences(HERE)
    preferences.retain(contenders, are_all=True)
    return preferences


def at(seconds: float) -> int:
    """A moment, on a host that has been up for a while."""
    return int((1000 + seconds) * SECOND_NS)


def standby(preferences: Preferences, contender: Contender = ONE) -> tuple[int, int]:
    found = preferences.standby(contender)
    assert found.prefix == contender.place.prefix
    return found.preference, found.sequence


def test_who_never_claimed_stands_by():
    preferences = made(ONE)
    assert preferences.standby(ONE) == Standby(PLACE.prefix, LOW_PREFERENCE, 1)
    assert not preferences.settle({}, {}, at(0))


def test_a_claim_takes_the_place_once():
    preferences = made(ONE)
    assert preferences.settle({ONE: at(0)}, {}, at(0.01))
    assert standby(preferences) == (HIGH_PREFERENCE, 2)
    assert not preferences.settle({ONE: at(0)}, {}, at(0.02))
    assert not preferences.settle({ONE: at(0.5)}, {}, at(0.6)), "it has it already"


def test_a_claim_is_above_all_that_was_heard_of():
    preferences = made(ONE)
    heard = {PLACE: Heard(HIGH_PREFERENCE, 41, BEHIND)}
    preferences.settle({}, heard, at(0))
    preferences.settle({ONE: at(1)}, heard, at(1))
    assert standby(preferences) == (HIGH_PREFERENCE, 42)


def test_a_newer_claim_elsewhere_makes_it_stand_by():
    preferences = made(ONE)
    preferences.settle({ONE: at(0)}, {}, at(0))
    assert not preferences.settle({ONE: at(0)}, {PLACE: Heard(200, 2, HERE)}, at(1)), "our own"
    assert preferences.settle({ONE: at(0)}, {PLACE: Heard(200, 3, BEHIND)}, at(2))
    assert standby(preferences) == (LOW_PREFERENCE, 2)
    assert not preferences.settle({ONE: at(0)}, {PLACE: Heard(200, 3, BEHIND)}, at(3))
    # What it claimed before it heard of the other does not count, what follows does.
    assert not preferences.settle({ONE: at(1.9)}, {PLACE: Heard(200, 3, BEHIND)}, at(4))
    assert preferences.settle({ONE: at(5)}, {PLACE: Heard(200, 3, BEHIND)}, at(5))
    assert standby(preferences) == (HIGH_PREFERENCE, 4)


def test_a_standbys_route_does_not_make_the_holder_let_go():
    preferences = made(ONE)
    preferences.settle({ONE: at(0)}, {}, at(0))
    assert not preferences.settle({}, {PLACE: Heard(LOW_PREFERENCE, 9, BEHIND)}, at(1))


def test_of_two_claims_at_once_that_of_the_lowest_host_holds():
    for address, holds in ((BEHIND, True), (BEFORE, False)):
        preferences = made(ONE)
        preferences.settle({ONE: at(0)}, {}, at(0))
        preferences.settle({}, {PLACE: Heard(200, 2, address)}, at(0.1))
        assert standby(preferences) == (HIGH_PREFERENCE if holds else LOW_PREFERENCE, 2)


def test_ports_of_one_host_take_it_from_one_another_in_the_order_of_their_claims():
    preferences = made(ONE, TWO)
    preferences.settle({ONE: at(0)}, {}, at(0))
    preferences.settle({ONE: at(0), TWO: at(1)}, {}, at(1))
    assert [standby(preferences, one) for one in (ONE, TWO)] == [(100, 2), (200, 3)]
    preferences.settle({TWO: at(2), ONE: at(2.001)}, {}, at(3))
    assert [standby(preferences, one) for one in (ONE, TWO)] == [(200, 4), (100, 3)]
    # Both claimed between two looks: the later has it.
    preferences.settle({TWO: at(4), ONE: at(4.001)}, {}, at(5))
    assert [standby(preferences, one) for one in (ONE, TWO)] == [(200, 6), (100, 5)]


def flap(preferences: Preferences, start: float, sequence: int) -> tuple[int, int]:
    """Lose the place and claim it again, as fast as may be, until a claim is not granted; returns
    the sequence of the other, and how many seconds there are to wait from the last loss on.
    """
    lost_ns = 0
    for step in range(MAX_FLAPS + 3):
        moment = at(start + step * 0.1)
        preferences.settle({ONE: moment}, {}, moment)
        if standby(preferences)[0] == LOW_PREFERENCE:
            assert step == MAX_FLAPS + 1
            (view,) = preferences.views()
            return sequence, (view.waits_until_ns - lost_ns) // SECOND_NS
        sequence, lost_ns = standby(preferences)[1] + 1, moment + 1
        preferences.settle({}, {PLACE: Heard(200, sequence, BEHIND)}, lost_ns)
    raise AssertionError("it may flap for ever")


def wait_out(preferences: Preferences, sequence: int) -> float:
    """Let the time pass that the port has to wait; somebody else claims meanwhile."""
    (view,) = preferences.views()
    heard = {PLACE: Heard(200, sequence + 1, BEHIND)}
    preferences.settle({}, heard, view.waits_until_ns)
    return view.waits_until_ns / SECOND_NS - 1000


def test_who_takes_it_too_often_waits_longer_each_time():
    preferences = made(ONE)
    start, sequence, waits = 0.0, 1, []
    for _ in range(5):
        sequence, wait = flap(preferences, start, sequence)
        waits.append(wait)
        start = wait_out(preferences, sequence) + 0.01
    assert waits == [4, 8, 16, 32, 32]
    assert (FIRST_WAIT_NS, LONGEST_WAIT_NS) == (4 * SECOND_NS, 32 * SECOND_NS)
    start += 2 * FLAP_WINDOW_NS / SECOND_NS
    assert flap(preferences, start, sequence)[1] == 4, "it was quiet for a while"


def test_a_claim_made_while_waiting_is_granted_then_unless_others_claimed_since():
    for later, holds in ((0, True), (1, False)):
        preferences = made(ONE)
        sequence, _ = flap(preferences, 0.0, 1)
        (view,) = preferences.views()
        end = view.waits_until_ns
        heard = {PLACE: Heard(200, sequence, BEHIND)}
        preferences.settle({ONE: end - SECOND_NS}, heard, end - SECOND_NS)
        assert standby(preferences)[0] == LOW_PREFERENCE
        heard = {PLACE: Heard(200, sequence + later, BEHIND)}
        preferences.settle({ONE: end - SECOND_NS}, heard, end)
        assert standby(preferences)[0] == (HIGH_PREFERENCE if holds else LOW_PREFERENCE)


def test_changes_that_are_apart_are_no_flaps():
    preferences = made(ONE)
    for step in range(30):
        moment = at(step * 1.5)
        preferences.settle({ONE: moment}, {}, moment)
        preference, sequence = standby(preferences)
        assert preference == HIGH_PREFERENCE
        preferences.settle({}, {PLACE: Heard(200, sequence + 1, BEHIND)}, moment + 1)


def restarted(preferences: Preferences, claims: dict[Contender, int], now_ns: int) -> Preferences:
    successor = Preferences(HERE)
    successor.restore(preferences.save(), claims, now_ns)
    successor.retain([ONE], are_all=False)
    return successor


def test_a_restart_changes_nothing():
    preferences = made(ONE)
    preferences.settle({ONE: at(0)}, {PLACE: Heard(200, 6, BEHIND)}, at(0))
    again = restarted(preferences, {ONE: at(0)}, at(1))
    assert standby(again) == standby(preferences) == (HIGH_PREFERENCE, 7)
    assert not again.settle({ONE: at(0)}, {}, at(2))
    # Others claimed while nobody looked.
    assert again.settle({ONE: at(0)}, {PLACE: Heard(200, 8, BEHIND)}, at(3))


def test_what_was_claimed_while_nobody_looked_counts():
    preferences = made(ONE)
    again = restarted(preferences, {ONE: at(0)}, at(1))
    assert standby(again) == (LOW_PREFERENCE, 1)
    assert again.settle({ONE: at(0)}, {}, at(2))
    assert standby(again) == (HIGH_PREFERENCE, 2)


def test_a_host_that_was_started_again_has_no_holders():
    """The kernel knows of no claim, and its clock began anew."""
    preferences = made(ONE)
    preferences.settle({ONE: at(0)}, {}, at(0))
    again = restarted(preferences, {}, 10 * SECOND_NS)
    assert standby(again) == (LOW_PREFERENCE, 2)
    assert again.settle({ONE: 11 * SECOND_NS}, {}, 11 * SECOND_NS)
    assert standby(again) == (HIGH_PREFERENCE, 3)


def test_a_former_process_is_believed_until_all_ports_are_known():
    preferences = made(ONE)
    preferences.settle({ONE: at(0)}, {}, at(0))
    successor = Preferences(HERE)
    successor.restore(preferences.save(), {ONE: at(0)}, at(1))
    successor.retain([], are_all=False)
    assert successor.save() == preferences.save()
    successor.retain([ONE], are_all=False)
    assert standby(successor) == (HIGH_PREFERENCE, 2)
    successor.retain([], are_all=True)
    successor.retain([ONE], are_all=True)
    assert standby(successor) == (LOW_PREFERENCE, 1), "it left, and came back as another"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.001, 6.0), st.floats(0.0, 0.3)),
        min_size=1,
        max_size=25,
    ),
    st.booleans(),
)
def test_any_claims_end_with_one_holder(steps, hear_early):
    """In the end exactly one holds the place; if everybody hears of each claim before the next, and
    nobody has to wait, it is who claimed last.
    """
    hosts = [Preferences(HERE + number) for number in range(4)]
    for host in hosts:
        host.retain([ONE], are_all=True)
    claims: list[dict[Contender, int]] = [{} for _ in hosts]
    now_s, last, has_waited = 0.0, 0, False
    told = [(host.standby(ONE), address) for address, host in enumerate(hosts)]

    def best() -> Heard:
        chosen = max(told, key=lambda one: (one[0].preference, one[0].sequence, -one[1]))
        return Heard(chosen[0].preference, chosen[0].sequence, HERE + chosen[1])

    def look(number: int) -> None:
        hosts[number].settle(claims[number], {PLACE: best()}, at(now_s))
        told[number] = hosts[number].standby(ONE), number

    for number, pause_s, delay_s in steps:
        now_s += pause_s
        claims[number][ONE] = at(now_s)
        last = number
        now_s += delay_s
        for one in (number, *range(4)) if hear_early else (number,):
            look(one)
        has_waited |= any(view.waits_until_ns for host in hosts for view in host.views())
    for _ in range(4 * 40):
        now_s += 0.25
        for number in range(len(hosts)):
            look(number)
    holders = [n for n, host in enumerate(hosts) if standby(host)[0] == HIGH_PREFERENCE]
    assert len(holders) == 1
    assert best().address == HERE + holders[0]
    assert holders == [last] or has_waited or not hear_early
