from collections import Counter

from filament.agent.homes import REHOME_AFTER_S, SESSIONS, STABLE_S, Homes, preference

CONTROLS = [f"172.30.0.{number}:5269" for number in range(10, 15)]


def test_agents_spread_and_each_always_chooses_the_same():
    chosen = Counter()
    for number in range(1000):
        homes = Homes(f"host{number}", CONTROLS).used
        assert homes == Homes(f"host{number}", CONTROLS[::-1]).used
        assert len(set(homes)) == SESSIONS
        chosen.update(homes)
    assert all(300 < chosen[control] < 500 for control in CONTROLS), chosen


def test_another_control_node_moves_only_those_it_wins():
    for number in range(100):
        before = preference(f"host{number}", CONTROLS[:-1])
        after = preference(f"host{number}", CONTROLS)
        after.remove(CONTROLS[-1])
        assert before == after


def test_one_that_stays_away_is_left_for_the_next_of_the_order():
    order = preference("host1", CONTROLS)
    homes = Homes("host1", CONTROLS)
    homes.lost(order[0], 100.0, 10.0)
    assert homes.next_of(0, 10.0) == order[0]
    homes.lost(order[0], 0.0, 11.0)
    assert homes.next_of(0, 10.0 + REHOME_AFTER_S) == order[2]
    assert homes.used == [order[2], order[1]]
    # It comes last now, after all that have not been tried.
    for step, expected in enumerate([order[3], order[4], order[0], order[2]], start=1):
        now = 100.0 * step
        homes.lost(homes.used[0], 0.0, now)
        assert homes.next_of(0, now + REHOME_AFTER_S) == expected
    assert homes.next_of(1, 1000.0) == order[1]


def test_one_that_is_back_in_time_is_kept_and_one_that_flaps_is_not():
    homes = Homes("host1", CONTROLS)
    first = homes.used[0]
    homes.lost(first, STABLE_S + 1, 10.0)
    homes.lost(first, STABLE_S + 1, 100.0)
    assert homes.next_of(0, 101.0) == first
    homes.lost(first, STABLE_S - 1, 110.0)
    assert homes.next_of(0, 110.0) != first


def test_without_a_spare_there_is_nowhere_to_go():
    for controls in (CONTROLS[:1], CONTROLS[:2]):
        homes = Homes("host1", controls)
        assert sorted(homes.used) == sorted(controls)
        homes.lost(homes.used[0], 0.0, 0.0)
        assert homes.next_of(0, 1000.0) == homes.used[0]
