"""Draft mode of the firewall: changes are proposed beside what is enforced, then committed at once.

Source: contrail-api 5.1 (`_security_base.py`). While a scope (the cluster or a project) has
`enable_security_policy_draft`, writes of its firewall objects go to copies of them, under a
policy-management named `draft-policy-management`, which nobody enforces; `draft_mode_state` says
what a copy proposes. `draft_action.SettleDraft` commits or discards all of a scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from filament.api.firewall import NewUuid
from filament.api.identity import (
    new_id_perms,
    new_perms2,
    parent_kind_of,
    require_name,
    require_same_identity,
)
from filament.base.errors import ConflictError, InputError
from filament.compiler.firewall_view import DRAFT_STATE, is_draft
from filament.model.body import Body, RefBody
from filament.model.change import Object
from filament.model.kind import Kind
from filament.model.kinds import KINDS
from filament.model.snapshot import Candidate

MANAGEMENT = "policy-management"
DRAFT = "draft-policy-management"
GLOBAL = ("default-policy-management",)
ENABLED = "enable_security_policy_draft"
SYSTEM, PROJECT = "global-system-config", "project"
DRAFT_SCOPES = frozenset({SYSTEM, PROJECT})
# What refers comes before what is referred to.
SECURITY_KINDS = (
    "application-policy-set",
    "firewall-policy",
    "firewall-rule",
    "service-group",
    "address-group",
)
CREATED, UPDATED, DELETED = "created", "updated", "deleted"
_ENDPOINTS = ("endpoint_1", "endpoint_2")


def draft_name(scope: Object) -> tuple[str, ...]:
    """Return the fq_name of what holds a scope's drafts."""
    return (DRAFT,) if scope.kind == SYSTEM else (*scope.fq_name, DRAFT)


def enforced_name(scope: Object) -> tuple[str, ...]:
    """Return the fq_name of what holds a scope's enforced objects."""
    return GLOBAL if scope.kind == SYSTEM else scope.fq_name


def drafts_of(change: Candidate, management: Object) -> Iterator[Object]:
    """Yield a scope's drafts, what refers before what is referred to."""
    for kind in SECURITY_KINDS:
        yield from change.children(management.uuid, kind)


def _management(change: Candidate, kind: Kind, prefix: tuple[str, ...]) -> Object | None:
    """Return what holds the drafts of an object under `prefix`; None where there is no draft mode
    (or the object is a draft itself).
    """
    if kind.name not in SECURITY_KINDS:
        return None
    if prefix == GLOBAL:
        prefix = ()
    elif change.named(PROJECT, prefix) is None:
        return None
    return change.named(MANAGEMENT, (*prefix, DRAFT))


def creation(change: Candidate, kind: Kind, body: Body) -> Body:
    """Return what to create instead: in draft mode a draft."""
    require_no_state(kind, body)
    if kind.name not in SECURITY_KINDS or body.fq_name is None:
        return body
    fq_name = require_name(kind, body)
    management = _management(change, kind, fq_name[:-1])
    if management is None or parent_kind_of(kind, body) is None:
        return body
    if change.named(kind.name, fq_name) is not None:
        return body  # it exists: refused as any other
    draft = (*management.fq_name, fq_name[-1])
    if change.named(kind.name, draft) is not None:
        raise InputError(
            "already-drafted",
            f"{kind.name} {':'.join(fq_name)} was already created and waits to be committed",
            path=f"$.{kind.name}.fq_name",
            hint=f"change the draft {':'.join(draft)}, or commit or discard first",
        )
    body = _among_drafts(change, body, management)
    return msgspec.structs.replace(
        body,
        fq_name=draft,
        parent_kind=MANAGEMENT,
        parent_uuid=None,
        props={**body.props, DRAFT_STATE: CREATED},
    )


def to_edit(change: Candidate, kind: Kind, item: Object, new_uuid: NewUuid, now: float) -> Object:
    """Return what to edit instead of an object: in draft mode its draft, made when there is none.
    A draft that proposes to delete is not edited.
    """
    draft = item
    if not is_draft(item):
        management = _management(change, kind, item.fq_name[:-1])
        if management is None:
            return item
        name = (*management.fq_name, item.fq_name[-1])
        found = change.named(kind.name, name)
        draft = found or _copy(change, item, management, new_uuid, UPDATED, now)
    if draft.props[DRAFT_STATE] == DELETED:
        raise InputError(
            "pending-delete",
            f"{kind.name} {draft.name} is in pending delete, cannot be updated",
            path=f"$.{kind.name}",
            hint="discard the drafts of its scope first",
        )
    return draft


