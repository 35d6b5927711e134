"""Declarations of Sandesh structs, requests and responses, from a compact text.

    module bgp_peer: neighbours, instances and routes
    request BgpNeighborReq(search_string string): every neighbour in full
    response BgpNeighborListResp(1 neighbors list<BgpNeighborResp>)
    struct BgpNeighborResp(1 peer string >BgpNeighborReq, 9 send_state string?)

A field is its number (requests' parameters have none: their order counts), name and type; `?` says
that it may be left out, `>Req` that its text is what the request `Req` wants as first parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

NUMBER_TYPES = frozenset({"byte", "i16", "i32", "i64", "u16", "u32", "u64", "double"})
SCALAR_TYPES = NUMBER_TYPES | {"string", "bool"}
_STATEMENT = re.compile(
    r"^(module|request|response|struct) (\w+)(?:\(([^()]*)\))?(?:: (.+))?$", re.MULTILINE
)
_FIELD = re.compile(r"(?:(\d+) )?(\w+) (?:(list)<(\w+)>|(\w+))(\?)?(?: >(\w+))?")


class Field(NamedTuple):
    """One member; `type` is a scalar's, "list" (of `item`) or "struct" (named `item`)."""

    number: int
    name: str
    type: str
    item: str = ""
    is_optional: bool = False
    link: str = ""


class Struct(NamedTuple):
    """A struct or a response."""

    name: str
    fields: tuple[Field, ...]


class Request(NamedTuple):
    """Something to ask for; `text` says in a few words what is answered."""

    name: str
    parameters: tuple[Field, ...]
    text: str


class Module(NamedTuple):
    """Requests that belong together; TF has a page for each."""

    name: str
    text: str
    requests: tuple[str, ...]


class Schema:
    """What one daemon may be asked, and how the answers look. Immutable once made."""

    def __init__(self, *texts: str) -> None:
        self.structs: dict[str, Struct] = {}
        self.requests: dict[str, Request] = {}
        modules: dict[str, tuple[str, list[str]]] = {}
        for text in texts:
            listed: list[str] = []
            for kind, name, fields, said in _statements(text):
                if kind == "module":
                    listed = modules.setdefault(name, (said, []))[1]
                elif kind == "request":
                    self.requests[name] = Request(name, fields, said)
                    listed.append(name)
                else:
                    assert name not in self.structs, f"{name} is declared twice"
                    self.structs[name] = Struct(name, fields)
        self.modules: Mapping[str, Module] = {
            name: Module(name, said, tuple(requests)) for name, (said, requests) in modules.items()
        }
        for struct in self.structs.values():
            for field in struct.fields:
                self._check(struct.name, field)

    def _check(self, owner: str, field: Field) -> None:
        item = field.item if field.type in ("list", "struct") else field.type
        is_known = item in SCALAR_TYPES or item in self.structs
        assert is_known, f"{owner}.{field.name} is of an unknown type {item}"
        assert not field.link or field.link in self.requests, (
            f"{owner}.{field.name} links to {field.link}, which is no request"
        )


def _statements(text: str) -> list[tuple[str, str, tuple[Field, ...], str]]:
    found = []
    end = 0
    for match in _STATEMENT.finditer(text):
        assert not text[end : match.start()].strip(), f"not understood: {text[end : match.start()]}"
        end = match.end()
        kind, name, fields, said = match.groups()
        found.append((kind, name, _fields(fields or ""), (said or "").strip()))
    assert not text[end:].strip(), f"not understood: {text[end:]}"
    return found


def _fields(text: str) -> tuple[Field, ...]:
    fields = []
    for number, part in enumerate(text.split(",") if text.strip() else (), start=1):
        match = _FIELD.fullmatch(" ".join(part.split()))
        assert match is not None, f"{part!r} declares no field"
        given, name, is_list, item, kind, optional, link = match.groups()
        if is_list:
            shape = ("list", item)
        else:
            shape = (kind, "") if kind in SCALAR_TYPES else ("struct", kind)
        fields.append(Field(int(given or number), name, *shape, optional is not None, link or ""))
    return tuple(fields)
