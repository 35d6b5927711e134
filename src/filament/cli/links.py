"""An object's links to others, as the API writes them: references, referrers, children, parent.

Which word stands before `_refs` and `s` is read from the object itself, so that every kind is
understood without knowing any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from filament.cli.names import Found, kinds
from filament.cli.session import Session

Record = dict[str, Any]


class Links(NamedTuple):
    """Whom an object is linked to, each in the order of the API's answer.

    `is_derived`: the plan made the object from others.
    """

    found: Found
    references: tuple[Found, ...]
    referrers: tuple[Found, ...]
    children: tuple[Found, ...]
    parent: Found | None
    is_derived: bool


def links_of(session: Session, found: Found) -> Links:
    """Read an object's links from the API. Raises NotFoundError when it is gone."""
    value = session.get(f"/{found.kind}/{found.uuid}", exclude_hrefs="1")[found.kind]
    return _links(found, value, frozenset(kinds(session)))


def links_of_all(
    session: Session,
    kind: str,
    found: Sequence[Found],
    *,
    children: bool = False,
    referrers: bool = False,
) -> dict[str, Links]:
    """Read the links of several objects of a kind in one request: uuid -> its links.

    Children and referrers, which may be many, are empty unless wanted; who is gone is not there.
    """
    known = kinds(session)
    fields: list[str] = []
    if children:
        fields += [f"{_field(each)}s" for each in known if kind in known[each]["parents"]]
    if referrers:
        fields += [
            f"{_field(each)}_back_refs"
            for each in known
            if kind in known[each]["references"] and each != kind
        ]
    body = {
        "type": kind,
        "obj_uuids": [each.uuid for each in found],
        "detail": "true",
        "exclude_hrefs": "1",
        **({"fields": fields} if fields else {}),
    }
    answer = session.change("POST", "/list-bulk-collection", body).value[f"{kind}s"]
    values = {item[kind]["uuid"]: item[kind] for item in answer}
    names = frozenset(known)
    return {
        each.uuid: _links(each, values[each.uuid], names) for each in found if each.uuid in values
    }


def _links(found: Found, value: Record, known: frozenset[str]) -> Links:
    return Links(
        found._replace(display_name=value.get("display_name") or ""),
        tuple(_linked(value, "_refs", known)),
        tuple(_linked(value, "_back_refs", known)),
        tuple(_linked(value, "s", known)),
        _parent(value),
        # The API notes of every object that somebody wrote when that was.
        is_derived=not value.get("id_perms"),
    )


def _field(kind: str) -> str:
    return kind.replace("-", "_")


def _linked(value: Record, suffix: str, known: frozenset[str]) -> Iterator[Found]:
    for field, items in value.items():
        if not field.endswith(suffix) or not isinstance(items, list):
            continue
        # `x_back_refs` ends with `_refs` too, but no kind is called x-back.
        kind = field.removesuffix(suffix).replace("_", "-")
        if kind in known:
            yield from (
                Found(kind, item["uuid"], tuple(item["to"]))
                for item in items
                if isinstance(item, dict) and "to" in item and "uuid" in item
            )


def _parent(value: Record) -> Found | None:
    kind, uuid = value.get("parent_type"), value.get("parent_uuid")
    if not kind or not uuid or kind == "config-root":
        return None
    return Found(kind, uuid, tuple(value["fq_name"][:-1]))
