"""Why routes are as they are, for people: choice, import, policy, and who is told.

Every path that is not chosen, every route that nobody imports and every peer that is not told of
one has a reason. Answers are made in slices, like introspect's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from filament.base.errors import InputError
from filament.base.net import Prefix, format_ipv4, mask_of
from filament.control.introspect.routes import RouteAnswers
from filament.control.introspect.tables import tables_named, tables_of
from filament.control.node import ControlNode
from filament.model.change import Object
from filament.rib.bgp import Rejection, VpnExplanation
from filament.rib.exchange import VPN_FAMILY, instance_key, vpn_key
from filament.rib.explain import Candidate
from filament.rib.keys import EvpnMac, EvpnPrefix, Family, RouteKey, unicast
from filament.rib.path import Path
from filament.rib.peer import PeerKind
from filament.runtime.clock import now
from filament.runtime.introspect.serve import SLICE_S
from filament.runtime.introspect.slices import SLICE, Paused
from filament.runtime.web import answering_errors, json_response
from filament.wire.bgp.attributes import format_as_path
from filament.wire.bgp.family import AddressFamily
from filament.wire.bgp.routes import format_route
from filament.wire.sandesh.query import Query, read_query
from filament.wire.sandesh.routing import CONTROL
from filament.wire.sandesh.xml import Message

Record = dict[str, Any]
ValueT = TypeVar("ValueT")
_MOST_UNIMPORTED = 100  # shown of what no instance imports, and of what was refused
_EXPLAINED = (AddressFamily.INET_VPN, AddressFamily.INET6_VPN, AddressFamily.E_VPN)


def explain_routes(node: ControlNode) -> list[Route]:
    """Return the web routes of tables, their routes, and why they are as they are."""

    async def tables(request: Request) -> Response:
        return json_response({"tables": await finish(_tables(node, request))})

    async def routes(request: Request) -> Response:
        return json_response(await finish(_table_routes(node, request)))

    async def why(request: Request) -> Response:
        return json_response(await finish(_why(node, request)))

    async def rejected(request: Request) -> Response:
        del request
        return json_response(
            {"rejected": [_rejection(one) for one in node.core.rib.bgp.rejections]}
        )

    return [
        Route(f"/filament/{name}", answering_errors(answer), methods=["GET"])
        for name, answer in (
            ("tables", tables),
            ("table-routes", routes),
            ("why", why),
            ("rejected", rejected),
        )
    ]


async def finish(work: Paused[ValueT]) -> ValueT:
    """Run a computation that pauses, giving way to others whenever a slice of time is over."""
    began = now()
    while True:
        try:
            next(work)
        except StopIteration as done:
            value: ValueT = done.value
            return value
        if now() - began > SLICE_S:
            await asyncio.sleep(SLICE_S)
            began = now()


# tables and routes ----------------------------------------------------------------------------


def _tables(node: ControlNode, request: Request) -> Paused[list[Record]]:
    """Return the tables whose name contains `name`, with what is in them."""
    rows: list[Record] = []
    for table in tables_named(tables_of(node), request.query_params.get("name", "")):
        prefixes, paths, primary, secondary, infeasible, stale = yield from table.count()
        rows.append(
            {
                "name": table.name,
                "instance": table.instance,
                "family": table.family,
                "prefixes": prefixes,
                "paths": paths,
                "primary": primary,
                "secondary": secondary,
                "infeasible": infeasible,
                "stale": stale,
            }
        )
        yield
    return rows


def _table_routes(node: ControlNode, request: Request) -> Paused[Record]:
    """Return one page of routes, asked for as `ShowRouteReq`; `next` continues it."""
    answers = RouteAnswers(node).answers()
    cursor = request.query_params.get("next", "")
    if cursor:
        messages = answers["ShowRouteReqIterate"]({"cursor": cursor})
    else:
        query: Query = read_query(CONTROL.requests["ShowRouteReq"], request.url.query)
        messages = answers["ShowRouteReq"](query)
    assert isinstance(messages, Iterable)  # nothing here is looked up in a thread
    found: list[Record] = []
    following = ""
    for message in messages:
        if isinstance(message, Message):
            following = message.values.get("next_batch", "")
            for table in message.values["tables"]:
                for route in table["routes"]:
                    if route is not None:
                        found.append({"table": table["routing_table_name"], **route})
                    yield
        yield
    return {"routes": found, "next": following}


# why ------------------------------------------------------------------------------------------


def _why(node: ControlNode, request: Request) -> Paused[Record]:
    """Explain a prefix, or an address's every covering prefix, in one instance or all: unicast
    routes, and EVPN routes to it.

    Unless it is found in the one instance that was asked for, what stands in BGP's tables only,
    because nobody imports it, is looked for as well, and what was refused and is not held at all.
    """
    text = request.query_params.get("prefix", "")
    if not text:
        raise InputError("no-prefix", "no prefix was asked for", hint="add prefix=10.1.1.3/32")
    wanted = Prefix.parse(text)
    named = request.query_params.get("instance", "")
    rib = node.core.rib
    names = [node.core.instance(named).name] if named else sorted(rib.instances)
    prefixes = [wanted] if "/" in text else covering(wanted)
    routes: list[Record] = []
    for name in names:
        for prefix in prefixes:
            key = unicast(prefix)
            if rib.paths(name, key):
                routes.append(_explained(node, name, key))
        yield
        for number, key in enumerate(rib.keys(name)):
            if number % SLICE == 0:
                yield
            if key.family is Family.EVPN and _prefix_of(key) in prefixes:
                routes.append(_explained(node, name, key))
    unimported: list[Record] = []
    rejected: list[Record] = []
    if not (named and routes):
        unimported = yield from _unimported(node, set(prefixes))
        rejected = yield from _rejected(node, set(prefixes))
    silent = [] if routes or unimported else _silent(node)
    return {"routes": routes, "unimported": unimported, "rejected": rejected, "silent": silent}


def _prefix_of(key: RouteKey) -> Prefix | None:
    """Return where a route leads; None for a MAC address alone, and what is no destination."""
    match key.nlri:
        case Prefix() as prefix:
            return prefix
        case EvpnPrefix(prefix=prefix):
            return prefix
        case EvpnMac(address=address):
            return address
    return None


def covering(address: Prefix) -> list[Prefix]:
    """Return every prefix that holds an address, the longest first."""
    return [
        Prefix(address.address & mask_of(length, address.version), length, address.version)
        for length in range(address.length, -1, -1)
    ]


def _explained(node: ControlNode, instance: str, key: RouteKey) -> Record:
    """Explain a route of an instance: its paths, who else has it, which agents are sent it."""
    rib = node.core.rib
    explanation = rib.why(instance, key)
    sent = sorted(
        each.name
        for each in node.core.agents.values()
        if each.is_served and instance in each.instances
    )
    return {
        "instance": instance,
        "network": rib.instances[instance].network,
        "prefix": str(key),
        "candidates": [_candidate(node, instance, key, each) for each in explanation.candidates],
        "agents": sent if any(each.chosen for each in explanation.candidates) else [],
    }


def _candidate(node: ControlNode, instance: str, key: RouteKey, candidate: Candidate) -> Record:
    path = candidate.path
    is_bgp = path.kind is not PeerKind.AGENT
    record: Record = {
        "chosen": candidate.chosen,
        "reason": candidate.reason,
        "peer": path.peer,
        "protocol": "BGP" if is_bgp else "XMPP",
        "source": path.source,
        "next_hop": format_ipv4(path.next_hop),
        "label": path.label,
        "encapsulations": path.encapsulations,
        "local_preference": path.local_preference,
        "as_path": format_as_path(path.as_path),
        "origin": path.origin,
        "stale": path.stale,
        "import": _import(node, instance, path, candidate.via),
    }
    family = VPN_FAMILY[key.family]
    raw = path.vpn_key if is_bgp else vpn_key(key, path)[1]
    if raw in node.core.rib.bgp.tables[family].routes:
        explanation = node.core.rib.bgp.why(family, raw)
        record["vpn"] = _vpn(explanation, instance, path.source) | {
            "others": [each for each in _raw(explanation) if each["peer"] != path.peer]
        }
    elif not is_bgp:
        record["vpn"] = {"not_exported": _not_exported(node, path)}
    return record


def _not_exported(node: ControlNode, path: Path) -> str:
    instance = node.core.rib.instances.get(path.source)
    if instance is None:
        return f"no routing instance {path.source} is configured"
    if not instance.exports:
        return "its routing instance exports no target"
    return "it cannot be used"


def _import(node: ControlNode, instance: str, path: Path, via: str) -> Record | None:
    """Say by which target an instance has a path, and what in the configuration says so."""
    if not via:
        return None
    plan = node.core.plan.routing_instances
    importing, exporting = plan.get(instance), plan.get(path.source)
    because = f"{instance} imports {via}"
    if exporting is not None and importing is not None:
        if path.source in importing.connections and via == exporting.target:
            policies = policies_between(node, importing.network_uuid, exporting.network_uuid)
            because = (
                f"network-policy {' and '.join(policies)} joins the two networks"
                if policies
                else "their routing instances are connected"
            )
        else:
            because = f"{importing.network} lists the target"
    elif importing is not None:
        because = (
            "it is the network's own target"
            if via == importing.target
            else f"{importing.network} lists the target"
        )
    return {"target": via, "from": path.source, "because": because}


def policies_between(node: ControlNode, one: str, other: str) -> list[str]:
    """Return the policies that both networks (uuids) have, else those that either has."""
    snapshot = node.core.snapshot
    attached = [_policies(snapshot.get(uuid)) for uuid in (one, other)]
    uuids = attached[0] & attached[1] or attached[0] | attached[1]
    found = (snapshot.get(uuid) for uuid in uuids)
    return sorted(policy.name for policy in found if policy is not None)


def _policies(network: Object | None) -> set[str]:
    return {ref.uuid for ref in network.refs_to("network-policy")} if network is not None else set()


def _vpn(explanation: VpnExplanation, *holders: str) -> Record:
    """Say who has a route of BGP's tables; `holders` are instances that need not be named."""
    return {
        "table": explanation.table,
        "route": explanation.text,
        "imports": [
            {"instance": instance, "target": target}
            for instance, target in explanation.imports
            if instance not in holders
        ],
        "not_imported": explanation.not_imported,
        "told": [msgspec.to_builtins(each) for each in explanation.tellings],
    }


