"""Waiting until others have applied a revision: what reports say, expiry, timeouts."""

import asyncio

from msgspec.structs import replace

from filament.api.barrier import REPORT_EXPIRES_S, AgentReport, Barrier, Report


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def report(revision, settled, control="ctl1", **agents):
    return Report(
        control, revision, settled, {name: AgentReport(n, True) for name, n in agents.items()}
    )


def test_nobody_to_wait_for_is_not_everybody_done():
    assert Barrier(Clock()).lagging("control", 1) == ["a control node (none is connected)"]


def test_control_nodes_lag_until_all_have_compiled():
    barrier = Barrier(Clock())
    barrier.take(report(5, 4))
    barrier.take(report(3, 3, "ctl2"))
    assert barrier.lagging("control", 5) == ["ctl2"]
    assert barrier.lagging("agents", 5) == ["ctl2"]
    barrier.take(report(5, 3, "ctl2"))
    assert barrier.lagging("control", 5) == []


def test_agents_lag_until_their_control_node_says_settled():
    barrier = Barrier(Clock())
    barrier.take(report(5, 4, host1=5, host2=4))
    assert barrier.lagging("agents", 5) == ["host2"]
    barrier.take(report(5, 4, host1=5, host2=5))  # the second round is still under way
    assert barrier.lagging("agents", 5) == ["ctl1"]
    barrier.take(report(5, 5, host1=5, host2=5))
    assert barrier.lagging("agents", 5) == []


def test_agents_that_are_gone_are_not_waited_for():
    barrier = Barrier(Clock())
    gone = AgentReport(1, connected=False, since=12.0)
    barrier.take(Report("ctl1", 5, 4, {"host1": gone, "host2": AgentReport(2, True)}))
    assert barrier.lagging("agents", 5) == ["host2"]


def test_a_report_that_is_not_renewed_is_forgotten():
    clock = Clock()
    barrier = Barrier(clock)
    barrier.take(report(5, 5))
    barrier.take(report(1, 1, "ctl2"))
    clock.now += REPORT_EXPIRES_S - 1
    barrier.take(report(5, 5))
    assert barrier.lagging("control", 5) == ["ctl2"]
    clock.now += 2
    assert barrier.lagging("control", 5) == []
    assert [one.control for one in barrier.live()] == ["ctl1"]


def test_a_control_node_that_is_gone_is_not_waited_for_while_another_lives():
    barrier = Barrier(Clock())
    barrier.take(replace(report(5, 5), incarnation="a"))
    barrier.take(replace(report(3, 3, "ctl2"), incarnation="b"))
    barrier.gone("")  # somebody who reports nothing
    barrier.gone("c")
    assert barrier.lagging("agents", 5) == ["ctl2"]
    barrier.gone("b")
    assert barrier.lagging("agents", 5) == []
    barrier.gone("a")  # the last ones are named, as long as their reports hold
    assert barrier.lagging("agents", 6) == ["ctl1", "ctl2"]
    barrier.take(replace(report(4, 4, "ctl2"), incarnation="b2"))
    barrier.gone("b")  # an old stream is noticed late: its process is another by now
    assert barrier.lagging("agents", 5) == ["ctl2"]


async def test_a_report_ends_the_waiting():
    barrier = Barrier(Clock())
    waiting = asyncio.ensure_future(barrier.reached("agents", 7, 30))
    barrier.take(report(7, 6, host1=6))
    await asyncio.sleep(0)
    assert not waiting.done()
    barrier.take(report(7, 7, host1=7))
    async with asyncio.timeout(5):
        assert await waiting == []


async def test_time_ends_the_waiting_and_names_who_lags():
    barrier = Barrier(Clock())
    barrier.take(report(7, 6, host1=6, host2=7))
    assert await barrier.reached("agents", 7, 0.01) == ["host1"]