def draft_body(change: Candidate, kind: Kind, item: Object, draft: Object, body: Body) -> Body:
    """Return what a change of `item` changes of its draft."""
    require_no_state(kind, body)
    if draft is item:
        return body
    require_same_identity(kind, item, body)
    management = change.get(draft.parent_uuid or "")
    kept = body if management is None else _among_drafts(change, body, management)
    return msgspec.structs.replace(
        kept, fq_name=None, uuid=None, parent_kind=None, parent_uuid=None
    )


def deletion(change: Candidate, kind: Kind, item: Object, new_uuid: NewUuid, now: float) -> bool:
    """Propose to delete an object; False where it is not in draft mode, and goes at once."""
    management = _management(change, kind, item.fq_name[:-1])
    if management is None:
        return False
    draft = change.named(kind.name, (*management.fq_name, item.fq_name[-1]))
    if draft is None:
        _copy(change, item, management, new_uuid, DELETED, now)
    else:
        change.put(msgspec.structs.replace(draft, props={**draft.props, DRAFT_STATE: DELETED}))
    return True


def switch(change: Candidate, scope: Object, new_uuid: NewUuid, now: float) -> None:
    """Begin or end draft mode as a scope now has it; it does not end while drafts are there."""
    name = draft_name(scope)
    management = change.named(MANAGEMENT, name)
    if bool(scope.props.get(ENABLED)) == (management is not None):
        return
    if management is not None:
        left = [f"{one.kind} {one.fq_name[-1]}" for one in drafts_of(change, management)]
        if left:
            raise ConflictError(
                f"Cannot disable security draft mode on {scope.kind} {scope.name}: "
                f"{len(left)} pending, {', '.join(left[:5])}; commit or discard first"
            )
        change.delete(management)
        return
    parent = scope if scope.kind == PROJECT else None
    kind, uuid = KINDS[MANAGEMENT], new_uuid()
    change.put(
        Object(
            MANAGEMENT,
            uuid,
            name,
            parent.kind if parent else None,
            parent.uuid if parent else None,
            {
                "display_name": DRAFT,
                "id_perms": new_id_perms(uuid, {}, now),
                "perms2": new_perms2(kind, uuid, parent, {}, None),
            },
        )
    )


def require_no_state(kind: Kind, body: Body) -> None:
    """Refuse a state from outside."""
    if body.props.get(DRAFT_STATE):
        raise InputError(
            "read-only",
            f"Security resource property '{DRAFT_STATE}' is only readable",
            path=f"$.{kind.name}.{DRAFT_STATE}",
            hint="leave it out",
        )


def _copy(
    change: Candidate, item: Object, management: Object, new_uuid: NewUuid, state: str, now: float
) -> Object:
    uuid = new_uuid()
    id_perms = new_id_perms(uuid, item.props.get("id_perms") or {}, now)
    return change.put(
        Object(
            item.kind,
            uuid,
            (*management.fq_name, item.fq_name[-1]),
            MANAGEMENT,
            management.uuid,
            {**item.props, "id_perms": id_perms, DRAFT_STATE: state},
            item.refs,
        )
    )


def _among_drafts(change: Candidate, body: Body, management: Object) -> Body:
    """Let names mean drafts, where nothing enforced has them: what is made in draft mode can be
    named as it will be called.
    """

    def renamed(ref: RefBody) -> RefBody:
        if ref.kind not in SECURITY_KINDS or ref.to is None or ref.uuid is not None:
            return ref
        return msgspec.structs.replace(ref, to=_named(change, ref.kind, ref.to, management))

    props: dict[str, Any] = dict(body.props)
    for field in _ENDPOINTS:
        endpoint = props.get(field)
        group = (endpoint or {}).get("address_group")
        if endpoint and group:
            found = _named(change, "address-group", tuple(group.split(":")), management)
            props[field] = {**endpoint, "address_group": ":".join(found)}
    refs = {kind: [renamed(ref) for ref in listed] for kind, listed in body.refs.items()}
    return msgspec.structs.replace(body, props=props, refs=refs)


def _named(
    change: Candidate, kind: str, name: tuple[str, ...], management: Object
) -> tuple[str, ...]:
    scope = management.fq_name[:-1] or GLOBAL
    draft = (*management.fq_name, name[-1])
    if name[:-1] != scope or change.named(kind, name) or not change.named(kind, draft):
        return name
    return draft
