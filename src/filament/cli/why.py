"""`filament show route PREFIX --why`: every path, what decided, and where the route went or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filament.cli import local
from filament.cli.local import Answer
from filament.client.http import with_query
from filament.doctor.words import short_instance, short_name

Record = dict[str, Any]


def ask_why(
    run_dir: Path, controls: Sequence[str], prefix: str, instance: str | None
) -> list[Answer]:
    """Ask control nodes why routes to a prefix, or to an address, are as they are."""
    query = {"prefix": prefix} | ({"instance": instance} if instance else {})
    return local.ask(run_dir, "control", with_query("/filament/why", query), names=controls)


def why_lines(answers: Sequence[Answer], prefix: str) -> list[str]:
    """Lay the answers out for people; a control node that knows nothing of it says so."""
    lines: list[str] = []
    for answer in answers:
        if answer.problem:
            lines.append(f"{answer.name} does not answer: {answer.problem}")
            continue
        found = answer.value["routes"]
        for route in found:
            lines += _route_lines(answer.name, route)
        for route in answer.value["unimported"]:
            lines += _unimported_lines(answer.name, route)
        if not found and not answer.value["unimported"]:
            lines.append(
                f"{answer.name} has no route to {prefix}: no agent published one and no router"
                " announced one that is held"
            )
        lines += [
            f"{each['first']} from {short_name(each['peer'])} was refused by {answer.name}:"
            f" {each['reason']}"
            for each in answer.value["rejected"]
        ]
        lines += [
            f"  {short_name(each['peer'])}, which is {each['state']}, tells nothing:"
            f" {each['reason']}"
            for each in answer.value["silent"]
        ]
    return lines


def _route_lines(control: str, route: Record) -> Iterator[str]:
    yield f"{route['prefix']} in {short_instance(route['instance'])}, as {control} sees it"
    for candidate in route["candidates"]:
        yield from _candidate_lines(candidate)
    if any(each["chosen"] for each in route["candidates"]):
        told = ", ".join(route["agents"]) or "no agent: none has a port there"
        yield f"  sent to {told}"


def _candidate_lines(candidate: Record) -> Iterator[str]:
    mark = "*" if candidate["chosen"] else " "
    ways = "/".join(candidate["encapsulations"])
    details = [f"via {candidate['next_hop']}", f"label {candidate['label']}", ways]
    if candidate["as_path"]:
        details.append(f"AS path {candidate['as_path']}")
    details.append(f"preference {candidate['local_preference']}")
    if candidate["stale"]:
        details.append("stale")
    said = ", ".join(filter(None, details))
    yield f"  {mark} {short_name(candidate['peer'])} ({candidate['protocol']}): {said}"
    yield f"      {'chosen' if candidate['chosen'] else 'not chosen'}: {candidate['reason']}"
    origin = candidate["origin"]
    if origin["object"]:
        kind, _, name = origin["object"].partition(" ")
        revision = f", revision {origin['revision']}" if origin["revision"] else ""
        yield f"      made by {kind} {short_name(name)}{revision}"
    imported = candidate["import"]
    if imported is not None:
        source = short_instance(imported["from"])
        yield f"      imported from {source} by {imported['target']}: {imported['because']}"
    yield from _vpn_lines(candidate.get("vpn"))


def _vpn_lines(vpn: Record | None) -> Iterator[str]:
    """Say where a path went beyond its instance."""
    if vpn is None:
        return
    if "not_exported" in vpn:
        yield f"      not told to other routers: {vpn['not_exported']}"
        return
    yield f"      {vpn['table']} has it as {vpn['route']}"
    for each in vpn.get("others", ()):
        path = f", AS path {each['as_path']}" if each["as_path"] else ""
        yield (
            f"        and from {short_name(each['peer'])}: via {each['next_hop']}{path}:"
            f" {each['reason']}"
        )
    for each in vpn["imports"]:
        yield f"        imported by {short_instance(each['instance'])}, by {each['target']}"
    if vpn["not_imported"]:
        yield f"        imported by nobody: {vpn['not_imported']}"
    for each in vpn["told"]:
        if each["is_sent"]:
            yield f"        sent to {short_name(each['peer'])}"
        else:
            yield f"        not sent to {short_name(each['peer'])}: {each['reason']}"


def _unimported_lines(control: str, route: Record) -> Iterator[str]:
    yield f"{route['route']} in {route['table']} only, as {control} sees it"
    for each in route["candidates"]:
        mark = "*" if each["chosen"] else " "
        path = f", AS path {each['as_path']}" if each["as_path"] else ""
        yield f"  {mark} {short_name(each['peer'])}: via {each['next_hop']}{path}: {each['reason']}"
    yield from _vpn_lines(route)
