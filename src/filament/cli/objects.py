"""`filament ls` and `filament cat`: configuration as the API has it."""

from __future__ import annotations

from typing import Any

import click

from filament.cli import names
from filament.cli.complete import complete_kinds, complete_names
from filament.cli.options import json_option, pass_session
from filament.cli.output import (
    Column,
    columns,
    format_pairs,
    format_tree,
    print_json,
    print_lines,
    print_records,
)
from filament.cli.session import Session

# What every object has and nobody asks for in a list.
_IDENTITY = frozenset(
    (
        *("uuid", "name", "fq_name", "display_name", "id_perms", "perms2", "annotations"),
        *("href", "parent_type", "parent_uuid", "parent_href"),
    )
)
_WIDEST_SUMMARY = 48


@click.command("ls")
@click.argument("kind", required=False, shell_complete=complete_kinds)
@click.option("-l", "is_long", is_flag=True, help="Show properties and references too.")
@json_option
@pass_session
def ls(session: Session, kind: str | None, is_long: bool, as_json: bool) -> None:
    """List kinds, or the objects of a kind."""
    if kind is None:
        answer = session.get("/filament/counts")
        counts = [{"kind": each, "count": answer[each]} for each in sorted(answer)]
        print_records(
            counts if as_json or is_long else [record for record in counts if record["count"]],
            columns("kind", "count"),
            as_json=as_json,
            nothing="the API holds no objects",
        )
        return
    kind = names.require_kind(session, kind)
    if is_long:
        objects = details_of(session, kind)
        records = [_with_name(kind, each) if as_json else summary(each) for each in objects]
        print_records(
            records, _columns_of(session, kind, records), as_json=as_json, nothing=f"no {kind}"
        )
        return
    found = [
        {"kind": kind, "name": each.name, "uuid": each.uuid, "display_name": each.display_name}
        for each in names.objects_of(session, kind)
    ]
    print_records(found, columns("name", "uuid"), as_json=as_json, nothing=f"no {kind}")


@click.command("cat")
@click.argument(
    "words", metavar="[KIND] NAME|UUID...", nargs=-1, required=True, shell_complete=complete_names
)
@json_option
@pass_session
def cat(session: Session, words: tuple[str, ...], as_json: bool) -> None:
    """Print whole objects, with their children and who refers to them."""
    objects = [
        session.get(f"/{found.kind}/{found.uuid}", exclude_hrefs="1")[found.kind]
        | {"kind": found.kind}
        for found in names.find_all(session, words)
    ]
    if as_json:
        print_json(objects[0] if len(objects) == 1 else objects)
        return
    for index, value in enumerate(objects):
        if index:
            print_lines([""])
        print_lines(format_object(value))


def details_of(session: Session, kind: str) -> list[dict[str, Any]]:
    """Fetch every object of a kind with properties and references."""
    listed = session.get(f"/{kind}s", detail="true", exclude_hrefs="1")[f"{kind}s"]
    return [item[kind] for item in listed]


def _with_name(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """An object with what a short listing says of it, in the same words."""
    name = ":".join(value["fq_name"])
    return {"kind": kind, "display_name": None, **value, "name": name}


def summary(value: dict[str, Any]) -> dict[str, Any]:
    """Flatten an object to one table row: its name, then each property's leaves in one cell."""
    row: dict[str, Any] = {"name": ":".join(value["fq_name"])}
    for field, content in value.items():
        if field in _IDENTITY or content is None:
            continue
        if field.endswith("_refs"):
            row[field.removesuffix("_refs")] = [_ref_summary(ref) for ref in content]
        elif isinstance(content, str | int | float | bool):
            row[field] = content
        else:
            text = ", ".join(rules(content) or leaves(content))
            row[field] = text if len(text) <= _WIDEST_SUMMARY else text[:_WIDEST_SUMMARY] + "…"
    return row


def _ref_summary(ref: dict[str, Any]) -> str:
    """Name what is referred to; of an IPAM, the subnets a network has in it say more."""
    subnets = (ref.get("attr") or {}).get("ipam_subnets") or []
    prefixes = [
        f"{each['subnet']['ip_prefix']}/{each['subnet']['ip_prefix_len']}"
        for each in subnets
        if each.get("subnet")
    ]
    return " ".join(prefixes) or str(ref["to"][-1])


def rules(value: object) -> list[str]:
    """Say the rules of a policy, one text each; nothing when the value holds none."""
    listed = value.get("policy_rule") if isinstance(value, dict) else None
    return [
        " ".join(
            (
                str((rule.get("action_list") or {}).get("simple_action") or "?"),
                str(rule.get("protocol") or "any"),
                _rule_side(rule.get("src_addresses")),
                str(rule.get("direction") or ">"),
                _rule_side(rule.get("dst_addresses")),
            )
        )
        for rule in listed or ()
    ]


def _rule_side(addresses: list[dict[str, Any]] | None) -> str:
    """Name the networks or subnets on one side of a rule."""
    names = [
        leaf.rpartition(":")[2]
        for address in addresses or ()
        for leaf in ["/".join(leaves(address.get("subnet"))) or address.get("virtual_network")]
        if leaf
    ]
    return "+".join(names) or "any"


def leaves(value: object) -> list[str]:
    """Return the scalars in a JSON value, in order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [str(value)]


def _columns_of(session: Session, kind: str, records: list[dict[str, Any]]) -> list[Column]:
    """Choose columns: those the kinds registry names, else every field that any record has."""
    fields = [column.removesuffix("_refs") for column in names.kinds(session)[kind]["columns"]]
    if not fields:
        fields = [*dict.fromkeys(field for record in records for field in record)]
    prefix = f"{kind.replace('-', '_')}_"
    shown = dict.fromkeys(["name", *fields])
    return [Column(field, field.removeprefix(prefix).replace("_", " ").upper()) for field in shown]


def format_object(value: dict[str, Any]) -> list[str]:
    """Lay a whole object out as indented lines, identity first."""
    parent = f"{value.get('parent_type')} " + ":".join(value["fq_name"][:-1])
    identity = [
        ("uuid", value["uuid"]),
        ("parent", parent if value.get("parent_type") else None),
        ("display_name", value.get("display_name")),
    ]
    lines = [f"{value['kind']} {':'.join(value['fq_name'])}"]
    lines += [f"  {line}" for line in format_pairs(pair for pair in identity if pair[1])]
    shown = {
        field: _named_refs(content)
        for field, content in value.items()
        if field not in _IDENTITY and field != "kind" and content not in (None, [], {})
    }
    return lines + format_tree(shown, "  ")


def _named_refs(content: object) -> object:
    """Write links to other objects as one name each, followed by the attribute if any."""
    if not isinstance(content, list) or not all(
        isinstance(item, dict) and "to" in item for item in content
    ):
        return content
    return [
        {":".join(item["to"]): item["attr"]} if item.get("attr") else ":".join(item["to"])
        for item in content
    ]
