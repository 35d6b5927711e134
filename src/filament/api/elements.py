"""List and map properties, changed and read element by element (TF's prop-collection routes).

Elements of a list have positions: texts, by default their index, or what the caller who added one
gave (or a uuid). They are kept beside the property and forgotten when it is replaced as a whole.
The position of a rule of a security group or a network policy is its `rule_uuid`. A change of one
element costs that element, however many others there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal

import msgspec

from filament.api.access import require_object
from filament.api.engine import LIST_POSITIONS, ConfigEngine
from filament.api.request import Outcome, Update
from filament.base.errors import InputError
from filament.model.body import Body, convert_body
from filament.model.change import Object
from filament.model.kind import Kind, nearest
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate

Element = tuple[str, Any]  # position, value


class ElementUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of one element. Lists: add, modify, delete; maps: set, delete. To add to a keyed
    list, `position` is of the element it goes before; without, it goes to the end.
    """

    field: str
    operation: Literal["add", "modify", "delete", "set"]
    value: Any = None
    position: str | int | None = None


class UpdateElements(msgspec.Struct, frozen=True):
    """Change elements of an object's list, keyed list and map properties, in order."""

    uuid: str
    updates: list[ElementUpdate]

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        item = require_object(engine, change, self.uuid)
        kind = KINDS[item.kind]
        engine.asking.require_edit(kind, item.uuid)
        lists: dict[str, list[Element]] = {}
        keyed: dict[str, list[Any]] = {}
        for index, update in enumerate(self.updates):
            path, field = f"$.updates[{index}]", update.field
            if field in kind.keyed_lists:
                values = keyed.setdefault(field, _values(kind, item, field))
                _change_keyed(kind, values, update, path)
                continue
            elements = lists.setdefault(field, elements_of(kind, item, field))
            if field in kind.list_properties:
                _change_list(kind, elements, update, path, engine)
            else:
                _change_map(kind, elements, update, path)
        said = {name: [value for _, value in elements] for name, elements in lists.items()} | keyed
        body = Body(props={name: _wrapped(kind, name, values) for name, values in said.items()})
        after = engine.carry_out(change, Update(kind.name, item.uuid, body), now)
        return Outcome(_with_positions(change, kind, after, lists))


def elements_of(kind: Kind, item: Object, field: str) -> list[Element]:
    """Positions and values of a property; InputError when it is neither list nor map."""
    values = _values(kind, item, field)
    if field in kind.map_properties:
        key = kind.map_properties[field][1]
        return [(str(value.get(key)), value) for value in values]
    if field in kind.keyed_lists:
        key = kind.keyed_lists[field][1]
        return [(value.get(key) or "", value) for value in values]
    positions = item.props.get(LIST_POSITIONS, {}).get(field, ())
    if len(positions) != len(values):
        positions = [str(index) for index in range(len(values))]
    return list(zip(positions, values, strict=True))


def _values(kind: Kind, item: Object, field: str) -> list[Any]:
    """A list of the values of a property."""
    return list((item.props.get(field) or {}).get(_wrapper(kind, field)) or ())


def _wrapper(kind: Kind, field: str) -> str:
    if field in kind.list_properties:
        return kind.list_properties[field]
    if field in kind.map_properties:
        return kind.map_properties[field][0]
    if field in kind.keyed_lists:
        return kind.keyed_lists[field][0]
    known = [*kind.list_properties, *kind.keyed_lists, *kind.map_properties]
    raise InputError(
        "not-a-collection",
        f"'{field}' is no list or map property of a {kind.name}",
        path="fields",
        hint=nearest(field, known) or f"those are {', '.join(known)}",
    )


def _wrapped(kind: Kind, field: str, values: list[Any]) -> dict[str, Any] | None:
    return {_wrapper(kind, field): values} if values else None


def _converted(kind: Kind, update: ElementUpdate, path: str) -> Any:
    """The value of an update as the property's type has it; InputError where it is none."""
    wrapper = _wrapper(kind, update.field)
    try:
        body = convert_body(kind, {update.field: {wrapper: [update.value]}})
    except InputError as error:
        within = error.path.partition("]")[2]
        raise InputError(
            error.code, error.message, path=f"{path}.value{within}", hint=error.hint
        ) from error
    return body.props[update.field][wrapper][0]


def _change_list(
    kind: Kind, elements: list[Element], update: ElementUpdate, path: str, engine: ConfigEngine
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
            elements.insert(where, (given, _converted(kind, update, path)))
        case "modify":
            index = _index_of(elements, position, path)
            elements[index] = (elements[index][0], _converted(kind, update, path))
        case "delete":
            elements[:] = [one for one in elements if one[0] != position]
        case "set":
            raise _bad_operation(update, path, "a list", "add, modify or delete")


def _change_keyed(kind: Kind, values: list[Any], update: ElementUpdate, path: str) -> None:
    position = None if update.position in {None, ""} else str(update.position)
    key = kind.keyed_lists[update.field][1]
    match update.operation:
        case "add":
            value = _converted(kind, update, path)
            given = value.get(key)
            if given and any(one.get(key) == given for one in values):
                raise InputError(
                    "key-in-use",
                    f"there is an element with {key} {given} in {update.field} already",
                    path=f"{path}.value.{key}",
                    hint=f"leave {key} out to be given one, or modify that element",
                )
            where = len(values) if position is None else _key_at(values, key, position, path)
            values.insert(where, value)
        case "modify":
            index = _key_at(values, key, position, path)
            value = _converted(kind, update, path)
            if value.get(key) not in {None, "", position}:
                raise InputError(
                    "other-key",
                    f"the element at position '{position}' cannot become '{value[key]}': it keeps"
                    f" its {key}",
                    path=f"{path}.value.{key}",
                    hint=f"leave {key} out, or delete the element and add another",
                )
            values[index] = {**value, key: position}
        case "delete":
            values[:] = [one for one in values if one.get(key) != position]
        case "set":
            raise _bad_operation(update, path, "a list", "add, modify or delete")


def _key_at(values: list[Any], key: str, position: str | None, path: str) -> int:
    for index, one in enumerate(values):
        if position is not None and one.get(key) == position:
            return index
    raise _no_position(position, (one.get(key) for one in values), path)


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
            value = _converted(kind, update, path)
            found = [index for index, one in enumerate(elements) if one[0] == position]
            for index in found:
                elements[index] = (position, value)
            if not found:
                elements.append((position, value))
        case "delete":
            elements[:] = [one for one in elements if one[0] != str(update.position)]
        case _:
            raise _bad_operation(update, path, "a map", "set or delete")


def _index_of(elements: list[Element], position: str | None, path: str) -> int:
    for index, one in enumerate(elements):
        if one[0] == position:
            return index
    raise _no_position(position, (one[0] for one in elements), path)


def _no_position(position: str | None, known: Iterable[str], path: str) -> InputError:
    listed = ", ".join(islice(known, 10)) or "none"
    return InputError(
        "no-position",
        f"there is no element at position '{position}'",
        path=f"{path}.position",
        hint=f"positions there: {listed}",
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
