"""What an agent shows of itself to `filament verify`, and repairs when told.

An audit changes nothing. It says how the rows differ from a plan made anew, the kernel from the
rows, flows from the rules, and adds what control nodes told and were told, for others to compare.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.agent.connection import Connection
from filament.agent.host import AgentHost
from filament.base.errors import ConflictError, NotFoundError, TransientError
from filament.forward.audit import RowDifference, StaleFlow, compare_rows, stale_flows
from filament.forward.ids import Ids
from filament.forward.plan import plan
from filament.forward.tables import Tables
from filament.runtime.web import answering_errors, json_response
from filament.wire.xmpp.entry import format_destination

_ATTEMPTS = 10  # to read the kernel while nothing is written


class _Found(msgspec.Struct, frozen=True):
    """One look at the kernel while its rows stood still."""

    tables: Tables
    rows: dict[str, dict[tuple[int, ...], tuple[int, ...]]]
    mark: int
    whole: bool
    replanned: list[RowDifference]
    drifted: list[RowDifference]
    stale: list[StaleFlow]


class Audit:
    """The audits of one host; called from the task that owns it, reads in another thread."""

    def __init__(self, host: AgentHost, connections: Mapping[str, Connection]) -> None:
        self._host = host
        self._connections = connections

    async def audit(self) -> dict[str, Any]:
        """Look at everything. Raises TransientError when rows never stand still."""
        found = await self._look()
        core = self._host.core
        return {
            "name": core.host.name,
            "revision": found.tables.revision,
            "whole": found.whole,
            "problem": self._host.problem,
            "failures": [one._asdict() for one in self._host.outcome.failures],
            "plan": found.replanned,
            "kernel": found.drifted,
            "flows": found.stale,
            "devices": self._devices(),
            "machines": sorted({port.plug.machine for port in core.ports()}),
            "controls": core.controls(),
            "views": core.saved_views(),
            "published": sorted(
                [one.instance, format_destination(one.destination)] for one in core.published
            ),
        }

    async def repair(self) -> dict[str, Any]:
        """Plan anew, make rows and attachments what they should be, delete stale flows; returns
        how much of each was wrong. Raises ConflictError while the view is not complete: then what
        looks superfluous may belong to somebody.
        """
        self._require_whole()
        found = await self._look()
        self._require_whole()
        self._host.plan_anew()
        self._host.audited(found.rows, found.mark)
        await asyncio.to_thread(self._host.maps.delete, "flows", [one.key for one in found.stale])
        self._host.turn()
        return {
            "plan": len(found.replanned),
            "kernel": len(found.drifted),
            "flows": len(found.stale),
        }

    def resync(self, control: str) -> dict[str, Any]:
        """Begin the session with a control node again: both tell everything. Nothing is forgotten
        before the control node has told all.
        """
        connection = self._connections.get(control)
        if connection is None:
            known = ", ".join(sorted(self._connections))
            raise NotFoundError(f"no control node {control!r}; there are: {known}")
        if not connection.begin_again("to tell everything again"):
            raise ConflictError(f"there is no session with {control} that could begin again")
        return {"control": control}

    def _require_whole(self) -> None:
        host = self._host
        if not host.core.may_delete:
            raise ConflictError(
                f"{host.core.host.name} has not heard everything from a control node yet; what"
                " looks superfluous may be needed: try again when `filament status` shows it"
            )

    async def _look(self) -> _Found:
        host = self._host
        for _ in range(_ATTEMPTS):
            inputs, tables, mark = host.planned, host.tables, host.reconciler.mark
            whole, ids = host.core.may_delete, host.ids.export()
            if inputs is None:
                raise TransientError(f"{host.core.host.name} has not planned any rows yet")

            def look() -> _Found:
                rows = host.maps.read_planned()
                return _Found(
                    tables,  # noqa: B023 - called before the next round
                    rows,
                    mark,  # noqa: B023
                    whole,  # noqa: B023
                    _compare_plans(plan(inputs, Ids(ids), whole=False), tables),  # noqa: B023
                    compare_rows(tables, rows, finds_surplus=whole),  # noqa: B023
                    list(
                        stale_flows(
                            tables,  # noqa: B023
                            host.maps.read_all("flows"),
                            time.monotonic_ns(),
                        )
                    ),
                )

            found = await asyncio.to_thread(look)
            if (mark, tables) == (host.reconciler.mark, host.tables):
                return found
        raise TransientError(f"the rows of {host.core.host.name} change all the time; try again")

    def _devices(self) -> list[dict[str, str]]:
        """Return what is wrong with devices that should have our programs."""
        devices = self._host.devices
        states = [devices.state(devices.underlay)]
        states += [devices.state(port.plug.device) for port in self._host.core.ports()]
        return [
            {"device": one.name, "problem": one.problem or "our program is not attached"}
            for one in states
            if one.problem or (one.link is not None and not one.is_attached)
        ]


def _compare_plans(anew: Tables, tables: Tables) -> list[RowDifference]:
    found = {
        table: {key: row.values for key, row in rows.items()} for table, rows in tables.rows.items()
    }
    return compare_rows(anew, found)


def audit_routes(audit: Audit) -> list[Route]:
    """Return the routes by which `filament verify` asks, and repairs."""

    async def look(_: Request) -> Response:
        return json_response(await audit.audit())

    async def repair(_: Request) -> Response:
        return json_response(await audit.repair())

    async def resync(request: Request) -> Response:
        return json_response(audit.resync(request.query_params.get("control", "")))

    return [
        Route("/filament/audit", answering_errors(look), methods=["GET"]),
        Route("/filament/repair", answering_errors(repair), methods=["POST"]),
        Route("/filament/resync", answering_errors(resync), methods=["POST"]),
    ]
