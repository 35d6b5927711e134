"""Sandesh messages as XML, written piece by piece so that nobody waits for a long one.

Values of a message are dicts by field name; what a required field lacks is written as TF's zero of
its type. A list may be a generator: it is asked for one item at a time, and a None among its items
is a pause, not an item. Writers yield whenever the caller may do something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from filament.wire.sandesh.schema import Field, Schema

MEDIA_TYPE = "text/xml"
STYLESHEET = "universal_parse.xsl"
# TF's replies begin like this, and with no encoding: readers that decode the text themselves refuse
# a declaration of one.
HEAD = f'<?xml-stylesheet type="text/xsl" href="/{STYLESHEET}"?>'
# What XML 1.0 (section 2.2) has no way to say at all.
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKUP = re.compile("[&<>'\"]")
_PLAIN = re.compile("[\t\n\r !#-%(-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}

Values = Mapping[str, Any]


class Message(NamedTuple):
    """One response: the name of its declaration, and its values."""

    name: str
    values: Values


def escape(text: str) -> str:
    """Write text as XML content; what XML cannot say becomes U+FFFD."""
    if _PLAIN.fullmatch(text) is not None:
        return text
    text = _UNSAYABLE.sub("\ufffd", text)
    return _MARKUP.sub(lambda found: _ENTITIES[found[0]], text)


def scalar_text(kind: str, value: object) -> str:
    """Return a scalar as Sandesh writes it, unescaped."""
    if kind == "bool":
        return "true" if value else "false"
    if kind == "string":
        return str(value) if value is not None else ""
    return str(value or 0)


class _Written(NamedTuple):
    """A field as it is written: its tags, and all of it when there is no value."""

    field: Field
    opening: str
    closing: str
    absent: str


class XmlWriter:
    """Writes messages of one schema; remembers how each struct's fields are written."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._written: dict[str, list[_Written]] = {}

    def message(self, message: Message, *, more: bool = False) -> Iterator[str]:
        """Write one response; `more` says that another follows it."""
        out: list[str] = []
        yield f'<{message.name} type="sandesh">'
        for _ in self._fields(out, message.name, message.values):
            yield "".join(out)
            out.clear()
        out.append(f'<more type="bool" identifier="0">{scalar_text("bool", more)}</more>')
        out.append(f"</{message.name}>")
        yield "".join(out)

    def _fields(self, out: list[str], struct: str, values: Values) -> Iterator[None]:
        used = 0
        for field, opening, closing, absent in self._written.get(struct) or self._learn(struct):
            value = values.get(field.name)
            if value is None:
                used += field.name in values
                out.append(absent)
                continue
            used += 1
            out.append(opening)
            if field.type == "list":
                yield from self._list(out, field.item, value)
            elif field.type == "struct":
                yield from self._struct(out, field.item, value)
            else:
                text = scalar_text(field.type, value)
                out.append(escape(text) if field.type == "string" else text)
            out.append(closing)
        assert used == len(values), (
            f"{struct} has no "
            f"{sorted(values.keys() - {one.name for one in self._schema.structs[struct].fields})}"
        )

    def _learn(self, struct: str) -> list[_Written]:
        """Work out how the fields of a struct are written."""
        learnt = []
        for field in self._schema.structs[struct].fields:
            link = f' link="{field.link}"' if field.link else ""
            opening = f'<{field.name} type="{field.type}" identifier="{field.number}"{link}>'
            closing = f"</{field.name}>"
            if field.is_optional:
                absent = ""
            else:
                out: list[str] = []
                if field.type == "list":
                    list(self._list(out, field.item, ()))
                elif field.type == "struct":
                    list(self._struct(out, field.item, {}))
                else:
                    out.append(scalar_text(field.type, None))
                absent = f"{opening}{''.join(out)}{closing}"
            learnt.append(_Written(field, opening, closing, absent))
        self._written[struct] = learnt
        return learnt

    def _struct(self, out: list[str], name: str, values: Values) -> Iterator[None]:
        out.append(f"<{name}>")
        yield from self._fields(out, name, values)
        out.append(f"</{name}>")

    def _list(self, out: list[str], item: str, values: Iterable[Any]) -> Iterator[None]:
        """Write a list. Its size stands before its items, so these are written aside first."""
        is_struct = item in self._schema.structs
        inside: list[str] = []
        size = 0
        for value in values:
            if value is None:
                yield
                continue
            size += 1
            if is_struct:
                # The pauses inside are ours: what is written aside must not be taken yet.
                for _ in self._struct(inside, item, value):
                    yield
                yield
            else:
                inside.append(f"<element>{escape(scalar_text(item, value))}</element>")
        out.append(f'<list type="{"struct" if is_struct else item}" size="{size}">')
        out += inside
        out.append("</list>")


def write(
    schema: Schema, messages: Iterable[Message | None], *, is_list: bool = False
) -> Iterator[str]:
    """Write an answer; several messages, or one of an `is_list` answer, stand in a slist.

    None among the messages is a pause. An answer of no messages is an empty slist.
    """
    writer = XmlWriter(schema)
    yield HEAD
    wrapper = ""
    last: Message | None = None
    for message in messages:
        if message is None:
            yield ""
            continue
        if last is not None or is_list:
            if not wrapper:
                wrapper = f"__{(last or message).name}_list"
                yield f'<{wrapper} type="slist">'
            if last is not None:
                yield from writer.message(last, more=True)
        last = message
    if last is not None:
        yield from writer.message(last)
    elif not wrapper:
        wrapper = "__list"
        yield f'<{wrapper} type="slist">'
    if wrapper:
        yield f"</{wrapper}>"
