"""Small edits of any object: owner and permissions, relaxed references, tags."""

from __future__ import annotations

from typing import Any

import msgspec

from filament.api.engine import ConfigEngine
from filament.api.permission import LINK, Access
from filament.api.quota import project_of
from filament.api.request import Outcome, Update
from filament.base.errors import ForbiddenError, InputError, NotFoundError
from filament.model.body import Body, RefBody
from filament.model.change import Object
from filament.model.kind import nearest
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate
from filament.model.stored import STORED_VALUE

_TAG = "tag"
# TF allows several tags of these types on one object.
MANY_VALUED = frozenset({"label", "neutron_fwaas", "neutron_tag"})


class ChangeAccess(msgspec.Struct, frozen=True):
    """Change parts of perms2 and leave the others (chown, chmod)."""

    uuid: str
    perms2: dict[str, Any]

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        item = require_object(engine, change, self.uuid)
        before = item.props.get("perms2") or {}
        body = Body(props={"perms2": {"owner": before.get("owner"), **self.perms2}})
        return Outcome(engine.carry_out(change, Update(item.kind, item.uuid, body), now))


class RelaxReference(msgspec.Struct, frozen=True):
    """Let an object that is referred to be deleted nevertheless; the reference goes with it."""

    uuid: str
    target_uuid: str

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        del now
        item = require_object(engine, change, self.uuid)
        engine.asking.require_edit(KINDS[item.kind], item.uuid)
        has = any(ref.uuid == self.target_uuid for ref in item.refs)
        if not has or not engine.asking.sees_uuid(self.target_uuid):
            raise NotFoundError(
                f"{item.kind} {item.name} has no reference to {self.target_uuid}; GET it to see"
                " those it has"
            )
        refs = tuple(
            msgspec.structs.replace(ref, is_relaxed=True) if ref.uuid == self.target_uuid else ref
            for ref in item.refs
        )
        if refs != item.refs:
            item = change.put(msgspec.structs.replace(item, refs=refs))
        return Outcome(item)


class TagEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with the tags of one type. `is_global`: tags of no project."""

    is_global: bool = False
    value: str | None = None
    add_values: list[str] = []
    delete_values: list[str] = []


class SetTags(msgspec.Struct, frozen=True):
    """Attach and detach existing tags, by type; None detaches all of a type."""

    kind: str
    uuid: str
    edits: dict[str, TagEdit | None]

    def carry_out(self, engine: ConfigEngine, change: Candidate, now: float) -> Outcome:
        """See Action."""
        kind = KINDS.named(self.kind)
        engine.asking.require_edit(kind, self.uuid)
        item = engine.find(change, kind, self.uuid)
        if _TAG not in kind.references:
            raise InputError("no-tags", f"a {kind.name} has no tags", path="$.obj_type")
        uuids = [ref.uuid for ref in item.refs_to(_TAG)]
        for tag_type, edit in self.edits.items():
            uuids = _edited(engine.asking, change, item, uuids, tag_type, edit)
        body = Body(refs={_TAG: [RefBody(_TAG, uuid=uuid) for uuid in uuids]})
        return Outcome(engine.carry_out(change, Update(kind.name, item.uuid, body), now))


def require_object(engine: ConfigEngine, change: Candidate, uuid: str) -> Object:
    """The object with a uuid, of whatever kind, that the caller may read; NotFoundError, or
    ForbiddenError when it is one of the plan's.
    """
    item = change.get(uuid)
    shown = engine.shown.objects.get(uuid)
    if item is None and shown is not None and engine.asking.sees(shown):
        raise ForbiddenError(
            f"{shown.kind} {shown.name} cannot be written, only read;"
            f" {KINDS[shown.kind].rendered_from}"
        )
    if item is None or item.kind == STORED_VALUE or not engine.asking.sees(item):
        raise NotFoundError(f"UUID {uuid} not found: no object has it")
    return item


def _edited(
    asking: Access,
    change: Candidate,
    item: Object,
    uuids: list[str],
    tag_type: str,
    edit: TagEdit | None,
) -> list[str]:
    if change.named("tag-type", (tag_type,)) is None:
        known = filter(asking.sees, change.of_kind("tag-type"))
        hint = nearest(tag_type, (one.name for one in known))
        raise NotFoundError(f"Tag type '{tag_type}' not found" + (f"; {hint}" if hint else ""))
    others = [uuid for uuid in uuids if _type_of(change, uuid) != tag_type]
    if edit is None:
        return others
    is_many = tag_type in MANY_VALUED
    if not is_many and (edit.add_values or edit.delete_values or edit.value is None):
        raise InputError(
            "single-valued",
            f"an object has one tag of type '{tag_type}'",
            path=f"$.{tag_type}",
            hint='write {"value": ...}; lists of values are for ' + ", ".join(sorted(MANY_VALUED)),
        )
    kept = [uuid for uuid in uuids if _type_of(change, uuid) == tag_type] if is_many else []
    wanted = [edit.value] if edit.value is not None else []
    for value in (*wanted, *edit.add_values):
        tag = _tag(asking, change, item, f"{tag_type}={value}", is_global=edit.is_global)
        asking.require(tag, LINK, tag.name)
        uuid = tag.uuid
        kept = [*(one for one in kept if one != uuid), uuid]
    for value in edit.delete_values:
        uuid = _tag(asking, change, item, f"{tag_type}={value}", is_global=edit.is_global).uuid
        kept = [one for one in kept if one != uuid]
    return others + kept


def _type_of(change: Candidate, uuid: str) -> str:
    tag = change.get(uuid)
    return tag.fq_name[-1].partition("=")[0] if tag is not None else ""


def _tag(
    asking: Access, change: Candidate, item: Object, called: str, *, is_global: bool
) -> Object:
    name: tuple[str, ...] = (called,)
    if not is_global:
        project = project_of(change, item)
        if project is None:
            raise InputError(
                "no-project",
                f"{item.kind} {item.name} is in no project, so it has no tags of one",
                path=f"$.{called.partition('=')[0]}.is_global",
                hint='write "is_global": true',
            )
        name = (*project.fq_name, *name)
    tag = change.named(_TAG, name)
    if tag is None or asking.is_hidden(tag):
        raise NotFoundError(f"Tag {':'.join(name)} not found; create the tag first")
    return tag
