"""The API reference page, made from the catalogue and the kinds registry.

python -m filament.api.reference > docs/reference/api.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import msgspec

from filament.api.catalog import (
    CATALOG,
    LIST_QUERIES,
    READ_QUERIES,
    REFUSED,
    WRITE_QUERIES,
    Entry,
    Query,
)
from filament.api.openapi import ERRORS
from filament.model.kind import COMMON_PROPERTIES, Kind
from filament.model.kinds import KINDS

_INTRODUCTION = """\
# API reference

Made from the registry by `python -m filament.api.reference`; do not edit. The same as OpenAPI 3.1,
with every type: `GET /openapi.json`.

Bodies are JSON. Errors are plain text: what was asked, what is wrong, what would be right. Every
write answers the revision it made in `X-Filament-Revision`.
"""
_OF_KINDS = """\
| request | answers |
|---|---|
| `GET /<kind>s` | the collection |
| `POST /<kind>s` | makes one: `{"<kind>": {"fq_name": [...], ...}}` |
| `GET /<kind>/<uuid>` | one, with an `ETag`; `If-None-Match` answers 304 |
| `PUT /<kind>/<uuid>` | changes the fields that the body names; null removes |
| `DELETE /<kind>/<uuid>` | deletes one that nothing needs |
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Objects of every kind\n"
    yield _OF_KINDS
    yield "Reading takes:\n"
    yield from _queries(READ_QUERIES)
    yield "Listing takes:\n"
    yield from _queries(LIST_QUERIES)
    yield "Every write, those below included, takes:\n"
    yield from _queries(WRITE_QUERIES)
    yield (
        'The header `If-Match: "REVISION"` does what the query `revision` does; with an ETag it'
        " asks for that state of the object.\n"
    )
    yield "## Actions\n"
    for entry in CATALOG:
        yield from _entry(entry)
    yield "## Tungsten Fabric's actions that are not here\n"
    yield "| action | instead |\n|---|---|"
    for name, (path, _, instead) in REFUSED.items():
        yield f"| `{name}` (`{path}`) | {instead} |"
    yield "\n## Statuses\n"
    yield "| status | meaning |\n|---|---|"
    for code, text in ERRORS.items():
        yield f"| {code} | {text} |"
    yield "\n## Kinds\n"
    common = ", ".join(f"`{name}`" for name in COMMON_PROPERTIES)
    yield f"Every kind also has {common}.\n"
    for kind in KINDS.values():
        yield from _kind(kind)


def _entry(entry: Entry) -> Iterator[str]:
    yield f"### `{entry.method} {entry.path}`\n"
    yield entry.text + "\n"
    if entry.query:
        yield from _queries(entry.query)
    if isinstance(entry.body, type) and issubclass(entry.body, msgspec.Struct):
        yield "Body: " + _fields(entry.body) + "\n"
    if isinstance(entry.answer, type) and issubclass(entry.answer, msgspec.Struct):
        yield "Answer: " + _fields(entry.answer) + "\n"


def _fields(shape: type[msgspec.Struct]) -> str:
    fields = msgspec.structs.fields(shape)
    return ", ".join(
        f"`{field.encode_name}`" + ("" if field.required else " (optional)") for field in fields
    )


def _queries(queries: Iterable[Query]) -> Iterator[str]:
    yield "| query | meaning |\n|---|---|"
    for query in queries:
        values = " or ".join(f"`{value}`" for value in query.values)
        text = f"{query.text} ({values})" if values else query.text
        yield f"| `{query.name}`{' (required)' if query.is_required else ''} | {text} |"
    yield ""


def _kind(kind: Kind) -> Iterator[str]:
    yield f"### {kind.name}\n"
    yield (
        f"`/{kind.collection}`; parent: "
        + (" or ".join(f"`{parent}`" for parent in kind.real_parents) or "none")
        + (", or none" if kind.may_be_root and kind.real_parents else "")
        + ".\n"
    )
    if kind.rendered_from:
        yield f"Rendered from the plan, read-only: {kind.rendered_from}.\n"
    own = [name for name in sorted(kind.properties) if name not in COMMON_PROPERTIES]
    if own:
        yield "Properties: " + ", ".join(_property(kind, name) for name in own) + ".\n"
    if kind.references:
        yield "References: " + _names(kind.reference_fields) + ".\n"
    if kind.children:
        yield "Children: " + _names(kind.children) + ".\n"
    if kind.back_references:
        yield "Back references: " + _names(kind.back_references) + ".\n"


def _property(kind: Kind, name: str) -> str:
    notes = []
    if name in kind.system_properties:
        notes.append("set by the API")
    if name in kind.list_properties:
        notes.append("list")
    if name in kind.map_properties:
        notes.append("map")
    if name in kind.keyed_lists:
        notes.append(f"list by `{kind.keyed_lists[name][1]}`")
    return f"`{name}`" + (f" ({', '.join(notes)})" if notes else "")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    sys.stdout.write(page())
