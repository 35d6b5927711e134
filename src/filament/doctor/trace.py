"""`trace`: from what agents and the API answered to an explained journey. Pure; no fetching.

Evidence comes as the JSON of the agents' `/filament/status`, `/filament/interfaces` and
`/filament/tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from filament.base.errors import InputError, NotFoundError
from filament.base.net import format_address, parse_ipv4, parse_ipv6, parse_mac
from filament.base.origin import Origin
from filament.doctor.explain import Explanation, behind
from filament.doctor.packet import Flow
from filament.doctor.walk import HostFacts, Journey, Outcome, PortFacts, Sender, Walker
from filament.doctor.words import Names, PortNames
from filament.forward.layout import DropReason
from filament.forward.tables import Row, Tables
from filament.wire.packet.ipv4 import ICMP, TCP, UDP
from filament.wire.packet.ipv6 import ICMPV6

_ECHO_IDENTIFIER = 1
_EPHEMERAL_PORT = 49152


class End(NamedTuple):
    """One end of a trace: what the person called it, its address, and its port if it is known.

    `port` is the virtual-machine-interface's uuid; "" when only an address is known.
    """

    label: str
    address: int
    port: str = ""
    version: int = 4

    @property
    def address_text(self) -> str:
        """Its address."""
        return format_address(self.address, self.version)


class Evidence(NamedTuple):
    """What one agent answered, or `problem` says why it did not."""

    host: str
    status: Mapping[str, Any]
    interfaces: Sequence[Mapping[str, Any]]
    tables: Mapping[str, Any]
    problem: str = ""


def flow_of(
    source: int, destination: int, protocol: int, port: int | None, version: int = 4
) -> Flow:
    """Make the flow of a question. Raises InputError when it lacks a port, or has one too many."""
    if version == 6 and protocol == ICMP:
        protocol = ICMPV6  # people say icmp of either
    if protocol in (TCP, UDP):
        if port is None:
            raise InputError(
                "no-port", "to which port?", hint="write SRC DST tcp|udp PORT, for example tcp 443"
            )
        return Flow(source, destination, protocol, _EPHEMERAL_PORT, port, version)
    if port is not None:
        raise InputError("bad-port", "only tcp and udp have ports", hint="leave the port out")
    identifier = _ECHO_IDENTIFIER if protocol in (ICMP, ICMPV6) else 0
    return Flow(source, destination, protocol, identifier, version=version)


def trace(
    source: End,
    destination: End,
    flow: Flow,
    hosts: Mapping[str, HostFacts],
    *,
    notes: Sequence[str] = (),
    revision: int = 0,
    walks_answer: bool = True,
) -> Explanation:
    """Walk a question, and its answer from wherever the question was delivered.

    `revision` is the API's, 0 when it is not known. Raises NotFoundError when no host that
    answered has the source's port.
    """
    sender = sender_of(source, hosts, notes)
    walker = Walker(hosts)
    question = walker.walk(sender, flow)
    said = [*notes, *behind(hosts.values(), revision)]
    answer, is_mistaken = None, False
    if question.outcome is Outcome.DELIVERED:
        port = hosts[question.host].port_at(question.ifindex)
        assert port is not None, f"{question.host} delivered to an unknown {question.ifindex}"
        is_mistaken = destination.port not in ("", port.uuid)
        if is_mistaken:
            said.append(
                f"in the sender's network {destination.address_text} is "
                f"{port.label}, not {destination.label}"
            )
        if walks_answer:
            back = Sender(question.host, port)
            answer = walker.walk(back, flow.reversed(), answers=True)
    return Explanation(
        question,
        answer,
        {destination.address: destination.label, source.address: source.label},
        tuple(said),
        _hint(question, sender, destination, hosts),
        is_mistaken,
        tuple(walker.heard),
    )


def _hint(
    question: Journey, sender: Sender, destination: End, hosts: Mapping[str, HostFacts]
) -> str:
    """Say what would let a packet through for which there is no route; "" when nobody knows."""
    if question.reason is not DropReason.NO_ROUTE:
        return ""
    here = hosts[sender.host].network_of(sender.port)
    there = ""
    for facts in hosts.values():
        port = facts.port(destination.port)
        there = facts.network_of(port) if port is not None else there
    if not here or not there or here == there:
        return ""
    return f"{here} and {there} need a network-policy that joins them, attached to both"


def facts_of(
    evidence: Sequence[Evidence], host_by_address: Mapping[int, str]
) -> dict[str, HostFacts]:
    """Turn what agents answered into facts, by host name; silent agents have none.

    `host_by_address` names tunnel ends, also of hosts whose agents are away.
    """
    answered = [each for each in evidence if not each.problem]
    address_by_host = {each.host: parse_ipv4(each.status["address"]) for each in answered}
    named = {**host_by_address, **{address: host for host, address in address_by_host.items()}}
    facts = {}
    for each in answered:
        # A port that control nodes have not described, or without a device, sends nothing yet.
        ports = tuple(_port(item) for item in each.interfaces if item["mac"] and item["ifindex"])
        names = Names(
            hosts=named,
            ports={port.ifindex: PortNames(port.label, port.device) for port in ports},
            **names_of(each.tables["ids"]),
        )
        tables = tables_of(each.tables)
        facts[each.host] = HostFacts(
            each.host, address_by_host[each.host], tables, names, ports, tables.revision
        )
    return facts


def notes_of(evidence: Sequence[Evidence]) -> list[str]:
    """Say which agents are away, and which kernels do not have the rows their agents want."""
    notes = []
    for each in evidence:
        if each.problem:
            notes.append(f"the agent of {each.host} does not answer: {each.problem}")
            continue
        wanted, applied = each.tables["revision"], each.status["applied"]
        if each.status["problem"]:
            notes.append(f"{each.host}: {each.status['problem']}")
        if wanted != applied:
            notes.append(
                f"{each.host}: the rows below are of revision {wanted}, those in the kernel of "
                f"{applied}"
            )
    return notes


def sender_of(source: End, hosts: Mapping[str, HostFacts], notes: Sequence[str]) -> Sender:
    """Find the host and port a trace starts at."""
    for name, facts in hosts.items():
        port = facts.port(source.port)
        if port is not None:
            return Sender(name, port)
    away = f" ({'; '.join(notes)})" if notes else ""
    raise NotFoundError(
        f"{source.label} ({source.address_text}) is not plugged into any host that answers{away}"
    )


def _port(item: Mapping[str, Any]) -> PortFacts:
    return PortFacts(
        item["uuid"],
        item["name"],
        item["display_name"],
        item["device"],
        item["ifindex"],
        parse_mac(item["mac"]),
        tuple(parse_ipv4(address) for address in item["addresses"] if ":" not in address),
        tuple(parse_ipv6(address) for address in item["addresses"] if ":" in address),
    )


def names_of(ids: Mapping[str, Mapping[str, int]]) -> dict[str, dict[int, str]]:
    """Turn an agent's numbers by name into names by number, for the spaces that rows show."""

    def by_number(space: str) -> dict[int, str]:
        return {number: name for name, number in ids.get(space, {}).items()}

    # A list is numbered by name and content: the name alone is for people.
    acls = {number: name.rpartition(" ")[0] for number, name in by_number("list").items()}
    return {"vrfs": by_number("vrf"), "networks": by_number("network"), "acls": acls}


def tables_of(value: Mapping[str, Any]) -> Tables:
    """Decode an agent's tables: per table a list of rows with key, values and origin."""
    rows = {
        name: {
            tuple(row["key"]): Row(tuple(row["values"]), Origin(**row["origin"])) for row in listed
        }
        for name, listed in value["rows"].items()
    }
    return Tables(value["revision"], rows)
