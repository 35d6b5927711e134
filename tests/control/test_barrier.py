from hypothesis import given
from hypothesis import strategies as st

from filament.control.barrier import MAX_OPEN_ROUNDS, Barrier


def test_nobody_to_wait_for():
    barrier = Barrier()
    barrier.advance(3, {})
    assert (barrier.settled, barrier.is_waiting) == (3, False)


def test_two_rounds():
    barrier = Barrier()
    barrier.advance(1, {"a": 5, "b": 9})
    barrier.acknowledged("a", 4)
    barrier.acknowledged("b", 9)
    barrier.advance(1, {"a": 5})
    assert barrier.settled == 0
    barrier.acknowledged("a", 5)
    barrier.advance(1, {"b": 10})  # what a's publications caused
    assert barrier.settled == 0
    barrier.acknowledged("b", 10)
    barrier.advance(1, {"a": 6})  # a third round is not waited for
    assert barrier.settled == 1


def test_the_lost_are_not_waited_for():
    barrier = Barrier()
    barrier.advance(1, {"a": 5})
    barrier.lost("a")
    barrier.advance(1, {})
    assert barrier.settled == 1


def test_revisions_settle_in_order_and_restart_forgets():
    barrier = Barrier()
    barrier.advance(1, {"a": 1})
    barrier.advance(2, {})
    assert barrier.settled == 0
    barrier.acknowledged("a", 1)
    barrier.advance(2, {})
    assert barrier.settled == 2
    barrier.restart()
    barrier.advance(1, {})
    assert barrier.settled == 1


@given(st.lists(st.integers(0, 3), max_size=80))
def test_a_stream_of_commits_never_starves_and_stays_bounded(acknowledgements):
    barrier = Barrier()
    sent, acked = 0, 0
    for lag in acknowledgements:
        sent += 1
        barrier.advance(sent, {"a": sent} if acked < sent else {})
        acked = max(acked, sent - lag)
        barrier.acknowledged("a", acked)
        assert len(barrier._rounds) <= MAX_OPEN_ROUNDS
        assert barrier.settled <= acked
    for _ in range(2):
        barrier.acknowledged("a", sent)
        barrier.advance(sent, {})
    assert barrier.settled == sent
