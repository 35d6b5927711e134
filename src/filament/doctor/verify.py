"""Whether all that hold a piece of the picture hold the same: `filament verify`, thought.

From the API's configuration everything that follows is computed here anew, by the compiler's full
path, and compared with what control nodes, agents and kernels say they hold. Pure: evidence in,
differences out. While things change two honest witnesses may differ, so a difference counts only if
several rounds of evidence, taken one after the other, show the very same (`lasting`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from filament.base.net import Prefix, format_address, narrow_address
from filament.compiler.compile import compile_plan
from filament.compiler.plan import AgentView, Plan
from filament.compiler.render import Rendered
from filament.compiler.views import agent_view
from filament.doctor.packet import format_protocol
from filament.forward.flows import FlowKey
from filament.forward.layout import TABLE_BY_NAME
from filament.forward.tables import ROUTES_BY_VERSION, VRF_BITS
from filament.model.change import Allocation, Object
from filament.model.digest import digest_of
from filament.model.invariants import check
from filament.model.snapshot import Snapshot

Record = Mapping[str, Any]

# The pairs of holders that are compared, from intent to packet.
LAYERS = {
    "answers": "every process answers",
    "intent": "the configuration agrees with itself",
    "configuration": "control nodes hold the API's configuration",
    "plan": "control nodes hold the plan that follows from it",
    "rib": "routing tables follow from the plan and from what is published",
    "told": "agents were told what the plan says",
    "agent": "agents and control nodes hold the same of one another",
    "rows": "rows follow from what the agent was told",
    "kernel": "kernels hold the agents' rows, and our programs are attached",
    "flows": "flows follow from the rules",
}
_VERSIONS = {table: version for version, table in ROUTES_BY_VERSION.items()}


class Repair(NamedTuple):
    """What would mend a difference: a POST to a role's process."""

    role: str
    name: str
    target: str


class Difference(NamedTuple):
    """Two holders differ: `layer` is a key of LAYERS, `where` the process, `what` the thing.

    `repair` is None where nothing can be proven to mend it.
    """

    layer: str
    where: str
    what: str
    text: str
    repair: Repair | None = None


class Content(NamedTuple):
    """The API's configuration."""

    revision: int
    objects: Sequence[Object]
    allocations: Sequence[Allocation]


class Evidence(NamedTuple):
    """One round of what everybody says; a witness is its answer, or the text why there is none.

    `told` has what a control node told an agent, by (control node, agent).
    """

    content: Content | str
    controls: Mapping[str, Record | str]
    told: Mapping[tuple[str, str], Record | str]
    agents: Mapping[str, Record | str]


def lasting(rounds: Iterable[Sequence[Difference]]) -> list[Difference]:
    """Return the differences that all rounds show, in the order of the first."""
    first, *others = rounds
    return [one for one in first if all(one in other for other in others)]


def differences(evidence: Evidence) -> list[Difference]:
    """Return everything in which witnesses differ, layer by layer."""
    found = list(_silent(evidence))
    content = None if isinstance(evidence.content, str) else evidence.content
    expected = None
    if content is not None:
        problems = check(content.revision, content.objects, content.allocations)
        found += [Difference("intent", "api", one.of, one.text) for one in problems]
        expected = _Expected(content)
    for name, control in _those_who_answer(evidence.controls):
        if expected is not None:
            found += _configuration(name, control, expected)
            found += _plan(name, control, expected)
        found += _rib(name, control, expected)
    for (name, agent), told in _those_who_answer(evidence.told):
        if expected is not None:
            found += _told(name, agent, told, expected)
        witness = evidence.agents.get(agent)
        if witness is not None and not isinstance(witness, str):
            found += _agent(name, agent, told, witness)
    for name, agent in _those_who_answer(evidence.agents):
        found += _host(name, agent)
    order = list(LAYERS)
    return sorted(found, key=lambda one: (order.index(one.layer), *one[1:4]))


def _silent(evidence: Evidence) -> Iterator[Difference]:
    if isinstance(evidence.content, str):
        yield Difference("answers", "api", "", evidence.content)
    for role, witnesses in (("control", evidence.controls), ("agent", evidence.agents)):
        for name, witness in witnesses.items():
            if isinstance(witness, str):
                yield Difference("answers", f"{role} {name}", "", witness)
    for (name, agent), witness in evidence.told.items():
        if isinstance(witness, str):
            yield Difference("answers", f"control {name}", f"about {agent}", witness)


def _those_who_answer(witnesses: Mapping[Any, Record | str]) -> Iterator[tuple[Any, Record]]:
    for key, witness in witnesses.items():
        if not isinstance(witness, str):
            yield key, witness


