from filament.control.absence import RESTART_GRACE_S, SHARED_GRACE_S, Absences


def test_a_lone_node_awaits_those_it_knew_and_without_a_record_everybody():
    for expected, awaited in ((["host1"], ["host1"]), (None, ["host1", "host2"])):
        absences = Absences(expected)
        absences.begin(["host1", "host2"], [], 100.0)
        assert absences.awaited == awaited
        assert not absences.is_complete
        assert absences.timer_at() == 100.0 + RESTART_GRACE_S


def test_one_of_several_awaits_those_it_knew_for_a_shorter_time():
    absences = Absences(["host1", "host2"])
    absences.begin(["host1", "host2"], [], 100.0)
    absences.shared(101.0)
    assert absences.timer_at() == 101.0 + SHARED_GRACE_S
    absences.shared(200.0)  # said again: not later for that
    assert absences.timer_at() == 101.0 + SHARED_GRACE_S
    absences.published_again("host1")
    assert not absences.is_complete
    absences.expire(101.0 + SHARED_GRACE_S)
    assert absences.is_complete
    assert absences.awaited == []


def test_one_of_several_without_a_record_awaits_nobody():
    absences = Absences(None)
    absences.begin(["host1", "host2"], [], 100.0)
    absences.shared(100.0)
    assert absences.is_complete
    assert absences.timer_at() is None
