"""Bytes of a request to what the caller means, typed by the registry.

One decoder per kind is built on first use. Whatever the bytes, only `InputError` is raised; it
names the JSON path, and for a misspelt field or value the nearest legal one.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from filament.base.errors import InputError
from filament.base.limits import MAX_JSON_DEPTH
from filament.model.kind import Kind, nearest
from filament.model.types_common import Part

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
# Brackets as steps up (1) and down (-1), and all that is no bracket.
_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{[}]"))
_STEPS_AT_ONCE = 4096
_LONG_BODY_BYTES = 65_536
_SPACED_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
_POSITION = re.compile(r" ?\(byte (\d+)\)")
_AT = re.compile(r" - at `(?:key in )?(\$[^`]*)`$")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`$")
_BAD_ENUM = re.compile(r"Invalid enum value '?(.*?)'?$")

# What a caller may echo back from a GET and we do not read.
_ECHOED = ("name", "href", "parent_href")


class RefBody(msgspec.Struct, frozen=True):
    """A reference as a caller writes it: by `to` (fq_name), `uuid`, or both; nulls dropped."""

    kind: str
    to: tuple[str, ...] | None = None
    uuid: str | None = None
    attr: dict[str, Any] | None = None


class Body(msgspec.Struct, frozen=True):
    """An object as a caller writes it; absent parts are not meant to change.

    `props` holds None where the caller wrote null (remove). `refs` maps a kind to the complete
    new list of references to it.
    """

    fq_name: tuple[str, ...] | None = None
    uuid: str | None = None
    parent_kind: str | None = None
    parent_uuid: str | None = None
    props: dict[str, Any] = {}
    refs: dict[str, list[RefBody]] = {}


class _NoAttribute(Part):
    """The attribute of a reference that has none."""


class _Codec:
    """The types and decoders of one kind."""

    def __init__(self, kind: Kind) -> None:
        given: dict[str, Any] = dict.fromkeys(
            (*_ECHOED, *kind.children, *kind.back_references), Any
        )
        given |= {"fq_name": _maybe(list[str]), "uuid": _maybe(str)}
        given |= {"parent_type": _maybe(str), "parent_uuid": _maybe(str)}
        given |= {name: _maybe(value) for name, value in kind.properties.items()}
        for field, target in kind.reference_fields.items():
            named = f"{kind.field}_{field}"
            given[field] = _maybe(list[_reference_type(named, kind.references[target])])  # type: ignore[misc]
        self.body = msgspec.defstruct(
            kind.field,
            [(name, value, UNSET) for name, value in given.items()],
            forbid_unknown_fields=True,
        )
        self.envelope = msgspec.defstruct(
            f"{kind.field}_envelope",
            [(kind.field, self.body)],
            rename={kind.field: kind.name},
            forbid_unknown_fields=True,
        )
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.envelope)


_codecs: dict[str, _Codec] = {}


def _codec(kind: Kind) -> _Codec:
    codec = _codecs.get(kind.name)
    if codec is None:
        codec = _codecs[kind.name] = _Codec(kind)
    return codec


def _maybe(expected: Any) -> Any:
    return expected | UnsetType | None


def _reference_type(field: str, attribute: Any) -> Any:
    return msgspec.defstruct(
        field,
        [
            ("to", _maybe(list[str]), UNSET),
            ("uuid", _maybe(str), UNSET),
            ("href", _maybe(str), UNSET),
            ("attr", _maybe(attribute or _NoAttribute), UNSET),
        ],
        forbid_unknown_fields=True,
    )


def decode_body(kind: Kind, raw: bytes) -> Body:
    """Decode `{"<kind>": {...}}`; an absent or empty envelope (`{}`) is an empty body."""
    if not raw.strip() or raw.strip() == b"{}":
        return Body()
    codec = _codec(kind)
    given = getattr(decode(codec.decoder, raw), kind.field)
    return _meaning(kind, given, has_nulls=b"null" in raw, is_long=len(raw) > _LONG_BODY_BYTES)


def body_type(kind: Kind) -> Any:
    """The type of an object as a caller writes it, for schemas."""
    return _codec(kind).body


def convert_body(kind: Kind, value: dict[str, Any]) -> Body:
    """Like `decode_body`, from builtins without the envelope."""
    codec = _codec(kind)
    try:
        return _meaning(kind, msgspec.convert(value, codec.body))
    except msgspec.ValidationError as error:
        raise _explained(str(error), codec.body) from error


def convert_attribute(kind: Kind, target: str, value: object) -> dict[str, Any] | None:
    """Check the attribute of a reference to `target` and drop its nulls."""
    expected = kind.references[target] or _NoAttribute
    try:
        return _plain(msgspec.convert(value, expected | None)) or None
    except msgspec.ValidationError as error:
        raise _explained(str(error), expected) from error


def decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """Decode JSON; InputError says where it is malformed, too deep, or of the wrong type."""
    _require_shallow(raw)
    try:
        value = decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _explained(str(error), decoder.type) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(str(error), raw) from error
    if not _are_plainly_single(raw, value):
        # Of an object that has a key twice: readers disagree which of the two counts.
        _single_keys.decode(raw.decode())
    return value


def _are_plainly_single(raw: bytes, value: Any) -> bool:
    """Whether no key is given twice, as far as can be told by counting those that were given and
    those that were read, which takes a tenth of the time. Where nothing is escaped a quote before a
    colon ends a key, and only a key.
    """
    if b"\\" in raw or any(spaced in raw for spaced in _SPACED_COLONS):
        return False
    return raw.count(b'":') == msgspec.json.encode(value).count(b'":')


def _require_no_double(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InputError(
                    "duplicate-key", f"the key {key!r} is given twice", hint="give it once"
                )
            seen.add(key)


def _ignored(text: str) -> None:
    del text


_single_keys = json.JSONDecoder(
    object_pairs_hook=_require_no_double,
    parse_int=_ignored,
    parse_float=_ignored,
    parse_constant=_ignored,
)


def _meaning(kind: Kind, given: Any, *, has_nulls: bool = True, is_long: bool = False) -> Body:
    # What is unset is left out: few of the many fields are not. By way of JSON it takes a third of
    # the time where there is much.
    said = (
        msgspec.json.decode(msgspec.json.encode(given)) if is_long else msgspec.to_builtins(given)
    )
    references = kind.reference_fields
    props, refs = {}, {}
    for name, value in said.items():
        if name in references:
            listed = getattr(given, name)
            target = references[name]
            refs[target] = [_reference(kind, name, target, one) for one in listed or ()]
        elif name in kind.properties:
            props[name] = _without_nulls(value) if has_nulls else value
    return Body(
        fq_name=tuple(given.fq_name) if given.fq_name else None,
        uuid=_checked_uuid(kind, given.uuid or None),
        parent_kind=given.parent_type or None,
        parent_uuid=given.parent_uuid or None,
        props=props,
        refs=refs,
    )


def _checked_uuid(kind: Kind, uuid: str | None) -> str | None:
    if uuid is not None and not _UUID.fullmatch(uuid):
        raise InputError(
            "bad-uuid",
            f"Invalid uuid format '{uuid}'",
            path=f"$.{kind.name}.uuid",
            hint="write 32 lower-case hexadecimal digits as 8-4-4-4-12",
        )
    return uuid


def _reference(kind: Kind, field: str, target: str, given: Any) -> RefBody:
    to = tuple(given.to) if given.to else None
    uuid = given.uuid or None
    if to is None and uuid is None:
        raise InputError(
            "empty-reference",
            f"a reference in {field} names no object",
            path=f"$.{kind.name}.{field}",
            hint='give "to" (the fq_name as a list) or "uuid"',
        )
    attr = _plain(given.attr) if given.attr is not UNSET else None
    return RefBody(target, to, uuid, attr if kind.references[target] is not None else None)


def _plain(value: Any) -> Any:
    """Builtins without nulls."""
    if value is None or isinstance(value, str | int | bool):
        return value
    return _without_nulls(msgspec.to_builtins(value))


_LEAVES = (str, int, float)  # most of what there is: no call for each of them


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: one if isinstance(one, _LEAVES) else _without_nulls(one)
            for key, one in value.items()
            if one is not None
        }
    if isinstance(value, list):
        return [one if isinstance(one, _LEAVES) else _without_nulls(one) for one in value]
    return value


def _require_shallow(raw: bytes) -> None:
    if raw.count(b"{") + raw.count(b"[") <= MAX_JSON_DEPTH:
        return
    # Where nothing is escaped, each second quote ends a string.
    outside = _STRING.sub(b"", raw) if b"\\" in raw else b"".join(raw.split(b'"')[::2])
    brackets = left = outside.translate(None, _NO_BRACKETS)
    for _ in range(MAX_JSON_DEPTH // 2):  # take away what has nothing in it: a level or two
        before, left = left, left.replace(b"{}", b"").replace(b"[]", b"")
        if not left:
            return
        if len(left) == len(before):
            break  # something is not closed
    # Only now by counting, which takes longer than all else.
    steps = brackets.translate(_STEPS)
    depth = 0
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        part = memoryview(steps[start : start + _STEPS_AT_ONCE]).cast("b")
        *depths, depth = accumulate(part, initial=depth)
        if max(*depths, depth) > MAX_JSON_DEPTH:
            raise InputError(
                "too-deep",
                f"the JSON is nested more than {MAX_JSON_DEPTH} levels deep",
                hint="no object of ours is; check for a body wrapped in itself",
            )


def _malformed(text: str, raw: bytes) -> InputError:
    found = _POSITION.search(text)
    position = int(found[1]) if found else len(raw)
    line = raw.count(b"\n", 0, position) + 1
    column = position - (raw.rfind(b"\n", 0, position) + 1) + 1
    reason = _POSITION.sub("", text).removeprefix("JSON is malformed: ")
    if "truncated" in text:
        reason = "it ends too early"
    near = raw[max(0, position - 15) : position + 5].decode(errors="replace")
    return InputError(
        "malformed-json",
        f"the body is not JSON: {reason} at line {line} column {column} (byte {position}),"
        f" near {near!r}",
    )


def _explained(text: str, expected: Any) -> InputError:
    found = _AT.search(text)
    path = found[1] if found else "$"
    message = _AT.sub("", text).replace(" | null`", "`")
    if unknown := _UNKNOWN_FIELD.match(message):
        known = _fields_at(expected, path)
        hint = nearest(unknown[1], known) or (f"fields here: {', '.join(known[:12])}")
        return InputError("unknown-field", f"unknown field '{unknown[1]}'", path=path, hint=hint)
    if bad := _BAD_ENUM.match(message):
        legal = ", ".join(map(str, _values_at(expected, path)))
        return InputError(
            "bad-value", f"'{bad[1]}' is not allowed", path=path, hint=f"one of {legal}"
        )
    return InputError("wrong-type", message[0].lower() + message[1:], path=path)


def _types_at(expected: Any, path: str) -> list[Any]:
    """The types (as `msgspec.inspect` gives them) that may stand at a JSON path."""
    here = _alternatives(msgspec.inspect.type_info(expected))
    for step in re.findall(r"\.([^.\[]+)|(\[)", path):
        below: list[Any] = []
        for one in here:
            if step[1] and isinstance(one, msgspec.inspect.ListType):
                below += _alternatives(one.item_type)
            elif step[0] and isinstance(one, msgspec.inspect.StructType):
                for field in one.fields:
                    if field.encode_name == step[0]:
                        below += _alternatives(field.type)
        here = below
    return here


def _alternatives(one: Any) -> list[Any]:
    return list(one.types) if isinstance(one, msgspec.inspect.UnionType) else [one]


def _fields_at(expected: Any, path: str) -> list[str]:
    structs = [one for one in _types_at(expected, path) if hasattr(one, "fields")]
    return [field.encode_name for one in structs for field in one.fields]


def _values_at(expected: Any, path: str) -> list[Any]:
    return [value for one in _types_at(expected, path) for value in getattr(one, "values", ())]
