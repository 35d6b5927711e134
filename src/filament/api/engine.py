"""The configuration engine: requests to commits. Sans-IO: no clock, no store, no randomness.

`prepare` reads a view and returns the commit a request amounts to: it resolves names, fills in
what the API owes, checks, and allocates what the plan needs, so that a bad change is refused
before anything is stored. The owner stores the commit, then calls `apply`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from filament.api.called import CalledIndex
from filament.api.caller import Caller, trusted
from filament.api.companions import companions, prerequisites
from filament.api.complete import completed
from filament.api.draft import (
    DRAFT_SCOPES,
    creation,
    deletion,
    draft_body,
    switch,
    to_edit,
)
from filament.api.firewall import FIREWALL_RULE, NAMED_BY_RULES, NewUuid
from filament.api.identity import (
    changed_perms2,
    either_parent,
    new_id_perms,
    new_perms2,
    parent_kind_of,
    require_name,
    require_same_identity,
    timestamp,
)
from filament.api.permission import Access
from filament.api.quota import require_parts_within_quota, require_within_quota
from filament.api.rbac import RuleBook
from filament.api.removal import delete
from filament.api.request import (
    Create,
    Delete,
    Outcome,
    Plain,
    Prepared,
    RefUpdate,
    Request,
    Update,
)
from filament.api.sharing import shared_as_shown
from filament.api.shown import ShownPlan
from filament.api.symmetry import mirror, ordered
from filament.base.errors import (
    ConflictError,
    FilamentError,
    ForbiddenError,
    InputError,
    NotFoundError,
)
from filament.compiler.plan import Slot
from filament.compiler.render import ROUTE_TARGET
from filament.model.body import Body, RefBody, convert_attribute
from filament.model.change import Allocation, Commit, Object, Ref
from filament.model.check import (
    FIRST_ROUTE_TARGET,
    FIRST_ROUTE_TARGET_4BYTE,
    require_deletable,
    require_unset_by_caller,
    require_valid,
)
from filament.model.kind import Kind
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate, PoolView, Snapshot
from filament.model.view import View
from filament.store.contract import Store

_ROUTE_TARGET_POOL = "route-target/"
# Property of an object, never answered as one: positions of elements of its list properties.
LIST_POSITIONS = "list_positions"


class ConfigEngine:
    """Owns the committed snapshot. One per API process; the owner serialises writes."""

    def __init__(self, new_uuid: NewUuid) -> None:
        self.snapshot = Snapshot()
        self.shown = ShownPlan()
        self._called = CalledIndex()
        self._new_uuid = new_uuid
        self._rules = RuleBook()
        # The rights of whoever makes the request being prepared; actions ask it for each object.
        self.asking = self.access(trusted("system"))

    def load(self, store: Store) -> None:
        """Start from what a store holds."""
        self.snapshot = Snapshot(*store.load())
        self._called.reset()
        self.shown.load(self.snapshot)

    def access(self, caller: Caller, view: View | None = None) -> Access:
        """The rights of a caller over `view` (default: the committed snapshot)."""
        return Access(caller, view or self.snapshot, self.shown, self._rules)

    def prepare(
        self, request: Request, *, now: float, who: Caller | str, view: PoolView | None = None
    ) -> Prepared:
        """Turn a request into a commit on top of `view` (default: the committed snapshot).

        `now` is epoch seconds. `who` is a caller with its rights, or the name of someone who may
        do everything. Raises InputError, NotFoundError, ForbiddenError, ConflictError;
        then nothing has changed.
        """
        change = Candidate(self.snapshot if view is None else view)
        caller = trusted(who) if isinstance(who, str) else who
        self.asking = self.access(caller, change)
        try:
            if isinstance(request, Plain):
                outcome = Outcome(self.carry_out(change, request, now))
            else:
                outcome = request.carry_out(self, change, now)
            if self.asking.is_restricted and not self.asking.was_asked:
                raise ForbiddenError("Permission Denied: only a cloud admin may do this")
            return self._finish(change, outcome, now, caller.user)
        except FilamentError as error:
            raise self.asking.concealed(error) from error.__cause__

    def prepare_all(self, requests: Iterable[Plain], *, now: float, who: str) -> Commit:
        """Turn several requests, each seeing the ones before, into one commit (boot objects)."""
        change = Candidate(self.snapshot)
        self.asking = self.access(trusted(who), change)
        for request in requests:
            self.carry_out(change, request, now)
        self._allocate_slots(change)
        return change.commit(now, who)

    def apply(self, commit: Commit) -> None:
        """Take over a commit that the store has made durable."""
        self._called.update(self.snapshot, commit)
        self.snapshot.apply(commit)
        self.shown.update(self.snapshot, commit)

    def called(self, name: str) -> list[Object]:
        """The stored objects that a person may call `name`, in order of creation."""
        return self._called.called(self.snapshot, name)

    def find(self, view: PoolView | Candidate, kind: Kind, uuid: str) -> Object:
        """The object of a kind, stored or rendered; NotFoundError."""
        item = view.get(uuid)
        if item is None and kind.rendered_from:
            item = self.shown.find(view, uuid)
        if item is None or item.kind != kind.name:
            other = f"; it is the uuid of a {item.kind}" if item is not None else ""
            raise NotFoundError(f"No {kind.field} object found for id {uuid}{other}")
        return item

    def find_named(
        self, view: PoolView | Candidate, kind: Kind, fq_name: tuple[str, ...]
    ) -> Object:
        """The object of a kind by name, stored or rendered; NotFoundError."""
        item = view.named(kind.name, fq_name)
        if item is None and kind.rendered_from:
            item = self.shown.objects.named(kind.name, fq_name)
        if item is None:
            raise NotFoundError(f"Name {list(fq_name)} not found: there is no such {kind.name}")
        return item

    def new_uuid(self) -> str:
        """A uuid nobody has."""
        return self._new_uuid()

    def carry_out(self, change: Candidate, request: Plain, now: float) -> Object:
        """Carry out a plain request within a change, for actions made of several: with the rights
        of whoever makes the request, and without names that it may not read in errors.
        """
        try:
            return self._carry_out(change, request, now)
        except FilamentError as error:
            raise self.asking.concealed(error) from error.__cause__

    def _carry_out(self, change: Candidate, request: Plain, now: float) -> Object:
        kind = KINDS.named(request.kind)
        match request:
            case Create(body=body, tenant=tenant):
                self.asking.require_create(kind, body)
                body = creation(change, kind, body)
                return self._switched(change, self._create(change, kind, body, tenant, now), now)
            case Update(uuid=uuid, body=body):
                self.asking.require_update(kind, uuid, body)
                item = self.find(change, kind, uuid)
                draft = to_edit(change, kind, item, self._new_uuid, now)
                body = draft_body(change, kind, item, draft, body)
                return self._switched(change, self._update(change, kind, draft, body, now), now)
            case Delete(uuid=uuid):
                self.asking.require_delete(kind, uuid)
                item = self.find(change, kind, uuid)
                _require_intent(change, kind, item)
                require_deletable(item)
                if not deletion(change, kind, item, self._new_uuid, now):
                    self.remove(change, item)
                return item
            case RefUpdate(uuid=uuid, target=target, operation=operation):
                self.asking.require_ref_update(kind, uuid, target, operation)
                return self._update_ref(change, kind, request, now)

    def remove(self, change: Candidate, item: Object) -> None:
        """Delete an object nothing depends on, for actions that may; ConflictError."""
        delete(change, item, self.shown, self.asking)

    def _switched(self, change: Candidate, item: Object, now: float) -> Object:
        if item.kind in DRAFT_SCOPES:
            switch(change, item, self._new_uuid, now)
        return item

    def _finish(self, change: Candidate, outcome: Outcome, now: float, who: str) -> Prepared:
        item = outcome.object
        if change.is_empty:
            return Prepared(item, None, outcome.answer)
        self._allocate_slots(change)
        after = change.get(item.uuid) if item is not None else None
        return Prepared(after or item, change.commit(now, who), outcome.answer)

    # -- create ------------------------------------------------------------------------------

    def _create(
        self, change: Candidate, kind: Kind, body: Body, tenant: str | None, now: float
    ) -> Object:
        fq_name = require_name(kind, body)
        parent = self._parent(change, kind, body, fq_name)
        for needed in prerequisites(change, kind, body):
            self._create(change, KINDS[needed.kind], needed.body, tenant, now)
        existing = change.named(kind.name, fq_name)
        if existing is None and kind.rendered_from:
            existing = self.shown.objects.named(kind.name, fq_name)
        if existing is not None:
            raise ConflictError(
                f"{kind.name} {existing.name} already exists"
                + (f" with uuid: {existing.uuid}" if self.asking.sees(existing) else "")
            )
        uuid = body.uuid or self._new_uuid()
        holder = change.get(uuid)
        if holder is not None:
            named = f": {holder.kind} {holder.name}" if self.asking.sees(holder) else ""
            raise ConflictError(f"uuid {uuid} already exists{named}; leave uuid out")
        _require_no_system_property(kind, body, None)
        return self._make(change, kind, body, fq_name, parent, uuid, tenant, now)

    def _make(
        self,
        change: Candidate,
        kind: Kind,
        body: Body,
        fq_name: tuple[str, ...],
        parent: Object | None,
        uuid: str,
        tenant: str | None,
        now: float,
    ) -> Object:
        props = {name: value for name, value in body.props.items() if value is not None}
        props["display_name"] = props.get("display_name") or fq_name[-1]
        props["id_perms"] = new_id_perms(uuid, props.get("id_perms") or {}, now)
        props["perms2"] = new_perms2(kind, uuid, parent, props.get("perms2") or {}, tenant)
        shared_as_shown(kind, body, props, {})
        item = Object(
            kind=kind.name,
            uuid=uuid,
            fq_name=fq_name,
            parent_kind=parent.kind if parent is not None else None,
            parent_uuid=parent.uuid if parent is not None else None,
            props=props,
            refs=self._resolved(change, body, now),
        )
        item = self._put(change, item, None)
        require_within_quota(change, item)
        for companion in companions(item):
            made = self._create(change, KINDS[companion.kind], companion.body, tenant, now)
            target = RefBody(made.kind, None, made.uuid, companion.attr)
            self._update_ref(change, kind, RefUpdate(kind.name, uuid, target, "ADD"), now)
        return change.get(uuid) or item

    def _parent(
        self, change: Candidate, kind: Kind, body: Body, fq_name: tuple[str, ...]
    ) -> Object | None:
        parent_kind = parent_kind_of(kind, body)
        if parent_kind is None:
            if len(fq_name) != 1:
                raise InputError(
                    "bad-fq-name",
                    f"a {kind.name} without parent has a one-element fq_name, not {list(fq_name)}",
                    path=f"$.{kind.name}.fq_name",
                    hint=f'write ["{fq_name[-1]}"]'
                    + (f" or give parent_type {either_parent(kind)}" if kind.real_parents else ""),
                )
            return None
        if len(fq_name) < 2:
            raise InputError(
                "bad-fq-name",
                f"fq_name {list(fq_name)} of a {kind.name} lacks its {parent_kind}",
                path=f"$.{kind.name}.fq_name",
                hint="write the parent's fq_name followed by the object's own name",
            )
        try:
            parent = self.find_named(change, KINDS[parent_kind], fq_name[:-1])
        except NotFoundError as error:
            raise InputError(
                "no-parent",
                f"Parent {parent_kind} {':'.join(fq_name[:-1])} does not exist",
                path=f"$.{kind.name}.fq_name",
                hint="create the parent first",
            ) from error
        if body.parent_uuid not in {None, parent.uuid}:
            raise InputError(
                "parent-mismatch",
                f"parent_uuid {body.parent_uuid} is not the uuid of {parent_kind} {parent.name}",
                path=f"$.{kind.name}.parent_uuid",
                hint=f"leave it out, or write {parent.uuid}",
            )
        return parent

    def _resolved(self, change: Candidate, body: Body, now: float) -> tuple[Ref, ...]:
        listed = body.refs.values()
        return tuple(ref for given in listed for ref in self._resolve(change, given, now))

    def _resolve(
        self,
        change: Candidate,
        given: list[RefBody],
        now: float,
        before: Iterable[Ref] = (),
    ) -> list[Ref]:
        """References to existing objects; of two to one object the later counts."""
        relaxed = {ref.uuid for ref in before if ref.is_relaxed}
        refs: dict[str, Ref] = {}
        for one in given:
            target = self._target(change, one, now)
            refs[target.uuid] = Ref(target.kind, target.uuid, one.attr, target.uuid in relaxed)
        return list(refs.values())

    def _target(self, change: Candidate, given: RefBody, now: float) -> Object:
        kind = KINDS[given.kind]
        if given.uuid is not None:
            target = self.find(change, kind, given.uuid)
        else:
            target = self.find_named(change, kind, given.to or ())
        if kind.name == ROUTE_TARGET and change.get(target.uuid) is None:
            # A target exists in the plan as long as a network uses it; intent that names it must
            # not lose it when the network goes, so it becomes intent, under the same uuid.
            body = Body(fq_name=target.fq_name)
            return self._make(change, kind, body, target.fq_name, None, target.uuid, None, now)
        return target

    # -- update ------------------------------------------------------------------------------

    def _update(
        self, change: Candidate, kind: Kind, before: Object, body: Body, now: float
    ) -> Object:
        _require_intent(change, kind, before)
        require_same_identity(kind, before, body)
        _require_no_system_property(kind, body, before)
        props = dict(before.props)
        for name, value in body.props.items():
            if name in kind.list_properties and value != props.get(name):
                _forget_positions(props, name)
            if name == "id_perms":
                for field in ("enable", "description"):
                    if value and field in value:
                        props["id_perms"] = props["id_perms"] | {field: value[field]}
            elif name == "perms2":
                props["perms2"] = changed_perms2(kind, props["perms2"], value)
            elif value is None:
                props.pop(name, None)
            else:
                props[name] = value
        shared_as_shown(kind, body, props, before.props)
        refs = list(before.refs)
        for target, given in body.refs.items():
            new = self._resolve(change, given, now, before.refs)
            named = {ref.uuid for ref in new}
            # What the caller cannot see it did not leave out on purpose.
            refs = [
                ref
                for ref in refs
                if ref.kind != target
                or (ref.uuid not in named and not self.asking.sees_uuid(ref.uuid))
            ] + new
        after = msgspec.structs.replace(before, props=props, refs=ordered(kind, refs))
        return self._put_if_changed(change, after, before, now)

    def _update_ref(self, change: Candidate, kind: Kind, request: RefUpdate, now: float) -> Object:
        before = self.find(change, kind, request.uuid)
        _require_intent(change, kind, before)
        before = to_edit(change, kind, before, self._new_uuid, now)
        given = request.target
        if given.kind not in kind.references:
            listed = ", ".join(kind.references) or "nothing"
            raise InputError(
                "bad-reference",
                f"a {kind.name} cannot refer to a {given.kind}",
                path="$.ref-type",
                hint=f"it refers to {listed}",
            )
        target = self._target(change, given, now)
        refs = {ref.uuid: ref for ref in before.refs}
        if request.operation == "ADD":
            attr = convert_attribute(kind, target.kind, given.attr)
            was = refs.get(target.uuid)
            relaxed = request.is_relaxed or (was is not None and was.is_relaxed)
            refs[target.uuid] = Ref(target.kind, target.uuid, attr, relaxed)
        else:
            refs.pop(target.uuid, None)
        after = msgspec.structs.replace(before, refs=ordered(kind, refs.values()))
        return self._put_if_changed(change, after, before, now)

    def _put_if_changed(
        self, change: Candidate, after: Object, before: Object, now: float
    ) -> Object:
        completed_after = completed(change, after, before, self._new_uuid)
        if completed_after == before:
            return before
        self._require_named_links(completed_after, before)
        id_perms = after.props["id_perms"] | {"last_modified": timestamp(now)}
        after = msgspec.structs.replace(
            completed_after, props=completed_after.props | {"id_perms": id_perms}
        )
        after = self._put(change, after, before)
        require_parts_within_quota(change, after)
        return after

    def _put(self, change: Candidate, item: Object, before: Object | None) -> Object:
        if before is None:
            item = completed(change, item, None, self._new_uuid)
            self._require_named_links(item, None)
        item = change.put(item)
        mirror(change, item, before)
        require_valid(change, item, before)
        return item

    def _require_named_links(self, item: Object, before: Object | None) -> None:
        """Ask for what an object names in its properties: a firewall rule what it then refers to,
        a network route targets.
        """
        if item.kind == FIREWALL_RULE:
            had = before.refs if before is not None else ()
            self.asking.require_new_links(item, had, NAMED_BY_RULES)
        self.asking.require_new_targets(item, before)

    # -- numbers of the plan -----------------------------------------------------------------

    def _allocate_slots(self, change: Candidate) -> None:
        for slot in self.shown.missing(change, change.puts):
            former = [
                one
                for one in change.allocations_of(slot.owner)
                if one.pool.startswith(_ROUTE_TARGET_POOL)
            ]
            change.take(slot.pool, _number_for(change, slot, former), slot.owner)
            for one in former:
                change.free(one)


def _number_for(change: Candidate, slot: Slot, former: list[Allocation]) -> int:
    """The former number where it is free in the new pool (the ASN changed), else the next."""
    for one in former:
        if change.allocated(slot.pool, one.value) is None:
            return one.value
    asn = int(slot.pool.removeprefix(_ROUTE_TARGET_POOL))
    first, count = (
        (FIRST_ROUTE_TARGET, 1 << 24) if asn < 1 << 16 else (FIRST_ROUTE_TARGET_4BYTE, 1 << 15)
    )
    number = change.free_from(slot.pool, first)
    if number >= first + count:
        raise ConflictError(f"all {count} automatic route targets of AS {asn} are in use")
    return number


def _require_intent(change: Candidate, kind: Kind, item: Object) -> None:
    """Refuse to write what is rendered from the plan."""
    if kind.rendered_from and change.get(item.uuid) is None:
        raise ForbiddenError(
            f"{kind.name} {item.name} cannot be written, only read: derived from other objects;"
            f" {kind.rendered_from}"
        )


def _require_no_system_property(kind: Kind, body: Body, before: Object | None) -> None:
    for name in kind.system_properties & body.props.keys():
        value = body.props[name]
        if value != (before.props.get(name) if before is not None else None):
            require_unset_by_caller(kind.name, name)


def _forget_positions(props: dict[str, Any], name: str) -> None:
    """A list replaced as a whole is numbered anew."""
    positions = {key: one for key, one in props.pop(LIST_POSITIONS, {}).items() if key != name}
    if positions:
        props[LIST_POSITIONS] = positions
