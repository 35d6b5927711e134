"""A walk as text that people enjoy reading, and as JSON for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from filament.base.net import format_address, format_ipv4
from filament.base.origin import Origin
from filament.doctor.packet import Flow, format_protocol
from filament.doctor.walk import Heard, HostFacts, Journey, Outcome, Step
from filament.doctor.words import short_name
from filament.wire.packet.ipv4 import TCP, UDP

_INDENT = "  "


class Explanation(msgspec.Struct, frozen=True):
    """A question's journey, its answer's (None when there is none), and what to know besides.

    `labels` are what the person called the addresses; `notes` are said first: agents that are
    away, rows that are behind; `hint` last: what would let the packet through. `is_mistaken`: it
    was delivered, but to somebody else. `heard` are the frames that hosts were given, in order.
    """

    question: Journey
    answer: Journey | None
    labels: Mapping[int, str]
    notes: tuple[str, ...] = ()
    hint: str = ""
    is_mistaken: bool = False
    heard: tuple[Heard, ...] = ()

    @property
    def is_delivered(self) -> bool:
        """Whether the question arrives where it should, and its answer if one was walked."""
        return not self.is_mistaken and all(
            journey.outcome in (Outcome.DELIVERED, Outcome.ANSWERED)
            for journey in (self.question, self.answer)
            if journey is not None
        )

    @property
    def is_lost(self) -> bool:
        """Whether nobody can tell, because a host on the way did not answer."""
        return any(
            journey.outcome is Outcome.LOST
            for journey in (self.question, self.answer)
            if journey is not None
        )


def format_explanation(
    explanation: Explanation, hosts: Mapping[str, HostFacts], *, shows_keys: bool = False
) -> list[str]:
    """Lay an explanation out as lines; `shows_keys` adds each row's table and key."""
    question, answer = explanation.question, explanation.answer
    journeys = [journey for journey in (question, answer) if journey is not None]
    steps = [step for journey in journeys for step in journey.steps]
    stage_width = max(len(step.stage) for step in steps)
    text_width = max((len(step.text) for step in steps if step.origin.object), default=0)
    lines = [f"note: {note}" for note in explanation.notes]
    if lines:
        lines.append("")
    for journey in journeys:
        is_answer = journey is answer
        lines.append(headline(journey.flow, explanation.labels, is_answer=is_answer))
        host = ""
        for step in journey.steps:
            if step.host != host:
                host = step.host
                lines.append(f"{_INDENT}{host_line(host, hosts)}")
            line = f"{_INDENT * 2}{step.stage.ljust(stage_width)}  {step.text}"
            if step.origin.object:
                line = f"{line.ljust(len(_INDENT) * 2 + stage_width + 2 + text_width)}"
                line += f"  <- {format_origin(step.origin)}"
            if shows_keys and step.table:
                line += f"  {step.table}{list(step.key)}"
            lines.append(line.rstrip())
        lines += [f"{_INDENT}=> {verdict(journey, hosts)}", ""]
    return [*lines[:-1], f"{_INDENT}   {explanation.hint}"] if explanation.hint else lines[:-1]


def host_line(host: str, hosts: Mapping[str, HostFacts]) -> str:
    """Say which host the following steps are in, and which revision its rows show."""
    facts = hosts.get(host)
    if facts is None:
        return host
    return f"{host} ({format_ipv4(facts.address)}), rows of revision {facts.applied}"


def headline(flow: Flow, labels: Mapping[int, str], *, is_answer: bool) -> str:
    """Say what is sent from whom to whom."""
    source, destination = (
        f"{labels[address]} ({text})" if labels.get(address, text) != text else text
        for address, text in (
            (address, format_address(address, flow.version))
            for address in (flow.source, flow.destination)
        )
    )
    verb = "answers with" if is_answer else "sends"
    return f"{source} {verb} {content(flow, is_answer=is_answer)} to {destination}"


def content(flow: Flow, *, is_answer: bool) -> str:
    """Say what kind of packet a flow begins with, or is answered by."""
    ports = f"{flow.source_port} to {flow.destination_port}"
    if flow.is_echo:
        return "an ICMP echo reply" if is_answer else "an ICMP echo request"
    if flow.protocol == TCP:
        return f"a TCP SYN{'-ACK' if is_answer else ''}, port {ports},"
    if flow.protocol == UDP:
        return f"a UDP datagram, port {ports},"
    return f"a packet of {format_protocol(flow.protocol)}"


def format_origin(origin: Origin) -> str:
    """Say who made a row: object, rule and revision. Short names: `--json` has the whole ones."""
    parts = [shorten(origin.object), shorten(origin.rule)]
    if origin.revision:
        parts.append(f"r{origin.revision}")
    return ", ".join(part for part in parts if part)


# An fq name of at least three parts that is no route target.
_FQ_NAME = re.compile(r"(?<!\S)(?!target:)[^\s:]+:[^\s:]+:[^\s,]+")
_UUID_TAIL = re.compile(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def shorten(text: str) -> str:
    """Shorten fq names in a text to what people call them, and uuids to their beginning."""
    text = _FQ_NAME.sub(lambda found: short_name(found[0]), text)
    return _UUID_TAIL.sub(r"\1", text)


def verdict(journey: Journey, hosts: Mapping[str, HostFacts]) -> str:
    """Say in one line how a journey ended."""
    match journey.outcome:
        case Outcome.DELIVERED:
            names = hosts[journey.host].names
            return f"delivered to {names.port(journey.ifindex)} on {journey.host}"
        case Outcome.ANSWERED:
            return f"answered by the gateway on {journey.host}"
        case Outcome.DROPPED:
            reason = journey.reason
            return f"dropped on {journey.host}: {reason.text} ({reason.name})"
        case Outcome.LOST:
            return f"followed as far as {journey.host}: {journey.steps[-1].text}"


def explanation_json(explanation: Explanation, hosts: Mapping[str, HostFacts]) -> dict[str, Any]:
    """Turn an explanation into a JSON value with whole names."""
    return {
        "delivered": explanation.is_delivered,
        "notes": list(explanation.notes),
        "hint": explanation.hint,
        "hosts": {name: {"applied": facts.applied} for name, facts in hosts.items()},
        "question": journey_json(explanation.question),
        "answer": None if explanation.answer is None else journey_json(explanation.answer),
    }


def journey_json(journey: Journey) -> dict[str, Any]:
    """Turn a journey into a JSON value."""
    flow = journey.flow
    return {
        "flow": {
            "source": format_address(flow.source, flow.version),
            "destination": format_address(flow.destination, flow.version),
            "protocol": flow.protocol,
            "source_port": flow.source_port,
            "destination_port": flow.destination_port,
        },
        "steps": [step_json(step) for step in journey.steps],
        "outcome": journey.outcome.value,
        "reason": journey.reason.name if journey.outcome is Outcome.DROPPED else "",
        "host": journey.host,
    }


def step_json(step: Step) -> dict[str, Any]:
    """Turn a step into a JSON value; steps that no row made have neither row nor origin."""
    value: dict[str, Any] = {"host": step.host, "stage": step.stage, "text": step.text}
    if step.table:
        value["row"] = {"table": step.table, "key": list(step.key)}
    if step.origin.object:
        value["origin"] = msgspec.to_builtins(step.origin)
    return value


def behind(hosts: Iterable[HostFacts], revision: int) -> list[str]:
    """Name the hosts whose rows do not show the API's revision yet."""
    return [
        f"{host.name} shows revision {host.applied}, the API is at {revision}"
        for host in hosts
        if host.applied < revision
    ]
