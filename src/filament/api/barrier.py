"""Revision barriers: what control nodes report about themselves and their agents, and waiting.

Reports are observations: kept in memory, forgotten when not renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import msgspec

REPORT_EXPIRES_S = 15.0

Wait = Literal["control", "agents"]


class AgentReport(msgspec.Struct, frozen=True):
    """One agent as its control node sees it: the revision it has applied, and since when (epoch
    seconds) it is connected or gone.
    """

    applied: int
    connected: bool
    since: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """What a control node posts: the revision it has compiled, the one that has settled.

    `incarnation` is a secret of its process, repeated when it watches: see `Barrier.gone`.
    """

    control: str
    revision: int
    settled: int
    agents: dict[str, AgentReport] = {}
    incarnation: str = ""


class Barrier:
    """The latest report of every live control node. One per API process."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock in seconds."""
        self._now = now
        self._reports: dict[str, tuple[float, Report]] = {}
        self._gone: set[str] = set()
        self._news = asyncio.Event()

    def take(self, report: Report) -> None:
        """Remember a report and wake those who wait."""
        self._reports[report.control] = (self._now() + REPORT_EXPIRES_S, report)
        self._gone.discard(report.control)
        self._tell()

    def gone(self, incarnation: str) -> None:
        """Whoever reports under `incarnation` ended its stream of changes: it is not waited for
        while others live, until it reports again.

        One that cannot be reached any more says nothing; its report expires.
        """
        gone = {
            name
            for name, (_, report) in self._reports.items()
            if incarnation and report.incarnation == incarnation
        }
        if gone:
            self._gone |= gone
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def live(self) -> list[Report]:
        """Reports that have not expired, by control node name; of those that are gone, only when
        no other is left.
        """
        now = self._now()
        self._reports = {
            name: (expires, report)
            for name, (expires, report) in sorted(self._reports.items())
            if expires > now
        }
        reports = [report for _, report in self._reports.values()]
        self._gone.intersection_update(self._reports)
        return [each for each in reports if each.control not in self._gone] or reports

    def lagging(self, wait: Wait, revision: int) -> list[str]:
        """Names of those who have not applied `revision`; empty when it is applied everywhere."""
        reports = self.live()
        if not reports:
            return ["a control node (none is connected)"]
        behind = [report.control for report in reports if report.revision < revision]
        if wait == "control" or behind:
            return behind
        names: list[str] = []
        for report in reports:
            if report.settled < revision:
                agents = [
                    name
                    for name, agent in report.agents.items()
                    if agent.connected and agent.applied < revision
                ]
                names += agents or [report.control]
        return sorted(set(names))

    async def reached(self, wait: Wait, revision: int, timeout_s: float) -> list[str]:
        """Wait until nobody lags; returns who still does when `timeout_s` is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.lagging(wait, revision):
                    news = self._news
                    # A report may also expire: look again without one.
                    try:
                        async with asyncio.timeout(REPORT_EXPIRES_S / 3):
                            await news.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            return self.lagging(wait, revision)
        return []
