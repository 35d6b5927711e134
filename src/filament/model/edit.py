"""Edits: what leads from one version of an object with long lists to the next, for whoever has the
one before.

A security group of ten thousand rules is megabytes, and one rule of it changes. So commits may be
told with edits in place of such objects (`TerseCommit`): properties that are new, and of long lists
the items that are. An edit says by hash from what it leads to what; who has another version than
that, or would get another, must read the object whole (`MismatchError`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from filament.base.errors import FilamentError
from filament.base.recent import Recent
from filament.base.splice import splice_of
from filament.model.change import Allocation, Commit, Object

_LONG_LIST = 64  # items; an object without a longer list is told whole
_HASH_BYTES = 8  # of one item
_REMEMBERED = 32  # lists whose items' hashes are known
_encode = msgspec.json.Encoder(order="deterministic").encode

Find = Callable[[str], Object | None]


class MismatchError(FilamentError):
    """An edit is of another version of an object than the one at hand."""


class ListEdit(msgspec.Struct, frozen=True, gc=False):
    """In list `field` of `property`, `items` take the place of `count` items from `start` on."""

    property: str
    field: str
    start: int
    count: int
    items: list[Any]


class Edit(msgspec.Struct, frozen=True, gc=False):
    """One object changed. `before` and `after` are hashes of it; `props` are new values, None of a
    property that is gone. What an edit cannot say (names, references) did not change.
    """

    uuid: str
    revision: int
    before: str
    after: str
    props: dict[str, Any]
    lists: tuple[ListEdit, ...]


class TerseCommit(msgspec.Struct, frozen=True):
    """A `Commit` that tells some of its puts as edits; without edits it is one."""

    revision: int
    at: float
    who: str
    puts: tuple[Object, ...] = ()
    deletes: tuple[Object, ...] = ()
    takes: tuple[Allocation, ...] = ()
    frees: tuple[Allocation, ...] = ()
    edits: tuple[Edit, ...] = ()


def bases(commit: Commit, find: Find) -> dict[str, Object]:
    """Return, by uuid, the objects before a commit that it may be told against."""
    deleted = {item.uuid for item in commit.deletes}
    found = ((find(item.uuid), item) for item in commit.puts if item.uuid not in deleted)
    return {
        before.uuid: before for before, item in found if before is not None and _long_lists(item)
    }


def terse(commit: Commit, before_by_uuid: Mapping[str, Object]) -> TerseCommit:
    """Tell a commit with edits where that is much shorter, against objects before it (`bases`)."""
    puts: list[Object] = []
    edits: list[Edit] = []
    for item in commit.puts:
        before = before_by_uuid.get(item.uuid)
        edit = edit_of(before, item) if before is not None else None
        if edit is None:
            puts.append(item)
        else:
            edits.append(edit)
    return TerseCommit(
        commit.revision,
        commit.at,
        commit.who,
        tuple(puts),
        commit.deletes,
        commit.takes,
        commit.frees,
        tuple(edits),
    )


def whole(told: TerseCommit, find: Find) -> Commit:
    """Return the commit that was told; `find` gives objects before it. Raises MismatchError."""
    puts = list(told.puts)
    for edit in told.edits:
        before = find(edit.uuid)
        if before is None:
            raise MismatchError(f"there is no object {edit.uuid} for an edit of it")
        puts.append(edited(before, edit))
    return Commit(
        told.revision, told.at, told.who, tuple(puts), told.deletes, told.takes, told.frees
    )


def edit_of(before: Object, after: Object) -> Edit | None:
    """Return what leads from one version to another; None where an edit cannot say it, or says not
    much less than the object.
    """
    bare = msgspec.structs.replace(after, props=before.props, revision=before.revision)
    if bare != before:
        return None
    props: dict[str, Any] = dict.fromkeys(before.props.keys() - after.props.keys())
    lists: list[ListEdit] = []
    for name, value in after.props.items():
        was = before.props.get(name)
        if value is was or value == was:
            continue
        edit = _list_edit(name, was, value)
        if edit is None:
            props[name] = value
        else:
            lists.append(edit)
    if any(map(_long_lists_of, props.values())):
        return None
    return Edit(after.uuid, after.revision, hash_of(before), hash_of(after, before), props,
                tuple(lists))  # fmt: skip


def edited(before: Object, edit: Edit) -> Object:
    """Return what an edit makes of an object: items that stay are the same objects. Raises
    MismatchError unless both are what it says.
    """
    if hash_of(before) != edit.before:
        raise MismatchError(f"{before.kind} {before.name} is not what an edit of it is for")
    props = {**before.props, **edit.props}
    for name, value in edit.props.items():
        if value is None:
            props.pop(name, None)
    for one in edit.lists:
        known = (props.get(one.property) or {}).get(one.field) or []
        changed = [*known[: one.start], *one.items, *known[one.start + one.count :]]
        props[one.property] = {**(props.get(one.property) or {}), one.field: changed}
    after = msgspec.structs.replace(before, props=props, revision=edit.revision)
    if hash_of(after, before) != edit.after:
        raise MismatchError(f"an edit of {before.kind} {before.name} makes not what it says")
    return after


def hash_of(item: Object, before: Object | None = None) -> str:
    """Return a hash of everything in an object. Of lists that `before` had too, what was hashed
    then is taken.
    """
    props: dict[str, Any] = dict(item.props)
    for name, field, items in _long_lists(item):
        was = before.props.get(name) if before is not None else None
        known = was.get(field) if isinstance(was, dict) else None
        digest = hashlib.blake2b(_hashes(items, known), digest_size=16)
        props[name] = {**props[name], field: digest.hexdigest()}
    bare = msgspec.structs.replace(item, props=props)
    return hashlib.blake2b(_encode(bare), digest_size=16).hexdigest()


_known: Recent[Sequence[Any], bytes] = Recent(_REMEMBERED)


def _hashes(items: Sequence[Any], before: object) -> bytes:
    """Return the hashes of the items of a list, one after the other."""
    found = _known.get(items)
    if found is not None:
        return found
    known = _known.get(before) if isinstance(before, list | tuple) else None
    if known is None or not isinstance(before, list | tuple):
        found = _hashed(items)
    else:
        start, old_end, new_end = splice_of(before, items)
        found = (
            known[: start * _HASH_BYTES]
            + _hashed(items[start:new_end])
            + known[old_end * _HASH_BYTES :]
        )
    _known.put(items, found)
    return found


def _hashed(items: Iterable[Any]) -> bytes:
    return b"".join(
        hashlib.blake2b(_encode(one), digest_size=_HASH_BYTES).digest() for one in items
    )


def _list_edit(name: str, before: object, after: object) -> ListEdit | None:
    """Return an edit of a property that is a struct with one long list."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None
    if before.keys() != after.keys():
        return None
    different = [field for field, value in after.items() if value != before[field]]
    if len(different) != 1:
        return None
    (field,) = different
    was, now = before[field], after[field]
    if not _is_long(was) or not _is_long(now):
        return None
    start, old_end, new_end = splice_of(was, now)
    if 2 * (new_end - start) > len(now):
        return None
    return ListEdit(name, field, start, old_end - start, list(now[start:new_end]))


def _long_lists(item: Object) -> list[tuple[str, str, Sequence[Any]]]:
    """Return property, field and items of every long list in an object."""
    return [
        (name, field, items)
        for name, value in item.props.items()
        for field, items in _long_lists_of(value)
    ]


def _long_lists_of(value: object) -> list[tuple[str, Sequence[Any]]]:
    if not isinstance(value, dict):
        return []
    return [(field, items) for field, items in value.items() if _is_long(items)]


def _is_long(value: object) -> bool:
    # A tuple is a list to whoever reads it.
    return isinstance(value, list | tuple) and len(value) > _LONG_LIST
