"""Introspect for people: an index, forms for requests, and answers as tables, in plain HTML.

Answers are made from the same messages as the XML (see there for pauses); columns and members that
are empty everywhere are left out, and what links to another request is a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from filament.wire.sandesh.schema import Field, Module, Request, Schema
from filament.wire.sandesh.xml import Message, Values, escape, scalar_text

MEDIA_TYPE = "text/html"
_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;color-scheme:light dark}"
    "nav{margin-bottom:1em}h1{font-size:1.3em}h2{font-size:1.1em;margin:1em 0 .3em}"
    "table{border-collapse:collapse}td,th{border:1px solid #8886;padding:.15em .5em;"
    "text-align:left;vertical-align:top}th{background:#8882}form{margin:.6em 0 1.2em}"
    "label{display:inline-block;margin-right:1em}"
)
# For XML that is opened by itself: every element as a labelled box, links as links.
STYLESHEET_TEXT = """\
<?xml version="1.0"?>
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="html"/>
<xsl:template match="/">
<html><body><xsl:apply-templates select="*"/></body></html>
</xsl:template>
<xsl:template match="*">
<div style="margin-left:1em"><b><xsl:value-of select="name()"/></b>
<xsl:text> </xsl:text><xsl:apply-templates select="node()"/></div>
</xsl:template>
<xsl:template match="*[@link and text()]">
<div style="margin-left:1em"><b><xsl:value-of select="name()"/></b><xsl:text> </xsl:text>
<a href="Snh_{@link}?x={.}"><xsl:value-of select="."/></a></div>
</xsl:template>
</xsl:stylesheet>
"""


def index_page(schema: Schema, title: str) -> str:
    """List modules and their requests."""
    parts = [
        f'<h2><a href="{module.name}.xml">{module.name}</a></h2><p>{escape(module.text)}</p><ul>'
        + "".join(
            f"<li>{_request_link(schema.requests[name])}: {escape(schema.requests[name].text)}</li>"
            for name in module.requests
        )
        + "</ul>"
        for module in schema.modules.values()
    ]
    return _head(title) + "".join(parts) + _TAIL


def module_page(schema: Schema, module: Module, title: str) -> str:
    """Show a form for each request of a module."""
    parts = [f"<p>{escape(module.text)}</p>"]
    for name in module.requests:
        request = schema.requests[name]
        inputs = "".join(
            f"<label>{field.name} <input name={field.name!r}"
            f' placeholder="{_placeholder(field)}"></label>'
            for field in request.parameters
        )
        parts.append(
            f"<h2>{name}</h2>{escape(request.text)}"
            f'<form action="Snh_{name}">{inputs}<button>Send</button></form>'
        )
    return _head(f"{title}: {module.name}") + "".join(parts) + _TAIL


def answer_page(
    schema: Schema,
    request: Request,
    query: str,
    messages: Iterable[Message | None],
    title: str,
) -> Iterator[str]:
    """Show an answer; `query` is the query string it was asked with."""
    module = next(one for one in schema.modules.values() if request.name in one.requests)
    as_xml = f"xml/Snh_{request.name}{'?' if query else ''}{escape(query)}"
    yield _head(
        f"{title}: {request.name}",
        f' &middot; <a href="{module.name}.xml">{module.name}</a>'
        f' &middot; <a href="{as_xml}">as XML</a>',
    )
    writer = _Writer(schema)
    count = 0
    for message in messages:
        if message is None:
            yield ""
            continue
        count += 1
        yield f"<h2>{message.name}</h2>"
        out: list[str] = []
        for _ in writer.members(out, message.name, message.values):
            yield ""
        yield "".join(out) or "<p>nothing</p>"
    yield ("" if count else "<p>nothing</p>") + _TAIL


def error_page(title: str, text: str) -> str:
    """Show an error."""
    return f"{_head(title)}<p>{escape(text)}</p>{_TAIL}"


def _head(title: str, more_links: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><style>{_STYLE}</style></head><body><nav><a href="/">index</a>{more_links}'
        f"</nav><h1>{escape(title)}</h1>"
    )


_TAIL = "</body></html>\n"


def _request_link(request: Request) -> str:
    return f'<a href="Snh_{request.name}">{request.name}</a>'


def _placeholder(field: Field) -> str:
    return {"string": "", "bool": "1 or 0"}.get(field.type, "number")


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def members(self, out: list[str], name: str, values: Values) -> Iterator[None]:
        """Write a struct's members as rows of name and value; nothing when all are empty."""
        rows = []
        for field in self._schema.structs[name].fields:
            cell: list[str] = []
            yield from self._cell(cell, field, values.get(field.name))
            if text := "".join(cell):
                rows.append(f"<tr><th>{field.name}</th><td>{text}</td></tr>")
        if rows:
            out.append(f"<table>{''.join(rows)}</table>")

    def _cell(self, out: list[str], field: Field, value: Any) -> Iterator[None]:
        if value is None:
            return
        if field.type == "struct":
            yield from self.members(out, field.item, value)
        elif field.type == "list" and field.item in self._schema.structs:
            yield from self._table(out, field.item, value)
        elif field.type == "list":
            out.append("<br>".join(escape(scalar_text(field.item, one)) for one in value))
        else:
            out.append(self._link(field, scalar_text(field.type, value)))

    def _link(self, field: Field, text: str) -> str:
        if not field.link or not text:
            return escape(text)
        shown = "next" if field.name == "next_batch" else escape(text)
        return f'<a href="Snh_{field.link}?x={quote(text, safe="")}">{shown}</a>'

    def _table(self, out: list[str], item: str, values: Iterable[Any]) -> Iterator[None]:
        """Write a list of structs as a table; one with a single row stands upright."""
        fields = self._schema.structs[item].fields
        rows: list[dict[str, str]] = []
        for value in values:
            if value is not None:
                row: dict[str, str] = {}
                for field in fields:
                    cell: list[str] = []
                    yield from self._cell(cell, field, value.get(field.name))
                    row[field.name] = "".join(cell)
                rows.append(row)
            yield
        names = [one.name for one in fields if any(row[one.name] for row in rows)]
        if names:
            out.append(_upright(names, rows[0]) if len(rows) == 1 else _flat(names, rows))


def _flat(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in names)
    lines = "".join(
        "<tr>" + "".join(f"<td>{row[name]}</td>" for name in names) + "</tr>" for row in rows
    )
    return f"<table><tr>{heads}</tr>{lines}</table>"


def _upright(names: Sequence[str], row: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><th>{name}</th><td>{row[name]}</td></tr>" for name in names)
    return f"<table>{lines}</table>"
