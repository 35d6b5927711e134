"""The API as an OpenAPI 3.1 document, made from the catalogue and the kinds registry."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from filament.api.catalog import (
    CATALOG,
    LIST_QUERIES,
    READ_QUERIES,
    WRITE_QUERIES,
    Entry,
    Query,
)
from filament.model.body import body_type
from filament.model.kind import Kind
from filament.model.kinds import KINDS

VERSION = "3.1.0"
ERRORS = {
    400: "The request cannot be: the text says where and what would be right.",
    401: "No valid credentials.",
    403: "The caller may not, or nobody may: read-only objects and allocated properties.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "It collides with what exists: a name taken, an object still referred to.",
    412: "A quota is used up, or what is changed has changed after the given revision.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    503: "Not now: try again.",
}
_ON_BODY = (408, 413, 415)
_ON_WRITE = (412, 503)
_PATH_PARAMETER = re.compile(r"{(\w+)}")
_TEMPLATE = "#/components/schemas/{name}"


def document(base: str) -> dict[str, Any]:
    """The document for a client that reached us at `base`."""
    return _document() | {"servers": [{"url": base}]}


@functools.cache
def _document() -> dict[str, Any]:
    kinds = list(KINDS.values())
    shapes = [shape for entry in CATALOG for shape in (entry.body, entry.answer) if shape]
    bodies = [body_type(kind) for kind in kinds]
    schemas, components = msgspec.json.schema_components([*bodies, *shapes], ref_template=_TEMPLATE)
    by_shape = dict(zip(map(_key, [*bodies, *shapes]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for entry in CATALOG:
        operation = _operation(entry, by_shape)
        paths.setdefault(entry.path, {})[entry.method.lower()] = operation
    for kind in kinds:
        paths |= _kind_paths(kind, by_shape[_key(body_type(kind))])
    return {
        "openapi": VERSION,
        "info": {
            "title": "Filament configuration API",
            "version": "1",
            "description": "Tungsten Fabric's VNC API, with revisions, transactions and dry runs.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _key(shape: Any) -> Any:
    return shape if isinstance(shape, type) else repr(shape)


def _operation(entry: Entry, by_shape: dict[Any, Any]) -> dict[str, Any]:
    if entry.is_stream:
        media = "application/json" if entry.path.endswith("snapshot") else "text/event-stream"
        content: dict[str, Any] = {media: {}}
    elif entry.answer is not None:
        content = {"application/json": {"schema": by_shape[_key(entry.answer)]}}
    else:
        content = {"application/json": {}, "text/plain": {}}
    operation = {
        "operationId": entry.handler if entry.path != "/config-root" else "root",
        "summary": entry.text,
        "tags": ["actions"],
        "parameters": [
            *_in_path(entry.path),
            *_parameters(entry.query),
            *(_parameters(WRITE_QUERIES) if entry.is_write else ()),
        ],
        "responses": _responses(content, entry.errors, entry.body is not None, entry.is_write),
    }
    if entry.body is not None:
        operation["requestBody"] = _body(by_shape[_key(entry.body)])
    return operation


def _kind_paths(kind: Kind, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    one, many = f"/{kind.name}/{{uuid}}", f"/{kind.collection}"
    envelope = {
        "type": "object",
        "properties": {kind.name: schema},
        "required": [kind.name],
        "additionalProperties": False,
    }
    listed = {
        "type": "object",
        "properties": {
            kind.collection: {
                "anyOf": [
                    {"type": "array", "items": {"type": "object"}},
                    {"type": "object", "properties": {"count": {"type": "integer"}}},
                ]
            },
            "marker": {"type": ["string", "null"]},
        },
        "required": [kind.collection],
    }

    def operation(verb: str, text: str, answer: Any, **more: Any) -> dict[str, Any]:
        is_write, has_body = more.get("is_write", False), more.get("has_body", False)
        made = {
            "operationId": f"{verb}-{kind.name}",
            "summary": text,
            "tags": [kind.name],
            "parameters": [
                *_in_path(one if verb not in {"list", "create"} else many),
                *_parameters(more.get("query", ())),
            ],
            "responses": _responses(answer, more.get("errors", ()), has_body, is_write),
        }
        if has_body:
            made["requestBody"] = _body(envelope)
        return made

    whole = _json(envelope)
    answer = _dry_or(whole)
    write = {"is_write": True, "query": WRITE_QUERIES}
    return {
        many: {
            "get": operation("list", f"List {kind.name} objects.", _json(listed),
                             query=LIST_QUERIES),
            "post": operation("create", f"Create a {kind.name}.", answer, has_body=True,
                              errors=(403, 404, 409), **write),
        },
        one: {
            "get": operation("read", f"Read a {kind.name}.", whole, query=READ_QUERIES,
                             errors=(304, 404)),
            "put": operation("update", f"Change a {kind.name}.", answer, has_body=True,
                             errors=(403, 404, 409), **write),
            "delete": operation("delete", f"Delete a {kind.name}.",
                                {"text/plain": {}, "application/json": {}},
                                errors=(403, 404, 409), **write),
        },
    }  # fmt: skip


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _dry_or(content: dict[str, Any]) -> dict[str, Any]:
    """What a write answers: its answer, or what a dry run tells."""
    dry = {
        "type": "object",
        "required": ["revision_would_be", "changes", "plan"],
        "properties": {"revision_would_be": {"type": "integer"}},
    }
    return _json({"anyOf": [content["application/json"]["schema"], dry]})


def _body(schema: Any) -> dict[str, Any]:
    return {"required": True, "content": _json(schema)}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PATH_PARAMETER.findall(path)
    ]


def _parameters(queries: Iterable[Query]) -> Iterator[dict[str, Any]]:
    for query in queries:
        schema: dict[str, Any] = {"type": query.type}
        if query.values:
            schema["enum"] = list(query.values)
        yield {
            "name": query.name,
            "in": "query",
            "required": query.is_required,
            "description": query.text,
            "schema": schema,
        }


def _responses(
    content: dict[str, Any], errors: Iterable[int], has_body: bool, is_write: bool
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    if is_write:
        text = "Done, but not everybody waited for has it: X-Filament-Wait says who."
        responses["202"] = {"description": text, "content": content}
    codes = {400, *errors, *(_ON_BODY if has_body else ()), *(_ON_WRITE if is_write else ())}
    for code in sorted(codes):
        if code == 304:
            responses["304"] = {"description": "Unchanged since the ETag in If-None-Match."}
            continue
        responses[str(code)] = {
            "description": ERRORS[code],
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    return responses
