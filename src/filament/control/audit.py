"""What a control node shows of itself to `filament verify`, and repairs when told.

An audit changes nothing. The node proves plan and RIB to itself (both recomputed and compared), and
gives fingerprints of configuration and plan, which others compare with what they hold. The proof
takes the loop for as long as it takes: about 20 us per route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.base.errors import NotFoundError, TransientError
from filament.client.watch import Loaded
from filament.control.node import ControlNode
from filament.control.translate import destination_of
from filament.model.digest import digest_of
from filament.runtime.web import answering_errors, json_response
from filament.wire.xmpp.entry import format_destination

Load = Callable[[], Awaitable[Loaded]]
Record = dict[str, Any]
_PATIENCE_TURNS = 200
_TURN_S = 0.01


async def audit(node: ControlNode) -> Record:
    """Look at everything at one revision. Raises TransientError when the node is never quiet."""
    await _be_quiet(node)
    core = node.core
    try:
        core.verify()
        problem = ""
    except AssertionError as error:
        problem = str(error) or "what is recomputed differs"
    objects, plan, revision = list(core.snapshot.objects()), core.plan, core.revision
    instances, acls = dict(plan.routing_instances), dict(plan.acls)
    targets = {
        name: {"imports": sorted(one.imports), "exports": sorted(one.exports)}
        for name, one in core.rib.instances.items()
    }

    def digest() -> Record:
        return {
            "objects": {one.uuid: [one.kind, one.name, digest_of(one)] for one in objects},
            "instances": {name: digest_of(one) for name, one in instances.items()},
            "acls": {name: digest_of(one) for name, one in acls.items()},
        }

    return {
        "name": core.name,
        "revision": revision,
        "loaded": core.is_loaded,
        "complete": core.absences.is_complete,
        "problem": problem,
        "targets": targets,
        "agents": sorted(core.agents),
        **await asyncio.to_thread(digest),
    }


async def told(node: ControlNode, agent: str) -> Record:
    """What one connected agent was told and published, as this node has it."""
    await _be_quiet(node)
    core = node.core
    session = core.agents.get(agent)
    if session is None:
        known = ", ".join(sorted(core.agents)) or "none"
        raise NotFoundError(f"{core.name} has no agent {agent!r}; there are: {known}")
    view = core.told(agent)
    published = [
        [path.source, format_destination(destination)]
        for key, path in core.rib.paths_of_peer(agent)
        if (destination := destination_of(key)) is not None
    ]
    return {
        "name": core.name,
        "revision": core.revision,
        "agent": agent,
        "address": node.connections[agent].local,
        "served": session.is_served,
        "whole": session.is_whole,
        "router": session.router or agent,
        "machines": sorted(session.machines),
        "nodes": list(view.nodes.values()),
        "links": list(view.links),
        "instances": [
            {"instance": name, "items": items} for name, items in core.routes_told(agent).items()
        ],
        "published": sorted(published),
    }


async def reload(node: ControlNode, load: Load) -> Record:
    """Load the configuration from the API and plan it from scratch; agents are sent what differs.

    Raises TransientError when the API is away, or behind this node.
    """
    loaded = await load()
    if loaded.revision < (node.revision or 0):
        raise TransientError(
            f"the API is at revision {loaded.revision}, {node.core.name} at {node.revision}:"
            " nothing was loaded"
        )
    node.take_configuration(loaded)
    return {"revision": loaded.revision}


async def _be_quiet(node: ControlNode) -> None:
    """Wait for a moment in which all that happened has been worked in."""
    for _ in range(_PATIENCE_TURNS):
        if not node.has_news:
            return
        await asyncio.sleep(_TURN_S)
    raise TransientError(f"{node.core.name} has news all the time; try again")


def audit_routes(node: ControlNode, load: Load) -> list[Route]:
    """Return the routes by which `filament verify` asks, and repairs."""

    async def look(_: Request) -> Response:
        return json_response(await audit(node))

    async def look_at_agent(request: Request) -> Response:
        return json_response(await told(node, request.query_params.get("agent", "")))

    async def load_again(_: Request) -> Response:
        return json_response(await reload(node, load))

    return [
        Route("/filament/audit", answering_errors(look), methods=["GET"]),
        Route("/filament/told", answering_errors(look_at_agent), methods=["GET"]),
        Route("/filament/reload", answering_errors(load_again), methods=["POST"]),
    ]