def _unimported(node: ControlNode, prefixes: set[Prefix]) -> Paused[list[Record]]:
    """Return what BGP's tables have of some prefixes and no instance imports."""
    found: list[Record] = []
    for family in _EXPLAINED:
        for number, key in enumerate(list(node.core.rib.bgp.tables[family].routes)):
            if number % SLICE == 0:
                yield
            if _leads_to(family, key, prefixes):
                explanation = node.core.rib.bgp.why(family, key)
                if not explanation.imports and len(found) < _MOST_UNIMPORTED:
                    found.append(_vpn(explanation) | {"candidates": _raw(explanation)})
    return found


def _leads_to(family: AddressFamily, key: bytes, prefixes: set[Prefix]) -> bool:
    inside = instance_key(family, key)
    return inside is not None and _prefix_of(inside) in prefixes


def _rejected(node: ControlNode, prefixes: set[Prefix]) -> Paused[list[Record]]:
    """Return what came for some prefixes, was refused, and is not held: newest first."""
    bgp = node.core.rib.bgp
    found: list[Record] = []
    for number, one in enumerate(reversed(list(bgp.rejections))):
        if number % SLICE == 0:
            yield
        for key in one.keys if one.family in _EXPLAINED else ():
            if _leads_to(one.family, key, prefixes) and not any(
                bundle.peer.name == one.peer for bundle in bgp.tables[one.family].paths(key)
            ):
                route = format_route(one.family, key)
                found.append(_rejection(one) | {"first": route, "count": 1})
                break
    return found[:_MOST_UNIMPORTED]


def _rejection(one: Rejection) -> Record:
    return {
        "peer": one.peer,
        "table": one.table,
        "first": one.first,
        "count": one.count,
        "reason": one.reason,
    }


def _silent(node: ControlNode) -> list[Record]:
    """Return the BGP peers without a session: who knows what they would tell."""
    return [
        {"peer": each.name, "state": each.machine.state, "reason": each.machine.reason}
        for each in node.peering.neighbours.values()
        if each.session is None
    ]


def _raw(explanation: VpnExplanation) -> list[Record]:
    return [
        {
            "chosen": each.is_best,
            "reason": each.reason,
            "peer": each.bundle.peer.name,
            "next_hop": str(each.bundle.attributes.next_hop),
            "as_path": format_as_path(each.bundle.attributes.as_path),
        }
        for each in explanation.candidates
    ]
