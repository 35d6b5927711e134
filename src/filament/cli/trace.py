"""`filament trace`: explain table by table what happens to a packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from filament.base.errors import InputError, NotFoundError, PermanentError, TransientError
from filament.base.net import parse_ipv4
from filament.cli import local
from filament.cli.complete import complete_workloads
from filament.cli.ends import Record, end_from_agents, end_from_api, is_address
from filament.cli.options import json_option, pass_session
from filament.cli.output import print_json, print_lines, print_note
from filament.cli.session import Session
from filament.doctor.explain import explanation_json, format_explanation
from filament.doctor.live import Compared, compare, format_compared, requests_of, ruling_of
from filament.doctor.packet import parse_protocol
from filament.doctor.trace import End, Evidence, facts_of, flow_of, notes_of
from filament.doctor.trace import trace as explain
from filament.doctor.walk import Heard, HostFacts

_REHEARSAL_TIMEOUT_S = 15.0
EXIT_UNKNOWN = 1
EXIT_DROPPED = 3


class ApiFacts(NamedTuple):
    """What the API adds to what agents say: its revision, and hosts by their tunnel addresses."""

    revision: int
    host_by_address: dict[int, str]


@click.command("trace")
@click.argument("source", metavar="SRC", shell_complete=complete_workloads)
@click.argument("destination", metavar="DST", shell_complete=complete_workloads)
@click.argument("protocol", metavar="[PROTO]", default="icmp")
@click.argument("port", metavar="[DPORT]", required=False, type=click.IntRange(0, 65535))
@click.option(
    "--reply/--no-reply",
    "walks_answer",
    default=True,
    help="Walk the answer's way back too [default: yes].",
)
@click.option(
    "--live",
    "asks_kernel",
    is_flag=True,
    help="Run the hosts' loaded programs on these packets too, and show both answers.",
)
@click.option("--rows", "shows_rows", is_flag=True, help="Show each row's table and key.")
@json_option
@click.pass_context
@pass_session
def trace(
    session: Session,
    ctx: click.Context,
    source: str,
    destination: str,
    protocol: str,
    port: int | None,
    walks_answer: bool,
    asks_kernel: bool,
    shows_rows: bool,
    as_json: bool,
) -> None:
    """Explain table by table what happens to a packet from SRC to DST.

    SRC and DST are workloads, their ports, or addresses; PROTO is icmp, tcp, udp or a number.
    Exit code 3 when the packet, or the answer to it, does not arrive; 1 when it cannot be told
    because a host's agent is away, or (--live) because the kernel says something else. No packet
    is sent, and --live leaves no flow and no count behind.

    For example: filament trace red-1 blue-1 tcp 443
    """
    number = parse_protocol(protocol)
    evidence = gather(session)
    notes = notes_of(evidence)
    known = _ask_api(session, notes)
    from_end, to_end = _ends(session, (source, destination), evidence, api_is_away=known is None)
    if from_end.version != to_end.version:
        raise InputError(
            "mixed-versions",
            f"{from_end.address_text} and {to_end.address_text} are of different IP versions",
            hint="give addresses of one version",
        )
    flow = flow_of(from_end.address, to_end.address, number, port, from_end.version)
    hosts = facts_of(evidence, known.host_by_address if known else {})
    revision = known.revision if known else 0
    explanation = explain(
        from_end, to_end, flow, hosts, notes=notes, revision=revision, walks_answer=walks_answer
    )
    compared = _ask_kernels(session, explanation.heard, hosts) if asks_kernel else None
    if as_json:
        live = {} if compared is None else {"live": [each._asdict() for each in compared]}
        print_json(explanation_json(explanation, hosts) | live)
    else:
        print_lines(format_explanation(explanation, hosts, shows_keys=shows_rows))
        if compared is not None:
            print_lines(["", *format_compared(compared)])
    if explanation.is_lost or any(each.differences for each in compared or ()):
        ctx.exit(EXIT_UNKNOWN)
    if not explanation.is_delivered:
        ctx.exit(EXIT_DROPPED)


def _ask_kernels(
    session: Session, heard: Sequence[Heard], hosts: Mapping[str, HostFacts]
) -> list[Compared]:
    """Run the packets of a walk through the programs of the hosts they came by.

    A host that cannot answer is a note; so is one whose programs are not those of its agent.
    """
    bodies = {host: {"packets": asked} for host, asked in requests_of(heard).items()}
    answers = local.ask(
        session.run_dir,
        "agent",
        "/filament/rehearsals",
        timeout_s=_REHEARSAL_TIMEOUT_S,
        bodies=bodies,
    )
    rulings = {}
    for answer in answers:
        if answer.problem:
            print_note(f"{answer.name}: its kernel was not asked: {answer.problem}")
            continue
        if not answer.value["same_programs"]:
            print_note(
                f"{answer.name}: the programs on its disk are not those that are attached; restart"
                " its agent, which replaces them"
            )
        rulings[answer.name] = [ruling_of(each) for each in answer.value["results"]]
    return compare(heard, rulings, hosts)


def gather(session: Session) -> list[Evidence]:
    """Ask every agent of this machine what it holds."""
    answers = {
        path: local.ask(session.run_dir, "agent", f"/filament/{path}")
        for path in ("status", "interfaces", "tables")
    }
    local.require_some(answers["status"], "agent", session.run_dir)
    return [
        Evidence(
            status.name,
            status.value,
            interfaces.value["interfaces"] if interfaces.value else (),
            tables.value,
            status.problem or interfaces.problem or tables.problem,
        )
        for status, interfaces, tables in zip(*answers.values(), strict=True)
    ]


def _ask_api(session: Session, notes: list[str]) -> ApiFacts | None:
    """Ask the API what agents do not know; when it is away say so in `notes` and do without."""
    try:
        revision = session.get("/filament/status")["revision"]
        routers = session.get("/virtual-routers", detail="true")["virtual-routers"]
    except (TransientError, PermanentError) as error:
        notes.append(f"{error}; names are those that agents know")
        return None
    hosts = {
        parse_ipv4(router["virtual_router_ip_address"]): router["fq_name"][-1]
        for router in (item["virtual-router"] for item in routers)
        if router.get("virtual_router_ip_address")
    }
    return ApiFacts(revision, hosts)


def _ends(
    session: Session, texts: Sequence[str], evidence: Sequence[Evidence], *, api_is_away: bool
) -> list[End]:
    """Find both ends: names through the API, addresses (and names when it is away) at agents."""
    held = [
        (each.host, dict(item)) for each in evidence if not each.problem for item in each.interfaces
    ]
    ends = []
    for index, text in enumerate(texts):
        if api_is_away or is_address(text):
            ends.append(_end_from_agents(text, held, is_source=index == 0, api_is_away=api_is_away))
        else:
            ends.append(end_from_api(session, text))
    return ends


def _end_from_agents(
    text: str, held: Sequence[tuple[str, Record]], *, is_source: bool, api_is_away: bool
) -> End:
    try:
        return end_from_agents(text, held, is_source=is_source)
    except NotFoundError as error:
        if not api_is_away or is_address(text):
            raise
        raise NotFoundError(f"{error} (the API does not answer: agents know less)") from error
