"""Object properties between JSON values and TF's property XML.

TF's look: `virtual_network_properties` becomes `<virtual-network-properties>`, a list becomes the
element repeated, a number or boolean its text. What that leaves ambiguous is said in attributes of
our own namespace (prefix `f`, declared on the stream header), which others ignore:

- `f:type` is `number`, `boolean`, `null`, `list`, `object` or `json`; without it an element with
  children is an object and one without is a string.
- `f:list="true"` marks each repetition of a list, so that a list of one stays a list. The empty
  list is one element of type `list`; a list inside a list has `<item>` children.
- `f:key` (a JSON string) names a member whose key is no dashed XML name.
- type `json` carries a JSON text: for strings XML cannot carry and for values nested deeper than
  a stanza may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from filament.base.errors import ProtocolError
from filament.wire.xmpp.stream import Element, escape, is_carriable

_PLAIN_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
_MAX_KEY_LENGTH = 128
_MAX_LEVELS = 16  # of elements for one property; deeper values go as JSON text


def encode_members(members: dict[str, object], reserved: Collection[str] = ()) -> str:
    """Return the XML of a JSON object's members; keys in `reserved` never become element names.

    Raises `ValueError` when a value is no JSON value.
    """
    return _encode_members(members, _MAX_LEVELS, reserved)


def _encode_members(members: dict[str, object], levels: int, reserved: Collection[str]) -> str:
    parts: list[str] = []
    for key, value in members.items():
        plain = len(key) <= _MAX_KEY_LENGTH and _PLAIN_KEY.match(key) and key not in reserved
        tag = key.replace("_", "-") if plain else "member"
        attributes = "" if plain else f' f:key="{escape(json.dumps(key))}"'
        if isinstance(value, list | tuple) and value and levels > 1:
            attributes += ' f:list="true"'
            parts.extend(_encode_value(tag, attributes, item, levels) for item in value)
        else:
            parts.append(_encode_value(tag, attributes, value, levels))
    return "".join(parts)


def _encode_value(tag: str, attributes: str, value: object, levels: int) -> str:
    kind = ""
    match value:
        case str() if is_carriable(value):
            content = escape(value)
        case bool():
            kind, content = "boolean", "true" if value else "false"
        case int() | float():
            kind, content = "number", json.dumps(value, allow_nan=False)
        case None:
            kind, content = "null", ""
        case dict() if levels > 1:
            kind = "" if value else "object"
            content = _encode_members(value, levels - 1, ())
        case list() | tuple() if levels > 1:
            kind = "list"
            content = "".join(_encode_value("item", "", item, levels - 1) for item in value)
        case _:
            kind, content = "json", escape(_encode_json(value))
    if kind:
        attributes += f' f:type="{kind}"'
    return f"<{tag}{attributes}>{content}</{tag}>" if content else f"<{tag}{attributes}/>"


def _encode_json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"{value!r} is not a JSON value: {error}") from None


def decode_members(children: list[Element]) -> dict[str, object]:
    """Return the JSON object whose members `encode_members` wrote (or TF did).

    Unmarked repeated elements make a list too. Raises `ProtocolError`.
    """
    members: dict[str, object] = {}
    lists: dict[str, list[object]] = {}
    for child in children:
        key = _key_of(child)
        value = decode_value(child)
        if key in lists:
            lists[key].append(value)
        elif key in members:
            members[key] = lists[key] = [members[key], value]
        elif child.ours("list") == "true":
            members[key] = lists[key] = [value]
        else:
            members[key] = value
    return members


def _key_of(element: Element) -> str:
    quoted = element.ours("key")
    if quoted is None:
        return element.name.replace("-", "_")
    key = _decode_json(quoted, "a member's key")
    if not isinstance(key, str):
        raise ProtocolError("bad-format", f"a member's key is {quoted[:64]!r}, not a JSON string")
    return key


def decode_value(element: Element) -> object:
    """Return the JSON value one element carries. Raises `ProtocolError`."""
    kind = element.ours("type")
    match kind:
        case None:
            return decode_members(element.children) if element.children else element.text
        case "object":
            return decode_members(element.children)
        case "list":
            return [decode_value(child) for child in element.children]
        case "null":
            return None
        case "boolean" if element.text in {"true", "false"}:
            return element.text == "true"
        case "number":
            number = _decode_json(element.text, f"<{element.name}>")
            if isinstance(number, int | float) and not isinstance(number, bool):
                return number
        case "json":
            return _decode_json(element.text, f"<{element.name}>")
    raise ProtocolError(
        "bad-format", f"<{element.name}> of type {kind!r} holds {element.text[:64]!r}"
    )


def _decode_json(text: str, where: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("bad-format", f"{where} is not JSON: {error}") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
