"""What an agent shows of itself to `filament verify`, and repairs when told.

An audit changes nothing. It says how the rows differ from a plan made anew, the kernel from the
rows, flows from the rules, and adds what control nodes told and were told, for others to compare.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.agent.connection import Connection
from filament.agent.host import AgentHost
from filament.base.errors import ConflictError, NotFoundError, TransientError
from filament.dataplane.reconcile import Rows
from filament.forward.audit import RowDifference, StaleFlow, compare_rows, stale_flows
from filament.forward.ids import Ids
from filament.forward.lists import Memo
from filament.forward.plan import plan
from filament.forward.tables import Key, Tables
from filament.runtime.web import answering_errors, json_response
from filament.wire.xmpp.entry import format_destination


class _Found(NamedTuple):
    """What one look at the kernel showed."""

    replanned: list[RowDifference]
    drifted: list[RowDifference]
    stale: list[StaleFlow]


class Audit:
    """The audits of one host; called from the task that owns it, reads in another thread."""

    def __init__(self, host: AgentHost, connections: Mapping[str, Connection]) -> None:
        self._host = host
        self._connections = connections

    async def audit(self) -> dict[str, Any]:
        """Look at everything. Raises TransientError before rows were ever planned."""
        whole = self._host.core.may_delete
        found = await self._look(finds_surplus=whole)
        core = self._host.core
        return {
            "name": core.host.name,
            "revision": self._host.tables.revision,
            "whole": whole,
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
        host = self._host
        if not host.core.may_delete:
            raise ConflictError(
                f"{host.core.host.name} has not heard everything from a control node yet: what"
                " looks superfluous may be needed"
            )
        found = await self._look(finds_surplus=True)
        host.plan_anew()
        # Here, and not beside the other tasks: nothing may be written meanwhile.
        host.audited(host.maps.read_planned(), host.reconciler.mark)
        vifs = set(host.ids.numbers("vif").values())
        host.sweeper.take_out((one.key for one in found.stale), vifs)
        host.turn()
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

    async def _look(self, *, finds_surplus: bool) -> _Found:
        """Compare in another thread. Turns of the host go on meanwhile: what differs from the rows
        of before does so because of them, unless it differs from the rows of after, too.
        """
        host = self._host
        inputs, before, ids = host.planned, host.tables, host.ids.export()
        editions = host.editions()
        if inputs is None:
            raise TransientError(f"{host.core.host.name} has not planned any rows yet")

        def look() -> _Found:
            anew = plan(inputs, Ids(ids), whole=False, memo=Memo(editions))
            replanned = _compare_plans(anew, before)
            rows, flows = host.maps.read_planned(), host.maps.read_all("flows")
            drifted, stale = _compare(before, rows, flows, finds_surplus=finds_surplus)
            if host.tables is not before:
                others = _compare(host.tables, rows, flows, finds_surplus=finds_surplus)
                keys = {(one.table, one.key) for one in others[0]}
                drifted = [one for one in drifted if (one.table, one.key) in keys]
                stale = [one for one in stale if one in others[1]]
            return _Found(replanned, drifted, stale)

        return await asyncio.to_thread(look)

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


def _compare(
    tables: Tables, rows: Rows, flows: Mapping[Key, tuple[int, ...]], *, finds_surplus: bool
) -> tuple[list[RowDifference], list[StaleFlow]]:
    drifted = compare_rows(tables, rows, finds_surplus=finds_surplus)
    return drifted, list(stale_flows(tables, flows, time.monotonic_ns()))


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