class _Expected:
    """What follows from a configuration."""

    def __init__(self, content: Content) -> None:
        self.revision = content.revision
        self.objects = {one.uuid: one for one in content.objects}
        self.snapshot = Snapshot(content.revision, content.objects, content.allocations)
        self.plan: Plan = compile_plan(self.snapshot)
        self.rendered = Rendered(self.plan)

    def view(self, router: str, machines: Sequence[str]) -> AgentView:
        return agent_view(self.snapshot, self.plan, self.rendered, router, machines)


def _configuration(name: str, control: Record, expected: _Expected) -> Iterator[Difference]:
    where, repair = f"control {name}", Repair("control", name, "/filament/reload")
    if control["revision"] < expected.revision:
        text = f"it is at revision {control['revision']}, the API at {expected.revision}"
        yield Difference("configuration", where, "revision", text, repair)
    held = control["objects"]
    for uuid in held.keys() | expected.objects.keys():
        own = expected.objects.get(uuid)
        if own is None:
            kind, fq_name, _ = held[uuid]
            text = "it holds one that the API does not have"
            yield Difference("configuration", where, f"{kind} {fq_name}", text, repair)
        elif uuid not in held:
            text = f"it lacks the API's, of revision {own.revision}"
            yield Difference("configuration", where, f"{own.kind} {own.name}", text, repair)
        elif held[uuid][2] != digest_of(own):
            text = f"it holds another than the API's of revision {own.revision}"
            yield Difference("configuration", where, f"{own.kind} {own.name}", text, repair)


def _plan(name: str, control: Record, expected: _Expected) -> Iterator[Difference]:
    where, repair = f"control {name}", Repair("control", name, "/filament/reload")
    plan = expected.plan
    tables: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("instances", "routing-instance", plan.routing_instances),
        ("acls", "access-control-list", plan.acls),
    )
    for field, kind, rows in tables:
        held = control[field]
        for row in held.keys() | rows.keys():
            own = rows.get(row)
            if own is None:
                text = "it holds one that does not follow from the API's configuration"
            elif row not in held:
                text = "it lacks one that follows from the API's configuration"
            elif held[row] != digest_of(own):
                text = "it holds another than follows from the API's configuration"
            else:
                continue
            yield Difference("plan", where, f"{kind} {row}", text, repair)


def _rib(name: str, control: Record, expected: _Expected | None) -> Iterator[Difference]:
    where = f"control {name}"
    if control["problem"]:
        # It is nobody's to say which of two computations of one process is wrong.
        yield Difference("rib", where, "recomputed", control["problem"])
    if expected is None:
        return
    repair = Repair("control", name, "/filament/reload")
    for row, instance in expected.plan.routing_instances.items():
        held = control["targets"].get(row)
        own = {"imports": sorted(instance.imports), "exports": sorted(instance.exports)}
        if held is None:
            yield Difference("rib", where, row, "it has no table for the instance", repair)
        elif held != own:
            text = f"it imports and exports {held}, the plan says {own}"
            yield Difference("rib", where, row, text, repair)
    for row in control["targets"].keys() - expected.plan.routing_instances.keys():
        yield Difference("rib", where, row, "the plan has no such instance", repair)


def _told(name: str, agent: str, told: Record, expected: _Expected) -> Iterator[Difference]:
    if not told["served"]:
        text = "it is connected and not served: `filament show refused` says why"
        yield Difference("told", f"control {name}", f"agent {agent}", text)
        return
    repair = Repair("control", name, "/filament/reload")
    own = expected.view(told["router"], told["machines"])
    wanted = _by_name(map(_plain, own.nodes.values()), _node_name)
    held = _by_name(told["nodes"], _node_name)
    for text, what in _compare(wanted, held, "it told {agent} {which}", agent):
        yield Difference("told", f"control {name}", what, text, repair)
    links = _by_name(map(_plain, own.links), _link_name)
    held_links = _by_name(told["links"], _link_name)
    for text, what in _compare(links, held_links, "it told {agent} {which}", agent):
        yield Difference("told", f"control {name}", what, text, repair)


def _compare(
    wanted: Mapping[str, Any], held: Mapping[str, Any], text: str, agent: str
) -> Iterator[tuple[str, str]]:
    for what in wanted.keys() | held.keys():
        if wanted.get(what) == held.get(what):
            continue
        if what not in held:
            which = "nothing of it"
        elif what not in wanted:
            which = "of it, and should not"
        else:
            which = "another than it should: " + _how(wanted[what], held[what])
        yield text.format(agent=agent, which=which), what


