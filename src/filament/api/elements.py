"""List and map properties, changed and read element by element (TF's prop-collection routes).

Elements of a list have positions: texts, by default their index, or what the caller who added one
gave (or a uuid). They are kept beside the property and forgotten when it is replaced as a whole.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from filament.api.access import require_object
from filament.api.engine import LIST_POSITIONS, ConfigEngine
from filament.api.request import Outcome, Update
from filament.base.errors import InputError
from filament.model.body import convert_body
from filament.model.change import Object
from filament.model.kind import Kind, nearest
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate

Element = tuple[str, Any]  # position, value


class ElementUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of one element. Lists: add, modify, delete; maps: set, delete."""

    field: str
    operation: Literal["add", "modify", "delete", "set"]
    value: Any = None
    position: str | int | None = None


class UpdateElements(msgspec.Struct, frozen=True):
    """Change elements of an object's list and map properties, in order."""

    uuid: str
    updates: list[ElementUpdate]

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        item = require_object(engine, change, self.uuid)
        kind = KINDS[item.kind]
        engine.asking.require_edit(kind, item.uuid)
        lists = {update.field: elements_of(kind, item, update.field) for update in self.updates}
        for index, update in enumerate(self.updates):
            path = f"$.updates[{index}]"
            if update.field in kind.list_properties:
                _change_list(lists[update.field], update, path, engine)
            else:
                _change_map(kind, lists[update.field], update, path)
        fields = {name: _wrapped(kind, name, elements) for name, elements in lists.items()}
        body = convert_body(kind, fields)
        after = engine.carry_out(change, Update(kind.name, item.uuid, body), now)
        return Outcome(_with_positions(change, kind, after, lists))


def elements_of(kind: Kind, item: Object, field: str) -> list[Element]:
    """Positions and values of a property; InputError when it is neither list nor map."""
    wrapper = _wrapper(kind, field)
    values = (item.props.get(field) or {}).get(wrapper) or []
    if field in kind.map_properties:
        key = kind.map_properties[field][1]
        return [(str(value.get(key)), value) for value in values]
    positions = item.props.get(LIST_POSITIONS, {}).get(field, ())
    if len(positions) != len(values):
        positions = [str(index) for index in range(len(values))]
    return list(zip(positions, values, strict=True))


def _wrapper(kind: Kind, field: str) -> str:
    if field in kind.list_properties:
        return kind.list_properties[field]
    if field in kind.map_properties:
        return kind.map_properties[field][0]
    known = [*kind.list_properties, *kind.map_properties]
    raise InputError(
        "not-a-collection",
        f"'{field}' is no list or map property of a {kind.name}",
        path="fields",
        hint=nearest(field, known) or f"those are {', '.join(known)}",
    )


def _wrapped(kind: Kind, field: str, elements: list[Element]) -> dict[str, Any] | None:
    values = [value for _, value in elements]
    return {_wrapper(kind, field): values} if values else None


def _change_list(
    elements: list[Element], update: ElementUpdate, path: str, engine: ConfigEngine
) -> None:
    position = None if update.position in {None, ""} else str(update.position)
    match update.operation:
        case "add":
            given = position or engine.new_uuid()
            elements[:] = [one for one in elements if one[0] != given]
            where = len(elements)
            if position is not None:
                later = (index for index, one in enumerate(elements) if one[0] > given)
                where = next(later, where)
            elements.insert(where, (given, update.value))
        case "modify":
            index = _index_of(elements, position, path)
            elements[index] = (elements[index][0], update.value)
        case "delete":
            elements[:] = [one for one in elements if one[0] != position]
        case "set":
            raise _bad_operation(update, path, "a list", "add, modify or delete")


def _change_map(kind: Kind, elements: list[Element], update: ElementUpdate, path: str) -> None:
    key = kind.map_properties[update.field][1]
    match update.operation:
        case "set":
            if not isinstance(update.value, dict) or not update.value.get(key):
                raise InputError(
                    "no-key",
                    f"an element of {update.field} needs its '{key}'",
                    path=f"{path}.value",
                    hint=f'write {{"{key}": ...}}',
                )
            position = str(update.value[key])
            found = [index for index, one in enumerate(elements) if one[0] == position]
            for index in found:
                elements[index] = (position, update.value)
            if not found:
                elements.append((position, update.value))
        case "delete":
            elements[:] = [one for one in elements if one[0] != str(update.position)]
        case _:
            raise _bad_operation(update, path, "a map", "set or delete")


def _index_of(elements: list[Element], position: str | None, path: str) -> int:
    for index, one in enumerate(elements):
        if one[0] == position:
            return index
    known = ", ".join(one[0] for one in elements[:10]) or "none"
    raise InputError(
        "no-position",
        f"there is no element at position '{position}'",
        path=f"{path}.position",
        hint=f"positions there: {known}",
    )


def _bad_operation(update: ElementUpdate, path: str, what: str, legal: str) -> InputError:
    return InputError(
        "bad-operation",
        f"'{update.operation}' is no operation on {what} such as {update.field}",
        path=f"{path}.operation",
        hint=f"use {legal}",
    )


def _with_positions(
    change: Candidate, kind: Kind, after: Object, lists: dict[str, list[Element]]
) -> Object:
    positions = dict(after.props.get(LIST_POSITIONS, {}))
    for field, elements in lists.items():
        if field in kind.list_properties:
            positions[field] = [position for position, _ in elements]
    kept = {
        field: one for field, one in positions.items() if one != [str(i) for i in range(len(one))]
    }
    props = {name: value for name, value in after.props.items() if name != LIST_POSITIONS}
    if kept:
        props[LIST_POSITIONS] = kept
    return (
        after if props == after.props else change.put(msgspec.structs.replace(after, props=props))
    )