def _agent(name: str, agent: str, told: Record, witness: Record) -> Iterator[Difference]:
    """Compare what a control node and an agent that are in session hold of one another."""
    where = f"agent {agent}"
    repair = Repair("agent", agent, f"/filament/resync?control={told['address']}")
    [view] = [one for one in witness["views"] if one["control"] == told["address"]] or [None]
    if view is None or not told["served"]:
        if view is None and told["whole"]:
            text = f"{name} tells it everything, and it holds nothing of that"
            yield Difference("agent", where, told["address"], text, repair)
        return
    for given, held in (
        (_by_name(told["nodes"], _node_name), _by_name(view["nodes"], _node_name)),
        (_by_name(told["links"], _link_name), _by_name(view["links"], _link_name)),
        (_routes(told["instances"]), _routes(view["instances"])),
    ):
        for text, what in _compare(given, held, "{agent} it holds {which}", f"of what {name} told"):
            yield Difference("agent", where, what, text, repair)
    mine = {tuple(one) for one in witness["published"]}
    theirs = {tuple(one) for one in told["published"]}
    for instance, destination in sorted(mine ^ theirs):
        lacks = (instance, destination) in mine
        text = (
            f"{name} lacks what it publishes" if lacks else f"{name} has what it does not publish"
        )
        yield Difference("agent", where, f"route {destination} in {instance}", text, repair)


def _by_name(items: Iterable[Record], name: Callable[[Record], str]) -> dict[str, Any]:
    return {name(item): item for item in items}


def _routes(instances: Iterable[Record]) -> dict[str, Any]:
    return {
        f"route {_destination(item['destination'])} in {one['instance']}": item
        for one in instances
        for item in one["items"]
    }


def _host(name: str, agent: Record) -> Iterator[Difference]:
    where, repair = f"agent {name}", Repair("agent", name, "/filament/repair")
    if agent["problem"]:
        yield Difference("rows", where, "plan", agent["problem"])
    for one in agent["plan"]:
        text = _row_text(one, "the agent has", "a plan made anew has")
        yield Difference("rows", where, _row_name(one), text, repair)
    failures = {(one["table"], tuple(one["key"])): one["text"] for one in agent["failures"]}
    for one in agent["kernel"]:
        text = _row_text(one, "the kernel has", "the agent wants")
        failure = failures.get((one["table"], tuple(one["key"])))
        if failure:
            yield Difference("kernel", where, _row_name(one), f"{text}: {failure}")
        else:
            yield Difference("kernel", where, _row_name(one), text, repair)
    for one in agent["devices"]:
        yield Difference("kernel", where, one["device"], one["problem"], repair)
    for one in agent["flows"]:
        yield Difference("flows", where, _flow_name(one["key"]), one["why"], repair)


def _row_name(one: Record) -> str:
    table, key = one["table"], one["key"]
    if table in _VERSIONS:
        length, vrf, address = key
        return f"{table} {Prefix(address, length - VRF_BITS, _VERSIONS[table])} in VRF #{vrf}"
    fields = (field.name for field in TABLE_BY_NAME[table].key)
    pairs = ", ".join(f"{field} {value}" for field, value in zip(fields, key, strict=False))
    return f"{table} {pairs}"


def _row_text(one: Record, holder: str, asker: str) -> str:
    origin = one["origin"]["object"]
    because = f" (of {origin})" if origin else ""
    if one["found"] is None:
        return f"{holder} no such row{because}"
    if one["wanted"] is None:
        return f"{holder} a row that nobody asks for"
    fields = [
        field.name
        for field in TABLE_BY_NAME[one["table"]].value
        if not field.type.startswith("pad")
    ]
    parts = [
        f"{field} {found}, {asker} {wanted}"
        for field, found, wanted in zip(fields, one["found"], one["wanted"], strict=False)
        if found != wanted
    ]
    return f"{holder} {'; '.join(parts)}{because}"


def _flow_name(key: Sequence[int]) -> str:
    flow = FlowKey(*key)
    ends = [format_address(*narrow_address(one)) for one in (flow.local, flow.remote_address)]
    return (
        f"{format_protocol(flow.protocol)} {ends[0]} port {flow.local_port}, {ends[1]} port"
        f" {flow.remote_port} at interface {flow.vif}"
    )


def _node_name(node: Record) -> str:
    return f"{node['kind']} {node['name']}"


def _link_name(link: Record) -> str:
    return (
        f"link {link['metadata']} {link['left_name']} - {link['right_name']}"
        f" ({link['left_kind']}, {link['right_kind']})"
    )


def _destination(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def _how(wanted: Any, held: Any) -> str:
    """Say in which members two JSON objects differ, shortly."""
    if not isinstance(wanted, dict) or not isinstance(held, dict):
        return f"{held!r:.80} instead of {wanted!r:.80}"
    return ", ".join(
        f"{member} {json.dumps(held.get(member)):.80} instead of"
        f" {json.dumps(wanted.get(member)):.80}"
        for member in sorted(wanted.keys() | held.keys())
        if wanted.get(member) != held.get(member)
    )


def _plain(value: Any) -> Any:
    """Turn a struct into what it is after a journey as JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))
